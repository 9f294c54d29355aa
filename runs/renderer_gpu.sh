#!/usr/bin/env bash
# The renderer on one GPU: the tests on the device, then speed, batch, size and compile time, into
# book/results/renderer_speed_cuda.json. A few minutes. Not run yet: no GPU was at hand.
# Wanted: batch 64 silhouettes forward and backward at 30,000 images/s, textured pictures at 10,000 images/s.
set -euo pipefail
cd "$(dirname "$0")/.."
python -m pytest tests/test_silhouettes.py tests/test_fragments.py tests/test_renderer.py tests/test_texturing.py
python benchmarks/renderer.py --device cuda
