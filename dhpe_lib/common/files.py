"""Atomic file writes: a file appears complete or not at all, even if the program is killed or the machine stops.

A draft is written to a hidden folder beside the file, flushed to the disk and then renamed. The folder holds a lock as
long as its process lives, so `clear_drafts` can tell the drafts of ended processes from drafts that are being written,
also by other machines.
"""

import errno
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dhpe_lib.common.locks import LOCK, LockedError, acquire, locked, release

WINDOWS = os.name == "nt"
DRAFT_FOLDER = re.compile(r"\.dhpe-.+")
YOUNG = 60.0
"""Seconds for which a folder without a lock may be the draft of a process that is about to lock it."""
NO_SPACE = 2**16
"""Free bytes below which a failed write is due to a full disk. Pillow and numpy do not always tell the reason."""
BLOCK = 4096
"""Bytes that a new file or folder takes at least on most disks."""


class DiskFullError(OSError):
    """The disk is full; the message names the file, its size and the remedy."""


@contextmanager
def atomic_writes(folder: Path, names: Sequence[str]) -> Iterator[list[Path]]:
    """Write several files that replace the old ones only when all are complete.

    The files have the permissions of other new files of the process (its umask).

    Args:
        folder: Folder of the files. It is created if it does not exist.
        names: File names.

    Yields:
        The path of a draft for each name; the block writes to it. If the block raises, the drafts are deleted and the
            old files stay.

    Raises:
        DiskFullError: The disk is full.
        OSError: The folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    first = folder.joinpath(*names[:1])
    with explain_full_disk(first), draft_folder(folder) as scratch:
        drafts = [scratch / name for name in names]
        with explain_full_disk(first, lambda: size_of(drafts)):
            yield drafts
            for draft in drafts:
                draft.chmod(permissions(scratch))
                flush(draft)
        for draft in drafts:
            draft.replace(folder / draft.name)
    flush(folder)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Write one file that replaces the old one only when it is complete; see :func:`atomic_writes`."""
    with atomic_writes(path.parent, [path.name]) as (draft,):
        yield draft


@contextmanager
def draft_folder(folder: Path) -> Iterator[Path]:
    """Make a hidden, locked folder for drafts in a folder, and delete it afterwards."""
    while True:
        scratch = Path(tempfile.mkdtemp(prefix=".dhpe-", dir=folder))
        try:
            descriptor = acquire(scratch / LOCK)
            break
        except (FileNotFoundError, LockedError):
            continue  # another process clears it, as it cannot know yet that this one lives
        except OSError:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
    try:
        yield scratch
    finally:
        release(descriptor)
        shutil.rmtree(scratch, ignore_errors=True)


def permissions(scratch: Path) -> int:
    """Return the permissions that the process gives to a new file in a folder."""
    return (scratch / LOCK).stat().st_mode & 0o666


def size_of(paths: Sequence[Path]) -> int:
    """Return the number of bytes of those files that exist."""
    return sum(path.stat().st_size for path in paths if path.is_file())


@contextmanager
def explain_full_disk(path: Path, needed: Callable[[], int] = lambda: BLOCK) -> Iterator[None]:
    """Turn the errors of a full disk into DiskFullError.

    Args:
        path: File that the block writes.
        needed: Function that returns the least size of the file, bytes; it is called after an error.

    Raises:
        DiskFullError: The disk is full.
    """
    try:
        yield
    except DiskFullError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT) or shutil.disk_usage(path.parent).free < NO_SPACE:
            raise DiskFullError(
                f"{path}: the disk is full, at least {gigabytes(needed())} are needed; make room there and run the "
                "same command again: what was finished is kept"
            ) from error
        raise


def require_space(folder: Path, needed: int) -> None:
    """Check before long work that a disk has room for its results.

    Args:
        folder: Folder of the results; it may be missing.
        needed: Size of the results, bytes.

    Raises:
        DiskFullError: The disk has less space.
    """
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise DiskFullError(
            f"{folder}: {gigabytes(needed)} are needed and {gigabytes(free)} are free there; make room, or name a "
            "folder on another disk"
        )


def flush(path: Path) -> None:
    """Flush the content of a file, or the entries of a folder, to the disk.

    Windows opens no folders, and flushes only files that are open for writing.
    """
    if WINDOWS and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDWR if WINDOWS else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_line(path: Path, line: str) -> None:
    """Add a line to a text file and wait until it is on the disk.

    A line that a kill has cut does not join with the next one.

    Args:
        path: The file; it is created if it does not exist.
        line: Text without a line break at its end.

    Raises:
        DiskFullError: The disk is full; the file is as before.
        OSError: The file cannot be written to.
    """
    raw = f"{line}\n".encode()
    with explain_full_disk(path, lambda: len(raw)), path.open("ab+", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
            if file.read(1) != b"\n":
                raw = b"\n" + raw
        try:
            if file.write(raw) < len(raw):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
        except OSError:
            file.truncate(end)
            file.close()  # Windows deletes no open file
            if not end:
                path.unlink()
            raise


def clear_drafts(folder: Path) -> None:
    """Delete the drafts in a folder whose processes have ended."""
    for path in folder.iterdir():
        if DRAFT_FOLDER.fullmatch(path.name):
            clear_draft(path)


def holds_leftovers(folder: Path) -> bool:
    """Return whether a folder holds drafts or a lock, of a process that runs or of one that was killed."""
    return any(path.name == LOCK or DRAFT_FOLDER.fullmatch(path.name) for path in folder.iterdir())


def clear_draft(draft: Path) -> None:
    """Delete a draft folder if its process has ended, or has not locked it within a minute."""
    with suppress(LockedError, FileNotFoundError):
        if (draft / LOCK).exists() or time.time() - draft.stat().st_mtime > YOUNG:
            with locked(draft / LOCK, required=True):
                shutil.rmtree(draft, ignore_errors=True)
            shutil.rmtree(draft, ignore_errors=True)  # Windows kept the folder of the open lock


def refuse_input(path: Path, inputs: Sequence[Path | None]) -> None:
    """Refuse to write over a file that a command reads, also if the path leads there through links or ``..``.

    Args:
        path: File to write.
        inputs: Files that the command reads; None stands for no file.

    Raises:
        FileExistsError: The file is one of the inputs.
    """
    for file in inputs:
        if file is not None and path.exists() and file.exists() and path.samefile(file):
            raise FileExistsError(f"{path}: is the input {file}, which would be overwritten; name another file")


def write_json(path: Path, values: Any) -> None:
    """Write values to a JSON file atomically; see :func:`atomic_writes`."""
    with atomic_write(path) as draft:
        draft.write_text(json.dumps(values, indent=1), encoding="utf-8")


def gigabytes(n: int) -> str:
    """Format a number of bytes as GB, MB or bytes."""
    if n < 1e5:
        return f"{n} bytes"
    return f"{n / 1e9:.1f} GB" if n >= 1e8 else f"{n / 1e6:.1f} MB"
