#!/usr/bin/env bash
# Test the renderer on one GPU, then measure its speed for batches and image sizes, its compile time, and the time of
# other implementations. Writes book/results/renderer_speed_cuda.json and renderer_peers_cuda.json. Time: a few minutes;
# not run yet (no GPU was available).
# Goal on one H200 at batch 64: silhouettes (Kato) forward and backward at 80,000 images/s, textured
# images at 10,000 images/s.
set -euo pipefail
cd "$(dirname "$0")/.."
python -m pytest tests/rendering
python benchmarks/renderer.py --device cuda
python benchmarks/renderer.py --device cuda --peers
