"""Plotly figures of meshes and skeletons that the reader can turn.

Tensors and arrays are both accepted. A mesh of the hand adds about 26 kB to a page (float32 coordinates, int16 faces).
Nothing here has a gradient.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go
from numpy import ndarray

from dhpe_lib.common.records import to_numpy
from dhpe_lib.figures.palette import FINGER_COLORS, MOVED, PALM_COLOR, SKIN, STAYED

# Position of plotly's camera. "hand": the model's own frame, fingers up, palm to the viewer, a little from the thumb's
# side. "camera": x right, y down, z away, seen as the photo sees it.
VIEWS = {
    "hand": {"eye": {"x": 0.15, "y": -1.75, "z": 0.75}, "up": {"x": -1, "y": 0, "z": 0}},
    "camera": {"eye": {"x": 0.0, "y": 0.0, "z": -1.9}, "up": {"x": 0, "y": -1, "z": 0}},
}
LIGHTING = {"ambient": 0.38, "diffuse": 0.65, "specular": 0.12, "roughness": 0.6, "fresnel": 0.1}
SEE_THROUGH_LIGHTING = {**LIGHTING, "ambient": 0.8, "diffuse": 0.25, "specular": 0.0}
"""A see-through mesh shows faces behind others in no order: with less shade between them they leave no dark patches."""
VALUE_SCALE = [f"rgb({255 * r:.0f},{255 * g:.0f},{255 * b:.0f})" for r, g, b in (STAYED, MOVED)]
"""Colours of the smallest and the largest value of a mesh."""
BARE = {"template": "none", "margin": {"l": 0, "r": 0, "t": 0, "b": 0}, "paper_bgcolor": "rgba(0,0,0,0)"}
"""Layout of a figure without margins and background."""


def mesh_trace(
    vertices: Any,
    faces: Any,
    color: str = SKIN,
    opacity: float = 1.0,
    name: str = "mesh",
    values: Any = None,
    unit: str = "",
) -> go.Mesh3d:
    """Make the trace of a mesh, in one colour or coloured by a value at each vertex.

    Args:
        vertices: [V, 3], metres or units of g.
        faces: [F, 3] indices.
        color: CSS colour; ignored if `values` are given.
        opacity: Opacity of the whole mesh, 0 to 1.
        name: Name in the legend.
        values: [V] numbers shown as colour, for instance skinning weights or errors.
        unit: Title of the colour bar.

    Returns:
        A plotly trace.
    """
    x, y, z = columns(vertices)
    i, j, k = np.asarray(to_numpy(faces), np.int16).T.copy()
    paint: dict[str, Any] = {"color": color}
    if values is not None:
        intensity = np.asarray(to_numpy(values), np.float32)
        paint = {
            "intensity": intensity,
            "colorscale": VALUE_SCALE,
            "colorbar": {"title": unit, "thickness": 12, "len": 0.7},
        }
    lighting = LIGHTING if opacity == 1 else SEE_THROUGH_LIGHTING
    return go.Mesh3d(
        x=x, y=y, z=z, i=i, j=j, k=k, opacity=opacity, name=name, lighting=lighting, hoverinfo="skip",
        lightposition={"x": -2000, "y": -4000, "z": -3000}, showlegend=False, **paint,
    )  # fmt: skip


def skeleton_traces(joints: Any, name: str = "skeleton", width: float = 6.0) -> list[go.Scatter3d]:
    """Make the traces of a skeleton: a line from the wrist to each fingertip, in the finger's colour.

    Args:
        joints: [21, 3] in canonical order, metres or units of g.
        name: Name in the legend and in the hover text.
        width: Width of the lines, pixels.

    Returns:
        Five traces, thumb to little.
    """
    points = np.asarray(to_numpy(joints), np.float32)
    traces = []
    for finger, color in enumerate(FINGER_COLORS):
        x, y, z = points[[0, *range(1 + 4 * finger, 5 + 4 * finger)]].T.copy()
        traces.append(
            go.Scatter3d(
                x=x, y=y, z=z, mode="lines+markers", name=name, showlegend=False, hoverinfo="name",
                line={"color": color, "width": width},
                marker={"color": [PALM_COLOR, *4 * [color]], "size": 0.6 * width},
            )
        )  # fmt: skip
    return traces


def scene(traces: Sequence[Any], view: Literal["hand", "camera"] = "hand", height: int = 420) -> go.Figure:
    """Put traces into one space with equal axes, without grid and background.

    Args:
        traces: Plotly traces.
        view: The model's own frame ("hand") or the camera's ("camera").
        height: Height of the figure, pixels.

    Returns:
        A plotly figure.
    """
    figure = go.Figure(data=list(traces))
    hidden = {"visible": False}
    figure.update_layout(
        **BARE,
        height=height,
        uirevision="keep",  # a redrawn figure keeps the reader's view
        scene={"xaxis": hidden, "yaxis": hidden, "zaxis": hidden, "aspectmode": "data", "camera": VIEWS[view]},
    )
    return figure


def mesh_figure(
    vertices: Any,
    faces: Any,
    joints: Any = None,
    color: str = SKIN,
    values: Any = None,
    unit: str = "",
    view: Literal["hand", "camera"] = "hand",
    height: int = 420,
) -> go.Figure:
    """Show a mesh, with its skeleton inside it if joints are given.

    For several meshes in one space use `scene([mesh_trace(...), mesh_trace(...), *skeleton_traces(...)])`.

    Args:
        vertices: [V, 3], metres or units of g.
        faces: [F, 3] indices.
        joints: [21, 3], in the unit of the vertices; the mesh is then see-through.
        color: CSS colour; ignored if `values` are given.
        values: [V] numbers shown as colour.
        unit: Title of the colour bar.
        view: The model's own frame ("hand") or the camera's ("camera").
        height: Height of the figure, pixels.

    Returns:
        A plotly figure.
    """
    see_through = 1.0 if joints is None else 0.45
    skeleton = [] if joints is None else skeleton_traces(joints)
    return scene([mesh_trace(vertices, faces, color, see_through, values=values, unit=unit), *skeleton], view, height)


def columns(vertices: Any) -> tuple[ndarray, ndarray, ndarray]:
    """Return x, y and z as contiguous float32 arrays, which plotly stores in the fewest bytes."""
    x, y, z = np.asarray(to_numpy(vertices), np.float32).T.copy()
    return x, y, z
