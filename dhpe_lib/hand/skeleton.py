"""The 21 joints: their names, tree and order in each dataset, and f_Reg, the linear map from mesh to skeleton.

The canonical order is wrist (or palm), then thumb, index, middle, ring and little finger, each from base to tip
(PAPER.md Sec. 1).
"""

from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from dhpe_lib.common.arguments import checked

FINGERS = ("thumb", "index", "middle", "ring", "little")
JOINT_NAMES = ("wrist", *(f"{finger}_{part}" for finger in FINGERS for part in ("1", "2", "3", "tip")))
JOINT_PARENTS = (-1, 0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19)
MIDDLE_MCP = JOINT_NAMES.index("middle_1")

MANO_FINGERS = ("index", "middle", "little", "ring", "thumb")
MANO_JOINT_NAMES = ("wrist", *(f"{finger}_{part}" for finger in MANO_FINGERS for part in ("1", "2", "3")))
MANO_PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)

# Fingertip vertices of thumb to little finger in smplx. Other programs use other vertices: see HandModel.tips.
FINGERTIP_VERTICES = (744, 320, 443, 554, 671)

_MANO_AND_TIPS = (*MANO_JOINT_NAMES, *(f"{finger}_tip" for finger in FINGERS))
CANONICAL_FROM_MANO = tuple(_MANO_AND_TIPS.index(name) for name in JOINT_NAMES)

# For each dataset, the index of its joint for canonical joints 0, 1, ... 20. Joint 0 is the palm centre in "stb".
JOINT_ORDERS: dict[str, tuple[int, ...]] = {
    "rhd": (0, 4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17),
    "stb": (0, 17, 18, 19, 20, 13, 14, 15, 16, 9, 10, 11, 12, 5, 6, 7, 8, 1, 2, 3, 4),
    "freihand": tuple(range(21)),
    "ho3d": CANONICAL_FROM_MANO,
    "mediapipe": tuple(range(21)),
    "mano": CANONICAL_FROM_MANO,
}

Joints = TypeVar("Joints", Tensor, np.ndarray)


@checked()
def to_canonical(joints: Shaped[Joints, "*batch 21 c"], order: str) -> Shaped[Joints, "*batch 21 c"]:
    """Reorder the joints of a dataset to the canonical order.

    Args:
        joints: One row for each joint in the dataset's order: coordinates in any unit, visibility or other values.
        order: Name of the dataset's order, a key of ``JOINT_ORDERS``.

    Returns:
        The rows in canonical order.

    Raises:
        ValueError: The order is unknown.

    Source: the datasets' own readmes.
    """
    if order not in JOINT_ORDERS:
        raise ValueError(f"unknown joint order {order!r}; use one of {', '.join(JOINT_ORDERS)}")
    return joints[..., list(JOINT_ORDERS[order]), :]


@checked()
def build_joint_regressor(
    j_regressor: Float[Tensor, "16 v"], tips: tuple[int, ...] = FINGERTIP_VERTICES
) -> Float[Tensor, "21 v"]:
    """Build the matrix of f_Reg: MANO's joint regressor and the five fingertip vertices, in canonical order.

    Args:
        j_regressor: Weights of the vertices for each of MANO's 16 joints, no unit; rows sum to 1.
        tips: Vertex index at the tip of thumb, index, middle, ring and little finger.

    Returns:
        The matrix of f_Reg. The paper has one matrix per axis; here x, y and z use the same weights.

    Raises:
        ValueError: There are not five tips, or a tip is not a vertex.

    Source: PAPER.md Sec. 1.
    """
    n_vertices = j_regressor.shape[1]
    if len(tips) != 5 or not all(0 <= tip < n_vertices for tip in tips):
        raise ValueError(f"tips must name five vertices below {n_vertices}, thumb to little; got {tips}")
    tip_rows = torch.zeros(5, n_vertices, dtype=j_regressor.dtype, device=j_regressor.device)
    tip_rows[range(5), list(tips)] = 1
    return torch.cat((j_regressor, tip_rows))[list(CANONICAL_FROM_MANO)]


@checked()
def regress_joints(vertices: Float[Tensor, "*b v 3"], regressor: Float[Tensor, "j v"]) -> Float[Tensor, "*b j 3"]:
    """Apply f_Reg: each joint is a fixed weighted mean of the posed vertices.

    Args:
        vertices: Posed mesh, any unit.
        regressor: Weights of the vertices for each joint, from :func:`build_joint_regressor`.

    Returns:
        Joints in the unit of the vertices.

    Source: PAPER.md Sec. 1, f_Reg.
    """
    return (vertices.transpose(-1, -2) @ regressor.mT).transpose(-1, -2)
