"""Give vertices the places that code written for MANO looks for: fingertips and the ring of the wrist."""

import numpy as np

# As smplx numbers MANO's fingertips; beside each, the vertices that other code bases take, which get its neighbours.
TIPS = {
    "thumb": (744, 745),
    "index": (320, 333, 317),
    "middle": (443, 444),
    "ring": (554, 555, 556),
    "little": (671, 672, 673),
}
# MANO's open wrist, in order around the boundary.
WRIST_RING = (108, 79, 78, 121, 214, 215, 279, 239, 234, 92, 38, 122, 118, 117, 119, 120)


def fingertip(vertices: np.ndarray, weights: np.ndarray, bone: int, along: np.ndarray) -> int:
    """The vertex of the last bone that lies farthest along it."""
    return int(np.where(weights[:, bone] > 0.5, vertices @ along, -np.inf).argmax())


def near_tip(faces: np.ndarray, tip: int, vertices: np.ndarray, count: int) -> list[int]:
    """The tip and its nearest neighbours in the mesh."""
    ring = np.setdiff1d(faces[(faces == tip).any(axis=1)], [tip])
    order = np.argsort(np.linalg.norm(vertices[ring] - vertices[tip], axis=1))
    return [tip, *ring[order[: count - 1]].tolist()]


def placement(count: int, placed: dict[int, int], along: np.ndarray) -> np.ndarray:
    """New place of each vertex: the named ones where MANO has them, the others in order of `along`.

    Args:
        count: number of vertices.
        placed: place of the named vertices.
        along: `[count]` sorting key of the rest.
    """
    place = np.full(count, -1)
    place[list(placed)] = list(placed.values())
    free = np.setdiff1d(np.arange(count), list(placed.values()))
    rest = np.flatnonzero(place < 0)
    place[rest[np.argsort(along[rest], kind="stable")]] = free
    return place
