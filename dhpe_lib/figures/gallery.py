"""Small pictures of estimated hands: mesh, skeleton and heat maps over their crop, the mesh alone, and its mask.

All meshes are in the crop frame, units of g, on the CPU or a GPU. Pictures have values in [0, 1] and the size of the
crop. Nothing here has a gradient.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor
from torch.nn.functional import interpolate

from dhpe_lib.common.records import to_numpy
from dhpe_lib.figures.drawing import draw_skeleton
from dhpe_lib.figures.palette import JOINT_COLORS, MESH_OPAQUE, MESH_SEE_THROUGH, PAPER
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.rotations import axis_angle_to_matrix
from dhpe_lib.rendering.renderer import render

Picture = Float[ndarray, "height width 3"]

OPACITY = 0.6
"""Opacity of a mesh over its crop, and of the colours of a mask."""
MISSED, CLAIMED, RIGHT = (0.90, 0.22, 0.27), (0.96, 0.64, 0.14), (0.25, 0.64, 0.30)
"""Colours of pixels of the hand that a mask lacks, of pixels that it has wrongly, and of those that it has rightly."""
FILLED = 0.8
"""Share of the picture's side that a hand fills when it is shown alone."""
GREY, TWO_SIDES_SIZE = (0.75, 0.75, 0.75), 300
"""Colour of a mesh behind skeletons, and the side of such a picture in pixels."""
DARK = 0.35
"""Brightness that is left of a crop below its heat maps, so that these can be seen."""


def mesh_over(image: Float[Tensor, "3 s s"], vertices: Float[Tensor, "v 3"], model: HandModel) -> Picture:
    """Draw a see-through mesh over its crop.

    Args:
        image: Crop, in [0, 1].
        vertices: The mesh.
        model: Its faces are used.

    Returns:
        The picture.
    """
    photo = image.permute(1, 2, 0)
    drawn = _drawn(vertices, model, MESH_SEE_THROUGH, photo)
    return to_numpy(photo.lerp(drawn, OPACITY))


def skeleton_over(image: Float[Tensor, "3 s s"], joints: Float[Tensor, "21 xy"]) -> Picture:
    """Draw a skeleton over its crop, each finger in its colour.

    Args:
        image: Crop, in [0, 1].
        joints: Joints of the crop frame, in canonical order; only x and y are used.

    Returns:
        The picture.
    """
    levels = to_numpy((255 * image).byte().permute(1, 2, 0))
    return draw_skeleton(levels, len(levels) * (joints[:, :2] + 0.5)) / 255


def heat_over(image: Float[Tensor, "3 s s"], maps: Float[Tensor, "21 n n"]) -> Picture:
    """Draw 21 heat maps over their crop, each in the colour of its finger; the crop becomes grey and dark.

    The opacity is the root of the highest map, so that low maps can be seen, too.

    Args:
        image: Crop, in [0, 1]; zeros show the maps alone.
        maps: Heat maps; values are clamped to [0, 1].

    Returns:
        The picture.
    """
    colors = maps.new_tensor([[int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)] for color in JOINT_COLORS])
    large = interpolate(maps[None], image.shape[-1], mode="bilinear")[0].clamp(0, 1)
    tint = torch.einsum("jhw,jc->hwc", large, colors) / large.sum(0).clamp_min(1e-6)[..., None]
    share = large.amax(0).sqrt()[..., None]
    return to_numpy(DARK * image.mean(0)[..., None] * (1 - share) + tint * share)


def mesh_alone(vertices: Float[Tensor, "v 3"], model: HandModel, size: int = 224, turn: float = 0.0) -> Picture:
    """Draw a mesh before a plain background, turned about the vertical axis and as large as the picture allows.

    Args:
        vertices: The mesh.
        model: Its faces are used.
        size: Side of the picture, pixels.
        turn: Angle about the vertical axis, radians; with pi / 2 the hand is seen from the side.

    Returns:
        The picture.
    """
    axis = vertices.new_tensor([[0.0, turn, 0.0]])
    turned = (vertices - vertices.mean(0)) @ axis_angle_to_matrix(axis)[0].T
    low, high = turned.amin(0), turned.amax(0)
    placed = (turned - (low + high) / 2) * (FILLED / (high - low)[:2].max())
    paper = placed.new_tensor(PAPER).div(255).expand(size, size, 3)
    return to_numpy(_drawn(placed, model, MESH_OPAQUE, paper))


def from_two_sides(
    vertices: Float[Tensor, "v 3"], skeletons: Mapping[str, Float[Tensor, "21 3"]], model: HandModel, reach: float
) -> dict[str, Picture]:
    """Draw skeletons over a grey mesh, first each from the camera and then each from the side.

    From the side the camera is to the left, so farther points are farther to the right.

    Args:
        vertices: The mesh in the camera frame, any unit.
        skeletons: Name -> joints in canonical order, in the frame and the unit of the mesh.
        model: Its faces are used.
        reach: Length that fills one picture, in the unit of the mesh.

    Returns:
        Caption -> picture.
    """
    middle, paper = vertices.mean(0), vertices.new_tensor(PAPER).div(255).expand(TWO_SIDES_SIZE, TWO_SIDES_SIZE, 3)
    pictures = {}
    for side, turn in (("from the camera", 0.0), ("from the side", SIDE_VIEW)):
        rotation = axis_angle_to_matrix(vertices.new_tensor([[0.0, turn, 0.0]]))[0].T / reach
        behind = _drawn((vertices - middle) @ rotation, model, GREY, paper).permute(2, 0, 1)
        for name, joints in skeletons.items():
            pictures[f"{name}, {side}"] = skeleton_over(behind, (joints - middle) @ rotation)
    return pictures


def canonical_vertices(model: HandModel, shape: Float[Tensor, " 10"]) -> Float[Tensor, "v 3"]:
    """Return a person's hand in the mean pose with the fingers up and the palm to the camera, as in the paper's Fig. 6.

    Args:
        model: The hand model.
        shape: Shape s, standard deviations.

    Returns:
        Vertices, metres.
    """
    upright = shape.new_tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
    with torch.no_grad():
        mesh = model(pose=model.hands_mean[None], shape=shape[None])
    return mesh.vertices[0] @ upright.T


def mask_comparison(image: Float[Tensor, "3 s s"], found: Bool[Tensor, "s s"], truth: Bool[Tensor, "s s"]) -> Picture:
    """Colour the pixels of two masks over a crop: right ones green, missed ones red, wrongly claimed ones yellow.

    Args:
        image: Crop, in [0, 1].
        found: Estimated mask.
        truth: True mask.

    Returns:
        The picture.
    """
    picture = to_numpy(image.permute(1, 2, 0)).copy()
    for chosen, color in ((found & truth, RIGHT), (~found & truth, MISSED), (found & ~truth, CLAIMED)):
        rows = to_numpy(chosen)
        picture[rows] += OPACITY * (np.array(color) - picture[rows])
    return picture


SIDE_VIEW = math.pi / 2
"""Turn of :func:`mesh_alone` that shows a hand from the side."""


def _drawn(
    vertices: Float[Tensor, "v 3"], model: HandModel, color: tuple[float, ...], behind: Float[Tensor, "s s 3"]
) -> Float[Tensor, "s s 3"]:
    """Render a mesh of one colour before a picture."""
    colors = vertices.new_tensor(color).expand(len(vertices), 3)
    with torch.no_grad():
        return render(vertices[None], model.faces, colors, behind[None], len(behind)).image[0]
