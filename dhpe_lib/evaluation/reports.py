"""What an evaluation is written as: a JSON with where its numbers come from, and a page with the PCK curves."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import torch

import dhpe_lib
from dhpe_lib import __version__
from dhpe_lib.common.files import atomic_writes
from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.evaluation.evaluate import Found, protocol_errors
from dhpe_lib.evaluation.plots import pck_figure


def write_report(
    found: Mapping[str, Found], scores: dict[str, Any], cache: Prepared, checkpoint: Path, folder: Path
) -> list[Path]:
    """Write the JSON and the figure, together.

    Args:
        found: From :func:`dhpe_lib.evaluation.evaluate.evaluate`, or several of one split: by what a curve's name ends in.
        scores: From :func:`dhpe_lib.evaluation.evaluate.full_scores`.
        cache: The split.
        checkpoint: Of the network.
        folder: Where to.

    Returns:
        Their paths.

    Raises:
        OSError: The folder cannot be written to.
    """
    stem = f"evaluation_{cache.name}"
    names = [f"{stem}.json", f"{stem}.html"]
    dataset = {"name": cache.meta["dataset"], "split": cache.meta["split"], "sha256": cache.meta["sha256"]}
    result = provenance() | {"checkpoint": str(checkpoint), "dataset": dataset, "results": scores}
    errors = {
        f"protocol {name}{end}": rows for end, one in found.items() for name, rows in protocol_errors(one).items()
    }
    several = all(len(one.palm) > 1 for one in found.values())
    with atomic_writes(folder, names) as (numbers, page):
        numbers.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        pck_figure(errors, grid="0-50", band=several).write_html(page, include_plotlyjs=True)
    return [folder / name for name in names]


def provenance() -> dict[str, Any]:
    """Command (without places of this machine), version, commit, date and hardware."""
    root = Path(dhpe_lib.__file__).parents[1]
    commit = subprocess.run(
        ["git", "-C", str(root), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "command": " ".join(["dhpe", *map(without_place, sys.argv[1:])]),
        "dhpe_version": __version__,
        "commit": commit.stdout.strip() or "unknown",
        "date": date.today().isoformat(),
        "hardware": {"machine": platform.machine(), "cores": os.cpu_count(), "gpu": gpu},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }


def without_place(argument: str) -> str:
    """An argument of the command line; of an absolute path, or of ``name=`` with one, the last two names alone."""
    name, equals, value = argument.rpartition("=")
    path = Path(value)
    return f"{name}{equals}{'/'.join(path.parts[-2:]) if path.is_absolute() else value}"
