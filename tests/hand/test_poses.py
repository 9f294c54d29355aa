"""Joint angles, limits and priors of poses, and poses that the sampler draws."""

import pytest
import torch

from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.poses import (
    collides,
    joint_angles,
    joint_limits,
    limit_penalty,
    pose_from_angles,
    pose_penalty,
    pose_space,
    sample_poses,
    segment_distances,
)


@pytest.fixture(scope="module")
def model() -> HandModel:
    return HandModel.open_hand()


@pytest.fixture(scope="module")
def poses() -> torch.Tensor:
    return sample_poses(700, torch.Generator().manual_seed(0))


def curled(degrees: dict[int, float]) -> torch.Tensor:
    """Make a pose with the given flexion of some joints in degrees (MANO's order, 0 is the index MCP)."""
    angles = torch.zeros(1, 15, 3, dtype=torch.float64)
    for joint, value in degrees.items():
        angles[:, joint, 0] = torch.deg2rad(torch.tensor(value))
    return pose_from_angles(angles, joint_limits()).float()


def test_angles_and_pose_are_each_others_inverse(generator: torch.Generator) -> None:
    limits = joint_limits()
    pose = torch.randn(4, 45, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(pose_from_angles(joint_angles(pose, limits), limits), pose, rtol=0, atol=1e-5)


def test_limit_penalty_is_the_squared_excess_and_nothing_inside(poses: torch.Tensor) -> None:
    limits = joint_limits()
    assert (limit_penalty(poses, limits) < 1e-10).all()
    angles = torch.zeros(1, 15, 3, dtype=torch.float64)
    angles[0, 4, 0] = limits.bounds[4, 0, 1] + 0.25
    angles[0, 7, 1] = limits.bounds[7, 1, 0] - 0.1
    penalty = limit_penalty(pose_from_angles(angles, limits), limits)
    assert float(penalty) == pytest.approx(0.25**2 + 0.1**2, rel=1e-4)


def test_limit_penalty_gradient(generator: torch.Generator) -> None:
    pose = (2 * torch.randn(2, 45, generator=generator, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: limit_penalty(p, joint_limits()), pose)


def test_pose_penalty_counts_standard_deviations(model: HandModel, poses: torch.Tensor) -> None:
    space = pose_space(model)
    assert float(pose_penalty(space.mean[None], space)) == 0
    two = space.mean[None] + 2 * space.deviations[3] * space.components[None, 3]
    assert float(pose_penalty(two, space)) == pytest.approx(4, rel=1e-3)
    assert float(pose_penalty(poses, space).mean()) == pytest.approx(45, rel=0.1)  # mean of a chi-squared variable


def test_segment_distances_against_a_fine_grid(generator: torch.Generator) -> None:
    a0, a1, b0, b1 = (torch.randn(1, 6, 3, generator=generator, dtype=torch.float64) for _ in range(4))
    share = torch.linspace(0, 1, 201, dtype=torch.float64)
    a = a0[0, :, None] + share[:, None] * (a1 - a0)[0, :, None]
    b = b0[0, :, None] + share[:, None] * (b1 - b0)[0, :, None]
    grid = (a[:, None, :, None] - b[None, :, None]).norm(dim=-1).amin((2, 3))
    torch.testing.assert_close(segment_distances(a0, a1, b0, b1)[0], grid, rtol=0, atol=0.02)


def test_segment_distances_of_points_and_parallels() -> None:
    point, far = torch.zeros(1, 1, 3), torch.tensor([[[1.0, 0, 0]]])
    up = torch.tensor([[[0, 0, 2.0]]])
    assert float(segment_distances(point, far, point + up, far + up)) == pytest.approx(2)
    assert float(segment_distances(point, point, far, far)) == pytest.approx(1)


def test_open_hands_do_not_collide_and_crossed_ones_do(model: HandModel) -> None:
    assert not collides(model().joints).any()
    pointing = curled({j: v for f in (3, 6, 9) for j, v in ((f, 60.0), (f + 1, 50.0), (f + 2, 25.0))})
    assert not collides(model(pose=pointing).joints).any()
    through_palm = curled({3: 95.0, 4: 112.0, 5: 85.0, 0: 95.0, 1: 112.0, 2: 85.0, 13: 60.0, 14: 85.0, 12: 40.0})
    assert collides(model(pose=through_palm).joints).all()
    crossed = torch.zeros(1, 45)
    crossed[0, 3 * 3 + 1] = 0.9
    assert collides(model(pose=crossed).joints).all()


def test_sampled_poses_are_free_of_collisions_and_varied(model: HandModel, poses: torch.Tensor) -> None:
    assert poses.shape == (700, 45)
    assert not collides(model(pose=poses).joints).any()
    flexion = joint_angles(poses.double(), joint_limits())[:, :12, 0]
    straight, bent = (flexion < 0.35).all(1), (flexion.unflatten(1, (4, 3))[..., 1] > 1.1).all(1)
    assert straight.float().mean() > 0.02
    assert bent.float().mean() > 0.02
    pairs = flexion.unflatten(1, (4, 3))
    middle_joint, end_joint = pairs[..., 1].flatten(), pairs[..., 2].flatten()
    assert torch.corrcoef(torch.stack((middle_joint, end_joint)))[0, 1] > 0.7  # the end joint follows


def test_sampling_repeats_with_its_seed_and_gives_any_number() -> None:
    a, b = (sample_poses(3, torch.Generator().manual_seed(s)) for s in (1, 1))
    c = sample_poses(3, torch.Generator().manual_seed(2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert sample_poses(0).shape == (0, 45)
