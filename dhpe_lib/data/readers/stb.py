"""STB, the Stereo Tracking Benchmark, which the paper calls SHD: twelve sequences of 1,500 frames of one left hand.

::

    images/B{1..6}{Counting,Random}/{BB_left,BB_right,SK_color}_%d.png     640 x 480; some copies have no folder images
    labels/<sequence>_{BB,SK}.mat                                          handPara, 3 x 21 x 1500, millimetres

Joint 0 is the palm's centre; then little, ring, middle, index finger and thumb, each base to tip. B1 is for testing.
The paper's 30,000 and 6,000 pictures are those of both cameras of the Bumblebee2 (BB); the RealSense F200 (SK) is
apart.

BB labels are in the left camera's frame; the right camera stands one baseline b to its right, X' = X - b. SK labels
are in the frame of the *depth* camera: the readme's rotation and translation bring colour to depth, X = R X' + t, so
in the colour camera's frame X' = R^T (X - t). Ge et al. (CVPR 2019) do the same.

Source: Zhang et al., 3D Hand Pose Tracking and Estimation Using Stereo Matching, 2016, and the dataset's readme.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.io import loadmat
from scipy.spatial.transform import Rotation

from dhpe_lib.data.checks import DatasetError, Finding, check_images, failure, field, read_image, require, require_split
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
        labels: Which label files belong to it.
        fx, fy, cx, cy: Focal lengths and principal point, pixels, with whole numbers at the pixels' centres.
    """

    labels: Literal["BB", "SK"]
    fx: float
    fy: float
    cx: float
    cy: float

    @property
    def k(self) -> Float[ndarray, "3 3"]:
        """The camera matrix in the project's pixels."""
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
    """Every picture of a split, mirrored to a right hand.

    Attributes:
        ids: `B1Counting/BB_left_0` and so on: all frames of a camera, camera after camera, sequence after sequence.
    """

    ids: Sequence[str]

    def __init__(self, directory: Path, split: str) -> None:
        """Read the labels of a split.

        Args:
            directory: The folder with `labels` and, if the copy has it, `images`.
            split: One of `SPLITS`; those with `-sk` are the RealSense's pictures.

        Raises:
            FileNotFoundError: Labels are missing.
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
    """Bring labels from the frame in which they were written to that of a colour camera.

    BB_left: X. BB_right: X - (b, 0, 0). SK_color: R^T (X - t).

    Args:
        labels: Points in the left camera's frame (BB) or the depth camera's (SK), millimetres.
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
    """Compare a copy of the dataset with what was published.

    Args:
        directory: The folder with `labels` and, if the copy has it, `images`.

    Returns:
        The labels of each sequence, and the pictures of each camera.
    """
    sequences = (*EVALUATION, *TRAINING)
    labels = [_check_labels(_labels_file(directory, s, camera)) for s in sequences for camera in ("BB", "SK")]
    images = _images(directory)
    for camera in CAMERAS:
        names = [f"{sequence}/{camera}_{frame}.png" for sequence in sequences for frame in range(FRAMES)]
        labels.append(check_images(images, names, SIZE, REMEDY))
    return labels


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
    """The joints of a sequence in the dataset's own order and frame, millimetres."""
    content: Any
    try:
        content = loadmat(require(path, REMEDY), variable_names=["handPara"])
    except FileNotFoundError:
        raise
    # A damaged file can end in almost any error of scipy's reader.
    except Exception as error:
        raise DatasetError(f"{path}: cannot be read as a MATLAB file ({error}); {REMEDY}") from error
    return field(content, "handPara", (3, 21, FRAMES), str(path), REMEDY).transpose(2, 1, 0)
