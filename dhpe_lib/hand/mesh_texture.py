"""The texture of a mesh for files: its image, and its seams, where one vertex has several places in the image.

Nothing here has a gradient.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Integer, UInt8
from numpy import ndarray
from PIL import Image

from dhpe_lib.common.arguments import check_fields

QUALITY = 92
"""JPEG quality of the written image."""


@dataclass(frozen=True)
class MeshTexture:
    """An image and its places on a mesh.

    Attributes:
        uv: Places in the image, from (0, 0) at the top left to (1, 1) at the bottom right.
        corners: Row of `uv` for each corner of each face.
        image: RGB.
    """

    uv: Float[ndarray, "t 2"]
    corners: Integer[ndarray, "f 3"]
    image: UInt8[ndarray, "height width 3"]

    def __post_init__(self) -> None:
        check_fields(self)

    def jpeg(self) -> bytes:
        """Return the image as the content of a JPEG file."""
        return _jpeg(self.image.tobytes(), self.image.shape)


@lru_cache(maxsize=4)
def _jpeg(pixels: bytes, shape: tuple[int, int, int]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.frombuffer(pixels, np.uint8).reshape(shape)).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def texture_of(hand: Mapping[str, ndarray]) -> MeshTexture | None:
    """Return the texture of a hand, or None if it has none, as MANO.

    Args:
        hand: Fields of a hand, as in :func:`dhpe_lib.hand.io.read_hand`.
    """
    if not {"vt", "ft", "texture"} <= set(hand):
        return None
    return MeshTexture(hand["vt"], hand["ft"], hand["texture"])


@dataclass(frozen=True)
class Seams:
    """A mesh whose vertices have one place in the image each: vertices on seams are repeated at the end.

    Attributes:
        source: Vertex of the mesh that each new vertex repeats; it begins with 0, 1, 2, ... for all old vertices.
        uv: Place of each new vertex in the image.
        faces: New vertices of the triangles.
    """

    source: Integer[ndarray, " n"]
    uv: Float[ndarray, "n 2"]
    faces: Integer[ndarray, "f 3"]


def split_seams(count: int, faces: Integer[ndarray, "f 3"], texture: MeshTexture) -> Seams:
    """Repeat the vertices that have several places in the image.

    Args:
        count: Number of vertices of the mesh.
        faces: Vertex indices of the triangles.
        texture: Texture with the corners of these faces.

    Returns:
        The new vertices and faces; the first `count` vertices are the old ones.
    """
    pairs = np.stack((faces.ravel().astype(np.int64), texture.corners.ravel().astype(np.int64)), axis=1)
    unique, inverse = np.unique(pairs, axis=0, return_inverse=True)
    vertex, place = unique.T
    repeated = np.r_[False, vertex[1:] == vertex[:-1]]
    number = np.where(repeated, count - 1 + repeated.cumsum(), vertex)
    places = np.zeros(count + repeated.sum(), np.int64)
    places[number] = place
    source = np.concatenate((np.arange(count), vertex[repeated]))
    return Seams(source, texture.uv[places], number[inverse.ravel()].reshape(faces.shape))
