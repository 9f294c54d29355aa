"""Measure every claim of the paper's ablation on evidence that is found once; the chapter is *What each part is worth*.

    python benchmarks/evidence.py OUT --train SPLIT... --test ORH ORH-S ORH-O

Each stage writes files into OUT and skips those that are there, so the same command continues an interrupted run:
trainings of f_E3D, refinement, segmentation networks, meshes' masks, hand landmarks. The stages are those of
``dhpe_lib.experiments``. Stage "write" writes book/results/evidence.json from what is there.
"""

import argparse
import os
from argparse import Namespace
from collections.abc import Callable
from itertools import product
from pathlib import Path

import torch
from evidence_stages import (
    REFINED,
    collapsed,
    feature_course,
    feature_row_of,
    fitted,
    landmarks,
    photo_landmarks,
    photos,
    refined,
    refined_long,
    refined_photos,
    rigid,
    train,
    train_on_trunk,
)
from evidence_write import pictures, results_of
from reporting import write_result

from dhpe_lib.experiments.evidence_feature import FEATURE_FORMS
from dhpe_lib.experiments.evidence_files import SEEDS, Workplace
from dhpe_lib.experiments.evidence_forms import FORMS, STEPS
from dhpe_lib.experiments.evidence_masks import BATCH as SEGMENTED
from dhpe_lib.experiments.evidence_masks import (
    MASKED,
    mesh_counts,
    segmented,
)
from dhpe_lib.experiments.evidence_training import BATCH
from dhpe_lib.experiments.evidence_trunks import TRUNKS


def train_forms(place: Workplace, arguments: Namespace) -> None:
    """Train the variants of f_E3D with all seeds."""
    for name, seed in product(arguments.form, range(SEEDS)):
        train(place, name, seed)


def train_trunks(place: Workplace, _: Namespace) -> None:
    """Train F with each choice of losses and all seeds, and f_E3D on it."""
    for seed, trunk in product(range(SEEDS), TRUNKS):
        train_on_trunk(place, trunk, seed)


def refine_tests(place: Workplace, _: Namespace) -> None:
    """Refine the tests: *full* on all, a weak start on those of Figs. 5d and 5e, and *full* there for longer."""
    for test, name in (*product(place.tested, ("full",)), *product(REFINED, ("weak-start",))):
        if place.weights(name):
            refined(place, test, name)
    for test in REFINED:
        refined_long(place, test)


def refine_with_feature_term(place: Workplace, _: Namespace) -> None:
    """Measure the feature term, and refine with each form of it."""
    for test in REFINED:
        feature_row_of(place, test)
        for form in FEATURE_FORMS:
            feature_course(place, test, form)


def fit_tests(place: Workplace, _: Namespace) -> None:
    """Fit without a network."""
    for test in REFINED:
        fitted(place, test)


def find_in_photos(place: Workplace, arguments: Namespace) -> None:
    """Find the errors of the variants that were trained on the photos that there are."""
    if place.photo_crops:
        for name in filter(place.weights, arguments.form):
            photos(place, name)
    if "pseudo" in place.photo_crops:
        refined_photos(place)


def count_masks(place: Workplace, _: Namespace) -> None:
    """Count the pixels of the meshes' masks."""
    for test in MASKED:
        mesh_counts(place, test)


def compare_landmarks(place: Workplace, _: Namespace) -> None:
    """Find the errors of the hand landmark network."""
    for test in place.tested:
        landmarks(place, test)
        rigid(place, test)
    if "labelled" in place.photo_crops:
        photo_landmarks(place)


def write(place: Workplace, arguments: Namespace) -> None:
    """Write the result files."""
    for name, results in (("evidence_pictures", pictures), ("evidence", results_of)):
        write_result(name, results(place, arguments.segment_steps), 0, arguments.load_before, show=False)


STAGES: dict[str, Callable[[Workplace, Namespace], object]] = {
    "train": train_forms,
    "trunks": train_trunks,
    "refine": refine_tests,
    "feature": refine_with_feature_term,
    "fit": fit_tests,
    "collapse": lambda place, _: collapsed(place),
    "photos": find_in_photos,
    "segment": lambda place, arguments: segmented(place, arguments.segment_steps),
    "meshes": count_masks,
    "landmarks": compare_landmarks,
    "write": write,
}
"""The stages by name, in their order."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--train", type=Path, nargs="+", required=True)
    parser.add_argument("--test", type=Path, nargs="+", required=True)
    parser.add_argument("--photos", type=Path, help="prepared split of photos whose labels a network found")
    parser.add_argument("--labelled", type=Path, help="folder of labelled photos, as for real_photos.py")
    parser.add_argument("--pictures", type=int, default=14336, help="training images, over all splits")
    parser.add_argument("--tests", type=int, default=1024, help="images of each test split")
    parser.add_argument("--pairs", type=int, default=512, help="hands without and with distractors")
    parser.add_argument("--form", choices=FORMS, nargs="+", default=list(FORMS), help="variants to train")
    parser.add_argument(
        "--segment-steps", type=int, default=STEPS * BATCH // SEGMENTED, help="steps of the segmentation networks"
    )
    parser.add_argument("--stage", choices=STAGES, nargs="+", default=list(STAGES))
    parser.set_defaults(load_before=os.getloadavg()[0])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    sizes = arguments.pictures, arguments.tests, arguments.pairs
    place = Workplace(arguments.out, arguments.train, arguments.test, *sizes, arguments.photos, arguments.labelled)
    for stage in arguments.stage:
        STAGES[stage](place, arguments)


if __name__ == "__main__":
    main()
