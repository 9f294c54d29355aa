"""Paint a base skin for the open hand from the position of each texel on the hand: nails, creases, knuckles, tips.

The skin has one medium tone. To get other skins, multiply the texture by a tint.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, special

from .anthropometry import DIGITS

SIZE = 512
SKIN = np.array([205.0, 152.0, 122.0])
PALM = np.array([226.0, 172.0, 146.0])
FLUSH = np.array([22.0, -18.0, -14.0])  # redder skin at tips and knuckles
NAIL = np.array([224.0, 168.0, 148.0])
NAIL_EDGE = np.array([236.0, 206.0, 188.0])
CREASE = np.array([-52.0, -50.0, -44.0])


@dataclass
class Texels:
    """The covered texels: row and column, and the rest position, unit normal and skin weights of the surface there."""

    rows: np.ndarray
    columns: np.ndarray
    position: np.ndarray
    normal: np.ndarray
    weights: np.ndarray


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    p = vertices[faces]
    each = np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0])
    out = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(out, faces[:, k], each)
    return out / np.linalg.norm(out, axis=1, keepdims=True)


def texels(vertices: np.ndarray, faces: np.ndarray, weights: np.ndarray, vt: np.ndarray, ft: np.ndarray) -> Texels:
    """Rasterize the faces in texture space, and interpolate positions, normals and skin weights at the texels."""
    carried = np.concatenate([vertices, vertex_normals(vertices, faces), weights], axis=1)
    rows, columns, values = [], [], []
    for face, corners in zip(faces, vt[ft] * SIZE, strict=True):
        low, high = np.floor(corners.min(0)).astype(int), np.ceil(corners.max(0)).astype(int)
        x, y = np.meshgrid(np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1))
        system = np.concatenate([corners.T, np.ones((1, 3))])
        at = np.stack([x.ravel() + 0.5, y.ravel() + 0.5, np.ones(x.size)])
        share = np.linalg.solve(system, at)
        inside = (share >= -1e-6).all(axis=0)
        rows.append(y.ravel()[inside])
        columns.append(x.ravel()[inside])
        values.append(share[:, inside].T @ carried[face])
    value = np.concatenate(values)
    normal = value[:, 3:6] / np.linalg.norm(value[:, 3:6], axis=1, keepdims=True)
    return Texels(np.concatenate(rows), np.concatenate(columns), value[:, :3], normal, value[:, 6:])


def bump(x: np.ndarray, width: float) -> np.ndarray:
    """Compute the Gaussian bump exp(-(x / width)^2)."""
    return np.exp(-((x / width) ** 2))


def paint_digit(colour: np.ndarray, t: Texels, bones, joints: np.ndarray, tip: np.ndarray, axes: np.ndarray) -> None:
    """Paint one digit in place: creases at the joints, red knuckles and tip, and the nail."""
    for bone in bones:
        side, dorsal, along = axes[bone]
        s, r = (t.position - joints[bone]) @ along, (t.position - joints[bone]) @ side
        mine = t.weights[:, bone] + t.weights[:, bone - 1 if bone != bones[0] else 0]
        up = t.normal @ dorsal
        back, front = np.clip(up, 0, 1) * mine, np.clip(-up, 0, 1) * mine
        colour += np.outer(0.7 * bump(s, 0.008) * bump(r, 0.010) * back, FLUSH)
        if bone != bones[0]:
            wrinkles = sum(bump(s - shift, 0.0007) for shift in (-0.003, -0.001, 0.0013, 0.0034))
            colour += np.outer(0.32 * wrinkles * back, CREASE)
            colour += np.outer((0.8 * bump(s - 0.001, 0.0008) + 0.4 * bump(s + 0.002, 0.0007)) * front, CREASE)
        elif bone != 13:  # the metacarpal of the thumb has no crease at its base
            colour += np.outer(0.7 * bump(s - 0.021, 0.0009) * front, CREASE)
    side, dorsal, along = axes[bones[2]]
    length = (tip - joints[bones[2]]) @ along
    s, r = (t.position - joints[bones[2]]) @ along / length, (t.position - joints[bones[2]]) @ side
    mine = t.weights[:, bones[2]]
    colour += np.outer(0.9 * np.clip(s - 0.5, 0, 0.5) * mine * np.clip(-(t.normal @ dorsal) + 0.4, 0, 1), FLUSH)
    paint_nail(colour, mine * np.clip(3 * (t.normal @ dorsal), 0, 1), s, r / (0.30 * length))


def paint_nail(colour: np.ndarray, mine: np.ndarray, s: np.ndarray, r: np.ndarray) -> None:
    """Paint a superellipse on the back of the last bone; `s` is 0 at the joint and 1 at the tip, `r` runs across."""
    edge = ((s - 0.71) / 0.27) ** 4 + r**4
    inside = special.expit(18 * (0.9 - edge))
    share = (inside * (mine > 0.55))[:, None]
    colour *= 1 - share
    colour += share * (NAIL + np.outer(np.clip((s - 0.86) / 0.05, 0, 1), NAIL_EDGE - NAIL))
    rim = bump(edge - 1.25, 0.35) * (mine > 0.45)
    colour += np.outer(0.28 * rim, CREASE)


def paint_palm(colour: np.ndarray, t: Texels, joints: np.ndarray) -> None:
    """Paint the three main lines of the palm as arcs in coordinates relative to palm length and breadth."""
    index, little = joints[1], joints[7]
    along, across = joints[4] - joints[0], little - index
    u = (t.position - joints[0]) @ along / (along @ along)  # 0 at the wrist, 1 at the knuckles
    w = (t.position - index) @ across / (across @ across)  # 0 under the index, 1 under the little finger
    front = np.clip(-2 * t.normal[:, 1], 0, 1) * (t.weights[:, 0] + t.weights[:, 13])
    heart = bump(u - (0.92 - 0.10 * w - 0.10 * (w - 0.35) ** 2), 0.012) * (w > 0.12)
    head = bump(u - (0.80 - 0.22 * w), 0.011) * (w > -0.35) * (w < 0.85)
    life = bump(w - (0.42 - 1.1 * (u - 0.30) ** 2 - 0.25 * u), 0.016) * (u > 0.12) * (u < 0.84)
    colour += np.outer(0.55 * np.maximum(np.maximum(heart, head), life) * front, CREASE)


def paint(t: Texels, joints: np.ndarray, tips: np.ndarray, axes: np.ndarray, seed: int) -> np.ndarray:
    """Paint the texture, `[512, 512, 3]` uint8."""
    palm = special.expit(-7 * (t.normal[:, 1] + 0.15))
    colour = SKIN + palm[:, None] * (PALM - SKIN)
    for bones, tip in zip(DIGITS.values(), tips, strict=True):
        paint_digit(colour, t, bones, joints, tip, axes)
    paint_palm(colour, t, joints)
    colour += mottle(t, seed)[:, None] * np.array([7.0, 5.0, 4.0])
    return fill_image(t, colour)


def mottle(t: Texels, seed: int) -> np.ndarray:
    """Compute smooth random variations of the colour; they are functions of position, so seams do not show."""
    random = np.random.default_rng(seed)
    waves = random.normal(size=(24, 3)) * random.uniform(60, 400, (24, 1))
    return np.sin(t.position @ waves.T + random.uniform(0, 6.28, 24)).sum(axis=1) / np.sqrt(24)


def fill_image(t: Texels, colour: np.ndarray) -> np.ndarray:
    """Write the texels to an image, and give each other pixel the nearest texel's colour, which filtering needs."""
    image, covered = np.zeros((SIZE, SIZE, 3)), np.zeros((SIZE, SIZE), bool)
    image[t.rows, t.columns], covered[t.rows, t.columns] = colour, True
    rows, columns = ndimage.distance_transform_edt(~covered, return_distances=False, return_indices=True)
    return np.clip(image[rows, columns], 0, 255).astype(np.uint8)
