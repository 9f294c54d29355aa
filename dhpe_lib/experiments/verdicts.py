r"""The one rule of the book that says whether a claim of the paper holds here.

A comparison is a gain :math:`d`: it is positive if the result is better with the part. It has a 95 % interval
:math:`[l, u]` and a margin :math:`\delta`, which is ``RELEVANT`` times the quantity without the part. A smaller gain is
none worth the name. The verdict is a function of these numbers and is never written by hand.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

Verdict = Literal["holds", "does not hold", "undecided", "not comparable", "not measured"]
"""The last two are no judgements: the number was measured under other conditions than the paper's, or not at all."""

RELEVANT = 0.02
"""Share of the quantity itself below which a gain that is not certain counts as none."""


def judge(low: float, high: float, relevant: float, neutral: bool = False) -> Verdict:
    """Judge one comparison by the interval of its gain.

    "The part helps" holds if the interval lies above 0, and does not hold if it does not and all of it lies below a
    relevant gain. "Nothing changes" holds if the interval lies within the relevant range, and does not hold if it lies
    outside. All else is undecided.

    Args:
        low: Lower end of the interval.
        high: Upper end of the interval.
        relevant: Smallest gain that matters, in the same unit.
        neutral: Whether the claim says that nothing changes.

    Returns:
        "holds", "does not hold" or "undecided".

    Raises:
        ValueError: The ends are in the wrong order.
    """
    if low > high:
        raise ValueError(f"the interval [{low}, {high}] ends before it begins")
    if neutral:
        if -relevant < low and high < relevant:
            return "holds"
        return "does not hold" if low > relevant or high < -relevant else "undecided"
    if low > 0:
        return "holds"
    return "does not hold" if high < relevant else "undecided"


def judge_all(comparisons: Sequence[Mapping[str, Any]], neutral: bool = False) -> Verdict:
    """Judge a claim by all of its comparisons.

    Args:
        comparisons: For each comparison "low" and "high" of its gain, and "of", the quantity without the gain.
        neutral: Whether the claim says that nothing changes.

    Returns:
        "holds" if every comparison bears the claim out, "does not hold" if one contradicts it, else "undecided".

    Raises:
        ValueError: There is no comparison.
    """
    if not comparisons:
        raise ValueError("no comparison was measured, so there is no verdict")
    verdicts = {judge(float(one["low"]), float(one["high"]), RELEVANT * one["of"], neutral) for one in comparisons}
    if "does not hold" in verdicts:
        return "does not hold"
    return "holds" if verdicts == {"holds"} else "undecided"


def judge_number(low: float, high: float, claimed: float) -> Verdict:
    """Judge whether a measured number reaches the paper's, the larger the better.

    The gain is counted from the smallest number that is as good as the paper's: the paper's number less the margin.
    """
    relevant = RELEVANT * claimed
    return judge(low - (claimed - relevant), high - (claimed - relevant), relevant)
