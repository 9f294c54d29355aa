"""f_Ren and f_TRen: meshes to silhouettes and pictures, with gradients, by Warp kernels under torch's autograd.

Without a camera, vertices are in the crop frame (PAPER 9.2) and seen by a scaled orthographic camera: x in [-1/2, 1/2]
fills the image's width, y has the same unit, smaller z is nearer. With a `Pinhole` they are in its camera frame.

Tensors are shared with Warp without a copy. On CUDA the kernels run on torch's current stream, nothing waits for the
device, and after a first call all of it can be captured in a CUDA graph. On the CPU they run on as many threads as
torch uses, and results are the same to the bit for a given number of threads; on CUDA sums are taken in any order, so
the last digits of soft and coverage silhouettes and of all gradients may differ from run to run.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor
from torch.nn import functional

from dhpe_lib.rendering.lighting import DAYLIGHT, Light, shade, vertex_normals
from dhpe_lib.rendering.projection import (
    Backend,
    ImageSize,
    Pinhole,
    fragments_of,
    interpolate,
    rows_and_columns,
    to_pixels,
)
from dhpe_lib.rendering.rasterizer import fragments as fragment_functions
from dhpe_lib.rendering.rasterizer import silhouettes
from dhpe_lib.rendering.rasterizer.fragments import Fragments
from dhpe_lib.rendering.rasterizer.launch import prepare_faces

Method = Literal["coverage", "soft", "kato"]

DEFAULT_METHOD: Method = "kato"
"""The paper's, and the one that brings most displaced meshes home by masks alone.

"coverage" ends nearer to home, since its mask is exact; "soft" lies between (`benchmarks/homing.py`).
"""

DEFAULT_SIGMA = 1e-4
"""Softness of the soft silhouette: PyTorch3D's. The larger, the farther it sees, and the wider its mask."""


@dataclass(frozen=True)
class Texture:
    """Colours in an image that is wrapped round the mesh.

    Attributes:
        uv: Places in the image, from its top left (0, 0) to its bottom right (1, 1).
        uv_faces: For each face of the mesh three rows of `uv`.
        image: In [0, 1]; one for all meshes, or one for each.
    """

    uv: Float[Tensor, "places 2"]
    uv_faces: Integer[Tensor, "faces 3"]
    image: Float[Tensor, "height width 3"] | Float[Tensor, "batch height width 3"]


@dataclass(frozen=True)
class Rendering:
    """A picture of meshes.

    Attributes:
        image: Colours in [0, 1].
        mask: How much of a pixel is covered, in [0, 1].
        depth: Of the nearest face, in the unit of z; infinite where there is none.
        normals: Unit vectors towards the camera; 0 where there is no face.
        fragments: Face and barycentric coordinates of each sample, `supersample` of them along each side of a pixel.
    """

    image: Float[Tensor, "batch height width 3"]
    mask: Float[Tensor, "batch height width"]
    depth: Float[Tensor, "batch height width"]
    normals: Float[Tensor, "batch height width 3"]
    fragments: Fragments


def silhouette(
    vertices: Float[Tensor, "batch vertices 3"],
    faces: Integer[Tensor, "faces 3"] | Integer[Tensor, "meshes faces 3"],
    image_size: ImageSize = 224,
    method: Method = DEFAULT_METHOD,
    sigma: float = DEFAULT_SIGMA,
    camera: Pinhole | None = None,
    backend: Backend = "warp",
) -> Float[Tensor, "batch height width"]:
    """f_Ren: the mask of a mesh, with a gradient to its vertices.

    - "coverage": the share of the pixel's square under the mesh, exact for one layer up to 1e-5; its exact derivative,
      which is at the outline's pixels.
    - "soft": 1 - prod_k (1 - sigmoid(s_k / sigma)), with s_k the squared distance of the pixel's centre to face k's
      boundary, positive inside, where the image's smaller side spans [-1, 1]. Equals PyTorch3D's
      SoftSilhouetteShader with blur radius log(1 / 1e-4 - 1) sigma and no limit of faces per pixel. Triangles show
      inside: where n faces meet, m is 1 - 2^-n.
    - "kato": 0 or 1 by the pixel's centre, the paper's; an approximate gradient that reaches along rows and columns.

    No gradient to z in the crop frame (a silhouette does not depend on it); no second derivatives.

    Args:
        vertices: In the crop frame, or in the camera's. A face with a corner that is not finite is not drawn, nor one
            of at most 5e-5 square pixels. In float32 keep within a million pixels of the image.
        faces: Vertex indices, one topology for all meshes or one for each; rows of -1 fill up a shorter one. The order
            of the corners does not matter.
        image_size: Pixels along each side, or rows and columns.
        method: Which of the three.
        sigma: Softness of "soft": an edge is blurred over about sqrt(sigma) image_size / 2 pixels.
        camera: A pinhole, or None for the crop frame.
        backend: "warp", or "pytorch3d" if it is installed, which has "soft" only.

    Returns:
        The mask in [0, 1], row = y.

    Raises:
        TypeError: The vertices are neither float32 nor float64.
        ValueError: Faces on another device, sigma or image_size not positive, an unknown method or backend.
        IndexError: A face names a vertex that is not there (on CUDA such a face is not drawn: asking would wait).
        ImportError: PyTorch3D is asked for and absent.

    Source:
        The paper's f_Ren (Sec. 3.3) for L_Sh (Eq. 9); Kato et al., CVPR 2018; Liu et al., ICCV 2019.
    """
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma = {sigma} must be positive and finite")
    height, width = rows_and_columns(image_size)
    checked = prepare_faces(vertices, faces)
    places = to_pixels(vertices, image_size, camera)
    sigma_px = sigma * (min(height, width) / 2) ** 2
    if backend == "pytorch3d":
        if method != "soft":
            raise ValueError(f'PyTorch3D has no {method!r} silhouette; use method="soft" or backend="warp"')
        from dhpe_lib.rendering.pytorch3d_backend import soft_silhouette

        return soft_silhouette(places, checked, height, width, sigma_px)
    if backend != "warp":
        raise ValueError(f'backend = {backend!r}; use "warp" or "pytorch3d"')
    if method == "coverage":
        return silhouettes.coverage(places, checked, height, width)
    if method == "soft":
        return silhouettes.soft(places, checked, height, width, sigma_px)
    if method == "kato":
        return silhouettes.kato(places, checked, height, width)
    raise ValueError(f'method = {method!r}; use "coverage", "soft" or "kato"')


def _facing_normals(vertices: Tensor, places: Tensor, faces: Tensor, fragments: Fragments) -> Tensor:
    """Smooth unit normals at each pixel, on the side of the surface that the camera sees."""
    smooth = fragment_functions.interpolate(vertex_normals(vertices, faces), faces, fragments)
    normals = functional.normalize(smooth, dim=-1)
    each = faces.long().clamp_min(0).expand(len(places), -1, -1)
    a, b, c = (places.gather(1, each[..., k, None].expand(-1, -1, 2)) for k in range(3))
    seen_from_back = (b - a)[..., 0] * (c - a)[..., 1] - (b - a)[..., 1] * (c - a)[..., 0] > 0
    seen_from_back = functional.pad(seen_from_back, (0, 1))  # for face -1
    turned = seen_from_back.gather(1, fragments.face.remainder(faces.shape[1] + 1).flatten(1)).view_as(fragments.face)
    return normals * torch.where(turned, -1, 1)[..., None]


def _albedo(colors: Tensor | Texture, faces: Tensor, fragments: Fragments) -> Tensor:
    """The colour of the surface at each pixel."""
    if isinstance(colors, Tensor):
        return fragment_functions.interpolate(colors.view(-1, *colors.shape[-2:]), faces, fragments)
    return sample_texture(colors, fragments)


def sample_texture(texture: Texture, fragments: Fragments) -> Float[Tensor, "batch height width 3"]:
    """The texture's colour at each pixel, between texels bilinearly.

    Args:
        texture: Wrapped round the mesh that was rasterized.
        fragments: From `rasterize`.

    Returns:
        Colours; where there is no face, that of the texture's corner. Gradient to the image, the uv and the fragments.
    """
    grid = 2 * interpolate(texture.uv[None], texture.uv_faces, fragments) - 1
    texels = texture.image.to(grid.dtype).movedim(-1, -3).expand(len(grid), -1, -1, -1)
    return functional.grid_sample(texels, grid, padding_mode="border", align_corners=False).movedim(1, -1)


def render(
    vertices: Float[Tensor, "batch vertices 3"],
    faces: Integer[Tensor, "faces 3"] | Integer[Tensor, "meshes faces 3"],
    colors: Float[Tensor, "*colorings vertices 3"] | Texture,
    background: Float[Tensor, "*backgrounds height width 3"] | None = None,
    image_size: ImageSize = 224,
    light: Light = DAYLIGHT,
    supersample: int = 1,
    camera: Pinhole | None = None,
    backend: Backend = "warp",
) -> Rendering:
    """f_TRen: a shaded picture of meshes over a background, with anti-aliased edges and gradients to all of it.

    color = albedo brightness(n) (see `shade`), with smooth normals n, turned to the camera on faces seen from their
    back. Each sample shows its nearest face; then outlines are smoothed (`dhpe_lib.rendering.rasterizer.kernels.antialias`), a
    pixel is the mean of its supersample^2 samples, and image = hand + (1 - mask) background.

    Gradient of image and mask to the vertices, also across outlines, to colours or texture, light and background; of
    depth and normals to the vertices. None where a colour saturates at 0 or 1. The picture is piecewise continuous in
    the vertices: it jumps where an outline begins to pass between other pixels. No soft shadows, and none cast.

    Args:
        vertices: In the crop frame, or in the camera's.
        faces: Vertex indices; as in `silhouette`.
        colors: In [0, 1], for each vertex; or a texture.
        background: One image, or one for each mesh; black if None.
        image_size: Pixels along each side, or rows and columns.
        light: The lamps.
        supersample: Samples along each side of a pixel; 2 helps fine textures.
        camera: A pinhole, or None for the crop frame.
        backend: What rasterizes: "warp", or "pytorch3d" if it is installed.

    Returns:
        Image, coverage, and mean depth and normal of a pixel's covered samples.

    Raises:
        TypeError, ValueError, IndexError, ImportError: As `silhouette`.

    Source:
        The paper's f_TRen (Sec. 3.5).
    """
    if supersample < 1:
        raise ValueError(f"supersample = {supersample}: samples along each side of a pixel, 1 or more")
    height, width = (supersample * side for side in rows_and_columns(image_size))
    checked = prepare_faces(vertices, faces)
    _check_looks(vertices, checked, colors, background, rows_and_columns(image_size))
    places = to_pixels(vertices, image_size, camera)
    if supersample > 1:
        places = torch.cat([supersample * places[..., :2], places[..., 2:]], dim=-1)
    fragments = fragments_of(places, checked, height, width, camera, backend)
    normals = _facing_normals(vertices, places, checked, fragments)
    covered = (fragments.face >= 0)[..., None]
    shaded = (_albedo(colors, checked, fragments) * shade(normals, light)).clamp(0, 1)
    layers = torch.cat([torch.where(covered, shaded, 0), covered.to(vertices.dtype)], dim=-1)
    smooth = _pool(fragment_functions.antialias(layers, places, checked, fragments), supersample)
    image, mask = smooth[..., :3], smooth[..., 3]
    if background is not None:
        image = image + (1 - mask)[..., None] * background.to(vertices)
    depth, normals = _mean_of_covered(fragments.depth, normals, covered, supersample)
    return Rendering(image, mask, depth, normals, fragments)


def _check_looks(
    vertices: Tensor, faces: Tensor, colors: Tensor | Texture, background: Tensor | None, size: tuple[int, int]
) -> None:
    """Refuse colours and backgrounds that belong to another mesh or picture."""
    batch = len(vertices)
    if isinstance(colors, Texture):
        image, corners = colors.image, colors.uv_faces
        if corners.shape != (faces.shape[1], 3):
            raise ValueError(f"uv_faces have shape {tuple(corners.shape)}; the mesh has {faces.shape[1]} faces")
        if not image.is_floating_point() or image.shape[-1] != 3 or image.ndim not in (3, 4):
            raise ValueError(
                f"the texture is {image.dtype} of shape {tuple(image.shape)}; give [.., height, width, 3] in [0, 1]"
            )
        if image.ndim == 4 and len(image) not in (1, batch):
            raise ValueError(f"{len(image)} textures for {batch} meshes; give one, or one for each")
    elif (
        not isinstance(colors, Tensor) or not colors.is_floating_point() or colors.shape[-2:] != (vertices.shape[1], 3)
    ):
        raise ValueError(
            f"colours must be a Texture or floats [vertices, 3] in [0, 1], for {vertices.shape[1]} vertices"
        )
    if background is not None:
        shape = tuple(background.shape)
        if (
            not background.is_floating_point()
            or shape[-3:] not in ((*size, 3), (1, 1, 3))
            or shape[:-3] not in ((), (1,), (batch,))
        ):
            raise ValueError(
                f"the background is {background.dtype} of shape {shape}; give floats {(*size, 3)} in [0, 1]"
            )


def _mean_of_covered(
    depth: Tensor, normals: Tensor, covered: Bool[Tensor, "batch height width 1"], factor: int
) -> tuple[Tensor, Tensor]:
    """A pixel's depth and normal from its samples."""
    if factor == 1:
        return depth, normals
    share = _pool(covered.to(depth.dtype), factor)
    total = _pool(torch.where(covered, depth[..., None], 0), factor)
    mean = torch.where(share > 0, total / share.clamp_min(1e-9), math.inf)[..., 0]
    return mean, functional.normalize(_pool(normals, factor), dim=-1)


def _pool(values: Tensor, factor: int) -> Tensor:
    """Means over blocks of factor x factor pixels of [batch, height, width, channels]."""
    return values if factor == 1 else functional.avg_pool2d(values.movedim(-1, 1), factor).movedim(1, -1)
