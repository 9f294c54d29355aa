"""The pinhole camera of a photo: its matrix K, and where its focal length comes from.

The principal point is the centre of the image, pixels are square, and the lens has no distortion. A pixel i covers
[i, i + 1), so the centre of an image of width w is w / 2. The chapter is *Conventions*.
"""

from dataclasses import dataclass
from math import atan, degrees, isfinite, radians, tan
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from dhpe_lib.data.exif import focal_from_file

FocalSource = Literal["given", "exif", "assumed"]

# Along the larger side, the main camera of a phone sees 65 to 70 degrees, a webcam about 60, and the colour cameras of
# RHD, STB and HO-3D 55 to 60. A cropped photo sees less.
ASSUMED_FOV = 60.0


@dataclass(frozen=True)
class Camera:
    """A pinhole camera at the origin that looks along +z (x right, y down).

    Attributes:
        width: Width of the upright image, pixels.
        height: Height of the upright image, pixels.
        k: Matrix K in float64: pixel = (K P)_xy / (K P)_z for a point P of the camera frame.
        source: Source of the focal length: "given" by the caller, the file's "exif", or "assumed".
    """

    width: int
    height: int
    k: Float[Tensor, "3 3"]
    source: FocalSource

    @classmethod
    def from_focal(cls, width: int, height: int, focal: float, source: FocalSource = "given") -> "Camera":
        """Make the camera of a known focal length.

        Args:
            width: Width of the image, pixels.
            height: Height of the image, pixels.
            focal: Focal length, pixels of this image.
            source: Source of the focal length.

        Returns:
            The camera, with the principal point at the centre of the image.

        Raises:
            ValueError: The focal length or a side of the image is not positive.

        Source: Hartley and Zisserman, *Multiple View Geometry*, Eq. 6.4.
        """
        if min(width, height) <= 0:
            raise ValueError(f"an image of {width} x {height} pixels has no camera; both sides must be positive")
        if not (isfinite(focal) and focal > 0):
            raise ValueError(f"the focal length is {focal} pixels; it must be positive and finite")
        rows = [[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]
        return cls(width, height, torch.tensor(rows, dtype=torch.float64), source)

    @classmethod
    def from_fov(cls, width: int, height: int, fov: float, source: FocalSource = "given") -> "Camera":
        """Make the camera of a known field of view, measured along the larger side of the image.

        The larger side gives a portrait photo and a landscape photo of one camera the same focal length.

        Args:
            width: Width of the image, pixels.
            height: Height of the image, pixels.
            fov: Angle that the larger side of the image spans, degrees.
            source: Source of the field of view.

        Returns:
            The camera: f = larger side / (2 tan(fov / 2)).

        Raises:
            ValueError: The angle is not between 0 and 180 degrees, or a side of the image is not positive.

        Source: the pinhole model.
        """
        if not 0 < fov < 180:
            raise ValueError(f"the field of view is {fov} degrees; it must lie between 0 and 180")
        focal = max(width, height) / (2 * tan(radians(fov) / 2)) if max(width, height) > 0 else 1.0
        return cls.from_focal(width, height, focal, source)

    @classmethod
    def assumed(cls, width: int, height: int) -> "Camera":
        """Make the camera of an image about which nothing is known: it sees 60 degrees along the larger side.

        Depths in metres scale with the focal length. A phone that sees 67 degrees has a focal length 13 % below the
        assumed one, so its hands are in truth 13 % nearer than the result says.

        Args:
            width: Width of the image, pixels.
            height: Height of the image, pixels.

        Returns:
            The camera.

        Raises:
            ValueError: A side of the image is not positive.
        """
        return cls.from_fov(width, height, ASSUMED_FOV, "assumed")

    @classmethod
    def from_photo(cls, path: str | Path, width: int, height: int) -> "Camera":
        """Make the camera of a photo from the EXIF data of its file, else assume one.

        Args:
            path: The file.
            width: Width of the upright photo as it was read, pixels.
            height: Height of the upright photo, pixels.

        Returns:
            The camera. Missing or broken EXIF data is no error: ``source`` is then "assumed".

        Raises:
            ValueError: A side of the image is not positive.

        Source: :func:`dhpe_lib.data.exif.focal_from_file`.
        """
        focal = focal_from_file(path, width, height)
        return cls.assumed(width, height) if focal is None else cls.from_focal(width, height, focal, "exif")

    @classmethod
    def choose(
        cls,
        width: int,
        height: int,
        focal: float | None = None,
        fov: float | None = None,
        path: str | Path | None = None,
    ) -> "Camera":
        """Make a camera from the best information: focal length, field of view, EXIF data, an assumption.

        Args:
            width: Width of the upright photo, pixels.
            height: Height of the upright photo, pixels.
            focal: Focal length, pixels.
            fov: Field of view along the larger side, degrees.
            path: File of the photo.

        Returns:
            The camera.

        Raises:
            ValueError: Both focal length and field of view are given, or one of them is out of range.
        """
        if focal is not None and fov is not None:
            raise ValueError("a focal length and a field of view are both given; give one of them")
        if focal is not None:
            return cls.from_focal(width, height, focal)
        if fov is not None:
            return cls.from_fov(width, height, fov)
        return cls.assumed(width, height) if path is None else cls.from_photo(path, width, height)

    def batch(self, like: Float[Tensor, "b ..."]) -> Float[Tensor, "b 3 3"]:
        """Give one copy of K for each item of a batch.

        Args:
            like: The batch, whose device and dtype the result takes.

        Returns:
            Camera matrices.
        """
        return self.k.to(like).expand(len(like), 3, 3)

    @property
    def focal(self) -> float:
        """Focal length, pixels."""
        return float(self.k[0, 0])

    @property
    def fov(self) -> float:
        """Field of view along the larger side, degrees."""
        return degrees(2 * atan(max(self.width, self.height) / (2 * self.focal)))


def project(points: Float[Tensor, "b n 3"], k: Float[Tensor, "b 3 3"]) -> Float[Tensor, "b n 2"]:
    """Project points of the camera frame into the image: pixel = (K P)_xy / (K P)_z.

    Args:
        points: Points of the camera frame, any unit of length.
        k: Camera matrices.

    Returns:
        Points of the image, pixels. The gradient flows to points and cameras.

    Raises:
        ValueError: A point is not in front of the camera.

    Source: Hartley and Zisserman, *Multiple View Geometry*, Eq. 6.2.
    """
    image = points @ k.mT
    if not (image[..., 2] > 0).all():
        raise ValueError("a point is not in front of the camera; only points with z > 0 have an image")
    return image[..., :2] / image[..., 2:]
