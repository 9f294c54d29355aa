"""Figures hold what they were given, in few bytes; overlays change the pixels that they should and no others."""

import base64
import io
import re

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from PIL import Image

from dhpe_lib.figures.plotting import (
    FINGER_COLORS,
    VIEWS,
    draw_skeleton,
    mesh_figure,
    mesh_trace,
    overlay,
    picture_row,
    scene,
    signed_colors,
    skeleton_traces,
    slider_figure,
)

VERTICES = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]])
FACES = torch.tensor([[0, 1, 2], [0, 2, 3]])
JOINTS = torch.stack([torch.arange(21.0), 2 * torch.arange(21.0), torch.zeros(21)], dim=1)


def decode(array: dict[str, str]) -> np.ndarray:
    """A typed array of plotly's JSON."""
    return np.frombuffer(base64.b64decode(array["bdata"]), array["dtype"])


def test_mesh_figure_stores_float32_and_int16():
    trace = mesh_figure(VERTICES, FACES).to_dict()["data"][0]
    assert (trace["x"]["dtype"], trace["i"]["dtype"]) == ("f4", "i2")
    np.testing.assert_array_equal(decode(trace["z"]), VERTICES[:, 2])
    np.testing.assert_array_equal(decode(trace["k"]), FACES[:, 2])


def test_a_hand_costs_a_page_less_than_30_kb():
    vertices, faces = np.random.default_rng(0).normal(size=(778, 3)), np.zeros((1538, 3), int)
    assert len(mesh_figure(vertices, faces).to_json()) < 30_000


def test_joints_show_through_the_mesh():
    figure = mesh_figure(VERTICES, FACES, joints=JOINTS)
    assert figure.data[0].opacity < 1
    assert [trace.type for trace in figure.data] == ["mesh3d"] + 5 * ["scatter3d"]


def test_values_become_colours_with_a_named_bar():
    trace = mesh_trace(VERTICES, FACES, values=[0.0, 1.0, 2.0, 3.0], unit="mm")
    np.testing.assert_array_equal(trace.intensity, [0, 1, 2, 3])
    assert trace.colorbar.title.text == "mm"


def test_each_finger_runs_from_the_wrist_to_its_tip_in_its_colour():
    for finger, trace in enumerate(skeleton_traces(JOINTS)):
        np.testing.assert_array_equal(trace.x, [0, *range(1 + 4 * finger, 5 + 4 * finger)])
        assert trace.line.color == FINGER_COLORS[finger]


def test_several_meshes_share_a_scene_seen_from_the_camera():
    figure = scene([mesh_trace(VERTICES, FACES), mesh_trace(VERTICES + 1, FACES), *skeleton_traces(JOINTS)], "camera")
    assert len(figure.data) == 7
    camera = figure.layout.scene.camera
    assert camera.up.y == -1  # y runs down
    assert camera.eye.z == VIEWS["camera"]["eye"]["z"] < 0  # z runs away from the eye


def test_slider_has_a_frame_for_each_value_and_fixed_axes():
    figure = slider_figure(lambda value: VERTICES * (1 + value), FACES, [-0.5, 0.0, 1.0], "size")
    assert [frame.name for frame in figure.frames] == ["-0.5", "0", "1"]
    np.testing.assert_allclose(figure.frames[2].data[0].z, 2 * VERTICES[:, 2])
    np.testing.assert_allclose(figure.data[0].z, VERTICES[:, 2])
    assert figure.layout.sliders[0].active == 1
    assert figure.layout.scene.zaxis.range == (0.0, 6.0)


def test_overlay_mixes_inside_the_mask_only():
    image = np.full((4, 6, 3), 100, np.uint8)
    mask = np.zeros((4, 6), bool)
    mask[1, 2] = True
    rendering = np.ones((4, 6, 3))
    result = overlay(image, mask, rendering, opacity=0.5)
    assert result[1, 2].tolist() == [178, 178, 178]  # halfway from 100 to 255
    result[1, 2] = 100
    np.testing.assert_array_equal(result, image)
    np.testing.assert_array_equal(image, 100)  # the photo itself is left alone


def test_overlay_without_rendering_is_a_plain_colour():
    result = overlay(np.zeros((2, 2, 3), np.uint8), np.ones((2, 2)), opacity=1.0)
    assert (result == result[0, 0]).all()
    assert result[0, 0].max() > 200


def fan(step: float = 20.0) -> np.ndarray:
    """Five fingers side by side above a wrist, [21, 2] in pixels."""
    tips = [(30 + 25 * finger, 100 - step * joint) for finger in range(5) for joint in range(4)]
    return np.array([(80.0, 140.0), *tips])


def test_skeleton_paints_each_joint_in_its_fingers_colour():
    image = np.zeros((160, 160, 3), np.uint8)
    places = fan()
    result = draw_skeleton(image, places)
    assert result.shape == image.shape
    for joint in range(1, 21):
        u, v = (int(value) for value in places[joint])
        color = FINGER_COLORS[(joint - 1) // 4].lstrip("#")
        expected = [int(color[k : k + 2], 16) for k in (0, 2, 4)]
        np.testing.assert_allclose(result[v, u], expected, atol=40, err_msg=f"joint {joint}")
    assert not image.any()


def test_skeleton_leaves_out_unknown_joints():
    places, valid = fan(), np.ones(21, bool)
    valid[4] = False
    places[8] = np.nan
    result = draw_skeleton(np.zeros((160, 160, 3), np.uint8), torch.tensor(places), valid)
    u, v = fan()[4].astype(int)
    assert not result[v - 3 : v + 3, u - 3 : u + 3].any()
    assert not draw_skeleton(np.zeros((9, 9, 3), np.uint8), places, np.zeros(21, bool)).any()


def test_row_holds_each_picture_and_its_caption():
    grey = torch.tensor([[0.0, 0.5], [1.0, 2.0]])
    color = np.random.default_rng(0).random((3, 4, 3))
    html = picture_row({"a <b>": grey, "c": color}, width=99)._repr_html_()
    assert "a &lt;b&gt;</figcaption>" in html
    assert "<b>" not in html
    addresses = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    found = [np.asarray(Image.open(io.BytesIO(base64.b64decode(address)))) for address in addresses]
    np.testing.assert_array_equal(found[0], [[0, 128], [255, 255]])
    np.testing.assert_array_equal(found[1], np.rint(255 * color))
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", html)


def test_signed_colors_are_white_at_zero():
    colors = signed_colors(torch.tensor([[-2.0, 0.0, 1.0, 2.0]]))
    np.testing.assert_array_equal(colors[0, 1], 1)
    assert colors[0, 0, 2] > colors[0, 0, 0]  # negative: blue
    assert colors[0, 3, 0] > colors[0, 3, 2]  # positive: red
    assert (colors[0, 3] < colors[0, 2])[1:].all()
    np.testing.assert_array_equal(signed_colors(np.zeros((2, 2))), 1)
    np.testing.assert_array_equal(signed_colors(np.array([[3.0]]), largest=1.0), signed_colors(np.array([[1.0]])))


def test_draws_on_bytes_only():
    with pytest.raises(TypeCheckError):
        overlay(np.zeros((2, 2, 3)), np.ones((2, 2)))
