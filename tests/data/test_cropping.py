"""The crop of a sample: positions of joints and pixels, the inverse, and hands with few labels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from dot_dataset import HEIGHT, WIDTH, Dots, K, write_dots

from dhpe_lib.common.records import join_rows
from dhpe_lib.data.cropping import FINGERTIPS_MM, NoCropError, crop_sample, hand_frame, root_depth
from dhpe_lib.data.crops import pack_masks
from dhpe_lib.data.sample import Sample, project
from dhpe_lib.hand.skeleton import MIDDLE_MCP

TIPS = [4, 8, 12, 16, 20]


@pytest.fixture
def samples(tmp_path) -> list[Sample]:
    reader = Dots(write_dots(tmp_path, 4), "all")
    return [reader[index] for index in range(4)]


def only(sample: Sample, joints: list[int]) -> Sample:
    """Return the sample with only some joints labelled."""
    off = np.setdiff1d(np.arange(21), joints)
    joints_2d, joints_3d = sample.joints_2d.copy(), sample.joints_3d.copy()
    joints_2d[off], joints_3d[off] = np.nan, np.nan
    return replace(sample, joints_2d=joints_2d, joints_3d=joints_3d)


def test_every_dot_is_where_the_crop_says(samples):
    """In crops of left and right hands, the brightest point near each joint is the joint, to a fraction of a pixel."""
    crops = join_rows([crop_sample(sample) for sample in samples])
    assert crops.left.tolist() == [True, False, False, True]
    assert tuple(crops.images.shape) == (4, 256, 256, 3)
    x = torch.arange(256) + 0.5
    errors = []
    for image, joints in zip(crops.images[..., 0].float(), crops.joints_px, strict=True):
        alone = [j for j in range(21) if torch.cdist(joints[j : j + 1], joints).topk(2, largest=False)[0][0, 1] > 16]
        for u, v in joints[alone][((joints[alone] > 8) & (joints[alone] < 248)).all(1)]:
            weight = (image - 60).clamp_min(0) * ((x - u).abs() < 8) * ((x - v).abs() < 8)[:, None]
            errors.append(((weight * x).sum() / weight.sum() - u, (weight * x[:, None]).sum() / weight.sum() - v))
    assert len(errors) > 20
    assert torch.tensor(errors).abs().max() < 0.6
    assert torch.tensor(errors).mean(0).abs().max() < 0.1


def test_the_crop_of_the_paper(samples):
    for sample in samples:
        crops = crop_sample(sample)
        np.testing.assert_allclose(crops.center[0], sample.joints_2d[MIDDLE_MCP], rtol=1e-6)
        np.testing.assert_allclose(crops.side[0], 1.5 * np.ptp(sample.joints_2d, axis=0).max(), rtol=1e-6)
        np.testing.assert_allclose(crops.joints_px[0, MIDDLE_MCP], 128, atol=1e-3)


def test_eq_8_is_inverted_with_what_is_stored(samples):
    for sample in samples:
        crops = crop_sample(sample)
        normalised = crops.frame.normalise(crops.joints_3d, crops.k)
        np.testing.assert_allclose(normalised[..., :2], crops.joints_2d, atol=1e-4)
        back = crops.frame.denormalise(normalised, crops.k, crops.z_root)[0]
        np.testing.assert_allclose(back, sample.joints_3d, atol=0.01)
        np.testing.assert_allclose(crops.frame.to_image(crops.joints_2d)[0], sample.joints_2d, atol=1e-3)


def test_the_margin_is_only_around(samples):
    """Removing the margin gives the pixels of a crop without margin, and pixel = 112 + 224 x."""
    for sample in samples:
        wide, narrow = crop_sample(sample), crop_sample(sample, margin=0)
        inner = wide.without_margin()
        assert (inner.images.int() - narrow.images.int()).abs().max() <= 1
        assert (inner.masks != narrow.masks).float().mean() < 1e-4
        torch.testing.assert_close(inner.joints_px, 112 + 224 * narrow.joints_2d)
        assert inner.images.data_ptr() != wide.images.data_ptr()
        assert inner.images.untyped_storage().data_ptr() == wide.images.untyped_storage().data_ptr()


def test_masks_lie_on_the_dots_and_may_be_missing(samples):
    crops = join_rows([crop_sample(sample) for sample in samples])
    assert crops.has_mask.tolist() == [False, True, True, True]
    assert not crops.masks[0].any()
    bright = crops.images[1:, ..., 0] > 100
    assert bright.float().mean() > 0.001
    assert (crops.masks[1:] != bright).float().mean() < 0.3 * bright.float().mean()


def test_packed_masks(generator):
    masks = torch.rand(2, 16, 16, generator=generator) > 0.5
    np.testing.assert_array_equal(pack_masks(masks), np.packbits(masks.numpy(), axis=-1))
    crops = crop_sample(Sample("", np.zeros((9, 9, 3), np.uint8), K, *line(), np.ones(21, bool), None, "right", "palm"))
    square = torch.rand(1, 256, 256, generator=generator) > 0.5
    assert torch.equal(replace(crops, mask_bits=pack_masks(square)).masks, square)
    assert crops.palm.item()


def line() -> tuple[np.ndarray, np.ndarray]:
    """Return joints in a row."""
    joints = np.stack((np.linspace(-50, 50, 21), np.zeros(21), np.full(21, 500.0)), 1)
    return project(joints, K), joints


def test_outside_of_the_photo_it_is_black(samples):
    sample = replace(samples[1], image=np.full((HEIGHT, WIDTH, 3), 200, np.uint8), mask=np.ones((HEIGHT, WIDTH), bool))
    wide = crop_sample(replace(sample, joints_2d=sample.joints_2d + np.array([WIDTH / 2, 0])))
    corner = (wide.center - wide.side * 128 / 224)[0]
    columns = torch.arange(256) + 0.5
    u = corner[0] + columns * wide.side[0] / 224
    inside, outside = u < WIDTH - 2, u > WIDTH + 2
    assert inside.any()
    assert outside.any()
    assert (wide.images[0, 128, inside] == 200).all()
    assert (wide.images[0, 128, outside] == 0).all()
    assert not wide.masks[0, :, outside].any()


def test_fingertips_alone_get_room_for_the_hand(samples):
    """For two tips that nearly touch, the side is 1.5 x 160 mm at their depth."""
    sample = only(samples[1], TIPS)
    joints = sample.joints_3d.copy()
    joints[TIPS] = np.array([0, 0, 500]) + np.arange(5)[:, None]
    sample = replace(sample, joints_3d=joints, joints_2d=project(joints, K))
    frame = hand_frame(sample)
    np.testing.assert_allclose(frame.side[0], 1.5 * FINGERTIPS_MM * 305 / 502)
    box = sample.joints_2d[TIPS]
    np.testing.assert_allclose(frame.center[0], (box.min(0) + box.max(0)) / 2)
    spread = hand_frame(replace(sample, joints_2d=100 * sample.joints_2d))  # tips far apart: their box is large enough
    np.testing.assert_allclose(spread.side[0], 150 * np.ptp(box, axis=0).max())
    flat = hand_frame(replace(sample, joints_3d=np.full((21, 3), np.nan)))  # without depth the box is used
    np.testing.assert_allclose(flat.side[0], 1.5 * np.ptp(box, axis=0).max())
    with_wrist = replace(sample, joints_2d=sample.joints_2d.copy())
    with_wrist.joints_2d[0] = box[0] + 1
    assert hand_frame(with_wrist).side[0] < 20


def test_depth_of_the_root(samples):
    assert root_depth(samples[0]) == samples[0].joints_3d[MIDDLE_MCP, 2]
    tips = only(samples[0], TIPS)
    assert root_depth(tips) == pytest.approx(samples[0].joints_3d[TIPS, 2].mean())
    assert np.isnan(root_depth(only(samples[0], [])))


def test_hands_of_which_too_little_is_known(samples):
    for joints in ([], [3]):
        with pytest.raises(NoCropError, match=rf"^{len(joints)} of its 21 joints"):
            crop_sample(only(samples[0], joints))
    with pytest.raises(NoCropError, match="in one place"):
        crop_sample(replace(samples[0], joints_2d=np.full((21, 2), 7.0)))
    crops = crop_sample(only(samples[0], [0, 3]))
    assert crops.known[0].nonzero().flatten().tolist() == [0, 3]
    assert crops.joints_2d[0].isfinite().all(-1).nonzero().flatten().tolist() == [0, 3]


def test_batches_are_cut_and_joined(samples, device):
    crops = join_rows([crop_sample(sample) for sample in samples]).to(device)
    assert len(crops) == 4
    picked = crops[[3, 0]]
    assert torch.equal(picked.joints_2d, crops.joints_2d[[3, 0]])
    again = join_rows([crops[:1], crops[torch.tensor([False, True, True, True], device=device)]])
    assert all(
        torch.equal(a.nan_to_num(-1.0), b.nan_to_num(-1.0))
        for (_, a), (_, b) in zip(again.items(), crops.items(), strict=True)
    )
    images = crops.without_margin().network_images()
    assert images.shape == (4, 3, 224, 224)
    assert images.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(images[2, 1], crops.images[2, 16:240, 16:240, 1] / 255)
    again = crops[[1, 0, 3, 2]].without_margin().network_images(images)
    assert again is images
    torch.testing.assert_close(images[3, 1], crops.images[2, 16:240, 16:240, 1] / 255)
