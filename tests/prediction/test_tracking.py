"""Synthetic tracks with known identities, and the effect of smoothing."""

from dataclasses import replace
from math import pi

import pytest
import torch
from torch import Tensor

from dhpe_lib.common.records import join_rows, take_rows
from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.hand.model import HandModel
from dhpe_lib.prediction.find_hands import FoundHand
from dhpe_lib.prediction.one_euro import smooth_hand
from dhpe_lib.prediction.tracking import (
    COAST,
    FEWEST_SIGHTINGS,
    GAP,
    Sighting,
    Track,
    advance,
    assign,
    followed_hands,
    in_one_crop,
    is_same_hand,
    keep_distinct_hands,
    mean_h,
    pair_cost,
    smooth_track,
    split_at_gaps,
)

RATE = 30
SHAPE = 100 * torch.rand(21, 2, generator=torch.Generator().manual_seed(1))
"""Joints of a hand of nearly 100 pixels."""


def seen(x: float, right: float, y: float = 0.0, presence: float = 0.95, joints: Tensor = SHAPE) -> FoundHand:
    """A hand at a place, whose mirror image is the other hand."""
    shape = joints if right >= 0.5 else torch.stack((100 - joints[:, 0], joints[:, 1]), 1)
    square = CropFrame(torch.zeros(1, 2), torch.ones(1), torch.zeros(1))
    places = shape + torch.tensor([x, y])
    side = "right" if right >= 0.5 else "left"
    return FoundHand(places, torch.zeros(21, 3), presence, side, right, 0.9, square, torch.ones(21))


def run(frames: list[list[FoundHand]], max_hands: int | None = None) -> list[list[int | None]]:
    """Numbers of the hands of each frame."""
    tracks, found = (), []
    for k, hands in enumerate(frames):
        tracks, numbers = advance(tracks, hands, k / RATE, max_hands)
        found.append(numbers)
    return found


@pytest.mark.parametrize("speed", [5.0, 20.0])
def test_hands_that_cross_do_not_swap(speed, generator):
    """A right hand goes right, a left hand left; where they overlap, only the right one is seen."""
    frames, expected = [], []
    for k in range(41):
        noise = 2 * torch.randn(2, generator=generator)
        x = speed * (k - 20)
        right, left = seen(x + float(noise[0]), 0.95), seen(-x + float(noise[1]), 0.05)
        both = [(0, right), (1, left)] if abs(x) > 30 else [(0, right)]
        both = both[::-1] if k % 2 else both  # the order says nothing
        frames.append([hand for _, hand in both])
        expected.append([number for number, _ in both])
    assert run(frames) == [[1 - n if expected[0] == [1, 0] else n for n in numbers] for numbers in expected]


def test_without_the_side_the_motion_tells_two_hands_apart():
    """Two right hands that cross."""
    frames = [[seen(20 * (k - 10), 0.9), seen(20 * (10 - k), 0.9, y=25)] for k in range(21)]
    assert run(frames) == [[0, 1]] * 21


def test_one_frame_with_the_wrong_side_changes_nothing():
    joints = [seen(3 * k, 0.9) for k in range(12)]
    joints[5] = replace(joints[5], right_probability=0.05, side="left")
    assert run([[hand] for hand in joints]) == [[0]] * 12
    pairs = [(0, Sighting(k, k / RATE, hand)) for k, hand in enumerate(joints)]
    (hand,) = followed_hands(pairs, 12)
    assert hand.side == "right"
    assert hand.right_probability == pytest.approx((11 * 0.9 + 0.05) / 12)


def test_the_mean_probability_of_a_track_is_that_of_its_sightings():
    tracks = ()
    for k, right in enumerate((0.9, 0.6, 0.3)):
        tracks, _ = advance(tracks, [replace(seen(0, 0.9), right_probability=right)], k / RATE)
    assert tracks[0].right_probability == pytest.approx(0.6)
    assert tracks[0].sightings == 3


@pytest.mark.parametrize("away", [2, 10, 60])
def test_a_lost_hand_that_comes_back_is_the_same_hand(away):
    frames = [[seen(0, 0.9), seen(400, 0.1)]] * 5 + [[seen(0, 0.9)]] * away + [[seen(430, 0.1), seen(0, 0.9)]] * 3
    found = run(frames)
    assert found[:5] == [[0, 1]] * 5
    assert found[-3:] == [[1, 0]] * 3


def test_another_side_or_too_far_away_is_another_hand():
    first, away = [[seen(0, 0.9)]] * 5, [[]] * 15
    assert run(first + away + [[seen(0, 0.1)]])[-1] == [1]
    assert run(first + away + [[seen(900, 0.9)]])[-1] == [1]
    assert run(first + away + [[seen(200, 0.9)]])[-1] == [0]
    assert run([*first, [seen(150, 0.9)]])[-1] == [1]  # a hand does not jump between two frames


def test_the_number_of_hands_is_limited():
    hands = [seen(0, 0.9), seen(300, 0.1), seen(600, 0.9)]
    assert run([hands] * 3, max_hands=2) == [[0, 1, None]] * 3
    assert run([hands[:1], hands], max_hands=1) == [[0], [0, None, None]]
    assert run([hands[:1], hands[::-1]], max_hands=1) == [[0], [None, None, 0]]  # who was there first stays


def test_the_cheapest_assignment_wins():
    still = torch.zeros(2)
    tracks = [Track(k, seen(x, 0.9).joints_px, still, 0.0, 0.9, 5) for k, x in enumerate((0, 60))]
    pairs = assign(tracks, [seen(55, 0.9), seen(90, 0.9)], 1 / RATE)  # each for itself, both would take the first
    assert [(track.number, k) for track, k in pairs] == [(0, 0), (1, 1)]
    assert assign(tracks, [], 1 / RATE) == []
    assert pair_cost(tracks[0], seen(0, 0.9), 1 / RATE) == pytest.approx(0)
    assert pair_cost(tracks[0], seen(500, 0.9), 1 / RATE) == float("inf")


def test_a_track_expects_its_hand_where_it_moves():
    track = Track(0, SHAPE, torch.tensor([100.0, 0.0]), 1.0, 0.9, 5)
    torch.testing.assert_close(track.expected(1.1), SHAPE + torch.tensor([10.0, 0]))
    torch.testing.assert_close(track.expected(9.0), SHAPE + torch.tensor([100 * COAST, 0]))


def test_a_hand_found_twice_is_one_and_hands_on_each_other_are_two():
    one, again = seen(0, 0.9), seen(20, 0.8, presence=0.99)
    assert keep_distinct_hands([one, again, seen(300, 0.9)])[0] is again
    assert len(keep_distinct_hands([one, again, seen(300, 0.9)])) == 2
    other = replace(seen(20, 0.9), right_probability=0.1)
    assert not is_same_hand(one, other)
    assert is_same_hand(one, replace(one, right_probability=0.1))
    assert keep_distinct_hands([]) == []


def test_false_alarms_are_left_out_and_a_named_side_counts():
    sightings = [(0, Sighting(k, k / RATE, seen(0, 0.9))) for k in range(5)]
    sightings += [(1, Sighting(k, k / RATE, seen(300, 0.9))) for k in range(FEWEST_SIGHTINGS - 1)]
    sightings += [(2, Sighting(k, k / RATE, seen(600, 0.1))) for k in range(FEWEST_SIGHTINGS)]
    hands = followed_hands(sightings, 5)
    assert [(hand.number, hand.side, len(hand.sightings)) for hand in hands] == [(0, "right", 5), (1, "left", 3)]
    assert {hand.side for hand in followed_hands(sightings, 5, "left")} == {"left"}
    assert len(followed_hands(sightings[:1], 1)) == 1  # a clip of one frame
    assert followed_hands([], 5) == ()


def test_a_gap_cuts_a_track():
    times = [0.0, 0.1, 0.1 + GAP - 0.01, 1.0, 1.1]
    assert split_at_gaps([0, 2, 5, 20, 22], times) == [slice(0, 3), slice(3, 5)]
    assert split_at_gaps([4], [2.0]) == [slice(0, 1)]


def test_a_low_frame_rate_is_no_gap():
    times = [0.0, 2 * GAP, 4 * GAP, 8 * GAP]
    assert split_at_gaps([0, 1, 2, 3], times) == [slice(0, 4)]
    assert split_at_gaps([0, 1, 2, 4], times) == [slice(0, 3), slice(3, 4)]


def moving(n: int, generator: torch.Generator) -> tuple[Tensor, CropFrame, list[float]]:
    """A hand that moves by a crop and a half in a second, turns and bends, in crops that wander; float64."""
    times = [k / RATE for k in range(n)]
    phase = 2 * pi * torch.tensor(times, dtype=torch.float64)[:, None]
    h = torch.zeros(n, 63, dtype=torch.float64)
    h[:, :45] = 0.3 * torch.sin(phase / 2) * torch.rand(45, generator=generator, dtype=torch.float64)
    h[:, 55:59] = torch.tensor([-0.5, 0.8, -0.3, 0.2]) + 0.2 * torch.sin(phase)
    h[:, 59:] = torch.tensor([3.0, 0, 0, 0]) + torch.cat((0 * phase, 0.25 * torch.sin(phase), 0 * phase, 0 * phase), 1)
    first = CropFrame(torch.tensor([[200.0, 150]]), torch.tensor([120.0]), torch.zeros(1))
    crops = join_rows([CropFrame(first.center.double(), first.side.double(), first.angle.double())] * n)
    wander = torch.rand(n, 3, generator=generator, dtype=torch.float64)
    wandering = CropFrame(crops.center + 30 * wander[:, :2], crops.side + 20 * wander[:, 2], crops.angle)
    return in_one_crop_each(h, crops, wandering), wandering, times


def in_one_crop_each(h: Tensor, crops: CropFrame, targets: CropFrame) -> Tensor:
    rows = torch.arange(len(h)).split(1)
    return torch.cat([in_one_crop(h[row], take_rows(crops, row), take_rows(targets, row)) for row in rows])


def pixels(h: Tensor, crops: CropFrame) -> Tensor:
    return crops.to_image(HandModel.open_hand().double().forward_h(h).joints[..., :2])


def test_jitter_is_reduced_and_lag_is_bounded(generator):
    h, crops, times = moving(45, generator)
    noisy = h + 0.02 * torch.randn(h.shape, generator=generator, dtype=torch.float64)
    goal, before = pixels(h, crops), pixels(noisy, crops)
    after = pixels(smooth_track(noisy, crops, range(45), times), crops)
    jitter = [(x - goal).diff(n=2, dim=0).norm(dim=-1).mean() for x in (before, after)]
    assert jitter[1] < 0.35 * jitter[0]
    assert (after - goal).norm(dim=-1).mean() < (before - goal).norm(dim=-1).mean()
    size = float((goal.amax(1) - goal.amin(1)).max())
    clean = pixels(smooth_track(h, crops, range(45), times), crops)
    assert (clean - goal)[5:-5].norm(dim=-1).mean() < 0.02 * size
    assert (clean - goal).norm(dim=-1).max() < 0.1 * size  # at the ends one direction has not begun
    state, one_way = None, []
    for k, row in enumerate(torch.arange(len(h)).split(1)):
        state = smooth_hand(state, h[row], take_rows(crops, row), times[k])
        one_way.append(state.h(take_rows(crops, row)))
    lag = (pixels(torch.cat(one_way), crops) - goal).norm(dim=-1).mean()
    assert (clean - goal).norm(dim=-1).mean() < 0.4 * lag  # what the second direction is for


def test_motion_before_a_gap_does_not_touch_motion_after_it(generator):
    h, crops, times = moving(8, generator)
    late = [time + (k >= 4) for k, time in enumerate(times)]
    frames = [k + RATE * (k >= 4) for k in range(8)]
    whole = smooth_track(h, crops, frames, late)
    rows = torch.arange(4, 8)
    torch.testing.assert_close(whole[4:], smooth_track(h[rows], take_rows(crops, rows), frames[4:], late[4:]))
    row = torch.tensor([0])
    alone = smooth_track(h[row], take_rows(crops, row), [0], times[:1])
    torch.testing.assert_close(pixels(alone, take_rows(crops, row)), pixels(h[row], take_rows(crops, row)))


def test_the_mean_of_two_signs_of_a_rotation_is_the_rotation(generator):
    h = 0.3 * torch.randn(3, 63, generator=generator, dtype=torch.float64)
    other = h.clone()
    identity = torch.tensor([1.0, 0, 0, 0], dtype=torch.float64)
    other[:, 55:59] = -(h[:, 55:59] + identity) - identity
    model = HandModel.open_hand().double()
    torch.testing.assert_close(model.forward_h(mean_h(h, other)).vertices, model.forward_h(h).vertices)


def test_one_crop_for_a_whole_track(generator):
    h, crops, _ = moving(5, generator)
    target = take_rows(crops, torch.tensor([0]))
    same = in_one_crop(h, crops, target)
    torch.testing.assert_close(pixels(same, join_rows([target] * 5)), pixels(h, crops))
