"""What the readers share: files and fields that are missing or wrong become errors that name file, field and remedy.

Nothing here has a gradient.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from PIL import Image

from dhpe_lib.data.photos import read_photo

LOOKED_INTO = 8  # how many of a thousand like files a check opens, at least

Item = TypeVar("Item")


class DatasetError(ValueError):
    """Files of a dataset that are missing or wrong; the message names file, field and remedy."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at when a dataset was checked.

    Attributes:
        path: The file or folder.
        problem: What is wrong with it, in words; None where nothing is.
        count: How many things of the dataset are in it, if that can be said.
        remedy: What to do about the problem; empty where there is none.
    """

    path: Path
    problem: str | None
    count: int | None
    remedy: str


def require(path: Path, remedy: str) -> Path:
    """Give a path back if something is there.

    Args:
        path: A file or a folder.
        remedy: What to do if there is nothing.

    Returns:
        The same path.

    Raises:
        FileNotFoundError: There is nothing.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such {'file' if path.suffix else 'folder'}; {remedy}")
    return path


def require_split(split: str, splits: Sequence[str], dataset: str) -> None:
    """Refuse a split that a dataset does not have.

    Args:
        split: The name asked for.
        splits: The names that exist.
        dataset: Name for the message.

    Raises:
        DatasetError: The name is not among them.
    """
    if split not in splits:
        raise DatasetError(f"{dataset} has no split {split!r}; use {' or '.join(repr(name) for name in splits)}")


def read_image(path: Path, size: tuple[int, int] | None, remedy: str) -> UInt8[ndarray, "height width 3"]:
    """Read a colour picture of a dataset.

    Args:
        path: PNG or JPEG.
        size: Width and height that it must have; None for any.
        remedy: What to do if it is missing or of another size.

    Returns:
        RGB.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged (`PhotoError`) or of another size (`DatasetError`).
    """
    image = read_photo(require(path, remedy))
    _require_size(path, (image.shape[1], image.shape[0]), size, remedy)
    return image


def read_indices(path: Path, size: tuple[int, int] | None, remedy: str) -> UInt8[ndarray, "height width"]:
    """Read a picture whose values are numbers of classes, not colours.

    Args:
        path: A PNG of one channel, 8 bits.
        size: Width and height that it must have; None for any.
        remedy: What to do if it is missing or wrong.

    Returns:
        The values as they are stored.

    Raises:
        FileNotFoundError: There is no such file.
        DatasetError: It is damaged, of another size, or has several channels.
    """
    try:
        with Image.open(require(path, remedy)) as image:
            values = np.array(image)
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, ValueError) as error:
        raise DatasetError(f"{path}: cannot be read as an image ({error}); {remedy}") from error
    if values.ndim != 2 or values.dtype != np.uint8:
        raise DatasetError(f"{path}: is of mode {image.mode}, where one channel of 8 bits holds the classes; {remedy}")
    _require_size(path, image.size, size, remedy)
    return values


def _require_size(path: Path, found: tuple[int, int], size: tuple[int, int] | None, remedy: str) -> None:
    if size not in (None, found):
        raise DatasetError(f"{path}: is {found[0]} x {found[1]} pixels, not {size[0]} x {size[1]}; {remedy}")


def read_json(path: Path, remedy: str) -> Any:
    """Read a JSON file.

    Args:
        path: The file.
        remedy: What to do if it is missing or damaged.

    Returns:
        What stands in it.

    Raises:
        FileNotFoundError: There is no such file.
        DatasetError: It is no JSON.
    """
    try:
        return json.loads(require(path, remedy).read_bytes())
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: damaged or no JSON ({error}); {remedy}") from error


def field(
    record: Any, name: str, shape: tuple[int, ...], where: str, remedy: str, finite: bool = True
) -> Float[ndarray, "..."]:
    """Take an array out of a record of labels and check it.

    Args:
        record: A mapping from names to arrays or lists.
        name: The field.
        shape: The shape that it must have.
        where: File and sample, for the message.
        remedy: What to do if it is missing or wrong.
        finite: Whether NaN and infinity are wrong.

    Returns:
        The array in float64.

    Raises:
        DatasetError: The field is missing, no numbers, of another shape, or not finite.
    """
    if not isinstance(record, Mapping) or name not in record:
        raise DatasetError(f"{where}: lacks the field {name}; {remedy}")
    return numbers(record[name], shape, f"{where}: the field {name}", remedy, finite)


def numbers(value: Any, shape: tuple[int, ...], what: str, remedy: str, finite: bool = True) -> Float[ndarray, "..."]:
    """Check that something is an array of numbers of a shape.

    Args:
        value: An array or nested lists.
        shape: The shape that it must have.
        what: File, sample and field, for the message.
        remedy: What to do if it is wrong.
        finite: Whether NaN and infinity are wrong.

    Returns:
        The array in float64.

    Raises:
        DatasetError: It is no numbers, of another shape, or not finite.
    """
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{what} is not {_times(shape)} numbers; {remedy}") from error
    if array.shape != shape:
        raise DatasetError(f"{what} has shape {array.shape}, not {shape}; {remedy}")
    if finite and not np.isfinite(array).all():
        raise DatasetError(f"{what} is not finite at {tuple(np.argwhere(~np.isfinite(array))[0].tolist())}; {remedy}")
    return array


def table(rows: Any, shape: tuple[int, ...], what: str, remedy: str) -> Float[ndarray, "n ..."]:
    """Check a list of arrays of one shape, as in the JSON files of FreiHAND and HO-3D.

    Args:
        rows: A list with one entry for each sample.
        shape: The shape that each entry must have.
        what: File and field, for the message.
        remedy: What to do if it is wrong.

    Returns:
        The entries, stacked, in float64.

    Raises:
        DatasetError: It is no list, or an entry is no numbers, of another shape, or not finite; the first is named.
    """
    if not isinstance(rows, list):
        raise DatasetError(f"{what} is no list with one entry for each sample; {remedy}")
    try:
        return numbers(rows, (len(rows), *shape), what, remedy)
    except DatasetError:
        for index, row in enumerate(rows):
            numbers(row, shape, f"{what}: entry {index}", remedy)
        raise


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def check_images(folder: Path, names: Sequence[str], size: tuple[int, int] | None, remedy: str) -> Finding:
    """Compare images on disk with the names that should be there: in seconds, since few are looked into.

    Args:
        folder: Where the images should be.
        names: Paths below the folder.
        size: Width and height that they must have; None for any.
        remedy: What to do if some are missing or damaged.

    Returns:
        How many of the names are there, and the first thing that is wrong: folder or files missing, files without
        content, and among a few spread over the names, which are decoded to the end, one that is damaged, no image or
        of another size.
    """
    if not folder.is_dir():
        return Finding(folder, "no such folder", 0, remedy)
    sizes = _file_sizes({(folder / name).parent for name in names})
    missing = [name for name in names if folder / name not in sizes]
    there = len(names) - len(missing)
    empty = [name for name in names if sizes.get(folder / name) == 0]
    if missing:
        return Finding(folder, f"{len(missing)} of {len(names)} images missing, first {missing[0]}", there, remedy)
    if empty:
        return Finding(folder, f"{len(empty)} images are empty files, first {empty[0]}", there, remedy)
    for name in spread(names):
        try:
            read_image(folder / name, size, remedy)
        except (OSError, ValueError) as error:
            return replace(failure(folder / name, error, remedy), count=there)
    return Finding(folder, None, there, "")


def failure(path: Path, error: Exception, remedy: str) -> Finding:
    """Turn the error of a reader into a finding, without saying the path and the remedy twice.

    Args:
        path: The file that was read.
        error: What reading it ended in.
        remedy: What to do about it.

    Returns:
        A finding with the error's words as problem.
    """
    return Finding(path, str(error).removeprefix(f"{path}: ").removesuffix(f"; {remedy}"), None, remedy)


def spread(items: Sequence[Item]) -> Sequence[Item]:
    """Pick a few items from first to last: those that a check looks into.

    Args:
        items: Any number of things.

    Returns:
        At most 16 of them, in order.
    """
    return items[:: max(1, len(items) // LOOKED_INTO)]


def _file_sizes(folders: Iterable[Path]) -> dict[Path, int]:
    sizes: dict[Path, int] = {}
    for folder in folders:
        if folder.is_dir():
            with os.scandir(folder) as entries:
                sizes |= {folder / entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
    return sizes
