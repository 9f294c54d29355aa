"""How well masks agree: IoU, precision, recall and F1, as in Table 2.

All are functions of pixel counts, one row for each image, so :func:`dhpe_lib.evaluation.metrics.bootstrap` gives them intervals.
Nothing here has a gradient.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray


@dataclass(frozen=True)
class MaskScores:
    """How a mask agrees with the truth; shares from 0 to 1."""

    iou: float
    precision: float
    recall: float
    f1: float


def mask_counts(
    predicted: Bool[ndarray, "n height width"], truth: Bool[ndarray, "n height width"]
) -> Int[ndarray, "n 3"]:
    """Pixels of each image that are rightly hand, wrongly hand, and wrongly not hand.

    Args:
        predicted: Masks.
        truth: Masks.

    Returns:
        Columns: true positives, false positives, false negatives.

    Raises:
        ValueError: The shapes differ or are no images x height x width, or the masks are not boolean.
    """
    same = predicted.shape == truth.shape and predicted.ndim == 3
    if not same or predicted.dtype != bool or truth.dtype != bool:
        given = f"{predicted.dtype} {predicted.shape} and {truth.dtype} {truth.shape}"
        raise ValueError(f"masks are {given}; give booleans of one shape, images x height x width, as of mask > 0.5")
    pairs = (predicted & truth, predicted & ~truth, ~predicted & truth)
    return np.stack([pair.sum((1, 2)) for pair in pairs], axis=1)


def mask_scores(counts: Int[ndarray, "n 3"]) -> MaskScores:
    r"""Scores of all pixels of all images together, as Table 2 has them.

    With TP, FP and FN summed over the images: IoU = TP / (TP + FP + FN), P = TP / (TP + FP), R = TP / (TP + FN),
    F1 = 2 P R / (P + R). Then IoU = F1 / (2 - F1). That holds in every row of Table 2, and would not for means over
    images; so the paper pools.

    Args:
        counts: From :func:`mask_counts`.

    Returns:
        The scores; precision is 0 where nothing was predicted, recall where nothing was there.

    Raises:
        ValueError: Neither masks nor truths hold a single pixel.

    Source: Table 2.
    """
    return MaskScores(*_score_rows(counts.sum(0, keepdims=True))[0].tolist())


def mean_mask_scores(counts: Int[ndarray, "n 3"]) -> MaskScores:
    """Scores of each image, averaged: small hands weigh as much as large ones, unlike in :func:`mask_scores`.

    Args:
        counts: From :func:`mask_counts`.

    Returns:
        The means; an image where mask and truth are both empty is left out.

    Raises:
        ValueError: Neither masks nor truths hold a single pixel.
    """
    return MaskScores(*_score_rows(counts).mean(0).tolist())


def _score_rows(counts: Int[ndarray, "n 3"]) -> Float[ndarray, "kept 4"]:
    """IoU, precision, recall and F1 of each row that has a pixel."""
    kept = counts[counts.any(1)]
    if not len(kept):
        raise ValueError("no mask and no truth holds a pixel; there is nothing to score")
    hit, wrong, missed = kept.T.astype(float)
    precision, recall = hit / np.maximum(hit + wrong, 1), hit / np.maximum(hit + missed, 1)
    return np.stack((hit / (hit + wrong + missed), precision, recall, 2 * hit / (2 * hit + wrong + missed)), axis=1)
