"""Atomic writes: a file appears complete or not at all, and drafts of killed processes are deleted."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from project import child_environment

from dhpe_lib.common.files import (
    DiskFullError,
    append_line,
    atomic_write,
    clear_drafts,
    refuse_input,
    require_space,
)


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


HOLD = """
import sys
from pathlib import Path
from dhpe_lib.common.files import atomic_write
with atomic_write(Path(sys.argv[1])) as draft:
    draft.write_text("cut")
    print("begun", flush=True)
    sys.stdin.read()
"""


def test_drafts_are_cleared_when_their_process_has_ended(tmp_path):
    command = [sys.executable, "-c", HOLD, tmp_path / "a.json"]
    writing = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=child_environment(), text=True
    )
    assert writing.stdout.readline() == "begun\n"
    for name in (".notes", "last.safetensors"):
        (tmp_path / name).mkdir()
    clear_drafts(tmp_path)
    assert len(list(tmp_path.glob(".dhpe-*/a.json"))) == 1
    writing.kill()
    writing.communicate()
    assert len(list(tmp_path.glob(".dhpe-*/a.json"))) == 1
    clear_drafts(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".notes", "last.safetensors"}


def test_a_draft_without_a_lock_may_be_young(tmp_path):
    """The process that made it has not locked it yet, or was killed before."""
    draft = tmp_path / ".dhpe-x"
    draft.mkdir()
    clear_drafts(tmp_path)
    assert draft.is_dir()
    os.utime(draft, (1, 1))
    clear_drafts(tmp_path)
    assert not draft.exists()


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_files_have_the_permissions_of_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        with atomic_write(tmp_path / "a") as draft:
            draft.touch(0o600)  # as safetensors does
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~mask


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_named_with_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", no_space)
    with (
        pytest.raises(DiskFullError, match=r"a\.json: the disk is full, at least 3 bytes are needed; make room"),
        atomic_write(tmp_path / "a.json") as draft,
    ):
        draft.write_text("new")
    assert not list(tmp_path.iterdir())


def test_a_failed_write_without_a_reason_is_due_to_a_full_disk_if_it_is_full(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=4095))
    with pytest.raises(DiskFullError, match="at least 2 bytes"), atomic_write(tmp_path / "a.png") as draft:
        fail_in_the_middle(draft)
    assert not list(tmp_path.iterdir())


def test_a_line_is_added_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    append_line(path, "1")
    path.write_text(path.read_text() + '{"cut')
    append_line(path, "2")
    assert path.read_text() == '1\n{"cut\n2\n'
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(DiskFullError, match=r"a\.jsonl: the disk is full, at least 2 bytes"):
        append_line(path, "3")
    assert path.read_text() == '1\n{"cut\n2\n'
    with pytest.raises(DiskFullError):
        append_line(tmp_path / "b.jsonl", "1")
    assert not (tmp_path / "b.jsonl").exists()


def test_room_is_looked_for_before_the_folder_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=100 if folder == tmp_path else 0))
    require_space(tmp_path / "a" / "b", 100)
    with pytest.raises(DiskFullError, match="b: 101 bytes are needed and 100 bytes are free there"):
        require_space(tmp_path / "a" / "b", 101)
    assert not list(tmp_path.iterdir())


def test_an_input_is_known_through_links_and_dots(tmp_path):
    (tmp_path / "a").mkdir()
    model = tmp_path / "a" / "model.npz"
    model.touch()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "model").symlink_to(model)
    for same in (model, tmp_path / "link" / "model.npz", tmp_path / "a" / ".." / "a" / "model.npz", tmp_path / "model"):
        with pytest.raises(FileExistsError, match=r"is the input .*model\.npz, which would be overwritten"):
            refuse_input(same, [None, model])
    refuse_input(tmp_path / "a" / "new.npz", [model, tmp_path / "missing"])
