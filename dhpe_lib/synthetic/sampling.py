"""Random numbers of the synthetic engine: drawn on the CPU, so that one seed means one scene on every device."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def seed_of(*parts: object) -> int:
    """A seed from anything that prints the same each time: 63 bits of its SHA-256."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8]) >> 1


@dataclass(frozen=True)
class Dice:
    """A source of random numbers, one row for each of a batch of images.

    Attributes:
        generator: On the CPU; its state is what makes one draw differ from the next.
        batch: Rows.
        device: Where the numbers are needed.
    """

    generator: torch.Generator
    batch: int
    device: torch.device

    @classmethod
    def from_seed(cls, seed: int, batch: int, device: torch.device | str = "cpu") -> "Dice":
        """Dice that start from a seed."""
        return cls(torch.Generator().manual_seed(seed), batch, torch.device(device))

    def uniform(self, low: float, high: float, *more: int) -> Float[Tensor, "b ..."]:
        """Between two bounds."""
        return (low + (high - low) * torch.rand(self.batch, *more, generator=self.generator)).to(self.device)

    def log_uniform(self, low: float, high: float, *more: int) -> Float[Tensor, "b ..."]:
        """Between two positive bounds, each factor as likely as any other."""
        return low * (high / low) ** self.uniform(0.0, 1.0, *more)

    def normal(self, deviation: float, *more: int) -> Float[Tensor, "b ..."]:
        """Around zero, and never farther than 2.5 standard deviations."""
        draw = torch.randn(self.batch, *more, generator=self.generator).clamp(-2.5, 2.5)
        return (deviation * draw).to(self.device)

    def chance(self, probability: float, *more: int) -> Bool[Tensor, "b ..."]:
        """True so often."""
        return self.uniform(0.0, 1.0, *more) < probability

    def index(self, n: int, *more: int) -> Int64[Tensor, "b ..."]:
        """One of n."""
        return torch.randint(n, (self.batch, *more), generator=self.generator).to(self.device)

    def choice(self, values: Sequence[float], weights: Sequence[float], *more: int) -> Float[Tensor, "b ..."]:
        """One of some values, each as often as its weight says."""
        shares = torch.tensor(weights, device=self.device).cumsum(0) / sum(weights)
        place = torch.searchsorted(shares, self.uniform(0.0, 1.0, *more)).clamp_max(len(values) - 1)
        return torch.tensor(values, device=self.device)[place]

    def pixel_generator(self) -> torch.Generator:
        """A generator on the device itself, for noise in every pixel."""
        seed = int(torch.randint(2**62, (1,), generator=self.generator))
        return torch.Generator(self.device).manual_seed(seed)
