"""The arm and its sleeve: tubes that continue the hand from the open ring of its wrist to beyond the picture.

The arm's first ring *is* the hand's 16 wrist vertices, so there is no gap and the normals are smooth. The arm bends at
the wrist and widens to the forearm. At the elbow it bends towards the border of the picture to which it already points;
without this bend an arm that points away from the camera would end inside the picture.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from dhpe_lib.common.devices import constant_like
from dhpe_lib.hand.rotations import axis_angle_to_matrix
from dhpe_lib.synthetic.sampling import Sampler

RINGS = (0.004, 0.010, 0.018, 0.028, 0.040, 0.056, 0.076, 0.10, 0.13, 0.16, 0.19, 0.22, 0.25, 0.29, 0.35, 0.45, 0.65)
"""Positions of the arm's rings, metres along the arm from the wrist's ring."""
CUFF = (0.008, -0.001, -0.004, -0.002, 0.006, 0.02, 0.04, 0.065, 0.09, 0.12, 0.15, 0.19, 0.23, 0.29, 0.38, 0.60)
"""Positions of the sleeve's rings, metres from its edge. The first ring lies inside, so the cuff has a rim."""
COLUMNS = 16
"""Vertices of a ring."""
WRIST_BEND = 0.035
"""Length over which the wrist bends, metres."""


def tube_faces(rings: Int64[Tensor, "n m"]) -> Int64[Tensor, "faces 3"]:
    """Return the triangles between successive closed rings; they face outwards for rings ordered like `wrist_ring`."""
    a, b = rings[:-1], rings[:-1].roll(-1, 1)
    c, d = rings[1:], rings[1:].roll(-1, 1)
    return torch.stack((b, a, c, b, c, d), -1).reshape(-1, 3)


@dataclass(frozen=True)
class Arms:
    """Shape parameters of arms and sleeves.

    Attributes:
        bend: Rotation of the forearm relative to the hand, axis-angle in radians, hand model's frame.
        elbow: Distance from the wrist to the elbow, metres.
        width: Factor from the wrist's ring to the forearm, across (z) and in thickness (y).
        sleeve: Distance from the wrist to the sleeve's edge, metres; infinite for a bare arm.
        length: Length of the sleeve relative to a whole sleeve; small for a watch band.
        loose: Radius of the sleeve relative to the arm.
        folds: Height (relative to the radius), phase (radians) and frequency (radians per metre) of the sleeve's folds.
        aside: Direction in the picture of an arm that points straight away from the camera, radians.
    """

    bend: Float[Tensor, "b 3"]
    elbow: Float[Tensor, " b"]
    width: Float[Tensor, "b 2"]
    sleeve: Float[Tensor, " b"]
    length: Float[Tensor, " b"]
    loose: Float[Tensor, " b"]
    folds: Float[Tensor, "b 3"]
    aside: Float[Tensor, " b"]


def draw_arms(sampler: Sampler) -> Arms:
    """Sample arms.

    A wrist bends up or down by 0.35 rad (20 degrees, standard deviation). 60 % of the arms have a sleeve, of which 16 %
    are only a band, as of a watch: one arm in ten.
    """
    bend = torch.stack((sampler.normal(0.1), sampler.normal(0.12), sampler.normal(0.35)), -1)
    edge = torch.where(sampler.chance(0.6), sampler.uniform(-0.012, 0.03), sampler.uniform(0.03, 0.20))
    sleeve, band = edge.masked_fill(sampler.chance(0.4), math.inf), sampler.chance(0.16)
    length, loose = torch.where(band, sampler.uniform(0.01, 0.05), 1.0), sampler.log_uniform(1.08, 1.6)
    loose = torch.where(band, loose**0.3, loose)
    width = torch.stack((sampler.uniform(1.15, 1.45), sampler.uniform(1.45, 1.95)), -1)
    folds = torch.stack(
        (sampler.uniform(0.0, 0.05), sampler.uniform(0.0, 2 * math.pi), sampler.uniform(20.0, 90.0)), -1
    )
    elbow, aside = sampler.uniform(0.19, 0.27), sampler.uniform(-3.0, 3.0)
    return Arms(bend, elbow, width, sleeve, length, loose, folds, aside)


@dataclass(frozen=True)
class ArmMesh:
    """Vertices of arm and sleeve, without the wrist's ring: crop frame before perspective, units of g."""

    arm: Float[Tensor, "b arm 3"]
    sleeve: Float[Tensor, "b sleeve 3"]


def arm_meshes(
    arms: Arms, ring: Float[Tensor, "b 16 3"], rotation: Float[Tensor, "b 3 3"], unit: Float[Tensor, " b"]
) -> ArmMesh:
    """Compute the vertices of arms and sleeves.

    Args:
        arms: Shape parameters.
        ring: The wrist's vertices, crop frame before perspective, units of g.
        rotation: Rotation from the hand model's frame to the crop frame.
        unit: Length of a unit of g, millimetres.

    Returns:
        The meshes. All vertices of a missing sleeve lie in one point, so no renderer draws it.
    """
    scale = 1000 / unit
    local = ((ring - ring.mean(1, keepdim=True)) @ rotation) / scale[:, None, None]  # metres, the hand model's axes
    at = constant_like(RINGS, ring).expand(len(ring), -1)
    arm = _tube(arms, at, local, ring.mean(1), rotation, scale, torch.ones_like(at))
    start = arms.sleeve.where(arms.sleeve.isfinite(), 0.0)
    along = start[:, None] + arms.length[:, None] * constant_like(CUFF, ring)
    loose = 1 + (arms.loose[:, None] - 1) * (0.55 + 0.45 * (along - start[:, None]).div(0.1).clamp(0, 1))
    lip = constant_like((0.93, *[1.0] * (len(CUFF) - 2), 0.93), ring)
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
    """Return copies of the wrist's ring along the arm's path, rotated with it and widened."""
    axes, centers = _path(arms, along, rotation)
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
    points = centers[:, :, None] + section @ axes.mT
    return (center[:, None, None] + scale[:, None, None, None] * points).flatten(1, 2)


def _path(
    arms: Arms, along: Float[Tensor, "b rings"], rotation: Float[Tensor, "b 3 3"]
) -> tuple[Float[Tensor, "b rings 3 3"], Float[Tensor, "b rings 3"]]:
    """Return frame (columns: along, thickness, width) and centre of each ring, metres from the wrist's centre."""
    bent = _smoothstep(along / WRIST_BEND)
    forearm = rotation[:, None] @ axis_angle_to_matrix(bent[..., None] * arms.bend[:, None])
    straight = (rotation @ axis_angle_to_matrix(arms.bend))[..., 0]
    flat = straight[:, :2] + 0.05 * torch.stack((arms.aside.cos(), arms.aside.sin()), -1)
    outward = functional.pad(functional.normalize(flat, dim=-1), (0, 1))
    axis = torch.linalg.cross(straight, outward)
    angle = torch.atan2(axis.norm(dim=-1), (straight * outward).sum(-1))
    turn = functional.normalize(axis, dim=-1) * angle[:, None]
    turned = _smoothstep((along - arms.elbow[:, None]) / 0.07)
    axes = axis_angle_to_matrix(turned[..., None] * turn[:, None]) @ forearm
    # Between two rings the path runs along the mean of their directions; the first segment starts at the wrist.
    directions = torch.cat((rotation[:, None, :, 0], axes[..., 0]), 1)
    step = along.diff(dim=1, prepend=torch.zeros_like(along[:, :1]))
    centers = (step[..., None] * functional.normalize(directions[:, 1:] + directions[:, :-1], dim=-1)).cumsum(1)
    return axes, centers


def _smoothstep(share: Tensor) -> Tensor:
    """Map [0, 1] to [0, 1] with zero slope at both ends: 3 s^2 - 2 s^3; s is clamped."""
    share = share.clamp(0, 1)
    return share * share * (3 - 2 * share)
