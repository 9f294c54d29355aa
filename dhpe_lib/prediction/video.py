"""From a clip to the moving hands in it: follow them through the frames, then fit and smooth.

The first pass reads the frames. Each hand is looked for where it was in the frame before, by one look of the hand
landmark network (:func:`dhpe_lib.prediction.find_hands.follow_hand`). The palm detector runs only

- while a hand is missing: in every frame while no hand is seen, or while one was lost less than ``SEEK`` seconds ago;
- every ``LOOK_AROUND`` seconds, for hands that are new.

Its quick look at the whole frame misses small hands. So the full search of a photo runs in the first frame, and every
``SEARCH`` seconds while no hand is seen. Both look at a new hand several times, and at its mirror image, to see whether
its side stays. :mod:`dhpe_lib.prediction.tracking` says which hand is which.

After the last frame the side of each hand is known. The meshes of all frames are then fitted in large batches, which
costs a tenth of fitting each frame by itself, and smoothed by the One-Euro filter. Nothing here has a gradient.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from dhpe_lib.common.devices import one_thread
from dhpe_lib.common.records import join_rows, take_rows
from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.hand.io import Side
from dhpe_lib.hand.model import HandModel
from dhpe_lib.prediction.find_hands import FoundHand, find_hands, follow_hand, glimpse_hands
from dhpe_lib.prediction.from_photo import fit_found_hands
from dhpe_lib.prediction.hand_estimate import DOUBTFUL_PRESENCE, LARGE_RESIDUAL, NoHandError, side_doubts
from dhpe_lib.prediction.hand_search import LEAST_PRESENCE, HandNetworks
from dhpe_lib.prediction.tracking import (
    COAST,
    FollowedHand,
    Sighting,
    Track,
    advance,
    followed_hands,
    is_same_hand,
    keep_distinct_hands,
    smooth_track,
    split_at_gaps,
)
from dhpe_lib.prediction.video_io import Frame, VideoError

SEEK = 0.5
LOOK_AROUND = 0.5
SEARCH = 2.0
HANDS_AT_A_TIME = 64
"""Hands that are fitted as one batch."""


@dataclass(frozen=True)
class FollowedClip:
    """The hands of a clip before the fit.

    Attributes:
        width: Width of the frames, pixels.
        height: Height of the frames, pixels.
        times: Time of each frame, seconds.
        hands: The hands, in the order of their first frames; maybe none.
        best_presence: Highest presence of any hand.
    """

    width: int
    height: int
    times: tuple[float, ...]
    hands: tuple[FollowedHand, ...]
    best_presence: float


@dataclass(frozen=True)
class ClipHand:
    """A fitted hand over a clip. Each row is one frame that shows it.

    Attributes:
        model: Hand model of its side.
        side_known: Whether the caller said which hand it is.
        right_probability: Mean probability that it is a right hand.
        right_spread: Median difference between the looks in this probability, where several looks found the hand.
        frames: Indices of the frames.
        times: Their times, seconds.
        crops: Crop frame of each row.
        h: Smoothed parameters for ``model.forward_h``, each in its crop frame.
        confidence: Confidence of each joint, from the evidence.
        presence: Probability that there is a hand.
        errors: Mean distance of the mesh's joints to the evidence before smoothing, over the hand's size.
    """

    model: HandModel
    side_known: bool
    right_probability: float
    right_spread: float
    frames: tuple[int, ...]
    times: tuple[float, ...]
    crops: CropFrame
    h: Float[Tensor, "n 63"]
    confidence: Float[Tensor, "n 21"]
    presence: tuple[float, ...]
    errors: tuple[float, ...]

    @property
    def parts(self) -> list[slice]:
        """The rows between gaps of the track."""
        return split_at_gaps(self.frames, self.times)

    @property
    def warnings(self) -> list[str]:
        """Reasons to doubt the hand; empty for a good one."""
        found = []
        doubtful = sum(presence < DOUBTFUL_PRESENCE for presence in self.presence)
        if 2 * doubtful > len(self.presence):
            found.append(f"the network is not sure that this is a hand in {doubtful} of {len(self.presence)} frames")
        if np.mean(self.errors) > LARGE_RESIDUAL:
            found.append(
                f"the mesh misses the joints by {100 * np.mean(self.errors):.0f} % of the hand's size on average"
            )
        return found + side_doubts(self.model.side, self.side_known, self.right_probability, self.right_spread)

    @property
    def times_out_of_sight(self) -> int:
        """Number of times that the hand left the picture, or was not seen, and came back."""
        return len(self.parts) - 1


def follow_clip(
    networks: HandNetworks, frames: Iterable[Frame], side: Side | None = None, max_hands: int | None = None
) -> FollowedClip:
    """Follow every hand through the frames of a clip.

    Args:
        networks: From :func:`dhpe_lib.prediction.hand_search.load_hand_networks`.
        frames: Frames of one size, such as those of :func:`dhpe_lib.prediction.video_io.read_frames`.
        side: Handedness of all hands; by default the networks decide.
        max_hands: Largest number of hands in a frame.

    Returns:
        The hands.

    Raises:
        VideoError: Two frames differ in size, or there is no frame.
        ValueError: max_hands is less than 1.
    """
    if max_hands is not None and max_hands < 1:
        raise ValueError(f"max_hands is {max_hands}; give 1 or more, or None for all")
    tracks: tuple[Track, ...] = ()
    last_look, last_search, best = -inf, -inf, 0.0
    times: list[float] = []
    sightings: list[tuple[int, Sighting]] = []
    first: Frame | None = None
    for index, frame in enumerate(frames):
        first = first or frame
        require_size(frame, first)
        hands = follow_tracks(networks, frame.image, tracks, frame.time, side)
        wanted = len(hands) < (max_hands or inf)
        if wanted and not hands and frame.time - last_search >= SEARCH:
            hands = search(networks, frame.image, side, max_hands)
            last_search = last_look = frame.time
        elif wanted and (is_missing(tracks, len(hands), frame.time) or frame.time - last_look >= LOOK_AROUND):
            hands = look_around(networks, frame.image, hands, side)
            last_look = frame.time
        tracks, numbers = advance(tracks, hands, frame.time, max_hands)
        times.append(frame.time)
        best = max([best, *(hand.presence for hand in hands)])
        pairs = zip(numbers, hands, strict=True)
        sightings += [(k, Sighting(index, frame.time, hand)) for k, hand in pairs if k is not None]
    if first is None:
        raise VideoError("there is no frame; name a clip, or a folder of images")
    height, width = first.image.shape[:2]
    return FollowedClip(width, height, tuple(times), followed_hands(sightings, len(times), side), best)


def require_size(frame: Frame, first: Frame) -> None:
    """Refuse a frame whose size differs from that of the first frame."""
    (height, width), (rows, columns) = frame.image.shape[:2], first.image.shape[:2]
    if (height, width) != (rows, columns):
        raise VideoError(
            f"{frame.name}: has {width} x {height} pixels, the first frame, {first.name}, {columns} x {rows}; "
            "all frames of a clip have one size (photos of several sizes: leave out --video)"
        )


def follow_tracks(
    networks: HandNetworks,
    image: UInt8[ndarray, "height width 3"],
    tracks: Sequence[Track],
    time: float,
    side: Side | None = None,
) -> list[FoundHand]:
    """Look for each hand of the last ``COAST`` seconds where it is expected; give the distinct ones that are there."""
    lately = [track for track in tracks if time - track.time <= COAST]
    hands = [follow_hand(networks, image, track.expected(time), side) for track in lately]
    return keep_distinct_hands([hand for hand in hands if hand.presence >= LEAST_PRESENCE])


def is_missing(tracks: Sequence[Track], seen: int, time: float) -> bool:
    """Whether no hand is seen, or fewer than in the last ``SEEK`` seconds."""
    return seen == 0 or seen < sum(time - track.time < SEEK for track in tracks)


def look_around(
    networks: HandNetworks, image: UInt8[ndarray, "height width 3"], hands: list[FoundHand], side: Side | None = None
) -> list[FoundHand]:
    """Add the hands that a quick look of the palm detector finds."""
    found = glimpse_hands(networks, image, [hand.joints_px for hand in hands], side)
    return hands + [hand for hand in found if not any(is_same_hand(hand, other) for other in hands)]


def search(
    networks: HandNetworks, image: UInt8[ndarray, "height width 3"], side: Side | None, max_hands: int | None
) -> list[FoundHand]:
    """Find hands as in a photo; maybe none."""
    try:
        return find_hands(networks, image, max_hands, side)
    except NoHandError:
        return []


def fit_clip(model: HandModel, clip: FollowedClip, side_known: bool = False) -> tuple[ClipHand, ...]:
    """Fit a mesh to each hand in each frame, and smooth each hand over time.

    Args:
        model: Model of a right hand, on the device to compute on.
        clip: From :func:`follow_clip`.
        side_known: Whether the caller said which hand they are.

    Returns:
        One for each hand of the clip. Its shape is filtered so slowly that it hardly changes.
    """
    mirrored = model.mirrored()
    with one_thread():
        return tuple(fit_followed(model, mirrored, hand, side_known) for hand in clip.hands)


def fit_followed(model: HandModel, mirrored: HandModel, hand: FollowedHand, side_known: bool) -> ClipHand:
    """Fit and smooth one hand of a clip."""
    found = [replace(one.hand, side=hand.side) for one in hand.sightings]
    estimates = [
        one
        for start in range(0, len(found), HANDS_AT_A_TIME)
        for one in fit_found_hands(model, found[start : start + HANDS_AT_A_TIME], side_known)
    ]
    frames = tuple(one.frame for one in hand.sightings)
    times = tuple(one.time for one in hand.sightings)
    crops = join_rows([one.frame for one in estimates])
    h = torch.cat([one.h for one in estimates])
    h = smooth_track(h.cpu(), crops.to("cpu"), frames, times).to(h)  # small steps, one after the other
    return ClipHand(
        model=model if hand.side == "right" else mirrored,
        side_known=side_known,
        right_probability=hand.right_probability,
        right_spread=hand.right_spread,
        frames=frames,
        times=times,
        crops=crops,
        h=h,
        confidence=torch.stack([one.confidence for one in found]).to(h),
        presence=tuple(one.presence for one in found),
        errors=tuple(one.relative_error for one in estimates),
    )


def joints_in_crop(hand: ClipHand) -> Float[Tensor, "n 21 3"]:
    """Joints of a hand in each row's crop frame, units of g."""
    with torch.no_grad():
        return torch.cat([hand.model.forward_h(part).joints for part in hand.h.split(HANDS_AT_A_TIME)])


def joints_px(hand: ClipHand) -> Float[Tensor, "n 21 2"]:
    """Joints of a hand in each of its frames, pixels."""
    return hand.crops.to_image(joints_in_crop(hand)[..., :2])


def first_crop(hand: ClipHand) -> CropFrame:
    """The crop frame of a hand's first frame; one row."""
    return take_rows(hand.crops, torch.zeros(1, dtype=torch.int64, device=hand.h.device))
