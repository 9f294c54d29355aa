"""Locks: one process at a time, freed by any end of the process, and nothing left behind."""

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest
from project import child_environment

from dhpe_lib.common import locks
from dhpe_lib.common.locks import LockedError, locked

HOLD = """
import sys
from pathlib import Path
from dhpe_lib.common.locks import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def hold(path: Path) -> subprocess.Popen:
    """Lock a file in another process."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=child_environment(),
        text=True,
    )
    assert process.stdout.readline() == "locked\n"
    return process


def test_a_lock_lasts_as_long_as_its_process(tmp_path):
    path = tmp_path / ".lock"
    other = hold(path)
    with (
        pytest.raises(LockedError, match=rf"another run writes there \(process {other.pid} +on .*\); wait"),
        locked(path),
    ):
        pass
    other.kill()
    other.communicate()
    assert path.is_file()
    with locked(path):
        assert path.read_text().startswith(f"process {os.getpid()} ")
    assert not path.exists()


def test_a_process_that_waited_for_a_deleted_file_locks_the_new_one(tmp_path, monkeypatch):
    path, lock = tmp_path / ".lock", fcntl.flock

    def lock_late(descriptor: int, how: int) -> None:
        """The owner ends between the opening of the file and its lock."""
        monkeypatch.undo()
        path.unlink()
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", lock_late)
    with locked(path), pytest.raises(LockedError), locked(path):
        pass


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(locks.fcntl, "flock", no_locks)
    with locked(tmp_path / ".lock"):
        assert (tmp_path / ".lock").is_file()
    assert not (tmp_path / ".lock").exists()
    with pytest.raises(LockedError, match="its process is unknown"), locked(tmp_path / ".lock", required=True):
        pass
