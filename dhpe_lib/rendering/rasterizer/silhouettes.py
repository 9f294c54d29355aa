"""Three silhouettes with gradients, by Warp kernels: soft (SoftRas), coverage (exact area) and kato (Kato et al.)."""

import math

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from dhpe_lib.rendering.rasterizer.fragments import find_nearest
from dhpe_lib.rendering.rasterizer.kernels import coverage as coverage_kernels
from dhpe_lib.rendering.rasterizer.kernels import kato as kato_kernels
from dhpe_lib.rendering.rasterizer.kernels import soft as soft_kernels
from dhpe_lib.rendering.rasterizer.launch import launch, zeros_for_gradient

TAIL = 1e-4
"""A face adds nothing to a pixel where its probability is below this; it equals PyTorch3D's blur radius."""


class _Soft(torch.autograd.Function):
    """Autograd function of the kernels `soft_forward` and `soft_backward`."""

    @staticmethod
    def forward(ctx, screen: Tensor, faces: Tensor, height: int, width: int, sigma: float) -> Tensor:
        odds = screen.new_ones(len(screen), height, width)
        radius = math.sqrt(math.log(1 / TAIL - 1) * sigma)
        dim = (len(screen), faces.shape[1])
        launch(soft_kernels.soft_forward, dim, [screen, faces, sigma, radius, odds])
        ctx.save_for_backward(screen, faces, odds)
        ctx.sigma, ctx.radius = sigma, radius
        return 1 - 1 / odds

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        screen, faces, odds = ctx.saved_tensors
        gradient = zeros_for_gradient(screen)
        arguments = [screen, faces, ctx.sigma, ctx.radius, odds, cotangent, gradient]
        launch(soft_kernels.soft_backward, (len(screen), faces.shape[1]), arguments)
        return gradient.sum(0), None, None, None, None


def soft(
    screen: Float[Tensor, "batch vertices 3"],
    faces: Int32[Tensor, "meshes faces 3"],
    height: int,
    width: int,
    sigma: float,
) -> Float[Tensor, "batch height width"]:
    """Render the probability m = 1 - prod_k (1 - p_k) that a pixel is covered.

    See `dhpe_lib.rendering.rasterizer.kernels.soft`.

    Args:
        screen: Screen coordinates u and v in pixels, and depth.
        faces: From `prepare_faces`.
        height: Rows.
        width: Columns.
        sigma: Softness, squared pixels.

    Returns:
        Probabilities in [0, 1].

    Source:
        Liu et al., Soft Rasterizer, ICCV 2019, Eqs. 1 and 5.
    """
    return _Soft.apply(screen, faces, height, width, sigma)


class _Coverage(torch.autograd.Function):
    """Autograd function of the kernels `coverage_forward` and `coverage_backward`."""

    @staticmethod
    def forward(ctx, screen: Tensor, faces: Tensor, height: int, width: int) -> Tensor:
        layers = screen.new_zeros(2, len(screen), height, width)
        launch(coverage_kernels.coverage_forward, (len(screen), faces.shape[1]), [screen, faces, layers])
        ctx.save_for_backward(screen, faces, layers)
        mask = torch.maximum(layers[0], layers[1]).clamp_min_(0)
        return mask.masked_fill_(mask >= coverage_kernels.FULL, 1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        screen, faces, layers = ctx.saved_tensors
        gradient = zeros_for_gradient(screen)
        arguments = [screen, faces, layers, cotangent, gradient]
        launch(coverage_kernels.coverage_backward, (len(screen), faces.shape[1]), arguments)
        return gradient.sum(0), None, None, None


def coverage(
    screen: Float[Tensor, "batch vertices 3"], faces: Int32[Tensor, "meshes faces 3"], height: int, width: int
) -> Float[Tensor, "batch height width"]:
    """Render the share m = min(1, max(front, back)) of each pixel's square that the surface covers.

    See `dhpe_lib.rendering.rasterizer.kernels.coverage`. `front` is the number of layers seen from their front,
    averaged over the pixel, and `back` the number seen from their back. One layer is exact. If a pixel contains edges
    of two layers, their areas are added, up to 1. A full pixel has no gradient.

    Args:
        screen: Screen coordinates u and v in pixels, and depth.
        faces: From `prepare_faces`.
        height: Rows.
        width: Columns.

    Returns:
        Coverage in [0, 1].
    """
    return _Coverage.apply(screen, faces, height, width)


class _Kato(torch.autograd.Function):
    """Autograd function of a hard mask with the gradient of the kernel `kato_backward`."""

    @staticmethod
    def forward(ctx, screen: Tensor, faces: Tensor, height: int, width: int) -> Tensor:
        face_index = find_nearest(screen, faces, height, width)
        ctx.save_for_backward(screen, faces, face_index)
        return (face_index >= 0).to(screen.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        screen, faces, face_index = ctx.saved_tensors
        gradient = zeros_for_gradient(screen)
        arguments = [screen, faces, face_index, cotangent, gradient]
        launch(kato_kernels.kato_backward, (len(screen), faces.shape[1]), arguments)
        return gradient.sum(0), None, None, None


def kato(
    screen: Float[Tensor, "batch vertices 3"], faces: Int32[Tensor, "meshes faces 3"], height: int, width: int
) -> Float[Tensor, "batch height width"]:
    """Render the hard mask, which is 1 if a face covers the pixel's centre, with the gradient of Kato et al.

    See `dhpe_lib.rendering.rasterizer.kernels.kato`.

    Args:
        screen: Screen coordinates u and v in pixels, and depth.
        faces: From `prepare_faces`.
        height: Rows.
        width: Columns.

    Returns:
        The mask, 0 or 1. Its gradient depends on the sign of the incoming gradient and is not the derivative of a
        function.

    Source:
        Kato, Ushiku and Harada, Neural 3D Mesh Renderer, CVPR 2018, Sec. 3.2.
    """
    return _Kato.apply(screen, faces, height, width)
