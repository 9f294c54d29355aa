#!/usr/bin/env bash
# Every claim of the paper's ablation, measured with the shipped light network's F and f_J2D as they are
# (book/ablation.md). F(x) and j2D(0) of 14,336 evenly spaced images of 24,576 of ORH are found once. Each variant of
# f_E3D learns from them for 600 steps of 256 images (153,600), with three seeds; then refinement of the whole tests by
# iteration and of 64 images by the form of its feature term, a fit without a network, L_Feat on cached features, photos,
# two segmentation networks for Table 2 with as many images and three seeds, the meshes' masks with and without
# distractors, and the hand landmark network in protocols A, A8, B and C.
# Tests: all of ORH, ORH-S and ORH-O; TESTS=1024 takes so many images of each, evenly spaced. Writes
# book/results/evidence.json and evidence_pictures.json; benchmarks/evidence_figures.py draws all figures from them.
# One part trains F, too: the trunk learns without and with the 2D losses from 25,600 images of all (stage "trunks").
# PHOTOS: a prepared split of photos, from `dhpe data pseudo-label` and `dhpe data prepare`. LABELLED: a folder with
# labels.json and mediapipe.json. Both may be absent.
# Hardware: one core of an AMD EPYC without a GPU, other jobs beside it. Processor time on whole tests: 30 to
# 50 s for a training, so 90 minutes for all; 7 to 10 minutes for a trunk with each seed, and 2 for its evidence;
# 80 minutes for the segmentation networks; 5 s for each refinement of 512
# images without the feature term and 2 minutes for 64 images with it. The images and their evidence take some hours.
# The script measures the network that the library ships and the images of today's renderer. The published file is of the
# fifth light network and version 3 of the renderer; it says so itself.
# The same command continues an interrupted run. A part of the variants: --form NAME... before --stage write.
set -euo pipefail
cd "$(dirname "$0")/.."
OUT=${OUT:-dhpe_out}
dhpe data make orh --out "$OUT/orh" --split train --count 24576
for name in orh orh-s orh-o; do dhpe data make $name --out "$OUT/$name" --split test; done
python benchmarks/evidence.py "$OUT/evidence" --train "$OUT/orh/train" \
  --test "$OUT/orh/test" "$OUT/orh-s/test" "$OUT/orh-o/test" --tests "${TESTS:-6000}" \
  ${PHOTOS:+--photos "$PHOTOS"} ${LABELLED:+--labelled "$LABELLED"} "$@"
