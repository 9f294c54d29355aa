"""From a photo to the hands in it: palms, turned squares, joints. Nothing here has a gradient.

The palm detector looks at the whole photo first. Where that is not enough, it looks again: at the photo with a border
and turned by quarter turns (a hand that fills the photo, or an unusual view), then at tiles (small hands). The hand
landmark network looks at each candidate and decides: a palm without a hand has a low presence. Several looks at
each hand give the joints and their confidence (:mod:`dhpe_lib.prediction.hand_looks`).

Source: Zhang et al. 2020, "MediaPipe Hands: On-device Real-time Hand Tracking", for a look at the whole photo and at a
square around each palm; borders, turns, tiles and repeated looks are additions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import pi

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from dhpe_lib.camera import CropFrame
from dhpe_lib.hand_files import Side
from dhpe_lib.network import palm_detector
from dhpe_lib.network.hand_landmarks import HandLandmarkNetwork, load_hand_landmarks
from dhpe_lib.network.palm_detector import PalmDetector, Palms, detect_palms, load_palm_detector
from dhpe_lib.prediction.hand_looks import Looks, look, look_again
from dhpe_lib.prediction.hand_squares import cut_squares, squares_of_joints, squares_of_palms, tile_squares, whole_square
from dhpe_lib.records import join_rows, take_rows

LEAST_PALM = 0.3
"""Palms with a lower score are no candidates. MediaPipe asks for 0.5; here the landmark network decides."""
LEAST_PRESENCE = 0.5
"""Mean presence of the looks below which there is no hand, as in MediaPipe."""
SURE = 0.9
"""Presence of a hand that ends the search for the first hand."""
FIRST_PRESENCE = 0.1
"""First looks with a lower presence are not followed: a second look is better placed and often sees more."""
MOST_CANDIDATES = 12
"""Candidates of one step of the search that the landmark network looks at."""
TILES = ((0.5, 0.33), (0.25, 0.16))
"""Side of a tile over the photo's, and size of the largest hand found below which there may be more that are smaller."""
LEAST_TILE = 192
"""Tiles with fewer pixels along their side show nothing new: the detector sees 192."""
SAME_HAND = 0.35
"""Mean distance of corresponding joints over the hand's size, below which two hands are one."""
INSIDE = 0.6
"""Share of a hand's box inside another's, from which on it has to be a surer hand than elsewhere."""
QUARTER_TURNS = (0.0, pi / 2, pi, -pi / 2)


class NoHandError(ValueError):
    """No hand is found in a photo.

    Attributes:
        best: Highest presence that was seen, 0 to 1.
    """

    def __init__(self, best: float):
        super().__init__(
            f"no hand is found: the best candidate has presence {best:.2f}, a hand needs {LEAST_PRESENCE}; "
            "say where the hand is with a box"
        )
        self.best = best


@dataclass(frozen=True)
class HandNetworks:
    """The two networks that find hands.

    Attributes:
        palms: Where palms are.
        landmarks: Where the joints of one hand are.
    """

    palms: PalmDetector
    landmarks: HandLandmarkNetwork


@dataclass(frozen=True)
class FoundHand:
    """One hand in a photo.

    Attributes:
        joints_px: Joints in canonical order, pixels of the photo.
        joints_world: Joints in metres from the hand's centre, axes of the photo (x right, y down, z away).
        presence: Mean probability of the looks that there is a hand.
        side: Which hand it is: the more probable one, or the one that the caller named.
        right_probability: Mean probability of the looks that it is a right hand.
        palm_score: Score of the palm; 0 where the hand was found without one.
        frame: The turned square around the joints; one row.
        confidence: For each joint: presence times exp(-spread of the looks / 5 % of the hand's size).
    """

    joints_px: Float[Tensor, "21 2"]
    joints_world: Float[Tensor, "21 3"]
    presence: float
    side: Side
    right_probability: float
    palm_score: float
    frame: CropFrame
    confidence: Float[Tensor, " 21"]


def load_hand_networks(device: torch.device | str = "cpu") -> HandNetworks:
    """Both networks with the weights that come with the library.

    Args:
        device: Where to put them.

    Returns:
        The networks, ready for inference.
    """
    return HandNetworks(load_palm_detector(device), load_hand_landmarks(device))


def find_hands(
    networks: HandNetworks,
    photo: UInt8[ndarray, "height width 3"],
    max_hands: int | None = None,
    side: Side | None = None,
    palms: Palms | None = None,
) -> list[FoundHand]:
    """Find the hands in a photo, the surest first.

    Args:
        networks: From :func:`load_hand_networks`.
        photo: Upright RGB photo.
        max_hands: Give at most this many, and stop searching when that many are sure.
        side: Which hand all of them are, if it is known; of several hands, those that look like it come first.
        palms: Result of :func:`dhpe_lib.network.palm_detector.detect_palms` for :func:`letterboxed` of this photo,
            where a batch of photos went through the detector together.

    Returns:
        At least one hand.

    Raises:
        NoHandError: There is none; the error has the best presence.
        ValueError: The photo is no 8-bit RGB image or has no pixels, or max_hands is less than 1.
    """
    _check(photo)
    if max_hands is not None and max_hands < 1:
        raise ValueError(f"max_hands is {max_hands}; give 1 or more, or None for all")
    found: list[Looks] = []
    for candidates in _search(networks, photo, palms, found, max_hands):
        found[:] = [keep_distinct(join_rows([*found, _verified(networks, photo, candidates)]))]
    hands = found[0]
    seen = hands.presence >= LEAST_PRESENCE
    if not seen.any():
        raise NoHandError(float(hands.presence.max()) if len(seen) else 0.0)
    hands = take_rows(hands, seen.nonzero()[:, 0])
    rank = hands.certainty if side is None else hands.certainty * _probability(hands, side)
    hands = take_rows(hands, rank.argsort(descending=True, stable=True)[:max_hands])
    return [_found_hand(hands, k, side) for k in range(len(hands.presence))]


def find_hand_in_box(
    networks: HandNetworks,
    photo: UInt8[ndarray, "height width 3"],
    box: Sequence[float],
    side: Side | None = None,
) -> FoundHand:
    """Find the hand in a box that the user gave.

    There is always a result. Its presence says whether the box has a hand: below 0.5 the caller should warn.

    Args:
        networks: From :func:`load_hand_networks`.
        photo: Upright RGB photo.
        box: Left, top, right, bottom, pixels.
        side: Which hand it is, if it is known.

    Returns:
        The surest hand whose centre lies in the box, or the best guess where there is none.

    Raises:
        ValueError: The box is empty or outside the photo, or the photo is no 8-bit RGB image.
    """
    _check(photo)
    height, width = photo.shape[:2]
    left, top, right, bottom = (float(value) for value in box)
    if not (left < right and top < bottom and left < width and top < height and right > 0 and bottom > 0):
        raise ValueError(f"the box {left:g}, {top:g}, {right:g}, {bottom:g} has no pixels of the photo")
    corners = torch.tensor([[left, top, right, bottom]])
    views = join_rows([CropFrame.from_box(corners, margin) for margin in (1.5, 2.5)])
    squares, score = _palm_candidates(networks, photo, views)
    turned = _turned(CropFrame.from_box(corners, 1.4), 8)
    first = look(
        networks.landmarks, photo, join_rows([squares, turned]), torch.cat((score, torch.zeros(len(turned.side))))
    )
    best = take_rows(first, first.presence.argsort(descending=True)[:4])
    hands = _refined(networks, photo, best)
    center = (hands.joints_px.amin(1) + hands.joints_px.amax(1)) / 2
    inside = ((center >= corners[:, :2]) & (center <= corners[:, 2:])).all(1)
    return _found_hand(hands, int((hands.certainty + inside).argmax()), side)


def follow_hand(
    networks: HandNetworks,
    photo: UInt8[ndarray, "height width 3"],
    joints_px: Float[Tensor, "21 2"],
    side: Side | None = None,
    looks: int = 1,
) -> FoundHand:
    """Find a hand in the next frame of a video, from its joints in the last frame; the palm detector is not needed.

    Args:
        networks: From :func:`load_hand_networks`.
        photo: The next frame.
        joints_px: The joints in the last frame, pixels.
        side: Which hand it is, if it is known.
        looks: 1 to 3 looks; with a single one the confidence is the presence.

    Returns:
        The hand; a presence below 0.5 says that it is lost.

    Raises:
        ValueError: The photo is no 8-bit RGB image, or the joints are not finite.
    """
    _check(photo)
    if not joints_px.isfinite().all():
        raise ValueError("the joints of the last frame are not finite; find the hand again with find_hands")
    frame = squares_of_joints(joints_px[None])
    hands = look(networks.landmarks, photo, frame)
    return _found_hand(hands if looks == 1 else look_again(networks.landmarks, photo, hands, looks), 0, side)


def letterboxed(photo: UInt8[ndarray, "height width 3"]) -> Float[Tensor, "1 3 192 192"]:
    """The whole photo as the palm detector's square, with black bars.

    Several of them, concatenated, are a batch for :func:`dhpe_lib.network.palm_detector.detect_palms`.

    Args:
        photo: RGB.

    Returns:
        RGB in [0, 1].
    """
    return cut_squares(photo, whole_square(*photo.shape[:2]), palm_detector.SIZE)


def keep_distinct(hands: Looks) -> Looks:
    """Leave out hands that were found twice, and unsure ones inside a surer one.

    Args:
        hands: In any order.

    Returns:
        The others, surest first.
    """
    hands = take_rows(hands, hands.certainty.argsort(descending=True, stable=True))
    kept: list[int] = []
    for k in range(len(hands.presence)):
        if not any(_repeats(hands, k, other) for other in kept):
            kept.append(k)
    return take_rows(hands, torch.tensor(kept, dtype=torch.int64))


def _repeats(hands: Looks, k: int, other: int) -> bool:
    """Whether hand k is the surer hand `other` again, or an unsure one in its box."""
    joints, others = hands.joints_px[k], hands.joints_px[other]
    size = torch.maximum(hands.size[k], hands.size[other])
    if (joints - others).norm(dim=1).mean() < SAME_HAND * size:
        return True
    low, high = torch.maximum(joints.amin(0), others.amin(0)), torch.minimum(joints.amax(0), others.amax(0))
    share = (high - low).clamp(min=0).prod() / (joints.amax(0) - joints.amin(0)).prod().clamp(min=1e-6)
    return bool(share > INSIDE) and float(hands.presence[k]) < SURE


def _search(
    networks: HandNetworks,
    photo: UInt8[ndarray, "height width 3"],
    palms: Palms | None,
    found: list[Looks],
    max_hands: int | None,
) -> Iterator[tuple[CropFrame, Float[Tensor, " n"]]]:
    """Candidates step by step, from the cheapest step to the dearest; the hands found so far end the search."""
    height, width = photo.shape[:2]
    whole = whole_square(height, width)
    if palms is None:
        yield _palm_candidates(networks, photo, whole)
    else:
        yield squares_of_palms(palms, whole), palms.score

    def sure() -> Looks:
        return take_rows(found[0], (found[0].presence >= SURE).nonzero()[:, 0])

    if not len(sure().presence):
        views = [whole_square(height, width, 1.5, QUARTER_TURNS), whole_square(height, width, 1.0, QUARTER_TURNS[1:])]
        yield _palm_candidates(networks, photo, join_rows(views))
    for share, enough in TILES:
        largest = sure().size.max() if len(sure().presence) else 0
        done = largest >= enough * max(height, width) or (max_hands is not None and len(sure().presence) >= max_hands)
        if not done and share * max(height, width) >= LEAST_TILE:
            yield _palm_candidates(networks, photo, tile_squares(height, width, share))
    if not (len(found[0].presence) and found[0].presence.max() >= LEAST_PRESENCE):
        turned = _turned(whole_square(height, width, 1.15), 8)
        yield turned, torch.zeros(len(turned.side))


def _palm_candidates(
    networks: HandNetworks, photo: UInt8[ndarray, "height width 3"], views: CropFrame
) -> tuple[CropFrame, Float[Tensor, " n"]]:
    """Squares around the palms in several views of a photo, best first, each palm once."""
    weight = next(networks.palms.parameters())
    squares = cut_squares(photo, views, palm_detector.SIZE).to(weight.device, weight.dtype)
    palms = detect_palms(networks.palms, squares, LEAST_PALM)
    rows = torch.arange(len(views.side)).split(1)
    frame = join_rows([squares_of_palms(seen, take_rows(views, k)) for seen, k in zip(palms, rows, strict=True)])
    score = torch.cat([seen.score for seen in palms]).float()
    kept: list[int] = []
    for k in score.argsort(descending=True, stable=True).tolist():
        near = (frame.center[kept] - frame.center[k]).norm(dim=1) < 0.15 * frame.side[k]
        alike = (frame.side[kept] / frame.side[k]).log().abs() < 0.3
        turned = (frame.angle[kept] - frame.angle[k]).cos() > 0.9
        if not (near & alike & turned).any():
            kept.append(k)
    best = torch.tensor(kept[:MOST_CANDIDATES], dtype=torch.int64)
    return take_rows(frame, best), score[best]


def _verified(
    networks: HandNetworks,
    photo: UInt8[ndarray, "height width 3"],
    candidates: tuple[CropFrame, Float[Tensor, " n"]],
) -> Looks:
    """Hands in candidate squares, with joints from several looks; weak candidates keep their first look."""
    first = look(networks.landmarks, photo, *candidates)
    weak = first.presence < FIRST_PRESENCE
    strong = keep_distinct(take_rows(first, (~weak).nonzero()[:, 0]))
    return join_rows([take_rows(first, weak.nonzero()[:, 0]), _refined(networks, photo, strong)])


def _refined(networks: HandNetworks, photo: UInt8[ndarray, "height width 3"], hands: Looks) -> Looks:
    """Several looks at each hand, and once more at those that are not sure yet, from a better square."""
    hands = look_again(networks.landmarks, photo, hands)
    unsure = hands.presence < SURE
    if not unsure.any():
        return hands
    again = look_again(networks.landmarks, photo, take_rows(hands, unsure.nonzero()[:, 0]))
    return join_rows([take_rows(hands, (~unsure).nonzero()[:, 0]), again])


def _turned(frame: CropFrame, count: int) -> CropFrame:
    """One square, turned in equal steps through the full circle."""
    angles = torch.arange(count) * (2 * pi / count)
    return CropFrame(frame.center.expand(count, -1), frame.side.expand(count), angles)


def _probability(hands: Looks, side: Side) -> Float[Tensor, " n"]:
    return hands.right if side == "right" else 1 - hands.right


def _found_hand(hands: Looks, row: int, side: Side | None) -> FoundHand:
    one = take_rows(hands, torch.tensor([row]))
    right = float(one.right)
    return FoundHand(
        one.joints_px[0],
        one.world[0],
        float(one.presence),
        side or ("right" if right >= 0.5 else "left"),
        right,
        float(one.palm),
        one.frame,
        one.confidence[0],
    )


def _check(photo: ndarray) -> None:
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8 or not photo.size:
        raise ValueError(
            f"the photo is {photo.dtype} of shape {photo.shape}; give uint8 of height x width x 3 with pixels in it"
        )
