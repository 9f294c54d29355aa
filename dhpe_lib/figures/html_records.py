"""HTML that a notebook and a page show as it is, a link that downloads a table, and a page with a title."""

import base64
import csv
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
{style}
</style>
</head>
<body>
<h1>{title}</h1>
{content}
</body>
</html>
"""
STYLE = """body { max-width: 60rem; margin: 1rem auto; padding: 0 1rem; font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.2rem; }
td { padding: 0.1rem 1rem 0.1rem 0; }"""


@dataclass(frozen=True)
class Html:
    """HTML that a notebook shows.

    Attributes:
        html: Elements of the page.
    """

    html: str

    def _repr_html_(self) -> str:
        return self.html


def csv_link(file: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> Html:
    """Return a link that downloads a table as CSV; the page itself holds the file.

    Args:
        file: Name of the downloaded file.
        head: Titles of the columns.
        rows: Cells of each row.

    Returns:
        The link, with the number of rows.
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    address = f"data:text/csv;charset=utf-8;base64,{base64.b64encode(text.getvalue().encode()).decode()}"
    name = html.escape(file)
    return Html(f'<p><a download="{name}" href="{address}">Download {name}</a> ({len(rows)} rows)</p>')


def titled_page(title: str, content: str, style: str = STYLE) -> str:
    """Return a stand-alone page with a title, which is also its heading.

    Args:
        title: Plain text.
        content: HTML.
        style: CSS.

    Returns:
        HTML.
    """
    return PAGE.format(title=html.escape(title), content=content, style=style)
