"""The picture of a fitted hand: its skeleton in the photo, its mesh over the crop, its mesh from the side.

Nothing here has a gradient.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from dhpe_lib.common.records import to_numpy
from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.figures.plotting import draw_skeleton
from dhpe_lib.prediction.hand_estimate import HandEstimate
from dhpe_lib.rendering.lighting import Light
from dhpe_lib.rendering.renderer import render

PANEL, GAP, CAPTION = 560, 14, 40
NARROWEST, WIDEST = 260, 1.5
"""Width of the photo's panel: at least, in pixels, and at most, over its height."""
MESH_BLUE = (0.56, 0.73, 0.92)
PAPER, INK = (247, 248, 250), (52, 60, 72)
OUTLINE = (((40, 44, 52), 4), ((255, 255, 255), 2))
"""Colour and thickness of the crop's outline, dark below light, to show on any photo."""
OUTSIDE = 0.16
"""Grey of the crop where there is no photo."""
SOFT = Light(ambient=0.42, directional=0.66, direction=(0.45, 0.55, 0.9))
MESH_OPACITY = 0.9
SQUARE = ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5))


def figure(estimate: HandEstimate, photo: UInt8[ndarray, "height width 3"]) -> UInt8[ndarray, "rows columns 3"]:
    """The photo with the fitted skeleton, the mesh over its crop, and the mesh from the side."""
    background = crop_photo(photo, estimate.frame, PANEL)
    mesh, faces = estimate.mesh.vertices, estimate.model.faces
    colors = mesh.new_tensor(MESH_BLUE).expand(mesh.shape[1], 3)
    over = render(mesh, faces, colors, background, PANEL, SOFT).image[0]
    paper = mesh.new_tensor(PAPER).expand(PANEL, PANEL, 3) / 255
    side = render(side_view(mesh), faces, colors, paper, PANEL, SOFT).image[0]
    hand = f"{estimate.model.side} hand" + (" (assumed)" if estimate.side_assumed else "")
    return side_by_side(
        (
            (photo_panel(estimate, photo), f"skeleton, 2D residual {100 * estimate.relative_error:.1f} %"),
            (to_pixels(background + MESH_OPACITY * (over - background)), f"mesh of the {hand}"),
            (to_pixels(side), "from the side"),
        )
    )


def crop_photo(photo: UInt8[ndarray, "height width 3"], frame: CropFrame, size: int) -> Float[Tensor, "size size 3"]:
    """The crop of one hand in [0, 1]; grey where there is no photo. Only the part that is needed is made float."""
    reach = 0.75 * frame.side[:, None] + 2  # of the square, upright or turned
    low = (frame.center - reach).floor().clamp_min(0)
    left, top, right, bottom = torch.cat((low, (frame.center + reach).ceil().clamp_min(0)), 1)[0].int().tolist()
    part = photo[top:bottom, left:right]
    if not part.size:
        return frame.center.new_full((size, size, 3), OUTSIDE)
    factor = max(1, int(frame.side / (2 * size)))  # a large photo is reduced before it is sampled
    small = np.asarray(Image.fromarray(part).reduce(factor))
    with_cover = np.concatenate((small, np.full_like(small[..., :1], 255)), axis=2)
    layers = torch.from_numpy(with_cover).to(frame.center).movedim(2, 0)[None] / 255
    shifted = CropFrame((frame.center - low) / factor, frame.side / factor, frame.angle)
    crop = shifted.crop_image(layers, size)[0].movedim(0, 2)
    return crop[..., :3] + (1 - crop[..., 3:]) * OUTSIDE


def side_view(vertices: Float[Tensor, "1 v 3"]) -> Float[Tensor, "1 v 3"]:
    """The mesh turned a quarter about the photo's vertical axis, centred, as large as fits."""
    x, y, z = vertices.unbind(-1)
    turned = torch.stack((-z, y, x), -1)
    low, high = turned.amin(1, keepdim=True), turned.amax(1, keepdim=True)
    return (turned - (low + high) / 2) * (0.88 / (high - low)[..., :2].max()).clamp_max(1.0)


def photo_panel(estimate: HandEstimate, photo: UInt8[ndarray, "height width 3"]) -> UInt8[ndarray, "rows columns 3"]:
    """The whole photo at the panel's height, or as wide as fits, with the skeleton and the outline of the crop."""
    height, width = photo.shape[:2]
    scale = PANEL / max(height, width / WIDEST)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = Image.fromarray(photo).resize(size, Image.Resampling.LANCZOS)
    corners = estimate.frame.to_image(estimate.frame.center.new_tensor([SQUARE]))[0]
    line = [tuple(corner) for corner in (to_numpy(corners) * scale).tolist()]
    pen = ImageDraw.Draw(small)
    for color, thickness in OUTLINE:
        pen.line(line, color, thickness, joint="curve")
    drawn = Image.fromarray(draw_skeleton(np.asarray(small), estimate.joints_px * scale))
    panel = Image.new("RGB", (max(drawn.width, NARROWEST), PANEL), PAPER)
    panel.paste(drawn, ((panel.width - drawn.width) // 2, (PANEL - drawn.height) // 2))
    return np.asarray(panel)


def side_by_side(panels: Sequence[tuple[ndarray, str]]) -> UInt8[ndarray, "rows columns 3"]:
    """Pictures of the panel's height in a row, each with a line of text under it."""
    width = GAP + sum(panel.shape[1] + GAP for panel, _ in panels)
    sheet = Image.new("RGB", (width, GAP + PANEL + CAPTION), PAPER)
    pen, font, left = ImageDraw.Draw(sheet), ImageFont.load_default(17), GAP
    for panel, caption in panels:
        sheet.paste(Image.fromarray(panel), (left, GAP))
        pen.text((left + 2, GAP + PANEL + CAPTION / 2), caption, INK, font, anchor="lm")
        left += panel.shape[1] + GAP
    return np.asarray(sheet)


def to_pixels(image: Float[Tensor, "height width 3"]) -> UInt8[ndarray, "height width 3"]:
    """Colours of [0, 1] in 8 bits."""
    return np.rint(255 * to_numpy(image).clip(0, 1)).astype(np.uint8)
