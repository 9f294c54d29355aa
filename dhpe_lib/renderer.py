"""f_Ren and the first f_TRen: meshes in the crop frame to masks and images, by Warp kernels under torch's autograd.

The camera is scaled orthographic (PAPER 9.2): x, y in [-1/2, 1/2] fill the image, the centre of pixel i lies at
(i + 1/2) / size - 1/2, smaller z is nearer. Tensors are shared with Warp without a copy. On CUDA the kernels run on
torch's current stream without waiting for it; on the CPU on as many threads as torch uses.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from threading import Thread

import torch
import warp as wp
from jaxtyping import Float, Int, Integer
from torch import Tensor
from torch.nn import functional

from dhpe_lib.rasterizer import kernels

DEFAULT_SIGMA = 1e-4
"""Softness of the silhouette: PyTorch3D's, and the middle of a trade.

The larger sigma, the farther off a mask alone can bring a hand home, and the farther from home it stays, as a soft mask
is wider than a hard one. Shrinking sigma while fitting, 1e-3 to 1e-5, gets both (`benchmarks/renderer.py --homing`).
"""

TAIL = 1e-4
"""A face adds nothing to a pixel where its probability is below this: PyTorch3D's blur radius."""

MOST_BANDS = 8
"""At most so many threads share one launch."""


@dataclass(frozen=True)
class Fragments:
    """What a z-buffer knows of a pixel: the nearest face (-1: none), where in it, and how far (infinite: no face)."""

    face: Int[Tensor, "batch size size"]
    barycentric: Float[Tensor, "batch size size 3"]
    depth: Float[Tensor, "batch size size"]


@dataclass(frozen=True)
class Rendering:
    """A picture of meshes: colours and coverage in [0, 1], depth (infinite: no face), unit normals (0: no face)."""

    image: Float[Tensor, "batch size size 3"]
    mask: Float[Tensor, "batch size size"]
    depth: Float[Tensor, "batch size size"]
    normals: Float[Tensor, "batch size size 3"]


@dataclass(frozen=True)
class Light:
    """Ambient light, and light that travels along `direction` (in the crop frame, where +z is away from the camera)."""

    ambient: float = 0.5
    directional: float = 0.6
    direction: tuple[float, float, float] = (0.4, 0.6, 1.0)


DAYLIGHT = Light()

# Launching


@lru_cache
def _load(device: str) -> None:
    """Compile the kernels for a device, or take them from Warp's cache, before several threads ask for them."""
    wp.load_module(kernels, device=device)


def _launch(kernel: wp.Kernel, dim: tuple[int, ...], arguments: Sequence[Tensor | float]) -> None:
    """Run a kernel where the tensors are: on CUDA all rows at once, on the CPU one band of rows in each thread."""
    if 0 in dim:
        return
    first = next(argument for argument in arguments if isinstance(argument, Tensor))
    scalar = wp.dtype_from_torch(first.dtype)
    inputs = [wp.from_torch(a.detach()) if isinstance(a, Tensor) else scalar(a) for a in arguments]
    _load(str(first.device))
    if first.device.type == "cuda":
        wp.launch(kernel, dim, [0, 1, *inputs], stream=wp.stream_from_torch(first.device))
        return
    bands = _bands(first.device)
    launch = partial(wp.launch, kernel, dim, device="cpu")
    others = [Thread(target=launch, args=([band, bands, *inputs],)) for band in range(1, bands)]
    for thread in others:  # started anew each time (50 us), since a kept pool would hang in a forked data loader
        thread.start()
    launch([0, bands, *inputs])
    for thread in others:
        thread.join()


def _bands(device: torch.device) -> int:
    """Into how many bands a launch is split: one for each thread, but starting one takes 0.1 ms under Python's lock."""
    return min(torch.get_num_threads(), MOST_BANDS) if device.type == "cpu" else 1


def _prepared_faces(vertices: Tensor, faces: Tensor) -> Tensor:
    """The faces as the kernels read them, after the checks that need no waiting for a GPU."""
    if vertices.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"vertices are {vertices.dtype}; the renderer works in float32 and float64: convert them first")
    if faces.device != vertices.device:
        raise ValueError(f"faces are on {faces.device}, vertices on {vertices.device}: move one of them")
    faces = faces.long()
    if faces.device.type == "cpu" and faces.numel():  # elsewhere the question would wait for the device
        first, last = int(faces.min()), int(faces.max())
        if first < 0 or last >= vertices.shape[1]:
            raise IndexError(f"faces name vertices {first} to {last}, but there are only 0 to {vertices.shape[1] - 1}")
    return faces.int()


# Silhouette


class _SoftSilhouette(torch.autograd.Function):
    """Autograd's side of `kernels.silhouette_forward` and `kernels.silhouette_backward`."""

    @staticmethod
    def forward(ctx, vertices: Tensor, faces: Tensor, image_size: int, sigma: float) -> Tensor:
        empty = vertices.new_ones(len(vertices), image_size, image_size)
        radius = math.sqrt(math.log(1 / TAIL - 1) * sigma)
        _launch(kernels.silhouette_forward, (len(vertices), len(faces)), [vertices, faces, sigma, radius, empty])
        ctx.save_for_backward(vertices, faces, empty)
        ctx.sigma, ctx.radius = sigma, radius
        return 1 - empty

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, cotangent: Tensor) -> tuple[Tensor, None, None, None]:
        vertices, faces, empty = ctx.saved_tensors
        gradient = vertices.new_zeros(_bands(vertices.device), *vertices.shape)  # one for each band: no lock needed
        arguments = [vertices, faces, ctx.sigma, ctx.radius, empty, cotangent, gradient]
        _launch(kernels.silhouette_backward, (len(vertices), len(faces)), arguments)
        return gradient.sum(0), None, None, None


def silhouette(
    vertices: Float[Tensor, "batch vertices 3"],
    faces: Integer[Tensor, "faces 3"],
    image_size: int = 224,
    sigma: float = DEFAULT_SIGMA,
) -> Float[Tensor, "batch size size"]:
    """Soft silhouette: the probability that a pixel is covered, smooth in the vertices.

    m = 1 - prod_k (1 - p_k) over the faces k, with p_k = sigmoid(-d_k / sigma) and d_k the squared distance of the
    pixel's centre to the face's boundary, negative inside, where the image spans [-1, 1]. Faces with d_k >=
    log(1 / 1e-4 - 1) sigma add nothing. Equals PyTorch3D's SoftSilhouetteShader at this sigma, with that blur radius
    and no limit of faces per pixel. Triangles show inside a silhouette: where n faces meet, m is 1 - 2^-n.

    Gradient to x and y of the vertices, none to z (a silhouette does not depend on it), no second derivatives.
    Deterministic on the CPU for a given number of threads; on CUDA sums may differ in the last digits from run to run.

    Args:
        vertices: In the crop frame. A face with a corner that is not finite is not drawn, nor one without area.
        faces: Vertex indices, one topology for all meshes; the order of the corners does not matter.
        image_size: Pixels along each side.
        sigma: Softness, in squared halves of an image: an edge is blurred over about sqrt(sigma) image_size / 2 pixels.

    Returns:
        Probabilities in [0, 1], row = y.

    Raises:
        TypeError: The vertices are neither float32 nor float64.
        ValueError: Faces on another device, sigma or image_size not positive.
        IndexError: A face names a vertex that is not there (on CUDA such a face is not drawn: asking would wait).

    Source:
        Liu et al., Soft Rasterizer, ICCV 2019, Eqs. 1 and 5; the paper's f_Ren (Sec. 3.3) for L_Sh (Eq. 9).
    """
    if sigma <= 0 or image_size <= 0:
        raise ValueError(f"sigma = {sigma} and image_size = {image_size} must be positive")
    return _SoftSilhouette.apply(vertices, _prepared_faces(vertices, faces), image_size, sigma)


# Z-buffer


@torch.no_grad()
def rasterize(
    vertices: Float[Tensor, "batch vertices 3"], faces: Integer[Tensor, "faces 3"], image_size: int = 224
) -> Fragments:
    """The nearest face at each pixel's centre, with barycentric coordinates and depth; no gradient.

    Depth decides in float32, in float64 too; of faces at one depth the first in `faces` wins.

    Args:
        vertices: In the crop frame.
        faces: Vertex indices, seen from both sides.
        image_size: Pixels along each side.

    Returns:
        face -1, barycentric 0 and infinite depth where no face covers the pixel's centre.

    Raises:
        TypeError, ValueError, IndexError: As `silhouette`.
    """
    faces = _prepared_faces(vertices, faces)
    shape = (len(vertices), image_size, image_size)
    keys = torch.full(shape, kernels.NO_FACE, dtype=torch.int64, device=vertices.device)
    face = torch.full_like(keys, -1)
    barycentric = vertices.new_zeros(*shape, 3)
    depth = vertices.new_full(shape, math.inf)
    _launch(kernels.nearest_face, (len(vertices), len(faces)), [vertices, faces, keys])
    _launch(kernels.resolve, shape, [vertices, faces, keys, face, barycentric, depth])
    return Fragments(face, barycentric, depth)


@torch.no_grad()
def interpolate(
    attributes: Float[Tensor, "one_or_batch places channels"],
    corners: Integer[Tensor, "faces 3"],
    fragments: Fragments,
) -> Float[Tensor, "batch size size channels"]:
    """Attributes of corners carried over the pixels, sum_c barycentric_c attributes[corners[face, c]]; no gradient.

    Args:
        attributes: One set for all images, or one for each.
        corners: For each face three rows of `attributes`: the mesh's faces, or a texture's own.
        fragments: From `rasterize`; their dtype is the result's.

    Returns:
        The values, 0 where there is no face.
    """
    attributes = attributes.to(fragments.barycentric.dtype)
    values = attributes.new_zeros(*fragments.face.shape, attributes.shape[-1])
    corners = _prepared_faces(attributes, corners)
    _launch(
        kernels.interpolate,
        tuple(fragments.face.shape),
        [attributes, corners, fragments.face, fragments.barycentric, values],
    )
    return values


# Images


def vertex_normals(
    vertices: Float[Tensor, "batch vertices 3"], faces: Integer[Tensor, "faces 3"]
) -> Float[Tensor, "batch vertices 3"]:
    """Unit normals of a smooth surface: the mean of the normals of the faces around a vertex, weighted by their area.

    Args:
        vertices: In any unit.
        faces: Vertex indices. Corners in counterclockwise order seen from outside give outward normals.

    Returns:
        Unit vectors; 0 at a vertex whose faces have no area. Gradient to the vertices.
    """
    corners = vertices[:, faces.long()]
    normals = torch.cross(corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0], dim=-1)
    each_corner = normals[:, :, None].expand_as(corners).flatten(1, 2)
    return functional.normalize(torch.zeros_like(vertices).index_add(1, faces.long().flatten(), each_corner), dim=-1)


@torch.no_grad()
def render(
    vertices: Float[Tensor, "batch vertices 3"],
    faces: Integer[Tensor, "faces 3"],
    colors: Float[Tensor, "vertices 3"] | tuple[Tensor, Tensor, Tensor],
    background: Float[Tensor, "*batch size size 3"] | None = None,
    image_size: int = 224,
    light: Light = DAYLIGHT,
    supersample: int = 2,
) -> Rendering:
    """Shaded picture of meshes over a background, with anti-aliased edges; no gradient yet.

    color = albedo (ambient + directional max(0, -n . direction)) with smooth normals n, which are turned to the camera
    on faces seen from their back. A pixel is the mean of supersample^2 points; where no face is, the background shows.

    Args:
        vertices: In the crop frame.
        faces: Vertex indices.
        colors: In [0, 1]; for each vertex, or a texture: uv [N, 2] from the texture's top left (0, 0) to its bottom
            right (1, 1), uv_faces [F, 3] with rows of uv, and the texture [height, width, 3].
        background: One image, or one for each mesh; black if None.
        image_size: Pixels along each side.
        light: The lamps.
        supersample: Points along each side of a pixel.

    Returns:
        Image, coverage, and mean depth and normal of a pixel's covered points.

    Raises:
        TypeError, ValueError, IndexError: As `silhouette`.
    """
    fragments = rasterize(vertices, faces, image_size * supersample)
    normals = _facing_normals(vertices, faces, fragments)
    travel = functional.normalize(vertices.new_tensor(light.direction), dim=0)
    brightness = light.ambient + light.directional * (-(normals @ travel)).clamp_min(0)
    shaded = (_albedo(colors, faces, fragments) * brightness[..., None]).clamp(0, 1)
    covered = (fragments.face >= 0).to(vertices.dtype)
    mask = _pool(covered[..., None], supersample)
    image = _pool(shaded * covered[..., None], supersample)
    if background is not None:
        image = image + (1 - mask) * background
    depth = _pool(fragments.depth.where(covered > 0, 0)[..., None], supersample) / mask
    depth = depth.where(mask > 0, math.inf)[..., 0]
    return Rendering(image, mask[..., 0], depth, functional.normalize(_pool(normals, supersample), dim=-1))


def _facing_normals(vertices: Tensor, faces: Tensor, fragments: Fragments) -> Tensor:
    """Smooth unit normals at each pixel, on the side of the surface that the camera sees."""
    normals = functional.normalize(interpolate(vertex_normals(vertices, faces), faces, fragments), dim=-1)
    a, b, c = vertices[:, faces.long(), :2].unbind(2)
    seen_from_back = (b - a)[..., 0] * (c - a)[..., 1] - (b - a)[..., 1] * (c - a)[..., 0] > 0
    seen_from_back = functional.pad(seen_from_back, (0, 1))  # for face -1
    turned = seen_from_back.gather(1, fragments.face.remainder(len(faces) + 1).flatten(1)).view_as(fragments.face)
    return normals * torch.where(turned, -1, 1)[..., None]


def _albedo(colors: Tensor | tuple[Tensor, Tensor, Tensor], faces: Tensor, fragments: Fragments) -> Tensor:
    """The colour of the surface at each pixel."""
    if isinstance(colors, Tensor):
        return interpolate(colors[None], faces, fragments)
    uv, uv_faces, texture = colors
    grid = 2 * interpolate(uv[None], uv_faces, fragments) - 1
    texels = texture.to(grid.dtype).movedim(-1, 0).expand(len(grid), -1, -1, -1)
    return functional.grid_sample(texels, grid, padding_mode="border", align_corners=False).movedim(1, -1)


def _pool(values: Tensor, factor: int) -> Tensor:
    """Means over blocks of factor x factor pixels of [batch, s, s, channels]."""
    return functional.avg_pool2d(values.movedim(-1, 1), factor).movedim(1, -1)
