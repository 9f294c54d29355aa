"""The stages of `benchmarks/evidence.py` on a workplace of a few hands: files are written, read again, and judged."""

import importlib
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from cached_hands import cached_hands, crops_of
from project import ROOT

from dhpe_lib.common.records import take_rows
from dhpe_lib.experiments import evidence_files, evidence_training
from dhpe_lib.experiments.cached_evidence import write_evidence
from dhpe_lib.experiments.evidence_files import Workplace
from dhpe_lib.experiments.evidence_forms import FORMS, facing_rows
from dhpe_lib.experiments.evidence_refinement import ITERATIONS, MODES
from dhpe_lib.network.estimator import PRESETS, Estimator
from dhpe_lib.network.hand_landmarks import FEATURES
from dhpe_lib.training.novel_views import VIEWS_PER_SEED

HANDS, FEW_HANDS = 8, 4
NEW = [name for name, form in FORMS.items() if form.start or form.few_viewpoints or form.disturbed or form.distance_ref]
NEW += ["few-smaller-shapes", "few-near-seeds"]
SPLIT = {"dataset": "orh", "sha256": "0" * 64, "source": {"engine": 3}}


class Split(SimpleNamespace):
    """What the setting of a result needs of a prepared split."""

    def __len__(self) -> int:
        return HANDS


class SmallWorkplace(Workplace):
    """A workplace with known hands in place of prepared splits."""

    def __init__(self, out, network, hands):
        self.out, self.network, self.pairs, self.photo_crops = out, network, 0, {}
        split = Split(name="orh_test", meta=SPLIT, ids=[f"test/{row}" for row in range(HANDS)])
        self.train, self.rows = [split], [np.arange(HANDS)]
        self.tests, self.test_rows = [split], {"orh_test": np.arange(HANDS)}
        self.trained, self.tested, self.crops = hands.plain, {"orh_test": hands.plain}, {"orh_test": crops_of(hands)}


@pytest.fixture(scope="module")
def scripts():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield SimpleNamespace(
        stages=importlib.import_module("evidence_stages"), write=importlib.import_module("evidence_write")
    )
    sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Estimator(replace(PRESETS["light"], joint_features=0)).eval()


@pytest.fixture
def place(tmp_path, network, scripts, monkeypatch):
    monkeypatch.setattr(evidence_training, "BATCH", 4)
    monkeypatch.setattr(scripts.stages, "TESTED", 2)
    for module in (scripts.stages, evidence_files):
        monkeypatch.setattr(module, "FEW", FEW_HANDS)
    monkeypatch.setattr(evidence_files, "TAU", 1e9)  # all estimates of the random network are near
    for name, form in FORMS.items():
        monkeypatch.setitem(FORMS, name, replace(form, steps=1, few=FEW_HANDS if form.few else 0))
    hands = cached_hands(network.hand, HANDS, FEATURES)
    (tmp_path / "runs").mkdir()
    views = take_rows(hands.plain, torch.arange(VIEWS_PER_SEED * FEW_HANDS) % HANDS)
    for name in ("predicted", "smaller-shapes", "predicted_viewpoints"):
        write_evidence(tmp_path / f"novel_{name}.safetensors", views)
    return SmallWorkplace(tmp_path, network, hands)


@pytest.mark.parametrize("name", NEW)
def test_a_form_is_trained_and_its_start_before_it(name, place, scripts):
    scripts.stages.train(place, name, 0)
    start = FORMS[name].start
    assert {path.stem for path in place.out.glob("runs/*.npz")} == {f"{one}_seed0" for one in (start, name) if one}
    weights = place.seed_weights(name, 0)
    assert all(values.isfinite().all() for values in weights.values())
    if start:
        before = place.seed_weights(start, 0)
        moved = max(float((weights[key] - before[key]).abs().max()) for key in weights)
        assert 0 < moved < 0.01  # one step


def test_few_viewpoints_have_their_own_images_and_novel_views(place):
    form = FORMS["few-viewpoints-novel-views"]
    rows = place.few_rows(form)
    assert torch.equal(rows, facing_rows(place.trained.targets.joints, FEW_HANDS))
    assert torch.equal(place.trained_for(form).of_crop, place.trained.of_crop[rows])
    (place.out / "novel_predicted.safetensors").unlink()
    assert len(place.novel_views(form)) == VIEWS_PER_SEED * FEW_HANDS


def test_near_seeds_alone_have_novel_views(place, monkeypatch):
    assert len(place.novel_views(FORMS["few-near-seeds"])) == VIEWS_PER_SEED * FEW_HANDS
    monkeypatch.setattr(evidence_files, "TAU", 0.0)
    assert len(place.novel_views(FORMS["few-near-seeds"])) == 0
    assert len(place.novel_views(FORMS["few-novel-views"])) == VIEWS_PER_SEED * FEW_HANDS


def test_results_are_written_from_what_is_there(place, scripts):
    empty = scripts.write.results_of(place, 1)
    assert empty["comparisons"] == empty["forms"] == empty["refinement"] == empty["feature_term"] == {}
    for seed in range(3):
        for name in ("full", "without-refiner", "erased-joints"):
            scripts.stages.train(place, name, seed)
    errors = np.ones((len(ITERATIONS), HANDS, 21))
    for mode in MODES:
        for seed in range(3):
            place.kept_arrays(scripts.stages.refined_file("orh_test", mode, seed, "full"), lambda: {"errors": errors})
    found = scripts.write.results_of(place, 1)
    assert set(found["forms"]) == {"full", "without-refiner", "erased-joints"}
    assert {"f_Ref, ORH", "erased joints in training, ORH", "refinement, ORH"} <= set(found["comparisons"])
    assert found["comparisons"]["refinement, ORH"]["images"] == HANDS
    assert len(found["setting"]["network"]["sha256"]) == 16


def test_a_whole_test_is_refined(place, scripts):
    for seed in range(3):
        scripts.stages.train(place, "full", seed)
    errors = scripts.stages.refine(place, "orh_test", MODES[0], 0)
    assert errors.shape == (len(ITERATIONS), HANDS, 21)
    assert not scripts.stages.refinement_is_there(place, "orh_test", "full")
    assert (place.out / "refined_whole" / "full_orh_test_0_seed0.npz").is_file()


def test_the_hand_landmark_network_is_compared_in_each_protocol(place, scripts):
    found = scripts.stages.rigid(place, "orh_test")
    assert set(found) - {"seconds"} == {"A", "B", "shipped_A", "shipped_B"}
    assert all(found[name].shape == (HANDS, 21) for name in ("A", "B", "shipped_A"))
    place.photo_crops["labelled"] = place.crops["orh_test"]
    place.photos = {"labelled": place.tested["orh_test"]}
    on_photos = scripts.stages.photo_landmarks(place)
    assert np.nanmean(on_photos["C"]) < np.nanmean(on_photos["A"])
    gains = scripts.write.landmark_gains("labelled photos", on_photos, "px")
    assert gains["instead of the hand landmark network, A, labelled photos"]["unit"] == "px"
