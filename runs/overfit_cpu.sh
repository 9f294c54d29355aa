#!/usr/bin/env bash
# 32 pictures by heart, light network, CPU: below 2 mm and above 0.9 IoU is wanted. Writes book/results/overfit.json.
# Hardware: one core of an AMD EPYC with AVX-512 BF16. Time: about 45 minutes.
# OVERFIT_MEASURED
# A run that was stopped goes on with the same command and --resume.
set -euo pipefail
cd "$(dirname "$0")/.."
OMP_NUM_THREADS=1 python benchmarks/overfit.py "$@"
