"""A short clip with two hands, one of which goes out of sight: from frames to files, and the files read back."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from numpy import ndarray
from PIL import Image

from dhpe_lib.data.camera import Camera
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.parameters import split_h
from dhpe_lib.prediction import find_hands
from dhpe_lib.prediction.demo import demo_scene
from dhpe_lib.prediction.hand_estimate import DOUBTFUL_PRESENCE, SIDE_SPREAD
from dhpe_lib.prediction.hand_search import HandNetworks, load_hand_networks
from dhpe_lib.prediction.request import CLIP_FILES
from dhpe_lib.prediction.video import (
    HANDS_AT_A_TIME,
    ClipHand,
    FollowedClip,
    fit_clip,
    follow_clip,
    is_missing,
    joints_px,
)
from dhpe_lib.prediction.video_io import Frame, VideoError, count_frames, frame_files, read_frames
from dhpe_lib.prediction.video_outputs import hand_tracks, overlaid, place_rows, write_clip_hands

RATE, WIDTH, HEIGHT = 20.0, 200, 300
HIDDEN = range(5, 9)
COUNT = 13


def at(k: int, points: ndarray) -> ndarray:
    """Move points of the small demo picture to frame k: the picture is turned and shifted."""
    angle = 0.03 * k
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (points - (100, 150)) @ turn.T + (100 - k, 150 + k)


def moved(k: int, picture: Image.Image) -> ndarray:
    corners = at(k, np.array([[0.0, 0], [1, 0], [0, 1]]))
    forward = np.array([[*(corners[1] - corners[0])], [*(corners[2] - corners[0])]]).T
    back = np.linalg.inv(forward)
    shift = -back @ corners[0]
    data = (back[0, 0], back[0, 1], shift[0], back[1, 0], back[1, 1], shift[1])
    turned = picture.transform(picture.size, Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
    return np.asarray(turned)


@pytest.fixture(scope="module")
def networks() -> HandNetworks:
    return load_hand_networks()


@pytest.fixture(scope="module")
def model() -> HandModel:
    return HandModel.open_hand()


@pytest.fixture(scope="module")
def clip(model) -> tuple[list[Frame], list[ndarray]]:
    """Frames of 400 x 300: on the left a right hand that moves and is hidden for a while, on the right its mirror.

    And the joints of the right hand.
    """
    scene = demo_scene(model)
    small = Image.fromarray(scene.image[:, : 3 * WIDTH]).reduce(3)
    still = np.asarray(small)[:, ::-1]
    frames = []
    for k in range(COUNT):
        left = np.full_like(still, 90) if k in HIDDEN else moved(k, small)
        frames.append(Frame(np.concatenate((left, still), 1), k / RATE, f"frame {k}"))
    return frames, [at(k, scene.hands[0].joints_2d / 3) for k in range(COUNT)]


@pytest.fixture(scope="module")
def followed(networks, clip) -> FollowedClip:
    return follow_clip(networks, clip[0])


@pytest.fixture(scope="module")
def hands(model, followed) -> tuple[ClipHand, ...]:
    return fit_clip(model, followed)


def by_side(hands: tuple[ClipHand, ...]) -> tuple[ClipHand, ClipHand]:
    """The right hand, then the left one."""
    first, second = sorted(hands, key=lambda hand: hand.model.side, reverse=True)
    return first, second


def test_two_hands_keep_their_sides_and_one_comes_back(hands):
    right, left = by_side(hands)
    assert (right.model.side, left.model.side) == ("right", "left")
    assert left.frames == tuple(range(COUNT))
    assert set(right.frames).isdisjoint(HIDDEN)
    assert set(range(HIDDEN.start)) <= set(right.frames)
    assert COUNT - 1 in right.frames
    assert right.right_probability > 0.8
    assert left.right_probability < 0.2
    assert len(right.parts) == 2
    assert (right.times_out_of_sight, left.times_out_of_sight) == (1, 0)
    assert right.warnings == left.warnings == []  # a hand that leaves the picture is not wrong


def test_the_mesh_follows_the_hand(hands, clip):
    right, _ = by_side(hands)
    truth = np.stack([clip[1][k] for k in right.frames])
    size = float(np.ptp(truth[0], axis=0).max())
    errors = np.linalg.norm(joints_px(right).numpy() - truth, axis=-1).mean(1) / size
    assert errors.mean() < 0.06
    assert errors.max() < 0.1
    assert (split_h(right.h).shape.abs() < 3).all()
    assert split_h(right.h).shape.std(0).max() < 0.3  # one hand, one shape


def test_a_clip_doubts_what_a_photo_doubts(hands):
    right, _ = by_side(hands)
    assert right.warnings == []
    n, below = len(right.presence), DOUBTFUL_PRESENCE - 0.01
    most, few = n // 2 + 1, n // 2
    unsure = replace(right, presence=(below,) * most + right.presence[most:])
    assert unsure.warnings == [f"the network is not sure that this is a hand in {most} of {n} frames"]
    assert replace(right, presence=(below,) * few + (1.0,) * (n - few)).warnings == []
    (warning,) = replace(right, right_spread=SIDE_SPREAD + 0.01).warnings
    assert "disagree on left or right" in warning


def test_a_new_hand_is_checked_by_its_mirror_image(networks, clip, followed, monkeypatch):
    """A last look that sees the other side of each new hand makes its track doubtful. Known hands are not checked."""
    assert all(0 < hand.right_spread < SIDE_SPREAD for hand in followed.hands)
    checked = []

    def sees_the_other_side(network, photo, found):
        checked.append(len(found.presence))
        return replace(found, right_spread=torch.full_like(found.presence, 0.9))

    monkeypatch.setattr(find_hands, "check_side", sees_the_other_side)
    again = follow_clip(networks, clip[0])
    assert [hand.right_spread for hand in again.hands] == [pytest.approx(0.9)] * 2
    assert 2 <= sum(checked) < COUNT


def test_each_frame_is_fitted_as_by_itself(model, followed, hands):
    assert HANDS_AT_A_TIME > COUNT
    few = replace(followed, hands=tuple(replace(h, sightings=h.sightings[:1]) for h in followed.hands))
    for one, whole in zip(fit_clip(model, few), hands, strict=True):
        assert one.errors[0] == pytest.approx(whole.errors[0], abs=2e-3)


def test_files_are_read_back(tmp_path, clip, followed, hands):
    pytest.importorskip("av", reason='PyAV is not installed: pip install "dhpe[video]"')
    camera = Camera.from_fov(followed.width, followed.height, 60.0)
    files = write_clip_hands(followed, hands, clip[0], "c.mp4", tmp_path, "c_hands", camera, RATE, CLIP_FILES)
    names = [path.name for path in files]
    assert names[:3] == ["c_hands.mp4", "c_hands.json", "c_hands.glb"]
    assert names[3:] == [f"c_hands_{k + 1}.bvh" for k in range(len(names) - 3)] != []
    assert "HIERARCHY" in files[3].read_text()
    assert sorted(tmp_path.iterdir()) == sorted(files)
    shown = list(read_frames(files[0]))
    assert [frame.time for frame in shown] == pytest.approx(followed.times, abs=1e-3)
    assert shown[0].image.shape == (HEIGHT, 2 * WIDTH, 3)
    found = json.loads(files[1].read_text())
    assert found["clip"] == {
        "file": "c.mp4", "width": 2 * WIDTH, "height": HEIGHT, "frames": COUNT, "frames_per_s": RATE, "seconds": 0.6,
    }  # fmt: skip
    assert [len(one["h"]) for one in found["hands"]] == [len(hand.frames) for hand in hands]
    assert all(one["hand_known"] for one in found["hands"])  # the network gives it, as in a photo
    for one, hand in zip(found["hands"], hands, strict=True):
        check_numbers(one, hand, np.array(found["camera"]["k"]))
    scene = trimesh.load(files[2])
    assert len(scene.geometry) == 3  # the right hand before and after the gap, and the left hand


def check_numbers(record: dict, hand: ClipHand, k: ndarray) -> None:
    """The joints in metres project onto the joints in pixels, and h in its crop gives the joints in pixels."""
    pixels = np.array(record["joints_px"])
    camera = np.array(record["joints_m"]) @ k.T
    size = float(np.ptp(pixels[0], axis=0).max())
    assert np.abs(camera[..., :2] / camera[..., 2:] - pixels).mean() < 0.02 * size
    assert (np.abs(camera[..., 2] - camera[0, 0, 2]) < 0.25 * camera[0, 0, 2]).all()
    crop = record["crop"]
    joints = hand.model.forward_h(torch.tensor(record["h"])).joints[..., :2].numpy()
    np.testing.assert_allclose(crop["center_px"] + crop["side_px"] * joints, pixels, atol=0.05)
    assert record["hand"] == hand.model.side
    assert record["frames"] == list(hand.frames)


def test_the_overlay_covers_the_hand_and_nothing_else(clip, hands):
    right, _ = by_side(hands)
    drawn = list(overlaid(hands, clip[0]))
    for index in (0, COUNT - 1):
        changed = (drawn[index].image != clip[0][index].image).any(-1)
        x, y = joints_px(right)[right.frames.index(index)].round().long().unbind(1)
        assert changed[y, x].mean() > 0.8
        assert 0.02 < changed.mean() < 0.3
    hidden = drawn[HIDDEN.start + 1].image != clip[0][HIDDEN.start + 1].image
    assert not hidden[:, :WIDTH].any()
    blue = drawn[0].image[:, :WIDTH][(drawn[0].image != clip[0][0].image).any(-1)[:, :WIDTH]].mean(0)
    orange = drawn[0].image[:, WIDTH:][(drawn[0].image != clip[0][0].image).any(-1)[:, WIDTH:]].mean(0)
    assert blue[2] > blue[0] + 20
    assert orange[0] > orange[2] + 20


def test_tracks_of_the_animation_lie_where_the_mesh_is(hands):
    camera = Camera.from_fov(2 * WIDTH, HEIGHT, 60.0)
    for hand in hands:
        track = hand_tracks(hand, place_rows(hand, camera))[0]
        mesh = hand.model(track.pose, track.shape.expand(len(track.pose), -1), track.rotation, None, track.translation)
        image = mesh.joints.double() @ camera.k.T
        apart = (image[..., :2] / image[..., 2:] - joints_px(hand)[: len(track.pose)]).norm(dim=-1)
        assert apart.mean() < 3  # pixels; the perspective of a near hand is not the fit's, and one shape serves all


def test_a_hand_out_of_the_picture_is_not_drawn(clip, hands):
    _, left = by_side(hands)
    moved_away = replace(left, crops=replace(left.crops, center=left.crops.center + 5000))
    assert (next(overlaid([moved_away], clip[0])).image == clip[0][0].image).all()
    over_the_edge = replace(left, crops=replace(left.crops, center=left.crops.center + torch.tensor([90.0, 0])))
    assert (next(overlaid([over_the_edge], clip[0])).image != clip[0][0].image).any()


def test_options(networks, clip):
    frames = clip[0][:3]
    one = follow_clip(networks, frames, side="left", max_hands=1)
    assert [hand.side for hand in one.hands] == ["left"]
    assert len(one.hands[0].sightings) == 3


def test_nothing_to_follow(networks, model):
    grey = [Frame(np.full((60, 80, 3), 128, np.uint8), k / 30, str(k)) for k in range(2)]
    empty = follow_clip(networks, grey)
    assert empty.hands == ()
    assert fit_clip(model, empty) == ()
    assert empty.best_presence < 0.5
    with pytest.raises(VideoError, match="no frame"):
        follow_clip(networks, [])
    other = Frame(np.zeros((50, 80, 3), np.uint8), 1.0, "large.png")
    with pytest.raises(VideoError, match=r"large\.png: has 80 x 50 pixels, the first frame, 0, 80 x 60"):
        follow_clip(networks, [grey[0], other])
    with pytest.raises(ValueError, match="max_hands is 0"):
        follow_clip(networks, grey, max_hands=0)


def test_the_detector_runs_only_for_missing_and_new_hands(networks, clip, monkeypatch):
    calls = []
    monkeypatch.setattr("dhpe_lib.prediction.video.glimpse_hands", lambda *_: calls.append("glimpse") or [])
    found = follow_clip(networks, [replace(frame, time=k * 0.1) for k, frame in enumerate([clip[0][0]] * 12)])
    assert len(found.hands) == 2
    assert calls == ["glimpse"] * 2  # at 0.5 s and at 1.0 s; the first frame has the full search
    assert is_missing((), 0, 0.0)


def test_a_failure_writes_nothing(tmp_path, clip, followed, hands):
    def frames():
        yield clip[0][0]
        raise KeyboardInterrupt

    pytest.importorskip("av", reason='PyAV is not installed: pip install "dhpe[video]"')
    camera = Camera.assumed(2 * WIDTH, HEIGHT)
    (tmp_path / "c_hands.json").write_text("old")
    with pytest.raises(KeyboardInterrupt):
        write_clip_hands(followed, hands, frames(), "c.mp4", tmp_path, "c_hands", camera, RATE, (".json", ".mp4"))
    assert [path.name for path in tmp_path.iterdir()] == ["c_hands.json"]
    assert (tmp_path / "c_hands.json").read_text() == "old"


def test_frames_are_counted(tmp_path):
    with pytest.raises(VideoError, match="has no frame"):
        count_frames(tmp_path)
    for k in (10, 9, 1):
        Image.new("RGB", (8, 8)).save(tmp_path / f"f{k}.png")
    assert count_frames(tmp_path) == 3
    assert [path.stem for path in frame_files(tmp_path)] == ["f1", "f9", "f10"]
    with pytest.raises(FileNotFoundError):
        count_frames(Path("none.mp4"))
