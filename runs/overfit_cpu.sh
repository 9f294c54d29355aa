#!/usr/bin/env bash
# 32 pictures by heart, light network, CPU: below 2 mm and above 0.9 IoU is wanted. Writes book/results/overfit.json.
# Hardware: one core. Time: 1,200 steps of 8 pictures at about 2 s a step on a machine with load 5: 40 minutes.
# A run that was stopped goes on with --resume.
set -euo pipefail
cd "$(dirname "$0")/.."
OMP_NUM_THREADS=1 python benchmarks/overfit.py "$@"
