"""Each photo gets its own joints, and each problem of a keypoints file is named."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.poses import sample_poses
from dhpe_lib.hand.rotations import random_rotations
from dhpe_lib.hand.skeleton import JOINT_ORDERS
from dhpe_lib.prediction.keypoints import (
    HandKeypoints,
    KeypointsError,
    detect_hands,
    import_mediapipe,
    keypoints_of,
    read_keypoints,
)

SIZE = (640, 480)
JOINTS = [[10.0 + k, 3.0 * k, 1] for k in range(21)]


def entry(file: str = "a/photo.jpg", **fields: Any) -> dict[str, Any]:
    return {"file": file, "joints_2d": JOINTS, **fields}


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_labelled_hand():
    joints = [[*row[:2], 0] if k == 4 else row for k, row in enumerate(JOINTS)]
    joints[4][0] = float("nan")  # an unknown joint may hold anything
    (hand,) = keypoints_of(
        "a/photo.jpg", SIZE, [entry(joints_2d=joints, hand="left", bbox=[1, 2, 3, 4])], "k/labels.json"
    )
    assert (hand.side, hand.source) == ("left", "labels.json")
    np.testing.assert_array_equal(np.flatnonzero(~hand.known), [4])
    np.testing.assert_array_equal(hand.joints[5], [15, 15])
    assert np.isfinite(hand.joints).all()
    assert hand.hand_size == 60


def test_several_hands_and_rows_without_visibility():
    two = [{"joints_2d": [row[:2] for row in JOINTS], "hand": "right", "score": 0.9}, {"joints_2d": JOINTS}]
    first, second = keypoints_of("photo.jpg", SIZE, [{"file": "photo.jpg", "hands": two}], "m.json")
    assert (first.side, second.side) == ("right", None)
    np.testing.assert_array_equal(first.joints, second.joints)
    assert first.known.all()


def test_visibility_is_a_weight():
    (hand,) = keypoints_of("p.jpg", SIZE, [entry("p.jpg", joints_2d=[[u, v, 0.25] for u, v, _ in JOINTS])], "k.json")
    np.testing.assert_array_equal(hand.confidence, np.full(21, 0.25))


U = [123, 143, 158, 172, 183, 159, 168, 171, 173, 144, 147, 146, 145, 128, 124, 120, 117, 110, 105, 101, 98]
V = [184, 164, 140, 120, 101, 118, 87, 69, 53, 113, 78, 59, 43, 114, 81, 66, 54, 118, 94, 85, 77]
HAND = np.stack((U, V), axis=1).astype(float)
"""An open right hand in a photo of 640 x 480 pixels, canonical order."""


def in_order(name: str) -> list[list[float]]:
    """The open hand's joints as a dataset with another order lists them."""
    return HAND[np.argsort(JOINT_ORDERS[name])].tolist()


def read(**fields: Any) -> HandKeypoints:
    return keypoints_of("p.jpg", SIZE, [{"file": "p.jpg", **fields}], "k.json")[0]


def test_a_plain_hand_has_no_doubts():
    hand = read(joints_2d=HAND.tolist())
    np.testing.assert_array_equal(hand.joints, HAND)
    assert hand.doubts == ()


@pytest.mark.parametrize("order", JOINT_ORDERS)
def test_a_declared_order_is_followed(order):
    hand = read(joints_2d=in_order(order), order=order)
    np.testing.assert_array_equal(hand.joints, HAND)
    assert hand.doubts == ()


def test_the_order_of_an_entry_holds_for_its_hands_unless_a_hand_has_its_own():
    hands = [{"joints_2d": in_order("mano")}, {"joints_2d": in_order("rhd"), "order": "rhd"}]
    for hand in keypoints_of("p.jpg", SIZE, [{"file": "p.jpg", "order": "mano", "hands": hands}], "k.json"):
        np.testing.assert_array_equal(hand.joints, HAND)


def test_a_certain_order_is_guessed_and_named():
    hand = read(joints_2d=in_order("mano"))
    np.testing.assert_array_equal(hand.joints, HAND)
    assert '"order": "mano"' in hand.doubts[0]


def test_a_likely_order_is_a_doubt_only():
    hand = read(joints_2d=in_order("rhd"))
    np.testing.assert_array_equal(hand.joints, in_order("rhd"))
    assert 'may start at the fingertips; if so, write "order": "rhd"' in hand.doubts[0]


def test_no_random_hand_is_taken_for_one_of_another_order(generator):
    hands = HandModel.open_hand()(sample_poses(300, generator), rotation=random_rotations(300, generator))
    guessed = [
        hand
        for joints in (300 + 1000 * hands.joints[..., :2]).tolist()
        for hand in keypoints_of("p.jpg", (900, 900), [{"file": "p.jpg", "joints_2d": joints}], "k.json")
        if any("were read" in doubt for doubt in hand.doubts)
    ]
    assert guessed == []


def test_an_order_is_not_guessed_from_some_of_the_joints():
    joints = [[u, v, k != 3] for k, (u, v) in enumerate(in_order("mano"))]
    assert read(joints_2d=joints).doubts == ()


@pytest.mark.parametrize("declared", [True, False])
def test_fractions_of_the_photo_become_pixels(declared):
    fractions = (HAND / SIZE).tolist()
    hand = read(joints_2d=fractions, **({"normalised": True} if declared else {}))
    np.testing.assert_allclose(hand.joints, HAND)
    assert declared == (hand.doubts == ())
    if not declared:
        assert '"normalised": true' in hand.doubts[0]


def test_a_declared_unit_is_followed_even_for_a_speck():
    assert read(joints_2d=(HAND / SIZE).tolist(), normalised=False).hand_size < 1


def test_joints_outside_the_photo_are_named():
    joints = HAND.copy()
    joints[[4, 8]] += 5000
    hand = read(joints_2d=joints.tolist())
    assert hand.doubts == ("outside the photo: thumb_tip, index_tip; give a joint that was not seen visible 0",)
    unseen = np.c_[joints, np.ones(21)]
    unseen[[4, 8], 2] = 0
    assert read(joints_2d=unseen.tolist()).doubts == ()


def test_joints_outside_the_photo_are_counted():
    hand = read(joints_2d=[[*row, 2] for row in (HAND - (122, 0)).tolist()])
    assert hand.outside(SIZE) == pytest.approx(np.mean(HAND[:, 0] < 122))
    np.testing.assert_array_equal(hand.confidence, 1)


@pytest.mark.parametrize("file", ["b/photo.jpg", "photo.jpg", "b\\photo.jpg", "x/b/photo.jpg"])
def test_an_entry_is_found_by_the_end_of_the_path_or_the_name(file):
    entries = [entry("b/other.jpg"), entry(file, hand="left")]
    assert keypoints_of("/data/x/b/photo.jpg", SIZE, entries, "k.json")[0].side == "left"


def test_a_photo_moved_elsewhere_is_found_by_its_name():
    assert keypoints_of("/somewhere/photo.jpg", SIZE, [entry("b/photo.jpg"), entry("b/other.jpg")], "k.json")


def test_folders_tell_photos_of_one_name_apart():
    entries = [entry("a/photo.jpg", hand="left"), entry("b/photo.jpg", hand="right")]
    assert keypoints_of("/data/b/photo.jpg", SIZE, entries, "k.json")[0].side == "right"
    with pytest.raises(KeypointsError, match=r"several entries .* fit \(a/photo\.jpg, b/photo\.jpg\)"):
        keypoints_of("/data/c/photo.jpg", SIZE, entries, "k.json")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"joints_2d": JOINTS[:20]}, r"shape \(20, 3\), not \(21, 2\)"),
        ({"joints_2d": [[*row, 0] for row in JOINTS]}, r"shape \(21, 4\)"),
        ({"joints_2d": [*JOINTS[:20], [1]]}, "joints_2d has rows of several lengths"),
        ({"joints_2d": [["a", 1, 1]] * 21}, r"the field joints_2d\[0\]\[0\] is a text, not"),
        ({"joints_2d": None}, "the field joints_2d is null, not a list"),
        ({"joints_2d": [*JOINTS[:20], [None, 1, 1]]}, "row 20 of joints_2d is not finite"),
        ({"joints_2d": [*JOINTS[:20], [float("nan"), 1, 1]]}, "row 20 of joints_2d is not finite"),
        ({"joints_2d": [*JOINTS[:20], [1, float("inf"), 1]]}, "row 20 of joints_2d is not finite"),
        ({"joints_2d": [*JOINTS[:20], [1, 1, float("nan")]]}, "row 20 of joints_2d is not finite"),
        ({"joints_2d": [*JOINTS[:20], [10**400, 1, 1]]}, r"the field joints_2d\[20\]\[0\] is too large"),
        ({"joints_2d": [*JOINTS[:20], [1e200, 1, 1]]}, "row 20 of joints_2d is not finite or far outside"),
        ({"joints_2d": [*JOINTS[:20], [1, 1, -0.02]]}, "row 20 of joints_2d is -0.02, but it is the visibility"),
        ({"joints_2d": [*JOINTS[:20], [1, 1, 550]]}, "row 20 of joints_2d is 550, but it is the visibility"),
        ({"joints_2d": [[u + 5000, v, 1] for u, v, _ in JOINTS]}, "all joints lie outside the photo.* 640 x 480"),
        ({"order": "smpl"}, "\"order\" is 'smpl'; write one of rhd, stb"),
        ({"order": [["mano"]]}, "the field order is a list, not a text"),
        ({"normalised": "yes"}, "the field normalised is a text, not true or false"),
        ({"hand": "upper"}, "the field hand is 'upper', which is not allowed; it should read"),
        ({"hands": []}, "holds no hand"),
        ({"hands": {"joints_2d": JOINTS}}, "the field hands is an object, not a list"),
        ({"hands": [{"joints_2d": JOINTS}, {}]}, "entry photo.jpg, hand 2: lacks the field joints_2d"),
    ],
)
def test_the_problem_of_an_entry_is_named(fields, message):
    with pytest.raises(KeypointsError, match=message) as caught:
        keypoints_of("photo.jpg", SIZE, [entry("photo.jpg", **fields)], "k.json")
    assert str(caught.value).startswith("k.json: entry photo.jpg")


def test_an_entry_without_joints_and_a_photo_without_entry():
    with pytest.raises(KeypointsError, match="holds no hand"):
        keypoints_of("photo.jpg", SIZE, [{"file": "photo.jpg", "K": 1}], "k.json")
    with pytest.raises(KeypointsError, match=r"no entry of k\.json names this photo; it names a/photo\.jpg$"):
        keypoints_of("other.jpg", SIZE, [entry()], "k.json")
    with pytest.raises(KeypointsError, match=r"it names 0\.jpg, 1\.jpg, 2\.jpg and 2 more$"):
        keypoints_of("other.jpg", SIZE, [entry(f"{k}.jpg") for k in range(5)], "k.json")
    with pytest.raises(KeypointsError, match="it names no photo"):
        keypoints_of("other.jpg", SIZE, [], "k.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is an object, not a list"),
        ("[{", "is not JSON .*; it should read"),
        ({"file": "a"}, "is an object, not a list; it should read"),
        ([1], "entry 0: is a whole number, not an object"),
        ([{"file": "a"}, {"f": 1}], "entry 1: lacks the field file"),
        ([{"file": 3}], "entry 0: the field file is a whole number, not a text"),
    ],
)
def test_a_file_of_another_layout_is_refused(tmp_path, content, message):
    with pytest.raises(KeypointsError, match=message):
        read_keypoints(write(tmp_path / "k.json", content))


def test_reading_a_file(tmp_path):
    assert read_keypoints(write(tmp_path / "k.json", [entry()]))[0]["file"] == "a/photo.jpg"
    (tmp_path / "bom.json").write_text(json.dumps([entry()]), encoding="utf-8-sig")
    assert len(read_keypoints(tmp_path / "bom.json")) == 1
    with pytest.raises(FileNotFoundError, match=r"none\.json: no such file"):
        read_keypoints(tmp_path / "none.json")


def test_without_mediapipe_the_error_says_how_to_get_keypoints(monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(KeypointsError, match=r"--keypoints FILE.*pip install .*\[mediapipe\]"):
        import_mediapipe()
    monkeypatch.setitem(sys.modules, "mediapipe", SimpleNamespace(__version__="1.0.0"))
    with pytest.raises(KeypointsError, match=r"MediaPipe 1\.0\.0 comes without its hand model"):
        import_mediapipe()


class FakeHands:
    """Imitation of MediaPipe's solution: one hand, with landmarks as fractions of width and height."""

    def __init__(self, **options: Any) -> None:
        assert options["static_image_mode"]

    def __enter__(self) -> "FakeHands":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def process(self, image: np.ndarray) -> SimpleNamespace:
        if not image.any():
            return SimpleNamespace(multi_hand_landmarks=None, multi_handedness=None)
        landmark = [SimpleNamespace(x=k / 40, y=k / 80, z=0.0) for k in range(21)]
        side = SimpleNamespace(classification=[SimpleNamespace(label="Left", score=0.9)])
        return SimpleNamespace(multi_hand_landmarks=[SimpleNamespace(landmark=landmark)], multi_handedness=[side])


def test_mediapipe_joints_in_pixels_with_left_and_right_swapped(monkeypatch):
    solutions = SimpleNamespace(hands=SimpleNamespace(Hands=FakeHands))
    monkeypatch.setitem(sys.modules, "mediapipe", SimpleNamespace(__version__="0.10.21", solutions=solutions))
    (hand,) = detect_hands(np.full((160, 400, 3), 9, np.uint8))
    np.testing.assert_allclose(hand.joints[20], [200, 40])
    assert (hand.side, hand.source, hand.known.all()) == ("right", "MediaPipe 0.10.21", True)
    assert detect_hands(np.zeros((160, 400, 3), np.uint8)) == []


def test_mediapipe_itself_runs():
    pytest.importorskip("mediapipe", reason="MediaPipe is not installed")
    hands = detect_hands(np.full((120, 160, 3), 128, np.uint8))
    assert all(isinstance(hand, HandKeypoints) for hand in hands)
