"""From the keypoints of a hand in a photo to its mesh: crop, fit, and what the fit means in pixels and millimetres.

Right hands are fitted; a left hand is mirrored on the way in and out. Nothing here has a gradient.

Which hand it is must be known from elsewhere. Seen by an orthographic camera, a right hand and its reflection in depth,
which is a left hand, have the same joints and the same outline, and the priors do not tell them apart either: every
right hand that fits has a left hand that fits as well.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from dhpe_lib.camera import CropFrame
from dhpe_lib.energy import Evidence
from dhpe_lib.fitting import FitOptions, fit_hands
from dhpe_lib.hand_files import Side
from dhpe_lib.hand_model import HandMesh, HandModel, positive_scale, split_h
from dhpe_lib.keypoints import HandKeypoints
from dhpe_lib.plotting import to_numpy

DEFAULTS = FitOptions()
MASK_SIZE = 224
FEWEST_JOINTS = 4
ASSUMED: Side = "right"
SIZE_ASSUMPTION = (
    "One photo does not tell how large a hand is: millimetres are those of the hand model with the fitted shape, "
    "which is near the average adult hand."
)


class PredictionError(ValueError):
    """A hand that cannot be fitted; the message says why and what would help."""


@dataclass(frozen=True)
class HandEstimate:
    """One fitted hand.

    Attributes:
        model: The hand model of the estimate's side.
        side_known: Whether evidence or the caller said which hand it is; else it is taken for a right one.
        keypoints: What it was fitted to.
        frame: The crop.
        h: Parameters for ``model.forward_h``, in the crop frame.
        mesh: What that gives, units of g.
        energy: E of the fit (:mod:`dhpe_lib.energy`).
        with_mask: Whether a mask was used besides the keypoints.
    """

    model: HandModel
    side_known: bool
    keypoints: HandKeypoints
    frame: CropFrame
    h: Float[Tensor, "1 63"]
    mesh: HandMesh
    energy: float
    with_mask: bool

    @property
    def joints_px(self) -> Float[ndarray, "21 2"]:
        """Joints in the upright photo, pixels."""
        return to_numpy(self.frame.to_image(self.mesh.joints[..., :2])[0]).astype(float)

    @property
    def error_px(self) -> float:
        """Mean distance of the known joints to the keypoints, pixels."""
        known = self.keypoints.known
        return float(np.linalg.norm(self.joints_px - self.keypoints.joints, axis=1)[known].mean())

    @property
    def relative_error(self) -> float:
        """The mean distance over the larger side of the known joints' box."""
        return self.error_px / self.keypoints.hand_size

    @property
    def scale(self) -> float:
        """Crop units in a metre of the hand model."""
        return float(positive_scale(split_h(self.h).scale))

    def metres(self, points: Float[Tensor, "1 n 3"]) -> Float[ndarray, "n 3"]:
        """Points of the crop frame in metres from the wrist, axes as in the photo; see ``SIZE_ASSUMPTION``."""
        return to_numpy((points - self.mesh.joints[:, :1]) / self.scale)[0].astype(float)


def mirror_h(h: Float[Tensor, "b 63"]) -> Float[Tensor, "b 63"]:
    """Parameters of the other hand, for the mirrored model: its mesh is this one's with x negated.

    With M = diag(-1, 1, 1), a rotation becomes M R M: axis-angle (x, y, z) to (x, -y, -z), quaternion likewise.

    Args:
        h: [pose 45, shape 10, c_q 4, c_s 1, c_t 3].

    Returns:
        The same layout.

    Source: :func:`dhpe_lib.hand_files.mirror_hand`.
    """
    signs = torch.tensor([1.0, -1, -1] * 15 + [1] * 10 + [1, 1, -1, -1] + [1] + [-1, 1, 1])
    return h * signs.to(h)


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


def crop_around(keypoints: HandKeypoints, like: Tensor) -> CropFrame:
    """The crop of the paper: g = 1.5 times the known joints' larger side, about the middle MCP.

    Args:
        keypoints: Joints in the photo.
        like: A tensor on the device and of the precision to compute with.

    Returns:
        The frame.

    Raises:
        PredictionError: The known joints all lie in one place, or none is known.
    """
    joints, known = torch.from_numpy(keypoints.joints)[None].to(like), torch.from_numpy(keypoints.known)[None]
    try:
        return CropFrame.from_joints(joints, known.to(like.device))
    except ValueError as error:
        raise PredictionError(f"the known joints all lie in one place ({error})") from error


def mask_in_crop(mask: Bool[ndarray, "height width"], frame: CropFrame, mirrored: bool) -> Float[Tensor, "1 size size"]:
    """The share of each pixel of the crop that the mask covers; the crop of a left hand is mirrored."""
    crop = frame.crop_image(torch.from_numpy(mask)[None, None].to(frame.center), MASK_SIZE)[:, 0]
    return crop.flip(-1) if mirrored else crop
