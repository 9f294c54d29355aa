"""Find the hand in a photo with f_J2D in two passes. Nothing here has a gradient.

First pass: f_J2D runs on the whole photo at several sizes. f_J2D is convolutional, so it searches all positions at
once, but it only responds to hands of the size that it was trained on. Its maps are highest at the right photo size.
Second pass: each of the best sizes gives joints, and f_J2D runs on the paper's crop around them (g = 1.5 times the
larger side of the joints' box, centred on the middle MCP). The crop with the highest maps is kept.

The network was trained on right hands. It searches for left hands in the mirror image of the photo. If the handedness
is unknown, it searches for both, and the higher maps win.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from dhpe_lib.common.records import join_rows, take_rows
from dhpe_lib.data.crop_frame import SIZE, CropFrame
from dhpe_lib.hand.io import Side
from dhpe_lib.network.evidence import PoseMachine, find_joints
from dhpe_lib.prediction.hand_estimate import NoHandError

SCALES = (1.4, 1.0, 0.7, 0.5, 0.35)
"""Crop sides g of the first pass, as fractions of the photo's larger side."""
SEARCH_SIZE = 640
"""Larger side of the photo before the first pass, pixels; larger photos are reduced."""
FINALISTS = 4
"""Number of detections of the first pass (photo size and handedness) that enter the second pass."""
JOINT_THRESHOLD = 0.3
"""A joint is used for the crop if the maximum of its map reaches this fraction of the hand's highest maximum.

The half of the joints with the higher maps is always used.
"""
HAND_THRESHOLD = 0.3
"""Mean of the map maxima below which a photo has no hand; the training target has the maximum 1.

With the shipped network the mean is 0.16 to 0.28 in photos of grey, noise or blots and 0.32 to 0.73 in 18 photos of
hands (LOG.md). Painted rooms reach 0.42.
"""
REMEDY = "give its box with --box X,Y,W,H or --box mediapipe, or give its joints"


@dataclass(frozen=True)
class Detection:
    """Output of f_J2D in squares of a photo, one row for each square.

    Attributes:
        frame: Square in the photo.
        mirrored: Whether f_J2D saw the mirror image of the square, to search for a left hand.
        joints_2d: Joints in the crop frame, units of the side g; mirrored if the square is mirrored.
        score: Maximum of each joint's map.
    """

    frame: CropFrame
    mirrored: Bool[Tensor, " n"]
    joints_2d: Float[Tensor, "n 21 2"]
    score: Float[Tensor, "n 21"]

    @property
    def joints_px(self) -> Float[Tensor, "n 21 2"]:
        """Joints in the photo, pixels."""
        x, y = self.joints_2d.unbind(-1)
        return self.frame.to_image(torch.stack((torch.where(self.mirrored[:, None], -x, x), y), -1))

    def best(self, count: int) -> "Detection":
        """Return the `count` rows with the highest mean score, best first."""
        return take_rows(self, self.score.mean(1).argsort(descending=True)[:count])

    def crops(self) -> CropFrame:
        """Return the paper's crops around the joints whose maps are high enough.

        Raises:
            ValueError: The joints of a row all lie in one place.
        """
        threshold = torch.minimum(JOINT_THRESHOLD * self.score.amax(1), self.score.median(1).values)
        return CropFrame.from_joints(self.joints_px, self.score >= threshold[:, None])


@torch.no_grad()
def detect_hand(machine: PoseMachine, photo: Float[Tensor, "1 3 h w"], side: Side | None = None) -> Detection:
    """Find the hand with the highest maps in a photo.

    Args:
        machine: Trained f_J2D, in evaluation mode, on the photo's device.
        photo: RGB in [0, 1].
        side: Handedness, if it is known.

    Returns:
        One row; its frame is the crop for the network, and its joints are j2D(0) in that crop.

    Raises:
        NoHandError: All maps are nearly flat, or all joints are found in one place.
    """
    shrink = min(1.0, SEARCH_SIZE / max(photo.shape[-2:]))
    small = photo if shrink == 1 else functional.interpolate(photo, scale_factor=shrink, mode="area")
    whole, stride = enclosing_square(small), machine.config.input_size // machine.config.map_size
    sizes = [stride * round(machine.config.input_size / scale / stride) for scale in SCALES]
    pass_1 = [run_machine(machine, small, whole, mirror, size) for size in sizes for mirror in mirrorings(side)]
    first = join_rows(pass_1).best(FINALISTS)
    try:
        crops = first.crops()
    except ValueError as error:
        raise NoHandError(f"no hand is found: all joints lie in one place; {REMEDY}") from error
    crops = CropFrame(crops.center / shrink, crops.side / shrink, crops.angle)
    rows = torch.arange(len(first.mirrored), device=photo.device).split(1)
    pass_2 = [run_machine(machine, photo, take_rows(crops, k), bool(first.mirrored[k])) for k in rows]
    detection = join_rows(pass_2).best(1)
    if not detection.score.mean() > HAND_THRESHOLD:
        raise NoHandError(f"no hand is found; {REMEDY}")
    return detection


@torch.no_grad()
def detect_in_crop(
    machine: PoseMachine, photo: Float[Tensor, "1 3 h w"], frame: CropFrame, side: Side | None = None
) -> Detection:
    """Find the joints of the hand in a given crop.

    Args:
        machine: Trained f_J2D, in evaluation mode, on the photo's device.
        photo: RGB in [0, 1].
        frame: One crop.
        side: Handedness, if it is known.

    Returns:
        One row; its joints are j2D(0) in the crop.
    """
    return join_rows([run_machine(machine, photo, frame, mirror) for mirror in mirrorings(side)]).best(1)


def mirrorings(side: Side | None) -> list[bool]:
    """Return False for the photo itself, True for its mirror image, or both if the handedness is unknown."""
    return [False, True] if side is None else [side == "left"]


def enclosing_square(photo: Float[Tensor, "1 3 h w"]) -> CropFrame:
    """Return the smallest square around the whole photo."""
    height, width = photo.shape[-2:]
    center = photo.new_tensor([[width / 2, height / 2]])
    return CropFrame(center, photo.new_tensor([max(height, width)]), photo.new_zeros(1))


def run_machine(
    machine: PoseMachine, photo: Float[Tensor, "1 3 h w"], frame: CropFrame, mirror: bool, size: int | None = None
) -> Detection:
    """Run f_J2D on one square of a photo.

    Args:
        machine: Trained f_J2D, in evaluation mode.
        photo: RGB in [0, 1].
        frame: The square.
        mirror: Whether to mirror the square first.
        size: Side of the square that f_J2D gets, pixels; by default the network's crop, resized as in training.

    Returns:
        One row.
    """
    crop = frame.crop_image(photo, size or SIZE)
    crop = crop.flip(-1) if mirror else crop
    found = find_joints(machine(crop) if size is None else machine.maps(crop))
    return Detection(frame, torch.tensor([mirror], device=photo.device), found.joints_2d, found.score)
