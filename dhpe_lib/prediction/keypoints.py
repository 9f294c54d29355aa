"""Keypoints: the 21 joints of each hand in a photo, from a JSON or from MediaPipe if it is installed.

The JSON is a list with one entry for each photo. An entry has one of two layouts. Joints are in canonical order and in
pixels of the upright photo (EXIF rotation applied), unless the entry or the hand says otherwise:

    {"file": "folder/photo.jpg", "joints_2d": 21 x [u, v] or [u, v, visible], "hand": "left" or "right" (optional)}
    {"file": "folder/photo.jpg", "hands": [{"joints_2d": ..., "hand": ...}, ...]}
    "order": "mano", or another key of ``dhpe_lib.hand.skeleton.JOINT_ORDERS`` (optional)
    "normalised": true for fractions of the photo's width and height, false for pixels (optional)

A joint with visible = 0 is not used; COCO's visibility 2 counts as 1. Without these two fields, another order or unit
is assumed only where it is certain, and the estimate says so. Nothing here has a gradient.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from msgspec import Struct
from numpy import ndarray

from dhpe_lib.common.json_files import LARGE, JsonError, Kind, Number, convert, read_json
from dhpe_lib.hand.io import Side
from dhpe_lib.hand.skeleton import JOINT_NAMES, JOINT_ORDERS, JOINT_PARENTS, to_canonical

Entry = Mapping[str, Any]

LAYOUT = '[{"file": "photo.jpg", "joints_2d": [[u, v, visible], ... 21 rows], "hand": "left" or "right"}, ...]'
GET_KEYPOINTS = (
    f"give a JSON with the 21 joints (--keypoints FILE, or --box FILE) that reads {LAYOUT}, or install MediaPipe with "
    "pip install -e '.[mediapipe]' (Python 3.11 or 3.12)"
)
MOST_HANDS = 8
FARTHEST = 1e9
"""Coordinates from here on, in pixels, are refused: sums of them could overflow."""
NORMALISED = (-1.0, 2.0)
"""Range of fractions of a photo's sides, with some joints outside the photo. No hand is only three pixels large."""
MANO_IS_SHORTER = 0.95
"""Length of all bones in MANO's order, over their length in canonical order, below which MANO's order is certain.

Random hands in canonical order never have less than 1.04; 98 % of hands in MANO's order have less than 0.95."""
TIPS_FIRST_IS_SHORTER = 0.8
"""The same ratio for RHD's order, tips first, below which the order is doubtful.

For hands in canonical order it is lower in less than 1 %; for hands in RHD's order in 78 %."""


class KeypointsError(ValueError):
    """Keypoints are missing or wrong; the message names file, entry and remedy."""


class NamedPhoto(Struct):
    """Fields that every entry has."""

    file: str


class PhotoEntry(NamedPhoto):
    """An entry of the second layout; in the first it has no hands."""

    hands: list[dict[str, Any]] | None = None


class HandEntry(Struct):
    """One hand in the JSON; the whole entry in the first layout."""

    joints_2d: list[list[Number | bool]]
    hand: Side | None = None
    order: str | None = None
    normalised: bool | None = None


@dataclass(frozen=True)
class HandKeypoints:
    """The joints of one hand in a photo.

    Attributes:
        joints: Joints in canonical order, pixels; the centre of the first pixel is (0.5, 0.5).
        confidence: Confidence of each joint, 0 to 1; an unknown joint has 0.
        side: Handedness, or None if the source does not give it.
        source: Name of the source of the joints.
        doubts: Reasons to doubt the joints.
    """

    joints: Float[ndarray, "21 2"]
    confidence: Float[ndarray, " 21"]
    side: Side | None
    source: str
    doubts: tuple[str, ...] = ()

    @property
    def known(self) -> Bool[ndarray, " 21"]:
        """Mask of the joints with a confidence above 0."""
        return self.confidence > 0

    @property
    def hand_size(self) -> float:
        """Larger side of the box around the known joints, pixels."""
        return float(np.ptp(self.joints[self.known], axis=0).max())

    def outside(self, size: tuple[int, int]) -> float:
        """Fraction of the known joints that lie outside a photo.

        Args:
            size: Width and height of the photo, pixels.
        """
        return len(self.names_outside(size)) / max(int(self.known.sum()), 1)

    def names_outside(self, size: tuple[int, int]) -> list[str]:
        """Name the known joints that lie outside a photo.

        Args:
            size: Width and height of the photo, pixels.
        """
        beyond = ((self.joints < 0) | (self.joints > size)).any(1) & self.known
        return [name for name, out in zip(JOINT_NAMES, beyond, strict=True) if out]


def read_keypoints(path: str | Path) -> list[dict[str, Any]]:
    """Read the entries of a keypoints file; :func:`keypoints_of` checks the joints of an entry.

    Args:
        path: Path of a JSON in one of the two layouts above.

    Returns:
        The entries, each with a "file".

    Raises:
        FileNotFoundError: There is no such file.
        KeypointsError: The file is not a JSON in this layout.
    """
    path = Path(path)
    if path.is_dir():
        raise KeypointsError(f"{path}: is a folder; name the JSON in it")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; {GET_KEYPOINTS}")
    try:
        entries = read_json(path, list[dict[str, Any]], LARGE)
        convert(entries, list[NamedPhoto])
    except JsonError as error:
        raise KeypointsError(f"{path}: {error}; it should read {LAYOUT}") from error
    return entries


def keypoints_of(
    photo: str | Path, size: tuple[int, int], entries: Sequence[Entry], source: str | Path
) -> list[HandKeypoints]:
    """Return the keypoints of the hands in a photo.

    An entry belongs to a photo if the photo's path ends with the "file" of the entry. If there is no such entry, an
    entry with an equal file name belongs to the photo.

    Args:
        photo: Path of the photo.
        size: Width and height of the upright photo, pixels.
        entries: From :func:`read_keypoints`.
        source: Path of the keypoints file, for error messages.

    Returns:
        One or more hands.

    Raises:
        KeypointsError: No entry or more than one belongs to the photo, or its joints are missing, wrong or all outside
            the photo.
    """
    entry = _entry_of(Path(photo), entries, Path(source))
    where = f"{source}: entry {entry['file']}"
    declared = {name: entry[name] for name in ("order", "normalised") if name in entry}
    hands = _converted(entry, PhotoEntry, where).hands
    if hands is None:
        hands = [dict(entry)] if "joints_2d" in entry else []
    if not hands:
        raise KeypointsError(f'{where}: holds no hand; add "joints_2d", or use other evidence for this photo')
    names = [where] if len(hands) == 1 else [f"{where}, hand {k + 1}" for k in range(len(hands))]
    return [
        _hand_of(_converted({**declared, **hand}, HandEntry, name), size, name, Path(source).name)
        for hand, name in zip(hands, names, strict=True)
    ]


def _converted(entry: Entry, kind: Callable[..., Kind], where: str) -> Kind:
    try:
        return convert(entry, kind)
    except JsonError as error:
        raise KeypointsError(f"{where}: {error}; it should read {LAYOUT}") from error


def _entry_of(photo: Path, entries: Sequence[Entry], source: Path) -> Entry:
    """Return the only entry that belongs to a photo."""
    parts = photo.absolute().parts
    endings = [PurePosixPath(entry["file"].replace("\\", "/")).parts for entry in entries]
    named = [k for k, ending in enumerate(endings) if ending[-1:] == parts[-1:]]
    found = [k for k in named if parts[-len(endings[k]) :] == endings[k]] or named
    if len(found) == 1:
        return entries[found[0]]
    if found:
        fit = ", ".join(entries[k]["file"] for k in found)
        raise KeypointsError(f"{photo}: several entries of {source} fit ({fit}); add more folders of the path to each")
    some = ", ".join(entry["file"] for entry in entries[:3]) or "no photo"
    more = f" and {len(entries) - 3} more" if len(entries) > 3 else ""
    raise KeypointsError(f"{photo}: no entry of {source} names this photo; it names {some}{more}")


def _hand_of(hand: HandEntry, size: tuple[int, int], where: str, source: str) -> HandKeypoints:
    """Check the joints of one hand in a JSON."""
    rows = _rows_of(hand, where)
    rows, order_doubts = _in_canonical_order(rows, hand, where)
    rows, unit_doubts = _in_pixels(rows, size, hand.normalised)
    doubts = (*order_doubts, *unit_doubts)
    keypoints = HandKeypoints(rows[:, :2], rows[:, 2], hand.hand, source, doubts)
    beyond = keypoints.names_outside(size)
    if keypoints.outside(size) == 1:
        raise KeypointsError(
            f"{where}: all joints lie outside the photo, which has {size[0]} x {size[1]} pixels; give pixels of the "
            'upright photo, or fractions of its sides with "normalised": true'
        )
    if beyond:
        doubt = f"outside the photo: {', '.join(beyond)}; give a joint that was not seen visible 0"
        return replace(keypoints, doubts=(*doubts, doubt))
    return keypoints


def _rows_of(hand: HandEntry, where: str) -> Float[ndarray, "21 3"]:
    """Return u, v and confidence of each joint as the file has them; an unknown joint is (0, 0, 0)."""
    try:
        joints = np.array(hand.joints_2d, np.float64)
    except ValueError as error:
        raise KeypointsError(f"{where}: joints_2d has rows of several lengths; write u, v, visible in each") from error
    if joints.shape not in ((21, 2), (21, 3)):
        raise KeypointsError(
            f"{where}: joints_2d has shape {joints.shape}, not (21, 2) or (21, 3); write one row for each joint: "
            "the wrist, then thumb to little finger, each from base to tip"
        )
    confidence = joints[:, 2] if joints.shape[1] == 3 else np.ones(21)
    wrong = np.flatnonzero((confidence < 0) | ((confidence > 1) & (confidence != 2)))
    if wrong.size:
        raise KeypointsError(
            f"{where}: the third number of row {wrong[0]} of joints_2d is {confidence[wrong[0]]:g}, but it is the "
            "visibility, from 0 (not used) to 1; leave depth out"
        )
    known = ~(confidence <= 0)
    broken = np.flatnonzero(known & ~(np.abs(joints) < FARTHEST).all(1))
    if broken.size:
        raise KeypointsError(
            f"{where}: row {broken[0]} of joints_2d is not finite or far outside; give an unknown joint visible 0"
        )
    return np.where(known[:, None], np.column_stack((joints[:, :2], confidence.clip(0, 1))), 0.0)


def _in_canonical_order(
    rows: Float[ndarray, "21 3"], hand: HandEntry, where: str
) -> tuple[Float[ndarray, "21 3"], tuple[str, ...]]:
    """Reorder joints by the declared order, or by another order that is certain; return doubts too."""
    if hand.order is not None:
        if hand.order not in JOINT_ORDERS:
            raise KeypointsError(f'{where}: "order" is {hand.order!r}; write one of {", ".join(JOINT_ORDERS)}')
        return to_canonical(rows, hand.order), ()
    length = _bones_length(rows)
    if not rows[:, 2].all() or length == 0:
        return rows, ()
    mano, tips_first = (_bones_length(to_canonical(rows, name)) / length for name in ("mano", "rhd"))
    if mano < min(MANO_IS_SHORTER, tips_first):
        guess = 'the joints are not in canonical order; they were read as "order": "mano": write it in the file'
        return to_canonical(rows, "mano"), (guess,)
    if tips_first < TIPS_FIRST_IS_SHORTER:
        return rows, ('the joints may start at the fingertips; if so, write "order": "rhd" in the file',)
    return rows, ()


def _bones_length(rows: Float[ndarray, "21 3"]) -> float:
    """Return the length of all bones in the picture, for joints in canonical order."""
    return float(np.linalg.norm(rows[1:, :2] - rows[list(JOINT_PARENTS[1:]), :2], axis=1).sum())


def _in_pixels(
    rows: Float[ndarray, "21 3"], size: tuple[int, int], normalised: bool | None
) -> tuple[Float[ndarray, "21 3"], tuple[str, ...]]:
    """Convert normalised joints to pixels if the file declares them or if they are certain; return doubts too."""
    if normalised is not None:
        return rows * (*size, 1) if normalised else rows, ()
    joints = rows[rows[:, 2] > 0, :2]
    if not len(joints) or joints.min() < NORMALISED[0] or joints.max() > NORMALISED[1]:
        return rows, ()
    guess = 'the joints were read as fractions of the photo\'s sides; write "normalised": true in the file'
    return rows * (*size, 1), (guess,)


def import_mediapipe() -> Any:
    """Import MediaPipe. It is optional, and the import takes a second.

    Returns:
        The package.

    Raises:
        KeypointsError: MediaPipe is not installed, or its version has no built-in hand model.
    """
    try:
        import mediapipe
    except ImportError as error:
        raise KeypointsError(f"no keypoints, and MediaPipe cannot be imported ({error}): {GET_KEYPOINTS}") from error
    if not hasattr(mediapipe, "solutions"):
        version = getattr(mediapipe, "__version__", "of unknown version")
        raise KeypointsError(f"MediaPipe {version} comes without its hand model, but 0.10.21 has it: {GET_KEYPOINTS}")
    return mediapipe


def detect_hands(image: UInt8[ndarray, "height width 3"]) -> list[HandKeypoints]:
    """Find hands with MediaPipe Hands.

    Args:
        image: Upright RGB photo.

    Returns:
        The hands, most certain first; the list is empty if no hand is found. Joints are in pixels.

    Raises:
        KeypointsError: MediaPipe is not installed, or its version has no built-in hand model.

    Source: Zhang et al., MediaPipe Hands, 2020. MediaPipe assumes that the input is mirrored, so left and right are
    swapped here.
    """
    mediapipe = import_mediapipe()
    height, width = image.shape[:2]
    with mediapipe.solutions.hands.Hands(static_image_mode=True, max_num_hands=MOST_HANDS) as detector:
        result = detector.process(np.ascontiguousarray(image))
    hands = []
    for landmarks, sides in zip(result.multi_hand_landmarks or (), result.multi_handedness or (), strict=True):
        joints = np.array([(point.x * width, point.y * height) for point in landmarks.landmark])
        side: Side = "right" if sides.classification[0].label == "Left" else "left"
        hands.append(HandKeypoints(joints, np.ones(21), side, f"MediaPipe {mediapipe.__version__}"))
    return hands
