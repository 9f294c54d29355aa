"""Functions that CUDA replays as graphs, on the CPU and on a pretended GPU."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from pretended_gpu import PretendedGpu
from torch import Tensor

from dhpe_lib.common.cuda_graphs import SWITCH, WARM_UP, Replayed

pytestmark = pytest.mark.without_device


@pytest.fixture
def gpu() -> Iterator[PretendedGpu]:
    with PretendedGpu() as pretended:
        yield pretended


@dataclass(frozen=True)
class Sums:
    total: Tensor
    pair: tuple[Tensor, None]


class Adder:
    """A function with a state on the device, which counts how often Python runs it."""

    def __init__(self, device: str) -> None:
        self.total, self.calls = torch.zeros(2, device=device), 0

    def __call__(self, values: Tensor) -> Sums:
        self.calls += 1
        self.total += values
        return Sums(self.total, (2 * values, None))


def results_of(device: str) -> tuple[Adder, list[Sums]]:
    adder = Adder(device)
    replayed = Replayed(adder, torch.ones(1, device=device).device)
    return adder, [replayed(torch.full((2,), float(k), device=device)) for k in range(6)]


def test_on_the_cpu_each_call_is_plain():
    adder, found = results_of("cpu")
    assert adder.calls == 6
    assert found[-1].total is adder.total


def test_the_steps_are_the_same_on_every_device(device):
    adder, found = results_of(device.type)
    assert adder.total.tolist() == [15.0, 15.0]
    assert [sums.pair[0].tolist()[0] for sums in found] == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]


def test_python_runs_until_the_capture_and_the_steps_go_on(gpu):
    adder, found = results_of("cuda")
    assert adder.calls == WARM_UP + 1
    assert gpu.graphs[0].replays == 6 - WARM_UP
    assert adder.total.tolist() == [15.0, 15.0]
    assert [sums.total.tolist()[0] for sums in found[WARM_UP:]] == [6.0, 10.0, 15.0]
    assert [sums.pair[0].tolist()[0] for sums in found] == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]


def test_the_switch_turns_graphs_off(gpu, monkeypatch):
    monkeypatch.setenv(SWITCH, "0")
    adder, _ = results_of("cuda")
    assert adder.calls == 6
    assert not gpu.graphs


def test_a_function_that_waits_is_called_plainly_after_one_warning(gpu):
    values = torch.ones(2, device="cuda")
    replayed = Replayed(lambda x: float(x.sum()), values.device)
    for _ in range(WARM_UP):
        replayed(values)
    with pytest.warns(UserWarning, match=r"no CUDA graph.*item"):
        assert replayed(values) == 2.0
    assert replayed(values) == 2.0


def test_inside_a_capture_of_the_caller_nothing_is_captured(gpu):
    values = torch.ones(2, device="cuda")
    replayed = Replayed(torch.square, values.device)
    with gpu.capturing():
        for _ in range(WARM_UP + 2):
            replayed(values)
    assert not gpu.graphs
