"""Colours and patterns of sleeves and held objects."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dhpe_lib.synthetic.sampling import Sampler


@dataclass(frozen=True)
class Materials:
    """Materials of each image.

    Attributes:
        offset: Offset of the noise texture, in periods of the noise.
        cloth: Two colours of the sleeve, linear sRGB.
        weave: Pattern of the sleeve: wave vector (3 numbers, radians per metre), contrast and sharpness.
        thing: Two colours of the object, linear sRGB.
        pattern: Pattern of the object, as in `weave`.
        gloss: Strength and power of the object's highlight.
    """

    offset: Float[Tensor, "b 2"]
    cloth: Float[Tensor, "b 2 3"]
    weave: Float[Tensor, "b 5"]
    thing: Float[Tensor, "b 2 3"]
    pattern: Float[Tensor, "b 5"]
    gloss: Float[Tensor, "b 2"]


def draw_materials(sampler: Sampler) -> Materials:
    """Sample colours and stripes of all widths; many colours are greyish, as most clothes and devices are."""

    def colors() -> Tensor:
        grey = sampler.uniform(0.0, 1.0, 2, 1).square() * 0.85 + 0.015
        hue = sampler.uniform(0.0, 1.0, 2, 3) ** 1.5
        vivid = sampler.uniform(0.0, 1.0, 1, 1).square() * sampler.chance(0.6, 1, 1)
        return (grey * (1 - vivid) + vivid * hue * 0.8).clamp(0.01, 0.9)

    def pattern() -> Tensor:
        direction = sampler.normal(1.0, 3)
        direction = direction / direction.norm(dim=-1, keepdim=True)
        contrast = sampler.uniform(0.2, 1.0, 1) * sampler.chance(0.45, 1)
        return torch.cat(
            (direction * sampler.log_uniform(60.0, 700.0, 1), contrast, sampler.log_uniform(0.7, 8.0, 1)), 1
        )

    gloss = torch.stack((sampler.uniform(0.0, 0.35), sampler.log_uniform(8.0, 90.0)), -1)
    return Materials(sampler.uniform(0.0, 1.0, 2), colors(), pattern(), colors(), pattern(), gloss)


def _striped(colors: Tensor, pattern: Tensor, position: Tensor) -> Tensor:
    wave = (pattern[:, 4] * (pattern[:, :3] * position).sum(-1).sin()).clamp(-1, 1)
    share = pattern[:, 3] * (0.5 + 0.5 * wave)
    return colors[:, 0] + share[:, None] * (colors[:, 1] - colors[:, 0])


def cloth_color(
    materials: Materials, image: Tensor, position: Float[Tensor, "n 3"], spots: Float[Tensor, "n 2"]
) -> Float[Tensor, "n 3"]:
    """Compute the colour of a sleeve: stripes with noise.

    Args:
        materials: Materials of each image.
        image: Index of the image of each sample.
        position: Position on the surface at rest, metres.
        spots: Values of the two noise textures, without unit.

    Returns:
        Linear sRGB.
    """
    color = _striped(materials.cloth[image], materials.weave[image], position)
    return color * (0.10 * spots[:, :1] + 0.05 * spots[:, 1:]).exp()


def thing_color(
    materials: Materials, image: Tensor, position: Float[Tensor, "n 3"], spots: Float[Tensor, "n 2"]
) -> Float[Tensor, "n 3"]:
    """Compute the colour of an object: stripes with slight noise. Arguments and result as in :func:`cloth_color`."""
    color = _striped(materials.thing[image], materials.pattern[image], position)
    return color * (0.06 * spots[:, :1]).exp()
