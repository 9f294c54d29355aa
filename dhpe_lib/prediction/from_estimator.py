"""Joints of found hands by this project's own estimator, instead of the hand landmark network.

The public networks say where a hand is and which hand it is (:mod:`dhpe_lib.prediction.find_hands`). The estimator sees
the paper's crop around these joints, turned upright if it was trained so. Its j2D and the skeleton of its mesh replace
the joints in the picture and in space, and the same fit follows. The estimator was trained on right hands, so a left
hand is mirrored before and after. Nothing here has a gradient.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from dhpe_lib.common.records import take_rows
from dhpe_lib.data.crop_frame import SIZE, CropFrame
from dhpe_lib.data.perspective import metric_points
from dhpe_lib.data.views import upright_angle
from dhpe_lib.hand.parameters import positive_scale, split_h
from dhpe_lib.network.estimator import Estimator
from dhpe_lib.network.upright import turns_upright
from dhpe_lib.prediction.find_hands import FoundHand
from dhpe_lib.prediction.hand_estimate import PredictionError

LEAST_CONFIDENCE = 1e-3
"""Confidence of a joint with a flat map. It is positive, because f_Ref estimates a position for each joint."""


def look_with_estimator(
    network: Estimator, photo: UInt8[ndarray, "height width 3"], hands: Sequence[FoundHand]
) -> list[FoundHand]:
    """Replace the joints of found hands by those of the estimator.

    Args:
        network: Trained estimator, in evaluation mode, on the device to compute on.
        photo: Upright RGB photo.
        hands: The found hands.

    Returns:
        The hands with the joints of the estimator; their confidence is the maximum of each heat map.

    Raises:
        PredictionError: The network has no f_J2D.
    """
    if network.pose_machine is None:
        raise PredictionError("this network has no f_J2D (trained without-2d-losses); give another with --weights")
    if not hands:
        return []
    like = network.hand.v_template
    image = torch.from_numpy(photo).to(like.device).movedim(2, 0)[None].to(like) / 255
    joints_px = torch.stack([hand.joints_px for hand in hands]).to(like)
    left = torch.tensor([hand.side == "left" for hand in hands], device=like.device)
    flip = torch.where(left, -1.0, 1.0)[:, None, None]
    frame = crop_frames(joints_px, turns_upright(network))
    rows = torch.arange(len(hands), device=like.device).split(1)
    crops = torch.cat([take_rows(frame, row).crop_image(image, SIZE) for row in rows])
    crops = torch.where(left[:, None, None, None], crops.flip(-1), crops)
    estimate = network.predict(crops, render=False)
    mirror = torch.cat((flip, torch.ones_like(flip), torch.ones_like(flip)), -1)
    seen_px = frame.to_image(mirror[..., :2] * estimate.joints_2d)
    joints, scale = mirror * estimate.joints, positive_scale(split_h(estimate.h).scale[:, 0])
    world = metric_points(frame, joints, joints.mean(1), scale)
    confidence = estimate.evidence.score.clamp(LEAST_CONFIDENCE, 1)
    source = f"the network ({network.config.backbone})"
    return [
        replace(hand, joints_px=seen_px[k], joints_world=world[k], confidence=confidence[k], source=source)
        for k, hand in enumerate(hands)
    ]


def crop_frames(joints_px: Float[Tensor, "n 21 2"], upright: bool) -> CropFrame:
    """Return the paper's crop around the joints of each hand, pixels, turned upright if wanted."""
    frame = CropFrame.from_joints(joints_px, torch.ones_like(joints_px[..., 0], dtype=torch.bool))
    return replace(frame, angle=upright_angle(joints_px)) if upright else frame
