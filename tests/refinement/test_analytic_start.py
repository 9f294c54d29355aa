import pytest
import torch

from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.parameters import positive_scale
from dhpe_lib.hand.poses import joint_angles, joint_limits, sample_poses
from dhpe_lib.hand.rotations import axis_angle_to_matrix, random_rotations
from dhpe_lib.refinement.analytic_start import (
    best_rotation,
    bone_directions,
    pose_in_space,
    scale_and_shift,
    scale_offset,
    smallest_turn,
    start_in_picture,
    start_in_space,
)


@pytest.fixture(scope="module")
def model() -> HandModel:
    return HandModel.open_hand()


def test_best_rotation_recovers_a_similarity_and_ignores_weight_0(generator: torch.Generator) -> None:
    points = torch.randn(4, 6, 3, generator=generator, dtype=torch.float64)
    turn = random_rotations(4, generator, torch.float64)
    target = 2.5 * points @ turn.mT + 1.0
    target[:, 5] = 30.0
    weight = torch.ones(4, 6).double()
    weight[:, 5] = 0
    torch.testing.assert_close(best_rotation(points, target, weight), turn, rtol=0, atol=1e-9)


def test_best_rotation_is_never_a_reflection(generator: torch.Generator) -> None:
    points = torch.randn(20, 5, 3, generator=generator, dtype=torch.float64)
    found = best_rotation(points, points * torch.tensor([-1.0, 1, 1]), torch.ones(20, 5).double())
    torch.testing.assert_close(torch.linalg.det(found), torch.ones(20).double())


def test_smallest_turn(generator: torch.Generator) -> None:
    start, end = torch.nn.functional.normalize(torch.randn(2, 30, 3, generator=generator, dtype=torch.float64), dim=-1)
    turned = (axis_angle_to_matrix(smallest_turn(start, end)) @ start[..., None])[..., 0]
    torch.testing.assert_close(turned, end, rtol=0, atol=1e-9)
    assert smallest_turn(start, start).abs().max() < 1e-9


def test_scale_and_shift(generator: torch.Generator) -> None:
    points = torch.randn(3, 8, 2, generator=generator, dtype=torch.float64)
    weight = torch.rand(3, 8, generator=generator, dtype=torch.float64)
    scale, shift = scale_and_shift(points, 0.3 * points - 2, weight)
    torch.testing.assert_close(scale, torch.full((3,), 0.3).double())
    torch.testing.assert_close(shift, torch.full((3, 2), -2.0).double())
    scale, _ = scale_and_shift(points, -points, weight)  # no positive scale fits: a third of the ratio of sizes
    torch.testing.assert_close(scale, torch.full((3,), 1 / 3).double())


def test_scale_offset_inverts_positive_scale() -> None:
    scale = torch.tensor([1e-3, 0.2, 0.5, 0.9, 1.0, 700.0], dtype=torch.float64)
    torch.testing.assert_close(positive_scale(scale_offset(scale)), scale)


def test_bone_directions_are_unit_vectors_and_0_without_length(model: HandModel) -> None:
    joints = model().joints.clone()
    joints[:, 4] = joints[:, 3]
    length = bone_directions(joints).norm(dim=-1)[0]
    assert float(length[3]) == 0
    torch.testing.assert_close(length[[k for k in range(20) if k != 3]], torch.ones(19))


def test_the_pose_is_read_from_joints_of_any_size(model: HandModel, generator: torch.Generator) -> None:
    n = 20
    turn = random_rotations(n, generator)
    hands = model(pose=sample_poses(n, generator), shape=torch.randn(n, 10, generator=generator), rotation=turn)
    pose, rotation = pose_in_space(model, 7 * hands.joints + 3, torch.ones(n, 21))
    apart = (rotation.mT @ turn).diagonal(dim1=1, dim2=2).sum(1)
    assert torch.acos(((apart - 1) / 2).clamp(-1, 1)).max() < 0.15
    found = bone_directions(model(pose=pose, rotation=rotation).joints)
    angle = torch.acos((found * bone_directions(hands.joints)).sum(-1).clamp(-1, 1))
    assert angle.mean() < 0.1
    limits = joint_limits().to(pose)
    angles = joint_angles(pose, limits)
    assert (angles >= limits.bounds[..., 0] - 1e-5).all()
    assert (angles <= limits.bounds[..., 1] + 1e-5).all()


def test_a_bone_without_evidence_keeps_the_mean_pose(model: HandModel, generator: torch.Generator) -> None:
    joints = model(pose=sample_poses(2, generator)).joints
    confidence = torch.ones(2, 21)
    confidence[:, 8] = 0
    joints[:, 8] = 0
    pose, _ = pose_in_space(model, joints, confidence)
    torch.testing.assert_close(pose[:, 6:9], model.hands_mean[6:9].expand(2, 3), rtol=0, atol=1e-3)


def test_starts_lie_near_the_hand(model: HandModel, generator: torch.Generator) -> None:
    n = 10
    hands = model(pose=sample_poses(n, generator), rotation=random_rotations(n, generator))
    joints, ones = hands.joints, torch.ones(n, 21)
    start = model.forward_h(start_in_space(model, 5 * joints + 1, ones, keep_size=False)).joints
    assert (start - 5 * joints - 1).norm(dim=-1).mean() / 5 < 0.006
    start = model.forward_h(start_in_space(model, joints + 1, ones, keep_size=True)).joints
    assert (start - joints - 1).norm(dim=-1).mean() < 0.006
    picture = 4 * joints[..., :2] - 0.5
    start = model.forward_h(start_in_picture(model, picture, ones, joints)).joints
    assert (start[..., :2] - picture).norm(dim=-1).mean() / 4 < 0.006
