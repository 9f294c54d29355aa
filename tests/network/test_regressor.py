"""The regressor equals Eqs. 4 to 6 written out, and starts near the mean hand."""

import pytest
import torch
from torch import nn

from dhpe_lib.hand.model import HandModel, neutral_h
from dhpe_lib.network.regressor import POSE_SPREAD, Regressor

F64 = torch.float64
FEATURE = 5


@pytest.fixture(scope="module")
def hand() -> HandModel:
    return HandModel(HandModel.open_hand().hand, dtype=F64)


def inputs(n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    feature = torch.rand(n, FEATURE, generator=generator, dtype=F64)
    return feature, torch.rand(n, 21, 2, generator=generator, dtype=F64) - 0.5


def trained(generator: torch.Generator, **options) -> Regressor:
    """A regressor with random weights instead of its initial weights."""
    regressor = Regressor(FEATURE, **options).double()
    for value in regressor.parameters():
        nn.init.normal_(value, std=0.03, generator=generator)
    return regressor


def test_the_papers_sizes():
    regressor = Regressor()
    assert (regressor.f_j3d.in_features, regressor.f_j3d.out_features) == (2153, 63)
    assert (regressor.f_ref.in_features, regressor.f_ref.out_features) == (2216, 42)
    assert sum(value.numel() for value in regressor.parameters()) == 2154 * 63 + 2217 * 42


@pytest.mark.parametrize("standard_units", [False, True])
def test_iterations_written_out(hand, generator, tol, standard_units):
    """Both layers see h in the unit, and f_Ref sees the mesh of the new h."""
    regressor = trained(generator, standard_units=standard_units)
    unit = torch.ones(63, dtype=F64)
    unit[:45] = POSE_SPREAD if standard_units else 1
    feature, joints_2d = inputs(2, generator)
    steps = regressor(feature, joints_2d, hand)
    assert len(steps) == 4
    a, a0 = regressor.f_j3d.weight, regressor.f_j3d.bias
    r, r0 = regressor.f_ref.weight, regressor.f_ref.bias
    for b in range(2):
        h, j2d = torch.cat((hand.hands_mean, torch.zeros(18, dtype=F64))), joints_2d[b].flatten()
        for t in range(4):
            j3d = hand.forward_h(h[None]).joints[0]
            torch.testing.assert_close(steps[t].h[b], h, **tol[F64])
            torch.testing.assert_close(steps[t].joints_2d[b].flatten(), j2d, **tol[F64])
            torch.testing.assert_close(steps[t].mesh.joints[b], j3d, **tol[F64])
            h = h + unit * (a @ torch.cat((feature[b], j2d, h / unit)) + a0)
            j3d = hand.forward_h(h[None]).joints[0]
            j2d = r @ torch.cat((j2d, feature[b], h / unit, j3d.flatten())) + r0
    assert (steps[3].h - steps[0].h).norm() > 0.1


def test_hidden_layers_written_out(hand, generator, tol):
    regressor = trained(generator, hidden=7, standard_units=True)
    feature, joints_2d = inputs(2, generator)
    h = neutral_h(hand).expand(2, -1) + 0.1
    weights = list(regressor.f_j3d.parameters())
    values = torch.cat((feature, joints_2d.flatten(1), h / regressor.unit), 1)
    for weight, bias in zip(weights[0:4:2], weights[1:4:2], strict=True):
        values = nn.functional.gelu(values @ weight.T + bias)
    expected = regressor.unit * (values @ weights[4].T + weights[5])
    torch.testing.assert_close(regressor.h_step(feature, joints_2d, h), expected, **tol[F64])


def test_hidden_layers_start_near_the_mean_hand(hand, generator):
    torch.manual_seed(0)
    steps = Regressor(FEATURE, hidden=16).double()(*inputs(3, generator), hand)
    assert 0 < (steps[3].h - steps[0].h).abs().max() < 0.1


def test_an_untrained_f_ref_keeps_the_evidence(hand, generator):
    torch.manual_seed(0)
    feature, joints_2d = inputs(3, generator)
    steps = Regressor(FEATURE).double()(feature, joints_2d, hand)
    assert torch.equal(steps[0].h, neutral_h(hand).expand(3, 63))
    for step in steps:
        assert torch.equal(step.joints_2d, joints_2d)
        assert (step.h - steps[0].h).abs().max() < 0.1
    assert (steps[3].h != steps[0].h).all()


def test_without_refiner_the_evidence_stays(hand, generator):
    regressor = trained(generator, without_refiner=True)
    assert [name for name, _ in regressor.named_parameters()] == ["f_j3d.weight", "f_j3d.bias"]
    feature, joints_2d = inputs(2, generator)
    for step in regressor(feature, joints_2d, hand):
        assert step.joints_2d is joints_2d


def test_gradients_reach_both_layers_and_the_feature(hand, generator):
    """f_Ref also learns from the mesh, since its joints are an input of the next step of h."""
    regressor = trained(generator)
    feature, joints_2d = inputs(2, generator)
    last = regressor(feature.requires_grad_(), joints_2d, hand)[-1]
    leaves = [feature, *regressor.parameters()]
    for result in (last.mesh.joints, last.joints_2d):
        gradients = torch.autograd.grad(result.square().sum(), leaves, retain_graph=True)
        assert all((g != 0).double().mean() > 0.9 and g.isfinite().all() for g in gradients)


def test_gradient_by_finite_differences(hand, generator):
    regressor = trained(generator)
    feature, joints_2d = inputs(1, generator)
    cotangent = torch.randn(1, 21, 3, generator=generator, dtype=F64)

    def contraction(x: torch.Tensor) -> torch.Tensor:
        last = regressor(x, joints_2d, hand)[-1]
        return (last.mesh.joints * cotangent).sum() + last.joints_2d.square().sum()

    assert torch.autograd.gradcheck(contraction, feature.requires_grad_(), atol=1e-6)


@pytest.mark.parametrize("iterations", [0, 1, 5])
def test_any_number_of_iterations_and_an_empty_batch(iterations, hand, generator):
    regressor = trained(generator, iterations=iterations)
    steps = regressor(*inputs(0, generator), hand)
    assert len(steps) == iterations + 1
    assert steps[-1].mesh.vertices.shape == (0, 778, 3)
