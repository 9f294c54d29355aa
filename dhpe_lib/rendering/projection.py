"""From meshes to the pixels of an image: where their vertices lie, and what each pixel shows of which face.

Without a camera, vertices are in the crop frame (PAPER 9.2) and seen by a scaled orthographic camera: x in [-1/2, 1/2]
fills the image's width, y has the same unit, smaller z is nearer. With a `Pinhole` they are in its camera frame.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor
from torch.nn import functional

from dhpe_lib.rendering.rasterizer import fragments as fragment_functions
from dhpe_lib.rendering.rasterizer.fragments import Fragments
from dhpe_lib.rendering.rasterizer.launch import prepare_faces

ImageSize = int | tuple[int, int]
Backend = Literal["warp", "pytorch3d"]


@dataclass(frozen=True)
class Pinhole:
    """A camera at the origin that looks along +z.

    Attributes:
        k: One matrix, or one for each mesh; pixels of the image that is rendered, whose pixel i covers [i, i + 1).
        near: Faces with a corner at a smaller z are not drawn; in the unit of the vertices.
    """

    k: Float[Tensor, "one_or_batch 3 3"]
    near: float = 1e-3

    def __post_init__(self) -> None:
        if not self.near > 0:
            raise ValueError(f"near = {self.near} must be positive: nothing behind the camera can be seen")


def rows_and_columns(image_size: ImageSize) -> tuple[int, int]:
    """Height and width of an image.

    Raises:
        ValueError: One is not positive.
    """
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    if min(height, width) <= 0:
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
    height, width = rows_and_columns(image_size)
    x, y, z = vertices.unbind(-1)
    if camera is None:
        return torch.stack([width * (x + 0.5), 0.5 * height + width * y, z], dim=-1)
    seen = z > camera.near
    k = camera.k.to(vertices)
    rays = vertices / torch.where(seen, z, torch.ones_like(z))[..., None]
    u, v, _ = (rays @ k.mT).unbind(-1)
    return torch.stack([torch.where(seen, u, math.nan), torch.where(seen, v, math.nan), z], dim=-1)


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
    height, width = rows_and_columns(image_size)
    checked = prepare_faces(vertices, faces)
    return fragments_of(to_pixels(vertices, image_size, camera), checked, height, width, camera, backend)


def fragments_of(
    places: Tensor, faces: Tensor, height: int, width: int, camera: Pinhole | None, backend: Backend
) -> Fragments:
    """The nearest face at each pixel's centre, from places in pixels and checked faces, by either backend."""
    if backend == "pytorch3d":
        from dhpe_lib.rendering.pytorch3d_backend import rasterize as pytorch3d_rasterize

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
