"""Heat maps: convert joints to them (the targets of Eq. 3), and them to joints (the argmax).

A map of n x n cells covers the crop: cell (i, j) has its centre at x = (j + 1/2) / n - 1/2, y = (i + 1/2) / n - 1/2 in
units of g. The chapter is *2D evidence*.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

JOINTS = 21
STATISTICS = 4
"""Numbers of a joint from :func:`heatmap_statistics`."""
INITIAL_STD = 1e-3
"""Standard deviation of each stage's last layer at initialisation: the first maps are nearly 0, as most targets are."""

SIGMA = 0.05
"""Standard deviation of a target's Gaussian, units of g: 11 pixels of the 224, 1.6 of the 32 cells."""
MIN_HEIGHT = 1e-4
"""Lower bound of the heights whose logarithm the sub-pixel maximum takes."""


@dataclass(frozen=True)
class FoundJoints:
    """2D joints found in heat maps; no gradient.

    Attributes:
        joints_2d: Positions, crop frame, units of g.
        score: Maximum of each map; a target has a maximum of 1.
    """

    joints_2d: Float[Tensor, "b 21 2"]
    score: Float[Tensor, "b 21"]


def target_heatmaps(
    joints_2d: Float[Tensor, "b 21 2"], known: Bool[Tensor, "b 21"], size: int, sigma: float = SIGMA
) -> Float[Tensor, "b 21 size size"]:
    """Draw j2DHeat: a Gaussian of height 1 at each joint, ``exp(-|x - j|^2 / (2 sigma^2))``.

    Args:
        joints_2d: Crop frame, units of g; any value, also NaN, for an unknown joint.
        known: Whether each joint is labelled; the maps of other joints are 0.
        size: Number of cells along a side.
        sigma: Standard deviation of the Gaussian, units of g.

    Returns:
        Heat maps; rows are y.

    Source: Eq. 3; the width is ours (Zimmermann and Brox 2017: 25 / sqrt 2 of 256 pixels of a tighter crop).
    """
    joints = torch.where(known[..., None], joints_2d, 0)
    centres = (torch.arange(size, device=joints.device, dtype=joints.dtype) + 0.5) / size - 0.5
    gaussians = torch.exp((joints[..., None] - centres).square() / (-2 * sigma**2))
    along_x, along_y = (gaussians * known[..., None, None]).unbind(2)  # a 2D Gaussian is a product of two 1D ones
    return along_y[..., :, None] * along_x[..., None, :]


def output_layer(channels: int) -> nn.Conv2d:
    """Build the last layer of a stage: a 1 x 1 convolution to one heat map for each joint, with small weights."""
    convolution = nn.Conv2d(channels, JOINTS, 1)
    for value in convolution.parameters():
        nn.init.normal_(value, std=INITIAL_STD)
    return convolution


def resize(images: Float[Tensor, "b 3 s s"], size: int) -> Float[Tensor, "b 3 size size"]:
    """Resize square images bilinearly; at half the size each pixel is the mean of 2 x 2 pixels.

    Args:
        images: Square images of any size.
        size: New side, pixels.

    Returns:
        Resized images, or `images` itself if it has this size.
    """
    if images.shape[-1] == size:
        return images
    return functional.interpolate(images, size=(size, size), mode="bilinear", align_corners=False)


@torch.no_grad()
def heatmap_statistics(maps: Float[Tensor, "b 21 n n"], found: FoundJoints) -> Float[Tensor, "b 21 4"]:
    """Describe how sure a joint is and where else it may be: height, mean and spread of each map; no gradient.

    A hidden joint often has several maxima or a wide one. Then the mean of the map is nearer to the joint than the
    maximum. The weights are the squares of the map's positive values, so that low background counts little.

    Args:
        maps: One map for each joint; rows are y.
        found: Their maxima.

    Returns:
        For each joint the maximum, the mean's x and y from the place of the maximum, and the root of the mean squared
        distance from the mean. Lengths are in units of `SIGMA`. A target has the values 1, 0, 0 and 1.
    """
    n = maps.shape[-1]
    heights = maps.to(torch.promote_types(maps.dtype, torch.float32)).clamp_min(MIN_HEIGHT).square()
    weights = heights / heights.sum((2, 3), keepdim=True)
    centres = (torch.arange(n, device=maps.device, dtype=weights.dtype) + 0.5) / n - 0.5
    offsets = (centres - found.joints_2d.to(weights.dtype)[..., None]) / SIGMA
    along = torch.stack((weights.sum(2), weights.sum(3)), 2)  # weights of the columns and of the rows
    mean = (along * offsets).sum(3)
    variance = (along * (offsets - mean[..., None]).square()).sum(3)
    spread = variance.sum(2, keepdim=True).sqrt()
    return torch.cat((found.score.to(spread.dtype)[..., None], mean, spread), 2)


@torch.no_grad()
def heatmap_joints(maps: Float[Tensor, "b 21 n n"], sub_pixel: bool = True) -> FoundJoints:
    """Find the maximum of each map; no gradient, since the argmax has none.

    The sub-pixel position is the vertex of the parabola through the logarithms of the maximum and its two neighbours,
    separately for x and y. It is exact for a Gaussian. At the border a neighbour is missing, and the position is the
    centre of the cell.

    Args:
        maps: One map for each joint; rows are y.
        sub_pixel: Whether to locate the maximum between the cells.

    Returns:
        Joints (crop frame, units of g) and scores; of equal maxima the first counts.

    Source: PAPER.md Sec. 2.
    """
    n = maps.shape[-1]
    heights = maps.to(torch.promote_types(maps.dtype, torch.float32)).flatten(2)
    score, index = heights.max(2)
    row, column = index.div(n, rounding_mode="floor"), index % n
    cell = torch.stack((column, row), -1).to(score.dtype)
    if sub_pixel:
        cell = cell + torch.stack((_offset(heights, index, column, 1, n), _offset(heights, index, row, n, n)), -1)
    return FoundJoints((cell + 0.5) / n - 0.5, score)


def _offset(heights: Tensor, index: Tensor, position: Tensor, stride: int, n: int) -> Tensor:
    """Vertex of the parabola through three log heights, in cells from the middle cell; at most half a cell.

    For heights l, m, r at -1, 0, 1 the vertex is at ``(l - r) / (2 (l - 2 m + r))``.
    """
    inside = (position > 0) & (position < n - 1)
    middle = torch.where(inside, index, stride)  # at the border: any cell with two neighbours; its result is not used
    cells = torch.stack((middle - stride, middle, middle + stride), -1)
    low, mid, high = heights.gather(2, cells).clamp_min(MIN_HEIGHT).log().unbind(-1)
    curvature = low - 2 * mid + high
    return torch.where(inside & (curvature < 0), 0.5 * (low - high) / curvature.clamp_max(-1e-12), 0)
