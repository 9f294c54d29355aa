"""The losses of joint training (Secs. 3.1 to 3.3, Eqs. 2 to 12): one function a term, one number an instance.

    L = L_Art + L_Lap + L_Feat + lambda L_Sh + L_Ref          (Eq. 7) trains F and f_E3D
    L_J2D                                                     (Eq. 3) trains f_J2D, in parallel

The paper leaves the scale of each norm open. Here L_Art and L_Ref sum over joints (L_Ref is the mean over
iterations), L_J2D sums over stages and cells and is the mean over joints; L_Feat is the mean over features, L_Sh over
pixels, L_Lap over vertices. That makes the terms alike in size. Joints that are unknown count as the mean of the known
ones. What is not known of an instance at all contributes 0. A batch's loss is the mean over its instances, so that a
batch may be split. What is unknown is set to 0 before it is squared: zero times NaN is NaN, in gradients as well.
"""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from dhpe_lib.data.targets import Targets, joint_error_px, weighted_mean
from dhpe_lib.hand.laplacian import Laplacian
from dhpe_lib.hand.parameters import positive_scale, split_h
from dhpe_lib.network.estimator import Estimate
from dhpe_lib.network.heatmaps import SIGMA, target_heatmaps


@dataclass(frozen=True)
class LossOptions:
    """Weights, the threshold of Eq. 12, and the paper's ablations.

    Attributes:
        lap: Weight of L_Lap. The paper has no weights, which is 1.
        tau: Threshold of Eq. 12, pixels of the 224.
        literal_tau: Whether tau bounds the sum of squared distances, as Eq. 12 is written, not the mean distance.
        sigma: Width of the heat maps' Gaussians, units of g.
        constant_lambda: Ablation: this lambda for every instance with a mask (the paper's figure has 0.01); None for
            Eq. 12.
        without_shape_loss: Ablation: no L_Sh.
        without_2d_losses: Ablation: no L_Feat, L_J2D and L_Ref (``training_config.ABLATIONS`` says why L_Feat).
    """

    lap: float = 1.0
    tau: float = 15.0
    literal_tau: bool = False
    sigma: float = SIGMA
    constant_lambda: float | None = None
    without_shape_loss: bool = False
    without_2d_losses: bool = False


@dataclass(frozen=True)
class Losses:
    """Every term of each instance, weighted, and their sums.

    Attributes:
        art: L_Art.
        lap: L_Lap.
        feat: L_Feat.
        sh: lambda L_Sh.
        ref: L_Ref.
        j2d: L_J2D.
        gate: lambda; no gradient.
        total: L of Eq. 7: all but L_J2D.
    """

    art: Float[Tensor, " b"]
    lap: Float[Tensor, " b"]
    feat: Float[Tensor, " b"]
    sh: Float[Tensor, " b"]
    ref: Float[Tensor, " b"]
    j2d: Float[Tensor, " b"]
    gate: Float[Tensor, " b"]
    total: Float[Tensor, " b"]

    @property
    def objective(self) -> Float[Tensor, ""]:
        """What is minimised: the mean of L + L_J2D, which share no weight."""
        return (self.total + self.j2d).mean()

    def means(self) -> dict[str, Float[Tensor, ""]]:
        """Mean of each term over the batch, without gradient: for the log."""
        return {field.name: getattr(self, field.name).detach().mean() for field in fields(self)}


def losses_of(
    estimate: Estimate, targets: Targets, laplacian: Laplacian, options: LossOptions = LossOptions()
) -> Losses:
    """All terms of joint training.

    Args:
        estimate: With masked features and heat maps (but `without_2d_losses`), and a mask (but `without_shape_loss`).
        targets: The truth.
        laplacian: Of the estimator's hand.
        options: Weights and ablations.

    Returns:
        The terms.

    Raises:
        ValueError: The estimate lacks what a term compares.

    Source: Eqs. 2 to 12.
    """
    scale = positive_scale(split_h(estimate.h).scale[:, 0])
    art = articulation_loss(estimate.joints, targets)
    lap = options.lap * laplacian(estimate.mesh.vertices, scale)
    zero = torch.zeros_like(art)
    feat = ref = j2d = sh = gate = zero
    if not options.without_2d_losses:
        feat, ref, j2d = _losses_2d(estimate, targets, options)
    if not options.without_shape_loss:
        gate = shape_gate(estimate.joints, targets, options)
        sh = gate * shape_loss(_given(estimate.mask, "mask", "render=True"), targets)
    return Losses(art, lap, feat, sh, ref, j2d, gate, art + lap + feat + sh + ref)


def _losses_2d(estimate: Estimate, targets: Targets, options: LossOptions) -> tuple[Tensor, Tensor, Tensor]:
    evidence = estimate.evidence
    masked = _given(evidence.masked_feature, "masked feature", "masked_images")
    heatmaps = _given(evidence.heatmaps, "heat maps", "a network that has f_J2D (not without_2d_losses)")
    refined = torch.stack([step.joints_2d for step in estimate.steps[1:]], 1)
    feat = feature_loss(evidence.feature, masked, targets)
    ref = refiner_loss(refined, targets)
    return feat, ref, heatmap_loss(heatmaps, targets, options.sigma)


def _given(value: Tensor | None, name: str, remedy: str) -> Tensor:
    if value is None:
        raise ValueError(f"the estimate has no {name}; call the estimator with {remedy}, or switch the term off")
    return value


def feature_loss(
    feature: Float[Tensor, "b f"], masked_feature: Float[Tensor, "b f"], targets: Targets
) -> Float[Tensor, " b"]:
    """L_Feat = mean || F(x) - F(x (.) m) ||^2: F is to look at the hand only.

    Args:
        feature: F(x).
        masked_feature: F(x (.) m).
        targets: 0 for instances without a mask.

    Returns:
        Mean over the feature's numbers; gradient to both.

    Source: Eq. 2.
    """
    difference = feature.to(targets.mask.dtype) - masked_feature.to(targets.mask.dtype)
    return torch.where(targets.has_mask[:, None], difference, 0).square().mean(1)


def heatmap_loss(
    heatmaps: Float[Tensor, "b stages 21 n n"], targets: Targets, sigma: float = SIGMA
) -> Float[Tensor, " b"]:
    """L_J2D = || f_J2D(x) - j2DHeat ||^2, of all stages.

    Args:
        heatmaps: Of each stage.
        targets: Maps of unknown joints do not count.
        sigma: Width of the target's Gaussians.

    Returns:
        Sum over stages and cells, mean over known joints.

    Source: Eq. 3.
    """
    drawn = target_heatmaps(targets.joints_2d, targets.known_2d, heatmaps.shape[-1], sigma)
    squares = (heatmaps.to(drawn.dtype) - drawn[:, None]).square().sum((1, 3, 4))
    return weighted_mean(squares, targets.known_2d.to(targets.mask.dtype))


def refiner_loss(refined: Float[Tensor, "b t 21 2"], targets: Targets) -> Float[Tensor, " b"]:
    """L_Ref = || f_Ref(.) - j2DGT ||^2, of every iteration.

    Args:
        refined: j2D(1), j2D(2), ...
        targets: Unknown joints do not count.

    Returns:
        Mean over iterations and known joints, times 21; units of g squared.

    Source: Eq. 6.
    """
    difference = torch.where(targets.known_2d[:, None, :, None], refined - targets.joints_2d[:, None], 0)
    return 21 * weighted_mean(difference.square().sum(-1).mean(1), targets.known_2d.to(targets.mask.dtype))


def articulation_loss(joints: Float[Tensor, "b 21 3"], targets: Targets) -> Float[Tensor, " b"]:
    """L_Art = || [f_DHPE(x)]_J - jhat ||^2.

    Args:
        joints: Estimated skeleton, crop frame.
        targets: Unknown joints do not count.

    Returns:
        Mean over known joints times 21; units of g squared.

    Source: Eq. 8.
    """
    difference = torch.where(targets.known[..., None], joints - targets.joints, 0)
    return 21 * weighted_mean(difference.square().sum(-1), targets.known.to(targets.mask.dtype))


def shape_loss(mask: Float[Tensor, "b s s"], targets: Targets) -> Float[Tensor, " b"]:
    """L_Sh = mean || [f_DHPE(x)]_M - m ||^2, without its lambda.

    Args:
        mask: Estimated mask.
        targets: 0 for instances without a mask.

    Returns:
        Mean over pixels.

    Source: Eq. 9.
    """
    return torch.where(targets.has_mask[:, None, None], mask - targets.mask, 0).square().mean((1, 2))


@torch.no_grad()
def shape_gate(
    joints: Float[Tensor, "b 21 3"], targets: Targets, options: LossOptions = LossOptions()
) -> Float[Tensor, " b"]:
    """Lambda = 1 where the skeleton lies within tau of the truth in the picture, else 0; without gradient.

    Args:
        joints: Estimated skeleton, crop frame.
        targets: Unknown joints do not count; without any known joint, or without a mask, lambda is 0.
        options: tau, its reading, and the constant of the ablation.

    Returns:
        lambda.

    Source: Eq. 12; the mean distance in pixels is PAPER.md 9.3's reading.
    """
    has_mask = targets.has_mask.to(joints.dtype)
    if options.constant_lambda is not None:
        return options.constant_lambda * has_mask
    error = joint_error_px(joints, targets, squared_sum=options.literal_tau)
    return has_mask * (targets.known_2d.any(1) & (error < options.tau))
