"""Any text can be printed in any encoding, and paths are shown from any folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dhpe_lib.common.console import shown_path

PRINT = """
import os
from pathlib import Path
from rich.text import Text
from dhpe_lib.common.console import say, write_any_text
write_any_text()
say(Text("\\u2713 ", "green"), "caf\\u00e9 \\u4e2d ", Path(os.fsdecode(b"a\\xff.jpg")))
"""


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("utf-8", "\u2713 caf\u00e9 \u4e2d ".encode() + b"a\xff.jpg"),
        ("cp1252", b"+ caf\xe9 \\u4e2d a\xff.jpg"),
        ("ascii", b"+ caf\\xe9 \\u4e2d a\xff.jpg"),
    ],
)
def test_no_text_ends_a_program(encoding, written):
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", PRINT], env=environment, capture_output=True, check=True)
    assert done.stdout.strip() == written


def test_paths_are_relative_below_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shown_path(tmp_path / "out" / "a.png") == str(Path("out", "a.png"))
    assert shown_path(tmp_path.parent / "a.png") == str(tmp_path.parent / "a.png")


def test_a_path_on_another_drive_is_absolute(tmp_path, monkeypatch):
    def on_another_drive(path):
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", on_another_drive)
    assert shown_path(tmp_path / "a.png") == str(tmp_path / "a.png")
