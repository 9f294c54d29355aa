"""Two processes under torchrun: they keep equal weights, continue a run, and share the growing sets and the test."""

import json
import subprocess
import sys

import pytest
import tiny_network
import torch
from dot_dataset import Dots, write_dots
from project import child_environment
from rich.console import Console

from dhpe_lib.common.devices import one_thread
from dhpe_lib.data.cache.preparation import Job, prepare
from dhpe_lib.evaluation.scores import quick_scores
from dhpe_lib.network.checkpoints import read_checkpoint
from dhpe_lib.network.trained import load_trained
from dhpe_lib.training import testing
from dhpe_lib.training.config import read_config
from dhpe_lib.training.log import CURVES, PICTURES, read_curves
from dhpe_lib.training.run_folder import CONFIG, LAST
from dhpe_lib.training.setup import launch_fabric

pytestmark = pytest.mark.without_device
CHILD = """
import json, os, sys
from dataclasses import replace
from pathlib import Path
import tiny_network
from rich.console import Console
from dhpe_lib.training import loop, testing
from dhpe_lib.training.setup import launch_fabric

data, folder = map(Path, sys.argv[1:])
tiny_network.install()
changes = {"batch_norm": "frozen", "augment_share": 0.5, "augment_after": 0.0, "augment_capacity": 20, "test_every": 2}
config = tiny_network.config(data, steps=3, **changes)
fabric = launch_fabric(config, "cpu")
seen, train_once = [], loop.setup_fabric


def setup_fabric(*arguments):
    objective, optimiser = train_once(*arguments)
    seen.append(objective)
    return objective, optimiser


tested, predict_batch = [], testing.predict_batch


def count_images(network, crops, device):
    tested.append(len(crops))
    return predict_batch(network, crops, device)


loop.setup_fabric = setup_fabric
testing.TEST_BATCH, testing.predict_batch = 3, count_images
quiet = Console(quiet=True)
loop.train(config, folder / "whole", fabric, quiet)
tested_once = tested[:]
loop.train(replace(config, steps=2), folder / "run", fabric, quiet)
loop.train(config, folder / "run", fabric, quiet, resume=True)
wrapped = seen[-1]._forward_module
sums = [float(value.double().sum()) for value in seen[-1].state_dict().values()]
facts = {"world": fabric.world_size, "buffers": wrapped.broadcast_buffers, "sums": sums, "tested": tested_once}
(folder / f"rank{fabric.global_rank}.json").write_text(json.dumps(facts))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The runs of two processes."""
    folder = tmp_path_factory.mktemp("processes")
    job = Job("dots", "all", Dots, write_dots(folder / "files", 10), folder / "cache")
    data = prepare(job, 1, Console(quiet=True)).directory
    (folder / "child.py").write_text(CHILD)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(folder / "child.py"), str(data), str(folder)]
    done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_both_processes_have_the_same_weights(folder):
    first, second = (json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2))
    assert first["world"] == second["world"] == 2
    assert first["sums"] == second["sums"]
    assert not first["buffers"]  # the weights' gradients are shared, nothing else


def test_a_run_of_two_processes_is_resumed_with_both_growing_sets(folder):
    whole, resumed = (read_checkpoint(folder / name / LAST) for name in ("whole", "run"))
    for one, other in ((whole.network, resumed.network), (whole.optimiser, resumed.optimiser)):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert whole.grown["count"].tolist() == resumed.grown["count"].tolist()
    assert len(whole.grown["count"]) == 2
    assert (whole.grown["count"] > 0).all()
    assert (folder / "run" / "curves.jsonl").read_text().count("test_") >= 2


def test_processes_share_the_test_images_and_score_them_as_one_process_does(folder, monkeypatch):
    shares = [json.loads((folder / f"rank{rank}.json").read_text())["tested"] for rank in range(2)]
    assert shares == [2 * [3, 3], 2 * [3, 1]]  # 10 images in batches of 3, after steps 2 and 3
    tiny_network.install(monkeypatch.setitem)
    monkeypatch.setattr(testing, "TEST_BATCH", 3)
    config = read_config(folder / "whole" / CONFIG)
    fabric, network = launch_fabric(config, "cpu"), load_trained(folder / "whole" / LAST)
    with one_thread():
        found = testing.predict_tests(network, testing.load_test_sets(config, fabric), fabric)
    scores = quick_scores(found["dots_all"], config.tau)
    for run in ("whole", "run"):
        curves = read_curves(folder / run / CURVES, "test_dots_all")
        assert curves["step"].tolist() == [2, 3]
        assert {name: values[-1] for name, values in curves.items() if name != "step"} == scores
        assert (folder / run / PICTURES / "dots_all_0000003.png").is_file()
