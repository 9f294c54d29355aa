"""Camera effects: lens and motion blur, exposure, white balance, noise and JPEG compression.

All effects, JPEG included, are plain torch operations on whole batches, so they run on the renderer's device.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from dhpe_lib.common.devices import constant_like, table
from dhpe_lib.synthetic.lighting import temperature
from dhpe_lib.synthetic.sampling import Sampler

TAPS = 9
"""Side of the blur kernel, pixels."""
MIDDLE = 0.45
"""Grey value that contrast does not change."""
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
    """Parameters of the camera of each image.

    Attributes:
        blur: Standard deviation of the lens blur and of the motion blur along `direction`, pixels.
        direction: Direction of the motion, radians.
        gain: Factor of each channel: exposure times white balance.
        curve: Exponent of the tone curve, contrast around a middle grey, and saturation.
        noise: Standard deviation of the shot noise at brightness 1 (it grows with the square root of the brightness),
            and of the read noise, which is constant.
        quality: JPEG quality, 1 to 100.
    """

    blur: Float[Tensor, "b 2"]
    direction: Float[Tensor, " b"]
    gain: Float[Tensor, "b 3"]
    curve: Float[Tensor, "b 3"]
    noise: Float[Tensor, "b 2"]
    quality: Float[Tensor, " b"]


def draw_cameras(sampler: Sampler) -> Cameras:
    """Sample cameras, from a good camera to a bad camera in the dark; one picture in five has motion blur."""
    moved = sampler.uniform(0.5, 2.6) * sampler.chance(0.2)
    lens = sampler.log_uniform(0.38, 1.2)
    exposure = sampler.normal(0.16, 1).exp()
    curve = torch.stack((sampler.normal(0.12).exp(), sampler.uniform(0.95, 1.5), sampler.uniform(0.7, 1.15)), -1)
    noise = sampler.log_uniform(0.003, 0.035, 1) * sampler.uniform(0.3, 1.0, 2)
    return Cameras(
        torch.stack((lens, moved), -1),
        sampler.uniform(0.0, math.pi),
        exposure * temperature(sampler.normal(0.07)),
        curve,
        noise,
        sampler.uniform(35.0, 97.0),
    )


def photograph(cameras: Cameras, scene: Float[Tensor, "b 3 s s"], noise: torch.Generator) -> UInt8[Tensor, "b 3 s s"]:
    """Apply the camera: blur, gain, tone curve, contrast, saturation, noise, JPEG.

    Args:
        cameras: Parameters of each image.
        scene: Rendered images, sRGB in [0, 1].
        noise: Generator of the noise, on the device of the scene.

    Returns:
        The decoded JPEG images.
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
    """Blur each image with its own Gaussian kernel, which is longer along one direction.

    Args:
        picture: Images with any number of channels.
        blur: Standard deviations, pixels: across the direction, and the additional one along it (variances add).
        direction: Direction of the long axis, radians from x towards y.

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
    kernel = torch.where(kernel > 1e-5, kernel, 0.0)  # CPUs are slow with denormal numbers
    kernel = kernel / kernel.sum((1, 2), keepdim=True)
    b, c = picture.shape[:2]
    weights = kernel.repeat_interleave(c, 0)[:, None]
    padded = functional.pad(picture, (TAPS // 2,) * 4, mode="replicate")
    return functional.conv2d(padded.flatten(0, 1)[None], weights, groups=b * c).view_as(picture)


def _dct_basis() -> Float[Tensor, "64 64"]:
    """Return the 64 cosine waves of an 8 x 8 block as orthonormal rows."""
    k = torch.arange(8.0)
    waves = (math.pi * (2 * k + 1) * k[:, None] / 16).cos() / 2
    waves[0] /= math.sqrt(2)
    return torch.einsum("ux,vy->uvxy", waves, waves).reshape(64, 64)


def _steps() -> Float[Tensor, "2 64"]:
    """Return the quantisation steps of luminance and chrominance at quality 50."""
    chrominance = torch.full((8, 8), 99.0)
    chrominance[:5, :5] = torch.tensor(CHROMINANCE).view(5, 5)
    return torch.stack((torch.tensor(LUMINANCE).float(), chrominance.flatten()))


def jpeg(picture: Float[Tensor, "b 3 s s"], quality: Float[Tensor, " b"]) -> UInt8[Tensor, "b 3 s s"]:
    """Compress and decompress pictures as JPEG does.

    The cosine coefficients of 8 x 8 blocks are rounded to multiples of their quantisation steps. Colour has half the
    resolution, as in most cameras (4:2:0).

    Args:
        picture: sRGB in [0, 1]; the side is a multiple of 16.
        quality: 1 to 100, as in libjpeg.

    Returns:
        RGB images.

    Source: ITU T.81; JFIF 1.02 for the colours.
    """
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality) / 100
    steps = (scale[:, None, None] * table(_steps, picture.device) + 0.5).floor().clamp(1, 255)
    r, g, b = (255 * picture).unbind(1)
    y = (0.299 * r).add_(g, alpha=0.587).add_(b, alpha=0.114)
    halves = (
        functional.avg_pool2d(torch.stack((b - y, r - y), 1), 2) / constant_like((1.772, 1.402), picture)[:, None, None]
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
    """Round the cosine coefficients of each block to multiples of their steps."""
    b, c, s, _ = plane.shape
    blocks = plane.view(b, c, s // 8, 8, s // 8, 8).transpose(3, 4).reshape(b, -1, 64)
    basis, steps = table(_dct_basis, plane.device), steps[:, None]
    waves = (blocks @ basis.mT).div_(steps).round_().mul_(steps)
    return (waves @ basis).view(b, c, s // 8, s // 8, 8, 8).transpose(3, 4).reshape(b, c, s, s)
