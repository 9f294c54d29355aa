"""Curves of a run as a figure, and a training in a process of its own whose curves are drawn while it runs."""

import json
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dhpe_lib.evaluation.plots import METHOD_COLORS
from dhpe_lib.figures.chapters import GRID_COLOR
from dhpe_lib.training.log import CURVES, read_curves

TERMS = {
    "art": ("<i>L</i><sub>Art</sub>", "#2f7fe0"),
    "lap": ("<i>L</i><sub>Lap</sub>", "#8a929c"),
    "feat": ("<i>L</i><sub>Feat</sub>", "#3fa34d"),
    "sh": ("<i>λL</i><sub>Sh</sub>", "#e63946"),
    "ref": ("<i>L</i><sub>Ref</sub>", "#9b4fd0"),
    "j2d": ("<i>L</i><sub>J2D</sub>", "#f4a224"),
    "hand": ("<i>L<sub>h</sub></i>", "#20a39e"),
}
"""Symbol in the paper, as HTML, and colour of each term of a log line."""
ERRORS = {"epe_a_mm": ("A", "solid"), "epe_c_mm": ("C", "dot")}
"""Protocol and line style of the two errors of a test that the figure shows."""
STOPPED = 130
"""Exit status of a training that was interrupted and has saved a checkpoint."""


def dhpe_command(*arguments: str | Path) -> list[str]:
    """Return a `dhpe` command that runs in the Python of this process."""
    return [sys.executable, "-m", "dhpe_lib.cli", *map(str, arguments)]


def test_kinds(path: Path) -> list[str]:
    """Return the kinds of the test records of a file of curves, in the order in which they first occur.

    Args:
        path: Path of ``curves.jsonl``. A last line that a kill has cut is ignored.

    Returns:
        Kinds such as "test_orh_test".

    Raises:
        FileNotFoundError: The file does not exist.
    """
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kinds = dict.fromkeys(json.loads(line)["kind"] for line in lines if line.endswith("\n"))
    return [kind for kind in kinds if kind.startswith("test_")]


def training_figure(path: Path, height: int = 620) -> go.Figure:
    """Draw a run: the terms of the loss above, and the errors of its tests below.

    Args:
        path: Path of ``curves.jsonl``, or the folder of a run.
        height: Height of the figure, pixels.

    Returns:
        A plotly figure. A term that is always 0 has no curve.

    Raises:
        FileNotFoundError: The file does not exist.
        CurvesFileError: A line is not a record of numbers.
    """
    path = path / CURVES if path.is_dir() else path
    titles = ("terms of the loss, as weighted", "mean joint error of the tests, mm")
    figure = make_subplots(2, 1, shared_xaxes=True, vertical_spacing=0.1, subplot_titles=titles)
    figure.add_traces(_term_traces(path), rows=1, cols=1)
    figure.add_traces(_error_traces(path), rows=2, cols=1)
    figure.update_layout(template="none", height=height, margin={"t": 30, "r": 10, "b": 45, "l": 60})
    figure.update_layout(legend={"orientation": "h", "y": -0.12}, paper_bgcolor="rgba(0,0,0,0)")
    figure.update_xaxes(zeroline=False, gridcolor=GRID_COLOR).update_yaxes(zeroline=False, gridcolor=GRID_COLOR)
    figure.update_xaxes(title="step", row=2, col=1)
    figure.update_yaxes(type="log", exponentformat="power", dtick=1, row=1, col=1)
    return figure.update_yaxes(rangemode="tozero", row=2, col=1)


def _term_traces(path: Path) -> list[go.Scatter]:
    records = read_curves(path, "train")
    traces = []
    for name, (title, color) in TERMS.items():
        values = records.get(name, np.zeros(0))
        if (values > 0).any():
            shown = np.where(values > 0, values, np.nan)
            traces.append(go.Scatter(x=records["step"], y=shown, name=title, line={"color": color, "width": 2}))
    return traces


def _error_traces(path: Path) -> list[go.Scatter]:
    traces = []
    for number, kind in enumerate(test_kinds(path)):
        color, records = METHOD_COLORS[number % len(METHOD_COLORS)], read_curves(path, kind)
        for name, (protocol, dash) in ERRORS.items():
            if name in records:
                line = {"color": color, "dash": dash, "width": 2}
                title = f"{_hands_of(kind)}, protocol {protocol}"
                traces.append(go.Scatter(x=records["step"], y=records[name], name=title, line=line))
    return traces


def _hands_of(kind: str) -> str:
    """Say which hands a test has: "test_orh_test" is "test images of ORH", "test_rendered" is "rendered hands"."""
    dataset, _, split = kind.removeprefix("test_").rpartition("_")
    return f"{split} images of {dataset.upper()}" if dataset else f"{split} hands"


def follow(command: Sequence[str], run: Path, show: Callable[[go.Figure], object], every: float = 10.0) -> bool:
    """Start a training as a process, and show its curves again and again until it ends.

    An interrupt (Ctrl-C, or the stop button of a notebook) is passed on: the training then saves a checkpoint after its
    step and ends, and the same command with ``--resume`` continues it.

    Args:
        command: The command, for instance of :func:`dhpe_command`.
        run: Folder of the run that the command writes.
        show: Called with the figure of the curves each time.
        every: Seconds between two figures.

    Returns:
        Whether all steps are done; False after an interrupt.

    Raises:
        OSError: The command cannot be started.
        ChildProcessError: The command failed; the message has its last lines.
    """
    with tempfile.TemporaryFile() as said:
        # An interrupt reaches the process from here, and only once.
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            while _runs(process, every):
                _show(run, show)
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
        status = process.wait()
        _show(run, show)
        if status not in (0, STOPPED):
            said.seek(0)
            raise ChildProcessError(f"{shlex.join(command)} failed: {said.read().decode(errors='replace')[-1500:]}")
    return status == 0


def _runs(process: subprocess.Popen, seconds: float) -> bool:
    """Wait for a process for some seconds, and return whether it still runs."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            return False
        time.sleep(min(0.2, seconds))
    return True


def _show(run: Path, show: Callable[[go.Figure], object]) -> None:
    """Show the curves of a run if there are any yet."""
    if (run / CURVES).is_file():
        show(training_figure(run))
