"""How good a trained network is on a prepared split: errors in protocols A, B and C, mask scores, 2D errors.

Images are taken as the cache has them, without jitter. Left hands are mirrored there and stay so: no error changes.
Nothing here has a gradient.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor

from dhpe_lib.common.records import join_rows, to_numpy
from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.data.crops import Crops
from dhpe_lib.data.targets import joint_error_px
from dhpe_lib.data.views import View, plain_view
from dhpe_lib.evaluation.alignment import align_palm_and_bone, align_similarity, from_crop_frame, wrist_to_palm
from dhpe_lib.evaluation.mask_metrics import mask_counts, mask_scores
from dhpe_lib.evaluation.metrics import THRESHOLDS, Interval, auc, bootstrap, joint_errors, mean_epe, median_epe
from dhpe_lib.hand.skeleton import JOINT_NAMES, MIDDLE_MCP
from dhpe_lib.network.estimator import Estimate, Estimator

GRIDS = ("20-50", "0-50", "0-100")
DRAWS = 200
"""Of each confidence interval."""
TAU = 15.0
PROTOCOLS = {
    "A": "root depth, box and focal length given (the paper)",
    "B": "joint 0 and a bone's length given (Zimmermann & Brox)",
    "C": "position, size and rotation given (Procrustes)",
}
BONE = [JOINT_NAMES.index(name) for name in ("wrist", "middle_1", "middle_2")]
FEWEST_JOINTS = 3
"""A similarity fits two points, or points on a line, in more than one way."""


@dataclass(frozen=True)
class Found:
    """What a network finds in crops, one row for each.

    Attributes:
        joints_mm: Protocol A's: camera frame, joint 0 as the dataset has it.
        truth_mm: NaN where unknown.
        palm: Whether joint 0 is the palm's centre.
        counts: Right, wrong and missed pixels of the mask, where the truth has one; else 0.
        error_px: Mean distance of the projected skeleton (Eq. 12), pixels of the crop.
        first_px: The same of j2D(0), which f_J2D finds.
        last_px: The same of j2D after the last iteration.
    """

    joints_mm: Float[ndarray, "n 21 3"]
    truth_mm: Float[ndarray, "n 21 3"]
    palm: Bool[ndarray, " n"]
    counts: Int[ndarray, "n 3"]
    error_px: Float[ndarray, " n"]
    first_px: Float[ndarray, " n"]
    last_px: Float[ndarray, " n"]


def find(network: Estimator, crops: Crops, device: torch.device) -> Found:
    """Run a network on crops, all at once.

    Args:
        network: On the device.
        crops: Anywhere, with any margin.
        device: Where to compute.

    Returns:
        What it finds.
    """
    there = crops.to(device)
    view = plain_view(there)
    return measured(network.predict(view.images), there, view)


def measured(estimate: Estimate, crops: Crops, view: View) -> Found:
    """What an estimate comes to beside the truth.

    Args:
        estimate: Of the views, with a mask.
        crops: On the device.
        view: Their plain views.

    Returns:
        One row for each crop.
    """
    assert estimate.mask is not None
    counts = mask_counts(to_numpy(estimate.mask > 0.5), to_numpy(crops.without_margin().masks))
    return Found(
        joints_mm=millimetres(estimate.joints, crops),
        truth_mm=to_numpy(crops.joints_3d).astype(float),
        palm=to_numpy(crops.palm),
        counts=counts * to_numpy(crops.has_mask)[:, None],
        error_px=to_numpy(joint_error_px(estimate.joints, view.targets)),
        first_px=pixels(estimate.steps[0].joints_2d, view),
        last_px=pixels(estimate.joints_2d, view),
    )


def millimetres(joints: Float[Tensor, "b 21 3"], crops: Crops) -> Float[ndarray, "b 21 3"]:
    """Protocol A: skeletons of the crop frame in their cameras, joint 0 and root as the dataset has them."""
    here = crops.to("cpu")
    own = with_palms(to_numpy(joints).astype(float), to_numpy(here.palm))
    own = with_roots(own, to_numpy(here.known))
    return from_crop_frame(torch.from_numpy(own), here.frame, here.k, here.z_root)


def pixels(joints_2d: Float[Tensor, "b 21 2"], view: View) -> Float[ndarray, " b"]:
    """Mean distance of 2D joints to the truth, pixels of the crop."""
    flat = torch.cat((joints_2d, torch.zeros_like(joints_2d[..., :1])), -1)
    return to_numpy(joint_error_px(flat, view.targets))


def with_palms(joints: Float[ndarray, "n 21 3"], palm: Bool[ndarray, " n"]) -> Float[ndarray, "n 21 3"]:
    """Joint 0 as the dataset has it: where that is the palm's centre, the hand's wrist is moved there."""
    return np.where(palm[:, None, None], wrist_to_palm(joints), joints)


def with_roots(joints: Float[ndarray, "n 21 3"], known: Bool[ndarray, "n 21"]) -> Float[ndarray, "n 21 3"]:
    """Depth from where z_root is: the middle MCP, or where that is unknown the mean of the known joints."""
    other = ~known[:, MIDDLE_MCP] & known.any(1)
    middle = (joints[..., 2] * known).sum(1) / known.sum(1).clip(1)
    depth = joints[..., 2] - np.where(other, middle, 0)[:, None]
    return np.concatenate((joints[..., :2], depth[..., None]), -1)


def evaluate(
    network: Estimator,
    cache: Prepared,
    device: torch.device,
    batch: int = 64,
    advance: Callable[[int], None] = lambda _: None,
) -> Found:
    """Run a network on a whole prepared split.

    Args:
        network: On the device.
        cache: The split.
        device: Where to compute.
        batch: Images at a time.
        advance: Is told how many images were done.

    Returns:
        What it finds, in the cache's order.
    """
    parts = []
    for crops, view, estimate in estimates(network, cache, device, batch):
        parts.append(measured(estimate, crops, view))
        advance(len(crops))
    return join_rows(parts)


def estimates(
    network: Estimator, cache: Prepared, device: torch.device, batch: int, count: int | None = None
) -> Iterator[tuple[Crops, View, Estimate]]:
    """Crops on the device, their plain views and the estimates, of a split or of `count` images spread over it."""
    rows = cache.spread(count)
    for start in range(0, len(rows), batch):
        crops = cache[rows[start : start + batch]].to(device)
        view = plain_view(crops)
        yield crops, view, network.predict(view.images)


def protocol_errors(found: Found) -> dict[str, Float[ndarray, "_ 21"]]:
    """Distances in mm by protocol, for :mod:`dhpe_lib.evaluation.metrics`; images that lack what a protocol needs are left out.

    Args:
        found: From :func:`evaluate`.

    Returns:
        Rows for "A", and for "B" and "C" where an image can be aligned.
    """
    known = np.isfinite(found.truth_mm).all(-1)
    errors = {"A": joint_errors(found.joints_mm, found.truth_mm)}
    if (bone := known[:, BONE].all(1)).any():
        joints, truth = (
            np.where(found.palm[bone, None, None], values[bone], wrist_to_palm(values[bone]))
            for values in (found.joints_mm, found.truth_mm)
        )
        errors["B"] = joint_errors(align_palm_and_bone(joints, truth), truth)
    if (enough := known.sum(1) >= FEWEST_JOINTS).any():
        joints, truth = found.joints_mm[enough], found.truth_mm[enough]
        errors["C"] = joint_errors(align_similarity(joints, truth), truth)
    return errors


def quick_scores(found: Found, tau: float = TAU) -> dict[str, float]:
    """The few numbers of a test while training: Fig. 5f's error and share, and what a reader asks first.

    Args:
        found: Of a test set.
        tau: Of Eq. 12.

    Returns:
        Millimetres, pixels of the crop, and shares.
    """
    errors = protocol_errors(found)
    scores = {f"epe_{name.lower()}_mm": mean_epe(rows) for name, rows in errors.items() if np.isfinite(rows).any()}
    scores |= {"error_px": float(found.error_px.mean()), "share_under_tau": float((found.error_px < tau).mean())}
    scores |= {"j2d_first_px": float(found.first_px.mean()), "j2d_last_px": float(found.last_px.mean())}
    if found.counts.any():
        scores["mask_iou"] = mask_scores(found.counts).iou
    return scores


def full_scores(found: Found) -> dict[str, Any]:
    """Everything that is reported of a split, with 95 % intervals over its images.

    Args:
        found: Of at least two images.

    Returns:
        For JSON: "protocols" with errors and areas, "mask", "pixels".
    """
    result: dict[str, Any] = {"images": len(found.palm), "protocols": {}}
    for name, rows in protocol_errors(found).items():
        if len(rows) > 1:
            result["protocols"][name] = protocol_scores(rows) | {"given": PROTOCOLS[name]}
    counts = found.counts[found.counts.any(1)]
    if len(counts) > 1:
        iou = bootstrap(lambda drawn: mask_scores(drawn).iou, counts, draws=DRAWS)
        result["mask"] = {name: round(value, 4) for name, value in asdict(mask_scores(counts)).items()}
        result["mask"] |= {"images": len(counts), "iou_interval": [round(iou.low, 4), round(iou.high, 4)]}
    by_name = {"skeleton": found.error_px, "j2d_first": found.first_px, "j2d_last": found.last_px}
    result["error_px"] = {name: round(float(values.mean()), 3) for name, values in by_name.items()}
    result["share_under_tau"] = round(float((found.error_px < TAU).mean()), 4)
    return result


def protocol_scores(rows: Float[ndarray, "n 21"]) -> dict[str, Any]:
    """End-point errors and areas of one protocol."""
    areas = {f"auc_{grid}": rounded(bootstrap(area_over(grid), rows, draws=DRAWS), 4) for grid in GRIDS}
    epe = rounded(bootstrap(mean_epe, rows, draws=DRAWS), 3)
    return {"images": len(rows), "epe_mm": epe, "median_epe_mm": round(median_epe(rows), 3)} | areas


def area_over(grid: str) -> Callable[[ndarray], float]:
    """The area under the PCK curve over some thresholds, as a function of errors."""
    return lambda rows: auc(rows, THRESHOLDS[grid])


def rounded(interval: Interval[float], places: int) -> dict[str, float]:
    """An interval for JSON."""
    return {name: round(float(value), places) for name, value in asdict(interval).items()}


def score_rows(scores: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A table of :func:`full_scores`: one row for each protocol, as text.

    Args:
        scores: From :func:`full_scores`.

    Returns:
        Protocol, error, median, and the areas over ``GRIDS``, each with its interval where it has one.
    """

    def cell(value: Mapping[str, float], places: int) -> str:
        return f"{value['value']:.{places}f} [{value['low']:.{places}f}, {value['high']:.{places}f}]"

    return [
        (
            name,
            cell(one["epe_mm"], 1),
            f"{one['median_epe_mm']:.1f}",
            *(cell(one[f"auc_{grid}"], 3) for grid in GRIDS),
        )
        for name, one in scores["protocols"].items()
    ]
