"""What is known of each crop, in the frame in which the estimator works: the right-hand sides of Eqs. 2 to 9.

What is unknown is 0 here and switched off by a flag, so that no NaN meets a gradient. Nothing here has a gradient.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dhpe_lib.data.crop_frame import SIZE
from dhpe_lib.data.crops import Crops


@dataclass(frozen=True)
class Targets:
    """The truth of a batch of crops.

    Attributes:
        joints: jhat of Eq. 8, crop frame, units of g; 0 where unknown.
        known: Which joints have a place in space.
        joints_2d: j2DGT, crop frame, units of g; 0 where unknown.
        known_2d: Which joints have a place in the picture.
        mask: m, 1 on the hand.
        has_mask: Whether that is known.
    """

    joints: Float[Tensor, "b 21 3"]
    known: Bool[Tensor, "b 21"]
    joints_2d: Float[Tensor, "b 21 2"]
    known_2d: Bool[Tensor, "b 21"]
    mask: Float[Tensor, "b s s"]
    has_mask: Bool[Tensor, " b"]


def targets_of(crops: Crops, visible_only: bool = False) -> Targets:
    """Bring the labels of the prepared cache into the crop frame.

    x and y are the joints' projection, z = (Z - z_root) / (z_root g / c_f). Where the middle MCP is unknown, z_root is
    the mean of the known joints (:attr:`Crops.z_root`), which is as good as the data allow.

    Args:
        crops: From the cache; a margin is left off.
        visible_only: Whether joints that the dataset calls hidden drop out of `known_2d`.

    Returns:
        The targets of the 224 x 224 view.

    Source: Eq. 8.
    """
    crops = crops.without_margin()
    known, known_2d = crops.known, crops.joints_2d.isfinite().all(-1)
    joints_mm = torch.where(known[..., None], crops.joints_3d, 1)
    joints = crops.frame.normalise(joints_mm, crops.k, crops.z_root)
    return Targets(
        joints=torch.where(known[..., None], joints, 0),
        known=known,
        joints_2d=torch.where(known_2d[..., None], crops.joints_2d, 0),
        known_2d=known_2d & crops.visible if visible_only else known_2d,
        mask=crops.masks.to(joints.dtype),
        has_mask=crops.has_mask,
    )


def masked_images(images: Float[Tensor, "b 3 s s"], targets: Targets) -> Float[Tensor, "b 3 s s"]:
    """Draw x (.) m: black outside the hand; where the mask is unknown, x itself, so that L_Feat is 0 there.

    Args:
        images: Crops x.
        targets: Their masks.

    Returns:
        Images of the same layout in memory.

    Source: Eq. 2.
    """
    keep = torch.where(targets.has_mask[:, None, None], targets.mask, 1)
    return images * keep[:, None].to(images.dtype)


@torch.no_grad()
def joint_error_px(joints: Float[Tensor, "b 21 3"], targets: Targets, squared_sum: bool = False) -> Float[Tensor, " b"]:
    """How far the skeleton lies from the truth in the picture, without gradient: the error of Fig. 5f.

    Args:
        joints: Estimated skeleton, crop frame.
        targets: Unknown joints do not count.
        squared_sum: Whether to sum squares, not to average distances.

    Returns:
        Pixels of the 224 (squared: pixels squared); 0 without a known joint.

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
    """Mean distance of the projected skeleton to 2D joints, without gradient: what Eq. 12 and Eq. 13 compare with tau.

    Args:
        joints: Skeletons, crop frame.
        joints_2d: Where the joints should be, crop frame.
        weight: Weight of each joint; 0 where it is unknown.

    Returns:
        Pixels of the 224; 0 where all weights are 0.

    Source: Eq. 12; the mean distance is the reading of PAPER.md Sec. 9.3.
    """
    return weighted_mean((SIZE * (joints[..., :2] - joints_2d)).square().sum(-1).sqrt(), weight)


def weighted_mean(values: Float[Tensor, "b n"], weight: Float[Tensor, "b n"]) -> Float[Tensor, " b"]:
    """Mean of each row, weighted; 0 where all weights are 0. A value of weight 0 does not count, not even NaN."""
    return torch.where(weight > 0, weight * values, 0).sum(1) / weight.sum(1).clamp_min(1e-9)
