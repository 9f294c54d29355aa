"""The rigged GLB, read back and skinned in numpy: skeleton, weights and blend shapes are those of the hand model."""

import numpy as np
import pytest
import torch
from glb_file import Glb, mesh_nodes

from dhpe_lib.hand.export import export_hand
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.poses import sample_poses
from dhpe_lib.hand.rigged_glb import write_rigged_glb
from dhpe_lib.hand.skeleton import MANO_JOINT_NAMES

SHAPE = torch.linspace(-2, 2, 10)


def bare(side: str = "right") -> HandModel:
    """The open hand without pose correctives, which a skeleton cannot drive."""
    hand = HandModel.open_hand(side).hand
    return HandModel({**hand, "posedirs": 0 * hand["posedirs"]})


@pytest.fixture
def glb(tmp_path) -> Glb:
    write_rigged_glb(tmp_path / "hand.glb", HandModel.open_hand())
    return Glb(tmp_path / "hand.glb")


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_player_that_poses_the_skeleton_sees_the_hand_model(tmp_path, generator, side):
    model, pose = bare(side), sample_poses(1, generator)[0]
    write_rigged_glb(tmp_path / "hand.glb", model, pose, SHAPE)
    glb = Glb(tmp_path / "hand.glb")
    goal = model(pose[None], SHAPE[None]).vertices[0].numpy()
    np.testing.assert_allclose(glb.play(mesh_nodes(glb)[0], 0)[:778], goal, atol=2e-6)


def test_pose_correctives_are_all_that_is_missing(tmp_path, generator):
    model, pose = HandModel.open_hand(), sample_poses(1, generator)[0]
    write_rigged_glb(tmp_path / "hand.glb", model, pose)
    glb = Glb(tmp_path / "hand.glb")
    off = np.linalg.norm(glb.play(mesh_nodes(glb)[0], 0)[:778] - model(pose[None]).vertices[0].numpy(), axis=1)
    assert off.mean() < 2e-3
    assert 1e-3 < off.max() < 2e-2


def test_blend_shapes_are_the_shape_directions(glb):
    model = HandModel.open_hand()
    (primitive,) = glb.json["meshes"][0]["primitives"]
    moves = np.stack([glb.array(target["POSITION"]) for target in primitive["targets"]], axis=-1)
    np.testing.assert_allclose(moves[:778], model.shapedirs, atol=1e-7)
    rest = glb.array(primitive["attributes"]["POSITION"])[:778] + moves[:778] @ SHAPE.numpy()
    np.testing.assert_allclose(rest, model(shape=SHAPE[None]).vertices[0], atol=1e-6)
    assert glb.json["meshes"][0]["extras"]["targetNames"] == model.hand["shape_names"].tolist()


def test_seams_repeat_vertices_with_all_that_they_have(glb):
    (primitive,) = glb.json["meshes"][0]["primitives"]
    model = HandModel.open_hand()
    arrays = {name: glb.array(k) for name, k in primitive["attributes"].items()}
    faces, old = glb.array(primitive["indices"]).reshape(-1, 3), model.faces.numpy()
    for name in ("POSITION", "NORMAL", "JOINTS_0", "WEIGHTS_0"):
        np.testing.assert_array_equal(arrays[name][faces], arrays[name][old])
    np.testing.assert_allclose(arrays["TEXCOORD_0"][faces], model.hand["vt"][model.hand["ft"]], atol=1e-6)


def test_the_skeleton_has_manos_joints(glb):
    (skin,) = glb.json["skins"]
    names = [glb.json["nodes"][joint]["name"] for joint in skin["joints"]]
    assert names == [f"right_{name}" for name in MANO_JOINT_NAMES]
    joints = HandModel.open_hand().rest_joints(torch.zeros(1, 10))[0].numpy()
    np.testing.assert_allclose(-glb.array(skin["inverseBindMatrices"])[:, :3, 3], joints, atol=1e-7)


def test_a_hand_without_texture_and_names(tmp_path):
    hand = {k: v for k, v in HandModel.open_hand().hand.items() if k not in ("texture", "shape_names")}
    write_rigged_glb(tmp_path / "mano.glb", HandModel(hand))
    glb = Glb(tmp_path / "mano.glb")
    assert "images" not in glb.json
    assert glb.json["meshes"][0]["extras"]["targetNames"][9] == "shape_9"
    assert glb.array(glb.json["meshes"][0]["primitives"][0]["attributes"]["POSITION"]).shape == (778, 3)


def test_only_a_glb_has_a_skeleton(tmp_path):
    with pytest.raises(ValueError, match=r"h\.obj: a hand with a skeleton is written as \.glb"):
        export_hand(tmp_path / "h.obj", HandModel.open_hand(), rigged=True)
    export_hand(tmp_path / "h.GLB", HandModel.open_hand(), [0.1] * 45, rigged=True)
    assert Glb(tmp_path / "h.GLB").json["skins"]


def test_wrong_shapes_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"pose has shape \[1, 45\]; give a tensor \[45\]"):
        write_rigged_glb(tmp_path / "h.glb", HandModel.open_hand(), torch.zeros(1, 45))
    with pytest.raises(OSError, match="nowhere"):
        write_rigged_glb(tmp_path / "nowhere" / "h.glb", HandModel.open_hand())
