"""Dexter+Object: 3,145 test frames of a left hand that moves a box; only the five fingertips are labelled.

::

    data/{Grasp1,Grasp2,Occlusion,Rigid,Pinch,Rotate}/color/*.png   640 x 480, by number
    data/<sequence>/annotations/<sequence>{2D,3D}.txt               one line for each frame

A line has five fields that end in `;`: thumb, index, middle, ring and little fingertip. In the 3D file a field is `x,
y, z` in millimetres, with z = 32001 if the tip is not labelled. In the 2D file a field is a pixel of the *depth*
picture (320 x 240).

The 3D labels are in the frame of the depth camera, with x and y pointing in the opposite directions. With d = (-x, -y,
z) the tip lies at R d + t in the colour camera's frame, where R and t are the dataset's calibration.

How sure is this? Neither the data nor its readme was available, so two public readers of the dataset were compared.
The first reader does what is described above. The second reader does not negate x and y. Instead it mirrors the pixels
and adds 80 to u, because that fits the pictures. This agrees with the description above at a depth of 320 mm; the
inverse of R and t would require adding 10. Only the first reader explains the 2D labels. Therefore :func:`check`
compares the two label files with each other. Draw the tips on the pictures before you trust a number.

Source: Sridhar et al., Real-time Joint Tracking of a Hand Manipulating an Object from RGB-D Input, ECCV 2016.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dhpe_lib.data.checks import DatasetError, Finding, check_images, failure, read_image, require, require_split
from dhpe_lib.data.sample import Sample, as_right_hand, from_pixel_centers, project
from dhpe_lib.hand.skeleton import JOINT_NAMES

SPLITS = ("evaluation",)
SEQUENCES = ("Grasp1", "Grasp2", "Occlusion", "Rigid", "Pinch", "Rotate")
COUNT = 3_145
SIZE = (640, 480)
UNLABELLED = 32_001
TIPS = [number for number, name in enumerate(JOINT_NAMES) if name.endswith("_tip")]
HOMEPAGE = "https://handtracker.mpi-inf.mpg.de/projects/RealtimeHO/dexter+object.htm"
REMEDY = f"get Dexter+Object from {HOMEPAGE} again"

K_COLOR = np.array([[587.45209, 0, 325], [0, 600.67456, 249], [0, 0, 1]])
K_DEPTH = np.array([[224.502, 0, 160], [0, 230.494, 120], [0, 0, 1]])
DEPTH_TO_COLOR_ROTATION = np.array([[0.9999, 0.0034, 0.0161], [-0.0033, 1.0, -0.0079], [-0.0162, 0.0079, 0.9998]])
DEPTH_TO_COLOR_TRANSLATION = np.array([19.0473, -1.8514, -4.7501])  # millimetres
AXES = np.array([-1, -1, 1])  # directions of the labels' axes in the depth camera's frame
AGREEMENT = 5  # largest median distance of projected 3D labels to 2D labels, pixels of the depth picture


class DexterObject:
    """All frames, mirrored to right hands; all joints except the fingertips are unknown.

    Attributes:
        ids: `Grasp1/<name of the picture>` and so on.
    """

    ids: Sequence[str]

    def __init__(self, directory: Path, split: str = "evaluation") -> None:
        """Read the labels of all six sequences.

        Args:
            directory: The folder that holds `data`, or `data` itself.
            split: `evaluation`, the only one.

        Raises:
            FileNotFoundError: Labels or pictures are missing.
            ValueError: The split does not exist, labels are damaged, or the numbers of labels and pictures differ.
        """
        require_split(split, SPLITS, "Dexter+Object")
        data = _data(directory)
        self._images = [path for sequence in SEQUENCES for path in _pictures(data, sequence)]
        self._tips = np.concatenate([_read_sequence(data, sequence) for sequence in SEQUENCES])
        self.ids = tuple(f"{path.parent.parent.name}/{path.stem}" for path in self._images)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        k = from_pixel_centers(K_COLOR)
        joints_3d = np.full((21, 3), np.nan)
        joints_3d[TIPS] = to_color_camera(self._tips[index])
        return as_right_hand(
            Sample(
                id=self.ids[index],
                image=read_image(self._images[index], SIZE, REMEDY),
                k=k,
                joints_2d=project(joints_3d, k),
                joints_3d=joints_3d,
                visible=np.isfinite(joints_3d).all(1),
                mask=None,
                side="left",
                joint_0="wrist",
            )
        )


def to_color_camera(labels: Float[ndarray, "n 3"]) -> Float[ndarray, "n 3"]:
    """Convert 3D labels to the frame of the colour camera: R (-x, -y, z) + t.

    Args:
        labels: Points as in the label file, millimetres; NaN if unknown.

    Returns:
        Points in the frame of the colour camera, millimetres.

    Source: the calibration that comes with the dataset.
    """
    return (labels * AXES) @ DEPTH_TO_COLOR_ROTATION.T + DEPTH_TO_COLOR_TRANSLATION


def check(directory: Path) -> list[Finding]:
    """Compare a copy of the dataset with the published dataset, and its 3D labels with its 2D labels.

    Args:
        directory: The folder that holds `data`, or `data` itself.

    Returns:
        For each sequence a finding about the labels, the pictures, and the agreement of the two label files; at the end
        a finding about the total number of frames.
    """
    data = _data(directory)
    findings = [finding for sequence in SEQUENCES for finding in _check_sequence(data, sequence)]
    total = sum(finding.count or 0 for finding in findings if finding.path.name.endswith("3D.txt"))
    problem = None if total == COUNT else f"{total} labelled frames, {COUNT} were published"
    return [*findings, Finding(data, problem, total, REMEDY if problem else "")]


def _check_sequence(data: Path, sequence: str) -> list[Finding]:
    path = _labels_file(data, sequence, "3D")
    try:
        tips, pictures = _read_sequence(data, sequence), _pictures(data, sequence)
    except (OSError, DatasetError) as error:
        return [failure(path, error, REMEDY)]
    names = [picture.name for picture in pictures]
    return [
        Finding(path, None, len(tips), ""),
        check_images(pictures[0].parent, names, SIZE, REMEDY),
        _check_agreement(_labels_file(data, sequence, "2D"), tips),
    ]


def _check_agreement(path: Path, tips: Float[ndarray, "frame 5 3"]) -> Finding:
    """Compare the 3D labels, projected into the depth picture, with the 2D labels."""
    try:
        pixels = _read_lines(path, 2)
    except (OSError, DatasetError) as error:
        return failure(path, error, REMEDY)
    if len(pixels) != len(tips):
        return Finding(path, f"{len(pixels)} lines, {len(tips)} in the file of 3D labels", len(pixels), REMEDY)
    known = np.isfinite(tips).all(-1)
    miss = np.linalg.norm(project(tips[known] * AXES, K_DEPTH) - pixels[known], axis=1)
    if not known.any() or np.median(miss) <= AGREEMENT:
        return Finding(path, None, len(pixels), "")
    problem = f"the median distance to the projected 3D labels is {np.median(miss):.0f} pixels of the depth picture"
    return Finding(path, problem, len(pixels), "draw the tips (dhpe data show) before you trust a number")


def _data(directory: Path) -> Path:
    inner = Path(directory) / "data"
    return inner if inner.is_dir() else Path(directory)


def _labels_file(data: Path, sequence: str, kind: str) -> Path:
    return data / sequence / "annotations" / f"{sequence}{kind}.txt"


def _pictures(data: Path, sequence: str) -> list[Path]:
    """Return the colour pictures of a sequence, sorted by the numbers in their names."""
    folder = require(data / sequence / "color", REMEDY)
    found = [path for path in folder.iterdir() if path.suffix.lower() in (".png", ".jpg", ".bmp")]
    if not found:
        raise FileNotFoundError(f"{folder}: no pictures in it; {REMEDY}")
    return sorted(found, key=lambda path: [int(number) for number in re.findall(r"\d+", path.stem)])


def _read_sequence(data: Path, sequence: str) -> Float[ndarray, "frame 5 3"]:
    """Read the 3D labels of a sequence, in the file's frame, millimetres; NaN if a tip is not labelled."""
    path = _labels_file(data, sequence, "3D")
    tips = _read_lines(path, 3)
    pictures = len(_pictures(data, sequence))
    if len(tips) != pictures:
        raise DatasetError(f"{path}: {len(tips)} lines of labels for {pictures} pictures; {REMEDY}")
    tips[tips[..., 2] == UNLABELLED] = np.nan
    return tips


def _read_lines(path: Path, size: int) -> Float[ndarray, "frame 5 size"]:
    """Read a label file with five points of `size` numbers in each line."""
    lines = require(path, REMEDY).read_text(encoding="latin1").split("\n")
    points = [_read_line(line, size, f"{path}: line {n}") for n, line in enumerate(lines, 1) if line.strip()]
    if not points:
        raise DatasetError(f"{path}: holds no labels; {REMEDY}")
    return np.array(points)


def _read_line(line: str, size: int, where: str) -> Float[ndarray, "5 size"]:
    fields = [part for part in line.split(";") if part.strip()]
    try:
        points = np.array([[float(number) for number in part.split(",") if number.strip()] for part in fields])
    except ValueError as error:
        raise DatasetError(f"{where}: is not five points `x, y, ...;` ({error}); {REMEDY}") from error
    if points.shape != (5, size) or not np.isfinite(points).all():
        raise DatasetError(f"{where}: is not 5 finite points of {size} numbers; {REMEDY}")
    return points
