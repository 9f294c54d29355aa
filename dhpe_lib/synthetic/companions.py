"""A second hand of the same person that crosses the labelled hand, in front of it or behind it.

The second hand has no labels. It has the skin, the sleeve and the light of the first hand, its own pose and arm, and it
is a right or a left hand. A left hand is drawn in the mirrored picture, with mirrored light. The two hands lie in
separate ranges of depth, so the picture of one is painted over the picture of the other.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dhpe_lib.common.devices import constant_like, to_device
from dhpe_lib.hand.gestures import sample_gestures
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.skeleton import MIDDLE_MCP
from dhpe_lib.synthetic.arm import Arms, draw_arms
from dhpe_lib.synthetic.hands import Hands, viewpoints
from dhpe_lib.synthetic.lighting import Lights
from dhpe_lib.synthetic.sampling import Sampler

NEAREST = 0.45
"""A second hand that would be nearer to the camera than this fraction of the root's depth is put behind the first."""
GAP = (0.016, 0.08)
"""Range of the distance in depth between the joints of the two hands, metres."""
ASIDE = (0.15, 0.5)
"""Range of the distance in the picture from the crop's centre to the second hand's middle MCP, units of g."""


@dataclass(frozen=True)
class Companions:
    """Second hands of a batch.

    Attributes:
        present: Whether there is a second hand.
        left: Whether it is a left hand.
        front: Whether it is in front of the first hand.
        pose: Pose relative to the flat hand, axis-angle in radians; 0 for a missing hand.
        rotation: Rotation from the hand model's frame to the crop frame.
        aside: Position of its middle MCP in the picture, units of g from the crop's centre.
        gap: Distance in depth between the joints of the two hands, metres.
        arms: Its arm and sleeve.
    """

    present: Bool[Tensor, " b"]
    left: Bool[Tensor, " b"]
    front: Bool[Tensor, " b"]
    pose: Float[Tensor, "b 45"]
    rotation: Float[Tensor, "b 3 3"]
    aside: Float[Tensor, "b 2"]
    gap: Float[Tensor, " b"]
    arms: Arms


def draw_companions(sampler: Sampler, often: float) -> Companions:
    """Sample second hands; half of them are in front, and two of three are left hands.

    Args:
        sampler: Random number generator.
        often: Fraction of pictures with a second hand.
    """
    present = torch.rand(sampler.batch, generator=sampler.generator) < often  # on the CPU, so that no GPU is waited for
    pose = torch.zeros(sampler.batch, 45)
    pose[present] = sample_gestures(int(present.sum()), sampler.generator)
    angle = sampler.uniform(-torch.pi, torch.pi)
    aside = sampler.uniform(*ASIDE)[:, None] * torch.stack((angle.cos(), angle.sin()), -1)
    return Companions(
        to_device(present, sampler.device),
        sampler.chance(2 / 3),
        sampler.chance(0.5),
        to_device(pose, sampler.device),
        viewpoints(sampler),
        aside,
        sampler.uniform(*GAP),
        draw_arms(sampler),
    )


def place_companions(model: HandModel, companions: Companions, first: Hands) -> tuple[Hands, Bool[Tensor, " b"]]:
    """Put second hands next to the first ones.

    Args:
        model: The hand model.
        companions: Second hands.
        first: Labelled hands, which give shape and camera.

    Returns:
        The second hands in the crop frames of the first (in the mirrored frame for a left hand; h is 0), and whether
        each is in front of the first.
    """
    mesh = model(companions.pose, first.h[:, 45:55], companions.rotation)
    scale = (1000 / first.unit)[:, None, None]
    root = mesh.joints[:, MIDDLE_MCP, None]
    body, skeleton = scale * (mesh.vertices - root), scale * (mesh.joints - root)
    gap, depth, own = scale[:, 0, 0] * companions.gap, first.skeleton[..., 2], skeleton[..., 2]
    before = depth.amin(1) - own.amax(1) - gap
    front = companions.front & (1 + first.kappa * (before + own.amin(1)) > NEAREST)
    z = torch.where(front, before, depth.amax(1) - own.amin(1) + gap)
    turned = constant_like((-1.0, 1.0), z).where(companions.left[:, None], 1.0)
    axis, aside = first.axis * turned, companions.aside * turned
    xy = axis + (aside - axis) * (1 + first.kappa * z)[:, None]  # the perspective moves the root to `aside`
    offset = torch.cat((xy, z[:, None]), 1)[:, None]
    h = torch.zeros_like(first.h)
    return Hands(h, first.kappa, axis, first.unit, companions.rotation, body + offset, skeleton + offset), front


def mirror_lights(lights: Lights, mirrored: Bool[Tensor, " b"]) -> Lights:
    """Mirror the light of some pictures at the vertical axis of the picture."""
    sign = constant_like((-1.0, 1.0, 1.0), lights.up).where(mirrored[:, None], 1.0)
    return replace(lights, up=lights.up * sign, directions=lights.directions * sign[:, None])


def mirror_pictures(pictures: Tensor, mirrored: Bool[Tensor, " b"]) -> Tensor:
    """Mirror some pictures, given as b x rows x columns with or without channels."""
    chosen = mirrored.view(-1, *(1,) * (pictures.ndim - 1))
    return torch.where(chosen, pictures.flip(2), pictures)
