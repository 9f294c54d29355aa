"""The look of a hand, lifted from a photo onto a mesh that fits it, and completed where the photo does not show it.

What f_TRen needs to make new pictures of a seen hand (Sec. 3.5; the paper does not say how, PAPER.md 9.7):

1. find which vertices or texels the camera sees, well inside the outline and not at a grazing angle;
2. take the photo's colours there, divided by the brightness of the light that explains them best;
3. complete the rest: colours relative to a base skin spread over the mesh as smoothly as they can.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch.nn import functional

from dhpe_lib.rendering.lighting import Light, shade, spherical_harmonics, vertex_normals
from dhpe_lib.rendering.projection import Pinhole, interpolate, rasterize, to_pixels
from dhpe_lib.rendering.renderer import Texture
from dhpe_lib.rendering.uv_layout import colors_at_texels, colors_at_vertices, fill_margin, for_each, texels_of

GRAZING, FRONTAL = 0.15, 0.45
"""Cosines of the angle to the camera between which a surface's colours begin to count in full."""
SLACK = 0.015
"""How far behind the depth buffer a point may lie and still be seen, in sizes of the mesh."""
SPREAD = 0.05
"""Weight of a smooth completion against what is seen."""


@dataclass(frozen=True)
class LiftedColors:
    """Colours of the vertices of a mesh without its light, how far each was seen (0 to 1), and the light."""

    colors: Float[Tensor, "batch vertices 3"]
    seen: Float[Tensor, "batch vertices"]
    light: Light


@dataclass(frozen=True)
class LiftedTexture:
    """A texture for each photo, how far each texel was seen (0 to 1), and the light that was taken out."""

    texture: Texture
    seen: Float[Tensor, "batch height width"]
    light: Light


@dataclass(frozen=True)
class _View:
    """The picture that a mesh was fitted in: how near it shows it, its camera, and where the hand is known to be."""

    depth: Float[Tensor, "batch height width"]
    slack: Float[Tensor, " batch"]
    camera: Pinhole | None
    mask: Float[Tensor, "batch height width"] | None


def _view_of(photo: Tensor, vertices: Tensor, faces: Tensor, camera: Pinhole | None, mask: Tensor | None) -> _View:
    fragments = rasterize(vertices, faces, (photo.shape[1], photo.shape[2]), camera)
    size = (vertices.amax(1) - vertices.amin(1)).amax(-1)
    return _View(fragments.depth, SLACK * size, camera, mask)


def _visibility(view: _View, points: Tensor, places: Tensor, normals: Tensor) -> Float[Tensor, "batch n"]:
    """How well points on the surface are seen, from their places in the picture and unit normals, all [batch, n, 3]."""
    height, width = view.depth.shape[1:]
    extent = places.new_tensor((width, height))
    grid = (2 * places[..., :2] / extent - 1)[:, None]
    sentinel = 1e9
    depth = view.depth.clamp_max(sentinel)[:, None]
    # the outline's pixels are mixed with the background, and a bilinear sample reaches for the pixels beside it
    farthest = functional.max_pool2d(depth, 5, 1, 2)
    behind = functional.grid_sample(depth, grid, mode="nearest", padding_mode="zeros", align_corners=False)[:, 0, 0]
    beside = functional.grid_sample(farthest, grid, mode="nearest", padding_mode="zeros", align_corners=False)[:, 0, 0]
    inside = (grid.abs() <= 1).all(-1)[:, 0] & (beside < sentinel)
    shown = inside & (places[..., 2] <= behind + view.slack[:, None])
    cosine = (normals * _toward(points, view.camera)).sum(-1)
    seen = shown * ((cosine - GRAZING) / (FRONTAL - GRAZING)).clamp(0, 1)
    return seen if view.mask is None else seen * _sample(view.mask[..., None], places)[..., 0]


def _sample(photo: Tensor, points: Tensor) -> Float[Tensor, "batch n channels"]:
    """A picture's values at places in pixels."""
    extent = points.new_tensor((photo.shape[2], photo.shape[1]))
    grid = (2 * points[..., :2] / extent - 1)[:, None].clamp(-2, 2)
    return functional.grid_sample(photo.movedim(-1, 1), grid, padding_mode="border", align_corners=False)[:, :, 0].mT


def estimate_light(
    colors: Float[Tensor, "batch n 3"],
    normals: Float[Tensor, "batch n 3"],
    weights: Float[Tensor, "batch n"],
    albedo: Float[Tensor, "batch n 3"],
) -> Light:
    """The light that explains colours best: constant and linear harmonics, by weighted least squares.

    min sum_i w_i (colors_i - albedo_i sum_k l_k Y_k(n_i))^2, with a small pull of l to white light.

    Args:
        colors: As seen.
        normals: Unit vectors.
        weights: How much each counts.
        albedo: The colours under white light, as far as they are known.

    Returns:
        A light of harmonics only. Its mean brightness over the weights is 1: a photo cannot tell dark skin in bright
        light from the opposite.

    Source:
        Ramamoorthi and Hanrahan, SIGGRAPH 2001, for the basis.
    """
    basis = spherical_harmonics(normals)[..., :4]
    scaled = basis[:, :, :, None] * albedo[:, :, None, :]  # [b, n, 4, 3]
    weights = weights / weights.sum(1, keepdim=True).clamp_min(1e-9)
    normal = torch.einsum("bn,bnkc,bnlc->bckl", weights, scaled, scaled)
    right = torch.einsum("bn,bnkc,bnc->bck", weights, scaled, colors)
    pull = 1e-3 * torch.eye(4, dtype=colors.dtype, device=colors.device)
    white = colors.new_tensor((3.5449077, 0, 0, 0))  # 2 sqrt(pi), for which sum_k l_k Y_k = 1
    found = torch.linalg.solve(normal + pull, right + pull @ white)  # [b, 3, 4]
    brightness = torch.einsum("bn,bnk,bck->b", weights, basis, found) / 3
    found = found / torch.where(brightness > 1e-3, brightness, 1.0)[:, None, None]
    return Light(0.0, 0.0, harmonics=functional.pad(found.mT, (0, 0, 0, 5)))


def complete(
    colors: Float[Tensor, "batch vertices 3"],
    seen: Float[Tensor, "batch vertices"],
    faces: Integer[Tensor, "faces 3"],
) -> Float[Tensor, "batch vertices 3"]:
    """Spread what is seen over the mesh: min sum_i seen_i (c_i - colors_i)^2 + mu sum_edges (c_i - c_j)^2.

    Args:
        colors: Of the vertices.
        seen: How far each counts, 0 to 1.
        faces: Vertex indices.

    Returns:
        Colours of all vertices: harmonic where nothing is seen, and near to what is seen elsewhere; white if nothing is
        seen at all.
    """
    count = colors.shape[1]
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).long()
    joined = torch.zeros(count, count, dtype=colors.dtype, device=colors.device)
    joined[edges[:, 0], edges[:, 1]] = 1
    joined = torch.maximum(joined, joined.T)
    laplacian = torch.diag(joined.sum(1)) - joined
    anchor = 1e-5  # to white: decides only where nothing is seen
    matrix = torch.diag_embed(seen + anchor) + SPREAD * laplacian
    return torch.linalg.solve(matrix, seen[..., None] * colors + anchor)


@torch.no_grad()
def lift_colors(
    photo: Float[Tensor, "batch height width 3"],
    vertices: Float[Tensor, "batch vertices 3"],
    faces: Integer[Tensor, "faces 3"],
    base: Float[Tensor, "vertices 3"] | None = None,
    camera: Pinhole | None = None,
    mask: Float[Tensor, "batch height width"] | None = None,
) -> LiftedColors:
    """The colours of a photo on the vertices of the mesh that fits it; no gradient.

    Args:
        photo: In [0, 1], the picture in which the mesh was fitted.
        vertices: In the crop frame of the photo, or in the camera's.
        faces: Vertex indices, counterclockwise seen from outside.
        base: What the skin is like where it is not seen, up to a smooth factor; plain if None.
        camera: A pinhole, or None for the crop frame.
        mask: Where the photo shows the hand, 0 to 1, if that is known: a fit that is a little off then takes nothing of
            the background.

    Returns:
        Colours under white light, what was seen, and the photo's light.

    Raises:
        ValueError: A vertex is not finite, or there are not as many photos as meshes.
    """
    if len(photo) != len(vertices):
        raise ValueError(
            f"{len(photo)} photos for {len(vertices)} meshes; each mesh needs the photo that it was fitted in"
        )
    if not vertices.isfinite().all():
        raise ValueError("vertices are not finite: nothing can be lifted to a mesh that is not there; fit it again")
    places = to_pixels(vertices, (photo.shape[1], photo.shape[2]), camera)
    normals = vertex_normals(vertices, faces)
    seen = _visibility(_view_of(photo, vertices, faces, camera, mask), vertices, places, normals)
    colors = _sample(photo, places)
    skin = torch.ones_like(colors) if base is None else base.to(colors).expand_as(colors)
    tone = _mean_ratio(colors, skin, seen)
    light = estimate_light(colors, normals, seen, skin * tone)
    plain = colors / shade(normals[:, None], light)[:, 0].clamp_min(0.05)
    return LiftedColors((skin * complete(plain / skin.clamp_min(0.02), seen, faces)).clamp(0, 1), seen, light)


def _toward(points: Tensor, camera: Pinhole | None) -> Tensor:
    """Unit vectors from points to the camera."""
    if camera is None:
        return points.new_tensor((0, 0, -1)).expand_as(points)
    return functional.normalize(-points, dim=-1)


def _mean_ratio(colors: Tensor, skin: Tensor, seen: Tensor) -> Tensor:
    """What the base skin must be multiplied with to have the photo's mean colour; 1 if nothing is seen."""
    weights = seen[..., None]
    total = (weights * skin).sum(1, keepdim=True)
    return torch.where(total > 1e-6, (weights * colors).sum(1, keepdim=True) / total.clamp_min(1e-6), 1.0)


@torch.no_grad()
def lift_texture(
    photo: Float[Tensor, "batch height width 3"],
    vertices: Float[Tensor, "batch vertices 3"],
    faces: Integer[Tensor, "faces 3"],
    base: Texture,
    size: int = 256,
    camera: Pinhole | None = None,
    mask: Float[Tensor, "batch height width"] | None = None,
) -> LiftedTexture:
    """The texture of a photo, on the visible part of the mesh that fits it, the rest completed; no gradient.

    Args:
        photo: In [0, 1], the picture in which the mesh was fitted.
        vertices: In the crop frame of the photo, or in the camera's.
        faces: Vertex indices, counterclockwise seen from outside.
        base: The mesh's texture coordinates, and what skin is like where it is not seen, up to a smooth factor.
        size: Texels along each side.
        camera: A pinhole, or None for the crop frame.
        mask: As in `lift_colors`.

    Returns:
        Textures under white light, what was seen, and the photo's light. Render with that light to get the photo back.

    Raises:
        ValueError: A vertex is not finite, or there are not as many photos as meshes.
    """
    base = replace(base, uv=base.uv.to(vertices), image=base.image.to(vertices))
    texels = texels_of(base, size)
    fragments = for_each(texels, len(vertices))
    base_vertices = colors_at_vertices(base, vertices.shape[1], faces)
    lifted = lift_colors(photo, vertices, faces, base_vertices, camera, mask)
    places = to_pixels(vertices, (photo.shape[1], photo.shape[2]), camera)
    places = interpolate(places, faces, fragments).flatten(1, 2)
    normals = interpolate(vertex_normals(vertices, faces), faces, fragments).flatten(1, 2)
    normals = functional.normalize(normals, dim=-1)
    points = interpolate(vertices, faces, fragments).flatten(1, 2)
    seen = _visibility(_view_of(photo, vertices, faces, camera, mask), points, places, normals)
    seen = seen * (fragments.face >= 0).flatten(1)
    plain = _sample(photo, places) / shade(normals[:, None], lifted.light)[:, 0].clamp_min(0.05)
    ratio = interpolate(lifted.colors / base_vertices.clamp_min(0.02), faces, fragments).flatten(1, 2)
    skin = colors_at_texels(base, texels).flatten(1, 2)
    image = torch.where(seen[..., None] > 0, seen[..., None] * plain, 0) + (1 - seen[..., None]) * skin * ratio
    image = fill_margin(image.unflatten(1, (size, size)).clamp(0, 1), texels.face >= 0)
    return LiftedTexture(replace(base, image=image), seen.unflatten(1, (size, size)), lifted.light)
