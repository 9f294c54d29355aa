"""Reading image files of any kind: photos as upright RGB arrays, and foreground masks. Nothing here has a gradient."""

import importlib
import importlib.util
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Real, UInt8
from numpy import ndarray
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "HEIF", "TIFF", "BMP", "DIB", "GIF", "PPM", "TGA", "JPEG2000")
"""Formats that are opened, whatever a file is called. For EPS files Pillow would start the program Ghostscript."""
PLUGINS = {"HEIF": "pip install 'dhpe[heif]'", "AVIF": "pip install 'pillow>=11.3'"}
"""Command that makes Pillow read a format. With older Pillows the package pillow-avif-plugin is used too."""
BRANDS = {"HEIF": (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "AVIF": (b"avif", b"avis")}
"""Brands of the formats in bytes 8 to 12 of a file, after "ftyp"."""

MOST_PIXELS = 300_000_000
"""Most pixels of an image: the largest cameras have 200 million, which take 0.6 GB as RGB."""
STRIP = 128
"""Rows of an image that are converted together."""
DEPTHS = (8, 10, 12, 14, 16, 24, 32)
"""Numbers of bits that the whole numbers of grey images have; cameras store 10 to 14 bits in 16."""


class PhotoError(ValueError):
    """An image cannot be used; the message names the file and the remedy."""


def read_photo(path: str | Path) -> UInt8[ndarray, "height width 3"]:
    """Read an image of any mode and size as upright RGB.

    The EXIF rotation is applied, and transparent pixels are blended with white. Grey values of more than 8 bits are
    reduced to 8; their depth is the smallest of ``DEPTHS`` that holds all of them. If the file has several frames, the
    first is used.

    Args:
        path: A file in one of ``FORMATS``.

    Returns:
        The photo; rows are y.

    Raises:
        FileNotFoundError: The file does not exist.
        PhotoError: The file is not an image, is damaged or has more than ``MOST_PIXELS`` pixels.
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


def open_image(path: str | Path | BytesIO) -> Image.Image:
    """Open an image, in a file or in memory, of one of ``FORMATS``; its pixels are not read yet.

    Raises:
        OSError: The file does not exist, or is no such image (`UnidentifiedImageError`).
        DecompressionBombError: The image has more than ``MOST_PIXELS`` pixels.
    """
    with own_limit():
        return Image.open(path, formats=[name for name in FORMATS if name in known_formats()])


@contextmanager
def own_limit() -> Iterator[None]:
    """Let Pillow refuse images with more than ``MOST_PIXELS`` pixels, instead of those above its own limit."""
    with _limit_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        pillows, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MOST_PIXELS // 2  # an error comes at twice as many
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = pillows


_limit_lock = threading.Lock()


@cache
def known_formats() -> frozenset[str]:
    """Return the formats that Pillow reads, with the plugins that are installed."""
    Image.init()
    if importlib.util.find_spec("pillow_heif") is not None:
        importlib.import_module("pillow_heif").register_heif_opener()
    if "AVIF" not in Image.OPEN and importlib.util.find_spec("pillow_avif") is not None:
        importlib.import_module("pillow_avif")
    return frozenset(Image.OPEN)


def missing_plugin(path: Path) -> str | None:
    """Return the command that makes Pillow read an image file, or None if the format is known or no photo's."""
    with path.open("rb") as file:
        start = file.read(12)
    kinds = [kind for kind, brands in BRANDS.items() if start[4:8] == b"ftyp" and start[8:] in brands]
    return next((PLUGINS[kind] for kind in kinds if kind not in known_formats()), None)


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
                ImageOps.exif_transpose(image, in_place=True)  # without a rotation this makes no copy
                return image
    except UnidentifiedImageError as error:
        if command := missing_plugin(path):
            raise PhotoError(f"{path}: Pillow reads this format with a plugin; {command}") from error
        raise PhotoError(f"{path}: not an image in a supported format; convert it to JPEG or PNG") from error
    except Image.DecompressionBombError as error:
        most = MOST_PIXELS // 1_000_000
        raise PhotoError(
            f"{path}: has more than {most} million pixels; make it smaller, or cut the hand out"
        ) from error
    except MemoryError as error:
        raise PhotoError(f"{path}: needs more memory than there is; make it smaller, or cut the hand out") from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        raise PhotoError(f"{path}: cannot be read ({error}); it is damaged: copy it again") from error


def _rgb(image: Image.Image) -> UInt8[ndarray, "height width 3"]:
    if image.mode == "F" or image.mode.startswith("I"):
        return _reduced(np.asarray(image))
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, STRIP):  # the whole image at once would take three times its memory
        with own_limit():  # Pillow checks the size of a strip, too
            strip = image.crop((0, top, image.width, min(top + STRIP, image.height)))
        pixels[top : top + STRIP] = np.asarray(_opaque(strip))
    return pixels


def _opaque(image: Image.Image) -> Image.Image:
    """Convert an image to RGB; transparent pixels are blended with white."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def shrink_photo(photo: UInt8[ndarray, "height width 3"], width: int, height: int) -> UInt8[ndarray, "_ _ 3"]:
    """Resize a photo, without a full copy of a large one.

    If it becomes much smaller, squares of pixels are averaged first.

    Args:
        photo: RGB.
        width: Width of the result, pixels.
        height: Height of the result, pixels.

    Returns:
        The resized photo, of shape (height, width, 3).
    """
    rows, columns = photo.shape[:2]
    factor = max(1, int(min(columns / width, rows / height) / 2))
    box = (0, 0, columns / factor, rows / factor)
    small = Image.fromarray(reduce_photo(photo, factor))
    return np.asarray(small.resize((width, height), Image.Resampling.LANCZOS, box))


def reduce_photo(photo: UInt8[ndarray, "height width 3"], factor: int) -> UInt8[ndarray, "_ _ 3"]:
    """Average each square of factor x factor pixels, strip by strip; squares at the border may be smaller."""
    rows = factor * max(1, STRIP // factor)
    strips = [Image.fromarray(photo[top : top + rows]).reduce(factor) for top in range(0, len(photo), rows)]
    return np.concatenate([np.asarray(strip) for strip in strips])


def _reduced(values: Real[ndarray, "height width"]) -> UInt8[ndarray, "height width 3"]:
    """Reduce grey values to 8 bits. White is 1 or 255 for floats, else the largest whole number of their depth."""
    grey = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    most = float(grey.max())
    if values.dtype.kind == "f":
        white = 1.0 if most <= 1 else 255.0
    else:
        white = next(2.0**bits - 1 for bits in DEPTHS if most < 2.0**bits)
    grey[np.isposinf(values)] = white
    reduced = np.rint(255 * np.clip(grey / white, 0, 1)).astype(np.uint8)
    return np.repeat(reduced[..., None], 3, axis=2)
