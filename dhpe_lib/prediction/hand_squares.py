"""Squares of a photo for the networks: the whole photo, tiles, turned squares around a hand. Nothing has a gradient.

The hand landmark network wants a hand that points up in its square. The square is turned so that the line from the
wrist to the middle MCP goes up, enlarged, and shifted along the hand, as MediaPipe does.
"""

from collections.abc import Sequence
from math import ceil, floor

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.hand.skeleton import JOINT_NAMES, MIDDLE_MCP
from dhpe_lib.network.palm_detector import MIDDLE_POINT, WRIST_POINT, Palms

PALM_SCALE, PALM_SHIFT = 2.6, 0.5
"""Side of the hand's square over that of the palm's box, and its shift towards the fingers over the same."""
HAND_SCALE, HAND_SHIFT = 2.0, 0.1
"""The same over the box of the joints without the finger ends."""
READ = 4
"""Pixels of the photo along a side that make one pixel of a cut; in a larger photo, pixels between them are skipped."""
STEADY_JOINTS = (0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18)
"""Joints that place the next square: the finger ends move too much."""
WRIST, INDEX_MCP, RING_MCP = (JOINT_NAMES.index(name) for name in ("wrist", "index_1", "ring_1"))


def cut_squares(photo: UInt8[ndarray, "height width 3"], frame: CropFrame, size: int) -> Float[Tensor, "b 3 size size"]:
    """Cut several squares out of one photo. Pixels outside the photo are black.

    Only the part of the photo under a square is read, and large parts are reduced first. A photo of 40 megapixels
    needs little more time and memory than a small one.

    Args:
        photo: RGB.
        frame: The squares.
        size: Pixels along the side of the result.

    Returns:
        RGB in [0, 1].
    """
    rows = [[k] for k in range(len(frame.side))]
    parts = [_cut(photo, CropFrame(frame.center[k], frame.side[k], frame.angle[k]), size) for k in rows]
    return torch.cat([torch.zeros(0, 3, size, size), *parts])


def _cut(photo: UInt8[ndarray, "height width 3"], frame: CropFrame, size: int) -> Float[Tensor, "1 3 size size"]:
    corners = frame.to_image(torch.tensor([[[-0.5, -0.5], [0.5, -0.5], [-0.5, 0.5], [0.5, 0.5]]]))[0]
    left, top = (max(0, floor(value) - 2) for value in corners.amin(0).tolist())
    right, bottom = (ceil(value) + 2 for value in corners.amax(0).tolist())
    part = photo[top:bottom, left:right]
    if not part.size:
        return torch.zeros(1, 3, size, size)
    step, mean = _reduction(frame.side.item() / size)
    if step > 1:
        part = part[step // 2 :: step, step // 2 :: step]
    if mean > 1:
        part = np.asarray(Image.fromarray(part).reduce(mean))
    factor = step * mean
    pixels = torch.from_numpy(part.astype(np.float32)).permute(2, 0, 1)[None] / 255
    center = (frame.center - torch.tensor([[left, top]])) / factor
    return _sampled(pixels, CropFrame(center, frame.side / factor, frame.angle), size)


def _sampled(pixels: Float[Tensor, "1 3 h w"], frame: CropFrame, size: int) -> Float[Tensor, "1 3 size size"]:
    """The crop of :meth:`CropFrame.crop_image` with one bilinear sample for each pixel, four times as fast."""
    extent = torch.tensor(pixels.shape[:-3:-1])
    cos, sin = frame.angle.cos(), frame.angle.sin()
    turn = torch.stack((torch.cat((cos, -sin)), torch.cat((sin, cos))))
    scaled = turn * frame.side / extent[:, None]
    theta = torch.cat((scaled, (2 * frame.center[0] / extent - 1)[:, None]), 1)
    grid = functional.affine_grid(theta[None], [1, 3, size, size], align_corners=False)
    return functional.grid_sample(pixels, grid, align_corners=False)


def _reduction(ratio: float) -> tuple[int, int]:
    """Step between the pixels that are read, and number of them along a side whose mean is taken.

    Their product is at most the ratio. At least 4 x 4 pixels are averaged before any is left out.
    """
    step = max(1, floor(ratio / READ))
    return step, max(1, floor(ratio / step))


def whole_square(height: int, width: int, margin: float = 1.0, angles: Sequence[float] = (0.0,)) -> CropFrame:
    """Squares about the whole photo.

    Args:
        height: Height of the photo, pixels.
        width: Width of the photo, pixels.
        margin: Side over the photo's larger side.
        angles: A turned square for each.

    Returns:
        The squares.
    """
    n = len(angles)
    center = torch.tensor([[width / 2, height / 2]]).expand(n, -1)
    return CropFrame(center, torch.full((n,), margin * max(height, width)), torch.tensor(angles))


def tile_squares(height: int, width: int, share: float) -> CropFrame:
    """Upright squares that cover the photo; neighbours overlap by at least half, so each hand is whole in one.

    Args:
        height: Height of the photo, pixels.
        width: Width of the photo, pixels.
        share: Side of a tile over the photo's larger side.

    Returns:
        The squares, row by row.
    """
    side = share * max(height, width)
    x, y = (_tile_centers(length, side) for length in (width, height))
    center = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).reshape(-1, 2)
    return CropFrame(center, torch.full((len(center),), side), torch.zeros(len(center)))


def _tile_centers(length: int, side: float) -> Float[Tensor, " n"]:
    if length <= side:
        return torch.tensor([length / 2])
    return torch.linspace(side / 2, length - side / 2, ceil(2 * (length - side) / side - 1e-6) + 1)


def squares_of_palms(palms: Palms, frame: CropFrame) -> CropFrame:
    """The turned squares around the hands whose palms were found.

    Args:
        palms: Palms in one square picture.
        frame: Frame of that picture in the photo; one row.

    Returns:
        A square for each palm, in the photo.

    Source: MediaPipe's graph from a palm detection to a region of interest.
    """
    low, high = palms.box[:, :2], palms.box[:, 2:]
    center = frame.to_image((low + high)[None] / 2 - 0.5)[0]
    axis = frame.to_image(palms.points[None, :, WRIST_POINT] - 0.5)[0]
    angle = upright_angle(frame.to_image(palms.points[None, :, MIDDLE_POINT] - 0.5)[0] - axis)
    width, height = ((high - low) * frame.side).unbind(1)
    side = torch.maximum(width, height)
    return CropFrame(center + up(angle) * (PALM_SHIFT * height)[:, None], PALM_SCALE * side, angle)


def squares_of_joints(joints_px: Float[Tensor, "b 21 2"]) -> CropFrame:
    """The turned squares around hands whose joints are known, for another look or for the next frame of a video.

    Args:
        joints_px: Pixels of the photo.

    Returns:
        A square for each hand; its side is at least one pixel.

    Source: MediaPipe's graph from hand landmarks to a region of interest.
    """
    knuckles = (joints_px[:, INDEX_MCP] + joints_px[:, RING_MCP]) / 4 + joints_px[:, MIDDLE_MCP] / 2
    angle = upright_angle(knuckles - joints_px[:, WRIST])
    unit = CropFrame(joints_px[:, WRIST], torch.ones_like(angle), angle)
    turned = unit.to_crop(joints_px[:, list(STEADY_JOINTS)])
    low, high = turned.amin(1), turned.amax(1)
    center, (width, height) = unit.to_image((low + high)[:, None] / 2)[:, 0], (high - low).unbind(1)
    side = HAND_SCALE * torch.maximum(width, height)
    return CropFrame(center + up(angle) * (HAND_SHIFT * height)[:, None], side.clamp(min=1), angle)


def upright_angle(direction: Float[Tensor, "b 2"]) -> Float[Tensor, " b"]:
    """Angle of a square in which a direction of the image goes up; 0 for a direction that goes up already."""
    return torch.atan2(direction[:, 0], -direction[:, 1])


def up(angle: Float[Tensor, " b"]) -> Float[Tensor, "b 2"]:
    """Direction in the image that goes up in a turned square."""
    return torch.stack((angle.sin(), -angle.cos()), -1)
