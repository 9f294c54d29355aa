"""Rotations equal scipy's and undo their inverses, also at angles where the formulas divide by zero."""

from math import pi

import pytest
import torch
from scipy.spatial.transform import Rotation

from dhpe_lib.hand.rotations import (
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    matrix_to_quaternion,
    quaternion_to_matrix,
    random_rotations,
)

ANGLES = (0.0, 1e-12, 1e-8, 1e-5, 1e-3, 0.0099, 0.0101, 0.3, 1.0, 2.0, pi - 1e-3, pi - 1e-7, pi)


def vectors(angle: float, dtype: torch.dtype, device: torch.device | str = "cpu") -> torch.Tensor:
    axes = torch.randn(20, 3, generator=torch.Generator().manual_seed(1), dtype=dtype)
    return (angle * torch.nn.functional.normalize(torch.cat((axes, torch.eye(3, dtype=dtype))), dim=1)).to(device)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("angle", ANGLES)
def test_axis_angle_to_matrix_equals_scipy(angle, dtype, device, tol):
    given = vectors(angle, dtype, device)
    expected = torch.from_numpy(Rotation.from_rotvec(given.cpu().numpy()).as_matrix()).to(given)
    torch.testing.assert_close(axis_angle_to_matrix(given), expected, **tol[dtype])


@pytest.mark.parametrize("angle", ANGLES)
def test_axis_angle_survives_the_round_trip(angle):
    given = vectors(angle, torch.float64)
    back = matrix_to_axis_angle(axis_angle_to_matrix(given))
    # A half turn about an axis equals a half turn about the opposite axis.
    same = torch.minimum((back - given).norm(dim=1), (back + given).norm(dim=1) if angle == pi else torch.tensor(1.0))
    assert same.max() < 1e-9


def test_axis_angle_beyond_pi_comes_back_as_the_short_way():
    back = matrix_to_axis_angle(axis_angle_to_matrix(torch.tensor([[0.0, 0.0, pi + 0.5]], dtype=torch.float64)))
    torch.testing.assert_close(back, torch.tensor([[0.0, 0.0, 0.5 - pi]], dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_quaternion_equals_scipy_and_ignores_length(dtype, device, tol, generator):
    given = torch.randn(50, 4, generator=generator, dtype=dtype).to(device)
    expected = torch.from_numpy(Rotation.from_quat(given[:, [1, 2, 3, 0]].cpu().numpy()).as_matrix()).to(given)
    torch.testing.assert_close(quaternion_to_matrix(given), expected, **tol[dtype])
    torch.testing.assert_close(quaternion_to_matrix(7 * given), expected, **tol[dtype])


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_matrix_to_quaternion_equals_scipy(angle, dtype, tol):
    matrix = axis_angle_to_matrix(vectors(angle, dtype))
    found = matrix_to_quaternion(matrix)
    expected = torch.from_numpy(Rotation.from_matrix(matrix.numpy()).as_quat())[:, [3, 0, 1, 2]].to(dtype)
    expected = expected * (expected * found).sum(1, keepdim=True).sign()
    assert (found[:, 0] >= 0).all()
    torch.testing.assert_close(found, expected, **tol[dtype])


def test_zero_quaternion_is_the_identity_with_finite_gradient():
    zero = torch.zeros(1, 4, requires_grad=True)
    matrix = quaternion_to_matrix(zero)
    torch.testing.assert_close(matrix[0], torch.eye(3))
    assert torch.autograd.grad(matrix.sum(), zero)[0].isfinite().all()


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-4, 0.5, 2.5, pi])
def test_gradcheck_axis_angle_to_matrix(angle):
    assert torch.autograd.gradcheck(axis_angle_to_matrix, vectors(angle, torch.float64)[18:].requires_grad_())


# Changing single entries of a matrix leaves SO(3), so the matrix is perturbed by a rotation from the left.
@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-4, 0.5, 2.5, pi - 0.01])
@pytest.mark.parametrize("inverse", [matrix_to_axis_angle, matrix_to_quaternion])
def test_gradcheck_inverses_along_the_group(inverse, angle):
    matrix = axis_angle_to_matrix(vectors(angle, torch.float64)[18:])
    twist = torch.zeros(len(matrix), 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w: inverse(axis_angle_to_matrix(w) @ matrix), twist)


def test_gradient_at_half_a_turn_is_finite():
    matrix = axis_angle_to_matrix(vectors(pi, torch.float64)).requires_grad_()
    (gradient,) = torch.autograd.grad(matrix_to_axis_angle(matrix).sum(), matrix)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0.1


def test_gradcheck_quaternion(generator):
    given = torch.randn(5, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(quaternion_to_matrix, given)
    assert torch.autograd.gradcheck(lambda q: matrix_to_quaternion(quaternion_to_matrix(q)), given)


def test_random_rotations_are_rotations_uniform_and_seeded():
    matrices = random_rotations(20000, torch.Generator().manual_seed(3), torch.float64)
    torch.testing.assert_close(matrices @ matrices.mT, torch.eye(3, dtype=torch.float64).expand_as(matrices))
    torch.testing.assert_close(torch.linalg.det(matrices), torch.ones(20000, dtype=torch.float64))
    assert matrices.mean(0).abs().max() < 0.02
    # Under the Haar measure the angle has density (1 - cos t) / pi, so its mean is pi / 2 + 2 / pi.
    assert abs(matrix_to_axis_angle(matrices).norm(dim=1).mean() - (pi / 2 + 2 / pi)) < 0.02
    assert torch.equal(matrices, random_rotations(20000, torch.Generator().manual_seed(3), torch.float64))


def test_any_batch_shape(generator):
    given = torch.randn(2, 5, 3, generator=generator)
    matrix = axis_angle_to_matrix(given)
    assert matrix.shape == (2, 5, 3, 3)
    assert quaternion_to_matrix(matrix_to_quaternion(matrix)).shape == (2, 5, 3, 3)
    assert axis_angle_to_matrix(given[0, 0]).shape == (3, 3)
    assert matrix_to_axis_angle(matrix[:0]).shape == (0, 5, 3)
