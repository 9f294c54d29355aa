"""The protocols that align a prediction with its ground truth before they are compared.

Protocol A, :func:`place_at_root`: root depth, box and focal length are given (the paper). Protocol B,
:func:`align_palm_and_bone`: position and size are given (Zimmermann and Brox). Protocol C, :func:`align_similarity`:
position, size and rotation are given ("PA", Procrustes alignment). HO-3D has a protocol of its own,
:func:`align_scale_translation`: position and size are given, by another bone than in protocol B. Lengths are in
millimetres; nothing here has a gradient.
"""

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from dhpe_lib.common.records import to_numpy
from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.data.perspective import PlacedHand, metric_points, ray_rotation, translation_at_depth
from dhpe_lib.hand.skeleton import JOINT_NAMES, MIDDLE_MCP

WRIST, MIDDLE_PIP = JOINT_NAMES.index("wrist"), JOINT_NAMES.index("middle_2")


def place_at_root(
    points: Float[Tensor, "n k 3"],
    joints: Float[Tensor, "n 21 3"],
    root: Float[Tensor, "n 3"],
    frame: CropFrame,
    k: Float[Tensor, "n 3 3"],
    z_root: Float[Tensor, " n"],
) -> Float[ndarray, "n k 3"]:
    """Protocol A: place a rigid hand in the camera frame with the ground truth's box, root depth and camera.

    The hand keeps its form: it is scaled by the length of a unit of g at the root's depth, turned to the ray through
    the crop's centre, and moved until its joints lie on the rays of their pixels as well as possible. Nothing is moved
    to the ground truth afterwards, so an error of the root in the image counts. :func:`from_crop_frame` moves each
    point on its own ray instead, which bends the hand: the far fingers of a true hand become too long.

    Args:
        points: Joints or vertices in units of g.
        joints: Joints of the same hands, units of g.
        root: Point with the ground truth's root depth, units of g.
        frame: The crop frame, from the ground-truth box, pixels.
        k: Pinhole cameras, pixels.
        z_root: Ground-truth depth of the root, mm.

    Returns:
        Points in the camera frame, mm, float64.

    Source: Eq. 8 for the unit of length; and :mod:`dhpe_lib.data.perspective` for the placement.
    """
    k, z_root, root = k.double(), z_root.double(), root.double()
    frame = CropFrame(frame.center.double(), frame.side.double(), frame.angle.double())
    rotation, scale = ray_rotation(frame.center, k), 1 / frame.depth_unit(k, z_root)
    turned = metric_points(frame, joints.double(), root, scale) @ rotation.mT
    hand = PlacedHand(rotation, translation_at_depth(turned, frame.to_image(joints[..., :2].double()), k, z_root))
    return to_numpy(hand.to_camera(metric_points(frame, points.double(), root, scale)))


def from_crop_frame(
    joints_crop: Float[Tensor, "n k 3"], frame: CropFrame, k: Float[Tensor, "n 3 3"], z_root: Float[Tensor, " n"]
) -> Float[ndarray, "n k 3"]:
    """Protocol A8: undo Eq. 8 point by point, with the ground truth's box, root depth and camera, as the paper does.

    The prediction is not moved afterwards, so an error of the root in the image counts.

    Args:
        joints_crop: Joints or vertices in units of g, z relative to the root.
        frame: The crop frame, from the ground-truth box, pixels.
        k: Pinhole cameras, pixels.
        z_root: Ground-truth depth of the middle MCP, mm.

    Returns:
        Points in the camera frame, mm, float64.

    Source: PAPER.md Sec. 4, "normalised back with the same quantities".
    """
    return to_numpy(frame.denormalise(joints_crop.double(), k.double(), z_root.double()))


def wrist_to_palm(joints: Float[ndarray, "n 21 3"]) -> Float[ndarray, "n 21 3"]:
    """Move joint 0 from the wrist to the palm's centre, which is halfway to the middle MCP.

    Args:
        joints: Joints in canonical order with the wrist as joint 0, any unit.

    Returns:
        A copy with the palm as joint 0.

    Source: `BinaryDbReader` of hand3d.
    """
    moved = joints.copy()
    moved[:, WRIST] = (joints[:, WRIST] + joints[:, MIDDLE_MCP]) / 2
    return moved


def align_palm_and_bone(
    predicted: Float[ndarray, "n 21 3"], truth: Float[ndarray, "n 21 3"]
) -> Float[ndarray, "n 21 3"]:
    """Protocol B: translate joint 0 to the ground truth's, and scale the middle MCP-PIP bone to its length.

    Joint 0 then has no error but still counts, as in Zimmermann and Brox's evaluation. If joint 0 is a wrist, call
    :func:`wrist_to_palm` for both before.

    Args:
        predicted: Joints in canonical order, any frame and unit.
        truth: Ground truth in canonical order, mm.

    Returns:
        The prediction in the ground truth's frame, mm; all NaN for a prediction whose joint 0 or bone is not finite.

    Raises:
        ValueError: Joint 0 or the bone of a ground truth is not finite, or the bone of a ground truth or prediction has
            length 0.

    Source: `eval_full.py` of hand3d, where the network predicts in units of this bone.
    """
    return _align_joint_0_and_bone(predicted, truth, (MIDDLE_MCP, MIDDLE_PIP))


def align_scale_translation(
    predicted: Float[ndarray, "n 21 3"], truth: Float[ndarray, "n 21 3"]
) -> Float[ndarray, "n 21 3"]:
    """HO-3D's alignment: translate the wrist to the ground truth's, and scale its distance to the middle MCP.

    The wrist then has no error but still counts, as in HO-3D's evaluation. HO-3D aligns joints in this way, not meshes.

    Args:
        predicted: Joints in canonical order with the wrist as joint 0, any frame and unit.
        truth: Ground truth in canonical order with the wrist as joint 0, mm.

    Returns:
        The prediction in the ground truth's frame, mm; all NaN for a prediction whose wrist or middle MCP is not
        finite.

    Raises:
        ValueError: The wrist or the middle MCP of a ground truth is not finite, or the two coincide in a ground truth
            or prediction.

    Source: `eval.py` of HO-3D, "scale-translation aligned".
    """
    return _align_joint_0_and_bone(predicted, truth, (WRIST, MIDDLE_MCP))


def align_similarity(
    predicted: Float[ndarray, "n k 3"], truth: Float[ndarray, "n k 3"], reflections: bool = False
) -> Float[ndarray, "n k 3"]:
    r"""Protocol C: align each prediction by the similarity transform of least squared distance.

    Solve :math:`\min_{s, R, t} \sum_k \| s R x_k + t - y_k \|^2` by a singular value decomposition, over the points
    that are finite in both.

    Args:
        predicted: Joints or vertices, any frame and unit. A point that is not finite is ignored.
        truth: Ground truth, mm; NaN for an unknown point.
        reflections: Whether R may be a reflection, as in FreiHAND's `eval.py`.

    Returns:
        The prediction in the ground truth's frame, mm; NaN for each point that was not finite. A prediction whose
        points coincide is moved to the ground truth's centroid.

    Source: Umeyama 1991.
    """
    predicted = np.where(np.isfinite(predicted).all(-1, keepdims=True), predicted, np.nan)
    known = np.isfinite(predicted).all(-1) & np.isfinite(truth).all(-1)
    center, goal = _centroid(predicted, known), _centroid(truth, known)
    centred = np.where(known[..., None], predicted - center, 0.0)
    target = np.where(known[..., None], truth - goal, 0.0)
    u, singular, vt = np.linalg.svd(target.swapaxes(1, 2) @ centred)
    if not reflections:
        sign = np.sign(np.linalg.det(u @ vt))
        singular[:, 2] *= sign
        u[:, :, 2] *= sign[:, None]
    size = np.square(centred).sum((1, 2))
    scale = np.divide(singular.sum(1), size, out=np.zeros_like(size), where=size > 0)
    return scale[:, None, None] * (predicted - center) @ (u @ vt).swapaxes(1, 2) + goal


def _align_joint_0_and_bone(predicted: ndarray, truth: ndarray, ends: tuple[int, int]) -> ndarray:
    """Translate joint 0 to the ground truth's, and scale the distance of two joints to the ground truth's."""
    scale_to, scale_from = _bone(truth, ends), _bone(predicted, ends)
    unusable = ~np.isfinite(truth[:, WRIST]).all(-1) | ~np.isfinite(scale_to) | (scale_to == 0) | (scale_from == 0)
    if unusable.any():
        first, second = (JOINT_NAMES[end] for end in ends)
        raise ValueError(
            f"hand {np.flatnonzero(unusable)[0]} cannot be aligned by joint 0 and the bone from {first} to {second}: "
            "its ground truth lacks one of these joints, or the bone has length 0; leave the hand out, or align it by "
            "similarity"
        )
    usable = np.isfinite(predicted[:, WRIST]).all(-1) & np.isfinite(scale_from)
    predicted = np.where(usable[:, None, None], predicted, np.nan)
    moved = (predicted - predicted[:, :1]) * (scale_to / scale_from)[:, None, None]
    return moved + truth[:, :1]


def _bone(joints: Float[ndarray, "n 21 3"], ends: tuple[int, int]) -> Float[ndarray, " n"]:
    """Distance of two joints; NaN if one is not finite."""
    known = np.where(np.isfinite(joints), joints, np.nan)  # the difference of two infinite ends is not defined
    return np.linalg.norm(known[:, ends[1]] - known[:, ends[0]], axis=-1)


def _centroid(points: Float[ndarray, "n k 3"], known: Bool[ndarray, "n k"]) -> Float[ndarray, "n 1 3"]:
    """Mean of the known points; 0 if there is no known point."""
    total = np.where(known[..., None], points, 0.0).sum(1, keepdims=True)
    return total / np.maximum(known.sum(1), 1)[:, None, None]


def mesh_errors(estimate: Float[ndarray, "v 3"], truth: Float[ndarray, "v 3"]) -> tuple[float, float]:
    """Mean distance of corresponding vertices, before and after the best similarity (Procrustes).

    Args:
        estimate: Vertices relative to a joint, any unit.
        truth: Ground-truth vertices relative to the same joint, in this unit.

    Returns:
        Both mean distances, in the unit of the vertices.

    Source: Umeyama 1991.
    """
    aligned = align_similarity(estimate[None], truth[None])[0]
    before, after = (float(np.linalg.norm(vertices - truth, axis=1).mean()) for vertices in (estimate, aligned))
    return before, after
