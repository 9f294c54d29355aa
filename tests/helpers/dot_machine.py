"""A hand-made f_J2D: it finds 21 dots of different colours, best when a dot has a side of `DOT` pixels."""

import colorsys

import torch
from torch import Tensor
from torch.nn import functional

from dhpe_lib.hand.model import HandModel
from dhpe_lib.network.evidence import PoseMachine, PoseMachineConfig

COLORS = torch.tensor([colorsys.hsv_to_rgb(k / 21, 1, 1) for k in range(21)])
CELL = 4
DOT = 8
"""Side of a dot to which the machine responds best, pixels of the 112."""
HEIGHT, WIDTH = 300, 400
"""Size of the photos with dots, pixels."""


class DotMachine(PoseMachine):
    """f_J2D without trained weights."""

    def __init__(self) -> None:
        super().__init__(PoseMachineConfig(112, ((1,), (1,), (1,)), 1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.maps(functional.interpolate(images, size=(112, 112), mode="area"))

    def maps(self, images: Tensor) -> Tensor:
        """Fraction of each colour in squares of the dot's size, minus the fraction in squares twice as large."""
        distance = (images[:, None] - COLORS[None, :, :, None, None]).square().sum(2)
        colored = torch.exp(-60 * distance)
        small, large = (
            functional.avg_pool2d(colored, size, CELL, (size - CELL) // 2, count_include_pad=True)
            for size in (DOT, 2 * DOT)
        )
        return (2 * small - 4 * large).clamp_min(0)[:, None]


def picture(positions: Tensor, dot: int, height: int, width: int) -> Tensor:
    """A grey photo `[1, 3, height, width]` with 21 square dots of `dot` pixels at `positions [21, 2]`, pixels."""
    photo = torch.full((1, 3, height, width), 0.5)
    for (x, y), color in zip((positions - dot / 2).round().int().tolist(), COLORS, strict=True):
        photo[0, :, max(y, 0) : y + dot, max(x, 0) : x + dot] = color[:, None, None]
    return photo


def spread_hand(size: float, center: tuple[float, float]) -> Tensor:
    """2D joints of the flat hand, stretched so that dots do not overlap; the larger side is `size` pixels."""
    joints = HandModel.open_hand()().joints[0, :, [2, 0]]
    joints = joints * torch.tensor([2.0, 1.0])
    joints = joints - (joints.amax(0) + joints.amin(0)) / 2
    return joints / joints.abs().max() * size / 2 + torch.tensor(center)
