"""Measures of an estimate: end-point error, PCK and AUC of joints, F-score of a surface, and confidence intervals.

Errors have one row for each image and one column for each joint. A measure is a function of these rows, and
:func:`bootstrap` resamples the rows. A joint without ground truth is NaN and is ignored. A joint with ground truth but
without a prediction has an infinite error. Averages are those of Zimmermann and Brox's `EvalUtil`: over the images for
each joint, then over the joints labelled in any image. Lengths are in millimetres; nothing here has a gradient.
Alignment is in :mod:`dhpe_lib.evaluation.alignment`, masks are in :mod:`dhpe_lib.evaluation.mask_metrics`.
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

# Thresholds of PCK curves, mm. "zimmermann" is the true grid of Zimmermann and Brox's "20-50": 12 of 20 points in 0-50.
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
    """Distance of each predicted joint, or vertex, to its ground truth.

    Args:
        predicted: Points in the frame of the ground truth, mm. A NaN point is missing, and its error is infinite.
        truth: Ground truth, mm; NaN for an unknown point.
        valid: Whether each joint counts, for instance whether it is visible; None for all joints with ground truth.

    Returns:
        Distances in mm; NaN for a joint that does not count.

    Raises:
        ValueError: The shapes differ, or `valid` is not one boolean for each joint.

    Source: Zimmermann and Brox 2017, Sec. 6.
    """
    if np.shape(predicted) != np.shape(truth):
        raise ValueError(
            f"predicted has shape {np.shape(predicted)}, truth has {np.shape(truth)}; give one row for each image"
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
    """Mean end-point error: the mean over the images for each joint, then the mean over the joints.

    Args:
        errors: From :func:`joint_errors`, mm.

    Returns:
        Error in mm.

    Raises:
        ValueError: No joint counts.

    Source: `EvalUtil` of hand3d. If every joint is labelled it is the MPJPE; for vertices it is the MPVPE.
    """
    return float(np.nanmean(_seen(errors), axis=0).mean())


def median_epe(errors: Float[ndarray, "n k"]) -> float:
    """Median end-point error: the median over the images for each joint, then the mean over the joints.

    Args:
        errors: From :func:`joint_errors`, mm.

    Returns:
        Error in mm.

    Raises:
        ValueError: No joint counts.

    Source: `EvalUtil` of hand3d. It is not the median of all errors.
    """
    return float(np.nanmedian(_seen(errors), axis=0).mean())


def pck(errors: Float[ndarray, "n k"], thresholds: Float[ndarray, " t"]) -> Float[ndarray, " t"]:
    r"""Share of correct keypoints: :math:`PCK(t) = \text{mean}_k\, P(e_k \le t)`.

    Args:
        errors: From :func:`joint_errors`, mm.
        thresholds: Thresholds in mm, for instance one of ``THRESHOLDS``.

    Returns:
        Share from 0 to 1 for each threshold.

    Raises:
        ValueError: No joint counts.

    Source: `EvalUtil` of hand3d; the curves of Fig. 5.
    """
    seen = _seen(errors)
    labelled = (~np.isnan(seen)).sum(0)
    return np.array([((seen <= threshold).sum(0) / labelled).mean() for threshold in thresholds])


def area_under_curve(thresholds: Float[ndarray, " t"], curve: Float[ndarray, " t"]) -> float:
    """Area under a curve by the trapezoidal rule, divided by the width of the range: 1 for the constant curve 1.

    Args:
        thresholds: Increasing thresholds, mm.
        curve: Value of the curve at each threshold.

    Returns:
        Area, from 0 to 1 for a PCK curve.

    Raises:
        ValueError: There are fewer than two thresholds, or they do not increase.
    """
    if len(thresholds) < 2 or not (np.diff(thresholds) > 0).all():
        raise ValueError("an area needs two or more thresholds, each larger than the one before")
    return float(trapezoid(curve, thresholds) / (thresholds[-1] - thresholds[0]))


def auc(errors: Float[ndarray, "n k"], thresholds: Float[ndarray, " t"]) -> float:
    """Area under the PCK curve; always report its range of thresholds too.

    Args:
        errors: From :func:`joint_errors`, mm.
        thresholds: Thresholds in mm, for instance ``THRESHOLDS["20-50"]``.

    Returns:
        Area from 0 to 1.

    Raises:
        ValueError: No joint counts, or the thresholds are not a range.

    Source: Fig. 5.
    """
    return area_under_curve(thresholds, pck(errors, thresholds))


def f_scores(
    predicted: Float[ndarray, "n v 3"], truth: Float[ndarray, "n w 3"], thresholds: Sequence[float] = (5.0, 15.0)
) -> Float[ndarray, "n t"]:
    """F-score F@t of each hand: the harmonic mean of precision and recall at the distance t.

    Precision is the share of predicted points nearer than t to a true point; recall is the share of true points nearer
    than t to a predicted point.

    Args:
        predicted: Vertices, mm; no correspondence is needed. A vertex that is not finite is missing.
        truth: Ground-truth vertices, mm. A vertex that is not finite is unknown and is ignored.
        thresholds: Distances t in mm; FreiHAND reports F@5 and F@15.

    Returns:
        Scores from 0 to 1, one column for each threshold; NaN for a hand without ground truth, 0 for a hand without
        prediction.

    Raises:
        ValueError: The numbers of hands differ, or vertices do not have three numbers each.

    Source: Knapitsch et al. 2017, as in FreiHAND's `eval.py`: distances must be below t, not equal to t.
    """
    shapes = np.shape(predicted), np.shape(truth)
    if any(len(shape) != 3 or shape[2] != 3 for shape in shapes) or shapes[0][0] != shapes[1][0]:
        raise ValueError(
            f"predicted has shape {shapes[0]}, truth has {shapes[1]}; give hands x vertices x 3 with equally many hands"
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
    """Share of the points with another point nearer than each limit; a point that is not finite is near no point."""
    finite, others_finite = (np.isfinite(values).all(-1) for values in (points, others))
    if not finite.any() or not others_finite.any():
        return np.zeros(len(limits))
    distances, _ = cKDTree(others[others_finite]).query(points[finite])
    return (distances[:, None] < limits).sum(0) / len(points)


@dataclass(frozen=True)
class Interval(Generic[Measure]):
    """A measure (a number or a curve) and its confidence interval over images."""

    value: Measure
    low: Measure
    high: Measure


LEVEL = 0.95
"""Confidence level: share of the bootstrap draws inside an interval."""


def bootstrap(
    measure: Callable[[ndarray], Measure],
    rows: Shaped[ndarray, "n _"],
    draws: int = 1000,
    seed: int = 0,
) -> Interval[Measure]:
    """Confidence interval of a measure by the bootstrap: draw images with replacement and take quantiles.

    Images are assumed independent. Frames of one video are not independent, so their interval is too narrow. Images
    without any label are not drawn, so the number of labelled images is fixed.

    Args:
        measure: Function of rows that returns a number or a curve, for instance ``mean_epe`` or
            ``lambda errors: auc(errors, thresholds)``.
        rows: One row for each image: errors of its joints, pixel counts, or scores. Rows of only NaN are left out.
        draws: Number of draws.
        seed: Random seed of the draws.

    Returns:
        The measure of all rows, and the ends of its interval.

    Raises:
        ValueError: There are fewer than two labelled images, there is no draw, or the measure fails for all rows or
            for a draw.

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
            f"the measure fails for a draw of {len(known)} images, though not for all images: {error}; "
            "leave out images without labels for this measure"
        ) from error
    # no interpolation between draws, since the interpolation of two infinite errors is NaN
    low, high = np.quantile(np.asarray(drawn), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0, method="inverted_cdf")
    return Interval(value, low, high)


def _seen(errors: Float[ndarray, "n k"]) -> Float[ndarray, "n seen"]:
    """Return the columns of joints that count in at least one image."""
    seen = errors[:, ~np.isnan(errors).all(0)]
    if not seen.size:
        raise ValueError("no joint counts in any image; check the ground truth, `valid` and the order of the joints")
    return seen
