"""Textures in files: seams, the places in the image, and the image itself."""

import io

import numpy as np
import pytest
import trimesh
from PIL import Image

from dhpe_lib.hand.io import read_hand, write_mesh
from dhpe_lib.hand.mesh_texture import MeshTexture, split_seams, texture_of
from dhpe_lib.hand.model import OPEN_HAND

FACES = np.array([[0, 1, 2], [2, 1, 3]])
TEXTURE = MeshTexture(
    np.array([[0, 0], [1, 0], [0, 1], [1, 1], [0.5, 0.25]]),
    np.array([[0, 1, 2], [4, 1, 3]]),  # vertex 2 lies on a seam
    np.zeros((4, 4, 3), np.uint8),
)


@pytest.fixture(scope="module")
def hand() -> dict[str, np.ndarray]:
    return read_hand(OPEN_HAND)


def test_a_vertex_on_a_seam_is_repeated_at_the_end():
    seams = split_seams(5, FACES, TEXTURE)  # vertex 4 has no face
    assert seams.source.tolist() == [0, 1, 2, 3, 4, 2]
    np.testing.assert_array_equal(seams.source[seams.faces], FACES)
    np.testing.assert_array_equal(seams.uv[seams.faces], TEXTURE.uv[TEXTURE.corners])


def test_the_open_hand_keeps_every_corner(hand):
    texture = texture_of(hand)
    seams = split_seams(778, hand["f"], texture)
    assert seams.source[:778].tolist() == list(range(778))
    assert len(seams.source) == len(np.unique(np.c_[hand["f"].ravel(), hand["ft"].ravel()], axis=0))
    np.testing.assert_array_equal(seams.source[seams.faces], hand["f"])
    np.testing.assert_array_equal(seams.uv[seams.faces], hand["vt"][hand["ft"]])


def test_the_image_survives(hand):
    texture = texture_of(hand)
    found = np.array(Image.open(io.BytesIO(texture.jpeg()))).astype(int)
    assert np.abs(found - texture.image).mean() < 2
    assert texture.jpeg() is texture.jpeg()


def test_a_hand_without_texture():
    assert texture_of({"v_template": np.zeros((778, 3))}) is None


def colors_of_corners(mesh: trimesh.Trimesh) -> np.ndarray:
    """Colour of the image at each corner of each face; trimesh has v upwards."""
    material = mesh.visual.material
    image = np.array(getattr(material, "image", None) or material.baseColorTexture)
    u, v = mesh.visual.uv.T
    height, width = image.shape[:2]
    return image[((1 - v) * (height - 1)).round().astype(int), (u * (width - 1)).round().astype(int)][mesh.faces]


@pytest.mark.parametrize("suffix", [".glb", ".obj"])
def test_other_programs_find_the_colours_at_the_corners(tmp_path, hand, suffix):
    texture = texture_of(hand)
    write_mesh(tmp_path / f"hand{suffix}", hand["v_template"], hand["f"], None, texture)
    mesh = trimesh.load(tmp_path / f"hand{suffix}", force="mesh", process=False)
    corners = mesh.vertices[mesh.faces]
    np.testing.assert_allclose(corners, hand["v_template"][hand["f"]], atol=1e-6)
    column, row = (hand["vt"] * 511).round().astype(int).T
    goal = texture.image[row, column][hand["ft"]].astype(int)
    assert np.abs(colors_of_corners(mesh)[..., :3] - goal).mean() < 3


def test_an_obj_keeps_its_vertices_and_names_its_files(tmp_path, hand):
    write_mesh(tmp_path / "a b.obj", hand["v_template"], hand["f"], None, texture_of(hand))
    assert {path.name for path in tmp_path.iterdir()} == {"a b.obj", "a b.mtl", "a b_texture.jpg"}
    lines = (tmp_path / "a b.obj").read_text().splitlines()
    assert lines[0] == "mtllib a b.mtl"
    vertices = np.array([line.split()[1:] for line in lines if line.startswith("v ")], float)
    np.testing.assert_allclose(vertices, hand["v_template"], atol=1e-8)
    assert sum(line.startswith("vt ") for line in lines) == 902
    assert "map_Kd a b_texture.jpg" in (tmp_path / "a b.mtl").read_text()
