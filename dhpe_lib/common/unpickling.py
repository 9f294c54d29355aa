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
from pathlib import Path
from typing import Any, ClassVar

from dhpe_lib.common.pickled_arrays import Evaluation, Placeholder

MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")
BUILTINS = ("__builtin__", "builtins")
LARGEST_KEY = 2**60
"""Larger numbers can be chosen so that all have one hash, which makes a dict slow."""
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
MOST_BYTES = 2**30
"""Largest pickle that is read."""


class PickleFileError(ValueError):
    """The pickle is damaged, or it names something that is not data."""


# This is the unpickler written in Python. The one in C can request all of the machine's memory on damaged bytes.
PythonUnpickler: Any = pickle._Unpickler


class PickleReader(PythonUnpickler):
    """An unpickler that replaces every global by a subclass of `Placeholder`.

    Args:
        path: Path of the file, for messages.
        raw: Its content.
    """

    def __init__(self, path: Path, raw: bytes) -> None:
        super().__init__(io.BytesIO(raw), encoding="latin1")
        self._path = path
        self._size = len(raw)
        self._types: dict[tuple[str, str], type[Placeholder]] = {}  # new for each file: a file can change its types

    def get_extension(self, code: int) -> None:
        """Refuse an extension code: it stands for a name, and Python may have cached the object of that name."""
        raise PickleFileError(
            f"{self._path}: refused, since the pickle asks for extension {code}, which is not array data"
        )

    def find_class(self, module: str, name: str) -> type[Placeholder]:
        """Return the placeholder of an allowed name."""
        kind = ALLOWED.get((module, name))
        if kind is None:
            raise PickleFileError(
                f"{self._path}: refused, since the pickle asks for {module}.{name}, which is not array data; "
                "use a file from a source that you trust, or convert it to .npz where it was made"
            )
        if (module, name) not in self._types:
            self._types[module, name] = type(name, (Placeholder,), {"kind": kind})
        return self._types[module, name]

    def load_bytearray8(self) -> None:
        """Read bytes of a claimed length; the inherited method allocates this length before it reads."""
        length = int.from_bytes(self.read(8), "little")
        self.append(bytearray(self.read(min(length, self._size))))

    def load_set_item(self) -> None:
        """Refuse keys that are not plain before they are hashed: hashing a deep tuple overflows the C stack."""
        self._check_keys(self.stack[-2:-1])
        super().load_setitem()

    def load_set_items(self) -> None:
        """Refuse keys that are not plain; see :meth:`load_set_item`."""
        self._check_keys(self.stack[::2])
        super().load_setitems()

    def load_items_dict(self) -> None:
        """Refuse keys that are not plain; see :meth:`load_set_item`."""
        self._check_keys(self.stack[::2])
        super().load_dict()

    def load_set_elements(self) -> None:
        """Refuse elements that are not plain; see :meth:`load_set_item`."""
        self._check_keys(self.stack)
        super().load_additems()

    def load_frozen_set(self) -> None:
        """Refuse elements that are not plain; see :meth:`load_set_item`."""
        self._check_keys(self.stack)
        super().load_frozenset()

    @staticmethod
    def _check_keys(keys: list[Any]) -> None:
        for key in keys:
            if not isinstance(key, str | bytes | int | None) or (isinstance(key, int) and abs(key) > LARGEST_KEY):
                raise ValueError(f"a key of type {type(key).__name__}, but keys are strings and numbers to 2^60")

    dispatch: ClassVar[dict[int, Any]] = {
        **PythonUnpickler.dispatch,
        pickle.BYTEARRAY8[0]: load_bytearray8,
        pickle.SETITEM[0]: load_set_item,
        pickle.SETITEMS[0]: load_set_items,
        pickle.DICT[0]: load_items_dict,
        pickle.ADDITEMS[0]: load_set_elements,
        pickle.FROZENSET[0]: load_frozen_set,
    }


def load_pickle(path: str | Path) -> Any:
    """Read a pickle of dicts, lists, numbers, strings and arrays (numpy, chumpy, scipy csc).

    Args:
        path: Path of the pickle. It may have any protocol and come from Python 2 or 3.

    Returns:
        The content with plain numpy arrays. Sparse matrices are dense; strings of Python 2 are decoded as latin-1.

    Raises:
        FileNotFoundError: The file does not exist.
        PickleFileError: The file is damaged or larger than ``MOST_BYTES``, it names anything that is not in
            ``ALLOWED``, or its content is much larger than the file (see
            :class:`dhpe_lib.common.pickled_arrays.Evaluation`).

    Source: the pickle protocol (PEP 307, PEP 3154); the field names are those of chumpy's ``Ch.__getstate__`` and
        ``Select``.
    """
    path = Path(path)
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise PickleFileError(f"{path}: has {size} bytes, at most {MOST_BYTES} are read; check what the file is")
    try:
        return Evaluation(size)(PickleReader(path, path.read_bytes()).load())
    except PickleFileError:
        raise
    # A pickle is a program, so a damaged pickle can raise almost any error.
    except Exception as error:
        detail = str(error) or type(error).__name__
        raise PickleFileError(f"{path}: damaged, truncated or not a pickle ({detail}); fetch it again") from error
