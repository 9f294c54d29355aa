"""Checks that all dataset readers share: an error for a missing or wrong file names file, field and remedy.

Nothing here has a gradient.
"""

import os
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from PIL import Image

from dhpe_lib.common import json_files
from dhpe_lib.common.json_files import JsonError, Kind
from dhpe_lib.data.photos import open_image, read_photo

OPENED = 8  # a check opens at least this many files of a folder, and fewer than twice as many

Item = TypeVar("Item")


class DatasetError(ValueError):
    """A file of a dataset is missing or wrong; the message names file, field and remedy."""


@dataclass(frozen=True)
class Finding:
    """Result of checking a file or folder of a dataset.

    Attributes:
        path: The file or folder.
        problem: Description of the problem; None if there is none.
        count: Number of samples in it; None if unknown.
        remedy: Instruction that solves the problem; empty if there is no problem.
    """

    path: Path
    problem: str | None
    count: int | None
    remedy: str


def is_below(name: Any) -> bool:
    """Return whether a file name from a dataset is a relative path that stays below its folder, on Windows too."""
    if not isinstance(name, str) or not 0 < len(name) <= 1000:
        return False
    parts = PureWindowsPath(name).parts  # it divides at / and at \
    short = all(len(os.fsencode(part)) <= 255 for part in parts)
    return bool(parts) and short and not PureWindowsPath(name).anchor and ".." not in parts


def require(path: Path, remedy: str) -> Path:
    """Return a path if it exists.

    Args:
        path: A file or a folder.
        remedy: Instruction for the message if it does not exist.

    Returns:
        The path.

    Raises:
        FileNotFoundError: The path does not exist.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such {'file' if path.suffix else 'folder'}; {remedy}")
    return path


def require_split(split: str, splits: Sequence[str], dataset: str) -> None:
    """Raise an error for a split that a dataset does not have.

    Args:
        split: Name of the requested split.
        splits: Names of the dataset's splits.
        dataset: Name of the dataset, for the message.

    Raises:
        DatasetError: The dataset has no such split.
    """
    if split not in splits:
        raise DatasetError(f"{dataset} has no split {split!r}; use {' or '.join(repr(name) for name in splits)}")


def read_image(path: Path, size: tuple[int, int] | None, remedy: str) -> UInt8[ndarray, "height width 3"]:
    """Read a colour picture of a dataset.

    Args:
        path: A PNG or JPEG file.
        size: Required width and height, pixels; None for any.
        remedy: Instruction for the message if the file is missing or has another size.

    Returns:
        RGB picture.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is damaged (`PhotoError`) or has another size (`DatasetError`).
    """
    image = read_photo(require(path, remedy))
    _require_size(path, (image.shape[1], image.shape[0]), size, remedy)
    return image


def read_indices(path: Path, size: tuple[int, int] | None, remedy: str) -> UInt8[ndarray, "height width"]:
    """Read a picture whose values are class indices, not colours.

    Args:
        path: A PNG file with one channel of 8 bits, or with several equal channels.
        size: Required width and height, pixels; None for any.
        remedy: Instruction for the message if the file is missing or wrong.

    Returns:
        The stored values.

    Raises:
        FileNotFoundError: The file does not exist.
        DatasetError: The file is damaged, or has another size or unequal channels.
    """
    try:
        with open_image(require(path, remedy)) as image:
            values = np.array(image)
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise DatasetError(f"{path}: cannot be read as an image ({error}); {remedy}") from error
    if image.mode in ("RGB", "RGBA") and (values[..., :3] == values[..., :1]).all():
        values = np.ascontiguousarray(values[..., 0])  # some programs save grey pictures so
    if values.ndim != 2 or values.dtype != np.uint8:
        raise DatasetError(f"{path}: is of mode {image.mode}, not one channel of 8 bits with the classes; {remedy}")
    _require_size(path, image.size, size, remedy)
    return values


def _require_size(path: Path, found: tuple[int, int], size: tuple[int, int] | None, remedy: str) -> None:
    if size not in (None, found):
        raise DatasetError(f"{path}: is {found[0]} x {found[1]} pixels, not {size[0]} x {size[1]}; {remedy}")


def read_json(path: Path, kind: Callable[..., Kind], remedy: str) -> Kind:
    """Read a JSON file.

    Args:
        path: The file.
        kind: Type of the content; see :func:`dhpe_lib.common.json_files.parse_json`.
        remedy: Instruction for the message if the file is missing or damaged.

    Returns:
        The file's content.

    Raises:
        FileNotFoundError: The file does not exist.
        DatasetError: The file is not JSON, or a field is missing or has another type.
    """
    try:
        return json_files.read_json(require(path, remedy), kind, json_files.LARGE)
    except JsonError as error:
        raise DatasetError(f"{path}: {error}; {remedy}") from error


def field(
    record: Any, name: str, shape: tuple[int, ...], where: str, remedy: str, finite: bool = True
) -> Float[ndarray, "..."]:
    """Take an array out of a record of labels and check it.

    Args:
        record: A mapping from names to arrays or lists.
        name: Name of the field.
        shape: Required shape.
        where: File and sample, for the message.
        remedy: Instruction for the message if the field is missing or wrong.
        finite: Whether to refuse NaN and infinity.

    Returns:
        The array in float64, in the unit of the file.

    Raises:
        DatasetError: The field is missing, is not numeric, has another shape, or is not finite.
    """
    if not isinstance(record, Mapping) or name not in record:
        raise DatasetError(f"{where}: lacks the field {name}; {remedy}")
    return numbers(record[name], shape, f"{where}: the field {name}", remedy, finite)


def numbers(value: Any, shape: tuple[int, ...], what: str, remedy: str, finite: bool = True) -> Float[ndarray, "..."]:
    """Check that a value is an array of numbers with a certain shape.

    Args:
        value: An array or nested lists.
        shape: Required shape.
        what: File, sample and field, for the message.
        remedy: Instruction for the message if the value is wrong.
        finite: Whether to refuse NaN and infinity.

    Returns:
        The array in float64, in the unit of the value.

    Raises:
        DatasetError: The value is not numeric, has another shape, or is not finite.
    """
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise DatasetError(f"{what} is not {_times(shape)} numbers; {remedy}") from error
    if array.shape != shape:
        raise DatasetError(f"{what} has shape {array.shape}, not {shape}; {remedy}")
    if finite and not np.isfinite(array).all():
        raise DatasetError(f"{what} is not finite at {tuple(np.argwhere(~np.isfinite(array))[0].tolist())}; {remedy}")
    return array


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def check_images(
    folder: Path,
    names: Sequence[str],
    size: tuple[int, int] | None,
    remedy: str,
    read: Callable[[Path, tuple[int, int] | None, str], ndarray] = read_image,
) -> Finding:
    """Check that the images of a folder exist, and decode a few of them.

    All names are compared with the files on disk. Only a few images, evenly spaced, are decoded, so the check takes
    seconds.

    Args:
        folder: Folder of the images.
        names: Paths relative to the folder.
        size: Required width and height, pixels; None for any.
        remedy: Instruction for the message if images are missing or damaged.
        read: The dataset's reader of these images, :func:`read_image` or :func:`read_indices`.

    Returns:
        Number of images that exist, and the first problem: the folder is missing, images are missing or empty, or a
        decoded image is damaged, is not an image, or has another size.
    """
    if not folder.is_dir():
        return Finding(folder, "no such folder", 0, remedy)
    sizes = _file_sizes({(folder / name).parent for name in names})
    missing = [name for name in names if folder / name not in sizes]
    count = len(names) - len(missing)
    empty = [name for name in names if sizes.get(folder / name) == 0]
    if missing:
        return Finding(folder, f"{len(missing)} of {len(names)} images missing, first {missing[0]}", count, remedy)
    if empty:
        return Finding(folder, f"{len(empty)} images are empty files, first {empty[0]}", count, remedy)
    for name in evenly_spaced(names):
        try:
            read(folder / name, size, remedy)
        except (OSError, ValueError) as error:
            return replace(failure(folder / name, error, remedy), count=count)
    return Finding(folder, None, count, "")


def failure(path: Path, error: Exception, remedy: str) -> Finding:
    """Turn a reader's error into a finding; path and remedy are removed from the error's message.

    Args:
        path: The file that was read.
        error: Error that the reader raised.
        remedy: Instruction that solves the problem.

    Returns:
        A finding whose problem is the rest of the message.
    """
    return Finding(path, str(error).removeprefix(f"{path}: ").removesuffix(f"; {remedy}"), None, remedy)


def evenly_spaced(items: Sequence[Item]) -> Sequence[Item]:
    """Pick a few evenly spaced items, the first one included.

    Args:
        items: Any number of items.

    Returns:
        At most 15 of them, in order.
    """
    return items[:: max(1, len(items) // OPENED)]


def _file_sizes(folders: Iterable[Path]) -> dict[Path, int]:
    sizes: dict[Path, int] = {}
    for folder in folders:
        if folder.is_dir():
            with os.scandir(folder) as entries:
                sizes |= {folder / entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
    return sizes
