"""Light: a room that is brighter on one side, a lamp with a shadow, a weaker lamp without, and their reflection."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from dhpe_lib.common.devices import constant_like
from dhpe_lib.rendering.projection import rasterize
from dhpe_lib.synthetic.sampling import Sampler

SHADOW_SIZE = 128
"""Side of the shadow map, pixels."""
SHADOW_EXTENT = 1.5
"""Side of the shadow map, units of g."""
SHADOW_BIAS = 0.035
"""Distance behind the shadow map at which a surface is half in shadow, units of g."""
OCCLUSION_RADII = (3, 7)
"""Distances of the neighbours that ambient occlusion compares, pixels at half the picture's size."""
SUBSURFACE = (0.34, 0.16, 0.10)
"""Wrap of diffuse light around skin, for red, green and blue: light scatters inside skin, red light farthest."""


@dataclass(frozen=True)
class Lights:
    """Light of each picture: linear colours, and directions in the crop frame along which light travels.

    Attributes:
        near, far: Colour of the room on the side that `up` points to, and on the opposite side.
        up: Unit vector to the near side of the room.
        lamps: Colours of the two lamps.
        directions: Directions of the two lamps, unit vectors.
        softness: Softness of the first lamp's shadow, units of g.
    """

    near: Float[Tensor, "b 3"]
    far: Float[Tensor, "b 3"]
    up: Float[Tensor, "b 3"]
    lamps: Float[Tensor, "b 2 3"]
    directions: Float[Tensor, "b 2 3"]
    softness: Float[Tensor, " b"]


def draw_lights(sampler: Sampler, surroundings: Float[Tensor, "b 3"]) -> Lights:
    """Sample light, from an overcast day to a single lamp.

    Args:
        sampler: Random number generator.
        surroundings: Mean colour of the background, sRGB in [0, 1]; it tints the room's light in part.
    """
    tint = (surroundings + 0.3) / (surroundings + 0.3).mean(1, keepdim=True)
    hardness, exposure = sampler.uniform(0.0, 1.0, 1), sampler.log_uniform(0.85, 1.45, 1)
    room = exposure * (1 - 0.6 * hardness) * tint ** sampler.uniform(0.0, 0.7, 1)
    lamps = exposure[:, None] * torch.stack(
        (hardness * sampler.log_uniform(0.7, 1.2, 1), sampler.uniform(0.0, 0.3, 1)), 1
    )
    lamps = lamps * temperature(sampler.normal(0.08, 2))
    up = functional.normalize(sampler.normal(0.6, 3) - constant_like((0.0, 0.8, 0.4), tint), dim=-1)
    key = functional.normalize(sampler.normal(0.8, 3) + constant_like((0.0, 0.7, 0.9), tint), dim=-1)
    other = functional.normalize(sampler.normal(1.0, 3) + constant_like((0.0, 0.0, 0.4), tint), dim=-1)
    directions = torch.stack((key, other), 1)
    return Lights(room, room * sampler.uniform(0.35, 0.85, 1), up, lamps, directions, sampler.log_uniform(0.008, 0.05))


def temperature(warmth: Float[Tensor, "*b"]) -> Float[Tensor, "*b 3"]:
    """Return the gains of red, green and blue for cold (negative) to warm light: exp(w), 1, exp(-w)."""
    return (warmth[..., None] * constant_like((1.0, 0.0, -1.0), warmth)).exp()


def irradiance(
    lights: Lights,
    image: Int[Tensor, " n"],
    normal: Float[Tensor, "n 3"],
    skin: Float[Tensor, " n"],
    open_sky: Float[Tensor, " n"],
    lit: Float[Tensor, " n"],
) -> Float[Tensor, "n 3"]:
    """Compute the light on each sample from the room and the lamps.

    The room gives far + (near - far) (1 + n . up) / 2. A lamp gives max(0, (f + w) / (1 + w)), where f is the cosine
    between normal and light, and w wraps light around skin, red farthest.

    Args:
        lights: Lights of each image.
        image: Index of the image of each sample.
        normal: Unit normals.
        skin: 1 on skin, else 0.
        open_sky: Fraction of the room's light that occlusion leaves.
        lit: Fraction of the first lamp's light that the shadow leaves.

    Returns:
        Linear colour; 1 shows a white surface as white.
    """
    lamps, directions = lights.lamps.flatten(1), lights.directions.flatten(1)
    packed = torch.cat((lights.near - lights.far, lights.far, lights.up, lamps, directions), 1).index_select(0, image)
    more, far, up, first, second, along_first, along_second = packed.split(3, 1)
    upward = 0.5 + 0.5 * (normal * up).sum(-1, keepdim=True)
    total = (far + more * upward).mul_(open_sky[:, None])
    wrap = skin[:, None] * constant_like(SUBSURFACE, normal) + 0.03
    for lamp, direction, share in ((first, along_first, lit), (second, along_second, open_sky)):
        facing = -(normal * direction).sum(-1, keepdim=True)
        diffuse = (facing + wrap).div_(1 + wrap).clamp_min_(0)
        total += diffuse.mul_(lamp).mul_(share[:, None])
    return total


def highlight(
    lights: Lights, image: Int[Tensor, " n"], normal: Float[Tensor, "n 3"], power: Float[Tensor, " n"]
) -> Float[Tensor, "n 3"]:
    """Compute Blinn's highlight of the first lamp, seen along z: (power + 8) / 25 * (n . half)^power * lamp.

    The factor keeps the energy about constant when the power changes.
    """
    half = functional.normalize(-lights.directions[:, 0] - constant_like((0.0, 0.0, 1.0), normal), dim=-1)
    toward = (normal * half.index_select(0, image)).sum(-1).clamp_min(0.5)
    return (toward**power * (power + 8) / 25)[:, None] * lights.lamps[:, 0].index_select(0, image)


def occlusion(depth: Float[Tensor, "b s s"]) -> Float[Tensor, "b s s"]:
    """Estimate the fraction of the room's light that nearby surfaces do not block, at half the resolution.

    1 - 0.62 * mean over 16 neighbours (8 at each radius r) of clamp((z - z_neighbour - 0.006) / (0.010 r), 0, 1).

    A neighbour blocks light only if it is nearer to the camera than the pixel by more than 0.006 g. It blocks its whole
    share from 0.006 g + 0.010 r g on, which is about a finger's breadth for r = 7. 0.62 is the largest darkening.

    Args:
        depth: Depth, units of g; infinite on the background.

    Returns:
        Fraction of the light, 1 in the open.
    """
    coarse = depth[:, ::2, ::2]
    finite = coarse.where(coarse.isfinite(), 10.0)
    hidden, size = torch.zeros_like(finite), finite.shape[-1]
    for radius in OCCLUSION_RADII:
        padded = functional.pad(finite[:, None], (radius,) * 4, mode="replicate")[:, 0]
        for x, y in ((0, 1), (1, 0), (1, 2), (2, 1), (0, 0), (2, 2), (0, 2), (2, 0)):
            neighbour = padded[:, y * radius : y * radius + size, x * radius : x * radius + size]
            hidden += ((finite - neighbour - 0.006) / (0.010 * radius)).clamp_(0, 1)
    sky = 1 - 0.62 * hidden[:, None] / (8 * len(OCCLUSION_RADII))
    return functional.interpolate(sky, scale_factor=2, mode="bilinear", align_corners=False)[:, 0]


def toward_lamp(lights: Lights, vertices: Float[Tensor, "b v 3"]) -> Float[Tensor, "b v 3"]:
    """Convert vertices to the first lamp's view: z along its light, and x, y of the crop around 0 in [-1/2, 1/2].

    One unit is `SHADOW_EXTENT` units of g.
    """
    travel = lights.directions[:, 0]
    side = functional.normalize(
        torch.linalg.cross(travel, constant_like((0.3, 1.0, 0.2), travel).expand_as(travel)), dim=-1
    )
    frame = torch.stack((side, torch.linalg.cross(travel, side), travel), 1) / SHADOW_EXTENT
    return vertices @ frame.mT


def lit_by_lamp(
    lights: Lights,
    in_light: Float[Tensor, "b v 3"],
    faces: Tensor,
    image: Int[Tensor, " n"],
    position: Float[Tensor, "n 3"],
) -> Float[Tensor, " n"]:
    """Compute the first lamp's shadow at each position with a shadow map: a z-buffer seen from the lamp.

    Args:
        lights: Lights of each image.
        in_light: Vertices of everything that casts a shadow, from `toward_lamp`, in its units.
        faces: Faces of these vertices.
        image: Index of the image of each position.
        position: Positions in the lamp's view, in the units of `toward_lamp`.

    Returns:
        1 in the light, 0 in the shadow; the mean of four lookups softens the edge.
    """
    first = rasterize(in_light, faces, SHADOW_SIZE).depth.flatten()
    pixel = (position[:, :2] + 0.5) * SHADOW_SIZE
    softness = lights.softness[image] * (SHADOW_SIZE / SHADOW_EXTENT)
    behind, total = position[:, 2] * (SHADOW_EXTENT / SHADOW_BIAS) - 0.5, torch.zeros_like(position[:, 2])
    for x, y in ((-1, -0.4), (0.4, -1), (1, 0.4), (-0.4, 1)):
        column, row = ((pixel[:, k] + o * softness).clamp(0, SHADOW_SIZE - 1).long() for k, o in enumerate((x, y)))
        blocker = first[(image * SHADOW_SIZE + row) * SHADOW_SIZE + column]
        total += 0.25 * (1 - (behind - blocker * (SHADOW_EXTENT / SHADOW_BIAS)).clamp(0, 1))
    return total
