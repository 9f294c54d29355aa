"""RHD v2, the Rendered Handpose Dataset: 41,258 training and 2,728 test pictures of rendered people.

::

    RHD_published_v2/{training,evaluation}/{color,mask}/%05d.png                  320 x 320
    RHD_published_v2/{training,evaluation}/anno_{training,evaluation}.pickle

The pickle file holds for each picture `uv_vis` (42 x 3: u, v, visible), `xyz` (42 x 3, metres, camera frame) and `K`.
The joints are the 21 of the left hand, then the 21 of the right hand. Each hand starts with the wrist, and every finger
goes from tip to base. The mask has values 2 to 17 on the left hand and 18 to 33 on the right hand. The hand with more
pixels is used, or the right hand if both have equally many.

Source: Zimmermann & Brox, ICCV 2017, and the dataset's readme.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dhpe_lib.common.unpickling import PickleFileError, load_pickle
from dhpe_lib.data.checks import (
    DatasetError,
    Finding,
    check_images,
    failure,
    field,
    read_image,
    read_indices,
    require_split,
)
from dhpe_lib.data.sample import Sample, as_right_hand
from dhpe_lib.hand.io import Side
from dhpe_lib.hand.skeleton import to_canonical

SPLITS = ("training", "evaluation")
COUNTS = {"training": 41_258, "evaluation": 2_728}
HOMEPAGE = "https://lmb.informatik.uni-freiburg.de/resources/datasets/RenderedHandposeDataset.en.html"
REMEDY = f"unpack RHD_v1-1.zip from {HOMEPAGE} again"
SIZE = (320, 320)
FIELDS = {"uv_vis": (42, 3), "xyz": (42, 3), "K": (3, 3)}
HANDS = {"left": (slice(0, 21), range(2, 18)), "right": (slice(21, 42), range(18, 34))}


class Rhd:
    """All pictures of a split, each with the labels of its larger hand.

    Attributes:
        ids: `training/00000` and so on.
    """

    ids: Sequence[str]

    def __init__(self, directory: Path, split: str) -> None:
        """Read the labels of a split.

        Args:
            directory: `RHD_published_v2`, or the folder that holds it.
            split: One of `SPLITS`.

        Raises:
            FileNotFoundError: The label file is missing.
            ValueError: The split does not exist, or the labels are damaged.
        """
        require_split(split, SPLITS, "RHD")
        self._folder = _root(directory) / split
        self._labels_file = _labels_file(self._folder)
        self._labels = _read_labels(self._labels_file)
        self._keys = sorted(self._labels)
        self.ids = tuple(f"{split}/{key:05d}" for key in self._keys)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        key = self._keys[index]
        uv_vis, xyz, k = _fields(self._labels[key], f"{self._labels_file}: sample {key}")
        image = read_image(self._folder / "color" / f"{key:05d}.png", SIZE, REMEDY)
        classes = read_indices(self._folder / "mask" / f"{key:05d}.png", SIZE, REMEDY)
        masks = {side: np.isin(classes, labels) for side, (_, labels) in HANDS.items()}
        side: Side = "left" if masks["left"].sum() > masks["right"].sum() else "right"
        rows, _ = HANDS[side]
        uv_vis = to_canonical(uv_vis[rows], "rhd")
        return as_right_hand(
            Sample(
                id=self.ids[index],
                image=image,
                k=k,
                joints_2d=uv_vis[:, :2],
                joints_3d=1000 * to_canonical(xyz[rows], "rhd"),
                visible=uv_vis[:, 2] > 0.5,
                mask=masks[side],
                side=side,
                joint_0="wrist",
            )
        )


def check(directory: Path) -> list[Finding]:
    """Compare a copy of the dataset with the published dataset.

    Args:
        directory: `RHD_published_v2`, or the folder that holds it.

    Returns:
        Findings about the labels, colour pictures and masks of each split.
    """
    return [finding for split in SPLITS for finding in _check_split(_root(directory) / split, COUNTS[split])]


def _check_split(folder: Path, count: int) -> list[Finding]:
    path = _labels_file(folder)
    try:
        labels = _read_labels(path)
        for key, record in labels.items():
            _fields(record, f"{path}: sample {key}")
    except (OSError, DatasetError, PickleFileError) as error:
        return [failure(path, error, REMEDY)]
    problem = None if len(labels) == count else f"labels of {len(labels)} pictures, {count} were published"
    names = [f"{key:05d}.png" for key in sorted(labels)]
    return [
        Finding(path, problem, len(labels), REMEDY if problem else ""),
        check_images(folder / "color", names, SIZE, REMEDY),
        check_images(folder / "mask", names, SIZE, REMEDY, read_indices),
    ]


def _root(directory: Path) -> Path:
    inner = Path(directory) / "RHD_published_v2"
    return inner if inner.is_dir() else Path(directory)


def _labels_file(folder: Path) -> Path:
    return folder / f"anno_{folder.name}.pickle"


def _read_labels(path: Path) -> dict[int, Any]:
    try:
        labels = load_pickle(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such file; {REMEDY}") from error
    if not isinstance(labels, dict) or not labels or not all(isinstance(key, int) for key in labels):
        raise DatasetError(f"{path}: is not a dict from picture numbers to labels; {REMEDY}")
    return labels


def _fields(record: Any, where: str) -> list[np.ndarray]:
    return [field(record, name, shape, where, REMEDY) for name, shape in FIELDS.items()]
