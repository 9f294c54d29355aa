"""Cutting the network's crop out of a labelled picture of a dataset (PAPER.md Sec. 9.2)."""

import numpy as np
import torch
from torch import Tensor

from dhpe_lib.data.crop_frame import SIZE, CropFrame
from dhpe_lib.data.crops import MARGIN, Crops, pack_masks
from dhpe_lib.data.sample import Sample
from dhpe_lib.hand.skeleton import JOINT_NAMES, MIDDLE_MCP

BOX_MARGIN = 1.5
"""Side g of the crop divided by the larger side of the hand's box."""
FINGERTIPS_MM = 160.0
"""Smallest size of the box if only fingertips are labelled, millimetres."""
TIPS = np.array([name.endswith("_tip") for name in JOINT_NAMES])


class NoCropError(ValueError):
    """A hand has too few labels to be cropped; the message names what is missing."""


def hand_frame(sample: Sample) -> CropFrame:
    """Return the crop of a hand: g = 1.5 times the larger side of its box, centred on the middle MCP.

    All labelled 2D joints are used, visible or hidden. If the middle MCP is not labelled, the centre of the box is used
    instead. If only fingertips are labelled (Dexter+Object), they may nearly touch, and a box around them would cut the
    hand off. In this case the box has at least the size of 160 mm at the fingertips' mean depth.

    Args:
        sample: Any sample.

    Returns:
        The frame in float64.

    Raises:
        NoCropError: Fewer than two 2D joints are labelled, or all of them coincide.

    Source: PAPER.md Sec. 4, after Eq. 8; the rule for fingertips is ours.
    """
    joints = torch.from_numpy(sample.joints_2d).double()[None]
    valid = joints.isfinite().all(-1)
    if valid.sum() < 2:
        raise NoCropError(f"{int(valid.sum())} of its 21 joints have a 2D position; two are needed")
    try:
        frame = CropFrame.from_joints(joints, valid, BOX_MARGIN)
    except ValueError as error:
        raise NoCropError(
            "all of its joints lie in one place in the picture; two distinct joints are needed"
        ) from error
    if valid[0, ~TIPS].any() or not sample.known.any():
        return frame
    focal, depth = (sample.k[0, 0] + sample.k[1, 1]) / 2, sample.joints_3d[sample.known, 2].mean()
    least = BOX_MARGIN * FINGERTIPS_MM * focal / depth
    return CropFrame(frame.center, frame.side.clamp_min(least), frame.angle)


def crop_sample(sample: Sample, margin: int = MARGIN) -> Crops:
    """Cut the crop of a hand out of its picture and convert its labels.

    Args:
        sample: Any sample.
        margin: Margin around the 224 x 224 view, pixels.

    Returns:
        A batch with one hand.

    Raises:
        NoCropError: See :func:`hand_frame`.
    """
    frame = hand_frame(sample)
    image, mask = crop_pixels(sample, frame, SIZE + 2 * margin)
    return Crops(
        images=image,
        mask_bits=pack_masks(mask),
        has_mask=torch.tensor([sample.mask is not None]),
        joints_2d=frame.to_crop(torch.from_numpy(sample.joints_2d).double()[None]).float(),
        joints_3d=torch.from_numpy(sample.joints_3d).float()[None],
        visible=torch.from_numpy(sample.visible)[None],
        k=torch.from_numpy(sample.k).float()[None],
        center=frame.center.float(),
        side=frame.side.float(),
        z_root=torch.tensor([root_depth(sample)]),
        left=torch.tensor([sample.side == "left"]),
        palm=torch.tensor([sample.joint_0 == "palm"]),
        h=torch.full((1, 63), torch.nan),
    )


def crop_pixels(sample: Sample, frame: CropFrame, size: int) -> tuple[Tensor, Tensor]:
    """Return the 8-bit image and the mask of a crop; g spans 224 pixels.

    Outside the photo the image is black and the mask False.
    """
    height, width = sample.image.shape[:2]
    mask = np.zeros((height, width), bool) if sample.mask is None else sample.mask
    layers = np.concatenate((sample.image, 255 * mask[..., None].astype(np.uint8)), axis=2)
    wide = CropFrame(frame.center.float(), frame.side.float() * (size / SIZE), frame.angle.float())
    crop = wide.crop_image(torch.from_numpy(layers).movedim(2, 0)[None].float(), size)[0].movedim(0, 2)[None]
    return crop[..., :3].round().to(torch.uint8), crop[..., 3] >= 127.5


def root_depth(sample: Sample) -> float:
    """Return the depth of the middle MCP, millimetres.

    If it is unknown, return the mean depth of the known joints; NaN if no joint is known.
    """
    if sample.known[MIDDLE_MCP]:
        return float(sample.root[2])
    return float(sample.joints_3d[sample.known, 2].mean()) if sample.known.any() else float("nan")
