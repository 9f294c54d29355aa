"""Where the hand is in a photo, by the network's own f_J2D in two passes. Nothing here has a gradient.

First pass: the whole photo at several sizes. f_J2D is convolutional, so it looks everywhere at once, for hands as large
as it knows them; where its maps are highest, the size is right. Second pass: the crop of the paper (g = 1.5 times the
joints' larger side, about the middle MCP) around what each of the best sizes shows; the highest maps stay.

The network knows right hands. A left one is looked for in the mirror image; where nobody says which hand it is, both
are looked for, and the higher maps win.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dhpe_lib.camera import CropFrame
from dhpe_lib.estimator import SIZE, Estimator
from dhpe_lib.evidence import PoseMachine, find_joints
from dhpe_lib.hand_files import Side

SCALES = (1.4, 1.0, 0.7, 0.5, 0.35)
"""Sides g that are looked for, over the photo's larger side."""
FINALISTS = 4
"""Sizes and sides that go on to the second pass."""
SEEN = 0.3
"""Height of a joint's map, over that of the highest, from which it counts for the crop."""


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
    mirrored: list[bool]
    joints_2d: Float[Tensor, "n 21 2"]
    score: Float[Tensor, "n 21"]

    @property
    def places(self) -> Float[Tensor, "n 21 2"]:
        """Joints in the photo, pixels."""
        signs = self.joints_2d.new_tensor([[[-1 if left else 1, 1]] for left in self.mirrored])
        return self.frame.to_image(signs * self.joints_2d)

    def best(self, count: int) -> "Detection":
        """The rows with the highest maps, best first."""
        chosen = self.score.mean(1).argsort(descending=True)[:count]
        frame = CropFrame(self.frame.center[chosen], self.frame.side[chosen], self.frame.angle[chosen])
        mirrored = [self.mirrored[k] for k in chosen.tolist()]
        return Detection(frame, mirrored, self.joints_2d[chosen], self.score[chosen])

    def crops(self) -> CropFrame:
        """The crops of the paper around the joints that were seen."""
        seen = self.score >= SEEN * self.score.amax(1, keepdim=True)
        return CropFrame.from_joints(self.places, seen)


@torch.no_grad()
def detect_hand(network: Estimator, photo: Float[Tensor, "1 3 h w"], side: Side | None = None) -> Detection:
    """The most certain hand of a photo.

    Args:
        network: Trained; on the photo's device.
        photo: In [0, 1].
        side: Which hand, if it is known.

    Returns:
        One row; its frame is the crop for the network.

    Raises:
        NoHandError: The network has no f_J2D, or its maps are flat everywhere.
    """
    machine = network.pose_machine
    if machine is None:
        raise NoHandError("this network has no f_J2D (without-2d-losses); say where the hand is with --box X,Y,W,H")
    whole, pooled = whole_square(photo), machine.config.input_size // machine.config.map_size
    sizes = [pooled * round(machine.config.input_size / scale / pooled) for scale in SCALES]
    sides = [False, True] if side is None else [side == "left"]
    first = merged([look(machine, photo, whole, left, size) for size in sizes for left in sides]).best(FINALISTS)
    crops = first.crops()
    passes = [look(machine, photo, row(crops, k), left) for k, left in enumerate(first.mirrored)]
    found = merged(passes).best(1)
    if not found.score.mean() > 0:
        raise NoHandError("no hand is found; say where it is with --box X,Y,W,H, or give its joints")
    return found


@torch.no_grad()
def detect_in_box(
    network: Estimator, photo: Float[Tensor, "1 3 h w"], box: Float[Tensor, "1 4"], side: Side | None = None
) -> Detection:
    """The hand in a box: g = 1.5 times the box's larger side, about its middle.

    Args:
        network: Trained.
        photo: In [0, 1].
        box: Left, top, right, bottom, pixels.
        side: Which hand, if it is known; else as for :func:`detect_hand`, or a right one without f_J2D.

    Returns:
        One row.

    Raises:
        ValueError: The box is empty.
    """
    frame, machine = CropFrame.from_box(box), network.pose_machine
    sides = [False, True] if side is None else [side == "left"]
    if machine is None:
        nowhere = frame.center.new_zeros(1, 21, 2)
        return Detection(frame, sides[:1], nowhere, nowhere[..., 0])
    return merged([look(machine, photo, frame, left) for left in sides]).best(1)


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
        size: Pixels along its side as f_J2D sees it; by default as it is trained.

    Returns:
        One row.
    """
    crop = frame.crop_image(photo, size or SIZE)
    crop = crop.flip(-1) if left else crop
    found = find_joints(machine(crop) if size is None else machine.maps(crop))
    return Detection(frame, [left], found.joints_2d, found.score)


def merged(parts: list[Detection]) -> Detection:
    """All rows of several."""
    corners = (torch.cat([getattr(part.frame, name) for part in parts]) for name in ("center", "side", "angle"))
    mirrored = [left for part in parts for left in part.mirrored]
    joints_2d, score = (torch.cat([getattr(part, name) for part in parts]) for name in ("joints_2d", "score"))
    return Detection(CropFrame(*corners), mirrored, joints_2d, score)


def row(frame: CropFrame, k: int) -> CropFrame:
    """One of several frames."""
    return CropFrame(frame.center[k : k + 1], frame.side[k : k + 1], frame.angle[k : k + 1])
