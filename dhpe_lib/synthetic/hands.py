"""Hands before a camera: pose, shape, viewpoint and crop of each picture, as the paper's h and three numbers more.

The paper's camera is scaled orthographic, a real one is not. Here both are one: h gives a rigid hand in the crop frame
(:meth:`HandModel.forward_h`), and the camera shows a point (x, y, z) of it at

    axis + ((x, y) - axis) / (1 + kappa z),   kappa = g / c_f,

the pinhole projection written in units of g, with the optical axis through `axis`: kappa = 0 is the orthographic
camera. So the 2D joints, the picture and the mask are true to perspective, joints in millimetres are those of a rigid
hand, `CropFrame.normalise` of them gives the joints of the crop frame, and h is exact.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from dhpe_lib.data.crop_frame import SIZE
from dhpe_lib.data.cropping import BOX_MARGIN, FINGERTIPS_MM
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.poses import sample_poses
from dhpe_lib.hand.rotations import matrix_to_quaternion
from dhpe_lib.hand.skeleton import JOINT_NAMES, MIDDLE_MCP
from dhpe_lib.synthetic.sampling import Dice

NEAREST, FARTHEST = 0.35, 1.8
"""Metres from the camera to the hand."""

OFF_AXIS = 0.12
"""Radians between the optical axis and the hand, standard deviation in each direction."""
TIPS = [k for k, name in enumerate(JOINT_NAMES) if name.endswith("_tip")]
FLAT = 0.2
"""Share of hands that are opened on the way to the flat hand, which people show more than the sampler draws it."""


@dataclass(frozen=True)
class Hands:
    """A batch of hands and their cameras.

    Attributes:
        h: The hand in the crop frame before perspective (Eq. 4).
        kappa: g / c_f, the crop's side over the focal length.
        axis: Where the optical axis meets the crop.
        unit: Millimetres in one unit of g at the root's depth.
        rotation: From the hand model's frame to the crop's.
        body: Vertices of :meth:`HandModel.forward_h`, before perspective.
        skeleton: Its joints.
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
        """Joints in the crop frame as Eq. 8 has them: x, y where the camera shows them."""
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
        """The pinhole camera of a picture of so many pixels, 224 of which are g."""
        k = torch.eye(3).to(self.h).repeat(len(self.h), 1, 1)
        k[:, 0, 0] = k[:, 1, 1] = SIZE / self.kappa
        k[:, :2, 2] = size / 2 + SIZE * self.axis
        return k


def in_perspective(
    points: Float[Tensor, "b n 3"], kappa: Float[Tensor, " b"], axis: Float[Tensor, "b 2"]
) -> Float[Tensor, "b n 3"]:
    """Show points where the camera sees them: axis + ((x, y) - axis) / (1 + kappa z); z stays.

    Args:
        points: In the crop frame, in front of the camera: 1 + kappa z > 0.
        kappa: The crop's side over the focal length.
        axis: Where the optical axis meets the crop.

    Returns:
        The points of the crop frame as Eq. 8 defines it.
    """
    shrink = 1 + kappa[:, None, None] * points[..., 2:]
    places = axis[:, None] + (points[..., :2] - axis[:, None]) / shrink
    return torch.cat((places, points[..., 2:]), -1)


def viewpoints(dice: Dice) -> Float[Tensor, "b 3 3"]:
    """Draw rotations from the hand model's frame to the camera's.

    The forearm (the model's +x) points to a place in the picture, at a tilt, and the hand is turned about it. The turn
    is uniform. The tilt is less spread than on a sphere: a forearm that points at the camera would hide its hand. In
    six of ten pictures the forearm comes from below, as in most photos, else from anywhere.
    """
    tilt = dice.normal(0.42).add(0.12).clamp(-0.75, 0.93)  # z of the forearm: positive is away from the camera
    below = math.pi / 2 + dice.normal(0.6)
    place = torch.where(dice.chance(0.6), below, dice.uniform(-math.pi, math.pi))
    flat = (1 - tilt.square()).sqrt()
    along = torch.stack((flat * place.cos(), flat * place.sin(), tilt), -1)
    side = functional.normalize(torch.stack((-along[:, 1], along[:, 0], torch.zeros_like(tilt)), -1), dim=-1)
    up = torch.linalg.cross(along, side)
    turn = dice.uniform(-math.pi, math.pi)[:, None]
    return torch.stack((along, turn.cos() * side + turn.sin() * up, turn.cos() * up - turn.sin() * side), -1)


@dataclass(frozen=True)
class Shots:
    """How each hand is shot.

    Attributes:
        rotation: From the hand model's frame to the camera's.
        distance: From the camera to the middle MCP, metres.
        aside: Of the optical axis from the middle MCP, metres.
        growth: Side of the crop over the paper's g.
        shift: Where the crop's own centre lies in the crop, units of g; 0 is the paper's.
    """

    rotation: Float[Tensor, "b 3 3"]
    distance: Float[Tensor, " b"]
    aside: Float[Tensor, "b 2"]
    growth: Float[Tensor, " b"]
    shift: Float[Tensor, "b 2"]


def draw_poses(dice: Dice) -> Float[Tensor, "b 45"]:
    """Draw natural poses, some of them opened on the way to the flat hand."""
    pose = sample_poses(dice.batch, dice.generator, at_a_time=2 * dice.batch).to(dice.device)
    return pose * torch.where(dice.chance(FLAT), dice.uniform(0.0, 0.7), 1.0)[:, None]


def draw_shots(dice: Dice, jitter: bool) -> Shots:
    """Draw viewpoints, distances and crops.

    Args:
        dice: Source of randomness.
        jitter: Whether the crop misses the hand and the paper's size by a little, as a detector's would.
    """
    rotation, distance = viewpoints(dice), dice.log_uniform(NEAREST, FARTHEST)
    growth, shift = dice.log_uniform(0.88, 1.15), dice.normal(0.04, 2)
    if not jitter:
        growth, shift = torch.ones_like(growth), torch.zeros_like(shift)
    return Shots(rotation, distance, distance[:, None] * dice.normal(OFF_AXIS, 2), growth, shift)


def place_hands(
    model: HandModel, pose: Float[Tensor, "b 45"], shape: Float[Tensor, "b 10"], shots: Shots, fingertips: bool
) -> Hands:
    """Put hands before cameras, each in its crop.

    Args:
        model: The hand.
        pose: Relative to the flat hand, radians.
        shape: Standard deviations.
        shots: How they are shot.
        fingertips: Whether the crop is that of a dataset which knows nothing but fingertips
            (:func:`dhpe_lib.data.cropping.hand_frame`), else the paper's.

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
        share = shots.distance / (shots.distance + seen[:, TIPS, 2].mean(1))
        side = torch.maximum(side, BOX_MARGIN * FINGERTIPS_MM / 1000 * share)
    side = side * shots.growth
    scale = 1 / side
    crop_center = shots.shift - scale[:, None] * center
    offset = functional.pad(crop_center, (0, 1)) - scale[:, None] * root
    quaternion = matrix_to_quaternion(shots.rotation) - torch.eye(4).to(pose)[0]
    h = torch.cat((pose, shape, quaternion, (scale - 1)[:, None], offset), 1)
    mesh = model.forward_h(h)
    axis = crop_center + scale[:, None] * shots.aside
    return Hands(h, side / shots.distance, axis, 1000 * side, shots.rotation, mesh.vertices, mesh.joints)


def _tips_box(seen: Float[Tensor, "b 21 3"]) -> tuple[Float[Tensor, "b 2"], Float[Tensor, "b 2"]]:
    tips = seen[:, TIPS, :2]
    return tips.amin(1), tips.amax(1)
