r"""The energy of a hand and given joints, as residuals for :mod:`dhpe_lib.refinement.levenberg_marquardt`.

Let x be the joints of the hand, y the given joints (in the image or in space), u the length of a metre in the unit of
y, and each sigma a standard deviation. The energy of h is a sum of squares::

    E(h) = sum_k c_k rho(| x_k - y_k | / (u sigma_joint))      given joints with confidence c
         + sum_b rho(| d_b(x) - d_b | / sigma_direction)       directions of the 20 bones in space
         + | (p - mean) / (sigma_pose * deviations) |^2        pose space
         + | angles beyond the joint limits / sigma_limits |^2
         + | shape / sigma_shape |^2

so that E is, up to a constant, minus twice the log of a posterior. rho is the Geman-McClure loss,
:math:`\rho(q) = q^2 / (1 + q^2 / c^2)`: a joint that is much more than c deviations away has almost no influence.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.poses import JointLimits, PoseSpace, joint_angles, joint_limits, pose_space
from dhpe_lib.refinement.joint_kinematics import JointKinematics, joint_kinematics, joints_and_jacobian
from dhpe_lib.refinement.levenberg_marquardt import Linearisation

POSE, SHAPE, SCALE, DEPTH = slice(0, 45), slice(45, 55), 59, 62
"""Entries of h."""
# Residuals, b x m, and their Jacobian, b x m x 63.
Block = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Deviations:
    """Standard deviations of the energy's terms.

    Attributes:
        joint: Deviation of a given joint of confidence 1, metres at the hand.
        direction: Deviation of a bone's direction in space, radians.
        pose: Deviation of the pose, in deviations of the pose space.
        smallest_pose: Lower bound of the deviations of the pose space, radians.
        shape: Deviation of each shape coefficient. With 1.25 the residual in the picture is a tenth smaller, but where
            joints are doubtful a coefficient ran to 11 standard deviations in frames of a clip.
        limits: Deviation of an angle beyond the joint limits, radians.
        outlier: c of the robust loss, in standard deviations of a joint or a direction.
    """

    joint: float = 0.002
    direction: float = 0.15
    pose: float = 1.0
    smallest_pose: float = 0.04
    shape: float = 0.7
    limits: float = 0.05
    outlier: float = 8.0


@dataclass(frozen=True)
class LandmarkTargets:
    """Targets of the joints of each hand.

    Attributes:
        joints: Given joints in the image (2 coordinates) or in space (3).
        confidence: Weight of each joint.
        unit: Length of one metre of the hand model in the unit of the joints.
        directions: Unit directions of the 20 bones in space; 0 for an unknown direction.
        free: 1 for each entry of h that may change, else 0.
    """

    joints: Float[Tensor, "b 21 d"]
    confidence: Float[Tensor, "b 21"]
    unit: Float[Tensor, " b"]
    directions: Float[Tensor, "b 20 3"]
    free: Float[Tensor, " 63"]

    def repeated(self, count: int) -> "LandmarkTargets":
        """Repeat each row `count` times, hand by hand."""
        per_hand = {
            "joints": self.joints,
            "confidence": self.confidence,
            "unit": self.unit,
            "directions": self.directions,
        }
        return replace(self, **{name: value.repeat_interleave(count, 0) for name, value in per_hand.items()})


@dataclass(frozen=True)
class LandmarkPrior:
    """The joints of a model, its pose space and its joint limits."""

    kinematics: JointKinematics
    space: PoseSpace
    limits: JointLimits

    @classmethod
    def of(cls, model: HandModel) -> "LandmarkPrior":
        """Prepare a model, in its dtype and on its device."""
        return cls(joint_kinematics(model), pose_space(model), joint_limits().to(model.hands_mean))


def landmark_residuals(prior: LandmarkPrior, targets: LandmarkTargets, deviations: Deviations) -> Linearisation:
    """Write the energy as residuals of h.

    Args:
        prior: Prior of the hand model.
        targets: One row for each row of h.
        deviations: Standard deviations of the terms.

    Returns:
        A function from h to the residuals, whose squares sum to E(h), and their Jacobian.
    """

    def linearise(h: Tensor) -> Block:
        joints, slopes = joints_and_jacobian(prior.kinematics, h)
        blocks = (
            joint_block(joints, slopes, targets, deviations),
            direction_block(joints, slopes, prior.kinematics.parent_joint, targets, deviations),
            pose_block(h, prior.space, deviations),
            limit_block(h, prior.limits, deviations),
            shape_block(h, deviations),
        )
        residuals, jacobians = zip(*blocks, strict=True)
        return torch.cat(residuals, 1), torch.cat(jacobians, 1) * targets.free

    return linearise


def joint_block(
    joints: Float[Tensor, "b 21 3"],
    slopes: Float[Tensor, "b 21 3 63"],
    targets: LandmarkTargets,
    deviations: Deviations,
) -> Block:
    """Distances to the given joints, in standard deviations."""
    d = targets.joints.shape[2]
    per_deviation = 1 / (deviations.joint * targets.unit[:, None, None])
    off = (joints[..., :d] - targets.joints) * per_deviation
    return robust(off, slopes[:, :, :d] * per_deviation[..., None], targets.confidence, deviations.outlier)


def direction_block(
    joints: Float[Tensor, "b 21 3"],
    slopes: Float[Tensor, "b 21 3 63"],
    parents: Int64[Tensor, " 20"],
    targets: LandmarkTargets,
    deviations: Deviations,
) -> Block:
    """Differences to the given directions of bones.

    For a vector v along a bone, ``d(v / |v|) = (I - v v^T / |v|^2) dv / |v|``.
    """
    bones = joints[:, 1:] - joints[:, parents]
    by_h = slopes[:, 1:] - slopes[:, parents]
    length = bones.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(bones.dtype).tiny)
    unit = bones / length
    along = (unit[..., None] * by_h).sum(2, keepdim=True)
    by_h = (by_h - unit[..., None] * along) / (deviations.direction * length[..., None])
    known = targets.directions.square().sum(-1).clamp_max(1)
    return robust((unit - targets.directions) / deviations.direction, by_h, known, deviations.outlier)


def robust(
    off: Float[Tensor, "b k d"], slopes: Float[Tensor, "b k d n"], confidence: Float[Tensor, "b k"], outlier: float
) -> Block:
    r"""Scale k vectors r so that their squares become Geman-McClure losses.

    :math:`\tilde r = s r` with :math:`s = (1 + |r|^2 / c^2)^{-1/2}`, hence
    :math:`d\tilde r = s (I - s^2 r r^T / c^2)\, dr`.

    Args:
        off: The vectors, in standard deviations.
        slopes: Their Jacobian.
        confidence: Weight of each loss.
        outlier: c.

    Returns:
        Residuals and Jacobian, flattened.

    Source: Geman and McClure 1987; residuals as in Triggs et al. 2000, Sec. 3.3.
    """
    squared = pull(off, outlier).sqrt()  # s^2
    weight = (confidence * squared).sqrt()
    along = (off[..., None] * slopes).sum(2, keepdim=True)
    bent = slopes - (squared / outlier**2)[..., None, None] * off[..., None] * along
    return (weight[..., None] * off).flatten(1), (weight[..., None, None] * bent).flatten(1, 2)


def pull(off: Float[Tensor, "b k d"], outlier: float) -> Float[Tensor, "b k"]:
    """Weight of a vector relative to plain least squares: rho'(q) / 2 q = 1 / (1 + q^2 / c^2)^2.

    Args:
        off: Vectors of length q, in standard deviations.
        outlier: c of the robust loss.

    Returns:
        Weight from 1 (q = 0) to 0 (q much larger than c).
    """
    return (1 + off.square().sum(-1) / outlier**2) ** -2


def pose_block(h: Float[Tensor, "b 63"], space: PoseSpace, deviations: Deviations) -> Block:
    """Residuals of the pose along the components of its space, in deviations."""
    rows = space.components / (deviations.pose * space.deviations.clamp_min(deviations.smallest_pose))[:, None]
    return (h[:, POSE] - space.mean) @ rows.mT, _columns(rows.expand(len(h), 45, 45), 0)


def limit_block(h: Float[Tensor, "b 63"], limits: JointLimits, deviations: Deviations) -> Block:
    """Residuals of the angles beyond the joint limits, in standard deviations; 0 inside the limits."""
    angles = joint_angles(h[:, POSE], limits)
    over = angles - angles.clamp(limits.bounds[..., 0], limits.bounds[..., 1])
    rows = torch.block_diag(*limits.axes) / deviations.limits
    outside = (over != 0).flatten(1)[..., None]
    return over.flatten(1) / deviations.limits, _columns(rows * outside, 0)


def shape_block(h: Float[Tensor, "b 63"], deviations: Deviations) -> Block:
    """Residuals of the shape, in standard deviations."""
    rows = torch.eye(10, dtype=h.dtype, device=h.device) / deviations.shape
    return h[:, SHAPE] / deviations.shape, _columns(rows.expand(len(h), 10, 10), SHAPE.start)


def _columns(rows: Float[Tensor, "b m k"], first: int) -> Float[Tensor, "b m 63"]:
    """Put k columns into the 63 of h."""
    return torch.nn.functional.pad(rows, (first, 63 - first - rows.shape[2]))
