#!/usr/bin/env bash
# The light network on CPU: 2,048 rendered pictures of ORH, 20,000 steps of 16 (156 epochs).
# Hardware: one core at 8.6 pictures/s (book/results/training_speed_cpu.json): about 10 hours, estimated; not run yet.
# Expected: EPE (protocol A) on ORH test: not run yet. A run that was stopped goes on with the same command and --resume.
set -euo pipefail
cd "$(dirname "$0")/.."
OUT=${1:-dhpe_out}
dhpe data make orh --out "$OUT/orh" --split train --count 2048
dhpe data make orh --out "$OUT/orh" --split test --count 256
dhpe train --out "$OUT/light_cpu" --preset light --data "$OUT/orh/train" --test "$OUT/orh/test" \
  --set steps=20000 --set batch=16 --set decay=cosine --device cpu "${@:2}"
dhpe evaluate "$OUT/light_cpu" "$OUT/orh/test" --device cpu
