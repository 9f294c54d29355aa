"""Things in the hand: superquadrics, one mesh that is a ball, a can, a box or anything between.

(x, y, z) = (a cos^e1 v cos^e2 u, b cos^e1 v sin^e2 u, c sin^e1 v), with signed powers: exponents near 0 make edges,
1 makes an ellipsoid (Barr 1981).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from dhpe_lib.datasets.synthetic.dice import Dice
from dhpe_lib.datasets.synthetic.hands import Hands
from dhpe_lib.rotations import random_rotations

STACKS, SLICES = 14, 20


@dataclass(frozen=True)
class Things:
    """What each hand holds.

    Attributes:
        present: Whether it holds anything.
        exponents: e1 and e2.
        size: Half lengths, metres; the last is along the axis.
        grip: 0: in the palm, under the fingers; 1: between thumb and index finger; 2: somewhere before the hand.
        shift: Along the axis and aside, in shares of the size.
        turn: A rotation of the thing's own, used by grips 1 and 2.
    """

    present: Tensor
    exponents: Float[Tensor, "b 2"]
    size: Float[Tensor, "b 3"]
    grip: Int64[Tensor, " b"]
    shift: Float[Tensor, "b 3"]
    turn: Float[Tensor, "b 3 3"]


def draw_things(dice: Dice, often: float, new: bool) -> Things:
    """Draw things: cans, bottles, pens, boxes, balls and rounded shapes; or, to be new to a network, pinched ones.

    Args:
        dice: Source of randomness.
        often: Share of hands that hold one.
        new: Whether things are of shapes that no training picture shows: exponents above 1.5 make stars and diamonds.
    """
    first = dice.choice((0.12, 0.12, 1.0, 0.5), (4, 3, 2, 2))
    second = torch.where(dice.chance(0.6), 1.0, dice.uniform(0.12, 0.4)).where(first < 0.4, 1.0)
    if new:
        first, second = dice.uniform(0.3, 2.2), dice.uniform(1.6, 2.4)
    radius = dice.log_uniform(0.006, 0.042)
    long = dice.log_uniform(0.03, 0.14)
    size = torch.stack((radius, radius * dice.uniform(0.6, 1.2), long.where(first < 0.8, radius)), -1)
    grip = dice.choice((0.0, 1.0, 2.0), (0.55, 0.3, 0.15)).long()
    turn = random_rotations(dice.batch, dice.generator).to(dice.device)
    return Things(dice.chance(often), torch.stack((first, second), -1), size, grip, dice.uniform(-0.4, 0.4, 3), turn)


def thing_faces() -> Int64[Tensor, "faces 3"]:
    """Triangles of the superquadric's grid, outward."""
    index = torch.arange(STACKS * SLICES).view(STACKS, SLICES)
    a, b, c, d = index[:-1], index[:-1].roll(-1, 1), index[1:], index[1:].roll(-1, 1)
    return torch.stack((a, b, c, b, d, c), -1).reshape(-1, 3)


def superquadrics(exponents: Float[Tensor, "b 2"], size: Float[Tensor, "b 3"]) -> Float[Tensor, "b points 3"]:
    """Points of the surfaces on a grid of stacks and slices.

    Args:
        exponents: e1 (stacks) and e2 (slices).
        size: Half lengths.

    Returns:
        The points, stack by stack.
    """
    v = torch.linspace(-math.pi / 2, math.pi / 2, STACKS).to(size)
    u = torch.linspace(-math.pi, math.pi, SLICES + 1).to(size)[:-1]

    def power(x: Tensor, e: Tensor) -> Tensor:
        return x.sign() * x.abs().clamp_min(1e-6) ** e

    e1, e2 = exponents[:, :1], exponents[:, 1:]
    ring, height = power(v.cos(), e1), power(v.sin(), e1)
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
    """Put each thing into its hand.

    A thing in the palm lies across it, along the knuckles, and is as thick as the fingers leave room for.

    Args:
        things: What.
        hands: Where.

    Returns:
        Vertices in the crop frame before perspective; of a thing that is not there, a single point.
    """
    scale = 1000 / hands.unit[:, None]
    joints = hands.skeleton
    wrist, knuckles = joints[:, 0], joints[:, 5::4]
    across = functional.normalize(knuckles[:, 3] - knuckles[:, 0], dim=-1)
    up = functional.normalize(torch.linalg.cross(knuckles[:, 1] - wrist, across), dim=-1)
    toward = up * torch.sign((up * -hands.rotation[..., 1]).sum(-1, keepdim=True))  # out of the palm
    palm = 0.35 * wrist + 0.65 * knuckles.mean(1)
    middle = joints[:, [7, 11, 15]].mean(1)  # the end joints of index, middle and ring finger
    room = ((middle - palm) * toward).sum(-1, keepdim=True) / scale - 0.018  # metres between palm and fingers
    size = things.size.clone()
    held = things.grip == 0
    fitting = (0.5 * room).clamp(0.007, 0.045)
    size[:, :2] = torch.where(held[:, None], fitting * things.size[:, :2] / things.size[:, :1], size[:, :2])
    pinch = (joints[:, 4] + joints[:, 8]) / 2
    before = joints.mean(1) - torch.tensor([0.0, 0.0, 1.0]).to(scale) * scale * (0.05 + size.amax(-1, keepdim=True))
    in_palm = palm + toward * scale * (0.013 + size[:, 1:2])
    center = torch.stack((in_palm, pinch, before), 1)[torch.arange(len(joints)), things.grip]
    forward = torch.linalg.cross(toward, across)
    frame = torch.where(held[:, None, None], torch.stack((forward, toward, across), -1), things.turn)
    center = center + (frame @ (scale * things.shift * size * torch.tensor([0.2, 0.0, 1.0]).to(scale))[..., None])[..., 0]
    points = center[:, None] + scale[:, None] * superquadrics(things.exponents, size) @ frame.mT
    return points.where(things.present[:, None, None], points[:, :1])
