"""The curves of Fig. 5: PCK curves with the AUC in the legend, and test errors over the steps of trainings.

Only the AUC of published methods is known, so they have a legend entry but no curve. Nothing here has a gradient.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from numpy import ndarray
from plotly.subplots import make_subplots

from dhpe_lib.evaluation.metrics import THRESHOLDS, Interval, area_under_curve, bootstrap, pck

METHOD_COLORS = ("#2f7fe0", "#e63946", "#3fa34d", "#f4a224", "#9b4fd0", "#0f9d94", "#8b5a2b", "#6b7280")
BAND_DRAWS = 200


def pck_figure(
    errors: Mapping[str, Float[ndarray, "_ _"]],
    grid: str = "20-50",
    published: Mapping[str, float] | None = None,
    band: bool = False,
    height: int = 420,
) -> go.Figure:
    """Draw the 3D PCK over the error threshold, with one curve for each method.

    Args:
        errors: Errors of each method, from :func:`dhpe_lib.evaluation.metrics.joint_errors`, mm.
        grid: A key of ``metrics.THRESHOLDS``, the thresholds of curves and AUC.
        published: AUC of other methods over this range, for the legend: a row of ``published.PUBLISHED_AUC``.
        band: Whether to draw the 95 % interval over images of each curve (200 draws, seed 0).
        height: Height of the figure, pixels.

    Returns:
        A plotly figure.

    Raises:
        ValueError: The grid is unknown, or a method has no joint that counts.

    Source: Fig. 5.
    """
    if grid not in THRESHOLDS:
        raise ValueError(f"unknown grid {grid!r}; use one of {', '.join(THRESHOLDS)}")
    thresholds = THRESHOLDS[grid]
    curves = {method: pck_curve(rows, thresholds, band) for method, rows in errors.items()}
    return pck_curves_figure(curves, thresholds, published, height)


def pck_curve(rows: Float[ndarray, "_ _"], thresholds: Float[ndarray, " t"], band: bool = True) -> Interval[ndarray]:
    """Compute a PCK curve and its 95 % interval over images (200 draws, seed 0) from errors in mm.

    Without a band both ends of the interval are the curve itself.
    """
    if band:
        return bootstrap(lambda drawn: pck(drawn, thresholds), rows, draws=BAND_DRAWS)
    curve = pck(rows, thresholds)
    return Interval(curve, curve, curve)


def pck_curves_figure(
    curves: Mapping[str, Interval[ndarray]],
    thresholds: Float[ndarray, " t"],
    published: Mapping[str, float] | None = None,
    height: int = 420,
) -> go.Figure:
    """Draw given PCK curves like :func:`pck_figure`.

    Args:
        curves: Values of each method at the thresholds; a band is drawn if low and high differ.
        thresholds: Thresholds in mm.
        published: AUC of other methods over this range, for the legend.
        height: Height of the figure, pixels.

    Returns:
        A plotly figure.
    """
    figure = go.Figure()
    for number, (method, curve) in enumerate(curves.items()):
        color = METHOD_COLORS[number % len(METHOD_COLORS)]
        if (curve.low < curve.high).any():
            figure.add_trace(_band(method, thresholds, curve.low, curve.high, color))
        figure.add_trace(_curve(method, curve.value, thresholds, color))
    figure.add_traces([_legend_entry(method, area) for method, area in (published or {}).items()])
    return _with_axes(figure, thresholds, height)


def curves_figure(
    curves: Mapping[str, Sequence[Mapping[str, ndarray]]], panels: Mapping[str, str], height: int = 380
) -> go.Figure:
    """Draw numbers over the steps of trainings, with a panel for each number and a curve for each method.

    Args:
        curves: For each method, the result of :func:`dhpe_lib.training.log.read_curves` for each seed. The curve is the
            mean over the seeds. With two or more seeds a band shows the minimum and the maximum.
        panels: Names of the numbers, with the titles of their axes.
        height: Height of the figure, pixels.

    Returns:
        A plotly figure.

    Source: Fig. 5f.
    """
    figure = make_subplots(1, len(panels), horizontal_spacing=0.12)
    for number, (method, seeds) in enumerate(curves.items()):
        color = METHOD_COLORS[number % len(METHOD_COLORS)]
        steps = seeds[0]["step"]
        for column, name in enumerate(panels, 1):
            values = np.stack([seed[name] for seed in seeds])
            if len(seeds) > 1:
                figure.add_trace(_band(method, steps, values.min(0), values.max(0), color), 1, column)
            line = {"color": color, "width": 2.5}
            figure.add_trace(
                go.Scatter(
                    x=steps, y=values.mean(0), line=line, name=method, legendgroup=method, showlegend=column == 1
                ),
                1,
                column,
            )
    frame = {"showline": True, "mirror": True, "gridcolor": "rgba(128,128,128,0.25)", "zeroline": False}
    figure.update_layout(
        template="none", height=height, margin={"t": 15, "r": 15, "b": 50, "l": 60}, paper_bgcolor="rgba(0,0,0,0)"
    )
    figure.update_xaxes(title="step", **frame)
    for column, title in enumerate(panels.values(), 1):
        figure.update_yaxes(title=title, **frame, row=1, col=column)
    return figure


def areas_figure(groups: Mapping[str, Sequence[tuple[str, float, float, float]]], height: int = 380) -> go.Figure:
    """Draw areas under PCK curves with their intervals, one group at a time; buttons choose the group.

    Args:
        groups: For each group the rows of :func:`dhpe_lib.evaluation.paper_sets.area_rows`: name, value, low and high.
            A row whose interval has a width was measured here and is drawn in another colour.
        height: Height of the figure, pixels.

    Returns:
        A plotly figure that shows the first group.
    """
    figure = go.Figure([_area_trace(rows, number == 0) for number, rows in enumerate(groups.values())])
    buttons = [
        {"label": name, "method": "update", "args": [{"visible": [other == number for other in range(len(groups))]}]}
        for number, name in enumerate(groups)
    ]
    menu = {"type": "buttons", "direction": "right", "buttons": buttons, "x": 1, "xanchor": "right", "y": 1.02}
    look = {"yanchor": "bottom", "bgcolor": "#eef1f5", "bordercolor": "#9aa3ad", "font": {"color": "#22282f"}}
    figure.update_layout(updatemenus=[menu | look], template="none", height=height, paper_bgcolor="rgba(0,0,0,0)")
    figure.update_layout(margin={"t": 90, "r": 20, "b": 50, "l": 20})
    frame = {"gridcolor": "rgba(128,128,128,0.25)", "zeroline": False}
    figure.update_yaxes(autorange="reversed", automargin=True, **frame)
    return figure.update_xaxes(title="area under the PCK curve", **frame)


def _area_trace(rows: Sequence[tuple[str, float, float, float]], visible: bool) -> go.Scatter:
    names, values, low, high = zip(*rows, strict=True)
    colors = [METHOD_COLORS[0] if a < b else METHOD_COLORS[-1] for a, b in zip(low, high, strict=True)]
    above, below = np.subtract(high, values).tolist(), np.subtract(values, low).tolist()
    return go.Scatter(
        x=values, y=names, mode="markers", visible=visible, showlegend=False, marker={"size": 10, "color": colors},
        error_x={"type": "data", "array": above, "arrayminus": below, "color": METHOD_COLORS[0]},
        hovertemplate="%{y}: %{x:.3f}<extra></extra>",
    )  # fmt: skip


def _curve(method: str, curve: ndarray, thresholds: ndarray, color: str) -> go.Scatter:
    return go.Scatter(
        x=thresholds.astype(np.float32), y=curve.astype(np.float32), mode="lines",
        name=f"{method} (AUC={area_under_curve(thresholds, curve):.3f})", line={"color": color, "width": 2.5},
        legendgroup=method, hovertemplate="%{y:.3f} within %{x:.1f} mm",
    )  # fmt: skip


def _band(method: str, x: ndarray, low: ndarray, high: ndarray, color: str) -> go.Scatter:
    return go.Scatter(
        x=np.concatenate((x, x[::-1])).astype(np.float32), y=np.concatenate((low, high[::-1])).astype(np.float32),
        fill="toself", fillcolor=color, opacity=0.2, mode="none", hoverinfo="skip", showlegend=False,
        legendgroup=method,
    )  # fmt: skip


def _legend_entry(method: str, area: float) -> go.Scatter:
    """Return a legend entry without a curve."""
    return go.Scatter(
        x=[None], y=[None], mode="markers", marker={"color": "rgba(0,0,0,0)"}, name=f"{method} (AUC={area:.3f})",
        legendgroup="published", legendgrouptitle={"text": "published, no curve"},
    )  # fmt: skip


def _with_axes(figure: go.Figure, thresholds: ndarray, height: int) -> go.Figure:
    frame = {"showline": True, "mirror": True, "gridcolor": "rgba(128,128,128,0.25)", "zeroline": False}
    span = [float(thresholds[0]), float(thresholds[-1])]
    figure.update_layout(
        template="none",
        height=height,
        margin={"t": 15, "r": 15, "b": 50, "l": 60},
        paper_bgcolor="rgba(0,0,0,0)",
        xaxis={"title": "error threshold, mm", "range": span, **frame},
        yaxis={"title": "3D PCK", "range": [0, 1.005], "dtick": 0.1, **frame},
        legend={"x": 1.02, "y": 1, "font": {"size": 11}, "tracegroupgap": 4},
    )
    return figure
