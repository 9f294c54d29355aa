"""The crop frame: round trips, known pictures, and Eq. 8 against its formula."""

from math import pi

import pytest
import torch

from dhpe_lib.data import crop_frame
from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.hand.skeleton import MIDDLE_MCP

F64 = torch.float64


def frames(n: int, generator: torch.Generator, dtype: torch.dtype = F64) -> CropFrame:
    rand = torch.rand(n, 4, generator=generator, dtype=dtype)
    return CropFrame(rand[:, :2] * 3000, 1 + rand[:, 2] * 2000, (rand[:, 3] - 0.5) * 2 * pi)


def hands(n: int, generator: torch.Generator, dtype: torch.dtype = F64) -> tuple[torch.Tensor, torch.Tensor]:
    joints = torch.randn(n, 21, 3, generator=generator, dtype=dtype) * 50
    joints = joints + torch.tensor((30.0, -40.0, 600.0), dtype=dtype)
    focal = 400 + 600 * torch.rand(n, 2, generator=generator, dtype=dtype)
    k = torch.diag_embed(torch.cat((focal, torch.ones(n, 1, dtype=dtype)), 1))
    k[:, :2, 2] = 500 * torch.rand(n, 2, generator=generator, dtype=dtype)
    return joints, k


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_points_survive_the_round_trip(dtype, device, tol, generator):
    frame = frames(30, generator, dtype)
    frame = CropFrame(frame.center.to(device), frame.side.to(device), frame.angle.to(device))
    points = torch.rand(30, 50, 2, generator=generator, dtype=dtype).to(device) - 0.5
    close = {**tol[dtype], "atol": 1e-3} if dtype == torch.float32 else tol[dtype]
    torch.testing.assert_close(frame.to_crop(frame.to_image(points)), points, **close)


def test_crop_of_a_turned_frame_is_where_geometry_says():
    frame = CropFrame(torch.tensor([[100.0, 50.0]]), torch.tensor([10.0]), torch.tensor([pi / 2]))
    # A quarter turn: the crop's x axis runs down the image, its y axis to the left.
    corners = frame.to_image(torch.tensor([[[0.0, 0.0], [0.5, 0.0], [0.0, 0.5]]]))
    torch.testing.assert_close(corners, torch.tensor([[[100.0, 50.0], [100.0, 55.0], [95.0, 50.0]]]))


def test_from_joints_is_the_papers_box(generator):
    joints = torch.rand(3, 21, 2, generator=generator, dtype=F64) * torch.tensor((300.0, 100.0), dtype=F64)
    valid = torch.ones(3, 21, dtype=torch.bool)
    valid[1, MIDDLE_MCP] = False
    valid[2, 5:9] = False
    joints[2, 5:9] = 1e9
    frame = CropFrame.from_joints(joints, valid)
    for i in range(3):
        box = joints[i, valid[i]]
        low, high = box.amin(0), box.amax(0)
        assert frame.side[i] == pytest.approx(1.5 * max(high - low))
        expected = joints[i, MIDDLE_MCP] if i != 1 else (low + high) / 2
        torch.testing.assert_close(frame.center[i], expected)
    assert not frame.angle.any()


def test_from_box():
    frame = CropFrame.from_box(torch.tensor([[10.0, 20.0, 50.0, 40.0]]), margin=2.0)
    assert frame.center.tolist() == [[30.0, 30.0]]
    assert frame.side.tolist() == [80.0]


@pytest.mark.parametrize("n_valid", [0, 1])
def test_too_few_joints_are_refused(n_valid, generator):
    valid = torch.zeros(2, 21, dtype=torch.bool)
    valid[0] = True
    valid[1, :n_valid] = True
    with pytest.raises(ValueError, match="hand 1: its box is empty; give at least two"):
        CropFrame.from_joints(torch.rand(2, 21, 2, generator=generator), valid)


def test_turned_over_box_is_refused():
    with pytest.raises(ValueError, match="left < right"):
        CropFrame.from_box(torch.tensor([[50.0, 40.0, 10.0, 20.0]]))


@pytest.mark.parametrize("size", [(40, 60), (61, 33), (224, 224)])
@pytest.mark.parametrize("angle", [0.0, 0.7, -2.0])
def test_crop_image_shows_the_point_that_to_crop_names(size, angle, device):
    height, width = size
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    image = torch.stack((x, y))[None].to(device)  # each pixel holds its own position
    frame = CropFrame(*(torch.tensor(v, device=device) for v in ([[width / 2, height / 2]], [14.0], [angle])))
    crop = frame.crop_image(image, size=28)
    ticks = (torch.arange(28, device=device) + 0.5) / 28 - 0.5
    v, u = torch.meshgrid(ticks, ticks, indexing="ij")
    expected = frame.to_image(torch.stack((u, v), -1).reshape(1, -1, 2)).mT.reshape(1, 2, 28, 28)
    torch.testing.assert_close(crop, expected, rtol=1e-4, atol=1e-3)


def test_crop_of_the_whole_image_is_the_image(generator):
    image = torch.rand(1, 3, 32, 32, generator=generator)
    frame = CropFrame(torch.tensor([[16.0, 16.0]]), torch.tensor([32.0]), torch.zeros(1))
    torch.testing.assert_close(frame.crop_image(image, 32), image)
    moved = CropFrame(torch.tensor([[48.0, 16.0]]), torch.tensor([32.0]), torch.zeros(1))
    assert not moved.crop_image(image, 32).any()  # the crop lies outside the image


def test_large_photos_do_not_alias():
    checks = ((torch.arange(512)[:, None] + torch.arange(512)) % 2).float()[None, None]
    frame = CropFrame(torch.tensor([[256.0, 256.0]]), torch.tensor([512.0]), torch.zeros(1))
    torch.testing.assert_close(frame.crop_image(checks, 64), torch.full((1, 1, 64, 64), 0.5))


def test_a_crop_in_strips_is_the_crop_at_once(generator, monkeypatch):
    image = torch.rand(2, 3, 50, 40, generator=generator)
    frame = CropFrame(torch.tensor([[20.0, 25.0], [3.0, 4.0]]), torch.tensor([40.0, 20.0]), torch.tensor([0.3, 2.0]))
    whole = frame.crop_image(image, 16)
    for samples in (1, 16 * 3 * 3 * 5):  # one row of the crop at a time, and five
        monkeypatch.setattr(crop_frame, "MOST_SAMPLES", samples)
        torch.testing.assert_close(frame.crop_image(image, 16), whole, atol=1e-6, rtol=0)


def test_normalise_is_equation_8(generator):
    joints, k = hands(10, generator)
    frame = frames(10, generator)
    frame = CropFrame(frame.center, frame.side, torch.zeros(10, dtype=F64))
    found = frame.normalise(joints, k)
    for i in range(10):
        root = joints[i, MIDDLE_MCP, 2]
        pixel = (k[i] @ joints[i].T).T
        pixel = pixel[:, :2] / pixel[:, 2:]
        torch.testing.assert_close(found[i, :, :2], (pixel - frame.center[i]) / frame.side[i])
        focal = (k[i, 0, 0] + k[i, 1, 1]) / 2
        torch.testing.assert_close(found[i, :, 2], (joints[i, :, 2] - root) / (root * frame.side[i] / focal))


def test_normalise_survives_the_round_trip(tol, generator):
    joints, k = hands(40, generator)
    frame = frames(40, generator)
    back = frame.denormalise(frame.normalise(joints, k), k, joints[:, MIDDLE_MCP, 2])
    torch.testing.assert_close(back, joints, **tol[F64])


def test_the_papers_crop_holds_the_hand_and_its_root_is_the_origin(generator):
    joints, k = hands(5, generator)
    pixels = joints @ k.mT
    frame = CropFrame.from_joints(pixels[..., :2] / pixels[..., 2:], torch.ones(5, 21, dtype=torch.bool))
    found = frame.normalise(joints, k)
    torch.testing.assert_close(found[:, MIDDLE_MCP], torch.zeros(5, 3, dtype=F64))
    spread = found[..., :2].amax(1) - found[..., :2].amin(1)
    torch.testing.assert_close(spread.amax(1), torch.full((5,), 1 / 1.5, dtype=F64))


def test_gradcheck_normalise_and_inverse(generator):
    joints, k = hands(2, generator)
    frame = frames(2, generator)
    assert torch.autograd.gradcheck(lambda j: frame.normalise(j, k), joints.requires_grad_())
    crop = frame.normalise(joints, k).detach()[:, :4].requires_grad_()
    z_root = joints[:, MIDDLE_MCP, 2].detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda c, z: frame.denormalise(c, k, z), (crop, z_root))
