"""Jitter moves picture, mask and joints together, and changes nothing else."""

from dataclasses import replace

import pytest
import torch
from dot_dataset import K

from dhpe_lib.data.crop_frame import SIZE, CropFrame
from dhpe_lib.data.crops import Crops, pack_masks
from dhpe_lib.data.views import JitterRange, draw_jitter, jittered_view, no_jitter, plain_view, upright_angle
from dhpe_lib.hand.skeleton import MIDDLE_MCP

STORED = 256
NONE = JitterRange(0.0, 0.0, 0.0, 0.0)
MOVES = JitterRange(color=0.0)


def dot_crops(n: int = 4) -> Crops:
    """Return crops with a bright blob at joint 5; the mask is the blob."""
    generator = torch.Generator().manual_seed(3)
    k = torch.tensor(K).float().expand(n, 3, 3)
    joints = torch.rand(n, 21, 3, generator=generator) * torch.tensor([60.0, 60.0, 60.0]) + torch.tensor(
        [-30.0, -30, 570]
    )
    pixels = (joints @ k.mT)[..., :2] / (joints @ k.mT)[..., 2:]
    center, side = pixels[:, MIDDLE_MCP], torch.full((n,), 70.0)
    places = (pixels - center[:, None]) / side[:, None, None]
    row, column = torch.meshgrid(torch.arange(STORED) + 0.5, torch.arange(STORED) + 0.5, indexing="ij")
    spot = STORED / 2 + SIZE * places[:, 5]
    distance = torch.hypot(column - spot[:, :1, None], row - spot[:, 1:, None])
    images = (255 * torch.exp(-(distance**2) / 50)).byte()[..., None].expand(-1, -1, -1, 3).contiguous()
    yes, no = torch.ones(n, dtype=torch.bool), torch.zeros(n, dtype=torch.bool)
    return Crops(
        images, pack_masks(distance < 8), yes, places, joints, yes[:, None].expand(n, 21), k, center, side,
        joints[:, MIDDLE_MCP, 2], no, no, torch.full((n, 63), torch.nan),
    )  # fmt: skip


def centroid(weights: torch.Tensor) -> torch.Tensor:
    """Return the centre of mass of each picture, crop frame."""
    ticks = (torch.arange(SIZE) + 0.5) / SIZE - 0.5
    total = weights.sum((1, 2))
    return torch.stack((weights.sum(1) @ ticks, weights.sum(2) @ ticks), -1) / total[:, None]


def test_image_mask_and_joint_move_together(device):
    crops = dot_crops(16)
    view = jittered_view(crops.to(device), draw_jitter(16, 0, MOVES))
    spot = view.targets.joints_2d[:, 5].cpu()
    inside = spot.abs().amax(1) < 0.44  # the whole blob is visible
    assert inside.sum() > 8
    for weights in (view.images[:, 0].cpu(), view.targets.mask.cpu()):
        torch.testing.assert_close(centroid(weights)[inside], spot[inside], atol=0.5 / SIZE, rtol=0)
    moved = (spot - crops.joints_2d[:, 5]).norm(dim=1) * SIZE
    assert moved.median() > 5
    torch.testing.assert_close(view.targets.joints[..., :2], view.targets.joints_2d, atol=1e-5, rtol=0)


def test_joints_are_those_of_eq_8_in_the_new_frame():
    crops = dot_crops()
    view = jittered_view(crops, draw_jitter(4, 1, MOVES))
    torch.testing.assert_close(
        view.targets.joints, view.frame.normalise(crops.joints_3d, crops.k), atol=1e-4, rtol=1e-4
    )
    back = view.frame.denormalise(view.targets.joints, crops.k, crops.z_root)
    torch.testing.assert_close(back, crops.joints_3d, atol=0.05, rtol=0)


def test_no_jitter_is_the_plain_view():
    crops = dot_crops()
    plain, same = plain_view(crops), jittered_view(crops, draw_jitter(4, 0, NONE))
    torch.testing.assert_close(same.images, plain.images, atol=1e-4, rtol=0)
    torch.testing.assert_close(same.targets.joints, plain.targets.joints, atol=1e-5, rtol=0)
    assert torch.equal(same.targets.mask, plain.targets.mask)
    assert torch.equal(plain.images, crops.without_margin().network_images())


def test_color_leaves_labels_and_black_alone():
    crops = dot_crops()
    plain = plain_view(crops)
    view = jittered_view(crops, draw_jitter(4, 2, JitterRange(0.0, 0.0, 0.0, 0.5)))
    assert (view.images - plain.images).abs().max() > 0.1
    assert ((view.images >= 0) & (view.images <= 1)).all()
    assert len({round(float(value), 4) for value in view.images[:, :, 112, 112].flatten()}) > 4
    torch.testing.assert_close(view.targets.joints, plain.targets.joints, atol=1e-5, rtol=0)
    assert torch.equal(view.targets.mask, plain.targets.mask)


def test_unknown_labels_stay_unknown_and_finite():
    crops = dot_crops()
    gone = torch.zeros(4, 21, 1, dtype=torch.bool)
    gone[:, 7] = True
    crops = replace(
        crops,
        joints_2d=crops.joints_2d.masked_fill(gone, torch.nan),
        joints_3d=crops.joints_3d.masked_fill(gone, torch.nan),
        palm=torch.tensor([True, False, False, False]),
        has_mask=torch.zeros(4, dtype=torch.bool),
    )
    targets = jittered_view(crops, draw_jitter(4, 0, MOVES)).targets
    assert not targets.known[:, 7].any()
    assert targets.known[:, 0].tolist() == [False, True, True, True]  # a palm's centre is not a wrist
    assert targets.known_2d[:, 0].tolist() == [False, True, True, True]
    assert not targets.has_mask.any()
    assert all(value.isfinite().all() for value in vars(targets).values() if value.is_floating_point())


def test_draws_follow_their_seed_and_range():
    a, b, c = draw_jitter(64, 0, MOVES), draw_jitter(64, 0, MOVES), draw_jitter(64, 1, MOVES)
    assert torch.equal(a.angle, b.angle)
    assert not torch.equal(a.angle, c.angle)
    assert a.angle.abs().max() <= MOVES.angle
    assert a.angle.abs().max() > 0.8 * MOVES.angle
    assert a.shift.abs().max() <= MOVES.shift
    assert a.scale.log().abs().max() <= MOVES.scale + 1e-6
    assert torch.equal(a[2:5].shift, a.shift[2:5])
    assert a.contrast.tolist() == pytest.approx([1.0] * 64)


def test_the_upright_angle_turns_the_middle_mcp_above_the_wrist(generator):
    joints = torch.rand(50, 21, 2, generator=generator) - 0.5
    angle = upright_angle(joints)
    turned = CropFrame(torch.zeros(50, 2), torch.ones(50), angle).to_crop(joints)
    up = turned[:, 9] - turned[:, 0]
    assert up[:, 0].abs().max() < 1e-5
    assert (up[:, 1] < 0).all()
    assert torch.equal(upright_angle(torch.zeros(2, 21, 2)), torch.zeros(2))


def test_a_turned_view_is_the_jittered_view_with_an_angle_only():
    crops, angle = dot_crops(), torch.tensor([0.0, 1.0, 2.0, -3.0])
    drawn = draw_jitter(4, 0, NONE)
    expected = jittered_view(crops, replace(drawn, angle=angle), 96)
    found = jittered_view(crops, no_jitter(angle), 96)
    assert found.images.shape == (4, 3, 96, 96)
    torch.testing.assert_close(found.images, expected.images)
    torch.testing.assert_close(found.targets.joints, expected.targets.joints)
