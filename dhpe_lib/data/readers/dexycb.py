"""DexYCB: 1,000 sequences of one hand that grasps an object, from eight cameras.

::

    <subject>/<sequence>/meta.yml                  serials, num_frames, mano_sides
    <subject>/<sequence>/<serial>/color_%06d.jpg   640 x 480
    <subject>/<sequence>/<serial>/labels_%06d.npz  seg (255 on the hand), joint_3d 1 x 21 x 3, metres
    calibration/intrinsics/<serial>_640x480.yml    color: fx, fy, ppx, ppy

Joints are in canonical order, before the camera; a frame without a hand has -1 everywhere. The four set-ups of the
authors are the splits: s0 (all is seen), s1 (new people), s2 (new cameras), s3 (new objects). Subjects and sequences
are counted in the order of their names, so a copy must have all ten subjects with their 100 sequences. The cameras'
library puts whole numbers at the centres of pixels.

The authors' toolkit gives the number of frames of s0-train. Those of s0-val and s0-test are not known exactly: the
paper says 582,000 for all splits of a set-up together.

Source: Chao et al., DexYCB, CVPR 2021, and the authors' toolkit.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from jaxtyping import Bool, Float
from msgspec import Meta, Struct
from numpy import ndarray

from dhpe_lib.common.json_files import JsonError, Kind, convert
from dhpe_lib.common.npz_files import NpzFileError, read_npz
from dhpe_lib.data.checks import (
    DatasetError,
    Finding,
    check_images,
    failure,
    numbers,
    read_image,
    require,
    require_split,
)
from dhpe_lib.data.sample import Sample, as_right_hand, from_pixel_centers, project
from dhpe_lib.hand.io import Side

SETUPS = ("s0", "s1", "s2", "s3")
SPLITS = tuple(f"{setup}-{part}" for setup in SETUPS for part in ("train", "val", "test"))
COUNTS = {"s0-train": 465_504}
"""Published number of frames of a split; see above for the others."""
SUBJECTS, SEQUENCES = 10, 100
SUBJECT = re.compile(r"\d{8}-.+")
SERIALS = (
    "836212060125",
    "839512060362",
    "840412060917",
    "841412060263",
    "932122060857",
    "932122060861",
    "932122061900",
    "932122062010",
)
SIZE = (640, 480)
HAND = 255
MOST_YAML, MOST_LABELS = 2**16, 2**24
"""Most bytes of a YAML file, and of the arrays of a frame."""
HOMEPAGE = "https://dex-ycb.github.io"
REMEDY = f"get DexYCB from {HOMEPAGE} again, with all subjects and the calibration"


def chosen(split: str) -> tuple[list[int], list[int], list[int]]:
    """Return the numbers of the subjects, cameras and sequences (of each subject) of a split.

    Source: ``DexYCBDataset`` of the authors' toolkit.
    """
    setup, part = split.split("-")
    subjects, cameras, sequences = list(range(SUBJECTS)), list(range(len(SERIALS))), list(range(SEQUENCES))
    if setup == "s0":
        subjects = {"train": subjects, "val": [0, 1], "test": subjects[2:]}[part]
        sequences = [k for k in sequences if (k % 5 == 4) == (part != "train")]
    elif setup == "s1":
        subjects = {"train": [0, 1, 2, 3, 4, 5, 9], "val": [6], "test": [7, 8]}[part]
    elif setup == "s2":
        cameras = {"train": cameras[:6], "val": [6], "test": [7]}[part]
    else:
        groups = {"val": (3, 19), "test": (7, 11, 15)}
        held = (3, 7, 11, 15, 19)
        sequences = [k for k in sequences if (k // 5 in groups[part] if part in groups else k // 5 not in held)]
    return subjects, cameras, sequences


class DexYcb:
    """All frames of a split.

    Attributes:
        ids: `20200709-subject-01/20200709_141754/836212060125/000000` and so on.
    """

    ids: Sequence[str]

    def __init__(self, directory: Path, split: str) -> None:
        """Read the descriptions of all sequences and cameras of a split.

        Args:
            directory: The folder that holds the subjects and `calibration`.
            split: One of `SPLITS`.

        Raises:
            FileNotFoundError: A description is missing.
            ValueError: The split does not exist, the copy is not whole, or a description is damaged.
        """
        require_split(split, SPLITS, "DexYCB")
        self._directory = Path(directory)
        subjects, cameras, numbers_of_sequences = chosen(split)
        serials = [SERIALS[number] for number in cameras]
        self._cameras = {serial: read_camera(self._directory, serial) for serial in serials}
        self._sides: dict[str, Side] = {}
        ids = []
        for sequence in sequences_of(self._directory, subjects, numbers_of_sequences):
            frames, self._sides[sequence] = read_meta(self._directory / sequence / "meta.yml")
            ids += [f"{sequence}/{serial}/{frame:06d}" for serial in serials for frame in range(frames)]
        self.ids = tuple(ids)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        place, frame = self.ids[index].rsplit("/", 1)
        sequence, serial = place.rsplit("/", 1)
        folder = self._directory / place
        joints_3d, mask = read_labels(folder / f"labels_{frame}.npz")
        k = from_pixel_centers(self._cameras[serial])
        return as_right_hand(
            Sample(
                id=self.ids[index],
                image=read_image(folder / f"color_{frame}.jpg", SIZE, REMEDY),
                k=k,
                joints_2d=project(joints_3d, k),
                joints_3d=joints_3d,
                visible=np.isfinite(joints_3d).all(1),
                mask=mask,
                side=self._sides[sequence],
                joint_0="wrist",
            )
        )


def sequences_of(directory: Path, subjects: Sequence[int], numbers_of_sequences: Sequence[int]) -> list[str]:
    """List the sequences by the numbers of their subjects and their own numbers, as `<subject>/<sequence>`.

    Raises:
        DatasetError: The copy lacks subjects or sequences, so the numbers would mean others.
    """
    require(directory, REMEDY)
    names = sorted(path.name for path in directory.iterdir() if path.is_dir() and SUBJECT.fullmatch(path.name))
    if len(names) != SUBJECTS:
        raise DatasetError(f"{directory}: holds {len(names)} subjects, {SUBJECTS} were published; {REMEDY}")
    found = []
    for name in (names[number] for number in subjects):
        inner = sorted(path.name for path in (directory / name).iterdir() if path.is_dir())
        if len(inner) != SEQUENCES:
            what = f"holds {len(inner)} sequences, {SEQUENCES} were published"
            raise DatasetError(f"{directory / name}: {what}; {REMEDY}")
        found += [f"{name}/{inner[number]}" for number in numbers_of_sequences]
    return found


class Recording(Struct):
    """Content of a sequence's ``meta.yml``."""

    num_frames: Annotated[int, Meta(ge=1, le=9999)]
    mano_sides: tuple[Side]


class Lens(Struct):
    """The colour camera in a file of intrinsics, pixels."""

    fx: float
    fy: float
    ppx: float
    ppy: float


class Intrinsics(Struct):
    """Content of a file of intrinsics."""

    color: Lens


def read_yaml(path: Path, kind: Callable[..., Kind]) -> Kind:
    """Read a YAML file.

    Args:
        path: The file.
        kind: Type of its content; see :func:`dhpe_lib.common.json_files.convert`.

    Returns:
        The content.

    Raises:
        FileNotFoundError: The file does not exist.
        DatasetError: The file is not YAML, is larger than ``MOST_YAML`` bytes, or has an alias: a few lines of
            aliases can stand for a billion values. Or a field is missing or has another type.
    """
    import yaml

    if require(path, REMEDY).stat().st_size > MOST_YAML:
        raise DatasetError(f"{path}: is larger than {MOST_YAML} bytes; {REMEDY}")
    try:
        text = path.read_text(encoding="utf-8")
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise ValueError("it has an alias")
        content = yaml.safe_load(text)
    # Python's own values raise ValueError: dates that do not exist, and numbers of too many digits.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = str(error).split("\n")[0]
        raise DatasetError(f"{path}: is damaged or not YAML ({reason}); {REMEDY}") from error
    try:
        return convert(content, kind)
    except JsonError as error:
        raise DatasetError(f"{path}: {error}; {REMEDY}") from error


def read_meta(path: Path) -> tuple[int, Side]:
    """Read the number of frames and the side of the hand of a sequence."""
    meta = read_yaml(path, Recording)
    return meta.num_frames, meta.mano_sides[0]


def read_camera(directory: Path, serial: str) -> Float[ndarray, "3 3"]:
    """Read the matrix of a colour camera, pixels."""
    path = directory / "calibration" / "intrinsics" / f"{serial}_{SIZE[0]}x{SIZE[1]}.yml"
    lens = read_yaml(path, Intrinsics).color
    k = np.array([[lens.fx, 0, lens.ppx], [0, lens.fy, lens.ppy], [0, 0, 1]])
    return numbers(k, (3, 3), f"{path}: color", REMEDY)


def read_labels(path: Path) -> tuple[Float[ndarray, "21 3"], Bool[ndarray, "height width"]]:
    """Read the joints (mm, NaN without a hand) and the mask of a frame."""
    try:
        labels = read_npz(require(path, REMEDY), MOST_LABELS)
        joints, classes = labels["joint_3d"], labels["seg"]
    except (NpzFileError, KeyError) as error:
        raise DatasetError(f"{path}: cannot be read ({error}); {REMEDY}") from error
    joints = numbers(joints, (1, 21, 3), f"{path}: joint_3d", REMEDY)[0]
    if classes.shape != SIZE[::-1]:
        raise DatasetError(f"{path}: seg has shape {classes.shape}, not {SIZE[::-1]}; {REMEDY}")
    return np.full((21, 3), np.nan) if (joints == -1).all() else 1000 * joints, classes == HAND


def check(directory: Path) -> list[Finding]:
    """Check the descriptions, and the pictures and a few labels of the set-up s0, which has every sequence.

    Args:
        directory: The folder that holds the subjects and `calibration`.

    Returns:
        A finding about each split of s0.
    """
    return [_check_split(Path(directory), split) for split in SPLITS if split.startswith("s0")]


def _check_split(directory: Path, split: str) -> Finding:
    try:
        reader = DexYcb(directory, split)
        for index in range(0, len(reader), max(1, len(reader) // 8)):
            place, frame = reader.ids[index].rsplit("/", 1)
            read_labels(directory / place / f"labels_{frame}.npz")
    except (OSError, DatasetError) as error:
        return failure(directory, error, REMEDY)
    count = COUNTS.get(split, len(reader))
    if len(reader) != count:
        problem = f"the descriptions of {split} list {len(reader):,} frames, {count:,} were published"
        return Finding(directory, problem, len(reader), REMEDY)
    names = ["/color_".join(name.rsplit("/", 1)) + ".jpg" for name in reader.ids]
    return check_images(directory, names, SIZE, REMEDY)
