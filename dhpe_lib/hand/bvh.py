"""A pose sequence as a BVH file, which Blender, Maya and most animation programs read. Nothing here has a gradient."""

import warnings
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from scipy.spatial.transform import Rotation

from dhpe_lib.common.files import atomic_write
from dhpe_lib.common.records import to_numpy
from dhpe_lib.hand.rig import HandTrack
from dhpe_lib.hand.rotations import axis_angle_to_matrix
from dhpe_lib.hand.skeleton import JOINT_NAMES, MANO_JOINT_NAMES

Y_UP = np.diag([1.0, -1.0, -1.0])  # from x right, y down, z away to y up, z towards the viewer
STILL = 1 / 30
"""Frame time of a sequence of one frame, seconds."""


def write_bvh(path: str | Path, track: HandTrack) -> None:
    """Write a moving hand as a skeleton of 16 joints and five fingertips.

    Lengths are in metres, y is up and the viewer looks along -z. Angles are in degrees and turn about z, then y, then
    x. A BVH has one frame time: the mean of the track's.

    Args:
        path: Output path (.bvh).
        track: The hand over time.

    Raises:
        OSError: The file cannot be written.

    Source: Meredith and Maddock, *Motion Capture File Formats Explained*, 2001.
    """
    model, like = track.model, track.model.v_template
    shape = track.shape[None].to(like)
    joints = to_numpy(model.rest_joints(shape)[0]).astype(float)
    with torch.no_grad():
        tips = to_numpy(model(shape=shape).joints[0]).astype(float)
    local = to_numpy(axis_angle_to_matrix(track.pose.unflatten(1, (15, 3)))).astype(float)
    rotation, translation = (to_numpy(part).astype(float) for part in (track.rotation, track.translation))
    wrist = (rotation @ joints[0] + translation) @ Y_UP
    turns = np.concatenate(((Y_UP @ rotation)[:, None], local), axis=1)
    motion = np.concatenate((wrist, *(euler_degrees(turns[:, joint]) for joint in range(16))), axis=1)
    times = to_numpy(track.times).astype(float)
    step = float(np.diff(times).mean()) if len(times) > 1 else STILL
    lines = [
        "HIERARCHY",
        *_joint_lines(0, model.parents, joints, tips, 0),
        "MOTION",
        f"Frames: {len(times)}",
        f"Frame Time: {step:.6f}",
        *(" ".join(f"{value:.6f}" for value in row) for row in motion),
    ]
    with atomic_write(Path(path)) as draft:
        draft.write_text("\n".join(lines) + "\n", encoding="ascii")


def euler_degrees(rotations: Float[ndarray, "n 3 3"]) -> Float[ndarray, "n 3"]:
    """Convert rotations to angles about z, y and x, so that R = R_z R_y R_x and no angle jumps by a full turn.

    Args:
        rotations: Rotation matrices over time.

    Returns:
        Degrees.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # at y = 90 degrees one of many equal answers is taken
        angles = Rotation.from_matrix(rotations).as_euler("ZYX", degrees=True)
    return np.unwrap(angles, axis=0, period=360)


def _joint_lines(
    joint: int, parents: tuple[int, ...], joints: Float[ndarray, "16 3"], tips: Float[ndarray, "21 3"], depth: int
) -> list[str]:
    """Return the lines of a joint and all below it."""
    edge, name = "  " * depth, MANO_JOINT_NAMES[joint]
    offset = joints[joint] - joints[parents[joint]] if joint else np.zeros(3)
    places = "Xposition Yposition Zposition "
    lines = [
        f"{edge}{'JOINT' if joint else 'ROOT'} {name}",
        f"{edge}{{",
        f"{edge}  OFFSET {_numbers(offset)}",
        f"{edge}  CHANNELS {3 if joint else 6} {'' if joint else places}Zrotation Yrotation Xrotation",
    ]
    children = [child for child, parent in enumerate(parents) if child and parent == joint]
    for child in children:
        lines += _joint_lines(child, parents, joints, tips, depth + 1)
    if not children:
        tip = tips[JOINT_NAMES.index(f"{name.split('_')[0]}_tip")]
        end = f"{edge}  "
        lines += [f"{end}End Site", f"{end}{{", f"{end}  OFFSET {_numbers(tip - joints[joint])}", f"{end}}}"]
    return [*lines, f"{edge}}}"]


def _numbers(values: Float[ndarray, " 3"]) -> str:
    return " ".join(f"{value:.6f}" for value in values)
