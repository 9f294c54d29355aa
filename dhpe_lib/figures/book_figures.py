"""How the book shows a plotly figure: as data in the page, drawn by the book's own script.

myst-nb finds this through the project's entry point `myst_nb.mime_renderers`. Without it a static page shows nothing
where a notebook shows a figure.
"""

import json
from typing import Any

from docutils import nodes

MIME_TYPE = "application/vnd.plotly.v1+json"


class PlotlyMime:
    """A renderer in the shape that myst-nb asks for."""

    mime_priority_overrides = (("*", MIME_TYPE, 1),)

    @staticmethod
    def handle_mime(_renderer: Any, data: Any, inline: bool) -> list[nodes.Node] | None:
        """The figure's JSON inside a `div` of its height; None leaves other outputs to myst-nb."""
        if inline or data.mime_type != MIME_TYPE:
            return None
        figure = data.content if isinstance(data.content, dict) else json.loads(data.content)
        return [nodes.raw(text=figure_html(figure), format="html", classes=["output", "text_html"])]


def figure_html(figure: dict[str, Any]) -> str:
    """A figure's JSON as an element of the page, safe from a closing tag in its strings."""
    height = figure.get("layout", {}).get("height", 450)
    data = json.dumps(figure, separators=(",", ":")).replace("</", "<\\/")
    return (
        f'<div class="dhpe-plotly" style="height:{height}px"><script type="application/json">{data}</script>'
        "<noscript>This figure is drawn with JavaScript.</noscript></div>"
    )
