"""Figures that follow sliders: live widgets where a notebook is open, else a figure that stores each position.

A stored figure needs no kernel. It is what pages show, and what a run without a front end gives.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image
from plotly.basedatatypes import BaseFigure

from dhpe_lib.figures.data_urls import data_url
from dhpe_lib.figures.plotly_figures import BARE, columns, mesh_figure

QUALITY = 82
"""JPEG quality of the stored pictures: a picture of 336 pixels takes some 10 kB."""
SLIDER_HEIGHT = 76
"""Height of a slider below the first one, pixels."""
AXIS_TITLE_HEIGHT = 40
"""Height of the horizontal axis's title, which stands above the sliders, pixels."""
LAYOUT = -1
"""Key of the layout beside the indices of the traces."""

Positions = Mapping[str, Sequence[Any]]


def slider_view(draw: Callable[..., go.Figure], positions: Positions, start: Mapping[str, int] | None = None) -> Any:
    """Show a figure that is a function of some named values, with a slider for each of them.

    A notebook in JupyterLab gets live sliders: they move together, and each move calls `draw`. Everywhere else the
    result is a plotly figure that stores what `draw` gave for each position. In that figure one value moves at a time;
    the others return to their start.

    Args:
        draw: Function that takes one value for each slider, in the order of `positions`, and returns a plotly figure.
            All its figures have the same traces in the same order.
        positions: Label of a slider -> values at its positions, in order: numbers or texts.
        start: Label of a slider -> index of the position at which it starts; by default the middle one.

    Returns:
        A plotly figure, or a widget.

    Raises:
        ValueError: There is no slider, a slider has no position, or a start names no slider.
    """
    if not positions or not all(len(values) for values in positions.values()):
        raise ValueError("there is no slider or no position of a slider; give at least one value for each name")
    if unknown := set(start or {}) - set(positions):
        raise ValueError(f"no slider is called {sorted(unknown)}; the sliders are {sorted(positions)}")
    at = {name: len(values) // 2 for name, values in positions.items()} | dict(start or {})
    return live_sliders(draw, positions, at) if is_live() else stored_sliders(draw, positions, at)


def is_live() -> bool:
    """Return whether a Jupyter server runs this process for an open notebook, and ipywidgets is installed.

    The server names the notebook in the environment of its kernel. A run without a front end has no such name.
    """
    opened = "JPY_SESSION_NAME" in os.environ and not os.environ.get("DHPE_BOOK")
    return opened and find_spec("ipywidgets") is not None


def live_sliders(draw: Callable[..., go.Figure], positions: Positions, at: Mapping[str, int]) -> Any:
    """Return a column of ipywidgets, the sliders below the figure; `at` has the start index of each slider."""
    import ipywidgets

    sliders = [
        ipywidgets.SelectionSlider(
            options=[position_name(value) for value in values], index=at[name], description=name,
            style={"description_width": "initial"}, layout={"width": "95%"},
        )
        for name, values in positions.items()
    ]  # fmt: skip
    figure = go.FigureWidget(draw(*values_at(positions, at)))

    def follow(_change: Any) -> None:
        drawn = draw(*values_at(positions, dict(zip(positions, (one.index for one in sliders), strict=True))))
        old = dict(fields(figure))
        with figure.batch_update():
            for (index, path), value in fields(drawn):
                if not same(value, old.get((index, path))):
                    (figure.layout if index == LAYOUT else figure.data[index])[path] = value

    for slider in sliders:
        slider.observe(follow, "index")
    return ipywidgets.VBox([figure, *sliders])


def stored_sliders(draw: Callable[..., go.Figure], positions: Positions, at: Mapping[str, int]) -> go.Figure:
    """Return a figure whose sliders hold the fields that change; `at` has the start index of each slider."""
    figure = draw(*values_at(positions, at))
    begin = dict(fields(figure))
    drawn = {
        name: [
            begin if k == at[name] else dict(fields(draw(*values_at(positions, {**at, name: k}))))
            for k in range(len(values))
        ]
        for name, values in positions.items()
    }
    varying = {key for row in drawn.values() for one in row for key in one if not same(one[key], begin.get(key))}
    title = AXIS_TITLE_HEIGHT if figure.layout.xaxis.title.text else 0
    sliders = []
    for number, (name, values) in enumerate(positions.items()):
        others = {f"sliders[{k}].active": at[other] for k, other in enumerate(positions) if other != name}
        steps = [
            {"label": position_name(value), "method": "update", "args": update(one, varying, others)}
            for value, one in zip(values, drawn[name], strict=True)
        ]
        place = {"x": 0.04, "len": 0.92, "pad": {"t": 12 + title + SLIDER_HEIGHT * number, "b": 24}}
        sliders.append({"active": at[name], "currentvalue": {"prefix": f"{name} = "}, "steps": steps, **place})
    height = (figure.layout.height or 440) + title + SLIDER_HEIGHT * (len(sliders) - 1)
    return figure.update_layout(sliders=sliders, height=height)


def values_at(positions: Positions, at: Mapping[str, int]) -> list[Any]:
    """Return the value of each slider at its index."""
    return [values[at[name]] for name, values in positions.items()]


def position_name(value: Any) -> str:
    """Return a text as it is and a number with three digits."""
    return value if isinstance(value, str) else f"{value:.3g}"


def fields(figure: BaseFigure) -> Iterator[tuple[tuple[int, str], Any]]:
    """Yield ((index of the trace, or LAYOUT), path of the field) with its value, in plotly's notation of a path."""
    for index, trace in enumerate(figure.data):
        yield from (((index, path), value) for path, value in leaves(trace.to_plotly_json()) if path != "uid")
    yield from (((LAYOUT, path), value) for path, value in leaves(figure.layout.to_plotly_json()))


def leaves(container: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path and the value of each field that is no dict itself."""
    for name, value in container.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{before}{name}.")
        else:
            yield before + name, value


def same(one: Any, other: Any) -> bool:
    """Return whether two fields are equal; they may be arrays, lists, or None."""
    return np.array_equal(one, other) if isinstance(one, ndarray) else one is other or bool(one == other)


def update(one: Mapping[tuple[int, str], Any], varying: set[tuple[int, str]], others: Mapping[str, int]) -> list[Any]:
    """Return the arguments of plotly's `update`: fields of the traces, fields of the layout, and which traces."""
    traces = sorted({index for index, _ in varying if index != LAYOUT})
    paths = sorted({path for index, path in varying if index != LAYOUT})
    layout = {path: one.get((LAYOUT, path)) for index, path in sorted(varying) if index == LAYOUT}
    return [{path: [one.get((index, path)) for index in traces] for path in paths}, layout | dict(others), traces]


def slider_figure(
    vertices_of: Callable[[float], Any],
    faces: Any,
    values: Sequence[float],
    label: str,
    view: Literal["hand", "camera"] = "hand",
    height: int = 460,
) -> Any:
    """Show a mesh that follows a slider; a position takes about 13 kB.

    Args:
        vertices_of: Value -> vertices [V, 3], metres or units of g.
        faces: [F, 3] indices.
        values: Positions of the slider, in order; it starts at the middle one.
        label: Name of the slider.
        view: The model's own frame ("hand") or the camera's ("camera").
        height: Height of the figure, pixels.

    Returns:
        The result of `slider_view`.
    """
    coordinates = dict(zip(values, (columns(vertices_of(value)) for value in values), strict=True))
    low, high = np.min([*coordinates.values()], axis=(0, 2)), np.max([*coordinates.values()], axis=(0, 2))
    lengths = (high - low) / np.cbrt(np.prod(high - low))
    scale = {"aspectmode": "manual", "aspectratio": dict(zip("xyz", lengths.tolist(), strict=True))}
    ranges = {f"{axis}axis_range": [float(a), float(b)] for axis, a, b in zip("xyz", low, high, strict=True)}

    def draw(value: float) -> go.Figure:
        mesh = np.stack(coordinates[value], axis=1)
        return mesh_figure(mesh, faces, view=view, height=height).update_scenes(scale | ranges)

    return slider_view(draw, {label: values})


def picture_figure(picture: UInt8[ndarray, "height width 3"], height: int = 440) -> go.Figure:
    """Show a picture, stored as a JPEG, in a figure without axes.

    Args:
        picture: RGB picture.
        height: Height of the figure, pixels.

    Returns:
        A plotly figure.
    """
    source = data_url(Image.fromarray(picture), "JPEG", quality=QUALITY)
    figure = go.Figure(go.Image(source=source, hoverinfo="skip"))
    figure.update_layout(**BARE, height=height, plot_bgcolor="rgba(0,0,0,0)")
    return figure.update_xaxes(visible=False).update_yaxes(visible=False)


def picture_slider(
    pictures: Mapping[str, UInt8[ndarray, "height width 3"]], label: str, start: int = 0, height: int = 440
) -> Any:
    """Show one of several pictures, chosen by a slider, such as a hand over its photo from iteration to iteration.

    Args:
        pictures: Name of a position -> picture, in order; all pictures have the same size.
        label: Name of the slider.
        start: Index of the position at which the slider starts.
        height: Height of the figure, pixels.

    Returns:
        The result of `slider_view`.

    Raises:
        ValueError: There is no picture.
    """
    if not pictures:
        raise ValueError("there is no picture; give at least one")
    return slider_view(lambda name: picture_figure(pictures[name], height), {label: list(pictures)}, {label: start})
