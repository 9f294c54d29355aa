"""A smooth coloured picture from a formula: the same input for our networks and, once, for TensorFlow Lite."""

import torch
from torch import Tensor


def wave_picture(size: int) -> Tensor:
    """Shape 1 x 3 x size x size, in [0, 1]: 1/2 + 1/2 sin(0.05 (c + 1) row) cos(0.07 column + c)."""
    ticks = torch.arange(size, dtype=torch.float64)
    channel = torch.arange(3, dtype=torch.float64)[:, None, None]
    waves = torch.sin(0.05 * (channel + 1) * ticks[:, None]) * torch.cos(0.07 * ticks + channel)
    return (0.5 + 0.5 * waves).float()[None]
