"""HO-3D, versions 2 and 3: sequences of right hands that hold objects.

::

    {train,evaluation}/<sequence>/rgb/NNNN.{png,jpg}  640 x 480; PNG in version 2, JPEG in 3
    {train,evaluation}/<sequence>/meta/NNNN.pkl       camMat, and handJoints3D in metres
    train/<sequence>/seg/NNNN.png                     version 3: blue on the hand
    train.txt, evaluation.txt                         one <sequence>/NNNN for each labelled picture
    evaluation_xyz.json                               joints in this order (public since 2024)

The axes are those of OpenGL: y up, and the camera looks along -z; the reader converts them. The joint order is MANO's:
wrist, index, middle, little, ring finger, thumb, then the tips from thumb to little finger. Without
`evaluation_xyz.json` only the root of the evaluation's hands is known: there `handJoints3D` holds only the wrist.

How sure is this? The axes and the joint order, also of `evaluation_xyz.json`, agree with the authors' scripts and with
every public reader that was compared. Only one reader says that the hand is blue in the masks. The size of the masks is
not known, so they are resized to the picture.

Source: Hampali et al., HOnnotate, CVPR 2020, and the authors' scripts.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from PIL import Image

from dhpe_lib.common.json_files import Joints, is_safe_name
from dhpe_lib.common.unpickling import PickleFileError, load_pickle
from dhpe_lib.data.checks import (
    DatasetError,
    Finding,
    check_images,
    evenly_spaced,
    failure,
    field,
    read_image,
    read_json,
    require,
    require_split,
)
from dhpe_lib.data.sample import Sample, from_pixel_centers, project
from dhpe_lib.hand.skeleton import to_canonical

SPLITS = ("train", "evaluation")
COUNTS = {"v2": {"train": 66_034, "evaluation": 11_524}, "v3": {"train": 83_325, "evaluation": 20_137}}
SIZE = (640, 480)
SUFFIXES = (".png", ".jpg")
FROM_OPENGL = np.array([1, -1, -1])
BLUE = 2
SAME_ROOT = 0.005  # largest difference of two equal roots, metres
HOMEPAGE = "https://github.com/shreyashampali/ho3d"
REMEDY = f"get HO-3D (links at {HOMEPAGE}) again"


class Ho3d:
    """All labelled pictures of a split; all hands are right hands.

    Attributes:
        ids: `train/ABF10/0000` and so on, in the order of `train.txt`.
    """

    ids: Sequence[str]

    def __init__(self, directory: Path, split: str) -> None:
        """Read the list of pictures, and the joints of the evaluation if their file exists.

        Args:
            directory: The folder that holds `train`, `evaluation` and the two lists.
            split: One of `SPLITS`.

        Raises:
            FileNotFoundError: The list is missing.
            ValueError: The split does not exist, or a file is damaged.
        """
        require_split(split, SPLITS, "HO-3D")
        self._directory = Path(directory)
        names = _read_list(self._directory, split)
        self._evaluation_joints = _read_evaluation(self._directory, len(names)) if split == "evaluation" else None
        self.ids = tuple(f"{split}/{name}" for name in names)

    @property
    def unlabelled(self) -> str | None:
        """The reason and the remedy if the split has only the wrists, as its first picture tells; else None."""
        folder, frame = _split_id(self._directory, self.ids[0])
        if self._evaluation_joints is not None or not np.isnan(_read_meta(folder / "meta" / f"{frame}.pkl")[1]).any():
            return None
        return f"{self._directory / 'evaluation_xyz.json'}: no such file, so only wrists are known; {REMEDY}"

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        folder, frame = _split_id(self._directory, self.ids[index])
        path = folder / "meta" / f"{frame}.pkl"
        k, joints = _read_meta(path)
        if self._evaluation_joints is not None:
            joints = self._evaluation_joints[index]
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
    """Compare a copy of the dataset with the published dataset.

    Args:
        directory: The folder that holds `train`, `evaluation` and the two lists.
        version: `v2` or `v3`.

    Returns:
        Findings about the list, the pictures and a few of the labels of each split.
    """
    return [finding for split in SPLITS for finding in _check_split(Path(directory), split, COUNTS[version][split])]


def _check_split(directory: Path, split: str, count: int) -> list[Finding]:
    path = directory / f"{split}.txt"
    try:
        names = _read_list(directory, split)
    except (OSError, DatasetError) as error:
        return [failure(path, error, REMEDY)]
    problem = None if len(names) == count else f"{len(names)} pictures, {count} were published in this version"
    frames = [_split_id(directory, f"{split}/{name}") for name in names]
    suffix = _picture(*frames[0]).suffix
    pictures = [str((folder / "rgb" / frame).relative_to(directory / split)) + suffix for folder, frame in frames]
    return [
        Finding(path, problem, len(names), REMEDY if problem else ""),
        check_images(directory / split, pictures, SIZE, REMEDY),
        _check_labels(directory, split, frames),
    ]


def _check_labels(directory: Path, split: str, frames: Sequence[tuple[Path, str]]) -> Finding:
    """Read a few labels; for the evaluation, check that evaluation_xyz.json exists and belongs to these pictures."""
    few = evenly_spaced(range(len(frames)))
    try:
        joints = np.array([_read_meta(frames[n][0] / "meta" / f"{frames[n][1]}.pkl")[1] for n in few])
        evaluation = _read_evaluation(directory, len(frames)) if split == "evaluation" else None
    except (OSError, DatasetError, PickleFileError) as error:
        return failure(directory / split, error, REMEDY)
    if evaluation is not None and np.abs(evaluation[few, 0] - joints[:, 0]).max() > SAME_ROOT:
        problem = "the roots in evaluation_xyz.json and in meta differ: it is from another version or in another order"
        return Finding(directory / split, problem, len(frames), REMEDY)
    if evaluation is None and np.isnan(joints).any():
        return Finding(directory / split, "only the root is labelled in some pictures", len(frames), REMEDY)
    return Finding(directory / split, None, len(frames), "")


def _split_id(directory: Path, name: str) -> tuple[Path, str]:
    """Return the folder of the sequence and the number of the frame."""
    split, sequence, frame = name.split("/")
    return directory / split / sequence, frame


def _picture(folder: Path, frame: str) -> Path:
    candidates = [folder / "rgb" / f"{frame}{suffix}" for suffix in SUFFIXES]
    return next((path for path in candidates if path.exists()), candidates[0])


def _read_list(directory: Path, split: str) -> list[str]:
    path = directory / f"{split}.txt"
    names = require(path, REMEDY).read_text(encoding="latin1").split()
    wrong = [name for name in names if name.count("/") != 1 or not all(map(is_safe_name, name.split("/")))]
    if wrong or not names:
        raise DatasetError(f"{path}: has a line {wrong[:1]}, not <sequence>/<frame>; {REMEDY}")
    return names


def _read_evaluation(directory: Path, count: int) -> Float[ndarray, "n 21 3"] | None:
    """Read the joints of the evaluation, metres; None if their file does not exist."""
    path = directory / "evaluation_xyz.json"
    if not path.exists():
        return None
    joints = np.array(read_json(path, list[Joints], REMEDY)).reshape(-1, 21, 3)
    if len(joints) != count:
        raise DatasetError(f"{path}: joints of {len(joints)} pictures, evaluation.txt lists {count}; {REMEDY}")
    return joints


def _read_meta(path: Path) -> tuple[Float[ndarray, "3 3"], Float[ndarray, "21 3"]]:
    """Read camera (pixels) and joints (metres) in the file's frame; if it holds only the root, the others are NaN."""
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
