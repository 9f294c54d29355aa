"""Where the hand is in a photo, by the network's own f_J2D in two passes. Nothing here has a gradient.

First pass: the whole photo at several sizes. f_J2D is convolutional, so it looks everywhere at once, for hands as large
as it knows them; where its maps are highest, the size is right. Second pass: the crop of the paper (g = 1.5 times the
joints' larger side, about the middle MCP) around what each of the best sizes shows; the highest maps stay.

The network knows right hands. A left one is looked for in the mirror image; where nobody says which hand it is, both
are looked for, and the higher maps win.
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

SCALES = (1.4, 1.0, 0.7, 0.5, 0.35)
"""Sides g that are looked for, over the photo's larger side."""
SMALL = 640
"""Larger side of the photo in the first pass, pixels."""
FINALISTS = 4
"""Sizes and sides that go on to the second pass."""
SEEN = 0.3
"""A joint counts for the crop if its map is this high, over the highest; at least every second does."""
LEAST = 0.3
"""Mean height of the maps below which there is no hand; that of a joint is 1 in training. The shipped network's is 0.16
to 0.28 in grey, noise or blots and 0.32 to 0.73 in 18 photos of hands (LOG.md); painted rooms reach 0.42."""
REMEDY = "say where it is with --box X,Y,W,H or --box mediapipe, or give its joints"


class NoHandError(ValueError):
    """No hand is found in a photo; the message says what would help."""


@dataclass(frozen=True)
class Detection:
    """Hands looked for in squares of a photo, one row for each.

    Attributes:
        frame: The square, in the photo.
        mirrored: Whether a left hand was looked for, in the square's mirror image.
        joints_2d: In the frame (mirrored, where it is mirrored), units of its side.
        score: Height of each joint's map.
    """

    frame: CropFrame
    mirrored: Bool[Tensor, " n"]
    joints_2d: Float[Tensor, "n 21 2"]
    score: Float[Tensor, "n 21"]

    @property
    def places(self) -> Float[Tensor, "n 21 2"]:
        """Joints in the photo, pixels."""
        x, y = self.joints_2d.unbind(-1)
        return self.frame.to_image(torch.stack((torch.where(self.mirrored[:, None], -x, x), y), -1))

    def best(self, count: int) -> "Detection":
        """The rows with the highest maps, best first."""
        return take_rows(self, self.score.mean(1).argsort(descending=True)[:count])

    def crops(self) -> CropFrame:
        """The crops of the paper around the joints that were seen."""
        enough = torch.minimum(SEEN * self.score.amax(1), self.score.median(1).values)
        return CropFrame.from_joints(self.places, self.score >= enough[:, None])


@torch.no_grad()
def detect_hand(machine: PoseMachine, photo: Float[Tensor, "1 3 h w"], side: Side | None = None) -> Detection:
    """The most certain hand of a photo.

    Args:
        machine: A trained f_J2D, in evaluation mode, on the photo's device.
        photo: In [0, 1].
        side: Which hand, if it is known.

    Returns:
        One row; its frame is the crop for the network, its joints are j2D(0) there.

    Raises:
        NoHandError: The maps are nearly flat everywhere, or all joints are seen in one place.
    """
    shrink = min(1.0, SMALL / max(photo.shape[-2:]))
    small = photo if shrink == 1 else functional.interpolate(photo, scale_factor=shrink, mode="area")
    whole, pooled = whole_square(small), machine.config.input_size // machine.config.map_size
    sizes = [pooled * round(machine.config.input_size / scale / pooled) for scale in SCALES]
    seen = [look(machine, small, whole, left, size) for size in sizes for left in sides_of(side)]
    first = join_rows(seen).best(FINALISTS)
    try:
        crops = first.crops()
    except ValueError as error:
        raise NoHandError(f"no hand is found, all joints are seen in one place; {REMEDY}") from error
    crops = CropFrame(crops.center / shrink, crops.side / shrink, crops.angle)
    rows = torch.arange(len(first.mirrored), device=photo.device).split(1)
    seen = [look(machine, photo, take_rows(crops, k), bool(first.mirrored[k])) for k in rows]
    found = join_rows(seen).best(1)
    if not found.score.mean() > LEAST:
        raise NoHandError(f"no hand is found; {REMEDY}")
    return found


@torch.no_grad()
def detect_in(
    machine: PoseMachine, photo: Float[Tensor, "1 3 h w"], frame: CropFrame, side: Side | None = None
) -> Detection:
    """The hand in a crop that is known.

    Args:
        machine: A trained f_J2D, in evaluation mode, on the photo's device.
        photo: In [0, 1].
        frame: One crop.
        side: Which hand, if it is known.

    Returns:
        One row; its joints are j2D(0) of the crop.
    """
    return join_rows([look(machine, photo, frame, left) for left in sides_of(side)]).best(1)


def sides_of(side: Side | None) -> list[bool]:
    """Whether to look at the photo as it is, at its mirror image, or at both."""
    return [False, True] if side is None else [side == "left"]


def whole_square(photo: Float[Tensor, "1 3 h w"]) -> CropFrame:
    """The square about a photo."""
    height, width = photo.shape[-2:]
    center = photo.new_tensor([[width / 2, height / 2]])
    return CropFrame(center, photo.new_tensor([max(height, width)]), photo.new_zeros(1))


def look(
    machine: PoseMachine, photo: Float[Tensor, "1 3 h w"], frame: CropFrame, left: bool, size: int | None = None
) -> Detection:
    """f_J2D in one square.

    Args:
        machine: f_J2D, in evaluation mode.
        photo: In [0, 1].
        frame: The square.
        left: Whether to look at its mirror image.
        size: Pixels along its side as f_J2D sees it; by default the network's crop, resized as in training.

    Returns:
        One row.
    """
    crop = frame.crop_image(photo, size or SIZE)
    crop = crop.flip(-1) if left else crop
    found = find_joints(machine(crop) if size is None else machine.maps(crop))
    return Detection(frame, torch.tensor([left], device=photo.device), found.joints_2d, found.score)
