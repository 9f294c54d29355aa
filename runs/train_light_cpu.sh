#!/usr/bin/env bash
# Train the light network on the CPU, in two stages. 22 images of a step are rendered (24,576 images of ORH); 10 are
# photos with 2D labels if PHOTOS names a folder of them (labels.json, see dhpe data pseudo-label). The shipped weights
# had 3,033 such photos, which are not part of the project.
# 1. F and f_J2D alone, from the trunk of the hand landmark network.
# 2. f_E3D alone, on evidence that is found once: 2,000 steps with 256 crops. A step takes a quarter of a second.
# Then evaluate on the tests of ORH, ORH-S and ORH-O, and on a part of them before and after refinement. Writes
# dhpe_lib/network/weights/light.safetensors and book/results/light_cpu_*.json.
# The stages of the shipped weights differ from this script; LOG.md says how (2026-11-30, fourth light network).
# Hardware: two cores of an AMD EPYC without bfloat16. Time: about 4 hours for the trainings, 30 minutes for the
# images, 30 for the evaluation; it was not run as a whole. The same command with --resume continues an interrupted first stage.
set -euo pipefail
cd "$(dirname "$0")/.."
OUT=${OUT:-dhpe_out}
dhpe data make orh --out "$OUT/orh" --split train --count 24576
for name in orh orh-s orh-o; do dhpe data make $name --out "$OUT/$name" --split test --count 1024; done
SOURCES=(--data "$OUT/orh/train" --test "$OUT/orh/test")
if [ -n "${PHOTOS:-}" ]; then
  dhpe data prepare photos "$PHOTOS" --out "$OUT/photos"
  SOURCES+=(--set photos="$OUT/photos/train")
fi
TRAIN=(--preset light "${SOURCES[@]}" --device cpu --ablation without-augmentation
  --set batch=32 --set test_every=400 --set test_count=200 --set save_every=100)
FIRST=$OUT/light_cpu_first NETWORK=$OUT/light_cpu.safetensors
dhpe train --out "$FIRST" "${TRAIN[@]}" --set learns=evidence --set steps=5300 \
  --set learning_rate=3e-4 --set learning_rate_j2d=1e-3 "$@"
python benchmarks/regressor_switches.py "$OUT/orh/test" "$OUT/orh/train" --start "$FIRST" --write "$NETWORK" \
  --pictures 24576 --steps 2000
dhpe export "$NETWORK" dhpe_lib/network/weights/light.safetensors
cp "$FIRST/curves.jsonl" book/results/light_cpu_curves.jsonl
for name in orh orh-s orh-o; do
  dhpe evaluate "$NETWORK" "$OUT/$name/test" --device cpu --out "$OUT/evaluated"
  cp "$OUT/evaluated/evaluation_${name}_test.json" "book/results/light_cpu_$name.json"
done
for name in orh orh-o; do
  dhpe evaluate "$NETWORK" "$OUT/$name/test" --device cpu --count 64 --batch 32 --out "$OUT/refined" \
    --refine --variant refinement --variant evidence-fixed
  cp "$OUT/refined/evaluation_${name}_test.json" "book/results/light_cpu_refined_$name.json"
done
python benchmarks/regressor_switches.py "$OUT/orh/test" "$OUT/orh/train"
