"""F learnt with and without the 2D losses: trunks for the claim that these losses help.

All other variants share one F, which learnt from L_J2D. Here the trunk of F is trained again for each choice of losses
and each seed: by L_Art and L_Lap alone, with L_J2D beside them, or with L_J2D and L_Feat. Then the evidence of all
images is found with it, and the paper's f_E3D learns from that evidence as in all other variants. The trunk starts from
the hand landmark network, which learnt joints from other photos; the paper's F starts from ImageNet.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_

from dhpe_lib.common.records import join_rows, take_rows
from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.data.crops import Crops
from dhpe_lib.data.targets import masked_images
from dhpe_lib.experiments.cached_evidence import TESTED_MASK, CachedEvidence, find_evidence, parts_of, same_view
from dhpe_lib.experiments.evidence_forms import Form
from dhpe_lib.hand.laplacian import Laplacian
from dhpe_lib.hand.model import HandModel
from dhpe_lib.network.estimator import PRESETS, Estimator
from dhpe_lib.network.hand_evidence import HandFeatureNet, load_hand_trunk
from dhpe_lib.training.batches import BatchPlan, TrainingBatches, ViewOptions
from dhpe_lib.training.config import TrainingConfig
from dhpe_lib.training.losses import LossOptions, losses_of
from dhpe_lib.training.optimiser import build_optimiser, set_rates

TRUNK_INPUT = 128
"""Side of the crop that F sees, pixels; a step is twice as fast as with the 192 of the light network."""
BUDGET = TrainingConfig(
    steps=800, batch=32, warmup=100, learning_rate=1e-4, learning_rate_e3d=1e-3, learning_rate_j2d=1e-3
)
"""Budget of a trunk; of its configuration the steps, the batch, the rates and the decay are used."""


@dataclass(frozen=True)
class Trunk:
    """A choice of losses for F.

    Attributes:
        heat_maps: Whether there is f_J2D on the trunk, with L_J2D, and f_E3D sees j2D; else there are no 2D losses.
        feature: Whether L_Feat is one of the losses, as a mean over the numbers of F with weight 1; all masks count.
        steps: Steps of the training; 0 for the start as it is.
    """

    heat_maps: bool
    feature: bool = False
    steps: int = BUDGET.steps


TRUNKS = {
    "start": Trunk(False, steps=0),
    "without-2d": Trunk(False),
    "with-j2d": Trunk(True),
    "with-2d": Trunk(True, True),
}
"""The trunks by name."""
FROM_FEATURE = Form(refiner=False, joints_2d=False, weight_sh=0.0)
FROM_BOTH = Form(refiner=False, weight_sh=0.0)
TRUNK_RUNS = {
    "trunk-start": ("start", FROM_FEATURE),
    "trunk-without-2d": ("without-2d", FROM_FEATURE),
    "trunk-with-2d": ("with-2d", FROM_FEATURE),
    "trunk-with-2d-and-joints": ("with-2d", FROM_BOTH),
    "trunk-with-j2d": ("with-j2d", FROM_FEATURE),
    "trunk-with-j2d-and-joints": ("with-j2d", FROM_BOTH),
}
"""Variants of f_E3D on these trunks: the trunk, and what f_E3D sees. None has f_Ref or L_Sh."""
TRUNK_MEANINGS = {
    "trunk-start": "F before any training here; f_E3D sees F(x) alone",
    "trunk-without-2d": "F learnt from L_Art and L_Lap; f_E3D sees F(x) alone, as HMR's",
    "trunk-with-2d": "F learnt from L_J2D and L_Feat, too; f_E3D sees F(x) alone",
    "trunk-with-2d-and-joints": "the same F; f_E3D sees F(x) and its j2D(0)",
    "trunk-with-j2d": "F learnt from L_J2D, too, but not from L_Feat; f_E3D sees F(x) alone",
    "trunk-with-j2d-and-joints": "the same F; f_E3D sees F(x) and its j2D(0)",
}


def new_trunk(trunk: Trunk, hand: HandModel, seed: int) -> Estimator:
    """Return f_DHPE with the paper's f_E3D without f_Ref, and with the trunk's start; its first modules are frozen.

    Trunks of one seed see the same images in the same views; the random weights of f_E3D differ if there is no f_J2D.
    """
    torch.manual_seed(seed)
    config = replace(
        PRESETS["light"],
        feature_input=TRUNK_INPUT, hidden=0, joint_features=0,
        without_refiner=True, without_2d_losses=not trunk.heat_maps,
    )  # fmt: skip
    network = Estimator(config, hand)
    assert isinstance(network.features, HandFeatureNet)
    load_hand_trunk(network.features)
    network.features.freeze(BUDGET.frozen)
    return network


def train_trunk(
    trunk: Trunk,
    splits: Sequence[Prepared],
    hand: HandModel,
    seed: int,
    report: Callable[[int, dict[str, float]], None] = lambda step, terms: None,
) -> Estimator:
    """Train F, and f_J2D if there is one, together with a new f_E3D.

    Args:
        trunk: The losses.
        splits: Prepared splits to train on.
        hand: The hand model.
        seed: Random seed of weights, order and jitter.
        report: Called every 50 steps with the means of the terms.

    Returns:
        f_DHPE.
    """
    network = new_trunk(trunk, hand, seed)
    if not trunk.steps:
        return network
    config = replace(BUDGET, steps=trunk.steps)
    options = LossOptions(feat=float(trunk.feature), j2d=BUDGET.weight_j2d, without_shape_loss=True,
                          without_2d_losses=not trunk.heat_maps)  # fmt: skip
    views = ViewOptions(size=TRUNK_INPUT, upright=True)
    batches = TrainingBatches(splits, BatchPlan(BUDGET.batch, 0, seed), views, torch.device("cpu"))
    optimiser, laplacian = build_optimiser(network, config), Laplacian(hand)
    for step in range(trunk.steps):
        set_rates(optimiser, config, step)
        view = batches.view(step)
        some = round(BUDGET.feature_share * len(view.images)) if trunk.feature else 0
        masked = masked_images(view.images, view.targets)[:some] if some else None
        losses = losses_of(network(view.images, masked), view.targets, laplacian, options)
        optimiser.zero_grad()
        losses.objective.backward()
        clip_grad_norm_(network.parameters(), BUDGET.clip)
        optimiser.step()
        if step % 50 == 0:
            report(step, {name: float(value) for name, value in losses.means().items()})
    return network


def evidence_in_view(network: Estimator, crops: Crops, frame: CropFrame) -> CachedEvidence:
    """Find the evidence of test crops in the views that another network chose, which are the same for all trunks."""
    parts = []
    for rows in parts_of(np.arange(len(crops))):
        view = same_view(crops[rows], take_rows(frame, torch.from_numpy(rows)), network.features.input_size)
        parts.append(find_evidence(network, view, TESTED_MASK))
    return join_rows(parts)
