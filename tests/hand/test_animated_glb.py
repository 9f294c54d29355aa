"""The animated GLB, read back and skinned in numpy, against the hand model's meshes."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from glb_file import Glb, mesh_nodes

from dhpe_lib.hand.animated_glb import write_animated_glb
from dhpe_lib.hand.glb import VERTEX_DATA, GlbBuffer
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.poses import sample_poses
from dhpe_lib.hand.rig import HandTrack, four_weights, make_rig
from dhpe_lib.hand.rotations import axis_angle_to_matrix, matrix_to_axis_angle

TOLERANCE = 1e-4


def make_track(side="right", n=20, start=0.0, seed=0) -> HandTrack:
    """A hand that moves through natural poses and turns by more than a full turn."""
    generator = torch.Generator().manual_seed(seed)
    keys = sample_poses(5, generator).float()
    if side == "left":
        keys = (keys.unflatten(1, (15, 3)) * torch.tensor([1.0, -1, -1])).flatten(1)
    at = torch.linspace(0, 3.999, n)
    low, part = at.long(), (at - at.floor())[:, None]
    angle = torch.linspace(-3, 5, n)[:, None] * torch.nn.functional.normalize(torch.tensor([[1.0, 2, -0.5]]))
    return HandTrack(
        HandModel.open_hand(side),
        start + torch.arange(n) / 30,
        keys[low] * (1 - part) + keys[low + 1] * part,
        torch.randn(10, generator=generator),
        axis_angle_to_matrix(angle),
        torch.tensor([0.1, -0.05, 0.6]) + 0.1 * torch.randn(n, 3, generator=generator),
    )


def truth(track: HandTrack) -> np.ndarray:
    """The hand model's meshes in glTF's axes."""
    n = len(track.times)
    mesh = track.model(track.pose, track.shape.expand(n, -1), track.rotation, None, track.translation)
    return mesh.vertices.numpy() * [1, -1, -1]


@pytest.fixture(scope="module")
def tracks() -> list[HandTrack]:
    return [make_track(), make_track("left", 12, start=0.2, seed=3)]


@pytest.fixture(scope="module")
def written(tracks, tmp_path_factory) -> tuple[Glb, float]:
    path = tmp_path_factory.mktemp("glb") / "hands.glb"
    error = write_animated_glb(path, tracks)
    return Glb(path), error


def test_a_player_sees_the_hand_models_meshes(written, tracks):
    glb, claimed = written
    worst = 0.0
    for node, track in zip(mesh_nodes(glb), tracks, strict=True):
        goal = truth(track)
        for key in range(len(track.times)):
            worst = max(worst, float(np.linalg.norm(glb.play(node, key) - goal[key], axis=1).max()))
    assert worst < TOLERANCE
    assert claimed <= TOLERANCE
    assert worst == pytest.approx(claimed, abs=2e-5)  # what the function says about itself is true


def test_plain_skinning_would_be_millimetres_off(tracks):
    """Why there are directions: the pose correctives move some vertices by up to a centimetre."""
    plain, corrected = make_rig(tracks[0], tolerance=1.0), make_rig(tracks[0])
    assert len(plain.directions) == 0
    assert 2e-3 < plain.error < 2e-2
    assert 1 <= len(corrected.directions) <= 16
    assert corrected.error < TOLERANCE


def test_a_hand_without_correctives_needs_no_directions(tracks, tmp_path):
    model = tracks[0].model
    bare = HandModel({**model.hand, "posedirs": 0 * model.hand["posedirs"]})
    track = HandTrack(bare, *(getattr(tracks[0], n) for n in ("times", "pose", "shape", "rotation", "translation")))
    error = write_animated_glb(tmp_path / "bare.glb", [track])
    assert error < 1e-6
    glb = Glb(tmp_path / "bare.glb")
    assert "weights" not in glb.json["meshes"][0]
    np.testing.assert_allclose(glb.play(mesh_nodes(glb)[0], 5), truth(track)[5], atol=2e-6)


def test_directions_repair_weights_beyond_the_fourth(tracks, generator):
    """MANO's vertices hang on more joints than four."""
    model = tracks[0].model
    weights = 0.97 * model.hand["weights"] + 0.03 * np.random.default_rng(0).dirichlet(np.ones(16), 778)
    spread = HandModel({**model.hand, "weights": weights})
    kept = four_weights(spread.weights)
    assert (kept > 0).sum(1).max() == 4
    torch.testing.assert_close(kept.sum(1), torch.ones(778))
    track = HandTrack(spread, *(getattr(tracks[0], n) for n in ("times", "pose", "shape", "rotation", "translation")))
    assert make_rig(track, tolerance=1.0).error > 1e-3
    assert make_rig(track).error < TOLERANCE


def test_times_and_visibility(written, tracks):
    glb, _ = written
    curves = glb.curves()
    wrists = [node["skeleton"] for node in glb.json["skins"]]
    for wrist, track in zip(wrists, tracks, strict=True):
        np.testing.assert_allclose(curves[wrist, "rotation"][0], track.times.numpy(), atol=1e-6)
    assert (wrists[0], "scale") not in curves  # always there
    times, sizes = curves[wrists[1], "scale"]  # there from 0.2 s to 0.57 s of 0.63 s
    np.testing.assert_allclose(times, [0, 0.2, 0.2 + 12 / 30], atol=1e-6)
    assert sizes[:, 0].tolist() == [0, 1, 0]


def test_quaternions_do_not_jump(written):
    glb, _ = written
    for (_, path), (_, values) in glb.curves().items():
        if path == "rotation":
            np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1, atol=1e-5)
            assert all(a @ b > 0 for a, b in pairwise(values))


def test_file_follows_the_specification(written):
    glb, _ = written
    used = 0
    for view in glb.json["bufferViews"]:
        assert view["byteOffset"] % 4 == 0
        assert view["byteOffset"] >= used
        used = view["byteOffset"] + view["byteLength"]
    assert used <= glb.json["buffers"][0]["byteLength"] == len(glb.binary)
    for mesh in glb.json["meshes"]:
        attributes = mesh["primitives"][0]["attributes"]
        position = glb.json["accessors"][attributes["POSITION"]]
        np.testing.assert_array_equal(position["min"], glb.array(attributes["POSITION"]).min(0))
        normals = glb.array(attributes["NORMAL"])
        np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
        assert normals[glb.array(attributes["POSITION"])[:, 1].argmax()][1] > 0.5  # normals point outwards
        weights, joints = glb.array(attributes["WEIGHTS_0"]), glb.array(attributes["JOINTS_0"])
        np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
        assert not joints[weights == 0].any()
        assert glb.array(attributes["COLOR_0"])[0] == pytest.approx([0.730, 0.381, 0.243], abs=1e-3)


def test_colors_are_written(tracks, tmp_path):
    colors = np.zeros((778, 3), np.uint8)
    colors[5] = 255
    write_animated_glb(tmp_path / "c.glb", [HandTrack(**{**vars(tracks[0]), "colors": colors})])
    glb = Glb(tmp_path / "c.glb")
    found = glb.array(glb.json["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"])
    assert found[5].tolist() == [1, 1, 1]
    assert not found[:5].any()


def test_one_frame_is_a_clip(tracks, tmp_path):
    one = {k: v[:1] for k, v in vars(tracks[0]).items() if k in ("times", "pose", "rotation", "translation")}
    track = HandTrack(**{**vars(tracks[0]), **one})
    assert write_animated_glb(tmp_path / "one.glb", [track]) < TOLERANCE
    glb = Glb(tmp_path / "one.glb")
    np.testing.assert_allclose(glb.play(mesh_nodes(glb)[0], 0), truth(track)[0], atol=TOLERANCE)


def test_a_long_clip_stays_small(tmp_path, generator):
    track = make_track(n=600)
    assert write_animated_glb(tmp_path / "long.glb", [track]) < 1.5 * TOLERANCE
    assert (tmp_path / "long.glb").stat().st_size < 600 * 778 * 12 / 10  # a tenth of one mesh a frame


def test_bad_tracks_are_refused(tracks, tmp_path):
    good = vars(tracks[0])
    with pytest.raises(ValueError, match="at least one track"):
        write_animated_glb(tmp_path / "none.glb", [])
    with pytest.raises(ValueError, match="must increase"):
        HandTrack(**{**good, "times": torch.zeros(20)})
    with pytest.raises(ValueError, match="not finite"):
        HandTrack(**{**good, "pose": torch.full((20, 45), torch.nan)})
    empty = {k: v[:0] for k, v in good.items() if k in ("times", "pose", "rotation", "translation")}
    with pytest.raises(ValueError, match="at least one time"):
        HandTrack(**{**good, **empty})
    with pytest.raises(OSError, match="nowhere"):
        write_animated_glb(tmp_path / "nowhere" / "x.glb", tracks)


def test_arrays_that_gltf_does_not_know_are_refused():
    with pytest.raises(ValueError, match="no items of shape"):
        GlbBuffer().add(np.zeros((3, 7), np.float32))
    with pytest.raises(ValueError, match="type float64"):
        GlbBuffer().add(np.zeros((3, 3)))
    with pytest.raises(ValueError, match="multiple of 4 bytes"):
        GlbBuffer().add(np.zeros((3, 3), np.uint8), VERTEX_DATA)


def test_rotation_of_a_track_is_that_of_the_model(tracks):
    """The test's own clip turns by more than half a turn, so the wrist's quaternion changes sign."""
    turns = matrix_to_axis_angle(tracks[0].rotation).norm(dim=1)
    assert turns.max() > 2.8
    assert turns.min() < 0.5
