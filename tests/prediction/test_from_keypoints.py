"""Fit a mesh to keypoints: known hands are recovered, left hands are mirror images, real photos have small errors."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from project import REAL_PHOTOS

from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.data.photos import read_photo
from dhpe_lib.hand.model import HandModel, neutral_h
from dhpe_lib.hand.parameters import mirror_h
from dhpe_lib.hand.rotations import matrix_to_quaternion, random_rotations
from dhpe_lib.prediction.from_keypoints import FEWEST_JOINTS, estimate_hand, estimate_hands
from dhpe_lib.prediction.hand_estimate import HandEstimate, PredictionError, mask_in_crop
from dhpe_lib.prediction.keypoints import HandKeypoints, KeypointsError, keypoints_of, read_keypoints
from dhpe_lib.refinement.energy import Observations, energy, hand_prior
from dhpe_lib.refinement.fitting import PHOTO, FitOptions

MAX_ERROR = 0.03
"""Largest relative error of a fit to a real photo."""
FEWEST_LABELLED = 15
QUICK = FitOptions(starts=6, iterations=50, finalists=2, final_iterations=60)
WIDTH = 640


@pytest.fixture(scope="module")
def model() -> HandModel:
    return HandModel.open_hand()


def random_h(generator: torch.Generator) -> torch.Tensor:
    """Draw a hand in the crop frame with random pose, shape and rotation."""
    h = 0.2 * torch.randn(1, 63, generator=generator)
    turn = matrix_to_quaternion(random_rotations(1, generator, torch.float32))
    h[:, 55:59] = turn - torch.tensor([1.0, 0, 0, 0])
    h[:, 59] = 3.0
    return h


def mean_hand(model: HandModel) -> HandKeypoints:
    """Return the joints (pixels) of the mean hand with its palm towards the camera."""
    h = neutral_h(model)
    turn = torch.tensor([[[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]])
    h[:, 55:59] = matrix_to_quaternion(turn) - torch.tensor([1.0, 0, 0, 0])
    h[:, 59] = 2.5
    joints = 300 + 110 * model.forward_h(h).joints[0, :, :2].double().numpy()
    return HandKeypoints(joints, np.ones(21), None, "test")


def flipped(hand: HandKeypoints) -> HandKeypoints:
    return replace(hand, joints=hand.joints * (-1, 1) + (WIDTH, 0))


@pytest.fixture(scope="module")
def estimate(model) -> HandEstimate:
    return estimate_hand(model, mean_hand(model), options=QUICK)


def test_mirrored_parameters_give_the_mirrored_mesh(model, generator, tol):
    h = random_h(generator)
    right, left = model.forward_h(h), model.mirrored().forward_h(mirror_h(h))
    torch.testing.assert_close(left.vertices, right.vertices * torch.tensor([-1.0, 1, 1]), **tol[torch.float32])
    torch.testing.assert_close(mirror_h(mirror_h(h)), h)


def test_joints_and_mask_cannot_tell_a_left_hand_from_a_right_one(model, generator):
    """A half turn of h about y fits the mirrored evidence with equal energy. So the handedness must be given."""
    h = random_h(generator)
    joints_2d, mask = 0.3 * torch.randn(1, 21, 2, generator=generator), torch.rand(1, 32, 32, generator=generator)
    half_turn = torch.diag(torch.tensor([-1.0, 1, -1]))
    other = h.clone()
    w, x, y, z = (h[0, 55:59] + torch.tensor([1.0, 0, 0, 0])).tolist()
    other[0, 55:59] = torch.tensor([-y - 1, z, w, -x])  # (0, 0, 1, 0) times the quaternion
    other[:, 60:] = h[:, 60:] @ half_turn
    prior = hand_prior(model)
    original = energy(model, h, Observations(joints_2d, torch.ones(1, 21), mask), PHOTO, prior)
    mirrored = Observations(joints_2d * torch.tensor([-1.0, 1]), torch.ones(1, 21), mask.flip(-1))
    torch.testing.assert_close(energy(model, other, mirrored, PHOTO, prior), original, rtol=1e-4, atol=1e-4)
    assert (energy(model, h, mirrored, PHOTO, prior) - original).abs() > 1


def test_a_known_hand_is_recovered(estimate, model):
    assert estimate.relative_error < 0.02
    assert estimate.error_px == pytest.approx(estimate.relative_error * estimate.keypoints.hand_size)
    assert (estimate.model, estimate.side_known, estimate.with_mask) == (model, False, False)
    assert np.linalg.norm(estimate.joints_px - estimate.keypoints.joints, axis=1).max() < 12
    torch.testing.assert_close(estimate.mesh.vertices, model.forward_h(estimate.h).vertices)


def test_metres_are_those_of_the_model_from_the_wrist(estimate, model):
    joints = estimate.metres(estimate.mesh.joints)
    np.testing.assert_array_equal(joints[0], 0)
    own = model(estimate.h[:, :45], estimate.h[:, 45:55]).joints[0].detach().numpy()
    lengths = np.linalg.norm(joints[1:] - joints[:-1], axis=1)
    np.testing.assert_allclose(lengths, np.linalg.norm(own[1:] - own[:-1], axis=1), rtol=1e-4)


def test_a_left_hand_is_the_mirror_image_of_a_right_one(estimate, model):
    left = estimate_hand(model, replace(flipped(estimate.keypoints), side="left"), options=QUICK)
    assert (left.model.side, left.side_known) == ("left", True)
    np.testing.assert_allclose(left.joints_px * (-1, 1) + (WIDTH, 0), estimate.joints_px, atol=0.5)
    torch.testing.assert_close(left.mesh.vertices, left.model.forward_h(left.h).vertices)
    assert left.relative_error < 0.02


def test_hands_of_one_batch_are_those_of_single_fits(estimate, model):
    right, left = estimate.keypoints, replace(flipped(estimate.keypoints), side="left")
    pair = estimate_hands(model, [right, left], options=QUICK)
    assert [hand.model.side for hand in pair] == ["right", "left"]
    assert [hand.keypoints for hand in pair] == [right, left]
    np.testing.assert_allclose(pair[0].joints_px, estimate.joints_px, atol=0.5)
    np.testing.assert_allclose(pair[1].joints_px * (-1, 1) + (WIDTH, 0), estimate.joints_px, atol=0.5)
    assert pair[0].energy == pytest.approx(estimate.energy, rel=0.01)
    assert estimate_hands(model, []) == []


def test_a_batch_with_a_mask_or_a_poor_hand_is_refused(model):
    hand = mean_hand(model)
    with pytest.raises(ValueError, match="which of 2 hands"):
        estimate_hands(model, [hand, hand], mask=np.ones((480, WIDTH), bool))
    with pytest.raises(PredictionError, match="only 0 of the 21 joints are known"):
        estimate_hands(model, [hand, replace(hand, confidence=np.zeros(21))])


def test_the_handedness_of_the_caller_comes_before_that_of_the_keypoints(estimate, model):
    short = FitOptions(starts=1, iterations=1, finalists=1, final_iterations=1)
    hand = replace(estimate.keypoints, side="left")
    assert estimate_hand(model, hand, "right", options=short).model.side == "right"


def test_a_mask_moves_the_fit_and_arrives_mirrored_for_a_left_hand(estimate, model):
    mask = np.zeros((480, WIDTH), bool)
    mask[100:200, :300] = True
    frame = CropFrame(torch.tensor([[300.0, 200]]), torch.tensor([200.0]), torch.zeros(1))
    crop = mask_in_crop(mask, frame, mirrored=False)
    assert crop.shape == (1, 224, 224)
    assert (crop[0, 50, 50], crop[0, 50, 170], crop[0, 170, 50]) == (1, 0, 0)
    torch.testing.assert_close(mask_in_crop(mask, frame, mirrored=True), crop.flip(-1))
    fitted = estimate_hand(model, estimate.keypoints, mask=mask, options=QUICK)
    assert fitted.with_mask
    assert not torch.allclose(fitted.h, estimate.h, atol=1e-3)


def test_too_few_joints_are_refused(model):
    hand = mean_hand(model)
    few = np.where(np.arange(21) < FEWEST_JOINTS - 1, 1.0, 0.0)
    with pytest.raises(PredictionError, match="only 3 of the 21 joints are known"):
        estimate_hand(model, replace(hand, confidence=few))
    with pytest.raises(PredictionError, match="all lie in one place"):
        estimate_hand(model, replace(hand, joints=np.full((21, 2), 5.0)))


def test_four_joints_are_enough(model):
    hand = replace(mean_hand(model), confidence=np.isin(np.arange(21), (0, 5, 12, 17)).astype(float))
    assert estimate_hand(model, hand, options=QUICK).mesh.vertices.isfinite().all()


def real_hands(source: str) -> list[tuple[str, HandKeypoints]]:
    """Return name and keypoints of each hand with enough joints in the real photos; equal labels count once."""
    if not (REAL_PHOTOS / source).is_file():
        return []
    entries = read_keypoints(REAL_PHOTOS / source)
    hands: dict[str, tuple[str, HandKeypoints]] = {}
    for entry in entries:
        try:
            photo = REAL_PHOTOS / entry["file"]
            for k, hand in enumerate(keypoints_of(photo, read_photo(photo).shape[1::-1], entries, source)):
                if hand.known.sum() >= FEWEST_LABELLED:
                    hands.setdefault(json.dumps(hand.joints.tolist()), (f"{entry['file']} {k}", hand))
        except KeypointsError:  # a photo without joints in this file
            continue
    return list(hands.values())


@pytest.mark.skipif(
    not REAL_PHOTOS.is_dir(), reason=f"no real photos in {REAL_PHOTOS}; set DHPE_REAL_PHOTOS to their folder"
)
@pytest.mark.parametrize("source", ["labels.json", "mediapipe.json"])
def test_errors_on_real_hands_are_small(model, source):
    hands = real_hands(source)
    assert len(hands) >= 5
    errors = {name: estimate_hand(model, hand).relative_error for name, hand in hands}
    assert not {name: error for name, error in errors.items() if not error <= MAX_ERROR}
