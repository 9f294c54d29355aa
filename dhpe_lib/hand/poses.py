"""Natural hand poses: the angles of each joint, their limits, a sampler and a prior.

A pose is 45 numbers, one axis-angle vector for each of MANO's 15 finger joints. This module splits each vector into
angles about three axes of its joint: flexion (towards the palm), abduction (towards the thumb) and twist (about the
bone). Axes and limits come with the open hand. They also hold for MANO, which has the same rest pose and frame.

The sampler draws fingers whose curls are correlated, and lets the last joint of a finger follow the middle joint. It
rejects hands whose fingers pass through each other or through the palm.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dhpe_lib.common.arguments import check_at_least, check_fields, checked
from dhpe_lib.common.precision import full_precision
from dhpe_lib.hand.model import OPEN_HAND, HandModel
from dhpe_lib.hand.skeleton import FINGERS, MANO_FINGERS

# Rows of MANO's joints for thumb, index, middle, ring, little.
JOINTS_OF_FINGER = {finger: slice(3 * k, 3 * k + 3) for k, finger in enumerate(MANO_FINGERS)}
LONG_FINGERS = FINGERS[1:]
BATCH = 512
# Radii in metres of the capsules around each phalanx (base to tip) and around each metacarpal of the palm. Two capsules
# collide if they overlap by more than SOFTNESS, which allows for soft tissue.
PHALANX_RADII = {
    "thumb": (0.0170, 0.0100, 0.0090),
    "index": (0.0100, 0.0085, 0.0070),
    "middle": (0.0100, 0.0085, 0.0070),
    "ring": (0.0095, 0.0080, 0.0070),
    "little": (0.0085, 0.0070, 0.0060),
}
PALM_RADIUS, SOFTNESS = 0.020, 0.0015


@dataclass(frozen=True)
class JointLimits:
    """Rotation axes and angle limits of the 15 finger joints.

    Attributes:
        axes: Flexion, abduction and twist axis of each joint, unit vectors in the model's frame.
        bounds: Smallest and largest angle about each axis, radians from the rest pose.
    """

    axes: Float[Tensor, "15 3 3"]
    bounds: Float[Tensor, "15 3 2"]

    def __post_init__(self) -> None:
        check_fields(self)

    def to(self, like: Tensor) -> "JointLimits":
        """Convert the limits to the dtype and device of a tensor."""
        return JointLimits(self.axes.to(like), self.bounds.to(like))


@cache
def joint_limits() -> JointLimits:
    """Load the joint limits that come with the open hand (float64, CPU)."""
    with np.load(OPEN_HAND, allow_pickle=False) as hand:
        return JointLimits(
            torch.as_tensor(hand["joint_axes"], dtype=torch.float64),
            torch.as_tensor(hand["joint_limits"], dtype=torch.float64),
        )


@checked()
def joint_angles(pose: Float[Tensor, "b 45"], limits: JointLimits) -> Float[Tensor, "b 15 3"]:
    """Compute the joint angles of a pose: the components of each axis-angle vector along the axes of its joint.

    Args:
        pose: Axis-angle vectors relative to the flat hand, radians.
        limits: Axes of the joints.

    Returns:
        Flexion, abduction and twist of each joint, radians; linear in the pose.
    """
    return torch.einsum("jac,bjc->bja", limits.axes.to(pose), pose.unflatten(1, (15, 3)))


@checked()
def pose_from_angles(angles: Float[Tensor, "b 15 3"], limits: JointLimits) -> Float[Tensor, "b 45"]:
    """Compute the pose with these joint angles, the inverse of :func:`joint_angles`.

    Args:
        angles: Flexion, abduction and twist of each joint, radians.
        limits: Axes of the joints.

    Returns:
        Axis-angle vectors relative to the flat hand, radians.
    """
    return torch.einsum("jac,bja->bjc", limits.axes.to(angles), angles).flatten(1)


@checked()
@full_precision
def limit_penalty(pose: Float[Tensor, "b 45"], limits: JointLimits) -> Float[Tensor, " b"]:
    """Compute the sum of the squared angles beyond the limits.

    Args:
        pose: Axis-angle vectors relative to the flat hand, radians.
        limits: Axes and limits of the joints.

    Returns:
        Penalty in squared radians. Inside the limits it is zero and has no gradient.
    """
    angles, bounds = joint_angles(pose, limits), limits.bounds.to(pose)
    excess = (angles - bounds[..., 1]).clamp_min(0) + (bounds[..., 0] - angles).clamp_min(0)
    return excess.square().sum((1, 2))


@dataclass(frozen=True)
class PoseSpace:
    """Normal distribution of a model's poses.

    Attributes:
        mean: Mean pose, radians.
        components: Principal components, one unit vector a row.
        deviations: Standard deviation along each component, radians.
    """

    mean: Float[Tensor, " 45"]
    components: Float[Tensor, "45 45"]
    deviations: Float[Tensor, " 45"]


def pose_space(model: HandModel) -> PoseSpace:
    """Compute the distribution of a model's poses from MANO's hands_mean, hands_components and hands_coeffs.

    Raises:
        ValueError: The model's file has no ``hands_coeffs``, which give the standard deviations.
    """
    if "hands_coeffs" not in model.hand:
        raise ValueError("the hand model has no hands_coeffs; use a MANO file that holds its pose coefficients")
    deviations = torch.as_tensor(model.hand["hands_coeffs"]).std(0).to(model.hands_mean)
    return PoseSpace(model.hands_mean, model.hands_components, deviations)


@checked()
@full_precision
def pose_penalty(pose: Float[Tensor, "b 45"], space: PoseSpace) -> Float[Tensor, " b"]:
    """Compute the squared Mahalanobis distance of a pose (radians) from the mean of a pose distribution."""
    return ((pose - space.mean) @ space.components.mT / space.deviations).square().sum(1)


@checked()
def segment_distances(
    start_a: Float[Tensor, "b m 3"],
    end_a: Float[Tensor, "b m 3"],
    start_b: Float[Tensor, "b n 3"],
    end_b: Float[Tensor, "b n 3"],
) -> Float[Tensor, "b m n"]:
    """Compute the shortest distance between each of m and each of n line segments.

    The parameter of the first segment is solved for and clamped, then that of the second, then the first again.

    Args:
        start_a: First ends of the m segments, any unit.
        end_a: Second ends of the m segments.
        start_b: First ends of the n segments.
        end_b: Second ends of the n segments.

    Returns:
        Distances in the unit of the segments.

    Source: Ericson, Real-Time Collision Detection, 2005, Sec. 5.1.9, without its special cases.
    """
    a, b = (end_a - start_a)[:, :, None], (end_b - start_b)[:, None]
    gap = start_a[:, :, None] - start_b[:, None]
    aa, bb, ab = (a * a).sum(-1).clamp_min(1e-12), (b * b).sum(-1).clamp_min(1e-12), (a * b).sum(-1)
    ag, bg = (a * gap).sum(-1), (b * gap).sum(-1)
    s = ((ab * bg - bb * ag) / (aa * bb - ab * ab).clamp_min(1e-12)).clamp(0, 1)
    t = ((ab * s + bg) / bb).clamp(0, 1)
    s = ((ab * t - ag) / aa).clamp(0, 1)
    return (gap + s[..., None] * a - t[..., None] * b).norm(dim=-1)


@checked()
def collides(joints: Float[Tensor, "b 21 3"], softness: float = SOFTNESS) -> Bool[Tensor, " b"]:
    """Return whether two fingers, or a finger and the palm, pass through each other.

    Args:
        joints: Skeletons of hands of average size, in canonical order, metres.
        softness: Overlap that soft tissue allows, metres.

    Returns:
        True if two capsules around bones overlap by more than `softness`. The first phalanges of two fingers, which
        touch at their base, and bones of one finger are not compared.
    """
    fingers = joints[:, 1:].unflatten(1, (5, 4))
    start, end = fingers[:, :, :-1], fingers[:, :, 1:]
    radius = joints.new_tensor([PHALANX_RADII[finger] for finger in FINGERS])
    # Shorten the last bone by its radius, so that the round end of its capsule ends at the fingertip.
    tip = end[:, :, 2:] - (end - start)[:, :, 2:] * (radius[:, 2:] / (end - start)[:, :, 2:].norm(dim=-1))[..., None]
    start, end, radius = start.flatten(1, 2), torch.cat((end[:, :, :2], tip), 2).flatten(1, 2), radius.flatten()
    finger, bone = torch.arange(15) // 3, torch.arange(15) % 3
    compared = (finger[:, None] < finger) & ((bone[:, None] > 0) | (bone > 0))
    overlap = radius[:, None] + radius - segment_distances(start, end, start, end)
    fingers_collide = (overlap[:, compared] > softness).any(1)

    knuckles = fingers[:, 1:, 0]
    palm_distance = segment_distances(start, end, joints[:, :1].expand_as(knuckles), knuckles)
    # These bones are compared with the palm: all but the first phalanges, and of the thumb only the last bone.
    outer = ((finger > 0) & (bone > 0)) | ((finger == 0) & (bone == 2))
    return fingers_collide | ((radius[:, None] + PALM_RADIUS - palm_distance)[:, outer] > softness).any(2).any(1)


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator | None) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)


def _normal(shape: tuple[int, ...], deviation: float, generator: torch.Generator | None) -> Tensor:
    return deviation * torch.randn(shape, generator=generator, dtype=torch.float64)


@checked()
def draw_angles(n: int, generator: torch.Generator | None) -> Float[Tensor, "n 15 3"]:
    """Sample joint angles within the limits; collisions are not checked.

    U(a, b) is a uniform random number and N(d) a normal one with standard deviation d. The curl c is 0 for a straight
    finger and 1 for a fully bent finger, and b = max(c, 0). For each long finger at position x (index -1, little
    finger 1)::

        c = U(-0.1, 1) + N(0.12) x + N(0.09)       one U and one N(0.12) for the hand
        MCP flexion = 1.45 (c + s sqrt(b) (1 - b/2))      full bend 1.45 rad = 83 degrees
        PIP flexion = 1.75 b (1 - s (1 - b/2))            full bend 1.75 rad = 100 degrees
        DIP flexion = (0.62 + N(0.12)) PIP flexion        a tendon couples the two joints

    The share s = N(0.3) + N(0.06) moves bending between MCP and PIP: s < 0 gives a hook, s > 0 a table top. In 35 % of
    the hands, about half of the fingers are stretched or bent on purpose, as in pointing. The thumb opposes the palm by
    a uniform amount.

    Args:
        n: Number of hands.
        generator: Random number generator on the CPU.

    Returns:
        Flexion, abduction and twist of each joint, radians.
    """
    check_at_least("n", n, 0)
    angles = torch.zeros(n, 15, 3, dtype=torch.float64)
    across = torch.linspace(-1, 1, 4, dtype=torch.float64)
    curl = _uniform((n, 1), -0.1, 1.0, generator) + _normal((n, 1), 0.12, generator) * across
    curl = curl + _normal((n, 4), 0.09, generator)
    # A gesture: the chosen fingers become straight (0.15 c) or bent (0.75 + 0.25 c).
    gesture = (_uniform((n, 1), 0.0, 1.0, generator) < 0.35) & (_uniform((n, 4), 0.0, 1.0, generator) < 0.5)
    straight = _uniform((n, 4), 0.0, 1.0, generator) < 0.5
    curl = torch.where(gesture, torch.where(straight, curl * 0.15, 0.75 + 0.25 * curl), curl).clamp(-0.2, 1.05)
    share = _normal((n, 1), 0.30, generator) + _normal((n, 4), 0.06, generator)
    # The spread of straight fingers is random. The planes of bent fingers converge, so these fingers are spread by a
    # fixed angle to lie side by side: 0.08 at full bend, times 1.3 for index and little finger.
    bent_all = curl.clamp(0, 1)
    spread = _normal((n, 1), 0.12, generator) * (1 - bent_all) + 0.08 * bent_all
    for k, finger in enumerate(LONG_FINGERS):
        joint = JOINTS_OF_FINGER[finger].start
        bent = curl[:, k].clamp_min(0)
        angles[:, joint, 0] = 1.45 * (curl[:, k] + share[:, k] * bent.sqrt() * (1 - 0.5 * bent))
        angles[:, joint + 1, 0] = 1.75 * bent * (1 - share[:, k] * (1 - 0.5 * bent))
        follow = 0.62 + _normal((n,), 0.12, generator)
        angles[:, joint + 2, 0] = follow * angles[:, joint + 1, 0]
        angles[:, joint, 1] = -1.3 * across[k] * spread[:, k] + _normal((n,), 0.04, generator)
        angles[:, joint, 2] = _normal((n,), 0.04, generator)
    thumb = JOINTS_OF_FINGER["thumb"].start
    opposed = _uniform((n,), 0.0, 1.0, generator)
    angles[:, thumb, 0] = -0.3 + 0.75 * _uniform((n,), 0.0, 1.0, generator)
    angles[:, thumb, 1] = -0.35 + 0.85 * opposed + _normal((n,), 0.12, generator)
    angles[:, thumb, 2] = 0.3 * (opposed - 0.5) + _normal((n,), 0.12, generator)
    bend = _uniform((n,), -0.1, 1.0, generator)
    angles[:, thumb + 1, 0] = 0.75 * bend + _normal((n,), 0.12, generator)
    angles[:, thumb + 2, 0] = 1.1 * bend + _normal((n,), 0.2, generator)
    angles += _normal((n, 15, 3), 0.01, generator)
    bounds = joint_limits().bounds
    return angles.clamp(bounds[..., 0], bounds[..., 1])


@checked()
def sample_poses(n: int, generator: torch.Generator | None = None, at_a_time: int = BATCH) -> Float[Tensor, "n 45"]:
    """Sample natural poses inside the joint limits and without collisions.

    Args:
        n: Number of poses.
        generator: Random number generator on the CPU; a given state always gives the same poses.
        at_a_time: Number of candidates drawn at a time, before rejection. Changing it changes the poses.

    Returns:
        Axis-angle vectors relative to the flat hand, float32 on the CPU, radians.

    Raises:
        ValueError: n is negative or at_a_time is not positive.
    """
    check_at_least("n", n, 0)
    check_at_least("at_a_time", at_a_time, 1)
    model, limits = HandModel.open_hand(), joint_limits()
    poses = [torch.zeros(0, 45)]
    while sum(map(len, poses)) < n:
        pose = pose_from_angles(draw_angles(at_a_time, generator), limits).float()
        poses.append(pose[~collides(model(pose=pose).joints)])
    return torch.cat(poses)[:n]
