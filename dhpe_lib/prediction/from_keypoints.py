"""Fit the hand model to the keypoints of a hand in a photo.

The fit uses a right hand, so a left hand is mirrored before and after it. Nothing here has a gradient.

The handedness must be known from elsewhere. The reflection of a right hand in depth is a left hand. An orthographic
camera gives both hands equal 2D joints and equal silhouettes, and both have equal priors. So for every right hand that
fits, there is a left hand that fits equally well.
"""

import torch
from jaxtyping import Bool
from numpy import ndarray

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
    count = int(keypoints.known.sum())
    if count < FEWEST_JOINTS:
        raise PredictionError(f"only {count} of the 21 joints are known; a fit needs {FEWEST_JOINTS} or more")
    known_side = side or keypoints.side
    left = (known_side or ASSUMED_SIDE) == "left"
    frame = crop_around(keypoints, model.v_template)
    joints = torch.from_numpy(keypoints.joints)[None].to(model.v_template)
    joints_2d = frame.to_crop(joints) * joints.new_tensor([-1 if left else 1, 1])
    confidence = torch.from_numpy(keypoints.confidence)[None].to(joints)
    cover = None if mask is None else mask_in_crop(mask, frame, mirrored=left)
    fit = fit_hands(model, Observations(joints_2d, confidence, cover), options)
    h = mirror_h(fit.h) if left else fit.h
    sided_model = model.mirrored() if left else model
    with torch.no_grad():
        mesh = sided_model.forward_h(h)
    return HandEstimate(
        sided_model, known_side is not None, keypoints, frame, h, mesh, float(fit.energy), mask is not None
    )
