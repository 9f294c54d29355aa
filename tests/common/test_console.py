"""Texts and names from files reach the terminal as they are, without escape codes and without markup."""

import io
from pathlib import Path

from rich.table import Table
from rich.text import Text

from dhpe_lib.common.console import Terminal, link, plain

HOSTILE = "a\x1b]0;title\x07\x9b31m\r\x08[bold]b[/bold]"


def test_control_characters_are_replaced():
    assert plain("one\ntwo\t" + HOSTILE) == "one\ntwo\ta\ufffd]0;title\ufffd\ufffd31m\ufffd\ufffd[bold]b[/bold]"
    assert plain("naïve 手") == "naïve 手"


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
