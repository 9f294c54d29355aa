"""Hands are found as MediaPipe finds them, at any turn, size and side; pictures without a hand are refused.

Photos of real hands lie in `../shared/real`, or where DHPE_REAL_PHOTOS says; these tests skip where there are none.
"""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy import ndarray
from PIL import Image
from torch import Tensor

from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.data.photos import read_photo
from dhpe_lib.hand.model import HandModel
from dhpe_lib.network.palm_detector import Palms, detect_palms
from dhpe_lib.prediction.demo import DemoScene, demo_scene
from dhpe_lib.prediction.find_hands import NoHandError, find_hand_in_box, find_hands, follow_hand, letterboxed
from dhpe_lib.prediction.hand_looks import Looks
from dhpe_lib.prediction.hand_search import HandNetworks, keep_distinct, load_hand_networks
from dhpe_lib.prediction.hand_squares import cut_squares, squares_of_joints, squares_of_palms, tile_squares

PHOTOS = Path(os.environ.get("DHPE_REAL_PHOTOS", Path(__file__).parents[2] / "shared" / "real"))
# What MediaPipe 0.10.21 (static image mode) finds in the demo picture: pixels, and millimetres from the hand's centre.
DEMO_PIXELS = [
    [493.1, 667.9], [578.7, 630.0], [631.5, 554.8], [671.9, 479.2], [718.1, 420.0], [626.4, 444.3], [662.8, 351.2],
    [679.5, 285.1], [686.0, 229.5], [566.8, 424.6], [581.9, 322.1], [585.5, 251.8], [583.8, 192.6], [504.7, 430.7],
    [494.9, 339.3], [485.1, 282.8], [476.8, 231.3], [444.0, 455.0], [421.1, 389.4], [403.4, 352.2], [393.0, 311.7],
]  # fmt: skip
DEMO_WORLD = [
    [-23.3, 94.6, 8.9], [10.7, 73.9, -10.5], [28.0, 50.5, -26.3], [43.9, 18.2, -39.7], [59.3, -11.9, -39.0],
    [28.1, 1.6, -3.5], [39.9, -27.8, -11.2], [45.7, -48.2, -17.6], [47.0, -67.7, -40.2], [3.0, -5.3, 5.0],
    [11.6, -44.5, -2.4], [14.3, -66.2, -21.7], [14.4, -88.0, -46.4], [-19.0, -3.3, 2.0], [-19.6, -34.4, -12.6],
    [-21.6, -53.2, -29.4], [-22.3, -70.5, -49.5], [-41.2, 10.4, 0.3], [-43.2, -13.4, -6.0], [-48.8, -29.5, -15.9],
    [-50.7, -42.6, -29.7],
]  # fmt: skip


@pytest.fixture(scope="module")
def networks() -> HandNetworks:
    return load_hand_networks()


@pytest.fixture(scope="module")
def demo() -> DemoScene:
    return demo_scene(HandModel.open_hand())


@pytest.fixture(scope="module")
def small(demo) -> tuple[ndarray, Tensor]:
    """The demo picture at a third of its size, 400 x 300, and its joints."""
    return np.asarray(Image.fromarray(demo.image).reduce(3)), torch.tensor(demo.joints_2d / 3, dtype=torch.float32)


@pytest.fixture(scope="module")
def real() -> dict[str, list[dict]]:
    """MediaPipe's hands in each photo."""
    if not (PHOTOS / "mediapipe.json").is_file():
        pytest.skip(f"no photos of real hands in {PHOTOS}; name their folder in DHPE_REAL_PHOTOS")
    return {entry["file"]: entry["hands"] for entry in json.loads((PHOTOS / "mediapipe.json").read_text())}


def error(places: Tensor, joints: Tensor) -> float:
    """Mean distance over the hand's size."""
    size = (joints.amax(0) - joints.amin(0)).amax()
    return float((places - joints).norm(dim=1).mean() / size)


def test_the_hands_of_mediapipe_in_real_photos(networks, real):
    errors = []
    for file, theirs in real.items():
        if not theirs:
            continue
        hands = find_hands(networks, read_photo(PHOTOS / file))
        joints = torch.tensor(theirs[0]["joints_2d"], dtype=torch.float32)[:, :2]
        distances = [error(hand.joints_px, joints) for hand in hands]
        nearest = hands[int(np.argmin(distances))]
        errors.append(min(distances))
        assert errors[-1] < 0.08, file
        assert nearest.side == theirs[0]["hand"], file
        assert nearest.presence > 0.9, file
    assert len(errors) == 15
    assert np.mean(errors) < 0.03


def test_hands_that_mediapipe_misses(networks, real):
    missed = [file for file, theirs in real.items() if not theirs]
    assert len(missed) == 3
    for file in missed:
        assert find_hands(networks, read_photo(PHOTOS / file), max_hands=1)[0].presence > 0.7


def test_the_demo_picture_as_in_mediapipe(networks, demo):
    (hand,) = find_hands(networks, demo.image)
    assert hand.side == "right"
    assert hand.right_probability > 0.9
    assert hand.presence > 0.95
    assert hand.palm_score > 0.9
    assert error(hand.joints_px, torch.tensor(DEMO_PIXELS)) < 0.02
    assert (1000 * hand.joints_world - torch.tensor(DEMO_WORLD)).norm(dim=1).mean() < 8
    assert error(hand.joints_px, torch.tensor(demo.joints_2d, dtype=torch.float32)) < 0.05
    assert hand.confidence.shape == (21,)
    assert (hand.confidence > 0.5).all()
    assert (hand.confidence <= 1).all()
    torch.testing.assert_close(hand.frame.side, torch.tensor([717.0]), rtol=0.1, atol=0)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_photo_gives_turned_joints(networks, small, turns):
    photo, joints = small
    height, width = photo.shape[:2]
    upright, turned = find_hands(networks, photo)[0], find_hands(networks, np.rot90(photo, turns).copy())[0]
    x, y = joints.unbind(1)
    expected = {1: (y, width - x), 2: (width - x, height - y), 3: (height - y, x)}[turns]
    assert error(turned.joints_px, torch.stack(expected, 1)) < 0.05
    x, y, z = upright.joints_world.unbind(1)
    expected = {1: (y, -x, z), 2: (-x, -y, z), 3: (-y, x, z)}[turns]
    assert (turned.joints_world - torch.stack(expected, 1)).norm(dim=1).mean() < 0.005


def test_the_mirror_image_shows_the_other_hand(networks, small):
    photo, joints = small
    (hand,) = find_hands(networks, photo[:, ::-1].copy())
    assert hand.side == "left"
    assert hand.right_probability < 0.1
    assert error(hand.joints_px, torch.stack((photo.shape[1] - joints[:, 0], joints[:, 1]), 1)) < 0.05


def test_both_hands_are_found(networks, small):
    photo = small[0]
    both = np.concatenate((photo, photo[:, ::-1]), 1)
    hands = find_hands(networks, both)
    assert sorted(hand.side for hand in hands) == ["left", "right"]
    (hand,) = find_hands(networks, both, max_hands=1, side="left")
    assert hand.joints_px[:, 0].mean() > photo.shape[1]
    assert [hand.side for hand in find_hands(networks, photo, side="left")] == ["left"]


def test_a_small_hand_in_a_large_photo(networks, demo):
    share, size = 0.05, float(np.ptp(demo.joints_2d, axis=0).max())
    scale = share * 2000 / size
    picture = Image.fromarray(demo.image).resize((round(1200 * scale), round(900 * scale)), Image.Resampling.BOX)
    photo = np.full((1200, 2000, 3), 110, np.uint8)
    photo[500 : 500 + picture.height, 1300 : 1300 + picture.width] = np.asarray(picture)
    (hand,) = find_hands(networks, photo)
    joints = torch.tensor(demo.joints_2d * scale + [1300, 500], dtype=torch.float32)
    assert error(hand.joints_px, joints) < 0.06


def test_a_hand_that_fills_the_photo(networks, small):
    photo, joints = small
    left, top, right, bottom = (*joints.amin(0).int().tolist(), *joints.amax(0).int().tolist())
    (hand,) = find_hands(networks, photo[top:bottom, left:right].copy())
    assert error(hand.joints_px, joints - torch.tensor([left, top])) < 0.06


@pytest.mark.parametrize("value", [0, 128])
def test_an_even_picture_has_no_hand(networks, value):
    with pytest.raises(NoHandError, match=r"presence 0\.") as caught:
        find_hands(networks, np.full((150, 200, 3), value, np.uint8))
    assert caught.value.best < 0.2
    assert f"{caught.value.best:.2f}" in str(caught.value)


def test_one_pixel_has_no_hand(networks):
    with pytest.raises(NoHandError):
        find_hands(networks, np.zeros((1, 1, 3), np.uint8))


def test_bad_input_is_refused(networks):
    with pytest.raises(ValueError, match="with pixels in it"):
        find_hands(networks, np.zeros((0, 10, 3), np.uint8))
    photo = np.zeros((20, 30, 3), np.uint8)
    with pytest.raises(ValueError, match="max_hands is 0"):
        find_hands(networks, photo, max_hands=0)
    with pytest.raises(ValueError, match="has no pixels"):
        find_hand_in_box(networks, photo, (40, 0, 50, 10))
    with pytest.raises(ValueError, match="has no pixels"):
        find_hand_in_box(networks, photo, (10, 5, 10, 10))
    with pytest.raises(ValueError, match="not finite"):
        follow_hand(networks, photo, torch.full((21, 2), torch.nan))


def test_a_box_with_and_without_a_hand(networks, small):
    photo, joints = small
    box = (*joints.amin(0).tolist(), *joints.amax(0).tolist())
    hand = find_hand_in_box(networks, photo, box)
    assert hand.presence > 0.9
    assert error(hand.joints_px, joints) < 0.05
    assert find_hand_in_box(networks, photo, (0, 0, 90, 90)).presence < 0.5


def test_a_hand_is_followed_to_the_next_frame(networks, small):
    photo, joints = small
    moved = np.roll(photo, (6, -9), (0, 1))
    for looks in (1, 3):
        hand = follow_hand(networks, moved, joints, looks=looks)
        assert error(hand.joints_px, joints + torch.tensor([-9.0, 6])) < 0.06
        assert hand.presence > 0.9
    assert follow_hand(networks, np.zeros_like(photo), joints).presence < 0.5


def test_palms_of_a_batch_of_photos(networks, small):
    photo, joints = small
    grey = np.full_like(photo, 128)
    palms = detect_palms(networks.palms, torch.cat([letterboxed(grey), letterboxed(photo)]))
    assert [len(seen.score) for seen in palms] == [0, 1]
    assert error(find_hands(networks, photo, palms=palms[1])[0].joints_px, joints) < 0.05


def test_the_result_can_take_part_in_a_fit(networks, small):
    """Tensors of inference mode could not be saved for a backward pass."""
    hand = find_hands(networks, small[0])[0]
    scale = torch.ones(1, requires_grad=True)
    (scale * hand.joints_px * hand.confidence[:, None]).sum().backward()
    assert scale.grad is not None


def hands_at(*joints: Tensor, presence: tuple[float, ...]) -> Looks:
    n = len(joints)
    one = torch.ones(n)
    frame = CropFrame(torch.zeros(n, 2), one, 0 * one)
    return Looks(
        frame, torch.stack(joints), torch.zeros(n, 21, 3), torch.tensor(presence), one, torch.zeros(n, 21), one
    )


def test_hands_found_twice_are_one():
    joints = 100 * torch.rand(21, 2, generator=torch.Generator().manual_seed(0))
    inside = 30 + 0.3 * joints.flip(0)
    hands = hands_at(joints, joints + 10, joints + 300, inside, presence=(0.9, 0.95, 0.6, 0.7))
    kept = keep_distinct(hands)
    assert kept.presence.tolist() == pytest.approx([0.95, 0.6])
    assert len(keep_distinct(replace(hands, presence=torch.tensor([0.9, 0.95, 0.6, 0.93]))).presence) == 3


def test_the_square_around_a_palm():
    """A palm of 40 pixels whose fingers point right: the square is 104 pixels, moved right by half the palm."""
    points = torch.full((1, 7, 2), 0.5)
    points[0, 0], points[0, 2] = torch.tensor([0.4, 0.5]), torch.tensor([0.6, 0.5])
    palms = Palms(torch.tensor([[0.4, 0.4, 0.6, 0.6]]), points, torch.ones(1))
    view = CropFrame(torch.tensor([[100.0, 100]]), torch.tensor([200.0]), torch.zeros(1))
    square = squares_of_palms(palms, view)
    torch.testing.assert_close(square.center, torch.tensor([[120.0, 100]]))
    torch.testing.assert_close(square.side, torch.tensor([104.0]))
    torch.testing.assert_close(square.angle, torch.tensor([torch.pi / 2]))


def test_the_square_around_joints_turns_with_them(small):
    joints = small[1][None]
    square = squares_of_joints(joints)
    turned = squares_of_joints(torch.stack((-joints[..., 1], joints[..., 0]), -1))
    torch.testing.assert_close(turned.side, square.side)
    torch.testing.assert_close(turned.angle, square.angle + torch.pi / 2)
    torch.testing.assert_close(turned.center, torch.stack((-square.center[:, 1], square.center[:, 0]), 1))
    assert (square.to_crop(joints).abs() < 0.5).all()


def test_a_square_is_cut_as_by_the_crop_frame():
    photo = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    frame = CropFrame(torch.tensor([[20.0, 30], [70, 50]]), torch.tensor([25.0, 30]), torch.tensor([0.4, -2.0]))
    pixels = torch.from_numpy(photo).permute(2, 0, 1)[None].float() / 255
    torch.testing.assert_close(cut_squares(photo, frame, 32), frame.crop_image(pixels.expand(2, -1, -1, -1), 32))
    outside = CropFrame(torch.tensor([[500.0, 500]]), torch.tensor([25.0]), torch.zeros(1))
    assert not cut_squares(photo, outside, 32).any()


def test_a_large_photo_is_reduced_in_place():
    """A ramp stays a ramp: no pixel is moved by the reduction."""
    ramp = np.broadcast_to(np.rint(np.linspace(0, 255, 3000))[None, :, None], (2000, 3000, 3)).astype(np.uint8)
    frame = CropFrame(torch.tensor([[1500.0, 1000]]), torch.tensor([1900.0]), torch.tensor([torch.pi]))
    expected = (1500 - 1900 * ((torch.arange(64) + 0.5) / 64 - 0.5)) / 3000
    cut = cut_squares(ramp, frame, 64)
    torch.testing.assert_close(cut, expected.expand(1, 3, 64, 64), rtol=0, atol=3e-3)


def test_tiles_cover_the_photo():
    tiles = tile_squares(300, 800, 0.25)
    assert set(tiles.side.tolist()) == {200.0}
    assert (tiles.center - 100).amin(0).tolist() == [0, 0]
    assert (tiles.center + 100).amax(0).tolist() == [800, 300]
    steps = tiles.center[:, 0].unique().diff()
    assert (steps <= 100 + 1e-3).all()
    assert len(tile_squares(100, 800, 0.5).side) == 3
