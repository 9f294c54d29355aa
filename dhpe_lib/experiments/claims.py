"""The paper's claims about its parts, and whether the measurements here bear them out: verdicts from intervals.

A comparison is a gain: the number is positive if the paper is right about it. Its interval covers chance of both kinds,
other images and other seeds. :mod:`dhpe_lib.experiments.verdicts` has the rule that turns intervals into a verdict.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.stats import t as student

from dhpe_lib.evaluation.metrics import LEVEL, Interval, bootstrap
from dhpe_lib.experiments.plain_names import plain_name
from dhpe_lib.experiments.verdicts import Verdict, judge_all

NO_WIDTH = 1e-9
"""Stands for the width of an interval that has none."""


def paired_interval(gains: Float[ndarray, "seeds images"]) -> Interval[float]:
    r"""Compute the mean gain and its 95 % interval over seeds and images.

    Seeds and images are both drawn by chance and are crossed. With the standard errors of the mean over the S means of
    the seeds and over the N means of the images, half of the interval is

    .. math:: \sqrt{(t_{S-1}\, s_S)^2 + (t_{N-1}\, s_N)^2}

    Both contain the noise of single gains, so it is rather too wide than too narrow. Three seeds have t = 4.3.

    Args:
        gains: Difference of two methods for each seed and image; a row or column may be alone.

    Returns:
        Mean, low and high end.

    Raises:
        ValueError: There is one gain only, or none, so chance cannot be judged.

    Source: Owen 2007, "The pigeonhole bootstrap", for crossed chance.
    """
    if gains.size < 2:
        raise ValueError(f"{gains.size} gains; give two or more seeds or images")
    value = float(gains.mean())
    width = math.hypot(*(half_width(gains.mean(axis)) for axis in (0, 1)))
    return Interval(value, value - width, value + width)


def pooled_interval(measure: Callable[[ndarray], float], rows: Int[ndarray, "trainings n k"]) -> Interval[float]:
    """Mean of a measure over trainings, and its 95 % interval over trainings and images.

    Trainings are as in :func:`paired_interval`; the half width over images is that of a
    bootstrap, since the pixels of all images are pooled.

    Args:
        measure: Function of the rows of a training.
        rows: A row for each training and image.
    """

    def mean(images: ndarray) -> float:
        parts = np.split(images, len(rows), 1)
        return float(np.mean([measure(part) for part in parts]))

    drawn = bootstrap(mean, np.concatenate(list(rows), 1), draws=300)
    of_trainings = half_width(np.array([measure(one) for one in rows]))
    below, above = drawn.value - drawn.low, drawn.high - drawn.value
    low, high = drawn.value - math.hypot(below, of_trainings), drawn.value + math.hypot(above, of_trainings)
    return Interval(drawn.value, low, high)


def half_width(means: Float[ndarray, " n"]) -> float:
    """Half of Student's interval of the mean of some numbers; 0 for a single number, of which no chance is known."""
    if len(means) < 2:
        return 0.0
    return float(student.ppf((1 + LEVEL) / 2, len(means) - 1) * means.std(ddof=1) / np.sqrt(len(means)))


@dataclass(frozen=True)
class Claim:
    """A claim of the paper.

    Attributes:
        text: The claim.
        source: Figure, table or section.
        paper: The report of the paper.
        comparisons: Names of the comparisons that decide.
        neutral: Whether the paper says that nothing changes.
    """

    text: str
    source: str
    paper: str
    comparisons: tuple[str, ...]
    neutral: bool = False


SPANS = ("0 to 1", "1 to 5", "5 to 10", "10 to 20", "20 to 50")
NETWORKS = ("U-Net", "two-class network")
CLAIMS = {
    "refinement-differs": Claim(
        "Refinement helps on images of another kind, if f_Ref moves j2D",
        "Fig. 5e",
        "much better on DO",
        ("refinement, ORH-O",),
    ),
    "refinement-differs-kept": Claim(
        "Refinement helps on images of another kind, if j2D(3) stays fixed",
        "Fig. 5e",
        "much better on DO",
        ("refinement, j2D(3) fixed, ORH-O",),
    ),
    "refinement-same": Claim(
        "Refinement changes nothing on images of the same kind, if f_Ref moves j2D",
        "Fig. 5d",
        "similar on RHD",
        ("refinement, ORH",),
        True,
    ),
    "refinement-same-kept": Claim(
        "Refinement changes nothing on images of the same kind, if j2D(3) stays fixed",
        "Fig. 5d",
        "similar on RHD",
        ("refinement, j2D(3) fixed, ORH",),
        True,
    ),
    "moving-evidence": Claim(
        "j2D moved by f_Ref beats fixed j2D",
        "Sec. 3.4",
        "better",
        ("moving against fixed j2D, ORH", "moving against fixed j2D, ORH-O"),
    ),
    "iterations": Claim(
        "More iterations help, up to 50, if f_Ref moves j2D",
        "Fig. 5e",
        "rising",
        tuple(f"iterations {span}, ORH-O" for span in SPANS),
    ),
    "iterations-kept": Claim(
        "More iterations help, up to 50, if j2D(3) stays fixed",
        "Fig. 5e",
        "rising",
        tuple(f"iterations {span}, j2D(3) fixed, ORH-O" for span in SPANS),
    ),
    "feature-term": Claim(
        "The feature term of Eq. 13 helps refinement, with fixed j2D",
        "Sec. 3.4",
        "part of Eq. 13, without a number",
        tuple(f"feature term of weight 1, j2D(3) fixed, {test}" for test in ("ORH", "ORH-O")),
    ),
    "feature-term-exact": Claim(
        "The feature term of Eq. 13 helps refinement, with fixed j2D and the exact gradient of the silhouette",
        "Sec. 3.4",
        "part of Eq. 13, without a number",
        tuple(f"feature term of weight 1 with the exact gradient, j2D(3) fixed, {test}" for test in ("ORH", "ORH-O")),
    ),
    "refiner": Claim("f_Ref helps", "Figs. 5d, 5e", "better", ("f_Ref, ORH", "f_Ref, ORH-O")),
    "refiner-erased": Claim(
        "f_Ref helps if some joints are wrong in training",
        "Figs. 5d, 5e",
        "better",
        tuple(f"f_Ref, erased joints in training, {test}" for test in ("ORH", "ORH-O")),
    ),
    "2d-losses-trained": Claim(
        "The 2D losses help, if F learns with and without them",
        "Figs. 5d, 5e",
        "better",
        ("2D losses of F, ORH", "2D losses of F, ORH-O"),
    ),
    "2d-losses": Claim(
        "2D joints help f_E3D, if F learnt from L_J2D with and without them",
        "Figs. 5d, 5e",
        "better",
        ("2D losses, ORH", "2D losses, ORH-O"),
    ),
    "shape-loss": Claim(
        "The shape loss helps pose", "Figs. 5a, 5d, 6", "better", ("shape loss, ORH", "shape loss, pose, ORH")
    ),
    "augmentation": Claim(
        "Augmentation helps",
        "Figs. 5d, 5e",
        "significantly better",
        ("augmentation, few images, ORH", "augmentation, few images, ORH-O"),
    ),
    "augmentation-viewpoints": Claim(
        "Augmentation helps if the images have few viewpoints",
        "Figs. 5d, 5e",
        "significantly better",
        tuple(f"augmentation, few viewpoints, {test}" for test in ("ORH", "ORH-O")),
    ),
    "lambda": Claim(
        "Lambda of Eq. 12 beats 0.01",
        "Fig. 5f",
        "faster, more instances under tau",
        tuple(f"lambda, sum, {quantity}" for quantity in ("ORH", "course", "under tau")),
    ),
    "lambda-half-open": Claim(
        "Lambda of Eq. 12 beats 0.01 from a start with half-open gates",
        "Fig. 5f",
        "faster, more instances under tau",
        tuple(f"lambda, sum, half-open gates, {quantity}" for quantity in ("ORH", "course", "under tau")),
    ),
    "masks": Claim(
        "The mesh's mask beats segmentation networks",
        "Table 2",
        "IoU 65 against 53 and 35",
        tuple(f"mask against the {network}, {test}" for network in NETWORKS for test in ("ORH", "ORH-S")),
    ),
    "distractors": Claim(
        "Arms and skin-coloured objects harm the mesh's mask less",
        "Table 2, Fig. 4",
        "said, without a number",
        tuple(f"distractors against the {network}" for network in NETWORKS),
    ),
}
"""The claims, by name. The paper can be read in two ways: f_Ref moves j2D in every step of the refinement, or in the
regressor alone (PAPER.md Sec. 9.9); both readings are judged. Four claims have a second row, under conditions in which
the part has more to do: an exact gradient, wrong joints, few viewpoints, half-open gates. The claim on the 2D losses
has one row with an F that learns with and without them, and one with an F that is the same in both."""


def verdict_of(claim: Claim, result: Mapping[str, Any]) -> Verdict | None:
    """Judge a claim by the comparisons of a result file; None if one of them was not measured."""
    if any(name not in result["comparisons"] for name in claim.comparisons):
        return None
    return judge_all([result["comparisons"][name] for name in claim.comparisons], claim.neutral)


def here(claim: Claim, result: Mapping[str, Any]) -> str:
    """Say what was measured: each gain with its interval and unit."""
    return "; ".join(f"{plain_name(name)}: {gain_text(result['comparisons'][name])}" for name in claim.comparisons)


def deciding(claim: Claim, result: Mapping[str, Any]) -> str:
    """Name the comparison that decides a claim: of those with its verdict the one that speaks least for it.

    Comparisons have several units, so the lower ends are compared in units of the intervals' widths.
    """
    rows = {name: result["comparisons"][name] for name in claim.comparisons}
    own = judge_all(list(rows.values()), claim.neutral)
    alike = [name for name, one in rows.items() if judge_all([one], claim.neutral) == own]
    return min(alike, key=lambda name: rows[name]["low"] / max(rows[name]["high"] - rows[name]["low"], NO_WIDTH))


def opposite(one: Mapping[str, Any]) -> dict[str, float]:
    """Return the gain of leaving a part out, or of a change that lowers a quantity: the other sign."""
    return {"value": -one["value"], "low": -one["high"], "high": -one["low"]}


def gain_text(one: Mapping[str, Any]) -> str:
    """Format a gain with its interval and unit; a value that rounds to zero is +0."""
    sign = f"+z.{one['places']}f"
    return f"{one['value']:{sign}} [{one['low']:{sign}}, {one['high']:{sign}}] {one['unit']}"


def gain_word(one: Mapping[str, Any]) -> Literal["better", "worse", "undecided"]:
    """Say in one word which way a gain goes: "undecided" if its interval contains 0."""
    if one["low"] > 0:
        return "better"
    return "worse" if one["high"] < 0 else "undecided"
