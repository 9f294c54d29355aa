"""Atomic file writes: a file appears complete, or not at all, whatever happens to the program or the machine.

Drafts are written in a hidden folder beside the files, flushed to the disk and then renamed. The folder's name holds
the number of the process, so that a draft that a killed process left behind can be told from one that is being written.
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

DRAFTS = re.compile(r"\.dhpe-(\d+)-.+")


@contextmanager
def atomic_writes(folder: Path, names: Sequence[str]) -> Iterator[list[Path]]:
    """Write several files that replace the old ones only when all are complete.

    Args:
        folder: Where the files appear. It is made if it does not exist.
        names: File names.

    Yields:
        One path for each name, to write to. If the block raises, the drafts are deleted and the old files stay.

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
    """Bring the content of a file, or the names in a folder, to the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def clear_drafts(folder: Path) -> None:
    """Delete the drafts in a folder whose processes have ended."""
    for path in folder.iterdir():
        found = DRAFTS.fullmatch(path.name)
        if found and not is_alive(int(found[1])):
            shutil.rmtree(path, ignore_errors=True)


def is_alive(process: int) -> bool:
    """Whether a process of this number runs, whoever owns it."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def write_json(path: Path, values: Any) -> None:
    """Write a JSON file that is there as a whole or not at all, whatever happens to program and machine."""
    with atomic_write(path) as draft:
        draft.write_text(json.dumps(values, indent=1), encoding="utf-8")


def gigabytes(n: int) -> str:
    """A number of bytes for people."""
    return f"{n / 1e9:.1f} GB" if n >= 1e8 else f"{n / 1e6:.1f} MB"
