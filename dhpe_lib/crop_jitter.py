"""Standard augmentation: other crops of the same photo, in other light, with the labels that belong to them.

Kept apart from the paper's own augmentation (Sec. 3.5), which renders new hands. All happens on the device of the crops;
the draws are made on the CPU from a seed, so they are the same everywhere. Nothing here has a gradient.
"""

import math
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from dhpe_lib.camera import CropFrame
from dhpe_lib.datasets.crops import SIZE, Crops

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
        return Jitter(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def to(self, device: torch.device) -> "Jitter":
        """The same on another device."""
        return Jitter(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


@dataclass(frozen=True)
class View:
    """Hands as a network is shown them, with labels in the frame of the view.

    Attributes:
        images: RGB in [0, 1].
        masks: Where the hand is; all False where unknown.
        has_mask: Whether it is known.
        joints: Crop frame of the view (Eq. 8), z relative to the root; NaN where unknown.
        joints_2d: The same in the picture alone; known more often.
        frame: The view's place in the photo.
    """

    images: Float[Tensor, "b 3 224 224"]
    masks: Bool[Tensor, "b 224 224"]
    has_mask: Bool[Tensor, " b"]
    joints: Float[Tensor, "b 21 3"]
    joints_2d: Float[Tensor, "b 21 2"]
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
    inner = crops.without_margin()
    return View(inner.network_images(), inner.masks, inner.has_mask, *labels_in(crops.frame, crops), crops.frame)


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
    images = functional.grid_sample(
        crops.network_images(), sample_grid(frame, crops), padding_mode="border", align_corners=False
    )
    masks = functional.grid_sample(crops.masks[:, None].float(), sample_grid(frame, crops), align_corners=False)
    labels = labels_in(frame, crops)
    return View(in_other_light(images, jitter), masks[:, 0] > 0.5, crops.has_mask, *labels, frame)


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


def labels_in(frame: CropFrame, crops: Crops) -> tuple[Float[Tensor, "b 21 3"], Float[Tensor, "b 21 2"]]:
    """Joints in a frame of the same photos (Eq. 8), in space and in the picture; NaN where unknown."""
    joints_2d = frame.to_crop(crops.frame.to_image(crops.joints_2d))
    focal = (crops.k[:, 0, 0] + crops.k[:, 1, 1]) / 2
    unit = crops.z_root * frame.side / focal
    z = (crops.joints_3d[..., 2] - crops.z_root[:, None]) / unit[:, None]
    joints = torch.cat((joints_2d, z[..., None]), -1)
    return joints.masked_fill(~joints.isfinite().all(-1, keepdim=True), torch.nan), joints_2d


def in_other_light(images: Float[Tensor, "b 3 s s"], jitter: Jitter) -> Float[Tensor, "b 3 s s"]:
    """Change saturation, contrast and the channels' brightness, in [0, 1]."""
    luma = images.new_tensor(LUMA)[:, None, None]
    grey = (luma * images).sum(1, keepdim=True)
    vivid = grey + jitter.saturation[:, None, None, None] * (images - grey)
    mean = vivid.mean((1, 2, 3), keepdim=True)
    steep = mean + jitter.contrast[:, None, None, None] * (vivid - mean)
    return (jitter.brightness[:, :, None, None] * steep).clamp(0, 1)
