"""The hand for other programs, in the format that a suffix names: the model in MANO's layout, or a posed mesh."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dhpe_lib.hand_files import MESH_SUFFIXES, write_hand, write_mesh
from dhpe_lib.hand_model import HandModel
from dhpe_lib.outputs import together, vertex_colors
from dhpe_lib.plotting import to_numpy

MODEL_SUFFIXES = (".pkl", ".npz")
COUNTS = {"pose": 45, "shape": 10}


def export_hand(path: Path, model: HandModel, pose: str | None = None, shape: str | None = None) -> None:
    """Write a hand.

    Args:
        path: The suffix chooses: .pkl and .npz the model in MANO's layout; .obj, .ply and .glb its mesh in the
            model's own frame, metres.
        model: The hand.
        pose: Of the mesh, as :func:`read_numbers` takes it; by default flat.
        shape: Of the mesh, likewise; by default the mean.

    Raises:
        ValueError: Another suffix, a pose or shape for a model, or numbers that are none.
        OSError: The file cannot be written.
    """
    if path.suffix not in MODEL_SUFFIXES + MESH_SUFFIXES:
        known = ", ".join(MODEL_SUFFIXES + MESH_SUFFIXES)
        raise ValueError(f"{path}: a hand is written as {known}, not as {path.suffix or 'a file without suffix'}")
    if path.suffix in MODEL_SUFFIXES and (pose or shape):
        raise ValueError(
            f"{path}: a model holds all poses and shapes; name a {', '.join(MESH_SUFFIXES)} for one of them"
        )
    angles, coefficients = (read_numbers(text, field, model.side) for text, field in ((pose, "pose"), (shape, "shape")))
    with torch.no_grad():
        vertices = to_numpy(model(angles, coefficients).vertices[0])
    with together(path.parent, [path.name]) as (draft,):
        if path.suffix in MODEL_SUFFIXES:
            write_hand(draft, model.hand)
        else:
            write_mesh(draft, vertices, to_numpy(model.faces), vertex_colors(model))


def read_numbers(text: str | None, field: str, side: str) -> Float[Tensor, "1 n"] | None:
    """Read a pose or a shape.

    Args:
        text: Numbers with commas between them, JSON, or a file that holds either; in JSON a list, or what
            `dhpe predict` writes. A shape may be shorter than 10: the rest is 0.
        field: "pose" or "shape".
        side: The hand that it is for.

    Returns:
        One row; None for None.

    Raises:
        ValueError: These are not as many finite numbers, or they are the other hand's.
    """
    if text is None:
        return None
    is_file = os.path.isfile(text)  # pathlib's is_file stumbles over a long list
    source = text if is_file else field
    content = Path(text).read_text(encoding="utf-8-sig") if is_file else text
    try:
        found = json.loads(content if content.lstrip()[:1] in ("[", "{") else f"[{content}]")
    except ValueError as error:
        raise ValueError(f"{source}: neither a file nor numbers with commas between them ({error})") from error
    part = _part_of(found, field, side, source)
    try:
        row = torch.from_numpy(np.array(part, np.float32).ravel())
    except (TypeError, ValueError) as error:
        raise ValueError(f"{source}: the {field} does not hold numbers only, in rows of one length") from error
    count = COUNTS[field]
    if field == "shape" and len(row) < count:
        row = torch.cat((row, row.new_zeros(count - len(row))))
    if len(row) != count:
        raise ValueError(f"{source}: a {field} has {count} numbers, here are {len(row)}")
    if not row.isfinite().all():
        raise ValueError(f"{source}: number {int((~row.isfinite()).nonzero()[0]) + 1} of the {field} is not finite")
    return row[None]


def _part_of(found: Any, field: str, side: str, source: str) -> Any:
    """The field of a prediction, or the list itself."""
    if not isinstance(found, dict):
        return found
    if field == "pose" and found.get("hand", side) != side:
        raise ValueError(f"{source}: the pose of a {found['hand']} hand; add --side {found['hand']}")
    if not isinstance(found.get("h"), dict) or field not in found["h"]:
        raise ValueError(f"{source}: holds no {field}; give a list of numbers, or a file that dhpe predict wrote")
    return found["h"][field]
