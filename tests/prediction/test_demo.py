"""The demo picture is always the same and shows its hands where their joints are; errors are measured right."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.data.sample import project
from dhpe_lib.evaluation.alignment import mesh_errors
from dhpe_lib.hand.io import Side
from dhpe_lib.hand.model import HandMesh, HandModel, wrist_ring
from dhpe_lib.hand.poses import collides, joint_limits, limit_penalty
from dhpe_lib.hand.rotations import random_rotations
from dhpe_lib.hand.skeleton import JOINT_NAMES
from dhpe_lib.prediction.demo import (
    HANDS,
    HEIGHT,
    WIDTH,
    DemoHand,
    DemoScene,
    compare_hands,
    demo_scene,
    held_pose,
    room,
    sleeve,
    write_demo,
)
from dhpe_lib.prediction.hand_estimate import HandEstimate, PredictionError
from dhpe_lib.prediction.keypoints import HandKeypoints


@pytest.fixture(scope="module")
def model() -> HandModel:
    return HandModel.open_hand()


@pytest.fixture(scope="module")
def scene(model) -> DemoScene:
    return demo_scene(model)


def test_the_hands_stand_in_the_picture_where_their_joints_say(scene):
    assert scene.image.shape == (HEIGHT, WIDTH, 3)
    assert [hand.side for hand in scene.hands] == ["right", "left"]
    different = (np.abs(scene.image.astype(int) - room()) > 8).any(2)
    inner = [k for k, name in enumerate(JOINT_NAMES) if not name.endswith("tip")]
    for hand in scene.hands:
        assert ((hand.joints_2d > 60) & (hand.joints_2d < (WIDTH - 60, HEIGHT - 60))).all()
        column, row = hand.joints_2d[inner].astype(int).T
        assert different[row, column].all()
    assert 0.1 < different.mean() < 0.4
    assert different[-1].any()  # the sleeves leave the picture
    assert not different[0].any()


def test_the_hands_do_not_touch_and_differ_in_size(scene):
    right, left = (hand.joints_2d for hand in scene.hands)
    assert left[:, 0].min() > right[:, 0].max() + 200
    assert np.ptp(right, axis=0).max() > 1.3 * np.ptp(left, axis=0).max()


def test_camera_and_joints_in_space_say_where_the_joints_are_seen(scene):
    for hand, distance in zip(scene.hands, (700, 950), strict=True):
        np.testing.assert_allclose(project(hand.joints_3d, scene.k), hand.joints_2d, atol=1e-3)
        assert distance - 100 < hand.joints_3d[:, 2].min() < hand.joints_3d[:, 2].max() < distance + 100


def test_the_left_hand_is_a_left_hand(scene):
    """Seen from the palm with its fingers up, the thumb of a right hand is on the right in the picture."""
    thumb, little = JOINT_NAMES.index("thumb_1"), JOINT_NAMES.index("little_1")
    across = {hand.side: hand.joints_2d[thumb, 0] - hand.joints_2d[little, 0] for hand in scene.hands}
    assert across["right"] > 100
    assert across["left"] < -50
    for hand in scene.hands:  # the model's regressor gives the joint back
        assert np.linalg.norm(hand.vertices, axis=1).min() < 0.05
        nearest = np.linalg.norm((hand.joints_3d - hand.joints_3d[0])[:, None] / 1000 - hand.vertices, axis=2).min(1)
        assert nearest.max() < 0.03


def test_skin_is_in_the_palms_and_cloth_at_the_lower_edge(scene):
    for hand in scene.hands:
        red, _, blue = scene.image[tuple(hand.joints_2d[[0, 9]].mean(0).astype(int)[::-1])].astype(int)
        assert red > blue + 40
    different = np.abs(scene.image[-1].astype(int) - room()[-1]).max(1) > 8
    assert scene.image[-1][different].mean(0)[2] > scene.image[-1][different].mean(0)[0] + 15


def test_the_scene_is_the_same_each_time(scene, model):
    np.testing.assert_array_equal(demo_scene(model).image, scene.image)


@pytest.mark.parametrize("held", HANDS, ids=lambda held: held.side)
def test_the_poses_are_possible(model, held):
    pose = held_pose(held)
    assert limit_penalty(pose, joint_limits()).item() < 1e-9
    assert not collides(model(pose=pose).joints).any()


def test_the_rim_runs_once_around_the_wrist(model):
    rim = wrist_ring(model.faces)
    assert len(rim) == len(set(rim)) == 16
    cuff, faces, uv = sleeve(model.v_template, model.faces)
    assert int(faces.max()) == len(cuff) - 1 == len(uv) - 1
    assert cuff[:, 0].max() > model.v_template[:, 0].max() + 0.2  # away from the fingers


def test_the_files_serve_as_photo_and_keypoints(tmp_path):
    scene, picture, joints = write_demo(tmp_path)
    np.testing.assert_array_equal(np.asarray(Image.open(picture)), scene.image)
    (entry,) = json.loads(joints.read_text())
    assert entry["file"] == picture.name
    assert [hand["hand"] for hand in entry["hands"]] == ["right", "left"]
    for hand, truth in zip(entry["hands"], scene.hands, strict=True):
        np.testing.assert_allclose(hand["joints_2d"], truth.joints_2d, atol=1e-3)


def estimate_of(hand: DemoHand, side: Side, shift: float = 0.0) -> HandEstimate:
    """An estimate whose joints lie some pixels beside the true ones, with the true mesh, a tenth too large."""
    h = torch.zeros(1, 63, dtype=torch.float64)
    joints = torch.zeros(1, 21, 3, dtype=torch.float64)
    joints[0, :, :2] = torch.from_numpy(hand.joints_2d) + torch.tensor([shift, 0])
    vertices = 1.1 * torch.from_numpy(hand.vertices)[None] + joints[:, :1]
    frame = CropFrame(torch.zeros(1, 2), torch.ones(1), torch.zeros(1))
    keypoints = HandKeypoints(hand.joints_2d, np.ones(21), side, "the scene")
    model = HandModel.open_hand(side)
    return HandEstimate(model, True, keypoints, frame, h, HandMesh(vertices, joints), 0.0, with_mask=False)


def test_found_hands_are_compared_with_the_ground_truth(scene):
    right, left = scene.hands
    estimates = [estimate_of(left, "left", 4), estimate_of(right, "right", 7)]
    first, second = compare_hands(scene, estimates)
    assert (first.side, second.side) == ("right", "left")
    assert (first.error_px, second.error_px) == pytest.approx((7, 4))
    assert first.relative_error == pytest.approx(7 / np.ptp(right.joints_2d, axis=0).max())
    assert first.mesh_mm == pytest.approx(100 * np.linalg.norm(right.vertices, axis=1).mean())
    assert first.aligned_mm == pytest.approx(0, abs=1e-6)


def test_a_missed_hand_a_wrong_side_and_a_hand_too_many_are_errors(scene):
    right, left = scene.hands
    with pytest.raises(PredictionError, match="the left hand is not found"):
        compare_hands(scene, [estimate_of(right, "right")])
    with pytest.raises(PredictionError, match="the right hand is taken for a left one"):
        compare_hands(scene, [estimate_of(right, "left"), estimate_of(left, "left")])
    three = [estimate_of(right, "right"), estimate_of(left, "left"), estimate_of(left, "left")]
    with pytest.raises(PredictionError, match="3 hands are found"):
        compare_hands(scene, three)


def test_mesh_errors_of_known_motions(generator):
    truth = np.random.default_rng(0).normal(size=(50, 3))
    assert mesh_errors(truth + np.array([0.3, 0, 0.4]), truth) == pytest.approx((0.5, 0), abs=1e-9)
    turn = random_rotations(1, generator, torch.float64)[0].numpy()
    plain, aligned = mesh_errors(1.7 * truth @ turn.T, truth)
    assert plain > 0.5
    assert aligned == pytest.approx(0, abs=1e-9)
    assert mesh_errors(truth * (1, 1, -1), truth)[1] > 0.1  # a reflection is not undone
