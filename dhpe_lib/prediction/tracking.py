"""Hands over a clip: which hand of a frame is which hand of the frames before it. Pure functions, no networks.

A track is one hand over time. Each frame brings sightings, and each sighting continues a track or starts one:

1. A track expects its joints where the hand's velocity takes them.
2. The cost of a pair of track and sighting is the mean distance of their joints over the hand's size, plus half the
   difference between their probabilities of a right hand. So two hands that cross keep their sides.
3. The assignment with the smallest sum of costs wins. Pairs above ``LARGEST_COST`` are not matched.
4. A hand that was out of sight takes its track back if the side agrees and it is near enough; how near is near enough
   grows with the time that has passed.

A track's side is decided by the mean of its probabilities, so one wrong frame does not turn a hand. Nothing here has a
gradient.

Source: Kuhn 1955, "The Hungarian method for the assignment problem"; the costs are this project's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from dhpe_lib.common.records import join_rows, take_rows
from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.hand.io import Side
from dhpe_lib.hand.parameters import split_h
from dhpe_lib.prediction.find_hands import FoundHand
from dhpe_lib.prediction.one_euro import SmoothHand, change_crop, smooth_hand

COAST = 0.25
"""Seconds for which a hand out of sight is looked for where its velocity takes it."""
NEAR = 1.0
"""Largest mean distance of the joints between two frames, over the hand's size."""
ROAMING = 3.0
"""Growth of that distance for each second out of sight, in hand sizes: after 2 s most of a picture is in reach."""
SIDE_COST = 0.5
"""Cost of opposite sides: as much as half a hand's size."""
LARGEST_COST = NEAR + SIDE_COST
"""Cost of no sighting at all."""
SAME_PLACE, SAME_JOINTS = 0.15, 0.35
"""Mean distance of the joints over the size, below which two sightings are one; the second where sides agree."""
GAP = 0.15
"""Seconds out of sight from which on a hand's motion is cut in two; shorter gaps are bridged."""
FEWEST_SIGHTINGS = 3
"""A hand seen in fewer frames is a false alarm."""


@dataclass(frozen=True)
class Track:
    """State of one tracked hand.

    Attributes:
        number: Its identity, from 0.
        joints_px: Joints at the last sighting, pixels.
        velocity: Velocity of the joints' centre, pixels per second.
        time: Time of the last sighting, seconds.
        right_probability: Mean over all sightings of the probability that it is a right hand.
        sightings: Number of frames that show the hand.
    """

    number: int
    joints_px: Float[Tensor, "21 2"]
    velocity: Float[Tensor, " 2"]
    time: float
    right_probability: float
    sightings: int

    def expected(self, time: float) -> Float[Tensor, "21 2"]:
        """Extrapolate the joints for at most ``COAST`` seconds; pixels."""
        return self.joints_px + self.velocity * min(time - self.time, COAST)


@dataclass(frozen=True)
class Sighting:
    """A hand of a track in one frame.

    Attributes:
        frame: Index of the frame.
        time: Time of the frame, seconds.
        hand: Detected hand.
    """

    frame: int
    time: float
    hand: FoundHand


@dataclass(frozen=True)
class FollowedHand:
    """One hand over the whole clip.

    Attributes:
        number: Its identity.
        side: The more probable side over all sightings, or the one that the caller named.
        right_probability: Mean probability that it is a right hand.
        sightings: In the order of time.
    """

    number: int
    side: Side
    right_probability: float
    sightings: tuple[Sighting, ...]

    @property
    def right_spread(self) -> float:
        """Median difference between the looks in this probability, where several looks found the hand."""
        spreads = [one.hand.right_spread for one in self.sightings if one.hand.right_spread > 0]
        return median(spreads) if spreads else 0.0


def hand_size(joints_px: Float[Tensor, "21 2"]) -> float:
    """Larger side of the joints' box, pixels."""
    return max(float((joints_px.amax(0) - joints_px.amin(0)).max()), 1e-3)


def joints_apart(joints_px: Float[Tensor, "21 2"], others: Float[Tensor, "21 2"]) -> float:
    """Mean distance of corresponding joints over the larger hand's size."""
    distance = float((joints_px - others).norm(dim=1).mean())
    return distance / max(hand_size(joints_px), hand_size(others))


def is_same_hand(hand: FoundHand, other: FoundHand) -> bool:
    """Whether two sightings of one frame are one hand.

    A left and a right hand on top of each other have near joints, too. So only hands in the very same place are one
    whatever their sides.
    """
    sides_agree = abs(hand.right_probability - other.right_probability) < 0.5
    return joints_apart(hand.joints_px, other.joints_px) < (SAME_JOINTS if sides_agree else SAME_PLACE)


def keep_distinct_hands(hands: Sequence[FoundHand]) -> list[FoundHand]:
    """Leave out hands that were found twice.

    Args:
        hands: Hands of one frame.

    Returns:
        The others, those with the highest presence first.
    """
    kept: list[FoundHand] = []
    for hand in sorted(hands, key=lambda one: -one.presence):
        if not any(is_same_hand(hand, other) for other in kept):
            kept.append(hand)
    return kept


def advance(
    tracks: Sequence[Track], hands: Sequence[FoundHand], time: float, max_hands: int | None = None
) -> tuple[tuple[Track, ...], list[int | None]]:
    """Give each hand of a frame to a track.

    Tracks that were seen lately choose first. Then those that were lost choose among the hands of their side. The hands
    that are left start tracks.

    Args:
        tracks: All tracks so far.
        hands: Distinct hands of the frame.
        time: Time of the frame, seconds.
        max_hands: Largest number of hands in a frame.

    Returns:
        The tracks after the frame, and for each hand the number of its track; None for a hand over the limit.
    """
    numbers: list[int | None] = [None] * len(hands)
    by_number = {track.number: track for track in tracks}
    lately = [track for track in tracks if time - track.time <= COAST]
    lost = [track for track in tracks if time - track.time > COAST]
    for candidates in (lately, lost):
        left = [k for k, number in enumerate(numbers) if number is None]
        for track, k in assign(candidates, [hands[k] for k in left], time):
            if max_hands is None or sum(number is not None for number in numbers) < max_hands:
                numbers[left[k]] = track.number
                by_number[track.number] = seen_again(track, hands[left[k]], time)
    for k, hand in enumerate(hands):
        if numbers[k] is None and (max_hands is None or sum(n is not None for n in numbers) < max_hands):
            numbers[k] = len(by_number)
            still = torch.zeros(2)
            by_number[len(by_number)] = Track(
                len(by_number), hand.joints_px, still, time, hand.right_probability, sightings=1
            )
    return tuple(by_number.values()), numbers


def assign(tracks: Sequence[Track], hands: Sequence[FoundHand], time: float) -> list[tuple[Track, int]]:
    """Pairs of tracks and hands with the smallest sum of costs.

    Args:
        tracks: Tracks that are either all seen lately or all lost.
        hands: Distinct hands of a frame.
        time: Time of the frame, seconds.

    Returns:
        Each track that has a hand, with the index of the hand.

    Source: the Hungarian method.
    """
    from scipy.optimize import linear_sum_assignment  # a slow import

    costs = np.array([[pair_cost(track, hand, time) for hand in hands] for track in tracks])
    if not costs.size:
        return []
    possible = np.isfinite(costs)
    dearest = max(LARGEST_COST, costs[possible].max(initial=0.0))
    rows, columns = linear_sum_assignment(np.where(possible, costs, dearest))
    pairs = zip(rows, columns, strict=True)
    return [(tracks[row], int(column)) for row, column in pairs if possible[row, column]]


def pair_cost(track: Track, hand: FoundHand, time: float) -> float:
    """Cost of continuing a track with a hand; infinite where that cannot be."""
    apart = joints_apart(track.expected(time), hand.joints_px)
    sides = abs(track.right_probability - hand.right_probability)
    away = time - track.time
    if away > COAST and (sides > 0.5 or apart > NEAR + ROAMING * away):
        return np.inf
    if away <= COAST and apart > NEAR:
        return np.inf
    return apart + SIDE_COST * sides


def seen_again(track: Track, hand: FoundHand, time: float) -> Track:
    """The track after a sighting: new joints, velocity, and mean probability of a right hand."""
    step = time - track.time
    moved = (hand.joints_px - track.joints_px).mean(0) / step
    velocity = (track.velocity + moved) / 2 if step <= COAST else torch.zeros(2)
    count = track.sightings + 1
    right = track.right_probability + (hand.right_probability - track.right_probability) / count
    return Track(track.number, hand.joints_px, velocity, time, right, count)


def followed_hands(
    sightings: Sequence[tuple[int, Sighting]], frames: int, side: Side | None = None
) -> tuple[FollowedHand, ...]:
    """Collect the sightings of each track, and leave out false alarms.

    Args:
        sightings: Number of the track and sighting, in the order of time.
        frames: Number of frames of the clip; a hand of a very short clip needs fewer than ``FEWEST_SIGHTINGS``.
        side: Handedness of all hands, if known.

    Returns:
        The hands in the order of their first frames.
    """
    by_number: dict[int, list[Sighting]] = {}
    for number, sighting in sightings:
        by_number.setdefault(number, []).append(sighting)
    enough = [seen for seen in by_number.values() if len(seen) >= min(FEWEST_SIGHTINGS, frames)]
    hands = []
    for number, seen in enumerate(enough):
        right = sum(one.hand.right_probability for one in seen) / len(seen)
        decided: Side = side or ("right" if right >= 0.5 else "left")
        hands.append(FollowedHand(number, decided, right, tuple(seen)))
    return tuple(hands)


def split_at_gaps(frames: Sequence[int], times: Sequence[float]) -> list[slice]:
    """Cut a track where frames for more than ``GAP`` seconds lack the hand.

    Consecutive frames are never cut, however low the frame rate of the clip is.

    Args:
        frames: Indices of the frames that show the hand, increasing.
        times: Their times, seconds.

    Returns:
        One slice for each part.
    """
    cuts = [k for k in range(1, len(times)) if frames[k] - frames[k - 1] > 1 and times[k] - times[k - 1] > GAP]
    return [slice(start, stop) for start, stop in zip([0, *cuts], [*cuts, len(times)], strict=True)]


def smooth_track(
    h: Float[Tensor, "n 63"], crops: CropFrame, frames: Sequence[int], times: Sequence[float]
) -> Float[Tensor, "n 63"]:
    """Filter the parameters of one hand over time; each part between gaps by itself.

    The One-Euro filter lags behind a hand that moves. A whole clip is known here, so the filter also runs backwards in
    time, where it lags to the other side. The mean of both has hardly any lag, and less jitter than either.

    Args:
        h: Fitted parameters, one row for each sighting.
        crops: Their crop frames.
        frames: Indices of their frames, increasing.
        times: Their times, seconds.

    Returns:
        Filtered parameters, each in its own crop frame.

    Source: :func:`dhpe_lib.prediction.one_euro.smooth_hand`; forward-backward filtering as in Gustafsson 1996.
    """
    smooth = []
    for part in split_at_gaps(frames, times):
        rows = torch.arange(part.start, part.stop, device=h.device)
        forward = filtered(h, crops, times, rows)
        backward = filtered(h, crops, [-time for time in times], rows.flip(0))
        smooth.append(mean_h(forward, backward.flip(0)))
    return torch.cat(smooth)


def filtered(
    h: Float[Tensor, "n 63"], crops: CropFrame, times: Sequence[float], rows: Int64[Tensor, " k"]
) -> Float[Tensor, "k 63"]:
    """Run the One-Euro filter over some rows of a track, in their order; each result is in its row's crop frame."""
    state: SmoothHand | None = None
    results = []
    for row in rows.split(1):
        crop = take_rows(crops, row)
        state = smooth_hand(state, h[row], crop, times[int(row)])
        results.append(state.h(crop))
    return torch.cat(results)


def mean_h(h: Float[Tensor, "n 63"], other: Float[Tensor, "n 63"]) -> Float[Tensor, "n 63"]:
    """Mean of two near parameter vectors; of the two quaternions of one rotation, the nearer one counts."""
    identity = h.new_tensor((1.0, 0, 0, 0))
    parts, others = split_h(h), split_h(other)
    unit = functional.normalize(identity + parts.quaternion, dim=1)
    near = functional.normalize(identity + others.quaternion, dim=1)
    near = torch.where((unit * near).sum(1, keepdim=True) < 0, -near, near)
    mean = (h + other) / 2
    return torch.cat((mean[:, :55], functional.normalize(unit + near, dim=1) - identity, mean[:, 59:]), 1)


def in_one_crop(h: Float[Tensor, "n 63"], crops: CropFrame, target: CropFrame) -> Float[Tensor, "n 63"]:
    """Express the parameters of a track in one crop frame.

    Args:
        h: Parameters, each in its own crop frame.
        crops: Those crop frames.
        target: The crop frame of the result; one row.

    Returns:
        Parameters in the target.
    """
    return change_crop(h, crops, join_rows([target] * len(h)))
