"""A pretended Windows: what Python lacks there is missing, and the file system keeps to some of its rules.

`pretend` changes the process for good; call it in a child process before the library is imported. Paths, consoles, new
processes and the real `msvcrt` are not imitated.
"""

import errno
import fcntl
import os
import stat
import subprocess  # looks for msvcrt when it is imported
import sys
from types import SimpleNamespace

MISSING = ("fcntl", "grp", "pwd", "resource", "termios")
MISSING_IN_OS = ("fork", "getuid", "pread", "pwrite", "sched_getaffinity", "sysconf")

assert subprocess
fsync, unlink = os.fsync, os.unlink
get_flags, flags_of = fcntl.fcntl, fcntl.F_GETFL
locked_bytes: set[tuple[int, int]] = set()


def locking(descriptor: int, mode: str, n: int) -> None:
    """Lock one byte, or free it; the byte is where the file stands."""
    assert n == 1
    byte = os.fstat(descriptor).st_ino, os.lseek(descriptor, 0, os.SEEK_CUR)
    if mode == "unlock":
        locked_bytes.remove(byte)
    elif byte in locked_bytes:
        raise PermissionError(errno.EACCES, "Permission denied")
    else:
        locked_bytes.add(byte)


def fsync_written(descriptor: int) -> None:
    """Flush a file that is open for writing."""
    if stat.S_ISDIR(os.fstat(descriptor).st_mode) or get_flags(descriptor, flags_of) & 3 == os.O_RDONLY:
        raise OSError(errno.EBADF, "Bad file descriptor")
    fsync(descriptor)


def unlink_closed(path: str, *, dir_fd: int | None = None) -> None:
    """Delete a file that this process does not have open."""
    file = os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
    for name in os.listdir("/dev/fd"):
        try:
            if os.path.samestat(os.fstat(int(name)), file):
                raise PermissionError(errno.EACCES, "The process cannot access the file")
        except OSError as error:
            if error.errno != errno.EBADF:  # the descriptor of the listing itself
                raise
    unlink(path, dir_fd=dir_fd)


def pretend() -> None:
    """Make this process as on Windows, and tell the library so."""
    sys.modules.update(dict.fromkeys(MISSING))
    sys.modules["msvcrt"] = SimpleNamespace(locking=locking, LK_NBLCK="lock", LK_UNLCK="unlock")
    for name in MISSING_IN_OS:
        if hasattr(os, name):
            delattr(os, name)
    from dhpe_lib.common import files

    files.WINDOWS = True
    os.fsync, os.unlink = fsync_written, unlink_closed
