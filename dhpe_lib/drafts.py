"""Files that are there as a whole or not at all, whatever happens to program and machine.

A draft is written beside its file's place, brought to the disk and then renamed. Its name ends in the number of its
process, so that what a kill left behind can be told from what is being written.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DRAFT = re.compile(r"\..+\.(?:json|jsonl|txt|safetensors)\.(\d+)")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A draft that becomes the file when the block ends well, and vanishes otherwise.

    Args:
        path: Of the file; its folder exists.

    Yields:
        The draft's path, to write to.

    Raises:
        OSError: It cannot be written; what was there before is still there.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield draft
        flush(draft)
        draft.replace(path)
        flush(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def clear_drafts(folder: Path) -> None:
    """Delete the drafts in a folder whose processes are gone."""
    for path in folder.iterdir():
        found = DRAFT.fullmatch(path.name)
        if found and not is_alive(int(found[1])):
            path.unlink(missing_ok=True)


def is_alive(process: int) -> bool:
    """Whether a process of this number is there, whoever owns it."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
