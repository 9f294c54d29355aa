"""From a photo to the hands in it: joints in pixels and in metres, side, presence. Nothing here has a gradient.

Palm detector and hand landmark network work together in :mod:`dhpe_lib.prediction.hand_search`. Several looks at each
hand give the joints and their confidence (:mod:`dhpe_lib.prediction.hand_looks`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from torch import Tensor

from dhpe_lib.common.records import join_rows, take_rows
from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.hand.io import Side
from dhpe_lib.hand.skeleton import FINGERS
from dhpe_lib.network import palm_detector
from dhpe_lib.network.palm_detector import Palms, intersection_over_union
from dhpe_lib.prediction.hand_estimate import NoHandError, PredictionError
from dhpe_lib.prediction.hand_looks import Looks, check_side, look, look_again
from dhpe_lib.prediction.hand_search import (
    KNOWN,
    LEAST_PRESENCE,
    MOST_CANDIDATES,
    SURE,
    HandNetworks,
    palm_candidates,
    refined,
    search_hands,
    take_where,
    turned_squares,
    verified,
)
from dhpe_lib.prediction.hand_squares import cut_squares, squares_of_joints, whole_square

MOST_SHARED = 0.5
"""Intersection over union of two hands' boxes above which both are doubtful: they may be two readings of one hand."""
SAME_PLACE = "another hand is found in the same place; one of the two may be wrong"
LAST_JOINT, FINGERTIPS = 0.13, (0.30, 0.36, 0.36, 0.36, 0.36)
"""Distances by which the points of the network are moved to the hand model's last joints and fingertips, over the
length of the network's bone that ends there. The fingertips go from thumb to little finger.
`benchmarks/landmark_points.py` measures these distances."""
LOW_CONFIDENCE, LOW_FINGER = 0.3, 0.1
"""Mean confidence of all joints, and of the last three joints of a finger, below which a hand is doubtful. The looks
may see different fingers if two hands touch."""
BESIDE = "no hand is found in the box; this one lies beside it"


@dataclass(frozen=True)
class FoundHand:
    """One hand in a photo.

    Attributes:
        joints_px: Joints of the hand model in canonical order, pixels of the photo; see :func:`model_joints`.
        joints_world: Joints in metres from the hand's centre, axes of the photo (x right, y down, z away). The points
            of the network are not moved, since the fit uses only the directions of their bones.
        presence: Mean probability of the looks that there is a hand.
        side: Handedness: the more probable one, or the one that the caller gave.
        right_probability: Mean probability of the looks that it is a right hand.
        right_spread: Largest difference between the looks in this probability; 0 for a single look.
        palm_score: Score of the palm; 0 where the hand was found without one.
        frame: The turned square around the joints; one row.
        confidence: For each joint: presence times exp(-spread of the looks / 5 % of the hand's size).
        outside: Share of the joints that lie outside the photo.
        doubts: Reasons to doubt that the joints are those of one hand, or of the hand that was asked for.
        source: Name of the network that found the joints.
    """

    joints_px: Float[Tensor, "21 2"]
    joints_world: Float[Tensor, "21 3"]
    presence: float
    side: Side
    right_probability: float
    palm_score: float
    frame: CropFrame
    confidence: Float[Tensor, " 21"]
    right_spread: float = 0.0
    outside: float = 0.0
    doubts: tuple[str, ...] = ()
    source: str = "hand landmark network"


def find_hands(
    networks: HandNetworks,
    photo: UInt8[ndarray, "height width 3"],
    max_hands: int | None = None,
    side: Side | None = None,
    palms: Palms | None = None,
) -> list[FoundHand]:
    """Find the hands in a photo, the surest first.

    Args:
        networks: From :func:`dhpe_lib.prediction.hand_search.load_hand_networks`.
        photo: Upright RGB photo.
        max_hands: Give at most this many, and stop searching when that many are sure.
        side: Handedness of all hands, if known; of several hands, those that look like it come first.
        palms: Palms in :func:`letterboxed` of this photo, where a batch of photos went through
            :func:`dhpe_lib.network.palm_detector.detect_palms` together; ask it for `LEAST_PALM`.

    Returns:
        At least one hand.

    Raises:
        NoHandError: There is none; the error has the best presence.
        ValueError: The photo is no 8-bit RGB image or has no pixels, or max_hands is less than 1.
    """
    _check(photo)
    if max_hands is not None and max_hands < 1:
        raise ValueError(f"max_hands is {max_hands}; give 1 or more, or None for all")
    hands = search_hands(networks, photo, max_hands or MOST_CANDIDATES, palms)
    seen = hands.presence >= LEAST_PRESENCE
    if not seen.any():
        raise no_hand(float(hands.presence.max()) if len(seen) else 0.0)
    hands = take_where(hands, seen)
    rank = hands.certainty if side is None else hands.certainty * _probability(hands, side)
    hands = take_rows(hands, rank.argsort(descending=True, stable=True)[:max_hands])
    hands = check_side(networks.landmarks, photo, hands)
    doubts = [(SAME_PLACE,) if shared > MOST_SHARED else () for shared in shared_boxes(hands.joints_px)]
    return [_found_hand(photo, hands, k, side, doubts[k]) for k in range(len(hands.presence))]


def shared_boxes(joints_px: Float[Tensor, "n 21 2"]) -> list[float]:
    """Largest intersection over union of each hand's box with the box of another hand; 0 for a single hand."""
    boxes = torch.stack((joints_px.amin(1), joints_px.amax(1)), 1)
    overlaps = torch.stack([intersection_over_union(box, boxes) for box in boxes])
    shared: list[float] = overlaps.fill_diagonal_(0).amax(1).tolist()
    return shared


def no_hand(best: float) -> NoHandError:
    """Make the error of a search whose best candidate has too low a presence."""
    return NoHandError(
        f"no hand is found: the best candidate has presence {best:.2f}, a hand needs {LEAST_PRESENCE}; "
        "if there is one, give its place with --box X,Y,W,H",
        best,
    )


def find_hand_in_box(
    networks: HandNetworks,
    photo: UInt8[ndarray, "height width 3"],
    box: Sequence[float | int],
    side: Side | None = None,
) -> FoundHand:
    """Find the hand in a box that the user gave.

    There is always a result. Its presence and its doubts say whether the box has a hand.

    Args:
        networks: From :func:`dhpe_lib.prediction.hand_search.load_hand_networks`.
        photo: Upright RGB photo.
        box: Left, top, right, bottom, pixels.
        side: Handedness, if known.

    Returns:
        The surest hand whose centre lies in the box, or the best guess where there is none.

    Raises:
        PredictionError: The box is empty or outside the photo.
        ValueError: The photo is no 8-bit RGB image.
    """
    _check(photo)
    height, width = photo.shape[:2]
    left, top, right, bottom = (float(value) for value in box)
    if not (left < right and top < bottom and left < width and top < height and right > 0 and bottom > 0):
        raise PredictionError(
            f"the box from ({left:g}, {top:g}) to ({right:g}, {bottom:g}) has no pixels of the photo, "
            f"which is {width} pixels wide and {height} high"
        )
    corners = torch.tensor([[left, top, right, bottom]])
    views = join_rows([CropFrame.from_box(corners, margin) for margin in (1.5, 2.5)])
    hands = verified(networks, photo, *palm_candidates(networks, photo, views))
    if not (inside(hands, corners) & (hands.presence >= SURE)).any():
        turned = turned_squares(CropFrame.from_box(corners, 1.4), 8)
        first = look(networks.landmarks, photo, turned)
        best = take_rows(first, first.presence.argsort(descending=True)[:2])
        hands = join_rows([hands, refined(networks, photo, best)])
    within = inside(hands, corners)
    row = (hands.certainty + within).argmax(0, keepdim=True)
    hand = check_side(networks.landmarks, photo, take_rows(hands, row))
    return _found_hand(photo, hand, 0, side, () if within[row] else (BESIDE,))


def inside(hands: Looks, box: Float[Tensor, "1 4"]) -> Bool[Tensor, " n"]:
    """Whether the centre of each hand's joints lies in a box."""
    center = (hands.joints_px.amin(1) + hands.joints_px.amax(1)) / 2
    return ((center >= box[:, :2]) & (center <= box[:, 2:])).all(1)


def follow_hand(
    networks: HandNetworks,
    photo: UInt8[ndarray, "height width 3"],
    joints_px: Float[Tensor, "21 2"],
    side: Side | None = None,
    looks: int = 1,
) -> FoundHand:
    """Find a hand in the next frame of a video, from its joints in the last frame; the palm detector is not needed.

    Args:
        networks: From :func:`dhpe_lib.prediction.hand_search.load_hand_networks`.
        photo: The next frame.
        joints_px: The joints in the last frame, pixels.
        side: Handedness, if known.
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
    hands = hands if looks == 1 else look_again(networks.landmarks, photo, hands, looks)
    return _found_hand(photo, hands, 0, side)


def glimpse_hands(
    networks: HandNetworks,
    photo: UInt8[ndarray, "height width 3"],
    known: Sequence[Float[Tensor, "21 2"]] = (),
    side: Side | None = None,
) -> list[FoundHand]:
    """Find the hands that one look at the whole photo shows; for the frames of a video, where time is short.

    Small hands and unusual views are left to :func:`find_hands`.

    Args:
        networks: From :func:`dhpe_lib.prediction.hand_search.load_hand_networks`.
        photo: A frame.
        known: Joints of hands that are known already, pixels; palms there are passed over.
        side: Handedness of all hands, if known.

    Returns:
        The other hands; maybe none.

    Raises:
        ValueError: The photo is no 8-bit RGB image or has no pixels.
    """
    _check(photo)
    frame, palm = palm_candidates(networks, photo, whole_square(*photo.shape[:2]))
    if known:
        squares = squares_of_joints(torch.stack(tuple(known)))
        new = (torch.cdist(frame.center, squares.center) > KNOWN * squares.side).all(1).nonzero()[:, 0]
        frame, palm = take_rows(frame, new), palm[new]
    if not len(palm):
        return []
    hands = verified(networks, photo, frame, palm)
    hands = check_side(networks.landmarks, photo, take_where(hands, hands.presence >= LEAST_PRESENCE))
    return [_found_hand(photo, hands, k, side) for k in range(len(hands.presence))]


def letterboxed(photo: UInt8[ndarray, "height width 3"]) -> Float[Tensor, "1 3 192 192"]:
    """The whole photo as the palm detector's square, with black bars.

    Several of them, concatenated, are a batch for :func:`dhpe_lib.network.palm_detector.detect_palms`.

    Args:
        photo: RGB.

    Returns:
        RGB in [0, 1].
    """
    return cut_squares(photo, whole_square(*photo.shape[:2]), palm_detector.SIZE)


def _probability(hands: Looks, side: Side) -> Float[Tensor, " n"]:
    return hands.right if side == "right" else 1 - hands.right


def model_joints(points: Float[Tensor, "21 d"]) -> Float[Tensor, "21 d"]:
    """Convert the points of the hand landmark network to joints of the hand model.

    The network marks fingertips under the nails, and the last joint of each finger nearer to the palm. Both are moved
    outwards along their bones.

    Args:
        points: In canonical order, in any unit.
    """
    before, last, tips = points[2::4], points[3::4], points[4::4]
    joints = points.clone()
    joints[3::4] = last + LAST_JOINT * (last - before)
    joints[4::4] = tips + points.new_tensor(FINGERTIPS)[:, None] * (tips - last)
    return joints


def look_doubts(confidence: Float[Tensor, " 21"]) -> tuple[str, ...]:
    """Say whether the looks at a hand disagree on its joints, or on those of one finger; empty if they agree."""
    if confidence.mean() < LOW_CONFIDENCE:
        return ("the crops of the hand disagree on its joints",)
    outer = confidence[1:].unflatten(0, (len(FINGERS), 4))[:, 1:].mean(1)
    names = ("thumb", *(f"{finger} finger" for finger in FINGERS[1:]))
    low = [name for name, mean in zip(names, outer.tolist(), strict=True) if mean < LOW_FINGER]
    return (f"the crops of the hand disagree on the {' and the '.join(low)}",) if low else ()


def _found_hand(
    photo: UInt8[ndarray, "height width 3"], hands: Looks, row: int, side: Side | None, doubts: tuple[str, ...] = ()
) -> FoundHand:
    one = take_rows(hands, torch.tensor([row]))
    joints = model_joints(one.joints_px[0])
    beyond = (joints < 0) | (joints > joints.new_tensor((photo.shape[1], photo.shape[0])))
    right = float(one.right)
    return FoundHand(
        joints,
        one.world[0],
        float(one.presence),
        side or ("right" if right >= 0.5 else "left"),
        right,
        float(one.palm),
        one.frame,
        one.confidence[0],
        float(one.right_spread),
        float(beyond.any(1).float().mean()),
        (*doubts, *look_doubts(one.confidence[0])),
    )


def _check(photo: ndarray) -> None:
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8 or not photo.size:
        raise ValueError(
            f"the photo is {photo.dtype} of shape {photo.shape}; give uint8 of height x width x 3 with pixels in it"
        )
