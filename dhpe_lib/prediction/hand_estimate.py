"""One fitted hand in a photo, and the crop that it was fitted in."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from dhpe_lib.common.records import to_numpy
from dhpe_lib.data.crop_frame import SIZE, CropFrame
from dhpe_lib.hand.model import HandMesh, HandModel
from dhpe_lib.hand.parameters import positive_scale, split_h
from dhpe_lib.prediction.keypoints import HandKeypoints

SIZE_ASSUMPTION = (
    "One photo does not tell how large a hand is: millimetres are those of the hand model with the fitted shape, "
    "which is near the average adult hand."
)


# benchmarks/hostile_photos.py measures what these limits do: nine in ten real hands pass all of them.
DOUBTFUL_PRESENCE = 0.8
"""Presence below which a hand is doubtful."""
LARGE_RESIDUAL = 0.1
"""Mean distance of the mesh to the joints, over the hand's size, above which a hand is doubtful."""
SURE_SIDE = 0.8
"""Probability of the side below which a hand is doubtful, unless the caller said the side."""
LOW_CONFIDENCE = 0.3
"""Mean confidence of the joints below which a hand is doubtful."""
MOST_OUTSIDE = 0.3
"""Share of joints outside the photo above which a hand is doubtful: of half a hand, even the side may be wrong."""


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
        energy: Energy of the fit.
        with_mask: Whether a mask was used besides the keypoints.
        presence: Probability that there is a hand, from the hand landmark network; None where it was not asked.
        right_probability: Probability that it is a right hand, from the same network; None where it was not asked.
        outside: Share of the joints that lie outside the photo.
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
    outside: float = 0.0

    @property
    def side_assumed(self) -> bool:
        """Whether neither the caller nor the hand landmark network said which hand it is."""
        return not self.side_known and self.right_probability is None

    @property
    def warnings(self) -> list[str]:
        """Reasons to doubt the estimate; empty for a good one."""
        found = []
        if self.presence is not None and self.presence < DOUBTFUL_PRESENCE:
            found.append(f"the network is not sure that this is a hand (probability {self.presence:.2f})")
        if self.relative_error > LARGE_RESIDUAL:
            found.append(
                f"the mesh misses the joints by {100 * self.relative_error:.0f} % of the hand's size on average"
            )
        if self.right_probability is not None and not self.side_known:
            sure = max(self.right_probability, 1 - self.right_probability)
            if sure < SURE_SIDE:
                found.append(f"left or right is uncertain (probability {sure:.2f}); say it with --hand")
        if self.outside > MOST_OUTSIDE:
            found.append(f"{100 * self.outside:.0f} % of the joints lie outside the photo; they are a guess")
        if self.presence is not None and self.keypoints.confidence.mean() < LOW_CONFIDENCE:
            found.append("the looks at the hand disagree on its joints")
        return found

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
    crop = frame.crop_image(torch.from_numpy(mask)[None, None].to(frame.center), SIZE)[:, 0]
    return crop.flip(-1) if mirrored else crop
