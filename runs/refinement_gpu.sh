#!/usr/bin/env bash
# Speed of the test-time refinement on one GPU, the paper's network: into book/results/refinement_speed_cuda.json.
# Wanted: an iteration in 2 ms at batch 1 and 0.2 ms an image at batch 64, regression at batch 1 in 4 ms.
# Hardware and time: not run yet (no GPU was at hand); a few minutes are expected. On CPU: --device cpu --preset light.
set -euo pipefail
cd "$(dirname "$0")/.."
python -m pytest tests/test_energy.py tests/test_descent.py tests/test_refinement.py
python benchmarks/refinement.py --device cuda --preset paper --bf16 "$@"
