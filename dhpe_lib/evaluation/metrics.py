"""Measures of an estimate: end-point error, PCK and AUC of joints, F-score of a surface, and confidence intervals.

All begin with one row for each image, the errors of its joints; a measure is a function of such rows, and
:func:`bootstrap` draws the rows anew. A joint without truth is NaN there and drops out; a joint that has a truth
and no prediction is infinitely far and counts as missed. Averages are those of Zimmermann and Brox's `EvalUtil`: over
the images for each joint, then over the joints that were seen at all. Lengths are in millimetres; nothing here has a
gradient. How a prediction comes to lie where it can be compared is in :mod:`dhpe_lib.evaluation.alignment`; masks are in
:mod:`dhpe_lib.evaluation.mask_metrics`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Shaped
from numpy import ndarray
from scipy.integrate import trapezoid
from scipy.spatial import cKDTree

Measure = TypeVar("Measure", float, ndarray)

# Where a PCK curve is sampled, millimetres. "zimmermann" is what their "20-50" really is: 12 of 20 points from 0 to 50.
THRESHOLDS: dict[str, ndarray] = {
    "20-50": np.linspace(20, 50, 61),
    "0-50": np.linspace(0, 50, 101),
    "0-100": np.linspace(0, 100, 201),
    "zimmermann": np.linspace(0, 50, 20)[8:],
    "freihand": np.linspace(0, 50, 100),
}


def joint_errors(
    predicted: Float[ndarray, "n k 3"], truth: Float[ndarray, "n k 3"], valid: Bool[ndarray, "n k"] | None = None
) -> Float[ndarray, "n k"]:
    """Distance of each predicted joint, or vertex, to its truth.

    Args:
        predicted: In the same frame as the truth, mm. Where it is NaN, the joint is missed: its error is infinite.
        truth: NaN where unknown, mm.
        valid: Which joints count, for instance the visible ones; by default all with a truth.

    Returns:
        Distances in mm; NaN where a joint does not count.

    Raises:
        ValueError: The shapes differ, or `valid` is not one boolean for each joint.

    Source: Zimmermann and Brox 2017, Sec. 6.
    """
    if np.shape(predicted) != np.shape(truth):
        raise ValueError(
            f"predicted has shape {np.shape(predicted)}, truth {np.shape(truth)}; give one row for each image"
        )
    if valid is not None and (valid.shape != truth.shape[:-1] or valid.dtype != bool):
        raise ValueError(
            f"valid has shape {valid.shape} and type {valid.dtype}; give one boolean for each joint, {truth.shape[:-1]}"
        )
    distances = np.linalg.norm(predicted - truth, axis=-1)
    distances[np.isnan(distances)] = np.inf
    counts = np.isfinite(truth).all(-1) if valid is None else np.isfinite(truth).all(-1) & valid
    return np.where(counts, distances, np.nan)


def mean_epe(errors: Float[ndarray, "n k"]) -> float:
    """Mean end-point error: over the images, then over the joints.

    Args:
        errors: From :func:`joint_errors`, mm.

    Returns:
        mm.

    Raises:
        ValueError: No joint counts.

    Source: `EvalUtil` of hand3d. With every joint labelled it is the MPJPE, of vertices the MPVPE.
    """
    return float(np.nanmean(_seen(errors), axis=0).mean())


def median_epe(errors: Float[ndarray, "n k"]) -> float:
    """Median end-point error: each joint's median over the images, then their mean.

    Args:
        errors: From :func:`joint_errors`, mm.

    Returns:
        mm.

    Raises:
        ValueError: No joint counts.

    Source: `EvalUtil` of hand3d. It is not the median of all errors.
    """
    return float(np.nanmedian(_seen(errors), axis=0).mean())


def pck(errors: Float[ndarray, "n k"], thresholds: Float[ndarray, " t"]) -> Float[ndarray, " t"]:
    r"""Share of correct keypoints: :math:`PCK(t) = \text{mean}_k\, P(e_k \le t)`.

    Args:
        errors: From :func:`joint_errors`, mm.
        thresholds: mm, for instance one of ``THRESHOLDS``.

    Returns:
        Shares from 0 to 1, one for each threshold.

    Raises:
        ValueError: No joint counts.

    Source: `EvalUtil` of hand3d; the curves of Fig. 5.
    """
    seen = _seen(errors)
    labelled = (~np.isnan(seen)).sum(0)
    return np.array([((seen <= threshold).sum(0) / labelled).mean() for threshold in thresholds])


def area_under_curve(thresholds: Float[ndarray, " t"], curve: Float[ndarray, " t"]) -> float:
    """Area under a curve by trapezoids, over the range's width: 1 where the curve is 1 throughout.

    Args:
        thresholds: Increasing, mm.
        curve: Its value at each.

    Returns:
        From 0 to 1 for a PCK curve.

    Raises:
        ValueError: There are fewer than two thresholds, or they do not increase.
    """
    if len(thresholds) < 2 or not (np.diff(thresholds) > 0).all():
        raise ValueError("an area needs two or more thresholds, each larger than the one before")
    return float(trapezoid(curve, thresholds) / (thresholds[-1] - thresholds[0]))


def auc(errors: Float[ndarray, "n k"], thresholds: Float[ndarray, " t"]) -> float:
    """Area under the PCK curve; say with it over which thresholds.

    Args:
        errors: From :func:`joint_errors`, mm.
        thresholds: mm, for instance ``THRESHOLDS["20-50"]``.

    Returns:
        From 0 to 1.

    Raises:
        ValueError: No joint counts, or the thresholds make no range.

    Source: Fig. 5.
    """
    return area_under_curve(thresholds, pck(errors, thresholds))


def f_scores(
    predicted: Float[ndarray, "n v 3"], truth: Float[ndarray, "n w 3"], thresholds: Sequence[float] = (5.0, 15.0)
) -> Float[ndarray, "n t"]:
    """F@t of each hand: harmonic mean of the shares of predicted and of true points that lie within t of the other set.

    Args:
        predicted: Vertices, mm; no correspondence is needed. One that is not finite is near nothing: it is missed.
        truth: Vertices, mm. Those that are not finite are unknown and drop out.
        thresholds: mm; FreiHAND reports F@5 and F@15.

    Returns:
        From 0 to 1, a column for each threshold; NaN for a hand of which no vertex is known, 0 for one of which none
        is predicted.

    Raises:
        ValueError: The numbers of hands differ, or vertices are not three numbers each.

    Source: Knapitsch et al. 2017, as FreiHAND's `eval.py` takes it: nearer than t, not at t.
    """
    shapes = np.shape(predicted), np.shape(truth)
    if any(len(shape) != 3 or shape[2] != 3 for shape in shapes) or shapes[0][0] != shapes[1][0]:
        raise ValueError(
            f"predicted has shape {shapes[0]}, truth {shapes[1]}; give hands x vertices x 3, as many hands"
        )
    limits = np.asarray(thresholds)
    scores = np.full((len(truth), len(limits)), np.nan)
    for row, (points, goal) in enumerate(zip(predicted, truth, strict=True)):
        goal = goal[np.isfinite(goal).all(-1)]
        if len(goal):
            precision, recall = _share_near(points, goal, limits), _share_near(goal, points, limits)
            scores[row] = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
    return scores


def _share_near(
    points: Float[ndarray, "v 3"], others: Float[ndarray, "w 3"], limits: Float[ndarray, " t"]
) -> Float[ndarray, " t"]:
    """Share of the points that have one of the others nearer than each limit; what is not finite is near nothing."""
    known, there = (np.isfinite(values).all(-1) for values in (points, others))
    if not known.any() or not there.any():
        return np.zeros(len(limits))
    distances, _ = cKDTree(others[there]).query(points[known])
    return (distances[:, None] < limits).sum(0) / len(points)


@dataclass(frozen=True)
class Interval(Generic[Measure]):
    """A measure, a number or a curve, and between what it would lie with other images of the same kind."""

    value: Measure
    low: Measure
    high: Measure


LEVEL = 0.95
"""Share of the draws inside an interval."""


def bootstrap(
    measure: Callable[[ndarray], Measure],
    rows: Shaped[ndarray, "n _"],
    draws: int = 1000,
    seed: int = 0,
) -> Interval[Measure]:
    """Confidence interval by drawing images with replacement and taking quantiles of the measure.

    Images count as independent. Frames of one video are not, and their interval comes out too narrow. Images of which
    nothing is known are not drawn: how many have a label is taken as given.

    Args:
        measure: Of rows, for instance ``mean_epe`` or ``lambda errors: auc(errors, thresholds)``; a number or a curve.
        rows: One for each image: errors of its joints, counts of its pixels, scores. Those of NaN alone are left out.
        draws: How many.
        seed: Of the draws.

    Returns:
        The measure of all rows, with the ends of its interval.

    Raises:
        ValueError: There are fewer than two images with a label, there is no draw, or the measure refuses all rows or
            those of a draw.

    Source: Efron and Tibshirani 1993, the percentile interval.
    """
    if draws < 1:
        raise ValueError(f"draws is {draws}; give 1 or more")
    known = rows[~np.isnan(rows).all(axis=tuple(range(1, rows.ndim)))]
    if len(known) < 2:
        raise ValueError(f"an interval needs two or more images with a label, got {len(known)} of {len(rows)}")
    value, generator = measure(known), np.random.default_rng(seed)
    try:
        drawn = [measure(known[generator.integers(len(known), size=len(known))]) for _ in range(draws)]
    except ValueError as error:
        raise ValueError(
            f"a draw of {len(known)} images cannot be measured, though all of them can: {error}; "
            "leave images out of which there is nothing to measure"
        ) from error
    # no interpolation between draws: it would make NaN of two infinite errors
    low, high = np.quantile(np.asarray(drawn), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0, method="inverted_cdf")
    return Interval(value, low, high)


def _seen(errors: Float[ndarray, "n k"]) -> Float[ndarray, "n seen"]:
    """The columns of joints that count in at least one image."""
    seen = errors[:, ~np.isnan(errors).all(0)]
    if not seen.size:
        raise ValueError("no joint counts in any image; look at the truth, the validity and the order of the joints")
    return seen
