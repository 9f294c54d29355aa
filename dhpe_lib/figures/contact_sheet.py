"""Contact sheets: many labelled pictures on one page, each with its joints, its mask and a caption.

A few pictures look like a figure; hundreds still show which labels are wrong. Nothing here has a gradient.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFont

from dhpe_lib.common.records import to_numpy
from dhpe_lib.data.cropping import NoCropError, hand_frame
from dhpe_lib.data.crops import Crops
from dhpe_lib.data.sample import Sample
from dhpe_lib.figures.drawing import draw_outline, draw_skeleton
from dhpe_lib.figures.palette import FAINT, INK, MASK_COLOR, PAPER, SQUARE

TILE, GAP, LINE, TITLE = 224, 10, 16, 44
"""Side of a picture, gap between pictures, height of a caption's line and of the title, pixels."""
MASK_OPACITY = 0.22
"""Opacity of a mask's inside; its outline is opaque."""
OUTLINE_WIDTHS = (3, 1)


@dataclass(frozen=True)
class Tile:
    """One picture of a sheet.

    Attributes:
        image: RGB, of any size.
        joints_2d: Joints in canonical order, pixels; NaN for unknown joints.
        mask: True on the hand; None if unknown.
        caption: Two lines, the second fainter.
        outline: Corners of a line to draw, pixels; for instance the outline of the crop.
    """

    image: UInt8[ndarray, "height width 3"]
    joints_2d: Float[ndarray, "21 2"]
    mask: Bool[ndarray, "height width"] | None
    caption: tuple[str, str]
    outline: Float[ndarray, "n 2"] | None = None


def contact_sheet(tiles: Sequence[Tile], title: str, columns: int | None = None, tile: int = TILE) -> Image.Image:
    """Lay pictures out in rows.

    Args:
        tiles: At least one picture.
        title: First line of the page.
        columns: Number of pictures in a row; by default the page becomes a little wider than high.
        tile: Side of a picture on the page, pixels.

    Returns:
        The page.
    """
    columns = min(columns or math.ceil(math.sqrt(1.6 * len(tiles))), len(tiles))
    rows = math.ceil(len(tiles) / columns)
    across, down = tile + GAP, tile + 2 * LINE + GAP + 4
    sheet = Image.new("RGB", (GAP + columns * across, TITLE + rows * down), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((GAP + 2, TITLE / 2), title, INK, ImageFont.load_default(17), anchor="lm")
    font = ImageFont.load_default(12)
    for number, picture in enumerate(tiles):
        left, top = GAP + number % columns * across, TITLE + number // columns * down
        sheet.paste(Image.fromarray(draw_tile(picture, tile)), (left, top))
        for line, (text, color) in enumerate(zip(picture.caption, (INK, FAINT), strict=True)):
            start = (left + 2, top + tile + LINE * (line + 0.6))
            pen.text(start, fitted(text, font, tile - 4), color, font, anchor="lm")
    return sheet


def draw_tile(tile: Tile, size: int) -> UInt8[ndarray, "size size 3"]:
    """Draw a picture with its labels, as large as fits into a square of `size` pixels."""
    height, width = tile.image.shape[:2]
    scale = size / max(height, width)
    small = max(1, round(width * scale)), max(1, round(height * scale))
    picture = np.asarray(Image.fromarray(tile.image).resize(small, Image.Resampling.LANCZOS))
    if tile.mask is not None:
        picture = tinted(picture, np.asarray(Image.fromarray(tile.mask).resize(small)))
    if tile.outline is not None:
        drawn = Image.fromarray(picture)
        draw_outline(drawn, (scale * tile.outline).tolist(), OUTLINE_WIDTHS)
        picture = np.asarray(drawn)
    square = Image.new("RGB", (size, size), PAPER)
    corner = (size - small[0]) // 2, (size - small[1]) // 2
    square.paste(Image.fromarray(draw_skeleton(picture, scale * tile.joints_2d)), corner)
    return np.asarray(square)


def tinted(
    image: UInt8[ndarray, "height width 3"], mask: Bool[ndarray, "height width"]
) -> UInt8[ndarray, "height width 3"]:
    """Lay a mask over a picture: see-through inside, an opaque line along its edge."""
    around = np.pad(mask, 1)
    inner = mask & around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
    share = np.where(mask, np.where(inner, MASK_OPACITY, 1.0), 0.0)[..., None]
    return np.rint(image + share * (np.array(MASK_COLOR) - image)).astype(np.uint8)


def fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Shorten a text in its middle until it is not wider than `width` pixels."""
    kept = len(text)
    shown = text
    while font.getlength(shown) > width and kept > 2:
        kept -= 1
        shown = f"{text[: kept // 2]}…{text[len(text) - (kept - kept // 2) :]}"
    return shown


def sample_tile(sample: Sample) -> Tile:
    """Return the whole picture of a sample, with the outline of its crop."""
    try:
        frame = hand_frame(sample)
        outline = to_numpy(frame.center[0] + frame.side * frame.center.new_tensor(SQUARE))
        size = f"g = {float(frame.side):.0f} px"
    except NoCropError:
        outline, size = None, "no crop: too few joints"
    facts = facts_line(sample.side == "left", size, float(sample.root[2]), sample.visible)
    return Tile(sample.image, sample.joints_2d, sample.mask, (sample.id, facts), outline)


def crop_tiles(crops: Crops, ids: Sequence[str]) -> Iterable[Tile]:
    """Yield the 224 x 224 crop of each prepared sample; `ids` are the samples' names."""
    inner = crops.without_margin()
    masks, images, joints = to_numpy(inner.masks), to_numpy(inner.images), to_numpy(inner.joints_px)
    for k, name in enumerate(ids):
        size, mask = f"g = {float(inner.side[k]):.0f} px", masks[k] if inner.has_mask[k] else None
        facts = facts_line(bool(inner.left[k]), size, float(inner.z_root[k]), to_numpy(inner.visible[k]))
        yield Tile(images[k], joints[k], mask, (name, facts))


def facts_line(left: bool, size: str, depth: float, visible: Bool[ndarray, " 21"]) -> str:
    """Return a caption: handedness in the photo, size of the crop, depth of the root in mm, number of visible joints.

    The depth is left out if it is NaN, the number if all joints are visible.
    """
    facts = ["left" if left else "right", size]
    if not math.isnan(depth):
        facts.append(f"{depth:.0f} mm")
    if not visible.all():
        facts.append(f"{visible.sum()} seen")
    return " · ".join(facts)
