"""The border of the photo: some crops reach beyond it, and there they are black, as the crops of real photos are."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from dhpe_lib.common.devices import constant
from dhpe_lib.data.crop_frame import SIZE
from dhpe_lib.synthetic.sampling import Sampler

BEYOND = (-0.25, 0.35)
"""Range of the share of the hand's box that lies beyond the border; it is negative if the border misses the box."""


@dataclass(frozen=True)
class Borders:
    """The border of each photo near its hand.

    Attributes:
        side: Border: 0 left, 1 top, 2 right, 3 bottom.
        beyond: Share of the hand's box, along x or y, that lies beyond the border; -inf for a border far away.
    """

    side: Int64[Tensor, " b"]
    beyond: Float[Tensor, " b"]


def draw_borders(sampler: Sampler, often: float) -> Borders:
    """Sample borders.

    Args:
        sampler: Random number generator.
        often: Fraction of pictures with a border near the hand; 58 % of these borders cut the hand's box.
    """
    near = sampler.chance(often)
    return Borders(sampler.index(4), sampler.uniform(*BEYOND).masked_fill(~near, -math.inf))


def first_pixels(borders: Borders, joints: Float[Tensor, "b 21 3"], size: int) -> Int64[Tensor, "b 4"]:
    """Compute the part of each picture that the photo fills.

    Args:
        borders: Borders of the photos.
        joints: Joints in the crop frame of Eq. 8, units of g.
        size: Side of the picture, pixels.

    Returns:
        First column, first row, last column plus one and last row plus one, pixels.
    """
    low, high = joints[..., :2].amin(1), joints[..., :2].amax(1)
    beyond = borders.beyond[:, None] * (high - low)
    limits = (size / 2 + SIZE * torch.cat((low + beyond, high - beyond), 1)).clamp(0, size).round().long()
    whole = constant((0, 0, size, size), torch.int64, joints.device).expand_as(limits)
    mine = torch.arange(4, device=joints.device) == borders.side[:, None]
    return torch.where(mine, limits, whole)


def inside_photo(limits: Int64[Tensor, "b 4"], size: int) -> Bool[Tensor, "b s s"]:
    """Return whether each pixel shows the photo; `limits` come from `first_pixels`."""
    ticks = torch.arange(size, device=limits.device)
    left, top, right, bottom = limits[..., None].unbind(1)
    columns, rows = (ticks >= left) & (ticks < right), (ticks >= top) & (ticks < bottom)
    return rows[:, :, None] & columns[:, None]


def in_limits(limits: Int64[Tensor, "b 4"], joints: Float[Tensor, "b 21 3"], size: int) -> Bool[Tensor, "b 21"]:
    """Return whether each joint (crop frame, units of g) lies in the photo; `limits` come from `first_pixels`."""
    pixel = (size / 2 + SIZE * joints[..., :2]).floor()
    return ((pixel >= limits[:, None, :2]) & (pixel < limits[:, None, 2:])).all(-1)
