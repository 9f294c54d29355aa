"""What the commands share: how they say things, name paths and refuse what they cannot use."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.text import Text

Value = TypeVar("Value")
OUT = Path("dhpe_out")
"""Where files go if nobody says."""
DeviceOption = Annotated[
    str | None, typer.Option("--device", metavar="cpu|cuda", help="Where to compute; by default a GPU if there is one.")
]


def checked(option: str | None, make: Callable[[], Value]) -> Value:
    """What `make` gives; a wrong file or value becomes a message about the option."""
    try:
        return make()
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def say(*parts: str | Path | Text) -> None:
    """Print words and paths."""
    pieces = (link(part) if isinstance(part, Path) else part for part in parts)
    Console(highlight=False, soft_wrap=True).print(Text.assemble(*pieces))


def link(path: Path) -> Text:
    """A path as seen from here, which a terminal that can opens on a click."""
    near = os.path.relpath(path)
    shown = str(path.absolute()) if near.startswith(os.pardir) else near
    return Text(shown, style=f"link {path.absolute().as_uri()} cyan")


def prepare_folder(folder: Path) -> None:
    """Make a folder, and make sure before any work that files can be written there."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder}: is a file; name a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        reason = f"no files can be written there ({error.strerror})"
        raise OSError(f"{folder}: {reason}; name another folder, or correct its permissions") from error
