#!/usr/bin/env bash
# A first table of the ablation, and the effect of the augmentation on a trained network; light network, CPU, one seed.
# 1. Seven trainings from random weights: 400 steps with 16 images of ORH. Tested on 40 images of ORH and 40 of ORH-O.
# 2. Three trainings from the shipped weights: full, without augmentation, and with novel views of only the seeds within
#    tau. 300 steps, with novel views from the start. Tested on 64 images of ORH and 64 of ORH-O.
# Writes book/results/ablation_cpu.json and ablation_augmentation_cpu.json.
# Hardware: one core of an AMD EPYC with AVX-512 BF16, the other core busy. Time: 2.5 hours.
# The same command continues an interrupted run. More seeds: --seeds 3.
set -euo pipefail
cd "$(dirname "$0")/.."
OUT=${OUT:-dhpe_out}
DATA=$OUT/ablation_data
dhpe data make orh --out "$DATA/orh" --split train --count 8192
for name in orh orh-o; do dhpe data make $name --out "$DATA/$name" --split test --count 128; done
COMMON=(--preset light --data "$DATA/orh/train" --test "$DATA/orh/test" --test "$DATA/orh-o/test" --device cpu
  --set batch=16 --set warmup=50 --set decay=cosine --set precision=bf16-mixed --set test_count=64)
dhpe ablate --out "$OUT/ablation_cpu" "${COMMON[@]}" --count 40 \
  --set steps=400 --set augment_after=0.5 --set test_every=50 --set save_every=50 "$@"
cp "$OUT/ablation_cpu/ablation.json" book/results/ablation_cpu.json
dhpe ablate --out "$OUT/ablation_augmentation_cpu" "${COMMON[@]}" --count 64 \
  --variant full --variant without-augmentation --variant filtered-seeds \
  --set start=dhpe_lib/network/weights/light.safetensors \
  --set steps=300 --set augment_after=0 --set test_every=100 --set save_every=100 "$@"
cp "$OUT/ablation_augmentation_cpu/ablation.json" book/results/ablation_augmentation_cpu.json
