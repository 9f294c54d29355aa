"""Measure the feature term of Eq. 13 in the shipped network: gradients, values, and errors by its weight."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from dhpe_lib.common.records import to_numpy
from dhpe_lib.data.crops import Crops
from dhpe_lib.data.views import View
from dhpe_lib.evaluation.evaluate_refined import course_of
from dhpe_lib.experiments.evidence_results import gain
from dhpe_lib.hand.model import HandMesh
from dhpe_lib.network.estimator import Estimate, Estimator, evaluating
from dhpe_lib.network.evidence import resize
from dhpe_lib.network.upright import network_view
from dhpe_lib.refinement.energy import (
    EQ_13,
    Appearance,
    Observations,
    energy_terms,
    feature_term,
    hand_prior,
    without_depth,
)
from dhpe_lib.refinement.test_time import EvidenceMode, RefineOptions, refine
from dhpe_lib.rendering.renderer import Method, silhouette

EVIDENCE: dict[EvidenceMode, str] = {"fixed": "j2D(3) fixed", "recursive": "j2D by f_Ref"}


@dataclass(frozen=True)
class FeatureForm:
    """A refinement with the feature term.

    Attributes:
        evidence: Kind of j2D.
        weight: Weight of the feature term; Eq. 13 has 1.
        keeps_size: Whether the term has no gradient to size and shape, so that it cannot make a hand grow.
        exact: Whether the silhouette has the exact gradient (coverage), not the paper's (Kato et al.).
    """

    evidence: EvidenceMode
    weight: float
    keeps_size: bool = False
    exact: bool = False

    @property
    def options(self) -> RefineOptions:
        """Options of the refinement."""
        weights = replace(EQ_13, feature=self.weight)
        method: Method | None = "coverage" if self.exact else None
        return RefineOptions(weights, evidence=self.evidence, feature_keeps_size=self.keeps_size, silhouette=method)

    @property
    def label(self) -> str:
        """Weight, form and kind of j2D."""
        form = f"{' of the same size' if self.keeps_size else ''}{' with the exact gradient' if self.exact else ''}"
        return f"{self.weight:g}{form}, {EVIDENCE[self.evidence]}"


FEATURE_FORMS = (
    *(FeatureForm(evidence, weight) for weight in (0.0, 0.01, 1.0) for evidence in EVIDENCE),
    *(FeatureForm("fixed", weight, keeps_size=True) for weight in (0.01, 1.0)),
    *(FeatureForm("fixed", weight, exact=True) for weight in (0.01, 1.0)),
    FeatureForm("recursive", 1.0, exact=True),
)
"""Without the term, near the gradient of the joints, and as in Eq. 13; with each kind of j2D. Then of the same size,
and with the exact gradient of the silhouette."""
AT_A_TIME = 32


def refined_courses(network: Estimator, crops: Crops, options: RefineOptions) -> dict[str, ndarray]:
    """Refine the network's hands, and return the errors after each step; see :class:`Course`."""
    parts = []
    for start in range(0, len(crops), AT_A_TIME):
        some = crops[start : start + AT_A_TIME]
        view = network_view(network, some)
        found = refine(network, view.images, network.predict(view.images, render=False), options)
        parts.append(vars(course_of(found, some, view)))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def feature_facts(network: Estimator, crops: Crops) -> dict[str, ndarray]:
    """Compute gradients to h and values of the terms of Eq. 13 at the network's estimates.

    Args:
        network: f_DHPE.
        crops: Crops with their margin.

    Returns:
        For each image "joints", "feature" and "feature_exact", the norms of the gradients to h, the last one with the
        exact gradient of the silhouette; "value" and "value_twice", the feature term of the mesh and of a mesh of twice
        its size; "near", whether lambda is 1. The gradients and values of the feature term are 0 where lambda is 0.
    """
    parts = []
    for start in range(0, len(crops), AT_A_TIME):
        view = network_view(network, crops[start : start + AT_A_TIME])
        parts.append(facts_of(network, view, network.predict(view.images, render=False)))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def facts_of(network: Estimator, view: View, estimate: Estimate) -> dict[str, ndarray]:
    """Facts of one batch; see :func:`feature_facts`."""
    hand, prior = network.hand, hand_prior(network.hand)
    feature = estimate.evidence.feature.detach()
    appearance = Appearance(network.features, view.images, feature, network.config.silhouette)
    joints_2d = estimate.joints_2d.detach()
    evidence = Observations(joints_2d, torch.ones_like(joints_2d[..., 0]), appearance=appearance)
    h = estimate.h.detach().requires_grad_()
    with evaluating(network):
        moving = without_depth(h)
        mesh = hand.forward_h(moving)
        terms = energy_terms(hand, moving, mesh, evidence, EQ_13, prior)
        exact = feature_term(mesh, hand, replace(appearance, silhouette="coverage"), terms.gate > 0)
        parts = {"joints": terms.joints, "feature": terms.feature, "feature_exact": exact}
        gradients = {
            name: torch.autograd.grad(part.sum(), h, retain_graph=True)[0].norm(dim=1) for name, part in parts.items()
        }
        with torch.no_grad():
            large = feature_term(twice_as_large(hand.forward_h(h)), hand, appearance, terms.gate > 0)
    found = gradients | {"value": terms.feature, "value_twice": large, "near": terms.gate}
    return {name: to_numpy(values.detach()).astype(float) for name, values in found.items()}


def twice_as_large(mesh: HandMesh) -> HandMesh:
    """Return meshes of twice the size around their centres."""
    centre = mesh.vertices.mean(1, keepdim=True)
    return HandMesh(2 * mesh.vertices - centre, 2 * mesh.joints - centre)


def feature_gains(name: str, courses: Mapping[FeatureForm, Mapping[str, ndarray]]) -> dict[str, Any]:
    """Compute the gain of each refinement, and of each form of the feature term over no feature term.

    Args:
        name: Name of the test.
        courses: Courses by form; those without the feature term are needed.
    """
    found = {}
    for form, course in courses.items():
        mm = course["epe_mm"][None]
        found[f"shipped network refined, feature weight {form.label}, {name}"] = gain(mm[..., 0], mm[..., -1], "mm")
        if form.weight:
            without = courses[FeatureForm(form.evidence, 0.0)]["epe_mm"][None]
            found[f"feature term of weight {form.label}, {name}"] = gain(without[..., -1], mm[..., -1], "mm")
    return found


GRADIENTS = ("joints", "feature", "feature_exact")


def feature_row(facts: Mapping[str, ndarray], shown: Sequence[str] = GRADIENTS) -> dict[str, float]:
    """Medians of the gradients and means of the values over the images whose lambda is 1."""
    near = facts["near"] > 0
    row = {f"gradient_{name}": round(float(np.median(facts[name][near])), 3) for name in shown}
    values = {name: round(float(facts[name][near].mean()), 4) for name in ("value", "value_twice")}
    return row | values | {"images_near": int(near.sum()), "images": len(near)}


@torch.no_grad()
def side_facts(network: Estimator, crops: Crops) -> dict[str, ndarray]:
    """Compute what images lose inside and outside of masks: of the mesh, of a mesh of twice its size, and of the truth.

    Args:
        network: f_DHPE.
        crops: Crops with their margin.

    Returns:
        For each image "inside", mean ``| F(x) - F(m (.) x) |^2``, which is the feature term of a mask m, and "outside",
        mean ``| F((1 - m) (.) x) - F(0) |^2``, which asks whether anything is outside of it; with the suffix
        ``_twice`` those of a mesh of twice the size, and with ``_true`` those of the true mask if it is known. Both
        are 0 for a mask of everything.
    """
    parts = []
    for start in range(0, len(crops), AT_A_TIME):
        view = network_view(network, crops[start : start + AT_A_TIME])
        mesh = network.predict(view.images, render=False).steps[-1].mesh
        with evaluating(network):
            parts.append(sides_of(network, view, {"": mesh, "_twice": twice_as_large(mesh)}))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def sides_of(network: Estimator, view: View, meshes: Mapping[str, HandMesh]) -> dict[str, ndarray]:
    """Facts of one batch; see :func:`side_facts`."""
    hand, side = network.hand, network.features.input_size
    images = resize(view.images, side)
    masks = {
        name: silhouette(mesh.vertices, hand.faces, side, network.config.silhouette) for name, mesh in meshes.items()
    }
    if view.targets.has_mask.all():
        masks["_true"] = resize(view.targets.mask[:, None].expand(-1, 3, -1, -1), side)[:, 0]
    feature, nothing = network.features(images), network.features(torch.zeros_like(images))
    found: dict[str, Tensor] = {}
    for name, mask in masks.items():
        inside, outside = (network.features(images * part[:, None]) for part in (mask, 1 - mask))
        found |= {f"inside{name}": inside - feature, f"outside{name}": outside - nothing}
    return {name: to_numpy(off.square().mean(1)).astype(float) for name, off in found.items()}


def side_row(facts: Mapping[str, ndarray]) -> dict[str, float]:
    """Means over the images."""
    return {name: round(float(values.mean()), 4) for name, values in facts.items() if name != "seconds"}
