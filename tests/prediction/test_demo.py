"""The demonstration's picture is always the same and shows its hand where its joints are; errors are measured right."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from dhpe_lib.data.sample import project
from dhpe_lib.evaluation.alignment import mesh_errors
from dhpe_lib.hand.model import HandModel, wrist_ring
from dhpe_lib.hand.poses import collides, joint_limits, limit_penalty
from dhpe_lib.hand.rotations import random_rotations
from dhpe_lib.hand.skeleton import JOINT_NAMES
from dhpe_lib.prediction.demo import HEIGHT, WIDTH, DemoScene, demo_pose, demo_scene, room, sleeve, write_demo


@pytest.fixture(scope="module")
def model() -> HandModel:
    return HandModel.open_hand()


@pytest.fixture(scope="module")
def scene(model) -> DemoScene:
    return demo_scene(model)


def test_the_hand_stands_in_the_picture_where_its_joints_say(scene):
    assert scene.image.shape == (HEIGHT, WIDTH, 3)
    assert ((scene.joints_2d > 60) & (scene.joints_2d < (WIDTH - 60, HEIGHT - 60))).all()
    different = (np.abs(scene.image.astype(int) - room()) > 8).any(2)
    inner = [k for k, name in enumerate(JOINT_NAMES) if not name.endswith("tip")]
    column, row = scene.joints_2d[inner].astype(int).T
    assert different[row, column].all()
    assert 0.1 < different.mean() < 0.4
    assert different[-1].any()  # the sleeve leaves the picture
    assert not different[0].any()


def test_camera_and_joints_in_space_say_where_the_joints_are_seen(scene):
    np.testing.assert_allclose(project(scene.joints_3d, scene.k), scene.joints_2d, atol=1e-3)
    assert 600 < scene.joints_3d[:, 2].min() < scene.joints_3d[:, 2].max() < 800


def test_skin_is_in_the_palm_and_cloth_at_the_lower_edge(scene):
    red, _, blue = scene.image[tuple(scene.joints_2d[[0, 9]].mean(0).astype(int)[::-1])].astype(int)
    assert red > blue + 40
    different = np.abs(scene.image[-1].astype(int) - room()[-1]).max(1) > 8
    assert scene.image[-1][different].mean(0)[2] > scene.image[-1][different].mean(0)[0] + 20


def test_the_scene_is_the_same_each_time(scene, model):
    np.testing.assert_array_equal(demo_scene(model).image, scene.image)


def test_the_pose_is_possible(model):
    pose = demo_pose()
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
    np.testing.assert_allclose(entry["joints_2d"], scene.joints_2d, atol=1e-3)


def test_mesh_errors_of_known_motions(generator):
    truth = np.random.default_rng(0).normal(size=(50, 3))
    assert mesh_errors(truth + np.array([0.3, 0, 0.4]), truth) == pytest.approx((0.5, 0), abs=1e-9)
    turn = random_rotations(1, generator, torch.float64)[0].numpy()
    plain, aligned = mesh_errors(1.7 * truth @ turn.T, truth)
    assert plain > 0.5
    assert aligned == pytest.approx(0, abs=1e-9)
    assert mesh_errors(truth * (1, 1, -1), truth)[1] > 0.1  # a reflection is not undone
