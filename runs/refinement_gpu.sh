#!/usr/bin/env bash
# Speed of the test-time refinement on one GPU with the paper's network. Writes book/results/refinement_speed_cuda.json.
# Goal on one H200: an iteration in 1 ms at batch 1 and in 0.2 ms for each image at batch 64; the regression at batch 1
# in 4 ms.
# Hardware and time: not run yet (no GPU was available); expected: a few minutes. On a CPU: --device cpu --preset light.
set -euo pipefail
cd "$(dirname "$0")/.."
python -m pytest tests/refinement/test_energy.py tests/refinement/test_descent.py tests/refinement/test_test_time.py
python benchmarks/refinement.py --device cuda --preset paper --bf16 "$@"
