"""Figures about the conventions of hand datasets: the numbers of the joints, and where the cameras stand.

Nothing here has a gradient.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from numpy import ndarray
from plotly.subplots import make_subplots

from dhpe_lib.common.records import to_numpy
from dhpe_lib.data.readers import dexter_object, stb
from dhpe_lib.figures.chapters import GRID_COLOR
from dhpe_lib.figures.palette import FINGER_COLORS
from dhpe_lib.figures.plotly_figures import columns, mesh_trace, scene, skeleton_traces
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.skeleton import JOINT_NAMES, JOINT_ORDERS, MIDDLE_MCP

ORDERS = {"FreiHAND": "freihand", "RHD": "rhd", "STB": "stb", "HO-3D": "ho3d", "Dexter+Object": None}
"""Key of each dataset in `JOINT_ORDERS`; None if only the fingertips are labelled, thumb to little."""
TIPS = [joint for joint, name in enumerate(JOINT_NAMES) if name.endswith("tip")]
RED, BLUE, BROWN = FINGER_COLORS[0], FINGER_COLORS[3], "#8a6f5c"
WIDTH, HAND_DEPTH, FARTHEST = 640, 500, 560
"""Width of the cameras' pictures in pixels, depth of the drawn hand and of the end of a field of view in mm."""
QUIET = {"showlegend": False, "hoverinfo": "skip"}


@dataclass(frozen=True)
class Camera:
    """A camera seen from above.

    Attributes:
        name: Name in the figure.
        place: Position in the frame of the labels, millimetres.
        k: Camera matrix, pixels.
        color: CSS colour.
    """

    name: str
    place: Any
    k: Float[ndarray, "3 3"]
    color: str


def joint_orders(model: HandModel) -> go.Figure:
    """Show a hand with the numbers that each dataset gives to its joints; a button for each dataset.

    Args:
        model: Any hand model.

    Returns:
        A plotly figure.
    """
    hand = model(pose=0.4 * model.hands_mean[None])
    choices = {name: _numbers(to_numpy(hand.joints[0]), name) for name in ORDERS}
    labels = go.Scatter3d(
        mode="markers+text", hoverinfo="text", showlegend=False, textposition="middle right", textfont={"size": 14},
        marker={"colorscale": "Turbo", "cmin": 0, "cmax": 20, "size": 7},
    )  # fmt: skip
    labels.update({name: value[0] for name, value in choices["FreiHAND"].items()})
    bones = skeleton_traces(hand.joints[0], width=2.0)
    for trace in bones:
        trace.update(mode="lines", line_color="#8a929c")
    traces = [mesh_trace(hand.vertices[0], model.faces, "#c9b8ab", 0.25), *bones, labels]
    buttons = [
        {"label": name, "method": "restyle", "args": [choice, [len(traces) - 1]]} for name, choice in choices.items()
    ]
    menu = {"type": "buttons", "direction": "right", "buttons": buttons, "x": 0, "xanchor": "left", "y": 1.09,
            "yanchor": "top", "showactive": True, "font": {"size": 12}}  # fmt: skip
    return scene(traces, height=500).update_layout(margin_t=40, updatemenus=[menu])


def cameras_from_above(joints: Float[ndarray, "21 3"]) -> go.Figure:
    """Show from above where the cameras of STB and Dexter+Object stand, in the frame of the labels.

    A blue ring marks the frame of the labels, a filled point a camera. A panel's title gives the largest distance
    between them.

    Args:
        joints: A hand in the model's frame, metres; it is drawn half a metre away, palm to the cameras.

    Returns:
        A plotly figure with three panels.
    """
    rigs = camera_rigs()
    titles = [f"{name}: {farthest(cameras):.0f} mm" for name, cameras in rigs.items()]
    figure = make_subplots(1, 3, subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.03)
    for panel, cameras in enumerate(rigs.values(), 1):
        for camera in cameras:
            for trace in (_field_of_view(camera), _camera_point(camera)):
                figure.add_trace(trace, row=1, col=panel)
        figure.add_trace(_labels_ring("" if panel == 1 else "depth: labels"), row=1, col=panel)
        across, away = 1000 * joints[:, 2], HAND_DEPTH + 1000 * joints[:, 1]  # fingers up: x from z, depth from y
        figure.add_scatter(
            x=across, y=away, mode="markers", marker={"color": BROWN, "size": 4}, **QUIET, row=1, col=panel
        )
    figure.update_layout(template="none", height=360, margin={"l": 50, "r": 10, "t": 35, "b": 45})
    figure.update_xaxes(title="x, mm", zeroline=False, gridcolor=GRID_COLOR, range=[-330, 330])
    figure.update_yaxes(zeroline=False, gridcolor=GRID_COLOR, range=[-110, 580])
    return figure.update_yaxes(title="depth, mm", row=1, col=1)


def camera_rigs() -> dict[str, tuple[Camera, ...]]:
    """Return the colour cameras of three set-ups, in the frame of their labels."""
    to_color = dexter_object.DEPTH_TO_COLOR_ROTATION
    beside = -to_color.T @ dexter_object.DEPTH_TO_COLOR_TRANSLATION  # where R X + t is zero
    real_sense = Camera("colour", stb.COLOR_TO_DEPTH_TRANSLATION, stb.CAMERAS["SK_color"].k, RED)
    return {
        "STB, stereo": (
            Camera("left", (0, 0, 0), stb.CAMERAS["BB_left"].k, BLUE),
            Camera("right", (stb.BASELINE, 0, 0), stb.CAMERAS["BB_right"].k, RED),
        ),
        "STB, RealSense": (real_sense,),
        "Dexter+Object": (Camera("colour", beside, dexter_object.K_COLOR, RED),),
    }


def farthest(cameras: tuple[Camera, ...]) -> float:
    """Return the largest distance of a camera from the frame of the labels, millimetres."""
    return max(float(np.linalg.norm(camera.place)) for camera in cameras)


def _numbers(places: Float[ndarray, "21 3"], dataset: str) -> dict[str, list[Any]]:
    """Return what a button changes: places, numbers, names and colours of the joints that a dataset labels."""
    where, names, order = places.copy(), list(JOINT_NAMES), ORDERS[dataset]
    if dataset == "STB":  # roughly: the palm's centre
        where[0], names[0] = (places[0] + places[MIDDLE_MCP]) / 2, "palm"
    rows = TIPS if order is None else list(range(21))
    numbers = list(range(5)) if order is None else list(JOINT_ORDERS[order])
    x, y, z = columns(where[rows])
    return {
        "x": [x], "y": [y], "z": [z],
        "text": [[f" <b>{number}</b>" for number in numbers]],
        "hovertext": [[names[row] for row in rows]],
        "marker.color": [numbers],
    }  # fmt: skip


def _field_of_view(camera: Camera) -> go.Scatter:
    """Draw the triangle that a camera sees from above."""
    left, right = FARTHEST * (np.array([0, WIDTH]) - camera.k[0, 2]) / camera.k[0, 0]
    x, _, z = camera.place
    return go.Scatter(
        x=[x + left, x, x + right], y=[z + FARTHEST, z, z + FARTHEST], mode="lines", fill="toself", opacity=0.5,
        line={"color": camera.color, "width": 1.5}, **QUIET,
    )  # fmt: skip


def _camera_point(camera: Camera) -> go.Scatter:
    """Draw a camera as a filled point with its name."""
    side = "bottom right" if camera.name == "right" else "bottom left"
    return go.Scatter(
        x=[camera.place[0]], y=[camera.place[2]], mode="markers+text", text=[camera.name], textposition=side,
        marker={"color": camera.color, "size": 9}, cliponaxis=False, **QUIET,
    )  # fmt: skip


def _labels_ring(name: str) -> go.Scatter:
    """Draw the origin of the labels' frame as a ring."""
    return go.Scatter(
        x=[0], y=[0], mode="markers+text", text=[name], textposition="bottom right", cliponaxis=False,
        marker={"color": BLUE, "size": 12, "symbol": "circle-open", "line_width": 2}, **QUIET,
    )  # fmt: skip
