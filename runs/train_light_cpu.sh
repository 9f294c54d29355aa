#!/usr/bin/env bash
# Train the light network on the CPU from the trunk of the hand landmark network: 4,200 steps with 32 images (134,400).
# 22 images of a step are rendered (24,576 images of ORH); 10 are photos with 2D labels if PHOTOS names a folder of them
# (labels.json, see dhpe data pseudo-label). The shipped weights had 3,033 such photos, which are not part of the project.
# Then evaluate on the tests of ORH, ORH-S and ORH-O, and on a part of them before and after refinement. Writes
# dhpe_lib/network/weights/light.safetensors and book/results/light_cpu_*.json.
# Hardware: two cores of an AMD EPYC without bfloat16. Time: 80 minutes for the training on shared cores, 20 for the
# images, 30 for the evaluation. The same command with --resume continues an interrupted run.
set -euo pipefail
cd "$(dirname "$0")/.."
OUT=${OUT:-dhpe_out}
dhpe data make orh --out "$OUT/orh" --split train --count 24576
for name in orh orh-s orh-o; do dhpe data make $name --out "$OUT/$name" --split test; done
SOURCES=(--data "$OUT/orh/train" --test "$OUT/orh/test")
if [ -n "${PHOTOS:-}" ]; then
  dhpe data prepare photos "$PHOTOS" --out "$OUT/photos"
  SOURCES+=(--set photos="$OUT/photos/train")
fi
dhpe train --out "$OUT/light_cpu" --preset light "${SOURCES[@]}" --device cpu --ablation without-augmentation \
  --set steps=4200 --set batch=32 --set test_every=400 --set test_count=200 --set save_every=200 "$@"
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
