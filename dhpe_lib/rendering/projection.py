"""Project vertices to an image, rasterize faces, and interpolate attributes over the pixels.

Without a camera, vertices are in the crop frame (PAPER 9.2), seen by a scaled orthographic camera: x in [-1/2, 1/2]
spans the width of the image, y has the unit of x, and a smaller z is nearer. With a `Pinhole`, vertices are in its
camera frame.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor
from torch.nn import functional

from dhpe_lib.common.arguments import check_fields, checked
from dhpe_lib.rendering.rasterizer import fragments as fragment_functions
from dhpe_lib.rendering.rasterizer.fragments import Fragments
from dhpe_lib.rendering.rasterizer.launch import prepare_faces

ImageSize = int | tuple[int, int]
Backend = Literal["warp", "pytorch3d"]


@dataclass(frozen=True)
class Pinhole:
    """A pinhole camera at the origin that looks along +z.

    Attributes:
        k: Camera matrix in pixels of the rendered image; one for all meshes, or one for each. Pixel i covers
            [i, i + 1).
        near: Near plane, in the unit of the vertices. Faces with a corner at a smaller z are not drawn.
    """

    k: Float[Tensor, "one_or_batch 3 3"]
    near: float = 1e-3

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.near > 0:
            raise ValueError(f"near = {self.near} must be positive: the camera sees nothing behind it")


def rows_and_columns(image_size: ImageSize) -> tuple[int, int]:
    """Return height and width of an image in pixels.

    Raises:
        ValueError: The height or the width is not a positive whole number, or there are not two of them.
    """
    sides = tuple(image_size) if isinstance(image_size, Sequence) else (image_size, image_size)
    if len(sides) != 2 or not all(isinstance(side, int | np.integer) for side in sides):
        raise ValueError(f"image_size = {image_size!r}: give one whole number of pixels, or (rows, columns)")
    height, width = map(int, sides)
    if min(height, width) <= 0:
        raise ValueError(f"image_size = {image_size}: rows and columns must be positive")
    return height, width


@checked()
def to_screen(
    vertices: Float[Tensor, "batch vertices 3"], image_size: ImageSize, camera: Pinhole | None = None
) -> Float[Tensor, "batch vertices 3"]:
    """Project vertices to screen coordinates: u and v in pixels, and z unchanged.

    Without a camera, u = width (x + 1/2) and v = height / 2 + width y. With a camera, (u, v, 1) = K X / z.

    Args:
        vertices: Vertices in the crop frame, or in the camera frame in any unit.
        image_size: Pixels along each side, or rows and columns.
        camera: A pinhole, or None for the crop frame.

    Returns:
        Screen coordinates (u, v, z). With a pinhole, u and v are NaN for a vertex with z at most `near`. The gradient
        to the vertices is finite, and 0 for such a vertex.

    Raises:
        ValueError: The image size is not positive.
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


@checked()
def rasterize(
    vertices: Float[Tensor, "batch vertices 3"],
    faces: Integer[Tensor, "faces 3"] | Integer[Tensor, "meshes faces 3"],
    image_size: ImageSize = 224,
    camera: Pinhole | None = None,
    backend: Backend = "warp",
) -> Fragments:
    """Find the nearest face at the centre of each pixel, with barycentric coordinates and depth.

    Depths are compared in float32, also if the vertices are float64. At equal depth the first face wins.
    With a pinhole, barycentric coordinates belong to the point on the face in 3D (perspective correct).

    Args:
        vertices: Vertices in the crop frame, or in the camera frame in any unit.
        faces: Vertex indices as in `silhouette`; faces are visible from both sides.
        image_size: Pixels along each side, or rows and columns.
        camera: A pinhole, or None for the crop frame.
        backend: "warp", or "pytorch3d" if it is installed.

    Returns:
        The fragments. A pixel without a face has face -1, barycentric coordinates 0 and infinite depth. Barycentric
        coordinates and depth have a gradient to the vertices, but none for the change of a pixel's face.

    Raises:
        TypeError, ValueError, IndexError, ImportError: See `silhouette`.
    """
    height, width = rows_and_columns(image_size)
    checked = prepare_faces(vertices, faces)
    return fragments_of(to_screen(vertices, image_size, camera), checked, height, width, camera, backend)


def fragments_of(
    screen: Tensor, faces: Tensor, height: int, width: int, camera: Pinhole | None, backend: Backend
) -> Fragments:
    """Rasterize faces from `prepare_faces` by either backend, given screen coordinates in pixels."""
    if backend == "pytorch3d":
        from dhpe_lib.rendering.pytorch3d_backend import rasterize as pytorch3d_rasterize

        return pytorch3d_rasterize(screen, faces, height, width, camera is not None)
    if backend != "warp":
        raise ValueError(f'backend = {backend!r}; use "warp" or "pytorch3d"')
    return fragment_functions.rasterize(screen, faces, height, width, camera is not None)


@checked()
def interpolate(
    attributes: Float[Tensor, "one_or_batch rows channels"],
    corners: Integer[Tensor, "faces 3"] | Integer[Tensor, "meshes faces 3"],
    fragments: Fragments,
) -> Float[Tensor, "batch height width channels"]:
    """Interpolate attributes of the corners over the pixels: sum_c b_c attributes[corners[face, c]].

    Args:
        attributes: Values in any unit; one set for all images, or one for each.
        corners: Three rows of `attributes` for each face: the faces of the mesh, or those of its texture.
        fragments: From `rasterize`; the result has their dtype.

    Returns:
        The values; 0 at pixels without a face. Gradient to the attributes, and through the fragments to the vertices.
    """
    return fragment_functions.interpolate(attributes, prepare_faces(attributes, corners), fragments)


@checked()
def label_map(labels: Integer[Tensor, " faces"], fragments: Fragments) -> Int[Tensor, "batch height width"]:
    """Return the label of the visible face at each pixel, such as the part of the hand.

    Args:
        labels: Label of each face.
        fragments: From `rasterize` or a `Rendering`.

    Returns:
        Labels; -1 at pixels without a face. No gradient.
    """
    return functional.pad(labels.long(), (0, 1), value=-1)[fragments.face]
