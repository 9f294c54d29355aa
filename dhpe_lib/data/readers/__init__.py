"""Readers of the datasets, one module for each dataset."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dhpe_lib.data.checks import Finding
from dhpe_lib.data.readers import dexter_object, dexycb, freihand, ho3d, interhand, photos, rhd, stb
from dhpe_lib.data.sample import Reader


@dataclass(frozen=True)
class Dataset:
    """Functions that read and check a dataset.

    Attributes:
        reader: Folder and split -> reader of the samples.
        splits: Names of the splits, as the dataset itself names them.
        check: Folder -> findings about missing and damaged files.
        homepage: Address of the dataset's page.
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
    "interhand2.6m": Dataset(interhand.InterHand, interhand.SPLITS, interhand.check, interhand.HOMEPAGE),
    "dexycb": Dataset(dexycb.DexYcb, dexycb.SPLITS, dexycb.check, dexycb.HOMEPAGE),
    "ho3d-v2": Dataset(ho3d.Ho3d, ho3d.SPLITS, partial(ho3d.check, version="v2"), ho3d.HOMEPAGE),
    "ho3d-v3": Dataset(ho3d.Ho3d, ho3d.SPLITS, partial(ho3d.check, version="v3"), ho3d.HOMEPAGE),
    "photos": Dataset(photos.Photos, photos.SPLITS, photos.check, photos.HOMEPAGE),
}
