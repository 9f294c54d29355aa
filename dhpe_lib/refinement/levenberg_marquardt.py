r"""Batched Levenberg-Marquardt for small least-squares problems.

Each row of a batch has its own unknowns x, its own residuals r(x) and its own energy :math:`E(x) = |r(x)|^2`. With the
Jacobian :math:`J = \partial r / \partial x`, one step solves

.. math:: (J^T J + \mu D)\, \delta = -J^T r, \qquad D = \mathrm{diag}(J^T J)

and tries :math:`x + \delta`. If the energy falls, the row takes the step and its damping mu becomes smaller: the next
step is closer to Gauss-Newton. If not, the row stays and its damping grows: the next step is shorter.

The number of steps is fixed and no decision waits for the device, so the loop also runs well on a GPU. float32 and
float64. The result has no gradient.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

# From unknowns, b x n, to residuals, b x m. Row i of the result depends on row i of the unknowns only.
Residuals = Callable[[Tensor], Tensor]
# From unknowns, b x n, to residuals, b x m, and their Jacobians, b x m x n.
Linearisation = Callable[[Tensor], tuple[Tensor, Tensor]]

SHRINK, GROW = 0.2, 5.0
LARGEST_DAMPING = 1e8


@dataclass(frozen=True)
class Minimum:
    """Result of the minimisation.

    Attributes:
        x: Unknowns of lowest energy of each row.
        energy: Sum of squared residuals at `x`.
        damping: Last damping mu; it is small if the last steps were accepted.
        accepted: Number of steps that lowered the energy.
    """

    x: Float[Tensor, "b n"]
    energy: Float[Tensor, " b"]
    damping: Float[Tensor, " b"]
    accepted: Int64[Tensor, " b"]


def by_autodiff(residuals: Residuals) -> Linearisation:
    """Add the Jacobian to a residual function by automatic differentiation.

    Args:
        residuals: Any function of b x n unknowns that torch.func can trace.

    Returns:
        The function that :func:`levenberg_marquardt` needs. It runs m backward passes at once for m residuals. (Forward
        mode would need n, but the first use of it in PyTorch raises a warning about ``torch.jit``.)
    """

    def of_one(x: Tensor) -> tuple[Tensor, Tensor]:
        value = residuals(x[None])[0]
        return value, value

    def linearise(x: Tensor) -> tuple[Tensor, Tensor]:
        jacobian, value = torch.func.vmap(torch.func.jacrev(of_one, has_aux=True))(x)
        return value, jacobian

    return linearise


@torch.no_grad()
def levenberg_marquardt(
    linearise: Linearisation, x: Float[Tensor, "b n"], steps: int, damping: float = 1e-3
) -> Minimum:
    """Minimise the sum of squared residuals of each row.

    Args:
        linearise: Residuals and Jacobians, from :func:`by_autodiff` or analytic.
        x: Start of each row.
        steps: Number of steps tried, each with one evaluation of `linearise`.
        damping: Initial mu. With 0 the first step is a Gauss-Newton step.

    Returns:
        The best point of each row. A row whose energy is not finite at the start keeps its start.

    Source: Marquardt 1963; Nocedal and Wright, *Numerical Optimization*, Sec. 10.3.
    """
    residuals, jacobian = linearise(x)
    energy = residuals.square().sum(1)
    mu = torch.full_like(energy, damping)
    smallest = 10 * torch.finfo(x.dtype).eps
    accepted = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    for _ in range(steps):
        trial = x + damped_step(residuals, jacobian, mu)
        new_residuals, new_jacobian = linearise(trial)
        new_energy = new_residuals.square().sum(1)
        better = new_energy < energy  # false where the trial is not finite
        x = torch.where(better[:, None], trial, x)
        residuals = torch.where(better[:, None], new_residuals, residuals)
        jacobian = torch.where(better[:, None, None], new_jacobian, jacobian)
        energy = torch.where(better, new_energy, energy)
        mu = torch.where(better, SHRINK * mu, GROW * mu.clamp_min(smallest)).clamp(smallest, LARGEST_DAMPING)
        accepted = accepted + better
    return Minimum(x, energy, mu, accepted)


def damped_step(
    residuals: Float[Tensor, "b m"], jacobian: Float[Tensor, "b m n"], damping: Float[Tensor, " b"]
) -> Float[Tensor, "b n"]:
    """Solve the damped normal equations of each row.

    An unknown that no residual depends on does not move.

    Args:
        residuals: r.
        jacobian: J.
        damping: mu.

    Returns:
        The step delta; not finite where the damped matrix is not positive definite.

    Source: Marquardt 1963.
    """
    normal = jacobian.mT @ jacobian
    gradient = jacobian.mT @ residuals[..., None]
    diagonal = normal.diagonal(dim1=1, dim2=2)
    # An unknown without influence has a zero row: put a one there, so that the matrix stays invertible.
    idle = (diagonal == 0).to(diagonal.dtype)
    matrix = normal + torch.diag_embed(damping[:, None] * diagonal + idle)
    factor, failed = torch.linalg.cholesky_ex(matrix)
    step = -torch.cholesky_solve(gradient, factor)[..., 0]
    return torch.where(failed[:, None] == 0, step, torch.nan)
