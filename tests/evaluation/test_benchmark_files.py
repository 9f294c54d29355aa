"""pred.json of FreiHAND and HO-3D: the ground truth itself gets perfect scores in each benchmark's own frame."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_network
import torch
from fake_datasets import (
    FREIHAND_K,
    HO3D_NAMES,
    canonical,
    opengl,
    points,
    write_freihand,
    write_ho3d,
    write_json,
)
from rich.console import Console

from dhpe_lib.data.cache.layout import PreparedError
from dhpe_lib.data.cache.preparation import Job, prepare
from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.data.readers.freihand import FreiHand
from dhpe_lib.data.readers.ho3d import Ho3d
from dhpe_lib.evaluation.benchmark_files import (
    benchmark_scores,
    predict_surfaces,
    require_benchmark,
    write_benchmark,
)
from dhpe_lib.evaluation.evaluate import millimetres
from dhpe_lib.hand.skeleton import JOINT_NAMES
from dhpe_lib.training.setup import build_network

CLOUDS = [points(seed, depth=700) for seed in range(3)]
JOINTS = np.array([canonical(cloud) for cloud in CLOUDS])
SHIFT = np.array([7.0, 0, 0])
VERTICES = np.random.default_rng(0).normal(size=(3, 778, 3)) * 30 + [0, 0, 700]


@pytest.fixture
def cache(tmp_path) -> Prepared:
    write_freihand(tmp_path / "files", "evaluation", CLOUDS)
    write_json(tmp_path / "files" / "evaluation_verts.json", (VERTICES / 1000).tolist())
    job = Job("freihand", "evaluation", FreiHand, tmp_path / "files", tmp_path / "cache" / "evaluation")
    return prepare(job, 1, Console(quiet=True))


def test_the_ground_truth_has_perfect_scores(cache, tmp_path):
    require_benchmark(cache, "freihand")
    scores = benchmark_scores(cache, tmp_path / "files", "freihand", JOINTS, VERTICES)
    assert scores["plain"]["mpjpe"] < 1e-3
    assert scores["plain"]["mpvpe"] < 1e-3
    assert scores["aligned"]["f_5"] == 1
    assert list(scores) == ["plain", "aligned"]
    off = benchmark_scores(cache, tmp_path / "files", "freihand", JOINTS + SHIFT, VERTICES + SHIFT)
    assert off["plain"]["mpjpe"] == pytest.approx(7, abs=1e-3)
    assert off["aligned"]["mpvpe"] < 1e-3
    (tmp_path / "files" / "evaluation_verts.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"evaluation_verts\.json: no such file; get the labels"):
        benchmark_scores(cache, tmp_path / "files", "freihand", JOINTS, VERTICES)


def test_ho3d_has_a_third_row(tmp_path):
    files, turn = tmp_path / "files", np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    for number, cloud in enumerate(CLOUDS):
        write_ho3d(files, "evaluation", f"SM1/000{number}", opengl(cloud)[0])
    write_json(files / "evaluation_xyz.json", [opengl(cloud).tolist() for cloud in CLOUDS])
    write_json(files / "evaluation_verts.json", (VERTICES / 1000 * [1, -1, -1]).tolist())
    cache = prepare(Job("ho3d-v3", "evaluation", Ho3d, files, tmp_path / "cache"), 1, Console(quiet=True))
    scaled = benchmark_scores(cache, files, "ho3d", 2 * JOINTS + SHIFT, VERTICES)
    assert scaled["plain"]["mpjpe"] > 500
    assert list(scaled["scale_translation"]) == ["mpjpe", "joint_auc"]
    assert scaled["scale_translation"]["mpjpe"] < 1e-3  # size and place do not count
    assert scaled["scale_translation"]["joint_auc"] > 0.99
    turned = benchmark_scores(cache, files, "ho3d", JOINTS @ turn, VERTICES)
    expected = np.linalg.norm((JOINTS - JOINTS[:, :1]) @ (turn - np.eye(3)), axis=2).mean()
    assert turned["scale_translation"]["mpjpe"] == pytest.approx(expected, rel=1e-4)  # a rotation counts
    assert turned["aligned"]["mpjpe"] < 1e-3


def test_meshes_of_other_pictures_are_refused(cache, tmp_path):
    write_json(tmp_path / "files" / "evaluation_verts.json", (VERTICES[:2] / 1000).tolist())
    with pytest.raises(PreparedError, match=r"evaluation_verts\.json: meshes of 2 pictures, predictions of 3"):
        benchmark_scores(cache, tmp_path / "files", "freihand", JOINTS, VERTICES)


def test_files_have_each_benchmarks_frame_and_order(tmp_path):
    write_benchmark(tmp_path / "f.json", "freihand", JOINTS, VERTICES)
    joints, vertices = json.loads((tmp_path / "f.json").read_text())
    np.testing.assert_allclose(joints, JOINTS / 1000, atol=1e-6)
    write_benchmark(tmp_path / "h.json", "ho3d", JOINTS, VERTICES)
    joints, vertices = json.loads((tmp_path / "h.json").read_text())
    np.testing.assert_allclose(joints[1], opengl(CLOUDS[1]), atol=1e-6)
    np.testing.assert_allclose(vertices, VERTICES / 1000 * [1, -1, -1], atol=1e-6)
    assert sorted(HO3D_NAMES) == sorted(JOINT_NAMES)


def test_the_network_predicts_in_the_cameras_frame(cache, monkeypatch):
    tiny_network.install(monkeypatch.setitem)
    network, counted = build_network(tiny_network.config(cache.directory)), []
    joints, vertices = predict_surfaces(network, cache, torch.device("cpu"), 2, counted.append)
    assert (joints.shape, vertices.shape, counted) == ((3, 21, 3), (3, 778, 3), [2, 1])
    crops = cache[:]
    estimate = network.predict(torch.zeros(3, 3, 224, 224))
    expected = millimetres(estimate.joints, crops, points=estimate.mesh.vertices)
    assert np.abs(expected - vertices).mean() < 200  # another picture, but the same place: 700 mm away
    assert np.abs(vertices[..., 2] - 700).mean() < 150
    assert FREIHAND_K[0][0] > 0


def test_other_splits_are_refused(cache):
    with pytest.raises(
        PreparedError, match="holds freihand evaluation; the benchmark needs the evaluation split of ho3d"
    ):
        require_benchmark(cache, "ho3d")
    left_out = SimpleNamespace(directory="x", meta=cache.meta | {"left_out": {"a": "gone"}})
    with pytest.raises(PreparedError, match="1 pictures were left out, but the benchmark needs a prediction for each"):
        getattr(require_benchmark, "__wrapped__", require_benchmark)(left_out, "freihand")
