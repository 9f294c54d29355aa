"""How hands differ: bone lengths of the mean hand and ten shape directions, from published measurements.

Every change of shape is written as one 3x3 stretch per bone, carried down the kinematic tree and blended by the skin
weights, so that the surface stays as smooth as the weights are.

Sources:
    Buryanov and Kotiuk, Proportions of hand segments, Int. J. Morphol. 28(3), 2010: bone lengths and tip tissue, 66
        adults, radiographs.
    Colombian workers survey ACOPLA95 (n = 2,100, 20-59 years): hand length and breadth by sex.
    Chatzioglou, Pinar and Govsa, Anat. Cell Biol. 57(2), 2024: finger lengths, 51 adults.
"""

from typing import Protocol

import numpy as np

PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
DIGITS = {"index": (1, 2, 3), "middle": (4, 5, 6), "little": (7, 8, 9), "ring": (10, 11, 12), "thumb": (13, 14, 15)}
WRIST, THUMB_BASE = 0, 13

# Millimetres, proximal phalanx (for the thumb too), middle phalanx, distal phalanx with the soft tissue of the tip.
BONE_LENGTHS = {
    "index": (39.8, 22.4, 15.8 + 3.8),
    "middle": (44.6, 26.3, 17.4 + 4.0),
    "ring": (41.4, 25.7, 17.3 + 4.0),
    "little": (32.7, 18.1, 16.0 + 3.7),
    "thumb": (None, 31.6, 21.7 + 5.7),
}
# The thumb's metacarpal measures 46 mm; the source surface puts its base 32 mm from the next joint.
THUMB_BASE_SHIFT = 0.009


def pooled(men: tuple[float, float], women: tuple[float, float]) -> float:
    """Relative standard deviation of men and women together, from (mean, standard deviation) of each."""
    mean = (men[0] + women[0]) / 2
    return float(np.sqrt((men[1] ** 2 + women[1] ** 2) / 2 + ((men[0] - women[0]) / 2) ** 2) / mean)


# Share of a measure's deviation that hand size does not explain: sqrt(1 - r^2) at a correlation with size of r = 0.8,
# which is assumed, not published.
BEYOND_SIZE = 0.6
SIZE = pooled((183, 10), (166, 8))
BREADTH = BEYOND_SIZE * pooled((84, 4), (75, 4))
DIGIT = {
    "thumb": BEYOND_SIZE * 5.5 / 49.5,
    "index": BEYOND_SIZE * 4.1 / 63.9,
    "middle": BEYOND_SIZE * 5.2 / 70.7,
    "ring": BEYOND_SIZE * 4.8 / 65.5,
    "little": BEYOND_SIZE * 4.3 / 53.3,
}
# No measured deviation was found for these: thickness and girth are taken to vary as the breadth does.
THICKNESS = GIRTH = BREADTH
THUMB_BASE_DEVIATION = 0.003


class Rig(Protocol):
    """A rest pose: vertices, skin weights, joints, and fingertips in MANO's order of digits."""

    vertices: np.ndarray
    weights: np.ndarray
    joints: np.ndarray

    @property
    def tips(self) -> np.ndarray: ...


def bone_directions(hand: Rig) -> np.ndarray:
    """Unit vector along each of the 16 bones; the wrist's points to the middle finger's base."""
    joints = hand.joints
    ends = np.empty_like(joints)
    ends[WRIST] = joints[DIGITS["middle"][0]]
    for bones, tip in zip(DIGITS.values(), hand.tips, strict=True):
        ends[list(bones)] = [joints[bones[1]], joints[bones[2]], tip]
    along = ends - joints
    return along / np.linalg.norm(along, axis=1, keepdims=True)


def stretch(
    hand: Rig, maps: dict[int, np.ndarray], offsets: dict[int, np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Displacement of vertices and joints when bone j is stretched by I + maps[j] and its base moved by offsets[j].

    Args:
        hand: Rest pose.
        maps: 3x3 per stretched bone; the others keep their form.
        offsets: Metres per moved base.

    Returns:
        `[V, 3]` and `[16, 3]`; linear in maps and offsets.
    """
    none, moved = np.zeros((3, 3)), offsets or {}
    joint_shift = np.zeros((16, 3))
    for j, p in enumerate(PARENTS):
        if p >= 0:
            along = hand.joints[j] - hand.joints[p]
            joint_shift[j] = joint_shift[p] + maps.get(p, none) @ along + moved.get(j, 0)
    each = [joint_shift[j] + (hand.vertices - hand.joints[j]) @ maps.get(j, none).T for j in range(16)]
    return np.einsum("vj,jvc->vc", hand.weights, np.stack(each)), joint_shift


def mean_hand_maps(hand: Rig) -> dict[int, np.ndarray]:
    """Stretch of each finger bone from the source surface's length to the published mean."""
    along, joints = bone_directions(hand), hand.joints
    maps = {}
    for (digit, bones), tip in zip(DIGITS.items(), hand.tips, strict=True):
        ends = [joints[bones[1]], joints[bones[2]], tip]
        for bone, end, length in zip(bones, ends, BONE_LENGTHS[digit], strict=True):
            if length is not None:
                ratio = length / 1000 / np.linalg.norm(end - joints[bone])
                maps[bone] = (ratio - 1) * np.outer(along[bone], along[bone])
    return maps


def shape_directions(hand: Rig) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The ten named directions: what one standard deviation of each does to vertices and joints.

    Palm length has none of its own: it is what hand size adds and the other directions leave.
    """
    d = bone_directions(hand)
    lengthwise = {j: np.outer(d[j], d[j]) for j in range(16)}
    dorsal, sideways = np.diag([0.0, 1.0, 0.0]), np.diag([0.0, 0.0, 1.0])
    maps: dict[str, dict[int, np.ndarray]] = {
        "hand size": dict.fromkeys(range(16), SIZE * np.eye(3)),
        "palm breadth": {WRIST: BREADTH * sideways},
        "palm thickness": dict.fromkeys((WRIST, THUMB_BASE), THICKNESS * dorsal),
        "finger girth": {j: GIRTH * (np.eye(3) - lengthwise[j]) for j in range(1, 16)},
        "thumb base": {},
        **{
            f"{digit} length": {j: DIGIT[digit] * lengthwise[j] for j in DIGITS[digit]}
            for digit in ("thumb", "index", "middle", "ring", "little")
        },
    }
    moved = {"thumb base": {THUMB_BASE: THUMB_BASE_DEVIATION * np.array([0.0, 0.0, 1.0])}}
    return {name: stretch(hand, m, moved.get(name)) for name, m in maps.items()}
