"""Test-time refinement (Sec. 3.4, Eq. 13): improve the network's estimate by gradient descent.

::

    E(h) = | [f_DHPE(x)_J]_XY - j2D(t) |^2 + lambda | F(x) - F(f_Ren(v) (.) x) |^2 + L_Lap
    h(t+1) = h(t) - gamma grad_h E(h(t))
    j2D(t+1) = f_Ref(j2D(t), F(x), h(t), f_Reg(v(t)))

Earlier work kept the 2D evidence fixed; here f_Ref updates it while h moves. f_Ref is linear: if the part that
multiplies j2D has an eigenvalue above 1, fifty calls in a row diverge. "anchored" evidence, which is ours, cannot
diverge: f_Ref sees h(t) and v(t), but always the j2D that was its last input in the regressor. The energy is that of
:mod:`dhpe_lib.refinement.energy`, which the fit without a network also uses. The chapter is *Test-time refinement*.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dhpe_lib.hand.model import HandMesh
from dhpe_lib.network.estimator import Estimate, Estimator, evaluating
from dhpe_lib.network.evidence import resize
from dhpe_lib.network.regressor import RegressorState
from dhpe_lib.refinement.descent import StepRule, Track, descend
from dhpe_lib.refinement.energy import (
    EQ_13,
    TERMS,
    Appearance,
    EnergyWeights,
    Observations,
    energy_terms,
    hand_prior,
    without_depth,
)
from dhpe_lib.rendering.renderer import Method

EvidenceMode = Literal["recursive", "anchored", "fixed"]

FAR_PENALTY = 1e3
"""Added to the energy of a hand whose lambda is 0.

Such a hand has no feature term, so its energy would otherwise be lower than that of a hand near its j2D.
"""


@dataclass(frozen=True)
class RefineOptions:
    """Options of the refinement; the defaults are the paper's.

    Attributes:
        weights: Weights of the terms; ``energy.EQ_13`` has no priors.
        iterations: Number of steps.
        rate: Constant step size gamma.
        steps: "adam", as in the paper's text, or "gradient" for the plain steps of Eq. 13.
        evidence: "recursive" is the paper's: j2D(t+1) is f_Ref of j2D(t). "anchored": j2D(t+1) is f_Ref of the
            network's j2D. "fixed", as in earlier work: j2D does not change.
        feature_keeps_size: Whether the feature term has no gradient to size and shape; see
            :class:`dhpe_lib.refinement.energy.Appearance`. Ours; the paper's term can make a hand grow.
        silhouette: Silhouette f_Ren of the feature term; None for the network's. "coverage" has the exact gradient.
    """

    weights: EnergyWeights = EQ_13
    iterations: int = 50
    rate: float = 1e-3
    steps: StepRule = "adam"
    evidence: EvidenceMode = "recursive"
    feature_keeps_size: bool = False
    silhouette: Method | None = None


REFINEMENTS = {
    "refinement": RefineOptions(),
    "evidence-anchored": RefineOptions(evidence="anchored"),
    "evidence-fixed": RefineOptions(evidence="fixed"),
    "coverage": RefineOptions(silhouette="coverage"),
    "coverage-fixed": RefineOptions(silhouette="coverage", evidence="fixed"),
    "joints-only": RefineOptions(replace(EQ_13, feature=0.0)),
    "joints-only-fixed": RefineOptions(replace(EQ_13, feature=0.0), evidence="fixed"),
    "feature-only": RefineOptions(replace(EQ_13, joints=0.0)),
    "gradient-steps": RefineOptions(steps="gradient"),
}
"""Variants of the refinement for the ablation, by name."""


@dataclass(frozen=True)
class Refinement:
    """A refined estimate and all iterates, including the start.

    Attributes:
        estimate: The network's estimate with one more step: the refined h, its mesh and its j2D. For each hand it is
            the iterate of lowest energy; an iterate with lambda = 1 is preferred to an iterate with lambda = 0.
        kept: Number of steps after which this iterate was reached.
        path: h(t).
        joints: Skeletons f_Reg(v(t)), crop frame, units of g.
        joints_2d: j2D(t), crop frame, units of g.
        terms: Each weighted term of the energy at h(t), and the gate lambda.
    """

    estimate: Estimate
    kept: Int64[Tensor, " b"]
    path: Float[Tensor, "steps b 63"]
    joints: Float[Tensor, "steps b 21 3"]
    joints_2d: Float[Tensor, "steps b 21 2"]
    terms: dict[str, Float[Tensor, "steps b"]]

    @property
    def energy(self) -> Float[Tensor, "steps b"]:
        """E(h(t)), computed with j2D(t)."""
        return torch.stack([term for name, term in self.terms.items() if name != "gate"]).sum(0)


def refine(
    network: Estimator,
    images: Float[Tensor, "b 3 s s"],
    estimate: Estimate,
    options: RefineOptions = RefineOptions(),
    confidence: Float[Tensor, "b 21"] | None = None,
) -> Refinement:
    """Refine a batch of estimates; the hands of a batch are independent.

    Args:
        network: f_DHPE; its F runs in evaluation mode here.
        images: Crops x in [0, 1].
        estimate: The network's estimate for these crops.
        options: Options of the refinement.
        confidence: Weight of each joint of j2D; None for 1, since the paper has no weights.

    Returns:
        The refined estimate and its trajectory; no gradient. A hand that is not finite does not change.

    Source: Eq. 13; PAPER.md Secs. 5 and 9.4.
    """
    with evaluating(network):
        objective = RefinementEnergy(network, images, estimate, options, confidence)
        descent = descend(objective, objective.start, options.iterations, options.rate, options.steps, decay=False)
        rows = objective.track.rows
        with torch.no_grad():
            mesh = network.hand.forward_h(descent.h)
            hands = torch.arange(len(descent.h), device=descent.h.device)
            last = RegressorState(descent.h, rows["joints_2d"][descent.kept, hands], mesh)
            mask = network.render_mask(mesh, images.shape[-1])
    refined = replace(estimate, steps=(*estimate.steps, last), mask=mask)
    terms = {name: rows[name] for name in TERMS}
    return Refinement(refined, descent.kept, descent.path, rows["mesh_joints"], rows["joints_2d"], terms)


class RefinementEnergy:
    """The energy of Eq. 13 as a function of h; each call records its values and updates j2D(t) to j2D(t+1) in place.

    Args:
        network: f_DHPE, in evaluation mode.
        images: Crops x in [0, 1].
        estimate: The estimate to start from.
        options: Options of the refinement.
        confidence: Weight of each joint of j2D. None stands for 1, or for 0 if the network has no f_J2D and thus no
            j2D.
    """

    def __init__(
        self,
        network: Estimator,
        images: Float[Tensor, "b 3 s s"],
        estimate: Estimate,
        options: RefineOptions,
        confidence: Float[Tensor, "b 21"] | None = None,
    ) -> None:
        self.network, self.options = network, options
        self.prior = hand_prior(network.hand)
        self.joints_2d = estimate.joints_2d.detach().clone()
        self.anchor = estimate.steps[max(len(estimate.steps) - 2, 0)].joints_2d.detach()
        known = float(network.pose_machine is not None)
        self.confidence = torch.full_like(self.joints_2d[..., 0], known) if confidence is None else confidence
        self.of_crop = estimate.evidence.of_crop.detach()
        resized = resize(images, network.features.input_size)
        feature = estimate.evidence.feature.detach()
        self.appearance = Appearance(
            network.features,
            resized,
            feature,
            options.silhouette or network.config.silhouette,
            options.feature_keeps_size,
        )
        self.start = estimate.h.detach()
        self.track = Track(options.iterations + 1, self.start.device)

    def __call__(self, h: Float[Tensor, "b 63"]) -> Float[Tensor, " b"]:
        """Compute the energy of each hand with j2D(t)."""
        hand, h = self.network.hand, without_depth(h)
        mesh = hand.forward_h(h)
        evidence = Observations(self.joints_2d.clone(), self.confidence, appearance=self.appearance)
        terms = energy_terms(hand, h, mesh, evidence, self.options.weights, self.prior)
        self.track.add(mesh_joints=mesh.joints, joints_2d=self.joints_2d, **vars(terms))
        if self.options.evidence != "fixed":
            self.refine_joints(h, mesh)
        return terms.total + FAR_PENALTY * (1 - terms.gate)

    @torch.no_grad()
    def refine_joints(self, h: Float[Tensor, "b 63"], mesh: HandMesh) -> None:
        """Compute j2D(t+1) with f_Ref, in place; no gradient."""
        joints_2d = self.anchor if self.options.evidence == "anchored" else self.joints_2d
        self.joints_2d.copy_(self.network.regressor.refine_joints(joints_2d, self.of_crop.to(h.dtype), h, mesh.joints))
