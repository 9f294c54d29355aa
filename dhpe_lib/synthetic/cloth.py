"""What is not skin: sleeves and things, their colours and patterns."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dhpe_lib.synthetic.sampling import Dice


@dataclass(frozen=True)
class Materials:
    """Of each image.

    Attributes:
        offset: Where noise is read.
        cloth: Two colours of the sleeve, linear sRGB.
        weave: Direction and frequency (per metre) of its pattern, its contrast and its sharpness.
        thing: Two colours of the thing.
        pattern: The same of the thing.
        gloss: Strength and power of the thing's highlight.
    """

    offset: Float[Tensor, "b 2"]
    cloth: Float[Tensor, "b 2 3"]
    weave: Float[Tensor, "b 5"]
    thing: Float[Tensor, "b 2 3"]
    pattern: Float[Tensor, "b 5"]
    gloss: Float[Tensor, "b 2"]


def draw_materials(dice: Dice) -> Materials:
    """Draw colours, half of them greys as most clothes and devices are, and stripes of all widths."""

    def colors() -> Tensor:
        grey = dice.uniform(0.0, 1.0, 2, 1).square() * 0.85 + 0.015
        hue = dice.uniform(0.0, 1.0, 2, 3) ** 1.5
        vivid = dice.uniform(0.0, 1.0, 1, 1).square() * dice.chance(0.6, 1, 1)
        return (grey * (1 - vivid) + vivid * hue * 0.8).clamp(0.01, 0.9)

    def pattern() -> Tensor:
        direction = dice.normal(1.0, 3)
        direction = direction / direction.norm(dim=-1, keepdim=True)
        contrast = dice.uniform(0.2, 1.0, 1) * dice.chance(0.45, 1)
        return torch.cat((direction * dice.log_uniform(60.0, 700.0, 1), contrast, dice.log_uniform(0.7, 8.0, 1)), 1)

    gloss = torch.stack((dice.uniform(0.0, 0.35), dice.log_uniform(8.0, 90.0)), -1)
    return Materials(dice.uniform(0.0, 1.0, 2), colors(), pattern(), colors(), pattern(), gloss)


def _striped(colors: Tensor, pattern: Tensor, place: Tensor) -> Tensor:
    wave = (pattern[:, 4] * (pattern[:, :3] * place).sum(-1).sin()).clamp(-1, 1)
    share = pattern[:, 3] * (0.5 + 0.5 * wave)
    return colors[:, 0] + share[:, None] * (colors[:, 1] - colors[:, 0])


def cloth_color(
    materials: Materials, image: Tensor, place: Float[Tensor, "n 3"], spots: Float[Tensor, "n 2"]
) -> Float[Tensor, "n 3"]:
    """Stripes over a weave of noise."""
    color = _striped(materials.cloth[image], materials.weave[image], place)
    return color * (0.10 * spots[:, :1] + 0.05 * spots[:, 1:]).exp()


def thing_color(
    materials: Materials, image: Tensor, place: Float[Tensor, "n 3"], spots: Float[Tensor, "n 2"]
) -> Float[Tensor, "n 3"]:
    """Stripes, a little worn."""
    color = _striped(materials.thing[image], materials.pattern[image], place)
    return color * (0.06 * spots[:, :1]).exp()
