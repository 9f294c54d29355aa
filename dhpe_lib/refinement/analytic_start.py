"""Pose a hand from joints in space in closed form, as the start of :mod:`dhpe_lib.refinement.inverse_kinematics`.

The palm is rigid, so its joints determine the global rotation (Procrustes). Then each finger is posed from base to tip:
each joint gets the smallest rotation that turns its bone to the given direction, with angles clamped to the joint
limits. Bone lengths are not used. Scale and translation follow by least squares. Nothing here has a gradient.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dhpe_lib.common.devices import constant, constant_like
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.parameters import LINEAR_SCALE_FROM
from dhpe_lib.hand.poses import JOINTS_OF_FINGER, joint_angles, joint_limits, pose_from_angles
from dhpe_lib.hand.rotations import axis_angle_to_matrix, matrix_to_quaternion
from dhpe_lib.hand.skeleton import FINGERS, JOINT_PARENTS

PALM = (0, 5, 9, 13, 17)
BONE_STARTS = tuple(JOINT_PARENTS[1:])
# Rows of MANO's joints, thumb to little, base to end: FINGER_JOINTS[f][l] rotates bone l of finger f.
FINGER_JOINTS = [list(range(JOINTS_OF_FINGER[finger].start, JOINTS_OF_FINGER[finger].stop)) for finger in FINGERS]


def start_in_picture(
    model: HandModel,
    joints_2d: Float[Tensor, "b 21 2"],
    confidence: Float[Tensor, "b 21"],
    joints_3d: Float[Tensor, "b 21 3"],
) -> Float[Tensor, "b 63"]:
    """Pose the hand by joints in space, and scale and translate it to joints in the image.

    Args:
        model: Hand model.
        joints_2d: Joints in the image, units of g; finite.
        confidence: Weight of each joint in the image.
        joints_3d: Joints in space in any unit, with the axes of the image; finite.

    Returns:
        Hand parameters h with the mean shape and depth 0.
    """
    pose, rotation = pose_in_space(model, joints_3d, torch.ones_like(confidence))
    posed = model(pose=pose, rotation=rotation).joints
    angle, *_ = align_in_plane(posed[..., :2], joints_2d, confidence)
    zero = torch.zeros_like(angle)
    turn = axis_angle_to_matrix(torch.stack((zero, zero, angle), 1))
    scale, shift = scale_and_shift((posed @ turn.mT)[..., :2], joints_2d, confidence)
    return pack_h(pose, turn @ rotation, scale, torch.cat((shift, zero[:, None]), 1))


def start_in_space(
    model: HandModel, joints_3d: Float[Tensor, "b 21 3"], confidence: Float[Tensor, "b 21"], keep_size: bool
) -> Float[Tensor, "b 63"]:
    """Pose, scale and translate the hand to joints in space.

    Args:
        model: Hand model.
        joints_3d: Joints in space, metres if `keep_size`, otherwise any unit; finite.
        confidence: Weight of each joint.
        keep_size: Whether the scale is 1; otherwise it is found by least squares.

    Returns:
        Hand parameters h with the mean shape.
    """
    pose, rotation = pose_in_space(model, joints_3d, confidence)
    posed = model(pose=pose, rotation=rotation).joints
    scale, shift = scale_and_shift(posed, joints_3d, confidence, 1.0 if keep_size else None)
    return pack_h(pose, rotation, scale, shift)


def scale_and_shift(
    points: Float[Tensor, "b n d"],
    target: Float[Tensor, "b n d"],
    weight: Float[Tensor, "b n"],
    scale: float | None = None,
) -> tuple[Float[Tensor, " b"], Float[Tensor, "b d"]]:
    """Scale and shift points onto their targets by weighted least squares.

    Least squares would shrink badly fitting points to one point, so the scale is at least a third of the ratio of the
    two extents.

    Args:
        points: Points x, any unit.
        target: Targets y, any unit.
        weight: Weight of each point.
        scale: A fixed scale; None to find it.

    Returns:
        s and t of ``y = s x + t``.
    """
    w = (weight / weight.sum(1, keepdim=True))[..., None]
    middle, goal = (w * points).sum(1), (w * target).sum(1)
    x, y = points - middle[:, None], target - goal[:, None]
    squared = (w * x * x).sum((1, 2)).clamp_min(torch.finfo(x.dtype).tiny)
    best = torch.maximum((w * x * y).sum((1, 2)) / squared, ((w * y * y).sum((1, 2)) / squared).sqrt() / 3)
    chosen = best if scale is None else torch.full_like(best, scale)
    return chosen, goal - chosen[:, None] * middle


def pose_in_space(
    model: HandModel, joints_3d: Float[Tensor, "b 21 3"], confidence: Float[Tensor, "b 21"]
) -> tuple[Float[Tensor, "b 45"], Float[Tensor, "b 3 3"]]:
    """Compute pose and global rotation from joints in space.

    Args:
        model: Hand model.
        joints_3d: Joints in space, any unit and origin; finite.
        confidence: Weight of each joint; at least three joints of the palm should have a weight above 0.

    Returns:
        Axis-angle pose (radians) and rotation matrix.
    """
    palm, starts = (constant(rows, torch.int64, joints_3d.device) for rows in (PALM, BONE_STARTS))
    rest = model(pose=model.hands_mean[None]).joints[:, palm].expand(len(joints_3d), -1, -1)
    rotation = best_rotation(rest, joints_3d[:, palm], confidence[:, palm])
    known = (confidence[:, starts] > 0) & (confidence[:, 1:] > 0)
    return finger_poses(model, bone_directions(joints_3d) @ rotation, known), rotation


def bone_directions(joints: Float[Tensor, "b 21 3"]) -> Float[Tensor, "b 20 3"]:
    """Unit vectors of the 20 bones, from each joint's parent to joints 1..20; 0 for a bone without length."""
    bones = joints[:, 1:] - joints[:, constant(BONE_STARTS, torch.int64, joints.device)]
    return bones / bones.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(joints.dtype).tiny)


def best_rotation(
    points: Float[Tensor, "b n 3"], target: Float[Tensor, "b n 3"], weight: Float[Tensor, "b n"]
) -> Float[Tensor, "b 3 3"]:
    """Find the rotation R that minimises the weighted sum of ``| s R x + t - y |^2`` over R, s and t.

    Args:
        points: Points x, any unit.
        target: Targets y, any unit.
        weight: Weight of each point.

    Returns:
        Rotation matrices; they are never reflections.

    Source: Umeyama 1991.
    """
    w = (weight / weight.sum(1, keepdim=True))[..., None]
    x, y = points - (w * points).sum(1, keepdim=True), target - (w * target).sum(1, keepdim=True)
    u, _, vt = torch.linalg.svd((w * y).mT @ x)
    sign = torch.linalg.det(u @ vt)
    flip = torch.stack((torch.ones_like(sign), torch.ones_like(sign), sign), 1)
    return (u * flip[:, None]) @ vt


def finger_poses(
    model: HandModel, directions: Float[Tensor, "b 20 3"], known: Bool[Tensor, "b 20"]
) -> Float[Tensor, "b 45"]:
    """Rotate each finger joint so that its bone has the given direction.

    Args:
        model: Hand model.
        directions: Unit directions of the 20 bones in the model's frame.
        known: Whether each direction counts; a joint without a known bone keeps its rotation of the mean pose.

    Returns:
        A pose inside the joint limits.

    Source: swing of a ball joint, base to tip; angles as in :mod:`dhpe_lib.hand.poses`.
    """
    limits = joint_limits().to(directions)
    mean = model.hands_mean.view(15, 3)
    flat = model().joints
    rest, target = (d.unflatten(1, (5, 4))[:, :, 1:] for d in (bone_directions(flat), directions))
    seen = known.unflatten(1, (5, 4))[:, :, 1:, None]
    pose = torch.zeros(len(directions), 15, 3, dtype=directions.dtype, device=directions.device)
    parent = torch.eye(3, dtype=directions.dtype, device=directions.device).expand(len(directions), 5, 3, 3)
    for level in range(3):
        rows = constant(tuple(joints[level] for joints in FINGER_JOINTS), torch.int64, pose.device)
        goal = (parent.mT @ target[:, :, level, :, None])[..., 0]
        swing = smallest_turn(rest[:, :, level].expand_as(goal), goal)
        pose[:, rows] = torch.where(seen[:, :, level], swing, mean[rows])
        angles = joint_angles(pose.flatten(1), limits).clamp(limits.bounds[..., 0], limits.bounds[..., 1])
        pose = pose_from_angles(angles, limits).unflatten(1, (15, 3))
        parent = parent @ axis_angle_to_matrix(pose[:, rows])
    return pose.flatten(1)


def smallest_turn(start: Float[Tensor, "*b 3"], end: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3"]:
    """Return the rotation vector that turns one direction into another about their common normal.

    Args:
        start: Unit vectors.
        end: Unit vectors.

    Returns:
        Rotation vectors, radians; 0 if the two vectors are parallel or opposite.
    """
    normal = torch.linalg.cross(start, end, dim=-1)
    sine, cosine = normal.norm(dim=-1, keepdim=True), (start * end).sum(-1, keepdim=True)
    return normal / sine.clamp_min(1e-6) * torch.atan2(sine, cosine)


def pack_h(
    pose: Float[Tensor, "b 45"],
    rotation: Float[Tensor, "b 3 3"],
    scale: Float[Tensor, " b"],
    translation: Float[Tensor, "b 3"],
) -> Float[Tensor, "b 63"]:
    """Pack the parameters of a hand with the mean shape into h.

    Args:
        pose: Axis-angle pose relative to the flat hand, radians.
        rotation: Global rotation.
        scale: Global scale, positive.
        translation: Global translation, in the unit of the scaled hand.

    Returns:
        Hand parameters h for :meth:`dhpe_lib.hand.model.HandModel.forward_h`.
    """
    quaternion = matrix_to_quaternion(rotation)
    identity = constant_like((1.0, 0.0, 0.0, 0.0), quaternion)
    return torch.cat(
        (pose, pose.new_zeros(len(pose), 10), quaternion - identity, scale_offset(scale)[:, None], translation), 1
    )


def scale_offset(scale: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Compute c_s from a positive scale; this is the inverse of :func:`dhpe_lib.hand.parameters.positive_scale`."""
    floor = 1 + LINEAR_SCALE_FROM
    logarithmic = LINEAR_SCALE_FROM + floor * (scale.clamp_max(floor) / floor).log()
    return torch.where(scale > floor, scale - 1, logarithmic)


def align_in_plane(
    points: Float[Tensor, "b n 2"], target: Float[Tensor, "b n 2"], weight: Float[Tensor, "b n"]
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"], Float[Tensor, "b 2"], Float[Tensor, " b"]]:
    """Find the similarity transform of the plane that maps points to their targets, by weighted least squares.

    With points and targets as complex numbers p and t, minus their weighted means, and weights that sum to 1::

        scale e^(i angle) = sum_k w_k conj(p_k) t_k / sum_k w_k |p_k|^2
        residual          = sum_k w_k |t_k|^2 - scale^2 sum_k w_k |p_k|^2

    Args:
        points: Points, any unit.
        target: Targets, any unit.
        weight: Weight of each pair.

    Returns:
        Angle (radians, from x towards y), scale, translation (unit of the targets), and the remaining mean squared
        distance.

    Source: Umeyama 1991 in two dimensions.
    """
    w = (weight / weight.sum(1, keepdim=True).clamp_min(1e-9))[..., None]
    mean_p, mean_t = (w * points).sum(1), (w * target).sum(1)
    p, t = points - mean_p[:, None], target - mean_t[:, None]
    # real and imaginary part of sum w conj(p) t
    dot, cross = (w * p * t).sum((1, 2)), (w[..., 0] * (p[..., 0] * t[..., 1] - p[..., 1] * t[..., 0])).sum(1)
    norm = (w * p * p).sum((1, 2)).clamp_min(1e-9)
    angle, scale = torch.atan2(cross, dot), torch.hypot(dot, cross) / norm
    cos, sin = angle.cos(), angle.sin()
    rotated = torch.stack((cos * mean_p[:, 0] - sin * mean_p[:, 1], sin * mean_p[:, 0] + cos * mean_p[:, 1]), 1)
    residual = (w * t * t).sum((1, 2)) - scale.square() * norm
    return angle, scale, mean_t - scale[:, None] * rotated, residual
