"""Figures 5a to 5f and Table 2, drawn from ``evidence.json``."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dhpe_lib.evaluation.metrics import THRESHOLDS, Interval
from dhpe_lib.evaluation.plots import METHOD_COLORS, curves_figure, pck_curves_figure
from dhpe_lib.evaluation.published import PUBLISHED_MASKS
from dhpe_lib.experiments.plain_names import in_html, plain_name

SHAPE_FIGURES = {"5a": "orh_test", "5b": "orh-o_test", "5c": "orh-s_test"}
"""Tests that stand for RHD, Dexter+Object and STB."""
COURSES = {
    "shape-loss-as-sum": "lambda of Eq. 12, sum",
    "constant-lambda-as-sum": "0.01, sum",
    "full": "Eq. 12, 10 x mean",
    "constant-lambda": "0.01, 10 x mean",
    "without-shape-loss": "no shape loss",
}
"""Variants of Fig. 5f, with their labels."""
HALF_OPEN_COURSES = {
    "half-open-as-sum": "lambda of Eq. 12, sum",
    "half-open-constant-as-sum": "0.01, sum",
    "half-open-50": "Eq. 12, 50 x mean",
    "half-open-constant-50": "0.01, 50 x mean",
    "half-open-without-shape-loss": "no shape loss",
}
"""Variants of Fig. 5f from a start whose gates are half open, with their labels."""
HEAD = ("method", "IoU", "precision", "recall", "F1", "IoU, 95 %")
"""Columns of Table 2."""
PANELS = {"epe_a_mm": "test error, mm", "share_under_tau": "share of training instances under tau"}


def figures(result: Mapping[str, Any]) -> dict[str, go.Figure]:
    """Draw Figs. 5a to 5f by name; 5f from both starts, 5e also over the iterations of the refinement."""
    drawn = {name: pck_figure(result, test, "pck_shape_loss") for name, test in SHAPE_FIGURES.items()}
    drawn |= {"5d": pck_figure(result, "orh_test"), "5e": pck_figure(result, "orh-o_test")}
    drawn["5e-iterations"] = refinement_figure(result, "orh-o_test")
    return drawn | {"5f": course_figure(result, COURSES), "5f-half-open": course_figure(result, HALF_OPEN_COURSES)}


def pck_figure(result: Mapping[str, Any], test: str, part: str = "pck") -> go.Figure:
    """Draw a PCK curve with its 95 % band over seeds and images for each method.

    Args:
        result: Content of `evidence.json`.
        test: Name of the test.
        part: "pck" for Figs. 5d (ORH) and 5e (ORH-O), "pck_shape_loss" for Figs. 5a to 5c.
    """
    shown = result[part][test]
    curves = {
        label: Interval(*(np.array(one[name]) for name in ("value", "low", "high"))) for label, one in shown.items()
    }
    figure = pck_curves_figure(curves, THRESHOLDS[next(iter(shown.values()))["grid"]])
    lowest = min(float(curve.low.min()) for curve in curves.values())
    figure.update_layout(legend={"orientation": "h", "x": 0, "y": -0.3, "yanchor": "top"})
    return figure.update_yaxes(range=[max(np.floor(10 * lowest) / 10, 0.0), 1.005])


def with_buttons(figures: Mapping[str, go.Figure]) -> go.Figure:
    """Put figures with one pair of axes into one figure, in which a button chooses the one that is shown.

    Args:
        figures: Figures by the labels of their buttons; the first one is shown at first.
    """
    parts = list(figures.values())
    together = go.Figure([trace for part in parts for trace in part.data], parts[0].layout)
    owners = [number for number, part in enumerate(parts) for _ in part.data]
    together.for_each_trace(lambda trace: trace.update(legendgroup=""))
    buttons = []
    for number, (label, part) in enumerate(figures.items()):
        axes = span("xaxis", part.layout.xaxis) | span("yaxis", part.layout.yaxis)
        visible = {"visible": [owner == number for owner in owners]}
        buttons.append({"label": label, "method": "update", "args": [visible, axes]})
    for trace, owner in zip(together.data, owners, strict=True):
        trace.visible = owner == 0
    menu = {"type": "buttons", "direction": "right", "buttons": buttons, "x": 0, "xanchor": "left", "y": 1.02}
    look = {"yanchor": "bottom", "bgcolor": "#eef1f5", "bordercolor": "#9aa3ad", "font": {"color": "#22282f"}}
    return together.update_layout(updatemenus=[menu | look], margin_t=60)


def span(name: str, axis: Any) -> dict[str, Any]:
    """Return the range of an axis, or that it is automatic, as plotly's buttons set it."""
    return {f"{name}.autorange": True} if axis.range is None else {f"{name}.range": list(axis.range)}


def course_figure(result: Mapping[str, Any], names: Mapping[str, str]) -> go.Figure:
    """Draw Fig. 5f: the test error and the share of training instances under tau over the steps.

    Args:
        result: Content of `evidence.json`.
        names: Variants, with their labels; a variant that was not trained is left out.
    """
    courses = {
        label: [
            {key: np.array([point[key] for point in seed][1:]) for key in ("step", *PANELS)}
            for seed in result["forms"][name]["curves"]
        ]
        for name, label in names.items()
        if name in result["forms"]
    }
    return curves_figure(courses, PANELS)


def refinement_figure(result: Mapping[str, Any], test: str) -> go.Figure:
    """Draw the gain of the refinement over its iterations, one line for each kind of j2D, with its interval."""
    figure = go.Figure()
    for color, (mode, gains) in zip(METHOD_COLORS, result["refinement"][test].items(), strict=False):
        steps = [0, *(int(step) for step in gains)]
        low, value, high = ([0.0, *(one[name] for one in gains.values())] for name in ("low", "value", "high"))
        band = {"type": "data", "array": np.subtract(high, value), "arrayminus": np.subtract(value, low)}
        line = {"color": color, "width": 2.5}
        figure.add_trace(go.Scatter(x=steps, y=value, error_y=band, name=in_html(plain_name(mode)), line=line))
    figure.add_hline(0, line_dash="dot", line_color="#6b7280")
    legend = {"orientation": "h", "x": 0, "y": -0.25, "yanchor": "top"}
    figure.update_layout(template="none", height=380, margin={"t": 20, "r": 10, "b": 45, "l": 60}, legend=legend)
    figure.update_xaxes(title="iterations").update_yaxes(title="error less than before, mm")
    return figure


def mask_rows(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Rows of Table 2: the paper's, then ours with the interval of the IoU; numbers in percent."""
    rows = [
        (f"{method} (RHD)", *(f"{100 * value:.1f}" for value in vars(scores).values()), "")
        for method, scores in PUBLISHED_MASKS.items()
    ]
    for test, methods in result["masks"].items():
        for method, one in methods.items():
            numbers = (f"{100 * one[name]:.1f}" for name in ("iou", "precision", "recall", "f1"))
            low, high = one["iou_interval"]
            rows.append((f"{method} ({test})", *numbers, f"[{100 * low:.1f}, {100 * high:.1f}]"))
    return rows
