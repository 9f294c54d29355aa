"""Any text, also a hostile one from a file, can be printed in any encoding; paths are shown from any folder."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from dhpe_lib.common.console import Terminal, link, plain, shown_path

HOSTILE = "a\x1b]0;title\x07\x9b31m\r\x08[bold]b[/bold]"
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


def test_control_characters_are_replaced():
    assert plain("one\ntwo\t" + HOSTILE) == "one\ntwo\ta\ufffd]0;title\ufffd\ufffd31m\ufffd\ufffd[bold]b[/bold]"
    assert plain("naïve 手") == "naïve 手"
    assert plain(os.fsdecode(b"a\x9b31m\xff")) == "a\ufffd31m" + os.fsdecode(b"\xff")


def printed(*things: object, colour: bool = False) -> str:
    console = Terminal(soft_wrap=True)
    console.file = io.StringIO()
    console._force_terminal = colour
    console.print(*things)
    return console.file.getvalue()


def test_a_terminal_prints_texts_as_they_are():
    table = Table(title=HOSTILE)
    table.add_column(HOSTILE)
    table.add_row(HOSTILE)
    for thing in (HOSTILE, Text(HOSTILE, "red"), table, link(Path(HOSTILE))):
        found = printed(thing)
        assert not set(found) & set("\x1b\x07\x9b\r\x08")
        assert "[bold]b" in found
