"""Joints in space: known hands come back, units, orders and sides are found or declared, and wrong files are named."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from typer.testing import CliRunner

from dhpe_lib.cli.__main__ import app
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.poses import sample_poses
from dhpe_lib.hand.rotations import random_rotations
from dhpe_lib.hand.skeleton import JOINT_ORDERS
from dhpe_lib.prediction.from_joints_3d import Joints3dError, fit_joints_3d, read_joints_3d


@pytest.fixture(scope="module")
def model() -> HandModel:
    return HandModel.open_hand()


@pytest.fixture(scope="module")
def joints(model) -> np.ndarray:
    """Joints of a natural right hand somewhere in space, metres."""
    generator = torch.Generator().manual_seed(5)
    turn = random_rotations(1, generator)
    mesh = model(sample_poses(1, generator), torch.randn(1, 10, generator=generator) * 0.5, turn)
    return mesh.joints[0].double().numpy() + np.array([0.1, -0.2, 0.7])


def write(path: Path, *entries: dict) -> Path:
    path.write_text(json.dumps(entries, default=lambda values: values.tolist()))
    return path


def fitted(tmp_path, model, **entry):
    (hand,) = read_joints_3d(write(tmp_path / "j.json", entry))
    (estimate,) = fit_joints_3d(model, [hand])
    return estimate


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("declared", [True, False])
def test_a_hand_and_its_side_come_back(tmp_path, model, joints, side, declared):
    given = joints if side == "right" else joints * [-1, 1, 1]
    entry = {"joints_3d": given} | ({"hand": side} if declared else {})
    estimate = fitted(tmp_path, model, **entry)
    assert (estimate.model.side, estimate.warnings) == (side, [])
    off = np.linalg.norm(estimate.mesh.joints[0].numpy() - given, axis=1)
    assert off.mean() == pytest.approx(estimate.error, abs=1e-5)
    assert estimate.error < 3e-4
    assert float(estimate.h[0, 59]) == 0  # the scale is 1


@pytest.mark.parametrize(("factor", "unit", "doubts"), [(1, "m", 0), (1000, "mm", 0), (1000, None, 1), (7.5, "any", 0)])
def test_units(tmp_path, model, joints, factor, unit, doubts):
    entry = {"joints_3d": factor * joints, "hand": "right"} | ({} if unit is None else {"unit": unit})
    estimate = fitted(tmp_path, model, **entry)
    assert len(estimate.warnings) == doubts
    assert estimate.relative_error < 0.002
    scale = factor if unit == "any" else 1
    np.testing.assert_allclose(estimate.mesh.joints[0], scale * joints, atol=0.002 * scale)


@pytest.mark.parametrize("order", JOINT_ORDERS)
def test_orders(tmp_path, model, joints, order):
    rows = joints[np.argsort(JOINT_ORDERS[order])]
    assert fitted(tmp_path, model, joints_3d=rows, hand="right", order=order).relative_error < 0.002


def test_a_wrong_order_warns(tmp_path, model, joints):
    rows = joints[np.argsort(JOINT_ORDERS["mano"])]
    assert "check their order" in fitted(tmp_path, model, joints_3d=rows, hand="right").warnings[0]


def test_unknown_joints_do_not_count(tmp_path, model, joints):
    rows = np.c_[joints, np.ones(21)]
    rows[8] = [0, 0, 0, 0]
    estimate = fitted(tmp_path, model, joints_3d=rows, hand="right")
    assert estimate.error < 3e-4
    np.testing.assert_allclose(estimate.mesh.joints[0, 7], joints[7], atol=5e-3)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "entry 0: lacks the field joints_3d"),
        ({"joints_3d": [[1, 2]] * 21}, r"joints_3d has shape \(21, 2\)"),
        ({"joints_3d": "x"}, "entry 0: the field joints_3d is a text, not a list"),
        ({"joints_3d": [[1, 2, 3]] * 20 + [[1]]}, "entry 0: joints_3d has rows of several lengths"),
        ({"joints_3d": [[float("nan")] * 3] * 21}, "is not finite"),
        ({"joints_3d": [[1, 2, 3, 2]] * 21}, "it is the confidence"),
        ({"joints_3d": [[1, 2, 3]] * 21}, "all lie in one place"),
        ({"joints_3d": np.eye(21, 3).tolist()}, 'the hand is 1.41 m large; write its unit, or "unit": "any"'),
        (
            {"joints_3d": np.eye(21, 3).tolist(), "unit": "cm"},
            "the field unit is 'cm', which is not allowed; it should read",
        ),
        ({"joints_3d": np.eye(21, 3).tolist(), "hand": 1}, "the field hand is a whole number, not a text"),
        ({"joints_3d": np.eye(21, 3).tolist(), "order": []}, "the field order is a list, not a text"),
        ({"joints_3d": np.eye(21, 3).tolist(), "order": "smpl"}, "\"order\" is 'smpl'; write one of"),
        ({"joints_3d": np.eye(21, 3).tolist(), "name": "../a"}, "the field name is not a name of letters"),
    ],
)
def test_the_problem_of_an_entry_is_named(tmp_path, entry, message):
    with pytest.raises(Joints3dError, match=message) as caught:
        read_joints_3d(write(tmp_path / "j.json", entry))
    assert str(caught.value).startswith(str(tmp_path / "j.json"))


def test_files_of_another_layout(tmp_path, model, joints):
    with pytest.raises(FileNotFoundError, match=r"none\.json: no such file"):
        read_joints_3d(tmp_path / "none.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(Joints3dError, match=r"a\.json: is an object, not a list"):
        read_joints_3d(tmp_path / "a.json")
    with pytest.raises(Joints3dError, match=r"b\.json: holds no entry; it should read"):
        read_joints_3d(write(tmp_path / "b.json"))
    with pytest.raises(Joints3dError, match="two entries are called x"):
        read_joints_3d(write(tmp_path / "b.json", *[{"joints_3d": joints, "name": "x"}] * 2))
    few = np.c_[joints, np.arange(21) < 3]
    (hand,) = read_joints_3d(write(tmp_path / "c.json", {"joints_3d": few, "hand": "right", "name": "few"}))
    with pytest.raises(Joints3dError, match=r"few: .*fewer than"):
        fit_joints_3d(model, [hand])


def test_the_command(tmp_path, monkeypatch, joints):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "j.json", {"joints_3d": joints}, {"joints_3d": joints * [-1, 1, 1], "name": "other"})
    run = CliRunner().invoke(app, ("predict", "--keypoints-3d", "j.json"))
    assert run.exit_code == 0, run.output
    assert "j_1  right hand" in run.output
    assert "other  left hand" in run.output
    names = {f"{stem}{suffix}" for stem in ("j_1", "other") for suffix in (".json", ".glb", ".obj")}
    assert {path.name for path in Path("dhpe_out").iterdir()} == names
    found = json.loads(Path("dhpe_out/j_1.json").read_text())
    assert (found["hand"], found["hand_known"], found["verdict"]) == ("right", False, "good")
    mesh = trimesh.load("dhpe_out/j_1.obj", process=False)
    np.testing.assert_allclose(mesh.vertices.mean(0), np.mean(found["joints"], axis=0), atol=0.03)
    for arguments in (("p.png", "--keypoints-3d", "j.json"), ("--keypoints-3d", "j.json", "--write", "png"), ()):
        assert CliRunner().invoke(app, ("predict", *arguments)).exit_code == 2
