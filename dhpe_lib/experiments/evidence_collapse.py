"""Does L_Feat (Eq. 2) collapse F? A linear map learns on features of images and of masked images that were found once.

The map stands for the last layer of F, and begins as the identity. L_Feat alone is 0 if the map gives the same numbers
for all images. With it L_Art trains the map through a linear reading of the joints.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from dhpe_lib.common.records import take_rows
from dhpe_lib.data.crops import Crops
from dhpe_lib.data.targets import masked_images
from dhpe_lib.experiments.cached_evidence import AT_A_TIME, CachedEvidence, same_view
from dhpe_lib.network.estimator import Estimator, evaluating

STEPS, BATCH, RATE = 400, 128, 3e-3
Norm = Literal["none", "sum", "mean", "ramped sum", "over the variance"]
NORMS: tuple[tuple[Norm, bool], ...] = (
    ("sum", False), ("none", True), ("mean", True), ("sum", True), ("ramped sum", True), ("over the variance", True),
)  # fmt: skip
"""Norms of L_Feat, and whether L_Art trains the map, too."""


@dataclass(frozen=True)
class MaskedFeatures:
    """Features of images and of masked images, and joints.

    Attributes:
        feature: F(x).
        masked: F(x (.) m).
        joints: Ground truth, crop frame, units of g.
    """

    feature: Float[Tensor, "n f"]
    masked: Float[Tensor, "n f"]
    joints: Float[Tensor, "n 63"]


@torch.no_grad()
def masked_features(network: Estimator, evidence: CachedEvidence, crops: Crops) -> MaskedFeatures:
    """Compute F(x) and F(x (.) m) of test crops."""
    parts = []
    with evaluating(network):
        for rows in torch.arange(len(crops)).split(AT_A_TIME):
            view = same_view(crops[rows], take_rows(evidence.frame, rows), network.features.input_size)
            images = torch.cat((view.images, masked_images(view.images, view.targets)))
            parts.append(torch.stack(network.features(images).chunk(2), 1))
    feature, masked = torch.cat(parts).unbind(1)
    return MaskedFeatures(feature, masked, evidence.targets.joints.flatten(1))


def feature_loss_of(norm: Norm, feature: Tensor, masked: Tensor, progress: float) -> Tensor:
    """L_Feat of a batch in one of its norms."""
    squares = (feature - masked).square()
    if norm == "none":
        return squares.sum() * 0
    if norm == "mean":
        return squares.mean()
    if norm == "over the variance":
        return squares.mean() / feature.var(0).mean().detach().clamp_min(1e-12)
    return squares.sum(1).mean() * (progress if norm == "ramped sum" else 1.0)


def collapse(features: MaskedFeatures, norm: Norm, articulated: bool, seed: int = 0) -> dict[str, float]:
    """Train the map on three quarters of the rows, and describe it on the rest.

    Args:
        features: From :func:`masked_features`.
        norm: Norm of L_Feat.
        articulated: Whether L_Art trains the map, too.
        seed: Random seed of the batches.

    Returns:
        "deviation", that of the mapped features over images, divided by the deviation before; "gap", the distance of
        F(x) to F(x (.) m) divided by that of two images; with L_Art "joints", the error of the joints that are read
        from the mapped features, units of g.
    """
    generator = torch.Generator().manual_seed(seed)
    size, train = features.feature.shape[1], len(features.feature) * 3 // 4
    matrix = torch.eye(size).requires_grad_()
    reader = nn.Linear(size, features.joints.shape[1])
    nn.init.zeros_(reader.weight)
    optimiser = torch.optim.Adam([matrix, *reader.parameters()], RATE)
    for step in range(STEPS):
        rows = torch.randint(train, (BATCH,), generator=generator)
        feature, masked = (linear(some[rows], matrix) for some in (features.feature, features.masked))
        loss = feature_loss_of(norm, feature, masked, step / STEPS)
        if articulated:
            loss = loss + (reader(feature) - features.joints[rows]).square().sum(1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        return described(features, matrix, reader, train, articulated)


def described(
    features: MaskedFeatures, matrix: Tensor, reader: nn.Linear, train: int, articulated: bool
) -> dict[str, float]:
    """Describe a map on the rows that it did not learn from; see :func:`collapse`."""
    feature, masked = (linear(some[train:], matrix) for some in (features.feature, features.masked))
    apart = (feature - feature.roll(1, 0)).norm(dim=1).mean()
    before = features.feature[train:].std(0).norm()
    off = (reader(feature) - features.joints[train:]).unflatten(1, (21, 3)).norm(dim=-1).mean()
    found = {"deviation": feature.std(0).norm() / before, "gap": (feature - masked).norm(dim=1).mean() / apart}
    if articulated:
        found["joints"] = off
    return {name: round(float(value), 4) for name, value in found.items()}


def collapse_rows(features: MaskedFeatures) -> dict[str, dict[str, float]]:
    """Rows of all norms."""
    rows = {}
    for norm, articulated in NORMS:
        label = f"L_Feat: {norm}" if norm != "none" else "no L_Feat"
        found = collapse(features, norm, articulated)
        rows[f"{label}, {'with' if articulated else 'without'} L_Art"] = found
    return rows
