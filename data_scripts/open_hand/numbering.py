"""Number the vertices so that code written for MANO finds the fingertips and the ring of the wrist."""

import numpy as np

# The first number is the fingertip in smplx. The others are used by other code bases; neighbours of the tip get them.
TIPS = {
    "thumb": (744, 745),
    "index": (320, 333, 317),
    "middle": (443, 444),
    "ring": (554, 555, 556),
    "little": (671, 672, 673),
}
# Vertices of MANO's open wrist, in order around the boundary.
WRIST_RING = (108, 79, 78, 121, 214, 215, 279, 239, 234, 92, 38, 122, 118, 117, 119, 120)


def fingertip(vertices: np.ndarray, weights: np.ndarray, bone: int, along: np.ndarray) -> int:
    """Return the vertex of the last bone that is farthest in the direction of the bone."""
    return int(np.where(weights[:, bone] > 0.5, vertices @ along, -np.inf).argmax())


def near_tip(faces: np.ndarray, tip: int, vertices: np.ndarray, count: int) -> list[int]:
    """Return `count` vertices: the tip and its nearest neighbours in the mesh."""
    ring = np.setdiff1d(faces[(faces == tip).any(axis=1)], [tip])
    order = np.argsort(np.linalg.norm(vertices[ring] - vertices[tip], axis=1))
    return [tip, *ring[order[: count - 1]].tolist()]


def number_vertices(count: int, fixed: dict[int, int], key: np.ndarray) -> np.ndarray:
    """Return the new number of each vertex: the fixed numbers, and the free numbers in order of `key`.

    Args:
        count: Number of vertices.
        fixed: Maps a vertex to its fixed number.
        key: `[count]` sorting key of the other vertices.
    """
    number = np.full(count, -1)
    number[list(fixed)] = list(fixed.values())
    free = np.setdiff1d(np.arange(count), list(fixed.values()))
    rest = np.flatnonzero(number < 0)
    number[rest[np.argsort(key[rest], kind="stable")]] = free
    return number
