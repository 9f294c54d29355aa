"""A triangle to drag, and what the three gradients of its mask say: a figure of the book, a widget in JupyterLab.

The drawing and the formulas are `assets/triangle.js`, the same as `dhpe_lib.rendering.renderer.silhouette` for one face; this
module says where it starts. No kernel, server or network is needed afterwards.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dhpe_lib.figures.viewer import island
from dhpe_lib.rendering.renderer import Method

SCRIPT = Path(__file__).parent / "triangle.js"
Places = Sequence[tuple[float, float]]

START: Places = ((2.0, 5.0), (9.5, 8.5), (4.0, 13.5))
TARGET: Places = ((3.6, 2.1), (13.7, 5.2), (9.4, 12.3))


def triangle_payload(
    triangle: Places = START,
    target: Places = TARGET,
    method: Method = "coverage",
    size: int = 16,
    blur: float = 0.8,
) -> dict[str, Any]:
    """Everything that `triangle.js` needs, as JSON.

    Args:
        triangle: Where the three corners start, in pixels.
        target: The corners of the triangle whose mask is wanted, in pixels.
        method: As in `dhpe_lib.rendering.renderer.silhouette`.
        size: Pixels along each side.
        blur: Square root of the soft mask's sigma, in pixels.

    Returns:
        A JSON-serialisable dict.

    Raises:
        ValueError: Other than three corners.
    """
    if len(triangle) != 3 or len(target) != 3:
        raise ValueError(f"{len(triangle)} and {len(target)} corners: a triangle has three")
    return {
        "triangle": [[float(u), float(v)] for u, v in triangle],
        "target": [[float(u), float(v)] for u, v in target],
        "method": method,
        "size": size,
        "blur": blur,
    }


@dataclass(frozen=True)
class TriangleFigure:
    """The triangle as an output of the book: data only, drawn by the book's own script when it comes into view."""

    payload: dict[str, Any]

    def _repr_html_(self) -> str:
        return f'<div class="dhpe-triangle">{island(self.payload)}</div>'


@cache
def widget_class() -> Any:
    """The anywidget class; anywidget is imported on first use, since only notebooks need it."""
    import anywidget
    import traitlets

    class TriangleWidget(anywidget.AnyWidget):
        _esm = SCRIPT
        payload = traitlets.Dict().tag(sync=True)
        triangle = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)
        method = traitlets.Unicode().tag(sync=True)

    return TriangleWidget


def triangle_view(
    triangle: Places = START,
    target: Places = TARGET,
    method: Method = "coverage",
    size: int = 16,
    blur: float = 0.8,
) -> Any:
    """The figure where the notebook is: data for the page while the book is built, else a live widget.

    The widget's traits `triangle` and `method` follow the figure and move it.

    Args:
        triangle: Where the three corners start, in pixels.
        target: The corners of the triangle whose mask is wanted, in pixels.
        method: As in `dhpe_lib.rendering.renderer.silhouette`.
        size: Pixels along each side.
        blur: Square root of the soft mask's sigma, in pixels.
    """
    payload = triangle_payload(triangle, target, method, size, blur)
    if os.environ.get("DHPE_BOOK"):
        return TriangleFigure(payload)
    return widget_class()(payload=payload, triangle=payload["triangle"], method=method)
