"""Photos of hands with 2D labels, for example labels that another network found: a folder with `labels.json`.

::

    labels.json            a list of objects, one for each hand
    <file>                 the photos that it names

An object has the fields `file` (path inside the folder), `set` (name of the source), `group` (photos of one group show
the same thing), `hand` ("left" or "right") and `joints_2d` (21 points in canonical order, pixels of the photo). Other
fields are ignored. :mod:`dhpe_lib.prediction.pseudo_label` writes such a folder. One group in ten is for tests.
"""

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct

from dhpe_lib.common.json_files import Name
from dhpe_lib.data.checks import DatasetError, Finding, failure, is_below, read_json, require_split
from dhpe_lib.data.photos import PhotoError, read_photo
from dhpe_lib.data.sample import Sample, as_right_hand
from dhpe_lib.hand.io import Side

SPLITS = ("train", "test")
LABELS = "labels.json"
REMEDY = "make the labels again with dhpe data pseudo-label"
HOMEPAGE = "none: these are your own photos; see dhpe data pseudo-label --help"
TEST_SHARE = 10
"""One group in so many belongs to the test split."""


class Label(Struct):
    """An object of ``labels.json``; see above."""

    file: str
    set: Name
    group: str
    hand: Side
    joints_2d: Annotated[list[tuple[float, float]], Meta(min_length=21, max_length=21)]


class Photos:
    """Photos with 2D labels; 3D joints, masks and cameras are unknown.

    Attributes:
        ids: `<set>/<file>`, and `#2`, `#3` and so on after the second and later hands of a photo.
    """

    ids: Sequence[str]

    def __init__(self, directory: Path, split: str = "train") -> None:
        """Read the labels.

        Args:
            directory: The folder that holds `labels.json`.
            split: `train` or `test`.

        Raises:
            FileNotFoundError: The labels are missing.
            DatasetError: The labels are damaged, or the split does not exist.
        """
        require_split(split, SPLITS, "photos")
        self._directory = Path(directory)
        self._rows = [row for row in read_labels(self._directory) if split_of(row) == split]
        self.ids = tuple(_names(self._rows))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        row = self._rows[index]
        path = self._directory / row.file
        try:
            image = read_photo(path)
        except (PhotoError, OSError) as error:
            raise DatasetError(f"{path}: cannot be read ({error}); {REMEDY}") from error
        return as_right_hand(
            Sample(
                id=self.ids[index],
                image=image,
                k=np.eye(3),
                joints_2d=np.array(row.joints_2d),
                joints_3d=np.full((21, 3), np.nan),
                visible=np.ones(21, bool),
                mask=None,
                side=row.hand,
                joint_0="wrist",
            )
        )


def read_labels(directory: Path) -> list[Label]:
    """Read and check the labels of a folder.

    Args:
        directory: The folder.

    Returns:
        One label for each hand.

    Raises:
        FileNotFoundError: The file is missing.
        DatasetError: The file is damaged, or names a photo outside the folder.
    """
    path = directory / LABELS
    rows = read_json(path, list[Label], REMEDY)
    for number, row in enumerate(rows):
        if not is_below(row.file):
            raise DatasetError(f"{path}: entry {number}: file {row.file!r} lies outside the folder; {REMEDY}")
    return rows


def _names(rows: Sequence[Label]) -> Iterator[str]:
    seen: Counter[str] = Counter()
    for row in rows:
        name = f"{row.set}/{row.file}"
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name}#{seen[name]}"


def split_of(row: Label) -> str:
    """Return the split of a label: a function of its set and group, so that a group is never in both."""
    return "test" if zlib.crc32(f"{row.set}/{row.group}".encode()) % TEST_SHARE == 0 else "train"


def check(directory: Path) -> list[Finding]:
    """Check the labels and that the photos exist.

    Args:
        directory: The folder that holds `labels.json`.

    Returns:
        A finding about the labels and one about the photos.
    """
    path = directory / LABELS
    try:
        rows = read_labels(directory)
    except (OSError, DatasetError) as error:
        return [failure(path, error, REMEDY)]
    missing = [row.file for row in rows if not (directory / row.file).is_file()]
    problem = f"{len(missing)} of {len(rows)} photos are missing, such as {missing[0]}" if missing else None
    return [Finding(path, None, len(rows), ""), Finding(directory, problem, len(rows) - len(missing), REMEDY)]
