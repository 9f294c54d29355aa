"""Gains in a chart: the main variants of the ablation, and rows of gains; and one sentence for each part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dhpe_lib.experiments.claims import gain_text, gain_word, opposite
from dhpe_lib.experiments.plain_names import in_html, in_markdown
from dhpe_lib.figures.chapters import GRID_COLOR, ROWS, chart

TESTS = {"orh_test": "ORH", "orh-o_test": "ORH-O"}
COLORS = {"better": "#3fa34d", "worse": "#e63946", "undecided": "#8a929c"}
FULL = "#2f7fe0"

EFFECTS = {
    "better": ("lowers the error", "by {:.1f} mm "),
    "worse": ("raises the error", "by {:.1f} mm "),
    "undecided": ("has no clear effect", ""),
}
"""Verb of a gain's direction, and the size if there is one."""


@dataclass(frozen=True)
class Variant:
    """A variant of the chart.

    Attributes:
        label: Plain name.
        part: Name of the part in the comparisons of ``evidence.json``.
        side: Whether the variant has the part or lacks it.
    """

    label: str
    part: str
    side: Literal["with", "without"]


VARIANTS = (
    Variant("refined, 2D joints fixed", "refinement, j2D(3) fixed", "with"),
    Variant("refined, 2D joints moved by f_Ref", "refinement", "with"),
    Variant("without f_Ref", "f_Ref", "without"),
    Variant("without the shape loss of every fourth image", "shape loss of a quarter", "without"),
    Variant("with novel views", "augmentation, all images", "with"),
)
"""The variants that are compared with *full*, in the order of the chart."""

PARTS = {
    "Refinement with fixed 2D joints": "refinement, j2D(3) fixed",
    "Refinement with 2D joints that f_Ref moves": "refinement",
    "f_Ref": "f_Ref",
    "The shape loss of every fourth image": "shape loss of a quarter",
    "Augmentation of images with all viewpoints": "augmentation, few images",
    "Augmentation of images with few viewpoints": "augmentation, few viewpoints",
}
"""Subjects of the sentences, with the part's name in the comparisons."""


def effects_figure(result: Mapping[str, Any], height: int = 380) -> go.Figure:
    """Draw the mean error of each main variant, with the 95 % interval of its difference to *full*.

    Args:
        result: "results" of `evidence.json`.
        height: Height of the figure, pixels.

    Returns:
        A plotly figure with one panel for each of ``TESTS``. A bar is green if the variant is better than *full*,
        red if it is worse, and grey if the interval contains *full*.
    """
    figure = make_subplots(
        1, len(TESTS), subplot_titles=list(TESTS.values()), shared_yaxes=True, horizontal_spacing=0.05
    )
    for column, (test, name) in enumerate(TESTS.items(), 1):
        full = result["forms"]["full"]["tests"][test]["epe_a_mm"]["mean"]
        rows = [(one, result["comparisons"][f"{one.part}, {name}"]) for one in VARIANTS]
        figure.add_trace(_bars(full, rows), 1, column)
        figure.add_vline(x=full, line_dash="dash", line_color=FULL, row=1, col=column)
    figure.update_layout(template="none", height=height, showlegend=False, paper_bgcolor="rgba(0,0,0,0)")
    figure.update_layout(margin={"t": 40, "r": 15, "b": 50, "l": 20})
    figure.update_yaxes(ROWS, categoryorder="array", categoryarray=figure.data[0].y)
    return figure.update_xaxes(title="mean error, mm", rangemode="tozero", zeroline=False, gridcolor=GRID_COLOR)


def _bars(full: float, rows: Sequence[tuple[Variant, Mapping[str, Any]]]) -> go.Bar:
    """Return a bar for each variant; the gain of leaving a part out is that of the part with the other sign."""
    values = [full, *(one[variant.side] for variant, one in rows)]
    gains = [one if variant.side == "with" else opposite(one) for variant, one in rows]
    above = [None, *(one["value"] - one["low"] for one in gains)]
    below = [None, *(one["high"] - one["value"] for one in gains)]
    return go.Bar(
        x=values, y=["full", *(in_html(variant.label) for variant, _ in rows)], orientation="h",
        marker={"color": [FULL, *(COLORS[gain_word(one)] for one in gains)]},
        error_x={"type": "data", "array": above, "arrayminus": below, "color": "#6b7280", "thickness": 2},
        text=[f"{value:.1f}" for value in values], textposition="inside", insidetextanchor="start",
        hovertemplate="%{y}: %{x:.1f} mm<extra></extra>",
    )  # fmt: skip


def gain_dots(gains: Mapping[str, Mapping[str, Any]], unit: str) -> go.Figure:
    """Draw gains with their 95 % intervals, one below the other.

    Args:
        gains: Gains of `evidence.json`, by the label of their row, from the top.
        unit: Unit of the gains.

    Returns:
        A plotly figure. A dot is green if the interval lies above 0, red if it lies below, and grey otherwise.
    """
    rows = list(gains.values())
    above, below = ([abs(one[end] - one["value"]) for one in rows] for end in ("high", "low"))
    dots = go.Scatter(
        x=[one["value"] for one in rows], y=list(gains), mode="markers", showlegend=False,
        marker={"size": 9, "color": [COLORS[gain_word(one)] for one in rows]},
        error_x={"type": "data", "array": above, "arrayminus": below, "color": "#6b7280"},
    )  # fmt: skip
    figure = chart(f"gain, {unit}", "", [dots], height=30 + 30 * len(rows))
    figure.update_yaxes(ROWS, type="category", categoryorder="array", categoryarray=list(gains))
    return figure.add_vline(0, line_dash="dot", line_color="#8a929c")


def effect_sentence(result: Mapping[str, Any], subject: str) -> str:
    """Return a sentence about a part in Markdown: what it does to the error on ORH and on ORH-O, with intervals.

    Args:
        result: "results" of `evidence.json`.
        subject: A key of ``PARTS``.
    """
    clauses: dict[str, list[str]] = {}
    for name in TESTS.values():
        one = result["comparisons"][f"{PARTS[subject]}, {name}"]
        verb, size = EFFECTS[gain_word(one)]
        clauses.setdefault(verb, []).append(f"on {name} {size.format(abs(one['value']))}({gain_text(one)})")
    parts = (f"{verb} {' and '.join(places)}" for verb, places in clauses.items())
    return f"{in_markdown(subject)} {', and it '.join(parts)}."
