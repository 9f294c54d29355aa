"""Figures of the claims of :mod:`dhpe_lib.experiments.paper_table`: how many hold, and the differences behind them."""

from collections import Counter
from collections.abc import Sequence
from typing import get_args

import plotly.graph_objects as go

from dhpe_lib.experiments.paper_table import Row
from dhpe_lib.experiments.paper_verdicts import Verdict
from dhpe_lib.figures.chapters import GRID_COLOR

COLORS: dict[Verdict, str] = {
    "holds": "#3fa34d",
    "does not hold": "#e63946",
    "undecided": "#f4a224",
    "not measured": "#8a929c",
}


def verdicts_figure(rows: Sequence[Row], height: int = 240) -> go.Figure:
    """Draw how many claims have each verdict; the hover text lists them.

    Args:
        rows: From :func:`dhpe_lib.experiments.paper_table.paper_rows`.
        height: Height of the figure, pixels.

    Returns:
        A plotly figure with one bar for each verdict.
    """
    counts = Counter(row.verdict for row in rows)
    verdicts = list(get_args(Verdict))
    lists = ["<br>".join(row.claim for row in rows if row.verdict == verdict) for verdict in verdicts]
    bars = go.Bar(
        x=[counts[verdict] for verdict in verdicts], y=verdicts, orientation="h", customdata=lists,
        marker={"color": [COLORS[verdict] for verdict in verdicts]}, text=[str(counts[v]) for v in verdicts],
        hovertemplate="%{customdata}<extra></extra>",
    )  # fmt: skip
    figure = _figure([bars], height)
    return figure.update_xaxes(title="number of claims", dtick=5)


def differences_figure(rows: Sequence[Row], height: int = 420) -> go.Figure:
    """Draw the measured differences with their intervals; right of zero they have the paper's sign.

    Args:
        rows: From :func:`dhpe_lib.experiments.paper_table.paper_rows`; rows without a difference are left out.
        height: Height of the figure, pixels.

    Returns:
        A plotly figure with one trace for each verdict that occurs.
    """
    shown = [(row, row.difference) for row in rows if row.difference is not None]
    traces = []
    for verdict, color in COLORS.items():
        of_verdict = [(row.claim, one) for row, one in shown if row.verdict == verdict]
        if of_verdict:
            claims, differences = zip(*of_verdict, strict=True)
            values = [one.value for one in differences]
            above = [one.high - one.value for one in differences]
            below = [one.value - one.low for one in differences]
            bars = {"type": "data", "array": above, "arrayminus": below, "color": color}
            marker = {"size": 9, "color": color}
            traces.append(go.Scatter(x=values, y=claims, error_x=bars, mode="markers", marker=marker, name=verdict))
    figure = _figure(traces, height)
    figure.add_vline(x=0, line_color="#8a929c", line_width=1)
    figure.update_yaxes(categoryorder="array", categoryarray=[row.claim for row, _ in shown])
    return figure.update_xaxes(title="difference with the paper's sign, mm")


def _figure(traces: Sequence[go.Bar | go.Scatter], height: int) -> go.Figure:
    figure = go.Figure(list(traces))
    figure.update_layout(template="none", height=height, paper_bgcolor="rgba(0,0,0,0)", showlegend=len(traces) > 1)
    figure.update_layout(margin={"t": 30, "r": 20, "b": 50, "l": 20}, legend={"orientation": "h", "y": 1.12})
    figure.update_yaxes(autorange="reversed", automargin=True, zeroline=False)
    return figure.update_xaxes(zeroline=False, gridcolor=GRID_COLOR)
