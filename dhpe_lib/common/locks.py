"""Locks between processes. The system frees a lock when its process ends, also after a kill."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:
    msvcrt: Any = import_module("msvcrt")  # Windows
else:
    msvcrt = None

LOCK = ".lock"
"""Name of the lock file of a folder."""
LOCKED_BYTE = 2**30
"""Windows locks bytes, and others cannot read them. This one lies behind the text of the file."""


class LockedError(OSError):
    """Another process holds the lock; the message names the file, the process and the remedy."""


@contextmanager
def locked(path: Path, required: bool = False) -> Iterator[None]:
    """Hold a lock as long as the block runs. The lock file is deleted afterwards.

    Args:
        path: The lock file; its folder must exist.
        required: See :func:`acquire`.

    Raises:
        LockedError: Another process holds the lock.
        OSError: The file cannot be created.
    """
    descriptor = acquire(path, required)
    try:
        yield
    finally:
        if msvcrt is None:
            path.unlink(missing_ok=True)  # nobody else can hold it yet
            release(descriptor)
        else:
            release(descriptor)
            with suppress(OSError):  # Windows deletes no open file; its next owner deletes it
                path.unlink()


def acquire(path: Path, required: bool = False) -> int:
    """Lock a file, which is created if it does not exist.

    Args:
        path: The lock file; its folder must exist.
        required: Whether a file system without locks counts as locked; else it locks nothing.

    Returns:
        File descriptor for :func:`release`.

    Raises:
        LockedError: Another process holds the lock.
        OSError: The file cannot be created.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            lock(descriptor)
        except OSError as error:
            if not required and not isinstance(error, BlockingIOError | PermissionError):
                return descriptor
            os.lseek(descriptor, 0, os.SEEK_SET)
            owner = os.read(descriptor, 200).decode("utf-8", "replace") or "its process is unknown"
            os.close(descriptor)
            raise LockedError(
                f"{path.parent}: another run writes there ({owner}); wait until it ends, or name another folder"
            ) from error
        if is_open_file(descriptor, path):
            with suppress(OSError):  # a full disk
                os.lseek(descriptor, 0, os.SEEK_SET)
                os.write(descriptor, f"process {os.getpid():<10} on {socket.gethostname()}".encode())
            return descriptor
        release(descriptor)  # the owner deleted it before this process had locked it


def lock(descriptor: int) -> None:
    """Lock an open file without waiting.

    Args:
        descriptor: Its file descriptor.

    Raises:
        OSError: The file system has no locks. A BlockingIOError or, on Windows, a PermissionError: another has it.
    """
    if msvcrt is None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)


def release(descriptor: int) -> None:
    """Free a lock and close its file."""
    if msvcrt is not None:
        os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)
        with suppress(OSError):  # a file system without locks
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
    os.close(descriptor)


def is_open_file(descriptor: int, path: Path) -> bool:
    """Return whether a path names the file of a descriptor."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
