"""One picture, or small pictures beside each other, as HTML for notebooks and pages."""

import html
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from dhpe_lib.common.records import to_numpy
from dhpe_lib.figures.data_urls import data_url
from dhpe_lib.figures.html_records import Html

FRAME = "border-radius:4px;outline:1px solid rgba(128,128,128,.35)"
PAGE_WIDTH, GAP = 744, 14
"""Width of a page of the book on a screen and space between pictures, CSS pixels."""
CAPTION = "font-size:13px;line-height:1.3;margin:4px 0 0;color:inherit!important;text-align:left"


def picture_row(pictures: Mapping[str, Any], width: int = 200, quality: int | None = None) -> Html:
    """Lay small pictures out in a row, each above its caption; pixels are enlarged without smoothing.

    Args:
        pictures: Caption -> [H, W] or [H, W, 3], in [0, 1].
        width: Width of a picture on the page, CSS pixels; pictures that do not fit go to the next line. On a phone
            two pictures of the book stand beside each other; several full rows keep their columns and scroll.
        quality: Quality of JPEG, which takes a fifth of the bytes for photos; None for exact PNG.

    Returns:
        The row.
    """
    figures = []
    for caption, values in pictures.items():
        levels = np.rint(255 * np.clip(to_numpy(values).astype(float), 0, 1)).astype(np.uint8)
        drawn = Image.fromarray(levels)
        address = data_url(drawn, "PNG", optimize=True) if quality is None else data_url(drawn, "JPEG", quality=quality)
        sharp = "image-rendering:pixelated;" if levels.shape[1] < width else ""
        style = f"{sized(drawn, width)};{sharp}display:block;margin:0;padding:0;{FRAME}"
        text = html.escape(caption)
        figures.append(
            f'<figure style="margin:0;width:{width}px"><img src="{address}" alt="{text}" style="{style}">'
            f'<figcaption style="{CAPTION}">{text}</figcaption></figure>'
        )
    columns = (PAGE_WIDTH + GAP) // (width + GAP)
    row = f"--columns:{columns};display:flex;flex-wrap:wrap;gap:{GAP}px;margin:8px 0;font-family:system-ui,sans-serif"
    is_grid = len(figures) > columns > 2 and len(figures) % columns == 0  # a column may then have a meaning
    names = "dhpe-pictures dhpe-grid" if is_grid else "dhpe-pictures"
    return Html(f'<div class="{names}" style="{row}">{"".join(figures)}</div>')


def single_picture(pixels: UInt8[ndarray, "height width 3"], alt: str, quality: int = 90) -> Html:
    """Show one picture in its own size, stored as a JPEG; on a narrow screen it shrinks.

    Args:
        pixels: RGB picture.
        alt: Text for whoever cannot see the picture.
        quality: Quality of the JPEG.

    Returns:
        The picture.
    """
    drawn = Image.fromarray(pixels)
    address = data_url(drawn, "JPEG", quality=quality)
    return Html(f'<img src="{address}" alt="{html.escape(alt)}" style="{sized(drawn, drawn.width)}">')


def sized(drawn: Image.Image, width: int) -> str:
    """Return the style of a picture `width` CSS pixels wide; a page keeps its place before it is loaded."""
    return f"width:{width}px;max-width:100%;aspect-ratio:{drawn.width}/{drawn.height}"
