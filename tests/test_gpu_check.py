"""`runs/gpu_check.sh` with a pretended `python`: its limits add up, and a step that fails does not stop the others.

Its commands of `dhpe` are run on the CPU.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import tiny_network
from project import ROOT
from typer.testing import CliRunner

from dhpe_lib.cli.__main__ import app

pytestmark = pytest.mark.without_device
SCRIPT = ROOT / "runs" / "gpu_check.sh"
RESULTS = {
    "renderer_speed_cuda": "benchmarks/renderer.py",
    "synthetic_speed_cuda": "benchmarks/synthetic.py",
    "training_speed_light_cuda": "--preset light --batch",
    "training_speed_paper_cuda": "--preset paper --batch",
    "refinement_speed_cuda": "benchmarks/refinement.py",
}
SMALLER = {"cuda": "cpu", "steps=20": "steps=2", "steps=30": "steps=3", "test_count=64": "test_count=2", "64": "4"}
MORE = {"train": ["--set", "batch=4", "--set", "start=random"], "data": ["--workers", "1"]}
PYTHON = """#!/bin/sh
echo "$*" >> calls
case "$*" in
*'{broken}'*) exit 1 ;;
{writes}
esac
"""


@pytest.fixture
def run(tmp_path: Path):
    """Run a copy of the script beside a `python` that writes the result files, and fails at a step."""

    def started(broken: str) -> tuple[int, str, str]:
        for folder in ("runs", "bin", "book/results"):
            (tmp_path / folder).mkdir(parents=True)
        shutil.copy(SCRIPT, tmp_path / "runs")
        writes = "\n".join(
            f"*'{call}'*) touch -d '+1 minute' book/results/{name}.json ;;" for name, call in RESULTS.items()
        )
        python = tmp_path / "bin" / "python"
        python.write_text(PYTHON.format(broken=broken, writes=writes))
        python.chmod(0o755)
        path = {"PATH": f"{python.parent}:/usr/bin:/bin", "TMPDIR": str(tmp_path)}
        done = subprocess.run(["bash", tmp_path / "runs" / SCRIPT.name], capture_output=True, text=True, env=path)
        return done.returncode, done.stdout, (tmp_path / "calls").read_text()

    return started


def test_its_limits_are_at_most_ten_minutes():
    limits = [int(seconds) for seconds in re.findall(r"^step (\d+) ", SCRIPT.read_text(), re.MULTILINE)]
    assert len(limits) == 11
    assert sum(limits) + len(limits) <= 600  # and a second for each to be ended


def test_a_step_that_fails_is_named_and_the_others_run(run):
    code, printed, calls = run("benchmarks/synthetic.py")
    assert code == 1
    assert re.findall("^- (.*)", printed, re.MULTILINE) == [
        "synthetic pictures",
        "no new book/results/synthetic_speed_cuda.json",
    ]
    assert all(call in calls for call in RESULTS.values())
    assert "pytest" in calls


def test_all_steps_pass(run):
    code, printed, _ = run("no such step")
    assert code == 0
    assert "all passed" in printed


def test_its_commands_run_one_after_the_other(run, monkeypatch):
    """On the CPU, with a tiny network and smaller numbers."""
    commands = [call.split()[2:] for call in run("no such step")[2].splitlines() if "dhpe_lib.cli" in call]
    assert [words[0] for words in commands] == ["train", "train", "data", "evaluate", "demo"]
    tiny_network.install(monkeypatch.setitem)
    for words in commands:
        smaller = [SMALLER.get(word, word) for word in words] + MORE.get(words[0], [])
        done = CliRunner().invoke(app, smaller)
        assert done.exit_code == 0, (smaller, done.output)


def test_without_a_gpu_nothing_runs(run):
    code, printed, calls = run("torch.zeros")
    assert code == 2
    assert "there is no GPU" in printed
    assert len(calls.splitlines()) == 1


def test_the_files_that_it_expects_are_those_of_the_benchmarks():
    expected = re.search("for name in (.*); do", SCRIPT.read_text())
    assert expected is not None
    assert {f"{name}_cuda" for name in expected[1].split()} == set(RESULTS)
    for name, call in RESULTS.items():
        if call.startswith("benchmarks"):
            assert name.removesuffix("_cuda") in (ROOT / call).read_text()
