"""Compute every row of ``evidence.json`` from the predictions of the trained variants."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dhpe_lib.evaluation.evaluate import Predictions, protocol_errors, rounded
from dhpe_lib.evaluation.mask_metrics import mask_scores
from dhpe_lib.evaluation.metrics import THRESHOLDS, auc, mean_epe
from dhpe_lib.experiments.claims import paired_interval

PLACES = {"mm": 2, "rad": 4, "share": 4, "IoU": 4}
NAMES = {"orh_test": "ORH", "orh-s_test": "ORH-S", "orh-o_test": "ORH-O"}
"""Names of the tests in the names of comparisons."""
Curve = list[dict[str, float]]


@dataclass(frozen=True)
class Run:
    """The kept results of a training.

    Attributes:
        found: Predictions on each test.
        curve: Curve of Fig. 5f.
        under_tau: Whether the 2D error of some training images is below tau: 1 or 0.
    """

    found: Mapping[str, Predictions]
    curve: Curve
    under_tau: Float[ndarray, " n"]

    @cached_property
    def errors(self) -> dict[str, dict[str, ndarray]]:
        """Errors of the joints on each test in each protocol, mm."""
        return {test: errors_of(found) for test, found in self.found.items()}


def errors_of(found: Predictions) -> dict[str, Float[ndarray, "_ 21"]]:
    """Errors of the joints in each protocol, mm; all of them, also "B" and "C", are of the points of A8."""
    return protocol_errors(replace(found, joints_mm=found.eq8_mm))


def run_from(values: Mapping[str, Any], curve: Curve) -> Run:
    """Sort the arrays of a run's file, whose names are ``test.field``."""
    tests = dict.fromkeys(name.partition(".")[0] for name in values if "." in name)
    found = {
        test: Predictions(**{field.name: values[f"{test}.{field.name}"] for field in fields(Predictions)})
        for test in tests
    }
    return Run(found, curve, values["under_tau"].astype(float))


def errors(runs: Sequence[Run], test: str, protocol: str = "A8") -> Float[ndarray, "seeds n"]:
    """Mean error of the labelled joints of each image, mm."""
    return np.stack([np.nanmean(run.errors[test][protocol], 1) for run in runs])


def pose_off(runs: Sequence[Run], test: str) -> Float[ndarray, "seeds n"]:
    """Root of the mean square error of each image's pose, radians."""
    return np.stack(
        [np.sqrt(np.square((run.found[test].hand - run.found[test].true_hand)[:, :45]).mean(1)) for run in runs]
    )


def under_tau(runs: Sequence[Run]) -> Float[ndarray, "seeds n"]:
    """Whether each of some training images is within tau: 1 or 0."""
    return np.stack([run.under_tau for run in runs])


def course(runs: Sequence[Run]) -> Float[ndarray, "seeds 1"]:
    """Mean test error over the steps of the training, mm: it is smaller if the training is faster."""
    return np.array([[np.mean([point["epe_a_mm"] for point in run.curve])] for run in runs])


def gain(
    without: Float[ndarray, "seeds n"], with_it: Float[ndarray, "seeds n"], unit: str, more: bool = False
) -> dict[str, Any]:
    """Compare a quantity without and with a part of the method.

    Args:
        without: The quantity without the part, for each seed and image.
        with_it: The quantity with it.
        unit: "mm", "rad", "share" or "IoU".
        more: Whether a larger quantity is better.

    Returns:
        A dict for JSON: the mean gain, which is positive if the part helps, its interval, the gain of each seed, the
        quantity without and with the part, and `of`, the size by which a gain is judged.
    """
    gains = (with_it - without) * (1 if more else -1)
    places = PLACES[unit]
    seeds = [round(float(value), places) for value in gains.mean(1)]
    return {
        **rounded(paired_interval(gains), places),
        "seeds": seeds,
        "images": gains.shape[1],
        "without": round(float(without.mean()), places),
        "with": round(float(with_it.mean()), places),
        "of": round(float(without.mean()), places),
        "unit": unit,
        "places": 3 if unit in ("rad", "IoU", "share") else 1 if abs(without.mean()) > 50 else 2,
    }


def scores(runs: Sequence[Run], test: str) -> dict[str, Any]:
    """Scores of a variant on a test, for JSON: each with a value for each seed."""

    def row(values: Sequence[float], places: int) -> dict[str, Any]:
        return {
            "mean": round(float(np.mean(values)), places),
            "seeds": [round(float(value), places) for value in values],
        }

    found = [run.found[test] for run in runs]
    every = [run.errors[test] for run in runs]
    result = {
        "epe_a_mm": row([mean_epe(one["A8"]) for one in every], 2),
        "epe_c_mm": row([mean_epe(one["C"]) for one in every], 2),
        "auc_20-50": row([auc(one["A8"], THRESHOLDS["20-50"]) for one in every], 4),
        "auc_0-100": row([auc(one["A8"], THRESHOLDS["0-100"]) for one in every], 4),
        "mesh_px": row([float(one.error_px.mean()) for one in found], 2),
        "j2d_first_px": row([float(one.first_px.mean()) for one in found], 2),
        "j2d_last_px": row([float(one.last_px.mean()) for one in found], 2),
    }
    if np.isfinite(pose := pose_off(runs, test)).all():
        result["pose_rad"] = row(pose.mean(1).tolist(), 4)
    if all(one.counts.any() for one in found):
        result["mask_iou"] = row([mask_scores(one.counts[one.counts.any(1)]).iou for one in found], 4)
    return result


def pck_of(rows: Float[ndarray, "n _"]) -> dict[str, Any]:
    """PCK curve with its 95 % band over images for JSON, from 20 to 50 mm, or from 0 to 100 mm for fingertips alone.

    Args:
        rows: Errors of each image, mm; a joint is labelled in all images or in none.
    """
    labelled = ~np.isnan(rows).all(0)
    grid = "20-50" if labelled.all() else "0-100"
    shares = (rows[:, labelled, None] <= THRESHOLDS[grid]).mean(1)
    value, width = shares.mean(0), 1.96 * shares.std(0, ddof=1) / np.sqrt(len(rows))
    curves = {"value": value, "low": value - width, "high": value + width}
    return {"grid": grid} | {name: curve.round(4).tolist() for name, curve in curves.items()}
