"""HTML that a notebook and a page show as it is, and a link that downloads a table."""

import base64
import csv
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


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
