"""Standard augmentation: other crops of the same photo, in other light, with the labels that belong to them.

Kept apart from the paper's own augmentation (Sec. 3.5), which renders new hands. All is done on the crops' device,
and the draws are made on the CPU from a seed, so they are the same everywhere. Nothing here has a gradient.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from dhpe_lib.common.records import map_rows
from dhpe_lib.data.crop_frame import SIZE, CropFrame
from dhpe_lib.data.crops import Crops
from dhpe_lib.data.targets import Targets, targets_of

LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class JitterRange:
    """How far a view may differ from the crop of the paper; all zero is no jitter.

    Attributes:
        shift: Of the centre along each axis, share of g.
        angle: Of the crop's x axis, radians, to either side.
        scale: Of the side, natural logarithm, to either side.
        color: Of brightness, contrast, saturation and the balance of the channels, natural logarithm, to either side.
    """

    shift: float = 0.06
    angle: float = math.radians(30)
    scale: float = 0.12
    color: float = 0.25


@dataclass(frozen=True)
class Jitter:
    """What was drawn, one row for each image.

    Attributes:
        shift: Units of g.
        angle: Radians.
        scale: Factor of the side.
        brightness: Factor of each channel.
        contrast: Factor about the picture's mean.
        saturation: Factor about the grey picture.
    """

    shift: Float[Tensor, "b 2"]
    angle: Float[Tensor, " b"]
    scale: Float[Tensor, " b"]
    brightness: Float[Tensor, "b 3"]
    contrast: Float[Tensor, " b"]
    saturation: Float[Tensor, " b"]

    def __getitem__(self, rows: slice | Int64[Tensor, " n"]) -> "Jitter":
        """Some of them."""
        return map_rows(self, lambda values: values[rows])

    def to(self, device: torch.device) -> "Jitter":
        """The same on another device."""
        return map_rows(self, lambda values: values.to(device))


@dataclass(frozen=True)
class View:
    """Hands as a network is shown them, with labels in the frame of the view.

    Attributes:
        images: RGB in [0, 1].
        targets: What is known, in this view.
        frame: The view's place in the photo.
    """

    images: Float[Tensor, "b 3 224 224"]
    targets: Targets
    frame: CropFrame


def draw_jitter(n: int, seed: int, reach: JitterRange) -> Jitter:
    """Draw from uniform ranges.

    Args:
        n: Images.
        seed: The same seed gives the same rows.
        reach: How far.

    Returns:
        The draws, on the CPU.
    """
    generator = torch.Generator().manual_seed(seed)
    draws = 2 * torch.rand(n, 9, generator=generator) - 1
    common, balance = reach.color * draws[:, 4:5], 0.3 * reach.color * draws[:, 5:8]
    both = torch.exp(reach.color * (2 * torch.rand(n, 2, generator=generator) - 1))
    return Jitter(
        shift=reach.shift * draws[:, :2],
        angle=reach.angle * draws[:, 2],
        scale=torch.exp(reach.scale * draws[:, 3]),
        brightness=torch.exp(common + balance),
        contrast=both[:, 0],
        saturation=both[:, 1],
    )


def plain_view(crops: Crops) -> View:
    """The crops as the paper cuts them; no pixel is resampled.

    Args:
        crops: With any margin.

    Returns:
        Their views.
    """
    return View(crops.without_margin().network_images(), wrist_targets(crops), crops.frame)


def jittered_view(crops: Crops, jitter: Jitter) -> View:
    """Other crops around the same hands, in other light.

    Args:
        crops: With their margin; what lies beyond it continues the picture's border, and is no hand.
        jitter: As many rows, on any device.

    Returns:
        The views: an image, its mask and its joints move together.
    """
    jitter = jitter.to(crops.images.device)
    frame = jittered_frame(crops.frame, jitter)
    grid = sample_grid(frame, crops)
    images = functional.grid_sample(crops.network_images(), grid, padding_mode="border", align_corners=False)
    masks = functional.grid_sample(crops.masks[:, None].float(), grid, align_corners=False)[:, 0]
    targets = moved_targets(wrist_targets(crops), crops.frame, frame)
    return View(in_other_light(images, jitter), replace(targets, mask=(masks > 0.5).float()), frame)


def wrist_targets(crops: Crops) -> Targets:
    """The targets of crops; where joint 0 is the palm's centre it counts as unknown, since the hand's is the wrist."""
    targets = targets_of(crops)
    other = torch.arange(targets.known.shape[1], device=targets.known.device) > 0
    keep = ~crops.palm[:, None] | other
    return replace(targets, known=targets.known & keep, known_2d=targets.known_2d & keep)


def moved_targets(targets: Targets, old: CropFrame, new: CropFrame) -> Targets:
    """The joints of one crop frame in another frame of the same photo; the masks stay as they are."""
    xy, xy_2d = (new.to_crop(old.to_image(points)) for points in (targets.joints[..., :2], targets.joints_2d))
    z = targets.joints[..., 2:] * (old.side / new.side)[:, None, None]
    joints = torch.where(targets.known[..., None], torch.cat((xy, z), -1), 0)
    return replace(targets, joints=joints, joints_2d=torch.where(targets.known_2d[..., None], xy_2d, 0))


def jittered_frame(frame: CropFrame, jitter: Jitter) -> CropFrame:
    """The crop moved by shares of its side, turned and scaled."""
    center = frame.center + frame.side[:, None] * jitter.shift
    return CropFrame(center, frame.side * jitter.scale, frame.angle + jitter.angle)


def sample_grid(frame: CropFrame, crops: Crops) -> Float[Tensor, "b 224 224 2"]:
    """For each pixel of a view its place in the stored picture, as `grid_sample` counts: [-1, 1] spans the picture."""
    ticks = (torch.arange(SIZE, device=crops.images.device) + 0.5) / SIZE - 0.5
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    points = torch.stack((x, y), -1).reshape(1, -1, 2).expand(len(crops), -1, -1)
    stored = crops.frame.to_crop(frame.to_image(points))
    return (2 * SIZE / crops.images.shape[1] * stored).unflatten(1, (SIZE, SIZE))


def in_other_light(images: Float[Tensor, "b 3 s s"], jitter: Jitter) -> Float[Tensor, "b 3 s s"]:
    """Change saturation, contrast and the channels' brightness, in [0, 1]."""
    luma = images.new_tensor(LUMA)[:, None, None]
    grey = (luma * images).sum(1, keepdim=True)
    vivid = grey + jitter.saturation[:, None, None, None] * (images - grey)
    mean = vivid.mean((1, 2, 3), keepdim=True)
    steep = mean + jitter.contrast[:, None, None, None] * (vivid - mean)
    return (jitter.brightness[:, :, None, None] * steep).clamp(0, 1)
