"""Labels of crops in the estimator's frame: the targets of Eqs. 2 to 9.

Unknown labels are 0 and switched off by a flag, so that no NaN enters a gradient. Nothing here has a gradient.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dhpe_lib.data.crop_frame import SIZE
from dhpe_lib.data.crops import Crops


@dataclass(frozen=True)
class Targets:
    """Ground truth of a batch of crops.

    Attributes:
        joints: jhat of Eq. 8, crop frame, units of g; 0 if unknown.
        known: Whether the 3D position of a joint is known.
        joints_2d: j2DGT, crop frame, units of g; 0 if unknown.
        known_2d: Whether the 2D position of a joint is known.
        mask: m, 1 on the hand.
        has_mask: Whether the mask is known.
        pose_shape: Pose and shape of h, radians and standard deviations; 0 if unknown.
        has_h: Whether pose and shape are known, as those of a rendered hand are.
    """

    joints: Float[Tensor, "b 21 3"]
    known: Bool[Tensor, "b 21"]
    joints_2d: Float[Tensor, "b 21 2"]
    known_2d: Bool[Tensor, "b 21"]
    mask: Float[Tensor, "b s s"]
    has_mask: Bool[Tensor, " b"]
    pose_shape: Float[Tensor, "b 55"]
    has_h: Bool[Tensor, " b"]


def targets_of(crops: Crops, visible_only: bool = False) -> Targets:
    """Convert the labels of crops to the crop frame.

    x and y are the joints' projection, z = (Z - z_root) / (z_root g / c_f). If the middle MCP is unknown, z_root is the
    mean depth of the known joints (:attr:`Crops.z_root`), since the data have no better value.

    Args:
        crops: Crops with any margin, which is removed.
        visible_only: Whether joints that the dataset labels as hidden count as unknown in `known_2d`.

    Returns:
        The targets of the 224 x 224 view.

    Source: Eq. 8.
    """
    crops = crops.without_margin()
    known, known_2d = crops.known, crops.joints_2d.isfinite().all(-1)
    joints_mm = torch.where(known[..., None], crops.joints_3d, 1)
    joints = crops.frame.normalise(joints_mm, crops.k, crops.z_root)
    pose_shape, has_h = crops.h[:, :55], crops.h.isfinite().all(1)
    return Targets(
        joints=torch.where(known[..., None], joints, 0),
        known=known,
        joints_2d=torch.where(known_2d[..., None], crops.joints_2d, 0),
        known_2d=known_2d & crops.visible if visible_only else known_2d,
        mask=crops.masks.to(joints.dtype),
        has_mask=crops.has_mask,
        pose_shape=torch.where(has_h[:, None], pose_shape, 0),
        has_h=has_h,
    )


def masked_images(images: Float[Tensor, "b 3 s s"], targets: Targets) -> Float[Tensor, "b 3 s s"]:
    """Compute x (.) m, which is black outside the hand. If the mask is unknown, return x, so that L_Feat is 0.

    Args:
        images: Crops x, RGB in [0, 1].
        targets: Targets with the masks m.

    Returns:
        Images with the memory format of x.

    Source: Eq. 2.
    """
    keep = torch.where(targets.has_mask[:, None, None], targets.mask, 1)
    return images * keep[:, None].to(images.dtype)


@torch.no_grad()
def joint_error_px(joints: Float[Tensor, "b 21 3"], targets: Targets, squared_sum: bool = False) -> Float[Tensor, " b"]:
    """Compute the 2D distance of a skeleton to the ground truth, without gradient: the error of Fig. 5f.

    Args:
        joints: Estimated skeleton, crop frame, units of g.
        targets: Ground truth; unknown joints are ignored.
        squared_sum: Return the sum of squared distances, not the mean distance.

    Returns:
        Pixels of the 224-pixel crop, squared if `squared_sum`; 0 if no joint is known.

    Source: Eq. 12.
    """
    if squared_sum:
        squares = (SIZE * (joints[..., :2] - targets.joints_2d)).square().sum(-1)
        return torch.where(targets.known_2d, squares, 0).sum(1)
    return mean_distance_px(joints, targets.joints_2d, targets.known_2d.to(joints.dtype))


@torch.no_grad()
def mean_distance_px(
    joints: Float[Tensor, "b 21 3"], joints_2d: Float[Tensor, "b 21 2"], weight: Float[Tensor, "b 21"]
) -> Float[Tensor, " b"]:
    """Mean distance of the projected skeleton to 2D joints, without gradient. Eqs. 12 and 13 compare it with tau.

    Args:
        joints: Skeletons, crop frame, units of g.
        joints_2d: Target positions of the joints, crop frame, units of g.
        weight: Weight of each joint; 0 if the joint is unknown.

    Returns:
        Pixels of the 224-pixel crop; 0 if all weights are 0.

    Source: Eq. 12; the mean distance is the reading of PAPER.md Sec. 9.3.
    """
    return weighted_mean((SIZE * (joints[..., :2] - joints_2d)).square().sum(-1).sqrt(), weight)


def weighted_mean(values: Float[Tensor, "b n"], weight: Float[Tensor, "b n"]) -> Float[Tensor, " b"]:
    """Weighted mean of each row; 0 if all weights are 0. A value with weight 0 is ignored, even if it is NaN."""
    return torch.where(weight > 0, weight * values, 0).sum(1) / weight.sum(1).clamp_min(1e-9)
