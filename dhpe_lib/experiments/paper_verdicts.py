"""Verdicts about single numbers and differences of the paper, from intervals alone.

- A number is reproduced if the upper end of its interval reaches the paper's number.
- A difference has the paper's sign if its whole interval has that sign, and contradicts the paper if its whole interval
  has the other sign. Both sides must use the same trained network, since an interval over images says nothing about
  another training; :mod:`dhpe_lib.experiments.claims` judges differences between trainings.
- "Neutral" holds if the whole interval lies within ``NEUTRAL_MM``.
"""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["holds", "does not hold", "undecided", "not measured"]

NEUTRAL_MM = 1.0
"""Largest change of the mean error that counts as none, mm."""


@dataclass(frozen=True)
class Difference:
    """A measured difference with its 95 % interval, mm.

    Attributes:
        value: The difference; positive if it has the sign that the paper claims.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """The difference with its interval."""
        return f"{self.value:+.2f} mm [{self.low:+.2f}, {self.high:+.2f}]"


def verdict_of_number(low: float, high: float, claimed: float) -> Verdict:
    """Say whether a measured interval reaches a claimed number, the larger the better.

    Args:
        low: Lower end of the interval.
        high: Upper end of the interval.
        claimed: The paper's number.

    Returns:
        "holds" or "does not hold".

    Raises:
        ValueError: The ends are in the wrong order.
    """
    if low > high:
        raise ValueError(f"the interval [{low}, {high}] ends before it begins")
    return "holds" if high >= claimed else "does not hold"


def verdict_of_sign(difference: Difference) -> Verdict:
    """Say whether a difference, which is positive if it has the paper's sign, has this sign."""
    if difference.low > 0:
        return "holds"
    return "does not hold" if difference.high < 0 else "undecided"


def verdict_of_neutral(difference: Difference, margin: float = NEUTRAL_MM) -> Verdict:
    """Say whether a difference is none, up to a margin in mm."""
    if -margin <= difference.low and difference.high <= margin:
        return "holds"
    return "does not hold" if difference.low > margin or difference.high < -margin else "undecided"
