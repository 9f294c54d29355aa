"""The three protocols that bring a prediction to where its truth is, each forgiving something else.

A, :func:`from_crop_frame`: the root's depth is given, with box and focal length (the paper). B,
:func:`align_palm_and_bone`: position and size are given (Zimmermann and Brox). C, :func:`align_similarity`: position,
size and rotation are given ("PA", Procrustes alignment). Millimetres; nothing here has a gradient.
"""

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from dhpe_lib.common.records import to_numpy
from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.hand.skeleton import JOINT_NAMES, MIDDLE_MCP

WRIST, MIDDLE_PIP = JOINT_NAMES.index("wrist"), JOINT_NAMES.index("middle_2")


def from_crop_frame(
    joints_crop: Float[Tensor, "n k 3"], frame: CropFrame, k: Float[Tensor, "n 3 3"], z_root: Float[Tensor, " n"]
) -> Float[ndarray, "n k 3"]:
    """Protocol A: a prediction in the crop frame, put into the camera's with the truth's box, root depth and camera.

    Nothing is moved afterwards: the root is where the prediction has it in the picture, and its error counts.

    Args:
        joints_crop: Joints or vertices in units of g, z relative to the root.
        frame: The crop, from the truth's box.
        k: Pinhole cameras.
        z_root: The truth's depth of the middle MCP, mm.

    Returns:
        Points in the camera frame, mm, float64.

    Source: PAPER.md Sec. 4, "normalised back with the same quantities".
    """
    return to_numpy(frame.denormalise(joints_crop.double(), k.double(), z_root.double()))


def wrist_to_palm(joints: Float[ndarray, "n 21 3"]) -> Float[ndarray, "n 21 3"]:
    """Move joint 0 from the wrist to the palm's centre: halfway to the middle MCP.

    Args:
        joints: Canonical order, joint 0 a wrist.

    Returns:
        A copy with a palm.

    Source: `BinaryDbReader` of hand3d.
    """
    moved = joints.copy()
    moved[:, WRIST] = (joints[:, WRIST] + joints[:, MIDDLE_MCP]) / 2
    return moved


def align_palm_and_bone(
    predicted: Float[ndarray, "n 21 3"], truth: Float[ndarray, "n 21 3"]
) -> Float[ndarray, "n 21 3"]:
    """Protocol B: the prediction's joint 0 on the truth's, its middle MCP-PIP bone as long as the truth's.

    Joint 0 then has no error and counts all the same, as in Zimmermann and Brox's evaluation. Where it is a wrist, pass
    both through :func:`wrist_to_palm` before.

    Args:
        predicted: Canonical order, any frame and unit.
        truth: Canonical order, mm.

    Returns:
        The prediction in the truth's frame, mm; NaN throughout where its joint 0 or that bone is not finite.

    Raises:
        ValueError: In a truth joint 0 or that bone is not finite, or the bone has no length there or in a prediction.

    Source: `eval_full.py` of hand3d, where the network predicts in units of that bone.
    """
    scale_to, scale_from = _bone(truth), _bone(predicted)
    unusable = ~np.isfinite(truth[:, WRIST]).all(-1) | ~np.isfinite(scale_to) | (scale_to == 0) | (scale_from == 0)
    if unusable.any():
        raise ValueError(
            f"hand {np.flatnonzero(unusable)[0]} cannot be aligned by palm and bone: its truth lacks joint 0, middle "
            "MCP or middle PIP, or the bone between these two has no length; leave it out, or align by similarity"
        )
    usable = np.isfinite(predicted[:, WRIST]).all(-1) & np.isfinite(scale_from)
    predicted = np.where(usable[:, None, None], predicted, np.nan)
    moved = (predicted - predicted[:, :1]) * (scale_to / scale_from)[:, None, None]
    return moved + truth[:, :1]


def align_similarity(
    predicted: Float[ndarray, "n k 3"], truth: Float[ndarray, "n k 3"], reflections: bool = False
) -> Float[ndarray, "n k 3"]:
    r"""Protocol C: each prediction moved, turned and scaled to the least squared distance.

    :math:`\min_{s, R, t} \sum_k \| s R x_k + t - y_k \|^2` by singular values, over the points that both have.

    Args:
        predicted: Joints or vertices, any frame and unit. One that is not finite does not count, and stays unknown.
        truth: mm; NaN where unknown.
        reflections: Whether a mirror image may stand for R, as in FreiHAND's `eval.py`.

    Returns:
        The prediction in the truth's frame, mm; NaN at each point that was not finite. A prediction that is a single
        point goes to the truth's centroid.

    Source: Umeyama 1991.
    """
    predicted = np.where(np.isfinite(predicted).all(-1, keepdims=True), predicted, np.nan)
    known = np.isfinite(predicted).all(-1) & np.isfinite(truth).all(-1)
    center, goal = _centroid(predicted, known), _centroid(truth, known)
    spread = np.where(known[..., None], predicted - center, 0.0)
    target = np.where(known[..., None], truth - goal, 0.0)
    u, singular, vt = np.linalg.svd(target.swapaxes(1, 2) @ spread)
    if not reflections:
        handed = np.sign(np.linalg.det(u @ vt))
        singular[:, 2] *= handed
        u[:, :, 2] *= handed[:, None]
    size = np.square(spread).sum((1, 2))
    scale = np.divide(singular.sum(1), size, out=np.zeros_like(size), where=size > 0)
    return scale[:, None, None] * (predicted - center) @ (u @ vt).swapaxes(1, 2) + goal


def _bone(joints: Float[ndarray, "n 21 3"]) -> Float[ndarray, " n"]:
    """Length of the bone from the middle MCP to the middle PIP; NaN where an end is not finite."""
    ends = np.where(np.isfinite(joints), joints, np.nan)  # two infinite ends have no difference
    return np.linalg.norm(ends[:, MIDDLE_PIP] - ends[:, MIDDLE_MCP], axis=-1)


def _centroid(points: Float[ndarray, "n k 3"], known: Bool[ndarray, "n k"]) -> Float[ndarray, "n 1 3"]:
    """Mean of the known points; 0 where there is none."""
    total = np.where(known[..., None], points, 0.0).sum(1, keepdims=True)
    return total / np.maximum(known.sum(1), 1)[:, None, None]


def mesh_errors(estimate: Float[ndarray, "v 3"], truth: Float[ndarray, "v 3"]) -> tuple[float, float]:
    """Mean distance of corresponding vertices: as they are, and after the best similarity (Procrustes).

    Args:
        estimate: Vertices, moved so that a common joint lies at the origin.
        truth: The known ones, alike.

    Returns:
        Both in the unit of the vertices.

    Source: Umeyama 1991.
    """
    aligned = align_similarity(estimate[None], truth[None])[0]
    plain, rest = (float(np.linalg.norm(one - truth, axis=1).mean()) for one in (estimate, aligned))
    return plain, rest
