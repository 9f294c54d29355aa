"""Batched descent: each row finds its own minimum, keeps its best iterate, and does not move if it is not finite."""

import subprocess
import sys

import pytest
import torch
from project import child_environment
from torch import Tensor

from dhpe_lib.refinement.descent import BETAS, descend

GOAL = torch.tensor([[1.0], [2.0]])


def bowl(x: Tensor) -> Tensor:
    return (x - GOAL).square().sum(1)


def test_descend_keeps_the_best_of_each_row() -> None:
    found = descend(bowl, torch.zeros(2, 1), 200, 0.1)
    torch.testing.assert_close(found.h, GOAL, rtol=0, atol=1e-2)
    assert found.path.shape == (201, 2, 1)
    assert torch.equal(found.energy, bowl(found.h))
    assert torch.equal(found.path[found.kept, torch.arange(2)], found.h)
    start = descend(bowl, torch.zeros(2, 1), 0, 0.1)
    assert torch.equal(start.h, torch.zeros(2, 1))
    assert torch.equal(start.energy, torch.tensor([1.0, 4.0]))


def test_plain_steps_are_those_of_the_equation() -> None:
    path = descend(bowl, torch.zeros(2, 1), 30, 0.05, steps="gradient", decay=False).path
    expected = GOAL * (1 - 0.9 ** torch.arange(31.0)[:, None, None])  # h - gamma 2 (h - goal)
    torch.testing.assert_close(path, expected)


def test_a_constant_rate_of_adam_moves_by_the_rate() -> None:
    path = descend(bowl, torch.full((2, 1), -9.0), 10, 1e-3, decay=False).path
    torch.testing.assert_close(path.diff(dim=0), torch.full((10, 2, 1), 1e-3), rtol=1e-2, atol=0)
    slowing = descend(bowl, torch.full((2, 1), -9.0), 10, 1e-3).path.diff(dim=0)
    assert slowing[-1].max() < 1e-4 < slowing[0].min()


@pytest.mark.parametrize("steps", ["adam", "gradient"])
@pytest.mark.parametrize("decay", [True, False])
def test_the_steps_are_those_of_torch(steps, decay) -> None:
    start, rate, count = torch.tensor([[1.0, -2.0], [0.3, 5.0]], dtype=torch.float64), 0.05, 40
    valley = lambda x: (x[:, 1] - x[:, 0].square()).square() + 0.1 * (1 - x[:, 0]).square()  # noqa: E731
    h = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([h], rate, BETAS) if steps == "adam" else torch.optim.SGD([h], rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, count, eta_min=0 if decay else rate)
    path = [h.detach().clone()]
    for _ in range(count):
        optimiser.zero_grad()
        valley(h).sum().backward()
        optimiser.step()
        schedule.step()
        path.append(h.detach().clone())
    found = descend(valley, start, count, rate, steps, decay)
    torch.testing.assert_close(found.path, torch.stack(path), rtol=1e-9, atol=1e-9)


def test_no_compiler_is_loaded_for_a_descent() -> None:
    """An optimiser of torch would load it: 150 MB and a second."""
    program = (
        "import sys, torch; from dhpe_lib.refinement.descent import descend; "
        "descend(lambda x: x.square().sum(1), torch.ones(1, 2), 2, 0.1); print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=child_environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False"]


def test_the_best_iterate_is_kept() -> None:
    """With far too large steps the start stays the best iterate."""
    found = descend(bowl, GOAL + 0.01, 5, 1.5, steps="gradient", decay=False)
    assert torch.equal(found.h, GOAL + 0.01)
    assert found.kept.tolist() == [0, 0]
    assert (found.path[5] - GOAL).abs().min() > 0.1


@pytest.mark.parametrize("steps", ["adam", "gradient"])
def test_a_row_that_is_not_finite_does_not_move_or_disturb_others(steps) -> None:
    def broken(x: Tensor) -> Tensor:
        return bowl(x) * torch.tensor([1.0, torch.nan])

    found, alone = descend(broken, torch.zeros(2, 1), 20, 0.1, steps), descend(bowl, torch.zeros(2, 1), 20, 0.1, steps)
    assert torch.equal(found.path[:, 0], alone.path[:, 0])
    assert (found.path[:, 1] == 0).all()
    assert found.h[1] == 0
    assert found.energy[1] == torch.inf


def test_a_row_whose_gradient_is_not_finite_does_not_move() -> None:
    def root(x: Tensor) -> Tensor:
        return x.square().sum(1).sqrt() + bowl(x)  # no gradient at 0

    start = torch.tensor([[0.0], [1.0]])
    found = descend(root, start, 5, 0.1)
    assert (found.path[:, 0] == 0).all()
    assert found.path[-1, 1] != 1


def test_momentum_does_not_move_a_row_without_a_finite_gradient() -> None:
    calls = []

    def lost_after_two(x: Tensor) -> Tensor:
        calls.append(1)
        return bowl(x) * (1.0 if len(calls) < 3 else torch.nan)

    path = descend(lost_after_two, torch.ones(2, 1), 5, 0.1, decay=False).path
    assert not torch.equal(path[1], path[2])
    assert torch.equal(path[2], path[5])


@pytest.mark.parametrize("steps", ["adam", "gradient"])
def test_the_steps_are_the_same_on_every_device(device, steps) -> None:
    goal = GOAL.to(device)
    path = descend(lambda x: (x - goal).square().sum(1), torch.zeros(2, 1, device=device), 20, 0.1, steps).path
    torch.testing.assert_close(path.cpu(), descend(bowl, torch.zeros(2, 1), 20, 0.1, steps).path)
