"""STB, the Stereo Tracking Benchmark (SHD in the paper): twelve sequences of 1,500 frames of one left hand.

::

    images/B{1..6}{Counting,Random}/{BB_left,BB_right,SK_color}_%d.png    640 x 480
    labels/<sequence>_{BB,SK}.mat              handPara, 3 x 21 x 1500, millimetres

Some copies have no folder `images`.
Joint 0 is the palm's centre. Little, ring, middle, index finger and thumb follow, each from base to tip. B1 is the test
set. The paper's 30,000 training and 6,000 test pictures come from both cameras of the Bumblebee2 (BB). The pictures of
the RealSense F200 (SK) are separate splits.

The BB labels are in the left camera's frame. The right camera is one baseline b to its right, so X' = X - b. The SK
labels are in the frame of the *depth* camera. The readme's rotation and translation convert colour to depth, X = R X' +
t, so in the colour camera's frame X' = R^T (X - t), as in Ge et al. (CVPR 2019).

Source: Zhang et al., 3D Hand Pose Tracking and Estimation Using Stereo Matching, 2016, and the dataset's readme.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.spatial.transform import Rotation

from dhpe_lib.data.checks import DatasetError, Finding, check_images, failure, field, read_image, require, require_split
from dhpe_lib.data.mat_files import MatFileError, read_array
from dhpe_lib.data.sample import Sample, as_right_hand, from_pixel_centers, project
from dhpe_lib.hand.skeleton import to_canonical

FRAMES = 1500
SIZE = (640, 480)
HOMEPAGE = "https://github.com/zhjwustc/icip17_stereo_hand_pose_dataset"
REMEDY = f"get STB from {HOMEPAGE} again and unpack images and labels side by side"

BASELINE = 120.054  # millimetres
COLOR_TO_DEPTH_ROTATION = (0.00531, -0.01196, 0.00301)  # axis-angle, radians
COLOR_TO_DEPTH_TRANSLATION = (-24.0381, -0.4563, -1.2326)  # millimetres


@dataclass(frozen=True)
class Camera:
    """One of the three colour cameras.

    Attributes:
        labels: Suffix of its label files.
        fx, fy, cx, cy: Focal lengths and principal point, pixels, with whole numbers at the pixels' centres.
    """

    labels: Literal["BB", "SK"]
    fx: float
    fy: float
    cx: float
    cy: float

    @property
    def k(self) -> Float[ndarray, "3 3"]:
        """Camera matrix, with pixel i covering [i, i + 1)."""
        return from_pixel_centers(np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]]))


CAMERAS = {
    "BB_left": Camera("BB", 822.79041, 822.79041, 318.47345, 250.31296),
    "BB_right": Camera("BB", 822.79041, 822.79041, 318.47345, 250.31296),
    "SK_color": Camera("SK", 607.92271, 607.88192, 314.78337, 236.42484),
}
TRAINING = tuple(f"B{number}{motion}" for number in range(2, 7) for motion in ("Counting", "Random"))
EVALUATION = ("B1Counting", "B1Random")
STEREO, REALSENSE = ("BB_left", "BB_right"), ("SK_color",)
_PARTS = {
    "training": (TRAINING, STEREO),
    "evaluation": (EVALUATION, STEREO),
    "training-sk": (TRAINING, REALSENSE),
    "evaluation-sk": (EVALUATION, REALSENSE),
}
SPLITS = tuple(_PARTS)


class Stb:
    """All pictures of a split, mirrored to right hands.

    Attributes:
        ids: `B1Counting/BB_left_0` and so on, sorted by sequence, then camera, then frame.
    """

    ids: Sequence[str]

    def __init__(self, directory: Path, split: str) -> None:
        """Read the labels of a split.

        Args:
            directory: The folder with `labels` and, if the copy has it, `images`.
            split: One of `SPLITS`; splits with `-sk` have the RealSense's pictures.

        Raises:
            FileNotFoundError: Label files are missing.
            ValueError: The split does not exist, or labels are damaged.
        """
        require_split(split, SPLITS, "STB")
        sequences, cameras = _PARTS[split]
        self._images = _images(directory)
        self._entries = [(s, camera, frame) for s in sequences for camera in cameras for frame in range(FRAMES)]
        self._joints = {s: _read_joints(_labels_file(directory, s, CAMERAS[cameras[0]].labels)) for s in sequences}
        self.ids = tuple(f"{sequence}/{camera}_{frame}" for sequence, camera, frame in self._entries)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        sequence, camera, frame = self._entries[index]
        k = CAMERAS[camera].k
        joints_3d = to_camera(to_canonical(self._joints[sequence][frame], "stb"), camera)
        return as_right_hand(
            Sample(
                id=self.ids[index],
                image=read_image(self._images / f"{self.ids[index]}.png", SIZE, REMEDY),
                k=k,
                joints_2d=project(joints_3d, k),
                joints_3d=joints_3d,
                visible=np.ones(21, bool),
                mask=None,
                side="left",
                joint_0="palm",
            )
        )


def to_camera(labels: Float[ndarray, "n 3"], camera: str) -> Float[ndarray, "n 3"]:
    """Convert labels to the frame of a colour camera.

    BB_left: X. BB_right: X - (b, 0, 0). SK_color: R^T (X - t).

    Args:
        labels: Points in the left camera's frame (BB) or the depth camera's frame (SK), millimetres.
        camera: A key of `CAMERAS`.

    Returns:
        Points in the frame of that camera, millimetres.

    Source: the dataset's readme.
    """
    if camera == "SK_color":
        rotation = Rotation.from_rotvec(COLOR_TO_DEPTH_ROTATION).as_matrix()
        return (labels - np.array(COLOR_TO_DEPTH_TRANSLATION)) @ rotation  # rows: (R^T x)^T = x^T R
    return labels - np.array([BASELINE, 0, 0]) if camera == "BB_right" else labels


def check(directory: Path) -> list[Finding]:
    """Compare a copy of the dataset with the published dataset.

    Args:
        directory: The folder with `labels` and, if the copy has it, `images`.

    Returns:
        Findings about the labels of each sequence, then about the pictures of each camera.
    """
    sequences = (*EVALUATION, *TRAINING)
    findings = [_check_labels(_labels_file(directory, s, camera)) for s in sequences for camera in ("BB", "SK")]
    images = _images(directory)
    for camera in CAMERAS:
        names = [f"{sequence}/{camera}_{frame}.png" for sequence in sequences for frame in range(FRAMES)]
        findings.append(check_images(images, names, SIZE, REMEDY))
    return findings


def _check_labels(path: Path) -> Finding:
    try:
        return Finding(path, None, len(_read_joints(path)), "")
    except (OSError, DatasetError) as error:
        return failure(path, error, REMEDY)


def _images(directory: Path) -> Path:
    inner = Path(directory) / "images"
    return inner if inner.is_dir() else Path(directory)


def _labels_file(directory: Path, sequence: str, camera: str) -> Path:
    return Path(directory) / "labels" / f"{sequence}_{camera}.mat"


def _read_joints(path: Path) -> Float[ndarray, "frame 21 3"]:
    """Read the joints of a sequence in the dataset's own order and frame, millimetres."""
    try:
        found = read_array(require(path, REMEDY), "handPara")
    except MatFileError as error:
        raise DatasetError(f"{path}: cannot be read as a MATLAB file ({error}); {REMEDY}") from error
    content = {} if found is None else {"handPara": found}
    return field(content, "handPara", (3, 21, FRAMES), str(path), REMEDY).transpose(2, 1, 0)
