"""Measures equal those of the published evaluation programs and have their mathematical properties."""

import inspect

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from dhpe_lib.evaluation.mask_metrics import mask_scores
from dhpe_lib.evaluation.metrics import (
    THRESHOLDS,
    area_under_curve,
    auc,
    bootstrap,
    f_scores,
    joint_errors,
    mean_epe,
    median_epe,
    pck,
)


def wave(*shape: int, start: int = 0) -> np.ndarray:
    """Numbers in [-1, 1] that look random and are equal on every machine."""
    return np.sin(np.arange(start, start + np.prod(shape)) ** 2.0).reshape(shape)


@pytest.fixture
def some() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Prediction, ground truth and validity of 7 hands; joint 3 and all joints of hand 0 do not count."""
    truth = 60 * wave(7, 21, 3)
    valid = wave(7, 21, start=5000) > 0.2
    valid[:, 3] = valid[0] = False
    return truth + 35 * wave(7, 21, 3, start=1000), truth, valid


@pytest.mark.parametrize("unknown", ["masked", "nan"])
def test_joints_agree_with_evalutil(some, unknown):
    """Values computed by `EvalUtil` and `calc_auc` of lmb-freiburg/hand3d at 9f00633 (utils/general.py)."""
    predicted, truth, valid = some
    errors = joint_errors(predicted, truth, valid)
    if unknown == "nan":
        errors = joint_errors(predicted, np.where(valid[..., None], truth, np.nan))
    assert mean_epe(errors) == pytest.approx(39.69060340979608, abs=1e-6)
    assert median_epe(errors) == pytest.approx(39.758232824929536, abs=1e-6)
    curve = pck(errors, np.linspace(0, 50, 20))[[4, 8, 12, 16]]
    np.testing.assert_allclose(curve, [0.0, 0.05555555555555555, 0.16203703703703703, 0.6157407407407408], atol=1e-6)
    assert auc(errors, np.linspace(0, 50, 20)) == pytest.approx(0.21893274853801165, abs=1e-6)
    assert auc(errors, THRESHOLDS["zimmermann"]) == pytest.approx(0.37310606060606055, abs=1e-6)
    assert auc(errors, THRESHOLDS["20-50"]) == pytest.approx(0.3589891975308641, abs=1e-6)
    assert auc(errors, THRESHOLDS["0-100"]) == pytest.approx(0.6031249999999999, abs=1e-6)


def test_joints_have_equal_weight_for_any_number_of_labels():
    errors = np.array([[10.0, 40.0], [10.0, np.nan], [10.0, np.nan]])
    assert mean_epe(errors) == 25  # not 17.5
    np.testing.assert_array_equal(pck(errors, np.array([10.0, 39.0, 40.0])), [0.5, 0.5, 1])


def test_joint_errors_are_distances_for_known_joints():
    truth = np.zeros((2, 3, 3))
    predicted = truth + np.array([3.0, 0.0, 4.0])
    truth[0, 1, 2] = np.nan
    valid = np.array([[True, True, True], [True, True, False]])
    np.testing.assert_array_equal(joint_errors(predicted, truth), [[5, np.nan, 5], [5, 5, 5]])
    np.testing.assert_array_equal(joint_errors(predicted, truth, valid), [[5, np.nan, 5], [5, 5, np.nan]])


def test_a_joint_without_prediction_has_an_infinite_error():
    predicted, truth = np.zeros((1, 2, 3)), np.zeros((1, 2, 3))
    predicted[0, 1] = np.nan
    errors = joint_errors(predicted, truth)
    np.testing.assert_array_equal(errors, [[0, np.inf]])
    assert auc(errors, THRESHOLDS["0-100"]) == 0.5
    assert mean_epe(errors) == np.inf


@pytest.mark.parametrize("grid", THRESHOLDS)
def test_the_best_and_the_worst_prediction(grid, some):
    _, truth, _ = some
    perfect, hopeless = joint_errors(truth, truth), joint_errors(truth + 1000, truth)
    assert (mean_epe(perfect), median_epe(perfect), auc(perfect, THRESHOLDS[grid])) == (0, 0, 1)
    assert auc(hopeless, THRESHOLDS[grid]) == 0


@pytest.mark.parametrize(("error", "expected"), [(19.0, 1.0), (35.0, 0.5), (42.5, 0.25), (51.0, 0.0)])
def test_area_of_a_step_is_the_part_right_of_it(error, expected):
    step = np.full((4, 21), error)
    # the trapezoid with the step adds at most half its width, 0.25 of 30 mm
    assert auc(step, THRESHOLDS["20-50"]) == pytest.approx(expected, abs=0.26 / 30)


def test_pck_rises_and_counts_errors_on_the_threshold(some):
    errors = joint_errors(*some)
    assert (np.diff(pck(errors, THRESHOLDS["0-100"])) >= 0).all()
    np.testing.assert_array_equal(pck(np.full((1, 1), 5.0), np.array([4.999, 5.0])), [0, 1])


def test_grids():
    for name, low, high in (("20-50", 20, 50), ("0-50", 0, 50), ("0-100", 0, 100), ("freihand", 0, 50)):
        assert (THRESHOLDS[name][0], THRESHOLDS[name][-1]) == (low, high)
    assert len(THRESHOLDS["zimmermann"]) == 12
    assert THRESHOLDS["zimmermann"][0] == pytest.approx(21.0526, abs=1e-4)


@pytest.mark.parametrize("errors", [np.full((3, 21), np.nan), np.zeros((0, 21))])
@pytest.mark.parametrize("measure", [mean_epe, median_epe, lambda errors: pck(errors, THRESHOLDS["20-50"])])
def test_errors_without_a_joint_are_refused(errors, measure):
    with pytest.raises(ValueError, match="no joint counts in any image"):
        measure(errors)


@pytest.mark.parametrize("thresholds", [[20.0], [], [20.0, 20.0], [50.0, 20.0]])
def test_thresholds_must_be_a_range(thresholds):
    with pytest.raises(ValueError, match="two or more thresholds, each larger"):
        area_under_curve(np.array(thresholds), np.ones(len(thresholds)))


def test_shapes_must_fit():
    with pytest.raises(TypeCheckError):
        joint_errors(np.zeros((2, 21, 3)), np.zeros((2, 20, 3)))


def test_f_scores_use_precision_and_recall():
    truth = np.array([[[0.0, 0, 0], [100, 0, 0], [200, 0, 0]]])
    predicted = np.array([[[4.0, 0, 0], [10, 0, 0]]])
    # within 5: 1 of 2 predicted, 1 of 3 true points; within 15: 2 of 2, 1 of 3
    np.testing.assert_allclose(f_scores(predicted, truth), [[2 * 0.5 / 3 / (0.5 + 1 / 3), 2 * 1 / 3 / (1 + 1 / 3)]])
    np.testing.assert_array_equal(f_scores(truth[:, ::-1], truth), [[1, 1]])  # no correspondence


def test_f_scores_exclude_the_threshold_itself():
    one, two = np.zeros((1, 1, 3)), np.array([[[4.0, 0, 0], [1, 0, 0]]])
    for predicted, truth in ((one, two), (two, one)):
        np.testing.assert_allclose(f_scores(predicted, truth, [1.0, 4.0]), [[0, 2 / 3]])


def test_f_scores_of_missing_points():
    points = 100 * np.arange(12.0).reshape(1, 4, 3)
    lost, unknown = points.copy(), points.copy()
    lost[0, 0, 1], unknown[0, 1:, 2] = np.nan, np.inf
    # precision and recall are 3 of 4; then 1 of 4 predicted points is near the only known point
    np.testing.assert_allclose(f_scores(lost, points), [[0.75, 0.75]])
    np.testing.assert_allclose(f_scores(points, unknown), [[2 * 0.25 / 1.25] * 2])
    for nothing in (points * np.nan, points[:, :0]):
        np.testing.assert_array_equal(f_scores(nothing, points), [[0, 0]])
        np.testing.assert_array_equal(f_scores(points, nothing), [[np.nan, np.nan]])
    assert f_scores(points[:0], points[:0]).shape == (0, 2)


@pytest.mark.parametrize("shape", [(2, 4, 3), (1, 4, 2), (4, 3)])
def test_f_scores_need_pairs_of_hands(shape):
    with pytest.raises(
        ValueError, match=r"predicted has shape \(.*\), truth has \(1, 4, 3\); give hands x vertices x 3"
    ):
        inspect.unwrap(f_scores)(np.zeros(shape), np.zeros((1, 4, 3)))


def test_the_interval_of_a_mean_is_the_normal_interval():
    errors = np.abs(np.random.default_rng(3).normal(20, 6, (400, 1)))
    interval = bootstrap(mean_epe, errors)
    assert interval.value == mean_epe(errors)
    half = 1.96 * errors.std() / np.sqrt(len(errors))
    assert interval.low == pytest.approx(errors.mean() - half, abs=0.15 * half)
    assert interval.high == pytest.approx(errors.mean() + half, abs=0.15 * half)


def test_an_interval_has_about_its_nominal_coverage():
    generator = np.random.default_rng(0)
    drawn = [bootstrap(mean_epe, generator.uniform(0, 2, (40, 1)), 200, seed) for seed in range(200)]
    covered = np.mean([interval.low <= 1 <= interval.high for interval in drawn])
    assert 0.89 < covered < 0.98


def test_images_are_drawn_and_not_joints():
    """21 joints with equal errors have no more information than one joint, so the interval is equally wide."""
    one = np.random.default_rng(1).uniform(0, 50, (60, 1))
    alone, together = bootstrap(mean_epe, one), bootstrap(mean_epe, np.repeat(one, 21, axis=1))
    assert (together.low, together.high) == pytest.approx((alone.low, alone.high))


def test_intervals_of_curves_are_a_function_of_the_seed(some):
    errors = joint_errors(*some)
    first, again, other = (
        bootstrap(lambda rows: pck(rows, THRESHOLDS["0-50"]), errors, draws=50, seed=s) for s in (4, 4, 5)
    )
    np.testing.assert_array_equal(first.low, again.low)
    assert not np.array_equal(first.low, other.low)
    assert (first.low <= first.high).all()
    assert first.low.shape == THRESHOLDS["0-50"].shape


def test_an_interval_allows_infinite_errors_and_needs_two_images():
    errors = np.array([[1.0], [np.inf], [np.inf]])
    assert bootstrap(mean_epe, errors, draws=100).high == np.inf
    with pytest.raises(ValueError, match="two or more images with a label, got 1 of 1"):
        bootstrap(mean_epe, errors[:1])


def test_an_interval_needs_a_draw():
    with pytest.raises(ValueError, match="draws is 0; give 1 or more"):
        bootstrap(mean_epe, np.ones((3, 2)), draws=0)


def test_images_without_a_label_are_not_drawn():
    """A draw from 40 images with 2 labelled ones would have no label in one case of eight."""
    sparse, labelled = np.full((40, 21), np.nan), np.random.default_rng(2).uniform(5, 30, (2, 21))
    labelled[1, 4:] = np.nan
    sparse[[7, 30]] = labelled
    assert bootstrap(mean_epe, sparse, draws=200) == bootstrap(mean_epe, labelled, draws=200)
    for few in (sparse[:10], sparse[:5], sparse[:0]):
        known = int((~np.isnan(few)).any(1).sum())
        with pytest.raises(ValueError, match=f"two or more images with a label, got {known} of {len(few)}"):
            bootstrap(mean_epe, few)
    scores = np.array([1.0, np.nan, 3.0])  # one number for each image
    assert inspect.unwrap(bootstrap)(np.mean, scores, draws=50).value == 2


def test_a_draw_without_labels_gives_a_clear_error():
    counts = np.zeros((10, 3), int)
    counts[3] = 5, 1, 1
    with pytest.raises(
        ValueError, match=r"the measure fails for a draw of 10 images, .* all predicted and true .*; leave"
    ):
        bootstrap(lambda rows: mask_scores(rows).iou, counts)
    with pytest.raises(ValueError, match=r"^all predicted and true masks are empty"):
        bootstrap(lambda rows: mask_scores(rows).iou, 0 * counts)


def test_errors_do_not_broadcast():
    truth = np.zeros((5, 21, 3))
    with pytest.raises(ValueError, match=r"predicted has shape \(1, 21, 3\), truth has \(5, 21, 3\)"):
        inspect.unwrap(joint_errors)(truth[:1], truth)


@pytest.mark.parametrize("valid", [np.ones((5, 1), bool), np.ones(21, bool), np.ones((5, 21), int), np.ones((5, 21))])
def test_validity_is_one_boolean_for_each_joint(valid):
    truth = np.zeros((5, 21, 3))
    with pytest.raises(ValueError, match=r"valid has shape .* and type .*; give one boolean for each joint, \(5, 21\)"):
        inspect.unwrap(joint_errors)(truth, truth, valid)
