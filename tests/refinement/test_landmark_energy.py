from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.poses import limit_penalty, pose_penalty, sample_poses
from dhpe_lib.refinement.analytic_start import bone_directions
from dhpe_lib.refinement.landmark_energy import (
    Deviations,
    LandmarkPrior,
    LandmarkTargets,
    landmark_residuals,
    pull,
    robust,
)

DEVIATIONS = Deviations()


@pytest.fixture(scope="module")
def exact() -> HandModel:
    return HandModel(HandModel.open_hand().hand, dtype=torch.float64)


def a_problem(model: HandModel, generator: torch.Generator, d: int = 2) -> tuple[LandmarkTargets, Tensor]:
    """Targets at scale 4 of two hands, and an h that does not fit them."""

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    joints = model(pose=sample_poses(2, generator).double(), scale=torch.full((2,), 4.0).double()).joints
    confidence = torch.rand(2, 21, generator=generator, dtype=torch.float64)
    unit = torch.full((2,), 4.0, dtype=torch.float64)
    targets = LandmarkTargets(joints[..., :d], confidence, unit, bone_directions(joints), torch.ones(63).double())
    h = 0.2 * noise(2, 63)
    h[:, :45] = sample_poses(2, generator).double() + 0.2 * noise(2, 45)  # some angles beyond the limits
    h[:, 59] = 3.0
    return targets, h


@pytest.mark.parametrize("d", [2, 3])
def test_residuals_sum_to_the_energy_of_the_head(exact: HandModel, generator: torch.Generator, d: int) -> None:
    targets, h = a_problem(exact, generator, d)
    prior, c = LandmarkPrior.of(exact), DEVIATIONS.outlier
    deviations = replace(DEVIATIONS, smallest_pose=0.0)
    residuals, _ = landmark_residuals(prior, targets, deviations)(h)

    def rho(q: Tensor) -> Tensor:
        return q**2 / (1 + q**2 / c**2)

    joints = exact.forward_h(h).joints
    in_place = rho((joints[..., :d] - targets.joints).norm(dim=-1) / (4 * deviations.joint)) * targets.confidence
    turned = rho((bone_directions(joints) - targets.directions).norm(dim=-1) / deviations.direction)
    expected = (
        in_place.sum(1)
        + turned.sum(1)
        + pose_penalty(h[:, :45], prior.space) / deviations.pose**2
        + limit_penalty(h[:, :45], prior.limits) / deviations.limits**2
        + h[:, 45:55].square().sum(1) / deviations.shape**2
    )
    torch.testing.assert_close(residuals.square().sum(1), expected, rtol=1e-6, atol=0)
    assert (limit_penalty(h[:, :45], prior.limits) > 0).all()


@pytest.mark.parametrize("d", [2, 3])
def test_jacobian_against_finite_differences(exact: HandModel, generator: torch.Generator, d: int) -> None:
    targets, h = a_problem(exact, generator, d)
    linearise, step = landmark_residuals(LandmarkPrior.of(exact), targets, DEVIATIONS), 1e-6
    _, jacobian = linearise(h)
    for _ in range(10):
        direction = torch.randn(63, generator=generator, dtype=torch.float64)
        difference = (linearise(h + step * direction)[0] - linearise(h - step * direction)[0]) / (2 * step)
        torch.testing.assert_close(jacobian @ direction, difference, rtol=1e-5, atol=1e-5)


def test_a_fixed_entry_has_no_column(exact: HandModel, generator: torch.Generator) -> None:
    targets, h = a_problem(exact, generator)
    free = torch.ones(63).double()
    free[59] = 0
    _, jacobian = landmark_residuals(LandmarkPrior.of(exact), replace(targets, free=free), DEVIATIONS)(h)
    assert (jacobian[..., 59] == 0).all()
    assert (jacobian[..., 60:62] != 0).any(1).all()


def test_unknown_joints_and_bones_give_no_residual(exact: HandModel, generator: torch.Generator) -> None:
    targets, h = a_problem(exact, generator)
    blind = replace(targets, confidence=0 * targets.confidence, directions=0 * targets.directions)
    residuals, jacobian = landmark_residuals(LandmarkPrior.of(exact), blind, DEVIATIONS)(h)
    assert (residuals[:, : 42 + 60] == 0).all()
    assert (jacobian[:, : 42 + 60] == 0).all()


def test_a_far_vector_stops_pulling() -> None:
    off = torch.tensor([[[0.01, 0.0], [8.0, 0.0], [0.0, 800.0]]], dtype=torch.float64)
    slopes = torch.eye(2).double().expand(1, 3, 2, 2)
    residuals, jacobian = robust(off, slopes, torch.ones(1, 3).double(), outlier=8.0)
    loss = residuals.unflatten(1, (3, 2)).square().sum(-1)
    torch.testing.assert_close(loss[0], torch.tensor([1e-4, 32.0, 64.0]).double(), rtol=1e-3, atol=0)
    gradient = (jacobian.mT @ residuals[..., None])[0, :, 0]
    assert gradient[1] < 1e-3  # of the third vector
    torch.testing.assert_close(pull(off, 8.0)[0], torch.tensor([1.0, 0.25, 1e-8]).double(), rtol=1e-3, atol=1e-8)
