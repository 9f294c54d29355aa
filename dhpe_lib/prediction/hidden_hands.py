"""Hands that cross or touch other hands: the known hands are painted grey, then the search looks once more.

If two hands cross, both networks see the front hand only. The palm detector has no box for the other palm, and each
look at it slides to the front hand. Without the front hand both networks see the other one. Nothing has a gradient.
"""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.hand.skeleton import JOINT_NAMES, JOINT_PARENTS
from dhpe_lib.prediction.hand_looks import Looks
from dhpe_lib.prediction.hand_squares import cut_squares, squares_of_joints

FINGER = 0.16
"""Thickness of a covered finger over the hand's size; a bit more than the true one, to leave no skin."""
PALM = [JOINT_NAMES.index(name) for name in ("wrist", "thumb_1", "index_1", "middle_1", "ring_1", "little_1")]
GREY = (128, 128, 128)
VIEW, SIDE = 1.5, 448
"""Side of the view around a hand over that of the hand's square, and its side in pixels."""


def hands_mask(joints_px: Float[ndarray, "n 21 2"], width: int, height: int) -> Image.Image:
    """Draw hands as thick lines along their bones and as filled palms, with soft borders.

    Args:
        joints_px: Joints of each hand, pixels.
        width: Width of the picture.
        height: Height of the picture.

    Returns:
        Grey picture, 255 on the hands.
    """
    mask = Image.new("L", (width, height))
    draw = ImageDraw.Draw(mask)
    for joints in joints_px:
        thick = FINGER * float(np.ptp(joints, axis=0).max())
        places = [(float(x), float(y)) for x, y in joints]
        for joint, parent in enumerate(JOINT_PARENTS):
            draw.line([places[joint], places[max(parent, 0)]], 255, max(1, round(thick)))
        for x, y in places:
            draw.ellipse((x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2), 255)
        draw.polygon([places[joint] for joint in PALM], 255)
    return mask.filter(ImageFilter.GaussianBlur(1))


def without_hands(
    photo: UInt8[ndarray, "height width 3"], joints_px: Float[Tensor, "n 21 2"], view: CropFrame
) -> UInt8[ndarray, "side side 3"]:
    """Cut an upright square out of a photo and paint hands in it grey.

    Args:
        photo: RGB.
        joints_px: Joints of the hands, pixels of the photo.
        view: The square; one row, not turned.

    Returns:
        A picture of 448 x 448 pixels.
    """
    pixels = cut_squares(photo, view, SIDE)[0].permute(1, 2, 0)
    picture = Image.fromarray((255 * pixels).round().byte().numpy())
    joints = (view.to_crop(joints_px.reshape(1, -1, 2)) + 0.5) * SIDE
    mask = hands_mask(joints.reshape(-1, 21, 2).numpy(), SIDE, SIDE)
    return np.array(Image.composite(Image.new("RGB", picture.size, GREY), picture, mask))


def view_around(joints_px: Float[Tensor, "21 2"]) -> CropFrame:
    """The upright square around a hand, wide enough for a hand that crosses it."""
    square = squares_of_joints(joints_px[None])
    return CropFrame(square.center, VIEW * square.side, torch.zeros(1))


def placed_in_photo(hands: Looks, view: CropFrame) -> Looks:
    """Hands that were found in the picture of :func:`without_hands`, in pixels of the photo."""
    flat = hands.joints_px.reshape(1, -1, 2) / SIDE - 0.5
    joints = view.to_image(flat).reshape(-1, 21, 2)
    return replace(hands, joints_px=joints, frame=squares_of_joints(joints))
