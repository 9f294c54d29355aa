"""InterHand2.6M: studio pictures of one or two hands from up to 140 cameras.

::

    images/{train,val,test}/<file_name>     JPEG; the labels name its size
    annotations/{train,val,test}/InterHand2.6M_<split>_
        data.json                           images and annotations, as in COCO
        camera.json                         capture -> campos, camrot, focal, princpt
        joint_3d.json                       capture -> frame -> world_coord, mm

Older copies have ``annotations/{all,human_annot,machine_annot}/InterHand2.6M_<split>_`` instead of a folder for each
split. The reader takes the first of these that has the split: `all` for train and test, `machine_annot` for val.

The joints are the 21 of the right hand, then the 21 of the left hand. Every finger goes from tip to base, thumb first;
the wrist comes last. A point X of the world has the place R (X - campos) before the camera. Each annotation with two
hands gives one sample for each hand. A hand without its wrist is not used, as in the authors' own loader. The camera is
read with whole numbers at the centres of pixels.

How sure is this? The fields, the order, the cameras and the older folders agree with the authors' loader. Whether
whole numbers are the centres of pixels is not documented. The counts are those of the authors' page for version 1.0 at
5 frames a second (human and machine annotations together) and of the authors for version 0.0. The number of pictures at
30 frames a second is not known.

Source: Moon et al., InterHand2.6M, ECCV 2020, and the authors' loader.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import numpy as np
from jaxtyping import Float
from msgspec import Meta, Struct
from numpy import ndarray

from dhpe_lib.common.json_files import Count, Matrix, Number, Point, Whole
from dhpe_lib.data.checks import (
    DatasetError,
    Finding,
    check_images,
    failure,
    is_below,
    numbers,
    read_image,
    read_json,
    require_split,
)
from dhpe_lib.data.sample import Sample, as_right_hand, from_pixel_centers, project
from dhpe_lib.hand.io import Side

SPLITS = ("train", "val", "test")
OLDER_FOLDERS = ("all", "machine_annot", "human_annot")
COUNTS = {"train": 1_361_062, "val": 380_125, "test": 849_160}
COUNTS_OF_V0 = {"train": 738_602, "val": 184_287, "test": 352_897}
"""Published number of pictures of versions 1.0 and 0.0, at 5 frames a second."""
HOMEPAGE = "https://mks0601.github.io/InterHand2.6M/"
REMEDY = f"get InterHand2.6M from {HOMEPAGE} again"
HANDS: dict[Side, slice] = {"right": slice(0, 21), "left": slice(21, 42)}
CANONICAL = (20, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12, 19, 18, 17, 16)
"""Joint of the dataset for each canonical joint."""
WRIST = 20
FORTY_TWO = Meta(min_length=42, max_length=42)
Labels = TypeVar("Labels")


class Picture(Struct):
    """A picture of ``data.json``."""

    id: Whole
    file_name: str
    width: Count
    height: Count
    capture: Whole | str
    camera: Whole | str
    frame_idx: Whole | str


class Annotation(Struct):
    """The hands in a picture."""

    image_id: Whole
    joint_valid: Annotated[list[float | tuple[float]], FORTY_TWO]
    hand_type: Literal["right", "left", "interacting"]


class Data(Struct):
    """Content of ``data.json``."""

    images: list[Picture]
    annotations: list[Annotation]


class Cameras(Struct):
    """The cameras of a capture, by name."""

    focal: dict[str, tuple[float, float]]
    princpt: dict[str, tuple[float, float]]
    camrot: dict[str, Matrix]
    campos: dict[str, Point]


class FrameJoints(Struct):
    """The joints of a moment."""

    world_coord: Annotated[list[tuple[Number, Number, Number]], FORTY_TWO]


class InterHand:
    """All labelled hands of a split.

    Attributes:
        ids: `val/Capture0/ROM01.../cam400262/image0001.jpg/right` and so on, in the order of the annotations.
        pictures: Number of pictures in the labels; a picture may have two usable hands or none.
    """

    ids: Sequence[str]
    pictures: int

    def __init__(self, directory: Path, split: str) -> None:
        """Read the labels of a split.

        Args:
            directory: The folder that holds `images` and `annotations`.
            split: One of `SPLITS`.

        Raises:
            FileNotFoundError: A label file is missing.
            ValueError: The split does not exist, or the labels are damaged.
        """
        require_split(split, SPLITS, "InterHand2.6M")
        self._images = Path(directory) / "images" / split
        self._files = {kind: label_file(Path(directory), split, kind) for kind in ("data", "camera", "joint_3d")}
        data = read_json(self._files["data"], Data, REMEDY)
        self._cameras = read_json(self._files["camera"], dict[str, Cameras], REMEDY)
        self._joints = read_json(self._files["joint_3d"], dict[str, dict[str, FrameJoints]], REMEDY)
        self._rows = hands_of(data, self._files["data"])
        self.pictures = len(data.images)
        self.ids = tuple(f"{split}/{image.file_name}/{side}" for image, _, side in self._rows)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        image, valid, side = self._rows[index]
        capture, camera, frame = map(str, (image.capture, image.camera, image.frame_idx))
        k, rotation, position = self._camera(capture, camera)
        what = f"{self._files['joint_3d']}: joints {capture}/{frame}"
        coordinates = named(named(self._joints, capture, what), frame, what).world_coord
        world = numbers(coordinates, (42, 3), what, REMEDY)
        known = (valid[HANDS[side]] > 0)[list(CANONICAL)]
        joints_3d = ((world[HANDS[side]] - position) @ rotation.T)[list(CANONICAL)]
        joints_3d = np.where(known[:, None], joints_3d, np.nan)
        k = from_pixel_centers(k)
        return as_right_hand(
            Sample(
                id=self.ids[index],
                image=read_image(self._images / image.file_name, (image.width, image.height), REMEDY),
                k=k,
                joints_2d=project(joints_3d, k),
                joints_3d=joints_3d,
                visible=known,
                mask=None,
                side=side,
                joint_0="wrist",
            )
        )

    def _camera(
        self, capture: str, camera: str
    ) -> tuple[Float[ndarray, "3 3"], Float[ndarray, "3 3"], Float[ndarray, " 3"]]:
        """Return the camera matrix (pixels), the rotation and the position (mm) of a camera."""
        what = f"{self._files['camera']}: camera {capture}/{camera}"
        cameras = named(self._cameras, capture, what)
        focal, center = named(cameras.focal, camera, what), named(cameras.princpt, camera, what)
        rotation, position = named(cameras.camrot, camera, what), named(cameras.campos, camera, what)
        k = np.array([[focal[0], 0, center[0]], [0, focal[1], center[1]], [0, 0, 1]])
        return k, np.array(rotation), np.array(position)


def label_file(directory: Path, split: str, kind: str) -> Path:
    """Return the path of a label file; the three files of a split lie in one folder, the present or an older one."""
    folders = [directory / "annotations" / name for name in (split, *OLDER_FOLDERS)]
    chosen = next((each for each in folders if (each / f"InterHand2.6M_{split}_data.json").exists()), folders[0])
    return chosen / f"InterHand2.6M_{split}_{kind}.json"


def hands_of(data: Data, path: Path) -> list[tuple[Picture, ndarray, Side]]:
    """List the usable hands: the picture, the validity of the 42 joints, the side."""
    images = {image.id: image for image in data.images}
    found: list[tuple[Picture, ndarray, Side]] = []
    for annotation in data.annotations:
        image = images.get(annotation.image_id)
        if image is None:
            raise DatasetError(f"{path}: lacks picture {annotation.image_id}, which has an annotation; {REMEDY}")
        if not is_below(image.file_name):
            raise DatasetError(f"{path}: file_name is {image.file_name!r}, not a path below the pictures; {REMEDY}")
        valid = np.array([flag[0] if isinstance(flag, tuple) else flag for flag in annotation.joint_valid])
        kind = annotation.hand_type
        sides: tuple[Side, ...] = ("right", "left") if kind == "interacting" else (kind,)
        found += [(image, valid, side) for side in sides if valid[HANDS[side]][WRIST] > 0]
    return found


def named(labels: Mapping[str, Labels], name: str, what: str) -> Labels:
    """Return the labels of a name; the message of the error says what is missing."""
    if name not in labels:
        raise DatasetError(f"{what} is missing; {REMEDY}")
    return labels[name]


def check(directory: Path) -> list[Finding]:
    """Check the labels and pictures of each split.

    Args:
        directory: The folder that holds `images` and `annotations`.

    Returns:
        Findings about the labels and the pictures.
    """
    return [finding for split in SPLITS for finding in _check_split(Path(directory), split)]


def _check_split(directory: Path, split: str) -> list[Finding]:
    path = label_file(directory, split, "data")
    try:
        reader = InterHand(directory, split)
    except (OSError, DatasetError) as error:
        return [failure(path, error, REMEDY)]
    names = sorted({name.split("/", 1)[1].rsplit("/", 1)[0] for name in reader.ids})
    return [
        count_finding(path, split, reader.pictures, len(reader)),
        check_images(directory / "images" / split, names, None, REMEDY),
    ]


def count_finding(path: Path, split: str, pictures: int, hands: int) -> Finding:
    """Compare the number of pictures with the published ones.

    More pictures than version 1.0 has at 5 frames a second are accepted as those at 30 frames a second, whose number is
    not known.
    """
    if pictures >= COUNTS[split] or pictures == COUNTS_OF_V0[split]:
        return Finding(path, None, hands, "")
    published = f"{COUNTS[split]:,} were published in version 1.0 and {COUNTS_OF_V0[split]:,} in version 0.0"
    return Finding(path, f"{pictures:,} pictures, {published}", hands, REMEDY)
