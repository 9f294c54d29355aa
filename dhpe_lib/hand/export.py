"""The hand for other programs, in the format that a suffix names: the model in MANO's layout, or a posed mesh."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray

from dhpe_lib.common.files import atomic_write
from dhpe_lib.common.records import to_numpy
from dhpe_lib.hand.io import MESH_SUFFIXES, write_hand, write_mesh
from dhpe_lib.hand.model import HandModel

MODEL_SUFFIXES = (".pkl", ".npz")
TINT = (0.87, 0.65, 0.53)  # of a hand without a texture


def export_hand(
    path: Path, model: HandModel, pose: Sequence[float] | None = None, shape: Sequence[float] | None = None
) -> None:
    """Write a hand.

    Args:
        path: The suffix chooses: .pkl and .npz the model in MANO's layout; .obj, .ply and .glb its mesh in the
            model's own frame, metres.
        model: The hand.
        pose: The 45 numbers of the mesh's pose, radians; by default the flat hand.
        shape: The 10 numbers of the mesh's shape, standard deviations; by default the mean shape.

    Raises:
        ValueError: The suffix is another one, or a model file was given a pose or a shape.
        OSError: The file cannot be written.
    """
    if path.suffix not in MODEL_SUFFIXES + MESH_SUFFIXES:
        known = ", ".join(MODEL_SUFFIXES + MESH_SUFFIXES)
        raise ValueError(f"{path}: a hand is written as {known}, not as {path.suffix or 'a file without suffix'}")
    if path.suffix in MODEL_SUFFIXES and (pose or shape):
        raise ValueError(
            f"{path}: a model holds all poses and shapes; name a {', '.join(MESH_SUFFIXES)} for one of them"
        )
    angles, coefficients = (None if row is None else model.v_template.new_tensor([row]) for row in (pose, shape))
    with torch.no_grad():
        vertices = to_numpy(model(angles, coefficients).vertices[0])
    with atomic_write(path) as draft:
        if path.suffix in MODEL_SUFFIXES:
            write_hand(draft, model.hand)
        else:
            write_mesh(draft, vertices, to_numpy(model.faces), vertex_colors(model))


def vertex_colors(model: HandModel) -> UInt8[ndarray, "v 3"]:
    """A colour for each vertex: the texture at the vertex, or skin."""
    hand = model.hand
    colors = np.tile(np.rint(255 * np.array(TINT)), (len(model.v_template), 1)).astype(np.uint8)
    if "texture" in hand:
        height, width = hand["texture"].shape[:2]
        column, row = (np.clip(hand["vt"], 0, 1) * (width - 1, height - 1)).round().astype(int).T
        colors[hand["f"].ravel()] = hand["texture"][row, column][hand["ft"].ravel()]
    return colors
