"""Test-time refinement (Eq. 13) from evidence that was found once: which j2D it follows, and after how many steps.

The energy is that of :mod:`dhpe_lib.refinement.test_time` without the feature term. That term needs the images and
twenty times as long, and F of the light network was not trained for it; :mod:`dhpe_lib.experiments.evidence_feature`
measures it on few images. Every answer is the last iterate, as Eq. 13 says.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch.nn.functional import pad

from dhpe_lib.common.records import take_rows, to_numpy
from dhpe_lib.data.crops import Crops
from dhpe_lib.data.targets import joint_error_px
from dhpe_lib.evaluation.evaluate import undo_eq8
from dhpe_lib.evaluation.metrics import joint_errors
from dhpe_lib.experiments.cached_evidence import CachedEvidence
from dhpe_lib.network.estimator import Estimate, Estimator
from dhpe_lib.network.evidence import Evidence2D
from dhpe_lib.refinement.energy import Observations
from dhpe_lib.refinement.fitting import FitOptions, fit_hands
from dhpe_lib.refinement.test_time import REFINEMENTS, Refinement, RefineOptions, refine

ITERATIONS = (0, 1, 5, 10, 20, 50)
AT_A_TIME = 256
FIT = FitOptions(starts=1, finalists=1)
"""Options of the fit without a network: beside the estimate it has one start of its own."""
MODES = ("j2D(0) fixed", "j2D(3) fixed", "j2D by f_Ref")
"""The 2D evidence of a refinement: what f_J2D found, as in earlier work; what f_Ref made of it in the regressor; or
what f_Ref makes of it in every step, as in the paper."""


def estimate_of(network: Estimator, evidence: CachedEvidence) -> Estimate:
    """Compute the states of f_E3D from cached evidence; no gradient."""
    with torch.no_grad():
        steps = network.regressor(evidence.of_crop, evidence.joints_2d, network.hand)
    score = evidence.joints_2d.new_ones(len(evidence), 21)
    return Estimate(Evidence2D(evidence.of_crop, None, None, evidence.joints_2d, score), steps, None)


def refined_errors(
    network: Estimator, evidence: CachedEvidence, crops: Crops, mode: str, iterations: Sequence[int] = ITERATIONS
) -> Float[ndarray, "t n 21"]:
    """Refine the hands of a test, and compute their errors on the way.

    Args:
        network: An estimator with the regressor to start from. F is not called.
        evidence: Evidence of the test, as its regressor sees it.
        crops: Crops of the test.
        mode: One of ``MODES``.
        iterations: Numbers of steps after which errors are computed, in increasing order.

    Returns:
        Errors (protocol A8, mm) after each number of steps.
    """
    parts = []
    for start in range(0, len(evidence), AT_A_TIME):
        some = take_rows(evidence, torch.arange(start, min(start + AT_A_TIME, len(evidence))))
        path = refined(network, some, mode, iterations[-1]).joints
        own = crops[start : start + AT_A_TIME]
        truth = to_numpy(own.joints_3d).astype(float)
        parts.append(np.stack([joint_errors(undo_eq8(path[step], own, some.frame), truth) for step in iterations]))
    return np.concatenate(parts, 1)


def fitted_errors(
    network: Estimator, evidence: CachedEvidence, crops: Crops, options: FitOptions = FIT
) -> Float[ndarray, "2 n 21"]:
    """Fit hands to j2D(3) without the network, from its estimate; :func:`fit_hands` also tries a start of its own.

    Args:
        network: An estimator with the regressor to start from.
        evidence: Evidence of the test, as its regressor sees it.
        crops: Crops of the test.
        options: Options of the fit.

    Returns:
        Errors (protocol A8, mm) of the estimate and of the fit.
    """
    estimate = estimate_of(network, evidence)
    joints_2d = estimate.joints_2d
    target = Observations(joints_2d, torch.ones_like(joints_2d[..., 0]))
    fit = fit_hands(network.hand, target, options, estimate.h)
    truth = to_numpy(crops.joints_3d).astype(float)
    both = estimate.joints, fit.mesh.joints
    return np.stack([joint_errors(undo_eq8(joints, crops, evidence.frame), truth) for joints in both])


def moved_px(network: Estimator, evidence: CachedEvidence, iterations: Sequence[int] = ITERATIONS) -> dict[int, float]:
    """Mean distance of j2D to the truth on the way, pixels of the crop, if f_Ref moves it in every step."""
    path = refined(network, evidence, MODES[2], iterations[-1]).joints_2d
    return {step: float(joint_error_px(pad(path[step], (0, 1)), evidence.targets).mean()) for step in iterations}


def refined(network: Estimator, evidence: CachedEvidence, mode: str, iterations: int) -> Refinement:
    """Refine hands from cached evidence, without images."""
    estimate = estimate_of(network, evidence)
    if mode == MODES[0]:
        first, last = estimate.steps[0], estimate.steps[-1]
        estimate = replace(estimate, steps=(*estimate.steps[:-1], replace(last, joints_2d=first.joints_2d)))
    no_images = evidence.of_crop.new_zeros(len(evidence), 3, 8, 8)
    return refine(network, no_images, estimate, options_of(mode, iterations))


def options_of(mode: str, iterations: int) -> RefineOptions:
    """Return the options of a mode, without the feature term."""
    options = replace(REFINEMENTS["joints-only"], iterations=iterations)
    return options if mode == MODES[2] else replace(options, evidence="fixed")
