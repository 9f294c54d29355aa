"""Parts of a drawing in SVG that takes the colour of the text around it, so it reads on white and on black."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

Number = float | int
Point = tuple[Number, Number]

FAINT = 0.45
"""Opacity of lines in the background of a drawing."""
TIP = (
    '<marker id="dhpe-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0L8 4L0 8z" fill="context-stroke" stroke="none"/></marker>'
)


@dataclass(frozen=True)
class Drawing:
    """A drawing that notebooks and pages show as HTML.

    Attributes:
        parts: SVG elements, in drawing order.
        width: Width of the drawing in its own units.
        height: Height of the drawing in its own units.
        alt: Text for readers who do not see the drawing.
    """

    parts: Sequence[str]
    width: int
    height: int
    alt: str

    def _repr_html_(self) -> str:
        narrowest = round(0.8 * self.width)  # below that the letters would be too small; the box then scrolls
        style = f"min-width:{narrowest}px;max-width:{self.width}px;display:block;margin:auto"
        size = f'viewBox="0 0 {self.width} {self.height}" width="100%" style="{style}"'
        return (
            f'<div class="dhpe-diagram" style="margin:1rem 0;overflow-x:auto"><svg {size} role="img" '
            f'aria-label="{html.escape(self.alt)}" fill="none" stroke="currentColor" stroke-width="1.4">'
            f"<defs>{TIP}</defs>{''.join(self.parts)}</svg></div>"
        )


def words(at: Point, text: str, anchor: str = "middle", size: Number = 14, color: str = "currentColor") -> str:
    """Write a text; `f_J2D` gets a subscript that ends with its word.

    Args:
        at: Anchor of the text; its baseline is here.
        text: The text.
        anchor: "start", "middle" or "end".
        size: Size of the letters, in the drawing's units.
        color: CSS colour.

    Returns:
        An SVG element.
    """
    lowered = f'<tspan dy="4" font-size="{0.72 * size:g}">\\1</tspan><tspan dy="-4">&#8203;</tspan>'
    body = re.sub(r"_(\w+)", lowered, html.escape(text))
    place = f'x="{at[0]:g}" y="{at[1]:g}" text-anchor="{anchor}"'
    return f'<text {place} font-size="{size:g}" fill="{color}" stroke="none">{body}</text>'


def box(at: Point, size: Point, text: str) -> str:
    """Draw a rounded box around a centre with a text in its middle."""
    (x, y), (width, height) = at, size
    place = f'x="{x - width / 2:g}" y="{y - height / 2:g}" width="{width:g}" height="{height:g}"'
    return f'<rect {place} rx="7"/>{words((x, y + 5), text)}'


def line(points: Sequence[Point], style: str = "", arrow: bool = False) -> str:
    """Draw straight lines through points, with an arrow's tip at the last one on request.

    Args:
        points: Corners of the line.
        style: More attributes of the element.
        arrow: Whether the line ends in a tip.

    Returns:
        An SVG element.
    """
    path = "M" + "L".join(f"{x:.5g} {y:.5g}" for x, y in points)
    tip = ' marker-end="url(#dhpe-tip)"' if arrow else ""
    return f'<path d="{path}" {style}{tip}/>'


def dot(at: Point, radius: Number, style: str = 'fill="currentColor" stroke="none"') -> str:
    """Draw a disc."""
    return f'<circle cx="{at[0]:.5g}" cy="{at[1]:.5g}" r="{radius:g}" {style}/>'
