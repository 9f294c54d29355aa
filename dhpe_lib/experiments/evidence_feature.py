"""Measure the feature term of Eq. 13 in the shipped network: gradients, values, and errors by its weight."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy import ndarray

from dhpe_lib.common.records import to_numpy
from dhpe_lib.data.crops import Crops
from dhpe_lib.data.views import View
from dhpe_lib.evaluation.evaluate_refined import course_of
from dhpe_lib.experiments.evidence_results import gain
from dhpe_lib.hand.model import HandMesh
from dhpe_lib.network.estimator import Estimate, Estimator, evaluating
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

COURSES: tuple[tuple[EvidenceMode, float], ...] = (("fixed", 0.0), ("recursive", 0.0), ("fixed", 0.01))
"""Kind of j2D and weight of the feature term of each refinement: without it, and near the gradient of the joints. That
of Eq. 13, 1, is measured by `dhpe evaluate --refine`."""
EVIDENCE: dict[EvidenceMode, str] = {"fixed": "j2D(3) fixed", "recursive": "j2D by f_Ref"}
AT_A_TIME = 32


def options_with(weight: float, evidence: EvidenceMode) -> RefineOptions:
    """Options of Eq. 13 with a weight of the feature term."""
    return RefineOptions(replace(EQ_13, feature=weight), evidence=evidence)


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
        For each image "joints" and "feature", the norms of the gradients to h; "value" and "value_twice", the feature
        term of the mesh and of a mesh of twice its size; "near", whether lambda is 1. The gradient and the values of
        the feature term are 0 where lambda is 0.
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
        terms = energy_terms(hand, moving, hand.forward_h(moving), evidence, EQ_13, prior)
        gradients = {
            name: torch.autograd.grad(getattr(terms, name).sum(), h, retain_graph=True)[0].norm(dim=1)
            for name in ("joints", "feature")
        }
        with torch.no_grad():
            large = feature_term(twice_as_large(hand.forward_h(h)), hand, appearance, terms.gate > 0)
    found = gradients | {"value": terms.feature, "value_twice": large, "near": terms.gate}
    return {name: to_numpy(values.detach()).astype(float) for name, values in found.items()}


def twice_as_large(mesh: HandMesh) -> HandMesh:
    """Return meshes of twice the size around their centres."""
    centre = mesh.vertices.mean(1, keepdim=True)
    return HandMesh(2 * mesh.vertices - centre, 2 * mesh.joints - centre)


def feature_gains(name: str, courses: Mapping[tuple[EvidenceMode, float], Mapping[str, ndarray]]) -> dict[str, Any]:
    """Compute the gain of each refinement, and of each weight of the feature term over no feature term.

    Args:
        name: Name of the test.
        courses: Courses by kind of j2D and weight.
    """
    found = {}
    for (evidence, weight), course in courses.items():
        mm, label = course["epe_mm"], f"{EVIDENCE[evidence]}, {name}"
        found[f"shipped network refined, feature weight {weight:g}, {label}"] = gain(
            mm[None, :, 0], mm[None, :, -1], "mm"
        )
        if weight:
            without = courses[evidence, 0.0]["epe_mm"]
            found[f"feature term of weight {weight:g}, {label}"] = gain(without[None, :, -1], mm[None, :, -1], "mm")
    return found


def feature_row(facts: Mapping[str, ndarray], shown: Sequence[str] = ("joints", "feature")) -> dict[str, float]:
    """Medians of the gradients and means of the values over the images whose lambda is 1."""
    near = facts["near"] > 0
    row = {f"gradient_{name}": round(float(np.median(facts[name][near])), 3) for name in shown}
    values = {name: round(float(facts[name][near].mean()), 4) for name in ("value", "value_twice")}
    return row | values | {"images_near": int(near.sum()), "images": len(near)}
