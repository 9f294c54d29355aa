"""Write a clip's hands: overlay clip, JSON, animated GLB, BVH.

All files of a clip appear together, or none. Nothing here has a gradient.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from dhpe_lib import __version__
from dhpe_lib.common.files import atomic_writes
from dhpe_lib.common.records import take_rows
from dhpe_lib.data.camera import Camera
from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.data.perspective import PlacedHand, metric_points, place_hand
from dhpe_lib.hand.animated_glb import write_animated_glb
from dhpe_lib.hand.bvh import write_bvh
from dhpe_lib.hand.parameters import positive_scale, split_h
from dhpe_lib.hand.rig import HandTrack
from dhpe_lib.hand.rotations import quaternion_to_matrix
from dhpe_lib.hand.skeleton import JOINT_NAMES
from dhpe_lib.prediction.hand_estimate import SIZE_ASSUMPTION
from dhpe_lib.prediction.outputs import H_IS, rounded
from dhpe_lib.prediction.overlay import draw_mesh
from dhpe_lib.prediction.request import CLIP_DEFAULT
from dhpe_lib.prediction.tracking import in_one_crop
from dhpe_lib.prediction.video import ClipHand, FollowedClip, first_crop, joints_in_crop, joints_px
from dhpe_lib.prediction.video_io import Frame, clip_writer

LARGEST_DRAWING = 400
"""Pixels along the larger side of a drawn hand; a larger hand is drawn at this size and enlarged."""


def write_clip_hands(
    clip: FollowedClip,
    hands: Sequence[ClipHand],
    frames: Iterable[Frame],
    name: str,
    folder: Path,
    stem: str,
    camera: Camera,
    rate: float,
    suffixes: Sequence[str] = CLIP_DEFAULT,
) -> list[Path]:
    """Write the files of a clip; all of them appear, or none.

    Args:
        clip: The clip.
        hands: Its fitted hands, at least one.
        frames: The frames of the clip once more; not read without ".mp4".
        name: Name of the clip in the files.
        folder: Folder of the files; it is made if it does not exist.
        stem: Name of the files without suffix.
        camera: Camera of the clip.
        rate: Frames in a second.
        suffixes: Suffixes of the files to write, out of ``CLIP_FILES``.

    Returns:
        Their paths, in the order of `suffixes`. A hand with a gap has a BVH file for each part.

    Raises:
        VideoError: The overlay clip cannot be written; see :func:`dhpe_lib.prediction.video_io.clip_writer`.
        OSError: The folder cannot be written to.
    """
    placed = [place_rows(hand, camera) for hand in hands]
    tracks = [track for pair in zip(hands, placed, strict=True) for track in hand_tracks(*pair)]
    motions = {f"{stem}_{number}.bvh": track for number, track in enumerate(tracks, 1)}
    names = [name for suffix in suffixes for name in (motions if suffix == ".bvh" else [stem + suffix])]
    with atomic_writes(folder, names) as drafts:
        for draft in drafts:
            suffix = draft.suffix
            if suffix == ".bvh":
                write_bvh(draft, motions[draft.name])
            elif suffix == ".mp4":
                with clip_writer(draft, rate) as write:
                    for frame in overlaid(hands, frames):
                        write(frame)
            elif suffix == ".glb":
                write_animated_glb(draft, tracks)
            else:
                numbers = clip_record(clip, hands, placed, name, camera, rate)
                draft.write_text(json.dumps(numbers, separators=(",", ":")) + "\n", encoding="utf-8")
    return [folder / draft.name for draft in drafts]


def place_rows(hand: ClipHand, camera: Camera) -> PlacedHand:
    """Place a hand in front of the camera, in each of its frames.

    A frame whose joints fit no place in front of the camera gives NaN; see
    :func:`dhpe_lib.data.perspective.place_hand`.
    """
    joints, scale, k = joints_in_crop(hand), model_scale(hand), camera.k.to(hand.h)[None]
    rotations, translations = [], []
    for row in torch.arange(len(joints), device=joints.device).split(1):
        try:
            one = place_hand(take_rows(hand.crops, row), joints[row], scale[row], k, weights=hand.confidence[row])
            rotations.append(one.rotation)
            translations.append(one.translation)
        except ValueError:
            rotations.append(joints.new_full((1, 3, 3), torch.nan))
            translations.append(joints.new_full((1, 3), torch.nan))
    return PlacedHand(torch.cat(rotations), torch.cat(translations))


def model_scale(hand: ClipHand) -> Float[Tensor, " n"]:
    """Crop units in a metre of the hand model, for each row."""
    return positive_scale(split_h(hand.h).scale[:, 0])


def hand_tracks(hand: ClipHand, placed: PlacedHand) -> list[HandTrack]:
    """The moving hand in metres and the camera's frame; a gap makes two tracks of it."""
    parts, scale, joints = split_h(hand.h), model_scale(hand), joints_in_crop(hand)
    turn = placed.rotation @ turn_of(hand.crops)
    rotation = turn @ quaternion_to_matrix(parts.quaternion + parts.quaternion.new_tensor((1.0, 0, 0, 0)))
    from_wrist = (parts.translation - joints[:, 0]) / scale[:, None]
    translation = (turn @ from_wrist[..., None])[..., 0] + placed.translation
    times = torch.tensor(hand.times, dtype=torch.float64)
    tracks = []
    for part in hand.parts:
        rows = torch.arange(part.start, part.stop, device=hand.h.device)
        rows = rows[placed.translation[rows].isfinite().all(1)]
        if len(rows):
            shape = parts.shape[rows].mean(0)
            keys = times[rows.cpu()]
            tracks.append(HandTrack(hand.model, keys, parts.pose[rows], shape, rotation[rows], translation[rows]))
    return tracks


def turn_of(crops: CropFrame) -> Float[Tensor, "n 3 3"]:
    """Rotation from the axes of each crop to the axes of the image."""
    cos, sin, zero = crops.angle.cos(), crops.angle.sin(), torch.zeros_like(crops.angle)
    rows = (cos, -sin, zero, sin, cos, zero, zero, zero, torch.ones_like(zero))
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def clip_record(
    clip: FollowedClip,
    hands: Sequence[ClipHand],
    placed: Sequence[PlacedHand],
    name: str,
    camera: Camera,
    rate: float,
) -> dict[str, Any]:
    """The numbers of a clip for its JSON; each name says its unit."""
    return {
        "dhpe_version": __version__,
        "clip": {
            "file": name,
            "width": clip.width,
            "height": clip.height,
            "frames": len(clip.times),
            "frames_per_s": round(rate, 3),
            "seconds": round(clip.times[-1], 4),
        },
        "camera": {
            "k": rounded(camera.k, 3),
            "focal_px": round(camera.focal, 3),
            "focal_from": camera.source,
            "field_of_view_deg": round(camera.fov, 2),
            "is": "pixel = (K P)_xy / (K P)_z for a point P of the camera's frame, in metres",
        },
        "joint_names": list(JOINT_NAMES),
        "size_assumption": SIZE_ASSUMPTION,
        "h_is": f"one row for each frame, all in the same crop frame: {H_IS}",
        "hands": [hand_record(hand, place) for hand, place in zip(hands, placed, strict=True)],
    }


def hand_record(hand: ClipHand, placed: PlacedHand) -> dict[str, Any]:
    """The numbers of one hand; lists have one entry for each frame that shows it."""
    crop = first_crop(hand)
    points = metric_points(hand.crops, joints_in_crop(hand), joints_in_crop(hand)[:, 0], model_scale(hand))
    return {
        "hand": hand.model.side,
        "hand_known": True,  # as for a photo: the network gives the handedness if the caller does not
        "right_probability": round(hand.right_probability, 4),
        "verdict": "doubtful" if hand.warnings else "good",
        "warnings": hand.warnings,
        "times_out_of_sight": hand.times_out_of_sight,
        "frames": list(hand.frames),
        "times_s": [round(time, 4) for time in hand.times],
        "presence": [round(presence, 4) for presence in hand.presence],
        "error_over_hand_size": [round(error, 5) for error in hand.errors],
        "joints_px": rounded(joints_px(hand), 2),
        "joints_m": numbers_or_none(placed.to_camera(points), 5),
        "translation_m": numbers_or_none(placed.translation, 5),
        "crop": {
            "center_px": rounded(crop.center[0], 3),
            "side_px": round(float(crop.side), 3),
            "angle_rad": round(float(crop.angle), 6),
        },
        "h": rounded(in_one_crop(hand.h, hand.crops, crop), 6),
    }


def numbers_or_none(rows: Tensor, places: int) -> list[Any]:
    """Each row as lists, or None for a row that is not finite."""
    return [rounded(row, places) if row.isfinite().all() else None for row in rows]


def overlaid(hands: Sequence[ClipHand], frames: Iterable[Frame]) -> Iterator[Frame]:
    """Draw the meshes of all hands over each frame: blue right hands, orange left ones."""
    rows: dict[int, list[tuple[ClipHand, int]]] = {}
    for hand in hands:
        for row, index in enumerate(hand.frames):
            rows.setdefault(index, []).append((hand, row))
    for index, frame in enumerate(frames):
        image = frame.image.copy()
        for hand, row in sorted(rows.get(index, []), key=pixels_of_a_metre):  # the nearest hand last
            draw_hand(image, hand, row)
        yield Frame(image, frame.time, frame.name)


def pixels_of_a_metre(place: tuple[ClipHand, int]) -> float:
    """Pixels of the frame in a metre at the hand: the larger, the nearer."""
    hand, row = place
    return float(hand.crops.side[row] * model_scale(hand)[row])


@torch.no_grad()
def draw_hand(image: UInt8[ndarray, "height width 3"], hand: ClipHand, row: int) -> None:
    """Draw the mesh of one row over its frame, in place."""
    vertices = hand.model.forward_h(hand.h[row : row + 1]).vertices
    crop = take_rows(hand.crops, torch.tensor([row], device=vertices.device))
    points = torch.cat((crop.to_image(vertices[..., :2]), crop.side * vertices[..., 2:]), -1)
    draw_mesh(image, points, hand.model.faces, hand.model.side, LARGEST_DRAWING)
