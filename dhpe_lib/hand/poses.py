"""Natural hand poses: the angles of each joint, their limits, a sampler and a prior.

A pose is 45 numbers, one rotation vector for each of MANO's 15 finger joints. Here each vector is read along three axes
of its joint: flexion (towards the palm), abduction (towards the thumb) and twist (about the bone). The axes and limits
come with the open hand and hold for MANO as well, whose rest pose and frame it shares.

The sampler draws fingers that curl together but not alike, the last joint following the middle one, and rejects hands
whose fingers pass through each other or through the palm.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dhpe_lib.hand.model import OPEN_HAND, HandModel
from dhpe_lib.hand.skeleton import FINGERS, MANO_FINGERS

# Rows of MANO's joints for thumb, index, middle, ring, little.
JOINTS_OF_FINGER = {finger: slice(3 * k, 3 * k + 3) for k, finger in enumerate(MANO_FINGERS)}
LONG_FINGERS = FINGERS[1:]
BATCH = 512
# Metres: half the thickness of each phalanx (base to tip) and of the palm under each metacarpal, as capsules; soft
# tissue gives way by SOFTNESS before two parts count as colliding.
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
    """Axes and ranges of the 15 finger joints.

    Attributes:
        axes: Rows: flexion, abduction and twist axis of each joint, unit vectors in the model's frame.
        bounds: Lowest and highest angle about each axis, radians from the rest pose.
    """

    axes: Float[Tensor, "15 3 3"]
    bounds: Float[Tensor, "15 3 2"]

    def to(self, like: Tensor) -> "JointLimits":
        """The same limits in the dtype and on the device of a tensor."""
        return JointLimits(self.axes.to(like), self.bounds.to(like))


@cache
def joint_limits() -> JointLimits:
    """The limits that come with the open hand (float64, CPU)."""
    with np.load(OPEN_HAND, allow_pickle=False) as hand:
        return JointLimits(
            torch.as_tensor(hand["joint_axes"], dtype=torch.float64),
            torch.as_tensor(hand["joint_limits"], dtype=torch.float64),
        )


def joint_angles(pose: Float[Tensor, "b 45"], limits: JointLimits) -> Float[Tensor, "b 15 3"]:
    """Read a pose along the axes of its joints.

    Args:
        pose: Rotation vectors relative to the flat hand, radians.
        limits: Axes to read along.

    Returns:
        Flexion, abduction and twist of each joint, radians; linear in the pose.
    """
    return torch.einsum("jac,bjc->bja", limits.axes.to(pose), pose.unflatten(1, (15, 3)))


def pose_from_angles(angles: Float[Tensor, "b 15 3"], limits: JointLimits) -> Float[Tensor, "b 45"]:
    """The pose that has these angles: the inverse of :func:`joint_angles`."""
    return torch.einsum("jac,bja->bjc", limits.axes.to(angles), angles).flatten(1)


def limit_penalty(pose: Float[Tensor, "b 45"], limits: JointLimits) -> Float[Tensor, " b"]:
    """Sum of squared angles beyond the limits, radians squared; zero and without gradient inside them."""
    angles, bounds = joint_angles(pose, limits), limits.bounds.to(pose)
    over = (angles - bounds[..., 1]).clamp_min(0) + (bounds[..., 0] - angles).clamp_min(0)
    return over.square().sum((1, 2))


@dataclass(frozen=True)
class PoseSpace:
    """How a model's own poses are spread: mean, principal components (rows) and standard deviation along each."""

    mean: Float[Tensor, " 45"]
    components: Float[Tensor, "45 45"]
    deviations: Float[Tensor, " 45"]


def pose_space(model: HandModel) -> PoseSpace:
    """The spread of the poses that a model was made from (MANO's hands_mean, hands_components, hands_coeffs).

    Raises:
        ValueError: The model's file has no ``hands_coeffs``, which say how wide the poses spread.
    """
    if "hands_coeffs" not in model.hand:
        raise ValueError("the hand model has no hands_coeffs; use a MANO file that holds its pose coefficients")
    deviations = torch.as_tensor(model.hand["hands_coeffs"]).std(0).to(model.hands_mean)
    return PoseSpace(model.hands_mean, model.hands_components, deviations)


def pose_penalty(pose: Float[Tensor, "b 45"], space: PoseSpace) -> Float[Tensor, " b"]:
    """Squared Mahalanobis distance of a pose from the mean of its space."""
    return ((pose - space.mean) @ space.components.mT / space.deviations).square().sum(1)


def segment_distances(
    start_a: Float[Tensor, "b m 3"],
    end_a: Float[Tensor, "b m 3"],
    start_b: Float[Tensor, "b n 3"],
    end_b: Float[Tensor, "b n 3"],
) -> Float[Tensor, "b m n"]:
    """Shortest distance between each of m and each of n line segments.

    Source: Ericson, Real-Time Collision Detection, 2005, Sec. 5.1.9, without its special cases: clamping one segment,
    solving for the other, and clamping the first again.
    """
    a, b = (end_a - start_a)[:, :, None], (end_b - start_b)[:, None]
    gap = start_a[:, :, None] - start_b[:, None]
    aa, bb, ab = (a * a).sum(-1).clamp_min(1e-12), (b * b).sum(-1).clamp_min(1e-12), (a * b).sum(-1)
    ag, bg = (a * gap).sum(-1), (b * gap).sum(-1)
    s = ((ab * bg - bb * ag) / (aa * bb - ab * ab).clamp_min(1e-12)).clamp(0, 1)
    t = ((ab * s + bg) / bb).clamp(0, 1)
    s = ((ab * t - ag) / aa).clamp(0, 1)
    return (gap + s[..., None] * a - t[..., None] * b).norm(dim=-1)


def collides(joints: Float[Tensor, "b 21 3"]) -> Bool[Tensor, " b"]:
    """Whether two fingers, or a finger and the palm, pass through each other.

    Args:
        joints: Skeletons in canonical order, metres, of a hand of average size.

    Returns:
        True where capsules around the bones overlap by more than soft tissue yields. Neighbouring first phalanges,
        which touch at their base, and the bones next to each other in one finger are not compared.
    """
    fingers = joints[:, 1:].unflatten(1, (5, 4))
    start, end = fingers[:, :, :-1], fingers[:, :, 1:]
    radius = joints.new_tensor([PHALANX_RADII[finger] for finger in FINGERS])
    # The last capsule ends where its round end would reach the tip.
    tip = end[:, :, 2:] - (end - start)[:, :, 2:] * (radius[:, 2:] / (end - start)[:, :, 2:].norm(dim=-1))[..., None]
    start, end, radius = start.flatten(1, 2), torch.cat((end[:, :, :2], tip), 2).flatten(1, 2), radius.flatten()
    finger, bone = torch.arange(15) // 3, torch.arange(15) % 3
    apart = (finger[:, None] < finger) & ((bone[:, None] > 0) | (bone > 0))
    overlap = radius[:, None] + radius - segment_distances(start, end, start, end)
    hit = (overlap[:, apart] > SOFTNESS).any(1)

    knuckles = fingers[:, 1:, 0]
    palm = segment_distances(start, end, joints[:, :1].expand_as(knuckles), knuckles)
    outer = ((finger > 0) & (bone > 0)) | ((finger == 0) & (bone == 2))
    return hit | ((radius[:, None] + PALM_RADIUS - palm)[:, outer] > SOFTNESS).any(2).any(1)


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator | None) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)


def _normal(shape: tuple[int, ...], deviation: float, generator: torch.Generator | None) -> Tensor:
    return deviation * torch.randn(shape, generator=generator, dtype=torch.float64)


def draw_angles(n: int, generator: torch.Generator | None) -> Float[Tensor, "n 15 3"]:
    """Draw joint angles within the limits, collisions not yet looked at.

    One curl for the hand, a ramp from index to little finger and a share of each finger's own; in a third of hands
    some fingers are stretched or bent on purpose, as in pointing. How much of a curl falls to the knuckle and how much
    to the middle joint varies by hand (hook or table top). The end joint follows the middle one at about 2/3.
    """
    angles = torch.zeros(n, 15, 3, dtype=torch.float64)
    across = torch.linspace(-1, 1, 4, dtype=torch.float64)
    curl = _uniform((n, 1), -0.1, 1.0, generator) + _normal((n, 1), 0.12, generator) * across
    curl = curl + _normal((n, 4), 0.09, generator)
    gesture = (_uniform((n, 1), 0.0, 1.0, generator) < 0.35) & (_uniform((n, 4), 0.0, 1.0, generator) < 0.5)
    straight = _uniform((n, 4), 0.0, 1.0, generator) < 0.5
    curl = torch.where(gesture, torch.where(straight, curl * 0.15, 0.75 + 0.25 * curl), curl).clamp(-0.2, 1.05)
    share = _normal((n, 1), 0.30, generator) + _normal((n, 4), 0.06, generator)
    # Stretched fingers spread as they like; bent ones, whose planes converge, part a little to lie side by side.
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


def sample_poses(n: int, generator: torch.Generator | None = None, at_a_time: int = BATCH) -> Float[Tensor, "n 45"]:
    """Draw natural poses inside the joint limits, free of collisions.

    Args:
        n: How many.
        generator: Source of randomness on the CPU; the same state gives the same poses.
        at_a_time: Poses that are drawn at a time, some of which are rejected; another number gives other poses.

    Returns:
        Rotation vectors relative to the flat hand, float32 on the CPU, radians.
    """
    model, limits = HandModel.open_hand(), joint_limits()
    poses = [torch.zeros(0, 45)]
    while sum(map(len, poses)) < n:
        pose = pose_from_angles(draw_angles(at_a_time, generator), limits).float()
        poses.append(pose[~collides(model(pose=pose).joints)])
    return torch.cat(poses)[:n]
