"""Steps that a CUDA graph replays are those of the plain path: on a pretended GPU, and on a real one if there is one.

The pretended GPU must give equal bits. A real one adds with atomics in any order, so its sums differ in their last
bits. The exact silhouette is smooth, so that this changes a path little; Kato's mask would jump.
"""

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import tiny_network
import torch
from pretended_gpu import PretendedGpu
from small_nets import network_on_gpu, random_images
from torch import Tensor

from dhpe_lib.common.cuda_graphs import SWITCH, WARM_UP
from dhpe_lib.hand.model import HandModel, neutral_h
from dhpe_lib.network.estimator import Estimator
from dhpe_lib.refinement.descent import descend
from dhpe_lib.refinement.energy import EQ_13, Observations
from dhpe_lib.refinement.fitting import FitOptions, fit_hands
from dhpe_lib.refinement.test_time import RefineOptions, refine
from dhpe_lib.rendering.renderer import silhouette

pytestmark = pytest.mark.without_device
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
SIDE = 32
# On the CPU, noise of 1e-6 of the gradient's largest entry changed a path of plain steps by 3e-7. Adam divides each
# entry by its own size, so it changed a fit by 4e-3.
TOLERANCE = {"adam": 5e-3, "gradient": 1e-4}


@dataclass
class Gpu:
    """The GPU of a test.

    Attributes:
        pretended: The pretence, or None on a real GPU.
        replays: Number of replays of each graph, in the order of the first replays.
    """

    pretended: PretendedGpu | None
    replays: Counter[Any] = field(default_factory=Counter)

    def check(self, found: Tensor, plain: Tensor, atol: float) -> None:
        """Compare results on the GPU."""
        atol = 0.0 if self.pretended else atol
        torch.testing.assert_close(found.cpu(), plain.cpu(), rtol=atol, atol=atol)


@pytest.fixture(params=["pretended", pytest.param("cuda", marks=needs_cuda)])
def gpu(request, monkeypatch) -> Iterator[Gpu]:
    monkeypatch.delenv(SWITCH, raising=False)
    tiny_network.install(monkeypatch.setitem)
    with PretendedGpu() if request.param == "pretended" else nullcontext() as pretended:
        used, replay = Gpu(pretended), torch.cuda.CUDAGraph.replay

        def counted(graph: Any) -> None:
            used.replays[graph] += 1
            replay(graph)

        monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", counted)
        yield used


@pytest.fixture
def hand(gpu) -> HandModel:
    return HandModel.open_hand().to("cuda")


@pytest.fixture
def network(gpu) -> Estimator:
    made = network_on_gpu(silhouette="coverage")
    torch.nn.init.constant_(made.regressor.f_ref.bias, 0.01)  # else an untrained f_Ref does not move j2D
    return made


def lengths(path: Tensor) -> Tensor:
    """Largest change of each iterate, on the CPU."""
    return (path[1:] - path[:-1]).abs().amax(-1).cpu()


def with_and_without_graphs(gpu: Gpu, monkeypatch, call: Callable[[], Any], replays: list[int]) -> tuple[Any, Any]:
    """Call a function with CUDA graphs and plainly, and check how often each graph was replayed."""
    found = call()
    assert list(gpu.replays.values()) == replays
    with monkeypatch.context() as patch:
        patch.setenv(SWITCH, "0")
        plain = call()
    assert list(gpu.replays.values()) == replays  # the switch turns graphs off
    return found, plain


@pytest.mark.parametrize("evidence", ["recursive", "fixed"])
@pytest.mark.parametrize("steps", ["adam", "gradient"])
def test_refine(gpu, network, generator, monkeypatch, steps, evidence):
    images = random_images(2, generator).to("cuda")
    estimate = network.predict(images)
    options = RefineOptions(replace(EQ_13, tau=float("inf")), 7, 1e-2, steps, evidence)
    found, plain = with_and_without_graphs(
        gpu, monkeypatch, lambda: refine(network, images, estimate, options), [7 - WARM_UP]
    )
    for name in ("path", "joints", "joints_2d", "energy"):
        gpu.check(getattr(found, name), getattr(plain, name), TOLERANCE[steps])
    assert (lengths(found.path) > {"adam": 9e-3, "gradient": 1e-3}[steps]).all()
    moved = lengths(found.joints_2d.flatten(2))
    assert (moved > 9e-3).all() if evidence == "recursive" else not moved.any()


def test_fit_hands_in_both_stages(gpu, hand, generator, monkeypatch):
    h = neutral_h(hand).repeat(2, 1).cpu()
    h[:, :48] += 0.2 * torch.randn(2, 48, generator=generator)
    h[:, 59] = 2.2
    mesh = hand.forward_h(h.to("cuda"))
    mask = silhouette(mesh.vertices, hand.faces, SIDE, "coverage")
    evidence = Observations(mesh.joints[..., :2], torch.ones(2, 21, device="cuda"), mask)
    options = FitOptions(starts=2, iterations=6, final_iterations=5)
    found, plain = with_and_without_graphs(
        gpu, monkeypatch, lambda: fit_hands(hand, evidence, options), [6 - WARM_UP, 5 - WARM_UP]
    )
    for name in ("trajectory", "energy"):
        gpu.check(getattr(found, name), getattr(plain, name), 2 * TOLERANCE["adam"])
    assert (lengths(found.trajectory)[:-1] > 1e-2).all()  # the last step is short, since the step size decays


@pytest.mark.parametrize("steps", ["adam", "gradient"])
def test_steps_get_smaller(gpu, monkeypatch, steps):
    start = torch.linspace(-2, 2, 6, device="cuda").view(2, 3)
    found, plain = with_and_without_graphs(
        gpu, monkeypatch, lambda: descend(lambda x: x.square().sum(1), start, 8, 0.05, steps), [8 - WARM_UP]
    )
    gpu.check(found.path, plain.path, 1e-5)
    on_cpu = descend(lambda x: x.square().sum(1), start.cpu(), 8, 0.05, steps)
    torch.testing.assert_close(found.path.cpu(), on_cpu.path, rtol=1e-5, atol=1e-5)


def test_predict_has_the_weights_of_the_moment(gpu, network, generator):
    images = random_images(6, generator).to("cuda").split(2)
    plain = [network.predict(part) for part in images]
    assert not gpu.replays
    if gpu.pretended:
        gpu.pretended.waits.clear()
    replayed = [network.predict(part) for part in images]
    assert gpu.pretended is None or not gpu.pretended.waits
    assert list(gpu.replays.values()) == [3]
    for one, other in zip(plain, replayed, strict=True):  # an earlier result is not overwritten
        gpu.check(one.h, other.h, 1e-4)
        gpu.check((one.mask != other.mask).float().mean(), torch.zeros(()), 1e-2)
    with torch.no_grad():
        network.regressor.f_j3d.weight.mul_(1.5)
    changed = network.predict(images[0]).h
    assert (changed - plain[0].h).abs().amax() > 1e-2
    gpu.check(changed, network(images[0]).h, 1e-4)
    network.predict(images[0][:1])
    network.predict(images[0], render=False)
    network.regressor.f_j3d.weight.data = network.regressor.f_j3d.weight.data.clone()
    network.predict(images[0])
    assert list(gpu.replays.values()) == [4]  # no other batch, call or place of the weights has its graph
    assert not copy.deepcopy(network).replayed.kept


def test_predict_without_graphs(gpu, network, generator, monkeypatch):
    images = random_images(2, generator).to("cuda")
    monkeypatch.setenv(SWITCH, "0")
    for _ in range(WARM_UP + 2):
        network.predict(images)
    assert not gpu.replays
    assert not network.replayed.kept
