#!/usr/bin/env bash
# The ablation of Figs. 5d, 5e and 5f: the paper's network, the whole of ORH, three seeds, 21 trainings of 60,000 steps
# of 128 (about 186 epochs), tested on ORH and ORH-O.
# Hardware: one GPU with 40 GB or more. Time, images/s and memory: not run yet (no GPU was at hand).
# Expected: augmentation and 2D losses help on both splits, the shape loss on ORH (the paper's directions): not run yet.
# However it was stopped, the same command goes on. Two machines: give each some of the variants (--variant NAME) and one
# folder on a shared disk, then run it once more for all.
set -euo pipefail
cd "$(dirname "$0")/.."
OUT=${1:-dhpe_out}
for name in orh orh-o; do dhpe data make "$name" --out "$OUT/$name"; done
dhpe ablate --out "$OUT/ablation_gpu" --preset paper --seeds 3 \
  --data "$OUT/orh/train" --test "$OUT/orh/test" --test "$OUT/orh-o/test" --device cuda \
  --set start=imagenet --set steps=60000 --set batch=128 --set warmup=1000 --set decay=cosine \
  --set precision=bf16-mixed --set compile=true --set test_every=2000 "${@:2}"
