"""Run a trained network on a prepared split, and place its hands beside the ground truth.

Crops are not jittered. Left hands are mirrored in the cache and stay mirrored, which changes no error. Nothing here has
a gradient. The scores are in :mod:`dhpe_lib.evaluation.scores`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

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
from dhpe_lib.evaluation.alignment import from_crop_frame, place_at_root, wrist_to_palm
from dhpe_lib.evaluation.mask_metrics import mask_counts
from dhpe_lib.hand.skeleton import MIDDLE_MCP
from dhpe_lib.network.estimator import Estimate, Estimator
from dhpe_lib.network.upright import network_view


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
