"""Torch functions with gradients that call the kernels: z-buffer, interpolation of attributes, and anti-aliasing."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Int32
from torch import Tensor

from dhpe_lib.rendering.rasterizer.kernels import antialias as antialias_kernels
from dhpe_lib.rendering.rasterizer.kernels import zbuffer
from dhpe_lib.rendering.rasterizer.launch import find_neighbours, launch, launch_rows, zeros_for_gradient


@dataclass(frozen=True)
class Fragments:
    """The nearest face at each pixel.

    Attributes:
        face: Row of the face; -1 if there is none.
        barycentric: Barycentric coordinates of the pixel on the face; 0 if there is none.
        depth: Depth in the unit of z; infinite if there is no face.
    """

    face: Int[Tensor, "batch height width"]
    barycentric: Float[Tensor, "batch height width 3"]
    depth: Float[Tensor, "batch height width"]


def _empty_keys(screen: Tensor, height: int, width: int) -> Tensor:
    return torch.full((len(screen), height, width), zbuffer.NO_FACE, dtype=torch.int64, device=screen.device)


def find_nearest(
    screen: Float[Tensor, "batch vertices 3"], faces: Int32[Tensor, "meshes faces 3"], height: int, width: int
) -> Int[Tensor, "batch height width"]:
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
    return torch.where(keys == zbuffer.NO_FACE, -1, keys & 0xFFFFFFFF)


class _Rasterize(torch.autograd.Function):
    """Autograd function of the kernels `nearest_face`, `resolve` and `resolve_backward`."""

    @staticmethod
    def forward(
        ctx, screen: Tensor, faces: Tensor, height: int, width: int, pinhole: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        keys = _empty_keys(screen, height, width)
        barycentric = screen.new_zeros(*keys.shape, 3)
        depth = screen.new_full(keys.shape, math.inf)
        launch(zbuffer.nearest_face, (len(screen), faces.shape[1]), [screen, faces, pinhole, keys])
        launch_rows(zbuffer.resolve, keys.shape, [screen, faces, pinhole, keys, barycentric, depth])
        ctx.save_for_backward(screen, faces, keys)
        ctx.pinhole = pinhole
        ctx.mark_non_differentiable(keys)
        return keys, barycentric, depth

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, _: Tensor, grad_barycentric: Tensor, grad_depth: Tensor) -> tuple[Tensor | None, ...]:
        screen, faces, face = ctx.saved_tensors
        gradient = zeros_for_gradient(screen)
        arguments = [screen, faces, ctx.pinhole, face, grad_barycentric, grad_depth, gradient]
        launch_rows(zbuffer.resolve_backward, face.shape, arguments)
        return gradient.sum(0), None, None, None, None


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
    return Fragments(*_Rasterize.apply(screen, faces, height, width, pinhole))


class _Interpolate(torch.autograd.Function):
    """Autograd function of the kernels `interpolate_forward` and `interpolate_backward`."""

    @staticmethod
    def forward(ctx, attributes: Tensor, corners: Tensor, face: Tensor, barycentric: Tensor) -> Tensor:
        values = barycentric.new_zeros(*face.shape, attributes.shape[-1])
        arguments = [attributes, corners, face, barycentric, values]
        launch_rows(zbuffer.interpolate_forward, face.shape, arguments)
        ctx.save_for_backward(attributes, corners, face, barycentric)
        return values

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        attributes, corners, face, barycentric = ctx.saved_tensors
        grad_attributes, grad_barycentric = zeros_for_gradient(attributes), torch.zeros_like(barycentric)
        arguments = [attributes, corners, face, barycentric, cotangent, grad_attributes, grad_barycentric]
        launch_rows(zbuffer.interpolate_backward, face.shape, arguments)
        return grad_attributes.sum(0), None, None, grad_barycentric


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
    return _Interpolate.apply(
        attributes.to(fragments.barycentric.dtype), corners, fragments.face, fragments.barycentric
    )


class _Outlines(torch.autograd.Function):
    """Autograd function of the kernels `find_outlines` and `outlines_backward`."""

    @staticmethod
    def forward(ctx, screen: Tensor, faces: Tensor, face: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        edges = torch.full((*face.shape, 2), -1, dtype=torch.int32, device=face.device)
        shifts = screen.new_zeros(edges.shape)
        arguments = [screen, faces, find_neighbours(faces), face, depth, edges, shifts]
        launch_rows(antialias_kernels.find_outlines, face.shape, arguments)
        ctx.save_for_backward(screen, faces, edges)
        ctx.mark_non_differentiable(edges)
        return edges, shifts

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, _: Tensor, grad_shifts: Tensor) -> tuple[Tensor | None, ...]:
        screen, faces, edges = ctx.saved_tensors
        gradient = zeros_for_gradient(screen)
        launch_rows(antialias_kernels.outlines_backward, edges.shape[:3], [screen, faces, edges, grad_shifts, gradient])
        return gradient.sum(0), None, None, None


class _Blend(torch.autograd.Function):
    """Autograd function of the kernels `blend_forward` and `blend_backward`."""

    @staticmethod
    def forward(ctx, hard: Tensor, edges: Tensor, shifts: Tensor) -> Tensor:
        blended = hard.clone()
        launch_rows(antialias_kernels.blend_forward, hard.shape[:3], [edges, shifts, hard, blended])
        ctx.save_for_backward(hard, edges, shifts)
        return blended

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        hard, edges, shifts = ctx.saved_tensors
        grad_hard, grad_shifts = cotangent.clone(), torch.zeros_like(shifts)
        arguments = [edges, shifts, hard, cotangent, grad_hard, grad_shifts]
        launch_rows(antialias_kernels.blend_backward, hard.shape[:3], arguments)
        return grad_hard, None, grad_shifts


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
    edges, shifts = _Outlines.apply(screen, faces, fragments.face, fragments.depth.detach())
    return _Blend.apply(hard.contiguous(), edges, shifts)
