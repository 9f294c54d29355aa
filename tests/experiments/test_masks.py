"""Masks of Table 2: the segmentation networks, the intervals of pooled scores, and hands among distractors."""

import numpy as np
import pytest
import torch

from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.data.crops import Crops
from dhpe_lib.data.targets import Targets
from dhpe_lib.data.views import View
from dhpe_lib.evaluation.mask_metrics import mask_counts, mask_scores
from dhpe_lib.experiments.cached_evidence import TESTED_MASK, CachedEvidence
from dhpe_lib.experiments.claims import CLAIMS, NETWORKS
from dhpe_lib.experiments.distractors import distractor_pairs
from dhpe_lib.experiments.evidence_masks import (
    MASKED,
    MESH,
    distractor_gain,
    mask_comparisons,
    mask_gain,
    mask_row,
    network_counts,
    new_network,
    pooled_interval,
    true_mesh_counts,
)
from dhpe_lib.experiments.segmentation import SEGMENTERS, fit_segmenters, segmenter_counts
from dhpe_lib.hand.model import HandModel


@pytest.fixture(scope="module")
def pair() -> tuple[Crops, Crops]:
    return distractor_pairs(6, 0)


def masks_alone(mask: torch.Tensor) -> Targets:
    """Return targets with masks and joints at the origin."""
    n = len(mask)
    yes, zeros = torch.ones(n, 21, dtype=torch.bool), torch.zeros(n, 21, 3)
    return Targets(zeros, yes, zeros[..., :2], yes, mask, yes[:, 0], torch.zeros(n, 55), yes[:, 0])


def bright_squares(step: int) -> View:
    generator = torch.Generator().manual_seed(step)
    corner = torch.randint(0, 40, (4, 2), generator=generator)
    ticks = torch.arange(64)
    inside = (ticks - corner[..., None]).ge(0) & (ticks - corner[..., None]).lt(24)
    mask = (inside[:, 0, :, None] & inside[:, 1, None, :]).float()
    frame = CropFrame(torch.zeros(4, 2), torch.ones(4), torch.zeros(4))
    images = (0.3 + 0.5 * mask)[:, None].expand(-1, 3, -1, -1).contiguous()
    return View(images, masks_alone(mask), frame)


def test_segmentation_networks_learn_a_bright_square():
    networks = [new_network(kind, 0) for kind in SEGMENTERS.values()]
    fit_segmenters(networks, bright_squares, 80)
    view = bright_squares(99)
    fine, coarse = (mask_scores(segmenter_counts(one, view.images, view.targets.mask)).iou for one in networks)
    assert fine > 0.8
    assert coarse > 0.6
    for network in networks:
        assert not network.training
        assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 32, 32)


def counts(tp: int, wrong: int, trainings: int = 1, n: int = 4) -> np.ndarray:
    return np.tile([tp, wrong, 0], (trainings, n, 1))


def test_masks_are_compared_by_their_pooled_iou():
    found = mask_gain(counts(5, 5, 3), counts(8, 2))
    assert (found["without"], found["with"], found["value"]) == (0.5, 0.8, 0.3)
    assert found["seeds"] == [0.3, 0.3, 0.3]
    assert (found["low"], found["high"]) == (0.3, 0.3)
    row = mask_row(counts(8, 2))
    assert row["iou_interval"] == [0.8, 0.8]
    assert (row["iou"], row["recall"], row["images"], row["trainings"]) == (0.8, 1.0, 4, 1)


def test_trainings_that_differ_widen_the_interval():
    generator = np.random.default_rng(0)
    images = generator.integers(4, 9, (1, 50, 3))
    alone = pooled_interval(lambda rows: mask_scores(rows).iou, images)
    differing = np.concatenate((images, images + np.array([3, 0, 0]), images))
    three = pooled_interval(lambda rows: mask_scores(rows).iou, differing)
    assert three.low < alone.low < alone.value < alone.high < three.high


def test_distractors_cost_the_difference_of_two_losses():
    found = distractor_gain((counts(9, 1, 3), counts(7, 3, 3)), (counts(8, 2), counts(8, 2)))
    assert (found["without"], found["with"], found["value"], found["of"]) == (-0.2, 0.0, 0.2, 0.9)
    assert len(found["seeds"]) == 3


def test_every_claim_about_masks_has_its_comparison():
    assert tuple(SEGMENTERS) == NETWORKS
    rows = {name: counts(5, 5, 3) for name in SEGMENTERS} | {MESH: counts(8, 2)}
    found = mask_comparisons(dict.fromkeys(MASKED, rows))
    assert set(found) > {*CLAIMS["masks"].comparisons, *CLAIMS["distractors"].comparisons}
    assert found["mask against the U-Net, distractors"]["value"] == 0.3
    assert mask_comparisons({"orh_test": {MESH: counts(8, 2)}}) == {}


def test_distractors_leave_the_hand_alone(pair):
    calm, disturbed = pair
    assert torch.equal(calm.h, disturbed.h)
    tp, fp, fn = mask_counts(calm.masks.numpy(), disturbed.masks.numpy()).sum(0)
    assert tp / (tp + fp + fn) > 0.98
    off = ~calm.masks & ~disturbed.masks
    changed = (calm.images.float() - disturbed.images.float()).abs().amax(-1) > 30
    assert (changed & off).flatten(1).any(1).all()
    assert changed[off].float().mean() > 0.03


def test_the_true_mesh_has_its_own_mask(pair):
    rows = true_mesh_counts(HandModel.open_hand(), pair[0])
    assert rows.shape == (1, 6, 3)
    assert mask_scores(rows[0]).iou == pytest.approx(0.85, abs=0.12)


def test_networks_see_the_views_of_the_evidence(pair):
    class Nothing(torch.nn.Module):
        def forward(self, images):
            assert images.shape[-2:] == (TESTED_MASK, TESTED_MASK)
            return -torch.ones(len(images), TESTED_MASK, TESTED_MASK)

    targets = masks_alone(torch.zeros(6, TESTED_MASK, TESTED_MASK))
    frame = CropFrame(pair[0].center, pair[0].side, torch.zeros(6))
    evidence = CachedEvidence(torch.zeros(6, 1), torch.zeros(6, 21, 2), targets, frame)
    rows = network_counts([Nothing(), Nothing()], evidence, pair[0])
    assert rows.shape == (2, 6, 3)
    assert (rows[..., :2] == 0).all()
    assert (rows[..., 2] > 500).all()
