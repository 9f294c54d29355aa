"""Pictures that follow a slider with no kernel, such as a hand over its photo from iteration to iteration."""

import base64
import io
from collections.abc import Mapping

import plotly.graph_objects as go
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

QUALITY = 82
"""Of the JPEGs that the figure holds: a picture of 336 pixels takes some 10 kB."""


def picture_slider(
    pictures: Mapping[str, UInt8[ndarray, "height width 3"]], label: str, start: int = 0, height: int = 440
) -> go.Figure:
    """One of several pictures of the same size, chosen by a slider; each is stored.

    Args:
        pictures: The slider's positions, in order, by name.
        label: What the slider is called.
        start: Position at which it starts.
        height: Of the figure, in pixels.

    Returns:
        A plotly figure with frames.

    Raises:
        ValueError: There is no picture.
    """
    if not pictures:
        raise ValueError("no picture; give at least one")
    names = list(pictures)
    sources = [_address(picture) for picture in pictures.values()]
    figure = go.Figure(go.Image(source=sources[start], hoverinfo="skip"))
    figure.frames = [
        go.Frame(name=name, data=[go.Image(source=source)], traces=[0])
        for name, source in zip(names, sources, strict=True)
    ]
    at_once = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
    steps = [{"label": name, "method": "animate", "args": [[name], at_once]} for name in names]
    slider = {"active": start, "currentvalue": {"prefix": f"{label} "}, "steps": steps, "x": 0.04, "len": 0.92}
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        sliders=[slider | {"pad": {"b": 24, "t": 12}}],
    )
    return figure.update_xaxes(visible=False).update_yaxes(visible=False)


def _address(picture: UInt8[ndarray, "height width 3"]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
