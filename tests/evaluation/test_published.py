"""Published numbers are consistent with each other and with their stated ranges."""

import pytest

from dhpe_lib.evaluation.metrics import THRESHOLDS
from dhpe_lib.evaluation.published import AUC_RANGES, PUBLISHED_AUC, PUBLISHED_MASKS


@pytest.mark.parametrize("method", PUBLISHED_MASKS)
def test_table_2_is_pooled(method):
    """F1 and IoU follow from precision and recall to the printed digits, as for one large image."""
    scores = PUBLISHED_MASKS[method]
    f1 = 2 * scores.precision * scores.recall / (scores.precision + scores.recall)
    assert scores.f1 == pytest.approx(f1, abs=1.5e-4)
    assert scores.iou == pytest.approx(f1 / (2 - f1), abs=1.5e-4)


def test_areas_are_shares_over_a_known_range_and_none_beats_the_best():
    assert PUBLISHED_AUC.keys() == AUC_RANGES.keys()
    for dataset, methods in PUBLISHED_AUC.items():
        assert AUC_RANGES[dataset] in THRESHOLDS
        assert min(methods.values()) > 0
        assert max(methods.values()) == methods["best known"] < 1
