"""Reading image files of any kind: photos as upright RGB arrays, and foreground masks. Nothing here has a gradient."""

import struct
import warnings
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Real, UInt8
from numpy import ndarray
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "DIB", "GIF", "PPM", "TGA", "JPEG2000")
"""Formats that are opened, whatever a file is called. For EPS files Pillow would start the program Ghostscript."""


class PhotoError(ValueError):
    """An image cannot be used; the message names the file and the remedy."""


def read_photo(path: str | Path) -> UInt8[ndarray, "height width 3"]:
    """Read an image of any mode and size as upright RGB.

    The EXIF rotation is applied, 16-bit values are reduced to 8 bits, and transparent pixels are blended with white. If
    the file has several frames, the first is used.

    Args:
        path: A file in one of ``FORMATS``.

    Returns:
        The photo; rows are y.

    Raises:
        FileNotFoundError: The file does not exist.
        PhotoError: The file is not an image or is damaged.
    """
    return _rgb(_opened(Path(path)))


def read_mask(path: str | Path, size: tuple[int, int]) -> Bool[ndarray, "height width"]:
    """Read the foreground mask of a photo: the pixels brighter than half of the brightest pixel.

    The mask of a cut-out, an image with transparent pixels, is its alpha channel.

    Args:
        path: An image of the photo's size and any depth; its values may be 0 and 1, 0 and 255, or any greys.
        size: Width and height of the upright photo, pixels.

    Returns:
        True on the hand.

    Raises:
        FileNotFoundError: The file does not exist.
        PhotoError: The file is not an image, has another size, or is black everywhere.
    """
    path = Path(path)
    values = _brightness(_opened(path))
    height, width = values.shape
    if (width, height) != size:
        raise PhotoError(
            f"{path}: the mask has {width} x {height} pixels, the upright photo {size[0]} x {size[1]}; "
            "give a mask of the photo's size"
        )
    if not (values > 0).any():
        raise PhotoError(f"{path}: the mask is black or transparent everywhere; the hand's pixels must be bright")
    return values > values.max() / 2


def open_image(path: str | Path) -> Image.Image:
    """Open an image file of one of ``FORMATS``; its pixels are not read yet.

    Raises:
        OSError: The file does not exist, or is no such image (`UnidentifiedImageError`).
    """
    return Image.open(path, formats=[name for name in FORMATS if name in known_formats()])


@cache
def known_formats() -> frozenset[str]:
    """Return the formats that this version of Pillow reads."""
    Image.init()
    return frozenset(Image.OPEN)


def _brightness(image: Image.Image) -> Real[ndarray, "height width"]:
    """Return alpha where it hides anything, else the grey values at their own depth or the brightest channel."""
    if image.mode == "F" or image.mode.startswith("I"):
        return np.nan_to_num(np.asarray(image, np.float64))
    if image.has_transparency_data:
        alpha = np.array(image.convert("RGBA").getchannel("A"))
        if alpha.min() < 255:
            return alpha
    return _rgb(image).max(2)


def _opened(path: Path) -> Image.Image:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if path.is_dir():
        raise PhotoError(f"{path}: is a folder; name the images in it")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # large pictures and unusual metadata are accepted
            with open_image(path) as image:
                image.load()
                return ImageOps.exif_transpose(image)
    except UnidentifiedImageError as error:
        raise PhotoError(f"{path}: not an image in a supported format; convert it to JPEG or PNG") from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise PhotoError(f"{path}: cannot be read ({error}); it is damaged or too large: copy it again") from error


def _rgb(image: Image.Image) -> UInt8[ndarray, "height width 3"]:
    if image.mode == "F" or image.mode.startswith("I"):
        return _reduced(np.asarray(image, np.float64), 65535 if image.mode != "F" else None)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


def _reduced(values: ndarray, white: int | None) -> UInt8[ndarray, "height width 3"]:
    """Reduce grey values to 8 bits. If `white` is None, white is 1 when no value is larger, else 255."""
    if white is None:
        white = 1 if values.max() <= 1 else 255
    grey = np.rint(255 * np.clip(np.nan_to_num(values) / white, 0, 1)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)
