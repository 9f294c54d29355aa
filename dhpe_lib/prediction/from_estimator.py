"""Estimate the mesh of one hand in a photo with this project's own estimator.

The hand lies in a given box or around given joints; else f_J2D searches the photo. Given joints are used only for the
position and the handedness, because the mesh is fitted to the joints of the network. The network's j2D is the evidence
of the fit, and its h is one of the starts (:mod:`dhpe_lib.refinement.fitting`). Eq. 13 has no priors, and the fit with
priors was closer to the labels of photos (LOG.md). The network was trained on right hands, so a left hand is mirrored
before and after the estimate. Nothing here has a gradient.
"""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from torch import Tensor

from dhpe_lib.common.records import to_numpy
from dhpe_lib.data.crop_frame import SIZE, CropFrame
from dhpe_lib.hand.io import Side
from dhpe_lib.hand.parameters import mirror_h
from dhpe_lib.network.estimator import Estimator
from dhpe_lib.network.evidence import Evidence2D
from dhpe_lib.prediction.detection import Detection, detect_hand, detect_in_crop
from dhpe_lib.prediction.from_photo import Box
from dhpe_lib.prediction.hand_estimate import HandEstimate, PredictionError, crop_around, mask_in_crop
from dhpe_lib.prediction.keypoints import HandKeypoints
from dhpe_lib.refinement.energy import Observations
from dhpe_lib.refinement.fitting import PHOTO, FitOptions, fit_hands

JOINTS_WEIGHT = 30.0
"""Weight of the network's joints against the priors. They err by some centimetres, labels by a millimetre."""
NETWORK_FIT = FitOptions(
    replace(PHOTO, joints=JOINTS_WEIGHT), JOINTS_WEIGHT, starts=6, iterations=80, final_iterations=60
)
MIN_CONFIDENCE = 1e-3
"""Confidence of a joint with a flat map. It is positive, because f_Ref estimates a position for each joint."""


def predict_hand(
    network: Estimator,
    photo: UInt8[ndarray, "height width 3"],
    location: Box | HandKeypoints | None = None,
    side: Side | None = None,
    mask: Bool[ndarray, "height width"] | None = None,
    options: FitOptions = NETWORK_FIT,
) -> HandEstimate:
    """Estimate the mesh of one hand in a photo.

    Args:
        network: Trained estimator, in evaluation mode, on the device to compute on.
        photo: Upright RGB photo.
        location: Box of the hand, or joints around which it lies, pixels; by default f_J2D searches the photo.
        side: Handedness; by default that of the joints in `location`, else the one with the higher maps of f_J2D.
        mask: Foreground of the photo.
        options: Options of the fit.

    Returns:
        The estimate. Its keypoints are the network's last j2D in pixels; their confidence is the maximum of each map
        of f_J2D.

    Raises:
        PredictionError: No hand is found, `location` lies outside the photo, or the network has no f_J2D.
    """
    device = network.hand.v_template.device
    image = torch.from_numpy(photo).to(device).movedim(2, 0)[None].float() / 255
    known_side = side or (location.side if isinstance(location, HandKeypoints) else None)
    detection = detect(network, image, location, known_side)
    frame, left = detection.frame, bool(detection.mirrored[0])
    crop = frame.crop_image(image, SIZE)
    crop = crop.flip(-1) if left else crop
    cover = None if mask is None else mask_in_crop(mask, frame, mirrored=left)
    with torch.no_grad():  # the detection already holds the output of f_J2D for this crop
        evidence = Evidence2D(network.features(crop), None, None, detection.joints_2d, detection.score)
        step = network.estimate_mesh(evidence)[-1]
    score = detection.score.clamp(MIN_CONFIDENCE, 1)
    fit = fit_hands(network.hand, Observations(step.joints_2d, score, cover), options, step.h)
    h = mirror_h(fit.h) if left else fit.h
    model = network.hand.mirrored() if left else network.hand
    joints_px = replace(detection, joints_2d=step.joints_2d).joints_px[0]
    source = f"the network ({network.config.backbone})"
    source += f" in the crop by {location.source}" if isinstance(location, HandKeypoints) else ""
    confidence = to_numpy(score[0]).astype(float)
    keypoints = HandKeypoints(to_numpy(joints_px).astype(float), confidence, "left" if left else "right", source)
    with torch.no_grad():
        mesh = model.forward_h(h)
    return HandEstimate(model, known_side is not None, keypoints, frame, h, mesh, float(fit.energy), mask is not None)


def detect(
    network: Estimator, image: Float[Tensor, "1 3 h w"], location: Box | HandKeypoints | None, side: Side | None
) -> Detection:
    """Detect the hand at a location, or search the whole photo.

    Raises:
        PredictionError: No hand is found, `location` lies outside the photo, or the network has no f_J2D.
    """
    if network.pose_machine is None:
        raise PredictionError("this network has no f_J2D (trained without-2d-losses); give another with --weights")
    if location is not None:
        return detect_in_crop(network.pose_machine, image, crop_at(location, image), side)
    try:
        return detect_hand(network.pose_machine, image, side)
    except ValueError as error:
        raise PredictionError(str(error)) from error


def crop_at(location: Box | HandKeypoints, image: Float[Tensor, "1 3 h w"]) -> CropFrame:
    """Return the crop of a hand with a given box or given joints.

    Args:
        location: Box of the hand, or its joints, pixels.
        image: RGB photo in [0, 1].

    Returns:
        The crop. Its side is g = 1.5 times the larger side of the box; its centre is the centre of the box or the
        middle MCP.

    Raises:
        PredictionError: The box lies outside the photo or has no area, or the joints all lie in one place.
    """
    height, width = image.shape[-2:]
    if isinstance(location, HandKeypoints):
        frame, known = crop_around(location, image), location.joints[location.known]
        (left, top), (right, bottom) = known.min(0), known.max(0)
        name, remedy = f"the hand by {location.source}", "give joints in pixels of this photo, upright"
    else:
        left, top, right, bottom = *location[:2], location[0] + location[2], location[1] + location[3]
        name, remedy = "--box " + ",".join(f"{value:g}" for value in location), "give X,Y,W,H of a box in the photo"
        try:
            frame = CropFrame.from_box(image.new_tensor([[left, top, right, bottom]]))
        except ValueError as error:
            raise PredictionError(f"{name} has no area; {remedy}") from error
    if not (left < width and right > 0 and top < height and bottom > 0):
        raise PredictionError(f"{name} lies outside the photo, which has {width} x {height} pixels; {remedy}")
    return frame
