"""Lines, links and progress bars on the terminal."""

import os
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text


def progress_bar(console: Console) -> Progress:
    """Done, to do, and how long that will take."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
    )
    return Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)


def say(*parts: str | Path | Text) -> None:
    """Print words and paths."""
    pieces = (link(part) if isinstance(part, Path) else part for part in parts)
    Console(highlight=False, soft_wrap=True).print(Text.assemble(*pieces))


def link(path: Path) -> Text:
    """A path as seen from here, which a terminal that can opens on a click."""
    near = os.path.relpath(path)
    shown = str(path.absolute()) if near.startswith(os.pardir) else near
    return Text(shown, style=f"link {path.absolute().as_uri()} cyan")
