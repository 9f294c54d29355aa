"""What a camera does to a picture: lens, motion, exposure, white balance, noise, JPEG.

All of it is plain torch on whole batches, the JPEG too, so that it runs where the renderer does.
"""

import math
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from dhpe_lib.synthetic.lighting import temperature
from dhpe_lib.synthetic.sampling import Dice

TAPS = 9
MIDDLE = 0.45
"""The grey that more contrast leaves as it is."""
LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
"""Quantisation steps of the JPEG standard (ITU T.81, Table K.1)."""
CHROMINANCE = (17, 18, 24, 47, 99, 18, 21, 26, 66, 99, 24, 26, 56, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99, 99, 99)
"""The upper left 5 x 5 of Table K.2; all others are 99."""


@dataclass(frozen=True)
class Cameras:
    """Of each image.

    Attributes:
        blur: Standard deviation of the lens, and of the motion on top along `direction`, pixels.
        direction: Of the motion, radians.
        gain: Exposure and white balance.
        curve: Exponent of the tone curve, contrast around a middle grey, and saturation.
        noise: Deviation that grows with the root of the light, and that does not.
        quality: Of the JPEG, 1 to 100.
    """

    blur: Float[Tensor, "b 2"]
    direction: Float[Tensor, " b"]
    gain: Float[Tensor, "b 3"]
    curve: Float[Tensor, "b 3"]
    noise: Float[Tensor, "b 2"]
    quality: Float[Tensor, " b"]


def draw_cameras(dice: Dice) -> Cameras:
    """Draw cameras, from a good one to a bad one in the dark; one picture in five is moved."""
    moved = dice.uniform(0.5, 2.6) * dice.chance(0.2)
    lens = dice.log_uniform(0.38, 1.2)
    exposure = dice.normal(0.16, 1).exp()
    curve = torch.stack((dice.normal(0.12).exp(), dice.uniform(0.95, 1.5), dice.uniform(0.7, 1.15)), -1)
    noise = dice.log_uniform(0.003, 0.035, 1) * dice.uniform(0.3, 1.0, 2)
    return Cameras(
        torch.stack((lens, moved), -1),
        dice.uniform(0.0, math.pi),
        exposure * temperature(dice.normal(0.07)),
        curve,
        noise,
        dice.uniform(35.0, 97.0),
    )


def photograph(cameras: Cameras, scene: Float[Tensor, "b 3 s s"], noise: torch.Generator) -> UInt8[Tensor, "b 3 s s"]:
    """Take the picture: blur, expose, develop, add noise, compress.

    Args:
        cameras: One for each image.
        scene: sRGB in [0, 1].
        noise: On the device of the scene.

    Returns:
        What is on the memory card.
    """
    contrast, saturation = cameras.curve[:, 1:, None, None, None].unbind(1)
    shot, read = cameras.noise[:, :, None, None, None].square().unbind(1)
    picture = blurred(scene, cameras.blur, cameras.direction)
    picture.mul_(cameras.gain[..., None, None]).clamp_(1e-4, 1).pow_(cameras.curve[:, 0, None, None, None])
    picture.sub_(MIDDLE).mul_(contrast).add_(MIDDLE)
    grey = picture.mean(1, keepdim=True)
    picture.sub_(grey).mul_(saturation).add_(grey)
    deviation = picture.clamp_min(0).mul_(shot).add_(read).sqrt_()
    picture.add_(deviation.mul_(torch.randn(picture.shape, generator=noise, device=picture.device)))
    return jpeg(picture.clamp_(0, 1), cameras.quality)


def blurred(
    picture: Float[Tensor, "b c s s"], blur: Float[Tensor, "b 2"], direction: Float[Tensor, " b"]
) -> Float[Tensor, "b c s s"]:
    """Gaussian blur of each image by its own kernel, longer along one direction.

    Args:
        picture: Any channels.
        blur: Standard deviation across, and what is added along (variances add), pixels.
        direction: Radians from x towards y.

    Returns:
        The blurred images; borders are replicated.
    """
    ticks = torch.arange(TAPS, device=picture.device) - TAPS // 2
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    along = x * direction.cos()[:, None, None] + y * direction.sin()[:, None, None]
    across = y * direction.cos()[:, None, None] - x * direction.sin()[:, None, None]
    narrow = blur[:, 0, None, None].square()
    wide = narrow + blur[:, 1, None, None].square()
    kernel = (-0.5 * (along.square() / wide + across.square() / narrow)).exp()
    kernel = torch.where(kernel > 1e-5, kernel, 0.0)  # processors are slow with the tiniest numbers
    kernel = kernel / kernel.sum((1, 2), keepdim=True)
    b, c = picture.shape[:2]
    weights = kernel.repeat_interleave(c, 0)[:, None]
    padded = functional.pad(picture, (TAPS // 2,) * 4, mode="replicate")
    return functional.conv2d(padded.flatten(0, 1)[None], weights, groups=b * c).view_as(picture)


@cache
def _dct_basis() -> Float[Tensor, "64 64"]:
    """Rows: the 64 cosine waves of an 8 x 8 block, orthonormal."""
    k = torch.arange(8.0)
    waves = (math.pi * (2 * k + 1) * k[:, None] / 16).cos() / 2
    waves[0] /= math.sqrt(2)
    return torch.einsum("ux,vy->uvxy", waves, waves).reshape(64, 64)


@cache
def _steps() -> Float[Tensor, "2 64"]:
    chrominance = torch.full((8, 8), 99.0)
    chrominance[:5, :5] = torch.tensor(CHROMINANCE).view(5, 5)
    return torch.stack((torch.tensor(LUMINANCE).float(), chrominance.flatten()))


def jpeg(picture: Float[Tensor, "b 3 s s"], quality: Float[Tensor, " b"]) -> UInt8[Tensor, "b 3 s s"]:
    """What JPEG leaves of a picture: cosine waves of 8 x 8 blocks rounded to multiples of their steps.

    Colour has half the resolution, as cameras store it (4:2:0).

    Args:
        picture: sRGB in [0, 1]; the side is a multiple of 16.
        quality: 1 to 100, with libjpeg's meaning.

    Returns:
        RGB.

    Source: ITU T.81; JFIF 1.02 for the colours.
    """
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality) / 100
    steps = (scale[:, None, None] * _steps().to(picture) + 0.5).floor().clamp(1, 255)
    r, g, b = (255 * picture).unbind(1)
    y = (0.299 * r).add_(g, alpha=0.587).add_(b, alpha=0.114)
    halves = (
        functional.avg_pool2d(torch.stack((b - y, r - y), 1), 2) / picture.new_tensor([1.772, 1.402])[:, None, None]
    )
    y = _quantised(y.sub_(128)[:, None], steps[:, 0])[:, 0].add_(128)
    color = _quantised(halves, steps[:, 1])
    blue, red = functional.interpolate(color, scale_factor=2, mode="bilinear", align_corners=False).unbind(1)
    out = y[:, None].repeat(1, 3, 1, 1)
    out[:, 0].add_(red, alpha=1.402)
    out[:, 1].sub_(red, alpha=0.299 * 1.402 / 0.587).sub_(blue, alpha=0.114 * 1.772 / 0.587)
    out[:, 2].add_(blue, alpha=1.772)
    return out.round_().clamp_(0, 255).to(torch.uint8)


def _quantised(plane: Float[Tensor, "b c s s"], steps: Float[Tensor, "b 64"]) -> Float[Tensor, "b c s s"]:
    """Round the waves of each block to multiples of their steps."""
    b, c, s, _ = plane.shape
    blocks = plane.view(b, c, s // 8, 8, s // 8, 8).transpose(3, 4).reshape(b, -1, 64)
    basis, steps = _dct_basis().to(plane), steps[:, None]
    waves = (blocks @ basis.mT).div_(steps).round_().mul_(steps)
    return (waves @ basis).view(b, c, s // 8, s // 8, 8, 8).transpose(3, 4).reshape(b, c, s, s)
