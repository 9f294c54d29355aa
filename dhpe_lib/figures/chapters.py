"""Charts, tables and measured results, in the form in which the book's chapters show them.

Long measurements are not repeated when the book is built. They lie in ``book/results/*.json``, each with its command,
date and hardware.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

import dhpe_lib

PACKAGE = Path(dhpe_lib.__file__).parent
IN_WHEEL = PACKAGE / "results"
"""Folder of the measured results in an installed wheel, which holds no book."""
RESULTS = IN_WHEEL if IN_WHEEL.is_dir() else PACKAGE.parent / "book" / "results"
"""Folder of the measured results in a clone of the repository."""

TITLE_HEIGHT = 40
"""Height of a chart's title, pixels."""
GRID_COLOR = "rgba(128,128,128,.25)"  # visible on a white page and on a dark one
ROWS = {"autorange": "reversed", "automargin": True, "zeroline": False, "ticklabelstandoff": 6}
"""Vertical axis whose values are names of rows, from top to bottom."""


def chart(
    x_title: str, y_title: str, traces: Sequence[Any], height: int = 300, log_y: bool = False, title: str = ""
) -> go.Figure:
    """Return a figure with one pair of axes in the book's look, and above it a legend and a title.

    Args:
        x_title: Title of the horizontal axis.
        y_title: Title of the vertical axis.
        traces: Plotly traces, in drawing order.
        height: Height of the figure, in pixels.
        log_y: Whether the vertical axis is logarithmic.
        title: Title of the figure; it adds 40 pixels to the height.

    Returns:
        A plotly figure.
    """
    figure = go.Figure(list(traces))
    above = TITLE_HEIGHT if title else 0
    figure.update_layout(
        template="none",
        height=height + above,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        margin={"t": 30 + above, "r": 10, "b": 45, "l": 60},
    )
    if title:
        figure.update_layout(title={"text": title, "y": 1.0, "yanchor": "top", "pad": {"t": 8}})
    axis = {"zeroline": False, "gridcolor": GRID_COLOR}
    figure.update_xaxes(title=x_title, **axis)
    figure.update_yaxes(title=y_title, type="log" if log_y else "linear", **axis)
    return figure


def markdown_table(head: Sequence[Any], rows: Sequence[Sequence[Any]], text_columns: int = 1) -> str:
    """Return a table in Markdown, with text aligned left and numbers aligned right.

    Args:
        head: Titles of the columns.
        rows: Cells of each row, as many as there are titles.
        text_columns: Number of columns, counted from the left, that hold text; the others hold numbers.

    Returns:
        The lines of the table.

    Raises:
        ValueError: A row has another number of cells than the head.
    """
    for row in rows:
        if len(row) != len(head):
            raise ValueError(f"row {list(row)} has {len(row)} cells, but the head has {len(head)}: give one a column")
    rule = ["---" if column < text_columns else "--:" for column in range(len(head))]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in (head, rule, *rows))


def results_table(results: Mapping[str, Mapping[str, Any]], corner: str) -> str:
    """Return the rows of a measured result as a table in Markdown.

    Args:
        results: For each row its values by column; a column that a row lacks, or whose value is None, stays empty.
        corner: Title of the first column, which names the rows.

    Returns:
        The lines of the table.
    """
    columns = list(dict.fromkeys(column for row in results.values() for column in row))
    rows = [(name, *(_cell(row.get(column)) for column in columns)) for name, row in results.items()]
    return markdown_table((corner, *(column.replace("_", " ") for column in columns)), rows)


def read_result(name: str) -> dict[str, Any]:
    """Return a measured result of the book.

    Args:
        name: Name of the file in ``book/results``, without its suffix. A wheel brings these files too.

    Returns:
        The content of the JSON file.

    Raises:
        FileNotFoundError: The folder or the file is missing.
    """
    if not RESULTS.is_dir():
        raise FileNotFoundError(
            f"{RESULTS} is missing: the measured results come with the repository and with a wheel; install dhpe again"
        )
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        existing = ", ".join(sorted(other.stem for other in RESULTS.glob("*.json")))
        raise FileNotFoundError(f"{path} is missing; results that exist: {existing}")
    return json.loads(path.read_text(encoding="utf-8"))


def machine_line(result: Mapping[str, Any]) -> str:
    """Return one line of Markdown that says which command measured a result, when, and on which machine.

    Args:
        result: Content of a result file: ``command``, ``date`` and, if known, ``hardware`` as text or by names.

    Returns:
        A sentence.
    """
    hardware = result.get("hardware", "")
    if isinstance(hardware, Mapping):
        hardware = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in hardware.items())
    return f"`{result['command']}`, {result['date']}" + (f"; {hardware}." if hardware else ".")


def _cell(value: Any) -> str:
    """Return a number with four significant digits, or without decimals from 1000 on; text stays as it is."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int) or value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"
