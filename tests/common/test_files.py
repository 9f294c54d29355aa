"""Atomic writes: a file appears complete or not at all, and drafts of killed processes are deleted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dhpe_lib.common.files import atomic_write, clear_drafts, is_alive


def test_a_file_appears_when_the_block_ends(tmp_path):
    with atomic_write(tmp_path / "a.json") as draft:
        draft.write_text("1")
        assert not (tmp_path / "a.json").exists()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.json", "1")]


def fail_in_the_middle(path: Path) -> None:
    path.write_text("ne")
    raise OSError("disk full")


def test_a_failure_leaves_the_old_file(tmp_path):
    (tmp_path / "a.json").write_text("old")
    with pytest.raises(OSError, match="full"), atomic_write(tmp_path / "a.json") as draft:
        fail_in_the_middle(draft)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.json", "old")]


def test_only_drafts_of_ended_processes_are_deleted(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert not is_alive(gone.pid)
    assert is_alive(os.getpid())
    assert is_alive(1)
    names = ["last.safetensors", f".notes.{gone.pid}", f".dhpe-{os.getpid()}-a", ".dhpe-x"]
    for name in (*names, f".dhpe-{gone.pid}-b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "draft").touch()
    clear_drafts(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(names)
