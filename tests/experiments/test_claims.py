"""Intervals cover chance of seeds and images, and verdicts follow from intervals."""

import numpy as np
import pytest

from dhpe_lib.experiments.claims import (
    CLAIMS,
    deciding,
    gain_text,
    gain_word,
    here,
    paired_interval,
    verdict_of,
)
from dhpe_lib.experiments.verdicts import judge, judge_all, judge_number


def crossed(generator, seeds, images, of_seed, of_image, noise):
    """Draw gains with mean 1."""
    rows = generator.normal(0, of_seed, (seeds, 1)) + generator.normal(0, of_image, (1, images))
    return 1 + rows + generator.normal(0, noise, (seeds, images))


@pytest.mark.parametrize("spread", [(0.3, 0.0, 1.0), (0.0, 2.0, 1.0), (0.2, 3.0, 2.0)])
def test_nineteen_of_twenty_intervals_hold_the_truth(spread):
    generator = np.random.default_rng(0)
    found = [paired_interval(crossed(generator, 3, 100, *spread)) for _ in range(300)]
    covered = np.mean([one.low <= 1 <= one.high for one in found])
    assert covered > 0.93
    assert np.mean([one.value for one in found]) == pytest.approx(1, abs=0.05)


def test_without_chance_between_seeds_the_interval_is_that_of_images():
    images = np.random.default_rng(1).normal(0, 1, 400)
    one, three = paired_interval(images[None]), paired_interval(np.repeat(images[None], 3, 0))
    assert (one.low, one.high) == pytest.approx((three.low, three.high))
    assert one.high - one.low == pytest.approx(2 * 1.966 * images.std(ddof=1) / 20, rel=1e-3)


def test_three_seeds_alone_give_a_wide_interval():
    found = paired_interval(np.array([[1.0], [2.0], [3.0]]))
    assert found.high - found.value == pytest.approx(4.303 / np.sqrt(3), rel=1e-3)


def test_equal_gains_have_no_width_and_one_gain_no_interval():
    found = paired_interval(np.full((3, 5), 2.0))
    assert found.value == found.low == found.high == 2
    with pytest.raises(ValueError, match="1 gains"):
        paired_interval(np.ones((1, 1)))


@pytest.mark.parametrize(
    ("low", "high", "neutral", "expected"),
    [
        (0.1, 2.0, False, "holds"),
        (-2.0, -0.1, False, "does not hold"),
        (-0.3, 0.1, False, "does not hold"),  # less than a relevant gain of 0.2
        (-0.3, 0.5, False, "undecided"),
        (-0.1, 0.15, True, "holds"),
        (0.3, 0.9, True, "does not hold"),
        (-0.9, -0.3, True, "does not hold"),
        (0.1, 0.3, True, "undecided"),
    ],
)
def test_one_interval_one_verdict(low, high, neutral, expected):
    assert judge(low, high, 0.2, neutral) == expected


def test_an_interval_has_its_ends_in_order():
    with pytest.raises(ValueError, match="ends before it begins"):
        judge(0.9, 0.8, 0.1)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.92, 0.94, "holds"), (0.9, 0.96, "undecided"), (0.8, 0.92, "does not hold"), (0.95, 0.97, "holds")],
)
def test_a_number_may_be_smaller_by_the_margin(low, high, expected):
    """The margin of 0.926 is 0.0185."""
    assert judge_number(low, high, 0.926) == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0.1, 2, "better"), (-2, -0.1, "worse"), (-1, 1, "undecided"), (0, 1, "undecided")]
)
def test_a_gain_has_a_direction_if_its_interval_leaves_out_0(low, high, expected):
    assert gain_word({"low": low, "high": high}) == expected


def test_a_gain_that_rounds_to_zero_has_no_minus():
    assert gain_text({"value": -0.04, "low": -0.06, "high": 0.0, "places": 1, "unit": "mm"}) == "+0.0 [-0.1, +0.0] mm"


def test_every_comparison_of_a_claim_counts():
    good, bad, open_ = ({"low": low, "high": high, "of": 10.0} for low, high in ((0.1, 1.0), (-1.0, 0.1), (-1.0, 1.0)))
    assert judge_all([good, good]) == "holds"
    assert judge_all([good, open_]) == "undecided"
    assert judge_all([good, open_, bad]) == "does not hold"
    with pytest.raises(ValueError, match="no comparison"):
        judge_all([])


def test_a_claim_is_judged_by_its_comparisons():
    one = {"value": 1.0, "low": 0.5, "high": 1.5, "of": 20.0, "unit": "mm", "places": 1}
    result = {"comparisons": dict.fromkeys(CLAIMS["refiner"].comparisons, one)}
    assert verdict_of(CLAIMS["refiner"], result) == "holds"
    assert here(CLAIMS["refiner"], result) == "f_Ref, ORH: +1.0 [+0.5, +1.5] mm; f_Ref, ORH-O: +1.0 [+0.5, +1.5] mm"
    assert verdict_of(CLAIMS["masks"], result) is None


@pytest.mark.parametrize(
    ("ends", "verdict_there", "number"),
    [
        (((1.0, 2.0), (0.5, 9.0)), "holds", 1),
        (((0.1, 0.15), (-1.0, 0.1)), "does not hold", 1),
        (((-0.1, 5.0), (1.0, 2.0)), "undecided", 0),
    ],
)
def test_the_comparison_that_decides_speaks_least_for_the_claim(ends, verdict_there, number):
    claim = CLAIMS["refiner"]
    rows = [{"low": low, "high": high, "of": 20.0} for low, high in ends]
    result = {"comparisons": dict(zip(claim.comparisons, rows, strict=True))}
    assert verdict_of(claim, result) == verdict_there
    assert deciding(claim, result) == claim.comparisons[number]
