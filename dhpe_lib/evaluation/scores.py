"""Scores of predictions: errors in protocols A, B and C, the mean hand beside them, mask scores, 2D errors.

Nothing here has a gradient.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from dhpe_lib.common.records import to_numpy
from dhpe_lib.evaluation.alignment import align_palm_and_bone, align_similarity, wrist_to_palm
from dhpe_lib.evaluation.evaluate import Predictions
from dhpe_lib.evaluation.mask_metrics import mask_scores
from dhpe_lib.evaluation.metrics import THRESHOLDS, Interval, auc, bootstrap, joint_errors, mean_epe, median_epe, pck
from dhpe_lib.hand.model import HandModel, neutral_h
from dhpe_lib.hand.skeleton import JOINT_NAMES, MIDDLE_MCP

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


def protocol_errors(found: Predictions) -> dict[str, Float[ndarray, "_ 21"]]:
    """Joint errors in mm for each protocol, for :mod:`dhpe_lib.evaluation.metrics`.

    Images that lack a joint that the protocol needs are left out. Protocol B counts visible joints only. There joint 0
    is the palm's centre; it is visible if the dataset says so, or for a dataset with wrists if the wrist or the middle
    MCP is visible.

    Args:
        found: From :func:`dhpe_lib.evaluation.evaluate.evaluate`.

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
