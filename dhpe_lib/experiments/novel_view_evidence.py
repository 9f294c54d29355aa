"""Evidence of novel views (Sec. 3.5), found once by the network whose F and f_J2D all variants share."""

from typing import Literal

import torch

from dhpe_lib.common.records import join_rows, take_rows
from dhpe_lib.data.crops import Crops
from dhpe_lib.data.views import JitterRange
from dhpe_lib.experiments.cached_evidence import AT_A_TIME, CachedEvidence, find_evidence
from dhpe_lib.network.estimator import Estimator
from dhpe_lib.network.upright import network_view
from dhpe_lib.synthetic.sampling import seed_of
from dhpe_lib.synthetic.scenery import make_backgrounds
from dhpe_lib.training.fixed_evidence import TRAINED_MASK
from dhpe_lib.training.novel_views import SHAPE_RANGE, NovelViewRenderer, NovelViews

Seeds = Literal["predicted", "true", "smaller-shapes"]
"""Novel views of the estimated poses, as in the paper; of the true poses; or of the estimated poses with shapes within
1.5 standard deviations, the other reading of the paper's "three standard deviations"."""
BACKGROUNDS, SMALLER_SHAPES = 64, SHAPE_RANGE / 2


def novel_view_evidence(network: Estimator, crops: Crops, seeds: Seeds, seed: int) -> CachedEvidence:
    """Render three novel views of each crop, and find their evidence.

    Args:
        network: f_DHPE; it estimates the seeds and finds the evidence.
        crops: Crops with their margin.
        seeds: Kind of the novel views.
        seed: Random seed of shapes, rotations, backgrounds and jitter.
    """
    renderer, pool, parts = NovelViewRenderer.of(network.hand), make_backgrounds(BACKGROUNDS, seed), []
    for number, start in enumerate(range(0, len(crops), AT_A_TIME)):
        novel_views = lifted(network, renderer, crops[start : start + AT_A_TIME], seeds, seed_of(seed, number))
        for first in range(0, len(novel_views), AT_A_TIME):
            some = take_rows(novel_views, torch.arange(first, min(first + AT_A_TIME, len(novel_views))))
            size, own = network.features.input_size, seed_of(seed, number, first)
            view = renderer.render_views(some, pool, own, JitterRange(), size, network.config.upright)
            parts.append(find_evidence(network, view, TRAINED_MASK))
    return join_rows(parts)


def lifted(network: Estimator, renderer: NovelViewRenderer, crops: Crops, seeds: Seeds, seed: int) -> NovelViews:
    """Sample novel views of crops, with skin and light lifted from their images.

    The skin is lifted through the estimated mesh also if the pose is the true one, so that both kinds look alike.
    """
    view = network_view(network, crops)
    h = network.predict(view.images, render=False).h
    shape_range = SMALLER_SHAPES if seeds == "smaller-shapes" else SHAPE_RANGE
    novel_views = renderer.lift_views(h, view, seed, shape_range=shape_range)
    if seeds != "true":
        return novel_views
    true_pose = torch.cat((crops.h[:, :45], h[:, 45:]), 1)
    return NovelViews(renderer.lift_views(true_pose, view, seed).h, novel_views.colors, novel_views.light)
