"""Torch functions with gradients that call the kernels: z-buffer, interpolation of attributes, and anti-aliasing.

Each function with a gradient is a custom operator of PyTorch, as in
:mod:`dhpe_lib.rendering.rasterizer.silhouettes`.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from dhpe_lib.rendering.rasterizer.kernels import antialias as antialias_kernels
from dhpe_lib.rendering.rasterizer.kernels import zbuffer
from dhpe_lib.rendering.rasterizer.launch import (
    Argument,
    backward_operator,
    find_neighbours,
    launch,
    launch_rows,
    operator,
    zeros_for_gradient,
)


@dataclass(frozen=True)
class Fragments:
    """The nearest face at each pixel.

    Attributes:
        face: Row of the face, int32; -1 if there is none.
        barycentric: Barycentric coordinates of the pixel on the face; 0 if there is none.
        depth: Depth in the unit of z; infinite if there is no face.
    """

    face: Int32[Tensor, "batch height width"]
    barycentric: Float[Tensor, "batch height width 3"]
    depth: Float[Tensor, "batch height width"]


def _empty_keys(screen: Tensor, height: int, width: int) -> Tensor:
    return torch.full((len(screen), height, width), zbuffer.NO_FACE, dtype=torch.int64, device=screen.device)


def find_nearest(
    screen: Float[Tensor, "batch vertices 3"], faces: Int32[Tensor, "meshes faces 3"], height: int, width: int
) -> Int32[Tensor, "batch height width"]:
    """Find the nearest face at the centre of each pixel in an orthographic view; no gradient.

    Args:
        screen: Screen coordinates u and v in pixels, and depth.
        faces: From `prepare_faces`.
        height: Rows.
        width: Columns.

    Returns:
        Rows of `faces`; -1 if no face covers the pixel's centre.
    """
    keys = _empty_keys(screen, height, width)
    launch(zbuffer.nearest_face, (len(screen), faces.shape[1]), [screen, faces, False, keys])
    return keys.int()  # the lower half of a key: the face, or -1 of NO_FACE


@operator("rasterize")
def _rasterize(screen: Tensor, faces: Tensor, height: int, width: int, pinhole: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Run the kernels `nearest_face` and `resolve`."""
    keys = _empty_keys(screen, height, width)
    face = torch.empty_like(keys, dtype=torch.int32)
    barycentric = screen.new_zeros(*keys.shape, 3)
    depth = screen.new_full(keys.shape, math.inf)
    launch(zbuffer.nearest_face, (len(screen), faces.shape[1]), [screen, faces, pinhole, keys])
    launch_rows(zbuffer.resolve, keys.shape, [screen, faces, pinhole, keys, face, barycentric, depth])
    return barycentric, depth, face


@torch.library.register_fake(_rasterize)
def _(screen: Tensor, faces: Tensor, height: int, width: int, pinhole: bool) -> tuple[Tensor, Tensor, Tensor]:
    shape = (screen.shape[0], height, width)
    return screen.new_empty((*shape, 3)), screen.new_empty(shape), screen.new_empty(shape, dtype=torch.int32)


@backward_operator("rasterize_backward")
def _rasterize_backward(
    screen: Tensor, faces: Tensor, face: Tensor, grad_barycentric: Tensor, grad_depth: Tensor, pinhole: bool
) -> Tensor:
    """Run the kernel `resolve_backward`."""
    gradient = zeros_for_gradient(screen)
    arguments: list[Argument] = [screen, faces, pinhole, face, grad_barycentric, grad_depth, gradient]
    launch_rows(zbuffer.resolve_backward, face.shape, arguments)
    return gradient.sum(0)


@torch.library.register_fake(_rasterize_backward)
def _(
    screen: Tensor, faces: Tensor, face: Tensor, grad_barycentric: Tensor, grad_depth: Tensor, pinhole: bool
) -> Tensor:
    return screen.new_empty(screen.shape)


def _save_rasterize(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs[:2], output[2])
    ctx.pinhole = inputs[4]


def _back_through_rasterize(
    ctx: Any, grad_barycentric: Tensor, grad_depth: Tensor, _: Tensor | None
) -> tuple[Tensor | None, ...]:
    gradient = _rasterize_backward(*ctx.saved_tensors, grad_barycentric, grad_depth, ctx.pinhole)
    return gradient, None, None, None, None


torch.library.register_autograd(_rasterize, _back_through_rasterize, setup_context=_save_rasterize)


def rasterize(
    screen: Float[Tensor, "batch vertices 3"],
    faces: Int32[Tensor, "meshes faces 3"],
    height: int,
    width: int,
    pinhole: bool,
) -> Fragments:
    """Find the nearest face at the centre of each pixel, with barycentric coordinates and depth.

    Args:
        screen: Screen coordinates u and v in pixels, and depth.
        faces: From `prepare_faces`.
        height: Rows.
        width: Columns.
        pinhole: Whether the projection is perspective, with depths above 0.

    Returns:
        The fragments. Barycentric coordinates and depth have a gradient to `screen`, but none for the change of a
        pixel's face.
    """
    barycentric, depth, face = _rasterize(screen, faces, height, width, pinhole)
    return Fragments(face, barycentric, depth)


@operator("interpolate")
def _interpolate(attributes: Tensor, corners: Tensor, face: Tensor, barycentric: Tensor) -> Tensor:
    """Run the kernel `interpolate_forward`."""
    values = barycentric.new_zeros(*face.shape, attributes.shape[-1])
    launch_rows(zbuffer.interpolate_forward, face.shape, [attributes, corners, face, barycentric, values])
    return values


@torch.library.register_fake(_interpolate)
def _(attributes: Tensor, corners: Tensor, face: Tensor, barycentric: Tensor) -> Tensor:
    return barycentric.new_empty(*face.shape, attributes.shape[-1])


@backward_operator("interpolate_backward")
def _interpolate_backward(
    attributes: Tensor, corners: Tensor, face: Tensor, barycentric: Tensor, cotangent: Tensor
) -> tuple[Tensor, Tensor]:
    """Run the kernel `interpolate_backward`."""
    of_attributes, of_barycentric = zeros_for_gradient(attributes), torch.zeros_like(barycentric)
    arguments = [attributes, corners, face, barycentric, cotangent, of_attributes, of_barycentric]
    launch_rows(zbuffer.interpolate_backward, face.shape, arguments)
    return of_attributes.sum(0), of_barycentric


@torch.library.register_fake(_interpolate_backward)
def _(
    attributes: Tensor, corners: Tensor, face: Tensor, barycentric: Tensor, cotangent: Tensor
) -> tuple[Tensor, Tensor]:
    return attributes.new_empty(attributes.shape), torch.empty_like(barycentric)


def _save_interpolate(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _back_through_interpolate(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
    of_attributes, of_barycentric = _interpolate_backward(*ctx.saved_tensors, cotangent)
    return of_attributes, None, None, of_barycentric


torch.library.register_autograd(_interpolate, _back_through_interpolate, setup_context=_save_interpolate)


def interpolate(
    attributes: Float[Tensor, "one_or_batch rows channels"],
    corners: Int32[Tensor, "meshes faces 3"],
    fragments: Fragments,
) -> Float[Tensor, "batch height width channels"]:
    """Interpolate attributes of the corners over the pixels: sum_c b_c attributes[corners[face, c]].

    Args:
        attributes: Values in any unit; one set for all images, or one for each.
        corners: Three rows of `attributes` for each face, from `prepare_faces`.
        fragments: From `rasterize`; the result has their dtype.

    Returns:
        The values; 0 at pixels without a face. Gradient to attributes and barycentric coordinates.

    Raises:
        ValueError: The number of sets of attributes or corners is neither 1 nor the number of images.
    """
    for name, sets in (("attributes", len(attributes)), ("faces", len(corners))):
        if sets not in (1, len(fragments.face)):
            raise ValueError(f"{sets} sets of {name} for {len(fragments.face)} images; give one, or one for each")
    return _interpolate(attributes.to(fragments.barycentric.dtype), corners, fragments.face, fragments.barycentric)


@operator("outlines")
def _outlines(screen: Tensor, faces: Tensor, face: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
    """Run the kernel `find_outlines`."""
    edges = torch.full((*face.shape, 2), -1, dtype=torch.int32, device=face.device)
    shifts = screen.new_zeros(edges.shape)
    arguments = [screen, faces, find_neighbours(faces), face, depth, edges, shifts]
    launch_rows(antialias_kernels.find_outlines, face.shape, arguments)
    return shifts, edges


@torch.library.register_fake(_outlines)
def _(screen: Tensor, faces: Tensor, face: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
    shape = (*face.shape, 2)
    return screen.new_empty(shape), screen.new_empty(shape, dtype=torch.int32)


@backward_operator("outlines_backward")
def _outlines_backward(screen: Tensor, faces: Tensor, edges: Tensor, grad_shifts: Tensor) -> Tensor:
    """Run the kernel `outlines_backward`."""
    gradient = zeros_for_gradient(screen)
    launch_rows(antialias_kernels.outlines_backward, edges.shape[:3], [screen, faces, edges, grad_shifts, gradient])
    return gradient.sum(0)


@torch.library.register_fake(_outlines_backward)
def _(screen: Tensor, faces: Tensor, edges: Tensor, grad_shifts: Tensor) -> Tensor:
    return screen.new_empty(screen.shape)


def _save_outlines(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:2], output[1])


def _back_through_outlines(ctx: Any, grad_shifts: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    return _outlines_backward(*ctx.saved_tensors, grad_shifts), None, None, None


torch.library.register_autograd(_outlines, _back_through_outlines, setup_context=_save_outlines)


@operator("blend")
def _blend(hard: Tensor, edges: Tensor, shifts: Tensor) -> Tensor:
    """Run the kernel `blend_forward`."""
    blended = hard.clone()
    launch_rows(antialias_kernels.blend_forward, hard.shape[:3], [edges, shifts, hard, blended])
    return blended


@torch.library.register_fake(_blend)
def _(hard: Tensor, edges: Tensor, shifts: Tensor) -> Tensor:
    return torch.empty_like(hard)


@backward_operator("blend_backward")
def _blend_backward(hard: Tensor, edges: Tensor, shifts: Tensor, cotangent: Tensor) -> tuple[Tensor, Tensor]:
    """Run the kernel `blend_backward`."""
    of_hard, of_shifts = cotangent.clone(), torch.zeros_like(shifts)
    arguments = [edges, shifts, hard, cotangent, of_hard, of_shifts]
    launch_rows(antialias_kernels.blend_backward, hard.shape[:3], arguments)
    return of_hard, of_shifts


@torch.library.register_fake(_blend_backward)
def _(hard: Tensor, edges: Tensor, shifts: Tensor, cotangent: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(cotangent), torch.empty_like(shifts)


def _save_blend(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _back_through_blend(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
    of_hard, of_shifts = _blend_backward(*ctx.saved_tensors, cotangent)
    return of_hard, None, of_shifts


torch.library.register_autograd(_blend, _back_through_blend, setup_context=_save_blend)


def antialias(
    hard: Float[Tensor, "batch height width channels"],
    screen: Float[Tensor, "batch vertices 3"],
    faces: Int32[Tensor, "meshes faces 3"],
    fragments: Fragments,
) -> Float[Tensor, "batch height width channels"]:
    """Blend pixels across the outlines that pass between them; see `dhpe_lib.rendering.rasterizer.kernels.antialias`.

    Args:
        hard: An image with one sample per pixel, background included; any unit.
        screen: Screen coordinates u and v in pixels, and depth, as given to `rasterize`.
        faces: Faces, as given to `rasterize`.
        fragments: From `rasterize`.

    Returns:
        The image with smooth edges. Gradient to the image, and through the edges to u and v of `screen`.
    """
    shifts, edges = _outlines(screen, faces, fragments.face, fragments.depth.detach())
    return _blend(hard.contiguous(), edges, shifts)
