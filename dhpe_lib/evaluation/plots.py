"""Curves as the paper draws them in Fig. 5: PCK with the area in the legend, and what a training does to its tests.

Published methods have an area and no curve here, so they are in the legend alone. Nothing here has a gradient.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from numpy import ndarray
from plotly.subplots import make_subplots

from dhpe_lib.evaluation.metrics import THRESHOLDS, Interval, area_under_curve, bootstrap, pck

METHOD_COLORS = ("#2f7fe0", "#e63946", "#3fa34d", "#f4a224", "#9b4fd0", "#6b7280")
BAND_DRAWS = 200


def pck_figure(
    errors: Mapping[str, Float[ndarray, "_ _"]],
    grid: str = "20-50",
    published: Mapping[str, float] | None = None,
    band: bool = False,
    height: int = 420,
) -> go.Figure:
    """3D PCK over the error threshold, a curve for each method.

    Args:
        errors: For each method what :func:`dhpe_lib.evaluation.metrics.joint_errors` gives, mm.
        grid: A key of ``metrics.THRESHOLDS``; curves and areas are over it.
        published: Areas of other methods over the same range, for the legend: a row of ``published.PUBLISHED_AUC``.
        band: Whether each curve gets its 95 % interval over images (200 draws, seed 0).
        height: In pixels.

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
    """A PCK curve and its 95 % interval over images (200 draws, seed 0); without a band the interval is the curve."""
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
    """As :func:`pck_figure`, from curves that are already there.

    Args:
        curves: For each method, values at the thresholds; a band where low and high differ.
        thresholds: mm.
        published: Areas of other methods over the same range.
        height: In pixels.

    Returns:
        A plotly figure.
    """
    figure = go.Figure()
    for number, (method, curve) in enumerate(curves.items()):
        color = METHOD_COLORS[number % len(METHOD_COLORS)]
        if (curve.low < curve.high).any():
            figure.add_trace(_outline(method, thresholds, curve.low, curve.high, color))
        figure.add_trace(_curve(method, curve.value, thresholds, color))
    figure.add_traces([_legend_entry(method, area) for method, area in (published or {}).items()])
    return _laid_out(figure, thresholds, height)


def curves_figure(
    curves: Mapping[str, Sequence[Mapping[str, ndarray]]], panels: Mapping[str, str], height: int = 380
) -> go.Figure:
    """Numbers over the steps of trainings, a panel for each number and a curve for each method.

    Args:
        curves: For each method what :func:`dhpe_lib.training.log.read_curves` gives for each of its seeds. The curve is
            their mean; the band, where there are two or more, spans the least and the largest.
        panels: Names of the numbers, with the titles of their axes.
        height: In pixels.

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
                figure.add_trace(_outline(method, steps, values.min(0), values.max(0), color), 1, column)
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


def _curve(method: str, curve: ndarray, thresholds: ndarray, color: str) -> go.Scatter:
    return go.Scatter(
        x=thresholds.astype(np.float32), y=curve.astype(np.float32), mode="lines",
        name=f"{method} (AUC={area_under_curve(thresholds, curve):.3f})", line={"color": color, "width": 2.5},
        legendgroup=method, hovertemplate="%{y:.3f} within %{x:.1f} mm",
    )  # fmt: skip


def _outline(method: str, x: ndarray, low: ndarray, high: ndarray, color: str) -> go.Scatter:
    return go.Scatter(
        x=np.concatenate((x, x[::-1])).astype(np.float32), y=np.concatenate((low, high[::-1])).astype(np.float32),
        fill="toself", fillcolor=color, opacity=0.2, mode="none", hoverinfo="skip", showlegend=False,
        legendgroup=method,
    )  # fmt: skip


def _legend_entry(method: str, area: float) -> go.Scatter:
    """A name without a curve."""
    return go.Scatter(
        x=[None], y=[None], mode="markers", marker={"color": "rgba(0,0,0,0)"}, name=f"{method} (AUC={area:.3f})",
        legendgroup="published", legendgrouptitle={"text": "published, no curve"},
    )  # fmt: skip


def _laid_out(figure: go.Figure, thresholds: ndarray, height: int) -> go.Figure:
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
