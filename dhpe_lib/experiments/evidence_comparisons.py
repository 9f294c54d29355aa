"""All gains that the claims are judged by, and some more, from the runs, the refined hands and the joints of others."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dhpe_lib.experiments.evidence_refinement import ITERATIONS, MODES
from dhpe_lib.experiments.evidence_results import (
    NAMES,
    Run,
    course,
    errors,
    gain,
    in_blocks,
    pck_of,
    pose_off,
    under_tau,
)

PARTS = {
    "f_Ref": ("without-refiner", "full"),
    "L_Ref": ("without-loss-ref", "full"),
    "2D losses": ("without-2d-losses", "without-refiner"),
    "2D losses of F": ("trunk-without-2d", "trunk-with-2d-and-joints"),
    "2D losses of F, F(x) alone": ("trunk-without-2d", "trunk-with-2d"),
    "L_J2D of F": ("trunk-without-2d", "trunk-with-j2d-and-joints"),
    "L_J2D of F, F(x) alone": ("trunk-without-2d", "trunk-with-j2d"),
    "L_Feat of F": ("trunk-with-j2d-and-joints", "trunk-with-2d-and-joints"),
    "training of F without 2D losses": ("trunk-start", "trunk-without-2d"),
    "shape loss": ("without-shape-loss", "shape-loss-of-all"),
    "shape loss of a quarter": ("without-shape-loss", "full"),
    "shape loss with weight 1": ("without-shape-loss", "small-shape-loss"),
    "shape loss with the exact silhouette": ("without-shape-loss", "exact-silhouette"),
    "shape loss with masks of whole hands": ("without-shape-loss", "whole-masks"),
    "shape loss as a sum": ("without-shape-loss", "shape-loss-as-sum"),
    "augmentation, few images": ("few", "few-novel-views"),
    "augmentation with true poses, few images": ("few", "few-true-views"),
    "augmentation, all images": ("full", "novel-views"),
    "lambda, sum": ("constant-lambda-as-sum", "shape-loss-as-sum"),
    "lambda, mean": ("constant-lambda", "full"),
    "L_h": ("full", "with-hand-loss"),
    "three iterations of the regressor": ("one-iteration", "full"),
    "five iterations of the regressor": ("full", "five-iterations"),
    "augmentation, equal real images": ("few-half-batch", "few-novel-views"),
    "f_Ref, few images": ("few-without-refiner", "few"),
    "2D losses, few images": ("few-without-2d-losses", "few-without-refiner"),
    "shape loss of a quarter, few images": ("few-without-shape-loss", "few"),
    "f_Ref that sees h(t+1), not h(t)": ("refiner-before", "full"),
    "shape loss with weight 50": ("without-shape-loss", "shape-loss-50"),
    "shape loss with weight 500": ("without-shape-loss", "shape-loss-500"),
    "lambda, weight 50": ("constant-lambda-50", "shape-loss-50"),
    "lambda, weight 500": ("constant-lambda-500", "shape-loss-500"),
    "600 steps instead of 100": ("weak-start", "full"),
    "L_Ref as a distance": ("full", "distance-ref"),
    "f_Ref with L_Ref as a distance": ("without-refiner", "distance-ref"),
    "erased joints in training": ("full", "erased-joints"),
    "shifted joints in training": ("full", "shifted-joints"),
    "f_Ref, erased joints in training": ("erased-joints-without-refiner", "erased-joints"),
    "600 more steps after 200": ("half-open", "half-open-without-shape-loss"),
    "shape loss with weight 50, half-open gates": ("half-open-without-shape-loss", "half-open-50"),
    "shape loss as a sum, half-open gates": ("half-open-without-shape-loss", "half-open-as-sum"),
    "constant lambda with weight 50, half-open gates": ("half-open-without-shape-loss", "half-open-constant-50"),
    "constant lambda as a sum, half-open gates": ("half-open-without-shape-loss", "half-open-constant-as-sum"),
    "lambda, weight 50, half-open gates": ("half-open-constant-50", "half-open-50"),
    "lambda, sum, half-open gates": ("half-open-constant-as-sum", "half-open-as-sum"),
    "lambda, weight 1, half-open gates": ("half-open-constant-1", "half-open-1"),
    "lambda, weight 500, half-open gates": ("half-open-constant-500", "half-open-500"),
    "augmentation with smaller shapes, few images": ("few", "few-smaller-shapes"),
    "shapes of children within 1.5, not 3": ("few-novel-views", "few-smaller-shapes"),
    "augmentation with near seeds, few images": ("few", "few-near-seeds"),
    "augmentation, few viewpoints": ("few-viewpoints", "few-viewpoints-novel-views"),
    "augmentation, few viewpoints, equal real images": ("few-viewpoints-half-batch", "few-viewpoints-novel-views"),
}
"""For each part of the method the variants without it and with it."""
CURVES = {
    "w/o test refinement": "full",
    "also w/o f_Ref": "without-refiner",
    "also w/o 2D losses (as HMR)": "without-2d-losses",
    "w/o shape loss, w/o refinement": "without-shape-loss",
    "w/o refinement, with augmentation": "novel-views",
}
"""Variants of Figs. 5d and 5e by their label. The variant *full* has no augmentation."""
SHAPE_CURVES = {"with shape loss": "shape-loss-of-all", "w/o shape loss": "without-shape-loss"}
"""Variants of Figs. 5a to 5c by their label; neither is refined."""

Refined = Mapping[str, Float[ndarray, "seeds t n 21"]]


def part_gains(runs: Mapping[str, Sequence[Run]]) -> dict[str, dict[str, Any]]:
    """Compute the gains of each part whose variants were trained.

    Args:
        runs: Runs of each variant; none if it was not trained.
    """
    found: dict[str, dict[str, Any]] = {}
    for part, (without, with_it) in PARTS.items():
        if runs[without] and runs[with_it]:
            found |= gains_of(part, runs[without], runs[with_it])
    return found


def gains_of(part: str, without: Sequence[Run], with_it: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """Compute the gains of a part: in errors and pose on each test, in instances under tau, and in speed."""
    found: dict[str, dict[str, Any]] = {}

    def add(name: str, quantity: Callable[[Sequence[Run]], ndarray], unit: str, more: bool = False) -> None:
        one = gain(quantity(without), quantity(with_it), unit, more)
        if np.isfinite(one["value"]):  # hands of ORH-O have no known pose
            found[f"{part}, {name}"] = one

    for test, name in ((test, name) for test, name in NAMES.items() if test in without[0].found):
        add(name, lambda some, test=test: in_blocks(test, errors(some, test)), "mm")  # type: ignore[misc]
        add(f"aligned, {name}", lambda some, test=test: in_blocks(test, errors(some, test, "C")), "mm")  # type: ignore[misc]
        add(f"pose, {name}", lambda some, test=test: in_blocks(test, pose_off(some, test)), "rad")  # type: ignore[misc]
    add("under tau", under_tau, "share", True)
    add("course", course, "mm")
    return found


def image_means(test: str, errors: Float[ndarray, "seeds t n 21"]) -> Float[ndarray, "seeds t _"]:
    """Mean error of the labelled joints of each image, or of each block of frames, mm."""
    rows = np.nanmean(errors, -1)
    return np.stack([in_blocks(test, rows[:, step]) for step in range(rows.shape[1])], 1)


def refinement_gains(test: str, refined: Refined) -> dict[str, dict[str, Any]]:
    """Compute the gains of the refinement on a test, as a whole and from one number of iterations to the next.

    Args:
        test: Name of the test's split.
        refined: Errors of the joints by seed, iteration and image for each mode, mm.
    """
    name = NAMES[test]
    fixed, kept, moving = (image_means(test, refined[mode]) for mode in MODES)
    found = {
        f"refinement, {name}": gain(moving[:, 0], moving[:, -1], "mm"),
        f"refinement, j2D(0) fixed, {name}": gain(fixed[:, 0], fixed[:, -1], "mm"),
        f"refinement, j2D(3) fixed, {name}": gain(kept[:, 0], kept[:, -1], "mm"),
        f"moving against fixed j2D, {name}": gain(fixed[:, -1], moving[:, -1], "mm"),
        f"j2D(3) against j2D(0), {name}": gain(fixed[:, -1], kept[:, -1], "mm"),
    }
    for k, (a, b) in enumerate(pairwise(ITERATIONS)):
        for label, rows in (("", moving), (", j2D(0) fixed", fixed), (", j2D(3) fixed", kept)):
            found[f"iterations {a} to {b}{label}, {name}"] = gain(rows[:, k], rows[:, k + 1], "mm")
    return found


def fit_gains(
    name: str, errors: Float[ndarray, "seeds 2 n 21"], refined: Float[ndarray, "seeds n 21"]
) -> dict[str, dict[str, Any]]:
    """Compare a fit without a network with the estimate that it starts from, and with its refinement.

    Args:
        name: Name of the test.
        errors: Errors of the joints of the estimate and of the fit, mm.
        refined: Errors after 50 steps of refinement of the same images.
    """
    both = np.stack((refined, errors[:, 1]), 1)
    return {
        f"fit without a network, {name}": gain_after(errors),
        f"fit without a network instead of refinement, {name}": gain_after(both),
    }


def gain_after(errors: Float[ndarray, "seeds 2 n 21"]) -> dict[str, Any]:
    """Compute the gain of the second errors over the first ones, mm."""
    before, after = np.nanmean(errors, -1).swapaxes(0, 1)
    return gain(before, after, "mm")


def weak_start_gains(test: str, refined: Refined) -> dict[str, dict[str, Any]]:
    """Compute the gain of each refinement of a variant that was trained for a short time only."""
    rows = {mode: image_means(test, errors) for mode, errors in refined.items()}
    return {
        f"refinement of a weak start, {mode}, {NAMES[test]}": gain(one[:, 0], one[:, -1], "mm")
        for mode, one in rows.items()
    }


def refinement_course(test: str, refined: Refined) -> dict[str, dict[str, Any]]:
    """Gain of each mode after each number of iterations."""
    rows = {mode: image_means(test, errors) for mode, errors in refined.items()}
    return {
        mode: {str(t): gain(one[:, 0], one[:, k], "mm") for k, t in enumerate(ITERATIONS) if t}
        for mode, one in rows.items()
    }


def landmark_gains(name: str, found: Mapping[str, ndarray], unit: str = "mm") -> dict[str, dict[str, Any]]:
    """Compute the gains of the shipped network over the hand landmark network on a test or on photos.

    Args:
        name: Name of the test or of the photos.
        found: Errors of the joints by protocol: "A" and so on of the hand landmark network, ``shipped_A`` of the
            shipped network. An image without a joint that counts is left out.
        unit: Unit of the errors.
    """
    gains = {}
    test = next((test for test, own in NAMES.items() if own == name), "")
    for protocol in ("A", "A8", "B", "C"):
        if protocol in found:
            counted = np.isfinite(found[protocol]).any(1)
            keys = f"shipped_{protocol}", protocol
            with_it, without = (in_blocks(test, np.nanmean(found[key][counted], 1)[None]) for key in keys)
            gains[f"instead of the hand landmark network, {protocol}, {name}"] = gain(without, with_it, unit)
    return gains


def pck_rows(runs: Mapping[str, Sequence[Run]], refined: Refined, test: str) -> dict[str, Any]:
    """PCK curves of Figs. 5d and 5e."""
    names = ("j2D(0) fixed in refinement", "j2D(3) fixed in refinement", "ours (j2D moved in refinement)")
    rows = {name: refined[mode][:, -1] for name, mode in zip(names, MODES, strict=True)}
    return {label: pck_of(errors_mm) for label, errors_mm in rows.items()} | pck_of_runs(runs, test, CURVES)


def pck_of_runs(runs: Mapping[str, Sequence[Run]], test: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """PCK curves of variants on a test by label; a variant that was not trained is left out."""
    return {
        label: pck_of(np.stack([run.errors[test]["A8"] for run in runs[name]]), test)
        for label, name in labels.items()
        if runs[name]
    }
