"""Stills show each mesh in the middle of its picture, and red vertices are those that moved."""

import pytest
import torch

from dhpe_lib.figures.stills import FROM_LITTLE_FINGER, MOVED, STAYED, mesh_stills, model_steps, moved_colors
from dhpe_lib.hand.model import HandModel

HAND = HandModel.open_hand()


@pytest.fixture
def pair(device) -> torch.Tensor:
    """A hand, and the same hand shifted by a centimetre to each side of the picture."""
    with torch.no_grad():
        vertices = HAND().vertices
    return torch.cat([vertices, vertices + 0.01]).to(device)


def middle(mask: torch.Tensor) -> torch.Tensor:
    """Middle of the box of a mask, pixels."""
    rows, columns = (mask > 0.5).nonzero(as_tuple=True)
    return torch.stack([columns.amin() + columns.amax(), rows.amin() + rows.amax()]) / 2


def test_each_mesh_has_the_middle_of_its_picture(pair):
    drawn = mesh_stills(pair, HAND.faces.to(pair.device), size=64)
    assert drawn.image.shape == (2, 64, 64, 3)
    for mask in drawn.mask:
        assert (middle(mask) - 31.5).abs().max() <= 1
    assert torch.allclose(drawn.mask[0], drawn.mask[1], atol=1e-2)


def test_meshes_with_one_centre_keep_their_distance(pair):
    drawn = mesh_stills(pair, HAND.faces.to(pair.device), size=64, reach=0.25, together=True)
    apart = middle(drawn.mask[1]) - middle(drawn.mask[0])
    assert (apart - 64 * 0.01 / 0.25).abs().max() <= 1


def test_another_side_shows_another_outline(pair):
    faces = HAND.faces.to(pair.device)
    front, side = (mesh_stills(pair[:1], faces, *view).mask for view in ((), (FROM_LITTLE_FINGER,)))
    assert front.sum() > 1.5 * side.sum() > 0


def test_red_vertices_are_those_that_moved(pair):
    moved = pair[:1].clone()
    moved[0, 5] += 0.02
    moved[0, 6] += 0.01
    colors = moved_colors(pair[:1], moved)[0].cpu()
    stayed, most = torch.tensor(STAYED), torch.tensor(MOVED)
    assert torch.allclose(colors[5], most, atol=1e-6)
    assert torch.allclose(colors[6], (stayed + most) / 2, atol=1e-4)
    assert torch.allclose(colors[7:], stayed)
    assert torch.allclose(moved_colors(pair, pair).cpu(), stayed)  # no motion, and no division by zero


def test_steps_of_the_model_end_at_the_posed_hand_and_each_step_is_seen():
    pose, shape = torch.zeros(1, 45), torch.zeros(1, 10)
    pose[0, :36], shape[0, 0] = 0.5, 2.0
    template, shaped, corrected, posed = model_steps(HAND, pose, shape, size=64).values()

    def red(picture):
        return picture[..., 0] - picture[..., 2] > 0.2

    assert not red(template).any()
    for picture in (shaped, corrected, posed):
        assert red(picture).any()
    grey = mesh_stills(HAND(pose=pose, shape=shape).vertices, HAND.faces, size=64, reach=0.27).image[0]
    outlines = [(picture - grey[0, 0]).abs().amax(-1) > 0.02 for picture in (posed, grey)]
    assert (outlines[0] == outlines[1]).float().mean() > 0.98


def test_without_pose_and_shape_no_step_moves_the_template():
    pictures = list(model_steps(HAND, torch.zeros(1, 45), torch.zeros(1, 10), size=64).values())
    for picture in pictures[1:]:
        assert torch.equal(picture, pictures[0])
