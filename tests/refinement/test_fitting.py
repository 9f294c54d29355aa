from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.poses import sample_poses
from dhpe_lib.hand.rotations import random_rotations
from dhpe_lib.refinement.analytic_start import align_in_plane
from dhpe_lib.refinement.energy import Observations, energy, hand_prior
from dhpe_lib.refinement.fitting import PHOTO, FitOptions, fit_hands, starting_points, view_rotations
from dhpe_lib.rendering.projection import rasterize

QUICK = FitOptions(starts=6, iterations=60, final_iterations=60)


@dataclass
class Truth:
    """Hands with known ground truth in the crop frame."""

    evidence: Observations
    joints: Tensor
    millimetres: Tensor  # millimetres in one unit of g


@pytest.fixture(scope="module")
def model() -> HandModel:
    return HandModel.open_hand()


@pytest.fixture(scope="module")
def truth(model: HandModel) -> Truth:
    generator = torch.Generator().manual_seed(3)
    hands = model(
        pose=sample_poses(3, generator),
        shape=torch.randn(3, 10, generator=generator),
        rotation=random_rotations(3, generator),
    )
    valid = torch.ones(3, 21, dtype=torch.bool)
    frame = CropFrame.from_joints(hands.joints[..., :2], valid)  # in metres instead of pixels
    side = frame.side[:, None, None]

    def crop(points: Tensor) -> Tensor:
        return torch.cat((frame.to_crop(points[..., :2]), (points - hands.joints[:, 9:10])[..., 2:] / side), -1)

    mask = (rasterize(crop(hands.vertices), model.faces, 112).face >= 0).float()
    joints = crop(hands.joints)
    return Truth(Observations(joints[..., :2], valid.float(), mask), joints, 1000 * frame.side)


def error_2d(joints: Tensor, truth: Truth) -> Tensor:
    """Mean distance as a fraction of the larger side of the hand's box (g is 1.5 times this side)."""
    return 1.5 * (joints[..., :2] - truth.joints[..., :2]).norm(dim=-1).mean(1)


def test_a_fit_matches_the_2d_joints_and_comes_near_in_depth(model: HandModel, truth: Truth) -> None:
    fit = fit_hands(model, replace(truth.evidence, mask=None))
    assert (error_2d(fit.mesh.joints, truth) < 0.015).all()
    error = (fit.mesh.joints - fit.mesh.joints[:, 9:10] - truth.joints + truth.joints[:, 9:10]).norm(dim=-1).mean(1)
    assert (error * truth.millimetres < 20).all()  # the evidence has no depth: the priors must find it
    torch.testing.assert_close(model.forward_h(fit.h).joints, fit.mesh.joints)


def test_the_mask_improves_the_outline(model: HandModel, truth: Truth) -> None:
    """Only six joints are known; without the mask they do not determine the fingers."""
    few = truth.evidence.confidence.clone()
    few[:, [2, 3, 4, 6, 7, 8, 10, 11, 12, 14, 15, 16, 18, 19, 20]] = 0
    options = replace(QUICK, weights=replace(PHOTO, mask=60.0))
    overlaps = []
    for mask in (None, truth.evidence.mask):
        fit = fit_hands(model, Observations(truth.evidence.joints_2d, few, mask), options)
        drawn, known = rasterize(fit.mesh.vertices, model.faces, 112).face >= 0, truth.evidence.mask > 0.5
        overlaps.append((drawn & known).sum((1, 2)) / (drawn | known).sum((1, 2)))
    assert overlaps[1].mean() > overlaps[0].mean() + 0.05


def test_energy_gradient_against_finite_differences(model: HandModel, truth: Truth) -> None:
    exact = HandModel(model.hand, dtype=torch.float64)
    evidence = Observations(truth.evidence.joints_2d.double(), truth.evidence.confidence.double())
    h = starting_points(exact, evidence, 1)[:, 0]
    generator = torch.Generator().manual_seed(0)
    h = (h + 0.05 * torch.randn(h.shape, generator=generator, dtype=torch.float64)).requires_grad_()
    direction = torch.randn(h.shape, generator=generator, dtype=torch.float64)

    def total(x: Tensor) -> Tensor:
        return energy(exact, x, evidence, PHOTO, hand_prior(exact)).sum()

    (gradient,) = torch.autograd.grad(total(h), h)
    step = 1e-6
    difference = (total(h.detach() + step * direction) - total(h.detach() - step * direction)) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(float(difference), rel=1e-5)
    assert (gradient[:, :62] != 0).float().mean() > 0.9  # the last entry is depth, which has no gradient


def test_hands_do_not_influence_each_other(model: HandModel, truth: Truth) -> None:
    options = replace(QUICK, iterations=8, final_iterations=8)
    loose = replace(truth.evidence, mask=None)
    together = fit_hands(model, loose, options)
    alone = fit_hands(model, Observations(loose.joints_2d[1:2], loose.confidence[1:2]), options)
    torch.testing.assert_close(together.h[1:2], alone.h, rtol=0, atol=5e-3)


def test_unknown_joints_do_not_matter(model: HandModel, truth: Truth) -> None:
    options = replace(QUICK, iterations=5, final_iterations=5)
    confidence = truth.evidence.confidence.clone()
    confidence[:, 7] = 0
    joints = truth.evidence.joints_2d.clone()
    joints[:, 7] = torch.nan
    far = joints.clone()
    far[:, 7] = 100.0
    a, b = (fit_hands(model, Observations(j, confidence), options) for j in (joints, far))
    assert a.h.isfinite().all()
    assert torch.equal(a.h, b.h)


def test_the_trajectory_leads_from_start_to_result(model: HandModel, truth: Truth) -> None:
    evidence = replace(truth.evidence, mask=None)
    fit = fit_hands(model, evidence, QUICK)
    assert fit.trajectory.shape == (QUICK.final_iterations + 1, 3, 63)
    first, best = (
        energy(model, h, evidence, QUICK.final_weights, hand_prior(model)) for h in (fit.trajectory[0], fit.h)
    )
    assert (best <= first).all()
    assert best.mean() < 0.95 * first.mean()


def test_bad_evidence_is_refused(model: HandModel, truth: Truth) -> None:
    confidence = truth.evidence.confidence.clone()
    confidence[1, 3:] = 0
    with pytest.raises(ValueError, match="hand 1: fewer than 4"):
        fit_hands(model, Observations(truth.evidence.joints_2d, confidence))
    joints = truth.evidence.joints_2d.clone()
    joints[0, 0] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        fit_hands(model, Observations(joints, truth.evidence.confidence))


def test_align_in_plane_recovers_a_motion(generator: torch.Generator) -> None:
    points = torch.randn(2, 21, 2, generator=generator, dtype=torch.float64)
    angle, scale = torch.tensor([0.7, -2.0]).double(), torch.tensor([1.5, 0.2]).double()
    shift = torch.tensor([[0.3, -1.0], [2.0, 0.5]]).double()
    turn = torch.stack((angle.cos(), -angle.sin(), angle.sin(), angle.cos()), 1).view(2, 2, 2)
    target = scale[:, None, None] * points @ turn.mT + shift[:, None]
    target[:, 4] = 50.0
    weight = torch.ones(2, 21, dtype=torch.float64)
    weight[:, 4] = 0
    found = align_in_plane(points, target, weight)
    for value, known in zip(found, (angle, scale, shift, torch.zeros(2).double()), strict=True):
        torch.testing.assert_close(value, known, rtol=1e-6, atol=1e-9)


def test_view_rotations_are_rotations_in_all_directions() -> None:
    turns = view_rotations(64, torch.float64)
    torch.testing.assert_close(turns @ turns.mT, torch.eye(3).double().expand(64, 3, 3), rtol=0, atol=1e-9)
    assert (torch.linalg.det(turns) > 0).all()
    towards = turns[:, 2]  # the direction of the hand that each view turns to the camera's axis
    assert towards.mean(0).norm() < 0.05
    gaps = (towards @ towards.mT - 2 * torch.eye(64).double()).amax(1)
    assert gaps.min() > 0.9
