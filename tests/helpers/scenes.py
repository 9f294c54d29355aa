"""Tiny scenes: a few triangles in the crop frame, each with a motion for a test of derivatives."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import trimesh
from torch import Tensor


@dataclass(frozen=True)
class Scene:
    """A mesh that moves with t: `faces [F, 3]` and `moved(t)`, which gives vertices [V, 3] in float64."""

    faces: Tensor
    moved: Callable[[float], Tensor]

    @property
    def vertices(self) -> Tensor:
        return self.moved(0.0)


def points(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


TRIANGLE = points((-0.23, -0.19, 0.1), (0.27, -0.11, 0.0), (0.02, 0.29, -0.1))
ONE = torch.tensor([[0, 1, 2]])


def rotation(angle: float) -> Tensor:
    """Make the matrix of a rotation about z that turns x towards y; the angle is in radians."""
    c, s = math.cos(angle), math.sin(angle)
    return points((c, -s, 0), (s, c, 0), (0, 0, 1))


def translate(t: float) -> Tensor:
    return TRIANGLE + t * points((1.0, -0.6, 0.3))


def rotate(t: float) -> Tensor:
    return TRIANGLE @ rotation(0.3 + t).T


def scale(t: float) -> Tensor:
    return TRIANGLE * (1 + t)


def slide_over(t: float) -> Tensor:
    """Move one triangle over another."""
    return torch.cat([TRIANGLE, 0.5 * TRIANGLE @ rotation(2.0).T + points((0.11 + t, 0.03, -0.4))])


def thin(t: float) -> Tensor:
    """Move a triangle that is much thinner than a pixel: two thousandths of the image."""
    return points((-0.31, -0.02 + t, 0.0), (0.33, 0.043 - t, 0.0), (0.31, 0.045 + t, 0.0))


def leave(t: float) -> Tensor:
    """Move a triangle that is half outside the image, to the right and below."""
    return 2 * TRIANGLE + points((0.43 + t, 0.38, 0.0))


def turn_edge_on(t: float) -> Tensor:
    """Rotate a face about y, starting half a degree from edge-on."""
    angle = math.pi / 2 - 0.01 + t
    return TRIANGLE * points((math.cos(angle), 1.0, 0.0)) + points((0.013, 0.0, 0.0))


def open_finger(t: float) -> Tensor:
    """Rotate a finger about z in front of a palm; its root is inside the palm's outline and its tip outside."""
    palm = points((-0.31, -0.12, 0.1), (-0.29, 0.33, 0.1), (0.14, 0.31, 0.1), (0.12, -0.13, 0.1))
    finger = points((-0.06, -0.02, 0), (-0.07, 0.04, 0), (0.36, 0.05, 0), (0.35, -0.015, 0))
    return torch.cat([palm, finger @ rotation(-0.4 - t).T + points((0.013, 0.029, -0.1))])


QUADS = torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])


SCENES = {
    "translate": Scene(ONE, translate),
    "rotate": Scene(ONE, rotate),
    "scale": Scene(ONE, scale),
    "two overlapping": Scene(torch.tensor([[0, 1, 2], [3, 4, 5]]), slide_over),
    "finger over palm": Scene(QUADS, open_finger),
    "thin": Scene(ONE, thin),
    "leaving the image": Scene(ONE, leave),
    "edge-on": Scene(ONE, turn_edge_on),
}


def ball(subdivisions: int = 2, radius: float = 0.3) -> tuple[Tensor, Tensor]:
    """Make a sphere in a general position: vertices [1, V, 3] in float64, and faces with outward normals."""
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    vertices = torch.tensor(mesh.vertices, dtype=torch.float64) @ rotation(0.4).T
    tilt = points((1, 0, 0), (0, math.cos(0.7), -math.sin(0.7)), (0, math.sin(0.7), math.cos(0.7)))
    return (vertices @ tilt.T + points((0.05, -0.03, 0.02)))[None], torch.tensor(mesh.faces)


def letter() -> tuple[Tensor, Tensor]:
    """Make a flat letter L, which has no symmetry: vertices [1, V, 3] in float64 around its middle, and faces."""
    cells = [(0, y) for y in range(6)] + [(1, y) for y in range(6)] + [(x, y) for x in (2, 3) for y in (4, 5)]
    corners = sorted({(x + dx, y + dy) for x, y in cells for dx in (0, 1) for dy in (0, 1)})
    index = {corner: i for i, corner in enumerate(corners)}
    faces = []
    for x, y in cells:
        a, b, c, d = (index[x + dx, y + dy] for dx, dy in ((0, 0), (1, 0), (1, 1), (0, 1)))
        faces += [(a, b, c), (a, c, d)]
    vertices = torch.tensor([(x - 2, y - 3, 0) for x, y in corners], dtype=torch.float64) * 0.08
    return vertices[None], torch.tensor(faces)
