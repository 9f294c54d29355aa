"""Overlays on photos, as arrays: a skeleton, a rendered hand, an outline, signed numbers as colours.

Tensors and arrays are both accepted as joints and values. Nothing here has a gradient.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from PIL import Image, ImageDraw

from dhpe_lib.common.records import to_numpy
from dhpe_lib.figures.palette import JOINT_COLORS, MESH_FLAT, OUTLINE_DARK, OUTLINE_LIGHT
from dhpe_lib.hand.skeleton import JOINT_PARENTS


def overlay(
    image: UInt8[ndarray, "height width 3"],
    mask: Bool[ndarray, "height width"] | Float[ndarray, "height width"],
    rendering: Float[ndarray, "height width 3"] | None = None,
    opacity: float = 0.75,
) -> UInt8[ndarray, "height width 3"]:
    """Blend a rendered hand, or a plain colour, into a photo where the mask is.

    result = image + opacity * mask * (rendering - image)

    Args:
        image: Photo.
        mask: Coverage of the hand, 0 to 1.
        rendering: Colours of the hand in [0, 1]; a plain blue by default.
        opacity: Opacity of the hand, 0 to 1.

    Returns:
        Picture of the photo's size.
    """
    color = np.array(MESH_FLAT) if rendering is None else rendering
    share = opacity * np.asarray(mask, float)[..., None]
    return np.rint(image + share * (255 * np.clip(color, 0, 1) - image)).astype(np.uint8)


def draw_skeleton(
    image: UInt8[ndarray, "height width 3"],
    joints: Any,
    valid: Bool[ndarray, " 21"] | None = None,
) -> UInt8[ndarray, "height width 3"]:
    """Draw the 21 joints on a photo, each finger in its colour.

    Args:
        image: Photo.
        joints: [21, 2], pixels, canonical order; the centre of the first pixel is (0.5, 0.5). NaN for unknown joints.
        valid: True for the joints to draw; by default all finite ones. A bone is drawn if both its ends are.

    Returns:
        A new image.
    """
    pixels = np.asarray(to_numpy(joints), float)
    known = np.isfinite(pixels).all(axis=1) & (True if valid is None else valid)
    size = max(np.ptp(pixels[known], axis=0)) if known.any() else 0.0
    radius = max(1.5, 0.018 * size)
    scale = 3  # drawn larger, then reduced: PIL's lines have no smooth edges
    picture = Image.fromarray(image).resize((scale * image.shape[1], scale * image.shape[0]))
    pen = ImageDraw.Draw(picture)
    points = [tuple(scale * pixel) for pixel in np.where(known[:, None], pixels, 0.0)]
    for joint, parent in enumerate(JOINT_PARENTS):
        if parent >= 0 and known[joint] and known[parent]:
            pen.line([points[parent], points[joint]], JOINT_COLORS[joint], round(scale * radius))
    for joint in np.flatnonzero(known).tolist():
        pen.circle(points[joint], scale * radius, JOINT_COLORS[joint], outline="white", width=scale)
    return np.asarray(picture.reduce(scale))


def draw_box(
    image: UInt8[ndarray, "height width 3"], low: Float[ndarray, " 2"], high: Float[ndarray, " 2"]
) -> UInt8[ndarray, "height width 3"]:
    """Draw the outline of a box on a photo.

    Args:
        image: Photo.
        low: Corner of the box with the smaller coordinates, pixels.
        high: Corner with the larger coordinates, pixels.

    Returns:
        A new image.
    """
    drawn, line = Image.fromarray(image), max(1, round(0.004 * max(image.shape)))
    (left, top), (right, bottom) = low.tolist(), high.tolist()
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    draw_outline(drawn, corners, (3 * line, line))
    return np.asarray(drawn)


def draw_outline(
    image: Image.Image, corners: Sequence[Sequence[float]], widths: tuple[int, int], joint: str | None = None
) -> None:
    """Draw a line onto an image, in place: light on a wider dark one, so that it shows on any picture.

    Args:
        image: RGB image.
        corners: Points of the line, pixels.
        widths: Width of the dark and of the light line, pixels.
        joint: Joint type of PIL's `ImageDraw.line`: "curve" rounds the corners.
    """
    pen, line = ImageDraw.Draw(image), [tuple(corner) for corner in corners]
    for color, width in zip((OUTLINE_DARK, OUTLINE_LIGHT), widths, strict=True):
        pen.line(line, color, width, joint)


def signed_colors(values: Any, largest: float | None = None) -> Float[ndarray, "height width 3"]:
    """Turn signed numbers into colours: zero is white, positive red, negative blue.

    Args:
        values: [H, W].
        largest: Magnitude that gets the full colour; by default the largest magnitude of the values.

    Returns:
        Colours in [0, 1].
    """
    numbers = to_numpy(values).astype(float)
    top = np.abs(numbers).max() if largest is None else largest
    share = np.clip(numbers / max(top, 1e-30), -1, 1)[..., None]
    red, blue = np.array([0.75, 0.1, 0.1]), np.array([0.1, 0.25, 0.75])
    return 1 - np.where(share > 0, share * (1 - red), -share * (1 - blue))
