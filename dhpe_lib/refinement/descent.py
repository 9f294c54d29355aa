"""Batched gradient descent with Adam, or with the plain steps of Eq. 13; the rows of a batch are independent."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer

from dhpe_lib.common.precision import full_precision

StepRule = Literal["adam", "gradient"]
Energy = Callable[[Tensor], Tensor]


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
        function: Returns the energy of each row. It is called once for each iterate in order, so it may have state.
        h: Starting points.
        iterations: Number of steps.
        rate: Initial step size gamma.
        steps: "adam", or "gradient" for ``h - gamma grad``.
        decay: Whether the step size decays to 0 along half a cosine.

    Returns:
        The best iterate of each row, and all iterates. A row that never had a finite energy keeps its start.
    """
    h = h.detach().clone().requires_grad_()
    optimizer = make_optimizer(h, rate, steps)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(iterations, 1), eta_min=0 if decay else rate)
    best, lowest, path = h.detach().clone(), torch.full_like(h[:, 0], torch.inf), []
    kept = torch.zeros(len(h), dtype=torch.int64, device=h.device)
    for step in range(iterations + 1):
        path.append(h.detach().clone())
        if step < iterations:
            value = descent_step(function, h, optimizer)
            schedule.step()
        else:
            value = function(h).detach()
        better = value < lowest
        best, lowest = torch.where(better[:, None], path[-1], best), torch.where(better, value, lowest)
        kept = torch.where(better, step, kept)
    return Descent(best, lowest, kept, torch.stack(path))


def make_optimizer(h: Float[Tensor, "b n"], rate: float, steps: StepRule) -> Optimizer:
    """Build Adam or plain gradient steps for h.

    Adam's betas are 0.9 and 0.99. The usual 0.999 averages over about 1000 steps, but a descent has only 50 to a few
    hundred steps. The paper names no betas.
    """
    if steps == "adam":
        return Adam([h], lr=rate, betas=(0.9, 0.99), capturable=h.is_cuda)
    return SGD([h], lr=rate)


def descent_step(function: Energy, h: Float[Tensor, "b n"], optimizer: Optimizer) -> Float[Tensor, " b"]:
    """Do one step in place, without synchronising with the device.

    Args:
        function: Returns the energy of each row.
        h: Current iterates; requires a gradient.
        optimizer: Optimiser of h.

    Returns:
        Energies before the step.
    """
    value = function(h)
    gradient = _gradient(value, h)
    finite = value.isfinite() & gradient.isfinite().all(1)
    h.grad = torch.where(finite[:, None], gradient, 0)
    before = h.detach().clone()
    optimizer.step()
    with torch.no_grad():  # Adam's momentum would move a row even if its gradient is 0
        h.copy_(torch.where(finite[:, None], h, before))
    return value.detach()


@full_precision
def _gradient(value: Float[Tensor, " b"], h: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
    """Compute the gradient of each row; on the CPU autocast would lower the backward pass of float32 products too."""
    return torch.autograd.grad(value.sum(), h)[0]
