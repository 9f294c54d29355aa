r"""The 21 joints of a hand and their Jacobian to h, without the mesh.

f_Reg is linear in the posed vertices, and each posed vertex is a weighted sum over bones. The sums can be exchanged:

.. math:: x_k = \sum_v r_{kv} \sum_j w_{vj} (G_j v + s_j) = \sum_j \big( G_j\, q_{kj} + \omega_{kj} s_j \big)

with :math:`q_{kj} = \sum_v r_{kv} w_{vj} v` and :math:`\omega_{kj} = \sum_v r_{kv} w_{vj}`. The rest vertex v is linear
in the shape and in the entries of the joint rotations, so q is too, and its coefficients are computed once. Only the
pairs of joint k and bone j with a weight remain: 64 for the open hand, instead of 778 vertices with 16 weights.

The Jacobian is the geometric Jacobian of robotics: a rotation of bone i about an axis a through its joint c moves each
point p of its subtree by a x (p - c). The pose correctives add a second, small part. The values equal those of
:meth:`dhpe_lib.hand.model.HandModel.forward_h` up to rounding.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.parameters import LINEAR_SCALE_FROM, positive_scale, split_h
from dhpe_lib.hand.rotations import axis_angle_to_matrix, quaternion_to_matrix
from dhpe_lib.hand.skeleton import JOINT_PARENTS, MANO_PARENTS
from dhpe_lib.hand.skinning import joint_transforms, pose_features

SMALL_SQUARED = 1e-4


@dataclass(frozen=True)
class JointKinematics:
    """The hand model, reduced to its joints. The p rows are the pairs (joint, bone) with a weight other than 0.

    Attributes:
        points: q of the template, metres times weight.
        directions: Derivative of q with respect to [shape 10, pose features 135].
        weight: omega of each pair.
        bone: Bone of each pair, MANO's order with the wrist.
        to_joint: Matrix that sums the pairs of each joint.
        to_subtree: Matrix that sums the pairs of joint k whose bone is in the subtree of finger joint i.
        subtree_weight: omega of these sums.
        parent_bone: Parent of each finger joint, MANO's order.
        parent_joint: Parent of the joints 1..20, canonical order; the 20 bones start there.
        rest: MANO's 16 joints at rest, metres.
        rest_directions: Derivative of `rest` with respect to the shape.
    """

    points: Float[Tensor, "p 3"]
    directions: Float[Tensor, "p 3 145"]
    weight: Float[Tensor, " p"]
    bone: Int64[Tensor, " p"]
    to_joint: Float[Tensor, "21 p"]
    to_subtree: Float[Tensor, "21 15 p"]
    subtree_weight: Float[Tensor, "21 15"]
    parent_bone: Int64[Tensor, " 15"]
    parent_joint: Int64[Tensor, " 20"]
    rest: Float[Tensor, "16 3"]
    rest_directions: Float[Tensor, "16 3 10"]


def joint_kinematics(model: HandModel) -> JointKinematics:
    """Reduce a hand model to its 21 joints.

    Args:
        model: Any hand in MANO's format.

    Returns:
        Tables in the model's dtype and on its device.

    Source: the formula at the top of this module.
    """
    joint, bone = ((model.regressor != 0).to(model.weights) @ (model.weights != 0).to(model.weights)).nonzero(
        as_tuple=True
    )
    mix = model.regressor[joint] * model.weights.mT[bone]
    directions = torch.cat((model.shapedirs, model.posedirs), 2)
    to_joint = torch.nn.functional.one_hot(joint, 21).mT.to(mix)
    to_subtree = to_joint[:, None] * _in_subtree().to(mix)[:, bone]
    weight = mix.sum(1)
    return JointKinematics(
        points=mix @ model.v_template,
        directions=(mix @ directions.flatten(1)).unflatten(1, (3, -1)),
        weight=weight,
        bone=bone,
        to_joint=to_joint,
        to_subtree=to_subtree,
        subtree_weight=to_subtree @ weight,
        parent_bone=torch.tensor(MANO_PARENTS[1:], device=mix.device),
        parent_joint=torch.tensor(JOINT_PARENTS[1:], device=mix.device),
        rest=model.J_regressor @ model.v_template,
        rest_directions=torch.einsum("jv,vcs->jcs", model.J_regressor, model.shapedirs),
    )


def _in_subtree() -> Float[Tensor, "15 16"]:
    """Return a matrix with 1 if a bone (column) moves with a finger joint (row), else 0."""
    table = torch.zeros(15, 16)
    for bone in range(1, 16):
        ancestor = bone
        while ancestor > 0:
            table[ancestor - 1, bone] = 1
            ancestor = MANO_PARENTS[ancestor]
    return table


def joints_and_jacobian(
    hand: JointKinematics, h: Float[Tensor, "b 63"]
) -> tuple[Float[Tensor, "b 21 3"], Float[Tensor, "b 21 3 63"]]:
    r"""Pose the joints, and compute their Jacobian with respect to h.

    Args:
        hand: From :func:`joint_kinematics`.
        h: [pose 45, shape 10, c_q 4, c_s 1, c_t 3].

    Returns:
        The joints of ``HandModel.forward_h``, and :math:`\partial x / \partial h`.

    Source: Murray, Li, Sastry, *A Mathematical Introduction to Robotic Manipulation*, Sec. 3.4 (manipulator Jacobian).
    """
    parts = split_h(h)
    vectors = parts.pose.unflatten(1, (15, 3))
    rotations = axis_angle_to_matrix(vectors)
    rest = hand.rest + torch.einsum("bs,jcs->bjc", parts.shape, hand.rest_directions)
    transforms = joint_transforms(rotations, rest)
    turned, shift = transforms[..., :3], transforms[..., 3]
    features = torch.cat((parts.shape, pose_features(rotations)), 1)
    points = hand.points + torch.einsum("bf,pcf->bpc", features, hand.directions)
    posed = (turned[:, hand.bone] @ points[..., None])[..., 0] + hand.weight[:, None] * shift[:, hand.bone]

    # Sum over pairs and coordinates at once: one product with the shared directions serves the whole batch.
    mix = hand.to_joint[:, None, :, None] * turned[:, hand.bone].transpose(1, 2)[:, None]
    by_feature = mix.flatten(3) @ hand.directions.flatten(0, 1)
    parents = turned[:, hand.parent_bone]
    # x depends on the shape through the vertices and through the joints at rest: s_j is a sum of (G_parent - G_i) J_i.
    by_shape = by_feature[..., :10] + torch.einsum(
        "ki,bics->bkcs", hand.subtree_weight, (parents - turned[:, 1:]) @ hand.rest_directions[1:]
    )
    left = left_jacobian(vectors)
    centres = (turned[:, 1:] @ rest[:, 1:, :, None])[..., 0] + shift[:, 1:]
    lever = (hand.to_subtree.flatten(0, 1) @ posed).unflatten(1, (21, 15)) - hand.subtree_weight[..., None] * centres[
        :, None
    ]
    by_turn = torch.linalg.cross((parents @ left)[:, None], lever[..., None], dim=3)
    corrective = by_feature[..., 10:].unflatten(3, (15, 9)).transpose(2, 3) @ _rotation_slopes(rotations, left)[:, None]
    by_pose = (by_turn + corrective).transpose(2, 3).flatten(3)
    return _move(hand.to_joint @ posed, torch.cat((by_pose, by_shape), 3), h)


def left_jacobian(vectors: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    r"""Left Jacobian of SO(3), with :math:`R(r + e) = R(J_l e)\, R(r)` to first order.

    :math:`J_l = I + \frac{1 - \cos\theta}{\theta^2} [r]_\times + \frac{\theta - \sin\theta}{\theta^3} [r]_\times^2`.

    Args:
        vectors: Rotation vectors r, radians.

    Returns:
        J_l; the identity at 0.

    Source: Sola, Deray, Atchuthan 2018, Eq. 145.
    """
    squared = vectors.square().sum(-1)[..., None, None]
    small = squared < SMALL_SQUARED
    safe = torch.where(small, 1, squared)
    angle = safe.sqrt()
    first = torch.where(small, 0.5 - squared / 24 + squared**2 / 720, (1 - angle.cos()) / safe)
    second = torch.where(small, 1 / 6 - squared / 120 + squared**2 / 5040, (angle - angle.sin()) / (safe * angle))
    cross = skew(vectors)
    return torch.eye(3, dtype=vectors.dtype, device=vectors.device) + first * cross + second * (cross @ cross)


def skew(vectors: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """Return the cross product matrix [v]x, with [v]x u = v x u."""
    x, y, z = vectors.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack((o, -z, y, z, o, -x, -y, x, o), -1).unflatten(-1, (3, 3))


def _rotation_slopes(
    rotations: Float[Tensor, "b 15 3 3"], left: Float[Tensor, "b 15 3 3"]
) -> Float[Tensor, "b 15 9 3"]:
    """Derivative of the entries of R, row by row, with respect to the rotation vector: dR = [J_l e]x R."""
    slopes = torch.linalg.cross(left.mT[..., None], rotations[:, :, None], dim=3)
    return slopes.flatten(3).mT


def _move(
    joints: Float[Tensor, "b 21 3"], jacobian: Float[Tensor, "b 21 3 55"], h: Float[Tensor, "b 63"]
) -> tuple[Float[Tensor, "b 21 3"], Float[Tensor, "b 21 3 63"]]:
    """Apply the global motion x' = scale R x + translation, and append its eight derivatives."""
    parts = split_h(h)
    quaternion = torch.cat((1 + parts.quaternion[:, :1], parts.quaternion[:, 1:]), 1)
    rotation, scale = quaternion_to_matrix(quaternion), positive_scale(parts.scale)[..., None]
    turned = joints @ rotation.mT
    # A change dq turns the hand by 2 / |q|^2 times the vector part of dq q*.
    w, u = quaternion[:, :1, None], quaternion[:, 1:]
    to_turn = torch.cat((-u[..., None], w * torch.eye(3, dtype=h.dtype, device=h.device) + skew(u)), 2)
    to_turn = 2 * to_turn / quaternion.square().sum(1)[:, None, None]
    by_quaternion = -skew(scale * turned) @ to_turn[:, None]
    slope = torch.where(parts.scale[..., None] > LINEAR_SCALE_FROM, 1, 2 * scale)
    by_shift = torch.eye(3, dtype=h.dtype, device=h.device).expand(len(h), 21, 3, 3)
    columns = (
        scale[..., None] * (rotation[:, None] @ jacobian),
        by_quaternion,
        (slope * turned)[..., None],
        by_shift,
    )
    return scale * turned + parts.translation[:, None], torch.cat(columns, 3)
