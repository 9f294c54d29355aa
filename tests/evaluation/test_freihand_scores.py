"""Scores equal those of the benchmark's program, files have its format, and a bad file gives a clear error."""

import inspect
import json
from dataclasses import astuple

import numpy as np
import pytest

from dhpe_lib.evaluation.freihand import FreihandFileError, read_freihand, score_freihand, write_freihand

CENTER = np.array([0.0, 0, 600])
TURN = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
# MPJPE, AUC, MPVPE, AUC, F@5, F@15; plain, then aligned. Computed by lmb-freiburg/freihand's eval.py at 5ea4ab9, its
# open3d call replaced by exhaustive search; its metres and shares are shown as mm and shares.
NOISY = [
    (10.9022331483, 0.7810646144, 14.3342408692, 0.7131468931, 0.1979379324, 0.9869883426),
    (9.7362142722, 0.8051146384, 13.8675263822, 0.7226333602, 0.2308267851, 0.9954820490),
]  # fmt: skip
MIRRORED = [
    (64.2445186370, 0.2019400353, 64.1765577009, 0.2172258143, 0.1796455801, 0.8543219291),
    (3.9992489108, 0.9202340869, 12.6765318962, 0.7464014611, 0.2387166335, 0.9984969785),
]  # fmt: skip


def wave(*shape: int, start: int = 0) -> np.ndarray:
    return np.sin(np.arange(start, start + np.prod(shape)) ** 2.0).reshape(shape)


TRUTH = 50 * wave(3, 21, 3) + CENTER, 50 * wave(3, 778, 3) + CENTER
NOISE = wave(3, 21, 3, start=777), 12 * wave(3, 778, 3, start=77777)
JOINTS, VERTICES = TRUTH[0] + 9 * NOISE[0], TRUTH[1] + NOISE[1]


def mirrored(truth: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Scale, rotate, reflect and translate a hand."""
    return (1.1 * (truth - CENTER) + noise) @ (np.diag([-1.0, 1, 1]) @ TURN) + CENTER + [5, 0, 0]


@pytest.mark.parametrize(
    ("joints", "vertices", "expected"),
    [(JOINTS, VERTICES, NOISY), (mirrored(TRUTH[0], 4 * NOISE[0]), mirrored(TRUTH[1], NOISE[1]), MIRRORED)],
    ids=["noisy", "mirrored"],
)
def test_scores_agree_with_the_benchmarks_program(joints, vertices, expected):
    scores = score_freihand(joints, vertices, *TRUTH)
    np.testing.assert_allclose([astuple(scores.plain), astuple(scores.aligned)], expected, rtol=0, atol=1e-6)


def test_the_ground_truth_has_perfect_scores():
    scores = score_freihand(*TRUTH, *TRUTH)
    assert astuple(scores.plain) == (0, 1, 0, 1, 1, 1)
    # After the alignment a rounding error of 1e-14 mm remains. It is above the first threshold, which is 0, so the area
    # lacks half a step.
    np.testing.assert_allclose(astuple(scores.aligned), (0, 1, 0, 1, 1, 1), atol=0.5 / 99)


def test_no_image_is_refused():
    with pytest.raises(ValueError, match="no joint counts"):
        score_freihand(*(array[:0] for array in TRUTH), *(array[:0] for array in TRUTH))


def test_the_file_is_in_metres_and_is_read_back(tmp_path):
    path = tmp_path / "new" / "pred.json"
    write_freihand(path, JOINTS, VERTICES)
    joints, vertices = json.loads(path.read_text())
    assert (np.shape(joints), np.shape(vertices)) == ((3, 21, 3), (3, 778, 3))
    np.testing.assert_allclose(joints, JOINTS / 1000, atol=5.1e-8)
    for read, written in zip(read_freihand(path), (JOINTS, VERTICES), strict=True):
        np.testing.assert_allclose(read, written, atol=5.1e-5)
    write_freihand(path, JOINTS[:2], VERTICES[:2])
    assert [len(each) for each in read_freihand(path)] == [2, 2]
    assert list(path.parent.iterdir()) == [path]  # no temporary file is left


def test_single_precision_is_written_as_short(tmp_path):
    write_freihand(tmp_path / "pred.json", JOINTS.astype(np.float32), VERTICES.astype(np.float32))
    assert len((tmp_path / "pred.json").read_text()) < 3 * (21 + 778) * 3 * 12


def test_numbers_that_are_not_finite_are_not_written(tmp_path):
    path = tmp_path / "pred.json"
    write_freihand(path, JOINTS, VERTICES)
    before = path.read_bytes()
    broken = VERTICES.copy()
    broken[1, 5, 0] = np.nan
    with pytest.raises(FreihandFileError, match=r"pred\.json: vertices of image 1 are not finite; give a prediction"):
        write_freihand(path, JOINTS, broken)
    assert path.read_bytes() == before


J, V = JOINTS.tolist(), VERTICES.tolist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[[[[1, 2", r"not \[joints, vertices\] \(is not JSON .*truncated.*; write it with write_freihand"),
        (b"\xff\xfe\x00", "is not JSON"),
        ("{}", r"not \[joints, vertices\] \(is an object, not a list\); write it with write_freihand"),
        ([J], "is not a list of length 2"),
        ([J, V[:2]], "joints of 3 images, but vertices of 2; give both"),
        ([V, J], r"entry 0: the field \[0\] is not a list of length <= 21"),
        ([J, [rows[:-1] for rows in V]], r"entry 1: the field \[0\] is not a list of length >= 778"),
        ([[*J[:2], J[2][:20]], V], r"entry 0: the field \[2\] is not a list of length >= 21"),
        ([[[["a", 0, 0]] * 21], V[:1]], r"entry 0: the field \[0\]\[0\]\[0\] is a text, not a number or null"),
        ([[[[None, 0, 0]] * 21], V[:1]], "joints of image 0 are not finite"),
        ([J, [*V[:2], [[float("nan")] * 3] * 778]], "vertices of image 2 are not finite"),
        ([None, V], "entry 0: is null, not a list"),
        ([{"a": 1}, V], "entry 0: is an object, not a list"),
        ([[], []], "holds no image"),
    ],
)
def test_a_bad_file_is_refused(tmp_path, content, message):
    path = tmp_path / "theirs.json"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(FreihandFileError, match=rf"theirs\.json: .*{message}"):
        read_freihand(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"pred\.json"):
        read_freihand(tmp_path / "pred.json")


def test_wrong_shapes_are_not_written(tmp_path):
    path, unchecked = tmp_path / "pred.json", inspect.unwrap(write_freihand)
    for joints, vertices in (((3, 21, 3), (4, 778, 3)), ((3, 20, 3), (3, 778, 3))):
        with pytest.raises(FreihandFileError, match=r"pred\.json: not written, since (joints|vertices) have shape"):
            unchecked(path, np.zeros(joints), np.zeros(vertices))
    assert not path.exists()


def test_a_file_of_no_image_is_not_written(tmp_path):
    with pytest.raises(FreihandFileError, match=r"pred\.json: not written, since there is no image; give"):
        write_freihand(tmp_path / "pred.json", JOINTS[:0], VERTICES[:0])
    assert not (tmp_path / "pred.json").exists()
