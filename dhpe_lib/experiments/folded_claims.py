"""The paper's claims on a page: one line each, with verdict and deciding number, and the rest folded under it."""

from collections.abc import Sequence
from typing import get_args

from dhpe_lib.experiments.claims_figures import COLORS
from dhpe_lib.experiments.paper_table import Row, file_numbers
from dhpe_lib.experiments.plain_names import in_html
from dhpe_lib.experiments.verdicts import Verdict
from dhpe_lib.figures.html_records import Html

DOT = "display:inline-block;width:.7em;height:.7em;border-radius:50%;margin-right:.5em;background:{}"
HEADING = "margin:1.2em 0 .2em"
LINE = "cursor:pointer;padding:.25em 0;line-height:1.4"
PART = "margin:.3em 0 .3em 1.6em;line-height:1.4"


def claims_list(rows: Sequence[Row]) -> Html:
    """List rows, each as one line that opens; rows of one verdict stand together under its name.

    Args:
        rows: From :func:`dhpe_lib.experiments.paper_table.paper_rows`.
    """
    numbers, parts = file_numbers(rows), []
    for verdict in get_args(Verdict):
        some = [row for row in rows if row.verdict == verdict]
        lines = "".join(folded(row, str(numbers.get(row.file, ""))) for row in some)
        parts.append(f'<p style="{HEADING}"><strong>{verdict}: {len(some)}</strong></p>{lines}')
    return Html("".join(parts))


def folded(row: Row, file: str = "") -> str:
    """Return a row as HTML: claim and deciding number; below, what the paper says, all numbers and why."""
    dot = f'<span style="{DOT.format(COLORS[row.verdict])}"></span>'
    number = f": {in_html(row.line)}" if row.line else ""
    summary = f"{dot}{in_html(row.claim)} ({row.where}){number}"
    here = "<br>".join(map(in_html, row.here.split("; ")))
    why = "<br>".join(map(in_html, row.why.split("; ")))
    parts = {"paper": in_html(row.paper), "here": here, "why": why, "result file": file}
    lines = "".join(f'<div style="{PART}"><em>{name}:</em> {text}</div>' for name, text in parts.items() if text)
    return f'<details><summary style="{LINE}">{summary}</summary>{lines}</details>'
