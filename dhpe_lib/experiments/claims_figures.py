"""Figures of the claims of :mod:`dhpe_lib.experiments.paper_table`: how many hold, and the gains behind them."""

import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import get_args

import numpy as np
import plotly.graph_objects as go

from dhpe_lib.experiments.paper_table import Row
from dhpe_lib.experiments.plain_names import in_html
from dhpe_lib.experiments.verdicts import RELEVANT, Verdict
from dhpe_lib.figures.chapters import GRID_COLOR, ROWS

COLORS: dict[Verdict, str] = {
    "holds": "#3fa34d",
    "does not hold": "#e63946",
    "undecided": "#f4a224",
    "not comparable": "#5b7fa6",
    "not measured": "#8a929c",
}
FARTHEST = 15
"""Ends of the axis of gains, percent; a gain beyond them stands at the end, with its number."""
LETTERS = 44
"""Longest line of a claim beside an axis; the page breaks it again on a phone."""


def verdicts_figure(rows: Sequence[Row], height: int = 240) -> go.Figure:
    """Draw how many claims have each verdict.

    Args:
        rows: From :func:`dhpe_lib.experiments.paper_table.paper_rows`.
        height: Height of the figure, pixels.

    Returns:
        A plotly figure with one bar for each verdict.
    """
    counts = Counter(row.verdict for row in rows)
    verdicts = list(get_args(Verdict))
    bars = go.Bar(
        x=[counts[verdict] for verdict in verdicts], y=verdicts, orientation="h", hoverinfo="skip",
        marker={"color": [COLORS[verdict] for verdict in verdicts]}, text=[str(counts[v]) for v in verdicts],
    )  # fmt: skip
    figure = _figure([bars], height)
    return figure.update_xaxes(title="number of claims", dtick=5)


def gains_figure(rows: Sequence[Row], height_of_row: int = 62) -> go.Figure:
    """Draw the gain that decides each claim, with its interval, and the range of gains that are none.

    Args:
        rows: From :func:`dhpe_lib.experiments.paper_table.paper_rows`; a row without a gain, or whose
            quantity is 0 without the part, is left out.
        height_of_row: Height of one claim, pixels.

    Returns:
        A plotly figure with one trace for each verdict that occurs; the unit is percent of the quantity without the
        part, and right of zero a gain has the paper's sign.
    """
    shown = [row for row in rows if row.gain is not None and row.gain["of"]]
    traces = [_points(verdict, [row for row in shown if row.verdict == verdict]) for verdict in COLORS]
    figure = _figure([trace for trace in traces if trace.y], 100 + height_of_row * len(shown))
    margin = 100 * RELEVANT
    figure.add_vrect(-margin, margin, fillcolor="#8a929c", opacity=0.25, line_width=0, layer="below")
    figure.add_vline(x=0, line_color="#8a929c", line_width=1)
    figure.update_yaxes(categoryorder="array", categoryarray=[_label(row) for row in shown], tickfont_size=11)
    return figure.update_xaxes(title="gain, percent", range=[-FARTHEST - 1, FARTHEST + 1], dtick=5)


def percent(row: Row) -> tuple[float, float, float]:
    """Value, low and high end of a row's gain, in percent of the quantity without the part."""
    if row.gain is None:
        raise ValueError(f"{row.claim}: there is no gain")
    value, low, high = (100 * float(row.gain[name]) / abs(row.gain["of"]) for name in ("value", "low", "high"))
    return value, low, high


def _points(verdict: Verdict, rows: Sequence[Row]) -> go.Scatter:
    """Return points with intervals that end at the ends of the axis."""
    gains = np.array([percent(row) for row in rows]).reshape(-1, 3)
    value, low, high = np.clip(gains, -FARTHEST, FARTHEST).T
    bars = {"type": "data", "array": high - value, "arrayminus": value - low, "color": COLORS[verdict]}
    texts = [f"{one:+.0f} %" if abs(one) > FARTHEST else "" for one in gains[:, 0]]
    sides = ["top right" if one < 0 else "top left" for one in gains[:, 0]]
    return go.Scatter(
        x=value.tolist(), y=[_label(row) for row in rows], error_x=bars, mode="markers+text", text=texts, name=verdict,
        textposition=sides, cliponaxis=False, marker={"size": 9, "color": COLORS[verdict]},
    )  # fmt: skip


def _label(row: Row) -> str:
    return "<br>".join(map(in_html, textwrap.wrap(row.claim, LETTERS)))


def _figure(traces: Sequence[go.Bar | go.Scatter], height: int) -> go.Figure:
    figure = go.Figure(list(traces))
    figure.update_layout(template="none", height=height, paper_bgcolor="rgba(0,0,0,0)", showlegend=len(traces) > 1)
    legend = {"orientation": "h", "y": 1, "yanchor": "bottom", "x": 0, "xanchor": "left"}
    figure.update_layout(margin={"t": 50, "r": 20, "b": 50, "l": 20}, legend=legend)
    figure.update_yaxes(ROWS)
    return figure.update_xaxes(zeroline=False, gridcolor=GRID_COLOR)
