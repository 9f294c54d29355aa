#!/usr/bin/env bash
# Train the paper's network on one GPU: half of each batch are hands rendered on the fly, half are training images of ORH.
# Hardware: one GPU with 40 GB or more. Time, images/s and memory: not run yet (no GPU was available). Goal on one H200:
# 1,200 images/s, without the time to render and read them.
# Expected: EPE and AUC on the test splits of ORH, ORH-S and ORH-O: not run yet.
# Several GPUs: replace "dhpe train" by "torchrun --nproc-per-node 8 -m dhpe_lib.cli.__main__ train".
# With the paper's data: --data RHD/training --data STB/train instead of ORH, and --set rendered=0.
set -euo pipefail
cd "$(dirname "$0")/.."
OUT=${1:-dhpe_out}
for name in orh orh-s orh-o; do dhpe data make "$name" --out "$OUT/$name"; done
dhpe train --out "$OUT/paper_gpu" --preset paper --data "$OUT/orh/train" --set rendered=0.5 \
  --test "$OUT/orh/test" --test "$OUT/orh-s/test" --test "$OUT/orh-o/test" \
  --set steps=100000 --set batch=128 --set warmup=1000 --set decay=cosine \
  --set precision=bf16-mixed --set compile=true --device cuda "${@:2}"
for name in orh orh-s orh-o; do dhpe evaluate "$OUT/paper_gpu" "$OUT/$name/test" --device cuda; done
