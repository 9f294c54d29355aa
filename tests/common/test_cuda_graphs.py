"""Functions that CUDA replays as graphs, on the CPU, on a pretended GPU, and on a real one if there is one."""

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


@pytest.mark.parametrize(("value", "graphs"), [("0", 0), ("1", 1), ("", 1)])
def test_only_0_turns_graphs_off(gpu, monkeypatch, value, graphs):
    monkeypatch.setenv(SWITCH, value)
    adder, _ = results_of("cuda")
    assert adder.calls == (WARM_UP + 1 if graphs else 6)
    assert len(gpu.graphs) == graphs
    assert adder.total.tolist() == [15.0, 15.0]


def test_the_switch_may_change_between_two_calls(gpu, monkeypatch):
    adder = Adder("cuda")
    one = torch.ones(2, device="cuda")
    replayed = Replayed(adder, one.device)
    for k in range(8):
        monkeypatch.setenv(SWITCH, "0" if k in (1, 5, 6) else "1")
        assert replayed(one).total.tolist() == [k + 1.0, k + 1.0]
    assert adder.calls == 1 + WARM_UP + 1 + 2  # plain, warm-up, capture, plain
    assert gpu.graphs[0].replays == 2


def test_while_compiling_nothing_is_captured(gpu, monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_can_be_used_after_a_capture_that_failed():
    values = torch.ones(2, device="cuda")
    replayed = Replayed(lambda x: float(x.sum()), values.device)
    for _ in range(WARM_UP):
        replayed(values)
    with pytest.warns(UserWarning, match="no CUDA graph"):
        assert replayed(values) == 2.0
    assert replayed(values) == 2.0
    assert torch.rand(3, device="cuda").sum().isfinite()
    adder, _ = results_of("cuda")
    assert adder.calls == WARM_UP + 1  # a later function is captured


def test_inside_a_capture_of_the_caller_nothing_is_captured(gpu):
    values = torch.ones(2, device="cuda")
    replayed = Replayed(torch.square, values.device)
    with gpu.capturing():
        for _ in range(WARM_UP + 2):
            replayed(values)
    assert not gpu.graphs
