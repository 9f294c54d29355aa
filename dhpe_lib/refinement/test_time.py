"""Test-time refinement (Sec. 3.4, Eq. 13): the network's estimate goes downhill before it is given out.

::

    h(t+1) = h(t) - gamma grad_h ( | [f_DHPE(x)_J]_XY - j2D(t) |^2 + lambda | F(x) - F(f_Ren(v) (.) x) |^2 + L_Lap )
    j2D(t+1) = f_Ref(j2D(t), F(x), h(t), f_Reg(v(t)))

Earlier work kept the 2D evidence as it was; here f_Ref mends it while h moves. f_Ref is linear: where its part that
multiplies j2D has an eigenvalue beyond 1, fifty calls in a row diverge. "anchored" evidence, which is ours, cannot:
f_Ref sees h(t) and v(t), but always the j2D that it was last given in the regressor. The energy is that of
:mod:`dhpe_lib.refinement.energy`, which the fit without a network shares. The chapter is *Test-time refinement*.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dhpe_lib.hand.model import HandMesh
from dhpe_lib.network.estimator import Estimate, Estimator, evaluating
from dhpe_lib.network.evidence import resize
from dhpe_lib.network.regressor import Step
from dhpe_lib.refinement.descent import Steps, descend
from dhpe_lib.refinement.energy import (
    EQ_13,
    Appearance,
    Evidence,
    Terms,
    Weights,
    energy_terms,
    hand_prior,
    without_depth,
)

EvidenceMode = Literal["recursive", "anchored", "fixed"]

CLOSED = 1e3
"""What a hand far from its j2D counts more: energies with and without the feature term could not be compared."""


@dataclass(frozen=True)
class RefineOptions:
    """The course of the refinement; the defaults are the paper's.

    Attributes:
        weights: Of the terms; ``energy.EQ_13`` has no priors.
        iterations: Steps.
        rate: gamma, of Adam as the paper's text says; constant.
        steps: "gradient" for the plain steps that Eq. 13 writes down.
        evidence: "recursive" is the paper's: f_Ref of j2D(t) is j2D(t+1). "anchored": of the network's j2D, in each
            step anew. "fixed" is earlier work: j2D stays as it is.
    """

    weights: Weights = field(default=EQ_13)
    iterations: int = 50
    rate: float = 1e-3
    steps: Steps = "adam"
    evidence: EvidenceMode = "recursive"


VARIANTS = {
    "refinement": RefineOptions(),
    "evidence-anchored": RefineOptions(evidence="anchored"),
    "evidence-fixed": RefineOptions(evidence="fixed"),
    "joints-only": RefineOptions(replace(EQ_13, feature=0.0)),
    "feature-only": RefineOptions(replace(EQ_13, joints=0.0)),
    "gradient-steps": RefineOptions(steps="gradient"),
}
"""By name, for the ablation; "without-refinement" is the estimate itself."""


@dataclass(frozen=True)
class Refinement:
    """A refined estimate and the way to it, start included.

    Attributes:
        estimate: The network's, with one step more: the refined h, its mesh and its j2D. It is the iterate of lowest
            energy, for each hand by itself; one near its j2D goes before one that is not.
        kept: After how many steps that was.
        path: h(t).
        joints: The skeletons, crop frame.
        joints_2d: j2D(t).
        terms: Each term of the energy at h(t), weighted, and the gate.
    """

    estimate: Estimate
    kept: Int64[Tensor, " b"]
    path: Float[Tensor, "steps b 63"]
    joints: Float[Tensor, "steps b 21 3"]
    joints_2d: Float[Tensor, "steps b 21 2"]
    terms: dict[str, Float[Tensor, "steps b"]]

    @property
    def energy(self) -> Float[Tensor, "steps b"]:
        """E(h(t)), each against its own j2D(t)."""
        return torch.stack([term for name, term in self.terms.items() if name != "gate"]).sum(0)


def refine(
    network: Estimator,
    images: Float[Tensor, "b 3 s s"],
    estimate: Estimate,
    options: RefineOptions = RefineOptions(),
    confidence: Float[Tensor, "b 21"] | None = None,
) -> Refinement:
    """Refine a batch of estimates; every hand goes its own way.

    Args:
        network: f_DHPE; its F runs in evaluation mode here.
        images: Crops x.
        estimate: What the network found in them.
        options: Terms and course.
        confidence: Weight of each joint of j2D; the paper has none: 1.

    Returns:
        The refined estimate and its trajectory, without gradient. A hand that is not finite stays as it is.

    Source: Eq. 13; PAPER.md Secs. 5 and 9.4.
    """
    with evaluating(network):
        objective = Objective(network, images, estimate, options, confidence)
        found = descend(objective, objective.start, options.iterations, options.rate, options.steps, decay=False)
        joints, joints_2d = torch.stack(objective.joints), torch.stack(objective.all_joints_2d)
        with torch.no_grad():
            mesh = network.hand.forward_h(found.h)
            last = Step(found.h, joints_2d[found.kept, torch.arange(len(found.h), device=found.h.device)], mesh)
            drawn = network.render_mask(mesh, images.shape[-1])
    terms = {name.name: torch.stack([getattr(one, name.name) for one in objective.terms]) for name in fields(Terms)}
    refined = replace(estimate, steps=(*estimate.steps, last), mask=drawn)
    return Refinement(refined, found.kept, found.path, joints, joints_2d, terms)


class Objective:
    """The energy of Eq. 13 as a function of h alone; each call notes what it saw and brings j2D(t) to j2D(t+1).

    Args:
        network: f_DHPE, in evaluation mode.
        images: Crops x.
        estimate: Where to start.
        options: Terms, and whether j2D moves.
        confidence: Of the joints of j2D, or None for 1; 0 for a network without f_J2D, whose j2D means nothing.
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
        self.feature = estimate.evidence.feature.detach()
        small = resize(images, network.features.input_size)
        self.appearance = Appearance(network.features, small, self.feature, network.config.silhouette)
        self.start = estimate.h.detach()
        self.forget()

    def __call__(self, h: Float[Tensor, "b 63"]) -> Float[Tensor, " b"]:
        """The energy of each hand against j2D(t)."""
        hand, h = self.network.hand, without_depth(h)
        mesh = hand.forward_h(h)
        evidence = Evidence(self.joints_2d.clone(), self.confidence, appearance=self.appearance)
        terms = energy_terms(hand, h, mesh, evidence, self.options.weights, self.prior)
        self.note(mesh, terms)
        if self.options.evidence != "fixed":
            self.refine_joints(h, mesh)
        return terms.total + CLOSED * (1 - terms.gate)

    def forget(self) -> None:
        """Drop what was noted."""
        self.joints: list[Tensor] = []
        self.all_joints_2d: list[Tensor] = []
        self.terms: list[Terms] = []

    def note(self, mesh: HandMesh, terms: Terms) -> None:
        """Keep skeleton, j2D and terms."""
        self.joints.append(mesh.joints.detach())
        self.all_joints_2d.append(self.joints_2d.clone())
        self.terms.append(Terms(**{name: value.detach() for name, value in vars(terms).items()}))

    @torch.no_grad()
    def refine_joints(self, h: Float[Tensor, "b 63"], mesh: HandMesh) -> None:
        """j2D(t+1) by f_Ref, in place; no gradient."""
        feature = self.feature.to(h.dtype)
        seen = self.anchor if self.options.evidence == "anchored" else self.joints_2d
        self.joints_2d.copy_(self.network.regressor.refine_joints(seen, feature, h, mesh.joints))
