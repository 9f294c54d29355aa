"""Gradient descent of many hands at once, each by itself: Adam, or plain steps as Eq. 13 has them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer

Steps = Literal["adam", "gradient"]
Energy = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Descent:
    """Where each row went.

    Attributes:
        h: The h of lowest energy that the row has seen.
        energy: Its energy.
        kept: After how many steps that was.
        path: Every h from start to end.
    """

    h: Float[Tensor, "b n"]
    energy: Float[Tensor, " b"]
    kept: Int64[Tensor, " b"]
    path: Float[Tensor, "steps b n"]


def descend(
    function: Energy,
    h: Float[Tensor, "b n"],
    iterations: int,
    rate: float,
    steps: Steps = "adam",
    decay: bool = True,
) -> Descent:
    """Descend from each row of h; a row whose energy or gradient is not finite stays where it is.

    Args:
        function: Energy of each row; called once for each h on the way, in order, so it may change as it goes.
        h: Starts.
        iterations: Steps.
        rate: First step size, gamma.
        steps: "gradient" is ``h - gamma grad``.
        decay: Whether the step size falls to zero along half a cosine.

    Returns:
        The best of each row, and the way. A row that never had a finite energy keeps its start.
    """
    h = h.detach().clone().requires_grad_()
    optimizer = make_optimizer(h, rate, steps)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(iterations, 1), eta_min=0 if decay else rate)
    best, lowest, path = h.detach().clone(), torch.full_like(h[:, 0], torch.inf), []
    kept = torch.zeros(len(h), dtype=torch.int64, device=h.device)
    for step in range(iterations + 1):
        path.append(h.detach().clone())
        if step < iterations:
            value = move(function, h, optimizer)
            schedule.step()
        else:
            value = function(h).detach()
        better = value < lowest
        best, lowest = torch.where(better[:, None], path[-1], best), torch.where(better, value, lowest)
        kept = torch.where(better, step, kept)
    return Descent(best, lowest, kept, torch.stack(path))


def make_optimizer(h: Float[Tensor, "b n"], rate: float, steps: Steps) -> Optimizer:
    """Adam, which treats each number by itself, or plain gradient steps.

    Adam's betas are 0.9 and 0.99, not the usual 0.999: that is a memory of a thousand steps, and here are fifty to some
    hundred. The paper names no betas.
    """
    if steps == "adam":
        return Adam([h], lr=rate, betas=(0.9, 0.99), capturable=h.is_cuda)
    return SGD([h], lr=rate)


def move(function: Energy, h: Float[Tensor, "b n"], optimizer: Optimizer) -> Float[Tensor, " b"]:
    """One step, in place, without a wait for the device.

    Args:
        function: Energy of each row.
        h: Where the rows are; requires a gradient.
        optimizer: Of h.

    Returns:
        The energies before the step.
    """
    value = function(h)
    (gradient,) = torch.autograd.grad(value.sum(), h)
    finite = value.isfinite() & gradient.isfinite().all(1)
    h.grad = torch.where(finite[:, None], gradient, 0)
    before = h.detach().clone()
    optimizer.step()
    with torch.no_grad():  # Adam's momentum would move a row without a gradient
        h.copy_(torch.where(finite[:, None], h, before))
    return value.detach()
