"""Locks, drafts and two commands on a pretended Windows; nothing here runs on the real one."""

import json
import subprocess
import sys

import pytest
from project import ROOT, child_environment

PRETEND = """
import sys
from pathlib import Path
from pretended_windows import locked_bytes, pretend
pretend()
"""
LOCK = """
from dhpe_lib.common.locks import LockedError, locked
path = Path(sys.argv[1]) / ".lock"
for _ in range(2):
    with locked(path):
        assert len(locked_bytes) == 1
        try:
            with locked(path):
                raise AssertionError("two hold the lock")
        except LockedError as error:
            print(error)
    assert not locked_bytes
    assert not path.exists()
"""
FILES = """
import os
from dhpe_lib.common.files import append_line, clear_drafts, write_json
folder = Path(sys.argv[1])
write_json(folder / "a.json", [1])
append_line(folder / "b.jsonl", "1")
append_line(folder / "b.jsonl", "2")
draft = folder / ".dhpe-x"
draft.mkdir()
(draft / ".lock").touch()
clear_drafts(folder)
print(sorted(os.listdir(folder)), (folder / "b.jsonl").read_text().split())

def no_space(_):
    raise OSError(28, "No space left on device")

os.fsync = no_space
for name in ("b.jsonl", "c.jsonl"):
    try:
        append_line(folder / name, "3")
    except OSError as error:
        print(type(error).__name__)
print(sorted(os.listdir(folder)), (folder / "b.jsonl").read_text().split())
"""
COMMAND = """
from dhpe_lib.cli.__main__ import main
sys.argv[0] = "dhpe"
main()
"""


def run(code: str, *arguments: object) -> str:
    command = [sys.executable, "-c", PRETEND + code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=child_environment(), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_imitation_lacks_what_windows_lacks():
    with pytest.raises(AssertionError, match="import of fcntl halted"):
        run("import fcntl")
    with pytest.raises(AssertionError, match="no attribute 'pread'"):
        run("import os; os.pread")
    with pytest.raises(AssertionError, match="Bad file descriptor"):
        run("import os; os.fsync(os.open('.', os.O_RDONLY))")


def test_a_lock_is_taken_refused_and_freed(tmp_path):
    lines = run(LOCK, tmp_path).splitlines()
    assert len(lines) == 2
    assert all("another run writes there (process " in line for line in lines)


def test_files_are_written_and_drafts_cleared(tmp_path):
    kept = "['a.json', 'b.jsonl'] ['1', '2']"
    assert run(FILES, tmp_path).splitlines() == [kept, "DiskFullError", "DiskFullError", kept]


def test_hand_export(tmp_path):
    run(COMMAND, "hand", "export", tmp_path / "hand.glb")
    assert [path.name for path in tmp_path.iterdir()] == ["hand.glb"]


def test_predict(tmp_path):
    run(COMMAND, "predict", ROOT / "book/images/demo.jpg", "--device", "cpu", "--out", tmp_path / "out")
    assert json.loads((tmp_path / "out/demo_hand.json").read_text(encoding="utf-8"))["verdict"] == "good"
    assert (tmp_path / "out/demo_hand.glb").stat().st_size > 0
