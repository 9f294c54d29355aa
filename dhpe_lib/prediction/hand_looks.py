"""Looks of the hand landmark network at squares of a photo, and what several looks at one hand agree on.

One look says where the joints are, but not how sure it is of each. Several looks at slightly different squares do so:
their mean is a better estimate than one look, and their spread grows with its error. Nothing here has a gradient.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from dhpe_lib.common.devices import to_device
from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.network.hand_landmarks import SIZE, HandLandmarkNetwork
from dhpe_lib.prediction.hand_squares import cut_squares, squares_of_joints

# turn in radians, scale and mirroring of each look, relative to the square around the hand
MIRRORED = (0.2, 1.15, True)
VARIANTS = ((0.0, 1.0, False), MIRRORED, (-0.2, 1.1, False))
SPREAD_UNIT = 0.05
"""Spread over the hand's size at which the confidence has fallen to 1 / e."""


@dataclass(frozen=True)
class Looks:
    """Hands in squares of a photo, one row for each.

    Attributes:
        frame: The square.
        joints_px: Joints in the photo, pixels.
        world: Joints in space, metres from the hand's centre, axes of the photo (x right, y down, z away).
        presence: Probability that the square shows a hand.
        right: Probability that it is a right hand.
        right_spread: Largest difference between the looks in this probability; 0 for a single look.
        spread: Mean distance of the looks to their mean for each joint, over the hand's size; 0 for a single look.
        palm: Score of the palm that led here; 0 without one.
    """

    frame: CropFrame
    joints_px: Float[Tensor, "n 21 2"]
    world: Float[Tensor, "n 21 3"]
    presence: Float[Tensor, " n"]
    right: Float[Tensor, " n"]
    right_spread: Float[Tensor, " n"]
    spread: Float[Tensor, "n 21"]
    palm: Float[Tensor, " n"]

    @property
    def size(self) -> Float[Tensor, " n"]:
        """Larger side of the joints' box, pixels."""
        return (self.joints_px.amax(1) - self.joints_px.amin(1)).amax(1).clamp(min=1e-3)

    @property
    def confidence(self) -> Float[Tensor, "n 21"]:
        """Presence times exp(-spread / 0.05): 1 where all looks agree, 0.37 where they differ by 5 % of the hand."""
        return self.presence[:, None] * (-self.spread / SPREAD_UNIT).exp()

    @property
    def certainty(self) -> Float[Tensor, " n"]:
        """One number for the hand, to compare hands with: mean of its presence and its joints' mean confidence."""
        return (self.presence + self.confidence.mean(1)) / 2


@torch.no_grad()
def run_network(
    network: HandLandmarkNetwork, photo: UInt8[ndarray, "height width 3"], frame: CropFrame, mirrored: bool
) -> Float[Tensor, "n 128"]:
    """Run the network on squares of a photo, without waiting for a GPU.

    Args:
        network: The hand landmark network.
        photo: RGB.
        frame: The squares.
        mirrored: Whether the network sees the mirror image of each square.

    Returns:
        The 63 numbers of the joints, the 63 of the joints in space, presence and side, on the network's device.
    """
    weight = next(network.parameters())
    crops = cut_squares(photo, frame, SIZE)
    crops = to_device(crops.flip(-1) if mirrored else crops, weight.device).to(weight.dtype)
    seen = network(crops.contiguous(memory_format=torch.channels_last))
    alone = torch.stack((seen.presence, seen.right), 1)
    return torch.cat((seen.joints.flatten(1), seen.world.flatten(1), alone), 1).float()


@torch.no_grad()
def look(
    network: HandLandmarkNetwork,
    photo: UInt8[ndarray, "height width 3"],
    frame: CropFrame,
    palm: Float[Tensor, " n"] | None = None,
    mirrored: bool = False,
) -> Looks:
    """Look once at each square, in one batch.

    Args:
        network: From :func:`dhpe_lib.network.hand_landmarks.load_hand_landmarks`.
        photo: RGB.
        frame: The squares.
        palm: Score of the palm that led to each square.
        mirrored: Look at the mirror image of each square; the result is for the photo as it is.

    Returns:
        One row for each square.
    """
    return looks_of(run_network(network, photo, frame, mirrored).cpu(), frame, palm, mirrored)


def looks_of(
    numbers: Float[Tensor, "n 128"], frame: CropFrame, palm: Float[Tensor, " n"] | None, mirrored: bool
) -> Looks:
    """Convert the numbers of :func:`run_network`, on the CPU, to looks; the arguments are those of :func:`look`."""
    joints, world = (values.unflatten(1, (21, 3)) for values in numbers[:, :126].split(63, 1))
    presence, right = numbers[:, 126:].unbind(1)
    flip = -1.0 if mirrored else 1.0
    joints, world = joints[..., :2] * torch.tensor([flip, 1]), world * torch.tensor([flip, 1, 1])
    turn = CropFrame(torch.zeros_like(frame.center), torch.ones_like(frame.side), frame.angle)
    world = torch.cat((turn.to_image(world[..., :2]), world[..., 2:]), -1)
    spread = torch.zeros(joints.shape[:2])
    palm = torch.zeros_like(presence) if palm is None else palm
    right = 1 - right if mirrored else right
    return Looks(frame, frame.to_image(joints), world, presence, right, torch.zeros_like(presence), spread, palm)


def look_again(
    network: HandLandmarkNetwork, photo: UInt8[ndarray, "height width 3"], hands: Looks, looks: int = len(VARIANTS)
) -> Looks:
    """Look at hands whose joints are roughly known, each from several squares around the joints.

    Args:
        network: The hand landmark network.
        photo: RGB.
        hands: From :func:`look`.
        looks: Number of looks at each hand, 1 to 3.

    Returns:
        Joints, world and side are means of these looks and the one before, weighted by presence; the presence is the
        mean of these looks, and the spread of the side is theirs. The frame is the square around the joints.
    """
    base = squares_of_joints(hands.joints_px)
    squares = [
        (CropFrame(base.center, scale * base.side, base.angle + turn), mirrored)
        for turn, scale, mirrored in VARIANTS[:looks]
    ]
    # All looks are begun before one is read, so the host waits once for a GPU.
    numbers = torch.stack([run_network(network, photo, frame, mirrored) for frame, mirrored in squares]).cpu()
    pairs = zip(numbers, squares, strict=True)
    seen = [hands] + [looks_of(its, frame, hands.palm, mirrored) for its, (frame, mirrored) in pairs]
    presence = torch.stack([one.presence for one in seen])
    weight = presence.clamp(min=1e-3)
    weight = (weight / weight.sum(0))[..., None, None]
    joints = torch.stack([one.joints_px for one in seen])
    mean = (weight * joints).sum(0)
    world = (weight * torch.stack([one.world for one in seen])).sum(0)
    rights = torch.stack([one.right for one in seen])
    right = (weight[..., 0, 0] * rights).sum(0)
    right_spread = rights[1:].amax(0) - rights[1:].amin(0)
    distance = (weight[..., 0] * (joints - mean).norm(dim=-1)).sum(0)
    merged = Looks(base, mean, world, presence[1:].mean(0), right, right_spread, distance, hands.palm)
    return replace(merged, spread=distance / merged.size[:, None])


def check_side(network: HandLandmarkNetwork, photo: UInt8[ndarray, "height width 3"], hands: Looks) -> Looks:
    """Look once more at each hand, from its final joints and at the mirror image, to see whether the side stays.

    If two hands cross, all looks of :func:`look_again` may see the same hand. This look may then see the other one.

    Args:
        network: The hand landmark network.
        photo: RGB.
        hands: From :func:`look_again`.

    Returns:
        The hands; their `right_spread` counts this look too.
    """
    base, (turn, scale, mirrored) = squares_of_joints(hands.joints_px), MIRRORED
    seen = look(network, photo, CropFrame(base.center, scale * base.side, base.angle + turn), hands.palm, mirrored)
    return replace(hands, right_spread=torch.maximum(hands.right_spread, (seen.right - hands.right).abs()))
