"""A triangle to drag, with the three gradients of its mask: a figure of the book and a widget in JupyterLab.

`triangle.js` draws the figure and has the formulas of `dhpe_lib.rendering.renderer.silhouette` for one face. This
module passes the start positions to it. The figure needs no kernel, server or network afterwards.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dhpe_lib.figures.viewer import json_script
from dhpe_lib.rendering.renderer import Method

SCRIPT = Path(__file__).parent / "triangle.js"
Corners = Sequence[tuple[float, float]]

START: Corners = ((2.0, 5.0), (9.5, 8.5), (4.0, 13.5))
TARGET: Corners = ((3.6, 2.1), (13.7, 5.2), (9.4, 12.3))


def triangle_payload(
    triangle: Corners = START,
    target: Corners = TARGET,
    method: Method = "coverage",
    size: int = 16,
    blur: float = 0.8,
) -> dict[str, Any]:
    """Return everything that `triangle.js` needs.

    Args:
        triangle: Start positions of the three corners, pixels.
        target: Corners of the triangle whose mask is the target, pixels.
        method: Method of `dhpe_lib.rendering.renderer.silhouette`.
        size: Pixels along each side of the image.
        blur: Square root of the soft mask's sigma, pixels.

    Returns:
        A JSON-serialisable dict.

    Raises:
        ValueError: A triangle does not have three corners.
    """
    if len(triangle) != 3 or len(target) != 3:
        raise ValueError(f"triangle and target have {len(triangle)} and {len(target)} corners; give three for each")
    return {
        "triangle": [[float(u), float(v)] for u, v in triangle],
        "target": [[float(u), float(v)] for u, v in target],
        "method": method,
        "size": size,
        "blur": blur,
    }


@dataclass(frozen=True)
class TriangleFigure:
    """Output of the book: data only; the book's own script draws it when it comes into view."""

    payload: dict[str, Any]

    def _repr_html_(self) -> str:
        return f'<div class="dhpe-triangle">{json_script(self.payload)}</div>'


@cache
def widget_class() -> Any:
    """Return the anywidget class; anywidget is imported on first use, since only notebooks need it."""
    import anywidget
    import traitlets

    class TriangleWidget(anywidget.AnyWidget):
        _esm = SCRIPT
        payload = traitlets.Dict().tag(sync=True)
        triangle = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)
        method = traitlets.Unicode().tag(sync=True)

    return TriangleWidget


def triangle_view(
    triangle: Corners = START,
    target: Corners = TARGET,
    method: Method = "coverage",
    size: int = 16,
    blur: float = 0.8,
) -> Any:
    """Show the figure in a notebook: data for the page while the book is built, else a live widget.

    The widget's traits `triangle` and `method` follow the figure. Setting them changes the figure.

    Args:
        triangle: Start positions of the three corners, pixels.
        target: Corners of the triangle whose mask is the target, pixels.
        method: Method of `dhpe_lib.rendering.renderer.silhouette`.
        size: Pixels along each side of the image.
        blur: Square root of the soft mask's sigma, pixels.

    Returns:
        A `TriangleFigure` while the book is built, else the widget.
    """
    payload = triangle_payload(triangle, target, method, size, blur)
    if os.environ.get("DHPE_BOOK"):
        return TriangleFigure(payload)
    return widget_class()(payload=payload, triangle=payload["triangle"], method=method)
