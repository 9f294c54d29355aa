"""A hand of coloured dots is found at any position, with any size and handedness; its crop is the paper's."""

import pytest
import torch
from dot_machine import DOT, HEIGHT, WIDTH, DotMachine, picture, spread_hand
from torch import Tensor

from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.prediction.detection import detect_hand, detect_in_crop
from dhpe_lib.prediction.hand_estimate import NoHandError


@pytest.fixture
def machine() -> DotMachine:
    return DotMachine()


def found_at(machine: DotMachine, positions: Tensor, size: float, side: str | None = None):
    dot = round(DOT * 1.5 * size / 112)
    return detect_hand(machine, picture(positions, dot, HEIGHT, WIDTH), side)


@pytest.mark.parametrize(("size", "center"), [(120, (260, 170)), (70, (90, 80)), (180, (200, 150))])
def test_hands_of_any_size_and_position_are_found(machine, size, center):
    positions = spread_hand(size, center)
    found = found_at(machine, positions, size, "right")
    assert found.mirrored.tolist() == [False]
    assert (found.joints_px[0] - positions).norm(dim=1).max() < 0.06 * size
    crop = CropFrame.from_joints(positions[None], torch.ones(1, 21, dtype=torch.bool))
    assert found.frame.side.item() == pytest.approx(crop.side.item(), rel=0.1)
    assert (found.frame.center - crop.center).norm() < 0.06 * size


def test_a_left_hand_is_found_in_the_mirror_image(machine):
    positions = spread_hand(120, (260, 170))
    found = found_at(machine, positions, 120, "left")
    assert found.mirrored.tolist() == [True]
    assert (found.joints_px[0] - positions).norm(dim=1).max() < 8
    mirrored = found.frame.to_crop(positions[None]) * torch.tensor([-1.0, 1.0])
    torch.testing.assert_close(found.joints_2d, mirrored, rtol=0, atol=0.03)


def test_an_unknown_side_is_the_one_with_higher_maps(machine):
    """This machine has higher maps for hands whose index finger is right of the little finger."""
    positions = spread_hand(120, (200, 150))
    photo = picture(positions, 13, HEIGHT, WIDTH)
    maps = machine.maps

    def handed(images: Tensor) -> Tensor:
        index, little = maps(images)[:, 0, [5, 17]].amax(2).argmax(2).unbind(1)
        return maps(images) * (0.8 + 0.2 * (index > little).float()[:, None, None, None, None])

    machine.maps = handed
    first, second = (detect_hand(machine, one).mirrored for one in (photo, photo.flip(-1)))
    assert first.tolist() != second.tolist()
    assert detect_hand(machine, photo, "left").mirrored.tolist() == [True]


def test_detection_in_a_given_crop(machine):
    positions, frame = spread_hand(100, (260, 170)), CropFrame.from_box(torch.tensor([[210.0, 120, 310, 220]]))
    photo = picture(positions, 11, HEIGHT, WIDTH)
    found = detect_in_crop(machine, photo, frame, "right")
    assert found.frame.center.tolist() == [[260, 170]]
    assert found.frame.side.item() == 150
    assert (found.joints_px[0] - positions).norm(dim=1).max() < 6
    left = detect_in_crop(
        machine,
        photo.flip(-1),
        CropFrame(WIDTH * torch.tensor([[1.0, 0]]) + frame.center * torch.tensor([-1.0, 1]), frame.side, frame.angle),
        "left",
    )
    torch.testing.assert_close(left.joints_2d, found.joints_2d)


def test_a_photo_without_a_hand(machine):
    with pytest.raises(NoHandError, match="--box X,Y,W,H"):
        detect_hand(machine, torch.full((1, 3, 90, 60), 0.5))


def test_a_large_photo_is_reduced_for_the_first_pass(machine):
    positions = spread_hand(500, (700, 600))
    found = detect_hand(machine, picture(positions, 54, 1000, 1500), "right")
    assert (found.joints_px[0] - positions).norm(dim=1).max() < 30
