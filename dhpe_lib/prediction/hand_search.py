"""Search a photo for hands: candidates from the palm detector, verified by looks. Nothing here has a gradient.

The palm detector looks at the whole photo first. If that is not enough, it looks again: at the photo with a border
and turned by quarter turns (a hand that fills the photo, or an unusual view), then at tiles (small hands). The hand
landmark network looks at each candidate and decides: a palm without a hand has a low presence. In tiles it can take a
face for a hand, so a hand in a tile counts only if the palm detector sees it again, upright and from further away. If
none is a sure hand, the landmark network also looks at the whole photo in eight turns: it knows hands that the palm
detector misses. At last the sure hands are painted grey, to find hands that cross them.

Source: Zhang et al. 2020, "MediaPipe Hands: On-device Real-time Hand Tracking", for a look at the whole photo and at a
square around each palm; borders, turns, tiles and repeated looks are additions.
"""

from dataclasses import dataclass
from math import pi

import torch
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from torch import Tensor

from dhpe_lib.common.records import join_rows, take_rows
from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.network import palm_detector
from dhpe_lib.network.hand_landmarks import HandLandmarkNetwork, load_hand_landmarks
from dhpe_lib.network.palm_detector import PalmDetector, Palms, detect_palms, load_palm_detector
from dhpe_lib.prediction.hand_looks import Looks, look, look_again
from dhpe_lib.prediction.hand_squares import (
    cut_squares,
    squares_of_joints,
    squares_of_palms,
    tile_squares,
    whole_square,
)
from dhpe_lib.prediction.hidden_hands import SIDE, placed_in_photo, view_around, without_hands

LEAST_PALM = 0.3
"""Palms with a lower score are no candidates. MediaPipe asks for 0.5; here the landmark network decides."""
LEAST_PRESENCE = 0.5
"""Mean presence of the looks below which there is no hand, as in MediaPipe."""
SURE = 0.9
"""Presence of a sure hand. A hand in a tile must be sure: blurred patches without a hand reach 0.86 there."""
AROUND = (3.0, 4.5)
"""Sides of the squares, over the hand's size, in which the palm detector looks again at a hand of a tile."""
KNOWN = 0.25
"""Distance between the centres of two squares over their side, below which a palm belongs to a known hand."""
FIRST_PRESENCE = 0.1
"""First looks with a lower presence are not followed: a second look is better placed and often sees more."""
MOST_CANDIDATES = 12
"""Candidates of one step of the search that the landmark network looks at."""
BORDER = 1.5
"""Side of the view with a border over the photo's larger side."""
TILES = (0.5, 0.25)
"""Side of a tile over the photo's larger side. The detector finds hands from 13 % of its view's side on."""
CLOSE_UP = 0.25
"""Size of a sure hand over the photo's larger side, from which on a photo is a close-up without small hands."""
LEAST_TILE = 192
"""Tiles with fewer pixels along their side show nothing new: the detector sees 192."""
SAME_HAND = 0.35
"""Mean distance of corresponding joints over the hand's size, below which two hands are one."""
INSIDE = 0.6
"""Share of a hand's box inside another's, from which on it has to be a sure hand."""
QUARTER_TURNS = (0.0, pi / 2, pi, -pi / 2)


@dataclass(frozen=True)
class HandNetworks:
    """The two networks that find hands.

    Attributes:
        palms: Palm detector.
        landmarks: Hand landmark network.
    """

    palms: PalmDetector
    landmarks: HandLandmarkNetwork


@dataclass(frozen=True)
class SearchStep:
    """Further views of a photo for the palm detector.

    Attributes:
        views: Squares of the photo.
        needless_from: The step is skipped if a confident hand is at least this large, pixels.
        tiles: Whether the views are tiles, whose hands have to be confirmed.
    """

    views: CropFrame
    needless_from: float
    tiles: bool


def load_hand_networks(device: torch.device | str = "cpu") -> HandNetworks:
    """Both networks with the weights that come with the library.

    Args:
        device: Device of the networks.

    Returns:
        The networks, ready for inference.
    """
    return HandNetworks(load_palm_detector(device), load_hand_landmarks(device))


def search_hands(
    networks: HandNetworks, photo: UInt8[ndarray, "height width 3"], enough: int, palms: Palms | None = None
) -> Looks:
    """Find and score hand candidates; cheap steps run first.

    Args:
        networks: From :func:`load_hand_networks`.
        photo: RGB.
        enough: Number of sure hands that ends the search.
        palms: Palms in the whole photo, where they are known.

    Returns:
        Distinct candidates; those with a presence below `LEAST_PRESENCE` are no hands.
    """
    height, width = photo.shape[:2]
    whole = whole_square(height, width)
    seen = palm_candidates(networks, photo, whole) if palms is None else (squares_of_palms(palms, whole), palms.score)
    hands = verified(networks, photo, *seen)
    for step in further_steps(height, width):
        sure = hands.size[hands.presence >= SURE]
        if len(sure) < enough and not (sure >= step.needless_from).any():
            more = verified(networks, photo, *palm_candidates(networks, photo, step.views))
            more = confirmed(networks, photo, more, hands) if step.tiles else more
            hands = keep_distinct(join_rows([hands, more]))
    if not (hands.presence >= SURE).any():
        turned = turned_squares(whole_square(height, width, 1.15), 8)
        hands = keep_distinct(join_rows([hands, verified(networks, photo, turned, torch.zeros(8))]))
    known = take_where(hands, hands.presence >= SURE)
    if 0 < len(known.presence) < enough:
        hands = keep_distinct(join_rows([hands, crossing_hands(networks, photo, known)]))
    return hands


def crossing_hands(networks: HandNetworks, photo: UInt8[ndarray, "height width 3"], known: Looks) -> Looks:
    """Sure hands that cross or touch known ones: found in a view around each known hand, where these are grey."""
    found = [take_rows(known, torch.zeros(0, dtype=torch.int64))]
    for joints in known.joints_px:
        view = view_around(joints)
        picture = without_hands(photo, known.joints_px, view)
        hands = verified(networks, picture, *palm_candidates(networks, picture, whole_square(SIDE, SIDE)))
        found.append(placed_in_photo(take_where(hands, hands.presence >= SURE), view))
    return join_rows(found)


def further_steps(height: int, width: int) -> list[SearchStep]:
    """Steps of the search after the look at the whole photo.

    Args:
        height: Height of the photo, pixels.
        width: Width of the photo, pixels.

    Returns:
        The photo with a border and turned, then tiles, if the photo is large enough for them.
    """
    larger = max(height, width)
    bordered = whole_square(height, width, BORDER, QUARTER_TURNS)
    turned = whole_square(height, width, 1.0, QUARTER_TURNS[1:])
    steps = [SearchStep(join_rows([bordered, turned]), 0.0, False)]
    for share in TILES:
        if share * larger >= LEAST_TILE:
            steps.append(SearchStep(tile_squares(height, width, share), CLOSE_UP * larger, True))
    return steps


def confirmed(networks: HandNetworks, photo: UInt8[ndarray, "height width 3"], hands: Looks, known: Looks) -> Looks:
    """The sure hands of a tile that are known already, or whose palm is seen again in squares around the hand."""
    hands = take_where(hands, hands.presence >= SURE)
    frame, before = squares_of_joints(hands.joints_px), squares_of_joints(known.joints_px)
    kept = (torch.cdist(frame.center, before.center) < KNOWN * before.side).any(1)
    for k in (~kept).nonzero()[:, 0].tolist():
        kept[k] = seen_again(networks, photo, take_rows(frame, torch.tensor([k])), float(hands.size[k]))
    return take_where(hands, kept)


def seen_again(networks: HandNetworks, photo: UInt8[ndarray, "height width 3"], frame: CropFrame, size: float) -> bool:
    """Whether the palm detector sees a hand of that size, pixels, when its square is upright and wider."""
    n = len(AROUND)
    views = CropFrame(frame.center.expand(n, -1), size * torch.tensor(AROUND), frame.angle.expand(n))
    palms, _ = palm_candidates(networks, photo, views)
    return bool(((palms.center - frame.center).norm(dim=1) < KNOWN * frame.side).any())


def palm_candidates(
    networks: HandNetworks, photo: UInt8[ndarray, "height width 3"], views: CropFrame
) -> tuple[CropFrame, Float[Tensor, " n"]]:
    """Squares around the palms in several views of a photo, best first, each palm once."""
    palms = detect_palms(networks.palms, cut_squares(photo, views, palm_detector.SIZE), LEAST_PALM)
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


def verified(
    networks: HandNetworks,
    photo: UInt8[ndarray, "height width 3"],
    frame: CropFrame,
    palm: Float[Tensor, " n"],
) -> Looks:
    """Hands in candidate squares, with joints from several looks; weak candidates keep their first look."""
    first = look(networks.landmarks, photo, frame, palm)
    weak = first.presence < FIRST_PRESENCE
    strong = keep_distinct(take_where(first, ~weak))
    return join_rows([take_where(first, weak), refined(networks, photo, strong)])


def refined(networks: HandNetworks, photo: UInt8[ndarray, "height width 3"], hands: Looks) -> Looks:
    """Several looks at each hand, and once more at those that are not sure yet, from a better square."""
    hands = look_again(networks.landmarks, photo, hands)
    unsure = hands.presence < SURE
    if not unsure.any():
        return hands
    again = look_again(networks.landmarks, photo, take_where(hands, unsure))
    return join_rows([take_where(hands, ~unsure), again])


def turned_squares(frame: CropFrame, count: int) -> CropFrame:
    """One square, turned in equal steps through the full circle."""
    angles = torch.arange(count) * (2 * pi / count)
    return CropFrame(frame.center.expand(count, -1), frame.side.expand(count), angles)


def take_where(hands: Looks, kept: Bool[Tensor, " n"]) -> Looks:
    """The hands for which `kept` is true."""
    return take_rows(hands, kept.nonzero()[:, 0])


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
