"""The losses of joint training (Secs. 3.1 to 3.3, Eqs. 2 to 12): one function for each term.

    L = L_Art + L_Lap + L_Feat + lambda L_Sh + L_Ref          (Eq. 7) trains F and f_E3D
    L_J2D                                                     (Eq. 3) trains f_J2D, in parallel
    L_h                                                       not in the paper: h of rendered hands, natural hands

The paper writes its norms without weights. Here L_Art and L_Ref are sums over joints, and L_Ref is a mean over
iterations. L_J2D is a sum over stages and cells and a mean over joints. L_Feat is a mean over features, L_Sh over
pixels, and L_Lap over vertices; a weight turns each of them into a sum. LossOptions holds the weights.

Each function returns one number for each instance. An unlabelled joint counts as the mean of the labelled joints. If an
instance has no label for a term, the term is 0. The loss of a batch is the mean over its instances, so a batch may be
split. Differences to unknown labels are set to 0 before they are squared, since 0 times NaN is NaN, also in gradients.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from dhpe_lib.data.targets import Targets, joint_error_px, weighted_mean
from dhpe_lib.hand.laplacian import Laplacian
from dhpe_lib.hand.parameters import positive_scale, split_h
from dhpe_lib.network.estimator import Estimate
from dhpe_lib.network.evidence import Evidence2D
from dhpe_lib.network.heatmaps import SIGMA, target_heatmaps
from dhpe_lib.network.regressor import POSE_SPREAD, RegressorState

PRIOR = 0.02
"""Weight of the mean hand in L_h of an instance with unknown h, where a known h has the weight 1."""


@dataclass(frozen=True)
class LossOptions:
    """Weights, the threshold of Eq. 12, and the paper's ablations.

    Attributes:
        lap: Weight of L_Lap.
        feat: Weight of L_Feat; as many as F has numbers for the sum of Eq. 2.
        sh: Weight of L_Sh; as many as a mask has pixels for the sum of Eq. 9.
        j2d: Weight of L_J2D. It matters if f_J2D and F share a trunk.
        hand: Weight of L_h for instances with known h; 0 in the paper.
        prior: Weight of L_h for instances with unknown h, which are pulled to the mean hand; 0 in the paper.
        tau: Threshold of Eq. 12, pixels of the 224.
        literal_tau: Whether tau bounds the sum of squared distances, as Eq. 12 is written, not the mean distance.
        sigma: Standard deviation of the heat maps' Gaussians, units of g.
        constant_lambda: Ablation: a constant lambda for instances with a mask (0.01 in Fig. 5f); None for Eq. 12.
        without_shape_loss: Ablation: no L_Sh.
        without_2d_losses: Ablation: no L_Feat, L_J2D and L_Ref; ``config.ABLATIONS`` says why L_Feat is one of them.
    """

    lap: float = 1.0
    feat: float = 1.0
    sh: float = 1.0
    j2d: float = 1.0
    hand: float = 0.0
    prior: float = 0.0
    tau: float = 15.0
    literal_tau: bool = False
    sigma: float = SIGMA
    constant_lambda: float | None = None
    without_shape_loss: bool = False
    without_2d_losses: bool = False


@dataclass(frozen=True)
class Losses:
    """Weighted terms of each instance and their sum.

    Attributes:
        art: L_Art.
        lap: L_Lap.
        feat: L_Feat.
        sh: lambda L_Sh.
        ref: L_Ref.
        j2d: L_J2D.
        hand: L_h.
        gate: lambda; no gradient.
        total: L of Eq. 7 and L_h, which is all terms except L_J2D.
    """

    art: Float[Tensor, " b"]
    lap: Float[Tensor, " b"]
    feat: Float[Tensor, " b"]
    sh: Float[Tensor, " b"]
    ref: Float[Tensor, " b"]
    j2d: Float[Tensor, " b"]
    hand: Float[Tensor, " b"]
    gate: Float[Tensor, " b"]
    total: Float[Tensor, " b"]

    @property
    def objective(self) -> Float[Tensor, ""]:
        """Mean of L + L_J2D over the batch, which is minimised."""
        return (self.total + self.j2d).mean()

    def means(self) -> dict[str, Float[Tensor, ""]]:
        """Mean of each term over the batch for the log; no gradient."""
        return {field.name: getattr(self, field.name).detach().mean() for field in fields(self)}


def losses_of(
    estimate: Estimate, targets: Targets, laplacian: Laplacian, options: LossOptions = LossOptions()
) -> Losses:
    """Compute all terms of joint training.

    Args:
        estimate: Estimate with heat maps (unless `without_2d_losses`), with masked features (unless the weight of
            L_Feat is 0 too) and with a mask (unless `without_shape_loss`).
        targets: The ground truth.
        laplacian: Laplacian of the estimator's hand model.
        options: Weights and ablations.

    Returns:
        The terms.

    Raises:
        ValueError: The estimate lacks a value that a term needs.

    Source: Eqs. 2 to 12.
    """
    scale = positive_scale(split_h(estimate.h).scale[:, 0])
    art = articulation_loss(estimate.joints, targets)
    lap = options.lap * laplacian(estimate.mesh.vertices, scale)
    zero = torch.zeros_like(art)
    feat = ref = j2d = sh = gate = natural = zero
    if not options.without_2d_losses:
        feat, ref, j2d = _losses_2d(estimate, targets, options)
    if not options.without_shape_loss:
        gate = shape_gate(estimate.joints, targets, options)
        sh = options.sh * gate * shape_loss(_required(estimate.mask, "mask", "render=True"), targets)
    if options.hand > 0 or options.prior > 0:
        natural = hand_loss(estimate.steps, targets, options.hand, options.prior)
    return Losses(art, lap, feat, sh, ref, j2d, natural, gate, art + lap + feat + sh + ref + natural)


def _losses_2d(estimate: Estimate, targets: Targets, options: LossOptions) -> tuple[Tensor, Tensor, Tensor]:
    evidence = estimate.evidence
    feat = torch.zeros_like(targets.mask[:, 0, 0])
    if options.feat > 0:
        masked = _required(evidence.masked_feature, "masked feature", "masked_images")
        feat = options.feat * feature_loss(evidence.feature, masked, targets)
    refined = torch.stack([step.joints_2d for step in estimate.steps[1:]], 1)
    ref = refiner_loss(refined, targets)
    return feat, ref, options.j2d * evidence_loss(evidence, targets, options)


def evidence_loss(evidence: Evidence2D, targets: Targets, options: LossOptions = LossOptions()) -> Float[Tensor, " b"]:
    """Compute L_J2D of 2D evidence, without its weight.

    Args:
        evidence: z, with heat maps.
        targets: Ground truth.
        options: Its sigma is used.

    Returns:
        As :func:`heatmap_loss`.

    Raises:
        ValueError: There are no heat maps.

    Source: Eq. 3.
    """
    remedy = "a network that has f_J2D (not without_2d_losses)"
    return heatmap_loss(_required(evidence.heatmaps, "heat maps", remedy), targets, options.sigma)


def _required(value: Tensor | None, name: str, remedy: str) -> Tensor:
    if value is None:
        raise ValueError(f"the estimate has no {name}; call the estimator with {remedy}, or disable the term")
    return value


def feature_loss(
    feature: Float[Tensor, "b f"], masked_feature: Float[Tensor, "n f"], targets: Targets
) -> Float[Tensor, " b"]:
    """Compute L_Feat = mean || F(x) - F(x (.) m) ||^2, which trains F to look only at the hand.

    Args:
        feature: F(x).
        masked_feature: F(x (.) m) of the first n images. To save time F may be applied to a part of the batch only.
        targets: Ground truth; the loss is 0 for instances without a mask.

    Returns:
        Mean over the features, times b / n for the first n images and 0 for the others. Both inputs receive a gradient.

    Source: Eq. 2.
    """
    n, like = len(masked_feature), targets.mask.dtype
    difference = torch.where(targets.has_mask[:n, None], feature[:n].to(like) - masked_feature.to(like), 0)
    return functional.pad(len(feature) / n * difference.square().mean(1), (0, len(feature) - n))


def heatmap_loss(
    heatmaps: Float[Tensor, "b stages 21 n n"], targets: Targets, sigma: float = SIGMA
) -> Float[Tensor, " b"]:
    """Compute L_J2D = || f_J2D(x) - j2DHeat ||^2 over all stages.

    Args:
        heatmaps: Heat maps of each stage.
        targets: Ground truth; maps of unlabelled joints do not count.
        sigma: Standard deviation of the target's Gaussians, units of g.

    Returns:
        Sum over stages and cells, mean over labelled joints.

    Source: Eq. 3.
    """
    drawn = target_heatmaps(targets.joints_2d, targets.known_2d, heatmaps.shape[-1], sigma)
    squares = (heatmaps.to(drawn.dtype) - drawn[:, None]).square().sum((1, 3, 4))
    return weighted_mean(squares, targets.known_2d.to(targets.mask.dtype))


def refiner_loss(refined: Float[Tensor, "b t 21 2"], targets: Targets) -> Float[Tensor, " b"]:
    """Compute L_Ref = || f_Ref(.) - j2DGT ||^2 over all iterations.

    Args:
        refined: j2D(1), j2D(2), ..., units of g.
        targets: Ground truth; unlabelled joints do not count.

    Returns:
        Mean over iterations and labelled joints, times 21; units of g squared.

    Source: Eq. 6.
    """
    difference = torch.where(targets.known_2d[:, None, :, None], refined - targets.joints_2d[:, None], 0)
    return 21 * weighted_mean(difference.square().sum(-1).mean(1), targets.known_2d.to(targets.mask.dtype))


def articulation_loss(joints: Float[Tensor, "b 21 3"], targets: Targets) -> Float[Tensor, " b"]:
    """Compute L_Art = || [f_DHPE(x)]_J - jhat ||^2.

    Args:
        joints: Estimated skeleton, crop frame, units of g.
        targets: Ground truth; unlabelled joints do not count. A joint with only a 2D label counts in x and y.

    Returns:
        Mean over labelled joints, times 21; units of g squared.

    Source: Eq. 8.
    """
    depth = torch.where(targets.known, joints[..., 2] - targets.joints[..., 2], 0).square()
    xy = torch.where(targets.known[..., None], targets.joints[..., :2], targets.joints_2d)
    either = targets.known | targets.known_2d
    plane = torch.where(either[..., None], joints[..., :2] - xy, 0).square().sum(-1)
    return 21 * weighted_mean(plane + depth, either.to(targets.mask.dtype))


def hand_loss(
    steps: Sequence[RegressorState], targets: Targets, known: float = 1.0, unknown: float = PRIOR
) -> Float[Tensor, " b"]:
    """Compute L_h, which keeps hands natural: the distance of pose and shape to their labels, or to the mean hand.

    Pose and shape are divided by their spread. An instance with unknown h is pulled to the mean hand.

    Args:
        steps: States of the regressor; the first has the mean hand, the last is judged.
        targets: Ground truth; pose and shape are known for rendered hands.
        known: Weight of an instance with known h.
        unknown: Weight of an instance with unknown h.

    Returns:
        Mean over the 55 numbers of pose and shape, no unit.

    Source: ours. The paper's data have no h.
    """
    wanted = torch.where(targets.has_h[:, None], targets.pose_shape, steps[0].h[:, :55])
    off = (steps[-1].h[:, :55] - wanted).square()
    weight = torch.where(targets.has_h, known, unknown)
    return weight * (off[:, :45].sum(1) / POSE_SPREAD**2 + off[:, 45:].sum(1)) / 55


def shape_loss(mask: Float[Tensor, "b s s"], targets: Targets) -> Float[Tensor, " b"]:
    """Compute L_Sh = mean || [f_DHPE(x)]_M - m ||^2, without lambda.

    Args:
        mask: Estimated mask in [0, 1].
        targets: Ground truth; the loss is 0 for instances without a mask.

    Returns:
        Mean over pixels.

    Source: Eq. 9.
    """
    return torch.where(targets.has_mask[:, None, None], mask - targets.mask, 0).square().mean((1, 2))


@torch.no_grad()
def shape_gate(
    joints: Float[Tensor, "b 21 3"], targets: Targets, options: LossOptions = LossOptions()
) -> Float[Tensor, " b"]:
    """Compute lambda: 1 if the 2D error of the skeleton is below tau, else 0; no gradient.

    Args:
        joints: Estimated skeleton, crop frame, units of g.
        targets: Ground truth; unlabelled joints do not count. Without any labelled joint or without a mask lambda is 0.
        options: Its tau, literal_tau and constant_lambda are used.

    Returns:
        Lambda of each instance.

    Source: Eq. 12; the mean distance in pixels is the reading of PAPER.md Sec. 9.3.
    """
    has_mask = targets.has_mask.to(joints.dtype)
    if options.constant_lambda is not None:
        return options.constant_lambda * has_mask
    error = joint_error_px(joints, targets, squared_sum=options.literal_tau)
    return has_mask * (targets.known_2d.any(1) & (error < options.tau))
