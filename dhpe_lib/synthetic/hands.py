"""Hands in front of a camera: the pose, shape, viewpoint and crop of each picture, as the paper's h and three numbers.

The paper's camera is scaled orthographic; a real camera is not. Both are combined here: h gives a rigid hand in the
crop frame (:meth:`HandModel.forward_h`), and the camera projects its point (x, y, z) to

    axis + ((x, y) - axis) / (1 + kappa z),   kappa = g / c_f.

This is the pinhole projection in units of g, with the optical axis through `axis`; kappa = 0 is the orthographic
camera. Therefore the picture, its mask and its 2D joints have correct perspective, and h is exact. The joints in
millimetres are those of a rigid hand, and `CropFrame.normalise` converts them to the joints of the crop frame.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from dhpe_lib.common.devices import constant, to_device
from dhpe_lib.data.crop_frame import SIZE
from dhpe_lib.data.cropping import BOX_MARGIN, FINGERTIPS_MM
from dhpe_lib.hand.gestures import sample_gestures
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.poses import sample_poses
from dhpe_lib.hand.rotations import matrix_to_quaternion
from dhpe_lib.hand.skeleton import JOINT_NAMES, MIDDLE_MCP
from dhpe_lib.synthetic.sampling import Sampler

NEAREST, FARTHEST = 0.35, 1.8
"""Range of the distance from the camera to the hand, metres."""

OFF_AXIS = 0.12
"""Standard deviation, in each direction, of the tangent of the angle between the optical axis and the hand."""
TIPS = [k for k, name in enumerate(JOINT_NAMES) if name.endswith("_tip")]
GESTURING = 0.6
"""Fraction of hands that make one of the gestures of :mod:`dhpe_lib.hand.gestures`."""
FLAT = 0.2
"""Fraction of the other hands that are moved towards the flat hand: people open a hand more often than the sampler."""

POSES_AT_A_TIME = 64
"""Number of poses of a pool that are drawn together."""


@dataclass(frozen=True)
class Hands:
    """A batch of hands and their cameras.

    Attributes:
        h: The hand in the crop frame before perspective (Eq. 4).
        kappa: g / c_f, the crop's side divided by the focal length.
        axis: Intersection of the optical axis with the crop, units of g from its centre.
        unit: Length of a unit of g at the root's depth, millimetres.
        rotation: Rotation from the hand model's frame to the crop frame.
        body: Vertices of :meth:`HandModel.forward_h`, before perspective, units of g.
        skeleton: Joints of :meth:`HandModel.forward_h`, before perspective, units of g.
    """

    h: Float[Tensor, "b 63"]
    kappa: Float[Tensor, " b"]
    axis: Float[Tensor, "b 2"]
    unit: Float[Tensor, " b"]
    rotation: Float[Tensor, "b 3 3"]
    body: Float[Tensor, "b 778 3"]
    skeleton: Float[Tensor, "b 21 3"]

    @property
    def joints_crop(self) -> Float[Tensor, "b 21 3"]:
        """Joints in the crop frame of Eq. 8, units of g; x and y are in perspective."""
        return in_perspective(self.skeleton, self.kappa, self.axis)

    @property
    def z_root(self) -> Float[Tensor, " b"]:
        """Depth of the middle MCP, millimetres."""
        return self.unit / self.kappa

    @property
    def joints_mm(self) -> Float[Tensor, "b 21 3"]:
        """Joints in the camera frame, millimetres."""
        eye = torch.cat((self.axis, -1 / self.kappa[:, None]), 1)
        return self.unit[:, None, None] * (self.skeleton - eye[:, None])

    def camera(self, size: int) -> Float[Tensor, "b 3 3"]:
        """Return the camera matrix, in pixels, of a picture with side `size`; g spans 224 pixels."""
        k = torch.eye(3, dtype=self.h.dtype, device=self.h.device).repeat(len(self.h), 1, 1)
        k[:, 0, 0] = k[:, 1, 1] = SIZE / self.kappa
        k[:, :2, 2] = size / 2 + SIZE * self.axis
        return k


def in_perspective(
    points: Float[Tensor, "b n 3"], kappa: Float[Tensor, " b"], axis: Float[Tensor, "b 2"]
) -> Float[Tensor, "b n 3"]:
    """Project points with perspective: (x, y) becomes axis + ((x, y) - axis) / (1 + kappa z); z is kept.

    Args:
        points: Points before perspective, crop frame, units of g. They lie in front of the camera: 1 + kappa z > 0.
        kappa: The crop's side divided by the focal length.
        axis: Intersection of the optical axis with the crop, units of g from its centre.

    Returns:
        Points in the crop frame of Eq. 8, units of g.
    """
    shrink = 1 + kappa[:, None, None] * points[..., 2:]
    xy = axis[:, None] + (points[..., :2] - axis[:, None]) / shrink
    return torch.cat((xy, points[..., 2:]), -1)


def viewpoints(sampler: Sampler) -> Float[Tensor, "b 3 3"]:
    """Sample rotations from the hand model's frame to the camera's frame.

    The forearm (the model's +x) has a direction in the picture and a tilt away from the picture plane. The hand is
    rotated about the forearm by a uniform angle. The tilt varies less than for a uniform direction on the sphere, since
    a forearm that points at the camera would hide its hand. In six of ten pictures the forearm comes from below, as in
    most photos; in the others its direction in the picture is uniform.
    """
    tilt = sampler.normal(0.42).add(0.12).clamp(-0.75, 0.93)  # z of the forearm: positive is away from the camera
    below = math.pi / 2 + sampler.normal(0.6)
    direction = torch.where(sampler.chance(0.6), below, sampler.uniform(-math.pi, math.pi))
    flat = (1 - tilt.square()).sqrt()
    along = torch.stack((flat * direction.cos(), flat * direction.sin(), tilt), -1)
    side = functional.normalize(torch.stack((-along[:, 1], along[:, 0], torch.zeros_like(tilt)), -1), dim=-1)
    up = torch.linalg.cross(along, side)
    turn = sampler.uniform(-math.pi, math.pi)[:, None]
    return torch.stack((along, turn.cos() * side + turn.sin() * up, turn.cos() * up - turn.sin() * side), -1)


@dataclass(frozen=True)
class Shots:
    """Viewpoint and crop of each hand.

    Attributes:
        rotation: Rotation from the hand model's frame to the camera's frame.
        distance: Distance from the camera to the middle MCP, metres.
        aside: Offset of the optical axis from the middle MCP, metres.
        growth: Side of the crop divided by the paper's g.
        shift: Position of the paper's crop centre in the crop, units of g; 0 for the paper's crop.
    """

    rotation: Float[Tensor, "b 3 3"]
    distance: Float[Tensor, " b"]
    aside: Float[Tensor, "b 2"]
    growth: Float[Tensor, " b"]
    shift: Float[Tensor, "b 2"]


def draw_poses(sampler: Sampler) -> Float[Tensor, "b 45"]:
    """Sample natural poses, radians relative to the flat hand.

    Some hands make one of the named gestures; the fingers of the others are bent at random, and some of these hands are
    moved towards the flat hand.
    """
    drawn = sample_poses(sampler.batch, sampler.generator, at_a_time=2 * sampler.batch)
    pose, gestures = (to_device(p, sampler.device) for p in (drawn, sample_gestures(sampler.batch, sampler.generator)))
    pose = pose * torch.where(sampler.chance(FLAT), sampler.uniform(0.0, 0.7), 1.0)[:, None]
    return torch.where(sampler.chance(GESTURING)[:, None], gestures, pose)


def draw_pose_pool(count: int, seed: int) -> Float[Tensor, "count 45"]:
    """Sample many poses with :func:`draw_poses`, for batches that choose from them.

    Args:
        count: Number of poses.
        seed: Random seed.

    Returns:
        Poses on the CPU, radians relative to the flat hand.
    """
    sampler = Sampler.from_seed(seed, min(count, POSES_AT_A_TIME))
    return torch.cat([draw_poses(sampler) for _ in range(0, count, sampler.batch)])[:count]


def draw_shots(sampler: Sampler, jitter: bool) -> Shots:
    """Sample viewpoints, distances and crops.

    Args:
        sampler: Random number generator.
        jitter: Whether centre and size of the crop differ slightly from the paper's, as a detector's would.
    """
    rotation, distance = viewpoints(sampler), sampler.log_uniform(NEAREST, FARTHEST)
    growth, shift = sampler.log_uniform(0.88, 1.15), sampler.normal(0.04, 2)
    if not jitter:
        growth, shift = torch.ones_like(growth), torch.zeros_like(shift)
    return Shots(rotation, distance, distance[:, None] * sampler.normal(OFF_AXIS, 2), growth, shift)


def place_hands(
    model: HandModel, pose: Float[Tensor, "b 45"], shape: Float[Tensor, "b 10"], shots: Shots, fingertips: bool
) -> Hands:
    """Put hands in front of cameras, each in its crop.

    Args:
        model: The hand model.
        pose: Pose relative to the flat hand, axis-angle in radians.
        shape: Shape, standard deviations.
        shots: Viewpoints and crops.
        fingertips: Whether to use the crop of a dataset with fingertip labels only
            (:func:`dhpe_lib.data.cropping.hand_frame`), not the paper's crop.

    Returns:
        The hands.
    """
    joints = model(pose, shape, shots.rotation).joints
    root = joints[:, MIDDLE_MCP]
    seen = in_perspective(joints - root[:, None], 1 / shots.distance, shots.aside)
    low, high = (seen[..., :2].amin(1), seen[..., :2].amax(1)) if not fingertips else _tips_box(seen)
    center = (low + high) / 2 if fingertips else torch.zeros_like(low)
    side = BOX_MARGIN * (high - low).amax(1)  # metres at the root's depth
    if fingertips:
        share = shots.distance / (shots.distance + _tips(seen)[..., 2].mean(1))
        side = torch.maximum(side, BOX_MARGIN * FINGERTIPS_MM / 1000 * share)
    side = side * shots.growth
    scale = 1 / side
    crop_center = shots.shift - scale[:, None] * center
    offset = functional.pad(crop_center, (0, 1)) - scale[:, None] * root
    quaternion = matrix_to_quaternion(shots.rotation) - model.identity
    h = torch.cat((pose, shape, quaternion, (scale - 1)[:, None], offset), 1)
    mesh = model.forward_h(h)
    axis = crop_center + scale[:, None] * shots.aside
    return Hands(h, side / shots.distance, axis, 1000 * side, shots.rotation, mesh.vertices, mesh.joints)


def _tips_box(seen: Float[Tensor, "b 21 3"]) -> tuple[Float[Tensor, "b 2"], Float[Tensor, "b 2"]]:
    tips = _tips(seen)[..., :2]
    return tips.amin(1), tips.amax(1)


def _tips(seen: Float[Tensor, "b 21 3"]) -> Float[Tensor, "b 5 3"]:
    return seen.index_select(1, constant(tuple(TIPS), torch.int64, seen.device))  # a list would make a GPU wait
