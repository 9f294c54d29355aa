"""Batched gradient descent with Adam, or with the plain steps of Eq. 13; the rows of a batch are independent.

On a GPU the steps are replayed as a CUDA graph; see :mod:`dhpe_lib.common.cuda_graphs`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from dhpe_lib.common.cuda_graphs import Replayed
from dhpe_lib.common.precision import full_precision
from dhpe_lib.common.schedules import half_cosine

StepRule = Literal["adam", "gradient"]
Energy = Callable[[Tensor], Tensor]
BETAS = (0.9, 0.99)
"""Adam's decay rates. The usual 0.999 averages over about 1000 steps, but a descent has only 50 to a few hundred steps.
The paper names no rates."""
EPSILON = 1e-8


@dataclass(frozen=True)
class Descent:
    """Result of a descent.

    Attributes:
        h: The iterate of lowest energy of each row.
        energy: Energy of this iterate.
        kept: Number of steps after which this iterate was reached.
        path: All iterates, including the start.
    """

    h: Float[Tensor, "b n"]
    energy: Float[Tensor, " b"]
    kept: Int64[Tensor, " b"]
    path: Float[Tensor, "steps b n"]


class Track:
    """Values of all iterates, written in order into memory that does not move, as a CUDA graph needs.

    Args:
        length: Largest number of iterates.
        device: Device of the values.
    """

    def __init__(self, length: int, device: torch.device) -> None:
        self.length = length
        self.next = torch.zeros(1, dtype=torch.int64, device=device)
        self.rows: dict[str, Tensor] = {}

    def add(self, **values: Tensor) -> None:
        """Write the values of the next iterate; the names are those of the first."""
        for name, value in values.items():
            if name not in self.rows:
                self.rows[name] = value.new_empty(self.length, *value.shape)
            self.rows[name].index_copy_(0, self.next, value.detach()[None])
        self.next += 1

    def rewind(self) -> None:
        """Write from the first row again."""
        self.next.zero_()


def descend(
    function: Energy,
    h: Float[Tensor, "b n"],
    iterations: int,
    rate: float,
    steps: StepRule = "adam",
    decay: bool = True,
) -> Descent:
    """Minimise a function from each row of h; a row whose energy or gradient is not finite does not move.

    Args:
        function: Returns the energy of each row. It is called once for each iterate in order, so it may change tensors
            in place. On a GPU it runs no Python in most calls and must not wait for the device.
        h: Starting points.
        iterations: Number of steps.
        rate: Initial step size gamma.
        steps: "adam", or "gradient" for ``h - gamma grad``.
        decay: Whether the step size decays to 0 along half a cosine.

    Returns:
        The best iterate of each row, and all iterates. A row that never had a finite energy keeps its start.
    """
    h = h.detach().clone().requires_grad_()
    optimizer = Optimizer(h, rate, steps)
    best, lowest, track = h.detach().clone(), torch.full_like(h[:, 0], torch.inf), Track(iterations + 1, h.device)
    kept = torch.zeros(len(h), dtype=torch.int64, device=h.device)

    def note(iterate: Tensor, value: Tensor) -> None:
        better = value < lowest
        best.copy_(torch.where(better[:, None], iterate, best))
        lowest.copy_(torch.where(better, value, lowest))
        kept.copy_(torch.where(better, track.next, kept))
        track.add(h=iterate)

    def step() -> None:
        before = h.detach().clone()
        note(before, descent_step(function, optimizer))

    replayed = Replayed(step, h.device)
    for k in range(iterations):
        optimizer.rate.fill_(rate * half_cosine(k, iterations) if decay else rate)
        replayed()
    note(h.detach(), function(h).detach())
    return Descent(best, lowest, kept, track.rows["h"])


class Optimizer:
    """Steps of h by Adam (Kingma and Ba 2015, Algorithm 1), or plain gradient steps.

    ``torch.optim`` makes the same steps, but with its first optimiser PyTorch loads a compiler: more than a second, and
    150 MB of memory. All values are tensors that change in place, as a CUDA graph needs.

    Args:
        h: Iterates; they are changed.
        rate: Step size.
        steps: "adam", or "gradient" for ``h - gamma grad``.
    """

    def __init__(self, h: Float[Tensor, "b n"], rate: float, steps: StepRule) -> None:
        self.h, self.adam = h, steps == "adam"
        self.rate, self.count = h.new_full((), rate), h.new_zeros(())
        self.mean, self.square = torch.zeros_like(h), torch.zeros_like(h)

    @torch.no_grad()
    def step(self, gradient: Float[Tensor, "b n"], moves: Bool[Tensor, " b"]) -> None:
        """Move the rows of h for which `moves` is true; momentum does not move the others."""
        if self.adam:
            first, second = BETAS
            self.count += 1
            self.mean.lerp_(gradient, 1 - first)
            self.square.lerp_(gradient.square(), 1 - second)
            mean, square = self.mean / (1 - first**self.count), self.square / (1 - second**self.count)
            gradient = mean / (square.sqrt() + EPSILON)
        self.h -= torch.where(moves[:, None], self.rate * gradient, 0)


def descent_step(function: Energy, optimizer: Optimizer) -> Float[Tensor, " b"]:
    """Do one step in place, without synchronising with the device.

    Args:
        function: Returns the energy of each row.
        optimizer: Optimiser of h, which requires a gradient.

    Returns:
        Energies before the step.
    """
    value = function(optimizer.h)
    gradient = _gradient(value, optimizer.h)
    finite = value.isfinite() & gradient.isfinite().all(1)
    optimizer.step(torch.where(finite[:, None], gradient, 0), finite)
    return value.detach()


@full_precision
def _gradient(value: Float[Tensor, " b"], h: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
    """Compute the gradient of each row; on the CPU autocast would lower the backward pass of float32 products too."""
    return torch.autograd.grad(value.sum(), h)[0]
