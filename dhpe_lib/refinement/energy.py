"""The energy of a hand in a crop: what its picture says, and what is known of hands (Eq. 13; PAPER.md Secs. 5, 9.4).

In the crop frame, units of g::

    E(h) = joints  * sum_k c_k | [f_Reg(v(h))_k]_XY - j2D_k |^2 / sum_k c_k
         + feature * lambda mean | F(x) - F(f_Ren(v(h)) (.) x) |^2
         + lap     * L_Lap(v(h))
         + mask    * mean | f_Ren(v(h)) - m |^2
         + pose    * | p - mean |^2 in the pose space, in standard deviations
         + shape   * | s |^2
         + limits  * sum of squared angles beyond the joint limits

The first three terms are Eq. 13, with its norms as :mod:`dhpe_lib.training.losses` reads them; they start from a network's
estimate (:mod:`dhpe_lib.refinement.test_time`). A fit without a network (:mod:`dhpe_lib.refinement.fitting`) needs the last three. lambda is
1 where the skeleton lies within tau of j2D, else 0, for each hand; it has no gradient.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dhpe_lib.data.targets import mean_distance_px, weighted_mean
from dhpe_lib.hand.laplacian import Laplacian
from dhpe_lib.hand.model import HandMesh, HandModel
from dhpe_lib.hand.parameters import positive_scale, split_h
from dhpe_lib.hand.poses import JointLimits, PoseSpace, joint_limits, limit_penalty, pose_penalty, pose_space
from dhpe_lib.network.evidence import FeatureNet
from dhpe_lib.rendering.renderer import DEFAULT_METHOD, Method, silhouette


@dataclass(frozen=True)
class Appearance:
    """What F sees in the crops.

    Attributes:
        network: F, in evaluation mode.
        images: x, at the size that F looks at.
        feature: F(x).
        silhouette: Which of the renderer's silhouettes is f_Ren.
    """

    network: FeatureNet
    images: Float[Tensor, "b 3 n n"]
    feature: Float[Tensor, "b f"]
    silhouette: Method = DEFAULT_METHOD


@dataclass(frozen=True)
class Evidence:
    """What the picture says of each hand, in the crop frame: from labels, a detector of joints, or the network.

    Attributes:
        joints_2d: 21 joints in canonical order, units of g.
        confidence: Weight of each joint; 0 where it is not known.
        mask: Foreground of the crop in [0, 1], or None.
        appearance: For the feature term, or None.
    """

    joints_2d: Float[Tensor, "b 21 2"]
    confidence: Float[Tensor, "b 21"]
    mask: Float[Tensor, "b s s"] | None = None
    appearance: Appearance | None = None


@dataclass(frozen=True)
class Weights:
    """Weights of the energy's terms; a term of weight 0 is not computed.

    Attributes:
        joints, feature, lap: Of Eq. 13. The paper has none, which is 21 for a mean over 21 joints.
        mask: Where there is one.
        pose, shape, limits: Of the priors; the paper has none of them.
        tau: The feature term counts where the mean distance of skeleton and j2D is less, pixels of the 224.
    """

    joints: float = 0.0
    feature: float = 0.0
    lap: float = 0.0
    mask: float = 0.0
    pose: float = 0.0
    shape: float = 0.0
    limits: float = 0.0
    tau: float = 15.0


EQ_13 = Weights(joints=21.0, feature=1.0, lap=1.0)


@dataclass(frozen=True)
class Prior:
    """What is known of hands without a picture: the pose space, the joint limits, and how smooth the skin is."""

    space: PoseSpace
    limits: JointLimits
    laplacian: Laplacian


def hand_prior(model: HandModel) -> Prior:
    """The prior of a model, in its dtype and on its device."""
    return Prior(pose_space(model), joint_limits().to(model.hands_mean), Laplacian(model))


@dataclass(frozen=True)
class Terms:
    """The terms of each hand's energy, weighted; 0 where a weight is 0 or the evidence is missing.

    Attributes:
        joints, feature, lap, mask, pose, shape, limits: As in :class:`Weights`; `feature` with its lambda.
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


def energy(
    model: HandModel, h: Float[Tensor, "b 63"], evidence: Evidence, weights: Weights, prior: Prior
) -> Float[Tensor, " b"]:
    """E(h) of each hand; see the head of this module.

    Args:
        model: Hand model; right hands.
        h: Parameters.
        evidence: One row for each hand.
        weights: Of the terms.
        prior: From :func:`hand_prior`.

    Returns:
        Energies, differentiable in h.
    """
    h = without_depth(h)
    return energy_terms(model, h, model.forward_h(h), evidence, weights, prior).total


def without_depth(h: Float[Tensor, "b 63"]) -> Float[Tensor, "b 63"]:
    """The same h without a gradient to its translation in depth.

    An orthographic picture does not depend on it, so its gradient is 0; but L_Lap leaves a rounding error there, which
    Adam would follow as fast as a slope.
    """
    return torch.cat((h[:, :-1], h[:, -1:].detach()), 1)


def energy_terms(
    model: HandModel, h: Float[Tensor, "b 63"], mesh: HandMesh, evidence: Evidence, weights: Weights, prior: Prior
) -> Terms:
    """The terms of E(h), for a mesh that is already there.

    Args:
        model: Hand model.
        h: Parameters.
        mesh: `model.forward_h(h)`.
        evidence: One row for each hand.
        weights: Of the terms.
        prior: From :func:`hand_prior`.

    Returns:
        The weighted terms, differentiable in h.
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
        terms["feature"] = lambda: feature_term(mesh, model, appearance, near)
    if (mask := evidence.mask) is not None:
        terms["mask"] = lambda: mask_term(mesh, model, mask)
    values = {field.name: torch.zeros_like(h[:, 0]) for field in fields(Terms)}
    values["gate"] = near.to(h.dtype)
    for name, term in terms.items():
        if weight := getattr(weights, name):
            values[name] = weight * term()
    return Terms(**values)


def joint_term(joints: Float[Tensor, "b 21 3"], evidence: Evidence) -> Float[Tensor, " b"]:
    """Mean squared distance of the projected skeleton to j2D, weighted by confidence."""
    return weighted_mean((joints[..., :2] - evidence.joints_2d).square().sum(-1), evidence.confidence)


def is_near(joints: Float[Tensor, "b 21 3"], evidence: Evidence, tau: float) -> Bool[Tensor, " b"]:
    """Whether the projected skeleton lies within tau of j2D: the gate lambda.

    Args:
        joints: Skeletons.
        evidence: Whose j2D and confidence count.
        tau: Mean distance, pixels of the 224.

    Returns:
        One answer for each hand; no gradient.

    Source: Eq. 12 by PAPER.md Secs. 9.3 and 9.4.
    """
    return mean_distance_px(joints, evidence.joints_2d, evidence.confidence) < tau


def feature_term(
    mesh: HandMesh, model: HandModel, appearance: Appearance, near: Bool[Tensor, " b"]
) -> Float[Tensor, " b"]:
    """Mean of ``| F(x) - F(f_Ren(v) (.) x) |^2`` where a hand is near its j2D, else 0 without gradient.

    The mesh is drawn at the size that F looks at, in full precision; F may run in a lower one under autocast.
    """
    size = appearance.images.shape[-1]
    with torch.autocast(mesh.vertices.device.type, enabled=False):
        cover = silhouette(mesh.vertices, model.faces, size, appearance.silhouette)
    masked = appearance.network(appearance.images * cover[:, None])
    difference = (masked - appearance.feature).to(cover.dtype)
    return torch.where(near[:, None], difference, 0).square().mean(1)


def mask_term(mesh: HandMesh, model: HandModel, mask: Float[Tensor, "b s s"]) -> Float[Tensor, " b"]:
    """Mean of ``| f_Ren(v) - m |^2``; "coverage", which ends nearest where the joints have brought the hand near."""
    return (silhouette(mesh.vertices, model.faces, mask.shape[-1], "coverage") - mask).square().mean((1, 2))
