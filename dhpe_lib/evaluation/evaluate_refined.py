"""Errors of a split before and after test-time refinement, and after each iteration; nothing here has a gradient."""

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
from dhpe_lib.evaluation.evaluate import Predictions, compare_with_truth, estimates, millimetres, pixels
from dhpe_lib.evaluation.metrics import Interval, bootstrap, joint_errors, mean_epe
from dhpe_lib.evaluation.scores import DRAWS, full_scores, rounded
from dhpe_lib.network.estimator import Estimator
from dhpe_lib.refinement.test_time import Refinement, RefineOptions, refine


@dataclass(frozen=True)
class Course:
    """Errors after each iteration, from the network's estimate to the last step.

    Attributes:
        epe_mm: Mean error of the known joints of each image (protocol A), mm; NaN if no joint is known.
        skeleton_px: Mean 2D error of the projected skeleton, pixels of the crop.
        j2d_px: Mean 2D error of j2D(t), pixels of the crop.
        near: The gate lambda.
    """

    epe_mm: Float[ndarray, "n steps"]
    skeleton_px: Float[ndarray, "n steps"]
    j2d_px: Float[ndarray, "n steps"]
    near: Float[ndarray, "n steps"]

    def change(self) -> Interval[float]:
        """Mean over the images of the change of their error from the estimate to the last step, with its interval."""
        known = np.isfinite(self.epe_mm[:, 0])
        rows = (self.epe_mm[known, -1] - self.epe_mm[known, 0])[:, None]
        return bootstrap(mean_epe, rows, draws=DRAWS)

    def means(self) -> dict[str, list[float]]:
        """Means over the images after each iteration, for JSON."""
        return {name: np.nanmean(values, axis=0).round(4).tolist() for name, values in vars(self).items()}


@dataclass(frozen=True)
class Refined:
    """Predictions after refinement, and the errors after each iteration."""

    found: Predictions
    course: Course

    def scores(self) -> dict[str, Any]:
        """Scores of :func:`dhpe_lib.evaluation.scores.full_scores`, "over_iterations" and "change_mm", for JSON.

        The images of both errors of a change are the same, so its interval is that of a paired comparison.
        """
        scores = full_scores(self.found) | {"over_iterations": self.course.means()}
        return scores | {"change_mm": rounded(self.course.change(), 3)}


def evaluate_refined(
    network: Estimator,
    cache: Prepared,
    device: torch.device,
    variants: Mapping[str, RefineOptions],
    batch: int = 64,
    advance: Callable[[int], None] = lambda _: None,
    count: int | None = None,
) -> tuple[Predictions, dict[str, Refined]]:
    """Run a network on a prepared split, and refine its estimates with one or more variants.

    Args:
        network: f_DHPE, on the device.
        cache: The prepared split.
        device: Device of the network.
        variants: Options of each variant by name; all variants start from the network's estimates.
        batch: Images in a batch.
        advance: Called with the number of images after each batch.
        count: Number of images, evenly spaced in the split; None for all images.

    Returns:
        Predictions of the network, and refined predictions of each variant, in the order of the cache.
    """
    before: list[Predictions] = []
    after: dict[str, list[Refined]] = {name: [] for name in variants}
    for crops, view, estimate in estimates(network, cache, device, batch, count):
        before.append(compare_with_truth(estimate, crops, view))
        for name, options in variants.items():
            refinement = refine(network, view.images, estimate, options)
            after[name].append(
                Refined(compare_with_truth(refinement.estimate, crops, view), course_of(refinement, crops, view))
            )
        advance(len(crops))
    return join_rows(before), {name: join_rows(parts) for name, parts in after.items()}


def course_of(refinement: Refinement, crops: Crops, view: View) -> Course:
    """Compute the errors after each iteration."""
    crops, frame, truth = crops.to("cpu"), view.frame.to("cpu"), to_numpy(crops.joints_3d).astype(float)
    errors = [joint_errors(millimetres(joints, crops, frame), truth) for joints in refinement.joints.cpu()]
    known = np.isfinite(truth).all(-1)
    total = np.where(known, np.stack(errors), 0).sum(-1)
    return Course(
        epe_mm=np.where(known.any(1), total / known.sum(1).clip(1), np.nan).T,
        skeleton_px=to_numpy(torch.stack([joint_error_px(joints, view.targets) for joints in refinement.joints], 1)),
        j2d_px=to_numpy(torch.stack([pixels(joints_2d, view) for joints_2d in refinement.joints_2d], 1)),
        near=to_numpy(refinement.terms["gate"]).T,
    )
