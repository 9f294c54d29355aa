"""From a photo to a hand's mesh by the trained network: where it is, what f_DHPE says, and the refinement of that.

Nothing here has a gradient. Left hands are mirrored on the way in and out, since the network knows right ones.
"""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from torch import Tensor

from dhpe_lib.detection import Detection, detect_hand, detect_in_box
from dhpe_lib.energy import EQ_13
from dhpe_lib.estimator import SIZE, Estimator
from dhpe_lib.hand_files import Side
from dhpe_lib.keypoints import HandKeypoints
from dhpe_lib.plotting import to_numpy
from dhpe_lib.prediction import HandEstimate, PredictionError, mask_in_crop, mirror_h
from dhpe_lib.refinement import RefineOptions, refine

Box = tuple[float, float, float, float]

PHOTO_REFINEMENT = RefineOptions(replace(EQ_13, mask=0.4, pose=1e-4, shape=2.5e-4, limits=0.1), evidence="fixed")
"""Eq. 13 with the priors of the fit to joints, in the same proportion; j2D stays, since f_Ref made it worse so far."""
FAINT = 1e-3
"""Confidence of a joint whose map is flat: f_Ref has a place for it all the same."""


def predict_hand(
    network: Estimator,
    photo: UInt8[ndarray, "height width 3"],
    box: Box | None = None,
    side: Side | None = None,
    mask: Bool[ndarray, "height width"] | None = None,
    options: RefineOptions = PHOTO_REFINEMENT,
) -> HandEstimate:
    """The mesh of one hand in a photo.

    Args:
        network: Trained, in evaluation mode, on the device to compute on.
        photo: Upright.
        box: Left, top, width and height of the hand, pixels; by default f_J2D looks for it.
        side: Which hand it is; by default the one that f_J2D's maps are higher for.
        mask: Foreground of the photo.
        options: Of the refinement.

    Returns:
        The estimate; its keypoints are j2D after refinement, with the heights of f_J2D's maps for confidence.

    Raises:
        PredictionError: No hand is found, or the network has no f_J2D.
    """
    device = network.hand.v_template.device
    image = torch.from_numpy(photo).to(device).movedim(2, 0)[None].float() / 255
    found = find_in(network, image, box, side)
    frame, left = found.frame, found.mirrored[0]
    crop = frame.crop_image(image, SIZE)
    crop = crop.flip(-1) if left else crop
    cover = None if mask is None else mask_in_crop(mask, frame, mirrored=left)
    refinement = refine(network, crop, network.predict(crop, render=False), options, mask=cover)
    refined = refinement.estimate
    h = mirror_h(refined.h) if left else refined.h
    model = network.hand.mirrored() if left else network.hand
    places = replace(found, joints_2d=refined.joints_2d).places[0]
    score = to_numpy(found.score[0]).clip(FAINT, 1).astype(float)
    source = f"the network ({network.config.backbone})"
    keypoints = HandKeypoints(to_numpy(places).astype(float), score, "left" if left else "right", source)
    energy = float(refinement.energy[-1])
    with torch.no_grad():
        mesh = model.forward_h(h)
    return HandEstimate(model, side is not None, keypoints, frame, h, mesh, energy, mask is not None)


def find_in(network: Estimator, image: Float[Tensor, "1 3 h w"], box: Box | None, side: Side | None) -> Detection:
    """The hand in the box, or in the whole photo."""
    if network.pose_machine is None:
        raise PredictionError("this network has no f_J2D (without-2d-losses); name another with --weights")
    try:
        if box is None:
            return detect_hand(network.pose_machine, image, side)
        left, top, width, height = box
        corners = image.new_tensor([[left, top, left + width, top + height]])
        return detect_in_box(network.pose_machine, image, corners, side)
    except ValueError as error:
        raise PredictionError(str(error)) from error
