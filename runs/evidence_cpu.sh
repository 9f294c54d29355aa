#!/usr/bin/env bash
# Every claim of the paper's ablation, measured with the light network's F and f_J2D as they are (book/ablation.md).
# F(x) and j2D(0) of 14,336 images of ORH are found once. Each variant of f_E3D learns from them for 600 steps of 256
# images (153,600), with three seeds; then refinement by iteration, two segmentation networks for Table 2 with three
# seeds each, the meshes' masks with and without distractors, and the hand landmark network.
# Tests: 1,024 images each of ORH, ORH-S and ORH-O. Writes book/results/evidence.json.
# Hardware: one core of an AMD EPYC without a GPU. Time: 40 to 120 s of processor time for a training, so an hour for all;
# the images take another hour, and the segmentation networks half an hour.
# The same command continues an interrupted run. A part of the variants: --form NAME... before --stage write.
set -euo pipefail
cd "$(dirname "$0")/.."
OUT=${OUT:-dhpe_out}
dhpe data make orh --out "$OUT/orh" --split train --count 14336
for name in orh orh-s orh-o; do dhpe data make $name --out "$OUT/$name" --split test --count 1024; done
python benchmarks/evidence.py "$OUT/evidence" --train "$OUT/orh/train" \
  --test "$OUT/orh/test" "$OUT/orh-s/test" "$OUT/orh-o/test" "$@"
