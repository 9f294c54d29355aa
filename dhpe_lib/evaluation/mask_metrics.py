"""Mask scores: IoU, precision, recall and F1, as in Table 2.

All scores are functions of pixel counts with one row for each image, so
:func:`dhpe_lib.evaluation.metrics.bootstrap` can compute their intervals. Nothing here has a gradient.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray


@dataclass(frozen=True)
class MaskScores:
    """Scores of masks, from 0 to 1."""

    iou: float
    precision: float
    recall: float
    f1: float


def mask_counts(
    predicted: Bool[ndarray, "n height width"], truth: Bool[ndarray, "n height width"]
) -> Int[ndarray, "n 3"]:
    """Count the true positive, false positive and false negative pixels of each image.

    Args:
        predicted: Predicted masks.
        truth: Ground-truth masks.

    Returns:
        Columns: true positives, false positives, false negatives.

    Raises:
        ValueError: The shapes differ or are not images x height x width, or the masks are not boolean.
    """
    same = predicted.shape == truth.shape and predicted.ndim == 3
    if not same or predicted.dtype != bool or truth.dtype != bool:
        given = f"{predicted.dtype} {predicted.shape} and {truth.dtype} {truth.shape}"
        raise ValueError(f"masks are {given}; give booleans of one shape, images x height x width, such as mask > 0.5")
    pairs = (predicted & truth, predicted & ~truth, ~predicted & truth)
    return np.stack([pair.sum((1, 2)) for pair in pairs], axis=1)


def mask_scores(counts: Int[ndarray, "n 3"]) -> MaskScores:
    r"""Compute scores over the pixels of all images together, as in Table 2.

    With TP, FP and FN summed over the images: IoU = TP / (TP + FP + FN), P = TP / (TP + FP), R = TP / (TP + FN),
    F1 = 2 P R / (P + R). Then IoU = F1 / (2 - F1). Each row of Table 2 satisfies this identity, and means over images
    would not; so the paper pools the pixels.

    Args:
        counts: From :func:`mask_counts`.

    Returns:
        The scores; precision is 0 if all predicted masks are empty, recall is 0 if all true masks are empty.

    Raises:
        ValueError: All masks are empty.

    Source: Table 2.
    """
    return MaskScores(*_score_rows(counts.sum(0, keepdims=True))[0].tolist())


def mean_mask_scores(counts: Int[ndarray, "n 3"]) -> MaskScores:
    """Compute the mean over images of each image's scores: unlike in :func:`mask_scores` all hands weigh equally.

    Args:
        counts: From :func:`mask_counts`.

    Returns:
        The means; an image whose predicted and true masks are both empty is left out.

    Raises:
        ValueError: All masks are empty.
    """
    return MaskScores(*_score_rows(counts).mean(0).tolist())


def _score_rows(counts: Int[ndarray, "n 3"]) -> Float[ndarray, "kept 4"]:
    """IoU, precision, recall and F1 of each row whose counts are not all 0."""
    kept = counts[counts.any(1)]
    if not len(kept):
        raise ValueError("all predicted and true masks are empty, so there is nothing to score; give other images")
    tp, fp, fn = kept.T.astype(float)
    precision, recall = tp / np.maximum(tp + fp, 1), tp / np.maximum(tp + fn, 1)
    return np.stack((tp / (tp + fp + fn), precision, recall, 2 * tp / (2 * tp + fp + fn)), axis=1)
