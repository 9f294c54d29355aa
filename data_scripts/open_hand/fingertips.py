"""Round the fingertips: slide their vertices to where the source surface curves.

In the source, and after edge collapse, the ring of vertices next to a fingertip is wide, so the tip looks cut off. Here
the vertices slide on a smooth surface through the source's vertices, first towards the tip, then to where neighbouring
faces have small angles. Topology, vertex numbers, skin weights and the fingertips themselves stay, so the joints stay.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.spatial import cKDTree

from .anthropometry import DIGITS
from .numbering import TIPS
from .source import Surface
from .texture import vertex_normals

SUBDIVISIONS = 4
RIGID = 0.975  # vertices with at least this skin weight slide: they move with the last bone alone
REACH = 0.016  # metres from the fingertip, beyond which vertices are not drawn to it
DRAW, DRAW_STEPS = 0.5, 40  # near the tip, distances to it shrink to about exp(-DRAW)
OUTSET = 1.5e-4  # metres outside the patch: flat faces cut the curve, so vertices on it would make tips thinner
SHAPE_WEIGHT = 0.1  # weight of the shape of faces beside the angles between faces
BLUNT_STEPS, BLUNT_STEP = 250, 5e-5  # number and length in metres of the descent steps


@dataclass
class Patch:
    """A smooth piece of surface: dense points `[N, 3]`, metres, their normals `[N, 3]` and their search tree."""

    points: np.ndarray
    normals: np.ndarray
    tree: cKDTree

    def project(self, places: np.ndarray) -> np.ndarray:
        """Move places `[n, 3]` along the normals of the nearest points until they are `OUTSET` outside the patch."""
        near = self.tree.query(places)[1]
        off = np.sum((places - self.points[near]) * self.normals[near], axis=1, keepdims=True)
        return places + (OUTSET - off) * self.normals[near]


def subdivide(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split each face into four; old vertices stay, and new ones are the middles of curved edges.

    A curved edge is the cubic edge curve of PN triangles (Vlachos et al., 2001), given by the normals at its ends.
    """
    normals = vertex_normals(vertices, faces)
    edges, of_face = np.unique(np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)), axis=0, return_inverse=True)
    a, b = edges.T
    along = vertices[b] - vertices[a]
    rise = [np.sum(along * normals[end], axis=1, keepdims=True) * normals[end] for end in (a, b)]
    middle = (vertices[a] + vertices[b] - (rise[0] - rise[1]) / 4) / 2
    m = len(vertices) + of_face.reshape(-1, 3)
    corners = [np.stack([faces[:, k], m[:, k], m[:, k - 1]], axis=1) for k in range(3)]
    return np.concatenate([vertices, middle]), np.concatenate([*corners, m])


def smooth_patch(source: Surface, bone: int) -> Patch:
    """Compute the smooth surface around a last bone."""
    faces = source.faces[(source.weights[source.faces, bone] > 0.5).all(axis=1)]
    used, faces = np.unique(faces, return_inverse=True)
    vertices, faces = source.vertices[used], faces.reshape(-1, 3)
    for _ in range(SUBDIVISIONS):
        vertices, faces = subdivide(vertices, faces)
    return Patch(vertices, vertex_normals(vertices, faces), cKDTree(vertices))


def drawn_to_tip(places: np.ndarray, tip: np.ndarray, patch: Patch) -> np.ndarray:
    """Let places `[n, 3]` flow on the patch towards the tip: as a flow, it cannot fold the surface."""
    for _ in range(DRAW_STEPS):
        way = tip - places
        pull = np.clip(1 - np.sum(way**2, axis=1, keepdims=True) / REACH**2, 0, 1)
        places = patch.project(places + DRAW / DRAW_STEPS * pull * way)
    return places


def neighbouring_faces(faces: np.ndarray) -> np.ndarray:
    """Return the pairs of faces with a common edge, `[E, 4]`: the ends of the edge, then the two opposite corners."""
    opposite = {(f[k], f[k - 2]): f[k - 1] for f in faces.tolist() for k in range(3)}
    return np.array([(a, b, c, opposite[b, a]) for (a, b), c in opposite.items() if a < b and (b, a) in opposite])


def bluntness_cost(vertices: torch.Tensor, faces: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
    """Compute the sum of 1 - cos of the angles between faces, and of the faces' squared (sum of edges^2) / area.

    The second sum, which an equilateral triangle makes smallest, keeps faces from becoming slivers.
    """
    a, b, c, d = vertices[pairs].unbind(1)
    cosines = torch.cosine_similarity(torch.linalg.cross(b - a, c - a), torch.linalg.cross(d - a, b - a), dim=1)
    sides = vertices[faces] - vertices[faces.roll(1, 1)]
    twice_area = torch.linalg.cross(sides[:, 0], sides[:, 1]).norm(dim=1)
    shape = sides.square().sum((1, 2)) / (12**0.5 * twice_area)
    return (1 - cosines).sum() + SHAPE_WEIGHT * shape.square().sum()


def blunted(vertices: np.ndarray, faces: np.ndarray, moving: np.ndarray, patch: Patch) -> np.ndarray:
    """Return the moving vertices after a descent of the cost on the patch, `[n, 3]`.

    Args:
        vertices: `[778, 3]` metres.
        faces: `[1538, 3]`.
        moving: Indices of the vertices that may move.
        patch: The surface to stay on.
    """
    pairs = neighbouring_faces(faces)
    fixed, at = torch.tensor(vertices), (torch.tensor(moving),)
    near_faces, near_pairs = (torch.tensor(k[np.isin(k, moving).any(axis=1)]) for k in (faces, pairs))
    places = fixed[at].clone().requires_grad_()
    adam = torch.optim.Adam([places], lr=BLUNT_STEP)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, BLUNT_STEPS)
    for _ in range(BLUNT_STEPS):
        adam.zero_grad()
        bluntness_cost(fixed.index_put(at, places), near_faces, near_pairs).backward()
        adam.step()
        schedule.step()
        places.data = torch.tensor(patch.project(places.detach().numpy()))
    return places.detach().numpy()


def rounded(hand: Surface, source: Surface) -> Surface:
    """Return the hand, numbered as MANO and in the frame of its source, with rounded fingertips."""
    vertices = hand.vertices.copy()
    for digit, bones in DIGITS.items():
        patch, tip = smooth_patch(source, bones[2]), TIPS[digit][0]
        moving = np.setdiff1d(np.flatnonzero(hand.weights[:, bones[2]] >= RIGID), [tip])
        vertices[moving] = drawn_to_tip(vertices[moving], vertices[tip], patch)
        vertices[moving] = blunted(vertices, hand.faces, moving, patch)
    return replace(hand, vertices=vertices)
