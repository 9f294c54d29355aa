"""A hand of coloured dots is found wherever it is, whatever its size and side; the crop around it is the paper's."""

from types import SimpleNamespace

import pytest
import torch
from dot_machine import DotMachine, picture
from torch import Tensor

from dhpe_lib.camera import CropFrame
from dhpe_lib.detection import NoHandError, detect_hand, detect_in_box
from dhpe_lib.hand_model import HandModel

HEIGHT, WIDTH = 300, 400


@pytest.fixture
def network() -> SimpleNamespace:
    return SimpleNamespace(pose_machine=DotMachine())


def spread_hand(size: float, center: tuple[float, float]) -> Tensor:
    """The flat hand's joints, moved apart where they would overlap; its larger side is `size` pixels."""
    joints = HandModel.open_hand()().joints[0, :, [2, 0]]
    joints = joints * torch.tensor([2.0, 1.0])
    joints = joints - (joints.amax(0) + joints.amin(0)) / 2
    return joints / joints.abs().max() * size / 2 + torch.tensor(center)


def found_at(network: SimpleNamespace, places: Tensor, size: float, side: str | None = None):
    dot = round(12 * 1.5 * size / 112)
    return detect_hand(network, picture(places, dot, HEIGHT, WIDTH), side)


@pytest.mark.parametrize(("size", "center"), [(120, (260, 170)), (70, (90, 80)), (180, (200, 150))])
def test_hands_of_every_size_and_place_are_found(network, size, center):
    places = spread_hand(size, center)
    found = found_at(network, places, size, "right")
    assert found.mirrored == [False]
    assert (found.places[0] - places).norm(dim=1).max() < 0.06 * size
    crop = CropFrame.from_joints(places[None], torch.ones(1, 21, dtype=torch.bool))
    assert found.frame.side.item() == pytest.approx(crop.side.item(), rel=0.1)
    assert (found.frame.center - crop.center).norm() < 0.06 * size


def test_a_left_hand_is_looked_for_in_the_mirror_image(network):
    places = spread_hand(120, (260, 170))
    found = found_at(network, places, 120, "left")
    assert found.mirrored == [True]
    assert (found.places[0] - places).norm(dim=1).max() < 8
    mirrored = found.frame.to_crop(places[None]) * torch.tensor([-1.0, 1.0])
    torch.testing.assert_close(found.joints_2d, mirrored, rtol=0, atol=0.03)


def test_an_unknown_side_is_the_one_with_higher_maps(network):
    """Joints that are less certain in the mirror image: the machine of this test sees no dots right of the middle."""
    places = spread_hand(120, (200, 150))
    photo = picture(places, 19, HEIGHT, WIDTH)
    maps = network.pose_machine.maps

    def handed(images: Tensor) -> Tensor:
        ring_before_index = maps(images)[:, 0, 5].amax((1, 2), keepdim=True)
        columns = maps(images)[:, 0, [5, 17]].amax(2).argmax(2)
        right = (columns[:, 0] > columns[:, 1]).float()[:, None, None, None, None]
        assert ring_before_index.isfinite().all()
        return maps(images) * (0.5 + 0.5 * right)

    network.pose_machine.maps = handed
    first = detect_hand(network, photo).mirrored
    second = detect_hand(network, photo.flip(-1)).mirrored
    assert first != second


def test_a_box_is_the_crop(network):
    places = spread_hand(100, (260, 170))
    box = torch.tensor([[210.0, 120, 310, 220]])
    found = detect_in_box(network, picture(places, 16, HEIGHT, WIDTH), box, "right")
    assert found.frame.center.tolist() == [[260, 170]]
    assert found.frame.side.item() == 150
    assert (found.places[0] - places).norm(dim=1).max() < 6
    with pytest.raises(ValueError, match="its box is empty"):
        detect_in_box(network, torch.zeros(1, 3, 50, 50), torch.tensor([[5.0, 5, 5, 5]]))


def test_nothing_to_see(network):
    with pytest.raises(NoHandError, match="--box X,Y,W,H"):
        detect_hand(network, torch.full((1, 3, 90, 60), 0.5))
    without = SimpleNamespace(pose_machine=None)
    with pytest.raises(NoHandError, match="no f_J2D"):
        detect_hand(without, torch.zeros(1, 3, 90, 60))
    box = torch.tensor([[5.0, 5, 25, 15]])
    assert detect_in_box(without, torch.zeros(1, 3, 90, 60), box).frame.side.item() == 30
