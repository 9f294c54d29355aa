"""The three test sets of the paper: the reader's own copy of each, or else the open rendered one in its place.

The licensed sets may not be redistributed, so each has an environment variable that names the folder of a copy. Without
a copy, hands of the open benchmark that replaces the set are rendered. Nothing here has a gradient.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from dhpe_lib.common.records import join_rows
from dhpe_lib.data.cropping import NoCropError, crop_sample
from dhpe_lib.data.crops import Crops
from dhpe_lib.data.readers import DATASETS
from dhpe_lib.evaluation.metrics import THRESHOLDS, Interval
from dhpe_lib.synthetic.orh import COUNTS, Recipe, draw_part

PARTS = 8
"""Number of places of ORH-S from which frames are taken, since frames in a row are almost equal."""


@dataclass(frozen=True)
class PaperSet:
    """A test set of the paper and its open replacement.

    Attributes:
        name: Name in the paper.
        figure: Figure of the paper with its PCK curves.
        dataset: Key of ``readers.DATASETS``.
        split: Split that is tested on.
        variable: Environment variable with the folder of a copy.
        rendered: Name of the open rendered benchmark.
        grid: Thresholds of the paper's AUC, a key of ``metrics.THRESHOLDS``.
        published: Key of ``published.PUBLISHED_AUC``.
    """

    name: str
    figure: str
    dataset: str
    split: str
    variable: str
    rendered: str
    grid: str
    published: str

    @property
    def copy(self) -> Path | None:
        """Folder of the reader's copy, or None if the variable is not set or empty."""
        named = os.environ.get(self.variable)
        return Path(named) if named else None


PAPER_SETS = (
    PaperSet("RHD", "5a", "rhd", "evaluation", "DHPE_RHD", "orh", "20-50", "RHD"),
    PaperSet("Dexter+Object", "5b", "dexter+object", "evaluation", "DHPE_DEXTER_OBJECT", "orh-o", "0-100", "DO"),
    PaperSet("SHD (STB)", "5c", "stb", "evaluation", "DHPE_STB", "orh-s", "20-50", "STB"),
)
"""In the order of Figs. 5a to 5c."""


@dataclass(frozen=True)
class ChosenHands:
    """Hands of a test set.

    Attributes:
        name: Name of the set that they come from: the paper's, or that of the rendered benchmark.
        crops: The hands, cut as the paper does.
    """

    name: str
    crops: Crops


def choose_hands(paper_set: PaperSet, count: int, copy: Path | None = None) -> ChosenHands:
    """Read some hands of a test set from a copy, or render hands of its open replacement.

    Args:
        paper_set: The test set.
        count: Number of hands, spread evenly over the set. A hand of a copy that cannot be cropped is left out.
        copy: Folder of the copy; None for the folder that the environment variable names, if any.

    Returns:
        The hands, on the CPU, without jitter.

    Raises:
        ValueError: `count` is not from 1 to the size of the set, or no hand of the copy can be cropped.
        DatasetError, PhotoError, OSError: The copy is missing or damaged.
    """
    folder = copy or paper_set.copy
    if folder is None:
        return ChosenHands(paper_set.rendered.upper(), rendered_hands(paper_set.rendered, count))
    return ChosenHands(paper_set.name, hands_of_copy(paper_set, folder, count))


def hands_of_copy(paper_set: PaperSet, folder: Path, count: int) -> Crops:
    """Crop hands of a copy, spread evenly over its split; see :func:`choose_hands`."""
    reader = DATASETS[paper_set.dataset].reader(folder, paper_set.split)
    crops = []
    for row in evenly_spaced(len(reader), count):
        try:
            crops.append(crop_sample(reader[row]))
        except NoCropError:
            continue
    if not crops:
        raise ValueError(f"{folder}: none of {count} hands has enough labels to be cropped; check the copy")
    return join_rows(crops)


def rendered_hands(name: str, count: int) -> Crops:
    """Render hands of the test split of an open benchmark, from several places of it; see :func:`choose_hands`.

    They are of the benchmark's kind. They are not those of its cache, whose size and parts are others.
    """
    if name != "orh-s":
        return draw_part(Recipe(name, "test", count), range(count))
    total, per_place = COUNTS[name]["test"], -(-count // PARTS)
    places = [range(row, row + per_place) for row in range(0, total, total // PARTS)]
    return join_rows([draw_part(Recipe(name, "test", total), rows) for rows in places])[:count]


def evenly_spaced(total: int, count: int) -> list[int]:
    """Return indices that are spread evenly over `total` rows.

    Raises:
        ValueError: `count` is less than 1, or there is no row.
    """
    if count < 1 or total < 1:
        raise ValueError(f"{count} of {total} hands cannot be chosen; ask for one or more")
    return np.unique(np.linspace(0, total - 1, min(count, total)).astype(int)).tolist()


def result_curve(scores: Mapping[str, Any], grid: str) -> Interval[ndarray] | None:
    """Return the PCK curve of a protocol in a result file at the thresholds of a grid.

    Args:
        scores: Scores of a protocol, from :func:`dhpe_lib.evaluation.scores.protocol_scores`.
        grid: "20-50", "0-50" or "0-100".

    Returns:
        The curve with its band, or None if the file has no curve, like those of earlier versions.

    Raises:
        ValueError: The curve in the file has other thresholds.
    """
    if "pck" not in scores:
        return None
    curve = scores["pck"]
    known, wanted = THRESHOLDS[curve["grid"]], THRESHOLDS[grid]
    rows = np.searchsorted(known, wanted).clip(max=len(known) - 1)
    if not np.allclose(known[rows], wanted):
        raise ValueError(f"the curve has thresholds {curve['grid']}, which do not hold those of {grid}")
    return Interval(*(np.array(curve[name])[rows] for name in ("value", "low", "high")))


def area_rows(
    found: Mapping[str, Mapping[str, float]], published: Mapping[str, float], best: str = "best known"
) -> Sequence[tuple[str, float, float, float]]:
    """Put measured and published areas into one order, largest first.

    Args:
        found: Measured areas by name, with "value", "low" and "high".
        published: Published areas by name.
        best: Name of a published entry that is left out, since it belongs to no method of the paper's figure.

    Returns:
        Name, value, low and high; a published area has no interval, so all three are equal.
    """
    rows = [(name, area["value"], area["low"], area["high"]) for name, area in found.items()]
    rows += [(name, area, area, area) for name, area in published.items() if name != best]
    return sorted(rows, key=lambda row: -row[1])
