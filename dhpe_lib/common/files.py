"""Atomic file writes: a file appears complete or not at all, even if the program is killed or the machine stops.

A draft is written to a hidden folder beside the file, flushed to the disk and then renamed. The folder's name holds the
process id, so `clear_drafts` can tell the drafts of ended processes from drafts that are being written.
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DRAFT_FOLDER = re.compile(r"\.dhpe-(\d+)-.+")


@contextmanager
def atomic_writes(folder: Path, names: Sequence[str]) -> Iterator[list[Path]]:
    """Write several files that replace the old ones only when all are complete.

    Args:
        folder: Folder of the files. It is created if it does not exist.
        names: File names.

    Yields:
        The path of a draft for each name; the block writes to it. If the block raises, the drafts are deleted and the
            old files stay.

    Raises:
        OSError: The folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".dhpe-{os.getpid()}-", dir=folder) as scratch:
        drafts = [Path(scratch) / name for name in names]
        yield drafts
        for draft in drafts:
            flush(draft)
        for draft in drafts:
            draft.replace(folder / draft.name)
    flush(folder)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Write one file that replaces the old one only when it is complete; see :func:`atomic_writes`."""
    with atomic_writes(path.parent, [path.name]) as (draft,):
        yield draft


def flush(path: Path) -> None:
    """Flush the content of a file, or the entries of a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def clear_drafts(folder: Path) -> None:
    """Delete the drafts in a folder whose processes have ended."""
    for path in folder.iterdir():
        match = DRAFT_FOLDER.fullmatch(path.name)
        if match and not is_alive(int(match[1])):
            shutil.rmtree(path, ignore_errors=True)


def is_alive(process: int) -> bool:
    """Return whether a process with this id runs, also if another user owns it."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def write_json(path: Path, values: Any) -> None:
    """Write values to a JSON file atomically; see :func:`atomic_writes`."""
    with atomic_write(path) as draft:
        draft.write_text(json.dumps(values, indent=1), encoding="utf-8")


def gigabytes(n: int) -> str:
    """Format a number of bytes as GB or MB."""
    return f"{n / 1e9:.1f} GB" if n >= 1e8 else f"{n / 1e6:.1f} MB"
