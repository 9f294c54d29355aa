#!/usr/bin/env bash
# A first table of the ablation: light network, one seed, seven trainings of 250 steps of 16 pictures of ORH, tested on
# ORH and ORH-O. Such a budget shows whether everything runs; that it orders the variants is not to be expected.
# Hardware: two cores, one for a training. Time: about an hour at the 8.6 pictures/s of
# book/results/training_speed_cpu.json, estimated; not run yet. Expected numbers: not run yet.
# However it was stopped, the same command goes on. More steps: --set steps=1000.
set -euo pipefail
cd "$(dirname "$0")/.."
OUT=${1:-dhpe_out}
dhpe data make orh --out "$OUT/orh" --split train --count 2048
dhpe data make orh --out "$OUT/orh" --split test --count 256
dhpe data make orh-o --out "$OUT/orh-o" --split test --count 256
dhpe ablate --out "$OUT/ablation_cpu" --preset light --seeds 1 \
  --data "$OUT/orh/train" --test "$OUT/orh/test" --test "$OUT/orh-o/test" --device cpu \
  --set steps=250 --set batch=16 --set warmup=50 --set decay=cosine --set augment_after=0.5 \
  --set test_every=50 --set test_count=64 --set save_every=50 "${@:2}"
