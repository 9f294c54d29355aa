"""From a labelled picture of a dataset to the crop that the network sees (PAPER.md Sec. 9.2)."""

import numpy as np
import torch
from torch import Tensor

from dhpe_lib.data.crop_frame import SIZE, CropFrame
from dhpe_lib.data.crops import MARGIN, Crops, pack_masks
from dhpe_lib.data.sample import Sample
from dhpe_lib.hand.skeleton import JOINT_NAMES, MIDDLE_MCP

BOX_MARGIN = 1.5
"""Side g over the larger side of the hand's box."""
FINGERTIPS_MM = 160.0
"""Least size of the box where nothing but fingertips is labelled."""
TIPS = np.array([name.endswith("_tip") for name in JOINT_NAMES])


class NoCropError(ValueError):
    """Too little is known of a hand to crop it; the message says what is missing."""


def hand_frame(sample: Sample) -> CropFrame:
    """The crop of one hand: g = 1.5 times its box' larger side, centred on the middle MCP.

    All known 2D joints count, seen or hidden. Where the middle MCP is unknown, the centre of the box stands in. Where
    nothing but fingertips is labelled (Dexter+Object), they may nearly touch, and a box around them would cut the hand
    off: there the box has at least the size of 160 mm at the fingertips' mean depth.

    Args:
        sample: Any sample.

    Returns:
        The frame in float64.

    Raises:
        NoCropError: Fewer than two 2D joints are known, or all of them lie in one place.

    Source: PAPER.md Sec. 4, after Eq. 8; the rule for fingertips is ours.
    """
    joints = torch.from_numpy(sample.joints_2d).double()[None]
    valid = joints.isfinite().all(-1)
    if valid.sum() < 2:
        raise NoCropError(f"{int(valid.sum())} of its 21 joints have a place in the picture; two are needed")
    try:
        frame = CropFrame.from_joints(joints, valid, BOX_MARGIN)
    except ValueError as error:
        raise NoCropError("all of its joints lie in one place of the picture") from error
    if valid[0, ~TIPS].any() or not sample.known.any():
        return frame
    focal, depth = (sample.k[0, 0] + sample.k[1, 1]) / 2, sample.joints_3d[sample.known, 2].mean()
    least = BOX_MARGIN * FINGERTIPS_MM * focal / depth
    return CropFrame(frame.center, frame.side.clamp_min(least), frame.angle)


def crop_sample(sample: Sample, margin: int = MARGIN) -> Crops:
    """Cut a hand out of its picture, with everything that is known of it.

    Args:
        sample: Any sample.
        margin: Pixels around the 224 x 224 view.

    Returns:
        A batch of one.

    Raises:
        NoCropError: As :func:`hand_frame`.
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
    """Image in 8 bits and mask of one crop, 224 pixels to g; black and empty where there is no photo."""
    height, width = sample.image.shape[:2]
    mask = np.zeros((height, width), bool) if sample.mask is None else sample.mask
    layers = np.concatenate((sample.image, 255 * mask[..., None].astype(np.uint8)), axis=2)
    wide = CropFrame(frame.center.float(), frame.side.float() * (size / SIZE), frame.angle.float())
    crop = wide.crop_image(torch.from_numpy(layers).movedim(2, 0)[None].float(), size)[0].movedim(0, 2)[None]
    return crop[..., :3].round().to(torch.uint8), crop[..., 3] >= 127.5


def root_depth(sample: Sample) -> float:
    """Depth of the middle MCP; where it is unknown, the mean of the known joints; NaN if none is known."""
    if sample.known[MIDDLE_MCP]:
        return float(sample.root[2])
    return float(sample.joints_3d[sample.known, 2].mean()) if sample.known.any() else float("nan")
