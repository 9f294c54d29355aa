"""The estimator sees each found hand upright and as a right hand, and its joints come back to the photo."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_network
import torch

from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.hand.model import HandModel, neutral_h
from dhpe_lib.hand.parameters import turn_h
from dhpe_lib.network.estimator import Estimator
from dhpe_lib.prediction.find_hands import FoundHand
from dhpe_lib.prediction.from_estimator import look_with_estimator
from dhpe_lib.prediction.hand_estimate import PredictionError

HEIGHT, WIDTH = 300, 400


@pytest.fixture
def network(monkeypatch) -> Estimator:
    tiny_network.install(monkeypatch.setitem)
    torch.manual_seed(0)
    return Estimator(replace(tiny_network.TINY, upright=True)).eval()


def found_hand(angle: float, side: str = "right") -> FoundHand:
    """A hand whose wrist is at (200, 150) and whose middle MCP lies in a direction, radians clockwise from up."""
    spread = torch.stack((torch.linspace(-30, 30, 21), torch.linspace(-20, -60, 21)), 1)
    spread[0], spread[9] = torch.tensor([0.0, 0.0]), torch.tensor([0.0, -30.0])
    frame = CropFrame(torch.zeros(1, 2), torch.ones(1), torch.tensor([angle]))
    joints = frame.to_image(spread[None])[0] + torch.tensor([200.0, 150.0])
    return FoundHand(joints, torch.zeros(21, 3), 0.9, side, float(side == "right"), 0.9, frame, torch.ones(21))


def photo_of(hand: FoundHand) -> np.ndarray:
    """A black photo with a red spot at the wrist and a green one at the thumb's base."""
    photo = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for joint, channel in ((0, 0), (1, 1)):
        x, y = hand.joints_px[joint].round().int().tolist()
        photo[y - 3 : y + 4, x - 3 : x + 4, channel] = 255
    return photo


def spot(crop: torch.Tensor, channel: int) -> torch.Tensor:
    """Centre of a colour in a crop, crop frame."""
    row, column = (crop[channel] > 0.5).nonzero().float().mean(0) + 0.5
    return torch.stack((column, row)) / crop.shape[-1] - 0.5


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("angle", [0.0, 1.0, -2.5])
def test_crops_are_upright_right_hands_and_joints_come_back(network, monkeypatch, side, angle):
    hand = found_hand(angle, side)
    model, seen = HandModel.open_hand(), []
    h = neutral_h(model)

    def predict(crops, render):
        seen.append(crops)
        spots = torch.stack([spot(crops[0], 0), spot(crops[0], 1), *[torch.zeros(2)] * 19])[None]
        joints = model.forward_h(h).joints
        return SimpleNamespace(
            h=h, joints=joints, joints_2d=spots, evidence=SimpleNamespace(score=torch.full((1, 21), 0.7))
        )

    monkeypatch.setattr(network, "predict", predict)
    (found,) = look_with_estimator(network, photo_of(hand), [hand])
    wrist, thumb = spot(seen[0][0], 0), spot(seen[0][0], 1)
    assert wrist[0].abs() < 0.02  # the middle MCP is the centre, and the wrist lies below it
    assert wrist[1] > 0.2
    assert (thumb[0] < 0) == (side == "right")
    torch.testing.assert_close(found.joints_px[:2], hand.joints_px[:2], rtol=0, atol=1.0)
    assert torch.equal(found.confidence, torch.full((21,), 0.7))
    mirrored = model.forward_h(h).joints * torch.tensor([-1.0 if side == "left" else 1.0, 1, 1])
    centred = mirrored - mirrored.mean(1, keepdim=True)
    turned = model.forward_h(turn_h(h, torch.tensor([angle]))).joints  # a right hand, for its rotation only
    expected = turned - turned.mean(1, keepdim=True) if side == "right" else None
    assert found.joints_world.norm() == pytest.approx(float(centred.norm()), rel=1e-5)
    if expected is not None:
        torch.testing.assert_close(found.joints_world, expected[0], rtol=0, atol=1e-6)
    assert (found.side, found.presence) == (side, 0.9)
    assert found.source == "the network (resnet18)"


def test_no_hands_and_no_f_j2d(network):
    photo = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    assert look_with_estimator(network, photo, []) == []
    network.pose_machine = None
    with pytest.raises(PredictionError, match=r"no f_J2D .* --weights"):
        look_with_estimator(network, photo, [found_hand(0.0)])
