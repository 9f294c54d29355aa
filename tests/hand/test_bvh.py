"""The BVH file, read back and played by its own rules, against the joints of the hand model."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from dhpe_lib.hand.bvh import euler_degrees, write_bvh
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.poses import sample_poses
from dhpe_lib.hand.rig import HandTrack
from dhpe_lib.hand.rotations import axis_angle_to_matrix
from dhpe_lib.hand.skeleton import FINGERS, JOINT_NAMES, MANO_JOINT_NAMES


def make_track(side: str = "right", n: int = 7) -> HandTrack:
    """A hand that turns by two turns and goes through the poses of two natural hands."""
    generator = torch.Generator().manual_seed(4)
    poses, at = sample_poses(2, generator).float(), torch.linspace(0, 1, n)[:, None]
    axis = torch.nn.functional.normalize(torch.tensor([[1.0, 2, -0.5]]))
    return HandTrack(
        HandModel.open_hand(side),
        torch.arange(n) / 25,
        poses[0] * (1 - at) + poses[1] * at,
        torch.randn(10, generator=generator),
        axis_angle_to_matrix(4 * torch.pi * at * axis),
        torch.randn(n, 3, generator=generator),
    )


def played(path: Path) -> tuple[list[dict[str, np.ndarray]], float]:
    """The joints by name in each frame of a BVH, and its frame time."""
    words = path.read_text().split()
    joints, stack, name = [], [], ""
    for k, word in enumerate(words):
        if word in ("ROOT", "JOINT"):
            name = words[k + 1]
        elif word == "End":
            name = f"{joints[stack[-1]]['name'].split('_')[0]}_tip"
        elif word == "{":
            joints.append({"name": name, "parent": stack[-1] if stack else None, "channels": []})
            stack.append(len(joints) - 1)
        elif word == "}":
            stack.pop()
        elif word == "OFFSET":
            joints[-1]["offset"] = np.array(words[k + 1 : k + 4], float)
        elif word == "CHANNELS":
            joints[-1]["channels"] = words[k + 2 : k + 2 + int(words[k + 1])]
    start = words.index("Frames:")
    count, step = int(words[start + 1]), float(words[start + 4])
    numbers = np.array(words[start + 5 :], float).reshape(count, -1)
    frames = []
    for row in numbers:
        values, places, turns = list(row), [], []
        for joint in joints:
            turn, place = np.eye(3), joint["offset"].copy()
            for channel in joint["channels"]:
                value = values.pop(0)
                if channel.endswith("position"):
                    place["XYZ".index(channel[0])] += value
                else:
                    turn = turn @ Rotation.from_euler(channel[0].lower(), value, degrees=True).as_matrix()
            parent = joint["parent"]
            places.append(place if parent is None else places[parent] + turns[parent] @ place)
            turns.append(turn if parent is None else turns[parent] @ turn)
        assert not values
        frames.append({joint["name"]: place for joint, place in zip(joints, places, strict=True)})
    return frames, step


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_player_sees_the_joints_of_the_hand_model(tmp_path, side):
    track = make_track(side)
    write_bvh(tmp_path / "hand.bvh", track)
    frames, step = played(tmp_path / "hand.bvh")
    assert step == pytest.approx(0.04)
    rest = track.model.rest_joints(track.shape[None])[0]
    local = axis_angle_to_matrix(track.pose.unflatten(1, (15, 3)))
    for frame, rotation, translation, turns in zip(frames, track.rotation, track.translation, local, strict=True):
        world, place = [rotation], [rotation @ rest[0] + translation]
        for joint in range(1, 16):
            parent = track.model.parents[joint]
            place.append(place[parent] + world[parent] @ (rest[joint] - rest[parent]))
            world.append(world[parent] @ turns[joint - 1])
        for name, goal in zip(MANO_JOINT_NAMES, place, strict=True):
            np.testing.assert_allclose(frame[name], goal.numpy() * [1, -1, -1], atol=1e-5)
    assert set(frames[0]) == set(MANO_JOINT_NAMES) | {f"{finger}_tip" for finger in FINGERS}


def test_fingertips_of_the_flat_hand(tmp_path):
    flat = {"pose": torch.zeros(1, 45), "rotation": torch.eye(3)[None], "translation": torch.zeros(1, 3)}
    track = HandTrack(HandModel.open_hand(), torch.zeros(1), shape=torch.zeros(10), **flat)
    write_bvh(tmp_path / "hand.bvh", track)
    (frame,), step = played(tmp_path / "hand.bvh")
    assert step == pytest.approx(1 / 30, abs=1e-6)
    joints = track.model().joints[0].numpy()
    for finger in FINGERS:
        name = f"{finger}_tip"
        np.testing.assert_allclose(frame[name], joints[JOINT_NAMES.index(name)] * [1, -1, -1], atol=1e-5)


def test_angles_do_not_jump_and_a_quarter_turn_about_y_is_no_problem():
    turns = Rotation.from_euler("ZYX", [[k, 90.0, 0] for k in range(0, 720, 20)], degrees=True).as_matrix()
    angles = euler_degrees(turns)
    np.testing.assert_allclose(Rotation.from_euler("ZYX", angles, degrees=True).as_matrix(), turns, atol=1e-6)
    assert np.abs(np.diff(angles, axis=0)).max() < 21


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        write_bvh(tmp_path / "file" / "hand.bvh", make_track())
