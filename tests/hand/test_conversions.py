"""Conversions of poses: round trips, the meshes that other programs' conventions give, and bad input."""

import pytest
import torch

from dhpe_lib.hand.conversions import (
    REPRESENTATIONS,
    HandPose,
    flat_to_mean,
    from_frankmocap,
    from_freihand,
    from_hamer,
    from_matrix,
    from_smplx,
    mean_to_flat,
    mirror_pose,
    pose_to_pca,
    to_freihand,
    to_matrix,
)
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.poses import sample_poses
from dhpe_lib.hand.rotations import axis_angle_to_matrix, matrix_from_6d, matrix_to_axis_angle, random_rotations

N = 3
K = torch.tensor([[480.0, 0, 111], [0, 500, 113], [0, 0, 1]]).expand(N, 3, 3)


@pytest.fixture(scope="module")
def model() -> HandModel:
    return HandModel(HandModel.open_hand().hand, dtype=torch.float64)


@pytest.fixture
def hands(generator) -> HandPose:
    fingers = axis_angle_to_matrix(sample_poses(N, generator).double().unflatten(1, (15, 3)))
    shape = torch.randn(N, 10, generator=generator).double()
    rotation = random_rotations(N, generator, torch.float64)
    return HandPose("right", fingers, shape, rotation, torch.randn(N, 3, generator=generator).double() * 0.1 + 0.6)


def mesh(model: HandModel, hands: HandPose) -> torch.Tensor:
    return model(
        shape=hands.shape, rotation=hands.rotation, translation=hands.translation, pose_matrices=hands.fingers
    ).vertices


def smplx_mesh(model: HandModel, hands: HandPose, translation: torch.Tensor) -> torch.Tensor:
    """The mesh of smplx, which turns about the wrist joint at rest."""
    still = model(shape=hands.shape, pose_matrices=hands.fingers).vertices
    wrist = model.rest_joints(hands.shape)[:, :1]
    return (still - wrist) @ hands.rotation.mT + wrist + translation[:, None]


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_round_trips(hands, representation):
    values = from_matrix(hands.fingers, representation)
    assert values.shape[2:] == {"axis-angle": (3,), "matrix": (3, 3), "6d": (6,), "quaternion": (4,)}[representation]
    torch.testing.assert_close(to_matrix(values, representation), hands.fingers)
    with pytest.raises(ValueError, match='representation = \'euler\'; use "axis-angle", "matrix"'):
        to_matrix(values, "euler")


def test_6d_is_two_columns_and_needs_no_orthogonal_numbers():
    turn = axis_angle_to_matrix(torch.tensor([0.0, 0, torch.pi / 2]))
    assert from_matrix(turn, "6d").round().tolist() == [0, 1, 0, -1, 0, 0]
    torch.testing.assert_close(matrix_from_6d(torch.tensor([0.0, 2, 0, -3, 5, 0])), turn)
    numbers = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(matrix_from_6d, numbers)


def test_mean_and_flat(model, hands):
    mean = flat_to_mean(model, hands.pose)
    torch.testing.assert_close(mean_to_flat(model, mean), hands.pose)
    torch.testing.assert_close(model(mean, relative_to="mean").vertices, model(hands.pose).vertices)


def test_pca_both_ways(model, hands):
    pose = flat_to_mean(model, hands.pose)
    torch.testing.assert_close(model.pose_from_pca(pose_to_pca(model, pose)), pose)
    few = torch.randn(N, 6, dtype=torch.float64)
    torch.testing.assert_close(pose_to_pca(model, model.pose_from_pca(few), 6), few)
    with pytest.raises(ValueError, match="count = 46"):
        pose_to_pca(model, pose, 46)


def test_the_mirrored_pose_gives_the_mirrored_mesh(model, hands):
    left = mirror_pose(hands)
    assert left.side == "left"
    flip = torch.tensor([-1.0, 1, 1], dtype=torch.float64)
    torch.testing.assert_close(mesh(model.mirrored(), left), mesh(model, hands) * flip)
    back = mirror_pose(left)
    torch.testing.assert_close(back.pose, hands.pose)
    torch.testing.assert_close(back.translation, hands.translation)


def test_freihand_vector_by_hand(model, hands):
    """The place of the middle MCP as FreiHAND's `recover_root` computes it, and its kinematic joint."""
    pose = flat_to_mean(model, hands.pose)
    place, scale = torch.tensor([[100.0, 90]] * N), torch.full((N, 1), 700.0)
    vectors = torch.cat((matrix_to_axis_angle(hands.rotation), pose, hands.shape, place, scale), 1)
    found = from_freihand(model, vectors, K.double())
    torch.testing.assert_close(found.fingers, hands.fingers)
    middle = (hands.rotation @ model.rest_joints(hands.shape)[:, 4, :, None]).squeeze(-1) + found.translation
    expected = torch.tensor([(100 - 111) / 700, (90 - 113) / 700, 490 / 700], dtype=torch.float64)
    torch.testing.assert_close(middle, expected.expand(N, 3))
    torch.testing.assert_close(to_freihand(model, found, K.double()), vectors)
    assert from_freihand(model, vectors).translation is None


def test_freihand_has_right_hands_only(model, hands):
    with pytest.raises(ValueError, match="right hands only"):
        from_freihand(model.mirrored(), torch.zeros(1, 61, dtype=torch.float64))
    with pytest.raises(ValueError, match="mirror a left hand"):
        to_freihand(model, mirror_pose(hands), K.double())
    with pytest.raises(ValueError, match=r"vectors has shape \[3, 58\]; give a tensor \[n, 61\]"):
        from_freihand(model, torch.zeros(3, 58, dtype=torch.float64))


@pytest.mark.parametrize("side", ["right", "left"])
def test_hamer_gives_its_own_mesh(model, hands, side):
    """HaMeR poses a right hand, negates x for a left one, and adds the camera's translation."""
    camera = torch.tensor([[0.1, -0.2, 30.0]] * N, dtype=torch.float64)
    theirs = smplx_mesh(model, hands, torch.zeros(N, 3, dtype=torch.float64))
    if side == "left":
        theirs = theirs * torch.tensor([-1.0, 1, 1], dtype=torch.float64)
    sided = model if side == "right" else model.mirrored()
    found = from_hamer(sided, hands.rotation, hands.fingers, hands.shape, camera)
    assert found.side == side
    torch.testing.assert_close(
        mesh(sided, found), theirs + camera[:, None], rtol=0, atol=1e-5
    )  # weights sum to 1 +- 1e-7
    assert from_hamer(sided, hands.rotation, hands.fingers, hands.shape).translation is None


@pytest.mark.parametrize("relative_to", ["mean", "flat"])
def test_smplx_gives_its_own_mesh(model, hands, relative_to):
    pose = flat_to_mean(model, hands.pose) if relative_to == "mean" else hands.pose
    found = from_smplx(model, pose, matrix_to_axis_angle(hands.rotation), hands.shape, hands.translation, relative_to)
    torch.testing.assert_close(mesh(model, found), smplx_mesh(model, hands, hands.translation))


@pytest.mark.parametrize("side", ["right", "left"])
def test_frankmocap(model, hands, side):
    sided = model if side == "right" else model.mirrored()
    pose = torch.cat((matrix_to_axis_angle(hands.rotation), flat_to_mean(sided, hands.pose)), 1)
    found = from_frankmocap(sided, pose, hands.shape)
    assert (found.side, found.translation) == (side, None)
    torch.testing.assert_close(found.fingers, hands.fingers)
    torch.testing.assert_close(found.rotation, hands.rotation)
    assert not found.shape.any()
