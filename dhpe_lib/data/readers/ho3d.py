"""HO-3D, versions 2 and 3: sequences of right hands that hold objects.

::

    {train,evaluation}/<sequence>/rgb/NNNN.{png,jpg}     640 x 480; PNG in version 2, JPEG in version 3
    {train,evaluation}/<sequence>/meta/NNNN.pkl          camMat, and handJoints3D in metres
    train/<sequence>/seg/NNNN.png                        version 3: blue on the hand
    train.txt, evaluation.txt                            the labelled pictures, one <sequence>/NNNN a line
    evaluation_xyz.json                                  the truth of the evaluation, public since 2024, by these lines

Axes are OpenGL's: y up, and the camera looks along -z; they are turned here. The order is MANO's: wrist, index,
middle, little, ring finger, thumb, then the tips from thumb to little finger. Without its truth, only the root of the
evaluation is known, which `handJoints3D` holds there: the wrist.

How sure is this? Axes and order, those of the truth too, are those of the authors' scripts and of every reader seen.
That the hand is blue is from one reader; the masks' size is not known, so they are stretched to the picture's.

Source: Hampali et al., HOnnotate, CVPR 2020, and the authors' scripts.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from PIL import Image

from dhpe_lib.common.unpickling import PickleFileError, load_pickle
from dhpe_lib.data.checks import (
    DatasetError,
    Finding,
    check_images,
    failure,
    field,
    read_image,
    read_json,
    require,
    require_split,
    spread,
    table,
)
from dhpe_lib.data.sample import Sample, from_pixel_centers, project
from dhpe_lib.hand.skeleton import to_canonical

SPLITS = ("train", "evaluation")
COUNTS = {"v2": {"train": 66_034, "evaluation": 11_524}, "v3": {"train": 83_325, "evaluation": 20_137}}
SIZE = (640, 480)
SUFFIXES = (".png", ".jpg")
FROM_OPENGL = np.array([1, -1, -1])
BLUE = 2
SAME_ROOT = 0.005  # metres
HOMEPAGE = "https://github.com/shreyashampali/ho3d"
REMEDY = f"get HO-3D (links at {HOMEPAGE}) again"


class Ho3d:
    """Every labelled picture of a split: right hands.

    Attributes:
        ids: `train/ABF10/0000` and so on, in the order of `train.txt`.
    """

    ids: Sequence[str]

    def __init__(self, directory: Path, split: str) -> None:
        """Read which pictures a split has, and the truth of the evaluation where it is there.

        Args:
            directory: The folder that holds `train`, `evaluation` and the two lists.
            split: One of `SPLITS`.

        Raises:
            FileNotFoundError: There is no list.
            ValueError: The split does not exist, or list or truth are damaged.
        """
        require_split(split, SPLITS, "HO-3D")
        self._directory = Path(directory)
        names = _read_list(self._directory, split)
        self._truth = _read_truth(self._directory, len(names)) if split == "evaluation" else None
        self.ids = tuple(f"{split}/{name}" for name in names)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        folder, frame = _place(self._directory, self.ids[index])
        path = folder / "meta" / f"{frame}.pkl"
        k, joints = _read_meta(path)
        if self._truth is not None:
            joints = self._truth[index]
        joints_3d = 1000 * to_canonical(joints * FROM_OPENGL, "ho3d")
        k = from_pixel_centers(k)
        return Sample(
            id=self.ids[index],
            image=read_image(_picture(folder, frame), SIZE, REMEDY),
            k=k,
            joints_2d=project(joints_3d, k),
            joints_3d=joints_3d,
            visible=np.isfinite(joints_3d).all(1),
            mask=_read_mask(folder / "seg" / f"{frame}.png"),
            side="right",
            joint_0="wrist",
        )


def check(directory: Path, version: str) -> list[Finding]:
    """Compare a copy of the dataset with what was published.

    Args:
        directory: The folder that holds `train`, `evaluation` and the two lists.
        version: `v2` or `v3`.

    Returns:
        Lists, pictures and a few of the labels of each split.
    """
    return [finding for split in SPLITS for finding in _check_split(Path(directory), split, COUNTS[version][split])]


def _check_split(directory: Path, split: str, count: int) -> list[Finding]:
    path = directory / f"{split}.txt"
    try:
        names = _read_list(directory, split)
    except (OSError, DatasetError) as error:
        return [failure(path, error, REMEDY)]
    problem = None if len(names) == count else f"{len(names)} pictures, {count} were published in this version"
    places = [_place(directory, f"{split}/{name}") for name in names]
    suffix = _picture(*places[0]).suffix
    pictures = [str((folder / "rgb" / frame).relative_to(directory / split)) + suffix for folder, frame in places]
    return [
        Finding(path, problem, len(names), REMEDY if problem else ""),
        check_images(directory / split, pictures, SIZE, REMEDY),
        _check_labels(directory, split, places),
    ]


def _check_labels(directory: Path, split: str, places: Sequence[tuple[Path, str]]) -> Finding:
    """Read a few of the labels; of the evaluation, say whether its truth is there and belongs to these pictures."""
    few = spread(range(len(places)))
    try:
        joints = np.array([_read_meta(places[n][0] / "meta" / f"{places[n][1]}.pkl")[1] for n in few])
        truth = _read_truth(directory, len(places)) if split == "evaluation" else None
    except (OSError, DatasetError, PickleFileError) as error:
        return failure(directory / split, error, REMEDY)
    if truth is not None and np.abs(truth[few, 0] - joints[:, 0]).max() > SAME_ROOT:
        problem = "the roots in evaluation_xyz.json and in meta differ: it is of another version, or in another order"
        return Finding(directory / split, problem, len(places), REMEDY)
    if truth is None and np.isnan(joints).any():
        return Finding(directory / split, "only the root's place is known in some pictures", len(places), REMEDY)
    return Finding(directory / split, None, len(places), "")


def _place(directory: Path, name: str) -> tuple[Path, str]:
    """Folder of the sequence and number of the frame."""
    split, sequence, frame = name.split("/")
    return directory / split / sequence, frame


def _picture(folder: Path, frame: str) -> Path:
    candidates = [folder / "rgb" / f"{frame}{suffix}" for suffix in SUFFIXES]
    return next((path for path in candidates if path.exists()), candidates[0])


def _read_list(directory: Path, split: str) -> list[str]:
    path = directory / f"{split}.txt"
    names = require(path, REMEDY).read_text(encoding="latin1").split()
    wrong = [name for name in names if len(name.split("/")) != 2]
    if wrong or not names:
        raise DatasetError(f"{path}: has a line {wrong[:1]}, not <sequence>/<frame>; {REMEDY}")
    return names


def _read_truth(directory: Path, count: int) -> Float[ndarray, "n 21 3"] | None:
    path = directory / "evaluation_xyz.json"
    if not path.exists():
        return None
    truth = table(read_json(path, REMEDY), (21, 3), f"{path}: xyz", REMEDY)
    if len(truth) != count:
        raise DatasetError(f"{path}: joints of {len(truth)} pictures, evaluation.txt lists {count}; {REMEDY}")
    return truth


def _read_meta(path: Path) -> tuple[Float[ndarray, "3 3"], Float[ndarray, "21 3"]]:
    """Camera and joints as they stand in the file; if it holds only the root, the others are NaN."""
    try:
        meta: Any = load_pickle(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such file; {REMEDY}") from error
    k = field(meta, "camMat", (3, 3), str(path), REMEDY)
    if np.shape(meta.get("handJoints3D")) == (3,):
        joints = np.full((21, 3), np.nan)
        joints[0] = field(meta, "handJoints3D", (3,), str(path), REMEDY)
        return k, joints
    return k, field(meta, "handJoints3D", (21, 3), str(path), REMEDY)


def _read_mask(path: Path) -> Bool[ndarray, "height width"] | None:
    if not path.exists():
        return None
    classes = Image.fromarray(read_image(path, None, REMEDY)).resize(SIZE, Image.Resampling.NEAREST)
    return np.asarray(classes)[..., BLUE] > 127
