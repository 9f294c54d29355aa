"""Mask scores equal scores by hand, have the right extremes, and are pooled as in Table 2."""

import inspect

import numpy as np
import pytest

from dhpe_lib.evaluation.mask_metrics import MaskScores, mask_counts, mask_scores, mean_mask_scores
from dhpe_lib.evaluation.metrics import bootstrap


def discs(*radii: float) -> np.ndarray:
    y, x = np.mgrid[:40, :40] - 20
    return np.stack([np.hypot(x, y) < radius for radius in radii])


def test_mask_counts_and_scores_by_hand():
    predicted, truth = np.zeros((2, 4, 4), bool), np.zeros((2, 4, 4), bool)
    predicted[0, :2], truth[0, 1:] = True, True  # 4 true positives, 4 false positives, 8 false negatives
    predicted[1, 0, 0] = truth[1, 0, 0] = True
    counts = mask_counts(predicted, truth)
    np.testing.assert_array_equal(counts, [[4, 4, 8], [1, 0, 0]])
    assert mask_scores(counts) == MaskScores(5 / 17, 5 / 9, 5 / 13, 10 / 22)
    assert mean_mask_scores(counts) == MaskScores((1 / 4 + 1) / 2, (1 / 2 + 1) / 2, (1 / 3 + 1) / 2, (2 / 5 + 1) / 2)


def test_perfect_empty_and_opposite_masks():
    hands = discs(5, 15)
    for score in (mask_scores, mean_mask_scores):
        assert score(mask_counts(hands, hands)) == MaskScores(1.0, 1.0, 1.0, 1.0)
        assert score(mask_counts(hands, ~hands)) == MaskScores(0.0, 0.0, 0.0, 0.0)
        assert score(mask_counts(hands & False, hands)) == MaskScores(0.0, 0.0, 0.0, 0.0)
        assert score(mask_counts(hands, hands & False)) == MaskScores(0.0, 0.0, 0.0, 0.0)
        with pytest.raises(ValueError, match="nothing to score"):
            score(mask_counts(hands & False, hands & False))


def test_an_image_without_a_hand_is_left_out_of_the_mean():
    counts = mask_counts(discs(0, 8), discs(0, 10))
    assert mean_mask_scores(counts) == mean_mask_scores(counts[1:])


def test_only_pooled_scores_satisfy_the_identity_of_table_2():
    counts = mask_counts(discs(4, 15, 9), discs(9, 16, 5))
    pooled, mean = mask_scores(counts), mean_mask_scores(counts)
    assert pooled.iou == pytest.approx(pooled.f1 / (2 - pooled.f1))
    assert abs(mean.iou - mean.f1 / (2 - mean.f1)) > 0.02


def test_scores_have_intervals():
    counts = mask_counts(discs(8, 12, 9, 5), discs(10, 10, 10, 10))
    iou = bootstrap(lambda rows: mask_scores(rows).iou, counts, draws=50)
    assert 0 < iou.low < iou.value < iou.high < 1


def test_masks_of_another_shape_or_dtype_are_refused():
    mask = np.ones((2, 4, 4), bool)
    unchecked = inspect.unwrap(mask_counts)
    for other in (mask[:1], mask.astype(np.uint8) * 255, mask.astype(float)):
        with pytest.raises(ValueError, match="give booleans of one shape"):
            unchecked(other, mask)
    with pytest.raises(ValueError, match="images x height x width"):
        unchecked(mask[0], mask[0])
