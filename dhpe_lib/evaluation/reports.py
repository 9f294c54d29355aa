"""Write the report of an evaluation: a JSON file with scores and provenance, and a page with the PCK curves."""

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
from dhpe_lib.evaluation.evaluate import Predictions
from dhpe_lib.evaluation.plots import pck_figure
from dhpe_lib.evaluation.scores import protocol_errors


def write_report(
    found: Mapping[str, Predictions], scores: dict[str, Any], cache: Prepared, checkpoint: Path, folder: Path
) -> list[Path]:
    """Write the JSON file and the page with the figure, both atomically.

    Args:
        found: Predictions of one or more variants on one split; the key is appended to the name of each curve.
        scores: From :func:`dhpe_lib.evaluation.scores.full_scores`.
        cache: The prepared split.
        checkpoint: Path of the network's checkpoint.
        folder: Folder of the report.

    Returns:
        Paths of the JSON file and the page.

    Raises:
        OSError: The folder is not writable.
    """
    stem = f"evaluation_{cache.name}"
    names = [f"{stem}.json", f"{stem}.html"]
    dataset = {"name": cache.meta["dataset"], "split": cache.meta["split"], "sha256": cache.meta["sha256"]}
    result = provenance() | {"checkpoint": shorten_path(str(checkpoint)), "dataset": dataset, "results": scores}
    errors = {
        f"protocol {name}{suffix}": rows
        for suffix, predictions in found.items()
        for name, rows in protocol_errors(predictions).items()
    }
    band = all(len(predictions.palm) > 1 for predictions in found.values())
    with atomic_writes(folder, names) as (numbers, page):
        numbers.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        pck_figure(errors, grid="0-50", band=band).write_html(page, include_plotlyjs=True)
    return [folder / name for name in names]


def provenance() -> dict[str, Any]:
    """Return command (with shortened paths), version, commit, date and hardware."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "command": " ".join(["dhpe", *map(shorten_path, sys.argv[1:])]),
        "dhpe_version": __version__,
        "commit": commit(),
        "date": date.today().isoformat(),
        "hardware": {"machine": platform.machine(), "cores": os.cpu_count(), "gpu": gpu},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }


def commit() -> str:
    """Return the commit of the library; "unknown" without git or without a repository."""
    root = Path(dhpe_lib.__file__).parents[1]
    command = ["git", "-C", str(root), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    except OSError:
        return "unknown"


def shorten_path(argument: str) -> str:
    """Shorten an absolute path in a command-line argument, or after ``name=``, to its last two names."""
    name, equals, value = argument.rpartition("=")
    path = Path(value)
    return f"{name}{equals}{'/'.join(path.parts[-2:]) if path.is_absolute() else value}"
