#!/usr/bin/env bash
# The light network on CPU: 24,576 rendered pictures of ORH, 5,400 steps of 16 in bfloat16 (3.5 epochs), then its scores on
# the tests of ORH, ORH-S and ORH-O. Makes dhpe_lib/weights/light.safetensors and the results named light_*.json.
# A run that was stopped goes on with the same command and --resume.
set -euo pipefail
cd "$(dirname "$0")/.."
OUT=${OUT:-dhpe_out}
dhpe data make orh --out "$OUT/orh" --split train --count 24576
for name in orh orh-s orh-o; do dhpe data make $name --out "$OUT/$name" --split test; done
dhpe train --out "$OUT/light_cpu" --preset light --data "$OUT/orh/train" --test "$OUT/orh/test" --device cpu \
  --set steps=5400 --set batch=16 --set decay=cosine --set precision=bf16-mixed --set test_every=500 --set test_count=256 "$@"
for name in orh orh-s orh-o; do dhpe evaluate "$OUT/light_cpu" "$OUT/$name/test" --device cpu; done
