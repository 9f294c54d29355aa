"""The arm behind the hand: a tube that goes on from the wrist's open ring and leaves the picture, and its sleeve.

The tube's first ring *is* the hand's 16 wrist vertices, so there is no gap and normals are smooth across. It bends at
the wrist, widens to the forearm, and turns at the elbow towards the border of the picture that it points to anyway: an
arm that points away from the camera would otherwise end in the air.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from dhpe_lib.hand.rotations import axis_angle_to_matrix
from dhpe_lib.synthetic.sampling import Dice

RINGS = (0.004, 0.010, 0.018, 0.028, 0.040, 0.056, 0.076, 0.10, 0.13, 0.16, 0.19, 0.22, 0.25, 0.29, 0.35, 0.45, 0.65)
"""Metres along the arm, from the wrist's ring."""
CUFF = (0.008, -0.001, -0.004, -0.002, 0.006, 0.02, 0.04, 0.065, 0.09, 0.12, 0.15, 0.19, 0.23, 0.29, 0.38, 0.60)
"""The sleeve's rings from where it begins; the first lies inside, so that a cuff has a lip."""
COLUMNS = 16
WRIST_BEND = 0.035
"""Metres over which the wrist bends."""


def tube_faces(rings: Int64[Tensor, "n m"]) -> Int64[Tensor, "faces 3"]:
    """Triangles between successive rings of vertices, each ring closed; outward where rings follow `wrist_ring`."""
    a, b = rings[:-1], rings[:-1].roll(-1, 1)
    c, d = rings[1:], rings[1:].roll(-1, 1)
    return torch.stack((b, a, c, b, c, d), -1).reshape(-1, 3)


@dataclass(frozen=True)
class Arms:
    """How each arm goes on.

    Attributes:
        bend: Rotation of the forearm against the hand, axis-angle in the hand model's frame.
        elbow: Metres from the wrist to the elbow.
        width: How much wider than the wrist's ring the forearm is, across (z) and in thickness (y).
        sleeve: Metres from the wrist to the sleeve's edge; infinite for a bare arm.
        length: Of the sleeve over a whole one's: small for the band of a watch.
        loose: Radius of the sleeve over the arm's.
        folds: Height, phase and number of the sleeve's folds.
        aside: Where an arm goes that points straight away from the camera, radians in the picture.
    """

    bend: Float[Tensor, "b 3"]
    elbow: Float[Tensor, " b"]
    width: Float[Tensor, "b 2"]
    sleeve: Float[Tensor, " b"]
    length: Float[Tensor, " b"]
    loose: Float[Tensor, " b"]
    folds: Float[Tensor, "b 3"]
    aside: Float[Tensor, " b"]


def draw_arms(dice: Dice) -> Arms:
    """Draw arms: wrists bend by 20 degrees up or down; half of the arms have sleeves, one in ten wears a band."""
    bend = torch.stack((dice.normal(0.1), dice.normal(0.12), dice.normal(0.35)), -1)
    edge = torch.where(dice.chance(0.6), dice.uniform(-0.012, 0.03), dice.uniform(0.03, 0.20))
    sleeve, band = edge.masked_fill(dice.chance(0.4), math.inf), dice.chance(0.16)
    length, loose = torch.where(band, dice.uniform(0.01, 0.05), 1.0), dice.log_uniform(1.08, 1.6)
    loose = torch.where(band, loose**0.3, loose)
    width = torch.stack((dice.uniform(1.15, 1.45), dice.uniform(1.45, 1.95)), -1)
    folds = torch.stack((dice.uniform(0.0, 0.05), dice.uniform(0.0, 2 * math.pi), dice.uniform(20.0, 90.0)), -1)
    elbow, aside = dice.uniform(0.19, 0.27), dice.uniform(-3.0, 3.0)
    return Arms(bend, elbow, width, sleeve, length, loose, folds, aside)


@dataclass(frozen=True)
class ArmMesh:
    """Vertices of arm and sleeve in the crop frame before perspective, without the wrist's ring itself."""

    arm: Float[Tensor, "b arm 3"]
    sleeve: Float[Tensor, "b sleeve 3"]


def grow_arms(
    arms: Arms, ring: Float[Tensor, "b 16 3"], rotation: Float[Tensor, "b 3 3"], unit: Float[Tensor, " b"]
) -> ArmMesh:
    """Continue the hands.

    Args:
        arms: How.
        ring: The wrist's vertices, crop frame before perspective.
        rotation: From the hand model's frame to the crop's.
        unit: Millimetres in a unit of g.

    Returns:
        The meshes; a sleeve that is not there is a single point, which no renderer draws.
    """
    scale = 1000 / unit
    local = ((ring - ring.mean(1, keepdim=True)) @ rotation) / scale[:, None, None]  # metres, the hand model's axes
    at = torch.tensor(RINGS).to(ring).expand(len(ring), -1)
    arm = _tube(arms, at, local, ring.mean(1), rotation, scale, torch.ones_like(at))
    start = arms.sleeve.where(arms.sleeve.isfinite(), 0.0)
    along = start[:, None] + arms.length[:, None] * torch.tensor(CUFF).to(ring)
    loose = 1 + (arms.loose[:, None] - 1) * (0.55 + 0.45 * (along - start[:, None]).div(0.1).clamp(0, 1))
    lip = torch.tensor([0.93, *[1.0] * (len(CUFF) - 2), 0.93]).to(ring)
    waves = (arms.folds[:, 2:] * along + arms.folds[:, 1:2]).sin() * (along - start[:, None]).div(0.05).clamp(0, 1)
    radius = (1.05 * loose + arms.folds[:, :1] * waves) * lip
    sleeve = _tube(arms, along, local, ring.mean(1), rotation, scale, radius)
    return ArmMesh(arm, sleeve.where(arms.sleeve.isfinite()[:, None, None], sleeve[:, :1]))


def _tube(
    arms: Arms,
    along: Float[Tensor, "b rings"],
    local: Float[Tensor, "b 16 3"],
    center: Float[Tensor, "b 3"],
    rotation: Float[Tensor, "b 3 3"],
    scale: Float[Tensor, " b"],
    radius: Float[Tensor, "b rings"],
) -> Float[Tensor, "b points 3"]:
    """Copies of the wrist's ring along the arm's course, turned with it and widened."""
    axes, places = _course(arms, along, rotation)
    far = along.div(0.15).clamp(0, 1)[..., None]
    swell = 1 + (arms.width[:, None] - 1) * (far * far * (3 - 2 * far))
    swell = swell * radius[..., None]
    fade = (1 - along / 0.03).clamp(0, 1)
    section = torch.stack(
        (
            fade[..., None] * local[:, None, :, 0],
            swell[..., 1:] * local[:, None, :, 1],
            swell[..., :1] * local[:, None, :, 2],
        ),
        -1,
    )
    points = places[:, :, None] + section @ axes.mT
    return (center[:, None, None] + scale[:, None, None, None] * points).flatten(1, 2)


def _course(
    arms: Arms, along: Float[Tensor, "b rings"], rotation: Float[Tensor, "b 3 3"]
) -> tuple[Float[Tensor, "b rings 3 3"], Float[Tensor, "b rings 3"]]:
    """The frame (columns: along, thickness, width) and place of each ring, metres from the wrist's centre."""
    bent = _eased(along / WRIST_BEND)
    forearm = rotation[:, None] @ axis_angle_to_matrix(bent[..., None] * arms.bend[:, None])
    straight = (rotation @ axis_angle_to_matrix(arms.bend))[..., 0]
    flat = straight[:, :2] + 0.05 * torch.stack((arms.aside.cos(), arms.aside.sin()), -1)
    outward = functional.pad(functional.normalize(flat, dim=-1), (0, 1))
    axis = torch.linalg.cross(straight, outward)
    angle = torch.atan2(axis.norm(dim=-1), (straight * outward).sum(-1))
    turn = functional.normalize(axis, dim=-1) * angle[:, None]
    turned = _eased((along - arms.elbow[:, None]) / 0.07)
    axes = axis_angle_to_matrix(turned[..., None] * turn[:, None]) @ forearm
    # Between two rings the course runs along the mean of their directions; the first starts at the wrist.
    ahead = torch.cat((rotation[:, None, :, 0], axes[..., 0]), 1)
    step = along.diff(dim=1, prepend=torch.zeros_like(along[:, :1]))
    places = (step[..., None] * functional.normalize(ahead[:, 1:] + ahead[:, :-1], dim=-1)).cumsum(1)
    return axes, places


def _eased(share: Tensor) -> Tensor:
    """From 0 to 1, smooth at both ends."""
    share = share.clamp(0, 1)
    return share * share * (3 - 2 * share)
