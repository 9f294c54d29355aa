"""Small pictures of hand meshes from a fixed side, and colours that show which vertices moved.

Nothing here has a gradient.
"""

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from dhpe_lib.figures.palette import MOVED, STAYED
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.rotations import axis_angle_to_matrix
from dhpe_lib.hand.skinning import pose_features
from dhpe_lib.rendering.renderer import Rendering, render

FINGERS_UP = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
"""View of a right hand in the model's frame: fingers up, palm to the camera."""
FROM_LITTLE_FINGER = torch.tensor([[-1.0, 0, 0], [0, -1, 0], [0, 0, 1]])
"""View from the side of the little finger."""
GREY, PAPER = 0.76, 0.93


def mesh_stills(
    vertices: Float[Tensor, "b v 3"],
    faces: Integer[Tensor, "f 3"],
    view: Float[Tensor, "3 3"] = FINGERS_UP,
    colors: Float[Tensor, "*b v 3"] | None = None,
    size: int = 220,
    reach: float = 0.23,
    together: bool = False,
) -> Rendering:
    """Render a small picture of each mesh before a plain background.

    Args:
        vertices: Meshes, metres.
        faces: Their triangles.
        view: Rotation from the model's frame to the camera's.
        colors: Colours of the vertices; without them the meshes are grey.
        size: Side of a picture, pixels.
        reach: Metres that fill one picture.
        together: Whether all meshes have one common centre, so that they can be compared; else each has its own.

    Returns:
        The renderings, one for each mesh.
    """
    seen = vertices @ view.to(vertices).mT / reach
    box = seen.flatten(0, 1)[None] if together else seen
    seen = seen - (box.amin(1, keepdim=True) + box.amax(1, keepdim=True)) / 2
    colors = torch.full_like(vertices[0], GREY) if colors is None else colors
    return render(seen, faces, colors, seen.new_full((size, size, 3), PAPER), size)


def model_steps(
    model: HandModel, pose: Float[Tensor, "1 45"], shape: Float[Tensor, "1 10"], size: int = 220
) -> dict[str, Float[Tensor, "size size 3"]]:
    """Draw the four steps from the template to a posed hand; the vertices that a step moves are red.

    Args:
        model: The hand model.
        pose: Pose p, radians.
        shape: Shape s, standard deviations.
        size: Side of a picture, pixels.

    Returns:
        Caption -> picture.
    """
    template, shaped = model().vertices, model(shape=shape).vertices
    features = pose_features(axis_angle_to_matrix(pose.unflatten(1, (15, 3))))[0]
    corrected, posed = shaped + model.posedirs @ features, model(pose=pose, shape=shape).vertices
    steps = {
        "template": (template, template),
        "+ B_S: this person": (template, shaped),
        "+ B_P: correctives of the pose": (shaped, corrected),
        "the sum over the bones": (corrected, posed),
    }
    return {
        name: mesh_stills(after, model.faces, colors=moved_colors(before, after), size=size, reach=0.27).image[0]
        for name, (before, after) in steps.items()
    }


def moved_colors(before: Float[Tensor, "*#b v 3"], after: Float[Tensor, "b v 3"]) -> Float[Tensor, "b v 3"]:
    """Colour the vertices that moved between two meshes: grey without motion, red for the largest motion of a mesh.

    Args:
        before: Vertices, metres.
        after: The same vertices after the motion.

    Returns:
        Colours, in [0, 1].
    """
    distance = (after - before).norm(dim=-1, keepdim=True)
    share = distance / distance.amax(1, keepdim=True).clamp_min(1e-9)
    return after.new_tensor(STAYED).lerp(after.new_tensor(MOVED), share)
