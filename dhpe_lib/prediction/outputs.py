"""What a fitted hand is written as: two meshes, its numbers, a picture, a page. All of one hand's files or none.

The meshes are in metres from the wrist, y up and z towards the viewer as glTF has it. Nothing here has a gradient.
"""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from dhpe_lib import __version__
from dhpe_lib.common.files import atomic_writes
from dhpe_lib.common.records import to_numpy
from dhpe_lib.figures.viewer import PhotoView, hand_page
from dhpe_lib.hand.export import vertex_colors
from dhpe_lib.hand.io import write_mesh
from dhpe_lib.hand.parameters import split_h
from dhpe_lib.hand.rotations import quaternion_to_matrix
from dhpe_lib.hand.skeleton import JOINT_NAMES
from dhpe_lib.prediction.hand_estimate import SIZE_ASSUMPTION, HandEstimate
from dhpe_lib.prediction.overlay import crop_photo, figure, to_pixels

PAGE_CROP = 800
SUFFIXES = (".glb", ".obj", ".json", ".png", ".html")
GLTF_AXES = np.array([1.0, -1.0, -1.0])  # from x right, y down, z away
H_IS = (
    "what HandModel.forward_h takes (offsets from the identity camera, pose relative to the flat hand) for a model of "
    "this hand's side; its mesh lies in the crop frame, pixel = center + side (x, y)"
)


def write_estimate(
    estimate: HandEstimate, photo: UInt8[ndarray, "height width 3"], name: str, folder: Path, stem: str
) -> list[Path]:
    """Write the five files of one hand, together.

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
    names = [stem + suffix for suffix in SUFFIXES]
    vertices, faces = estimate.metres(estimate.mesh.vertices) * GLTF_AXES, to_numpy(estimate.model.faces)
    with atomic_writes(folder, names) as (glb, obj, numbers, picture, page):
        for mesh in (glb, obj):
            write_mesh(mesh, vertices, faces, vertex_colors(estimate.model))
        numbers.write_text(json.dumps(record(estimate, photo, name), indent=1) + "\n", encoding="utf-8")
        Image.fromarray(figure(estimate, photo)).save(picture)
        page.write_text(photo_page(estimate, photo, name), encoding="utf-8")
    return [folder / name for name in names]


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
        "h": {part.name: rounded(getattr(parts, part.name)[0], 6) for part in fields(parts)},
        "h_is": H_IS,
    }  # fmt: skip


def rounded(values: Any, places: int) -> Any:
    """Numbers as nested lists of floats with few places."""
    return np.round(to_numpy(values).astype(float), places).tolist()


def photo_view(estimate: HandEstimate, photo: UInt8[ndarray, "height width 3"]) -> PhotoView:
    """The crop of a photo with its fitted hand, for the viewer to draw over each other."""
    parts = split_h(estimate.h)
    rotation = quaternion_to_matrix(parts.quaternion + parts.quaternion.new_tensor((1.0, 0, 0, 0)))[0]
    crop = to_pixels(crop_photo(photo, estimate.frame, PAGE_CROP))
    return PhotoView(crop, to_numpy(rotation), estimate.scale, to_numpy(parts.translation[0]))


def photo_page(estimate: HandEstimate, photo: UInt8[ndarray, "height width 3"], name: str) -> str:
    """The interactive hand over its crop of the photo."""
    parts, side = split_h(estimate.h), estimate.model.side
    pose, shape = to_numpy(parts.pose[0]), to_numpy(parts.shape[0])
    return hand_page(
        estimate.model, pose, shape, photo_view(estimate, photo), title=f"{side.capitalize()} hand in {name}"
    )
