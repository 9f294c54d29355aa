"""What refinement does to the errors of a split: before, after, after each iteration. Nothing here has a gradient."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from dhpe_lib.common.records import join_rows, to_numpy
from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.data.crops import Crops
from dhpe_lib.data.targets import joint_error_px
from dhpe_lib.data.views import View
from dhpe_lib.evaluation.evaluate import Found, estimates, full_scores, measured, millimetres, pixels
from dhpe_lib.evaluation.metrics import joint_errors
from dhpe_lib.network.estimator import Estimator
from dhpe_lib.refinement.test_time import Refinement, RefineOptions, refine


@dataclass(frozen=True)
class Course:
    """Errors over the iterations, from the network's estimate to the last step; no choice of the best.

    Attributes:
        epe_mm: Mean error of each image's known joints, protocol A; NaN where none is known.
        skeleton_px: Mean distance of the projected skeleton to the truth, pixels of the crop.
        j2d_px: The same of j2D(t).
        near: lambda.
    """

    epe_mm: Float[ndarray, "n steps"]
    skeleton_px: Float[ndarray, "n steps"]
    j2d_px: Float[ndarray, "n steps"]
    near: Float[ndarray, "n steps"]

    def means(self) -> dict[str, list[float]]:
        """Mean over the images after each iteration, for JSON."""
        return {name: np.nanmean(values, axis=0).round(4).tolist() for name, values in vars(self).items()}


@dataclass(frozen=True)
class Refined:
    """A split after refinement, and the course of it."""

    found: Found
    course: Course

    def scores(self) -> dict[str, Any]:
        """For JSON: what :func:`dhpe_lib.evaluation.evaluate.full_scores` says, and "over_iterations"."""
        return full_scores(self.found) | {"over_iterations": self.course.means()}


def evaluate_refined(
    network: Estimator,
    cache: Prepared,
    device: torch.device,
    variants: Mapping[str, RefineOptions],
    batch: int = 64,
    advance: Callable[[int], None] = lambda _: None,
    count: int | None = None,
) -> tuple[Found, dict[str, Refined]]:
    """Run a network on a prepared split, and refine what it finds in one way or several.

    Args:
        network: On the device.
        cache: The split.
        device: Where to compute.
        variants: By name; each starts from the same estimates.
        batch: Images at a time.
        advance: Is told how many images were done.
        count: Images, evenly spread over the split; all of them by default.

    Returns:
        What the network finds, and what becomes of it by variant; in the cache's order.
    """
    before: list[Found] = []
    after: dict[str, list[Refined]] = {name: [] for name in variants}
    for crops, view, estimate in estimates(network, cache, device, batch, count):
        before.append(measured(estimate, crops, view))
        for name, options in variants.items():
            refinement = refine(network, view.images, estimate, options)
            after[name].append(Refined(measured(refinement.estimate, crops, view), course_of(refinement, crops, view)))
        advance(len(crops))
    return join_rows(before), {name: join_rows(parts) for name, parts in after.items()}


def course_of(refinement: Refinement, crops: Crops, view: View) -> Course:
    """The errors after each iteration."""
    truth = to_numpy(crops.joints_3d).astype(float)
    errors = [joint_errors(millimetres(joints, crops), truth) for joints in refinement.joints]
    known = np.isfinite(truth).all(-1)
    total = np.where(known, np.stack(errors), 0).sum(-1)
    return Course(
        epe_mm=np.where(known.any(1), total / known.sum(1).clip(1), np.nan).T,
        skeleton_px=np.stack([to_numpy(joint_error_px(joints, view.targets)) for joints in refinement.joints], 1),
        j2d_px=np.stack([pixels(joints_2d, view) for joints_2d in refinement.joints_2d], 1),
        near=to_numpy(refinement.terms["gate"]).T,
    )
