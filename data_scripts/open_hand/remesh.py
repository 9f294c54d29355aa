"""Collapse edges until the mesh has MANO's counts: 778 vertices, 1,538 faces, one wrist boundary of 16 edges.

Vertices are removed but never moved, so skin weights and texture coordinates stay valid. Texture seams and the wrist
are feature lines: a vertex on a feature line may be merged only into a neighbour on that line.
"""

import heapq
from collections import defaultdict

import numpy as np

from .source import Surface

VERTICES, WRIST_EDGES = 778, 16
LENGTH_WEIGHT = 2e-5  # weight of the cubed edge length in the cost: it keeps triangles even on flat surfaces


class Mesh:
    """A triangle mesh for edge collapse: faces, their charts, and the faces of each vertex."""

    def __init__(self, surface: Surface):
        self.vertices = surface.vertices
        self.faces = {k: tuple(f) for k, f in enumerate(surface.faces.tolist())}
        self.chart = surface.charts
        self.of_vertex: dict[int, set[int]] = defaultdict(set)
        for k, face in self.faces.items():
            for v in face:
                self.of_vertex[v].add(k)

    def neighbours(self, v: int) -> set[int]:
        return {u for k in self.of_vertex[v] for u in self.faces[k]} - {v}

    def edge_faces(self, a: int, b: int) -> set[int]:
        return self.of_vertex[a] & self.of_vertex[b]

    def kind(self, a: int, b: int) -> str:
        """Return the kind of an edge: `wrist` on the boundary, `seam` between two charts, else `inner`."""
        faces = self.edge_faces(a, b)
        if len(faces) == 1:
            return "wrist"
        return "seam" if len({self.chart[k] for k in faces}) > 1 else "inner"

    def may_collapse(self, a: int, b: int) -> bool:
        """Return whether a may be merged into b without a change of the topology or of a feature line."""
        lines = {u: kind for u in self.neighbours(a) if (kind := self.kind(a, u)) != "inner"}
        if lines and (len(lines) != 2 or len(set(lines.values())) != 1 or b not in lines):
            return False
        if len(self.neighbours(a) & self.neighbours(b)) != len(self.edge_faces(a, b)):
            return False
        return all(self.keeps_shape(k, a, b) for k in self.of_vertex[a] - self.edge_faces(a, b))

    def keeps_shape(self, k: int, a: int, b: int) -> bool:
        """Return whether a face keeps its orientation and does not become a sliver when a moves to b."""
        old = self.vertices[list(self.faces[k])]
        new = self.vertices[[b if v == a else v for v in self.faces[k]]]
        n0, n1 = (np.cross(p[1] - p[0], p[2] - p[0]) for p in (old, new))
        longest = max(np.sum((new[i] - new[i - 1]) ** 2) for i in range(3))
        flatness = np.linalg.norm(n1) / longest
        return n0 @ n1 > 0.5 * np.linalg.norm(n0) * np.linalg.norm(n1) and flatness > 0.25

    def collapse(self, a: int, b: int) -> None:
        """Merge vertex a into vertex b."""
        for k in self.edge_faces(a, b):
            for v in self.faces.pop(k):
                self.of_vertex[v].discard(k)
        for k in self.of_vertex.pop(a):
            self.faces[k] = tuple(b if v == a else v for v in self.faces[k])
            self.of_vertex[b].add(k)


def quadrics(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Compute Garland and Heckbert's error quadrics `[V, 4, 4]`: area-weighted squared distances to face planes."""
    p = vertices[faces]
    n = np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0])
    area = np.linalg.norm(n, axis=1, keepdims=True)
    plane = np.concatenate([n / area, -np.sum(n / area * p[:, 0], axis=1, keepdims=True)], axis=1)
    each = area[:, :, None] * plane[:, :, None] * plane[:, None, :]
    out = np.zeros((len(vertices), 4, 4))
    for k in range(3):
        np.add.at(out, faces[:, k], each)
    return out


def simplify(surface: Surface) -> Mesh:
    """Collapse the cheapest edges until MANO's counts are met."""
    mesh, quadric = Mesh(surface), quadrics(surface.vertices, surface.faces)

    def cost(a: int, b: int) -> float:
        at = np.append(mesh.vertices[b], 1.0)
        length = np.linalg.norm(mesh.vertices[a] - mesh.vertices[b])
        return float(at @ (quadric[a] + quadric[b]) @ at + LENGTH_WEIGHT * length**3)

    def run(lines: set[str], collapses: int) -> None:
        heap = [(cost(a, b), a, b) for a in list(mesh.of_vertex) for b in mesh.neighbours(a)]
        heapq.heapify(heap)
        while collapses:
            price, a, b = heapq.heappop(heap)
            if a not in mesh.of_vertex or b not in mesh.neighbours(a) or price < 0.9999 * cost(a, b):
                continue  # an outdated entry: each collapse pushes new costs of the edges around it
            if mesh.kind(a, b) in lines and mesh.may_collapse(a, b):
                mesh.collapse(a, b)
                collapses -= 1
                quadric[b] += quadric[a]
                for u in mesh.neighbours(b):
                    heapq.heappush(heap, (cost(b, u), b, u))
                    heapq.heappush(heap, (cost(u, b), u, b))

    run({"wrist"}, len(wrist_ring(surface.faces)) - WRIST_EDGES)
    run({"inner", "seam"}, len(mesh.of_vertex) - VERTICES)
    return mesh


def wrist_ring(faces: np.ndarray) -> list[int]:
    """Return the vertices of the open boundary in order, opposite to the direction of the faces' edges."""
    edges = {(int(f[i]), int(f[(i + 1) % 3])) for f in faces for i in range(3)}
    after = {b: a for a, b in edges if (b, a) not in edges}
    ring = [min(after)]
    while after[ring[-1]] != ring[0]:
        ring.append(after[ring[-1]])
    return ring
