"""Read the arrays of an ``.npz`` or ``.npy`` file within a budget. No code in the file runs."""

import io
import zipfile
from math import prod
from pathlib import Path

import numpy as np

PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Compressions that numpy writes; Python unpacks others without a limit."""


class NpzFileError(ValueError):
    """The file is damaged or too large, or holds more than arrays; the message names the field, but not the file."""


def read_npz(path: Path, most: int) -> dict[str, np.ndarray]:
    """Read all arrays.

    Args:
        path: The file.
        most: Most bytes of all arrays together.

    Returns:
        Arrays by name.

    Raises:
        FileNotFoundError: The file does not exist.
        NpzFileError: The file is damaged, its arrays have more bytes, or they hold Python objects.
    """
    if path.is_file() and not zipfile.is_zipfile(path):
        raise NpzFileError("is no .npz file, or its end is missing")
    field, fields = "?", {}
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > most:
                raise ValueError(f"the fields have more than {most} bytes")
            for entry in archive.infolist():
                field = entry.filename.removesuffix(".npy")
                fields[field] = read_npy(unpacked(archive, entry))
    except FileNotFoundError:
        raise
    # A damaged archive can raise almost any error.
    except Exception as error:
        raise NpzFileError(f"field {field} cannot be read ({error})") from error
    return fields


def read_npy_file(path: Path, most: int) -> np.ndarray:
    """Read the array of an ``.npy`` file.

    Args:
        path: The file.
        most: Most bytes of the file.

    Returns:
        The array.

    Raises:
        FileNotFoundError: The file does not exist.
        NpzFileError: The file is damaged or larger, or the array holds Python objects.
    """
    if path.stat().st_size > most:
        raise NpzFileError(f"larger than {most} bytes")
    try:
        return read_npy(path.read_bytes())
    # numpy reads the header as Python text, which can raise almost any error.
    except Exception as error:
        raise NpzFileError(f"no array can be read ({error})") from error


def unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Unpack an entry, but not more bytes than it claims to have."""
    if entry.compress_type not in PLAIN:
        raise ValueError(f"it is packed by method {entry.compress_type}, numpy uses {PLAIN[0]} and {PLAIN[1]}")
    with archive.open(entry) as file:
        raw = file.read(entry.file_size + 1)  # without a number, zipfile unpacks all at once
    if len(raw) != entry.file_size:
        raise ValueError(f"it has {len(raw)} bytes and claims {entry.file_size}")
    return raw


def read_npy(raw: bytes) -> np.ndarray:
    """Read an array; the size that its header claims is compared with the data before it is allocated."""
    file = io.BytesIO(raw)
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(file)
    if prod(shape) * dtype.itemsize != len(raw) - file.tell():
        raise ValueError(f"shape {shape} of {dtype} does not fit {len(raw)} bytes")
    return np.lib.format.read_array(io.BytesIO(raw), allow_pickle=False)
