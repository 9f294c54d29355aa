"""Datasets: one reader for each, the prepared cache, and the synthetic engine."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dhpe_lib.datasets import rhd
from dhpe_lib.datasets.files import Finding
from dhpe_lib.datasets.sample import Reader


@dataclass(frozen=True)
class Dataset:
    """How a dataset is read.

    Attributes:
        reader: Of the folder and a split, the samples.
        splits: The dataset's own names of its parts.
        check: Of the folder, what is there, what is missing and what is damaged.
        homepage: Where to get it.
    """

    reader: Callable[[Path, str], Reader]
    splits: tuple[str, ...]
    check: Callable[[Path], list[Finding]]
    homepage: str


DATASETS = {
    "rhd": Dataset(rhd.Rhd, rhd.SPLITS, rhd.check, rhd.HOMEPAGE),
}
