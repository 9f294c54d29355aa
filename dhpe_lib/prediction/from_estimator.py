"""From a photo to the mesh of one hand, by this project's own estimator.

A box or given joints say where the hand is; else f_J2D searches the photo. Given joints say no more than the place and
the side: the mesh is fitted to the network's own joints. The network's j2D is the evidence of the fit, and its h is one
of the starts (:mod:`dhpe_lib.refinement.fitting`). Eq. 13 alone has no priors, and the fit with priors came nearer to
the labels of photos (LOG.md). The network knows right hands; a left hand is mirrored on the way in and out. Nothing
here has a gradient.
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
from dhpe_lib.prediction.detection import Detection, detect_hand, detect_in
from dhpe_lib.prediction.hand_estimate import HandEstimate, PredictionError, crop_around, mask_in_crop
from dhpe_lib.prediction.keypoints import HandKeypoints
from dhpe_lib.refinement.energy import Observations
from dhpe_lib.refinement.fitting import PHOTO, FitOptions, fit_hands

Box = tuple[float, float, float, float]  # left, top, width and height, pixels

TRUST = 30.0
"""Weight of the network's joints against the priors: they are some centimetres off, labelled ones a millimetre."""
NETWORK_FIT = FitOptions(replace(PHOTO, joints=TRUST), TRUST, starts=6, iterations=80, final_iterations=60)

FAINT = 1e-3
"""Confidence of a joint whose map is flat: f_Ref has a place for it all the same."""


def predict_hand(
    network: Estimator,
    photo: UInt8[ndarray, "height width 3"],
    where: Box | HandKeypoints | None = None,
    side: Side | None = None,
    mask: Bool[ndarray, "height width"] | None = None,
    options: FitOptions = NETWORK_FIT,
) -> HandEstimate:
    """The mesh of one hand in a photo.

    Args:
        network: Trained, in evaluation mode, on the device to compute on.
        photo: Upright.
        where: The hand's box, or joints that say where it is; by default f_J2D looks for it.
        side: Which hand it is; by default what the joints of `where` say, else the one that f_J2D's maps are higher
            for.
        mask: Foreground of the photo.
        options: Of the fit.

    Returns:
        The estimate; its keypoints are the network's last j2D, with the heights of f_J2D's maps for confidence.

    Raises:
        PredictionError: No hand is found, it would lie outside the photo, or the network has no f_J2D.
    """
    device = network.hand.v_template.device
    image = torch.from_numpy(photo).to(device).movedim(2, 0)[None].float() / 255
    known_side = side or (where.side if isinstance(where, HandKeypoints) else None)
    found = find_in(network, image, where, known_side)
    frame, left = found.frame, bool(found.mirrored[0])
    crop = frame.crop_image(image, SIZE)
    crop = crop.flip(-1) if left else crop
    cover = None if mask is None else mask_in_crop(mask, frame, mirrored=left)
    with torch.no_grad():  # f_J2D has seen this crop already
        evidence = Evidence2D(network.features(crop), None, None, found.joints_2d, found.score)
        step = network.estimate_mesh(evidence)[-1]
    score = found.score.clamp(FAINT, 1)
    fit = fit_hands(network.hand, Observations(step.joints_2d, score, cover), options, step.h)
    h = mirror_h(fit.h) if left else fit.h
    model = network.hand.mirrored() if left else network.hand
    places = replace(found, joints_2d=step.joints_2d).places[0]
    source = f"the network ({network.config.backbone})"
    source += f" in the crop by {where.source}" if isinstance(where, HandKeypoints) else ""
    confidence = to_numpy(score[0]).astype(float)
    keypoints = HandKeypoints(to_numpy(places).astype(float), confidence, "left" if left else "right", source)
    with torch.no_grad():
        mesh = model.forward_h(h)
    return HandEstimate(model, known_side is not None, keypoints, frame, h, mesh, float(fit.energy), mask is not None)


def find_in(
    network: Estimator, image: Float[Tensor, "1 3 h w"], where: Box | HandKeypoints | None, side: Side | None
) -> Detection:
    """The hand at a place, or in the whole photo."""
    if network.pose_machine is None:
        raise PredictionError("this network has no f_J2D (without-2d-losses); name another with --weights")
    if where is not None:
        return detect_in(network.pose_machine, image, frame_of(where, image), side)
    try:
        return detect_hand(network.pose_machine, image, side)
    except ValueError as error:
        raise PredictionError(str(error)) from error


def frame_of(where: Box | HandKeypoints, image: Float[Tensor, "1 3 h w"]) -> CropFrame:
    """The crop of a hand at a place.

    Args:
        where: The hand's box, or its joints.
        image: The photo.

    Returns:
        g = 1.5 times the larger side, about the box's middle or the middle MCP.

    Raises:
        PredictionError: It lies outside the photo, the box has no area, or the joints all lie in one place.
    """
    height, width = image.shape[-2:]
    if isinstance(where, HandKeypoints):
        frame, known = crop_around(where, image), where.joints[where.known]
        (left, top), (right, bottom) = known.min(0), known.max(0)
        said, remedy = f"the hand by {where.source}", "give joints in pixels of this photo, upright"
    else:
        left, top, right, bottom = *where[:2], where[0] + where[2], where[1] + where[3]
        said, remedy = "--box " + ",".join(f"{value:g}" for value in where), "give X,Y,W,H of a box in it"
        try:
            frame = CropFrame.from_box(image.new_tensor([[left, top, right, bottom]]))
        except ValueError as error:
            raise PredictionError(f"{said} has no area; {remedy}") from error
    if not (left < width and right > 0 and top < height and bottom > 0):
        raise PredictionError(f"{said} lies outside the photo, which has {width} x {height} pixels; {remedy}")
    return frame
