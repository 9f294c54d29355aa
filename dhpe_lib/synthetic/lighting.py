"""Light: a room brighter on one side, a lamp with a shadow, a weaker one without; and how surfaces return it."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from dhpe_lib.rendering.projection import rasterize
from dhpe_lib.synthetic.sampling import Dice

SHADOW_SIZE = 128
SHADOW_EXTENT = 1.5
"""Side of the shadow map, units of g."""
SHADOW_BIAS = 0.035
"""Units of g that a surface lies behind its own shadow map without being in shadow."""
REACH = (3, 7)
"""Pixels, at half the picture's size, that ambient occlusion looks to."""
SUBSURFACE = (0.34, 0.16, 0.10)
"""How far light reaches around skin into the shade, for red, green and blue: it travels inside."""


@dataclass(frozen=True)
class Lights:
    """The light of each picture, linear; directions are those that light travels in, in the crop frame.

    Attributes:
        near, far: Colour of the room on the side that `up` points to and on the other.
        up: Unit vector.
        lamps: Colours of two lamps.
        directions: Of the two, unit vectors.
        softness: Of the first lamp's shadow, units of g.
    """

    near: Float[Tensor, "b 3"]
    far: Float[Tensor, "b 3"]
    up: Float[Tensor, "b 3"]
    lamps: Float[Tensor, "b 2 3"]
    directions: Float[Tensor, "b 2 3"]
    softness: Float[Tensor, " b"]


def draw_lights(dice: Dice, surroundings: Float[Tensor, "b 3"]) -> Lights:
    """Draw light, from a dull day to a single lamp.

    Args:
        dice: Source of randomness.
        surroundings: Mean colour of the background, which the room's light takes on in part.
    """
    tint = (surroundings + 0.3) / (surroundings + 0.3).mean(1, keepdim=True)
    hardness, exposure = dice.uniform(0.0, 1.0, 1), dice.log_uniform(0.85, 1.45, 1)
    room = exposure * (1 - 0.6 * hardness) * tint ** dice.uniform(0.0, 0.7, 1)
    lamps = exposure[:, None] * torch.stack((hardness * dice.log_uniform(0.7, 1.2, 1), dice.uniform(0.0, 0.3, 1)), 1)
    lamps = lamps * temperature(dice.normal(0.08, 2))
    up = functional.normalize(dice.normal(0.6, 3) - torch.tensor([0.0, 0.8, 0.4]).to(tint), dim=-1)
    key = functional.normalize(dice.normal(0.8, 3) + torch.tensor([0.0, 0.7, 0.9]).to(tint), dim=-1)
    other = functional.normalize(dice.normal(1.0, 3) + torch.tensor([0.0, 0.0, 0.4]).to(tint), dim=-1)
    directions = torch.stack((key, other), 1)
    return Lights(room, room * dice.uniform(0.35, 0.85, 1), up, lamps, directions, dice.log_uniform(0.008, 0.05))


def temperature(warmth: Float[Tensor, "*b"]) -> Float[Tensor, "*b 3"]:
    """Gains of red, green and blue along the line from cold to warm light, of mean 1 in their logarithm."""
    return (warmth[..., None] * warmth.new_tensor((1.0, 0.0, -1.0))).exp()


def irradiance(
    lights: Lights,
    image: Int[Tensor, " n"],
    normal: Float[Tensor, "n 3"],
    skin: Float[Tensor, " n"],
    open_sky: Float[Tensor, " n"],
    lit: Float[Tensor, " n"],
) -> Float[Tensor, "n 3"]:
    """Light that arrives, sum of room and lamps; on skin it wraps around the edge of the shade, red farthest.

    Args:
        lights: Of each image.
        image: Which image a sample is in.
        normal: Unit normals.
        skin: 1 on skin, else 0.
        open_sky: What occlusion leaves of the room's light.
        lit: What the shadow leaves of the first lamp's.

    Returns:
        Linear colour; 1 shows a white surface as white.
    """
    lamps, directions = lights.lamps.flatten(1), lights.directions.flatten(1)
    of_each = torch.cat((lights.near - lights.far, lights.far, lights.up, lamps, directions), 1).index_select(0, image)
    more, far, up, first, second, along_first, along_second = of_each.split(3, 1)
    upward = 0.5 + 0.5 * (normal * up).sum(-1, keepdim=True)
    total = (far + more * upward).mul_(open_sky[:, None])
    wrap = skin[:, None] * normal.new_tensor(SUBSURFACE) + 0.03
    for lamp, direction, share in ((first, along_first, lit), (second, along_second, open_sky)):
        facing = -(normal * direction).sum(-1, keepdim=True)
        diffuse = (facing + wrap).div_(1 + wrap).clamp_min_(0)
        total += diffuse.mul_(lamp).mul_(share[:, None])
    return total


def highlight(
    lights: Lights, image: Int[Tensor, " n"], normal: Float[Tensor, "n 3"], power: Float[Tensor, " n"]
) -> Float[Tensor, "n 3"]:
    """Blinn's highlight of the first lamp, seen along z: (n . half)^power, scaled to keep its energy."""
    half = functional.normalize(-lights.directions[:, 0] - normal.new_tensor((0.0, 0.0, 1.0)), dim=-1)
    toward = (normal * half.index_select(0, image)).sum(-1).clamp_min(0.5)
    return (toward**power * (power + 8) / 25)[:, None] * lights.lamps[:, 0].index_select(0, image)


def occlusion(depth: Float[Tensor, "b s s"]) -> Float[Tensor, "b s s"]:
    """What nearby surfaces in front leave of the room's light: 1 in the open. Looked for at half the resolution.

    Args:
        depth: Units of g; infinite where nothing is.

    Returns:
        Shares of light.
    """
    coarse = depth[:, ::2, ::2]
    finite = coarse.where(coarse.isfinite(), 10.0)
    hidden, size = torch.zeros_like(finite), finite.shape[-1]
    for reach in REACH:
        # A neighbour hides some of the sky if it is nearer, the more the nearer, up to about a finger's breadth.
        padded = functional.pad(finite[:, None], (reach,) * 4, mode="replicate")[:, 0]
        for x, y in ((0, 1), (1, 0), (1, 2), (2, 1), (0, 0), (2, 2), (0, 2), (2, 0)):
            other = padded[:, y * reach : y * reach + size, x * reach : x * reach + size]
            hidden += ((finite - other - 0.006) / (0.010 * reach)).clamp_(0, 1)
    sky = 1 - 0.62 * hidden[:, None] / (8 * len(REACH))
    return functional.interpolate(sky, scale_factor=2, mode="bilinear", align_corners=False)[:, 0]


def toward_lamp(lights: Lights, vertices: Float[Tensor, "b v 3"]) -> Float[Tensor, "b v 3"]:
    """Vertices as the first lamp sees them: z along its light, the crop in the middle of [-1/2, 1/2]."""
    travel = lights.directions[:, 0]
    side = functional.normalize(
        torch.linalg.cross(travel, travel.new_tensor((0.3, 1.0, 0.2)).expand_as(travel)), dim=-1
    )
    frame = torch.stack((side, torch.linalg.cross(travel, side), travel), 1) / SHADOW_EXTENT
    return vertices @ frame.mT


def lit_by_lamp(
    lights: Lights,
    in_light: Float[Tensor, "b v 3"],
    faces: Tensor,
    image: Int[Tensor, " n"],
    place: Float[Tensor, "n 3"],
) -> Float[Tensor, " n"]:
    """What the first lamp's shadow leaves at each place, by a second z-buffer seen from the lamp.

    Args:
        lights: Of each image.
        in_light: Vertices of everything that throws a shadow, from `toward_lamp`.
        faces: Its faces.
        image: Which image a place is in.
        place: Seen from the lamp as well.

    Returns:
        1 in the light, 0 in the shadow, softened by the mean of four looks.
    """
    first = rasterize(in_light, faces, SHADOW_SIZE).depth.flatten()
    pixel = (place[:, :2] + 0.5) * SHADOW_SIZE
    softness = lights.softness[image] * (SHADOW_SIZE / SHADOW_EXTENT)
    behind, total = place[:, 2] * (SHADOW_EXTENT / SHADOW_BIAS) - 0.5, torch.zeros_like(place[:, 2])
    for x, y in ((-1, -0.4), (0.4, -1), (1, 0.4), (-0.4, 1)):
        column, row = ((pixel[:, k] + o * softness).clamp(0, SHADOW_SIZE - 1).long() for k, o in enumerate((x, y)))
        blocker = first[(image * SHADOW_SIZE + row) * SHADOW_SIZE + column]
        total += 0.25 * (1 - (behind - blocker * (SHADOW_EXTENT / SHADOW_BIAS)).clamp(0, 1))
    return total
