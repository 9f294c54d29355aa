from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from torch import Tensor

from dhpe_lib.refinement.levenberg_marquardt import Linearisation, by_autodiff, damped_step, levenberg_marquardt

TYPES = (torch.float32, torch.float64)


def rosenbrock(x: Tensor) -> Tensor:
    """Residuals whose squares sum to Rosenbrock's function, with its minimum 0 at (1, 1)."""
    return torch.stack((10 * (x[:, 1] - x[:, 0] ** 2), 1 - x[:, 0]), 1)


def linear(matrix: Tensor, target: Tensor) -> Linearisation:
    return lambda x: ((matrix @ x[..., None])[..., 0] - target, matrix)


def test_one_gauss_newton_step_solves_a_linear_problem(generator: torch.Generator) -> None:
    matrix = torch.randn(5, 12, 4, generator=generator, dtype=torch.float64)
    target = torch.randn(5, 12, generator=generator, dtype=torch.float64)
    start = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    found = levenberg_marquardt(linear(matrix, target), start, steps=1, damping=0.0)
    oracle = torch.linalg.lstsq(matrix, target[..., None]).solution[..., 0]
    torch.testing.assert_close(found.x, oracle, rtol=1e-9, atol=1e-11)
    assert (found.accepted == 1).all()


@pytest.mark.parametrize("dtype", TYPES)
def test_rosenbrock(dtype: torch.dtype, device: torch.device) -> None:
    start = torch.tensor([[-1.2, 1.0], [3.0, -2.0], [0.0, 0.0]], dtype=dtype, device=device)
    found = levenberg_marquardt(by_autodiff(rosenbrock), start, steps=60)
    torch.testing.assert_close(found.x, torch.ones_like(start), rtol=0, atol=1e-3 if dtype == torch.float32 else 1e-9)
    assert found.x.dtype == dtype
    assert found.x.device.type == device.type
    assert (found.accepted > 5).all()
    assert (found.accepted <= 60).all()


def test_an_exponential_like_scipy(generator: torch.Generator) -> None:
    t = torch.linspace(0, 2, 30, dtype=torch.float64)
    noise = 0.05 * torch.randn(3, 30, generator=generator, dtype=torch.float64)
    y = torch.tensor([[1.0], [2.0], [0.5]]).double() * (torch.tensor([[-1.0], [0.5], [1.2]]).double() * t).exp() + noise

    def residuals(x: Tensor, y: Tensor = y) -> Tensor:
        return x[:, :1] * (x[:, 1:] * t).exp() - y

    # The residuals of row i need y of row i, so the Jacobian is written by hand.
    def linearise(x: Tensor) -> tuple[Tensor, Tensor]:
        e = (x[:, 1:] * t).exp()
        return residuals(x), torch.stack((e, x[:, :1] * t * e), 2)

    found = levenberg_marquardt(linearise, torch.ones(3, 2, dtype=torch.float64), steps=40)
    for row in range(3):

        def of_row(x: np.ndarray, row: int = row) -> np.ndarray:
            return residuals(torch.from_numpy(x)[None], y[row : row + 1])[0].numpy()

        oracle = least_squares(of_row, np.ones(2), xtol=1e-12, ftol=1e-12, gtol=1e-12)
        assert found.x[row].numpy() == pytest.approx(oracle.x, rel=1e-6)
        assert float(found.energy[row]) == pytest.approx(2 * oracle.cost, rel=1e-9)


def test_rows_are_independent(generator: torch.Generator) -> None:
    start = torch.randn(6, 2, generator=generator, dtype=torch.float64)
    together = levenberg_marquardt(by_autodiff(rosenbrock), start, steps=12)
    for row in range(6):
        alone = levenberg_marquardt(by_autodiff(rosenbrock), start[row : row + 1], steps=12)
        torch.testing.assert_close(alone.x[0], together.x[row], rtol=1e-9, atol=1e-12)
        assert alone.accepted[0] == together.accepted[row]


def test_the_energy_never_rises() -> None:
    start = torch.tensor([[-1.2, 1.0]], dtype=torch.float64)
    energies = [float(levenberg_marquardt(by_autodiff(rosenbrock), start, steps).energy) for steps in (*range(8), 45)]
    assert energies[0] == pytest.approx(24.2)
    assert all(later <= earlier for earlier, later in pairwise(energies))
    assert energies[-1] < 1e-6


def test_a_step_out_of_the_domain_is_taken_back() -> None:
    """Gauss-Newton on log x = 0 steps from 4 to 4 - 4 log 4 < 0, where the logarithm is not a number."""
    start = torch.tensor([[4.0]], dtype=torch.float64)
    assert float(start + damped_step(start.log(), 1 / start[..., None], torch.zeros(1).double())) < 0
    found = levenberg_marquardt(by_autodiff(torch.log), start, steps=30)
    assert float(found.x) == pytest.approx(1, abs=1e-9)
    assert int(found.accepted) < 30


def test_a_row_that_is_not_finite_stays_and_harms_no_other() -> None:
    start = torch.tensor([[torch.nan, 0.0], [-1.2, 1.0]], dtype=torch.float64)
    found = levenberg_marquardt(by_autodiff(rosenbrock), start, steps=60)
    assert found.x[0].isnan().tolist() == [True, False]
    assert int(found.accepted[0]) == 0
    torch.testing.assert_close(found.x[1], torch.ones(2).double(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", TYPES)
def test_an_unknown_without_influence_does_not_move(dtype: torch.dtype) -> None:
    start = torch.tensor([[-1.2, 1.0, 7.5]], dtype=dtype)
    found = levenberg_marquardt(by_autodiff(lambda x: rosenbrock(x[:, :2])), start, steps=60)
    assert float(found.x[0, 2]) == 7.5
    torch.testing.assert_close(found.x[0, :2], torch.ones(2, dtype=dtype), rtol=0, atol=1e-3)


def test_the_jacobian_by_autodiff_against_finite_differences(generator: torch.Generator) -> None:
    x = torch.randn(4, 2, generator=generator, dtype=torch.float64)
    value, jacobian = by_autodiff(rosenbrock)(x)
    torch.testing.assert_close(value, rosenbrock(x))
    step = 1e-6
    for k in range(2):
        shift = step * torch.eye(2, dtype=torch.float64)[k]
        difference = (rosenbrock(x + shift) - rosenbrock(x - shift)) / (2 * step)
        torch.testing.assert_close(jacobian[..., k], difference, rtol=1e-7, atol=1e-8)
