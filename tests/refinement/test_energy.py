"""Each term of the energy has the known value and the gradient of finite differences; the gate works for each hand."""

from dataclasses import fields, replace

import pytest
import torch
from small_nets import CONFIG, SIZE, random_images
from torch import Tensor

from dhpe_lib.hand.model import HandModel, neutral_h
from dhpe_lib.network.estimator import Estimator
from dhpe_lib.network.evidence import resize
from dhpe_lib.refinement.energy import (
    EQ_13,
    Appearance,
    EnergyWeights,
    Observations,
    energy,
    energy_terms,
    hand_prior,
    is_near,
)
from dhpe_lib.rendering.renderer import silhouette

TERMS = ("joints", "feature", "lap", "mask", "pose", "shape", "limits")


@pytest.fixture(scope="module")
def network() -> Estimator:
    torch.manual_seed(0)
    hand = HandModel(HandModel.open_hand().hand, dtype=torch.float64)
    return Estimator(CONFIG, hand).double().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def h(network: Estimator) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    h = neutral_h(network.hand).repeat(2, 1) + 0.3 * torch.randn(2, 63, generator=generator, dtype=torch.float64)
    h[:, 59] = 2.5
    h[:, 60:] *= 0.1
    return h


@pytest.fixture(scope="module")
def evidence(network: Estimator, h: Tensor) -> Observations:
    """Joints about 5 pixels from the skeleton, so that lambda is 1 for all hands; a rectangle as the mask."""
    generator = torch.Generator().manual_seed(2)
    images = random_images(2, generator).double()
    small = resize(images, network.features.input_size)
    with torch.no_grad():
        feature = network.features(small)
        joints = network.hand.forward_h(h).joints[..., :2]
    joints = joints + 0.02 * torch.randn(joints.shape, generator=generator, dtype=torch.float64)
    mask = torch.zeros(2, SIZE, SIZE, dtype=torch.float64)
    mask[:, 16:48, 20:40] = 1
    confidence = torch.rand(2, 21, generator=generator).double()
    return Observations(joints, confidence, mask, Appearance(network.features, small, feature, "coverage"))


@pytest.mark.parametrize("name", TERMS)
def test_the_gradient_of_each_term_against_finite_differences(network, h, evidence, name):
    weights, prior = EnergyWeights(**{name: 2.0}), hand_prior(network.hand)
    h = h.clone().requires_grad_()

    def total(x: Tensor) -> Tensor:
        return energy(network.hand, x, evidence, weights, prior).sum()

    (gradient,) = torch.autograd.grad(total(h), h)
    assert gradient.abs().sum() > 0
    direction = torch.randn(h.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    step = 1e-6
    difference = (total(h.detach() + step * direction) - total(h.detach() - step * direction)) / (2 * step)
    close = 1e-2 if name in ("feature", "mask") else 1e-5  # the renderer rounds the positions of edges
    assert float((gradient * direction).sum()) == pytest.approx(float(difference), rel=close)


def test_terms_are_weighted_and_add_up(network, h, evidence):
    prior, mesh = hand_prior(network.hand), network.hand.forward_h(h)
    once = EnergyWeights(**dict.fromkeys(TERMS, 1.0))
    twice = EnergyWeights(**dict.fromkeys(TERMS, 2.0))
    one, two = (energy_terms(network.hand, h, mesh, evidence, weights, prior) for weights in (once, twice))
    for name in TERMS:
        torch.testing.assert_close(getattr(two, name), 2 * getattr(one, name))
        assert (getattr(one, name) > 0).all()
    torch.testing.assert_close(one.total, sum(getattr(one, name) for name in TERMS))
    assert one.gate.tolist() == [1, 1]
    paper = energy_terms(network.hand, h, mesh, evidence, EQ_13, prior)
    assert {field.name for field in fields(paper) if (getattr(paper, field.name) != 0).any()} == {
        "joints", "feature", "lap", "gate",
    }  # fmt: skip


def test_the_joint_term_of_the_paper_is_the_sum_of_squares(network, h, evidence):
    equal = replace(evidence, confidence=torch.ones(2, 21, dtype=torch.float64))
    value = energy(network.hand, h, equal, EnergyWeights(joints=EQ_13.joints), hand_prior(network.hand))
    offset = network.hand.forward_h(h).joints[..., :2] - evidence.joints_2d
    torch.testing.assert_close(value, offset.square().sum((1, 2)))


def test_the_feature_term_by_hand_is_near_0_for_the_masked_image(network, h, evidence):
    mesh, prior, weights = network.hand.forward_h(h), hand_prior(network.hand), EnergyWeights(feature=1.0)
    appearance = evidence.appearance
    masked = appearance.images * silhouette(mesh.vertices, network.hand.faces, SIZE, "coverage")[:, None]
    expected = (network.features(masked) - appearance.feature).square().mean(1)
    torch.testing.assert_close(energy(network.hand, h, evidence, weights, prior), expected)
    black = replace(evidence, appearance=replace(appearance, images=masked, feature=network.features(masked)))
    twice_masked = energy(network.hand, h, black, weights, prior)  # only partly covered outline pixels change
    assert (twice_masked < 0.05 * expected).all()


def test_the_feature_term_of_a_fixed_size_cannot_make_a_hand_grow(network, h, evidence):
    prior, x = hand_prior(network.hand), h.clone().requires_grad_()
    fixed = replace(evidence, appearance=replace(evidence.appearance, keeps_size=True))
    weights = EnergyWeights(feature=1.0)
    plain, kept = (energy(network.hand, x, one, weights, prior) for one in (evidence, fixed))
    torch.testing.assert_close(plain, kept)
    free, bound = (torch.autograd.grad(one.sum(), x)[0] for one in (plain, kept))
    size = torch.zeros(63, dtype=torch.bool)
    size[45:55] = size[59] = True
    assert (free[:, size] != 0).any(1).all()
    assert bound[:, size].eq(0).all()
    torch.testing.assert_close(bound[:, ~size], free[:, ~size])


def test_each_hand_has_its_own_gate(network, h, evidence):
    """The threshold is 15 pixels of the 224, for the mean over the joints weighted by confidence."""
    mesh, prior = network.hand.forward_h(h), hand_prior(network.hand)
    joints = mesh.joints[..., :2].detach()
    ones = torch.ones(2, 21, dtype=torch.float64)
    near, far = (joints + torch.tensor([pixels / 224, 0]) for pixels in (14.9, 15.1))
    mixed = replace(evidence, joints_2d=torch.stack((near[0], far[1])), confidence=ones)
    assert is_near(mesh.joints, mixed, 15.0).tolist() == [True, False]
    x = h.clone().requires_grad_()
    terms = energy_terms(network.hand, x, network.hand.forward_h(x), mixed, EnergyWeights(feature=1.0), prior)
    assert terms.gate.tolist() == [1, 0]
    assert terms.feature[0] > 0 == terms.feature[1]
    (gradient,) = torch.autograd.grad(terms.total.sum(), x)
    assert gradient[0].abs().sum() > 0 == gradient[1].abs().sum()
    one_far = near.clone()
    one_far[:, 3] += 9
    known = ones.clone()
    known[:, 3] = 0
    assert is_near(mesh.joints, Observations(one_far, ones), 15.0).tolist() == [False, False]
    assert is_near(mesh.joints, Observations(one_far, known), 15.0).tolist() == [True, True]


def test_depth_has_no_gradient(network, h, evidence):
    """The gradient to the depth is exactly 0, since Adam would follow a rounding error."""
    x = h.clone().requires_grad_()
    energy(network.hand, x, evidence, EQ_13, hand_prior(network.hand)).sum().backward()
    assert (x.grad[:, 62] == 0).all()
    assert (x.grad[:, :62] != 0).all()


def test_missing_evidence_counts_0(network, h, evidence):
    prior, everything = hand_prior(network.hand), EnergyWeights(**dict.fromkeys(TERMS, 1.0))
    without = energy_terms(
        network.hand, h, network.hand.forward_h(h), replace(evidence, mask=None, appearance=None), everything, prior
    )
    assert (without.mask == 0).all()
    assert (without.feature == 0).all()
    nobody = replace(evidence, confidence=torch.zeros(2, 21, dtype=torch.float64))
    assert (energy(network.hand, h, nobody, EnergyWeights(joints=1.0), prior) == 0).all()


def test_a_hand_that_is_not_finite_or_outside_does_not_disturb_others(network, h, evidence):
    prior, weights = hand_prior(network.hand), replace(EQ_13, tau=1e9)
    expected = energy(network.hand, h, evidence, weights, prior)[1]
    for value in (torch.nan, torch.inf):
        broken = h.clone()
        broken[0, 61] = value
        assert energy(network.hand, broken, evidence, weights, prior)[1] == pytest.approx(float(expected), rel=1e-9)
    away = h.clone()
    away[0, 60] = 5.0
    away.requires_grad_()
    values = energy(network.hand, away, evidence, weights, prior)
    (gradient,) = torch.autograd.grad(values.sum(), away)
    assert values.isfinite().all()
    assert gradient.isfinite().all()
