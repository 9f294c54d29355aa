"""What a fitted hand is written as: two meshes, its numbers, a picture, a page. All of one hand's files or none.

The meshes are in metres from the wrist, y up and z towards the viewer as glTF has it. Nothing here has a gradient.
"""

import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from dhpe_lib import __version__
from dhpe_lib.camera import CropFrame
from dhpe_lib.hand_files import write_mesh
from dhpe_lib.hand_model import HandModel, split_h
from dhpe_lib.plotting import draw_skeleton, to_numpy
from dhpe_lib.prediction import SIZE_ASSUMPTION, HandEstimate
from dhpe_lib.renderer import Light, render
from dhpe_lib.rotations import quaternion_to_matrix
from dhpe_lib.skeleton import JOINT_NAMES
from dhpe_lib.viewer import TINT, PhotoView, hand_page

SUFFIXES = (".glb", ".obj", ".json", ".png", ".html")
GLTF_AXES = np.array([1.0, -1.0, -1.0])  # from x right, y down, z away
PANEL, GAP, CAPTION = 560, 14, 40
MESH_BLUE = (0.56, 0.73, 0.92)
PAPER, INK, OUTLINE = (247, 248, 250), (52, 60, 72), (255, 255, 255)
OUTSIDE = 0.16
"""Grey of the crop where there is no photo."""
SOFT = Light(ambient=0.42, directional=0.66, direction=(0.45, 0.55, 0.9))
MESH_OPACITY = 0.9


def write_estimate(
    estimate: HandEstimate, photo: UInt8[ndarray, "height width 3"], name: str, folder: Path, stem: str
) -> list[Path]:
    """Write the five files of one hand. They appear together: each is complete before the first gets its name.

    Args:
        estimate: The hand.
        photo: The upright photo.
        name: What the files call the photo.
        folder: Where to, made if need be.
        stem: Name of the files without suffix.

    Returns:
        Their paths, in the order of ``SUFFIXES``.

    Raises:
        OSError: The folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".dhpe-", dir=folder) as scratch:
        drafts = [Path(scratch) / f"{stem}{suffix}" for suffix in SUFFIXES]
        mesh, mesh_copy, numbers, picture, page = drafts
        vertices, faces = estimate.metres(estimate.mesh.vertices) * GLTF_AXES, to_numpy(estimate.model.faces)
        for path in (mesh, mesh_copy):
            write_mesh(path, vertices, faces, vertex_colors(estimate.model))
        numbers.write_text(json.dumps(record(estimate, photo, name), indent=1) + "\n", encoding="utf-8")
        Image.fromarray(figure(estimate, photo)).save(picture)
        page.write_text(photo_page(estimate, photo, name), encoding="utf-8")
        for draft in drafts:
            os.replace(draft, folder / draft.name)
    return [folder / draft.name for draft in drafts]


def record(estimate: HandEstimate, photo: UInt8[ndarray, "height width 3"], name: str) -> dict[str, Any]:
    """The numbers of a hand as JSON has them; lengths and angles in the units that their names say."""
    frame, keypoints, parts = estimate.frame, estimate.keypoints, split_h(estimate.h)
    return {
        "dhpe_version": __version__,
        "photo": {"file": name, "width": photo.shape[1], "height": photo.shape[0]},
        "hand": estimate.model.side,
        "hand_known": estimate.side_known,
        "evidence": {
            "source": keypoints.source,
            "joints_px": rounded(keypoints.joints, 2),
            "confidence": rounded(keypoints.confidence, 3),
            "mask": estimate.with_mask,
        },
        "error_2d": {"mean_px": round(estimate.error_px, 3), "over_hand_size": round(estimate.relative_error, 5)},
        "energy": round(estimate.energy, 6),
        "crop": {
            "center_px": rounded(frame.center[0], 3),
            "side_px": round(float(frame.side), 3),
            "angle_rad": round(float(frame.angle), 6),
        },
        "joints": {
            "names": list(JOINT_NAMES),
            "px": rounded(estimate.joints_px, 2),
            "crop_units": rounded(estimate.mesh.joints[0], 5),
            "mm_from_wrist": rounded(1000 * estimate.metres(estimate.mesh.joints), 2),
            "size_assumption": SIZE_ASSUMPTION,
        },
        "h": {part: rounded(getattr(parts, part)[0], 6) for part in ("pose", "shape", "quaternion", "scale", "translation")},
        "h_is": "offsets as HandModel.forward_h takes them (pose relative to the flat hand) for the model of this hand's "
        "side; its mesh lies in the crop frame: pixel = center + side * (x, y)",
    }  # fmt: skip


def rounded(values: Any, places: int) -> Any:
    """Numbers as nested lists of floats with few places."""
    return np.round(to_numpy(values).astype(float), places).tolist()


def photo_page(estimate: HandEstimate, photo: UInt8[ndarray, "height width 3"], name: str) -> str:
    """The interactive hand over its crop of the photo."""
    parts = split_h(estimate.h)
    rotation = quaternion_to_matrix(parts.quaternion + parts.quaternion.new_tensor((1.0, 0, 0, 0)))[0]
    crop = to_pixels(crop_photo(photo, estimate.frame, 2 * PANEL))
    view = PhotoView(crop, to_numpy(rotation), estimate.scale, to_numpy(parts.translation[0]))
    pose, shape = to_numpy(parts.pose[0]), to_numpy(parts.shape[0])
    return hand_page(estimate.model, pose, shape, view, title=f"{estimate.model.side.capitalize()} hand in {name}")


def vertex_colors(model: HandModel) -> UInt8[ndarray, "v 3"]:
    """A colour for each vertex: the texture at the vertex, or skin."""
    hand = model.hand
    colors = np.tile(np.rint(255 * np.array(TINT)), (len(model.v_template), 1)).astype(np.uint8)
    if "texture" in hand:
        height, width = hand["texture"].shape[:2]
        column, row = (np.clip(hand["vt"], 0, 1) * (width - 1, height - 1)).round().astype(int).T
        colors[hand["f"].ravel()] = hand["texture"][row, column][hand["ft"].ravel()]
    return colors


# ---------------------------------------------------------------------------------------------- the picture
def figure(estimate: HandEstimate, photo: UInt8[ndarray, "height width 3"]) -> UInt8[ndarray, "height width 3"]:
    """The photo with the fitted skeleton, the mesh over its crop, and the mesh from the side."""
    background = crop_photo(photo, estimate.frame, PANEL)
    mesh, faces = estimate.mesh.vertices, estimate.model.faces
    colors = mesh.new_tensor(MESH_BLUE).expand(mesh.shape[1], 3)
    over = render(mesh, faces, colors, background, PANEL, SOFT).image[0]
    paper = mesh.new_tensor(PAPER).expand(PANEL, PANEL, 3) / 255
    side = render(side_view(mesh), faces, colors, paper, PANEL, SOFT).image[0]
    error = f"{100 * estimate.relative_error:.1f} %"
    hand = f"{estimate.model.side} hand" + ("" if estimate.side_known else " (assumed)")
    return joined(
        [
            (marked_photo(estimate, photo), f"joints, {error} of the hand from {estimate.keypoints.source}"),
            (to_pixels(background + MESH_OPACITY * (over - background)), f"mesh of the {hand}"),
            (to_pixels(side), "from the side"),
        ]
    )


def crop_photo(photo: UInt8[ndarray, "height width 3"], frame: CropFrame, size: int) -> Float[Tensor, "size size 3"]:
    """The crop of one hand in [0, 1]; grey where there is no photo. Only the part that is needed is made float."""
    reach = 0.75 * frame.side[:, None] + 2  # of the square, upright or turned
    low = (frame.center - reach).floor().clamp_min(0)
    left, top, right, bottom = torch.cat((low, (frame.center + reach).ceil().clamp_min(0)), 1)[0].int().tolist()
    part = photo[top:bottom, left:right]
    if not part.size:
        return frame.center.new_full((size, size, 3), OUTSIDE)
    layers = np.concatenate((part, np.full_like(part[..., :1], 255)), axis=2)
    shifted = CropFrame(frame.center - low, frame.side, frame.angle)
    crop = shifted.crop_image(torch.from_numpy(layers).to(frame.center).movedim(2, 0)[None] / 255, size)[0].movedim(
        0, 2
    )
    return crop[..., :3] + (1 - crop[..., 3:]) * OUTSIDE


def side_view(vertices: Float[Tensor, "1 v 3"]) -> Float[Tensor, "1 v 3"]:
    """The mesh turned a quarter about the photo's vertical axis, centred, as large as fits."""
    x, y, z = vertices.unbind(-1)
    turned = torch.stack((-z, y, x), -1)
    low, high = turned.amin(1, keepdim=True), turned.amax(1, keepdim=True)
    return (turned - (low + high) / 2) * (0.88 / (high - low)[..., :2].max()).clamp_max(1.0)


def marked_photo(estimate: HandEstimate, photo: UInt8[ndarray, "height width 3"]) -> UInt8[ndarray, "panel width 3"]:
    """The whole photo at the panel's height (or as wide as fits), with the skeleton and the outline of the crop."""
    height, width = photo.shape[:2]
    scale = PANEL / max(height, width / 1.5)
    small = Image.fromarray(photo).resize(
        (max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.LANCZOS
    )
    frame, pen = estimate.frame, ImageDraw.Draw(small)
    corners = frame.to_image(
        frame.center.new_tensor([[(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5)]])
    )
    pen.line([tuple(corner) for corner in (to_numpy(corners[0]) * scale).tolist()], OUTLINE, 2)
    drawn = draw_skeleton(np.asarray(small), estimate.joints_px * scale)
    canvas = np.empty((PANEL, drawn.shape[1], 3), np.uint8)
    canvas[:] = PAPER
    top = (PANEL - drawn.shape[0]) // 2
    canvas[top : top + drawn.shape[0]] = drawn
    return canvas


def joined(panels: Iterable[tuple[ndarray, str]]) -> UInt8[ndarray, "height width 3"]:
    """Pictures of one height side by side, each with a line of text under it."""
    panels = list(panels)
    width = sum(panel.shape[1] for panel, _ in panels) + GAP * (len(panels) + 1)
    sheet = Image.new("RGB", (width, PANEL + GAP + CAPTION), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(17)
    left = GAP
    for panel, caption in panels:
        sheet.paste(Image.fromarray(panel), (left, GAP))
        pen.text((left + 2, PANEL + GAP + CAPTION / 2), caption, INK, font, anchor="lm")
        left += panel.shape[1] + GAP
    return np.asarray(sheet)


def to_pixels(image: Float[Tensor, "height width 3"]) -> UInt8[ndarray, "height width 3"]:
    """Colours of [0, 1] in 8 bits."""
    return np.rint(255 * to_numpy(image).clip(0, 1)).astype(np.uint8)
