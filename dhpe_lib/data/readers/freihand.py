"""FreiHAND: 32,560 training photos of right hands, each with four backgrounds, and 3,960 test photos.

::

    training/rgb/%08d.jpg      130,240 pictures, 224 x 224: i + 32560 k is photo i, background k
    training/mask/%08d.jpg     32,560 masks, one for each photo
    training_{K,xyz}.json      for each photo: K, and 21 joints in metres in the camera frame
    evaluation/rgb/%08d.jpg    3,960 pictures
    evaluation_{K,xyz}.json    xyz is public now; without it the joints are unknown

The joints are in canonical order. The fitted meshes (`mano`, `verts`) and the length of the bone between joints 9 and
10 (`scale`) are not read. The dataset does not say whether a whole number is the centre or the corner of a pixel. It is
read as the centre, as in the authors' own drawings; the difference is half a pixel of 224.

Source: Zimmermann et al., FreiHAND, ICCV 2019, and the dataset's page.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dhpe_lib.common.json_files import Joints, Matrix
from dhpe_lib.data.checks import (
    DatasetError,
    Finding,
    check_images,
    failure,
    read_image,
    read_json,
    require_split,
)
from dhpe_lib.data.sample import Sample, from_pixel_centers, project

SPLITS = ("training", "evaluation")
PHOTOGRAPHS = {"training": 32_560, "evaluation": 3_960}
BACKGROUNDS = {"training": 4, "evaluation": 1}
SIZE = (224, 224)
HOMEPAGE = "https://lmb.informatik.uni-freiburg.de/resources/datasets/FreihandDataset.en.html"
REMEDY = f"get FreiHAND_pub_v2.zip (labels of the evaluation: FreiHAND_pub_v2_eval.zip) from {HOMEPAGE} again"


class FreiHand:
    """All pictures of a split; all hands are right hands.

    Attributes:
        ids: `training/00000000` and so on: all photos with the first background, then all with the second, and so on.
        unlabelled: The reason and the remedy if the split has no joints; else None.
    """

    ids: Sequence[str]
    unlabelled: str | None = None

    def __init__(self, directory: Path, split: str) -> None:
        """Read the labels of a split.

        Args:
            directory: The folder that holds `training` and `evaluation`.
            split: One of `SPLITS`.

        Raises:
            FileNotFoundError: The label files are missing.
            ValueError: The split does not exist, or the labels are damaged.
        """
        require_split(split, SPLITS, "FreiHAND")
        self._folder = Path(directory) / split
        self._k, self._joints = _read_labels(Path(directory), split)
        if np.isnan(self._joints).all():
            self.unlabelled = f"{Path(directory) / 'evaluation_xyz.json'}: no such file, so no joint is known; {REMEDY}"
        self._has_masks = split == "training"
        self.ids = tuple(f"{split}/{number:08d}" for number in range(BACKGROUNDS[split] * len(self._k)))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        number = range(len(self))[index]
        photograph = number % len(self._k)
        k = from_pixel_centers(self._k[photograph])
        joints_3d = 1000 * self._joints[photograph]
        mask = self._folder / "mask" / f"{photograph:08d}.jpg"
        return Sample(
            id=self.ids[number],
            image=read_image(self._folder / "rgb" / f"{number:08d}.jpg", SIZE, REMEDY),
            k=k,
            joints_2d=project(joints_3d, k),
            joints_3d=joints_3d,
            visible=np.isfinite(joints_3d).all(1),
            mask=read_image(mask, SIZE, REMEDY).max(2) > 127 if self._has_masks else None,
            side="right",
            joint_0="wrist",
        )


def check(directory: Path) -> list[Finding]:
    """Compare a copy of the dataset with the published dataset.

    Args:
        directory: The folder that holds `training` and `evaluation`.

    Returns:
        Findings about the labels, pictures and masks of each split.
    """
    return [finding for split in SPLITS for finding in _check_split(Path(directory), split)]


def _check_split(directory: Path, split: str) -> list[Finding]:
    path = directory / f"{split}_K.json"
    try:
        k, joints = _read_labels(directory, split)
    except (OSError, DatasetError) as error:
        return [failure(path, error, REMEDY)]
    right = len(k) == PHOTOGRAPHS[split]
    problem = None if right else f"labels of {len(k)} photographs, {PHOTOGRAPHS[split]} were published"
    names = [f"{number:08d}.jpg" for number in range(BACKGROUNDS[split] * len(k))]
    findings = [Finding(path, problem, len(k), REMEDY if problem else "")]
    if np.isnan(joints).any():
        findings.append(Finding(directory / f"{split}_xyz.json", "no such file: joints are unknown", None, REMEDY))
    findings.append(check_images(directory / split / "rgb", names, SIZE, REMEDY))
    if split == "training":
        masks = [f"{number:08d}.jpg" for number in range(len(k))]
        findings.append(check_images(directory / split / "mask", masks, SIZE, REMEDY))
    return findings


def _read_labels(directory: Path, split: str) -> tuple[Float[ndarray, "n 3 3"], Float[ndarray, "n 21 3"]]:
    """Read the cameras (pixels) and joints (metres); joints are NaN if the labels of the evaluation are missing."""
    k_file, xyz_file = (directory / f"{split}_{name}.json" for name in ("K", "xyz"))
    k = np.array(read_json(k_file, list[Matrix], REMEDY)).reshape(-1, 3, 3)
    if split == "evaluation" and not xyz_file.exists():
        return k, np.full((len(k), 21, 3), np.nan)
    joints = np.array(read_json(xyz_file, list[Joints], REMEDY)).reshape(-1, 21, 3)
    if len(joints) != len(k):
        raise DatasetError(f"{xyz_file}: joints of {len(joints)} photographs, cameras of {len(k)}; {REMEDY}")
    return k, joints
