"""Detection, network and fit of a photo: the crop lies around the hand, and left hands are mirror images."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_network
import torch
from dot_machine import HEIGHT, WIDTH, DotMachine, picture, spread_hand

from dhpe_lib.network.estimator import Estimator
from dhpe_lib.prediction.from_estimator import NETWORK_FIT, crop_at, predict_hand
from dhpe_lib.prediction.hand_estimate import PredictionError
from dhpe_lib.prediction.keypoints import HandKeypoints

SHORT = replace(NETWORK_FIT, iterations=3, final_iterations=3)


@pytest.fixture
def network(monkeypatch) -> Estimator:
    """An untrained network with an f_J2D that finds the dots."""
    tiny_network.install(monkeypatch.setitem)
    torch.manual_seed(0)
    network = Estimator(tiny_network.TINY)
    network.pose_machine = DotMachine()
    return network.eval()


@pytest.fixture
def photo() -> np.ndarray:
    shades = picture(spread_hand(120, (260, 170)), 13, HEIGHT, WIDTH)
    return (255 * shades[0].permute(1, 2, 0)).byte().numpy()


def test_the_hand_is_where_its_joints_are(network, photo):
    found = predict_hand(network, photo, None, "right", options=SHORT)
    positions = spread_hand(120, (260, 170)).numpy()
    assert np.abs(found.keypoints.joints - positions).max() < 8
    assert found.frame.side.item() == pytest.approx(180, rel=0.1)
    assert (found.model.side, found.side_known, found.with_mask) == ("right", True, False)
    torch.testing.assert_close(found.mesh.joints, found.model.forward_h(found.h).joints)
    assert np.isfinite(found.energy)
    assert found.relative_error > 0


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_estimate_is_that_of_the_network_with_one_pass_of_f_j2d(network, photo, monkeypatch, side):
    seen = []
    monkeypatch.setattr(network.pose_machine, "forward", lambda images: seen.append(images) or forward(images))
    forward = DotMachine.forward.__get__(network.pose_machine)
    found = predict_hand(network, photo, (200.0, 110.0, 120.0, 120.0), side, options=SHORT)
    assert len(seen) == 1
    estimate = network.predict(seen[0])
    flip = torch.tensor([-1.0 if side == "left" else 1.0, 1.0])
    np.testing.assert_allclose(found.keypoints.joints, found.frame.to_image(flip * estimate.joints_2d)[0], rtol=1e-5)


def test_a_left_hand_is_the_mirror_image(network, photo):
    right = predict_hand(network, photo, None, "right", options=SHORT)
    left = predict_hand(network, photo[:, ::-1].copy(), None, "left", options=SHORT)
    assert left.model.side == "left"
    np.testing.assert_allclose(left.joints_px * (-1, 1) + (WIDTH, 0), right.joints_px, atol=0.2)
    torch.testing.assert_close(left.mesh.vertices, left.model.forward_h(left.h).vertices)


def test_box_and_mask(network, photo):
    mask = np.zeros(photo.shape[:2], bool)
    mask[100:240, 200:320] = True
    plain, masked = (
        predict_hand(network, photo, (200.0, 110.0, 120.0, 120.0), "right", one, SHORT) for one in (None, mask)
    )
    assert plain.frame.center.tolist() == [[260, 170]]
    assert plain.frame.side.item() == 180
    assert masked.with_mask
    assert not torch.equal(plain.h, masked.h)


def external_joints(joints: np.ndarray, side: str | None = None, confidence: np.ndarray | None = None) -> HandKeypoints:
    """Return joints (pixels) of an external source."""
    return HandKeypoints(joints, np.ones(21) if confidence is None else confidence, side, "MediaPipe 9")


def test_external_joints_give_only_the_crop_and_the_handedness(network, photo):
    """Their box and the middle MCP are right; the other joints are wrong."""
    positions = spread_hand(120, (260, 170)).numpy()
    wrong = positions.copy()
    within = np.setdiff1d(np.arange(21), [9, *positions.argmin(0), *positions.argmax(0)])
    wrong[within] = positions[within[::-1]]
    found = predict_hand(network, photo, external_joints(wrong, "right"), options=SHORT)
    assert np.abs(found.keypoints.joints - positions).max() < 8
    np.testing.assert_allclose(found.frame.center[0], positions[9], rtol=1e-5)
    assert found.frame.side.item() == pytest.approx(180)
    assert (found.model.side, found.side_known) == ("right", True)
    assert found.keypoints.source == "the network (resnet18) in the crop by MediaPipe 9"
    by_box = predict_hand(network, photo, (200.0, 110.0, 120.0, 120.0), "right", options=SHORT)
    assert not torch.equal(by_box.frame.center, found.frame.center)


def test_the_handedness_comes_from_the_caller_then_the_joints_then_f_j2d(network, photo):
    positions = spread_hand(120, (260, 170)).numpy()
    left, unsaid, overruled = (
        predict_hand(network, photo, external_joints(positions, said), side, options=SHORT)
        for said, side in (("left", None), (None, None), ("left", "right"))
    )
    assert (left.model.side, left.side_known) == ("left", True)
    assert not unsaid.side_known
    assert (overruled.model.side, overruled.side_known) == ("right", True)


@pytest.mark.parametrize(("x", "y"), [(-40.0, 10.0), (400.0, 10.0), (10.0, -30.0), (10.0, 300.0)])
def test_a_box_outside_the_photo_is_refused(x, y):
    photo = torch.zeros(1, 3, HEIGHT, WIDTH)
    with pytest.raises(PredictionError, match=rf"--box {x:g},{y:g},40,30 lies outside the photo, which has 400 x 300"):
        crop_at((x, y, 40.0, 30.0), photo)


@pytest.mark.parametrize("box", [(float("nan"), 5.0, 9.0, 9.0), (5.0, 5.0, 0.0, 0.0), (5.0, 5.0, 9.0, float("inf"))])
def test_a_box_without_area_is_refused(box):
    with pytest.raises(PredictionError, match=rf"--box {box[0]:g},5,.* has no area; give X,Y,W,H"):
        crop_at(box, torch.zeros(1, 3, HEIGHT, WIDTH))


def test_joints_that_give_no_crop():
    photo, joints = torch.zeros(1, 3, HEIGHT, WIDTH), spread_hand(100, (600, 170)).numpy()
    with pytest.raises(PredictionError, match=r"the hand by MediaPipe 9 lies outside the photo, which has 400 x 300"):
        crop_at(external_joints(joints), photo)
    one = np.eye(21)[3]
    with pytest.raises(PredictionError, match="all lie in one place"):
        crop_at(external_joints(joints, confidence=one), photo)
    joints[5] = (20, 20)
    frame = crop_at(
        external_joints(joints, confidence=one + np.eye(21)[5]), photo
    )  # one of the two joints lies in the photo
    np.testing.assert_allclose(frame.side, 1.5 * np.abs(joints[3] - joints[5]).max())


def test_a_box_may_reach_out_of_the_photo():
    photo = torch.zeros(1, 3, HEIGHT, WIDTH)
    for x, y in ((-39.0, -29.0), (WIDTH - 1.0, HEIGHT - 1.0)):
        frame = crop_at((x, y, 40.0, 30.0), photo)
        assert (frame.center.tolist(), frame.side.item()) == ([[x + 20, y + 15]], 60)


def test_a_missing_hand_and_a_missing_f_j2d(network, photo):
    with pytest.raises(PredictionError, match="no hand is found"):
        predict_hand(network, np.full((50, 60, 3), 128, np.uint8))
    network.pose_machine = None
    with pytest.raises(PredictionError, match=r"no f_J2D .* --weights"):
        predict_hand(network, photo)
