"""Turn the placeholders of an unpickled file into numpy arrays, within a budget.

A small pickle can ask for much: a list that holds another list many times, which does the same, has a tree of a billion
values, and a sparse matrix of a few bytes can have a billion zeros. A file may therefore stand for a certain multiple
of its own size, in values and in bytes.
"""

import re
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

VALUES_EACH_BYTE, VALUES_FREE = 1, 10_000
BYTES_EACH_BYTE, BYTES_FREE = 16, 2**24
"""Most values and bytes that a file stands for: so many for each of its bytes, and so many for any file."""
PLAIN_DTYPE = re.compile(r"[<>=|]?(\?|[biufcSU]\d{1,9}|b1)")
MOST_AXES, LONGEST_AXIS = 32, 2**40


class Placeholder:
    """Placeholder for a function or class that the pickle calls; it only records its arguments and state."""

    kind = ""

    def __new__(cls, *args: Any) -> "Placeholder":
        """Record the arguments."""
        node = object.__new__(cls)
        node.args = args
        node.state = None
        return node

    args: tuple[Any, ...]
    state: Any

    def __setstate__(self, state: Any) -> None:
        self.state = state


class Evaluation:
    """Function that replaces the placeholders in a tree by the data they stand for, and counts values and bytes.

    Args:
        size: Size of the pickle, bytes. Its tree may have 10,000 values and one more for each byte of the file; its
            arrays may have 16 MB and sixteen bytes more for each byte of the file.
    """

    def __init__(self, size: int) -> None:
        self._most_values = self._values = VALUES_FREE + VALUES_EACH_BYTE * size
        self._most_bytes = self._bytes = BYTES_FREE + BYTES_EACH_BYTE * size

    def __call__(self, value: Any) -> Any:
        """Return a tree without placeholders.

        Raises:
            ValueError: A placeholder cannot be data, or the budget is spent. A damaged file can raise other errors too.
        """
        self._values -= 1
        if self._values < 0:
            raise ValueError(f"more than {self._most_values} values, which is too much for its size")
        if isinstance(value, dict):
            return {key: self(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self(item) for item in value)
        if isinstance(value, type):
            raise ValueError(f"the name {value.__name__} stands where data was expected")
        return _BUILD[value.kind](self, value) if isinstance(value, Placeholder) else value

    def spend(self, count: int) -> None:
        """Count bytes before they are allocated."""
        self._bytes -= count
        if self._bytes < 0:
            raise ValueError(f"more than {self._most_bytes} bytes of arrays, which is too much for its size")

    def array(self, node: Placeholder) -> np.ndarray:
        """Read an array of a numpy pickle: state = (version, shape, dtype, is_fortran, bytes)."""
        _, shape, dtype, is_fortran, data = node.state
        return self._from_bytes(data, self(dtype), shape, "F" if is_fortran else "C")

    def buffer(self, node: Placeholder) -> np.ndarray:
        """Read an array of a numpy pickle of protocol 5: args = (bytes, dtype, shape, order)."""
        data, dtype, shape, order = node.args
        return self._from_bytes(data, self(dtype), shape, order)

    def scalar(self, node: Placeholder) -> Any:
        """Read a single number: args = (dtype, bytes)."""
        dtype, data = node.args
        return self._from_bytes(data, self(dtype), (), "C")[()]

    def _from_bytes(self, data: Any, dtype: np.dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
        check_shape(shape)
        raw = self._bytes_of(self(data))
        if len(raw) != prod(shape) * dtype.itemsize:
            raise ValueError(f"an array of shape {shape} and type {dtype} has {len(raw)} bytes of data")
        self.spend(len(raw))
        # Order "A" of protocol 5 means that the bytes lie in C order. The copy makes the array writable.
        return np.frombuffer(raw, dtype).reshape(shape, order="F" if order == "F" else "C").copy(order="K")

    def _bytes_of(self, data: Any) -> bytes:
        """Encode a string back to bytes: the latin-1 decoding kept each byte of a Python 2 string as one character."""
        if not isinstance(data, str | bytes | bytearray):
            raise TypeError(f"array data of type {type(data).__name__}")
        self.spend(len(data))
        return data.encode("latin1") if isinstance(data, str) else bytes(data)

    def bytes(self, node: Placeholder) -> Any:
        """Read bytes of Python 3 in a pickle of protocol 2: args = (text, encoding)."""
        return self._bytes_of(node.args[0]) if node.args else b""

    def set(self, node: Placeholder) -> Any:
        """Read a set: args = (list,)."""
        return set(self(node.args[0])) if node.args else set()

    def dtype(self, node: Placeholder) -> np.dtype:
        """Read a dtype: args = (code, align, copy); the second item of the state is the byte order."""
        code = node.args[0]
        if not isinstance(code, str) or not PLAIN_DTYPE.fullmatch(code):
            raise ValueError(f"an array has the type {str(code)[:20]!r}, but only numbers and strings are data")
        return np.dtype(code) if node.state is None else np.dtype(code).newbyteorder(node.state[1])

    def object(self, node: Placeholder) -> Any:
        """Read an object of protocol 0 or 1: copy_reg._reconstructor(class, object, None), then its state."""
        made = node.args[0]()
        made.state = node.state
        return self(made)

    def ch(self, node: Placeholder) -> np.ndarray:
        """Read a chumpy array, whose values are in its field x."""
        return self._numbers(node.state["x"])

    def select(self, node: Placeholder) -> np.ndarray:
        """Read a chumpy selection: the entries `idxs` of the flattened array `a`, in the preferred shape."""
        values, index = self._numbers(node.state["a"]).ravel(), self._numbers(node.state["idxs"])
        self.spend(index.size * values.itemsize)
        chosen = values[index]
        return chosen.reshape(node.state["preferred_shape"]) if "preferred_shape" in node.state else chosen

    def csc(self, node: Placeholder) -> np.ndarray:
        """Read a scipy matrix of compressed sparse columns as a dense array."""
        shape = node.state["_shape"] if "_shape" in node.state else node.state["shape"]
        check_shape(shape)
        data, rows, starts = (self._numbers(node.state[key]).ravel() for key in ("data", "indices", "indptr"))
        check_columns(shape, data, rows, starts)
        self.spend(prod(shape) * data.itemsize + 8 * len(rows))
        dense = np.zeros(shape, data.dtype)
        # The starts ascend and lie between 0 and the number of entries, so their differences cannot wrap around.
        counts: np.ndarray = np.diff(starts.astype(np.int64))
        np.add.at(dense, (rows, np.repeat(np.arange(shape[1]), counts)), data)
        return dense

    def _numbers(self, value: Any) -> np.ndarray:
        """Evaluate an array. A list is refused: numpy gives each of its strings the size of the longest one."""
        array = self(value)
        if not isinstance(array, np.ndarray | np.number | int | float):
            raise TypeError(f"a value of type {type(array).__name__}, but an array is needed")
        return np.asarray(array)


def check_shape(shape: Any) -> None:
    """Raise an error unless a shape from a file has a few axes of reasonable length."""
    if not isinstance(shape, tuple) or len(shape) > MOST_AXES:
        raise ValueError(f"the shape of an array is not a tuple of at most {MOST_AXES} numbers")
    if not all(isinstance(length, int) and 0 <= length <= LONGEST_AXIS for length in shape):
        raise ValueError(f"the shape of an array holds something else than numbers from 0 to {LONGEST_AXIS}")


def check_columns(shape: tuple[int, ...], data: np.ndarray, rows: np.ndarray, starts: np.ndarray) -> None:
    """Raise an error unless the entries of a sparse matrix lie in its rows and columns.

    The starts of the columns are compared and not subtracted, since a difference of 64-bit numbers can wrap around.
    """
    fits = (
        len(shape) == 2
        and {rows.dtype.kind, starts.dtype.kind} <= set("iu")
        and len(starts) == shape[1] + 1
        and len(data) == len(rows) == starts[-1]
        and starts[0] == 0
        and bool((starts[:-1] <= starts[1:]).all())
        and (not len(rows) or (rows.min() >= 0 and rows.max() < shape[0]))
    )
    if not fits:
        raise ValueError(f"a sparse matrix of shape {shape} has {len(rows)} entries that do not fit its columns")


_BUILD: dict[str, Callable[[Evaluation, Placeholder], Any]] = {
    "array": Evaluation.array,
    "buffer": Evaluation.buffer,
    "scalar": Evaluation.scalar,
    "dtype": Evaluation.dtype,
    "bytes": Evaluation.bytes,
    "set": Evaluation.set,
    "object": Evaluation.object,
    "ch": Evaluation.ch,
    "select": Evaluation.select,
    "csc": Evaluation.csc,
}
