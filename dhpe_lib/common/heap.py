"""Give freed memory back to the system. GNU's C library keeps most of it, and a process stays as large as it was."""

import ctypes
import sys


def return_freed_memory() -> None:
    """Return the memory that the C library keeps for later; without GNU's C library nothing happens."""
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)
