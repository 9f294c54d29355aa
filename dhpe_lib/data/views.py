"""Standard augmentation: shifted, rotated and scaled crops with changed colours, and their labels.

This is separate from the paper's own augmentation (Sec. 3.5), which renders novel views. Images are computed on the
crops' device. Random numbers are drawn on the CPU from a seed, so they are equal on all devices. Nothing here has a
gradient.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from dhpe_lib.common.devices import constant_like, to_device
from dhpe_lib.common.records import map_rows
from dhpe_lib.data.crop_frame import SIZE, CropFrame
from dhpe_lib.data.crops import Crops
from dhpe_lib.data.targets import Targets, targets_of
from dhpe_lib.hand.skeleton import MIDDLE_MCP

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""


@dataclass(frozen=True)
class JitterRange:
    """Ranges of the augmentation around the paper's crop; with all ranges 0 there is no jitter.

    Attributes:
        shift: Largest shift of the centre along each axis, units of g.
        angle: Largest rotation of the crop in either direction, radians.
        scale: Largest change of the side, natural logarithm of the factor.
        color: Largest change of brightness, contrast and saturation, natural logarithm of the factor. The factors of
            the single channels differ by 0.3 times as much.
    """

    shift: float = 0.06
    angle: float = math.radians(30)
    scale: float = 0.12
    color: float = 0.25


NO_JITTER = JitterRange(0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Jitter:
    """Sampled augmentation parameters, one row for each image.

    Attributes:
        shift: Shift of the centre, units of g.
        angle: Rotation of the crop, radians.
        scale: Factor of the side.
        brightness: Factor of each channel.
        contrast: Factor of the difference from the picture's mean.
        saturation: Factor of the difference from the grey picture.
    """

    shift: Float[Tensor, "b 2"]
    angle: Float[Tensor, " b"]
    scale: Float[Tensor, " b"]
    brightness: Float[Tensor, "b 3"]
    contrast: Float[Tensor, " b"]
    saturation: Float[Tensor, " b"]

    def __getitem__(self, rows: slice | Int64[Tensor, " n"]) -> "Jitter":
        """Select rows."""
        return map_rows(self, lambda values: values[rows])

    def to(self, device: torch.device) -> "Jitter":
        """Copy to a device."""
        return map_rows(self, lambda values: to_device(values, device))


@dataclass(frozen=True)
class View:
    """Input images of a network, with labels in the frame of the view.

    Attributes:
        images: RGB in [0, 1].
        targets: Labels in the frame of the view.
        frame: Crop frame of the view in the photo.
    """

    images: Float[Tensor, "b 3 s s"]
    targets: Targets
    frame: CropFrame


def draw_jitter(n: int, seed: int, jitter_range: JitterRange) -> Jitter:
    """Sample augmentation parameters uniformly from their ranges.

    Args:
        n: Number of images.
        seed: Random seed; equal seeds give equal rows.
        jitter_range: Ranges of the parameters.

    Returns:
        The parameters, on the CPU.
    """
    generator = torch.Generator().manual_seed(seed)
    draws = 2 * torch.rand(n, 9, generator=generator) - 1
    common, balance = jitter_range.color * draws[:, 4:5], 0.3 * jitter_range.color * draws[:, 5:8]
    both = torch.exp(jitter_range.color * (2 * torch.rand(n, 2, generator=generator) - 1))
    return Jitter(
        shift=jitter_range.shift * draws[:, :2],
        angle=jitter_range.angle * draws[:, 2],
        scale=torch.exp(jitter_range.scale * draws[:, 3]),
        brightness=torch.exp(common + balance),
        contrast=both[:, 0],
        saturation=both[:, 1],
    )


def no_jitter(angle: Float[Tensor, " b"]) -> Jitter:
    """Return parameters that only turn the crops.

    Args:
        angle: Rotation of each crop, radians.

    Returns:
        The parameters, on the device of the angles.
    """
    one, zero = torch.ones_like(angle), torch.zeros_like(angle)
    return Jitter(torch.stack((zero, zero), 1), angle, one, one[:, None].expand(-1, 3), one, one)


def upright_angle(joints_2d: Float[Tensor, "b 21 2"]) -> Float[Tensor, " b"]:
    """Compute the rotation of the crop after which the direction from joint 0 to the middle MCP points up.

    Args:
        joints_2d: Joints in the crop frame, units of g.

    Returns:
        Angles in radians; 0 if the two joints coincide.
    """
    x, y = (joints_2d[:, MIDDLE_MCP] - joints_2d[:, 0]).unbind(-1)
    return torch.atan2(x, -y) * ((x != 0) | (y != 0))


def plain_view(crops: Crops) -> View:
    """Return the paper's crops as views; no pixel is resampled.

    Args:
        crops: Crops with any margin, which is removed.

    Returns:
        Their views.
    """
    return View(crops.without_margin().network_images(), wrist_targets(crops), crops.frame)


def jittered_view(crops: Crops, jitter: Jitter, size: int = SIZE) -> View:
    """Apply the augmentation: image, mask and joints move together.

    Args:
        crops: Crops with their margin. Beyond the margin the picture's border is repeated and the mask is 0.
        jitter: One row for each crop, on any device.
        size: Side of the views, pixels.

    Returns:
        The augmented views.
    """
    jitter = jitter.to(crops.images.device)
    frame = jittered_frame(crops.frame, jitter)
    grid = sample_grid(frame, crops, size)
    images = functional.grid_sample(crops.network_images(), grid, padding_mode="border", align_corners=False)
    masks = functional.grid_sample(crops.masks[:, None].float(), grid, align_corners=False)[:, 0]
    targets = moved_targets(wrist_targets(crops), crops.frame, frame)
    return View(in_other_light(images, jitter), replace(targets, mask=(masks > 0.5).float()), frame)


def wrist_targets(crops: Crops) -> Targets:
    """Return the targets of crops; a joint 0 that is the palm's centre counts as unknown.

    The hand model's joint 0 is the wrist, so a palm label cannot be compared with it.
    """
    targets = targets_of(crops)
    other = torch.arange(targets.known.shape[1], device=targets.known.device) > 0
    keep = ~crops.palm[:, None] | other
    return replace(targets, known=targets.known & keep, known_2d=targets.known_2d & keep)


def moved_targets(targets: Targets, old: CropFrame, new: CropFrame) -> Targets:
    """Convert joints from one crop frame to another frame of the same photo; the masks are not changed."""
    xy, xy_2d = (new.to_crop(old.to_image(points)) for points in (targets.joints[..., :2], targets.joints_2d))
    z = targets.joints[..., 2:] * (old.side / new.side)[:, None, None]
    joints = torch.where(targets.known[..., None], torch.cat((xy, z), -1), 0)
    return replace(targets, joints=joints, joints_2d=torch.where(targets.known_2d[..., None], xy_2d, 0))


def jittered_frame(frame: CropFrame, jitter: Jitter) -> CropFrame:
    """Shift a crop by a fraction of its side, rotate it and scale it."""
    center = frame.center + frame.side[:, None] * jitter.shift
    return CropFrame(center, frame.side * jitter.scale, frame.angle + jitter.angle)


def sample_grid(frame: CropFrame, crops: Crops, size: int = SIZE) -> Float[Tensor, "b size size 2"]:
    """Return the position of each pixel of a view in the stored picture, in [-1, 1] as `grid_sample` needs it."""
    ticks = (torch.arange(size, device=crops.images.device) + 0.5) / size - 0.5
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    points = torch.stack((x, y), -1).reshape(1, -1, 2).expand(len(crops), -1, -1)
    stored = crops.frame.to_crop(frame.to_image(points))
    return (2 * SIZE / crops.images.shape[1] * stored).unflatten(1, (size, size))


def in_other_light(images: Float[Tensor, "b 3 s s"], jitter: Jitter) -> Float[Tensor, "b 3 s s"]:
    """Change saturation, contrast and the brightness of the channels; images and result are in [0, 1]."""
    luma = constant_like(LUMA, images)[:, None, None]
    grey = (luma * images).sum(1, keepdim=True)
    vivid = grey + jitter.saturation[:, None, None, None] * (images - grey)
    mean = vivid.mean((1, 2, 3), keepdim=True)
    steep = mean + jitter.contrast[:, None, None, None] * (vivid - mean)
    return (jitter.brightness[:, :, None, None] * steep).clamp(0, 1)
