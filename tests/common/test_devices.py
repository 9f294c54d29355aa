"""The device that a program takes when none is named, where PyTorch sees a GPU and Warp does not."""

import pytest
import torch
import warp as wp

from dhpe_lib.common import warp_runtime
from dhpe_lib.common.devices import default_device, find_device
from dhpe_lib.rendering.rasterizer import launch


@pytest.fixture
def old_driver(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(wp, "get_cuda_device_count", lambda: 0)
    monkeypatch.setattr(wp, "get_cuda_toolkit_version", lambda: (13, 0))
    monkeypatch.setattr(wp, "get_cuda_driver_version", lambda: (12, 8))


@pytest.mark.usefixtures("old_driver")
def test_an_old_driver_is_named_and_the_cpu_is_used(capsys):
    assert default_device() == "cpu"
    assert find_device(None) == torch.device("cpu")
    said = capsys.readouterr().err
    assert "needs a driver for CUDA 13.0 or newer, and the installed one is for CUDA 12.8" in said


@pytest.mark.usefixtures("old_driver")
def test_a_gpu_that_is_asked_for_says_which_driver_is_needed():
    launch._load.cache_clear()
    with pytest.raises(RuntimeError, match=r"cannot run on cuda:0.*CUDA 13.0 or newer"):
        launch._load("any module", "cuda:0")


@pytest.mark.usefixtures("old_driver")
def test_no_driver_and_no_toolkit_are_told_apart(monkeypatch):
    monkeypatch.setattr(wp, "get_cuda_driver_version", lambda: None)
    assert "finds no driver" in warp_runtime.missing_gpu()
    monkeypatch.setattr(wp, "get_cuda_toolkit_version", lambda: None)
    assert "built without CUDA" in warp_runtime.missing_gpu()


def test_a_gpu_that_both_see_is_taken(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(wp, "get_cuda_device_count", lambda: 1)
    assert default_device() == "cuda"
    assert not capsys.readouterr().err
