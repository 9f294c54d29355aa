"""Read one numeric array of a MATLAB 5 file, within a budget.

The file is a header of 128 bytes and a sequence of elements, one for each variable: type, size, data. An element may be
compressed. scipy's reader also reads nested cells and structs, which a small file can nest so deeply that it stalls.
"""

import struct
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

MOST_BYTES = 2**26
"""Largest file, and most bytes of an unpacked variable."""
HEADER, MATRIX, COMPRESSED = 128, 14, 15
NUMERIC_CLASSES = range(6, 16)
"""Classes of arrays: double, single, and whole numbers of 8 to 64 bits."""
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Types of stored numbers; MATLAB stores an array of doubles in a smaller type if its numbers are whole."""


class MatFileError(ValueError):
    """The file is no MATLAB 5 file, is damaged, or is too large; the message does not name the file."""


def read_array(path: Path, name: str) -> Float[ndarray, "..."] | None:
    """Read a variable.

    Args:
        path: The file.
        name: Name of the variable.

    Returns:
        The numbers in float64; None if the file has no such variable.

    Raises:
        OSError: The file cannot be read.
        MatFileError: The file is damaged or too large, or the variable is not an array of real numbers.
    """
    if path.stat().st_size > MOST_BYTES:
        raise MatFileError(f"larger than {MOST_BYTES} bytes")
    raw = path.read_bytes()
    order = {b"IM": "<", b"MI": ">"}.get(raw[126:128])
    if order is None:
        raise MatFileError("not a MATLAB 5 file")
    try:
        return _find(raw, order, name)
    except (struct.error, zlib.error, IndexError, ValueError, OverflowError) as error:
        raise error if isinstance(error, MatFileError) else MatFileError(str(error)) from error


def _find(raw: bytes, order: str, name: str) -> Float[ndarray, "..."] | None:
    place = HEADER
    while place < len(raw):
        kind, content, place = _element(raw, place, order)
        if kind == COMPRESSED:
            kind, content, _ = _element(_unpacked(content), 0, order)
        if kind == MATRIX and (found := _matrix(content, order, name)) is not None:
            return found
    return None


def _element(raw: bytes, place: int, order: str) -> tuple[int, bytes, int]:
    """Return type and content of an element, and the place of the next one."""
    kind, size = struct.unpack_from(f"{order}II", raw, place)
    start = place + 8
    if kind >> 16:  # a short element: its size, its type and at most 4 bytes of data share 8 bytes
        kind, size, start = kind & 0xFFFF, kind >> 16, place + 4
    if start + size > len(raw):
        raise MatFileError(f"an element claims {size} bytes, {len(raw) - start} are there")
    end = start + size if kind == COMPRESSED else start + size + -(start + size - place) % 8
    return kind, raw[start : start + size], end


def _unpacked(content: bytes) -> bytes:
    stream = zlib.decompressobj()
    data = stream.decompress(content, MOST_BYTES)
    if stream.unconsumed_tail:
        raise MatFileError(f"a variable has more than {MOST_BYTES} bytes")
    if not stream.eof:
        raise MatFileError("a compressed variable is truncated")
    return data


def _matrix(content: bytes, order: str, name: str) -> Float[ndarray, "..."] | None:
    """Return the numbers of a matrix, or None if it has another name."""
    _, flags, place = _element(content, 0, order)
    _, sizes, place = _element(content, place, order)
    _, found, place = _element(content, place, order)
    if found.decode("latin1") != name:
        return None
    (word,) = struct.unpack_from(f"{order}I", flags)
    if word & 0xFF not in NUMERIC_CLASSES or word & 0x800:
        raise MatFileError(f"the variable {name} is not an array of real numbers")
    kind, data, _ = _element(content, place, order)
    if kind not in NUMBERS:
        raise MatFileError(f"the variable {name} has numbers of the unknown type {kind}")
    shape = struct.unpack(f"{order}{len(sizes) // 4}i", sizes)
    return np.frombuffer(data, order + NUMBERS[kind]).reshape(shape, order="F").astype(np.float64)
