"""Pictures of estimated hands show the mesh where it is, and masks pixel by pixel."""

import numpy as np
import pytest
import torch

from dhpe_lib.figures.gallery import (
    CLAIMED,
    DARK,
    MISSED,
    OPACITY,
    RIGHT,
    SIDE_VIEW,
    canonical_vertices,
    from_two_sides,
    heat_over,
    mask_comparison,
    mesh_alone,
    mesh_over,
    skeleton_over,
)
from dhpe_lib.figures.palette import FINGER_COLORS, PAPER
from dhpe_lib.hand.model import HandModel, neutral_h
from dhpe_lib.rendering.renderer import silhouette

HAND = HandModel.open_hand()


@pytest.fixture
def vertices() -> torch.Tensor:
    with torch.no_grad():
        return 4 * HAND.forward_h(neutral_h(HAND)).vertices[0]  # as large in the crop as hands are


def test_a_mesh_over_a_crop_changes_the_crop_where_the_mesh_is(vertices, device):
    image = torch.rand(3, 96, 96, device=device)
    hand = HAND.to(device)
    picture = mesh_over(image, vertices.to(device), hand)
    changed = np.abs(picture - image.permute(1, 2, 0).cpu().numpy()).max(-1) > 1e-6
    mask = silhouette(vertices[None].to(device), hand.faces, 96, "coverage")[0].cpu().numpy()
    assert picture.shape == (96, 96, 3)
    assert (mask > 0.99).mean() > 0.01
    assert changed[mask > 0.99].mean() > 0.99
    assert not changed[mask == 0].any()
    HAND.to("cpu")


def rgb(color: str) -> np.ndarray:
    return np.array([int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)])


def test_a_skeleton_over_a_crop_is_where_the_joints_are(device):
    joints = torch.zeros(21, 3, device=device)
    joints[:, 0] = torch.linspace(-0.4, 0.4, 21)
    joints[:, 2] = torch.rand(21)  # depth changes nothing
    image = torch.zeros(3, 224, 224, device=device)
    picture = skeleton_over(image, joints)
    assert picture.shape == (224, 224, 3)
    for joint in (4, 20):  # tips of the thumb and of the little finger
        column = int(224 * (joints[joint, 0].item() + 0.5))
        np.testing.assert_allclose(picture[112, column], rgb(FINGER_COLORS[(joint - 1) // 4]), atol=0.15)
    assert not picture[:80].any()
    np.testing.assert_array_equal(picture, skeleton_over(image, joints[:, :2]))


def test_heat_over_a_crop_has_the_colour_of_the_finger_and_leaves_the_rest_dark(device):
    maps = torch.zeros(21, 8, 8, device=device)
    maps[4, 2, 5] = 1.0
    picture = heat_over(torch.ones(3, 64, 64, device=device), maps)
    assert picture.shape == (64, 64, 3)
    np.testing.assert_allclose(picture[20, 44], rgb(FINGER_COLORS[0]), atol=0.05)
    np.testing.assert_allclose(picture[50, 10], DARK, atol=1e-6)
    low = heat_over(torch.zeros(3, 64, 64, device=device), maps / 4)
    np.testing.assert_allclose(low[20, 44], rgb(FINGER_COLORS[0]) / 2, atol=0.05)  # the root of a quarter


def test_a_mesh_alone_fills_its_picture_whatever_its_place_and_size(vertices):
    picture = mesh_alone(vertices, HAND, 96)
    np.testing.assert_allclose(mesh_alone(3 * vertices + 5, HAND, 96), picture, atol=0.02)
    hand = np.abs(picture - np.array(PAPER) / 255).max(-1) > 0.01
    rows, columns = np.flatnonzero(hand.any(1)), np.flatnonzero(hand.any(0))
    assert max(np.ptp(rows), np.ptp(columns)) == pytest.approx(0.8 * 96, abs=2)
    assert np.abs(mesh_alone(vertices, HAND, 96, SIDE_VIEW) - picture).max() > 0.1


def test_canonical_hand_has_its_fingers_up():
    vertices = canonical_vertices(HAND, torch.zeros(10))
    tips, wrist = vertices[[333, 444, 555, 672]], vertices[:, 1].max()
    assert (tips[:, 1] < wrist - 0.1).all()  # y points down
    other = canonical_vertices(HAND, 2 * torch.eye(10)[0])
    assert (other - vertices).norm(dim=1).max() > 0.002


def test_each_kind_of_pixel_has_its_color():
    found, truth = torch.zeros(2, 4, 4, dtype=torch.bool)
    found[0, :2], truth[0, 1:3] = True, True
    picture = mask_comparison(torch.zeros(3, 4, 4), found, truth)
    for column, color in enumerate((CLAIMED, RIGHT, MISSED)):
        np.testing.assert_allclose(picture[0, column], OPACITY * np.array(color), atol=1e-6)
    assert not picture[1:].any()
    assert not picture[0, 3].any()


def test_a_hand_that_is_too_far_away_is_seen_only_from_the_side():
    """Two skeletons that differ in depth alone give one picture from the camera, and two from the side."""
    mesh = HAND()
    vertices, joints = mesh.vertices[0], mesh.joints[0]
    far = joints + torch.tensor([0.0, 0, 0.05])
    pictures = from_two_sides(vertices, {"true": joints, "far": far}, HAND, reach=0.4)
    sides = [f"{name}, {side}" for side in ("from the camera", "from the side") for name in ("true", "far")]
    assert list(pictures) == sides
    near_front, far_front, near_side, far_side = pictures.values()
    np.testing.assert_array_equal(near_front, far_front)
    shift = round(0.05 / 0.4 * len(near_side))  # farther is to the right
    little = [(abs(one - rgb(FINGER_COLORS[4])).max(-1) < 0.02).any(0) for one in (near_side, far_side)]
    rightmost = [np.flatnonzero(columns).max() for columns in little]
    assert abs(rightmost[1] - rightmost[0] - shift) <= 2
