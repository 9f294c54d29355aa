"""Freed memory goes back to the system."""

import sys
from pathlib import Path

import numpy as np
import pytest

from dhpe_lib.common.heap import return_freed_memory


def resident_mb() -> int:
    """Memory of this process, MB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) // 1024


@pytest.mark.skipif(sys.platform != "linux", reason="only GNU's C library keeps freed memory like this")
def test_freed_memory_goes_back_to_the_system():
    pieces = [np.ones(64 * 1024, np.uint8) for _ in range(3000)]  # too small to go back by itself
    del pieces[:-1]  # the last one keeps the heap from shrinking
    before = resident_mb()
    return_freed_memory()
    assert resident_mb() < before - 100


def test_other_systems_do_nothing(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    return_freed_memory()
