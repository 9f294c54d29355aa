"""Overlays change the pixels that they should, and no others."""

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from dhpe_lib.figures.drawing import draw_box, draw_skeleton, overlay, signed_colors
from dhpe_lib.figures.palette import FINGER_COLORS


def test_overlay_mixes_inside_the_mask_only():
    image = np.full((4, 6, 3), 100, np.uint8)
    mask = np.zeros((4, 6), bool)
    mask[1, 2] = True
    rendering = np.ones((4, 6, 3))
    result = overlay(image, mask, rendering, opacity=0.5)
    assert result[1, 2].tolist() == [178, 178, 178]  # halfway from 100 to 255
    result[1, 2] = 100
    np.testing.assert_array_equal(result, image)
    np.testing.assert_array_equal(image, 100)  # the photo itself is left alone


def test_overlay_without_rendering_is_a_plain_colour():
    result = overlay(np.zeros((2, 2, 3), np.uint8), np.ones((2, 2)), opacity=1.0)
    assert (result == result[0, 0]).all()
    assert result[0, 0].max() > 200


def fan(step: float = 20.0) -> np.ndarray:
    """Five fingers side by side above a wrist, [21, 2] in pixels."""
    tips = [(30 + 25 * finger, 100 - step * joint) for finger in range(5) for joint in range(4)]
    return np.array([(80.0, 140.0), *tips])


def test_skeleton_paints_each_joint_in_its_fingers_colour():
    image = np.zeros((160, 160, 3), np.uint8)
    pixels = fan()
    result = draw_skeleton(image, pixels)
    assert result.shape == image.shape
    for joint in range(1, 21):
        u, v = (int(value) for value in pixels[joint])
        color = FINGER_COLORS[(joint - 1) // 4].lstrip("#")
        expected = [int(color[k : k + 2], 16) for k in (0, 2, 4)]
        np.testing.assert_allclose(result[v, u], expected, atol=40, err_msg=f"joint {joint}")
    assert not image.any()


def test_skeleton_leaves_out_unknown_joints():
    pixels, valid = fan(), np.ones(21, bool)
    valid[4] = False
    pixels[8] = np.nan
    result = draw_skeleton(np.zeros((160, 160, 3), np.uint8), torch.tensor(pixels), valid)
    u, v = fan()[4].astype(int)
    assert not result[v - 3 : v + 3, u - 3 : u + 3].any()
    assert not draw_skeleton(np.zeros((9, 9, 3), np.uint8), pixels, np.zeros(21, bool)).any()


def test_signed_colors_are_white_at_zero():
    colors = signed_colors(torch.tensor([[-2.0, 0.0, 1.0, 2.0]]))
    np.testing.assert_array_equal(colors[0, 1], 1)
    assert colors[0, 0, 2] > colors[0, 0, 0]  # negative: blue
    assert colors[0, 3, 0] > colors[0, 3, 2]  # positive: red
    assert (colors[0, 3] < colors[0, 2])[1:].all()
    np.testing.assert_array_equal(signed_colors(np.zeros((2, 2))), 1)
    np.testing.assert_array_equal(signed_colors(np.array([[3.0]]), largest=1.0), signed_colors(np.array([[1.0]])))


def test_draws_on_bytes_only():
    with pytest.raises(TypeCheckError):
        overlay(np.zeros((2, 2, 3)), np.ones((2, 2)))


def test_box_is_a_line_around_what_it_holds():
    image = np.full((100, 200, 3), 128, np.uint8)
    result = draw_box(image, np.array([40.0, 20]), np.array([160.0, 80]))
    changed = (result != image).any(-1)
    assert changed[20, 40:161].all()
    assert changed[20:81, 160].all()
    assert not changed[30:70, 50:150].any()  # inside
    assert not changed[:10].any()  # outside
    assert (image == 128).all()  # the photo itself is left alone
