"""Plotly figures that follow a slider without a kernel: each position of the slider is stored in the figure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from dhpe_lib.figures.data_urls import data_url
from dhpe_lib.figures.plotly_figures import BARE, columns, mesh_figure

QUALITY = 82
"""JPEG quality of the stored pictures: a picture of 336 pixels takes some 10 kB."""


def add_slider(
    figure: go.Figure, names: Sequence[str], traces: Sequence[Any], prefix: str, start: int, padding: dict[str, int]
) -> None:
    """Add a slider that replaces the figure's first trace.

    Args:
        figure: Figure that shows the trace of the start position; it is changed in place.
        names: Name of each position, in order.
        traces: Trace that each position shows; it needs only the fields that change.
        prefix: Text before the name of the position.
        start: Index of the position at which the slider starts.
        padding: Space around the slider by side ("t", "b"), pixels.
    """
    figure.frames = [go.Frame(name=name, data=[trace], traces=[0]) for name, trace in zip(names, traces, strict=True)]
    at_once = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
    steps = [{"label": name, "method": "animate", "args": [[name], at_once]} for name in names]
    slider = {"active": start, "currentvalue": {"prefix": prefix}, "steps": steps, "x": 0.04, "len": 0.92}
    figure.update_layout(sliders=[slider | {"pad": padding}])


def slider_figure(
    vertices_of: Callable[[float], Any],
    faces: Any,
    values: Sequence[float],
    label: str,
    view: Literal["hand", "camera"] = "hand",
    height: int = 460,
) -> go.Figure:
    """Show a mesh that follows a slider; a position takes about 13 kB.

    Args:
        vertices_of: Value -> vertices [V, 3], metres or units of g.
        faces: [F, 3] indices.
        values: Positions of the slider, in order; it starts at the middle one.
        label: Name of the slider.
        view: The model's own frame ("hand") or the camera's ("camera").
        height: Height of the figure, pixels.

    Returns:
        A plotly figure with frames.
    """
    coordinates = [columns(vertices_of(value)) for value in values]
    start = len(coordinates) // 2
    figure = mesh_figure(np.stack(coordinates[start], axis=1), faces, view=view, height=height)
    names = [f"{value:.3g}" for value in values]
    traces = [go.Mesh3d(x=x, y=y, z=z) for x, y, z in coordinates]
    add_slider(figure, names, traces, f"{label} = ", start, {"b": 24})
    low, high = np.min(coordinates, axis=(0, 2)), np.max(coordinates, axis=(0, 2))
    for axis, a, b in zip("xyz", low, high, strict=True):  # fixed axes: the mesh moves, not the scale
        figure.update_layout({f"scene_{axis}axis_range": [float(a), float(b)]})
    return figure


def picture_slider(
    pictures: Mapping[str, UInt8[ndarray, "height width 3"]], label: str, start: int = 0, height: int = 440
) -> go.Figure:
    """Show one of several pictures, chosen by a slider, such as a hand over its photo from iteration to iteration.

    Args:
        pictures: Name of a position -> picture, in order; all pictures have the same size.
        label: Name of the slider.
        start: Index of the position at which the slider starts.
        height: Height of the figure, pixels.

    Returns:
        A plotly figure with frames.

    Raises:
        ValueError: There is no picture.
    """
    if not pictures:
        raise ValueError("there is no picture; give at least one")
    sources = [data_url(Image.fromarray(picture), "JPEG", quality=QUALITY) for picture in pictures.values()]
    figure = go.Figure(go.Image(source=sources[start], hoverinfo="skip"))
    figure.update_layout(**BARE, height=height, plot_bgcolor="rgba(0,0,0,0)")
    traces = [go.Image(source=source) for source in sources]
    add_slider(figure, list(pictures), traces, f"{label} ", start, {"b": 24, "t": 12})
    return figure.update_xaxes(visible=False).update_yaxes(visible=False)
