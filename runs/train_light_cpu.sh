#!/usr/bin/env bash
# Train the light network on the CPU: 24,576 rendered images of ORH, 5,400 steps with 16 images in bfloat16 (3.5 epochs).
# Then evaluate it on the test splits of ORH, ORH-S and ORH-O, before and after refinement. Writes
# dhpe_lib/network/weights/light.safetensors and book/results/light_cpu_*.json.
# Hardware: one core of an AMD EPYC with AVX-512 BF16, the other core busy. Time: 95 minutes for the training (with three
# interruptions, and partly on two threads), 20 for the images, 15 for the evaluation.
# Measured: EPE (protocol A) 28.4 mm on ORH, 24.6 on ORH-S, 47.0 on ORH-O's fingertips.
# The same command with --resume continues an interrupted run.
set -euo pipefail
cd "$(dirname "$0")/.."
OUT=${OUT:-dhpe_out}
dhpe data make orh --out "$OUT/orh" --split train --count 24576
for name in orh orh-s orh-o; do dhpe data make $name --out "$OUT/$name" --split test; done
dhpe train --out "$OUT/light_cpu" --preset light --data "$OUT/orh/train" --test "$OUT/orh/test" --device cpu \
  --ablation without-augmentation --set steps=5400 --set batch=16 --set decay=cosine --set precision=bf16-mixed \
  --set test_every=500 --set test_count=256 --set save_every=250 "$@"
dhpe export "$OUT/light_cpu" dhpe_lib/network/weights/light.safetensors
cp "$OUT/light_cpu/curves.jsonl" book/results/light_cpu_curves.jsonl
for name in orh orh-s orh-o; do
  dhpe evaluate "$OUT/light_cpu" "$OUT/$name/test" --device cpu
  cp "$OUT/light_cpu/evaluation_${name}_test.json" "book/results/light_cpu_$name.json"
done
for name in orh orh-o; do
  dhpe evaluate "$OUT/light_cpu" "$OUT/$name/test" --device cpu --count 64 --batch 32 --out "$OUT/refined" \
    --refine --variant refinement --variant evidence-fixed
  cp "$OUT/refined/evaluation_${name}_test.json" "book/results/light_cpu_refined_$name.json"
done
