"""Figures: meshes and skeletons to turn in plotly, overlays on photos as arrays, rows of small pictures.

Tensors and arrays are both welcome. A mesh of the hand costs a page about 26 kB (float32 places, int16 faces). Nothing
here has a gradient.
"""

import base64
import html
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from PIL import Image, ImageDraw

from dhpe_lib.common.records import to_numpy
from dhpe_lib.hand.skeleton import JOINT_PARENTS

SKIN = "#e0ac8a"
PALM_COLOR = "#9aa3ad"
# One hue a finger, thumb to little: the customary red, yellow, green, blue, violet.
FINGER_COLORS = ("#e63946", "#f4a224", "#3fa34d", "#2f7fe0", "#9b4fd0")
JOINT_COLORS = (PALM_COLOR, *(color for color in FINGER_COLORS for _ in range(4)))

# Where plotly's camera stands. "hand": the model's own frame, fingers up, palm to the viewer, a little from the thumb's
# side. "camera": x right, y down, z away, seen as the photo sees it.
VIEWS = {
    "hand": {"eye": {"x": 0.15, "y": -1.75, "z": 0.75}, "up": {"x": -1, "y": 0, "z": 0}},
    "camera": {"eye": {"x": 0.0, "y": 0.0, "z": -1.9}, "up": {"x": 0, "y": -1, "z": 0}},
}
LIGHTING = {"ambient": 0.38, "diffuse": 0.65, "specular": 0.12, "roughness": 0.6, "fresnel": 0.1}


def mesh_trace(
    vertices: Any,
    faces: Any,
    color: str = SKIN,
    opacity: float = 1.0,
    name: str = "mesh",
    values: Any = None,
    unit: str = "",
) -> go.Mesh3d:
    """One mesh, in one colour or coloured by a value at each vertex.

    Args:
        vertices: [V, 3], metres or crop units.
        faces: [F, 3] indices.
        color: a CSS colour; unused where `values` are given.
        opacity: of the whole mesh, 0 to 1.
        name: what the legend says.
        values: [V] numbers shown as colour, for instance skinning weights or errors.
        unit: title of the values' colour bar.

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
            "colorscale": "Viridis",
            "colorbar": {"title": unit, "thickness": 12, "len": 0.7},
        }
    return go.Mesh3d(
        x=x, y=y, z=z, i=i, j=j, k=k, opacity=opacity, name=name, lighting=LIGHTING, hoverinfo="skip",
        lightposition={"x": -2000, "y": -4000, "z": -3000}, showlegend=False, **paint,
    )  # fmt: skip


def skeleton_traces(joints: Any, name: str = "skeleton", width: float = 6.0) -> list[go.Scatter3d]:
    """The 21 joints in the colours of the fingers: a line from the wrist to each tip.

    Args:
        joints: [21, 3] in the canonical order.
        name: what the legend and the hover text say.
        width: of the lines, in pixels.

    Returns:
        Five traces, thumb to little.
    """
    places = np.asarray(to_numpy(joints), np.float32)
    traces = []
    for finger, color in enumerate(FINGER_COLORS):
        x, y, z = places[[0, *range(1 + 4 * finger, 5 + 4 * finger)]].T.copy()
        traces.append(
            go.Scatter3d(
                x=x, y=y, z=z, mode="lines+markers", name=name, showlegend=False, hoverinfo="name",
                line={"color": color, "width": width},
                marker={"color": [PALM_COLOR, *4 * [color]], "size": 0.6 * width},
            )
        )  # fmt: skip
    return traces


def scene(traces: Sequence[Any], view: Literal["hand", "camera"] = "hand", height: int = 420) -> go.Figure:
    """Traces together in one space with equal axes, no grid and no background."""
    figure = go.Figure(data=list(traces))
    hidden = {"visible": False}
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        paper_bgcolor="rgba(0,0,0,0)",
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
    """One mesh to turn, with its skeleton inside it where joints are given.

    Several meshes in one space are `scene([mesh_trace(...), mesh_trace(...), *skeleton_traces(...)])`.

    Args:
        vertices: [V, 3], metres or crop units.
        faces: [F, 3] indices.
        joints: [21, 3]; the mesh is then see-through.
        color: a CSS colour.
        values: [V] numbers shown as colour.
        unit: title of the values' colour bar.
        view: the model's own frame ("hand") or the camera's.
        height: in pixels.

    Returns:
        A plotly figure.
    """
    see_through = 1.0 if joints is None else 0.45
    skeleton = [] if joints is None else skeleton_traces(joints)
    return scene([mesh_trace(vertices, faces, color, see_through, values=values, unit=unit), *skeleton], view, height)


def slider_figure(
    vertices_of: Callable[[float], Any],
    faces: Any,
    values: Sequence[float],
    label: str,
    view: Literal["hand", "camera"] = "hand",
    height: int = 460,
) -> go.Figure:
    """A mesh that follows one slider with no kernel: each position is stored, at about 13 kB.

    Args:
        vertices_of: value -> [V, 3].
        faces: [F, 3] indices.
        values: the slider's positions, in order; it starts at the middle one.
        label: what the slider is called.
        view: the model's own frame ("hand") or the camera's.
        height: in pixels.

    Returns:
        A plotly figure with frames.
    """
    places = [columns(vertices_of(value)) for value in values]
    names = [f"{value:.3g}" for value in values]
    start = len(names) // 2
    figure = mesh_figure(np.stack(places[start], axis=1), faces, view=view, height=height)
    figure.frames = [
        go.Frame(name=name, data=[go.Mesh3d(x=x, y=y, z=z)], traces=[0])
        for name, (x, y, z) in zip(names, places, strict=True)
    ]
    at_once = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
    steps = [{"label": name, "method": "animate", "args": [[name], at_once]} for name in names]
    figure.update_layout(
        sliders=[
            {
                "active": start,
                "currentvalue": {"prefix": f"{label} = "},
                "steps": steps,
                "x": 0.04,
                "len": 0.92,
                "pad": {"b": 24},
            }
        ]
    )
    low, high = np.min(places, axis=(0, 2)), np.max(places, axis=(0, 2))
    for axis, a, b in zip("xyz", low, high, strict=True):  # fixed axes: the mesh moves, not the scale
        figure.update_layout({f"scene_{axis}axis_range": [float(a), float(b)]})
    return figure


def overlay(
    image: UInt8[ndarray, "height width 3"],
    mask: Bool[ndarray, "height width"] | Float[ndarray, "height width"],
    rendering: Float[ndarray, "height width 3"] | None = None,
    opacity: float = 0.75,
) -> UInt8[ndarray, "height width 3"]:
    """A photo with a rendered hand, or a plain colour, laid over it where the mask is.

    result = image + opacity mask (rendering - image)

    Args:
        image: the photo.
        mask: where the hand is, 0 to 1.
        rendering: the hand's colours, 0 to 1; a plain blue if absent.
        opacity: of the hand.

    Returns:
        The photo's size.
    """
    color = np.array([0.19, 0.5, 0.88]) if rendering is None else rendering
    share = opacity * np.asarray(mask, float)[..., None]
    return np.rint(image + share * (255 * np.clip(color, 0, 1) - image)).astype(np.uint8)


def draw_skeleton(
    image: UInt8[ndarray, "height width 3"],
    joints: Any,
    valid: Bool[ndarray, " 21"] | None = None,
) -> UInt8[ndarray, "height width 3"]:
    """The 21 joints drawn on a photo, each finger in its colour.

    Args:
        image: the photo.
        joints: [21, 2] in pixels, canonical order; the centre of the first pixel is (0.5, 0.5).
        valid: which joints are known; a bone is drawn where both its ends are.

    Returns:
        A new image.
    """
    places = np.asarray(to_numpy(joints), float)
    known = np.isfinite(places).all(axis=1) & (True if valid is None else valid)
    size = max(np.ptp(places[known], axis=0)) if known.any() else 0.0
    radius = max(1.5, 0.018 * size)
    scale = 3  # drawn larger, then reduced: PIL's lines have no smooth edges
    picture = Image.fromarray(image).resize((scale * image.shape[1], scale * image.shape[0]))
    pen = ImageDraw.Draw(picture)
    points = [tuple(scale * place) for place in np.where(known[:, None], places, 0.0)]
    for joint, parent in enumerate(JOINT_PARENTS):
        if parent >= 0 and known[joint] and known[parent]:
            pen.line([points[parent], points[joint]], JOINT_COLORS[joint], round(scale * radius))
    for joint in np.flatnonzero(known).tolist():
        pen.circle(points[joint], scale * radius, JOINT_COLORS[joint], outline="white", width=scale)
    return np.asarray(picture.reduce(scale))


FRAME = "border-radius:4px;outline:1px solid rgba(128,128,128,.35)"
CAPTION = "font-size:13px;line-height:1.3;margin:4px 0 0;color:inherit!important;text-align:left"


@dataclass(frozen=True)
class PictureRow:
    """Pictures beside each other, for a notebook and for the page."""

    html: str

    def _repr_html_(self) -> str:
        return self.html


def picture_row(pictures: Mapping[str, Any], width: int = 200) -> PictureRow:
    """Small pictures beside each other, each above its caption, pixels enlarged without smoothing.

    Args:
        pictures: caption -> [H, W] or [H, W, 3], in [0, 1].
        width: of one picture on the page, in the page's pixels; those that do not fit go to the next line.

    Returns:
        What a notebook shows as HTML.
    """
    figures = []
    for caption, values in pictures.items():
        levels = np.rint(255 * np.clip(to_numpy(values).astype(float), 0, 1)).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(levels).save(buffer, "PNG", optimize=True)
        address = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
        sharp = "image-rendering:pixelated;" if levels.shape[1] < width else ""
        style = f"width:{width}px;max-width:100%;{sharp}display:block;margin:0;padding:0;{FRAME}"
        text = html.escape(caption)
        figures.append(
            f'<figure style="margin:0;width:{width}px"><img src="{address}" alt="{text}" style="{style}">'
            f'<figcaption style="{CAPTION}">{text}</figcaption></figure>'
        )
    row = "display:flex;flex-wrap:wrap;gap:14px;margin:8px 0;font-family:system-ui,sans-serif"
    return PictureRow(f'<div class="dhpe-pictures" style="{row}">{"".join(figures)}</div>')


def signed_colors(values: Any, largest: float | None = None) -> Float[ndarray, "height width 3"]:
    """A picture of signed numbers: zero is white, positive red, negative blue.

    Args:
        values: [H, W].
        largest: what is shown in full colour; the largest magnitude if absent.

    Returns:
        Colours in [0, 1].
    """
    numbers = to_numpy(values).astype(float)
    top = np.abs(numbers).max() if largest is None else largest
    share = np.clip(numbers / max(top, 1e-30), -1, 1)[..., None]
    red, blue = np.array([0.75, 0.1, 0.1]), np.array([0.1, 0.25, 0.75])
    return 1 - np.where(share > 0, share * (1 - red), -share * (1 - blue))


def columns(vertices: Any) -> tuple[ndarray, ndarray, ndarray]:
    """Coordinates as plotly stores them shortest: three contiguous float32 arrays."""
    x, y, z = np.asarray(to_numpy(vertices), np.float32).T.copy()
    return x, y, z
