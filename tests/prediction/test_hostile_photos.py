"""A picture that shows no hand, or half of one, never gives a hand without a warning."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy import ndarray
from PIL import Image
from torch import Tensor

from dhpe_lib.hand.model import HandModel
from dhpe_lib.prediction.demo import demo_scene
from dhpe_lib.prediction.find_hands import find_hands
from dhpe_lib.prediction.from_photo import predict_hands
from dhpe_lib.prediction.hand_estimate import MOST_OUTSIDE, SIDE_SPREAD, HandEstimate, NoHandError
from dhpe_lib.prediction.hand_search import HandNetworks, load_hand_networks
from dhpe_lib.synthetic.scenery import paint_backgrounds


@pytest.fixture(scope="module")
def model() -> HandModel:
    return HandModel.open_hand()


@pytest.fixture(scope="module")
def networks() -> HandNetworks:
    return load_hand_networks()


@pytest.fixture(scope="module")
def hand(model) -> tuple[ndarray, Tensor]:
    """The right hand of the demo picture, 240 x 300, and its joints."""
    scene = demo_scene(model)
    joints = torch.tensor(scene.hands[0].joints_2d / 3, dtype=torch.float32)
    return np.asarray(Image.fromarray(scene.image[:, :720]).reduce(3)), joints


@pytest.fixture(scope="module")
def estimate(model, networks, hand) -> HandEstimate:
    return predict_hands(model, networks, hand[0])[0]


def test_a_hand_in_a_photo_has_no_warning(estimate):
    assert estimate.warnings == []
    assert estimate.outside == 0


def test_a_box_in_a_grey_picture_warns(model, networks):
    (found,) = predict_hands(model, networks, np.full((240, 320, 3), 128, np.uint8), box=(100.0, 60.0, 100.0, 100.0))
    assert found.presence is not None
    assert found.presence < 0.5
    assert any("sees no hand here" in warning for warning in found.warnings)


@pytest.mark.parametrize("corner", [(20, 20), (200, 5)])
def test_a_box_of_one_pixel_beside_the_hand_warns(model, networks, hand, corner):
    (found,) = predict_hands(model, networks, hand[0], box=(float(corner[0]), float(corner[1]), 1.0, 1.0))
    assert found.warnings


def test_a_box_around_the_hand_does_not_warn(model, networks, hand):
    (left, top), (right, bottom) = hand[1].amin(0).tolist(), hand[1].amax(0).tolist()
    (found,) = predict_hands(model, networks, hand[0], box=(left, top, right - left, bottom - top))
    assert found.warnings == []


@pytest.mark.parametrize("size", [(1, 1), (7, 300)])
def test_noise_and_tiny_photos_have_no_hand(networks, size):
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    with pytest.raises(NoHandError):
        find_hands(networks, noise)


def test_painted_rooms_have_no_hand(networks):
    for room in paint_backgrounds(2, 1):
        with pytest.raises(NoHandError):
            find_hands(networks, room.permute(1, 2, 0).numpy().copy())


def test_a_hand_that_is_cut_by_the_border_says_how_much_is_outside(networks, hand):
    photo, joints = hand
    middle = int(joints[:, 0].mean())
    (half,) = find_hands(networks, photo[:, middle:].copy(), max_hands=1)
    beyond = ((half.joints_px < 0) | (half.joints_px > torch.tensor([240 - middle, 300]))).any(1)
    assert half.outside == pytest.approx(float(beyond.float().mean()))
    assert half.outside > 0


def test_looks_that_disagree_on_the_side_warn(estimate):
    assert estimate.right_spread < SIDE_SPREAD
    assert replace(estimate, right_spread=SIDE_SPREAD).warnings == []
    split = replace(estimate, right_spread=0.9)
    assert split.warnings == ["the crops of the hand disagree on left or right; give it with --hand"]
    assert replace(split, side_known=True).warnings == []  # the caller knows the side


def test_many_joints_outside_the_photo_warn(estimate):
    assert replace(estimate, outside=MOST_OUTSIDE).warnings == []
    (warning,) = replace(estimate, outside=0.5).warnings
    assert "50 % of the joints lie outside the photo" in warning
