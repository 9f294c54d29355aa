"""f_Ren and f_TRen: render meshes to silhouettes and images, with gradients, by Warp kernels under torch's autograd.

Without a camera, vertices are in the crop frame (PAPER 9.2), seen by a scaled orthographic camera: x in [-1/2, 1/2]
spans the width of the image, y has the unit of x, and a smaller z is nearer. With a `Pinhole`, vertices are in its
camera frame.

Warp uses torch's tensors without a copy. On CUDA the kernels run on torch's current stream and never wait for the
device. After a first call, everything can be captured in a CUDA graph. On the CPU the kernels use as many threads as
torch (at most 8), and results are bit-equal for a given number of threads. On CUDA the order of additions varies, so
the last digits of soft and coverage silhouettes and of all gradients may differ from run to run.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor
from torch.nn import functional

from dhpe_lib.common.arguments import check_fields, checked
from dhpe_lib.common.precision import full_precision
from dhpe_lib.rendering.lighting import DAYLIGHT, Light, shade, vertex_normals
from dhpe_lib.rendering.projection import (
    Backend,
    ImageSize,
    Pinhole,
    fragments_of,
    interpolate,
    rows_and_columns,
    to_screen,
)
from dhpe_lib.rendering.rasterizer import fragments as fragment_functions
from dhpe_lib.rendering.rasterizer.fragments import Fragments
from dhpe_lib.rendering.rasterizer.launch import prepare_faces

Method = Literal["coverage", "soft", "kato"]

DEFAULT_METHOD: Method = "kato"
"""The paper's method. It brings the most displaced meshes back to their target by the mask alone.

"coverage" ends closer to the target, since its mask is exact; "soft" is in between (`benchmarks/homing.py`).
"""

DEFAULT_SIGMA = 1e-4
"""Softness of the soft silhouette, PyTorch3D's default. A larger value gives a wider gradient and a wider mask."""


@dataclass(frozen=True)
class Texture:
    """A texture image and its coordinates on the mesh.

    Attributes:
        uv: Texture coordinates, from (0, 0) at the top left of the image to (1, 1) at the bottom right.
        uv_faces: Three rows of `uv` for each face of the mesh.
        image: Colours in [0, 1]; one image for all meshes, or one for each.
    """

    uv: Float[Tensor, "coordinates 2"]
    uv_faces: Integer[Tensor, "faces 3"]
    image: Float[Tensor, "height width 3"] | Float[Tensor, "batch height width 3"]

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Rendering:
    """Rendered images of meshes.

    Attributes:
        image: Colours in [0, 1].
        mask: Covered share of each pixel, in [0, 1].
        depth: Depth of the nearest face in the unit of z; infinite at pixels without a face.
        normals: Unit normals on the side of the camera; 0 at pixels without a face.
        fragments: Face and barycentric coordinates of each sample; a pixel has `supersample` samples along each side.
    """

    image: Float[Tensor, "batch height width 3"]
    mask: Float[Tensor, "batch height width"]
    depth: Float[Tensor, "batch height width"]
    normals: Float[Tensor, "batch height width 3"]
    fragments: Fragments


@checked()
@full_precision
def silhouette(
    vertices: Float[Tensor, "batch vertices 3"],
    faces: Integer[Tensor, "faces 3"] | Integer[Tensor, "meshes faces 3"],
    image_size: ImageSize = 224,
    method: Method = DEFAULT_METHOD,
    sigma: float = DEFAULT_SIGMA,
    camera: Pinhole | None = None,
    backend: Backend = "warp",
) -> Float[Tensor, "batch height width"]:
    """f_Ren: render the mask of a mesh, with a gradient to its vertices.

    - "coverage": the share of the pixel's square that the mesh covers. It is exact for one layer of surface, up to
      1e-5. The gradient is its exact derivative, which is nonzero only at pixels on the outline.
    - "soft": 1 - prod_k (1 - sigmoid(s_k / sigma)). s_k is the squared distance of the pixel's centre to the boundary
      of face k, positive inside, in units in which the smaller side of the image spans [-1, 1]. It equals PyTorch3D's
      SoftSilhouetteShader with blur radius log(1 / 1e-4 - 1) sigma and no limit of faces per pixel. The triangles are
      visible inside the mask: its value is 1 - 2^-n at a point where n faces meet.
    - "kato": 0 or 1, decided at the pixel's centre. This is the paper's method. Its gradient is approximate, and
      reaches along rows and columns.

    The mask has no second derivatives. In the crop frame it does not depend on z, so z has no gradient.

    Args:
        vertices: Vertices in the crop frame, or in the camera frame in any unit. A face is not drawn if a corner is not
            finite or its area is at most 5e-5 square pixels. In float32, keep vertices within a million pixels of the
            image.
        faces: Vertex indices; one topology for all meshes, or one for each. Rows of -1 pad a shorter topology. The
            order of the corners does not matter.
        image_size: Pixels along each side, or rows and columns.
        method: "coverage", "soft" or "kato".
        sigma: Softness of "soft": an edge is blurred over about sqrt(sigma) image_size / 2 pixels.
        camera: A pinhole, or None for the crop frame.
        backend: "warp", or "pytorch3d" if it is installed, which supports only "soft".

    Returns:
        The mask in [0, 1]; rows run along y.

    Raises:
        TypeError: The vertices are neither float32 nor float64.
        ValueError: The faces are on another device, sigma or image_size is not positive, or the method or backend is
            unknown.
        IndexError: A face has a vertex index that does not exist. On CUDA this is not checked, since the check would
            wait for the device; such a face is not drawn.
        ImportError: The backend is "pytorch3d", which is not installed.

    Source:
        The paper's f_Ren (Sec. 3.3) for L_Sh (Eq. 9); Kato et al., CVPR 2018; Liu et al., ICCV 2019.
    """
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma = {sigma} must be positive and finite")
    height, width = rows_and_columns(image_size)
    checked = prepare_faces(vertices, faces)
    screen = to_screen(vertices, image_size, camera)
    sigma_px = sigma * (min(height, width) / 2) ** 2
    if backend == "pytorch3d":
        if method != "soft":
            raise ValueError(f'PyTorch3D has no {method!r} silhouette; use method="soft" or backend="warp"')
        from dhpe_lib.rendering.pytorch3d_backend import soft_silhouette

        return soft_silhouette(screen, checked, height, width, sigma_px)
    if backend != "warp":
        raise ValueError(f'backend = {backend!r}; use "warp" or "pytorch3d"')
    from dhpe_lib.rendering.rasterizer import silhouettes  # its kernels, which `render` does not need

    if method == "coverage":
        return silhouettes.coverage(screen, checked, height, width)
    if method == "soft":
        return silhouettes.soft(screen, checked, height, width, sigma_px)
    if method == "kato":
        return silhouettes.kato(screen, checked, height, width)
    raise ValueError(f'method = {method!r}; use "coverage", "soft" or "kato"')


def _facing_normals(vertices: Tensor, screen: Tensor, faces: Tensor, fragments: Fragments) -> Tensor:
    """Interpolate unit normals over the pixels; the normals of faces seen from their back are reversed."""
    smooth = fragment_functions.interpolate(vertex_normals(vertices, faces), faces, fragments)
    normals = functional.normalize(smooth, dim=-1)
    each = faces.long().clamp_min(0).expand(len(screen), -1, -1)
    a, b, c = (screen.gather(1, each[..., k, None].expand(-1, -1, 2)) for k in range(3))
    seen_from_back = (b - a)[..., 0] * (c - a)[..., 1] - (b - a)[..., 1] * (c - a)[..., 0] > 0
    seen_from_back = functional.pad(seen_from_back, (0, 1))  # for face -1
    seen = fragments.face.remainder(faces.shape[1] + 1).long()
    turned = seen_from_back.gather(1, seen.flatten(1)).view_as(seen)
    return normals * torch.where(turned, -1, 1)[..., None]


def _albedo(colors: Tensor | Texture, faces: Tensor, fragments: Fragments) -> Tensor:
    """Compute the colour of the surface at each pixel, without light."""
    if isinstance(colors, Tensor):
        return fragment_functions.interpolate(colors.view(-1, *colors.shape[-2:]), faces, fragments)
    return sample_texture(colors, fragments)


@checked()
def sample_texture(texture: Texture, fragments: Fragments) -> Float[Tensor, "batch height width 3"]:
    """Sample the texture at each pixel with bilinear interpolation.

    Args:
        texture: Texture of the mesh that was rasterized.
        fragments: From `rasterize`.

    Returns:
        Colours. A pixel without a face has the colour of the texture's corner. Gradient to the image, the uv and the
        fragments.
    """
    grid = 2 * interpolate(texture.uv[None], texture.uv_faces, fragments) - 1
    texels = texture.image.to(grid.dtype).movedim(-1, -3).expand(len(grid), -1, -1, -1)
    return functional.grid_sample(texels, grid, padding_mode="border", align_corners=False).movedim(1, -1)


@checked()
@full_precision
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
    """f_TRen: render shaded meshes over a background, with anti-aliased edges and gradients to all inputs.

    The colour of a sample is albedo brightness(n) of its nearest face (see `shade`), where n is the smooth normal on
    the side of the camera. Outlines are then anti-aliased (`dhpe_lib.rendering.rasterizer.kernels.antialias`). A pixel
    is the mean of its supersample^2 samples, and image = hand + (1 - mask) background.

    Image and mask have a gradient to the vertices, also across outlines, and to colours or texture, light and
    background. Depth and normals have a gradient to the vertices. There is no gradient where a colour saturates at 0 or
    1. The image is piecewise continuous in the vertices: it jumps when an outline starts to pass between other pixels.
    No shadows are rendered.

    Args:
        vertices: Vertices in the crop frame, or in the camera frame in any unit.
        faces: Vertex indices; see `silhouette`.
        colors: Vertex colours in [0, 1], or a texture.
        background: Colours in [0, 1]; one image, or one for each mesh. Black if None.
        image_size: Pixels along each side, or rows and columns.
        light: The light sources.
        supersample: Samples along each side of a pixel; 2 helps fine textures.
        camera: A pinhole, or None for the crop frame.
        backend: Rasterizer: "warp", or "pytorch3d" if it is installed.

    Returns:
        Image, mask, and the mean depth and normal of a pixel's covered samples.

    Raises:
        TypeError, ValueError, IndexError, ImportError: See `silhouette`.
        ValueError: Colours, texture, background or light do not fit the mesh or are on another device.

    Source:
        The paper's f_TRen (Sec. 3.5).
    """
    if supersample < 1:
        raise ValueError(f"supersample = {supersample}: give 1 or more samples along each side of a pixel")
    height, width = (supersample * side for side in rows_and_columns(image_size))
    checked = prepare_faces(vertices, faces)
    _check_appearance(vertices, checked, colors, background, rows_and_columns(image_size))
    _check_devices(vertices, colors, background, light)
    screen = to_screen(vertices, image_size, camera)
    if supersample > 1:
        screen = torch.cat([supersample * screen[..., :2], screen[..., 2:]], dim=-1)
    fragments = fragments_of(screen, checked, height, width, camera, backend)
    normals = _facing_normals(vertices, screen, checked, fragments)
    covered = (fragments.face >= 0)[..., None]
    shaded = (_albedo(colors, checked, fragments) * shade(normals, light)).clamp(0, 1)
    layers = torch.cat([torch.where(covered, shaded, 0), covered.to(vertices.dtype)], dim=-1)
    smooth = _pool(fragment_functions.antialias(layers, screen, checked, fragments), supersample)
    image, mask = smooth[..., :3], smooth[..., 3]
    if background is not None:
        image = image + (1 - mask)[..., None] * background.to(vertices)
    depth, normals = _mean_of_covered(fragments.depth, normals, covered, supersample)
    return Rendering(image, mask, depth, normals, fragments)


def _check_appearance(
    vertices: Tensor, faces: Tensor, colors: Tensor | Texture, background: Tensor | None, size: tuple[int, int]
) -> None:
    """Raise an error if colours or background do not fit the mesh and the image size."""
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


def _check_devices(vertices: Tensor, colors: Tensor | Texture, background: Tensor | None, light: Light) -> None:
    """Raise an error if a tensor is not on the device of the mesh: a kernel would read memory that it cannot reach."""
    given = {"colors": colors} if isinstance(colors, Tensor) else vars(colors)
    for name, value in (given | {"background": background} | vars(light)).items():
        if isinstance(value, Tensor) and value.device != vertices.device:
            raise ValueError(f'{name} is on {value.device}, the mesh on {vertices.device}; move one with .to("...")')


def _mean_of_covered(
    depth: Tensor, normals: Tensor, covered: Bool[Tensor, "batch height width 1"], factor: int
) -> tuple[Tensor, Tensor]:
    """Average depth and normals over the covered samples of each pixel."""
    if factor == 1:
        return depth, normals
    share = _pool(covered.to(depth.dtype), factor)
    total = _pool(torch.where(covered, depth[..., None], 0), factor)
    mean = torch.where(share > 0, total / share.clamp_min(1e-9), math.inf)[..., 0]
    return mean, functional.normalize(_pool(normals, factor), dim=-1)


def _pool(values: Tensor, factor: int) -> Tensor:
    """Average blocks of factor x factor pixels of [batch, height, width, channels]."""
    return values if factor == 1 else functional.avg_pool2d(values.movedim(-1, 1), factor).movedim(1, -1)
