"""Plotly figures hold the arrays that they were given, in few bytes."""

import base64

import numpy as np
import torch

from dhpe_lib.figures.palette import FINGER_COLORS
from dhpe_lib.figures.plotly_figures import VIEWS, mesh_figure, mesh_trace, scene, skeleton_traces

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


def luminance(rgb) -> float:
    """Relative luminance of WCAG 2; RGB in [0, 1]."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def test_every_value_shows_on_a_white_page_and_on_a_dark_one():
    scale = mesh_trace(VERTICES, FACES, values=[0.0, 1.0, 2.0, 3.0]).colorscale
    for _, color in scale:
        light = luminance([int(part) / 255 for part in color[4:-1].split(",")])
        for page in (1.0, luminance([0x12 / 255] * 3)):  # the theme's backgrounds
            low, high = sorted((light, page))
            assert (high + 0.05) / (low + 0.05) > 1.7  # 1.2 for both ends of viridis


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
