"""Compute every row of ``evidence.json`` from the predictions of the trained variants."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.integrate import trapezoid

from dhpe_lib.evaluation.alignment import align_similarity
from dhpe_lib.evaluation.evaluate import Predictions
from dhpe_lib.evaluation.mask_metrics import mask_scores
from dhpe_lib.evaluation.metrics import THRESHOLDS, joint_errors
from dhpe_lib.evaluation.scores import rounded
from dhpe_lib.experiments.claims import paired_interval, pooled_interval
from dhpe_lib.network.trained import default_weights

HASH = 16
"""Digits of a hash that are kept."""
PLACES = {"mm": 2, "px": 2, "rad": 4, "share": 4, "IoU": 4}
NAMES = {"orh_test": "ORH", "orh-s_test": "ORH-S", "orh-o_test": "ORH-O"}
"""Names of the tests in the names of comparisons."""
SEQUENCES, BLOCKS = ("orh-s_test",), 16
"""Tests whose images are frames of sequences. Intervals are over so many blocks of neighbouring frames: over frames
they would be too narrow. Half of the blocks of ORH-S are in each of its two sequences, which have equally many frames.
No interval knows other sequences."""
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


VERSIONS = {
    "d47299ada68de229": "fourth",
    "7330445e25b042ca": "fifth",
    "4387de00ec0eb462": "sixth",
    "c0e21cc207f0385d": "seventh",
}
"""Versions of the light network by the first digits of the SHA-256 of their weights."""


def network_facts() -> dict[str, str]:
    """Name the network whose F and f_J2D are measured: the hash of the shipped weights."""
    return {"sha256": hashlib.sha256(default_weights().read_bytes()).hexdigest()[:HASH]}


def network_text(file: Mapping[str, Any]) -> str:
    """Say which network a result file of the evidence is about, and which one the library ships today.

    Args:
        file: `evidence.json`.
    """
    measured, today = file["results"]["setting"]["network"]["sha256"], network_facts()["sha256"]
    shipped = "this network" if measured == today else version_text(today)
    return f"{version_text(measured)}, measured on {file['date']}; the library ships {shipped} today"


def version_text(sha256: str) -> str:
    """Name a light network by the beginning of the SHA-256 of its weights."""
    return f"the {VERSIONS.get(sha256, 'newer')} light network (weights {sha256[:6]})"


def errors_of(found: Predictions) -> dict[str, Float[ndarray, "_ 21"]]:
    """Errors of the joints in protocols A8 and C, mm; those of "C" are of the points of A8, too.

    Protocol B is left out: a variant whose hands shrink to a point cannot be aligned by a bone.
    """
    truth = found.truth_mm
    return {"A8": joint_errors(found.eq8_mm, truth), "C": joint_errors(align_similarity(found.eq8_mm, truth), truth)}


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
        unit: "mm", "px", "rad", "share" or "IoU".
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
    """Scores of a variant on a test, for JSON: each with its mean, its interval and a value for each seed."""

    def row(values: Float[ndarray, "seeds n"], places: int) -> dict[str, Any]:
        interval = paired_interval(in_blocks(test, values))
        seeds = [round(float(value), places) for value in values.mean(1)]
        ends = {end: round(getattr(interval, end), places) for end in ("low", "high")}
        return {"mean": round(float(values.mean()), places), **ends, "seeds": seeds}

    def area(grid: str) -> Float[ndarray, "seeds n"]:
        return np.stack([image_areas(run.errors[test]["A8"], THRESHOLDS[grid]) for run in runs])

    found = [run.found[test] for run in runs]
    result = {
        "epe_a_mm": row(errors(runs, test), 2),
        "epe_c_mm": row(errors(runs, test, "C"), 2),
        "auc_20-50": row(area("20-50"), 4),
        "auc_0-100": row(area("0-100"), 4),
        "mesh_px": row(np.stack([one.error_px for one in found]), 2),
        "j2d_first_px": row(np.stack([one.first_px for one in found]), 2),
        "j2d_last_px": row(np.stack([one.last_px for one in found]), 2),
    }
    if np.isfinite(pose := pose_off(runs, test)).all():
        result["pose_rad"] = row(pose, 4)
    if (counts := np.stack([one.counts for one in found])).any():
        result["mask_iou"] = iou_score(test, counts)
    return result


def image_areas(rows: Float[ndarray, "n 21"], thresholds: Float[ndarray, " t"]) -> Float[ndarray, " n"]:
    """Area under the PCK curve of each image; their mean is the AUC if all images have the same labelled joints."""
    labelled = ~np.isnan(rows).all(0)
    shares = (rows[:, labelled, None] <= thresholds).mean(1)
    return trapezoid(shares, thresholds, axis=1) / (thresholds[-1] - thresholds[0])


def iou_score(test: str, counts: Int[ndarray, "seeds n 3"]) -> dict[str, Any]:
    """Pooled IoU with its interval and that of each seed."""
    interval = pooled_interval(iou, in_blocks(test, counts, np.sum))
    seeds = [round(iou(one), 4) for one in counts]
    return {"mean": round(float(np.mean(seeds)), 4), "low": round(interval.low, 4), "high": round(interval.high, 4),
            "seeds": seeds}  # fmt: skip


def iou(counts: Int[ndarray, "n 3"]) -> float:
    """Pooled IoU."""
    return mask_scores(counts).iou


def in_blocks(test: str, rows: ndarray, join: Callable[..., ndarray] = np.mean) -> ndarray:
    """Join neighbouring frames of a sequence, which are no independent images; other tests stay as they are.

    Args:
        test: Name of the test.
        rows: Values with the axes seeds, images and others.
        join: Mean or sum.

    Returns:
        The values of ``BLOCKS`` blocks of equally many frames; the last frames that do not fill a block are left out.
        Fewer than two frames a block stay as they are.
    """
    size = rows.shape[1] // BLOCKS
    if test not in SEQUENCES or size < 2:
        return rows
    return join(rows[:, : size * BLOCKS].reshape(len(rows), BLOCKS, size, *rows.shape[2:]), axis=2)


def pck_of(rows: Float[ndarray, "seeds n 21"], test: str = "") -> dict[str, Any]:
    """PCK curve with its 95 % band over seeds and images, from 20 to 50 mm, or from 0 to 100 mm for fingertips alone.

    Args:
        rows: Errors of the joints, mm; a joint is labelled in all images or in none.
        test: Name of the test; the band of a sequence is over blocks of frames.

    Returns:
        A dict for JSON.
    """
    labelled = ~np.isnan(rows).all((0, 1))
    grid = "20-50" if labelled.all() else "0-100"
    shares = in_blocks(test, (rows[..., labelled, None] <= THRESHOLDS[grid]).mean(2))
    points = [paired_interval(shares[..., k]) for k in range(shares.shape[-1])]
    curves = {name: [round(float(getattr(one, name)), 4) for one in points] for name in ("value", "low", "high")}
    return {"grid": grid, "images": rows.shape[1]} | curves
