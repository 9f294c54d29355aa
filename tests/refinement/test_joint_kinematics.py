import pytest
import torch
from torch import Tensor

from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.rotations import axis_angle_to_matrix
from dhpe_lib.refinement.joint_kinematics import joint_kinematics, joints_and_jacobian, left_jacobian, skew


@pytest.fixture(scope="module")
def exact() -> HandModel:
    return HandModel(HandModel.open_hand().hand, dtype=torch.float64)


def some_h(generator: torch.Generator, n: int = 4) -> Tensor:
    h = 0.4 * torch.randn(n, 63, generator=generator, dtype=torch.float64)
    h[0, 59] = -0.9  # on the bent part of the scale
    h[1, :45] = 0  # the flat hand: all rotation vectors at 0
    return h


@pytest.mark.parametrize("side", ["right", "left"])
def test_joints_equal_those_of_the_mesh(side: str, device: torch.device, generator: torch.Generator) -> None:
    model = HandModel.open_hand(side).to(device)
    h = some_h(generator).float().to(device)
    joints, _ = joints_and_jacobian(joint_kinematics(model), h)
    torch.testing.assert_close(joints, model.forward_h(h).joints, rtol=0, atol=2e-6)


def test_few_pairs_remain(exact: HandModel) -> None:
    hand = joint_kinematics(exact)
    assert len(hand.bone) < 100
    torch.testing.assert_close(hand.to_joint @ hand.weight, torch.ones(21).double(), rtol=0, atol=1e-6)


def test_jacobian_equals_that_of_the_mesh(exact: HandModel, generator: torch.Generator) -> None:
    h = some_h(generator)
    _, jacobian = joints_and_jacobian(joint_kinematics(exact), h)
    by_mesh = torch.autograd.functional.jacobian(lambda x: exact.forward_h(x).joints.sum(0), h)
    # The translation column differs by how far the regressor's rows, stored in float32, are from a sum of 1.
    torch.testing.assert_close(jacobian, by_mesh.permute(2, 0, 1, 3), rtol=0, atol=1e-7)
    assert (jacobian[:, 1:] != 0).float().mean() > 0.2


def test_jacobian_against_finite_differences(exact: HandModel, generator: torch.Generator) -> None:
    hand, h, step = joint_kinematics(exact), some_h(generator), 1e-6
    _, jacobian = joints_and_jacobian(hand, h)
    for direction in torch.eye(63, dtype=torch.float64):
        ahead, behind = (joints_and_jacobian(hand, h + sign * step * direction)[0] for sign in (1, -1))
        torch.testing.assert_close(jacobian @ direction, (ahead - behind) / (2 * step), rtol=0, atol=1e-8)


def test_a_finger_does_not_move_the_others(exact: HandModel, generator: torch.Generator) -> None:
    _, jacobian = joints_and_jacobian(joint_kinematics(exact), some_h(generator))
    index_end = slice(6, 9)  # MANO's third joint is the index finger's last
    tips = jacobian[:, [4, 8, 12, 16, 20], :, index_end].abs().amax((0, 2, 3))
    assert tips[1] > 5e-3
    assert tips[[0, 2, 3, 4]].max() < 1e-12


def test_left_jacobian_relates_vector_and_rotation(generator: torch.Generator) -> None:
    vectors = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    vectors[0], vectors[1] = 0, 1e-3
    small = 1e-6 * torch.randn(50, 3, generator=generator, dtype=torch.float64)
    turned = axis_angle_to_matrix((left_jacobian(vectors) @ small[..., None])[..., 0]) @ axis_angle_to_matrix(vectors)
    torch.testing.assert_close(axis_angle_to_matrix(vectors + small), turned, rtol=0, atol=1e-11)


def test_skew_is_the_cross_product(generator: torch.Generator) -> None:
    a, b = torch.randn(2, 7, 3, generator=generator, dtype=torch.float64)
    torch.testing.assert_close((skew(a) @ b[..., None])[..., 0], torch.linalg.cross(a, b))
