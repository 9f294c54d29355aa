"""The estimate of one hand in a photo, its crop, and the reasons to doubt it."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from dhpe_lib.common.records import to_numpy
from dhpe_lib.data.crop_frame import SIZE, CropFrame
from dhpe_lib.hand.io import Side
from dhpe_lib.hand.model import HandMesh, HandModel
from dhpe_lib.hand.parameters import positive_scale, split_h
from dhpe_lib.prediction.hand_search import LEAST_PRESENCE
from dhpe_lib.prediction.keypoints import HandKeypoints

SIZE_ASSUMPTION = (
    "One photo does not tell how large a hand is: millimetres are those of the hand model with the fitted shape, "
    "which is near the average adult hand."
)
# benchmarks/hostile_photos.py measures these limits: nine in ten real hands pass all of them.
DOUBTFUL_PRESENCE = 0.9
"""Presence below which a hand is doubtful.

Real hands stay above it in 98 of 100 photos; a third of the feet and paintings that pass all other limits do not."""
LARGE_RESIDUAL = 0.05
"""Mean distance between mesh and keypoints, as a fraction of the hand's size, above which a hand is doubtful.

Real hands stay below 4 % in 98 of 100 photos."""
SURE_SIDE = 0.8
"""Probability of the handedness below which a hand is doubtful.

If the caller gave the handedness, this probability of the other one makes the hand doubtful."""
SIDE_SPREAD = 0.5
"""Difference of two looks' probabilities of a right hand, above which a hand is doubtful: they see different sides.

None of 239 real hands is above it."""
MOST_OUTSIDE = 0.3
"""Fraction of joints outside the photo above which a hand is doubtful: if half a hand is cut off, even its handedness
may be wrong."""


class PredictionError(ValueError):
    """A hand cannot be fitted; the message names the reason and a remedy."""


class NoHandError(ValueError):
    """No hand is found in a photo; the message names a remedy.

    Attributes:
        best: Highest presence of a candidate, 0 to 1; None if the search gives no presence.
    """

    def __init__(self, message: str, best: float | None = None):
        super().__init__(message)
        self.best = best


@dataclass(frozen=True)
class HandEstimate:
    """One fitted hand.

    Attributes:
        model: Hand model of the estimate's handedness.
        side_known: Whether the evidence or the caller gave the handedness; if not, a right hand is assumed.
        keypoints: Keypoints that the hand was fitted to, pixels.
        frame: Crop in the photo.
        h: Parameters for ``model.forward_h``, in the crop frame.
        mesh: Output of ``model.forward_h`` for h, units of g.
        energy: Energy of the fit.
        with_mask: Whether a mask was used besides the keypoints.
        presence: Probability that there is a hand, from the hand landmark network; None if the network was not used.
        right_probability: Probability of a right hand, from the hand landmark network; None if it was not used.
        right_spread: Largest difference between the looks of the network in this probability.
        outside: Fraction of the joints that lie outside the photo.
    """

    model: HandModel
    side_known: bool
    keypoints: HandKeypoints
    frame: CropFrame
    h: Float[Tensor, "1 63"]
    mesh: HandMesh
    energy: float
    with_mask: bool
    presence: float | None = None
    right_probability: float | None = None
    right_spread: float = 0.0
    outside: float = 0.0

    @property
    def side_assumed(self) -> bool:
        """Whether neither the caller nor the hand landmark network gave the handedness."""
        return not self.side_known and self.right_probability is None

    @property
    def warnings(self) -> list[str]:
        """Reasons to doubt the estimate; a good estimate has none."""
        found = list(self.keypoints.doubts)
        if self.presence is not None and self.presence < DOUBTFUL_PRESENCE:
            doubt = "sees no hand here" if self.presence < LEAST_PRESENCE else "is not sure that this is a hand"
            found.append(f"the network {doubt} (probability {self.presence:.2f})")
        if self.relative_error > LARGE_RESIDUAL:
            found.append(
                f"the mesh misses the joints by {100 * self.relative_error:.0f} % of the hand's size on average"
            )
        if self.right_probability is not None:
            found += side_doubts(self.model.side, self.side_known, self.right_probability, self.right_spread)
        if self.outside > MOST_OUTSIDE:
            found.append(f"{100 * self.outside:.0f} % of the joints lie outside the photo; they are a guess")
        return found

    @property
    def joints_px(self) -> Float[ndarray, "21 2"]:
        """Joints in the upright photo, pixels."""
        return to_numpy(self.frame.to_image(self.mesh.joints[..., :2])[0]).astype(float)

    @property
    def error_px(self) -> float:
        """Mean distance between the known keypoints and the joints of the mesh, pixels."""
        known = self.keypoints.known
        return float(np.linalg.norm(self.joints_px - self.keypoints.joints, axis=1)[known].mean())

    @property
    def relative_error(self) -> float:
        """Mean distance to the keypoints, as a fraction of the larger side of their box."""
        return self.error_px / self.keypoints.hand_size

    @property
    def scale(self) -> float:
        """Scale of the mesh: units of g per metre of the hand model."""
        return float(positive_scale(split_h(self.h).scale))

    def metres(self, points: Float[Tensor, "1 n 3"]) -> Float[ndarray, "n 3"]:
        """Convert points of the crop frame (units of g) to metres from the wrist.

        The axes remain those of the photo. ``SIZE_ASSUMPTION`` says how reliable the size is.
        """
        return to_numpy((points - self.mesh.joints[:, :1]) / self.scale)[0].astype(float)


def side_doubts(side: Side, side_known: bool, right_probability: float, right_spread: float = 0.0) -> list[str]:
    """Reasons to doubt the handedness; empty for a good one.

    Args:
        side: Handedness of the estimate.
        side_known: Whether the caller gave it.
        right_probability: Probability of a right hand, from the hand landmark network.
        right_spread: Largest difference between the looks in this probability.

    Returns:
        No or one reason.
    """
    seen: Side = "right" if right_probability >= 0.5 else "left"
    sure = max(right_probability, 1 - right_probability)
    if not side_known and sure < SURE_SIDE:
        return [f"left or right is uncertain (probability {sure:.2f}); give it with --hand"]
    if not side_known and right_spread > SIDE_SPREAD:
        return ["the crops of the hand disagree on left or right; give it with --hand"]
    if side_known and seen != side and sure >= SURE_SIDE:
        return [f"the network sees a {seen} hand (probability {sure:.2f}), not the {side} hand of --hand"]
    return []


def crop_around(keypoints: HandKeypoints, like: Tensor) -> CropFrame:
    """Return the paper's crop around keypoints.

    Its side is g = 1.5 times the larger side of the known joints' box. Its centre is the middle MCP.

    Args:
        keypoints: Joints in the photo, pixels.
        like: Tensor with the device and the dtype of the result.

    Returns:
        The crop.

    Raises:
        PredictionError: The known joints all lie in one place, or no joint is known.
    """
    joints, known = torch.from_numpy(keypoints.joints)[None].to(like), torch.from_numpy(keypoints.known)[None]
    try:
        return CropFrame.from_joints(joints, known.to(like.device))
    except ValueError as error:
        raise PredictionError(f"the known joints all lie in one place ({error})") from error


def mask_in_crop(mask: Bool[ndarray, "height width"], frame: CropFrame, mirrored: bool) -> Float[Tensor, "1 size size"]:
    """Return the fraction of each crop pixel that the mask covers; `mirrored` flips the crop of a left hand."""
    crop = frame.crop_image(torch.from_numpy(mask)[None, None].to(frame.center), SIZE)[:, 0]
    return crop.flip(-1) if mirrored else crop
