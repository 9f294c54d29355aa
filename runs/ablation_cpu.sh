#!/usr/bin/env bash
# A first table of the ablation, and the gain of the augmentation from a trained network; light network, CPU.
# 1. Seven trainings from random weights: 400 steps of 16 pictures of ORH. 2. Full, without augmentation and with children
#    of seeds within tau alone, from the shipped weights: 300 steps, children from the first. Tests: 64 pictures of ORH's
#    and of ORH-O's. Writes book/results/ablation_cpu.json and ablation_augmentation_cpu.json.
# Hardware: TIME_TO_SAY
# However it was stopped, the same command goes on. More seeds: --seeds 3.
set -euo pipefail
cd "$(dirname "$0")/.."
OUT=${OUT:-dhpe_out}
dhpe data make orh --out "$OUT/orh" --split train --count 8192
for name in orh orh-o; do dhpe data make $name --out "$OUT/$name" --split test --count 128; done
COMMON=(--preset light --data "$OUT/orh/train" --test "$OUT/orh/test" --test "$OUT/orh-o/test" --device cpu --count 64
  --set batch=16 --set warmup=50 --set decay=cosine --set precision=bf16-mixed --set test_count=64)
dhpe ablate --out "$OUT/ablation_cpu" "${COMMON[@]}" \
  --set steps=400 --set augment_after=0.5 --set test_every=50 --set save_every=50 "$@"
cp "$OUT/ablation_cpu/ablation.json" book/results/ablation_cpu.json
dhpe ablate --out "$OUT/ablation_augmentation_cpu" "${COMMON[@]}" \
  --variant full --variant without-augmentation --variant filtered-seeds \
  --set start=dhpe_lib/weights/light.safetensors --set learning_rate=3e-4 --set learning_rate_j2d=3e-4 \
  --set steps=300 --set augment_after=0 --set test_every=100 --set save_every=100 "$@"
cp "$OUT/ablation_augmentation_cpu/ablation.json" book/results/ablation_augmentation_cpu.json
