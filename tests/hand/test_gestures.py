"""Gestures: every named hand shape is possible, and the sampled ones vary, touch where they should and repeat."""

import pytest
import torch

from dhpe_lib.hand.gestures import (
    BENDS,
    GESTURES,
    PRESSED,
    THUMBS,
    TRIES,
    draw_gestures,
    gesture_angles,
    pose_gestures,
    sample_gestures,
    vary_gestures,
)
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.poses import collides, joint_angles, joint_limits, limit_penalty, pose_from_angles

NAMES = list(GESTURES)
N = 1500


@pytest.fixture(scope="module")
def model() -> HandModel:
    return HandModel.open_hand()


@pytest.fixture(scope="module")
def poses() -> torch.Tensor:
    return sample_gestures(N, torch.Generator().manual_seed(0))


def joints_of(model: HandModel, name: str) -> torch.Tensor:
    """Joints of the gesture itself, metres."""
    angles = gesture_angles()[NAMES.index(name)][None]
    return model(pose=pose_from_angles(angles, joint_limits()).float()).joints[0]


def test_each_gesture_is_inside_the_limits_and_does_not_collide(model: HandModel) -> None:
    poses = pose_from_angles(gesture_angles(), joint_limits())
    assert poses.shape == (len(GESTURES), 45)
    assert (limit_penalty(poses, joint_limits()) < 1e-12).all()
    hits = collides(model(pose=poses.float()).joints, PRESSED)
    assert not hits.any(), [name for name, hit in zip(NAMES, hits, strict=True) if hit]


def test_every_row_of_the_tables_is_used() -> None:
    assert {bend for gesture in GESTURES.values() for bend in gesture.fingers} == set(BENDS)
    assert {gesture.thumb for gesture in GESTURES.values()} == set(THUMBS)
    assert all(gesture.weight > 0 for gesture in GESTURES.values())


def test_counting_stretches_so_many_fingers(model: HandModel) -> None:
    for name, count in (("fist", 0), ("one", 1), ("two", 2), ("three", 3), ("four", 4), ("five", 4)):
        joints = joints_of(model, name)
        reach = (joints[8::4] - joints[0]).norm(dim=-1) / (joints[5::4] - joints[0]).norm(dim=-1)
        assert int((reach > 1.5).sum()) == count, name


def test_pinches_touch_with_the_thumb(model: HandModel) -> None:
    for name, tip in (("okay", 8), ("pinch", 8), ("pinch_middle", 12), ("pinch_little", 20)):
        joints = joints_of(model, name)
        assert (joints[4] - joints[tip]).norm() < 0.026, name
    open_hand = joints_of(model, "five")
    assert (open_hand[4] - open_hand[8]).norm() > 0.08


def test_samples_keep_the_limits_and_do_not_collide(model: HandModel, poses: torch.Tensor) -> None:
    assert poses.shape == (N, 45)
    assert poses.dtype == torch.float32
    assert (limit_penalty(poses, joint_limits()) < 1e-9).all()
    assert not collides(model(pose=poses).joints, PRESSED).any()
    assert len(poses.unique(dim=0)) > 0.8 * N  # few fall back to the gesture itself


def test_samples_stay_near_their_gesture_and_vary(model: HandModel) -> None:
    chosen = torch.full((200,), NAMES.index("two"))
    poses = pose_gestures(chosen, torch.Generator().manual_seed(1))
    flexion = joint_angles(poses.double(), joint_limits())[..., 0]
    middle = flexion.median(0).values - gesture_angles()[chosen[0], :, 0]
    assert middle.abs().max() < 0.2
    assert flexion.std(0)[:12].min() > 0.05


def test_the_last_try_is_the_gesture_itself() -> None:
    chosen = torch.arange(len(GESTURES))
    tries = vary_gestures(chosen, torch.Generator().manual_seed(0))
    assert tries.shape == (len(GESTURES), len(TRIES), 15, 3)
    torch.testing.assert_close(tries[:, -1], gesture_angles())
    far = (tries - gesture_angles()[:, None]).abs().mean((0, 2, 3))
    assert far[0] > far[-2] > far[-1] == 0


def test_gestures_follow_their_weights() -> None:
    drawn = draw_gestures(20_000, torch.Generator().manual_seed(0)).bincount(minlength=len(GESTURES)) / 20_000
    weights = torch.tensor([gesture.weight for gesture in GESTURES.values()])
    torch.testing.assert_close(drawn, weights / weights.sum(), rtol=0, atol=0.006)


def test_a_seed_gives_the_same_poses(poses: torch.Tensor) -> None:
    assert torch.equal(sample_gestures(N, torch.Generator().manual_seed(0)), poses)
    assert not torch.equal(sample_gestures(N, torch.Generator().manual_seed(1)), poses)


def test_bad_input() -> None:
    assert sample_gestures(0).shape == (0, 45)
    with pytest.raises(ValueError, match="n"):
        sample_gestures(-1)
    with pytest.raises(TypeError, match="chosen"):
        pose_gestures(torch.zeros(2))
