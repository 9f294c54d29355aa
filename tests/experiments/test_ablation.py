"""The ablation trains its variants, resumes an interrupted run, and writes one result file and the figures."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny_network
import torch
from dot_dataset import Dots, write_dots
from rich.console import Console
from typer.testing import CliRunner

from dhpe_lib.cli.__main__ import app
from dhpe_lib.data.cache.preparation import Job, prepare
from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.evaluation.evaluate import evaluate
from dhpe_lib.evaluation.metrics import mean_epe
from dhpe_lib.experiments import ablation
from dhpe_lib.experiments.ablation import ABLATION_VARIANTS, find_of, measure, plan, train_all
from dhpe_lib.experiments.ablation_figures import table_rows, write_figures
from dhpe_lib.network.checkpoints import read_checkpoint
from dhpe_lib.training import loop
from dhpe_lib.training.config import ConfigError, TrainingConfig, read_config
from dhpe_lib.training.run_folder import LAST

CPU = torch.device("cpu")
QUIET = Console(quiet=True)
SOME = ("full", "without-refinement", "constant-lambda")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dots")
    job = Job("dots", "all", Dots, write_dots(folder / "files", 8), folder / "cache")
    return prepare(job, 1, QUIET).directory


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    tiny_network.install(monkeypatch.setitem)
    for name, options in ablation.REFINEMENTS.items():
        monkeypatch.setitem(ablation.REFINEMENTS, name, replace(options, iterations=2))
    monkeypatch.setenv("COLUMNS", "200")


def budget(data: Path, **changes: object) -> TrainingConfig:
    values: dict[str, Any] = {"steps": 4, "test_every": 2, "save_every": 2, "augment_share": 0.5, "augment_capacity": 9}
    return tiny_network.config(data, **values | changes)


def test_variants_with_equal_trainings_share_their_runs(data, tmp_path):
    runs = plan(budget(data), list(ABLATION_VARIANTS), 2, tmp_path)
    assert list(runs) == list(ABLATION_VARIANTS)
    assert runs["full"] == runs["without-refinement"] == runs["evidence-fixed"]
    folders = [run.folder.name for group in runs.values() for run in group]
    assert len(set(folders)) == 2 * (len(ABLATION_VARIANTS) - 2)
    assert [run.config.seed for run in runs["full"]] == [0, 1]
    assert runs["without-2d-losses"][1].folder.name == "without-2d-losses_seed1"
    for name in (
        "without-refiner",
        "without-2d-losses",
        "without-augmentation",
        "without-shape-loss",
        "constant-lambda",
    ):
        assert runs[name][0].config == replace(budget(data), ablation=(name,))
    assert runs["filtered-seeds"][0].config == replace(budget(data), augment_filter=True)
    # these ablations are cumulative in the paper: none has test-time refinement
    assert [name for name, one in ABLATION_VARIANTS.items() if one.refinement is None] == [
        "without-refinement", "without-refiner", "without-2d-losses"
    ]  # fmt: skip


def test_from_training_to_figures_with_an_interruption(data, tmp_path, monkeypatch):
    out = tmp_path / "ablation"
    runs = plan(budget(data), SOME, 2, out)
    train, begun = loop.train, []

    def stopping(config, folder, fabric, console, resume=False):
        begun.append((folder.name, resume))
        short = replace(config, steps=2) if len(begun) == 2 else config
        outcome = train(short, folder, fabric, console, resume)
        return replace(outcome, finished=len(begun) != 2)

    monkeypatch.setattr(ablation, "train", stopping)
    assert not train_all(runs, "cpu", QUIET)
    assert train_all(runs, "cpu", QUIET)
    assert begun[:3] == [
        ("full_seed0", False),
        ("constant-lambda_seed0", False),
        ("constant-lambda_seed0", True),
    ]
    assert len(begun) == 4 + 1
    assert train_all(runs, "cpu", QUIET)
    assert len(begun) == 4 + 1  # no run is repeated
    config = read_config(out / "constant-lambda_seed1" / "config.json")
    assert (config.ablation, config.seed, config.steps) == (("constant-lambda",), 1, 4)
    assert all(run.steps == 4 for group in runs.values() for run in group)

    result = measure(runs, out, CPU)
    assert json.loads((out / "ablation.json").read_text()) == result
    assert str(tmp_path) not in (out / "ablation.json").read_text()
    assert list(result["results"]) == list(SOME)
    scores = result["results"]["full"]["scores"]["dots_all"]
    assert scores["epe_mm"]["low"] <= scores["epe_mm"]["value"] <= scores["epe_mm"]["high"]
    assert np.mean(scores["epe_mm"]["seeds"]) == pytest.approx(scores["epe_mm"]["value"], abs=2e-3)  # all joints known
    assert scores["epe_more_than_full_mm"] == {"value": 0, "low": 0, "high": 0}
    plain = result["results"]["without-refinement"]["scores"]["dots_all"]
    assert scores["epe_before_refinement_mm"] == pytest.approx(plain["epe_mm"]["value"])
    difference = plain["epe_mm"]["value"] - scores["epe_mm"]["value"]  # all joints known
    assert plain["epe_more_than_full_mm"]["value"] == pytest.approx(difference, abs=2e-3)
    assert [seed["step"] for seed in result["results"]["full"]["training"]["dots_all"]] == [[2, 4]] * 2

    pages = write_figures(result, out)
    assert [page.name for page in pages] == ["figure_5d_dots_all.html", "figure_5f_dots_all.html"]
    page = (out / "figure_5d_dots_all.html").read_text().replace("\\u002f", "/")
    assert all(ABLATION_VARIANTS[name].label in page for name in SOME[:2])
    assert "lambda 0.01 throughout" in (out / "figure_5f_dots_all.html").read_text()
    rows = table_rows(result, "dots_all")
    assert [row[0] for row in rows] == list(SOME)
    assert f"{scores['epe_mm']['value']:.1f}" in rows[0][2]

    check_refined_variants(runs, out, monkeypatch)


def check_refined_variants(runs: Any, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the variants with refinement are evaluated with it."""

    def better(network, cache, device, variants, count):
        found = evaluate(network, cache, device)
        return found, {
            name: SimpleNamespace(found=replace(found, joints_mm=(found.joints_mm + found.truth_mm) / 2))
            for name in variants
        }

    before = json.loads((out / "ablation.json").read_text())["results"]
    for kept in out.glob("*/found_*_refinement.npz"):
        kept.unlink()
    monkeypatch.setattr(ablation, "evaluate_refined", better)
    after = measure(runs, out, CPU)["results"]
    assert [after[name]["refinement"] for name in SOME] == ["refinement", None, "refinement"]
    first, second = (after[name]["scores"]["dots_all"]["epe_mm"]["value"] for name in SOME[:2])
    assert first == pytest.approx(second / 2, abs=2e-3)
    own = (results["without-refinement"]["scores"]["dots_all"]["pck"] for results in (before, after))
    assert next(own) == next(own)


def test_predictions_are_cached_until_the_network_changes(data, tmp_path, monkeypatch):
    config = budget(data, steps=2, augment_share=0.0)
    (run,) = plan(config, ["full"], 1, tmp_path)["full"]
    train_all({"full": [run]}, "cpu", QUIET)
    cache = Prepared(data)
    found = find_of(run, cache, None, CPU)
    with monkeypatch.context() as patch:
        patch.setattr(ablation, "evaluate_refined", lambda *_, **__: pytest.fail("measured again"))
        again = find_of(run, cache, None, CPU)
    np.testing.assert_array_equal(found.joints_mm, again.joints_mm)
    assert len(find_of(run, cache, None, CPU, 3).palm) == 3
    (saved,) = run.folder.glob("found_*.npz")
    for damage in (saved.read_bytes()[:-50], b"", b"PK"):
        saved.write_bytes(damage)
        np.testing.assert_array_equal(find_of(run, cache, None, CPU).joints_mm, found.joints_mm)
        assert ablation.read_npz(saved, ablation.MOST_BYTES)["joints_mm"].shape == found.joints_mm.shape
    longer = replace(run, config=replace(config, steps=3))
    assert longer.steps == 2
    train_all({"full": [longer]}, "cpu", QUIET)
    assert read_checkpoint(run.folder / LAST).facts["step"] == 3
    new = find_of(longer, cache, None, CPU)
    assert mean_epe(ablation.errors_of([new])) != mean_epe(ablation.errors_of([found]))


@pytest.mark.parametrize(
    ("changes", "names", "message"),
    [
        ({}, ["without-hands"], "variant is without-hands; it may be full, without-refinement"),
        ({"ablation": ("constant-lambda",)}, ["full"], "ablation is constant-lambda; remove it and name variants"),
        ({"test": ()}, ["full"], "test is empty; name at least one prepared split with --test"),
    ],
)
def test_bad_plans_are_refused(data, tmp_path, changes, names, message):
    with pytest.raises(ConfigError, match=message):
        plan(budget(data, **changes), names, 1, tmp_path)


def test_torchrun_is_refused(data, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="start it without torchrun"):
        plan(budget(data), ["full"], 1, tmp_path)


def test_the_command(data, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    few = [
        f"--set={name}={value}"
        for name, value in {"steps": 1, "batch": 4, "augment_share": 0, "start": "random"}.items()
    ]
    command = [
        "ablate",
        "--out",
        str(tmp_path / "a"),
        "--data",
        str(data),
        "--test",
        str(data),
        "--device",
        "cpu",
        *few,
    ]
    done = CliRunner().invoke(app, [*command, "--variant", "without-shape-loss"])
    assert done.exit_code == 0, done.output
    assert "dots_all, 8 images, 1 of each variant" in done.output
    assert "without-shape-loss" in done.output
    assert (tmp_path / "a" / "ablation.json").is_file()
    wrong = CliRunner().invoke(app, [*command, "--variant", "none"])
    assert wrong.exit_code == 2
    assert "variant is none; it may be full" in " ".join(wrong.stderr.replace("│", " ").split())
    for change in ("batch=2", "tau=3"):
        other = CliRunner().invoke(app, [*command, "--variant", "without-shape-loss", "--set", change])
        assert other.exit_code == 1
        assert f"the run has another configuration: {change.split('=')[0]} was" in other.stderr
    assert json.loads((tmp_path / "a" / "ablation.json").read_text())["budget"]["batch"] == 4


def test_a_run_with_more_steps_is_refused_before_any_training(data, tmp_path):
    config = budget(data, steps=2, augment_share=0.0)
    train_all(plan(config, ["without-shape-loss"], 1, tmp_path), "cpu", QUIET)
    with pytest.raises(ConfigError, match="was trained for 2 steps, but steps is 1"):
        train_all(plan(replace(config, steps=1), ["full", "without-shape-loss"], 1, tmp_path), "cpu", QUIET)
    assert not (tmp_path / "full_seed0").exists()
