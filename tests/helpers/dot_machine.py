"""f_J2D by hand: it finds 21 dots, each of its own colour, best where a dot is as large as a cell of the maps."""

import colorsys

import torch
from torch import Tensor
from torch.nn import functional

from dhpe_lib.hand.model import HandModel
from dhpe_lib.network.evidence import PoseMachine, PoseMachineConfig

COLORS = torch.tensor([colorsys.hsv_to_rgb(k / 21, 1, 1) for k in range(21)])
CELL = 4
DOT = 8
"""Pixels of the 112 along a side of a dot in the crop that the machine knows best."""
HEIGHT, WIDTH = 300, 400
"""Of the photos with dots."""


class DotMachine(PoseMachine):
    """f_J2D with nothing learnt."""

    def __init__(self) -> None:
        super().__init__(PoseMachineConfig(112, ((1,), (1,), (1,)), 1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.maps(functional.interpolate(images, size=(112, 112), mode="area"))

    def maps(self, images: Tensor) -> Tensor:
        """The share of the colour in squares of the dot's size, less that in squares twice as large."""
        distance = (images[:, None] - COLORS[None, :, :, None, None]).square().sum(2)
        colored = torch.exp(-60 * distance)
        small, large = (
            functional.avg_pool2d(colored, size, CELL, (size - CELL) // 2, count_include_pad=True)
            for size in (DOT, 2 * DOT)
        )
        return (2 * small - 4 * large).clamp_min(0)[:, None]


def picture(places: Tensor, dot: int, height: int, width: int) -> Tensor:
    """A grey photo `[1, 3, height, width]` with the 21 dots, `dot` pixels along a side, at `places [21, 2]`."""
    photo = torch.full((1, 3, height, width), 0.5)
    for (x, y), color in zip((places - dot / 2).round().int().tolist(), COLORS, strict=True):
        photo[0, :, max(y, 0) : y + dot, max(x, 0) : x + dot] = color[:, None, None]
    return photo


def spread_hand(size: float, center: tuple[float, float]) -> Tensor:
    """The flat hand's joints, moved apart where they would overlap; its larger side is `size` pixels."""
    joints = HandModel.open_hand()().joints[0, :, [2, 0]]
    joints = joints * torch.tensor([2.0, 1.0])
    joints = joints - (joints.amax(0) + joints.amin(0)) / 2
    return joints / joints.abs().max() * size / 2 + torch.tensor(center)
