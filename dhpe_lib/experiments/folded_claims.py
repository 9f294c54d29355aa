"""The paper's claims on a page: one line each, with verdict and deciding number, and the rest folded under it."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from dhpe_lib.experiments.claims_figures import COLORS
from dhpe_lib.experiments.paper_table import Row, file_numbers
from dhpe_lib.experiments.paper_verdicts import Verdict

DOT = "display:inline-block;width:.7em;height:.7em;border-radius:50%;margin-right:.5em;background:{}"
LINE = "cursor:pointer;padding:.25em 0;line-height:1.4"
PART = "margin:.3em 0 .3em 1.6em;line-height:1.4"


@dataclass(frozen=True)
class ClaimsList:
    """A list of claims that a notebook shows as HTML."""

    html: str

    def _repr_html_(self) -> str:
        return self.html


def claims_list(rows: Sequence[Row], grouped: bool = False) -> ClaimsList:
    """List rows, each as one line that opens.

    Args:
        rows: From :func:`dhpe_lib.experiments.paper_table.paper_rows`.
        grouped: Whether rows of one verdict stand together under its name, and name their result files by number.

    Returns:
        The list.
    """
    if not grouped:
        return ClaimsList("".join(folded(row, row.verdict) for row in rows))
    numbers, parts = file_numbers(rows), []
    for verdict in get_args(Verdict):
        some = [row for row in rows if row.verdict == verdict]
        lines = "".join(folded(row, file=str(numbers.get(row.file, ""))) for row in some)
        parts.append(f"<p><strong>{verdict}: {len(some)}</strong></p>{lines}")
    return ClaimsList("".join(parts))


def folded(row: Row, verdict: str = "", file: str = "") -> str:
    """Return a row as HTML: verdict, claim and deciding number; below, what the paper says, all numbers and why."""
    dot = f'<span style="{DOT.format(COLORS[row.verdict])}"></span>'
    number = f": {marked(row.line)}" if row.line else ""
    summary = f"{dot}{f'<strong>{verdict}</strong> ' if verdict else ''}{marked(row.claim)} ({row.where}){number}"
    here = "<br>".join(map(marked, row.here.split("; ")))
    parts = {"paper": marked(row.paper), "here": here, "why": marked(row.why), "file": file}
    lines = "".join(f'<div style="{PART}"><em>{name}:</em> {text}</div>' for name, text in parts.items() if text)
    return f'<details><summary style="{LINE}">{summary}</summary>{lines}</details>'


def marked(text: str) -> str:
    """Return text with Markdown's emphasis and code as HTML."""
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))
    return re.sub(r"\*(\w[^*]*)\*", r"<em>\1</em>", text)
