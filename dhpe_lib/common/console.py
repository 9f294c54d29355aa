"""Lines, links and progress bars on the terminal."""

import os
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text


def progress_bar(console: Console) -> Progress:
    """Make a progress bar with the count of finished steps, the elapsed time and the remaining time.

    Args:
        console: Console that shows the bar. Nothing is shown if it is not a terminal.

    Returns:
        The bar, not started.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
    )
    return Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)


def say(*parts: str | Path | Text) -> None:
    """Print text on the terminal, with paths as links."""
    pieces = (link(part) if isinstance(part, Path) else part for part in parts)
    Console(highlight=False, soft_wrap=True).print(Text.assemble(*pieces))


def link(path: Path) -> Text:
    """Format a path as a clickable link: relative below the current folder, else absolute."""
    near = os.path.relpath(path)
    shown = str(path.absolute()) if near.startswith(os.pardir) else near
    return Text(shown, style=f"link {path.absolute().as_uri()} cyan")
