"""Files of poses: every format comes back as the same hands, and a wrong file is named with its field."""

import json
import pickle

import numpy as np
import pytest
import torch
from estimates import placed_hand
from typer.testing import CliRunner

from dhpe_lib.cli.__main__ import app
from dhpe_lib.hand.conversions import HandPose, mirror_pose
from dhpe_lib.hand.io import HandFileError
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.pose_files import TARGETS, pose_fields, read_pose, write_pose
from dhpe_lib.hand.poses import sample_poses
from dhpe_lib.hand.rotations import axis_angle_to_matrix, random_rotations
from dhpe_lib.prediction.outputs import record

K = torch.tensor([[480.0, 0, 111], [0, 500, 113], [0, 0, 1]])


@pytest.fixture(scope="module")
def model() -> HandModel:
    return HandModel(HandModel.open_hand().hand, dtype=torch.float64)


@pytest.fixture
def hands(generator) -> HandPose:
    fingers = axis_angle_to_matrix(sample_poses(2, generator).double().unflatten(1, (15, 3)))
    shape, turn = torch.randn(2, 10, generator=generator).double(), random_rotations(2, generator, torch.float64)
    return HandPose("right", fingers, shape, turn, torch.tensor([[0.1, 0.2, 0.6]] * 2, dtype=torch.float64))


@pytest.mark.parametrize("suffix", [".json", ".npz"])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("side", ["right", "left"])
def test_every_format_comes_back(tmp_path, model, hands, target, suffix, side):
    if side == "left":
        if target == "freihand":
            pytest.skip("FreiHAND has right hands only")
        model, hands = model.mirrored(), mirror_pose(hands)
    write_pose(tmp_path / f"a{suffix}", pose_fields(hands, target, model, K))
    found = read_pose(tmp_path / f"a{suffix}", target, model, K)
    close = {"rtol": 0, "atol": 1e-6}  # smplx and FreiHAND put translations together from sums
    torch.testing.assert_close(found.fingers, hands.fingers, **close)
    torch.testing.assert_close(found.shape, hands.shape, **close)
    torch.testing.assert_close(found.rotation, hands.rotation, **close)
    if target == "hamer":  # its camera is not MANO's business
        assert found.translation is None
    else:
        torch.testing.assert_close(found.translation, hands.translation, **close)


def test_one_hand_needs_no_first_axis_and_16_rotations_start_with_the_global_one(tmp_path, model, hands):
    rotations = torch.cat((hands.rotation[:1, None], hands.fingers[:1]), 1)
    np.save(tmp_path / "a.npy", rotations[0].numpy())
    found = read_pose(tmp_path / "a.npy", "matrix", model)
    torch.testing.assert_close(found.fingers, hands.fingers[:1])
    torch.testing.assert_close(found.rotation, hands.rotation[:1])
    assert not found.shape.any()


def test_a_few_pca_coefficients_of_several_hands(tmp_path, model):
    (tmp_path / "a.json").write_text(json.dumps([[0.5, 0, 1], [0, 0, 0]]))
    found = read_pose(tmp_path / "a.json", "pca", model)
    np.testing.assert_allclose(found.pose[1], model.hands_mean, atol=1e-9)
    expected = model.hands_mean + 0.5 * model.hands_components[0] + model.hands_components[2]
    np.testing.assert_allclose(found.pose[0], expected, atol=1e-9)


@pytest.mark.parametrize(
    ("source", "fields"),
    [
        ("smplx", {"hand_pose": [[0] * 45] * 2, "global_orient": [0, 0, 1], "transl": [0, 0, 1]}),
        ("hamer", {"hand_pose": [[1] * 135] * 2, "global_orient": [[1] * 9] * 2, "betas": [[0] * 10]}),
        ("frankmocap", {"pred_hand_pose": [[0] * 48] * 2, "pred_hand_betas": [0] * 10}),
    ],
)
def test_one_row_serves_all_hands_and_another_number_is_refused(tmp_path, model, source, fields):
    """Several hands of one person; once an error that named no file."""
    path = tmp_path / "a.json"
    path.write_text(json.dumps(fields))
    assert len(read_pose(path, source, model).shape) == 2
    last = list(fields)[-1]
    path.write_text(json.dumps(fields | {last: np.zeros((3, np.shape(fields[last])[-1])).tolist()}))
    with pytest.raises(HandFileError, match=rf"a\.json: the field {last} has 3 rows, the pose 2"):
        read_pose(path, source, model)


def test_frankmocaps_pickle(tmp_path, model):
    pose = np.linspace(-0.3, 0.3, 48)[None].astype(np.float32)
    content = {"pred_hand_pose": pose, "pred_hand_betas": np.zeros((1, 10), np.float32)}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content))
    found = read_pose(tmp_path / "a.pkl", "frankmocap", model)
    np.testing.assert_allclose(found.pose[0], pose[0, 3:] + model.hand["hands_mean"], atol=1e-6)


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_prediction_of_ours(tmp_path, side):
    estimate = placed_hand(side)
    path = tmp_path / "photo_hand.json"
    path.write_text(json.dumps(record(estimate, np.zeros((9, 9, 3), np.uint8), "photo.jpg")))
    found = read_pose(path, "dhpe", estimate.model)
    torch.testing.assert_close(found.pose, estimate.h[:, :45], rtol=0, atol=1e-5)
    mesh = estimate.model(shape=found.shape, rotation=found.rotation, pose_matrices=found.fingers)
    ours = (estimate.mesh.vertices - estimate.mesh.joints[:, :1]) / estimate.scale
    torch.testing.assert_close(mesh.vertices - mesh.joints[:, :1], ours, rtol=0, atol=1e-5)
    with pytest.raises(HandFileError, match=f"holds a {side} hand"):
        read_pose(path, "dhpe", estimate.model.mirrored())


@pytest.mark.parametrize(
    ("content", "source", "message"),
    [
        ([1, 2], "axis-angle", r"the field pose has shape \(2,\); give 45 or 48 numbers"),
        ({"shape": []}, "axis-angle", "lacks the field pose with 45 or 48 numbers"),
        ([["a"] * 45], "axis-angle", "does not hold numbers"),
        ([float("nan")] * 45, "mean", "holds a number that is not finite"),
        ([0] * 46, "pca", "give 1 to 45 numbers"),
        ([0] * 60, "freihand", "give 61 numbers"),
        ({"pose": [[0] * 45] * 3, "shape": [[0] * 10] * 2}, "axis-angle", "the field shape has 2 rows, the pose 3"),
        ({"hand_pose": [0] * 135}, "hamer", "lacks the field global_orient with 9"),
        ({"pose": [0] * 45}, "dhpe", "lacks the field h; give the JSON that dhpe predict writes"),
    ],
)
def test_the_problem_of_a_file_is_named(tmp_path, model, content, source, message):
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(HandFileError, match=message) as caught:
        read_pose(tmp_path / "a.json", source, model)
    assert str(caught.value).startswith(str(tmp_path / "a.json"))


def test_a_number_that_is_infinite_in_the_models_precision_is_refused(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([1e308] * 61))
    with pytest.raises(HandFileError, match="the field pose holds a number that is not finite"):
        read_pose(tmp_path / "a.json", "freihand", HandModel.open_hand())


def test_damaged_files_and_unknown_suffixes(tmp_path, model):
    for name in ("a.json", "a.npz", "a.npy", "a.pkl"):
        (tmp_path / name).write_bytes(b"\x93NUM{")
        with pytest.raises(HandFileError, match=rf"{name}: .*(cannot be read|no \.npz)"):
            read_pose(tmp_path / name, "axis-angle", model)
    np.save(tmp_path / "o.npy", np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(HandFileError, match=r"o\.npy: cannot be read"):
        read_pose(tmp_path / "o.npy", "axis-angle", model)
    np.save(tmp_path / "p.npy", np.zeros(45))
    (tmp_path / "p.npy").write_bytes(
        (tmp_path / "p.npy").read_bytes().replace(b"(45,), }" + b" " * 9, b"(45000000000,), }")
    )
    with pytest.raises(HandFileError, match=r"p\.npy: cannot be read .*does not fit 488 bytes"):
        read_pose(tmp_path / "p.npy", "axis-angle", model)
    with pytest.raises(HandFileError, match=r"read from \.json, \.npz, \.npy or \.pkl, not from '\.txt'"):
        read_pose(tmp_path / "a.txt", "axis-angle", model)
    with pytest.raises(HandFileError, match=r"written as \.json or \.npz"):
        write_pose(tmp_path / "a.txt", {})
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        read_pose(tmp_path / "none.json", "axis-angle", model)


def convert(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ("hand", "convert", *arguments), env={"COLUMNS": "1000"})
    assert result.exit_code == code, result.output
    return " ".join(result.output.replace("│", " ").split())


def test_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.json").write_text(json.dumps([[0.1, 0.2, 0.3] * 15]))
    said = convert("a.json", "b.npz", "--from", "axis-angle", "--to", "quaternion", "--mirror")
    assert "1 left hand in b.npz" in said
    assert np.load("b.npz")["pose"].shape == (1, 15, 4)
    convert("b.npz", "c.json", "--from", "quaternion", "--to", "axis-angle", "--side", "left")
    found = json.loads((tmp_path / "c.json").read_text())
    np.testing.assert_allclose(np.reshape(found["pose"], (15, 3)), [[0.1, -0.2, -0.3]] * 15, atol=1e-6)
    assert found["hand"] == "left"
    assert "euler: no such format; choose from axis-angle, matrix" in convert(
        "a.json", "b.json", "--from", "euler", "--to", "pca", code=2
    )
    assert "give the camera" in convert("a.json", "b.json", "--from", "axis-angle", "--to", "freihand", code=2)
    assert "1,2: is no camera" in convert(
        "a.json", "b.json", "--from", "mean", "--to", "pca", "--camera", "1,2", code=2
    )
    assert "b.txt: poses are written as" in convert("a.json", "b.txt", "--from", "mean", "--to", "pca", code=2)
