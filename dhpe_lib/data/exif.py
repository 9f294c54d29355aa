"""The focal length of a photo in pixels, from the EXIF data that cameras write into files. Nothing has a gradient.

A turned photo has the same focal length, so the EXIF orientation changes nothing here: sizes are compared as larger
and smaller side.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from math import hypot, isfinite
from pathlib import Path
from typing import Any

from PIL import ExifTags

from dhpe_lib.data.photos import open_image

FULL_FRAME_DIAGONAL = hypot(36, 24)  # millimetres of 35 mm film
# Millimetres in the units of FocalPlaneResolutionUnit; without the tag it is the inch.
UNIT_MM = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}
INCH = 2
# Focal length over larger side, from a fisheye lens (136 degrees) to a telephoto lens (5 degrees). Other values are
# errors of the file.
PLAUSIBLE = (0.2, 12.0)
SAME_SHAPE = 0.01
SAME_SIDE = 2  # pixels


@dataclass(frozen=True)
class ExifFocal:
    """The numbers of EXIF data that tell a focal length in pixels. Each is None where it is missing or useless.

    Attributes:
        film_mm: Focal length of the same diagonal field of view on 35 mm film, millimetres.
        lens_mm: Focal length of the lens, millimetres.
        pixels_per_mm: Pixels on a millimetre of the sensor, for the picture as it was taken.
        width: Width of the picture as it was taken, pixels.
        height: Height of the picture as it was taken, pixels.
    """

    film_mm: float | None = None
    lens_mm: float | None = None
    pixels_per_mm: float | None = None
    width: float | None = None
    height: float | None = None


def focal_from_file(path: str | Path, width: int, height: int) -> float | None:
    """Read the focal length of a photo from its file.

    Args:
        path: An image file.
        width: Width of the upright photo, pixels.
        height: Height of the upright photo, pixels.

    Returns:
        Focal length in pixels of the photo; None where the file does not tell it. Broken data and a missing file
        are no errors.

    Source: Exif 2.32, tags 0x920A, 0xA002, 0xA003, 0xA20E, 0xA210 and 0xA405.
    """
    return focal_in_pixels(read_exif_focal(path), width, height)


def read_exif_focal(path: str | Path) -> ExifFocal:
    """Read the tags that tell a focal length.

    Args:
        path: An image file.

    Returns:
        EXIF values; empty if the file has no usable EXIF data.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata
            with open_image(path) as image:
                return parse_exif_focal(image.getexif().get_ifd(ExifTags.IFD.Exif))
    except Exception:  # Pillow's parser meets any bytes: whatever it raises, the photo has no usable EXIF data
        return ExifFocal()


def parse_exif_focal(tags: Mapping[int, Any]) -> ExifFocal:
    """Pick the numbers out of EXIF tags.

    Args:
        tags: Values of the Exif directory by tag, as Pillow gives them.

    Returns:
        The positive, finite ones.
    """
    base = ExifTags.Base
    density = _number(tags.get(base.FocalPlaneXResolution)) or _number(tags.get(base.FocalPlaneYResolution))
    unit = UNIT_MM.get(int(_number(tags.get(base.FocalPlaneResolutionUnit, INCH)) or 0))
    return ExifFocal(
        film_mm=_number(tags.get(base.FocalLengthIn35mmFilm)),
        lens_mm=_number(tags.get(base.FocalLength)),
        pixels_per_mm=density / unit if density and unit else None,
        width=_number(tags.get(base.ExifImageWidth)),
        height=_number(tags.get(base.ExifImageHeight)),
    )


def _number(value: Any) -> float | None:
    """A positive, finite number, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError, ArithmeticError):
        return None
    return number if isfinite(number) and number > 0 else None


def focal_in_pixels(exif: ExifFocal, width: int, height: int) -> float | None:
    """Turn EXIF numbers into a focal length in pixels of the photo at hand.

    With the focal length for 35 mm film, f = film_mm * diagonal / 43.27 mm; else f = lens_mm * pixels_per_mm. Both are
    in pixels of the picture as it was taken. A photo of the same shape was resized, and f with it. A photo with one
    side of the same length was cropped, and f stays. For any other size nobody can tell, and f is not known.

    If the size as it was taken is missing, the photo counts as uncropped for the first form. The second form needs
    that size: programs that resize a photo often drop it and keep the resolution of the sensor.

    Args:
        exif: The numbers.
        width: Width of the upright photo, pixels.
        height: Height of the upright photo, pixels.

    Returns:
        Focal length in pixels; None where it is not known, or where the result is no camera's.

    Source: Exif 2.32 (CIPA DC-008), the tags of :func:`focal_from_file`; 35 mm film has frames of 36 x 24 mm.
    """
    sides = taken = (float(max(width, height)), float(min(width, height)))
    if exif.width and exif.height:
        taken = (max(exif.width, exif.height), min(exif.width, exif.height))
    resize = _resize(taken, sides)
    if exif.film_mm:
        focal = exif.film_mm / FULL_FRAME_DIAGONAL * hypot(*taken)
    elif exif.lens_mm and exif.pixels_per_mm and exif.width and exif.height:
        focal = exif.lens_mm * exif.pixels_per_mm
    else:
        return None
    low, high = PLAUSIBLE
    return focal * resize if resize and low < focal / taken[0] < high else None


def _resize(taken: tuple[float, float], sides: tuple[float, float]) -> float | None:
    """Pixels of the photo in a pixel of the picture as it was taken; None where cropping and resizing mix."""
    ratios = (sides[0] / taken[0], sides[1] / taken[1])
    if abs(ratios[0] / ratios[1] - 1) < SAME_SHAPE:
        return ratios[0]
    fits = max(ratios) <= 1 + SAME_SIDE / taken[1]
    shared = any(abs(side - whole) <= SAME_SIDE for side in sides for whole in taken)
    return 1.0 if fits and shared else None
