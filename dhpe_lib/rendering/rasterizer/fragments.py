"""The z-buffer, attributes over the pixels and anti-aliased edges, with gradients, above their kernels."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Int32
from torch import Tensor

from dhpe_lib.rendering.rasterizer.kernels import antialias as antialias_kernels
from dhpe_lib.rendering.rasterizer.kernels import zbuffer
from dhpe_lib.rendering.rasterizer.launch import find_neighbours, gradient_of, launch, launch_rows


@dataclass(frozen=True)
class Fragments:
    """What a z-buffer knows of a pixel: the nearest face (-1: none), where in it, and how far (infinite: no face)."""

    face: Int[Tensor, "batch height width"]
    barycentric: Float[Tensor, "batch height width 3"]
    depth: Float[Tensor, "batch height width"]


def _empty_keys(places: Tensor, height: int, width: int) -> Tensor:
    return torch.full((len(places), height, width), zbuffer.NO_FACE, dtype=torch.int64, device=places.device)


def find_nearest(
    places: Float[Tensor, "batch vertices 3"], faces: Int32[Tensor, "meshes faces 3"], height: int, width: int
) -> Int[Tensor, "batch height width"]:
    """The nearest face at each pixel's centre in an orthographic view, -1 where there is none; no gradient.

    Args:
        places: Pixels and depth.
        faces: From `prepare_faces`.
        height: Rows.
        width: Columns.

    Returns:
        Rows of `faces`.
    """
    keys = _empty_keys(places, height, width)
    launch(zbuffer.nearest_face, (len(places), faces.shape[1]), [places, faces, False, keys])
    return torch.where(keys == zbuffer.NO_FACE, -1, keys & 0xFFFFFFFF)


class _Rasterize(torch.autograd.Function):
    """Autograd's side of `nearest_face`, `resolve` and `resolve_backward`."""

    @staticmethod
    def forward(
        ctx, places: Tensor, faces: Tensor, height: int, width: int, pinhole: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        keys = _empty_keys(places, height, width)
        barycentric = places.new_zeros(*keys.shape, 3)
        depth = places.new_full(keys.shape, math.inf)
        launch(zbuffer.nearest_face, (len(places), faces.shape[1]), [places, faces, pinhole, keys])
        launch_rows(zbuffer.resolve, keys.shape, [places, faces, pinhole, keys, barycentric, depth])
        ctx.save_for_backward(places, faces, keys)
        ctx.pinhole = pinhole
        ctx.mark_non_differentiable(keys)
        return keys, barycentric, depth

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, _: Tensor, of_barycentric: Tensor, of_depth: Tensor) -> tuple[Tensor | None, ...]:
        places, faces, face = ctx.saved_tensors
        gradient = gradient_of(places)
        arguments = [places, faces, ctx.pinhole, face, of_barycentric, of_depth, gradient]
        launch_rows(zbuffer.resolve_backward, face.shape, arguments)
        return gradient.sum(0), None, None, None, None


def rasterize(
    places: Float[Tensor, "batch vertices 3"],
    faces: Int32[Tensor, "meshes faces 3"],
    height: int,
    width: int,
    pinhole: bool,
) -> Fragments:
    """The nearest face at each pixel's centre.

    Args:
        places: Pixels and depth.
        faces: From `prepare_faces`.
        height: Rows.
        width: Columns.
        pinhole: Whether the image is a perspective one, with depths above 0.

    Returns:
        The fragments. Gradient of barycentric coordinates and depth to the places, none where a pixel changes its face.
    """
    return Fragments(*_Rasterize.apply(places, faces, height, width, pinhole))


class _Interpolate(torch.autograd.Function):
    """Autograd's side of `interpolate_forward` and `interpolate_backward`."""

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
        of_attributes, of_barycentric = gradient_of(attributes), torch.zeros_like(barycentric)
        arguments = [attributes, corners, face, barycentric, cotangent, of_attributes, of_barycentric]
        launch_rows(zbuffer.interpolate_backward, face.shape, arguments)
        return of_attributes.sum(0), None, None, of_barycentric


def interpolate(
    attributes: Float[Tensor, "one_or_batch rows channels"],
    corners: Int32[Tensor, "meshes faces 3"],
    fragments: Fragments,
) -> Float[Tensor, "batch height width channels"]:
    """Attributes of corners carried over the pixels: sum_c b_c attributes[corners[face, c]].

    Args:
        attributes: One set for all images, or one for each.
        corners: For each face three rows of `attributes`, from `prepare_faces`.
        fragments: Their dtype is the result's.

    Returns:
        The values, 0 where there is no face. Gradient to attributes and barycentric coordinates.

    Raises:
        ValueError: Attributes or corners for another number of images.
    """
    for name, sets in (("attributes", len(attributes)), ("faces", len(corners))):
        if sets not in (1, len(fragments.face)):
            raise ValueError(f"{sets} sets of {name} for {len(fragments.face)} images; give one, or one for each")
    return _Interpolate.apply(
        attributes.to(fragments.barycentric.dtype), corners, fragments.face, fragments.barycentric
    )


class _Outlines(torch.autograd.Function):
    """Autograd's side of `find_outlines` and `outlines_backward`."""

    @staticmethod
    def forward(ctx, places: Tensor, faces: Tensor, face: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        edges = torch.full((*face.shape, 2), -1, dtype=torch.int32, device=face.device)
        shifts = places.new_zeros(edges.shape)
        arguments = [places, faces, find_neighbours(faces), face, depth, edges, shifts]
        launch_rows(antialias_kernels.find_outlines, face.shape, arguments)
        ctx.save_for_backward(places, faces, edges)
        ctx.mark_non_differentiable(edges)
        return edges, shifts

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, _: Tensor, of_shifts: Tensor) -> tuple[Tensor | None, ...]:
        places, faces, edges = ctx.saved_tensors
        gradient = gradient_of(places)
        launch_rows(antialias_kernels.outlines_backward, edges.shape[:3], [places, faces, edges, of_shifts, gradient])
        return gradient.sum(0), None, None, None


class _Blend(torch.autograd.Function):
    """Autograd's side of `blend_forward` and `blend_backward`."""

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
        of_hard, of_shifts = cotangent.clone(), torch.zeros_like(shifts)
        arguments = [edges, shifts, hard, cotangent, of_hard, of_shifts]
        launch_rows(antialias_kernels.blend_backward, hard.shape[:3], arguments)
        return of_hard, None, of_shifts


def antialias(
    hard: Float[Tensor, "batch height width channels"],
    places: Float[Tensor, "batch vertices 3"],
    faces: Int32[Tensor, "meshes faces 3"],
    fragments: Fragments,
) -> Float[Tensor, "batch height width channels"]:
    """Blend pixels across the outlines that pass between them; see `dhpe_lib.rendering.rasterizer.kernels.antialias`.

    Args:
        hard: A picture with one sample a pixel, background and all.
        places: Pixels and depth, as given to `rasterize`.
        faces: As given to `rasterize`.
        fragments: From `rasterize`.

    Returns:
        The picture with smooth edges. Gradient to the picture, and through the edges to u and v of the places.
    """
    edges, shifts = _Outlines.apply(places, faces, fragments.face, fragments.depth.detach())
    return _Blend.apply(hard.contiguous(), edges, shifts)
