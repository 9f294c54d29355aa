r"""The palm detector of MediaPipe: it finds the palms in a square image.

A palm is more rigid than a hand and nearly square, so it is easier to detect. The network looks at 192 x 192 pixels.
For each of 2,016 anchors it gives a score, a box and seven points of the palm:

    24 x 24 cells of 8 pixels, 2 anchors each; 12 x 12 cells of 16 pixels, 6 anchors each

All anchors of a cell lie at its centre and have the same size, so a box is centre + offset / 192.

Source: Zhang et al. 2020, "MediaPipe Hands: On-device Real-time Hand Tracking", Sec. 2.1. Anchors and
post-processing follow the options in MediaPipe's graph of the palm detector.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from dhpe_lib.common.devices import to_device
from dhpe_lib.network.mobile_layers import SameConv2d, depthwise, load_weights, pointwise

SIZE = 192
"""Side of the network's input, pixels."""
AT_ONCE = 8
"""Pictures that the network sees together; a large photo has 50 tiles, which together would need 150 MB."""
GRIDS = ((24, 2), (12, 6))
"""Cells along a side, and anchors in each cell."""
POINTS = 7
"""Points of a palm: wrist, the MCPs of index, middle, ring and little finger, and two of the thumb."""
WRIST_POINT, MIDDLE_POINT = 0, 2
BLOCKS = 4
"""Residual blocks on each level."""
LEAST_SCORE = 0.5
"""MediaPipe's smallest score of a detected palm."""
SAME_PALM = 0.3
"""Boxes with a larger intersection over union are merged as one palm."""


class PalmBlock(nn.Module):
    """Residual block: depthwise 5 x 5, pointwise 1 x 1, sum, PReLU.

    With stride 2 the residual path is a max pooling; new channels of it are zero.
    """

    def __init__(self, inner: int, outer: int, stride: int = 1):
        super().__init__()
        self.depthwise = depthwise(inner, 5, stride, bias=False)
        self.pointwise = pointwise(inner, outer)
        self.activation = nn.PReLU(outer)
        self.stride, self.new_channels = stride, outer - inner

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b out_c out_h out_w"]:
        """Compute the block."""
        change = self.pointwise(self.depthwise(features))
        kept = features if self.stride == 1 else functional.max_pool2d(features, self.stride)
        if self.new_channels:
            kept = functional.pad(kept, (0, 0, 0, 0, 0, self.new_channels))
        return self.activation(kept + change)


class PalmUpsampling(nn.Module):
    """Double the resolution, change the channels, and add the features of the finer level."""

    def __init__(self, inner: int, outer: int):
        super().__init__()
        self.pointwise = pointwise(inner, outer)
        self.activation = nn.PReLU(outer)

    def forward(
        self, coarse: Float[Tensor, "b c h w"], fine: Float[Tensor, "b out_c out_h out_w"]
    ) -> Float[Tensor, "b out_c out_h out_w"]:
        """Compute the sum."""
        double = functional.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
        return fine + self.activation(self.pointwise(double))


class PalmHead(nn.Module):
    """Score and box of each anchor in each cell."""

    def __init__(self, channels: int, anchors: int):
        super().__init__()
        self.score = pointwise(channels, anchors)
        self.box = pointwise(channels, anchors * (4 + 2 * POINTS))

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n 19"]:
        """Compute the 18 numbers and the score, cell by cell from the top left."""
        score = self.score(features).permute(0, 2, 3, 1).flatten(1)[..., None]
        box = self.box(features).permute(0, 2, 3, 1).reshape(len(features), -1, 4 + 2 * POINTS)
        return torch.cat((box, score), -1)


class PalmDetector(nn.Module):
    """The palm detection network: 1.2 million weights.

    =====  =======  ========  =========================================
    level  pixels   channels  layers
    =====  =======  ========  =========================================
    stem   96 x 96  32        convolution 5 x 5, stride 2
    0      96 x 96  32        4 blocks
    1      48 x 48  64        1 block with stride 2, 4 blocks
    2      24 x 24  128       1 block with stride 2, 4 blocks
    3      12 x 12  256       1 block with stride 2, 4 blocks
    4      6 x 6    256       1 block with stride 2, 4 blocks
    3, up  12 x 12  256       upsampling + level 3, 2 blocks, head of 6
    2, up  24 x 24  128       upsampling + level 2, 2 blocks, head of 2
    =====  =======  ========  =========================================

    The order of the modules is that of the original graph.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(SameConv2d(3, 32, 5, 2), nn.PReLU(32), *plain_blocks(32, BLOCKS))
        self.level_1 = nn.Sequential(PalmBlock(32, 64, 2), *plain_blocks(64, BLOCKS))
        self.level_2 = nn.Sequential(PalmBlock(64, 128, 2), *plain_blocks(128, BLOCKS))
        self.level_3 = nn.Sequential(PalmBlock(128, 256, 2), *plain_blocks(256, BLOCKS))
        self.level_4 = nn.Sequential(PalmBlock(256, 256, 2), *plain_blocks(256, BLOCKS))
        self.up_3 = PalmUpsampling(256, 256)
        self.refine_3 = nn.Sequential(*plain_blocks(256, 2))
        self.head_12 = PalmHead(256, 6)
        self.up_2 = PalmUpsampling(256, 128)
        self.refine_2 = nn.Sequential(*plain_blocks(128, 2))
        self.head_24 = PalmHead(128, 2)

    def forward(self, squares: Float[Tensor, "b 3 192 192"]) -> Float[Tensor, "b 2016 19"]:
        """Compute the raw numbers of each anchor.

        Args:
            squares: RGB in [0, 1].

        Returns:
            Box (centre, width, height), seven points, score before the sigmoid. The 24 x 24 cells come first.
        """
        level_2 = self.level_2(self.level_1(self.stem(squares)))
        level_3 = self.level_3(level_2)
        coarse = self.refine_3(self.up_3(self.level_4(level_3), level_3))
        fine = self.refine_2(self.up_2(coarse, level_2))
        return torch.cat((self.head_24(fine), self.head_12(coarse)), 1)


def plain_blocks(channels: int, count: int) -> list[PalmBlock]:
    """Blocks that keep size and channels."""
    return [PalmBlock(channels, channels) for _ in range(count)]


def load_palm_detector(device: torch.device | str = "cpu") -> PalmDetector:
    """Load the palm detector with MediaPipe's weights, ready for inference.

    Args:
        device: Device of the network.

    Returns:
        The network in float32 and evaluation mode; its weights have no gradient.

    Raises:
        FileNotFoundError: This copy of the library has no weights.
    """
    network = PalmDetector()
    load_weights(network, "palm_detector", device)
    return network


@dataclass(frozen=True)
class Palms:
    """Palms in a square picture, best first. The unit is the picture's side; (0, 0) is its top left corner.

    Attributes:
        box: Left, top, right, bottom.
        points: Wrist, MCPs of index, middle, ring and little finger, thumb CMC, thumb MCP.
        score: Probability of a palm.
    """

    box: Float[Tensor, "n 4"]
    points: Float[Tensor, "n 7 2"]
    score: Float[Tensor, " n"]


def palm_anchors() -> Float[Tensor, "2016 2"]:
    """Centres of the anchors: ((column + 0.5) / cells, (row + 0.5) / cells), in units of the picture's side."""
    centers = []
    for cells, count in GRIDS:
        ticks = (torch.arange(cells) + 0.5) / cells
        y, x = torch.meshgrid(ticks, ticks, indexing="ij")
        centers.append(torch.stack((x, y), -1).reshape(-1, 1, 2).expand(-1, count, -1).reshape(-1, 2))
    return torch.cat(centers)


def decode_palms(raw: Float[Tensor, "b 2016 19"]) -> tuple[Float[Tensor, "b 2016 9 2"], Float[Tensor, "b 2016"]]:
    """Decode the network's output to positions and scores.

    Args:
        raw: From :class:`PalmDetector`.

    Returns:
        Top left and bottom right corner of the box and the seven points, in units of the picture's side; the
        probability of a palm.
    """
    anchors = palm_anchors().to(raw)[:, None]
    center, extent, points = (raw[..., :18] / SIZE).unflatten(-1, (9, 2)).split((1, 1, POINTS), 2)
    positions = torch.cat((center - extent / 2, center + extent / 2, points), 2) + anchors
    return positions, raw[..., 18].clamp(-100, 100).sigmoid()


def merge_palms(
    positions: Float[Tensor, "n 9 2"], score: Float[Tensor, " n"], least_iou: float = SAME_PALM
) -> tuple[Float[Tensor, "m 9 2"], Float[Tensor, " m"]]:
    """Weighted non-maximum suppression: merge the boxes that overlap the best box, weighted by their scores.

    The weighted mean is more stable from frame to frame than the best box.

    Args:
        positions: Two corners of each box, then its points.
        score: Positive weights.
        least_iou: Boxes with a larger intersection over union are the same palm.

    Returns:
        The merged positions, and the best score of each, best first.

    Source: Bazarevsky et al. 2019, "BlazeFace", Sec. 3.3.
    """
    order = score.argsort(descending=True, stable=True)
    positions, score = positions[order], score[order]
    merged, scores = [], []
    while len(score):
        same = intersection_over_union(positions[0, :2], positions[:, :2]) > least_iou
        same[0] = True
        merged.append((score[same, None, None] * positions[same]).sum(0) / score[same].sum())
        scores.append(score[0])
        positions, score = positions[~same], score[~same]
    if not merged:
        return positions, score
    return torch.stack(merged), torch.stack(scores)


def intersection_over_union(box: Float[Tensor, "2 2"], boxes: Float[Tensor, "n 2 2"]) -> Float[Tensor, " n"]:
    """Overlap of one box with others; each box is its top left and bottom right corner."""
    low, high = torch.maximum(box[0], boxes[:, 0]), torch.minimum(box[1], boxes[:, 1])
    common = (high - low).clamp(min=0).prod(-1)
    areas = (boxes[:, 1] - boxes[:, 0]).clamp(min=0).prod(-1)
    return common / ((box[1] - box[0]).clamp(min=0).prod() + areas - common).clamp(min=1e-12)


@torch.no_grad()
def detect_palms(
    network: PalmDetector, squares: Float[Tensor, "b 3 192 192"], least_score: float = LEAST_SCORE
) -> list[Palms]:
    """Find the palms in several pictures at once. Nothing here has a gradient.

    Args:
        network: From :func:`load_palm_detector`.
        squares: RGB in [0, 1], on the CPU or on the network's device.
        least_score: Palms with a lower probability are left out.

    Returns:
        The palms of each picture.
    """
    weight = next(network.parameters())
    squares = to_device(squares, weight.device).to(weight.dtype).contiguous(memory_format=torch.channels_last)
    raw = torch.cat([network(part) for part in squares.split(AT_ONCE)]).cpu()  # the only wait for a GPU
    found = []
    for position, score in zip(*decode_palms(raw), strict=True):
        kept = score >= least_score
        merged, best = merge_palms(position[kept], score[kept])
        found.append(Palms(merged[:, :2].flatten(1), merged[:, 2:], best))
    return found
