"""Fit the hand model to the keypoints of hands in photos.

The fit uses right hands, so a left hand is mirrored before and after it. Nothing here has a gradient.

The handedness must be known from elsewhere. The reflection of a right hand in depth is a left hand. An orthographic
camera gives both hands equal 2D joints and equal silhouettes, and both have equal priors. So for every right hand that
fits, there is a left hand that fits equally well.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from numpy import ndarray

from dhpe_lib.common.records import join_rows
from dhpe_lib.hand.io import Side
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.parameters import mirror_h
from dhpe_lib.prediction.hand_estimate import HandEstimate, PredictionError, crop_around, mask_in_crop
from dhpe_lib.prediction.keypoints import HandKeypoints
from dhpe_lib.refinement.energy import Observations
from dhpe_lib.refinement.fitting import FitOptions, fit_hands

DEFAULTS = FitOptions()
FEWEST_JOINTS = 4
ASSUMED_SIDE: Side = "right"


def estimate_hand(
    model: HandModel,
    keypoints: HandKeypoints,
    side: Side | None = None,
    mask: Bool[ndarray, "height width"] | None = None,
    options: FitOptions = DEFAULTS,
) -> HandEstimate:
    """Fit the hand model to the keypoints of one hand, and to a mask if there is one.

    Args:
        model: Model of a right hand, on the device to compute on.
        keypoints: Joints in the photo, pixels.
        side: Handedness; by default that of the keypoints, else a right hand is assumed.
        mask: Foreground of the photo.
        options: Options of the fit.

    Returns:
        The estimate, on the model's device.

    Raises:
        PredictionError: Fewer than 4 joints are known, or they all lie in one place.
    """
    return estimate_hands(model, [keypoints], side, mask, options)[0]


def estimate_hands(
    model: HandModel,
    keypoints: Sequence[HandKeypoints],
    side: Side | None = None,
    mask: Bool[ndarray, "height width"] | None = None,
    options: FitOptions = DEFAULTS,
) -> list[HandEstimate]:
    """Fit the hand model to the keypoints of several hands in one batch.

    Args:
        model: Model of a right hand, on the device to compute on.
        keypoints: Joints of each hand, pixels of its photo.
        side: Handedness of all hands; by default that of the keypoints, else a right hand is assumed.
        mask: Foreground of the photo; only for a single hand.
        options: Options of the fit.

    Returns:
        One estimate for each hand, in their order, on the model's device.

    Raises:
        PredictionError: A hand has fewer than 4 known joints, or they all lie in one place.
        ValueError: A mask was given for more than one hand.
    """
    if not keypoints:
        return []
    if mask is not None and len(keypoints) > 1:
        raise ValueError(f"a mask does not say which of {len(keypoints)} hands a pixel shows; leave it out")
    for hand in keypoints:
        require_joints(hand)
    like = model.v_template
    known_sides = [side or hand.side for hand in keypoints]
    left = [(known or ASSUMED_SIDE) == "left" for known in known_sides]
    frames = [crop_around(hand, like) for hand in keypoints]
    joints_px = torch.stack([torch.from_numpy(hand.joints) for hand in keypoints]).to(like)
    flip = like.new_tensor([[-1.0 if mirrored else 1.0, 1.0] for mirrored in left])
    joints_2d = join_rows(frames).to_crop(joints_px) * flip[:, None]
    confidence = torch.stack([torch.from_numpy(hand.confidence) for hand in keypoints]).to(like)
    cover = None if mask is None else mask_in_crop(mask, frames[0], mirrored=left[0])
    fit = fit_hands(model, Observations(joints_2d, confidence, cover), options)
    models = {False: model, True: model.mirrored() if any(left) else model}
    estimates = []
    for k, hand in enumerate(keypoints):
        h, energy = fit.h[k : k + 1], float(fit.energy[k])
        h, sided = mirror_h(h) if left[k] else h, models[left[k]]
        with torch.no_grad():
            mesh = sided.forward_h(h)
        side_known = known_sides[k] is not None
        estimates.append(HandEstimate(sided, side_known, hand, frames[k], h, mesh, energy, mask is not None))
    return estimates


def require_joints(hand: HandKeypoints) -> None:
    """Raise a PredictionError for a hand with fewer than 4 known joints."""
    count = int(hand.known.sum())
    if count < FEWEST_JOINTS:
        raise PredictionError(f"only {count} of the 21 joints are known; a fit needs {FEWEST_JOINTS} or more")
