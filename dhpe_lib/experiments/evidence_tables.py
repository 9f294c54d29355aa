"""Tables of ``evidence.json`` for a page: a few gains in Markdown, and all of them as CSV."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from dhpe_lib.experiments.claims import gain_text
from dhpe_lib.experiments.evidence_forms import MEANINGS
from dhpe_lib.experiments.evidence_trunks import TRUNK_MEANINGS
from dhpe_lib.experiments.plain_names import in_markdown, plain_name
from dhpe_lib.figures.chapters import markdown_table
from dhpe_lib.figures.html_records import Html, csv_link

NOT_MEASURED = "*Not measured.*"
QUANTITIES = ("ORH", "ORH-S", "ORH-O")
PHOTOS = {
    "labelled by a network": "photos with labels of a network",
    "labelled by hand": "labelled photos",
}
"""Groups of photos and the ends of their comparisons' names."""
SCORES = {
    "ORH, mm": ("orh_test", "epe_a_mm", 1),
    "ORH-S, mm": ("orh-s_test", "epe_a_mm", 1),
    "ORH-O, mm": ("orh-o_test", "epe_a_mm", 1),
    "ORH aligned, mm": ("orh_test", "epe_c_mm", 1),
    "ORH mask IoU": ("orh_test", "mask_iou", 3),
}
"""Columns of the variants, with test, score and decimals."""


def gains_table(result: Mapping[str, Any], parts: Sequence[str], quantities: Sequence[str] = QUANTITIES) -> str:
    """Return gains as a table in Markdown, or that none of them was measured.

    Args:
        result: "results" of `evidence.json`.
        parts: Parts of the names of comparisons: a row for each that was measured.
        quantities: The last parts of the names: a column for each.
    """
    gains, rows = result["comparisons"], []
    for part in parts:
        found = [gains.get(f"{part}, {quantity}") for quantity in quantities]
        if any(found):
            cells = (gain_text(one) if one else "" for one in found)
            rows.append((in_markdown(plain_name(part)), *cells))
    titles = (in_markdown(plain_name(quantity)) for quantity in quantities)
    return markdown_table(("gain of", *titles), rows) if rows else NOT_MEASURED


def photos_table(result: Mapping[str, Any], parts: Sequence[str]) -> str:
    """Return the gains of parts on photos as a table in Markdown: a row for each part, a column for each group."""
    gains, rows = result["comparisons"], []
    for part in parts:
        found = (gains.get(f"{part}, {end}") for end in PHOTOS.values())
        cells = (f"{gain_text(one)}, {one['images']} photos" if one else "not measured" for one in found)
        rows.append((in_markdown(plain_name(part)), *cells))
    return markdown_table(("part", *PHOTOS), rows)


def gains_csv(gains: Mapping[str, Mapping[str, Any]]) -> Html:
    """Return a link to all gains, with their intervals and the gain of each seed."""
    head = ("part and quantity", "unit", "without", "with", "gain", "low", "high", "images", "gain of each seed")
    rows = [
        (plain_name(name), one["unit"], one["without"], one["with"], one["value"], one["low"], one["high"],
         one["images"], " ".join(map(str, one["seeds"])))
        for name, one in gains.items()
    ]  # fmt: skip
    return csv_link("gains.csv", head, rows)


def variant_rows(result: Mapping[str, Any], names: Sequence[str] | None = None) -> Iterator[tuple[str, ...]]:
    """Yield a row for each variant that was trained: its meaning and the scores of ``SCORES``.

    Args:
        result: "results" of `evidence.json`.
        names: Variants; None for all.
    """
    for name, form in result["forms"].items():
        if names is None or name in names:
            scores = (form["tests"].get(test, {}).get(score) for test, score, _ in SCORES.values())
            places = (places for _, _, places in SCORES.values())
            cells = (f"{one['mean']:.{n}f}" if one else "" for one, n in zip(scores, places, strict=True))
            yield ((MEANINGS | TRUNK_MEANINGS)[name], *cells)


def if_drawn(figure: go.Figure) -> go.Figure | Html:
    """Return a figure that shows something, or else that it was not measured."""
    return figure if figure.data else Html("<p><em>Not measured.</em></p>")
