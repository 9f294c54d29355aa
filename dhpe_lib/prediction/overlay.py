"""Draw hand estimates: the skeleton in the photo, the mesh over the crop, the mesh from the side, all meshes together.

Right hands are blue, left hands are orange. A doubtful hand is marked, with the reasons where there is room. Nothing
here has a gradient.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional

from dhpe_lib.common.records import to_numpy
from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.data.photos import reduce_photo, shrink_photo
from dhpe_lib.figures.drawing import draw_outline, draw_skeleton
from dhpe_lib.figures.palette import DOUBT, INK, MESH_OF_SIDE, PAPER, SQUARE
from dhpe_lib.hand.io import Side
from dhpe_lib.prediction.hand_estimate import HandEstimate
from dhpe_lib.rendering.lighting import Light
from dhpe_lib.rendering.renderer import render

PANEL, GAP, CAPTION, LINE = 560, 14, 40, 26
"""Height of the panels, space between them, and heights of the captions and of a line below them, pixels."""
MIN_WIDTH, MAX_ASPECT = 260, 1.5
"""Smallest width of the photo's panel in pixels, and its largest ratio of width to height."""
OUTLINE_WIDTHS = (4, 2)
"""Widths of the two lines of the crop's outline, pixels."""
OUTSIDE = 0.16
"""Grey value, 0 to 1, of the part of a crop that lies outside the photo."""
SOFT = Light(ambient=0.42, directional=0.66, direction=(0.45, 0.55, 0.9))
MESH_OPACITY = 0.9
LARGEST_PICTURE = 1600
"""Larger side of the picture with the meshes of all hands, pixels; a larger photo is shrunk."""
Panel = tuple[ndarray, str]  # a picture and its caption


def figure(estimate: HandEstimate, photo: UInt8[ndarray, "height width 3"]) -> UInt8[ndarray, "rows columns 3"]:
    """Draw the photo with the skeleton, the mesh over its crop, and the mesh from the side; reasons to doubt below."""
    background = crop_photo(photo, estimate.frame, PANEL)
    mesh, faces = estimate.mesh.vertices, estimate.model.faces
    colors = mesh_colors(mesh, estimate.model.side)
    rendered = render(mesh, faces, colors, background, PANEL, SOFT).image[0]
    paper = mesh.new_tensor(PAPER).expand(PANEL, PANEL, 3) / 255
    side = render(side_view(mesh), faces, colors, paper, PANEL, SOFT).image[0]
    hand = f"{estimate.model.side} hand" + (" (assumed)" if estimate.side_assumed else "")
    return side_by_side(
        (
            (photo_panel(estimate, photo), f"skeleton, 2D residual {100 * estimate.relative_error:.1f} %"),
            (to_pixels(background + MESH_OPACITY * (rendered - background)), f"mesh of the {hand}"),
            (to_pixels(side), "from the side"),
        ),
        [f"doubtful: {reason}" for reason in estimate.warnings],
    )


def mesh_colors(vertices: Float[Tensor, "1 v 3"], side: Side) -> Float[Tensor, "v 3"]:
    """Colour of each vertex of a hand's mesh: blue for a right hand, orange for a left one."""
    return vertices.new_tensor(MESH_OF_SIDE[side]).expand(vertices.shape[1], 3)


def crop_photo(photo: UInt8[ndarray, "height width 3"], frame: CropFrame, size: int) -> Float[Tensor, "size size 3"]:
    """Crop a photo; the part outside the photo is grey.

    Only the part of the photo around the crop is converted to float.

    Args:
        photo: Upright RGB photo.
        frame: One crop.
        size: Side of the result, pixels.

    Returns:
        Colours in [0, 1].
    """
    factor = max(1, int(frame.side / size))  # a large photo is reduced first, which saves memory
    turned = (frame.angle.cos().abs() + frame.angle.sin().abs()) / 2  # half the width of the turned square, in sides
    reach = (turned * frame.side)[:, None] + 2 * factor  # 2 reduced pixels for the interpolation
    low = (frame.center - reach).floor().clamp_min(0)
    left, top, right, bottom = torch.cat((low, (frame.center + reach).ceil().clamp_min(0)), 1)[0].int().tolist()
    part = photo[top:bottom, left:right]
    if not part.size:
        return frame.center.new_full((size, size, 3), OUTSIDE)
    small = torch.from_numpy(reduce_photo(part, factor)).movedim(2, 0)
    layers = frame.center.new_ones(1, 4, *small.shape[1:])  # the fourth layer is 1 in the photo
    layers[0, :3] = small
    layers[0, :3] /= 255
    shifted = CropFrame((frame.center - low) / factor, frame.side / factor, frame.angle)
    crop = shifted.crop_image(layers, size)[0].movedim(0, 2)
    return crop[..., :3] + (1 - crop[..., 3:]) * OUTSIDE


def side_view(vertices: Float[Tensor, "1 v 3"]) -> Float[Tensor, "1 v 3"]:
    """Rotate a mesh by a quarter turn about the vertical axis, and centre it in the crop frame.

    The mesh is shrunk if it does not fit: its longer side is at most 0.88 of the crop's side.

    Args:
        vertices: Vertices in the crop frame, units of g.

    Returns:
        Vertices in the crop frame, units of g.
    """
    x, y, z = vertices.unbind(-1)
    turned = torch.stack((-z, y, x), -1)
    low, high = turned.amin(1, keepdim=True), turned.amax(1, keepdim=True)
    return (turned - (low + high) / 2) * (0.88 / (high - low)[..., :2].max()).clamp_max(1.0)


def photo_panel(estimate: HandEstimate, photo: UInt8[ndarray, "height width 3"]) -> UInt8[ndarray, "rows columns 3"]:
    """Draw the whole photo with the skeleton and the outline of the crop, scaled to fit the panel."""
    small, scale = shrink_to_panel(photo)
    corners = estimate.frame.to_image(estimate.frame.center.new_tensor([SQUARE]))[0]
    outlined = Image.fromarray(small)
    draw_outline(outlined, (to_numpy(corners) * scale).tolist(), OUTLINE_WIDTHS, joint="curve")
    return center_in_panel(draw_skeleton(np.asarray(outlined), estimate.joints_px * scale))


def shrink_to_panel(photo: UInt8[ndarray, "height width 3"]) -> tuple[UInt8[ndarray, "rows columns 3"], float]:
    """Scale a photo to the height of the panel, or to its largest width; return it and the scale factor."""
    height, width = photo.shape[:2]
    scale = PANEL / max(height, width / MAX_ASPECT)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return shrink_photo(photo, *size), scale


def center_in_panel(picture: UInt8[ndarray, "height width 3"]) -> UInt8[ndarray, "rows columns 3"]:
    """Paste a picture into the middle of a panel."""
    drawn = Image.fromarray(picture)
    panel = Image.new("RGB", (max(drawn.width, MIN_WIDTH), PANEL), PAPER)
    panel.paste(drawn, ((panel.width - drawn.width) // 2, (PANEL - drawn.height) // 2))
    return np.asarray(panel)


def side_by_side(panels: Sequence[Panel], lines: Sequence[str] = ()) -> UInt8[ndarray, "rows columns 3"]:
    """Join panels of height ``PANEL`` into one row, each with its caption below, and lines of text below them."""
    width = GAP + sum(panel.shape[1] + GAP for panel, _ in panels)
    sheet = Image.new("RGB", (width, GAP + PANEL + CAPTION + LINE * len(lines)), PAPER)
    pen, font, left = ImageDraw.Draw(sheet), ImageFont.load_default(17), GAP
    for panel, caption in panels:
        sheet.paste(Image.fromarray(panel), (left, GAP))
        pen.text((left + 2, GAP + PANEL + CAPTION / 2), caption, INK, font, anchor="lm")
        left += panel.shape[1] + GAP
    for number, line in enumerate(lines):
        pen.text((GAP + 2, GAP + PANEL + CAPTION + LINE * number), line, DOUBT, font)
    return np.asarray(sheet)


def to_pixels(image: Float[Tensor, "height width 3"]) -> UInt8[ndarray, "height width 3"]:
    """Convert colours in [0, 1] to 8-bit integers."""
    return np.rint(255 * to_numpy(image).clip(0, 1)).astype(np.uint8)


def photo_figure(
    estimates: Sequence[HandEstimate], photo: UInt8[ndarray, "height width 3"]
) -> UInt8[ndarray, "rows columns 3"]:
    """Draw the panels of :func:`photo_panels` in one row."""
    return side_by_side(photo_panels(estimates, photo))


def photo_panels(estimates: Sequence[HandEstimate], photo: UInt8[ndarray, "height width 3"]) -> list[Panel]:
    """Draw the photo with all skeletons, the photo with all meshes, and each mesh from the side.

    Args:
        estimates: Hands of the photo; without a hand only the photo is drawn.
        photo: Upright RGB photo.

    Returns:
        The pictures, of height ``PANEL``, with their captions.
    """
    small, scale = shrink_to_panel(photo)
    skeletons = small
    for estimate in estimates:
        skeletons = draw_skeleton(skeletons, estimate.joints_px * scale)
    panels: list[Panel] = [(center_in_panel(skeletons), f"{len(estimates)} hand{'s' * (len(estimates) != 1)} found")]
    if estimates:
        panels.append((center_in_panel(meshes_over(estimates, small, scale)), "meshes"))
        panels += [(side_panel(estimate), f"{estimate.model.side} hand from the side") for estimate in estimates]
    return panels


def all_hands(
    estimates: Sequence[HandEstimate], photo: UInt8[ndarray, "height width 3"]
) -> UInt8[ndarray, "rows columns 3"]:
    """Draw the meshes of all hands over the photo, which is shrunk to ``LARGEST_PICTURE`` if it is larger.

    A doubtful hand has a box with its number, which is the number in the names of its files.
    """
    scale = min(1.0, LARGEST_PICTURE / max(photo.shape[:2]))
    height, width = (max(1, round(scale * length)) for length in photo.shape[:2])
    picture = Image.fromarray(meshes_over(estimates, shrink_photo(photo, width, height), scale))
    for number, estimate in enumerate(estimates, 1):
        if estimate.warnings:
            mark_doubtful(picture, scale * estimate.joints_px, f"{number}: doubtful")
    return np.asarray(picture)


def mark_doubtful(picture: Image.Image, joints_px: Float[ndarray, "21 2"], text: str) -> None:
    """Draw a box around a hand onto a picture, in place, with a text in its upper left corner."""
    pen, thick = ImageDraw.Draw(picture), max(2, round(max(picture.size) / 400))
    margin = 0.12 * float(np.ptp(joints_px, axis=0).max())
    low = np.clip(joints_px.min(0) - margin, 0, np.array(picture.size) - 1)
    high = np.clip(joints_px.max(0) + margin, low, np.array(picture.size) - 1)
    pen.rectangle([*low.tolist(), *high.tolist()], outline=DOUBT, width=thick)
    font, corner = ImageFont.load_default(max(12, 6 * thick)), (float(low[0]), float(low[1]))
    pen.rectangle(pen.textbbox(corner, text, font), fill=DOUBT)
    pen.text(corner, text, "white", font)


def meshes_over(
    estimates: Sequence[HandEstimate], photo: UInt8[ndarray, "height width 3"], scale: float
) -> UInt8[ndarray, "height width 3"]:
    """Draw the meshes of all hands over the photo, near hands over far ones.

    A hand counts as nearer if a metre of its model has more pixels. So hands are taken to be of average size.

    Args:
        estimates: The hands.
        photo: Resized RGB photo.
        scale: Size of `photo` divided by the size of the original photo.

    Returns:
        The picture.
    """
    picture = photo.copy()
    for estimate in sorted(estimates, key=lambda one: float(one.frame.side) * one.scale):
        vertices, frame = estimate.mesh.vertices, estimate.frame
        points = torch.cat((frame.to_image(vertices[..., :2]), frame.side * vertices[..., 2:]), -1)
        draw_mesh(picture, scale * points, estimate.model.faces, estimate.model.side)
    return picture


@torch.no_grad()
def draw_mesh(
    picture: UInt8[ndarray, "height width 3"],
    points: Float[Tensor, "1 v 3"],
    faces: Int64[Tensor, "f 3"],
    side: Side,
    largest: int = LARGEST_PICTURE,
) -> None:
    """Draw a mesh over a picture, in place; only the pixels of the mesh's box are touched.

    Args:
        picture: RGB; it is changed.
        points: Vertices: x, y and depth, all in pixels of the picture.
        faces: Triangles of the mesh.
        side: Handedness, which gives the colour.
        largest: A mesh with more pixels along its larger side is rendered at this size and enlarged.
    """
    pixels = points[..., :2]
    limit = pixels.new_tensor((picture.shape[1], picture.shape[0]))
    low = (pixels.amin(1)[0] - 1).floor().clamp_min(0).minimum(limit)
    high = (pixels.amax(1)[0] + 1).ceil().clamp_min(0).minimum(limit)
    left, top, right, bottom = torch.cat((low, high)).int().tolist()
    if left >= right or top >= bottom:
        return
    shrink = min(1.0, largest / max(right - left, bottom - top))
    width, height = (max(1, round(shrink * length)) for length in (right - left, bottom - top))
    x, y = ((pixels - low) / (high - low)).unbind(-1)  # the crop frame of the renderer: both in units of its width
    view = torch.stack((x - 0.5, (y - 0.5) * height / width, points[..., 2] / (right - left)), -1)
    drawn = render(view, faces, mesh_colors(view, side), None, (height, width), SOFT)
    layers = torch.cat((drawn.image, drawn.mask[..., None]), -1).movedim(3, 1)
    if shrink < 1:
        layers = functional.interpolate(layers, size=(bottom - top, right - left), mode="bilinear")
    over = MESH_OPACITY * to_numpy(layers[0].movedim(0, 2))
    under = picture[top:bottom, left:right]
    picture[top:bottom, left:right] = np.rint(255 * over[..., :3] + (1 - over[..., 3:]) * under).clip(0, 255)


def side_panel(estimate: HandEstimate) -> UInt8[ndarray, "rows columns 3"]:
    """Draw the mesh from the side, in a panel that is half as wide as high."""
    mesh = side_view(estimate.mesh.vertices)
    mesh = mesh * (0.46 / (mesh[..., 0].max() - mesh[..., 0].min())).clamp_max(1.0)
    colors = mesh_colors(mesh, estimate.model.side)
    paper = mesh.new_tensor(PAPER).expand(PANEL, PANEL, 3) / 255
    image = to_pixels(render(mesh, estimate.model.faces, colors, paper, PANEL, SOFT).image[0])
    return image[:, PANEL // 4 : PANEL - PANEL // 4]
