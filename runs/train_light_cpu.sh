#!/usr/bin/env bash
# Train the light network on the CPU, in four stages. 24 images of a step are rendered (24,576 images of ORH, and 36,864
# of two other seeds with the photos of BACKGROUNDS behind, if it names a folder of photos); 8 are photos with 2D labels
# if PHOTOS names a folder of them (labels.json, see dhpe data pseudo-label). The shipped weights had 936 backgrounds
# and 3,033 labelled photos, which are not part of the project.
# 1. F and f_J2D alone, from the trunk of the hand landmark network.
# 2. f_E3D alone, from random weights, on evidence that is found once.
# 3. Everything together, without L_Sh.
# 4. f_E3D alone, with L_Sh by the exact silhouette.
# Then evaluate on the tests of ORH, ORH-S and ORH-O, and on a part of them before and after refinement. Writes
# dhpe_lib/network/weights/light.safetensors and book/results/light_cpu_*.json.
# The shipped weights had the same stages, some of them in parts; LOG.md says how. This script was not run as a whole.
# Hardware: two cores of an AMD EPYC. Time of one core: about 1.5 hours for stage 1, 30 minutes for stages 2 and 4
# each, 3.5 hours for stage 3, 40 minutes for the images, 30 for the evaluation. The same command continues an
# interrupted run.
set -euo pipefail
cd "$(dirname "$0")/.."
OUT=${OUT:-dhpe_out}
dhpe data make orh --out "$OUT/orh" --split train --count 24576
for name in orh orh-s orh-o; do dhpe data make $name --out "$OUT/$name" --split test --count 1024; done
DATA=(--data "$OUT/orh/train")
if [ -n "${BACKGROUNDS:-}" ]; then
  dhpe data make orh --out "$OUT/orh_seed1" --split train --seed 1 --count 12288 --backgrounds "$BACKGROUNDS"
  dhpe data make orh --out "$OUT/orh_seed2" --split train --seed 2 --count 24576 --backgrounds "$BACKGROUNDS"
  DATA+=(--data "$OUT/orh_seed1/train" --data "$OUT/orh_seed2/train")
fi
TRAIN=(--preset light "${DATA[@]}" --test "$OUT/orh/test" --device cpu --ablation without-augmentation
  --set batch=32 --set test_every=200 --set test_count=200 --set save_every=100)
if [ -n "${PHOTOS:-}" ]; then
  dhpe data prepare photos "$PHOTOS" --out "$OUT/photos"
  TRAIN+=(--set photos="$OUT/photos/train" --set photos_share=0.25)
fi
train() {  # FOLDER and options
  dhpe train --out "$1" "${TRAIN[@]}" $([ ! -f "$1/last.safetensors" ] || echo --resume) "${@:2}"
}
train "$OUT/light_1" --set learns=evidence --set steps=5300 \
  --set learning_rate=3e-4 --set learning_rate_j2d=1e-3 "$@"
SECOND=$OUT/light_2.safetensors
[ -f "$SECOND" ] || dhpe train-mesh "$OUT/light_1/last.safetensors" "$SECOND" "${DATA[@]}" --anew --rate 1e-3
train "$OUT/light_3" --set start="$SECOND" --set steps=10000 \
  --ablation without-shape-loss --set learning_rate=2e-4 --set learning_rate_e3d=1e-4 --set learning_rate_j2d=5e-4 "$@"
NETWORK=$OUT/light_cpu.safetensors
dhpe train-mesh "$OUT/light_3/last.safetensors" "$NETWORK" "${DATA[@]}" --count 49152 --steps 2400 --shape-weight 10
dhpe export "$NETWORK" dhpe_lib/network/weights/light.safetensors
cp "$OUT/light_3/curves.jsonl" book/results/light_cpu_curves.jsonl
for name in orh orh-s orh-o; do
  dhpe evaluate "$NETWORK" "$OUT/$name/test" --device cpu --out "$OUT/evaluated"
  cp "$OUT/evaluated/evaluation_${name}_test.json" "book/results/light_cpu_$name.json"
done
for name in orh orh-s orh-o; do
  dhpe evaluate "$NETWORK" "$OUT/$name/test" --device cpu --count 64 --batch 32 --out "$OUT/refined" \
    --refine --variant refinement --variant evidence-fixed --variant joints-only-fixed \
    --variant coverage --variant coverage-fixed
  cp "$OUT/refined/evaluation_${name}_test.json" "book/results/light_cpu_refined_$name.json"
done
