"""From the keypoints of a hand in a photo to its mesh: crop, fit, and what the fit means in pixels and millimetres.

Right hands are fitted; a left hand is mirrored on the way in and out. Nothing here has a gradient.

Which hand it is must be known from elsewhere. Seen by an orthographic camera, a right hand and its reflection in depth,
which is a left hand, have the same joints and the same outline, and the priors do not tell them apart either: every
right hand that fits has a left hand that fits as well.
"""

import torch
from jaxtyping import Bool
from numpy import ndarray

from dhpe_lib.hand.io import Side
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.parameters import mirror_h
from dhpe_lib.prediction.hand_estimate import HandEstimate, PredictionError, crop_around, mask_in_crop
from dhpe_lib.prediction.keypoints import HandKeypoints
from dhpe_lib.refinement.energy import Evidence
from dhpe_lib.refinement.fitting import FitOptions, fit_hands

DEFAULTS = FitOptions()
FEWEST_JOINTS = 4
ASSUMED: Side = "right"


def estimate_hand(
    model: HandModel,
    keypoints: HandKeypoints,
    side: Side | None = None,
    mask: Bool[ndarray, "height width"] | None = None,
    options: FitOptions = DEFAULTS,
) -> HandEstimate:
    """Fit the model to one hand's keypoints and mask.

    Args:
        model: The model of a right hand, on the device to compute on.
        keypoints: Joints in the photo.
        side: Which hand it is; by default what the keypoints say, else a right one.
        mask: Foreground of the photo.
        options: Of the fit.

    Returns:
        The estimate, on the model's device.

    Raises:
        PredictionError: Fewer than 4 joints are known, or they all lie in one place.
    """
    known = int(keypoints.known.sum())
    if known < FEWEST_JOINTS:
        raise PredictionError(f"only {known} of the 21 joints are known; a fit needs {FEWEST_JOINTS} or more")
    chosen = side or keypoints.side
    left = (chosen or ASSUMED) == "left"
    frame = crop_around(keypoints, model.v_template)
    joints = torch.from_numpy(keypoints.joints)[None].to(model.v_template)
    places = frame.to_crop(joints) * joints.new_tensor([-1 if left else 1, 1])
    cover = None if mask is None else mask_in_crop(mask, frame, mirrored=left)
    fit = fit_hands(model, Evidence(places, torch.from_numpy(keypoints.confidence)[None].to(joints), cover), options)
    h = mirror_h(fit.h) if left else fit.h
    own = model.mirrored() if left else model
    with torch.no_grad():
        return HandEstimate(
            own, chosen is not None, keypoints, frame, h, own.forward_h(h), float(fit.energy), mask is not None
        )
