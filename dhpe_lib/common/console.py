"""Lines, links and progress bars on the terminal.

File names and texts from files can hold escape codes, which would change the terminal or hide text on it. Everything
that commands print goes through a `Terminal`, or through `plain`.
"""

import codecs
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.text import Text

PLAINLY = "dhpe_plainly"
PLAIN = {"\u2713": "+", "\u2717": "x", "\u2026": "...", "\u00d7": "x", "\u2013": "-", "\u2014": "-"}
CONTROL_CODES = (*range(32), *range(127, 160), *range(0xDC80, 0xDCA0))  # the last: bytes of names, see os.fsdecode
CONTROLS = {code: "\N{REPLACEMENT CHARACTER}" for code in CONTROL_CODES if chr(code) not in "\n\t"}
"""Control characters except line feed and tab; the escape codes of terminals begin with one of them."""


def plain(text: str) -> str:
    """Replace the control characters of a text that may come from a file."""
    return text.translate(CONTROLS)


class Terminal(Console):
    """A console that prints texts as they are: without markup, and without the control characters in them.

    Args:
        stderr: Whether to write to the standard error.
        soft_wrap: Whether to leave the breaking of lines to the terminal.
    """

    def __init__(self, stderr: bool = False, soft_wrap: bool = False) -> None:
        super().__init__(stderr=stderr, soft_wrap=soft_wrap, markup=False, emoji=False, highlight=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Render text to segments; rich's own codes are separate segments or are added later, as styles."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(plain(segment.text), segment.style)


def progress_bar(console: Console) -> Progress:
    """Make a progress bar with the count of finished steps, the elapsed time and the remaining time.

    Args:
        console: Console that shows the bar. Nothing is shown if it is not a terminal.

    Returns:
        The bar, not started.
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
    )
    return Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)


def say(*parts: str | Path | Text) -> None:
    """Print text on the terminal, with paths as links."""
    pieces = (link(part) if isinstance(part, Path) else part for part in parts)
    Terminal(soft_wrap=True).print(Text.assemble(*pieces))


def shown_path(path: Path) -> str:
    """Return a path relative to the current folder if it lies below it, else the absolute path."""
    try:
        near = os.path.relpath(path)
    except ValueError:  # on another drive
        return str(path.absolute())
    return str(path.absolute()) if near.startswith(os.pardir) else near


def write_any_text() -> None:
    """Let the standard streams write any text in any encoding, as `encode_plainly` says."""
    codecs.register_error(PLAINLY, encode_plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=PLAINLY)


def encode_plainly(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace the first character that a stream cannot write: a mark by a letter, others by their escape.

    A byte of a file name that is no text is written as it is.

    Args:
        error: The error of the encoder.

    Returns:
        The replacement, and the position to continue from.

    Raises:
        UnicodeError: The error is not one of encoding.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    if 0xDC80 <= ord(character) <= 0xDCFF:  # a byte that Python kept, see os.fsdecode
        return bytes([ord(character) - 0xDC00]), error.start + 1
    return PLAIN.get(character) or character.encode("ascii", "backslashreplace").decode(), error.start + 1


def link(path: Path) -> Text:
    """Format a path as a clickable link: relative below the current folder, else absolute."""
    return Text(shown_path(path), style=f"link {path.absolute().as_uri()} cyan")
