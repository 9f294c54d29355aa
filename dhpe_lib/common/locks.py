"""Locks between processes. The system frees a lock when its process ends, also after a kill."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOCK = ".lock"
"""Name of the lock file of a folder."""


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
        path.unlink(missing_ok=True)  # nobody else can hold it yet
        os.close(descriptor)


def acquire(path: Path, required: bool = False) -> int:
    """Lock a file, which is created if it does not exist.

    Args:
        path: The lock file; its folder must exist.
        required: Whether a file system without locks counts as locked; else it locks nothing.

    Returns:
        File descriptor; the lock is held until it is closed.

    Raises:
        LockedError: Another process holds the lock.
        OSError: The file cannot be created.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if not required and not isinstance(error, BlockingIOError):
                return descriptor
            owner = os.pread(descriptor, 200, 0).decode("utf-8", "replace") or "its process is unknown"
            os.close(descriptor)
            raise LockedError(
                f"{path.parent}: another run writes there ({owner}); wait until it ends, or name another folder"
            ) from error
        if is_open_file(descriptor, path):
            with suppress(OSError):  # a full disk
                os.pwrite(descriptor, f"process {os.getpid():<10} on {socket.gethostname()}".encode(), 0)
            return descriptor
        os.close(descriptor)  # the owner deleted it before this process had locked it


def is_open_file(descriptor: int, path: Path) -> bool:
    """Return whether a path names the file of a descriptor."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
