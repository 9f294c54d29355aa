"""Conversion of crops to the crop frame: Eq. 8, and hands with few labels."""

from dataclasses import replace

import pytest
import torch
from dot_dataset import Dots, write_dots

from dhpe_lib.common.records import join_rows
from dhpe_lib.data.cropping import crop_sample
from dhpe_lib.data.crops import Crops
from dhpe_lib.data.targets import masked_images, targets_of
from dhpe_lib.hand.skeleton import MIDDLE_MCP

TIPS = [4, 8, 12, 16, 20]


@pytest.fixture(scope="module")
def crops(tmp_path_factory) -> Crops:
    reader = Dots(write_dots(tmp_path_factory.mktemp("dots"), 4), "all")
    return join_rows([crop_sample(reader[index]) for index in range(4)])


def test_joints_are_those_of_eq_8(crops, device):
    targets = targets_of(crops.to(device))
    expected = crops.frame.normalise(crops.joints_3d, crops.k)
    torch.testing.assert_close(targets.joints.cpu(), expected, rtol=1e-4, atol=1e-5)
    assert targets.known.all()
    assert targets.known_2d.all()
    assert targets.joints[:, MIDDLE_MCP].abs().max() < 1e-4  # the origin: the crop is centred on it
    torch.testing.assert_close(targets.joints_2d.cpu(), crops.joints_2d)


def test_the_mask_is_that_of_the_inner_view(crops):
    targets = targets_of(crops)
    assert targets.mask.shape == (4, 224, 224)
    assert torch.equal(targets.mask, crops.masks[:, 16:240, 16:240].float())
    assert torch.equal(targets.has_mask, crops.has_mask)


def only_tips(crops: Crops) -> Crops:
    off = torch.ones(21, dtype=torch.bool)
    off[TIPS] = False
    joints_2d, joints_3d = crops.joints_2d.clone(), crops.joints_3d.clone()
    joints_2d[:, off], joints_3d[:, off] = torch.nan, torch.nan
    return replace(crops, joints_2d=joints_2d, joints_3d=joints_3d, z_root=joints_3d[:, TIPS, 2].mean(1))


def test_fingertips_only(crops):
    """As in Dexter+Object: z is relative to the mean depth of the tips; other joints are unknown and 0."""
    full, targets = targets_of(crops), targets_of(only_tips(crops))
    assert (targets.known.sum(1) == 5).all()
    assert (targets.known_2d.sum(1) == 5).all()
    torch.testing.assert_close(targets.joints[:, TIPS, :2], full.joints[:, TIPS, :2])
    assert targets.joints[:, TIPS, 2].mean(1).abs().max() < 1e-4
    assert not targets.joints[~targets.known].any()
    assert not targets.joints_2d[~targets.known_2d].any()


def test_nothing_known(crops):
    nothing = replace(
        crops,
        joints_2d=torch.full_like(crops.joints_2d, torch.nan),
        joints_3d=torch.full_like(crops.joints_3d, torch.nan),
        z_root=torch.full_like(crops.z_root, torch.nan),
    )
    targets = targets_of(nothing)
    assert not targets.known.any()
    assert not targets.known_2d.any()
    assert not targets.joints.any()
    assert not targets.joints_2d.any()


def test_hidden_joints_drop_out_when_asked(crops):
    visible = crops.visible.clone()
    visible[0, 3] = False
    hidden = replace(crops, visible=visible)
    assert targets_of(hidden).known_2d[0, 3]
    targets = targets_of(hidden, visible_only=True)
    assert not targets.known_2d[0, 3]
    assert targets.known[0, 3]


def test_masked_images(crops, generator):
    inner = crops.without_margin()
    has_mask = torch.tensor([True, False, True, True])
    targets = replace(targets_of(crops), has_mask=has_mask)
    images = inner.network_images()
    masked = masked_images(images, targets)
    assert torch.equal(masked[1], images[1])
    assert torch.equal(masked[0], images[0] * inner.masks[0])
    assert masked.is_contiguous(memory_format=torch.channels_last)
    assert masked_images(images.bfloat16(), targets).dtype == torch.bfloat16
