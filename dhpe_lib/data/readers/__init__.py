"""Datasets: one reader for each, the prepared cache, and the synthetic engine."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dhpe_lib.data.checks import Finding
from dhpe_lib.data.readers import dexter_object, freihand, ho3d, rhd, stb
from dhpe_lib.data.sample import Reader


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
    "stb": Dataset(stb.Stb, stb.SPLITS, stb.check, stb.HOMEPAGE),
    "dexter+object": Dataset(
        dexter_object.DexterObject, dexter_object.SPLITS, dexter_object.check, dexter_object.HOMEPAGE
    ),
    "freihand": Dataset(freihand.FreiHand, freihand.SPLITS, freihand.check, freihand.HOMEPAGE),
    "ho3d-v2": Dataset(ho3d.Ho3d, ho3d.SPLITS, partial(ho3d.check, version="v2"), ho3d.HOMEPAGE),
    "ho3d-v3": Dataset(ho3d.Ho3d, ho3d.SPLITS, partial(ho3d.check, version="v3"), ho3d.HOMEPAGE),
}
