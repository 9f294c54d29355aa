"""Objects in the hand: superquadrics, a family of shapes that includes balls, cans, boxes and forms between them.

(x, y, z) = (a cos^e1 v cos^e2 u, b cos^e1 v sin^e2 u, c sin^e1 v), with signed powers. Exponents near 0 give edges, 1
gives an ellipsoid (Barr 1981). Taper makes x and y shrink along z, as in cups and cones (Barr 1984).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from dhpe_lib.common.devices import constant, constant_like, table, to_device
from dhpe_lib.hand.rotations import random_rotations
from dhpe_lib.synthetic.hands import Hands
from dhpe_lib.synthetic.sampling import Sampler

STACKS, SLICES = 14, 20


@dataclass(frozen=True)
class Things:
    """Objects of a batch of hands.

    Attributes:
        present: Whether the hand holds an object.
        exponents: e1 and e2.
        taper: Relative widening of the positive end of the axis; the other end is narrower by the same fraction.
        size: Half lengths, metres; the last is along the axis.
        grip: 0: in the palm, under the fingers; 1: between thumb and index finger; 2: in front of the hand.
        shift: Shift along each axis, relative to the half lengths; only the shift along z is used.
        turn: Rotation of the object, used by grips 1 and 2.
    """

    present: Tensor
    exponents: Float[Tensor, "b 2"]
    taper: Float[Tensor, " b"]
    size: Float[Tensor, "b 3"]
    grip: Int64[Tensor, " b"]
    shift: Float[Tensor, "b 3"]
    turn: Float[Tensor, "b 3 3"]


def draw_things(sampler: Sampler, often: float, new: bool) -> Things:
    """Sample objects: cans, pens, boxes, balls and rounded shapes, or tapered shapes for tests.

    Args:
        sampler: Random number generator.
        often: Fraction of hands that hold an object.
        new: Whether to use shapes that no training picture shows: cups, cones and wedges.
    """
    first = sampler.choice((0.12, 0.12, 1.0, 0.5), (4.0, 3.0, 2.0, 2.0))
    second = torch.where(sampler.chance(0.6), 1.0, sampler.uniform(0.12, 0.4)).where(first < 0.4, 1.0)
    taper = torch.where(sampler.chance(0.5), 1.0, -1.0) * sampler.uniform(0.3, 0.75) * float(new)
    radius = sampler.log_uniform(0.010, 0.042)
    long = sampler.log_uniform(0.03, 0.10)
    size = torch.stack((radius, radius * sampler.uniform(0.6, 1.2), long.where(first < 0.8, radius)), -1)
    grip = sampler.choice((0.0, 1.0, 2.0), (0.55, 0.35, 0.10)).long()
    turn = to_device(random_rotations(sampler.batch, sampler.generator), sampler.device)
    exponents, shift = torch.stack((first, second), -1), sampler.uniform(-0.4, 0.4, 3)
    return Things(sampler.chance(often), exponents, taper, size, grip, shift, turn)


def thing_faces() -> Int64[Tensor, "faces 3"]:
    """Return the triangles of the superquadric's grid; they face outwards."""
    index = torch.arange(STACKS * SLICES).view(STACKS, SLICES)
    a, b, c, d = index[:-1], index[:-1].roll(-1, 1), index[1:], index[1:].roll(-1, 1)
    return torch.stack((a, b, c, b, d, c), -1).reshape(-1, 3)


def _latitudes() -> Float[Tensor, " stacks"]:
    return torch.linspace(-math.pi / 2, math.pi / 2, STACKS)


def _longitudes() -> Float[Tensor, " slices"]:
    return torch.linspace(-math.pi, math.pi, SLICES + 1)[:-1]


def superquadrics(
    exponents: Float[Tensor, "b 2"], taper: Float[Tensor, " b"], size: Float[Tensor, "b 3"]
) -> Float[Tensor, "b points 3"]:
    """Compute points of superquadrics on a grid of stacks and slices.

    Args:
        exponents: e1 (stacks) and e2 (slices).
        taper: Taper of x and y along z; 0 for none.
        size: Half lengths, metres.

    Returns:
        The points, stack by stack, metres.
    """
    v, u = table(_latitudes, size.device), table(_longitudes, size.device)

    def power(x: Tensor, e: Tensor) -> Tensor:
        return x.sign() * x.abs().clamp_min(1e-6) ** e

    e1, e2 = exponents[:, :1], exponents[:, 1:]
    height = power(v.sin(), e1)
    ring = power(v.cos(), e1) * (1 + taper[:, None] * height)
    points = torch.stack(
        (
            ring[:, :, None] * power(u.cos(), e2)[:, None],
            ring[:, :, None] * power(u.sin(), e2)[:, None],
            height[:, :, None].expand(-1, -1, SLICES),
        ),
        -1,
    )
    return (points * size[:, None, None]).flatten(1, 2)


def place_things(things: Things, hands: Hands) -> Float[Tensor, "b points 3"]:
    """Put each object into its hand.

    An object in the palm lies across it, parallel to the knuckles, and is as thick as the space under the fingers. An
    object between thumb and index finger is as thick as their distance; if they are far apart, it is put into the palm.

    Args:
        things: Objects.
        hands: Hands that hold them.

    Returns:
        Vertices in the crop frame before perspective, units of g. All vertices of a missing object are one point.
    """
    scale = 1000 / hands.unit[:, None]
    joints = hands.skeleton
    wrist, knuckles = joints[:, 0], joints[:, 5::4]
    across = functional.normalize(knuckles[:, 3] - knuckles[:, 0], dim=-1)
    up = functional.normalize(torch.linalg.cross(knuckles[:, 1] - wrist, across), dim=-1)
    toward = up * torch.sign((up * -hands.rotation[..., 1]).sum(-1, keepdim=True))  # out of the palm
    palm = 0.35 * wrist + 0.65 * knuckles.mean(1)
    ends = constant((7, 11, 15), torch.int64, joints.device)  # the end joints of index, middle and ring finger
    middle = joints[:, ends].mean(1)
    room = ((middle - palm) * toward).sum(-1) / scale[:, 0] - 0.020  # metres between palm and fingers
    gap = (joints[:, 8] - joints[:, 4]) / scale  # metres from thumb to index finger
    narrow = gap.norm(dim=-1) < 0.075
    grip = torch.where((things.grip == 1) & ~narrow, 0, things.grip)
    rows, size = torch.arange(len(grip), device=grip.device), things.size.clone()
    lying = torch.where(room > 0.016, (0.5 * room).clamp(0.008, 0.045), size[:, 0])
    pinched = (0.5 * gap.norm(dim=-1) - 0.007).clamp_min(0.003)
    thick = torch.stack((lying, pinched, size[:, 0]), 1)[rows, grip]
    size[:, :2] = size[:, :2] * (thick / size[:, 0])[:, None]
    before = joints.mean(1) - constant_like((0.0, 0.0, 1.0), scale) * scale * (0.05 + size.amax(-1, keepdim=True))
    in_palm = palm + toward * scale * (0.016 + size[:, 1:2])
    center = torch.stack((in_palm, (joints[:, 4] + joints[:, 8]) / 2, before), 1)[rows, grip]
    frames = torch.stack(
        (_frame(torch.linalg.cross(toward, across), toward), _frame(gap, things.turn[..., 0]), things.turn), 1
    )
    frame = frames[rows, grip]
    shift = scale * things.shift * size * constant_like((0.0, 0.0, 1.0), scale)
    center = center + (frame @ shift[..., None])[..., 0]
    points = center[:, None] + scale[:, None] * superquadrics(things.exponents, things.taper, size) @ frame.mT
    return points.where(things.present[:, None, None], points[:, :1])


def _frame(first: Float[Tensor, "b 3"], near: Float[Tensor, "b 3"]) -> Float[Tensor, "b 3 3"]:
    """Return rotations with the first column along `first` and the second column as close to `near` as possible."""
    first = functional.normalize(first, dim=-1)
    third = functional.normalize(torch.linalg.cross(first, near), dim=-1)
    return torch.stack((first, torch.linalg.cross(third, first), third), -1)
