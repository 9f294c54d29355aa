"""`dhpe doctor`: a healthy installation has no problem, and each problem is named with its remedy."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from dhpe_lib import __version__
from dhpe_lib.cli import doctor
from dhpe_lib.cli.__main__ import app
from dhpe_lib.data import photos


def test_a_healthy_installation(monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")
    result = CliRunner().invoke(app, ("doctor",))
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    for start in (f"✓ dhpe: {__version__} in ", "✓ Python: 3.", f"✓ torch: {torch.__version__}", "✓ Warp: "):
        assert any(line.startswith(start) for line in lines), start
    assert any("the open hand, hand_landmarks, light, palm_detector" in line for line in lines)
    assert not any(line.startswith("✗") for line in lines)


def test_every_optional_package_of_the_project_is_looked_for():
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    for package, _, install in doctor.OPTIONAL.values():
        assert package in project
        if "dhpe[" in install:
            assert f"\n{install.split('dhpe[')[1].split(']')[0]} = [" in project


def test_a_missing_optional_package_is_no_problem():
    finding = doctor.optional_finding("no_such_module", "no-such", "nothing", "pip install no-such")
    assert (finding.state, finding.remedy, finding.needed) == (
        "not installed (for nothing)",
        "pip install no-such",
        False,
    )
    assert doctor.optional_finding("pytest", "pytest", "tests", "").state == f"{pytest.__version__} (for tests)"


def test_photos_of_phones_have_the_remedy_of_predict(monkeypatch):
    monkeypatch.setattr(photos, "known_formats", lambda: frozenset({"JPEG", "AVIF"}))
    heif, avif = doctor.photo_findings()
    assert (heif.name, heif.state, heif.remedy, heif.needed) == (
        "HEIF photos",
        "not read",
        photos.PLUGINS["HEIF"],
        False,
    )
    assert (avif.name, avif.state, avif.remedy) == ("AVIF photos", "read", "")


def test_broken_packages_are_named(monkeypatch):
    for name, check in (("torch", doctor.torch_findings), ("warp", doctor.warp_findings)):
        monkeypatch.setitem(sys.modules, name, None)
        (finding,) = check()
        assert "cannot be imported" in finding.state
        assert finding.remedy.startswith("pip install --force-reinstall")
        assert finding.needed


@pytest.mark.parametrize(
    ("driver", "cuda", "state"),
    [
        (None, None, "none; everything runs on the CPU"),
        ("550.1", None, "driver 550.1, but torch is built without CUDA"),
        ("550.1", "12.8", "driver 550.1, but torch cannot use a GPU"),
    ],
)
def test_gpu(monkeypatch, driver, cuda, state):
    monkeypatch.setattr(doctor, "nvidia_driver", lambda: driver)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    _, gpu = doctor.torch_findings()
    assert (gpu.state, bool(gpu.remedy)) == (state, driver is not None)


def test_several_gpus_are_listed(monkeypatch):
    monkeypatch.setattr(doctor, "nvidia_driver", lambda: "550.1")
    for name, value in (("is_available", True), ("device_count", 2), ("get_device_name", "H200")):
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=140e9))
    _, *gpus = doctor.torch_findings()
    assert [(gpu.name, gpu.state) for gpu in gpus] == [
        (f"GPU cuda:{k}", "H200, 140 GB, driver 550.1") for k in range(2)
    ]


def test_python_and_caches(monkeypatch, tmp_path):
    assert doctor.python_finding((3, 12, 1)).remedy == ""
    assert "newer than the supported versions" in doctor.python_finding((3, 15, 0)).remedy
    monkeypatch.setenv("WARP_CACHE_PATH", str(tmp_path / "dhpe-warp-x"))
    assert "set WARP_CACHE_PATH" in list(doctor.warp_findings())[-1].remedy
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    assert doctor.hub_finding().remedy == ""
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "set TORCH_HOME" in doctor.hub_finding().remedy


def test_a_missing_hand_is_a_problem(monkeypatch, tmp_path):
    monkeypatch.setattr("dhpe_lib.hand.model.OPEN_HAND", tmp_path / "open_hand.npz")
    finding = doctor.asset_finding()
    assert "open_hand.npz: no such hand file" in finding.state
    assert finding.remedy == "install dhpe again"
    monkeypatch.setattr(doctor, "findings", lambda: iter([finding]))
    result = CliRunner().invoke(app, ("doctor",), env={"COLUMNS": "1000"})
    assert result.exit_code == 1
    assert result.output.startswith("✗ hand and networks")
