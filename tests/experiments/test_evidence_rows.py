"""Refinement from cached evidence, the rows of the result file, and its figures."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from cached_hands import cached_hands, crops_of

from dhpe_lib.evaluation.evaluate import Predictions
from dhpe_lib.evaluation.metrics import THRESHOLDS, auc
from dhpe_lib.experiments.claims import CLAIMS, SPANS
from dhpe_lib.experiments.evidence_comparisons import (
    PARTS,
    fit_gains,
    landmark_gains,
    part_gains,
    pck_rows,
    refinement_course,
    refinement_gains,
    weak_start_gains,
)
from dhpe_lib.experiments.evidence_feature import FEATURE_FORMS, feature_gains
from dhpe_lib.experiments.evidence_figures import course_figure, figures, mask_rows, pck_figure, refinement_figure
from dhpe_lib.experiments.evidence_forms import FORMS, MEANINGS
from dhpe_lib.experiments.evidence_landmarks import photo_gain
from dhpe_lib.experiments.evidence_masks import mask_row
from dhpe_lib.experiments.evidence_refinement import ITERATIONS, MODES, estimate_of, fitted_errors, refined_errors
from dhpe_lib.experiments.evidence_results import (
    BLOCKS,
    NAMES,
    Run,
    course,
    errors,
    gain,
    image_areas,
    in_blocks,
    pck_of,
    run_from,
    scores,
)
from dhpe_lib.experiments.evidence_trunks import TRUNK_MEANINGS, TRUNK_RUNS
from dhpe_lib.network.estimator import PRESETS, Estimator
from dhpe_lib.network.hand_landmarks import FEATURES
from dhpe_lib.refinement.fitting import FitOptions


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Estimator(replace(PRESETS["light"], joint_features=0)).eval()


def test_refinement_follows_the_evidence_of_its_mode(network):
    hands = cached_hands(network.hand, 3, FEATURES)
    crops, exact = crops_of(hands), replace(hands.plain, joints_2d=hands.targets.joints_2d)
    fixed = refined_errors(network, exact, crops, MODES[0], (0, 40))
    start = estimate_of(network, exact)
    assert fixed.shape == (2, 3, 21)
    assert fixed[1].mean() < fixed[0].mean()
    wrong = torch.nn.Parameter(network.regressor.f_ref.weight.clone())
    wrong.data[:, :42] = 0
    network.regressor.f_ref.weight = wrong  # now f_Ref answers with zeros
    assert estimate_of(network, exact).joints_2d.abs().max() < start.joints_2d.abs().max()
    still, moved = (refined_errors(network, exact, crops, mode, (0, 40)) for mode in (MODES[0], MODES[2]))
    np.testing.assert_allclose(still, fixed, atol=0.5)
    assert moved[1].mean() > still[1].mean()


def test_a_fit_without_a_network_follows_j2d(network):
    hands = cached_hands(network.hand, 2, FEATURES)
    exact = replace(hands.plain, joints_2d=hands.targets.joints_2d)
    still = torch.eye(42, network.regressor.f_ref.weight.shape[1])
    network.regressor.f_ref.weight = torch.nn.Parameter(still)
    options = FitOptions(starts=3, iterations=40, finalists=1, final_iterations=30)
    before, after = fitted_errors(network, exact, crops_of(hands), options).mean((1, 2))
    assert after < 0.7 * before


def predictions(off: float, n: int = 8, tips: bool = False) -> Predictions:
    generator = np.random.default_rng(0)
    truth = generator.normal(0, 40, (n, 21, 3))
    found = truth + np.array([off, 0, 0])
    if tips:
        truth[:, [0, 1, 2, 3]] = np.nan
    ones = np.ones(n)
    return Predictions(
        found, found, truth, np.ones((n, 21), bool), np.zeros(n, bool), np.tile([8, 1, 1], (n, 1)),
        off * ones, ones, ones, np.full((n, 55), off), np.zeros((n, 55)),
    )  # fmt: skip


def run(off: float, tests: tuple[str, ...] = ("orh_test",)) -> Run:
    curve = [{"step": float(step), "epe_a_mm": off + 1 / (1 + step), "share_under_tau": 0.5} for step in (0, 50)]
    return Run(dict.fromkeys(tests, predictions(off)), curve, np.array([1.0, 0.0]))


def test_a_gain_is_positive_if_the_part_helps():
    without, with_it = [run(3.0), run(4.0)], [run(2.0), run(2.0)]
    found = gain(errors(without, "orh_test"), errors(with_it, "orh_test"), "mm")
    assert found["value"] == pytest.approx(1.5)
    assert found["seeds"] == [1.0, 2.0]
    assert (found["without"], found["with"], found["images"]) == (3.5, 2.0, 8)
    assert found["low"] < 0 < found["high"]  # two seeds that differ by a millimetre say little
    assert gain(course(without), course(with_it), "mm")["value"] == pytest.approx(1.5)
    more = gain(np.zeros((2, 4)), np.ones((2, 4)), "share", more=True)
    assert more["low"] == more["high"] == 1


def test_scores_of_each_seed_and_of_a_file():
    runs = [run(1.0), run(3.0)]
    rows = scores(runs, "orh_test")
    found = rows["epe_a_mm"]
    assert (found["mean"], found["seeds"]) == (2.0, [1.0, 3.0])
    assert found["low"] < 1 < 3 < found["high"]  # two seeds say little
    assert rows["mask_iou"]["low"] == rows["mask_iou"]["high"] == 0.8
    assert rows["epe_c_mm"]["mean"] == pytest.approx(0, abs=1e-6)
    assert rows["mask_iou"]["mean"] == 0.8
    values = {f"orh_test.{name}": array for name, array in vars(predictions(1.0)).items()}
    again = run_from(values | {"under_tau": np.array([True, False])}, runs[0].curve)
    np.testing.assert_array_equal(again.found["orh_test"].joints_mm, runs[0].found["orh_test"].joints_mm)


def test_every_claim_about_trainings_and_iterations_has_its_comparison():
    """All that a claim names is computed by some function; masks have a test of their own."""
    runs = {name: [run(3.0, tuple(NAMES)), run(2.0, tuple(NAMES))] for name in (*FORMS, *TRUNK_RUNS)}
    assert {name for pair in PARTS.values() for name in pair} == set(runs) == set(MEANINGS | TRUNK_MEANINGS)
    refined = {mode: np.ones((2, len(ITERATIONS), 4, 21)) for mode in MODES}
    found = part_gains(runs) | refinement_gains("orh_test", refined) | refinement_gains("orh-o_test", refined)
    forms = {form: {"epe_mm": np.ones((2, 3))} for form in FEATURE_FORMS}
    named = {name for claim in CLAIMS.values() for name in claim.comparisons}
    left = named - set(found)
    assert left
    of_shipped = feature_gains("ORH", forms) | feature_gains("ORH-O", forms)
    left -= set(of_shipped)
    assert all(name.startswith(("mask against", "distractors against")) for name in left)
    assert tuple(f"{a} to {b}" for a, b in pairwise(ITERATIONS)) == SPANS
    assert not any("augmentation, few images" in name for name in part_gains(runs | {"few": []}))


def test_areas_of_images_have_the_auc_as_mean():
    rows = np.random.default_rng(0).uniform(0, 80, (5, 21))
    rows[:, [0, 3]] = np.nan
    for thresholds in THRESHOLDS.values():
        assert image_areas(rows, thresholds).mean() == pytest.approx(auc(rows, thresholds))


def test_frames_of_a_sequence_are_joined():
    rows = np.arange(4 * BLOCKS + 3.0)[None]
    (joined,) = in_blocks("orh-s_test", rows)
    np.testing.assert_array_equal(joined, 1.5 + 4 * np.arange(BLOCKS))
    assert in_blocks("orh_test", rows) is rows
    assert in_blocks("orh-s_test", rows[:, : 2 * BLOCKS - 1]).shape == (1, 2 * BLOCKS - 1)
    assert in_blocks("orh-s_test", np.ones((1, 2 * BLOCKS, 3)), np.sum).tolist() == [[[2] * 3] * BLOCKS]


def test_no_block_holds_frames_of_both_sequences():
    """The prepared split has 3,000 frames of each sequence, and evenly spaced frames have as many of each."""
    for frames in (6000, 1024):
        sequence = (np.arange(frames) >= frames // 2).astype(float)[None]
        (joined,) = in_blocks("orh-s_test", sequence)
        assert joined.tolist() == [0] * (BLOCKS // 2) + [1] * (BLOCKS // 2)


def test_the_refinement_of_a_sequence_is_judged_by_its_blocks():
    errors_mm = np.random.default_rng(0).normal(20, 1, (2, len(ITERATIONS), 3 * BLOCKS, 21))
    refined = dict.fromkeys(MODES, errors_mm)
    assert refinement_gains("orh-s_test", refined)["refinement, ORH-S"]["images"] == BLOCKS
    assert refinement_course("orh-s_test", refined)[MODES[0]]["50"]["images"] == BLOCKS
    assert refinement_gains("orh_test", refined)["refinement, ORH"]["images"] == 3 * BLOCKS


def test_refinement_gains_follow_the_iterations():
    falling = 20.0 - np.arange(len(ITERATIONS))[None, :, None, None] * np.ones((2, 1, 4, 21))
    refined = dict.fromkeys(MODES, falling)
    found = refinement_gains("orh_test", refined)
    assert found["refinement, ORH"]["value"] == len(ITERATIONS) - 1
    assert found["moving against fixed j2D, ORH"]["value"] == 0
    assert found["j2D(3) against j2D(0), ORH"]["value"] == 0
    assert weak_start_gains("orh_test", refined)[f"refinement of a weak start, {MODES[0]}, ORH"]["value"] == 5
    fits = fit_gains("ORH", falling[:, :2], falling[:, 3])
    assert [one["value"] for one in fits.values()] == [1, -2]
    assert found["iterations 1 to 5, j2D(3) fixed, ORH"]["value"] == 1
    assert refinement_course("orh_test", refined)[MODES[0]]["5"]["value"] == 2
    curves = pck_rows({name: [run(2.0)] for name in FORMS} | {"without-refiner": []}, refined, "orh_test")
    assert len(curves) == 7
    ours = curves["ours (j2D moved in refinement)"]
    assert (ours["images"], ours["value"][0]) == (4, 1)


def test_a_user_may_take_another_network():
    mm = {"A8": 9.0, "C": 3.0, "shipped_A8": 7.0, "shipped_C": 4.0}
    found = landmark_gains("ORH", {name: np.full((4, 21), value) for name, value in mm.items()})
    assert [one["value"] for one in found.values()] == [2, -1]
    one_blind = np.where(np.arange(4)[:, None] == 2, np.nan, 5.0) * np.ones(21)
    some = landmark_gains("ORH", {"B": one_blind, "shipped_B": one_blind - 1})
    assert [(name, one["value"], one["images"]) for name, one in some.items()] == [
        ("instead of the hand landmark network, B, ORH", 1, 3)
    ]
    rows = {f"{k}.png": {"landmarks to label": 0.1, "estimator to label": 0.12} for k in range(3)}
    rows |= {f"freihand/{k:08}.jpg": {"landmarks to label": 0.1, "estimator to label": 0.12} for k in (5, 32_565)}
    rows |= {"unlabelled.png": {"hands": 1}, "mean": {"landmarks to label": 9.0, "estimator to label": 1.0}}
    one = photo_gain({"results": rows})
    assert (one["value"], one["images"], one["unit"]) == (-0.02, 4, "share")


def test_figures_and_tables_of_a_result(tmp_path):
    one = gain(20.0 + np.array([[1.0, 1, 1], [0, 0, 0]]), np.full((2, 3), 19.0), "mm")
    rows = np.abs(np.random.default_rng(0).normal(20, 5, (2, 9, 21)))
    tips = np.where(np.arange(21) % 4 == 0, rows, np.nan)
    result = {
        "comparisons": {"f_Ref, ORH": one, "f_Ref, ORH-O": one},
        "forms": {"full": {"curves": [run(2.0).curve, run(3.0).curve]}},
        "refinement": {test: {MODES[0]: {"5": one, "50": one}} for test in ("orh_test", "orh-o_test")},
        "pck": {"orh_test": {"ours": pck_of(rows)}, "orh-o_test": {"ours": pck_of(tips)}},
        "pck_shape_loss": {test: {"with shape loss": pck_of(rows)} for test in NAMES},
        "masks": {"ORH": {"mesh": mask_row(np.tile([8, 1, 1], (1, 4, 1)))}},
    }
    assert result["pck"]["orh-o_test"]["ours"]["grid"] == "0-100"
    band, wider = (pck_of(np.stack((rows[0], rows[0] + more))) for more in (0, 2))
    assert np.mean(wider["high"]) - np.mean(wider["low"]) > np.mean(band["high"]) - np.mean(band["low"])
    for test in result["pck"]:
        assert len(pck_figure(result, test).data) == 2
    assert len(course_figure(result, {"full": "Eq. 12", "constant-lambda": "0.01"}).data) == 4
    drawn = figures(result)
    assert set(drawn) == {"5a", "5b", "5c", "5d", "5e", "5e-iterations", "5f", "5f-half-open"}
    assert not drawn["5f-half-open"].data  # these variants were not trained
    assert list(refinement_figure(result, "orh_test").data[0].x) == [0, 5, 50]
    assert mask_rows(result)[-1] == ("mesh (ORH)", "80.0", "88.9", "88.9", "88.9", "[80.0, 80.0]")
