"""Read the arrays in a pickle without running any code that the file names.

A pickle is a program: it can call by name anything that Python can import. This reader looks up no name. A name on a
short list becomes an inert placeholder that records its arguments; any other name raises an error. The recorded
arguments (a dtype, a shape, bytes) are then turned into numpy arrays.

This is enough for the annotation pickles of the datasets and for MANO's Python 2 pickles. MANO's ``shapedirs`` is a
chumpy ``Select`` of a ``Ch``, and its ``J_regressor`` is a scipy sparse matrix. Neither chumpy nor an old scipy has to
be installed.
"""

import io
import pickle
import re
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")
BUILTINS = ("__builtin__", "builtins")
# (module, name) in the file -> kind of placeholder. A function that moved between modules has a row for each module.
ALLOWED: dict[tuple[str, str], str] = {
    ("numpy", "ndarray"): "type",
    ("numpy", "dtype"): "dtype",
    **{(module, "_reconstruct"): "array" for module in MULTIARRAY},
    **{(module, "scalar"): "scalar" for module in MULTIARRAY},
    **{(module, "_frombuffer"): "buffer" for module in NUMERIC},
    ("_codecs", "encode"): "bytes",
    **{(module, "bytes"): "bytes" for module in BUILTINS},
    **{(module, "object"): "type" for module in BUILTINS},
    **{(module, "set"): "set" for module in BUILTINS},
    ("copy_reg", "_reconstructor"): "object",
    ("copyreg", "_reconstructor"): "object",
    ("chumpy.ch", "Ch"): "ch",
    ("chumpy.reordering", "Select"): "select",
    ("scipy.sparse.csc", "csc_matrix"): "csc",
    ("scipy.sparse._csc", "csc_matrix"): "csc",
    ("scipy.sparse", "csc_matrix"): "csc",
}
# Most entries of a sparse matrix that is made dense: its shape comes from the file and cannot be trusted.
MAX_DENSE = 2**26
PLAIN_DTYPE = re.compile(r"[<>=|]?(\?|[biufcSU]\d+|b1)")


class PickleFileError(ValueError):
    """The pickle is damaged, or it names something that is not data."""


class _Node:
    """Placeholder for a function or class that the pickle calls; it only records its arguments and state."""

    kind = ""

    def __new__(cls, *args: Any) -> "_Node":
        node = object.__new__(cls)
        node.args = args
        node.state = None
        return node

    args: tuple[Any, ...]
    state: Any

    def __setstate__(self, state: Any) -> None:
        self.state = state


# This is the unpickler written in Python. The one in C can request all of the machine's memory on damaged bytes.
class _Reader(pickle._Unpickler):
    """An unpickler that replaces every global by a new subclass of `_Node`."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.BytesIO(path.read_bytes()), encoding="latin1")
        self._path = path

    def get_extension(self, code: int) -> None:
        """Refuse an extension code: it stands for a name, and Python may have cached the object of that name."""
        raise PickleFileError(
            f"{self._path}: refused, since the pickle asks for extension {code}, which is not array data"
        )

    def find_class(self, module: str, name: str) -> type[_Node]:
        kind = ALLOWED.get((module, name))
        if kind is None:
            raise PickleFileError(
                f"{self._path}: refused, since the pickle asks for {module}.{name}, which is not array data; "
                "use a file from a source that you trust, or convert it to .npz where it was made"
            )
        # Each call makes a new class, so a file that changes the class cannot affect the next file.
        return type(name, (_Node,), {"kind": kind})


def load_pickle(path: str | Path) -> Any:
    """Read a pickle of dicts, lists, numbers, strings and arrays (numpy, chumpy, scipy csc).

    Args:
        path: Path of the pickle. It may have any protocol and come from Python 2 or 3.

    Returns:
        The content with plain numpy arrays. Sparse matrices are dense; strings of Python 2 are decoded as latin-1.

    Raises:
        FileNotFoundError: The file does not exist.
        PickleFileError: The file is damaged, or it names anything that is not in ``ALLOWED``.

    Source: the pickle protocol (PEP 307, PEP 3154); the field names are those of chumpy's ``Ch.__getstate__`` and
        ``Select``.
    """
    path = Path(path)
    reader = _Reader(path)
    try:
        return _evaluate(reader.load())
    except PickleFileError:
        raise
    # A pickle is a program, so a damaged pickle can raise almost any error.
    except Exception as error:
        detail = str(error) or type(error).__name__
        raise PickleFileError(f"{path}: damaged, truncated or not a pickle ({detail}); fetch it again") from error


def _evaluate(value: Any) -> Any:
    """Replace every placeholder in a tree by the data that it stands for."""
    if isinstance(value, dict):
        return {key: _evaluate(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_evaluate(item) for item in value)
    if isinstance(value, type):
        raise ValueError(f"the name {value.__name__} stands where data was expected")
    return _BUILD[value.kind](value) if isinstance(value, _Node) else value


def _array(node: _Node) -> np.ndarray:
    """Read an array of a numpy pickle: state = (version, shape, dtype, is_fortran, bytes)."""
    _, shape, dtype, is_fortran, data = node.state
    return _from_bytes(data, _evaluate(dtype), shape, "F" if is_fortran else "C")


def _buffer(node: _Node) -> np.ndarray:
    """Read an array of a numpy pickle of protocol 5: args = (bytes, dtype, shape, order)."""
    data, dtype, shape, order = node.args
    return _from_bytes(data, _evaluate(dtype), shape, order)


def _scalar(node: _Node) -> Any:
    """Read a single number: args = (dtype, bytes)."""
    dtype, data = node.args
    return _from_bytes(data, _evaluate(dtype), (), "C")[()]


def _from_bytes(data: Any, dtype: np.dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
    raw = _bytes_of(_evaluate(data))
    if len(raw) != prod(shape) * dtype.itemsize:
        raise ValueError(f"an array of shape {shape} and type {dtype} has {len(raw)} bytes of data")
    # Order "A" of protocol 5 means that the bytes lie in C order. The copy makes the array writable.
    return np.frombuffer(raw, dtype).reshape(shape, order="F" if order == "F" else "C").copy(order="K")


def _bytes_of(data: Any) -> bytes:
    """Encode a string back to bytes: the latin-1 decoding kept each byte of a Python 2 string as one character."""
    if not isinstance(data, str | bytes | bytearray):
        raise TypeError(f"array data of type {type(data).__name__}")
    return data.encode("latin1") if isinstance(data, str) else bytes(data)


def _dtype(node: _Node) -> np.dtype:
    """Read a dtype: args = (code, align, copy); the second item of the state is the byte order."""
    code = node.args[0]
    if not isinstance(code, str) or not PLAIN_DTYPE.fullmatch(code):
        raise ValueError(f"an array has the type {code!r}, but only numbers and strings are data")
    return np.dtype(code) if node.state is None else np.dtype(code).newbyteorder(node.state[1])


def _object(node: _Node) -> Any:
    """Read an object of protocol 0 or 1: copy_reg._reconstructor(class, object, None), then its state."""
    made = node.args[0]()
    made.state = node.state
    return _evaluate(made)


def _ch(node: _Node) -> np.ndarray:
    """Read a chumpy array, whose values are in its field x."""
    return np.asarray(_evaluate(node.state["x"]))


def _select(node: _Node) -> np.ndarray:
    """Read a chumpy selection: the entries `idxs` of the flattened array `a`, in the preferred shape."""
    chosen = np.asarray(_evaluate(node.state["a"])).ravel()[_evaluate(node.state["idxs"])]
    return chosen.reshape(node.state["preferred_shape"]) if "preferred_shape" in node.state else chosen


def _csc(node: _Node) -> np.ndarray:
    """Read a scipy matrix of compressed sparse columns as a dense array."""
    shape = node.state["_shape"] if "_shape" in node.state else node.state["shape"]
    data, rows, starts = (_evaluate(node.state[key]) for key in ("data", "indices", "indptr"))
    counts = np.diff(starts.astype(np.int64))
    if len(counts) != shape[1] or shape[0] * shape[1] > MAX_DENSE or counts.min() < 0 or counts.sum() != len(rows):
        raise ValueError(f"a sparse matrix of shape {shape} has {len(rows)} entries that do not fit its columns")
    dense = np.zeros(shape, data.dtype)
    np.add.at(dense, (rows, np.repeat(np.arange(shape[1]), counts)), data)
    return dense


_BUILD: dict[str, Callable[[_Node], Any]] = {
    "array": _array,
    "buffer": _buffer,
    "scalar": _scalar,
    "dtype": _dtype,
    "bytes": lambda node: _bytes_of(node.args[0]) if node.args else b"",
    "set": lambda node: set(_evaluate(node.args[0])) if node.args else set(),
    "object": _object,
    "ch": _ch,
    "select": _select,
    "csc": _csc,
}
