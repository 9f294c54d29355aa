"""Backgrounds: painted rooms, greenery, cloth, plain walls, clutter and people, or squares cut out of photos.

Painted backgrounds do not look like photos and need not: a network has to learn that no background is a hand.
Therefore many of them contain shapes in skin colours.
"""

import colorsys
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter
from scipy import spatial
from torch import Tensor
from torch.nn import functional

from dhpe_lib.data.backgrounds import open_backgrounds
from dhpe_lib.synthetic.sampling import Sampler

SIZE = 288
"""Side of a background, pixels."""
AT_A_TIME = 8
"""Number of pictures that are transformed at a time; more do not fit a processor's caches."""

SATURATION = (0.15, 0.85)
"""Range of the saturation factor of painted pictures, whose colours are more vivid than those of rooms."""
HAIR = ((25, 20, 18), (60, 42, 30), (110, 75, 45), (190, 150, 95), (150, 145, 140))

Painter = Callable[[np.random.Generator], Image.Image]


def octaves(rng: np.random.Generator, coarsest: int, levels: int, decay: float) -> Float[ndarray, "s s"]:
    """Sample noise of several scales in [0, 1]; from scale to scale the amplitude is multiplied by `decay`."""
    total = np.zeros((SIZE, SIZE), np.float32)
    for level in range(levels):
        n = min(SIZE, coarsest * 2**level)
        grid = Image.fromarray(rng.random((n, n), np.float32))
        smooth = Image.Resampling.BICUBIC if n <= 32 else Image.Resampling.BILINEAR
        total += np.float32(decay**level) * np.asarray(grid.resize((SIZE, SIZE), smooth))
    low, high = np.quantile(total[::6, ::6], (0.01, 0.99))
    return np.clip((total - low) / (high - low), 0, 1)


def color(rng: np.random.Generator, saturation: float = 1.0) -> tuple[int, int, int]:
    """Sample a colour; greyish colours are more frequent."""
    r, g, b = colorsys.hsv_to_rgb(rng.random(), saturation * rng.random() ** 1.6, 0.08 + 0.92 * rng.random() ** 0.8)
    return round(255 * r), round(255 * g), round(255 * b)


def skin_color(rng: np.random.Generator) -> tuple[int, int, int]:
    """Sample a colour that skin may have in some light."""
    light = rng.uniform(0.25, 0.98)
    r, g, b = colorsys.hsv_to_rgb(rng.uniform(0.02, 0.10), rng.uniform(0.15, 0.6), light)
    return round(255 * r), round(255 * g), round(255 * b)


def dimmed(ink: Sequence[int], share: float) -> tuple[int, int, int]:
    """Multiply a colour by a factor below 1."""
    r, g, b = (round(share * value) for value in ink)
    return r, g, b


def mixed(share: Float[ndarray, "s s"], stops: Sequence[tuple[int, int, int]]) -> Image.Image:
    """Map values in [0, 1] to colours between equally spaced stops."""
    levels, positions = np.linspace(0, 1, 256), np.linspace(0, 1, len(stops))
    table = np.stack([np.interp(levels, positions, [stop[c] for stop in stops]) for c in range(3)], -1)
    return Image.fromarray(table.astype(np.uint8)[(255 * share).astype(np.uint8)])


def ramp(rng: np.random.Generator) -> Float[ndarray, "s s"]:
    """Return a linear gradient with a random direction, in [0, 1]."""
    angle = rng.uniform(0, 2 * math.pi)
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32) / SIZE - 0.5
    return np.clip(0.5 + 0.7 * (x * math.cos(angle) + y * math.sin(angle)), 0, 1)


def plain_wall(rng: np.random.Generator) -> Image.Image:
    """Paint a plain wall, lit from one side."""
    base = color(rng, 0.6)
    if rng.random() < 0.4:
        base = (round(rng.uniform(190, 255)),) * 3
    share = 0.85 * ramp(rng) + 0.15 * octaves(rng, 3, 3, 0.5)
    return mixed(share, [dimmed(base, rng.uniform(0.35, 0.95)), base])


def room(rng: np.random.Generator) -> Image.Image:
    """Paint a wall and a floor, with furniture, windows and shelves."""
    picture = mixed(ramp(rng), [color(rng, 0.5), color(rng, 0.5)])
    draw = ImageDraw.Draw(picture)
    horizon = rng.uniform(0.45, 0.95) * SIZE
    slope = rng.normal(0, 0.12) * SIZE
    draw.polygon([(0, horizon), (SIZE, horizon + slope), (SIZE, SIZE), (0, SIZE)], color(rng, 0.7))
    for _ in range(rng.integers(3, 10)):
        x, y = rng.uniform(-0.2, 1, 2) * SIZE
        w, h = rng.uniform(0.08, 0.6, 2) * SIZE
        fill, edge = color(rng, 0.7), color(rng, 0.4)
        draw.rectangle((x, y, x + w, y + h), fill, edge, int(rng.integers(1, 6)))
        for step in range(1, int(rng.integers(1, 7))):  # drawers, panes, shelves
            at = y + h * step / 7
            draw.line((x, at, x + w, at), edge, int(rng.integers(1, 4)))
        if rng.random() < 0.4:  # books
            at = x
            while at < x + w:
                thick = rng.uniform(3, 14)
                draw.rectangle((at, y + h * rng.uniform(0.1, 0.5), min(at + thick, x + w), y + h), color(rng))
                at += thick
    return picture


def greenery(rng: np.random.Generator) -> Image.Image:
    """Paint leaves, grass, earth and sky: noise of many scales in the colours of plants, stones or water."""
    palettes = (
        [(18, 28, 10), (60, 85, 30), (120, 150, 60), (215, 225, 170)],
        [(35, 25, 18), (95, 75, 50), (160, 135, 95), (220, 205, 170)],
        [(30, 35, 40), (90, 95, 100), (150, 150, 145), (225, 225, 220)],
        [(20, 40, 60), (60, 100, 140), (140, 175, 205), (235, 240, 245)],
    )
    stops = palettes[rng.integers(len(palettes))]
    picture = mixed(octaves(rng, int(rng.integers(3, 9)), 6, rng.uniform(0.6, 0.95)), stops)
    if rng.random() < 0.5:
        sky = mixed(ramp(rng), [(235, 240, 245), (110, 150, 205)])
        edge = octaves(rng, 3, 6, 0.6) * 0.5 + np.linspace(0.2, 0.9, SIZE, dtype=np.float32)[:, None]
        picture.paste(sky, mask=Image.fromarray(np.uint8(255 * (edge < rng.uniform(0.4, 0.8)))))
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.integers(0, 8)):  # trunks and branches
        x, y = rng.uniform(0, SIZE, 2)
        angle, length = rng.normal(math.pi / 2, 0.5), rng.uniform(40, 300)
        end = (x + length * math.cos(angle), y - length * math.sin(angle))
        draw.line((x, y, *end), stops[int(rng.integers(2))], int(rng.integers(2, 16)))
    return picture


def pattern(rng: np.random.Generator) -> Image.Image:
    """Paint cloth or paper with stripes, checks, dots or flowers."""
    angle, period = rng.uniform(0, math.pi), rng.uniform(6, 60)
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    u, v = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    kind = rng.integers(3)
    if kind == 2:
        picture = Image.new("RGB", (SIZE, SIZE), color(rng, 0.6))
        draw, inks, leaves = ImageDraw.Draw(picture), [color(rng) for _ in range(3)], int(rng.integers(1, 7))
        for _ in range(int(rng.integers(40, 220))):
            px, py, r = *rng.uniform(0, SIZE, 2), rng.uniform(2, 12)
            ink = inks[rng.integers(3)]
            for leaf in range(leaves):
                cx, cy = px + r * math.cos(6.28 * leaf / leaves), py + r * math.sin(6.28 * leaf / leaves)
                draw.ellipse((cx - r, cy - r, cx + r, cy + r), ink)
        return picture
    wave = np.sin(2 * math.pi * u / period)
    if kind == 1:
        wave = wave * np.sin(2 * math.pi * v / period * rng.uniform(0.5, 2))
    share = 0.5 + 0.5 * np.clip(wave * rng.uniform(1, 8), -1, 1)
    return mixed(np.clip(share + 0.15 * (octaves(rng, 8, 5, 0.8) - 0.5), 0, 1), [color(rng), color(rng)])


def clutter(rng: np.random.Generator, skins: float = 0.15) -> Image.Image:
    """Paint overlapping shapes of all kinds and sizes, large shapes first; a share `skins` of them has skin colours."""
    picture = mixed(octaves(rng, 2, 5, 0.55), [color(rng), color(rng), color(rng)])
    draw = ImageDraw.Draw(picture)
    for size in np.sort(rng.uniform(0.02, 0.55, rng.integers(8, 60)) ** 1.5)[::-1] * SIZE:
        x, y = rng.uniform(-0.1, 1.1, 2) * SIZE
        ink = skin_color(rng) if rng.random() < skins else color(rng)
        kind = rng.integers(4)
        if kind == 0:
            draw.ellipse((x - size, y - size * rng.uniform(0.3, 1), x + size, y + size * rng.uniform(0.3, 1)), ink)
        elif kind == 1:
            turns = np.sort(rng.uniform(0, 2 * math.pi, rng.integers(3, 7)))
            draw.polygon([(x + size * math.cos(t), y + size * math.sin(t)) for t in turns], ink)
        elif kind == 2:
            t = rng.uniform(0, 2 * math.pi)
            ends = (x, y, x + 3 * size * math.cos(t), y + 3 * size * math.sin(t))
            draw.line(ends, ink, max(1, round(size * rng.uniform(0.05, 0.5))))
        else:
            for line in range(int(rng.integers(1, 9))):  # print
                at = y + line * size * 0.2
                draw.line((x, at, x + size * rng.uniform(0.5, 1), at), ink, max(1, round(size * 0.08)))
    return picture


def people(rng: np.random.Generator) -> Image.Image:
    """Paint a person in front of a background (hair, face and clothes as soft shapes), and other people's limbs."""
    picture = (room, plain_wall, greenery)[rng.integers(3)](rng).filter(ImageFilter.GaussianBlur(rng.uniform(0, 4)))
    layer = picture.copy()
    draw, skin = ImageDraw.Draw(layer), skin_color(rng)
    x, y, r = rng.uniform(0.1, 0.9) * SIZE, rng.uniform(0.0, 0.6) * SIZE, rng.uniform(0.08, 0.26) * SIZE
    hair, cloth = HAIR[rng.integers(len(HAIR))], color(rng, 0.8)
    draw.ellipse((x - 1.15 * r, y - 1.5 * r, x + 1.15 * r, y + 1.1 * r), hair)
    draw.ellipse((x - 2.4 * r, y + 1.5 * r, x + 2.4 * r, y + 6 * r), cloth)
    draw.rectangle((x - 0.4 * r, y + 0.6 * r, x + 0.4 * r, y + 1.8 * r), dimmed(skin, 0.85))
    draw.ellipse((x - 0.85 * r, y - 1.1 * r, x + 0.85 * r, y + 1.2 * r), skin)
    for side in (-1, 1):
        eye = (x + side * 0.33 * r, y - 0.1 * r)
        draw.ellipse((eye[0] - 0.12 * r, eye[1] - 0.05 * r, eye[0] + 0.12 * r, eye[1] + 0.05 * r), (40, 30, 25))
    draw.ellipse(
        (x - 0.3 * r, y + 0.55 * r, x + 0.3 * r, y + 0.72 * r),
        (round(0.8 * skin[0]), round(0.55 * skin[1]), round(0.55 * skin[2])),
    )
    start, angle = rng.uniform(0, SIZE, 2), rng.uniform(0, 2 * math.pi)
    for _ in range(rng.integers(0, 6)):  # limbs and fingers of others
        angle += rng.normal(0, 0.3)
        end = start + rng.uniform(30, 160) * np.array([math.cos(angle), math.sin(angle)])
        draw.line((*start, *end), dimmed(skin, rng.uniform(0.7, 1.0)), int(rng.integers(6, 40)))
        start = start + rng.normal(0, 14, 2)
    shade = Image.fromarray(np.uint8(110 + 145 * (0.6 * ramp(rng) + 0.4 * octaves(rng, 3, 4, 0.6))))
    shaded = Image.composite(layer, Image.eval(layer, lambda v: round(0.45 * v)), shade)
    return shaded.filter(ImageFilter.GaussianBlur(rng.uniform(1, 4)))


def facets(rng: np.random.Generator) -> Image.Image:
    """Paint the cells of a random mosaic; only test splits use it."""
    points = rng.uniform(0, SIZE, (int(rng.integers(12, 120)), 2))
    nearest = spatial.KDTree(points).query(np.argwhere(np.ones((SIZE, SIZE))))[1].reshape(SIZE, SIZE)
    inks = np.array([skin_color(rng) if rng.random() < 0.15 else color(rng) for _ in points], np.float32)
    shaded = inks[nearest] * (0.75 + 0.25 * octaves(rng, 4, 5, 0.7))[..., None]
    return Image.fromarray(shaded.astype(np.uint8))


def rings(rng: np.random.Generator) -> Image.Image:
    """Paint warped waves around several centres, like wood, marble or water; only test splits use it."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    field = 60 * octaves(rng, 3, 5, 0.6)
    for cx, cy in rng.uniform(-0.5, 1.5, (rng.integers(1, 4), 2)) * SIZE:
        field = field + np.hypot(x - cx, y - cy)
    share = 0.5 + 0.5 * np.sin(2 * math.pi * field / rng.uniform(15, 120))
    return mixed(share, [color(rng), color(rng), color(rng)])


SEEN: tuple[Painter, ...] = (plain_wall, room, room, greenery, greenery, pattern, clutter, clutter, people)
"""Painters of training backgrounds; a painter that is listed twice is used twice as often."""
UNSEEN: tuple[Painter, ...] = (facets, rings)
"""Painters that only test splits use."""


def paint_backgrounds(n: int, seed: int, painters: Sequence[Painter] = SEEN) -> UInt8[Tensor, "n 3 288 288"]:
    """Paint backgrounds; most have muted colours, as rooms do, and are out of focus, as behind a hand.

    Args:
        n: Number of pictures.
        seed: Random seed; equal seeds give equal pictures.
        painters: Painters to choose from with equal probability.

    Returns:
        RGB pictures.
    """
    rng = np.random.default_rng(seed)
    pictures = []
    for _ in range(n):
        picture = painters[int(rng.integers(len(painters)))](rng)
        blur = rng.uniform(0, 1) ** 3 * 6
        if blur > 0.4:
            picture = picture.filter(ImageFilter.GaussianBlur(blur))
        picture = ImageEnhance.Color(picture).enhance(rng.uniform(*SATURATION))
        pictures.append(np.asarray(picture).transpose(2, 0, 1))
    return torch.from_numpy(np.stack(pictures))


def cut_backgrounds(path: Path, n: int, seed: int) -> UInt8[Tensor, "n 3 288 288"]:
    """Cut squares out of photos.

    Args:
        path: NYU depth v2, as in the paper, or a folder of images (:mod:`dhpe_lib.data.backgrounds`).
        n: Number of squares.
        seed: Random seed; equal seeds give equal squares, as long as the photos do not change.

    Returns:
        RGB pictures.

    Raises:
        FileNotFoundError: There are no photos.
        PhotoError, DatasetError: A photo is damaged.
    """
    rng, photos, squares = np.random.default_rng(seed), open_backgrounds(path), []
    for _ in range(n):
        photo = photos[int(rng.integers(len(photos)))]
        side = rng.uniform(0.5, 1.0) * min(photo.shape[:2])
        top, left = (rng.uniform(0, extent - side) for extent in photo.shape[:2])
        box = (left, top, left + side, top + side)
        square = Image.fromarray(photo).resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)
        squares.append(np.asarray(square).transpose(2, 0, 1))
    return torch.from_numpy(np.stack(squares))


def make_backgrounds(
    n: int, seed: int, photos: Path | None = None, painters: Sequence[Painter] = SEEN
) -> UInt8[Tensor, "n 3 288 288"]:
    """Make backgrounds: cut out of photos if a path is given, else painted.

    Args:
        n: Number of pictures.
        seed: Random seed; equal seeds give equal pictures.
        photos: NYU depth v2 or a folder of images; None for painted backgrounds.
        painters: Painters to choose from; unused with photos.

    Returns:
        RGB pictures.
    """
    return paint_backgrounds(n, seed, painters) if photos is None else cut_backgrounds(photos, n, seed)


def draw_backgrounds(pool: UInt8[Tensor, "n 3 288 288"], sampler: Sampler, size: int) -> Float[Tensor, "b 3 s s"]:
    """Choose a background for each image from a pool; rotate, mirror and magnify it and change its brightness.

    Args:
        pool: Pictures, RGB.
        sampler: Random number generator.
        size: Pixels along each side of the result.

    Returns:
        sRGB in [0, 1].
    """
    chosen, zoom, angle = sampler.index(len(pool)), sampler.uniform(0.5, 0.98), sampler.normal(0.15)
    flip = torch.where(sampler.chance(0.5), 1.0, -1.0)
    cos, sin = zoom * angle.cos() / 1.2, zoom * angle.sin() / 1.2
    shift = sampler.uniform(-1.0, 1.0, 2) * (1 - zoom)[:, None]
    theta = torch.stack((cos * flip, -sin, shift[:, 0], sin * flip, cos, shift[:, 1]), -1).view(-1, 2, 3)
    gain = (sampler.normal(0.2, 1) + sampler.normal(0.08, 3)).exp() / 255
    parts = zip(chosen.split(AT_A_TIME), theta.split(AT_A_TIME), gain.split(AT_A_TIME), strict=True)
    return torch.cat([_transformed(pool[rows].float(), affine, factor, size) for rows, affine, factor in parts])


def _transformed(
    pictures: Float[Tensor, "b 3 288 288"], theta: Float[Tensor, "b 2 3"], gain: Float[Tensor, "b 3"], size: int
) -> Float[Tensor, "b 3 s s"]:
    grid = functional.affine_grid(theta, [len(pictures), 3, size, size], align_corners=False)
    moved = functional.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)
    return moved.mul_(gain[..., None, None]).clamp_(0, 1)
