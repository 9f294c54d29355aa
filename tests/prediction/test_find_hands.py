"""Hands are found as MediaPipe finds them, at any turn, size and side; pictures without a hand are refused.

Photos of real hands lie in `../shared/real`, or where DHPE_REAL_PHOTOS says; these tests skip where there are none.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy import ndarray
from PIL import Image
from project import REAL_PHOTOS
from torch import Tensor

from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.data.photos import read_photo
from dhpe_lib.hand.model import HandModel
from dhpe_lib.network.palm_detector import Palms, detect_palms
from dhpe_lib.network.trained import load_shipped
from dhpe_lib.prediction import hand_search
from dhpe_lib.prediction.demo import DemoScene, demo_scene
from dhpe_lib.prediction.find_hands import (
    BESIDE,
    FINGERTIPS,
    LAST_JOINT,
    find_hand_in_box,
    find_hands,
    follow_hand,
    letterboxed,
    look_doubts,
    model_joints,
    shared_boxes,
)
from dhpe_lib.prediction.from_estimator import look_with_estimator
from dhpe_lib.prediction.from_photo import fit_found_hands
from dhpe_lib.prediction.hand_estimate import SIDE_SPREAD, NoHandError, PredictionError
from dhpe_lib.prediction.hand_looks import VARIANTS, Looks, check_side, look, look_again
from dhpe_lib.prediction.hand_search import HandNetworks, keep_distinct, load_hand_networks
from dhpe_lib.prediction.hand_squares import cut_squares, squares_of_joints, squares_of_palms, tile_squares

# What MediaPipe 0.10.21 (static image mode) finds in the demo picture: pixels, and millimetres from the hand's centre.
DEMO_PIXELS = {
    "right": [
        [251.6, 663.3], [326.3, 628.6], [374.2, 556.3], [409.3, 484.0], [449.8, 422.5], [381.0, 448.4],
        [416.0, 355.4], [432.5, 287.7], [438.7, 232.1], [323.6, 427.4], [337.6, 321.1], [336.0, 251.5],
        [329.3, 192.1], [263.3, 432.0], [246.5, 337.9], [230.8, 280.1], [216.9, 229.6], [202.6, 452.4],
        [174.7, 388.1], [153.2, 350.2], [139.5, 310.8],
    ],
    "left": [
        [923.0, 711.9], [870.6, 673.6], [859.0, 613.5], [880.2, 561.7], [908.8, 512.8], [864.4, 547.7],
        [847.6, 475.5], [839.8, 424.6], [837.9, 379.9], [916.9, 550.2], [931.8, 466.7], [945.5, 399.7],
        [957.8, 351.4], [960.4, 570.6], [979.5, 543.3], [971.7, 601.9], [962.5, 640.5], [997.0, 589.2],
        [1013.8, 577.1], [1004.7, 623.7], [990.0, 654.3],
    ],
}  # fmt: skip
DEMO_WORLD = {
    "right": [
        [-22.7, 92.4, 12.4], [8.2, 74.6, -6.9], [24.6, 50.5, -25.6], [36.9, 19.4, -42.6], [50.1, -10.8, -42.4],
        [27.3, 1.9, -4.0], [38.6, -27.1, -12.1], [44.9, -47.8, -15.4], [45.6, -68.3, -37.9], [3.3, -4.6, 4.9],
        [11.0, -45.1, -3.9], [12.1, -66.0, -20.3], [10.3, -88.9, -41.4], [-19.3, -4.3, 2.2], [-20.6, -34.6, -13.0],
        [-25.3, -53.9, -29.6], [-28.7, -70.9, -44.1], [-40.6, 8.5, 1.2], [-43.9, -13.5, -6.0], [-51.1, -30.9, -17.0],
        [-53.7, -42.5, -28.0],
    ],
    "left": [
        [-4.0, 87.7, -9.4], [-28.6, 58.7, -32.1], [-32.8, 30.8, -42.5], [-19.0, 7.4, -50.2], [-4.8, -11.9, -42.8],
        [-32.8, -6.9, -6.7], [-37.2, -34.9, -5.5], [-41.8, -59.2, 1.3], [-45.6, -85.9, -13.7], [-5.0, -2.7, 5.3],
        [3.6, -44.6, 11.7], [1.5, -76.0, 4.1], [4.5, -109.7, -15.1], [22.3, 0.4, 5.1], [24.6, -3.8, -26.5],
        [13.4, 21.8, -45.5], [9.5, 44.1, -47.0], [37.2, 19.7, -1.2], [37.8, 14.0, -21.0], [31.4, 25.8, -34.0],
        [31.0, 43.9, -31.7],
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def networks() -> HandNetworks:
    return load_hand_networks()


@pytest.fixture(scope="module")
def demo() -> DemoScene:
    return demo_scene(HandModel.open_hand())


@pytest.fixture(scope="module")
def one_hand(demo) -> tuple[ndarray, Tensor]:
    """The part of the demo picture with the right hand, 720 x 900, and its joints."""
    return demo.image[:, :720], torch.tensor(demo.hands[0].joints_2d, dtype=torch.float32)


@pytest.fixture(scope="module")
def small(one_hand) -> tuple[ndarray, Tensor]:
    """The same at a third of its size, 240 x 300."""
    return np.asarray(Image.fromarray(one_hand[0]).reduce(3)), one_hand[1] / 3


@pytest.fixture(scope="module")
def real() -> dict[str, list[dict]]:
    """MediaPipe's hands in each photo."""
    if not (REAL_PHOTOS / "mediapipe.json").is_file():
        pytest.skip(f"no photos of real hands in {REAL_PHOTOS}; name their folder in DHPE_REAL_PHOTOS")
    return {entry["file"]: entry["hands"] for entry in json.loads((REAL_PHOTOS / "mediapipe.json").read_text())}


def error(places: Tensor, joints: Tensor) -> float:
    """Mean distance over the hand's size."""
    size = (joints.amax(0) - joints.amin(0)).amax()
    return float((places - joints).norm(dim=1).mean() / size)


def test_the_hands_of_mediapipe_in_real_photos(networks, real):
    errors = []
    for file, theirs in real.items():
        if not theirs:
            continue
        hands = find_hands(networks, read_photo(REAL_PHOTOS / file))
        joints = model_joints(torch.tensor(theirs[0]["joints_2d"], dtype=torch.float32)[:, :2])
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
        assert find_hands(networks, read_photo(REAL_PHOTOS / file), max_hands=1)[0].presence > 0.7


def test_a_third_hand_but_no_face(networks, real):
    """Two hands of 20 % and 13 % of the photo, a left hand of 11 %, and a face that looks like a hand in a tile."""
    photo = read_photo(REAL_PHOTOS / "hamer" / "test1.jpg")
    hands = find_hands(networks, photo)
    assert [hand.side for hand in hands] == ["right", "right", "left"]
    middle = hands[2].joints_px.mean(0) / torch.tensor([photo.shape[1], photo.shape[0]])
    assert (middle - torch.tensor([0.2, 0.92])).abs().max() < 0.05


def test_a_hand_behind_a_hand(networks, real):
    hands = find_hands(networks, read_photo(REAL_PHOTOS / "hamer" / "test3.jpg"))
    assert sorted(hand.side for hand in hands) == ["left", "right"]
    assert all(hand.presence > hand_search.SURE for hand in hands)


def test_the_demo_picture_as_in_mediapipe(networks, demo):
    hands = {hand.side: hand for hand in find_hands(networks, demo.image)}
    assert sorted(hands) == ["left", "right"]
    for truth in demo.hands:
        hand = hands[truth.side]
        assert (hand.right_probability > 0.5) == (truth.side == "right")
        assert abs(hand.right_probability - 0.5) > 0.4
        assert hand.presence > 0.95
        assert hand.palm_score > 0.8
        assert error(hand.joints_px, model_joints(torch.tensor(DEMO_PIXELS[truth.side]))) < 0.02
        assert (1000 * hand.joints_world - torch.tensor(DEMO_WORLD[truth.side])).norm(dim=1).mean() < 8
        assert error(hand.joints_px, torch.tensor(truth.joints_2d, dtype=torch.float32)) < 0.05
        assert hand.confidence.shape == (21,)
        assert (hand.confidence > 0.3).all()
        assert (hand.confidence <= 1).all()
    torch.testing.assert_close(hands["right"].frame.side, torch.tensor([717.0]), rtol=0.1, atol=0)


def test_points_move_along_their_bones():
    straight = torch.zeros(21, 2)
    straight[:, 0] = torch.tensor([0.0, *([1.0, 2.0, 3.0, 4.0] * 5)])
    joints = model_joints(straight)
    torch.testing.assert_close(joints[3::4, 0], torch.full((5,), 3 + LAST_JOINT))
    torch.testing.assert_close(joints[4::4, 0], 4 + torch.tensor(FINGERTIPS))
    others = [joint for joint in range(21) if joint == 0 or joint % 4 in (1, 2)]
    assert torch.equal(joints[others], straight[others])
    assert not joints[:, 1].any()


def test_points_of_one_place_stay_there():
    points = torch.full((21, 3), 5.0, dtype=torch.float64)
    assert torch.equal(model_joints(points), points)


def test_moved_points_only_add_lengths_of_bones():
    """A shift and a scale of the points are those of the joints, and a tip has the gradient of its finger alone."""
    points = torch.randn(21, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    joints = model_joints(points)
    torch.testing.assert_close(model_joints(3 * points + 7), 3 * joints + 7)
    assert torch.autograd.gradcheck(model_joints, points)
    (gradient,) = torch.autograd.grad(joints[8, 0], points)
    expected = torch.zeros_like(points)
    expected[[7, 8], 0] = torch.tensor([-FINGERTIPS[1], 1 + FINGERTIPS[1]], dtype=torch.float64)
    torch.testing.assert_close(gradient, expected)


def test_moved_points_are_nearer_to_the_joints_of_rendered_hands(networks, demo):
    """In the demo picture; the mesh's fingertips were short by 1.7 % of the hand's size with raw last joints."""
    hands = find_hands(networks, demo.image)
    estimates = fit_found_hands(HandModel.open_hand(), hands)
    truths = {truth.side: torch.tensor(truth.joints_2d, dtype=torch.float32) for truth in demo.hands}
    moved_by, raw_by, short = [], [], []
    for hand, estimate in zip(hands, estimates, strict=True):
        true, raw = truths[hand.side], raw_points(hand.joints_px)
        torch.testing.assert_close(model_joints(raw), hand.joints_px)
        size = (true.amax(0) - true.amin(0)).amax()
        moved_by.append((hand.joints_px - true).norm(dim=1) / size)
        raw_by.append((raw - true).norm(dim=1) / size)
        bones = torch.nn.functional.normalize(true[4::4] - true[3::4], dim=1)
        tips = torch.from_numpy(estimate.joints_px[4::4]).float()
        short.append(((true[4::4] - tips) * bones).sum(1) / size)
    moved, unmoved = torch.stack(moved_by).mean(0), torch.stack(raw_by).mean(0)
    assert moved[3::4].mean() < 0.85 * unmoved[3::4].mean()
    assert moved[4::4].mean() < 0.5 * unmoved[4::4].mean()
    assert torch.stack(short).mean() < 0.012


def raw_points(joints: Tensor) -> Tensor:
    """The network's points of a found hand: the inverse of `model_joints`."""
    raw = joints.clone()
    raw[3::4] = (joints[3::4] + LAST_JOINT * joints[2::4]) / (1 + LAST_JOINT)
    share = joints.new_tensor(FINGERTIPS)[:, None]
    raw[4::4] = (joints[4::4] + share * raw[3::4]) / (1 + share)
    return raw


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


def test_a_small_hand_in_a_large_photo(networks, one_hand, monkeypatch):
    share, size = 0.05, float(np.ptp(one_hand[1].numpy(), axis=0).max())
    scale = share * 2000 / size
    picture = Image.fromarray(one_hand[0]).resize((round(720 * scale), round(900 * scale)), Image.Resampling.BOX)
    photo = np.full((1200, 2000, 3), 110, np.uint8)
    photo[500 : 500 + picture.height, 1300 : 1300 + picture.width] = np.asarray(picture)
    (hand,) = find_hands(networks, photo)
    joints = one_hand[1] * scale + torch.tensor([1300.0, 500])
    assert error(hand.joints_px, joints) < 0.06
    monkeypatch.setattr(hand_search, "seen_again", lambda *hand: False)
    with pytest.raises(NoHandError):
        find_hands(networks, photo)


def test_a_hand_that_fills_the_photo(networks, small):
    photo, joints = small
    left, top, right, bottom = (*joints.amin(0).int().tolist(), *joints.amax(0).int().tolist())
    (hand,) = find_hands(networks, photo[top:bottom, left:right].copy())
    assert error(hand.joints_px, joints - torch.tensor([left, top])) < 0.06


def test_an_unsure_candidate_does_not_end_the_search(networks, small, monkeypatch):
    """The palm detector leads to an unsure hand; the looks at the whole photo find the sure one."""
    photo, joints = small
    left, top, right, bottom = (*joints.amin(0).int().tolist(), *joints.amax(0).int().tolist())
    verify = hand_search.verified

    def verify_palms_with_doubt(networks, photo, frame, palm):
        hands = verify(networks, photo, frame, palm)
        return replace(hands, presence=hands.presence.clamp(max=0.6)) if palm.any() else hands

    monkeypatch.setattr(hand_search, "verified", verify_palms_with_doubt)
    (hand,) = find_hands(networks, photo[top:bottom, left:right].copy())
    assert hand.presence > hand_search.SURE
    assert error(hand.joints_px, joints - torch.tensor([left, top])) < 0.1


def test_real_hands_are_found_without_colour(networks, real):
    photo = Image.open(REAL_PHOTOS / "cmr" / "64.jpg").convert("L").convert("RGB")
    (hand,) = find_hands(networks, np.array(photo))
    assert error(hand.joints_px, torch.tensor(real["cmr/64.jpg"][0]["joints_2d"])) < 0.1


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
    with pytest.raises(PredictionError, match="has no pixels of the photo, which is 30 pixels wide and 20 high"):
        find_hand_in_box(networks, photo, (40, 0, 50, 10))
    with pytest.raises(PredictionError, match="has no pixels"):
        find_hand_in_box(networks, photo, (10, 5, 10, 10))
    with pytest.raises(ValueError, match="not finite"):
        follow_hand(networks, photo, torch.full((21, 2), torch.nan))


def test_a_box_with_and_without_a_hand(networks, small):
    photo, joints = small
    box = (*joints.amin(0).tolist(), *joints.amax(0).tolist())
    hand = find_hand_in_box(networks, photo, box)
    assert hand.presence > 0.9
    assert error(hand.joints_px, joints) < 0.05
    assert find_hand_in_box(networks, photo, (165, 0, 240, 75)).presence < 0.5


def test_a_hand_beside_the_box_is_said(networks, small, monkeypatch):
    photo, joints = small
    box = (*joints.amin(0).tolist(), *joints.amax(0).tolist())
    monkeypatch.setattr(
        "dhpe_lib.prediction.find_hands.inside", lambda hands, box: torch.zeros(len(hands.presence), dtype=torch.bool)
    )
    hand = find_hand_in_box(networks, photo, box)
    assert error(hand.joints_px, joints) < 0.1
    assert hand.doubts == (BESIDE,)


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


def test_the_looks_at_a_hand_tell_how_far_their_sides_differ(networks, small):
    photo = small[0]
    first = look(networks.landmarks, photo, find_hands(networks, photo, 1)[0].frame)
    base = squares_of_joints(first.joints_px)
    sides = []
    for turn, scale, mirrored in VARIANTS:
        square = CropFrame(base.center, scale * base.side, base.angle + turn)
        sides.append(float(look(networks.landmarks, photo, square, None, mirrored).right))
    merged = look_again(networks.landmarks, photo, first)
    assert float(merged.right_spread) == pytest.approx(max(sides) - min(sides), abs=1e-5)
    assert float(merged.right_spread) > 0
    assert float(first.right_spread) == 0


def test_a_last_look_that_sees_the_other_side_is_noted(networks, small):
    photo = small[0]
    hand = look(networks.landmarks, photo, find_hands(networks, photo, 1)[0].frame)
    other = replace(hand, right=1 - hand.right)
    agreed, contradicted = (check_side(networks.landmarks, photo, one) for one in (hand, other))
    assert float(agreed.right_spread) < 0.2
    assert float(contradicted.right_spread) > SIDE_SPREAD
    assert torch.equal(contradicted.right, other.right)
    spread = replace(hand, right_spread=torch.tensor([0.7]))
    assert float(check_side(networks.landmarks, photo, spread).right_spread) == pytest.approx(0.7)


def hands_at(*joints: Tensor, presence: tuple[float, ...]) -> Looks:
    n = len(joints)
    one = torch.ones(n)
    frame = CropFrame(torch.zeros(n, 2), one, 0 * one)
    return Looks(
        frame, torch.stack(joints), torch.zeros(n, 21, 3), torch.tensor(presence), one, 0 * one, torch.zeros(n, 21), one
    )


def test_the_part_of_a_box_that_two_hands_share():
    square = torch.tensor([[0.0, 0.0], [10.0, 10.0]]).repeat(11, 1)[:21]
    places = torch.stack((square, square + torch.tensor([5.0, 0.0]), square + torch.tensor([40.0, 0.0])))
    assert shared_boxes(places) == pytest.approx([1 / 3, 1 / 3, 0])
    assert shared_boxes(places[:1]) == [0]


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


def test_looks_that_disagree_are_said():
    sure = torch.full((21,), 0.9)
    assert look_doubts(sure) == ()
    assert look_doubts(0.2 * sure) == ("the crops of the hand disagree on its joints",)
    little, thumb = sure.clone(), sure.clone()
    little[18:] = 0.05
    assert look_doubts(little) == ("the crops of the hand disagree on the little finger",)
    thumb[2:5] = 0.05
    both = torch.minimum(thumb, little)
    assert look_doubts(both) == ("the crops of the hand disagree on the thumb and the little finger",)
    knuckle = sure.clone()
    knuckle[17] = 0.0
    assert look_doubts(knuckle) == ()


def test_the_doubts_of_the_looks_reach_the_warnings(networks, small, monkeypatch):
    monkeypatch.setattr("dhpe_lib.prediction.find_hands.LOW_CONFIDENCE", 1.1)
    model, photo = HandModel.open_hand(), small[0].copy()
    (estimate,) = fit_found_hands(model, find_hands(networks, photo, max_hands=1))
    assert estimate.warnings == ["the crops of the hand disagree on its joints"]
    (hand,) = look_with_estimator(load_shipped(), photo, find_hands(networks, photo, max_hands=1))
    assert hand.doubts == ("the crops of the hand disagree on its joints",)
