"""A perfect network has error 0, errors that a protocol ignores do not count, and a report holds all scores."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_network
import torch
from dot_dataset import Dots, write_dots
from rich.console import Console

from dhpe_lib.data.cache.preparation import Job, prepare
from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.data.targets import targets_of
from dhpe_lib.evaluation.evaluate import Predictions, evaluate, millimetres, predict_batch, undo_eq8
from dhpe_lib.evaluation.evaluate_refined import evaluate_refined
from dhpe_lib.evaluation.reports import provenance, write_report
from dhpe_lib.evaluation.scores import (
    full_scores,
    hand_scores,
    mean_hand_in_place,
    mean_hand_scores,
    protocol_errors,
    quick_scores,
    score_rows,
)
from dhpe_lib.hand.model import HandMesh, HandModel, neutral_h
from dhpe_lib.network.estimator import Estimate, Estimator
from dhpe_lib.network.regressor import RegressorState
from dhpe_lib.refinement.test_time import RefineOptions
from dhpe_lib.synthetic.engine import SyntheticHands
from dhpe_lib.synthetic.hands import TIPS
from dhpe_lib.synthetic.orh import tips_only
from dhpe_lib.training.setup import build_network

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Prepared:
    folder = tmp_path_factory.mktemp("dots")
    return prepare(Job("dots", "all", Dots, write_dots(folder / "files", 10), folder / "cache"), 1, Console(quiet=True))


@pytest.fixture
def network(monkeypatch, cache) -> Estimator:
    tiny_network.install(monkeypatch.setitem)
    return build_network(tiny_network.config(cache.directory))


@pytest.fixture
def oracle(monkeypatch, network, cache):
    """A network that returns the ground truth of the whole cache, shifted by some units of g."""

    def install(shift: float = 0.0) -> Estimator:
        targets, first = targets_of(cache[:]), network.predict(torch.zeros(len(cache), 3, 224, 224))
        joints = targets.joints + torch.tensor([shift, 0.0, 0.0])
        last = RegressorState(first.h, targets.joints_2d, HandMesh(first.mesh.vertices, joints))
        estimate = Estimate(first.evidence, (first.steps[0], last), targets.mask)
        monkeypatch.setattr(Estimator, "predict", lambda self, images, render=True: estimate)
        return network

    return install


def test_the_ground_truth_has_error_zero(oracle, cache):
    found = predict_batch(oracle(), cache[:], CPU)
    errors = protocol_errors(found)
    assert all(rows.shape == (10, 21) for rows in errors.values())
    assert errors["A8"].max() < 0.01
    # perspective makes near joints larger, and the dots fill 90 mm of depth at 600 mm: that bends no rigid hand
    assert 1 < errors["C"].mean() < errors["A"].mean() < 12
    scores = full_scores(found)
    assert scores["protocols"]["A8"]["auc_20-50"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert (scores["mask"]["iou"], scores["mask"]["images"]) == (1.0, 7)
    assert scores["share_under_tau"] == 1.0
    curve = scores["protocols"]["A8"]["pck"]
    assert (curve["grid"], curve["value"][0], set(curve["value"][1:])) == ("0-100", 0.0, {1.0})
    assert curve["value"] == curve["low"] == curve["high"]
    assert scores["error_px"]["j2d_last"] < 0.01 < scores["error_px"]["j2d_first"]


def test_a_shift_counts_only_in_protocol_a(oracle, cache):
    crops = cache[:]
    found = predict_batch(oracle(0.1), crops, CPU)
    errors = protocol_errors(found)
    focal = float(crops.k[0, 0, 0])
    moved = 0.1 * crops.side[:, None] * crops.joints_3d[..., 2] / focal
    np.testing.assert_allclose(errors["A8"], moved, rtol=0.05)
    still = protocol_errors(predict_batch(oracle(), crops, CPU))
    placed = [predict_batch(oracle(shift), crops, CPU).joints_mm for shift in (0.0, 0.1)]
    distance = np.linalg.norm(placed[1] - placed[0], axis=-1)
    np.testing.assert_allclose(distance.mean(1), moved.mean(1), rtol=0.05)
    np.testing.assert_allclose(errors["C"], still["C"], rtol=1e-3, atol=1e-3)
    assert found.error_px == pytest.approx(22.4, abs=0.01)
    assert quick_scores(found)["share_under_tau"] == 0
    assert quick_scores(found, tau=23.0)["share_under_tau"] == 1


def test_joint_0_is_the_palm_if_the_dataset_has_palms(oracle, cache):
    crops = cache[:]
    network = oracle()
    palms = replace(crops, palm=torch.ones(10, dtype=torch.bool))
    errors = protocol_errors(predict_batch(network, palms, CPU))["A8"]
    middle = (crops.joints_3d[:, 0] - crops.joints_3d[:, 9]).norm(dim=1) / 2
    np.testing.assert_allclose(errors[:, 0], middle, rtol=0.25)  # halfway in the crop frame, not in space
    assert errors[:, 1:].max() < 0.01


def made_up(known: int, n: int = 3) -> Predictions:
    """Errors of 1 mm in x; only the first joints have ground truth."""
    truth = np.random.default_rng(0).normal(size=(n, 21, 3)) * 50 + [0, 0, 600]
    joints = truth + np.array([1.0, 0, 0])
    truth[:, known:] = np.nan
    zeros, hand = np.zeros(n), np.zeros((n, 55))
    visible, unknown = np.ones((n, 21), bool), np.full_like(hand, np.nan)
    counts, palm = np.zeros((n, 3), int), np.zeros(n, bool)
    return Predictions(joints, joints, truth, visible, palm, counts, zeros, zeros, zeros, hand, unknown)


def test_protocols_without_enough_joints_are_left_out():
    assert set(protocol_errors(made_up(21))) == {"A", "A8", "B", "C"}
    assert set(protocol_errors(made_up(5))) == {"A", "A8", "C"}
    assert set(protocol_errors(made_up(2))) == {"A", "A8"}
    assert quick_scores(made_up(5))["epe_a_mm"] == pytest.approx(1.0)
    assert "mask_iou" not in quick_scores(made_up(5))
    assert "mask" not in full_scores(made_up(5))


def test_hidden_joints_do_not_count_in_protocol_b():
    found = made_up(21)
    hidden = np.zeros((3, 21), bool)
    hidden[:, [4, 8, 15]] = True
    moved = replace(found, truth_mm=found.truth_mm + 150 * hidden[..., None], visible=~hidden)
    before, after = protocol_errors(found), protocol_errors(moved)
    np.testing.assert_allclose(after["B"], np.where(hidden, np.nan, before["B"]))
    assert after["A"][hidden].min() > 200  # protocol A counts every joint with ground truth
    assert full_scores(moved)["protocols"]["B"]["epe_mm"]["value"] < 2


@pytest.mark.parametrize("palm", [False, True])
def test_the_palm_is_visible_if_the_wrist_or_the_middle_mcp_is(palm):
    visible = np.ones((4, 21), bool)
    visible[[1, 3], 0] = False
    visible[[2, 3], 9] = False
    found = replace(made_up(21, 4), visible=visible, palm=np.full(4, palm))
    counts = np.isfinite(protocol_errors(found)["B"][:, 0])
    assert counts.tolist() == ([True, False, True, False] if palm else [True, True, True, False])


def test_a_split_without_visible_joints_has_no_protocol_b():
    found = replace(made_up(21), visible=np.zeros((3, 21), bool))
    assert set(full_scores(found)["protocols"]) == {"A", "A8", "C"}
    assert "epe_b_mm" not in quick_scores(found)


def test_the_batch_size_changes_nothing(network, cache):
    whole, parts = evaluate(network, cache, CPU), []
    halves = evaluate(network, cache, CPU, 4, parts.append)
    assert parts == [4, 4, 2]
    for name, values in vars(whole).items():
        np.testing.assert_allclose(getattr(halves, name), values, rtol=1e-3, atol=1e-2)
    assert not network.predict(torch.zeros(1, 3, 224, 224)).h.requires_grad


def test_depth_is_relative_to_the_mean_of_the_fingertips_if_only_these_are_known():
    engine = SyntheticHands()
    batch = engine.batch(3, 0, engine.backgrounds(1, 0))
    # the depth of another root changes the length of g by a few per cent
    for crops, tolerance in ((batch.crops(), 1e-2), (tips_only(batch.crops()), 5.0)):
        found = undo_eq8(batch.joints_crop, crops)[:, TIPS]
        np.testing.assert_allclose(found[..., 2], batch.joints_mm[:, TIPS, 2], atol=tolerance)
        rigid = millimetres(batch.joints_crop, crops)[:, TIPS]
        np.testing.assert_allclose(rigid[..., 2].mean(1), batch.joints_mm[:, TIPS, 2].mean(1), atol=15)


def test_a_subset_is_evenly_spaced_in_the_split(network, cache):
    assert cache.evenly_spaced(4).tolist() == [0, 3, 6, 9]
    assert cache.evenly_spaced(99).tolist() == cache.evenly_spaced().tolist() == list(range(10))
    some, _ = evaluate_refined(network, cache, CPU, {}, count=4)
    whole = evaluate(network, cache, CPU)
    np.testing.assert_allclose(some.truth_mm, whole.truth_mm[[0, 3, 6, 9]])


def test_the_report(network, cache, tmp_path):
    found = evaluate(network, cache, CPU)
    scores = full_scores(found)
    numbers, page = write_report({"": found}, scores, cache, Path("c.safetensors"), tmp_path)
    written = json.loads(numbers.read_text())
    assert written["results"] == json.loads(json.dumps(scores))
    assert written["dataset"] == {"name": "dots", "split": "all", "sha256": cache.meta["sha256"]}
    assert {"command", "commit", "date", "hardware", "checkpoint"} <= set(written)
    assert "protocol A" in page.read_text()
    rows = score_rows(scores)
    assert [row[0] for row in rows] == ["A", "A8", "B", "C", "mean hand, C"]
    assert f"{scores['protocols']['A']['epe_mm']['value']:.1f} [" in rows[0][1]


def test_the_mean_hand_is_the_trivial_answer():
    """It has error 0 on itself, turned and scaled, and an error on a fist."""
    model = HandModel.open_hand()
    mean = 1000 * model.forward_h(neutral_h(model)).joints.numpy()[0].astype(float)
    turned = np.stack([0.7 * mean[:, [1, 0, 2]] * [1, -1, 1] + 500, 2 * mean])
    assert mean_hand_scores(turned)["epe_mm"]["value"] == pytest.approx(0, abs=0.01)
    fist = 1000 * model(pose=torch.full((2, 45), 0.5)).joints.numpy().astype(float)
    assert mean_hand_scores(fist)["epe_mm"]["value"] > 5
    assert mean_hand_scores(np.full((3, 21, 3), np.nan)) is None


def test_hand_scores_by_hand():
    found = made_up(21)
    found = replace(found, hand=np.full((3, 55), 2.0), true_hand=np.full((3, 55), 1.5))
    assert hand_scores(found) == {"pose_off_rad": 0.5, "shape_off_sd": 0.5, "shape_sd": 2.0}
    assert hand_scores(made_up(21)) == {"shape_sd": 0.0}


def test_a_report_needs_no_git(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance()["commit"] == "unknown"


def test_scores_before_and_after_refinement(network, cache, tmp_path):
    options = {"refinement": RefineOptions(iterations=2), "nothing": RefineOptions(iterations=0)}
    counted: list[int] = []
    before, after = evaluate_refined(network, cache, CPU, options, 6, counted.append)
    assert counted == [6, 4]
    plain = evaluate(network, cache, CPU, 6)
    for name, values in vars(plain).items():
        np.testing.assert_allclose(getattr(before, name), values, rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(getattr(after["nothing"].found, name), values, rtol=1e-3, atol=1e-2)
    course = after["refinement"].course
    assert course.epe_mm.shape == course.skeleton_px.shape == course.j2d_px.shape == course.near.shape == (10, 3)
    errors = protocol_errors(before)["A"]
    np.testing.assert_allclose(course.epe_mm[:, 0], np.nanmean(errors, 1), rtol=1e-4)
    np.testing.assert_allclose(course.skeleton_px[:, 0], before.error_px, rtol=1e-4)
    np.testing.assert_allclose(course.j2d_px[:, 0], before.last_px, rtol=1e-4)
    assert not np.allclose(course.epe_mm[:, -1], course.epe_mm[:, 0])
    scores = after["refinement"].scores()
    assert [len(values) for values in scores["over_iterations"].values()] == [3] * 4
    change = course.epe_mm[:, -1] - course.epe_mm[:, 0]
    assert scores["change_mm"]["value"] == pytest.approx(np.nanmean(change), abs=1e-3)
    assert scores["change_mm"]["low"] <= scores["change_mm"]["value"] <= scores["change_mm"]["high"]
    assert set(after["nothing"].scores()["change_mm"].values()) == {0.0}
    both = {"": before, ", refinement": after["refinement"].found}
    numbers, page = write_report(both, full_scores(before) | {"refined": scores}, cache, Path("c"), tmp_path)
    assert (
        json.loads(numbers.read_text())["results"]["refined"]["over_iterations"]["near"]
        == scores["over_iterations"]["near"]
    )
    assert "protocol C, refinement" in page.read_text()


def test_mean_hand_is_put_onto_the_known_joints():
    hand = HandModel.open_hand()
    mean = hand.forward_h(neutral_h(hand))
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))[0]
    turn *= torch.linalg.det(turn)
    places = 2 * mean.joints @ turn.T + torch.tensor([1.0, 2, 3])
    known = torch.ones(1, 21, dtype=torch.bool)
    known[0, 5:9] = False
    joints = torch.where(known[..., None], places, 1e3)
    placed = mean_hand_in_place(hand, joints, known)
    torch.testing.assert_close(placed, 2 * mean.vertices @ turn.T + torch.tensor([1.0, 2, 3]), rtol=1e-4, atol=1e-4)
