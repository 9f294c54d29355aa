"""The energy of a hand in a crop: data terms of the image and prior terms of hands (Eq. 13; PAPER.md Secs. 5, 9.4).

In the crop frame, units of g::

    E(h) = joints  * sum_k c_k | [f_Reg(v(h))_k]_XY - j2D_k |^2 / sum_k c_k
         + feature * lambda mean | F(x) - F(f_Ren(v(h)) (.) x) |^2
         + lap     * L_Lap(v(h))
         + mask    * mean | f_Ren(v(h)) - m |^2
         + pose    * | p - mean |^2 in the pose space, in standard deviations
         + shape   * | s |^2
         + limits  * sum of squared angles beyond the joint limits

c_k is the confidence of joint k. The first three terms are Eq. 13, with the norms of :mod:`dhpe_lib.training.losses`;
:mod:`dhpe_lib.refinement.test_time` minimises them from a network's estimate. A fit without a network
(:mod:`dhpe_lib.refinement.fitting`) also needs the last three terms. lambda of a hand is 1 if the mean distance between
its skeleton and j2D is below tau, else 0; it has no gradient.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dhpe_lib.common.precision import full_precision
from dhpe_lib.data.targets import mean_distance_px, weighted_mean
from dhpe_lib.hand.laplacian import Laplacian
from dhpe_lib.hand.model import HandMesh, HandModel
from dhpe_lib.hand.parameters import positive_scale, split_h
from dhpe_lib.hand.poses import JointLimits, PoseSpace, joint_limits, limit_penalty, pose_penalty, pose_space
from dhpe_lib.network.evidence import FeatureNet
from dhpe_lib.network.hand_evidence import HandFeatureNet
from dhpe_lib.rendering.renderer import DEFAULT_METHOD, Method, silhouette


@dataclass(frozen=True)
class Appearance:
    """Inputs of the feature term.

    Attributes:
        network: F, in evaluation mode.
        images: x in [0, 1], at the input size of F.
        feature: F(x).
        silhouette: Method of the silhouette renderer f_Ren.
        keeps_size: Whether the feature term has no gradient to size and shape. Its value is the same, but a mesh cannot
            lower it by growing until it covers all that F sees.
    """

    network: FeatureNet | HandFeatureNet
    images: Float[Tensor, "b 3 n n"]
    feature: Float[Tensor, "b f"]
    silhouette: Method = DEFAULT_METHOD
    keeps_size: bool = False


@dataclass(frozen=True)
class Observations:
    """2D evidence of each hand in the crop frame, from labels, a keypoint detector, or the network.

    Attributes:
        joints_2d: 2D joints j2D in canonical order, units of g.
        confidence: Weight of each joint; 0 for an unknown joint.
        mask: Foreground mask in [0, 1], or None.
        appearance: Inputs of the feature term, or None.
    """

    joints_2d: Float[Tensor, "b 21 2"]
    confidence: Float[Tensor, "b 21"]
    mask: Float[Tensor, "b s s"] | None = None
    appearance: Appearance | None = None


@dataclass(frozen=True)
class EnergyWeights:
    """Weights of the terms of the energy; a term of weight 0 is not computed.

    Attributes:
        joints, feature, lap: Weights of the terms of Eq. 13.
        mask: Weight of the mask term; ignored without a mask.
        pose, shape, limits: Weights of the priors, which the paper does not have.
        tau: Mean 2D distance below which the feature term counts, pixels of the 224.
    """

    joints: float = 0.0
    feature: float = 0.0
    lap: float = 0.0
    mask: float = 0.0
    pose: float = 0.0
    shape: float = 0.0
    limits: float = 0.0
    tau: float = 15.0


EQ_13 = EnergyWeights(joints=21.0, feature=1.0, lap=1.0)
"""Eq. 13 has no weights. Its joint term is a sum over 21 joints, and ours is a mean, so its weight here is 21."""


@dataclass(frozen=True)
class HandPrior:
    """Prior knowledge of hands: the pose space, the joint limits, and the smoothness of the mesh."""

    space: PoseSpace
    limits: JointLimits
    laplacian: Laplacian


@full_precision
def hand_prior(model: HandModel) -> HandPrior:
    """Build the prior of a hand model, in its dtype and on its device."""
    return HandPrior(pose_space(model), joint_limits().to(model.hands_mean), Laplacian(model))


@dataclass(frozen=True)
class EnergyTerms:
    """Weighted terms of each hand's energy; a term is 0 if its weight is 0 or its evidence is missing.

    Attributes:
        joints, feature, lap, mask, pose, shape, limits: See :class:`EnergyWeights`; `feature` includes lambda.
        gate: lambda; no gradient.
    """

    joints: Float[Tensor, " b"]
    feature: Float[Tensor, " b"]
    lap: Float[Tensor, " b"]
    mask: Float[Tensor, " b"]
    pose: Float[Tensor, " b"]
    shape: Float[Tensor, " b"]
    limits: Float[Tensor, " b"]
    gate: Float[Tensor, " b"]

    @property
    def total(self) -> Float[Tensor, " b"]:
        """E(h)."""
        return self.joints + self.feature + self.lap + self.mask + self.pose + self.shape + self.limits


TERMS = tuple(field.name for field in fields(EnergyTerms))
"""Names of the terms and the gate; `torch.compile` cannot list the fields of a class."""


def energy(
    model: HandModel, h: Float[Tensor, "b 63"], evidence: Observations, weights: EnergyWeights, prior: HandPrior
) -> Float[Tensor, " b"]:
    """Compute E(h) of each hand; the formula is at the top of this module.

    Args:
        model: Model of a right hand.
        h: Hand parameters.
        evidence: One row for each hand.
        weights: Weights of the terms.
        prior: From :func:`hand_prior`.

    Returns:
        Energies, differentiable with respect to h.
    """
    h = without_depth(h)
    return energy_terms(model, h, model.forward_h(h), evidence, weights, prior).total


def without_depth(h: Float[Tensor, "b 63"]) -> Float[Tensor, "b 63"]:
    """Detach the depth of h, its last number.

    An orthographic image does not depend on the depth, so the true gradient is 0. L_Lap has a rounding error there, and
    Adam would follow this error with full steps.
    """
    return torch.cat((h[:, :-1], h[:, -1:].detach()), 1)


def of_fixed_size(h: Float[Tensor, "b 63"]) -> Float[Tensor, "b 63"]:
    """Detach the shape and the scale of h."""
    return torch.cat((h[:, :45], h[:, 45:55].detach(), h[:, 55:59], h[:, 59:60].detach(), h[:, 60:]), 1)


def energy_terms(
    model: HandModel,
    h: Float[Tensor, "b 63"],
    mesh: HandMesh,
    evidence: Observations,
    weights: EnergyWeights,
    prior: HandPrior,
) -> EnergyTerms:
    """Compute the terms of E(h) for a given mesh.

    Args:
        model: Model of a right hand.
        h: Hand parameters.
        mesh: `model.forward_h(h)`.
        evidence: One row for each hand.
        weights: Weights of the terms.
        prior: From :func:`hand_prior`.

    Returns:
        The weighted terms, differentiable with respect to h.
    """
    parts = split_h(h)
    near = is_near(mesh.joints, evidence, weights.tau)
    terms: dict[str, Callable[[], Tensor]] = {
        "joints": lambda: joint_term(mesh.joints, evidence),
        "lap": lambda: prior.laplacian(mesh.vertices, positive_scale(parts.scale[:, 0])),
        "pose": lambda: pose_penalty(parts.pose, prior.space),
        "shape": lambda: parts.shape.square().sum(1),
        "limits": lambda: limit_penalty(parts.pose, prior.limits),
    }
    if (appearance := evidence.appearance) is not None:
        seen = model.forward_h(of_fixed_size(h)) if appearance.keeps_size else mesh
        terms["feature"] = lambda: feature_term(seen, model, appearance, near)
    if (mask := evidence.mask) is not None:
        terms["mask"] = lambda: mask_term(mesh, model, mask)
    values = {name: torch.zeros_like(h[:, 0]) for name in TERMS}
    values["gate"] = near.to(h.dtype)
    for name, term in terms.items():
        if weight := getattr(weights, name):
            values[name] = weight * term()
    return EnergyTerms(**values)


def joint_term(joints: Float[Tensor, "b 21 3"], evidence: Observations) -> Float[Tensor, " b"]:
    """Mean squared distance of the projected skeleton (units of g) to j2D, weighted by confidence."""
    return weighted_mean((joints[..., :2] - evidence.joints_2d).square().sum(-1), evidence.confidence)


def is_near(joints: Float[Tensor, "b 21 3"], evidence: Observations, tau: float) -> Bool[Tensor, " b"]:
    """Whether the mean distance of the projected skeleton to j2D is below tau: the gate lambda.

    Args:
        joints: Skeletons, crop frame, units of g.
        evidence: Its j2D and confidence are used.
        tau: Threshold of the mean distance, pixels of the 224.

    Returns:
        One boolean for each hand; no gradient.

    Source: Eq. 12, as read in PAPER.md Secs. 9.3 and 9.4.
    """
    return mean_distance_px(joints, evidence.joints_2d, evidence.confidence) < tau


def feature_term(
    mesh: HandMesh, model: HandModel, appearance: Appearance, near: Bool[Tensor, " b"]
) -> Float[Tensor, " b"]:
    """Mean of ``| F(x) - F(f_Ren(v) (.) x) |^2`` for hands with lambda = 1; 0 without gradient for the others.

    The mesh is rendered at the input size of F, in full precision; F may run in lower precision under autocast.
    """
    mask = silhouette(mesh.vertices, model.faces, appearance.images.shape[-1], appearance.silhouette)
    masked_feature = appearance.network(appearance.images * mask[:, None])
    difference = (masked_feature - appearance.feature).to(mask.dtype)
    return torch.where(near[:, None], difference, 0).square().mean(1)


def mask_term(mesh: HandMesh, model: HandModel, mask: Float[Tensor, "b s s"]) -> Float[Tensor, " b"]:
    """Mean of ``| f_Ren(v) - m |^2``, with the silhouette "coverage".

    The coverage silhouette gives the lowest error when the joints have already brought the hand near.
    """
    return (silhouette(mesh.vertices, model.faces, mask.shape[-1], "coverage") - mask).square().mean((1, 2))
