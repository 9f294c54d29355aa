"""Bone lengths of the mean hand and ten shape directions, from published measurements of hands.

Every change of shape is one 3x3 stretch per bone. It is passed down the kinematic tree and blended by the skin weights,
so the surface stays as smooth as the weights.

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

# Millimetres: proximal, middle and distal phalanx; the distal length includes the soft tissue of the tip. The thumb has
# no middle phalanx; its second entry is the proximal phalanx.
BONE_LENGTHS = {
    "index": (39.8, 22.4, 15.8 + 3.8),
    "middle": (44.6, 26.3, 17.4 + 4.0),
    "ring": (41.4, 25.7, 17.3 + 4.0),
    "little": (32.7, 18.1, 16.0 + 3.7),
    "thumb": (None, 31.6, 21.7 + 5.7),
}
# Metres. The metacarpal of the thumb is 46 mm long, but its base in the source surface is 32 mm from the next joint.
THUMB_BASE_SHIFT = 0.009


def relative_deviation(men: tuple[float, float], women: tuple[float, float]) -> float:
    """Compute the relative standard deviation of men and women together, from (mean, standard deviation) of each."""
    mean = (men[0] + women[0]) / 2
    return float(np.sqrt((men[1] ** 2 + women[1] ** 2) / 2 + ((men[0] - women[0]) / 2) ** 2) / mean)


# Share of the deviation of a measure that hand size does not explain: sqrt(1 - r^2) = 0.6 for a correlation with hand
# size of r = 0.8. This r is an assumption, not a published value.
BEYOND_SIZE = 0.6
SIZE = relative_deviation((183, 10), (166, 8))  # hand length in mm
BREADTH = BEYOND_SIZE * relative_deviation((84, 4), (75, 4))  # hand breadth in mm
# Deviation / mean of the length of each digit, in mm.
DIGIT = {
    "thumb": BEYOND_SIZE * 5.5 / 49.5,
    "index": BEYOND_SIZE * 4.1 / 63.9,
    "middle": BEYOND_SIZE * 5.2 / 70.7,
    "ring": BEYOND_SIZE * 4.8 / 65.5,
    "little": BEYOND_SIZE * 4.3 / 53.3,
}
# No measured deviations of thickness and girth were found; they are assumed to be equal to that of the breadth.
THICKNESS = GIRTH = BREADTH
THUMB_BASE_DEVIATION = 0.003  # metres


class Rig(Protocol):
    """A rest pose: vertices, skin weights, joints, and fingertips in MANO's order of digits."""

    vertices: np.ndarray
    weights: np.ndarray
    joints: np.ndarray

    @property
    def tips(self) -> np.ndarray: ...


def bone_directions(hand: Rig) -> np.ndarray:
    """Return the unit vector along each of the 16 bones; that of the wrist points to the middle MCP."""
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
    """Compute the displacements when bone j is stretched by I + maps[j] and its base is moved by offsets[j].

    Args:
        hand: Rest pose.
        maps: 3x3 matrix of each stretched bone; all other bones keep their shape.
        offsets: Offset of each moved base, metres.

    Returns:
        Displacements of vertices `[V, 3]` and joints `[16, 3]`, metres; linear in maps and offsets.
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
    """Compute the stretch of each finger bone from its length in the source surface to the published mean."""
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
    """Compute the ten named shape directions: the displacements of vertices and joints by one standard deviation.

    Palm length has no direction of its own; it changes with hand size.
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
