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
from jaxtyping import Bool, Float, Int, Integer
from torch import Tensor, nn
from torch.nn import functional

from dhpe_lib.rasterizer import fragments as fragment_functions
from dhpe_lib.rasterizer import silhouettes
from dhpe_lib.rasterizer.fragments import Fragments
from dhpe_lib.rasterizer.launch import prepare_faces

Method = Literal["coverage", "soft", "kato"]
Backend = Literal["warp", "pytorch3d"]
ImageSize = int | tuple[int, int]

DEFAULT_METHOD: Method = "kato"
"""The paper's, and the one that brings most displaced meshes home by masks alone.

"coverage" ends nearer to home, since its mask is exact; "soft" lies between (`benchmarks/homing.py`).
"""

DEFAULT_SIGMA = 1e-4
"""Softness of the soft silhouette: PyTorch3D's. The larger, the farther it sees, and the wider its mask."""


@dataclass(frozen=True)
class Pinhole:
    """A camera at the origin that looks along +z.

    Attributes:
        k: One matrix, or one for each mesh; pixels of the image that is rendered, whose pixel i covers [i, i + 1).
        near: Faces with a corner at a smaller z are not drawn; in the unit of the vertices.
    """

    k: Float[Tensor, "one_or_batch 3 3"]
    near: float = 1e-3


@dataclass(frozen=True)
class Light:
    """The lamps. Each number is one for all images, or a tensor with one for each; gradients flow to tensors.

    brightness = ambient + directional max(0, -n . direction) + sum_k harmonics_k Y_k(n)

    Attributes:
        ambient: Everywhere the same; for each channel if [batch, 3].
        directional: Of a lamp far away; for each channel if [batch, 3].
        direction: In which the lamp's light travels (+z is away from the camera), of any length.
        harmonics: Coefficients of `spherical_harmonics` for each channel.
    """

    ambient: float | Float[Tensor, "batch ambient_channels"] = 0.5
    directional: float | Float[Tensor, "batch lamp_channels"] = 0.6
    direction: tuple[float, float, float] | Float[Tensor, "batch 3"] = (0.4, 0.6, 1.0)
    harmonics: Float[Tensor, "batch 9 3"] | None = None


DAYLIGHT = Light()


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


def _rows_and_columns(image_size: ImageSize) -> tuple[int, int]:
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    if height <= 0 or width <= 0:
        raise ValueError(f"image_size = {image_size}: rows and columns must be positive")
    return height, width


def to_pixels(
    vertices: Float[Tensor, "batch vertices 3"], image_size: ImageSize, camera: Pinhole | None = None
) -> Float[Tensor, "batch vertices 3"]:
    """Where vertices lie in an image: u and v in pixels, and z as it is.

    u = width (x + 1/2), v = height / 2 + width y without a camera; (u, v, 1) = K X / z with one.

    Args:
        vertices: In the crop frame, or in the camera's.
        image_size: Pixels along each side, or rows and columns.
        camera: A pinhole, or None for the crop frame.

    Returns:
        Places; u and v are NaN for a vertex nearer to a pinhole than `near`. Finite gradient to the vertices, 0 there.

    Raises:
        ValueError: An image size that is not positive.
    """
    height, width = _rows_and_columns(image_size)
    x, y, z = vertices.unbind(-1)
    if camera is None:
        return torch.stack([width * (x + 0.5), 0.5 * height + width * y, z], dim=-1)
    seen = z > camera.near
    k = camera.k.to(vertices)
    rays = vertices / torch.where(seen, z, torch.ones_like(z))[..., None]
    u, v, _ = (rays @ k.mT).unbind(-1)
    return torch.stack([torch.where(seen, u, math.nan), torch.where(seen, v, math.nan), z], dim=-1)


# Silhouettes


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

    - "coverage": the share of the pixel's square under the mesh, exact for one layer; its exact derivative, which is
      at the outline's pixels.
    - "soft": 1 - prod_k (1 - sigmoid(s_k / sigma)), with s_k the squared distance of the pixel's centre to face k's
      boundary, positive inside, where the image's smaller side spans [-1, 1]. Equals PyTorch3D's
      SoftSilhouetteShader with blur radius log(1 / 1e-4 - 1) sigma and no limit of faces per pixel. Triangles show
      inside: where n faces meet, m is 1 - 2^-n.
    - "kato": 0 or 1 by the pixel's centre, the paper's; an approximate gradient that reaches along rows and columns.

    No gradient to z in the crop frame (a silhouette does not depend on it); no second derivatives.

    Args:
        vertices: In the crop frame, or in the camera's. A face with a corner that is not finite is not drawn, nor one
            without area.
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
    if sigma <= 0:
        raise ValueError(f"sigma = {sigma} must be positive")
    height, width = _rows_and_columns(image_size)
    places, checked = to_pixels(vertices, image_size, camera), prepare_faces(vertices, faces)
    sigma_px = sigma * (min(height, width) / 2) ** 2
    if backend == "pytorch3d":
        if method != "soft":
            raise ValueError(f'PyTorch3D has no {method!r} silhouette; use method="soft" or backend="warp"')
        from dhpe_lib.pytorch3d_backend import soft_silhouette

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


class SilhouetteRenderer(nn.Module):
    """f_Ren for one topology, without weights: `silhouette` with its settings remembered.

    Args:
        faces: Vertex indices.
        image_size: Pixels along each side, or rows and columns.
        method: As in `silhouette`.
        sigma: As in `silhouette`.
    """

    faces: Tensor

    def __init__(
        self,
        faces: Integer[Tensor, "faces 3"],
        image_size: ImageSize = 224,
        method: Method = DEFAULT_METHOD,
        sigma: float = DEFAULT_SIGMA,
    ) -> None:
        super().__init__()
        self.register_buffer("faces", faces.clone(), persistent=False)
        self.image_size, self.method, self.sigma = image_size, method, sigma

    def forward(self, vertices: Float[Tensor, "batch vertices 3"]) -> Float[Tensor, "batch height width"]:
        """Masks of meshes in the crop frame."""
        return silhouette(vertices, self.faces, self.image_size, self.method, self.sigma)


# Fragments


def rasterize(
    vertices: Float[Tensor, "batch vertices 3"],
    faces: Integer[Tensor, "faces 3"] | Integer[Tensor, "meshes faces 3"],
    image_size: ImageSize = 224,
    camera: Pinhole | None = None,
    backend: Backend = "warp",
) -> Fragments:
    """The nearest face at each pixel's centre, with barycentric coordinates and depth.

    Depth decides in float32, in float64 too; of faces at one depth the first in `faces` wins. Under a pinhole
    barycentric coordinates are those of the point on the face, not of its image.

    Args:
        vertices: In the crop frame, or in the camera's.
        faces: Vertex indices, seen from both sides; as in `silhouette`.
        image_size: Pixels along each side, or rows and columns.
        camera: A pinhole, or None for the crop frame.
        backend: "warp", or "pytorch3d" if it is installed.

    Returns:
        Face -1, barycentric 0 and infinite depth where no face covers the pixel's centre. Gradient of barycentric
        coordinates and depth to the vertices, none where a pixel changes its face.

    Raises:
        TypeError, ValueError, IndexError, ImportError: As `silhouette`.
    """
    height, width = _rows_and_columns(image_size)
    places, checked = to_pixels(vertices, image_size, camera), prepare_faces(vertices, faces)
    return _rasterize(places, checked, height, width, camera, backend)


def _rasterize(
    places: Tensor, faces: Tensor, height: int, width: int, camera: Pinhole | None, backend: Backend
) -> Fragments:
    if backend == "pytorch3d":
        from dhpe_lib.pytorch3d_backend import rasterize as pytorch3d_rasterize

        return pytorch3d_rasterize(places, faces, height, width, camera is not None)
    if backend != "warp":
        raise ValueError(f'backend = {backend!r}; use "warp" or "pytorch3d"')
    return fragment_functions.rasterize(places, faces, height, width, camera is not None)


def interpolate(
    attributes: Float[Tensor, "one_or_batch rows channels"],
    corners: Integer[Tensor, "faces 3"] | Integer[Tensor, "meshes faces 3"],
    fragments: Fragments,
) -> Float[Tensor, "batch height width channels"]:
    """Attributes of corners carried over the pixels: sum_c b_c attributes[corners[face, c]].

    Args:
        attributes: One set for all images, or one for each.
        corners: For each face three rows of `attributes`: the mesh's faces, or a texture's own.
        fragments: From `rasterize`; their dtype is the result's.

    Returns:
        The values, 0 where there is no face. Gradient to the attributes, and through the fragments to the vertices.
    """
    return fragment_functions.interpolate(attributes, prepare_faces(attributes, corners), fragments)


def label_map(labels: Integer[Tensor, " faces"], fragments: Fragments) -> Int[Tensor, "batch height width"]:
    """The label of the face that a pixel shows, such as the part of the hand.

    Args:
        labels: One for each face.
        fragments: From `rasterize` or a `Rendering`.

    Returns:
        Labels, -1 where there is no face.
    """
    return functional.pad(labels.long(), (0, 1), value=-1)[fragments.face]


# Light and colour


def vertex_normals(
    vertices: Float[Tensor, "batch vertices 3"],
    faces: Integer[Tensor, "faces 3"] | Integer[Tensor, "meshes faces 3"],
) -> Float[Tensor, "batch vertices 3"]:
    """Unit normals of a smooth surface: the mean of the normals of the faces around a vertex, weighted by their area.

    Args:
        vertices: In any unit.
        faces: Vertex indices. Corners in counterclockwise order seen from outside give outward normals.

    Returns:
        Unit vectors; 0 at a vertex whose faces have no area or a corner that is not finite. Gradient to the vertices.
    """
    rows = faces.long().expand(len(vertices), -1, -1)
    finite = vertices.isfinite().all(-1)
    rows_3d = rows.clamp_min(0).flatten(1)[..., None].expand(-1, -1, 3)
    lost = (rows < 0) | ~finite.gather(1, rows_3d[..., 0]).view_as(rows)
    corners = torch.where(finite[..., None], vertices, 0).gather(1, rows_3d).unflatten(1, (-1, 3))
    normals = torch.cross(corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0], dim=-1)
    normals = normals.masked_fill(lost.any(-1, keepdim=True), 0)
    each_corner = normals.repeat_interleave(3, dim=1)
    return functional.normalize(torch.zeros_like(vertices).scatter_add(1, rows_3d, each_corner), dim=-1)


def spherical_harmonics(normals: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 9"]:
    """The nine real, orthonormal spherical harmonics up to degree 2, enough for what a matt surface shows of its light.

    Args:
        normals: Unit vectors.

    Returns:
        Y_00, Y_1-1, Y_10, Y_11, Y_2-2, Y_2-1, Y_20, Y_21, Y_22 (of 1, y, z, x, xy, yz, 3 z^2 - 1, xz, x^2 - y^2).

    Source:
        Ramamoorthi and Hanrahan, An Efficient Representation for Irradiance Environment Maps, SIGGRAPH 2001, Eq. 3.
    """
    x, y, z = normals.unbind(-1)
    c0, c1, c2, c3 = (0.5 * math.sqrt(q / math.pi) for q in (1, 3, 15, 5 / 4))
    rows = [
        c0 * torch.ones_like(x), c1 * y, c1 * z, c1 * x,
        c2 * x * y, c2 * y * z, c3 * (3 * z * z - 1), c2 * x * z, c2 / 2 * (x * x - y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1)


def shade(
    normals: Float[Tensor, "batch height width 3"], light: Light = DAYLIGHT
) -> Float[Tensor, "batch height width channels"]:
    """How bright a matt white surface is.

    brightness = ambient + directional max(0, -n . direction) + sum_k harmonics_k Y_k(n)

    Args:
        normals: Unit vectors; where they are 0, only the ambient light shows.
        light: The lamps.

    Returns:
        Brightness, not below 0; one channel where no lamp has colour. Gradient to normals and the light's tensors.
    """

    def spread(value: float | Tensor) -> float | Tensor:
        return value[:, None, None].to(normals) if isinstance(value, Tensor) else value

    x, y, z = normals.unbind(-1)
    if isinstance(light.direction, Tensor):
        direction = functional.normalize(light.direction.to(normals), dim=-1)[:, None, None]
        towards = -(normals * direction).sum(-1)
    else:  # plain numbers need no copy to the device
        norm = math.sqrt(sum(part * part for part in light.direction))
        dx, dy, dz = (part / norm for part in light.direction)
        towards = -(dx * x + dy * y + dz * z)
    brightness = spread(light.ambient) + spread(light.directional) * towards.clamp_min(0)[..., None]
    if light.harmonics is not None:
        brightness = brightness + torch.einsum(
            "bhwk,bkc->bhwc", spherical_harmonics(normals), light.harmonics.to(normals)
        )
    return brightness.clamp_min(0)


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
    back. Each sample shows its nearest face; then outlines are smoothed (`dhpe_lib.rasterizer.kernels.antialias`), a
    pixel is the mean of its supersample^2 samples, and image = hand + (1 - mask) background.

    Gradient of image and mask to the vertices, also across outlines, to colours or texture, light and background; of
    depth and normals to the vertices. No soft shadows, and none cast.

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
    height, width = (supersample * side for side in _rows_and_columns(image_size))
    places = to_pixels(vertices, image_size, camera)
    if supersample > 1:
        places = torch.cat([supersample * places[..., :2], places[..., 2:]], dim=-1)
    checked = prepare_faces(vertices, faces)
    fragments = _rasterize(places, checked, height, width, camera, backend)
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
