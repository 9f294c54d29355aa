"""The command `dhpe`: predict hand meshes, run the demonstration, show the hand model, prepare data, train, evaluate.

Each command imports slow packages itself, so that `dhpe --help` is quick.
"""

import gc
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any

import typer

from dhpe_lib import __version__
from dhpe_lib.cli.data import data_app
from dhpe_lib.cli.doctor import doctor
from dhpe_lib.cli.hand import hand_app
from dhpe_lib.cli.predict import demo, predict
from dhpe_lib.cli.train import ablate, evaluate, export, train
from dhpe_lib.cli.train_mesh import train_mesh
from dhpe_lib.common.console import Terminal, plain, write_any_text

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="markdown")
app.add_typer(hand_app, name="hand")
app.command()(predict)
app.command()(demo)
app.add_typer(data_app, name="data")
app.command()(train)
app.command("train-mesh")(train_mesh)
app.command()(evaluate)
app.command("export")(export)
app.command()(ablate)
app.command("doctor")(doctor)


@app.callback(invoke_without_command=True)
def dhpe(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Dense 3D hand meshes from photos. Start with **dhpe demo**."""
    if version:
        Terminal().print(f"dhpe {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command `dhpe`."""
    write_any_text()
    warnings.formatwarning = plain_warning  # type: ignore[assignment]
    try:
        app()
    except SystemExit as end:
        if sys.argv[1:2] == ["predict"] and isinstance(end.code, int):
            leave(end.code)
        raise
    finally:
        gc.freeze()  # or Python would look at all of PyTorch once more before it ends


def leave(code: int) -> None:
    """End the process at once: PyTorch's own end would take 120 MB of memory and a tenth of a second."""
    with suppress(OSError):  # nobody reads the output any more
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def plain_warning(*parts: Any, format_as_python: Callable[..., str] = warnings.formatwarning) -> str:
    """Format a warning as Python does, without the control characters of file names in it."""
    return plain(format_as_python(*parts))


if __name__ == "__main__":
    main()  # torchrun starts the module this way: -m dhpe_lib.cli.__main__
