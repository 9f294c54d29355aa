"""Options and error handling that the commands share."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from dhpe_lib.common.console import Terminal, plain
from dhpe_lib.common.files import clear_drafts

OUT = Path("dhpe_out")
"""Default folder of the files that a command writes."""
CheckpointArgument = Annotated[
    Path,
    typer.Argument(metavar="CHECKPOINT", help="A .safetensors file, or the folder of a run.", show_default=False),
]
DeviceOption = Annotated[
    str | None,
    typer.Option("--device", metavar="cpu|cuda|cuda:N", help="Device to compute on; by default a GPU if there is one."),
]


@contextmanager
def usage_error(option: str | None) -> Iterator[None]:
    """Turn a ValueError or OSError into a usage error that names the option, with exit code 2."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise typer.BadParameter(plain(str(error)), param_hint=option) from error


@contextmanager
def clean_exit(*errors: type[Exception]) -> Iterator[None]:
    """Print a ValueError, an OSError or one of `errors` as one red line, and exit with code 1."""
    expected: tuple[type[Exception], ...] = (ValueError, OSError, *errors)
    try:
        yield
    except expected as error:
        Terminal(stderr=True, soft_wrap=True).print(Text(f"✗ {error}", "red"))
        raise typer.Exit(1) from error


def prepare_folder(folder: Path) -> None:
    """Make a folder and check that files can be written there, so that a command fails before it computes.

    Drafts that killed commands left in the folder are deleted.

    Raises:
        OSError: The path is a file, or the folder cannot be written to.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder}: is a file; name a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
        clear_drafts(folder)
    except OSError as error:
        reason = f"no files can be written there ({error.strerror})"
        raise OSError(f"{folder}: {reason}; name another folder, or correct its permissions") from error


def parse_shard(shard: str | None) -> tuple[int, int]:
    """Parse a shard "I/N"; None is the only shard, 1/1."""
    if shard is None:
        return 1, 1
    number, _, count = shard.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise ValueError(f"{shard}: is no shard; write I/N with I from 1 to N, such as 2/8")
    return int(number), int(count)


class SideName(StrEnum):
    """Handedness."""

    left = "left"
    right = "right"


ModelOption = Annotated[
    Path | None,
    typer.Option("--model", metavar="PATH", help="Hand model in MANO's layout (.pkl, .npz) instead of the open hand."),
]
SideOption = Annotated[SideName | None, typer.Option("--side", help="Handedness; by default that of the model.")]
OutOption = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Folder for the files; made if it does not exist.")
]
