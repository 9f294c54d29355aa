"""Lift the texture of a hand from a photo onto a fitted mesh, and complete the parts that the photo does not show.

f_TRen needs this texture to render new views of the hand (Sec. 3.5). The paper does not describe the method (PAPER.md
9.7). This project's method has three steps:

1. Find the vertices or texels that the camera sees, well inside the outline and not at a grazing angle.
2. Take the photo's colours there, and divide them by the brightness of the estimated light.
3. Complete the rest: extend the colours, relative to a base skin, as smoothly as possible over the mesh.
"""

import warnings
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch.nn import functional

from dhpe_lib.common.arguments import checked
from dhpe_lib.common.devices import constant_like
from dhpe_lib.rendering.lighting import Light, shade, spherical_harmonics, vertex_normals
from dhpe_lib.rendering.projection import Pinhole, interpolate, rasterize, to_screen
from dhpe_lib.rendering.renderer import Texture
from dhpe_lib.rendering.uv_layout import (
    colors_at_texels,
    colors_at_vertices,
    fill_margin,
    rasterize_layout,
    repeat_fragments,
)

GRAZING, FRONTAL = 0.15, 0.45
"""Cosines of the angle between normal and camera: a colour has weight 0 at `GRAZING` and weight 1 at `FRONTAL`."""
DEPTH_TOLERANCE = 0.015
"""Largest distance of a visible point behind the depth buffer, as a share of the size of the mesh."""
SMOOTHNESS = 0.05
"""Weight mu of the smoothness term in `complete`."""
STEPS = 100
"""Number of steps of conjugate gradients in `complete`; colours are then within 1e-3 of the limit."""


@dataclass(frozen=True)
class LiftedColors:
    """Vertex colours of a mesh, lifted from a photo.

    Attributes:
        colors: Colours under white light, in [0, 1].
        seen: Visibility of each vertex, 0 to 1.
        light: Estimated light of the photo.
    """

    colors: Float[Tensor, "batch vertices 3"]
    seen: Float[Tensor, "batch vertices"]
    light: Light


@dataclass(frozen=True)
class LiftedTexture:
    """A texture for each photo.

    Attributes:
        texture: Texture under white light.
        seen: Visibility of each texel, 0 to 1.
        light: Estimated light of the photo, which was removed from the texture.
    """

    texture: Texture
    seen: Float[Tensor, "batch height width"]
    light: Light


@dataclass(frozen=True)
class _View:
    """The view of a mesh in its photo: depth buffer, depth tolerance, camera and hand mask."""

    depth: Float[Tensor, "batch height width"]
    tolerance: Float[Tensor, " batch"]
    camera: Pinhole | None
    mask: Float[Tensor, "batch height width"] | None


def _view_of(photo: Tensor, vertices: Tensor, faces: Tensor, camera: Pinhole | None, mask: Tensor | None) -> _View:
    fragments = rasterize(vertices, faces, (photo.shape[1], photo.shape[2]), camera)
    size = (vertices.amax(1) - vertices.amin(1)).amax(-1)
    return _View(fragments.depth, DEPTH_TOLERANCE * size, camera, mask)


def _visibility(view: _View, points: Tensor, screen: Tensor, normals: Tensor) -> Float[Tensor, "batch n"]:
    """Compute the visibility (0 to 1) of surface points from points, screen coordinates and normals [batch, n, 3]."""
    height, width = view.depth.shape[1:]
    extent = constant_like((width, height), screen)
    grid = (2 * screen[..., :2] / extent - 1)[:, None]
    sentinel = 1e9
    depth = view.depth.clamp_max(sentinel)[:, None]
    # Pixels at the outline are mixed with the background, and a bilinear sample uses the pixels next to it. So a point
    # counts only if all pixels within two pixels of it show the mesh.
    farthest = functional.max_pool2d(depth, 5, 1, 2)
    behind = functional.grid_sample(depth, grid, mode="nearest", padding_mode="zeros", align_corners=False)[:, 0, 0]
    beside = functional.grid_sample(farthest, grid, mode="nearest", padding_mode="zeros", align_corners=False)[:, 0, 0]
    inside = (grid.abs() <= 1).all(-1)[:, 0] & (beside < sentinel)
    shown = inside & (screen[..., 2] <= behind + view.tolerance[:, None])
    cosine = (normals * _direction_to_camera(points, view.camera)).sum(-1)
    seen = shown * ((cosine - GRAZING) / (FRONTAL - GRAZING)).clamp(0, 1)
    return seen if view.mask is None else seen * _sample(view.mask[..., None], screen)[..., 0]


def _sample(photo: Tensor, points: Tensor) -> Float[Tensor, "batch n channels"]:
    """Sample an image bilinearly at screen coordinates in pixels."""
    extent = constant_like((photo.shape[2], photo.shape[1]), points)
    grid = (2 * points[..., :2] / extent - 1)[:, None].clamp(-2, 2)
    return functional.grid_sample(photo.movedim(-1, 1), grid, padding_mode="border", align_corners=False)[:, :, 0].mT


@checked()
def estimate_light(
    colors: Float[Tensor, "batch n 3"],
    normals: Float[Tensor, "batch n 3"],
    weights: Float[Tensor, "batch n"],
    albedo: Float[Tensor, "batch n 3"],
) -> Light:
    """Estimate the light from observed colours by weighted least squares over constant and linear harmonics.

    It minimises ``sum_i w_i (colors_i - albedo_i sum_k l_k Y_k(n_i))^2 + 1e-3 |l - white light|^2``.

    Args:
        colors: Observed colours in [0, 1].
        normals: Unit vectors n_i.
        weights: Weights w_i; they are divided by their sum.
        albedo: Approximate colours under white light, in [0, 1].

    Returns:
        A light of harmonics only. Its weighted mean brightness is 1, since a photo cannot tell dark skin in bright
        light from bright skin in dim light.

    Source:
        Ramamoorthi and Hanrahan, SIGGRAPH 2001, for the basis.
    """
    basis = spherical_harmonics(normals)[..., :4]
    scaled = basis[:, :, :, None] * albedo[:, :, None, :]  # [b, n, 4, 3]
    weights = weights / weights.sum(1, keepdim=True).clamp_min(1e-9)
    normal = torch.einsum("bn,bnkc,bnlc->bckl", weights, scaled, scaled)
    right = torch.einsum("bn,bnkc,bnc->bck", weights, scaled, colors)
    pull = 1e-3 * torch.eye(4, dtype=colors.dtype, device=colors.device)
    white = constant_like((3.5449077, 0, 0, 0), colors)  # 2 sqrt(pi) gives sum_k l_k Y_k = 1
    found, _ = torch.linalg.solve_ex(normal + pull, right + pull @ white)  # [b, 3, 4]
    brightness = torch.einsum("bn,bnk,bck->b", weights, basis, found) / 3
    found = found / torch.where(brightness > 1e-3, brightness, 1.0)[:, None, None]
    return Light(0.0, 0.0, harmonics=functional.pad(found.mT, (0, 0, 0, 5)))


@checked()
def complete(
    colors: Float[Tensor, "batch vertices 3"],
    seen: Float[Tensor, "batch vertices"],
    faces: Integer[Tensor, "faces 3"],
) -> Float[Tensor, "batch vertices 3"]:
    """Extend the visible colours over the mesh: minimise sum_i seen_i (c_i - colors_i)^2 + mu sum_edges (c_i - c_j)^2.

    Args:
        colors: Vertex colours in [0, 1].
        seen: Weight of each vertex, 0 to 1.
        faces: Vertex indices.

    Returns:
        Colours of all vertices: close to the visible colours, and harmonic at vertices that are not visible. All are
        white if no vertex is visible.
    """
    count = colors.shape[1]
    edges = torch.cat([faces[:, :2], faces[:, 1:], faces[:, ::2]]).long()
    adjacency = torch.zeros(count, count, dtype=colors.dtype, device=colors.device)
    adjacency[edges[:, 0], edges[:, 1]] = 1
    adjacency = torch.maximum(adjacency, adjacency.T)
    anchor = 1e-5  # small weight towards white; it matters only if nothing is visible
    weights = seen.mT[..., None].expand(-1, -1, 3).flatten(1)  # a column for each photo and channel
    diagonal = weights + anchor + SMOOTHNESS * adjacency.sum(1, keepdim=True)
    change = conjugate_gradients(diagonal, SMOOTHNESS * adjacency, weights * (colors.transpose(0, 1).flatten(1) - 1))
    return (1 + change).unflatten(1, (-1, 3)).transpose(0, 1).contiguous()


def conjugate_gradients(diagonal: Tensor, neighbours: Tensor, right: Tensor) -> Float[Tensor, "n columns"]:
    """Solve ``(diag(d) - N) x = r`` for each column, with a diagonal preconditioner and a fixed number of steps.

    Unlike a factorisation it needs no dense matrix for each column, and the host does not wait for a GPU.

    Args:
        diagonal: d [n, columns].
        neighbours: N [n, n], symmetric and sparse; the matrix of each column is positive definite.
        right: r [n, columns].

    Returns:
        x; 0 where r is 0.

    Source:
        Hestenes and Stiefel, Methods of Conjugate Gradients for Solving Linear Systems, 1952.
    """
    if not neighbours.is_cuda:  # on a GPU the conversion would wait for the device, and the dense product is fast
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
            neighbours = neighbours.to_sparse_csr()
    tiny = torch.finfo(right.dtype).tiny
    found, rest = torch.zeros_like(right), right.clone()
    direction, square = torch.zeros_like(right), torch.ones_like(right[0])
    for _ in range(STEPS):
        scaled = rest / diagonal
        before, square = square, (rest * scaled).sum(0)
        direction.mul_(square / before.clamp_min(tiny)).add_(scaled)
        product = diagonal * direction - neighbours @ direction
        length = square / (direction * product).sum(0).clamp_min(tiny)
        found.addcmul_(length, direction)
        rest.addcmul_(length, product, value=-1)
    return found


@torch.no_grad()
@checked()
def lift_colors(
    photo: Float[Tensor, "batch height width 3"],
    vertices: Float[Tensor, "batch vertices 3"],
    faces: Integer[Tensor, "faces 3"],
    base: Float[Tensor, "vertices 3"] | None = None,
    camera: Pinhole | None = None,
    mask: Float[Tensor, "batch height width"] | None = None,
) -> LiftedColors:
    """Lift the colours of a photo to the vertices of the fitted mesh; no gradient.

    Args:
        photo: Photo in which the mesh was fitted, colours in [0, 1].
        vertices: Vertices in the crop frame of the photo, or in the camera frame in any unit.
        faces: Vertex indices, counterclockwise seen from outside.
        base: Skin colours in [0, 1] for the parts that are not visible, up to a smooth factor; uniform if None.
        camera: A pinhole, or None for the crop frame.
        mask: Hand mask of the photo, 0 to 1, if it is known. It keeps background colours out of an inexact fit.

    Returns:
        Colours under white light, visibility, and the photo's light.

    Raises:
        ValueError: A vertex is not finite, or the numbers of photos and meshes differ. On CUDA the vertices are not
            checked, since the host would wait; colours are then not finite.
    """
    if len(photo) != len(vertices):
        raise ValueError(
            f"{len(photo)} photos for {len(vertices)} meshes; each mesh needs the photo that it was fitted in"
        )
    if vertices.device.type == "cpu" and not vertices.isfinite().all():
        raise ValueError("vertices are not finite, so no colours can be lifted to the mesh; fit it again")
    screen = to_screen(vertices, (photo.shape[1], photo.shape[2]), camera)
    normals = vertex_normals(vertices, faces)
    seen = _visibility(_view_of(photo, vertices, faces, camera, mask), vertices, screen, normals)
    colors = _sample(photo, screen)
    skin = torch.ones_like(colors) if base is None else base.to(colors).expand_as(colors)
    tone = _mean_ratio(colors, skin, seen)
    light = estimate_light(colors, normals, seen, skin * tone)
    plain = colors / shade(normals[:, None], light)[:, 0].clamp_min(0.05)
    return LiftedColors((skin * complete(plain / skin.clamp_min(0.02), seen, faces)).clamp(0, 1), seen, light)


def _direction_to_camera(points: Tensor, camera: Pinhole | None) -> Tensor:
    """Return the unit vectors from points to the camera."""
    if camera is None:
        return constant_like((0, 0, -1), points).expand_as(points)
    return functional.normalize(-points, dim=-1)


def _mean_ratio(colors: Tensor, skin: Tensor, seen: Tensor) -> Tensor:
    """Return the factor that gives the base skin the photo's mean colour; 1 if nothing is visible."""
    weights = seen[..., None]
    total = (weights * skin).sum(1, keepdim=True)
    return torch.where(total > 1e-6, (weights * colors).sum(1, keepdim=True) / total.clamp_min(1e-6), 1.0)


@torch.no_grad()
@checked()
def lift_texture(
    photo: Float[Tensor, "batch height width 3"],
    vertices: Float[Tensor, "batch vertices 3"],
    faces: Integer[Tensor, "faces 3"],
    base: Texture,
    size: int = 256,
    camera: Pinhole | None = None,
    mask: Float[Tensor, "batch height width"] | None = None,
) -> LiftedTexture:
    """Lift the texture of a photo to the visible part of the fitted mesh, and complete the rest; no gradient.

    Args:
        photo: Photo in which the mesh was fitted, colours in [0, 1].
        vertices: Vertices in the crop frame of the photo, or in the camera frame in any unit.
        faces: Vertex indices, counterclockwise seen from outside.
        base: Texture with the mesh's texture coordinates, and skin for the parts that are not visible, up to a smooth
            factor.
        size: Texels along each side.
        camera: A pinhole, or None for the crop frame.
        mask: Hand mask of the photo; see `lift_colors`.

    Returns:
        Textures under white light, visibility, and the photo's light. Rendering with this light reproduces the photo.

    Raises:
        ValueError: A vertex is not finite, or the numbers of photos and meshes differ; see `lift_colors`.
    """
    base = replace(base, uv=base.uv.to(vertices), image=base.image.to(vertices))
    texels = rasterize_layout(base, size)
    fragments = repeat_fragments(texels, len(vertices))
    base_vertices = colors_at_vertices(base, vertices.shape[1], faces)
    lifted = lift_colors(photo, vertices, faces, base_vertices, camera, mask)
    screen = to_screen(vertices, (photo.shape[1], photo.shape[2]), camera)
    screen = interpolate(screen, faces, fragments).flatten(1, 2)
    normals = interpolate(vertex_normals(vertices, faces), faces, fragments).flatten(1, 2)
    normals = functional.normalize(normals, dim=-1)
    points = interpolate(vertices, faces, fragments).flatten(1, 2)
    seen = _visibility(_view_of(photo, vertices, faces, camera, mask), points, screen, normals)
    seen = seen * (fragments.face >= 0).flatten(1)
    plain = _sample(photo, screen) / shade(normals[:, None], lifted.light)[:, 0].clamp_min(0.05)
    ratio = interpolate(lifted.colors / base_vertices.clamp_min(0.02), faces, fragments).flatten(1, 2)
    skin = colors_at_texels(base, texels).flatten(1, 2)
    image = torch.where(seen[..., None] > 0, seen[..., None] * plain, 0) + (1 - seen[..., None]) * skin * ratio
    image = fill_margin(image.unflatten(1, (size, size)).clamp(0, 1), texels.face >= 0)
    return LiftedTexture(replace(base, image=image), seen.unflatten(1, (size, size)), lifted.light)
