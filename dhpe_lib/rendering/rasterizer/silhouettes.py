"""Three silhouettes with gradients, above their kernels: soft (SoftRas), coverage (exact area), kato (Kato et al.)."""

import math

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from dhpe_lib.rendering.rasterizer.fragments import find_nearest
from dhpe_lib.rendering.rasterizer.kernels import coverage as coverage_kernels
from dhpe_lib.rendering.rasterizer.kernels import kato as kato_kernels
from dhpe_lib.rendering.rasterizer.kernels import soft as soft_kernels
from dhpe_lib.rendering.rasterizer.launch import gradient_of, launch

TAIL = 1e-4
"""A face adds nothing to a pixel where its probability is below this: PyTorch3D's blur radius."""


class _Soft(torch.autograd.Function):
    """Autograd's side of `soft_forward` and `soft_backward`."""

    @staticmethod
    def forward(ctx, places: Tensor, faces: Tensor, height: int, width: int, sigma: float) -> Tensor:
        odds = places.new_ones(len(places), height, width)
        radius = math.sqrt(math.log(1 / TAIL - 1) * sigma)
        dim = (len(places), faces.shape[1])
        launch(soft_kernels.soft_forward, dim, [places, faces, sigma, radius, odds])
        ctx.save_for_backward(places, faces, odds)
        ctx.sigma, ctx.radius = sigma, radius
        return 1 - 1 / odds

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        places, faces, odds = ctx.saved_tensors
        gradient = gradient_of(places)
        arguments = [places, faces, ctx.sigma, ctx.radius, odds, cotangent, gradient]
        launch(soft_kernels.soft_backward, (len(places), faces.shape[1]), arguments)
        return gradient.sum(0), None, None, None, None


def soft(
    places: Float[Tensor, "batch vertices 3"],
    faces: Int32[Tensor, "meshes faces 3"],
    height: int,
    width: int,
    sigma: float,
) -> Float[Tensor, "batch height width"]:
    """The probability m = 1 - prod_k (1 - p_k) that a pixel is covered; see `dhpe_lib.rendering.rasterizer.kernels.soft`.

    Args:
        places: Pixels.
        faces: From `prepare_faces`.
        height: Rows.
        width: Columns.
        sigma: Softness, squared pixels.

    Returns:
        Probabilities in [0, 1].

    Source:
        Liu et al., Soft Rasterizer, ICCV 2019, Eqs. 1 and 5.
    """
    return _Soft.apply(places, faces, height, width, sigma)


class _Coverage(torch.autograd.Function):
    """Autograd's side of `coverage_forward` and `coverage_backward`."""

    @staticmethod
    def forward(ctx, places: Tensor, faces: Tensor, height: int, width: int) -> Tensor:
        layers = places.new_zeros(2, len(places), height, width)
        launch(coverage_kernels.coverage_forward, (len(places), faces.shape[1]), [places, faces, layers])
        ctx.save_for_backward(places, faces, layers)
        mask = torch.maximum(layers[0], layers[1]).clamp_min_(0)
        return mask.masked_fill_(mask >= coverage_kernels.FULL, 1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        places, faces, layers = ctx.saved_tensors
        gradient = gradient_of(places)
        arguments = [places, faces, layers, cotangent, gradient]
        launch(coverage_kernels.coverage_backward, (len(places), faces.shape[1]), arguments)
        return gradient.sum(0), None, None, None


def coverage(
    places: Float[Tensor, "batch vertices 3"], faces: Int32[Tensor, "meshes faces 3"], height: int, width: int
) -> Float[Tensor, "batch height width"]:
    """The share m = min(1, max(front, back)) of a pixel's square that lies under the surface.

    See `dhpe_lib.rendering.rasterizer.kernels.coverage`. `front` and `back` count the layers of the surface seen from either
    side, averaged over the pixel. One layer is exact. Where a pixel holds edges of two layers, one over the other,
    their areas add up to at most 1. No gradient where a pixel is full.

    Args:
        places: Pixels.
        faces: From `prepare_faces`.
        height: Rows.
        width: Columns.

    Returns:
        Coverage in [0, 1].
    """
    return _Coverage.apply(places, faces, height, width)


class _Kato(torch.autograd.Function):
    """A hard mask with the gradient of `kato_backward`."""

    @staticmethod
    def forward(ctx, places: Tensor, faces: Tensor, height: int, width: int) -> Tensor:
        face_index = find_nearest(places, faces, height, width)
        ctx.save_for_backward(places, faces, face_index)
        return (face_index >= 0).to(places.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        places, faces, face_index = ctx.saved_tensors
        gradient = gradient_of(places)
        arguments = [places, faces, face_index, cotangent, gradient]
        launch(kato_kernels.kato_backward, (len(places), faces.shape[1]), arguments)
        return gradient.sum(0), None, None, None


def kato(
    places: Float[Tensor, "batch vertices 3"], faces: Int32[Tensor, "meshes faces 3"], height: int, width: int
) -> Float[Tensor, "batch height width"]:
    """The hard mask: 1 where a face covers the pixel's centre; its gradient is `dhpe_lib.rendering.rasterizer.kernels.kato`'s.

    Args:
        places: Pixels.
        faces: From `prepare_faces`.
        height: Rows.
        width: Columns.

    Returns:
        0 or 1. The gradient depends on the cotangent's sign, and is not the derivative of anything.

    Source:
        Kato, Ushiku and Harada, Neural 3D Mesh Renderer, CVPR 2018, Sec. 3.2.
    """
    return _Kato.apply(places, faces, height, width)
