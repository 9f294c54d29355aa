"""`dhpe train` and `dhpe evaluate` from end to end, and their messages for bad input."""

import json
import os
import signal
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import tiny_network
import torch
from dot_dataset import Dots, write_dots
from rich.console import Console
from typer.testing import CliRunner

from dhpe_lib.cli.__main__ import app
from dhpe_lib.common.locks import locked
from dhpe_lib.data.cache.preparation import Job, prepare
from dhpe_lib.network.checkpoints import read_checkpoint, write_checkpoint
from dhpe_lib.network.estimator import PRESETS, Estimator
from dhpe_lib.training.batches import TrainingBatches
from dhpe_lib.training.config import (
    ConfigError,
    TrainingConfig,
    changed,
    read_config,
    refuse_other,
    resolved,
    write_config,
)

LIGHT = PRESETS["light"]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("dots")
    job = Job("dots", "all", Dots, write_dots(folder / "files", 6), folder / "cache")
    return str(prepare(job, 1, Console(quiet=True)).directory)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    tiny_network.install(monkeypatch.setitem)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")


def dhpe(*arguments: str) -> Any:
    return CliRunner().invoke(app, arguments)


def words(text: str) -> str:
    return " ".join(text.replace("│", " ").split())


def few(data: str, *more: str) -> tuple[str, ...]:
    return (
        "train",
        "--data",
        data,
        "--test",
        data,
        "--device",
        "cpu",
        "--set",
        "batch=2",
        "--set",
        "steps=2",
        "--set",
        "start=random",
        *more,
    )


def test_train_resume_evaluate(data, monkeypatch):
    result = dhpe(*few(data, "--out", "run", "--ablation", "constant-lambda", "--set", "seed=3"))
    assert result.exit_code == 0, result.output
    assert "finished after step 2" in result.output
    config = read_config(Path("run/config.json"))
    assert (config.data, config.ablation, config.seed, config.batch) == ((data,), ("constant-lambda",), 3, 2)
    again = dhpe("train", "--out", "run", "--resume", "--set", "steps=3", "--device", "cpu")
    assert again.exit_code == 0, again.output
    assert "finished after step 3" in again.output
    measured = dhpe("evaluate", "run", data, "--device", "cpu")
    assert measured.exit_code == 0, measured.output
    assert "dots all, 6 images" in measured.output
    assert "AUC 20-50" in measured.output
    assert "Mask: IoU" in measured.output
    written = json.loads(Path("run/evaluation_dots_all.json").read_text())
    assert set(written["results"]["protocols"]) == {"A", "A8", "B", "C"}
    assert Path("run/evaluation_dots_all.html").is_file()
    other = dhpe("evaluate", "run/last.safetensors", data, "--out", "x", "--device", "cpu")
    assert other.exit_code == 0
    assert Path("x/evaluation_dots_all.json").is_file()
    variants = ("--variant", "refinement", "--variant", "joints-only")
    refined = dhpe("evaluate", "run", data, "--device", "cpu", "--refine", "--iterations", "2", *variants)
    assert refined.exit_code == 0, refined.output
    assert "dots all, after 2 iterations of joints-only" in refined.output
    after = json.loads(Path("run/evaluation_dots_all.json").read_text())["results"]["refined"]
    assert set(after) == {"refinement", "joints-only"}
    assert len(after["joints-only"]["over_iterations"]["epe_mm"]) == 3
    wrong = dhpe("evaluate", "run", data, "--refine", "--variant", "luck")
    assert "luck: no such variant; choose from refinement" in words(wrong.stderr)
    exported = dhpe("export", "run", "new/light.safetensors")
    assert exported.exit_code == 0, exported.output
    assert dhpe("evaluate", "new/light.safetensors", data, "--device", "cpu").exit_code == 0
    assert "nowhere: no such checkpoint" in dhpe("export", "nowhere", "y.safetensors").stderr
    Path("link").symlink_to("run")
    best = Path("run/best.safetensors").read_bytes()
    assert "which would be overwritten" in words(dhpe("export", "run", "link/best.safetensors").stderr)
    assert Path("run/best.safetensors").read_bytes() == best
    with locked(Path("run/.lock")):
        busy = dhpe("train", "--out", "run", "--resume", "--device", "cpu")
        assert "run: another run writes there (process" in words(busy.stderr)
        assert busy.exit_code == 1


def test_a_run_can_be_resumed_from_any_folder(data, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(data)
    assert dhpe(*few("link", "--out", "run", "--set", "backgrounds=")).exit_code == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    alone = dhpe("train", "--out", "../run", "--resume", "--device", "cpu", "--set", "steps=3")
    assert alone.exit_code == 0, alone.output
    again = dhpe(*few("../link", "--out", "../run", "--resume", "--set", "steps=4"))
    assert again.exit_code == 0, again.output
    assert "finished after step 4" in again.output


def test_paths_are_stored_as_absolute_paths(tmp_path):
    config = TrainingConfig(data=("a", "../b"), test=("/c",), start="d.safetensors", backgrounds="nyu")
    there = resolved(config)
    assert (there.data, there.test) == ((f"{tmp_path}/a", f"{tmp_path.parent}/b"), ("/c",))
    assert (there.start, there.backgrounds) == (f"{tmp_path}/d.safetensors", f"{tmp_path}/nyu")
    plain = TrainingConfig(data=("random",), start="imagenet")
    assert resolved(plain) == replace(plain, data=(f"{tmp_path}/random",))
    refuse_other(Path("c.json"), config, there)


def test_the_existing_weights_are_named(data):
    first = dhpe(*few(data, "--out", "run"))
    assert "weights: run/best.safetensors" in first.output
    Path("run/best.safetensors").unlink()
    assert "weights: run/last.safetensors" in dhpe("train", "--out", "run", "--resume", "--device", "cpu").output


def test_folders_that_cannot_be_written_to(data):
    assert dhpe(*few(data, "--out", "run")).exit_code == 0
    Path("file").touch()
    train, evaluate = few(data), ("evaluate", "run", data, "--device", "cpu")
    for command, folder in ((train, "file/x"), (evaluate, "file/x"), (train, "/proc/x"), (evaluate, "/proc/x")):
        result = dhpe(*command, "--out", folder)
        assert result.exit_code == 2, result.output
        said = words(result.stderr)
        assert f"{folder}: no files can be written there (N" in said
        assert "); name another folder, or correct its permissions" in said


def test_ctrl_c_saves_and_stops(data, monkeypatch):
    view = TrainingBatches.view
    monkeypatch.setattr(
        TrainingBatches, "view", lambda self, step: os.kill(os.getpid(), signal.SIGINT) or view(self, step)
    )
    result = dhpe(*few(data, "--out", "run"))
    assert result.exit_code == 130
    assert "Stopped and saved after step 1. The same command with --resume" in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--set", "batsch=3"), "batsch=3: is not a change; write name=value, where name is one of preset, start"),
        (("--set", "batch"), "batch: is not a change"),
        (("--set", "batch=two"), "batch is two; it may be a number like 1"),
        (("--set", "batch=0"), "batch is 0; it may be 1 or more"),
        (("--set", "warmup=-1"), "warmup is -1; it may be 0 or more"),
        (("--set", "rendered=2"), "rendered is 2.0; it may be a share from 0 to 1"),
        (("--set", "compile=yes"), "compile is yes; it may be true or false"),
        (("--set", "learning_rate=nan"), "learning_rate is nan; it may be a positive number"),
        (("--preset", "huge"), "preset is huge; it may be light or paper"),
        (("--set", "decay=steps"), "decay is steps; it may be constant or cosine"),
        (("--ablation", "without-hands"), "ablation is without-hands; it may be without-refiner"),
        (("--set", "augment_share=1"), "augment_share is 1.0; it may be a share from 0 to less than 1"),
        (("--set", "augment_rotation=any"), "augment_rotation is any; it may be axes or uniform"),
        (("--set", "augment_capacity=0"), "augment_capacity is 0; it may be 1 or more"),
        (("--resume",), "config.json: no such file; there is no run to resume"),
    ],
)
def test_options_that_make_no_sense(data, options, message):
    result = dhpe(*few(data, "--out", "run", *options))
    assert result.exit_code == 2, result.output
    assert message in words(result.stderr)
    assert not Path("run/config.json").exists()


def test_files_that_cannot_be_used(data):
    missing = dhpe("train", "--data", "nowhere", "--out", "a", "--device", "cpu")
    assert missing.exit_code == 1
    assert "nowhere: no such folder" in missing.stderr
    Path("empty").mkdir()
    no_cache = dhpe("train", "--data", data, "--test", "empty", "--out", "b", "--device", "cpu")
    assert no_cache.exit_code == 1
    assert "empty: holds no meta.json, so it is not a prepared split; make one with dhpe data" in no_cache.stderr
    assert not Path("a").exists()
    assert not Path("b").exists()
    for name in ("cuda:99", "cuda:x", "cpu:1"):
        assert f"{name}: no such device" in dhpe("train", "--out", "c", "--device", name).stderr
    assert "warp9: no such device" in dhpe("train", "--out", "c", "--device", "warp9").stderr
    assert "none: no such checkpoint" in dhpe("evaluate", "none", data, "--device", "cpu").stderr
    assert dhpe(*few(data, "--out", "run")).exit_code == 0
    assert "run: already holds a run; continue it with --resume" in dhpe(*few(data, "--out", "run")).stderr
    changed = dhpe(*few(data, "--out", "run", "--resume", "--set", "seed=9"))
    assert changed.exit_code == 1
    assert "seed was 0, now it is 9" in changed.stderr
    assert "nowhere: no such folder" in dhpe("evaluate", "run", "nowhere", "--device", "cpu").stderr


@pytest.mark.parametrize(("option", "value"), [("--variant", "joints-only"), ("--iterations", "0")])
def test_options_of_the_refinement_go_with_it(data, option, value):
    result = dhpe("evaluate", "run", data, option, value)
    assert result.exit_code == 2
    assert f"{option}: applies only to the refinement; add --refine, or leave it out" in words(result.stderr)


def test_configurations_survive_a_round_trip(tmp_path):
    config = changed(TrainingConfig(), ["data=a,b", "rendered=0.25", "compile=true", "ablation="])
    assert (config.data, config.rendered, config.compile, config.ablation) == (("a", "b"), 0.25, True, ())
    write_config(tmp_path / "c.json", config)
    assert read_config(tmp_path / "c.json") == config
    (tmp_path / "c.json").write_text('{"speed": 1}')
    with pytest.raises(ConfigError, match=r"c\.json: is not a configuration of this version .*speed"):
        read_config(tmp_path / "c.json")


def test_rates():
    config = TrainingConfig(steps=100, warmup=4, decay="constant")
    assert [config.rate(step) for step in (0, 3, 4, 99)] == pytest.approx([0.2, 0.8, 1, 1])
    falling = TrainingConfig(steps=100, decay="cosine", warmup=0)
    assert [falling.rate(step) for step in (0, 50, 100)] == pytest.approx([1, 0.5, 0])


def test_train_mesh_needs_maps_at_the_joints_and_a_safetensors_file(data):
    assert dhpe(*few(data, "--out", "run")).exit_code == 0
    result = dhpe("train-mesh", "run", "mesh.safetensors", "--data", data, "--steps", "1")
    assert result.exit_code == 1
    assert "use a network of the preset light" in words(result.output)
    assert not Path("mesh.safetensors").exists()
    other = dhpe("train-mesh", "run", "mesh.pt", "--data", data)
    assert other.exit_code == 2
    assert "weights are written as .safetensors; name such a file" in words(other.output)


def test_train_mesh_goes_on_or_begins_anew(data, monkeypatch):
    monkeypatch.setitem(PRESETS, "light", replace(LIGHT, feature_input=32, hidden=8, joint_features=2))
    torch.manual_seed(1)
    network = Estimator(PRESETS["light"])
    facts = {"step": 7, "feature_input": 32, "config": asdict(TrainingConfig())}
    write_checkpoint(Path("start.safetensors"), network, facts)
    mesh = ("train-mesh", "start.safetensors", "mesh.safetensors", "--data", data)
    few = ("--count", "4", "--shape-weight", "1")
    result = dhpe(*mesh, *few, "--steps", "2")
    assert result.exit_code == 0, result.output
    trained = read_checkpoint(Path("mesh.safetensors"))
    assert trained.facts["feature_input"] == 32
    before = network.state_dict()
    changed = {name.split(".")[0] for name, value in trained.network.items() if not torch.equal(value, before[name])}
    assert changed == {"regressor", "joint_reader"}
    measured = dhpe("evaluate", "mesh.safetensors", data, "--device", "cpu")
    assert measured.exit_code == 0, measured.output
    further = {name: (value - before[name]).abs().max() for name, value in trained.network.items()}
    assert max(further.values()) < 5e-3  # two small steps from the start
    assert dhpe(*mesh, *few, "--steps", "1", "--anew").exit_code == 0
    name = "joint_reader.project.weight"
    assert (read_checkpoint(Path("mesh.safetensors")).network[name] - before[name]).abs().max() > 5e-3
