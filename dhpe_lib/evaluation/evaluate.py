"""Evaluate a trained network on a prepared split: errors in protocols A, B and C, mask scores, 2D errors.

Crops are not jittered. Left hands are mirrored in the cache and stay mirrored, which changes no error. Nothing here has
a gradient.
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
from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.data.crops import Crops
from dhpe_lib.data.targets import joint_error_px
from dhpe_lib.data.views import View
from dhpe_lib.evaluation.alignment import (
    align_palm_and_bone,
    align_similarity,
    from_crop_frame,
    place_at_root,
    wrist_to_palm,
)
from dhpe_lib.evaluation.mask_metrics import mask_counts, mask_scores
from dhpe_lib.evaluation.metrics import THRESHOLDS, Interval, auc, bootstrap, joint_errors, mean_epe, median_epe, pck
from dhpe_lib.hand.model import HandModel, neutral_h
from dhpe_lib.hand.skeleton import JOINT_NAMES, MIDDLE_MCP
from dhpe_lib.network.estimator import Estimate, Estimator
from dhpe_lib.network.upright import network_view

GRIDS = ("20-50", "0-50", "0-100")
CURVE_GRID = "0-100"
"""Thresholds of a PCK curve in a result file; those of the other grids are among them."""
DRAWS = 200
"""Number of bootstrap draws of each confidence interval."""
TAU = 15.0
"""Threshold of Eq. 12, pixels of the crop."""
PROTOCOLS = {
    "A": "root depth, box and focal length given (the paper); the hand stays rigid",
    "A8": "the same given; Eq. 8 is undone point by point, as in the paper",
    "B": "joint 0 and a bone's length given, visible joints only (Zimmermann & Brox)",
    "C": "position, size and rotation given (Procrustes)",
}
BONE = [JOINT_NAMES.index(name) for name in ("wrist", "middle_1", "middle_2")]
FEWEST_JOINTS = 3
"""Smallest number of known joints for protocol C: with two points the similarity is not unique."""


@dataclass(frozen=True)
class Predictions:
    """Predictions of a network with their ground truth, one row for each crop.

    Attributes:
        joints_mm: Predicted joints (protocol A), camera frame, mm; joint 0 is the dataset's (wrist or palm).
        eq8_mm: The same joints in protocol A8.
        truth_mm: Ground-truth joints, camera frame, mm; NaN for an unknown joint.
        visible: Whether the dataset calls a joint visible.
        palm: Whether joint 0 is the palm's centre.
        counts: True positive, false positive and false negative pixels of the mask; 0 without a ground-truth mask.
        error_px: Mean 2D error of the projected skeleton (Eq. 12), pixels of the crop.
        first_px: Mean 2D error of j2D(0), which f_J2D finds, pixels of the crop.
        last_px: Mean 2D error of j2D after the last iteration, pixels of the crop.
        hand: Predicted pose and shape, radians and standard deviations.
        true_hand: True pose and shape; NaN if unknown, as for a photo.
    """

    joints_mm: Float[ndarray, "n 21 3"]
    eq8_mm: Float[ndarray, "n 21 3"]
    truth_mm: Float[ndarray, "n 21 3"]
    visible: Bool[ndarray, "n 21"]
    palm: Bool[ndarray, " n"]
    counts: Int[ndarray, "n 3"]
    error_px: Float[ndarray, " n"]
    first_px: Float[ndarray, " n"]
    last_px: Float[ndarray, " n"]
    hand: Float[ndarray, "n 55"]
    true_hand: Float[ndarray, "n 55"]


def predict_batch(network: Estimator, crops: Crops, device: torch.device) -> Predictions:
    """Run a network on crops in one batch.

    Args:
        network: f_DHPE, on the device.
        crops: Crops on any device, with any margin.
        device: Device of the network.

    Returns:
        Predictions with their ground truth.
    """
    view = network_view(network, crops.to(device))
    return compare_with_truth(network.predict(view.images), crops, view)


def compare_with_truth(estimate: Estimate, crops: Crops, view: View) -> Predictions:
    """Compare an estimate with the ground truth.

    Args:
        estimate: Estimate for the view, with a mask.
        crops: The crops, on any device.
        view: View of the crops that the network saw.

    Returns:
        One row for each crop.
    """
    assert estimate.mask is not None
    crops, frame = crops.to("cpu"), view.frame.to("cpu")
    counts = mask_counts(to_numpy(estimate.mask > 0.5), to_numpy(view.targets.mask > 0.5))
    return Predictions(
        joints_mm=millimetres(estimate.joints, crops, frame),
        eq8_mm=undo_eq8(estimate.joints, crops, frame),
        truth_mm=to_numpy(crops.joints_3d).astype(float),
        visible=to_numpy(crops.visible),
        palm=to_numpy(crops.palm),
        counts=counts * to_numpy(crops.has_mask)[:, None],
        error_px=to_numpy(joint_error_px(estimate.joints, view.targets)),
        first_px=to_numpy(pixels(estimate.steps[0].joints_2d, view)),
        last_px=to_numpy(pixels(estimate.joints_2d, view)),
        hand=to_numpy(estimate.h[:, :55]).astype(float),
        true_hand=to_numpy(crops.h[:, :55]).astype(float),
    )


def millimetres(
    joints: Float[Tensor, "b 21 3"],
    crops: Crops,
    frame: CropFrame | None = None,
    points: Float[Tensor, "b n 3"] | None = None,
) -> Float[ndarray, "b n 3"]:
    """Protocol A: place hands in the camera frame.

    Joint 0 and root are those of the dataset.

    Args:
        joints: Skeletons in the frame, units of g.
        crops: The crops; their camera, root depth and labels are used.
        frame: Frame of the skeletons; by default that of the crops.
        points: Other points of these hands, as vertices, to be placed instead of the joints.

    Returns:
        Skeletons or points in the camera frame, mm.
    """
    crops, frame, joints = crops.to("cpu"), (frame or crops.frame).to("cpu"), joints.cpu()
    root = roots(joints, crops.known)
    if points is not None:
        return place_at_root(points.cpu(), joints, root, frame, crops.k, crops.z_root)
    return with_palms(place_at_root(joints, joints, root, frame, crops.k, crops.z_root), to_numpy(crops.palm))


def undo_eq8(joints: Float[Tensor, "b 21 3"], crops: Crops, frame: CropFrame | None = None) -> Float[ndarray, "b 21 3"]:
    """Protocol A8: convert skeletons from the crop frame to the camera frame joint by joint.

    Joint 0 and root are those of the dataset.

    Args:
        joints: Skeletons in the frame, units of g.
        crops: The crops; their camera, root depth and labels are used.
        frame: Frame of the skeletons; by default that of the crops.

    Returns:
        Skeletons in the camera frame, mm.
    """
    crops, frame = crops.to("cpu"), (frame or crops.frame).to("cpu")
    skeletons = torch.from_numpy(with_palms(to_numpy(joints).astype(float), to_numpy(crops.palm)))
    depth = skeletons[..., 2] - other_depth(skeletons, crops.known)[:, None]
    skeletons = torch.cat((skeletons[..., :2], depth[..., None]), -1)
    return from_crop_frame(skeletons, frame, crops.k, crops.z_root)


def pixels(joints_2d: Float[Tensor, "b 21 2"], view: View) -> Float[Tensor, " b"]:
    """Mean distance of 2D joints (units of g) to the ground truth, pixels of the crop."""
    flat = torch.cat((joints_2d, torch.zeros_like(joints_2d[..., :1])), -1)
    return joint_error_px(flat, view.targets)


def with_palms(joints: Float[ndarray, "n 21 3"], palm: Bool[ndarray, " n"]) -> Float[ndarray, "n 21 3"]:
    """Move joint 0 from the wrist to the palm's centre for hands of datasets whose joint 0 is the palm."""
    return np.where(palm[:, None, None], wrist_to_palm(joints), joints)


def roots(joints: Float[Tensor, "n 21 3"], known: Bool[Tensor, "n 21"]) -> Float[Tensor, "n 3"]:
    """Points with the true root depth: the middle MCP, or if it is unknown, one at the known joints' mean depth."""
    middle = joints[:, MIDDLE_MCP]
    depth = torch.where(known[:, MIDDLE_MCP], middle[:, 2], other_depth(joints, known))
    return torch.cat((middle[:, :2], depth[:, None]), 1)


def other_depth(joints: Float[Tensor, "n 21 3"], known: Bool[Tensor, "n 21"]) -> Float[Tensor, " n"]:
    """Mean depth of the known joints if the middle MCP is unknown, else 0."""
    other = ~known[:, MIDDLE_MCP] & known.any(1)
    return torch.where(other, (joints[..., 2] * known).sum(1) / known.sum(1).clip(1), 0)


def evaluate(
    network: Estimator,
    cache: Prepared,
    device: torch.device,
    batch: int = 64,
    advance: Callable[[int], None] = lambda _: None,
) -> Predictions:
    """Run a network on a whole prepared split.

    Args:
        network: f_DHPE, on the device.
        cache: The prepared split.
        device: Device of the network.
        batch: Images in a batch.
        advance: Called with the number of images after each batch.

    Returns:
        Predictions, in the order of the cache.
    """
    parts = []
    for crops, view, estimate in estimates(network, cache, device, batch):
        parts.append(compare_with_truth(estimate, crops, view))
        advance(len(crops))
    return join_rows(parts)


def estimates(
    network: Estimator, cache: Prepared, device: torch.device, batch: int, count: int | None = None
) -> Iterator[tuple[Crops, View, Estimate]]:
    """Iterate over crops (on the CPU), views and estimates of a split, or of `count` images evenly spaced in it."""
    rows = cache.evenly_spaced(count)
    for start in range(0, len(rows), batch):
        crops = cache[rows[start : start + batch]]
        view = network_view(network, crops.to(device))
        yield crops, view, network.predict(view.images)


def protocol_errors(found: Predictions) -> dict[str, Float[ndarray, "_ 21"]]:
    """Joint errors in mm for each protocol, for :mod:`dhpe_lib.evaluation.metrics`.

    Images that lack a joint that the protocol needs are left out. Protocol B counts visible joints only. There joint 0
    is the palm's centre; it is visible if the dataset says so, or for a dataset with wrists if the wrist or the middle
    MCP is visible.

    Args:
        found: From :func:`evaluate`.

    Returns:
        Errors in mm for "A" and "A8", and for "B" and "C" if any image can be aligned; NaN for a joint that does not
        count.

    Source: ``eval_full.py`` and the reader of RHD in hand3d (Zimmermann and Brox 2017).
    """
    known = np.isfinite(found.truth_mm).all(-1)
    errors = {"A": joint_errors(found.joints_mm, found.truth_mm), "A8": joint_errors(found.eq8_mm, found.truth_mm)}
    if (bone := known[:, BONE].all(1)).any():
        joints, truth = (
            np.where(found.palm[bone, None, None], values[bone], wrist_to_palm(values[bone]))
            for values in (found.joints_mm, found.truth_mm)
        )
        visible = found.visible[bone].copy()
        visible[:, 0] |= ~found.palm[bone] & visible[:, MIDDLE_MCP]
        errors["B"] = joint_errors(align_palm_and_bone(joints, truth), truth, visible)
    if (enough := known.sum(1) >= FEWEST_JOINTS).any():
        joints, truth = found.joints_mm[enough], found.truth_mm[enough]
        errors["C"] = joint_errors(align_similarity(joints, truth), truth)
    return errors


def hand_scores(found: Predictions) -> dict[str, float]:
    """Say how natural the hands are: root mean square errors of pose and shape, and the size of the shape.

    Args:
        found: Predictions.

    Returns:
        "pose_off_rad" and "shape_off_sd" if true pose and shape are known, and "shape_sd", which is 1 for the
        distribution that the hand model was made from.
    """

    def rms(values: Float[ndarray, "..."]) -> float:
        return round(float(np.sqrt(np.square(values).mean())), 4)

    known = np.isfinite(found.true_hand).all(1)
    off = (found.hand - found.true_hand)[known]
    scores = {"pose_off_rad": rms(off[:, :45]), "shape_off_sd": rms(off[:, 45:])} if known.any() else {}
    return scores | {"shape_sd": rms(found.hand[:, 45:])}


def mean_hand_scores(truth_mm: Float[ndarray, "n 21 3"]) -> dict[str, Any] | None:
    """Scores of the trivial answer in protocol C: the mean hand, whatever the picture shows.

    Args:
        truth_mm: Ground-truth joints, mm; NaN for an unknown joint.

    Returns:
        The scores of :func:`protocol_scores`, or None if fewer than two images can be aligned.
    """
    enough = np.isfinite(truth_mm).all(-1).sum(1) >= FEWEST_JOINTS
    if enough.sum() < 2:
        return None
    truth = truth_mm[enough]
    return protocol_scores(joint_errors(align_similarity(mean_hands(len(truth)), truth), truth))


def mean_hands(count: int) -> Float[ndarray, "count 21 3"]:
    """Return the joints of the mean hand, metres, once for each of `count` images."""
    model = HandModel.open_hand()
    return np.repeat(to_numpy(model.forward_h(neutral_h(model)).joints).astype(float), count, 0)


def mean_hand_in_place(
    model: HandModel, joints: Float[Tensor, "n 21 3"], known: Bool[Tensor, "n 21"]
) -> Float[Tensor, "n v 3"]:
    """Move, turn and scale the mean hand to true joints (protocol C): the trivial answer as meshes, for its masks.

    Args:
        model: The hand model.
        joints: True joints, any unit, for instance `Targets.joints` in units of g.
        known: Whether a joint is known; the others are ignored.

    Returns:
        Vertices in the unit of the joints, on their device; no gradient.
    """
    with torch.no_grad():
        mean = model.forward_h(neutral_h(model))
    points = to_numpy(torch.cat((mean.joints[0], mean.vertices[0]))).astype(float)
    truth = np.full((len(joints), len(points), 3), np.nan)
    truth[:, :21] = np.where(to_numpy(known)[..., None], to_numpy(joints), np.nan)
    placed = align_similarity(np.repeat(points[None], len(joints), 0), truth)[:, 21:]
    return torch.from_numpy(placed).to(joints)


def quick_scores(found: Predictions, tau: float = TAU) -> dict[str, float]:
    """Scores of a test during training: the error and share of Fig. 5f, 2D errors, and mask IoU.

    Args:
        found: Predictions on a test set.
        tau: Threshold of Eq. 12, pixels of the crop.

    Returns:
        Scores by name; the name ends with the unit (mm or px), shares are in [0, 1].
    """
    errors = protocol_errors(found)
    scores = {f"epe_{name.lower()}_mm": mean_epe(rows) for name, rows in errors.items() if np.isfinite(rows).any()}
    scores |= {"error_px": float(found.error_px.mean()), "share_under_tau": float((found.error_px < tau).mean())}
    scores |= {"j2d_first_px": float(found.first_px.mean()), "j2d_last_px": float(found.last_px.mean())}
    if found.counts.any():
        scores["mask_iou"] = mask_scores(found.counts).iou
    return scores


def full_scores(found: Predictions) -> dict[str, Any]:
    """All scores of a split, with 95 % intervals over its images.

    Args:
        found: Predictions for at least two images.

    Returns:
        A dict for JSON with "images", "protocols" (errors and AUC), "mean_hand" (protocol C of the mean hand), "hand",
        "mask", "error_px" and "share_under_tau".
    """
    result: dict[str, Any] = {"images": len(found.palm), "protocols": {}}
    for name, rows in protocol_errors(found).items():
        if np.isfinite(rows).any(1).sum() > 1:
            result["protocols"][name] = protocol_scores(rows) | {"given": PROTOCOLS[name]}
    if (mean_hand := mean_hand_scores(found.truth_mm)) is not None:
        result["mean_hand"] = mean_hand
    result["hand"] = hand_scores(found)
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
    """End-point errors (mm), AUC and PCK curve of one protocol; the curve has a value for each 0.5 mm up to 100 mm."""
    areas = {f"auc_{grid}": rounded(bootstrap(area_over(grid), rows, draws=DRAWS), 4) for grid in GRIDS}
    epe = rounded(bootstrap(mean_epe, rows, draws=DRAWS), 3)
    curve = bootstrap(lambda drawn: pck(drawn, THRESHOLDS[CURVE_GRID]), rows, draws=DRAWS)
    values = {name: np.round(part, 4).tolist() for name, part in asdict(curve).items()}
    scores = {"images": len(rows), "epe_mm": epe, "median_epe_mm": round(median_epe(rows), 3)} | areas
    return scores | {"pck": {"grid": CURVE_GRID} | values}


def area_over(grid: str) -> Callable[[ndarray], float]:
    """Return a function that computes the AUC over a grid of thresholds from errors in mm."""
    return lambda rows: auc(rows, THRESHOLDS[grid])


def rounded(interval: Interval[float], places: int) -> dict[str, float]:
    """Convert an interval to rounded numbers for JSON."""
    return {name: round(float(value), places) for name, value in asdict(interval).items()}


def score_rows(scores: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Format scores as a table with one row for each protocol.

    Args:
        scores: From :func:`full_scores`.

    Returns:
        Protocol, mean error, median error, and the AUC over each of ``GRIDS``. Mean error and AUC have their interval.
        The last row is the mean hand's, in protocol C.
    """

    def cell(value: Mapping[str, float], places: int) -> str:
        return f"{value['value']:.{places}f} [{value['low']:.{places}f}, {value['high']:.{places}f}]"

    rows = dict(scores["protocols"])
    if "mean_hand" in scores:
        rows["mean hand, C"] = scores["mean_hand"]
    return [
        (
            name,
            cell(values["epe_mm"], 1),
            f"{values['median_epe_mm']:.1f}",
            *(cell(values[f"auc_{grid}"], 3) for grid in GRIDS),
        )
        for name, values in rows.items()
    ]
