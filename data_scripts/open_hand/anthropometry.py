"""How hands differ: bone lengths of the mean hand and ten shape directions, from published measurements.

Every change of shape is written as one 3x3 stretch per bone, carried down the kinematic tree and blended by the skin
weights, so that the surface stays as smooth as the weights are.

Sources:
    Buryanov and Kotiuk, Proportions of hand segments, Int. J. Morphol. 28(3), 2010: bone lengths and tip tissue, 66
        adults, radiographs.
    Colombian workers survey ACOPLA95 (n = 2,100, 20-59 years): hand length, palm length, hand breadth by sex.
    Chatzioglou, Pinar and Govsa, Anat. Cell Biol. 57(2), 2024: finger lengths, 51 adults.
"""

import numpy as np

PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
DIGITS = {"index": (1, 2, 3), "middle": (4, 5, 6), "little": (7, 8, 9), "ring": (10, 11, 12), "thumb": (13, 14, 15)}
FINGER_BONES = [k for digit, bones in DIGITS.items() if digit != "thumb" for k in bones]
WRIST = 0

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
PALM_LENGTH = BEYOND_SIZE * pooled((103, 6), (92, 5))
DIGIT = {
    "thumb": BEYOND_SIZE * 5.5 / 49.5,
    "index": BEYOND_SIZE * 4.1 / 63.9,
    "middle": BEYOND_SIZE * 5.2 / 70.7,
    "ring": BEYOND_SIZE * 4.8 / 65.5,
    "little": BEYOND_SIZE * 4.3 / 53.3,
}
THICKNESS = GIRTH = BREADTH  # no measured deviation was found: taken to vary as the breadth does


def bone_directions(joints: np.ndarray, tips: np.ndarray) -> np.ndarray:
    """Unit vector along each of the 16 bones; the wrist's points to the middle finger's base."""
    ends = np.empty_like(joints)
    ends[WRIST] = joints[DIGITS["middle"][0]]
    for bones, tip in zip(DIGITS.values(), tips, strict=True):
        ends[list(bones)] = [joints[bones[1]], joints[bones[2]], tip]
    along = ends - joints
    return along / np.linalg.norm(along, axis=1, keepdims=True)


def stretch(points: np.ndarray, weights: np.ndarray, joints: np.ndarray, maps: dict[int, np.ndarray]) -> np.ndarray:
    """Displacement of points when bone j is stretched by I + maps[j]; linear in the maps.

    Args:
        points: `[N, 3]`; the rest pose's vertices, or its joints with one-hot weights of their parents.
        weights: `[N, 16]`.
        joints: `[16, 3]`.
        maps: 3x3 per stretched bone, the others keep their form.
    """
    shift = np.zeros((16, 3))
    for j, p in enumerate(PARENTS):
        if p >= 0:
            shift[j] = shift[p] + maps.get(p, np.zeros((3, 3))) @ (joints[j] - joints[p])
    each = np.stack([shift[j] + (points - joints[j]) @ maps.get(j, np.zeros((3, 3))).T for j in range(16)], axis=1)
    return np.einsum("nj,njc->nc", weights, each)


def joint_weights() -> np.ndarray:
    """`[16, 16]` one-hot parents: a joint moves with the bone that it ends."""
    return np.eye(16)[[max(p, 0) for p in PARENTS]]


def mean_hand_maps(joints: np.ndarray, tips: np.ndarray) -> dict[int, np.ndarray]:
    """Stretch of each finger bone from the source surface's length to the published mean."""
    along = bone_directions(joints, tips)
    maps = {}
    for (digit, bones), tip in zip(DIGITS.items(), tips, strict=True):
        ends = [joints[bones[1]], joints[bones[2]], tip]
        for bone, end, length in zip(bones, ends, BONE_LENGTHS[digit], strict=True):
            if length is not None:
                ratio = length / 1000 / np.linalg.norm(end - joints[bone])
                maps[bone] = (ratio - 1) * np.outer(along[bone], along[bone])
    return maps


def shape_maps(joints: np.ndarray, tips: np.ndarray) -> dict[str, dict[int, np.ndarray]]:
    """The ten named directions: one standard deviation of each as bone stretches."""
    d = bone_directions(joints, tips)
    lengthwise = {j: np.outer(d[j], d[j]) for j in range(16)}
    dorsal, sideways = np.diag([0.0, 1.0, 0.0]), np.diag([0.0, 0.0, 1.0])
    thumb_metacarpal = DIGITS["thumb"][0]
    return {
        "hand size": {j: SIZE * np.eye(3) for j in range(16)},
        "palm length": {WRIST: PALM_LENGTH * lengthwise[WRIST]},
        "palm breadth": {WRIST: BREADTH * sideways},
        "palm thickness": {j: THICKNESS * dorsal for j in (WRIST, thumb_metacarpal)},
        "finger girth": {j: GIRTH * (np.eye(3) - lengthwise[j]) for j in [*FINGER_BONES, 13, 14, 15]},
        **{
            f"{digit} length": {j: DIGIT[digit] * lengthwise[j] for j in DIGITS[digit]}
            for digit in ("thumb", "index", "middle", "ring", "little")
        },
    }
