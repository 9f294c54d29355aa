"""Refinement improves a disturbed hand, each option has its effect, and the hands of a batch are independent."""

from dataclasses import replace

import pytest
import torch
from small_nets import CONFIG, SIZE, random_images
from torch import Tensor

from dhpe_lib.hand.laplacian import Laplacian
from dhpe_lib.hand.model import neutral_h
from dhpe_lib.network.estimator import Estimate, Estimator
from dhpe_lib.network.evidence import resize
from dhpe_lib.network.regressor import RegressorState
from dhpe_lib.refinement.energy import EQ_13
from dhpe_lib.refinement.test_time import REFINEMENTS, Refinement, RefineOptions, refine
from dhpe_lib.rendering.renderer import silhouette

SHORT = RefineOptions(iterations=6)


@pytest.fixture(scope="module")
def network() -> Estimator:
    torch.manual_seed(0)
    return Estimator(replace(CONFIG, silhouette="coverage")).eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return random_images(3, torch.Generator().manual_seed(4))


@pytest.fixture(scope="module")
def truth(network: Estimator) -> Tensor:
    h = neutral_h(network.hand).repeat(3, 1) + 0.1 * torch.randn(3, 63, generator=torch.Generator().manual_seed(5))
    h[:, 59] = 2.5
    return h


@pytest.fixture(scope="module")
def disturbed(network: Estimator, images: Tensor, truth: Tensor) -> Estimate:
    """An estimate with an error of some pixels, with the ground-truth 2D joints as its j2D."""
    estimate = network.predict(images)
    with torch.no_grad():
        joints_2d = network.hand.forward_h(truth).joints[..., :2]
        h = truth + 0.02 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(6))
        step = RegressorState(h, joints_2d, network.hand.forward_h(h))
    return replace(estimate, steps=(*estimate.steps[:-1], step))


def rows(estimate: Estimate, k: int) -> Estimate:
    """One hand of an estimate, with only its last step."""
    one, step, z = slice(k, k + 1), estimate.steps[-1], estimate.evidence
    mesh = type(step.mesh)(step.mesh.vertices[one], step.mesh.joints[one])
    evidence = replace(z, feature=z.feature[one], heatmaps=None, joints_2d=z.joints_2d[one], score=z.score[one])
    return Estimate(evidence, (RegressorState(step.h[one], step.joints_2d[one], mesh),), None)


def distance(joints: Tensor, truth: Tensor) -> Tensor:
    return (joints - truth).norm(dim=-1).mean(-1)


def changed(a: Refinement, b: Refinement) -> bool:
    return not torch.allclose(a.path[-1], b.path[-1], atol=1e-6)


def test_a_disturbed_hand_comes_nearer_in_the_picture(network, images, disturbed, truth):
    known = network.hand.forward_h(truth).joints[..., :2]
    found = refine(network, images, disturbed, REFINEMENTS["joints-only-fixed"])
    before, after = distance(disturbed.joints[..., :2], known), distance(found.estimate.joints[..., :2], known)
    assert (after < 0.5 * before).all()


def test_the_energy_of_all_terms_falls(network, images, disturbed):
    whole = replace(EQ_13, tau=1e9)
    found = refine(network, images, disturbed, RefineOptions(whole, evidence="fixed", iterations=20))
    total = found.terms["joints"] + found.terms["lap"] + found.terms["feature"]
    assert (found.terms["gate"] == 1).all()
    assert (total[-1] < total[0]).all()


def test_the_trajectory_and_the_kept_iterate(network, images, disturbed):
    found = refine(network, images, disturbed, SHORT)
    assert found.path.shape == (7, 3, 63)
    assert found.joints.shape == (7, 3, 21, 3)
    assert torch.equal(found.path[0], disturbed.h)
    assert torch.equal(found.joints_2d[0], disturbed.joints_2d)
    torch.testing.assert_close(network.hand.forward_h(found.path[-1]).joints, found.joints[-1])
    energy = sum(found.terms[name] for name in ("joints", "lap", "feature")) + 1e3 * (1 - found.terms["gate"])
    best = energy.argmin(0)
    hands = torch.arange(3)
    assert torch.equal(found.kept, best)
    assert torch.equal(found.estimate.h, found.path[best, hands])
    assert torch.equal(found.estimate.joints_2d, found.joints_2d[best, hands])
    torch.testing.assert_close(found.estimate.mesh.joints, network.hand.forward_h(found.estimate.h).joints)
    assert found.estimate.mask.shape == (3, SIZE, SIZE)
    assert found.estimate.steps[:-1] == disturbed.steps
    assert not any(value.requires_grad for value in (found.path, found.joints, found.estimate.h))


def test_evidence_moves_by_f_ref_or_stays(network, images, disturbed):
    """f_Ref of an untrained network keeps j2D; here a bias also moves it to the right."""
    bias = network.regressor.f_ref.bias
    with torch.no_grad():
        bias[0::2] += 0.01
    try:
        modes = ("fixed", "recursive", "anchored")
        fixed, moving, anchored = (refine(network, images, disturbed, replace(SHORT, evidence=mode)) for mode in modes)
    finally:
        with torch.no_grad():
            bias.zero_()
    assert torch.equal(fixed.joints_2d, disturbed.joints_2d.expand(7, -1, -1, -1))
    shift = 0.01 * torch.arange(7)[:, None, None]
    torch.testing.assert_close(moving.joints_2d[..., 0], disturbed.joints_2d[..., 0] + shift, rtol=0, atol=1e-5)
    torch.testing.assert_close(moving.joints_2d[..., 1], fixed.joints_2d[..., 1], rtol=0, atol=1e-5)
    first = disturbed.steps[-2].joints_2d + torch.tensor([0.01, 0.0])
    torch.testing.assert_close(anchored.joints_2d[1:], first.expand(6, -1, -1, -1), rtol=0, atol=1e-5)
    assert torch.equal(anchored.joints_2d[0], disturbed.joints_2d)
    assert changed(fixed, moving)
    torch.testing.assert_close(fixed.path[1], moving.path[1])  # the first step uses only j2D(0)


def test_f_ref_sees_h_and_joints_of_each_iterate(network, images, disturbed, monkeypatch):
    seen = []

    def refiner(joints_2d: Tensor, feature: Tensor, h: Tensor, joints: Tensor) -> Tensor:
        seen.append((h.clone(), joints.clone()))
        return joints_2d

    monkeypatch.setattr(network.regressor, "refine_joints", refiner)
    found = refine(network, images, disturbed, SHORT)
    for (h, joints), wanted, skeleton in zip(seen, found.path, found.joints, strict=True):
        assert torch.equal(h, wanted)
        assert torch.equal(joints, skeleton)


def test_variants_switch_their_term(network, images, disturbed):
    found = {
        name: refine(network, images, disturbed, replace(options, iterations=3))
        for name, options in REFINEMENTS.items()
    }
    whole = found.pop("refinement")
    assert (found["joints-only"].terms["feature"] == 0).all()
    assert (found["feature-only"].terms["joints"] == 0).all()
    assert (found["joints-only"].terms["joints"] > 0).all()
    assert (found["feature-only"].terms["feature"] > 0).all()
    for name in ("joints-only", "feature-only", "gradient-steps"):
        assert changed(whole, found[name]), name
    assert not changed(whole, found["evidence-fixed"])  # f_Ref of an untrained network keeps j2D
    assert all((one.terms["pose"] == 0).all() for one in found.values())


def test_a_plain_step_follows_the_equation(network, images, disturbed):
    """With a rate of 1 the step is the gradient; each term's part of it is well above the tolerance."""
    found = refine(network, images, disturbed, RefineOptions(replace(EQ_13, tau=1e9), 1, 1.0, "gradient"))
    gradients = gradients_of_eq_13(network, images, disturbed)
    torch.testing.assert_close(disturbed.h - found.path[1], sum(gradients.values()), rtol=1e-5, atol=1e-5)
    assert all(gradient.abs().max() > 1e-4 for gradient in gradients.values())


def gradients_of_eq_13(network: Estimator, images: Tensor, estimate: Estimate) -> dict[str, Tensor]:
    """The gradient of each term, written out a second time, with lambda = 1 for all hands."""
    h, features, x = estimate.h.clone().requires_grad_(), network.features, resize(images, SIZE)
    mesh = network.hand.forward_h(h)
    cut_out = x * silhouette(mesh.vertices, network.hand.faces, SIZE, "coverage")[:, None]
    terms = {
        "joints": (mesh.joints[..., :2] - estimate.joints_2d).square().sum(),
        "feature": (features(x) - features(cut_out)).square().mean(1).sum(),
        "lap": Laplacian(network.hand)(mesh.vertices, 1 + h[:, 59]).sum(),
    }
    return {name: torch.autograd.grad(term, h, retain_graph=True)[0] for name, term in terms.items()}


def test_hands_of_a_batch_are_independent(network, images, disturbed):
    together = refine(network, images, disturbed, SHORT)
    for k in range(3):
        alone = refine(network, images[k : k + 1], rows(disturbed, k), SHORT)
        torch.testing.assert_close(alone.path[:, 0], together.path[:, k], rtol=1e-3, atol=5e-4)


def test_training_mode_changes_nothing_and_is_restored(network, images, disturbed):
    network.train()
    try:
        found = refine(network, images, disturbed, SHORT)
        assert network.training
    finally:
        network.eval()
    assert torch.equal(found.path, refine(network, images, disturbed, SHORT).path)
    assert all(weight.grad is None for weight in network.parameters())


def test_a_hand_that_is_not_finite_does_not_move_or_disturb_others(network, images, disturbed):
    step = disturbed.steps[-1]
    expected = refine(network, images, disturbed, SHORT)
    joints_2d, h = step.joints_2d.clone(), step.h.clone()
    joints_2d[0] = torch.nan
    h[1] = torch.inf
    broken = replace(disturbed, steps=(RegressorState(h, joints_2d, step.mesh),))
    found = refine(network, images, broken, SHORT)
    torch.testing.assert_close(found.path[:, 2], expected.path[:, 2], rtol=1e-3, atol=2e-4)
    assert torch.equal(found.path[:, 0], h[0].expand(7, -1))
    assert torch.equal(found.estimate.h[0], h[0])
    black = images.clone()
    black[0] = 0
    assert refine(network, black, network.predict(black), SHORT).path.isfinite().all()


def test_no_iterations_return_the_estimate(network, images, disturbed):
    found = refine(network, images, disturbed, RefineOptions(iterations=0))
    assert torch.equal(found.estimate.h, disturbed.h)
    assert found.path.shape == (1, 3, 63)


def test_joints_without_confidence_have_no_effect(network, images, disturbed):
    far = disturbed.joints_2d.clone()
    far[:, 8] += 3
    confidence = torch.ones(3, 21)
    confidence[:, 8] = 0
    step = disturbed.steps[-1]
    options = replace(SHORT, evidence="fixed")
    moved = replace(disturbed, steps=(RegressorState(step.h, far, step.mesh),))
    a, b = (refine(network, images, one, options, confidence) for one in (moved, disturbed))
    assert torch.equal(a.path, b.path)
