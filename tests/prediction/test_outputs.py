"""The five files of a hand agree with each other and with the photo, and are written together or not at all."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from estimates import placed_hand
from PIL import Image

import dhpe_lib.prediction.outputs as outputs
from dhpe_lib import __version__
from dhpe_lib.common.files import atomic_writes
from dhpe_lib.data.camera import Camera
from dhpe_lib.hand.export import vertex_colors
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.skeleton import JOINT_NAMES
from dhpe_lib.prediction.outputs import SUFFIXES, record, write_estimate

PHOTO = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)


def test_five_files_appear_and_nothing_else(tmp_path):
    files = write_estimate(placed_hand(), PHOTO, "photo.jpg", tmp_path / "new", "photo_hand")
    assert [path.suffix for path in files] == list(SUFFIXES)
    assert set(files) == set((tmp_path / "new").iterdir())
    page = files[4].read_text()
    assert "Right hand in photo.jpg" in page
    assert "http" not in page.replace("http://www.w3.org", "")
    with Image.open(files[3]) as picture:
        assert picture.format == "PNG"


def test_meshes_are_in_metres_with_y_up_from_the_wrist(tmp_path):
    estimate = placed_hand()
    files = write_estimate(estimate, PHOTO, "photo.jpg", tmp_path, "x")
    expected = estimate.metres(estimate.mesh.vertices) * (1, -1, -1)
    for path in files[:2]:
        mesh = trimesh.load(path, force="mesh", process=False)
        np.testing.assert_allclose(mesh.vertices[:778], expected, atol=1e-6)  # a GLB repeats those on seams behind
        np.testing.assert_allclose(mesh.vertices[mesh.faces], expected[estimate.model.faces], atol=1e-6)
    assert 0.15 < np.ptp(expected[:, 1]) < 0.25  # a hand's length, upright
    assert expected[:, 1].mean() > 0


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_surface_faces_outwards_for_both_hands(tmp_path, side):
    glb, *_ = write_estimate(placed_hand(side), PHOTO, "photo.jpg", tmp_path, "x")
    mesh = trimesh.load(glb, force="mesh", process=False)
    closed = trimesh.Trimesh(mesh.vertices, mesh.faces)
    closed.fill_holes()
    assert closed.volume > 1e-4


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_json_reproduces_the_mesh(tmp_path, side):
    estimate = placed_hand(side)
    found = json.loads(write_estimate(estimate, PHOTO, "photo.jpg", tmp_path, "x")[2].read_text())
    assert (found["hand"], found["dhpe_version"], found["energy"]) == (side, __version__, 0.5)
    assert found["photo"] == {"file": "photo.jpg", "width": 160, "height": 120, "all_hands": None}
    assert found["evidence"]["source"] == "test.json"
    assert found["error_2d"]["mean_px"] == pytest.approx(1, abs=1e-3)
    h = torch.cat([torch.tensor(found["h"][part]) for part in ("pose", "shape", "quaternion", "scale", "translation")])
    mesh = HandModel.open_hand(side).forward_h(h[None])
    torch.testing.assert_close(mesh.vertices, estimate.mesh.vertices, atol=2e-5, rtol=0)
    joints, crop = found["joints"], found["crop"]
    pixels = np.array(crop["center_px"]) + crop["side_px"] * np.array(joints["crop_units"])[:, :2]
    np.testing.assert_allclose(joints["px"], pixels, atol=0.02)
    assert joints["names"] == list(JOINT_NAMES)
    millimetres = np.array(joints["mm_from_wrist"])
    np.testing.assert_array_equal(millimetres[0], 0)
    assert 60 < np.linalg.norm(millimetres[9]) < 120
    assert "does not tell how large" in joints["size_assumption"]


def test_the_record_holds_the_probabilities_of_the_networks():
    plain = record(placed_hand(), PHOTO, "a")
    assert (plain["hand_known"], plain["presence"], plain["verdict"], plain["warnings"]) == (True, None, "good", [])
    unknown_side = replace(placed_hand(), side_known=False)
    assert record(unknown_side, PHOTO, "a")["hand_known"] is False
    seen = record(replace(unknown_side, presence=0.7, right_probability=0.95), PHOTO, "a")
    assert (seen["hand_known"], seen["right_probability"], seen["verdict"]) == (True, 0.95, "doubtful")
    assert "not sure that this is a hand (probability 0.70)" in seen["warnings"][0]


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_camera_projects_the_hand_onto_the_photo(side):
    """The projection is close to the joints in the crop, but not equal: the camera of the fit has no perspective."""
    found = record(placed_hand(side), PHOTO, "a", Camera.from_focal(160, 120, 300.0))
    camera, size = found["camera"], 80 / 1.5
    assert (camera["focal_px"], camera["focal_from"], camera["k"][0]) == (300, "given", [300, 0, 80])
    joints = np.array(camera["joints_m"])
    image = joints @ np.array(camera["k"]).T
    np.testing.assert_allclose(image[:, :2] / image[:, 2:], found["joints"]["px"], atol=0.06 * size)
    np.testing.assert_allclose(joints[0], camera["translation_m"], atol=1e-4)
    assert joints[:, 2].mean() == pytest.approx(300 / camera["weak_perspective"]["px_per_m"], rel=0.1)
    assert len(camera["vertices_m"]) == 778


def test_weak_perspective_is_that_of_the_whole_photo():
    found = record(placed_hand(), PHOTO, "a")
    weak, metres = found["camera"]["weak_perspective"], np.array(found["joints"]["mm_from_wrist"]) / 1000
    pixels = np.array(weak["wrist_px"]) + weak["px_per_m"] * metres[:, :2]
    np.testing.assert_allclose(pixels, found["joints"]["px"], atol=0.02)
    assert found["camera"]["focal_from"] == "assumed"


def test_only_the_chosen_files_are_written(tmp_path):
    files = write_estimate(placed_hand(), PHOTO, "photo.jpg", tmp_path, "x", suffixes=(".json", ".glb"))
    assert [path.name for path in files] == ["x.json", "x.glb"]
    assert set(files) == set(tmp_path.iterdir())


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_: object) -> str:
        raise OSError("disk full")

    monkeypatch.setattr(outputs, "photo_page", fail)
    with pytest.raises(OSError, match="disk full"):
        write_estimate(placed_hand(), PHOTO, "photo.jpg", tmp_path, "x")
    assert list(tmp_path.iterdir()) == []


def test_files_are_replaced_only_when_all_are_complete(tmp_path):
    (tmp_path / "a").write_text("old")
    with atomic_writes(tmp_path, ["a", "b"]) as (a, b):
        a.write_text("new")
        assert (tmp_path / "a").read_text() == "old"
        b.write_text("new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "new", "b": "new"}


def test_a_folder_that_is_a_file_is_an_error(tmp_path):
    (tmp_path / "f").write_text("")
    with pytest.raises(OSError, match="f"), atomic_writes(tmp_path / "f", ["a"]):
        pass


def test_vertices_take_their_colour_from_the_texture():
    model = HandModel.open_hand()
    colors = vertex_colors(model)
    assert colors.shape == (778, 3)
    assert colors.std(0).min() > 1
    texture = model.hand["texture"]
    model.hand["texture"] = np.broadcast_to(np.array([[[1, 2, 3]]], np.uint8), texture.shape)
    np.testing.assert_array_equal(vertex_colors(model), np.tile(np.array([1, 2, 3], np.uint8), (778, 1)))
    del model.hand["texture"]
    assert len(np.unique(vertex_colors(model), axis=0)) == 1
