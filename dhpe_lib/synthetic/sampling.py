"""Random numbers of the synthetic engine. They are drawn on the CPU, so a seed gives the same scene on every device."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from dhpe_lib.common.devices import constant, to_device


def seed_of(*parts: object) -> int:
    """Derive a seed from values with a reproducible `repr`: 63 bits of the SHA-256 of their `repr`."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8]) >> 1


@dataclass(frozen=True)
class Sampler:
    """A random number generator for a batch: each call returns one row for each image.

    The argument `more` of the methods is the shape of a row.

    Attributes:
        generator: Generator on the CPU; each call advances its state.
        batch: Number of rows.
        device: Device of the returned tensors.
    """

    generator: torch.Generator
    batch: int
    device: torch.device

    @classmethod
    def from_seed(cls, seed: int, batch: int, device: torch.device | str = "cpu") -> "Sampler":
        """Create a sampler from a random seed."""
        return cls(torch.Generator().manual_seed(seed), batch, torch.device(device))

    def uniform(self, low: float, high: float, *more: int) -> Float[Tensor, "b ..."]:
        """Sample uniformly between two bounds."""
        return to_device(low + (high - low) * torch.rand(self.batch, *more, generator=self.generator), self.device)

    def log_uniform(self, low: float, high: float, *more: int) -> Float[Tensor, "b ..."]:
        """Sample between two positive bounds, with a uniform logarithm."""
        return low * (high / low) ** self.uniform(0.0, 1.0, *more)

    def normal(self, deviation: float, *more: int) -> Float[Tensor, "b ..."]:
        """Sample a normal distribution with mean zero, clamped to 2.5 standard deviations."""
        draw = torch.randn(self.batch, *more, generator=self.generator).clamp(-2.5, 2.5)
        return to_device(deviation * draw, self.device)

    def chance(self, probability: float, *more: int) -> Bool[Tensor, "b ..."]:
        """Sample booleans that are True with the given probability."""
        return self.uniform(0.0, 1.0, *more) < probability

    def index(self, n: int, *more: int) -> Int64[Tensor, "b ..."]:
        """Sample indices uniformly from 0 to n - 1."""
        return to_device(torch.randint(n, (self.batch, *more), generator=self.generator), self.device)

    def choice(self, values: Sequence[float], weights: Sequence[float], *more: int) -> Float[Tensor, "b ..."]:
        """Sample from a list of values, with probabilities proportional to the weights."""
        cumulative = constant(tuple(weights), torch.float32, self.device).cumsum(0) / sum(weights)
        index = torch.searchsorted(cumulative, self.uniform(0.0, 1.0, *more)).clamp_max(len(values) - 1)
        return constant(tuple(values), torch.float32, self.device)[index]

    def pixel_generator(self) -> torch.Generator:
        """Create a generator on the device itself, for noise in every pixel."""
        seed = int(torch.randint(2**62, (1,), generator=self.generator))
        return torch.Generator(self.device).manual_seed(seed)
