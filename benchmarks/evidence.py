"""Measure every claim of the paper's ablation on evidence that is found once; the chapter is *What each part is worth*.

    python benchmarks/evidence.py OUT --train SPLIT... --test ORH ORH-S ORH-O

Each stage writes files into OUT and skips those that are there, so the same command continues an interrupted run:
trainings of f_E3D, refinement, segmentation networks, meshes' masks, hand landmarks. The stages are those of
``dhpe_lib.experiments``. Stage "write" writes book/results/evidence.json from what is there.
"""

import argparse
import copy
import json
import os
from collections.abc import Mapping
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from reporting import write_result
from safetensors.torch import save_file
from torch import Tensor

from dhpe_lib.common.records import take_rows
from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.data.crops import Crops
from dhpe_lib.experiments.evidence_collapse import collapse_rows, masked_features
from dhpe_lib.experiments.evidence_comparisons import (
    PARTS,
    SHAPE_CURVES,
    fit_gain,
    landmark_gains,
    part_gains,
    pck_of_runs,
    pck_rows,
    refinement_course,
    refinement_gains,
    weak_start_gains,
)
from dhpe_lib.experiments.evidence_feature import (
    COURSES,
    feature_facts,
    feature_gains,
    feature_row,
    options_with,
    refined_courses,
)
from dhpe_lib.experiments.evidence_files import PAIR, SEEDS, Workplace
from dhpe_lib.experiments.evidence_forms import FEW, FORMS, STEPS, seen_by
from dhpe_lib.experiments.evidence_landmarks import landmark_errors
from dhpe_lib.experiments.evidence_masks import BATCH as SEGMENTED
from dhpe_lib.experiments.evidence_masks import (
    MASKED,
    all_counts,
    fit_first_segmenters,
    joined,
    kept_segmenters,
    mask_comparisons,
    mask_row,
    mesh_counts,
    segmented,
    segmented_file,
    shipped_predictions,
)
from dhpe_lib.experiments.evidence_masks import pictures as tested_pictures
from dhpe_lib.experiments.evidence_photos import (
    PHOTOS,
    photo_errors,
    photo_gains,
    refined_photo_errors,
    refined_photo_gains,
)
from dhpe_lib.experiments.evidence_pictures import mesh_masks, shown_images, stored_hands, stored_masks
from dhpe_lib.experiments.evidence_reasons import eigenvalues, told_apart
from dhpe_lib.experiments.evidence_refinement import MODES, estimate_of, fitted_errors, moved_px, refined_errors
from dhpe_lib.experiments.evidence_refinement import refined as refined_hands
from dhpe_lib.experiments.evidence_results import BLOCK, NAMES, errors_of, scores
from dhpe_lib.experiments.evidence_training import BATCH, TESTED, Batches, error_px, fit, new_regressor, predict, spread
from dhpe_lib.network.estimator import Estimator
from dhpe_lib.network.hand_landmarks import FEATURES
from dhpe_lib.network.regressor import Regressor
from dhpe_lib.refinement.test_time import EvidenceMode

FIG_6 = {"w/o shape loss": "without-shape-loss", "with shape loss": "shape-loss-of-all"}
"""Variants whose hands Fig. 6 shows."""
REFINED = ("orh_test", "orh-o_test")
"""Tests that are refined."""
REFINED_IMAGES, MOVED_IMAGES, FEATURE_IMAGES, FITTED_IMAGES = 512, 128, 64, 128
STAGES = (
    "train",
    "refine",
    "feature",
    "fit",
    "collapse",
    "photos",
    "segment",
    "meshes",
    "landmarks",
    "pictures",
    "write",
)


def train(place: Workplace, name: str, seed: int) -> None:
    """Train a variant, and write its predictions on the tests, its curve and its weights."""
    form, run = FORMS[name], f"runs/{name}_seed{seed}"

    def find() -> dict[str, ndarray]:
        novel = seen_by(form, place.novel_views(form.novel_views)) if form.novel_views else None
        batches = Batches(place.trained_for(form), novel, seed, form.few, form.half_batch)
        tests = {test: seen_by(form, evidence) for test, evidence in place.tested.items()}
        first = next(iter(tests))
        hand, some = place.network.hand, take_rows(tests[first], torch.arange(TESTED))
        training = fit(form, batches, hand, some, place.crops[first][:TESTED])
        values = {"curve": np.array(json.dumps(training.curve)), "under_tau": training.under_tau}
        for test, evidence in tests.items():
            found = predict(form, training.regressor, evidence, place.crops[test], hand)
            values |= {f"{test}.{field}": array for field, array in vars(found).items()}
        save_file(training.regressor.state_dict(), place.out / f"{run}.safetensors")
        print(f"{run}: {training.curve[-1]}", flush=True)
        return values

    place.kept_arrays(run, find)


def estimator_of(place: Workplace, name: str, seed: int) -> Estimator:
    """Return the shipped network with the f_E3D of a run, which sees F(x) and j2D alone."""
    network = copy.copy(place.network)
    network._modules = dict(place.network._modules)
    network.joint_reader = None
    network.regressor = regressor_of(place, name, seed)
    return network


def regressor_of(place: Workplace, name: str, seed: int) -> Regressor:
    """Return the f_E3D of a run."""
    regressor = new_regressor(FORMS[name], FEATURES, seed)
    regressor.load_state_dict(place.weights(name)[seed])
    return regressor.eval()


def refine(place: Workplace, test: str, mode: str, seed: int, name: str = "full") -> ndarray:
    """Return the errors along the refinement of a variant: iterations, images, joints."""

    def find() -> dict[str, ndarray]:
        rows = spread(len(place.tested[test]), REFINED_IMAGES)
        evidence = take_rows(seen_by(FORMS[name], place.tested[test]), rows)
        network = estimator_of(place, name, seed)
        return {"errors": refined_errors(network, evidence, place.crops[test][rows], mode)}

    own = "" if name == "full" else f"{name}_"
    return place.kept_arrays(f"refined/{own}{test}_{MODES.index(mode)}_seed{seed}", find)["errors"]


def refined(place: Workplace, test: str, name: str = "full") -> dict[str, ndarray]:
    """Return the errors of each mode: seeds, iterations, images, joints."""
    return {mode: np.stack([refine(place, test, mode, seed, name) for seed in range(SEEDS)]) for mode in MODES}


def photos(place: Workplace, name: str) -> dict[str, ndarray]:
    """Return the errors of a variant on each set of photos: seeds, photos."""

    def find() -> dict[str, ndarray]:
        form, found = FORMS[name], {}
        regressors = [regressor_of(place, name, seed) for seed in range(SEEDS)]
        for photo_set, evidence in place.photos.items():
            seen = seen_by(form, evidence)
            found[photo_set] = np.stack([photo_errors(form, one, seen, place.network.hand) for one in regressors])
        return found

    return place.kept_arrays(f"photos/{name}", find)


def refined_photos(place: Workplace) -> dict[str, ndarray]:
    """Errors of *full* on the photos with labels of a network along each refinement: seeds, steps, photos."""

    def find() -> dict[str, ndarray]:
        evidence, networks = seen_by(FORMS["full"], place.photos["pseudo"]), range(SEEDS)
        return {
            mode: np.stack(
                [refined_photo_errors(estimator_of(place, "full", seed), evidence, mode) for seed in networks]
            )
            for mode in MODES
        }

    return place.kept_arrays("photos/refined", find)


def fitted(place: Workplace, test: str) -> ndarray:
    """Return the errors of *full* before and after a fit without a network: seeds, 2, images, joints."""

    def find() -> dict[str, ndarray]:
        rows = spread(len(place.tested[test]), FITTED_IMAGES)
        evidence = take_rows(seen_by(FORMS["full"], place.tested[test]), rows)
        networks = [estimator_of(place, "full", seed) for seed in range(SEEDS)]
        return {"errors": np.stack([fitted_errors(one, evidence, place.crops[test][rows]) for one in networks])}

    return place.kept_arrays(f"fitted/{test}", find)["errors"]


def collapsed(place: Workplace) -> dict[str, dict[str, float]]:
    """Return what L_Feat does to features of ORH in each of its norms."""

    def find() -> dict[str, ndarray]:
        features = masked_features(place.network, place.tested["orh_test"], place.crops["orh_test"])
        return {"rows": np.array(json.dumps(collapse_rows(features)))}

    return json.loads(str(place.kept_arrays("collapse", find)["rows"]))


def photo_results(place: Workplace) -> dict[str, Any]:
    """Compute the gains and scores on the photos: "gains" and "photos"; nothing without photos."""
    names = [name for name in FORMS if place.file(f"photos/{name}").is_file()]
    errors, gains = {name: photos(place, name) for name in names}, {}
    for photo_set in place.photo_crops:
        gains |= photo_gains({name: one[photo_set] for name, one in errors.items()}, PARTS, PHOTOS[photo_set])
    if "pseudo" in place.photo_crops and names:
        gains |= refined_photo_gains(refined_photos(place))
    means = {name: {one: round(float(rows.mean()), 2) for one, rows in errors[name].items() if one in PHOTOS}
             for name in names}  # fmt: skip
    return {"gains": gains, "photos_px": means}


def likeness(place: Workplace) -> dict[str, Any]:
    """Compare the novel views of the estimated hands with the real images that they were made from."""
    real = take_rows(place.trained, spread(len(place.trained), FEW))
    novel = place.novel_views("predicted")
    features = (one.of_crop[:, :FEATURES].numpy() for one in (real, novel))
    px = {name: round(float(error_px(one.joints_2d, one.targets).mean()), 2) for name, one in
          (("real", real), ("novel views", novel))}  # fmt: skip
    return told_apart(*features, same=len(novel) // len(real)) | {"j2d_px": px, "rows": [len(real), len(novel)]}


def moved(place: Workplace, test: str) -> dict[str, float]:
    """Return the error of j2D on the way, if f_Ref moves it, for the first seed of the full variant."""
    evidence = seen_by(FORMS["full"], place.tested[test])
    some = take_rows(evidence, spread(len(evidence), MOVED_IMAGES))
    return {str(step): round(px, 2) for step, px in moved_px(estimator_of(place, "full", 0), some).items()}


def landmarks(place: Workplace, test: str) -> dict[str, ndarray]:
    """Return the errors of the hand landmark network, and of the shipped network on the same images."""

    def find() -> dict[str, ndarray]:
        evidence, crops = place.tested[test], place.crops[test]
        shipped = errors_of(shipped_predictions(place.network, evidence, crops))
        return landmark_errors(evidence, crops) | {f"shipped_{name}": rows for name, rows in shipped.items()}

    return place.kept_arrays(f"landmarks/{test}", find)


def feature_courses(place: Workplace, test: str) -> dict[tuple[EvidenceMode, float], dict[str, ndarray]]:
    """Return the courses of the shipped network's refinement by kind of j2D and weight of the feature term."""
    found = {}
    for evidence, weight in COURSES:
        find = partial(refined_courses, place.network, some_crops(place, test), options_with(weight, evidence))
        found[evidence, weight] = place.kept_arrays(f"feature/{test}_{evidence}_{weight:g}", find)
    return found


def some_crops(place: Workplace, test: str) -> Crops:
    """Return the crops that are refined with the feature term, which takes long."""
    (split,) = (one for one in place.tests if one.name == test)
    return split[split.evenly_spaced(FEATURE_IMAGES)]


def feature_row_of(place: Workplace, test: str) -> dict[str, float]:
    """Return gradients and values of the feature term."""
    find = partial(feature_facts, place.network, some_crops(place, test))
    return feature_row(place.kept_arrays(f"feature/{test}_facts", find))


def pictures(place: Workplace, steps: int) -> dict[str, Any]:
    """Return what Figs. 4 and 6 show: masks of hands without and with distractors, and hands of two variants."""
    network, hand = place.network, place.network.hand
    masks = []
    for test in ("orh_test", *PAIR):
        evidence, crops = tested_pictures(place, test)
        rows = spread(len(crops), 4)[1:3].tolist()
        images, some = shown_images(evidence, crops, rows), take_rows(evidence, torch.tensor(rows))
        found = {"true mask": some.targets.mask > 0.5, "mesh": mesh_masks(hand, estimate_of(network, some).h)}
        masks += stored_masks(images, found | network_masks(place, steps, images))
    rows = spread(len(place.tested["orh_test"]), 6)[1:5].tolist()
    some = take_rows(place.tested["orh_test"], torch.tensor(rows))
    hands = {}
    for label, name in FIG_6.items():
        own, seen = estimator_of(place, name, 0), seen_by(FORMS[name], some)
        hands[label] = estimate_of(own, seen).h
        hands[f"{label}, 20 steps of refinement"] = refined_hands(own, seen, MODES[2], 20).path[-1]
    return {"masks": masks, "hands": stored_hands(shown_images(some, place.crops["orh_test"], rows), hands)}


def network_masks(place: Workplace, steps: int, images: Tensor) -> dict[str, Tensor]:
    """Return the masks of the segmentation networks of the first seed, if their weights were kept."""
    networks = kept_segmenters(place, steps)
    with torch.no_grad():
        return {name: network(images) > 0 for name, network in networks.items()}


def results_of(place: Workplace, steps: int) -> dict[str, Any]:
    """Compute the rows of the result file from what was measured."""
    runs = {name: place.load_runs(name) for name in FORMS}
    raw = {test: refined(place, test) for test in REFINED}
    counts = all_counts(place, steps)
    gains = part_gains(runs)
    for test, modes in raw.items():
        gains |= refinement_gains(NAMES[test], modes)
        if runs["weak-start"]:
            gains |= weak_start_gains(NAMES[test], refined(place, test, "weak-start"))
        gains[f"fit without a network, {NAMES[test]}"] = fit_gain(fitted(place, test))
        gains |= feature_gains(NAMES[test], feature_courses(place, test))
    gains |= mask_comparisons(counts)
    of_photos = photo_results(place)
    gains |= of_photos.pop("gains")
    for test, name in NAMES.items():
        if place.file(f"landmarks/{test}").is_file():
            gains |= landmark_gains(name, landmarks(place, test))
    return {
        "setting": setting(place, steps),
        "comparisons": gains,
        "forms": {
            name: {"tests": {test: scores(group, test) for test in NAMES}, "curves": [run.curve for run in group]}
            for name, group in runs.items()
            if group
        },
        "refinement": {test: refinement_course(modes) for test, modes in raw.items()},
        "moved_j2d_px": {test: moved(place, test) for test in REFINED},
        **of_photos,
        "feature_term": {test: feature_row_of(place, test) for test in raw},
        "pck": {test: pck_rows(runs, modes, test) for test, modes in raw.items()},
        "pck_shape_loss": {test: pck_of_runs(runs, test, SHAPE_CURVES) for test in NAMES},
        "feature_loss": collapsed(place),
        "f_ref_eigenvalue": eigenvalues({name: place.weights(name) for name in FORMS}),
        "novel_views_told_apart": likeness(place),
        "masks": {
            MASKED[test]: {who: mask_row(one) for who, one in joined(test, rows).items()}
            for test, rows in counts.items()
        },
    }


def setting(place: Workplace, steps: int) -> dict[str, Any]:
    """Describe the data and the budget."""

    def facts(split: Prepared, rows: ndarray) -> dict[str, Any]:
        source = {"dataset": split.meta["dataset"], "engine": split.meta["source"]["engine"]}
        sequences = len({split.ids[row].split("/")[0] for row in rows})
        return source | {"images": len(rows), "sequences": sequences, "sha256": split.meta["sha256"][:16]}

    return {
        "train": [facts(split, rows) for split, rows in zip(place.train, place.rows, strict=True) if len(rows)],
        "test": [facts(split, place.test_rows[split.name]) for split in place.tests],
        "seeds": SEEDS,
        "steps": STEPS,
        "batch": BATCH,
        "images_seen": STEPS * BATCH,
        "few": FEW,
        "refined_images": REFINED_IMAGES,
        "moved_images": MOVED_IMAGES,
        "curve_images": TESTED,
        "block_of_frames": BLOCK,
        "segmentation": segmentation_setting(place, steps),
    }


def segmentation_setting(place: Workplace, steps: int) -> Mapping[str, Any]:
    """Describe the budget of the segmentation networks; nothing if they were not trained."""
    if not place.file(segmented_file(steps)).is_file():
        return {}
    minutes = float(segmented(place, steps)["seconds"]) / 60
    return {
        "steps": steps, "batch": SEGMENTED, "images_seen": steps * SEGMENTED, "seeds": SEEDS,
        "minutes_of_all": round(minutes, 1), "pairs": place.pairs,
    }  # fmt: skip


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
    parser.add_argument("--segment-steps", type=int, default=500, help="steps of the segmentation networks")
    parser.add_argument("--stage", choices=STAGES, nargs="+", default=list(STAGES))
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    sizes = arguments.pictures, arguments.tests, arguments.pairs
    place = Workplace(arguments.out, arguments.train, arguments.test, *sizes, arguments.photos, arguments.labelled)
    if "train" in arguments.stage:
        for name in arguments.form:
            for seed in range(SEEDS):
                train(place, name, seed)
    if "refine" in arguments.stage:
        for test, name in product(REFINED, ("full", "weak-start")):
            if place.weights(name):
                refined(place, test, name)
    if "feature" in arguments.stage:
        for test in REFINED:
            feature_row_of(place, test)
            feature_courses(place, test)
    if "fit" in arguments.stage:
        for test in REFINED:
            fitted(place, test)
    if "collapse" in arguments.stage:
        collapsed(place)
    if "photos" in arguments.stage and place.photo_crops:
        for name in arguments.form:
            if place.weights(name):
                photos(place, name)
        if "pseudo" in place.photo_crops:
            refined_photos(place)
    if "segment" in arguments.stage:
        segmented(place, arguments.segment_steps)
    if "meshes" in arguments.stage:
        for test in MASKED:
            mesh_counts(place, test)
    if "landmarks" in arguments.stage:
        for test in place.tested:
            landmarks(place, test)
    if "pictures" in arguments.stage:
        fit_first_segmenters(place, arguments.segment_steps)
    if "write" in arguments.stage:
        write_result("evidence_pictures", pictures(place, arguments.segment_steps), 0, load, show=False)
        write_result("evidence", results_of(place, arguments.segment_steps), 0, load, show=False)


if __name__ == "__main__":
    main()
