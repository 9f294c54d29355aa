"""The figure of a run shows what its curves hold, and a followed training is drawn, stopped and blamed."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from dhpe_lib.training.curves import dhpe_command, follow, test_kinds, training_figure
from dhpe_lib.training.log import CURVES

kinds_of = test_kinds
del test_kinds  # pytest would take it for a test

WRITE = """
import json, sys, time
from pathlib import Path
folder = Path(sys.argv[1]); folder.mkdir()
for step in (1, 2, 3):
    with (folder / "curves.jsonl").open("a") as file:
        file.write(json.dumps({"step": step, "kind": "train", "art": 1 / step}) + "\\n")
    time.sleep(0.3)
"""
WAIT = """
import signal, sys, time
from pathlib import Path
signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
folder = Path(sys.argv[1]); folder.mkdir()
(folder / "curves.jsonl").write_text('{"step": 1, "kind": "train", "art": 1.0}\\n')
time.sleep(60)
"""


@pytest.fixture
def run(tmp_path) -> Path:
    lines = [
        {"step": 10, "kind": "train", "art": 2.0, "feat": 0.0, "sh": 0.0, "error_px": 40.0},
        {"step": 20, "kind": "train", "art": 1.0, "feat": 0.0, "sh": 0.1, "error_px": 30.0},
        {"step": 20, "kind": "test_orh_test", "epe_a_mm": 30.0, "epe_c_mm": 15.0},
        {"step": 20, "kind": "test_orh-o_test", "epe_a_mm": 50.0},
        {"step": 20, "kind": "test_rendered", "epe_a_mm": 20.0},
    ]
    (tmp_path / CURVES).write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 30, "ki')
    return tmp_path


def test_every_curve_is_drawn_and_terms_that_are_zero_are_not(run):
    assert kinds_of(run / CURVES) == ["test_orh_test", "test_orh-o_test", "test_rendered"]
    figure = training_figure(run)
    curves = {trace.name: (list(trace.x), list(trace.y)) for trace in figure.data}
    assert list(curves) == [
        "<i>L</i><sub>Art</sub>",
        "<i>λL</i><sub>Sh</sub>",
        "test images of ORH, protocol A",
        "test images of ORH, protocol C",
        "test images of ORH-O, protocol A",
        "rendered hands, protocol A",
    ]
    assert curves["<i>L</i><sub>Art</sub>"] == ([10, 20], [2, 1])
    assert np.isnan(curves["<i>λL</i><sub>Sh</sub>"][1][0])  # a logarithmic axis has no 0
    assert curves["test images of ORH, protocol C"] == ([20], [15])
    assert training_figure(run / CURVES).to_dict() == figure.to_dict()
    with pytest.raises(FileNotFoundError):
        training_figure(run / "nothing.jsonl")


def test_a_training_is_drawn_while_it_runs(tmp_path):
    shown = []
    done = follow([sys.executable, "-c", WRITE, str(tmp_path / "run")], tmp_path / "run", shown.append, every=0.1)
    assert done
    lengths = [len(figure.data[0].x) for figure in shown]
    assert lengths[0] < lengths[-1] == 3


def test_an_interrupt_stops_the_training_too(tmp_path):
    def interrupt(_):
        raise KeyboardInterrupt

    calls = iter([interrupt, lambda _: None])
    command = [sys.executable, "-c", WAIT, str(tmp_path / "run")]
    assert not follow(command, tmp_path / "run", lambda figure: next(calls)(figure), every=0.1)


def test_a_training_that_fails_says_why(tmp_path):
    command = dhpe_command("train", "--out", tmp_path / "run", "--preset", "heavy")
    with pytest.raises(ChildProcessError, match="preset is heavy"):
        follow(command, tmp_path / "run", print, every=0.1)
    assert not (tmp_path / "run").exists()
