"""A photo through detection, network and refinement: the crop is where the hand is, left hands are mirror images."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_network
import torch
from dot_machine import DotMachine, picture
from test_detection import HEIGHT, WIDTH, spread_hand

from dhpe_lib import network_prediction
from dhpe_lib.estimator import Estimator
from dhpe_lib.network_prediction import PHOTO_REFINEMENT, predict_hand
from dhpe_lib.prediction import PredictionError
from dhpe_lib.refinement import refine

SHORT = replace(PHOTO_REFINEMENT, iterations=3)


@pytest.fixture
def network(monkeypatch) -> Estimator:
    """Nothing learnt but to find the dots."""
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
    places = spread_hand(120, (260, 170)).numpy()
    assert np.abs(found.keypoints.joints - places).max() < 8
    assert found.frame.side.item() == pytest.approx(180, rel=0.1)
    assert (found.model.side, found.side_known, found.with_mask) == ("right", True, False)
    torch.testing.assert_close(found.mesh.joints, found.model.forward_h(found.h).joints)
    assert np.isfinite(found.energy)
    assert found.relative_error > 0


def test_the_energy_is_that_of_the_hand_that_is_kept(network, photo, monkeypatch):
    seen = []
    monkeypatch.setattr(network_prediction, "refine", lambda *args, **kw: seen.append(refine(*args, **kw)) or seen[-1])
    wild = replace(SHORT, rate=0.5)  # the steps are so long that the last is not the best
    found = predict_hand(network, photo, None, "right", options=wild)
    (one,) = seen
    assert one.kept[0] < wild.iterations
    assert found.energy == pytest.approx(float(one.energy[one.kept[0], 0]))
    assert found.energy != pytest.approx(float(one.energy[-1, 0]))


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


def test_what_cannot_be_found(network, photo):
    with pytest.raises(PredictionError, match="no hand is found"):
        predict_hand(network, np.full((50, 60, 3), 128, np.uint8))
    network.pose_machine = None
    with pytest.raises(PredictionError, match=r"no f_J2D .* --weights"):
        predict_hand(network, photo)
