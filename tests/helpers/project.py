"""Folders that tests read: the repository, and real photos where somebody has put them beside it."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
REAL_PHOTOS = Path(os.environ.get("DHPE_REAL_PHOTOS", ROOT.parent / "shared" / "real"))
"""18 labelled photos of hands; the tests that use them skip where the folder is absent."""


def child_environment() -> dict[str, str]:
    """Environment of a child process that imports the library and the tests' helpers, with one thread."""
    return os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'helpers'}", "OMP_NUM_THREADS": "1"}
