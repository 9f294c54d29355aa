"""Export a hand for other programs: the model in MANO's layout, or a posed mesh."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray

from dhpe_lib.common.files import atomic_writes
from dhpe_lib.common.records import to_numpy
from dhpe_lib.hand.io import MESH_SUFFIXES, files_of_mesh, write_hand, write_mesh
from dhpe_lib.hand.mesh_texture import texture_of
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.rigged_glb import write_rigged_glb

MODEL_SUFFIXES = (".pkl", ".npz")
SKIN_COLOR = (0.87, 0.65, 0.53)  # RGB in [0, 1], for a hand without a texture


def export_hand(
    path: Path,
    model: HandModel,
    pose: Sequence[float] | None = None,
    shape: Sequence[float] | None = None,
    rigged: bool = False,
) -> list[Path]:
    """Write a hand model or its mesh to a file.

    Args:
        path: Path of the file. Its suffix chooses the format: .pkl and .npz hold the model in MANO's layout; .obj,
            .ply and .glb hold a mesh in the model's frame, metres. A GLB or OBJ has the hand's texture; an OBJ names
            two more files beside it.
        model: The hand.
        pose: Pose of the mesh, 45 axis-angle numbers in radians; the flat hand by default.
        shape: Shape of the mesh, 10 coefficients in standard deviations; the mean shape by default.
        rigged: Whether a GLB has a skeleton and blend shapes; see :func:`dhpe_lib.hand.rigged_glb.write_rigged_glb`.

    Returns:
        Paths of the written files, `path` first.

    Raises:
        ValueError: The suffix is unknown, a pose or shape is given for a model file, or `rigged` for another than .glb.
        OSError: The file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in MODEL_SUFFIXES + MESH_SUFFIXES:
        known = ", ".join(MODEL_SUFFIXES + MESH_SUFFIXES)
        raise ValueError(f"{path}: a hand is written as {known}, not as {path.suffix or 'a file without suffix'}")
    if suffix in MODEL_SUFFIXES and (pose or shape):
        raise ValueError(
            f"{path}: a model holds all poses and shapes; write a mesh ({', '.join(MESH_SUFFIXES)}) for a single pose"
        )
    if rigged and suffix != ".glb":
        raise ValueError(f"{path}: a hand with a skeleton is written as .glb")
    texture = texture_of(model.hand)
    with atomic_writes(path.parent, files_of_mesh(path, texture is not None)) as (draft, *others):
        if suffix in MODEL_SUFFIXES:
            write_hand(draft, model.hand)
        elif rigged:
            write_rigged_glb(draft, model, *(None if row is None else torch.tensor(row) for row in (pose, shape)))
        else:
            angles, coefficients = (
                None if row is None else model.v_template.new_tensor([row]) for row in (pose, shape)
            )
            with torch.no_grad():
                vertices = to_numpy(model(angles, coefficients).vertices[0])
            write_mesh(draft, vertices, to_numpy(model.faces), vertex_colors(model), texture)
    return [path, *(path.parent / other.name for other in others)]


def vertex_colors(model: HandModel) -> UInt8[ndarray, "v 3"]:
    """Return the colour of each vertex in [0, 255]: its texel, or `SKIN_COLOR` if the hand has no texture."""
    hand = model.hand
    colors = np.tile(np.rint(255 * np.array(SKIN_COLOR)), (len(model.v_template), 1)).astype(np.uint8)
    if "texture" in hand:
        height, width = hand["texture"].shape[:2]
        column, row = (np.clip(hand["vt"], 0, 1) * (width - 1, height - 1)).round().astype(int).T
        colors[hand["f"].ravel()] = hand["texture"][row, column][hand["ft"].ravel()]
    return colors
