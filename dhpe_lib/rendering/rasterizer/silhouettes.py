"""Three silhouettes with gradients, by Warp kernels: soft (SoftRas), coverage (exact area) and kato (Kato et al.).

Each silhouette is a custom operator of PyTorch, named `dhpe::...`. PyTorch knows the shapes of its results, so
`torch.compile` and `torch.export` take it as one node. It has no second derivatives.
"""

import math
from typing import Any

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from dhpe_lib.rendering.rasterizer.fragments import find_nearest
from dhpe_lib.rendering.rasterizer.kernels import coverage as coverage_kernels
from dhpe_lib.rendering.rasterizer.kernels import kato as kato_kernels
from dhpe_lib.rendering.rasterizer.kernels import soft as soft_kernels
from dhpe_lib.rendering.rasterizer.launch import Argument, backward_operator, launch, operator, zeros_for_gradient

TAIL = 1e-4
"""A face adds nothing to a pixel where its probability is below this; it equals PyTorch3D's blur radius."""


def _radius(sigma: float) -> float:
    """Distance, in pixels, beyond which the probability of a face is below `TAIL`."""
    return math.sqrt(math.log(1 / TAIL - 1) * sigma)


@operator("soft")
def _soft(screen: Tensor, faces: Tensor, height: int, width: int, sigma: float) -> tuple[Tensor, Tensor]:
    """Return the mask and the odds that the backward pass needs."""
    odds = soft_odds(screen, faces, height, width, sigma, adds=screen.is_cuda)
    return 1 - 1 / odds, odds


def soft_odds(screen: Tensor, faces: Tensor, height: int, width: int, sigma: float, adds: bool) -> Tensor:
    """Run the kernel `soft_forward` and return 1 / (1 - m) of each pixel; see `soft`.

    With `adds` it adds logarithms in place of multiplying. An addition is one instruction of a GPU, which does not wait
    for its result; a product needs a loop of compare-and-swap. On a CPU the logarithm would cost more.
    """
    shape = (len(screen), height, width)
    odds = screen.new_zeros(shape) if adds else screen.new_ones(shape)
    arguments: list[Argument] = [screen, faces, sigma, _radius(sigma), adds, odds]
    launch(soft_kernels.soft_forward, (len(screen), faces.shape[1]), arguments)
    return odds.exp_() if adds else odds


@torch.library.register_fake(_soft)
def _(screen: Tensor, faces: Tensor, height: int, width: int, sigma: float) -> tuple[Tensor, Tensor]:
    shape = (screen.shape[0], height, width)
    return screen.new_empty(shape), screen.new_empty(shape)


@backward_operator("soft_backward")
def _soft_backward(screen: Tensor, faces: Tensor, odds: Tensor, cotangent: Tensor, sigma: float) -> Tensor:
    """Run the kernel `soft_backward`."""
    gradient = zeros_for_gradient(screen)
    arguments: list[Argument] = [screen, faces, sigma, _radius(sigma), odds, cotangent, gradient]
    launch(soft_kernels.soft_backward, (len(screen), faces.shape[1]), arguments)
    return gradient.sum(0)


@torch.library.register_fake(_soft_backward)
def _(screen: Tensor, faces: Tensor, odds: Tensor, cotangent: Tensor, sigma: float) -> Tensor:
    return screen.new_empty(screen.shape)


def _save_soft(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:2], output[1])
    ctx.sigma = inputs[4]


def _back_through_soft(ctx: Any, cotangent: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    return _soft_backward(*ctx.saved_tensors, cotangent, ctx.sigma), None, None, None, None


torch.library.register_autograd(_soft, _back_through_soft, setup_context=_save_soft)


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
    return _soft(screen, faces, height, width, float(sigma))[0]


@operator("coverage")
def _coverage(screen: Tensor, faces: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Run the kernel `coverage_forward`; return the mask and the two layers that the backward pass needs."""
    layers = screen.new_zeros(2, len(screen), height, width)
    launch(coverage_kernels.coverage_forward, (len(screen), faces.shape[1]), [screen, faces, layers])
    mask = torch.maximum(layers[0], layers[1]).clamp_min_(0)
    return mask.masked_fill_(mask >= coverage_kernels.FULL, 1), layers


@torch.library.register_fake(_coverage)
def _(screen: Tensor, faces: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    shape = (screen.shape[0], height, width)
    return screen.new_empty(shape), screen.new_empty((2, *shape))


@backward_operator("coverage_backward")
def _coverage_backward(screen: Tensor, faces: Tensor, layers: Tensor, cotangent: Tensor) -> Tensor:
    """Run the kernel `coverage_backward`."""
    gradient = zeros_for_gradient(screen)
    arguments = [screen, faces, layers, cotangent, gradient]
    launch(coverage_kernels.coverage_backward, (len(screen), faces.shape[1]), arguments)
    return gradient.sum(0)


@torch.library.register_fake(_coverage_backward)
def _(screen: Tensor, faces: Tensor, layers: Tensor, cotangent: Tensor) -> Tensor:
    return screen.new_empty(screen.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:2], output[1])


def _back_through_coverage(ctx: Any, cotangent: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    return _coverage_backward(*ctx.saved_tensors, cotangent), None, None, None


torch.library.register_autograd(_coverage, _back_through_coverage, setup_context=_save)


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
    return _coverage(screen, faces, height, width)[0]


@operator("kato")
def _kato(screen: Tensor, faces: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return a hard mask and the faces that the backward pass needs."""
    face_index = find_nearest(screen, faces, height, width)
    return (face_index >= 0).to(screen.dtype), face_index


@torch.library.register_fake(_kato)
def _(screen: Tensor, faces: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    shape = (screen.shape[0], height, width)
    return screen.new_empty(shape), screen.new_empty(shape, dtype=torch.int32)


@backward_operator("kato_backward")
def _kato_backward(screen: Tensor, faces: Tensor, face_index: Tensor, cotangent: Tensor) -> Tensor:
    """Run the kernel `kato_backward`."""
    gradient = zeros_for_gradient(screen)
    arguments = [screen, faces, face_index, cotangent, gradient]
    launch(kato_kernels.kato_backward, (len(screen), faces.shape[1]), arguments)
    return gradient.sum(0)


@torch.library.register_fake(_kato_backward)
def _(screen: Tensor, faces: Tensor, face_index: Tensor, cotangent: Tensor) -> Tensor:
    return screen.new_empty(screen.shape)


def _back_through_kato(ctx: Any, cotangent: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    return _kato_backward(*ctx.saved_tensors, cotangent), None, None, None


torch.library.register_autograd(_kato, _back_through_kato, setup_context=_save)


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
    return _kato(screen, faces, height, width)[0]
