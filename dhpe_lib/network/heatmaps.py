"""Joints as heat maps and back: the targets of Eq. 3, and the argmax that turns maps into 2D joints.

A map of n x n cells covers the crop: cell (i, j) has its centre at x = (j + 1/2) / n - 1/2, y = (i + 1/2) / n - 1/2 in
units of g. The chapter is *2D evidence*.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

SIGMA = 0.05
"""Standard deviation of a target's Gaussian, units of g: 11 pixels of the 224, 1.6 of the 32 cells."""
TINY = 1e-4
"""Heights below this count as this where the sub-pixel place takes logarithms."""


@dataclass(frozen=True)
class FoundJoints:
    """2D joints read off heat maps; without gradient.

    Attributes:
        joints_2d: Crop frame, units of g.
        score: Height of each map at its maximum; targets have 1 there.
    """

    joints_2d: Float[Tensor, "b 21 2"]
    score: Float[Tensor, "b 21"]


def target_heatmaps(
    joints_2d: Float[Tensor, "b 21 2"], known: Bool[Tensor, "b 21"], size: int, sigma: float = SIGMA
) -> Float[Tensor, "b 21 size size"]:
    """Draw j2DHeat: a Gaussian of height 1 at each joint, ``exp(-|x - j|^2 / (2 sigma^2))``.

    Args:
        joints_2d: Crop frame, units of g; anything, also NaN, where unknown.
        known: Which joints have a place; the maps of the others are 0.
        size: Cells along a side.
        sigma: Width of the Gaussian, units of g.

    Returns:
        Maps, row = y.

    Source: Eq. 3; the width is ours (Zimmermann and Brox 2017: 25 / sqrt 2 of 256 pixels of a tighter crop).
    """
    joints = torch.where(known[..., None], joints_2d, 0)
    ticks = (torch.arange(size, device=joints.device, dtype=joints.dtype) + 0.5) / size - 0.5
    bells = torch.exp((joints[..., None] - ticks).square() / (-2 * sigma**2))
    along_x, along_y = (bells * known[..., None, None]).unbind(2)
    return along_y[..., :, None] * along_x[..., None, :]


@torch.no_grad()
def heatmap_joints(maps: Float[Tensor, "b 21 n n"], sub_pixel: bool = True) -> FoundJoints:
    """Find each map's maximum; without gradient, as the argmax has none.

    The sub-pixel place is the top of the parabola through the logarithms of the maximum and its two neighbours, for x
    and for y: exact for a Gaussian. At the border, where a neighbour is missing, the cell's centre stands.

    Args:
        maps: One map for each joint, row = y.
        sub_pixel: Whether to look between the cells.

    Returns:
        Joints and scores; of equal maxima the first.

    Source: PAPER.md Sec. 2.
    """
    n = maps.shape[-1]
    heights = maps.to(torch.promote_types(maps.dtype, torch.float32)).flatten(2)
    score, index = heights.max(2)
    row, column = index.div(n, rounding_mode="floor"), index % n
    place = torch.stack((column, row), -1).to(score.dtype)
    if sub_pixel:
        place = place + torch.stack((_offset(heights, index, column, 1, n), _offset(heights, index, row, n, n)), -1)
    return FoundJoints((place + 0.5) / n - 0.5, score)


def _offset(heights: Tensor, index: Tensor, position: Tensor, stride: int, n: int) -> Tensor:
    """Top of the parabola through three log heights, in cells from the middle one: within half a cell."""
    inside = (position > 0) & (position < n - 1)
    middle = torch.where(inside, index, stride)  # at the border: any cell with two neighbours, for it is dropped
    cells = torch.stack((middle - stride, middle, middle + stride), -1)
    low, mid, high = heights.gather(2, cells).clamp_min(TINY).log().unbind(-1)
    bend = low - 2 * mid + high
    return torch.where(inside & (bend < 0), 0.5 * (low - high) / bend.clamp_max(-1e-12), 0)
