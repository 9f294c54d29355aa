"""Hands are painted over where they are, and places in the picture without them are those of the photo."""

import numpy as np
import pytest
import torch

from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.prediction import hidden_hands
from dhpe_lib.prediction.hand_looks import Looks
from dhpe_lib.prediction.hidden_hands import GREY, SIDE, hands_mask, placed_in_photo, view_around, without_hands


@pytest.fixture
def joints() -> torch.Tensor:
    """A flat hand of 100 x 120 pixels, its wrist at (150, 200)."""
    fingers = [[(150 + 25 * (k - 2) * part / 4, 200 - 30 * part) for part in (1, 2, 3, 4)] for k in range(5)]
    return torch.tensor([(150.0, 200.0), *(place for finger in fingers for place in finger)])


def test_the_mask_covers_the_joints_and_little_else(joints):
    mask = np.asarray(hands_mask(joints[None].numpy(), 300, 250))
    x, y = joints.int().unbind(1)
    assert (mask[y, x] > 250).all()
    assert mask[:40].max() == 0
    assert mask[:, :70].max() == 0
    assert 0.05 < (mask > 127).mean() < 0.2
    assert np.asarray(hands_mask(np.zeros((0, 21, 2)), 30, 20)).max() == 0


def test_the_hand_is_grey_and_the_rest_is_kept(joints):
    photo = np.random.default_rng(0).integers(200, 256, (250, 300, 3)).astype(np.uint8)
    view = view_around(joints)
    picture = without_hands(photo, joints[None], view)
    assert picture.shape == (SIDE, SIDE, 3)
    x, y = ((view.to_crop(joints[None])[0] + 0.5) * SIDE).int().unbind(1)
    assert (abs(picture[y, x].astype(int) - GREY) <= 2).all()
    whole = without_hands(photo, joints[:0].reshape(0, 21, 2), view)
    differs = (picture != whole).any(2)
    assert 0.02 < differs.mean() < 0.3


def test_places_return_to_the_photo(joints):
    view = view_around(joints)
    inside = (view.to_crop(joints[None]) + 0.5) * SIDE
    n = torch.zeros(1)
    found = Looks(CropFrame(torch.zeros(1, 2), n + 1, n), inside, torch.zeros(1, 21, 3), n, n, n, torch.zeros(1, 21), n)
    placed = placed_in_photo(found, view)
    torch.testing.assert_close(placed.joints_px[0], joints, atol=1e-3, rtol=0)
    assert float(placed.frame.side) == pytest.approx(float(view.side) / hidden_hands.VIEW, rel=1e-4)
