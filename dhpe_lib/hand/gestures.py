"""Named gestures: fists, counting, signs, pinches and grasps, and a sampler of hands that make them.

`sample_poses` bends the fingers of a hand at random, so nearly none of its hands is a fist or touches the thumb with a
fingertip. People do this all the time. A gesture is a table of joint angles: a bend for each long finger, a position of
the thumb, and a spread. The sampler blends a part of the hands with a second gesture, adds noise, and keeps each hand
inside the joint limits and free of collisions.
"""

import math
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dhpe_lib.common.arguments import check_at_least, checked
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.poses import JOINTS_OF_FINGER, LONG_FINGERS, collides, joint_limits, pose_from_angles

BENDS = {
    "arched": (-16, 2, 1),
    "straight": (0, 8, 5),
    "soft": (15, 27, 15),
    "curved": (32, 45, 26),
    "round": (48, 62, 36),
    "pinch": (54, 45, 20),
    "flat": (72, 14, 8),
    "hooked": (8, 92, 58),
    "tucked": (74, 90, 50),
    "folded": (54, 109, 66),
    "clenched": (79, 101, 60),
}
"""Flexion of the three joints of a long finger, base to tip, degrees."""
THUMBS = {
    "out": (-18, -20, -5, 4, 4),
    "up": (-20, 5, -5, 0, -10),
    "beside": (-5, -14, -10, 26, 30),
    "key": (0, -4, -8, 34, 46),
    "loose": (8, -4, -6, 15, 22),
    "across": (30, -8, -10, 50, 60),
    "over": (14, 8, -8, 42, 46),
    "under": (3, 2, -8, 50, 62),
    "wrapped": (5, 28, -24, 48, 63),
    "opposed": (10, 30, -12, 20, 22),
    "pinch_index": (7, 28, -15, 33, 36),
    "pinch_middle": (15, 14, 11, 42, 28),
    "pinch_little": (21, 12, 15, 58, 54),
    "pinch_all": (16, 38, -17, 22, 48),
}
"""Flexion, abduction and twist of the thumb's first joint, and flexion of the other two, degrees."""


@dataclass(frozen=True)
class Gesture:
    """A hand shape.

    Attributes:
        weight: Relative frequency.
        thumb: Key of `THUMBS`.
        fingers: Keys of `BENDS` for index, middle, ring and little finger.
        spread: Abduction from finger to finger, degrees.
    """

    weight: float
    thumb: str
    fingers: tuple[str, str, str, str]
    spread: float = 0.0


def _four(bend: str) -> tuple[str, str, str, str]:
    return bend, bend, bend, bend


FIST = ("clenched", "clenched", "clenched", "tucked")
GESTURES = {
    "fist": Gesture(3.5, "wrapped", FIST),
    "fist_thumb_beside": Gesture(1.5, "beside", FIST),
    "loose_fist": Gesture(2.5, "key", _four("folded")),
    "thumb_up": Gesture(1.5, "up", FIST),
    "one": Gesture(2.5, "under", ("straight", "clenched", "clenched", "tucked")),
    "two": Gesture(2.0, "over", ("straight", "straight", "tucked", "tucked"), 9.0),
    "two_together": Gesture(1.0, "over", ("straight", "straight", "tucked", "tucked")),
    "three": Gesture(1.0, "over", ("straight", "straight", "straight", "tucked"), 7.0),
    "three_with_thumb": Gesture(1.0, "out", ("straight", "straight", "tucked", "tucked"), 7.0),
    "four": Gesture(1.5, "across", _four("straight"), 5.0),
    "five": Gesture(2.0, "out", _four("straight"), 10.0),
    "five_arched": Gesture(1.0, "out", _four("arched"), 11.0),
    "flat_hand": Gesture(2.0, "beside", _four("straight")),
    "little": Gesture(1.0, "wrapped", ("clenched", "clenched", "clenched", "straight")),
    "call": Gesture(1.0, "out", ("clenched", "clenched", "clenched", "arched")),
    "horns": Gesture(0.8, "under", ("straight", "clenched", "clenched", "straight")),
    "angle": Gesture(1.0, "out", ("straight", "clenched", "clenched", "tucked")),
    "okay": Gesture(1.5, "pinch_index", ("pinch", "soft", "straight", "straight"), 3.0),
    "pinch": Gesture(1.5, "pinch_index", ("pinch", "round", "round", "round")),
    "pinch_middle": Gesture(0.8, "pinch_middle", ("straight", "pinch", "straight", "straight")),
    "pinch_little": Gesture(0.5, "pinch_little", ("straight", "straight", "straight", "pinch")),
    "pinch_all": Gesture(1.2, "pinch_all", _four("pinch")),
    "relaxed": Gesture(3.0, "loose", ("soft", "soft", "curved", "curved")),
    "half_open": Gesture(1.5, "loose", _four("curved")),
    "thumb_inside": Gesture(1.5, "across", ("soft", "soft", "curved", "curved")),
    "can": Gesture(2.0, "opposed", _four("round")),
    "ball": Gesture(1.5, "opposed", _four("curved"), 6.0),
    "key_grip": Gesture(1.0, "key", ("round", "folded", "folded", "folded")),
    "hook": Gesture(1.0, "loose", _four("hooked")),
    "table": Gesture(0.8, "loose", _four("flat")),
    "crooked_finger": Gesture(0.7, "under", ("hooked", "folded", "folded", "folded")),
}
"""The gestures, by name. The angles follow the median angles of hands in photos."""

BLENDED = 0.35
"""Fraction of hands that are blended with a second gesture, by a share of at most one half."""
TRIES = (1.0, 1.0, 0.7, 0.7, 0.4, 0.4, 0.2, 0.0)
"""Size of noise and blend of each try; the first try without collisions is used, and the last one is the gesture."""
CONVERGE = 6.5
"""Abduction from finger to finger that keeps fully bent neighbours apart, whose planes converge, degrees."""
LONG_NOISE, THUMB_NOISE = (10.0, 11.0, 8.0), (11.0, 8.0, 6.0, 10.0, 14.0)
"""Standard deviations of the angles of `BENDS` and of `THUMBS`, degrees."""
PRESSED = 0.003
"""Overlap of two capsules that is allowed, metres: a fist presses its fingers together and into the palm."""
SIDE_NOISE, TWIST_NOISE = 4.5, 2.5
"""Standard deviations of abduction and twist of the long fingers' first joints, degrees."""


@cache
def gesture_angles() -> Float[Tensor, "gestures 15 3"]:
    """Return flexion, abduction and twist of each joint for each of `GESTURES`, radians (float64, CPU)."""
    angles = torch.zeros(len(GESTURES), 15, 3, dtype=torch.float64)
    for row, gesture in zip(angles, GESTURES.values(), strict=True):
        for k, (finger, bend) in enumerate(zip(LONG_FINGERS, gesture.fingers, strict=True)):
            joints = JOINTS_OF_FINGER[finger]
            row[joints, 0] = torch.tensor(BENDS[bend], dtype=torch.float64)
            bent = min(sum(BENDS[bend]) / sum(BENDS["clenched"]), 1.0)
            row[joints.start, 1] = (1.5 - k) * ((1 - bent) * gesture.spread + bent * CONVERGE)
        thumb, (flexion, abduction, twist, *outer) = JOINTS_OF_FINGER["thumb"], THUMBS[gesture.thumb]
        row[thumb.start] = torch.tensor((flexion, abduction, twist), dtype=torch.float64)
        row[thumb.start + 1 : thumb.stop, 0] = torch.tensor(outer, dtype=torch.float64)
    return angles * (math.pi / 180)


@cache
def _deviations() -> Float[Tensor, "15 3"]:
    """Return the standard deviation of each joint angle around its gesture, radians."""
    deviations = torch.full((15, 3), 0.6, dtype=torch.float64)
    for finger in LONG_FINGERS:
        joints = JOINTS_OF_FINGER[finger]
        deviations[joints, 0] = torch.tensor(LONG_NOISE, dtype=torch.float64)
        deviations[joints.start, 1:] = torch.tensor((SIDE_NOISE, TWIST_NOISE), dtype=torch.float64)
    thumb = JOINTS_OF_FINGER["thumb"]
    deviations[thumb.start] = torch.tensor(THUMB_NOISE[:3], dtype=torch.float64)
    deviations[thumb.start + 1 : thumb.stop, 0] = torch.tensor(THUMB_NOISE[3:], dtype=torch.float64)
    return deviations * (math.pi / 180)


def draw_gestures(n: int, generator: torch.Generator | None) -> Int64[Tensor, " n"]:
    """Sample gestures by their weights, as indices of `GESTURES`."""
    weights = torch.tensor([gesture.weight for gesture in GESTURES.values()], dtype=torch.float64).cumsum(0)
    drawn = torch.rand(n, generator=generator, dtype=torch.float64) * weights[-1]
    return torch.searchsorted(weights, drawn).clamp_max(len(weights) - 1)


@checked()
def vary_gestures(chosen: Int64[Tensor, " n"], generator: torch.Generator | None) -> Float[Tensor, "n tries 15 3"]:
    """Sample a few hands for each gesture, which come closer and closer to the gesture.

    Half of the noise of the long fingers is shared by all four. Then each try is::

        gesture + size (share (other - gesture) + noise)        size as in TRIES

    Args:
        chosen: Indices of `GESTURES`.
        generator: Random number generator on the CPU.

    Returns:
        Joint angles inside the limits, radians; collisions are not checked. The last try is the gesture itself.
    """
    n, table = len(chosen), gesture_angles()
    base, other = table[chosen], table[draw_gestures(n, generator)]
    blended = torch.rand(n, 1, 1, generator=generator, dtype=torch.float64) < BLENDED
    share = 0.5 * torch.rand(n, 1, 1, generator=generator, dtype=torch.float64) * blended
    own = torch.randn(n, len(TRIES), 15, 3, generator=generator, dtype=torch.float64)
    shared = torch.randn(n, len(TRIES), 1, 3, 1, generator=generator, dtype=torch.float64)
    fingers = own[:, :, :12].unflatten(2, (4, 3))
    fingers[..., :1] = math.sqrt(0.5) * (fingers[..., :1] + shared)
    size = torch.tensor(TRIES, dtype=torch.float64)[:, None, None]
    angles = base[:, None] + size * ((share * (other - base))[:, None] + own * _deviations())
    bounds = joint_limits().bounds
    return angles.clamp(bounds[..., 0], bounds[..., 1])


@checked()
def pose_gestures(chosen: Int64[Tensor, " n"], generator: torch.Generator | None = None) -> Float[Tensor, "n 45"]:
    """Sample a pose for each gesture, inside the joint limits and without collisions.

    Args:
        chosen: Indices of `GESTURES`, on the CPU.
        generator: Random number generator on the CPU; a given state always gives the same poses.

    Returns:
        Axis-angle vectors relative to the flat hand, float32 on the CPU, radians.
    """
    tried = pose_from_angles(vary_gestures(chosen, generator).flatten(0, 1), joint_limits()).float()
    free = ~collides(HandModel.open_hand()(pose=tried).joints, PRESSED).view(-1, len(TRIES))
    free[:, -1] = True
    first = free.int().argmax(1)
    return tried.view(-1, len(TRIES), 45)[torch.arange(len(chosen)), first]


@checked()
def sample_gestures(n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n 45"]:
    """Sample poses of hands that make a gesture of the table, with variations.

    Args:
        n: Number of poses.
        generator: Random number generator on the CPU; a given state always gives the same poses.

    Returns:
        Axis-angle vectors relative to the flat hand, float32 on the CPU, radians.

    Raises:
        ValueError: n is negative.
    """
    check_at_least("n", n, 0)
    return pose_gestures(draw_gestures(n, generator), generator)
