"""The shipped weights have half the size and give the same network; a clear error says when they are missing."""

import json

import pytest
import tiny_network
import torch

from dhpe_lib.network import trained as shipped
from dhpe_lib.network.checkpoints import CheckpointError, read_checkpoint, write_checkpoint
from dhpe_lib.network.trained import default_weights, load_shipped, load_trained
from dhpe_lib.training.batches import BatchPlan
from dhpe_lib.training.config import TrainingConfig
from dhpe_lib.training.export import export_weights
from dhpe_lib.training.run_folder import BEST, checkpoint_facts
from dhpe_lib.training.setup import build_network


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Folder of a run with the weights of a tiny network."""
    tiny_network.install(monkeypatch.setitem)
    config = TrainingConfig(
        start="random", data=("/home/me/orh/train",), test=("orh/test", "/data/orh-o/test"), backgrounds="/home/me/nyu"
    )
    folder = tmp_path / "run"
    folder.mkdir()
    network = build_network(config)
    write_checkpoint(folder / BEST, network, checkpoint_facts(network, config, BatchPlan(4, 0, 0), 7, 12.5))
    return folder


def test_export_and_back(run, tmp_path):
    out = tmp_path / "light.safetensors"
    export_weights(run, out)
    kept = read_checkpoint(out)
    floating = [value for value in kept.network.values() if value.is_floating_point()]
    assert {value.dtype for value in floating} == {torch.float16}
    first, second = load_trained(run), load_trained(out)
    for (name, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert a.dtype == b.dtype, name
        torch.testing.assert_close(b, a, rtol=1e-3, atol=1e-6)
    assert not second.training
    images = torch.rand(2, 3, 224, 224)
    torch.testing.assert_close(second.predict(images).h, first.predict(images).h, rtol=0, atol=1e-2)
    size = {name: (run / BEST if name == "run" else out).stat().st_size for name in ("run", "out")}
    assert size["out"] < 0.75 * size["run"]


def test_the_side_of_the_crop_is_that_of_the_training(run, tmp_path):
    assert load_trained(run).features.input_size == tiny_network.TINY.feature_input
    older = tmp_path / "older.safetensors"
    write_checkpoint(older, load_trained(run), {"config": {"preset": "light", "ablation": []}})
    assert load_trained(older).features.input_size == 128


def test_the_header_names_no_folder_of_a_machine(run, tmp_path):
    out = tmp_path / "light.safetensors"
    export_weights(run, out)
    facts = read_checkpoint(out).facts
    assert facts["config"]["data"] == ["orh/train"]
    assert facts["config"]["test"] == ["orh/test", "orh-o/test"]
    assert facts["config"]["backgrounds"] == "me/nyu"
    assert (facts["step"], facts["best"]) == (7, "12.5")
    assert "/home" not in json.dumps(facts)


def test_shipped_weights_are_those_of_the_project_or_of_a_file(run, tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "weights" / "light.safetensors")
    with pytest.raises(FileNotFoundError, match=r"light\.safetensors: no such file.*--weights FILE.*--keypoints FILE"):
        load_shipped()
    (tmp_path / "weights").mkdir()
    export_weights(run, tmp_path / "weights" / "light.safetensors")
    assert default_weights() == tmp_path / "weights" / "light.safetensors"
    for path in (None, run):
        assert load_shipped(path).config == load_trained(run).config


def test_bad_exports_are_refused(run, tmp_path):
    with pytest.raises(CheckpointError, match=r"x\.bin: weights are written as \.safetensors"):
        export_weights(run, tmp_path / "x.bin")
    network = load_trained(run)
    with torch.no_grad():
        network.regressor.f_j3d.bias[0] = 1e6
    write_checkpoint(run / BEST, network, read_checkpoint(run).facts)
    with pytest.raises(CheckpointError, match=r"field regressor\.f_j3d\.bias has a number that 16 bits cannot hold"):
        export_weights(run, tmp_path / "x.safetensors")
    with pytest.raises(FileNotFoundError, match="nowhere: no such checkpoint"):
        export_weights(tmp_path / "nowhere", tmp_path / "x.safetensors")
