"""Heat maps equal the formula in each cell, and joints are recovered from the maps."""

import math

import pytest
import torch

from dhpe_lib.network.heatmaps import MIN_HEIGHT, SIGMA, heatmap_joints, heatmap_statistics, target_heatmaps

F64 = torch.float64
ALL = torch.ones(2, 21, dtype=torch.bool)


def joints_inside(generator: torch.Generator, extent: float = 0.8) -> torch.Tensor:
    return extent * (torch.rand(2, 21, 2, generator=generator, dtype=F64) - 0.5)


def test_targets_cell_by_cell(generator):
    joints, n = joints_inside(generator), 5
    maps = target_heatmaps(joints, ALL, n, sigma=0.2)
    for b, k, i, j in [(0, 0, 0, 0), (0, 3, 4, 1), (1, 20, 2, 2), (1, 7, 1, 4)]:
        x, y = (joints[b, k] - torch.tensor([(j + 0.5) / n - 0.5, (i + 0.5) / n - 0.5])).tolist()
        assert maps[b, k, i, j].item() == pytest.approx(math.exp(-(x * x + y * y) / (2 * 0.2**2)))


def test_an_unknown_joint_has_an_empty_map(generator):
    joints, known = joints_inside(generator), ALL.clone()
    joints[0, 4], known[0, 4] = torch.nan, False
    maps = target_heatmaps(joints, known, 8)
    assert maps.isfinite().all()
    assert not maps[0, 4].any()
    assert (maps.flatten(2).amax(2) > 0.1).sum() == 41


@pytest.mark.parametrize("size", [28, 32])
def test_targets_lead_back_to_their_joints(size, generator, device):
    joints = joints_inside(generator).to(device)
    maps = target_heatmaps(joints, ALL.to(device), size)
    found = heatmap_joints(maps)
    torch.testing.assert_close(found.joints_2d, joints, rtol=0, atol=1e-9)
    coarse = heatmap_joints(maps, sub_pixel=False)
    assert (coarse.joints_2d - joints).abs().max() <= 0.5 / size + 1e-12
    assert (coarse.joints_2d - joints).abs().max() > 0.3 / size
    assert torch.equal(coarse.score, found.score)
    assert ((found.score > 0.85) & (found.score <= 1)).all()


def test_known_cells():
    maps = torch.zeros(1, 21, 4, 4)
    maps[0, :, 1, 2] = 2.0
    found = heatmap_joints(maps)
    assert torch.equal(found.joints_2d, torch.tensor([0.125, -0.125]).expand(1, 21, 2))
    assert torch.equal(found.score, torch.full((1, 21), 2.0))
    maps[0, 0, 1, 3] = 1.0  # a higher neighbour moves the maximum along x only
    moved = heatmap_joints(maps).joints_2d[0, 0]
    assert 0.125 < moved[0] < 0.25
    assert moved[1] == -0.125


def test_half_precision_maps_give_float32_joints(generator):
    joints = joints_inside(generator)
    maps = target_heatmaps(joints, ALL, 32).to(torch.bfloat16)
    found = heatmap_joints(maps)
    assert found.joints_2d.dtype == found.score.dtype == torch.float32
    assert (found.joints_2d - joints).abs().max() < 0.3 / 32


@pytest.mark.parametrize("height", [0.0, -1.0, 5.0])
def test_flat_maps_give_the_first_cell(height):
    found = heatmap_joints(torch.full((1, 21, 8, 8), height))
    assert torch.equal(found.joints_2d, torch.full((1, 21, 2), 0.5 / 8 - 0.5))


def test_joints_at_the_border_and_outside(generator):
    joints = torch.tensor([[-0.5, 0.0], [0.55, 0.1], [0.0, 0.49]], dtype=F64).repeat(7, 1)[None]
    found = heatmap_joints(target_heatmaps(joints, ALL[:1], 32, SIGMA))
    torch.testing.assert_close(found.joints_2d[0, 0], torch.tensor([0.5 / 32 - 0.5, 0.0], dtype=F64))
    torch.testing.assert_close(found.joints_2d[0, 1], torch.tensor([0.5 - 0.5 / 32, 0.1], dtype=F64))
    assert found.joints_2d.abs().max() < 0.5


def test_no_gradient_passes_the_argmax(generator):
    maps = torch.rand(1, 21, 8, 8, generator=generator).requires_grad_()
    found = heatmap_joints(maps)
    assert not found.joints_2d.requires_grad
    assert not found.score.requires_grad


def test_statistics_of_a_target(generator):
    joints = joints_inside(generator, 0.4)
    maps = 0.7 * target_heatmaps(joints, torch.ones(joints.shape[:2], dtype=torch.bool), 48)
    found = heatmap_joints(maps)
    statistics = heatmap_statistics(maps, found)
    torch.testing.assert_close(statistics[..., 0], found.score)
    torch.testing.assert_close(statistics[..., 1:3], torch.zeros_like(joints), atol=2e-2, rtol=0)
    torch.testing.assert_close(statistics[..., 3], torch.ones_like(found.score), atol=2e-2, rtol=0)


def test_statistics_of_any_map(generator):
    maps = torch.randn(2, 21, 6, 6, generator=generator)
    found = heatmap_joints(maps)
    statistics = heatmap_statistics(maps, found)
    weights = maps.clamp_min(MIN_HEIGHT).double().square()
    for b, joint in ((0, 3), (1, 20)):
        cells = [
            ((c + 0.5) / 6 - 0.5, (r + 0.5) / 6 - 0.5, weights[b, joint, r, c]) for r in range(6) for c in range(6)
        ]
        total = sum(w for _, _, w in cells)
        mean = torch.stack([sum(w * x for x, _, w in cells), sum(w * y for _, y, w in cells)]) / total
        variance = sum(w * ((x - mean[0]) ** 2 + (y - mean[1]) ** 2) for x, y, w in cells) / total
        offset = (mean - found.joints_2d[b, joint].double()) / SIGMA
        expected = torch.stack([found.score[b, joint].double(), *offset, variance.sqrt() / SIGMA])
        torch.testing.assert_close(statistics[b, joint].double(), expected, rtol=1e-5, atol=1e-5)
    assert not statistics.requires_grad


def test_an_empty_map_has_finite_statistics():
    maps = torch.zeros(1, 21, 8, 8, requires_grad=True)
    statistics = heatmap_statistics(maps, heatmap_joints(maps))
    assert statistics.isfinite().all()
    assert not statistics.requires_grad
