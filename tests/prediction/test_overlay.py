"""The picture shows the mesh on the hand and the photo elsewhere, for photos of any shape."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from estimates import placed_hand

from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.figures.palette import DOUBT
from dhpe_lib.prediction.overlay import (
    CAPTION,
    GAP,
    LARGEST_PICTURE,
    LINE,
    MAX_ASPECT,
    MIN_WIDTH,
    OUTSIDE,
    PANEL,
    all_hands,
    crop_photo,
    draw_mesh,
    figure,
    meshes_over,
    photo_figure,
    side_view,
    to_pixels,
)

PHOTO = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)


def frame(center: tuple[float, float], side: float, angle: float = 0.0) -> CropFrame:
    return CropFrame(torch.tensor([center]), torch.tensor([side]), torch.tensor([angle]))


def test_a_crop_of_the_photos_own_pixels_is_exact():
    crop = crop_photo(PHOTO, frame((80.0, 60.0), 40.0), 40)
    np.testing.assert_array_equal(to_pixels(crop), PHOTO[40:80, 60:100])


@pytest.mark.parametrize("angle", [0.0, 0.7])
@pytest.mark.parametrize("center", [(80.0, 60.0), (3.0, 118.0), (150.0, -10.0)])
def test_the_crop_of_a_part_is_the_crop_of_the_whole_photo(center, angle):
    square = frame(center, 50.0, angle)
    whole = torch.from_numpy(PHOTO).float().movedim(2, 0)[None] / 255
    cover = square.crop_image(torch.ones_like(whole[:, :1]), 64)[0].movedim(0, 2)
    expected = square.crop_image(whole, 64)[0].movedim(0, 2) + (1 - cover) * OUTSIDE
    torch.testing.assert_close(crop_photo(PHOTO, square, 64), expected, atol=1e-4, rtol=0)


def test_a_large_photo_is_reduced_without_a_shift():
    y, x = np.mgrid[:900, :1301]
    photo = np.stack((x * 255 // 1301, y * 255 // 900, x * 0), 2).astype(np.uint8)
    crop = 255 * crop_photo(photo, frame((700.5, 451.0), 799.0), 40)
    np.testing.assert_allclose(crop[20, :, 0], (700.5 + 799 * ((np.arange(40) + 0.5) / 40 - 0.5)) * 255 / 1301, atol=1)
    np.testing.assert_allclose(crop[:, 20, 1], (451.0 + 799 * ((np.arange(40) + 0.5) / 40 - 0.5)) * 255 / 900, atol=1)


def test_a_crop_beside_the_photo_is_grey():
    assert (crop_photo(PHOTO, frame((900.0, 60.0), 40.0), 8) == OUTSIDE).all()
    assert (crop_photo(PHOTO, frame((-900.0, -60.0), 40.0), 8) == OUTSIDE).all()


def test_the_side_view_is_turned_centred_and_inside():
    vertices = placed_hand().mesh.vertices
    turned = side_view(vertices)
    assert turned[..., :2].abs().max() <= 0.5
    ratio = np.ptp(turned[0, :, 0].numpy()) / np.ptp(turned[0, :, 1].numpy())
    assert ratio == pytest.approx(np.ptp(vertices[0, :, 2].numpy()) / np.ptp(vertices[0, :, 1].numpy()), rel=1e-4)


@pytest.mark.parametrize("size", [(120, 160), (400, 90), (100, 900), (1, 1), (1500, 2000)])
def test_the_figure_fits_photos_of_any_shape(size):
    photo = np.full((*size, 3), 90, np.uint8)
    picture = figure(placed_hand(), photo)
    wide = min(max(MIN_WIDTH, round(PANEL * size[1] / size[0])), round(MAX_ASPECT * PANEL))
    assert picture.shape == (GAP + PANEL + CAPTION, 4 * GAP + 2 * PANEL + wide, 3)


def test_the_mesh_covers_the_hand_in_its_crop_and_nothing_else():
    estimate = placed_hand()
    photo = np.full((120, 160, 3), 90, np.uint8)
    panel = figure(estimate, photo)[GAP : GAP + PANEL, -2 * (PANEL + GAP) : -(PANEL + 2 * GAP)]
    changed = (panel != 90).any(2)
    pixels = ((estimate.mesh.vertices[0, :, :2].numpy() + 0.5) * PANEL).astype(int)
    assert changed[pixels[:, 1], pixels[:, 0]].mean() > 0.8
    low, high = pixels.min(0), pixels.max(0)
    changed[low[1] - 1 : high[1] + 2, low[0] - 1 : high[0] + 2] = False
    assert not changed.any()


@pytest.mark.parametrize("size", [(120, 160), (1, 1)])
def test_all_hands_of_a_photo_in_one_picture(size):
    photo = np.full((*size, 3), 90, np.uint8)
    wide = min(max(MIN_WIDTH, round(PANEL * size[1] / size[0])), round(MAX_ASPECT * PANEL))
    hand = placed_hand()
    assert photo_figure([], photo).shape == (GAP + PANEL + CAPTION, 2 * GAP + wide, 3)
    assert photo_figure([hand, hand], photo).shape == (GAP + PANEL + CAPTION, 5 * GAP + 2 * wide + PANEL, 3)


def test_the_pictures_of_a_doubtful_hand_say_so():
    hand, photo = placed_hand(), np.full((120, 160, 3), 90, np.uint8)
    doubtful = replace(hand, keypoints=replace(hand.keypoints, doubts=("one", "another")))
    plain, marked = figure(hand, photo), figure(doubtful, photo)
    assert len(marked) == len(plain) + 2 * LINE
    np.testing.assert_array_equal(marked[: len(plain) - LINE], plain[:-LINE])
    for k in range(2):
        assert (marked[len(plain) + k * LINE :][:LINE] == DOUBT).all(2).any()
    both = all_hands([hand, doubtful], photo)
    changed = (both != meshes_over([hand, doubtful], photo, 1.0)).any(2)
    assert changed.any()
    rows, columns = changed.nonzero()
    low, high = hand.joints_px.min(0), hand.joints_px.max(0)
    assert columns.min() < low[0] < high[0] < columns.max()
    assert rows.min() < low[1] < high[1] < rows.max()
    np.testing.assert_array_equal(all_hands([hand], photo), meshes_over([hand], photo, 1.0))


@pytest.mark.parametrize("center", [(0.0, 0.0), (500.0, 60.0)])
def test_a_doubtful_hand_at_the_border_is_marked_without_an_error(center):
    hand, photo = placed_hand(center=center), np.full((120, 160, 3), 90, np.uint8)
    doubtful = replace(hand, keypoints=replace(hand.keypoints, doubts=("one",)))
    assert all_hands([doubtful], photo).shape == photo.shape


def test_a_mesh_over_the_photo_lies_where_the_hand_is():
    estimate, scale = placed_hand(), 2.0
    photo = np.full((240, 320, 3), 90, np.uint8)
    changed = (meshes_over([estimate], photo, scale) != 90).any(2)
    pixels = scale * estimate.frame.to_image(estimate.mesh.vertices[..., :2])[0].numpy()
    column, row = pixels.astype(int).T
    inside = (column >= 0) & (column < 320) & (row >= 0) & (row < 240)
    assert inside.mean() > 0.5
    assert changed[row[inside], column[inside]].mean() > 0.8
    (top, left), (bottom, right) = pixels[:, ::-1].min(0), pixels[:, ::-1].max(0)
    rows, columns = np.nonzero(changed)
    assert (rows >= top - 2).all()
    assert (rows <= bottom + 2).all()
    assert (columns >= left - 2).all()
    assert (columns <= right + 2).all()


def test_the_nearer_of_two_hands_covers_the_other():
    """The left hand lies over the right one and has more or fewer pixels in a metre of its model."""
    photo = np.full((120, 160, 3), 90, np.uint8)
    right = placed_hand()
    for crop, left_is_nearer in ((100.0, True), (64.0, False)):
        left = placed_hand("left", crop=crop)
        pictures = [meshes_over(hands, photo, 1.0).astype(int) for hands in ((right, left), (left, right))]
        np.testing.assert_array_equal(*pictures)
        alone = [(meshes_over([hand], photo, 1.0) != 90).any(2) for hand in (left, right)]
        orange = pictures[0][..., 0] > pictures[0][..., 2]
        both = alone[0] & alone[1]
        assert both.sum() > 300
        assert abs(orange[both].mean() - left_is_nearer) < 0.2


def test_a_large_photo_is_shrunk_and_its_hands_with_it():
    photo = np.full((1000, 4000, 3), 90, np.uint8)
    hand = placed_hand("left", center=(3000.0, 500.0), crop=800.0)
    picture = all_hands([hand, placed_hand()], photo)
    assert picture.shape == (400, LARGEST_PICTURE, 3)
    column, row = (hand.joints_px * LARGEST_PICTURE / 4000).astype(int).T
    assert (picture[row, column] != 90).any(1).mean() > 0.8
    assert all_hands([hand], np.full((1, 1, 3), 90, np.uint8)).shape == (1, 1, 3)


def test_a_hand_outside_the_picture_is_not_drawn():
    photo = np.full((120, 160, 3), 90, np.uint8)
    points = placed_hand().mesh.vertices * 80 - torch.tensor([200.0, 0.0, 0.0])
    draw_mesh(photo, points, placed_hand().model.faces, "right")
    assert (photo == 90).all()


def test_a_mesh_is_rendered_small_and_enlarged_where_that_is_asked():
    vertices, faces = placed_hand().mesh.vertices, placed_hand().model.faces
    pictures = [np.full((400, 400, 3), 90, np.uint8) for _ in range(2)]
    for picture, largest in zip(pictures, (LARGEST_PICTURE, 150), strict=True):
        draw_mesh(picture, (vertices + torch.tensor([0.5, 0.5, 0])) * 400, faces, "right", largest)
    changed = [(picture != 90).any(2) for picture in pictures]
    assert (changed[0] & changed[1]).sum() / (changed[0] | changed[1]).sum() > 0.95
    assert np.abs(pictures[0].astype(int) - pictures[1]).mean() < 3
