"""Every suffix writes its format, and poses and shapes are read from lists, JSON and predictions."""

import json

import numpy as np
import pytest
import torch
import trimesh
from estimates import placed_hand

from dhpe_lib.cli.hand import read_numbers
from dhpe_lib.hand.export import export_hand, vertex_colors
from dhpe_lib.hand.io import HandFileError, read_hand, write_mesh
from dhpe_lib.hand.model import HandModel
from dhpe_lib.prediction.outputs import record

POSE = (0.1 * torch.sin(torch.arange(45.0))).tolist()


@pytest.fixture(scope="module")
def model() -> HandModel:
    return HandModel.open_hand()


@pytest.mark.parametrize("suffix", [".pkl", ".npz"])
def test_models_in_manos_layout(tmp_path, model, suffix):
    export_hand(tmp_path / f"hand{suffix}", model.mirrored())
    found = read_hand(tmp_path / f"hand{suffix}")
    np.testing.assert_allclose(found["v_template"], model.hand["v_template"] * (-1, 1, 1))


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".glb"])
def test_posed_meshes(tmp_path, model, suffix):
    written = export_hand(tmp_path / "deep" / f"hand{suffix}", model, POSE, [2.0, -1.0, *[0.0] * 8])
    mesh = trimesh.load(tmp_path / "deep" / f"hand{suffix}", force="mesh", process=False)
    expected = model(torch.tensor([POSE]), torch.tensor([[2.0, -1, 0, 0, 0, 0, 0, 0, 0, 0]])).vertices[0]
    np.testing.assert_allclose(mesh.vertices[mesh.faces], expected[model.faces], atol=1e-6)
    assert set((tmp_path / "deep").iterdir()) == set(written)
    assert len(written) == (3 if suffix == ".obj" else 1)


def test_glb_has_linear_colours_normals_and_a_matt_material(tmp_path, model):
    colors = vertex_colors(model)
    write_mesh(tmp_path / "hand.glb", model.hand["v_template"], model.hand["f"], colors)
    data = (tmp_path / "hand.glb").read_bytes()
    length = int.from_bytes(data[12:16], "little")
    document, binary = json.loads(data[20 : 20 + length]), data[28 + length :]
    (primitive,) = document["meshes"][0]["primitives"]
    assert document["materials"][primitive["material"]]["pbrMetallicRoughness"]["metallicFactor"] == 0

    def rows(name: str) -> np.ndarray:
        accessor = document["accessors"][primitive["attributes"][name]]
        view = document["bufferViews"][accessor["bufferView"]]
        return np.frombuffer(binary, np.float32, 3 * accessor["count"], view["byteOffset"]).reshape(-1, 3)

    np.testing.assert_array_equal(colors[0], (224, 171, 145))
    np.testing.assert_allclose(255 * rows("COLOR_0")[0], (190, 104, 72), atol=0.5)
    mesh = trimesh.Trimesh(rows("POSITION"), model.faces, process=False)
    assert (rows("NORMAL") * mesh.vertex_normals).sum(1).min() > 0.8
    np.testing.assert_allclose(np.linalg.norm(rows("NORMAL"), axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("name", ["hand.stl", "hand", "hand.OBJX"])
def test_other_suffixes_list_the_right_ones(tmp_path, model, name):
    with pytest.raises(ValueError, match=r"\.pkl, \.npz, \.obj, \.ply, \.glb, not as"):
        export_hand(tmp_path / name, model)
    assert not list(tmp_path.iterdir())


def test_suffixes_in_capitals(tmp_path, model):
    for suffix in (".pkl", ".npz", ".obj", ".ply", ".glb"):
        export_hand(tmp_path / f"a{suffix}", model)
        export_hand(tmp_path / f"B{suffix.upper()}", model)
        assert (tmp_path / f"B{suffix.upper()}").stat().st_size == (tmp_path / f"a{suffix}").stat().st_size
    for suffix in (".PKL", ".NPZ"):
        np.testing.assert_allclose(HandModel.load(tmp_path / f"B{suffix}").v_template, model.v_template)


def test_a_folder_is_no_model(tmp_path):
    with pytest.raises(HandFileError, match=r"is a folder; name the hand file in it, such as .*MANO_RIGHT\.pkl"):
        HandModel.load(tmp_path)


def test_a_model_takes_no_pose(tmp_path, model):
    with pytest.raises(ValueError, match="holds all poses"):
        export_hand(tmp_path / "hand.npz", model, shape=[1.0] * 10)


def test_numbers_from_text_json_and_files(tmp_path):
    rows = np.reshape(POSE, (15, 3)).tolist()
    (tmp_path / "list.json").write_text(json.dumps(rows))
    (tmp_path / "plain.txt").write_text(", ".join(map(str, POSE)) + "\n")
    for text in (json.dumps(rows), ",".join(map(str, POSE)), str(tmp_path / "list.json"), str(tmp_path / "plain.txt")):
        assert read_numbers(text, "pose", "right") == pytest.approx(POSE)
    assert read_numbers("-1, 2.5", "shape", "left") == [-1, 2.5, *[0] * 8]
    assert read_numbers(None, "pose", "right") is None


def test_a_prediction_serves_as_pose_and_shape(tmp_path):
    estimate = placed_hand("left")
    path = tmp_path / "photo_hand.json"
    path.write_text(json.dumps(record(estimate, np.zeros((9, 9, 3), np.uint8), "photo.jpg")))
    np.testing.assert_allclose(read_numbers(str(path), "pose", "left"), estimate.h[0, :45], atol=1e-6)
    assert len(read_numbers(str(path), "shape", "right")) == 10
    with pytest.raises(ValueError, match="pose of a left hand; add --side left"):
        read_numbers(str(path), "pose", "right")


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        ("1,2", "pose", "45 numbers, here are 2"),
        (",".join("1" * 11), "shape", "10 numbers, here are 11"),
        ("a,b", "shape", "neither a file nor numbers"),
        ("missing.json", "shape", "neither a file nor numbers"),
        ("[[1, 2], [3]]", "shape", "does not hold numbers in rows of equal length"),
        ("[[1, 2], 3]", "shape", "does not hold numbers in rows of equal length"),
        ('{"a": 1}', "shape", "holds no shape"),
        ('["x"]', "shape", "entry 0: is a text, not a number"),
        ('{"h": {"shape": "x"}}', "shape", r"the field h\[\.\.\.\] is a text, not a list"),
        ('{"h": {"pose": []}}', "shape", "holds no shape"),
        ("1,NaN", "shape", "number 2 of the shape is not finite"),
    ],
)
def test_wrong_numbers_are_named(text, field, message):
    with pytest.raises(ValueError, match=message):
        read_numbers(text, field, "right")
