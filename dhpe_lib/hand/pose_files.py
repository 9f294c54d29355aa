"""Read and write files of hand poses in the formats of this project and of other programs.

A file is .json, .npz, .npy or .pkl; pickles are read without running their code. Fields of each format, for n hands
(a single hand needs no first axis):

::

    axis-angle, matrix, 6d, quaternion
                pose: 15 rotations relative to the flat hand, or 16 with the global one first
    mean        pose: 45 axis-angle numbers relative to the mean pose, or 48
    pca         pose: up to 45 coefficients relative to the mean pose
    smplx       hand_pose 45 relative to the mean pose, global_orient 3, transl 3
    freihand    the vectors of 61 numbers; needs a camera
    hamer       hand_pose, global_orient (matrices), betas, right; WiLoR writes the same
    frankmocap  pred_hand_pose 48, pred_hand_betas
    dhpe        the JSON that ``dhpe predict`` writes for a hand

The formats up to smplx may have shape (or betas), rotation (axis-angle) and translation beside their pose. Nothing here
has a gradient.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from msgspec import Struct
from torch import Tensor

from dhpe_lib.common.files import atomic_write
from dhpe_lib.common.json_files import LARGE, JsonError, Numbers, convert, read_json
from dhpe_lib.common.npz_files import NpzFileError, read_npy_file, read_npz
from dhpe_lib.common.records import to_numpy
from dhpe_lib.common.unpickling import PickleFileError, load_pickle
from dhpe_lib.hand.conversions import (
    REPRESENTATIONS,
    HandPose,
    Representation,
    flat_to_mean,
    from_frankmocap,
    from_freihand,
    from_hamer,
    from_matrix,
    from_smplx,
    mean_to_flat,
    mirror_pose,
    pose_to_pca,
    to_freihand,
    to_matrix,
)
from dhpe_lib.hand.io import MOST_BYTES, HandFileError, Side
from dhpe_lib.hand.model import HandModel, about_wrist
from dhpe_lib.hand.rotations import axis_angle_to_matrix, matrix_to_axis_angle, quaternion_to_matrix

Target = Literal["axis-angle", "matrix", "6d", "quaternion", "mean", "pca", "smplx", "freihand", "hamer"]
Source = Target | Literal["frankmocap", "dhpe"]
TARGETS: tuple[Target, ...] = get_args(Target)
SOURCES: tuple[Source, ...] = (*TARGETS, "frankmocap", "dhpe")
NUMBERS = {"axis-angle": 3, "matrix": 9, "6d": 6, "quaternion": 4}
"""Numbers of one rotation."""
SUFFIXES = (".json", ".npz")


class Prediction(Struct):
    """The read fields of the JSON that ``dhpe predict`` writes for a hand."""

    h: dict[str, Numbers]
    hand: Side | None = None


def read_pose(path: Path, source: Source, model: HandModel, k: Tensor | None = None) -> HandPose:
    """Read the poses in a file.

    Args:
        path: The file.
        source: Its format.
        model: Hand model of the side of the poses.
        k: Camera matrix, pixels; for FreiHAND's place in space.

    Returns:
        The hands, on the model's device.

    Raises:
        FileNotFoundError: The file does not exist.
        HandFileError: The file is damaged, or a field is missing or wrong; the message names the field.
    """
    fields = _Fields(path, _read_fields(path), model.v_template)
    if source == "dhpe":
        return _from_dhpe(fields, model)
    if source == "freihand":
        vectors = fields.rows("pose", 61)
        return from_freihand(model, vectors, None if k is None else k.to(vectors).expand(len(vectors), 3, 3))
    if source == "frankmocap":
        pose = fields.rows("pred_hand_pose", 48)
        return from_frankmocap(model, pose, fields.beside(pose, "pred_hand_betas", 10))
    if source == "hamer":
        fingers = fields.rows("hand_pose", 135)
        turn, betas = fields.beside(fingers, "global_orient", 9), fields.beside(fingers, "betas", 10)
        place = fields.optional("pred_cam_t_full", 3, fingers)
        return from_hamer(model, turn.unflatten(1, (3, 3)), fingers.unflatten(1, (15, 3, 3)), betas, place)
    if source == "smplx":
        pose = fields.rows("hand_pose", 45)
        given = fields.optional("global_orient", 3, pose)
        orient = pose.new_zeros(len(pose), 3) if given is None else given
        return from_smplx(model, pose, orient, fields.shape(pose), fields.optional("transl", 3, pose))
    return _from_numbers(fields, source, model)


def pose_fields(hands: HandPose, target: Target, model: HandModel, k: Tensor | None = None) -> dict[str, Any]:
    """Return the fields of a file in a format.

    Args:
        hands: The hands.
        target: The format.
        model: Hand model of the hands' side.
        k: Camera matrix, pixels; for FreiHAND.

    Returns:
        Arrays by name, with one row for each hand, and "hand", their side.

    Raises:
        ValueError: FreiHAND's format needs a camera, a translation and right hands.
    """
    fields: dict[str, Any] = {"hand": hands.side}
    if target == "freihand":
        if k is None:
            raise ValueError("FreiHAND's format places the hand in a picture; give the camera")
        return fields | {"pose": to_numpy(to_freihand(model, hands, k.to(hands.shape).expand(len(hands.shape), 3, 3)))}
    if target == "hamer":
        seen = hands if hands.side == "right" else mirror_pose(hands)
        parts = {"global_orient": seen.rotation[:, None], "hand_pose": seen.fingers, "betas": hands.shape}
        right = np.full(len(hands.shape), float(hands.side == "right"))
        return fields | {name: to_numpy(part) for name, part in parts.items()} | {"right": right}
    if target == "smplx":
        return fields | _smplx_fields(hands, model)
    mean = flat_to_mean(model, hands.pose)
    values = {"mean": mean, "pca": pose_to_pca(model, mean)} if target in ("mean", "pca") else {}
    pose = values[target] if target in values else from_matrix(hands.fingers, cast(Representation, target))
    fields |= {"pose": to_numpy(pose), "shape": to_numpy(hands.shape)}
    fields["rotation"] = to_numpy(matrix_to_axis_angle(hands.rotation))
    return fields if hands.translation is None else fields | {"translation": to_numpy(hands.translation)}


def write_pose(path: Path, fields: Mapping[str, Any]) -> None:
    """Write the fields of :func:`pose_fields` atomically.

    Args:
        path: Output path, .json or .npz.
        fields: Arrays by name.

    Raises:
        HandFileError: The suffix is another one.
        OSError: The file cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise HandFileError(f"{path}: poses are written as {' or '.join(SUFFIXES)}, not as {path.suffix!r}")
    with atomic_write(path) as draft:
        if path.suffix.lower() == ".npz":
            with draft.open("wb") as file:
                np.savez(file, **fields)
            return
        lists = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in fields.items()}
        draft.write_text(json.dumps(lists) + "\n", encoding="utf-8")


def _read_fields(path: Path) -> dict[str, Any]:
    """Read the fields of a file of any kind; a bare array or list is the field pose."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".json":
            content: Any = read_json(path, object, LARGE)
        elif suffix == ".npz":
            content = read_npz(path, MOST_BYTES)
        elif suffix == ".npy":
            content = read_npy_file(path, MOST_BYTES)
        elif suffix == ".pkl":
            content = load_pickle(path)
        else:
            raise HandFileError(f"{path}: poses are read from .json, .npz, .npy or .pkl, not from {suffix!r}")
    except (JsonError, NpzFileError, PickleFileError, EOFError) as error:
        raise HandFileError(
            f"{path}: cannot be read ({str(error).removeprefix(f'{path}: ')}); copy it again"
        ) from error
    except HandFileError:
        raise
    except ValueError as error:
        raise HandFileError(f"{path}: cannot be read ({error}); write it with numpy arrays only") from error
    return content if isinstance(content, dict) else {"pose": content}


class _Fields:
    """The fields of a file, checked when they are used."""

    def __init__(self, path: Path, fields: Mapping[str, Any], like: Tensor) -> None:
        self.path, self.fields, self.like = path, fields, like

    def rows(self, name: str, *counts: int) -> Tensor:
        """Return a field as one row of numbers for each hand.

        Args:
            name: Name of the field.
            counts: Allowed numbers in a row.
        """
        wanted = " or ".join(map(str, counts)) if len(counts) < 5 else f"{min(counts)} to {max(counts)}"
        if name not in self.fields:
            raise HandFileError(f"{self.path}: lacks the field {name} with {wanted} numbers for each hand")
        try:
            values = np.asarray(self.fields[name], np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise HandFileError(f"{self.path}: the field {name} does not hold numbers in rows of one length") from error
        count = values[0].size if values.ndim > 1 and len(values) else 0
        count = count if count in counts else values.size
        if count not in counts:
            shape = values.shape
            raise HandFileError(f"{self.path}: the field {name} has shape {shape}; give {wanted} numbers for each hand")
        rows = torch.from_numpy(values.reshape(-1, count)).to(self.like)
        if not rows.isfinite().all():  # a large number is infinite in float32
            raise HandFileError(f"{self.path}: the field {name} holds a number that is not finite")
        return rows

    def beside(self, pose: Tensor, name: str, count: int) -> Tensor:
        """Return a field that has a row for each hand of the pose, or one row for all."""
        rows = self.rows(name, count)
        if len(rows) not in (1, len(pose)):
            raise HandFileError(f"{self.path}: the field {name} has {len(rows)} rows, the pose {len(pose)}")
        return rows.expand(len(pose), -1)

    def optional(self, name: str, count: int, pose: Tensor) -> Tensor | None:
        """Return a field beside the pose if the file has it."""
        return self.beside(pose, name, count) if name in self.fields else None

    def shape(self, pose: Tensor) -> Tensor:
        """Return the shape of each hand; the mean shape if the file has none."""
        found = self.optional("betas" if "betas" in self.fields else "shape", 10, pose)
        return self.like.new_zeros(len(pose), 10) if found is None else found


def _from_numbers(fields: _Fields, source: Source, model: HandModel) -> HandPose:
    turn = None
    if source in REPRESENTATIONS:
        size = NUMBERS[source]
        numbers = fields.rows("pose", 15 * size, 16 * size)
        tail = (3, 3) if source == "matrix" else (size,)
        matrices = to_matrix(numbers.unflatten(1, (-1, *tail)), source)
        fingers = matrices[:, -15:]
        turn = matrices[:, 0] if matrices.shape[1] == 16 else None
    elif source == "pca":
        pose = mean_to_flat(model, model.pose_from_pca(fields.rows("pose", *range(45, 0, -1))))
        fingers = axis_angle_to_matrix(pose.unflatten(1, (15, 3)))
    else:
        numbers = fields.rows("pose", 45, 48)
        fingers = axis_angle_to_matrix(mean_to_flat(model, numbers[:, -45:]).unflatten(1, (15, 3)))
        turn = axis_angle_to_matrix(numbers[:, :3]) if numbers.shape[1] == 48 else None
    if turn is None:
        given = fields.optional("rotation", 3, fingers)
        turn = axis_angle_to_matrix(fingers.new_zeros(len(fingers), 3) if given is None else given)
    return HandPose(model.side, fingers, fields.shape(fingers), turn, fields.optional("translation", 3, fingers))


def _from_dhpe(fields: _Fields, model: HandModel) -> HandPose:
    try:
        found = convert(fields.fields, Prediction)
    except JsonError as error:
        raise HandFileError(f"{fields.path}: {error}; give the JSON that dhpe predict writes for a hand") from error
    if found.hand != model.side:
        raise HandFileError(f"{fields.path}: holds a {found.hand or 'nameless'} hand; add --side to name it")
    parts = _Fields(fields.path, found.h, fields.like)
    fingers = axis_angle_to_matrix(parts.rows("pose", 45).unflatten(1, (15, 3)))
    quaternion = parts.beside(fingers, "quaternion", 4) + fields.like.new_tensor((1.0, 0, 0, 0))
    return HandPose(model.side, fingers, parts.beside(fingers, "shape", 10), quaternion_to_matrix(quaternion))


def _smplx_fields(hands: HandPose, model: HandModel) -> dict[str, Any]:
    fields = {
        "hand_pose": flat_to_mean(model, hands.pose),
        "global_orient": matrix_to_axis_angle(hands.rotation),
        "betas": hands.shape,
    }
    if hands.translation is not None:
        zero = torch.zeros_like(hands.translation)
        fields["transl"] = hands.translation - about_wrist(zero, hands.rotation, model.rest_joints(hands.shape)[:, 0])
    return {name: to_numpy(value) for name, value in fields.items()}
