"""Plotly figures in the book: the page holds a figure's data, and the book's own script draws it.

The book's extension, `book/_ext/dhpe_book.py`, gives this renderer to myst-nb. It is no entry point of the package: an
entry point would claim the figures of every other book in the environment.
"""

import json
from typing import Any

from dhpe_lib.figures.data_urls import json_script

MIME_TYPE = "application/vnd.plotly.v1+json"


class PlotlyMime:
    """Renderer of plotly figures, with the interface that myst-nb requires."""

    mime_priority_overrides = (("*", MIME_TYPE, 1),)

    @staticmethod
    def handle_mime(_renderer: Any, data: Any, inline: bool) -> list[Any] | None:
        """Return the figure's JSON inside a `div` of its height; None leaves other outputs to myst-nb."""
        if inline or data.mime_type != MIME_TYPE:
            return None
        from docutils import nodes  # part of the book's packages

        figure = data.content if isinstance(data.content, dict) else json.loads(data.content)
        return [nodes.raw(text=figure_html(figure), format="html", classes=["output", "text_html"])]


def figure_html(figure: dict[str, Any]) -> str:
    """Return a figure's JSON as an HTML element; a closing tag inside its strings is escaped."""
    height = figure.get("layout", {}).get("height", 450)
    return (
        f'<div class="dhpe-plotly" style="height:{float(height):g}px">{json_script(figure)}'
        "<noscript>This figure is drawn with JavaScript.</noscript></div>"
    )
