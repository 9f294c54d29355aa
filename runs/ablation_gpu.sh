#!/usr/bin/env bash
# The ablation of Figs. 5d, 5e and 5f: the paper's network, the whole of ORH, three seeds, 21 trainings. Each training has
# 60,000 steps with 128 images (about 186 epochs) and is tested on ORH and ORH-O.
# Hardware: one GPU with 40 GB or more. Time, images/s and memory: not run yet (no GPU was available).
# Expected: augmentation and 2D losses help on both splits, the shape loss on ORH (the paper's directions): not run yet.
# The same command continues an interrupted run. Two machines: run some of the variants on each (--variant NAME) with one
# folder on a shared disk, then run the command once more for all variants.
set -euo pipefail
cd "$(dirname "$0")/.."
OUT=${1:-dhpe_out}
for name in orh orh-o; do dhpe data make "$name" --out "$OUT/$name"; done
dhpe ablate --out "$OUT/ablation_gpu" --preset paper --seeds 3 \
  --data "$OUT/orh/train" --test "$OUT/orh/test" --test "$OUT/orh-o/test" --device cuda \
  --set steps=60000 --set batch=128 --set warmup=1000 --set decay=cosine \
  --set precision=bf16-mixed --set compile=true --set test_every=2000 "${@:2}"
