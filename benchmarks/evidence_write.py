"""The content of the result files of ``evidence.py``; what its stages did not measure is left out."""

from collections.abc import Mapping
from typing import Any

import torch
from evidence_stages import (
    FEATURE_IMAGES,
    FITTED_IMAGES,
    LONG_IMAGES,
    MOVED_IMAGES,
    REFINED,
    collapsed,
    estimator_of,
    feature_course,
    feature_file,
    feature_row_of,
    fitted,
    has_feature_row,
    landmarks,
    likeness,
    moved,
    photo_landmarks,
    photo_results,
    refined,
    refined_as_fitted,
    refined_long,
    refinement_is_there,
    rigid,
)
from numpy import ndarray
from torch import Tensor

from dhpe_lib.common.records import take_rows
from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.experiments.evidence_comparisons import (
    SHAPE_CURVES,
    fit_gains,
    gain_after,
    landmark_gains,
    part_gains,
    pck_of_runs,
    pck_rows,
    refinement_course,
    refinement_gains,
    weak_start_gains,
)
from dhpe_lib.experiments.evidence_feature import FEATURE_FORMS, feature_gains
from dhpe_lib.experiments.evidence_files import PAIR, SEEDS, Workplace
from dhpe_lib.experiments.evidence_forms import FEW, FORMS, STEPS, seen_by
from dhpe_lib.experiments.evidence_masks import BATCH as SEGMENTED
from dhpe_lib.experiments.evidence_masks import (
    MASKED,
    all_counts,
    joined,
    mask_comparisons,
    mask_row,
    segmenters,
    segmenters_are_there,
    segmenters_minutes,
)
from dhpe_lib.experiments.evidence_masks import pictures as tested_pictures
from dhpe_lib.experiments.evidence_photos import PHOTOS
from dhpe_lib.experiments.evidence_pictures import mesh_masks, shown_images, stored_hands, stored_masks
from dhpe_lib.experiments.evidence_reasons import eigenvalues
from dhpe_lib.experiments.evidence_refinement import MODES, estimate_of
from dhpe_lib.experiments.evidence_refinement import refined as refined_hands
from dhpe_lib.experiments.evidence_results import BLOCKS, NAMES, network_facts, scores
from dhpe_lib.experiments.evidence_training import BATCH, TESTED, spread
from dhpe_lib.experiments.evidence_trunks import BUDGET as TRUNK_BUDGET
from dhpe_lib.experiments.evidence_trunks import TRUNK_INPUT, TRUNK_RUNS

FIG_6 = {"w/o shape loss": "without-shape-loss", "with shape loss": "shape-loss-of-all"}
"""Variants whose hands Fig. 6 shows."""


def pictures(place: Workplace, steps: int) -> dict[str, Any]:
    """Return what Figs. 4 and 6 show: masks of hands without and with distractors, and hands of two variants."""
    network, hand = place.network, place.network.hand
    masks = []
    for test in filter(place.is_kept, ("orh_test", *PAIR)):
        evidence, crops = tested_pictures(place, test)
        rows = spread(len(crops), 4)[1:3].tolist()
        images, some = shown_images(evidence, crops, rows), take_rows(evidence, torch.tensor(rows))
        found = {"true mask": some.targets.mask > 0.5, "mesh": mesh_masks(hand, estimate_of(network, some).h)}
        masks += stored_masks(images, found | network_masks(place, steps, images))
    rows = spread(len(place.tested["orh_test"]), 6)[1:5].tolist()
    whole = place.tested["orh_test"]
    some = take_rows(whole, torch.tensor(rows))
    hands = {}
    for label, name in FIG_6.items():
        if not place.weights(name):
            continue
        own, seen = estimator_of(place, name, 0), seen_by(FORMS[name], some)
        hands[label] = estimate_of(own, seen).h
        hands[f"{label}, 20 steps of refinement"] = refined_hands(own, seen, MODES[2], 20).path[-1]
    return {"masks": masks, "hands": stored_hands(shown_images(whole, place.crops["orh_test"], rows), hands)}


def network_masks(place: Workplace, steps: int, images: Tensor) -> dict[str, Tensor]:
    """Return the masks of the segmentation networks of the first seed, if they were trained."""
    if not segmenters_are_there(place, steps):
        return {}
    with torch.no_grad():
        return {name: network(images) > 0 for name, network in segmenters(place, steps, 0).items()}


def results_of(place: Workplace, steps: int) -> dict[str, Any]:
    """Compute the rows of the result file from what was measured; what was not measured is left out."""
    runs = {name: place.load_runs(name) for name in (*FORMS, *TRUNK_RUNS)}
    raw = {test: refined(place, test) for test in place.tested if refinement_is_there(place, test, "full")}
    counts = all_counts(place, steps)
    gains = part_gains(runs) | mask_comparisons(counts)
    for test in place.tested:
        gains |= refinement_gains(test, raw[test]) if test in raw else {}
        gains |= gains_of_test(place, test)
    of_photos = photo_results(place)
    gains |= of_photos.pop("gains")
    if place.file("landmarks/photos").is_file():
        gains |= landmark_gains(PHOTOS["labelled"], photo_landmarks(place), "px")
    return {
        "setting": setting(place, steps),
        "comparisons": gains,
        "forms": {
            name: {
                "tests": {test: scores(group, test) for test in place.tested},
                "curves": [one.curve for one in group],
            }
            for name, group in runs.items()
            if group
        },
        "refinement": {test: refinement_course(test, modes) for test, modes in raw.items()},
        "moved_j2d_px": {test: moved(place, test) for test in raw},
        **of_photos,
        "feature_term": {test: feature_row_of(place, test) for test in REFINED if has_feature_row(place, test)},
        "pck": {test: pck_rows(runs, raw[test], test) for test in REFINED if test in raw},
        "pck_shape_loss": {test: pck_of_runs(runs, test, SHAPE_CURVES) for test in place.tested},
        "feature_loss": collapsed(place) if place.file("collapse").is_file() else {},
        "f_ref_eigenvalue": eigenvalues({name: place.weights(name) for name in FORMS}),
        "novel_views_told_apart": likeness(place) if place.is_kept("novel_predicted") else {},
        "masks": {
            MASKED[test]: {who: mask_row(one) for who, one in joined(test, rows).items()}
            for test, rows in counts.items()
        },
    }


def gains_of_test(place: Workplace, test: str) -> dict[str, Any]:
    """Compute the gains on a test that need no run of a variant, as far as they were measured."""
    name, gains = NAMES[test], {}
    if refinement_is_there(place, test, "weak-start"):
        gains |= weak_start_gains(test, refined(place, test, "weak-start"))
    if place.file(f"fitted/{test}").is_file() and refinement_is_there(place, test, "full"):
        gains |= fit_gains(name, fitted(place, test), refined_as_fitted(place, test))
    if place.file(f"refined_long/{test}").is_file():
        gains[f"iterations 50 to 100, j2D(3) fixed, {name}"] = gain_after(refined_long(place, test))
    there = [form for form in FEATURE_FORMS if place.file(feature_file(test, form)).is_file()]
    gains |= feature_gains(name, {form: feature_course(place, test, form) for form in there})
    if place.file(f"landmarks/{test}").is_file():
        gains |= landmark_gains(name, landmarks(place, test))
    if place.file(f"landmarks/{test}_rigid").is_file():
        gains |= landmark_gains(name, rigid(place, test))
    return gains


def setting(place: Workplace, steps: int) -> dict[str, Any]:
    """Describe the data and the budget."""

    def facts(split: Prepared, rows: ndarray) -> dict[str, Any]:
        source = {"dataset": split.meta["dataset"], "engine": split.meta["source"]["engine"]}
        sequences = len({split.ids[row].split("/")[0] for row in rows})
        return source | {"images": len(rows), "sequences": sequences, "sha256": split.meta["sha256"][:16]}

    return {
        "train": [facts(split, rows) for split, rows in zip(place.train, place.rows, strict=True) if len(rows)],
        "test": [facts(split, place.test_rows[split.name]) for split in place.tests],
        "network": network_facts(),
        "seeds": SEEDS,
        "steps": STEPS,
        "batch": BATCH,
        "images_seen": STEPS * BATCH,
        "few": FEW,
        "moved_images": MOVED_IMAGES,
        "feature_images": FEATURE_IMAGES,
        "fitted_images": FITTED_IMAGES,
        "long_images": LONG_IMAGES,
        "curve_images": TESTED,
        "blocks_of_frames": BLOCKS,
        "segmentation": segmentation_setting(place, steps),
        "trunks": {
            "steps": TRUNK_BUDGET.steps, "batch": TRUNK_BUDGET.batch, "input_px": TRUNK_INPUT,
            "images_seen": TRUNK_BUDGET.steps * TRUNK_BUDGET.batch,
        },
    }  # fmt: skip


def segmentation_setting(place: Workplace, steps: int) -> Mapping[str, Any]:
    """Describe the budget of the segmentation networks; nothing if they were not trained."""
    if not segmenters_are_there(place, steps):
        return {}
    return {
        "steps": steps, "batch": SEGMENTED, "images_seen": steps * SEGMENTED, "seeds": SEEDS,
        "minutes_of_all": round(segmenters_minutes(place, steps), 1), "pairs": place.pairs,
    }  # fmt: skip
