"""Fabric runs on the device that the caller names, and a training starts from the weights that it names."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from small_nets import CONFIG

from dhpe_lib.network.checkpoints import CheckpointError, write_checkpoint
from dhpe_lib.network.estimator import Estimator
from dhpe_lib.training import setup
from dhpe_lib.training.config import ConfigError, TrainingConfig


@pytest.fixture
def launched(monkeypatch) -> dict[str, Any]:
    """The arguments of Fabric, on a machine that pretends to have two GPUs."""
    seen: dict[str, Any] = {}

    class Recorder:
        def __init__(self, **options: Any) -> None:
            seen.update(options)

        def launch(self) -> None:
            pass

    monkeypatch.setattr(setup, "Fabric", Recorder)
    monkeypatch.setattr(setup, "default_device", lambda: "cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    return seen


def launch(device: str | None) -> None:
    """Launch without the check of the returned type, which is a recorder here."""
    getattr(setup.launch_fabric, "__wrapped__", setup.launch_fabric)(TrainingConfig(), device)


@pytest.mark.parametrize(
    ("device", "accelerator", "devices"),
    [(None, "cuda", 1), ("cuda", "cuda", 1), ("cuda:1", "cuda", [1]), ("cuda:0", "cuda", [0]), ("cpu", "cpu", 1)],
)
def test_a_certain_gpu(launched, device, accelerator, devices):
    launch(device)
    assert (launched["accelerator"], launched["devices"]) == (accelerator, devices)


@pytest.mark.parametrize("device", ["cuda:2", "cuda:x", "cpu:1", "tpu"])
def test_devices_that_do_not_exist(launched, device):
    with pytest.raises(ConfigError, match=f"{device}: no such device here; use cpu, or cuda"):
        launch(device)


def test_torchrun_chooses_the_gpus_itself(launched, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="cuda:1: torchrun gives each process its own GPU"):
        launch("cuda:1")
    launch("cuda")
    assert launched["devices"] == 2


def test_a_start_with_another_f_e3d_keeps_f_and_f_j2d(tmp_path):
    torch.manual_seed(1)
    other = Estimator(replace(CONFIG, hidden=9))
    write_checkpoint(tmp_path / "other.safetensors", other, {"step": 1})
    network = Estimator(CONFIG)
    before = {name: value.clone() for name, value in network.regressor.state_dict().items()}
    with pytest.warns(UserWarning, match="other.safetensors: its f_E3D has other layers; f_E3D starts anew"):
        setup.load_start(tmp_path / "other.safetensors", network)
    for part in ("features", "pose_machine"):
        for name, value in getattr(network, part).state_dict().items():
            assert torch.equal(value, getattr(other, part).state_dict()[name]), name
    for name, value in network.regressor.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_start_with_another_f_j2d_is_refused(tmp_path):
    write_checkpoint(tmp_path / "other.safetensors", Estimator(CONFIG), {"step": 1})
    other = replace(CONFIG, pose_machine=replace(CONFIG.pose_machine, head=9))
    with pytest.raises(CheckpointError, match=r"field pose_machine\."):
        setup.load_start(tmp_path / "other.safetensors", Estimator(other))
