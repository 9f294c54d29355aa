"""Write the files of a hand estimate: two meshes, a JSON, a picture and an HTML page; and one picture of all hands.

Either all files of a hand are written or none. The meshes are in metres from the wrist, in the axes of glTF: y up, z
towards the viewer. Nothing here has a gradient.
"""

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from dhpe_lib import __version__
from dhpe_lib.common.files import atomic_write, atomic_writes
from dhpe_lib.common.records import to_numpy
from dhpe_lib.data.camera import Camera, project
from dhpe_lib.data.perspective import metric_points, place_hand, weak_perspective
from dhpe_lib.figures.viewer import PhotoView, hand_page
from dhpe_lib.hand.export import vertex_colors
from dhpe_lib.hand.io import write_mesh
from dhpe_lib.hand.mesh_texture import texture_of
from dhpe_lib.hand.parameters import split_h
from dhpe_lib.hand.rotations import quaternion_to_matrix
from dhpe_lib.hand.skeleton import JOINT_NAMES
from dhpe_lib.prediction.hand_estimate import SIZE_ASSUMPTION, HandEstimate

PAGE_CROP = 800
"""Side of the crop in the HTML page, pixels."""
SUFFIXES = (".glb", ".obj", ".json", ".png", ".html")
GLTF_AXES = np.array([1.0, -1.0, -1.0])  # the crop frame has x right, y down, z away from the camera
JOINTS_ARE = (
    "the estimate without perspective: px and mm_from_wrist belong to the weak-perspective camera of the photo; the "
    "axes are those of the photo (x right, y down, z away)"
)
CAMERA_IS = (
    "the same hand before a pinhole camera: pixel = (K P)_xy / (K P)_z for a point P of the camera's frame in metres. "
    "joints_m, in the order of joints.names, is translation_m + rotation_to_ray (mm_from_wrist / 1000); the rotation "
    "turns the optical axis to the ray through the crop's centre"
)
H_IS = (
    "input of HandModel.forward_h (offsets from the identity camera, pose relative to the flat hand) for a model of "
    "this hand's side; its mesh lies in the crop frame, pixel = center + side (x, y)"
)


def write_estimate(
    estimate: HandEstimate,
    photo: UInt8[ndarray, "height width 3"],
    name: str,
    folder: Path,
    stem: str,
    camera: Camera | None = None,
    suffixes: Sequence[str] = SUFFIXES,
    all_hands: Path | None = None,
) -> list[Path]:
    """Write the files of one hand; on an error none is written.

    Args:
        estimate: Estimate of the hand.
        photo: Upright RGB photo.
        name: Name of the photo in the files.
        folder: Folder of the files; it is made if it does not exist.
        stem: File name without suffix.
        camera: Camera of the photo; by default one with an assumed field of view.
        suffixes: Suffixes of the files to write, a subset of ``SUFFIXES``.
        all_hands: The picture of all hands of the photo, which the JSON names; None if there is none.

    Returns:
        Paths of the files, in the order of `suffixes`.

    Raises:
        OSError: The folder cannot be written to.
    """
    camera = camera or Camera.assumed(photo.shape[1], photo.shape[0])
    vertices, faces = estimate.metres(estimate.mesh.vertices) * GLTF_AXES, to_numpy(estimate.model.faces)
    with atomic_writes(folder, [stem + suffix for suffix in suffixes]) as drafts:
        for draft, suffix in zip(drafts, suffixes, strict=True):
            if suffix in (".glb", ".obj"):
                texture = texture_of(estimate.model.hand) if suffix == ".glb" else None  # an OBJ needs files for it
                write_mesh(draft, vertices, faces, vertex_colors(estimate.model), texture)
            elif suffix == ".json":
                numbers = json.dumps(record(estimate, photo, name, camera, all_hands), indent=1)
                draft.write_text(numbers + "\n", encoding="utf-8")
            elif suffix == ".png":
                from dhpe_lib.prediction.overlay import figure  # imports the renderer, which takes a second

                Image.fromarray(figure(estimate, photo)).save(draft, compress_level=3)
            else:
                draft.write_text(photo_page(estimate, photo, name), encoding="utf-8")
    return [folder / draft.name for draft in drafts]


def write_all_hands(estimates: Sequence[HandEstimate], photo: UInt8[ndarray, "height width 3"], path: Path) -> None:
    """Write one picture of the photo with the meshes of all hands over it.

    Args:
        estimates: The hands of the photo.
        photo: Upright RGB photo.
        path: Path of the picture, a .png; its folder is made if it does not exist.

    Raises:
        OSError: The folder cannot be written to.
    """
    from dhpe_lib.prediction.overlay import all_hands  # imports the renderer, which takes a second

    with atomic_write(path) as draft:
        Image.fromarray(all_hands(estimates, photo)).save(draft, compress_level=3)


def record(
    estimate: HandEstimate,
    photo: UInt8[ndarray, "height width 3"],
    name: str,
    camera: Camera | None = None,
    all_hands: Path | None = None,
) -> dict[str, Any]:
    """Return the content of a hand's JSON; the keys name the units."""
    camera = camera or Camera.assumed(photo.shape[1], photo.shape[0])
    frame, keypoints, parts = estimate.frame, estimate.keypoints, split_h(estimate.h)
    return {
        "dhpe_version": __version__,
        "photo": {
            "file": name,
            "width": photo.shape[1],
            "height": photo.shape[0],
            "all_hands": None if all_hands is None else all_hands.name,
        },
        "hand": estimate.model.side,
        "hand_known": not estimate.side_assumed,
        "right_probability": _rounded_or_none(estimate.right_probability),
        "presence": _rounded_or_none(estimate.presence),
        "verdict": "doubtful" if estimate.warnings else "good",
        "warnings": estimate.warnings,
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
            "is": JOINTS_ARE,
            "size_assumption": SIZE_ASSUMPTION,
        },
        "camera": camera_record(estimate, camera),
        "h": {part.name: rounded(getattr(parts, part.name)[0], 6) for part in fields(parts)},
        "h_is": H_IS,
    }  # fmt: skip


def camera_record(estimate: HandEstimate, camera: Camera) -> dict[str, Any]:
    """Return the camera and the hand in the camera's frame (x right, y down, z away from the camera; metres)."""
    frame, joints, scale = estimate.frame, estimate.mesh.joints, estimate.h.new_tensor([estimate.scale])
    weak = weak_perspective(frame, joints[:, 0], scale)
    k = camera.batch(joints)
    facts: dict[str, Any] = {
        "k": rounded(camera.k, 3),
        "focal_px": round(camera.focal, 3),
        "focal_from": camera.source,
        "field_of_view_deg": round(camera.fov, 2),
        "weak_perspective": {
            "px_per_m": round(float(weak.scale), 3),
            "wrist_px": rounded(weak.translation[0], 3),
            "is": "pixel = wrist_px + px_per_m (x, y) of a point in metres from the wrist, axes as in the photo",
        },
        "is": CAMERA_IS,
    }
    try:
        placed = place_hand(frame, joints, scale, k, weights=estimate.h.new_tensor(estimate.keypoints.confidence)[None])
    except ValueError as error:
        return facts | {"translation_m": None, "problem": str(error)}
    points = {"joints_m": joints, "vertices_m": estimate.mesh.vertices}
    camera_points = {
        name: rounded(placed.to_camera(metric_points(frame, crop_points, joints[:, 0], scale))[0], 5)
        for name, crop_points in points.items()
    }
    projected = project(placed.to_camera(metric_points(frame, joints, joints[:, 0], scale)), k)[0]
    distance = np.linalg.norm(to_numpy(projected) - estimate.keypoints.joints, axis=1)[estimate.keypoints.known].mean()
    return facts | {
        "joints_px": rounded(projected, 2),
        "error_px": round(float(distance), 3),
        "translation_m": rounded(placed.translation[0], 5),
        "rotation_to_ray": rounded(placed.rotation[0], 6),
        **camera_points,
    }


def _rounded_or_none(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def rounded(values: Any, decimals: int) -> Any:
    """Convert an array to nested lists of rounded floats."""
    return np.round(to_numpy(values).astype(float), decimals).tolist()


def photo_view(estimate: HandEstimate, photo: UInt8[ndarray, "height width 3"]) -> PhotoView:
    """Return the crop of a photo and the placement of its hand, so that the viewer can draw one over the other."""
    from dhpe_lib.prediction.overlay import crop_photo, to_pixels  # imports the renderer, which takes a second

    parts = split_h(estimate.h)
    rotation = quaternion_to_matrix(parts.quaternion + parts.quaternion.new_tensor((1.0, 0, 0, 0)))[0]
    crop = to_pixels(crop_photo(photo, estimate.frame, PAGE_CROP))
    return PhotoView(crop, to_numpy(rotation), estimate.scale, to_numpy(parts.translation[0]))


def photo_page(estimate: HandEstimate, photo: UInt8[ndarray, "height width 3"], name: str) -> str:
    """Return the HTML page that shows the interactive hand over its crop of the photo."""
    parts, side = split_h(estimate.h), estimate.model.side
    pose, shape = to_numpy(parts.pose[0]), to_numpy(parts.shape[0])
    name = name.encode("utf-8", "replace").decode()  # a file name may hold bytes that are no text
    view, title = photo_view(estimate, photo), f"{side.capitalize()} hand in {name}"
    return hand_page(estimate.model, pose, shape, view, title, doubts=estimate.warnings)
