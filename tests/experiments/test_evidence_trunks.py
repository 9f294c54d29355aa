"""Trunks learn from their own losses: the frozen part stays, and f_J2D exists only with 2D losses."""

import importlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from dot_dataset import Dots, write_dots
from project import ROOT
from rich.console import Console

from dhpe_lib.data.cache.preparation import Job, prepare
from dhpe_lib.experiments import cached_evidence, evidence_training, evidence_trunks
from dhpe_lib.experiments.cached_evidence import TESTED_MASK, find_evidence, same_view
from dhpe_lib.experiments.evidence_files import SEEDS, Workplace
from dhpe_lib.experiments.evidence_trunks import (
    BUDGET,
    TRUNK_RUNS,
    TRUNKS,
    Trunk,
    evidence_in_view,
    new_trunk,
    train_trunk,
)
from dhpe_lib.hand.model import HandModel
from dhpe_lib.network.estimator import PRESETS, Estimator
from dhpe_lib.network.hand_landmarks import FEATURES, load_hand_landmarks

HANDS = 6


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(evidence_trunks, "TRUNK_INPUT", 64)
    monkeypatch.setattr(evidence_trunks, "BUDGET", replace(BUDGET, batch=4, warmup=0, feature_share=1.0))


@pytest.fixture(scope="module")
def hand() -> HandModel:
    return HandModel.open_hand()


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dots")
    return prepare(
        Job("dots", "all", Dots, write_dots(folder / "files", HANDS), folder / "cache"), 1, Console(quiet=True)
    )


def trunk_weights(network: Estimator) -> list[torch.Tensor]:
    return list(network.features.network.state_dict().values())


@pytest.mark.parametrize("name", TRUNKS)
def test_a_trunk_learns_from_its_losses(name, hand, split):
    trunk, seen = replace(TRUNKS[name], steps=min(TRUNKS[name].steps, 2)), []
    network = train_trunk(trunk, [split], hand, 0, lambda step, terms: seen.append(terms))
    assert (network.pose_machine is None) != trunk.heat_maps
    assert network.regressor.f_ref is None
    start = list(load_hand_landmarks().trunk.state_dict().values())
    same = [torch.equal(a, b) for a, b in zip(trunk_weights(network), start, strict=True)]
    frozen = len(list(network.features.network[: BUDGET.frozen].state_dict()))
    assert all(same[:frozen])
    assert all(same) == (trunk.steps == 0)
    assert len(seen) == (trunk.steps > 0)
    for terms in seen:
        assert (terms["j2d"] > 0) == trunk.heat_maps
        assert (terms["feat"] > 0) == trunk.feature
        assert terms["sh"] == terms["hand"] == 0


def test_equal_seeds_give_equal_trunks(hand, split):
    first, again, other = (train_trunk(Trunk(False, steps=1), [split], hand, seed) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(trunk_weights(first), trunk_weights(again), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(trunk_weights(first), trunk_weights(other), strict=True))


def test_all_trunks_see_the_views_of_another_network(hand, split):
    torch.manual_seed(0)
    chosen = cached_evidence.tested_evidence(Estimator(PRESETS["light"]).eval(), split, np.arange(HANDS)).frame
    network, crops = new_trunk(TRUNKS["with-2d"], hand, 0), split[np.arange(HANDS)]
    found = evidence_in_view(network, crops, chosen)
    torch.testing.assert_close(found.frame.angle, chosen.angle)
    expected = find_evidence(network, same_view(crops, chosen, 64), TESTED_MASK)
    torch.testing.assert_close(found.of_crop, expected.of_crop)
    torch.testing.assert_close(found.joints_2d, expected.joints_2d)
    without = evidence_in_view(new_trunk(TRUNKS["without-2d"], hand, 0), crops, chosen)
    assert found.of_crop.shape == without.of_crop.shape == (HANDS, FEATURES)
    assert not without.joints_2d.any()


def test_the_stage_writes_each_run_once(hand, split, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    stages = importlib.import_module("evidence_stages")
    monkeypatch.setattr(evidence_training, "BATCH", 4)
    monkeypatch.setattr(stages, "TESTED", 2)
    monkeypatch.setitem(TRUNKS, "with-2d", Trunk(True, True, steps=1))
    for name, (trunk, form) in TRUNK_RUNS.items():
        monkeypatch.setitem(TRUNK_RUNS, name, (trunk, replace(form, steps=1)))
    place = Workplace(tmp_path, [split.directory], [split.directory], HANDS, HANDS, 1)
    (tmp_path / "runs").mkdir()
    stages.train_on_trunk(place, "with-2d", 0)
    runs = [name for name, (trunk, _) in TRUNK_RUNS.items() if trunk == "with-2d"]
    assert {path.stem for path in tmp_path.glob("runs/*.npz")} == {f"{name}_seed0" for name in runs}
    assert [path.name for path in tmp_path.glob("trunks/*")] == ["with-2d_seed0.safetensors"]
    monkeypatch.setattr(stages, "train_trunk", None)  # nothing is trained again
    stages.train_on_trunk(place, "with-2d", 0)
    assert not place.load_runs(runs[0])
    assert SEEDS == 3
    alone, both = (place.seed_weights(name, 0)["f_j3d.weight"] for name in runs)
    assert alone.shape == both.shape
    assert not torch.equal(alone, both)
