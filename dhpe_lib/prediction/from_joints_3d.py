"""From joints in space to hand meshes, without a photo.

The joints come from a JSON: a list with one entry for each hand.

::

    {"name": "frame_1",            first part of the names of the files (optional)
     "joints_3d": 21 x [x, y, z] or [x, y, z, confidence],
     "hand": "left" or "right",    optional; without it both are fitted, the better one is kept
     "order": "mano",              or another key of JOINT_ORDERS; canonical by default
     "unit": "m", "mm" or "any"}   "m" by default; "any": the size of the joints has no meaning

Nothing here has a gradient.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from msgspec import Struct
from numpy import ndarray

from dhpe_lib import __version__
from dhpe_lib.common.files import atomic_writes
from dhpe_lib.common.json_files import LARGE, JsonError, Name, Number, read_json
from dhpe_lib.common.records import to_numpy
from dhpe_lib.hand.export import vertex_colors
from dhpe_lib.hand.io import Side, write_mesh
from dhpe_lib.hand.mesh_texture import texture_of
from dhpe_lib.hand.model import HandMesh, HandModel
from dhpe_lib.hand.parameters import mirror_h, split_h
from dhpe_lib.hand.skeleton import JOINT_NAMES, JOINT_ORDERS, to_canonical
from dhpe_lib.refinement.inverse_kinematics import LandmarkFit, fit_to_joints_3d

Unit = Literal["m", "mm", "any"]
METRES = {"m": 1.0, "mm": 0.001, "any": 1.0}
HAND_SIZES = (0.05, 0.35)
"""Smallest and largest distance of two joints of a hand, metres; of babies and of the largest adults, with room."""
LARGE_RESIDUAL = 0.1
"""Mean distance between mesh and joints, as a fraction of the hand's size, above which a fit is doubtful."""
CLEAR_SIDE = 1.5
"""Smallest factor between the errors of the two hands at which the handedness is clear."""
LAYOUT = '[{"joints_3d": [[x, y, z], ... 21 rows], "hand": "left" or "right", "unit": "m" or "mm" or "any"}, ...]'
SPACE_FILES = (".json", ".glb", ".obj")
H_IS = "input of HandModel.forward_h for a model of this hand's side; its mesh lies in the frame of the joints"


class Joints3dError(ValueError):
    """A file of joints in space is wrong; the message names file, entry and remedy."""


class Entry(Struct):
    """An entry of the JSON; see above."""

    joints_3d: list[list[Number | bool]]
    name: Name | None = None
    hand: Side | None = None
    order: str = "freihand"
    unit: Unit | None = None


@dataclass(frozen=True)
class Joints3d:
    """The joints of one hand in space.

    Attributes:
        name: First part of the names of the hand's files.
        joints: Joints in canonical order: metres, or any unit if `unit` is "any".
        confidence: Confidence of each joint; an unknown joint has 0.
        side: Handedness, or None if the file does not give it.
        unit: Unit of the file.
        doubts: Reasons to doubt that the joints were read as they were meant.
    """

    name: str
    joints: Float[ndarray, "21 3"]
    confidence: Float[ndarray, " 21"]
    side: Side | None
    unit: Unit
    doubts: tuple[str, ...] = ()

    @property
    def size(self) -> float:
        """Largest distance of two known joints."""
        return _size(self.joints[self.confidence > 0])


@dataclass(frozen=True)
class SpaceEstimate:
    """A hand that was fitted to joints in space.

    Attributes:
        given: The joints.
        model: Hand model of the estimate's side.
        h: Parameters for ``model.forward_h``, in the frame of the joints.
        mesh: Output of ``model.forward_h``.
        error: Mean distance of the known joints, in their unit.
        side_clear: Whether the handedness is given or the other hand fits clearly worse.
    """

    given: Joints3d
    model: HandModel
    h: Float[torch.Tensor, "1 63"]
    mesh: HandMesh
    error: float
    side_clear: bool

    @property
    def relative_error(self) -> float:
        """Mean distance of the joints as a fraction of the hand's size."""
        return self.error / self.given.size

    @property
    def warnings(self) -> list[str]:
        """Reasons to doubt the estimate; a good estimate has none."""
        found = list(self.given.doubts)
        if self.relative_error > LARGE_RESIDUAL:
            share = f"{100 * self.relative_error:.0f} %"
            found.append(f"the mesh misses the joints by {share} of the hand's size; check their order and their unit")
        if not self.side_clear:
            found.append('a left and a right hand fit almost equally well; write "hand" in the file')
        return found


def read_joints_3d(path: str | Path) -> list[Joints3d]:
    """Read joints in space.

    Args:
        path: Path of a JSON in the layout above.

    Returns:
        The hands; their names differ.

    Raises:
        FileNotFoundError: There is no such file.
        Joints3dError: The file is not a JSON in this layout.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; give a JSON that reads {LAYOUT}")
    try:
        entries = read_json(path, list[Entry], LARGE)
    except JsonError as error:
        raise Joints3dError(f"{path}: {error}; it should read {LAYOUT}") from error
    if not entries:
        raise Joints3dError(f"{path}: holds no entry; it should read {LAYOUT}")
    hands = [_hand_of(entry, f"{path}: entry {k}", f"{path.stem}_{k + 1}") for k, entry in enumerate(entries)]
    names = [hand.name for hand in hands]
    if repeated := next((name for k, name in enumerate(names) if name in names[:k]), None):
        raise Joints3dError(f'{path}: two entries are called {repeated}; give each its own "name"')
    return hands


def _hand_of(entry: Entry, where: str, default: str) -> Joints3d:
    try:
        rows = np.array(entry.joints_3d, np.float64)
    except ValueError as error:
        raise Joints3dError(f"{where}: joints_3d has rows of several lengths; write x, y, z in each row") from error
    if rows.shape not in ((21, 3), (21, 4)):
        raise Joints3dError(f"{where}: joints_3d has shape {rows.shape}, not (21, 3) or (21, 4)")
    confidence = rows[:, 3] if rows.shape[1] == 4 else np.ones(21)
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise Joints3dError(f"{where}: a fourth number of joints_3d is not from 0 (unknown) to 1; it is the confidence")
    known = confidence > 0
    if not (np.abs(rows[known, :3]) < 1e9).all():
        raise Joints3dError(f"{where}: a row of joints_3d is not finite; give an unknown joint confidence 0")
    if entry.order not in JOINT_ORDERS:
        raise Joints3dError(f'{where}: "order" is {entry.order!r}; write one of {", ".join(JOINT_ORDERS)}')
    joints = to_canonical(np.where(known[:, None], rows[:, :3], 0.0), entry.order)
    confidence = to_canonical(confidence[:, None], entry.order)[:, 0]
    unit = entry.unit or "m"
    factor, doubts = _metres(joints[confidence > 0], unit, entry.unit is not None, where)
    return Joints3d(entry.name or default, factor * joints, confidence, entry.hand, unit, doubts)


def _metres(joints: Float[ndarray, "n 3"], unit: Unit, declared: bool, where: str) -> tuple[float, tuple[str, ...]]:
    """Return the factor to metres, and a doubt if millimetres were guessed."""
    size = _size(joints)
    if not size > 0:
        raise Joints3dError(f"{where}: the known joints all lie in one place")
    if unit == "any" or HAND_SIZES[0] <= METRES[unit] * size <= HAND_SIZES[1]:
        return METRES[unit], ()
    if not declared and HAND_SIZES[0] <= METRES["mm"] * size <= HAND_SIZES[1]:
        return METRES["mm"], ('the joints were read as millimetres; write "unit": "mm" in the file',)
    raise Joints3dError(
        f'{where}: the hand is {METRES[unit] * size:.3g} m large; write its unit, or "unit": "any" if its size has no '
        "meaning"
    )


def _size(joints: Float[ndarray, "n 3"]) -> float:
    return float(np.linalg.norm(joints[:, None] - joints, axis=-1).max()) if len(joints) else 0.0


def fit_joints_3d(model: HandModel, hands: Sequence[Joints3d]) -> list[SpaceEstimate]:
    """Fit the hand model to each hand's joints; see :func:`dhpe_lib.refinement.inverse_kinematics.fit_to_joints_3d`.

    Args:
        model: Model of a right hand, on the device to compute on.
        hands: From :func:`read_joints_3d`.

    Returns:
        One estimate for each hand. A hand of unknown side is fitted as both, and the nearer one is kept.

    Raises:
        ValueError: A hand has too few known joints; the message names it.
    """
    models: dict[Side, HandModel] = {"right": model, "left": model.mirrored()}
    estimates = []
    for hand in hands:
        sides: tuple[Side, ...] = ("right", "left") if hand.side is None else (hand.side,)
        try:
            fits = {side: _fit(model, hand, side) for side in sides}
        except ValueError as error:
            raise Joints3dError(f"{hand.name}: {error}") from error
        errors = {side: _mean_distance(fit, hand) for side, fit in fits.items()}
        best = min(errors, key=errors.__getitem__)
        clear = all(errors[side] > CLEAR_SIDE * errors[best] for side in sides if side != best)
        h = fits[best].h if best == "right" else mirror_h(fits[best].h)
        with torch.no_grad():
            mesh = models[best].forward_h(h)
        estimates.append(SpaceEstimate(hand, models[best], h, mesh, errors[best], clear))
    return estimates


def _fit(model: HandModel, hand: Joints3d, side: Side) -> LandmarkFit:
    like = model.v_template
    joints = torch.from_numpy(hand.joints)[None].to(like) * like.new_tensor((-1.0 if side == "left" else 1.0, 1, 1))
    confidence = torch.from_numpy(hand.confidence)[None].to(like)
    return fit_to_joints_3d(model, joints, confidence, "any" if hand.unit == "any" else "metres")


def _mean_distance(fit: LandmarkFit, hand: Joints3d) -> float:
    return float(to_numpy(fit.distance[0])[hand.confidence > 0].mean())


def write_space_estimate(estimate: SpaceEstimate, folder: Path, suffixes: Sequence[str] = SPACE_FILES) -> list[Path]:
    """Write the files of one hand; on an error none is written.

    Args:
        estimate: The hand.
        folder: Folder of the files; it is made if it does not exist.
        suffixes: Suffixes of the files to write, a subset of ``SPACE_FILES``. The meshes lie in the frame of the
            joints, in metres or in the joints' own unit.

    Returns:
        Paths of the files, in the order of `suffixes`.

    Raises:
        OSError: The folder cannot be written to.
    """
    with atomic_writes(folder, [estimate.given.name + suffix for suffix in suffixes]) as drafts:
        for draft, suffix in zip(drafts, suffixes, strict=True):
            if suffix == ".json":
                draft.write_text(json.dumps(space_record(estimate), indent=1) + "\n", encoding="utf-8")
                continue
            texture = texture_of(estimate.model.hand) if suffix == ".glb" else None
            vertices, faces = to_numpy(estimate.mesh.vertices[0]).astype(float), to_numpy(estimate.model.faces)
            write_mesh(draft, vertices, faces, vertex_colors(estimate.model), texture)
    return [folder / draft.name for draft in drafts]


def space_record(estimate: SpaceEstimate) -> dict[str, Any]:
    """Return the content of a hand's JSON; lengths are in metres, or in the joints' own unit for the unit "any"."""
    parts = split_h(estimate.h)
    return {
        "dhpe_version": __version__,
        "name": estimate.given.name,
        "hand": estimate.model.side,
        "hand_known": estimate.given.side is not None,
        "verdict": "doubtful" if estimate.warnings else "good",
        "warnings": estimate.warnings,
        "unit": "any" if estimate.given.unit == "any" else "m",
        "error": {"mean": round(estimate.error, 6), "over_hand_size": round(estimate.relative_error, 5)},
        "joint_names": list(JOINT_NAMES),
        "joints": np.round(to_numpy(estimate.mesh.joints[0]).astype(float), 6).tolist(),
        "h": {part.name: np.round(to_numpy(getattr(parts, part.name)[0]), 6).tolist() for part in fields(parts)},
        "h_is": H_IS,
    }
