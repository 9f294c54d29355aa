"""A moving hand for players of animated files, which skin with four joints a vertex.

Players skin as the hand model does, so joint rotations carry nearly all of the motion. The rest is small: the hand
model corrects its vertices for the pose before it skins them, and a player uses only the four largest weights of a
vertex. These differences become offsets of the flat hand, added before skinning. A few directions hold the offsets of
a whole clip to a tenth of a millimetre. Nothing here has a gradient.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from dhpe_lib.common.arguments import check_fields, checked
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.rotations import axis_angle_to_matrix
from dhpe_lib.hand.skinning import blend_shape, joint_transforms

TOLERANCE = 1e-4
FRAMES_FOR_DIRECTIONS = 256
AT_A_TIME = 256
WEIGHTS_OF_A_VERTEX = 4


@dataclass(frozen=True)
class HandTrack:
    """One hand over time, in metres and the camera's frame (x right, y down, z away).

    Attributes:
        model: The hand model of its side.
        times: Time of each key, seconds, increasing.
        pose: Axis-angle vectors of the 15 finger joints relative to the flat hand, radians.
        shape: Shape coefficients; one hand keeps its shape.
        rotation: Global rotation R about the origin of the model's frame.
        translation: Global translation: v' = R v + translation.
        colors: RGB of each vertex; by default skin.
    """

    model: HandModel
    times: Float[Tensor, " n"]
    pose: Float[Tensor, "n 45"]
    shape: Float[Tensor, " 10"]
    rotation: Float[Tensor, "n 3 3"]
    translation: Float[Tensor, "n 3"]
    colors: UInt8[ndarray, "v 3"] | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if len(self.times) == 0:
            raise ValueError("a track without keys is no animation; give at least one time")
        if not (self.times.diff() > 0).all():
            raise ValueError("the times of a track must increase")
        numbers = (self.times, self.pose, self.shape, self.rotation, self.translation)
        if not all(part.isfinite().all() for part in numbers):
            raise ValueError("a track holds a number that is not finite")


@dataclass(frozen=True)
class Rig:
    """A hand for players that blend four joints a vertex: v = skin(rest + sum_k coefficient_k direction_k).

    Attributes:
        rest: Vertices of the flat hand, metres.
        joints: Joints of the flat hand in MANO's order, metres.
        weights: Skinning weights; at most four of a row are positive.
        directions: Offsets at rest.
        coefficients: Weight of each direction at each key.
        error: Largest distance of a vertex to the hand model's over all keys, metres.
    """

    rest: Float[Tensor, "v 3"]
    joints: Float[Tensor, "16 3"]
    weights: Float[Tensor, "v 16"]
    directions: Float[Tensor, "k v 3"]
    coefficients: Float[Tensor, "n k"]
    error: float


def make_rig(track: HandTrack, tolerance: float = TOLERANCE) -> Rig:
    """Find the skin of a clip and the fewest directions that correct it.

    The offsets at rest that make skinning exact are computed for each key: inverse skinning of the hand model's mesh.
    Their leading singular vectors are the directions.

    Args:
        track: The hand.
        tolerance: Largest distance of a vertex to the hand model's, metres.

    Returns:
        The rig.

    Source: the Eckart-Young theorem.
    """
    model, shape = track.model, track.shape[None].to(track.model.v_template)
    rest = model.v_template + blend_shape(shape, model.shapedirs)[0]
    joints, weights = model.rest_joints(shape)[0], four_weights(model.weights)
    parts = [_offsets(track, part, rest, weights) for part in torch.arange(len(track.times)).split(AT_A_TIME)]
    offsets = torch.cat(parts)
    few = torch.linspace(0, len(offsets) - 1, min(len(offsets), FRAMES_FOR_DIRECTIONS)).round().long()
    basis = torch.linalg.svd(offsets[few].flatten(1), full_matrices=False).Vh
    left, used = offsets.flatten(1), 0
    while used < len(basis) and _largest(left) > tolerance:
        left = left - (left @ basis[used])[:, None] * basis[used]
        used += 1
    directions = basis[:used]
    coefficients = offsets.flatten(1) @ directions.mT
    return Rig(rest, joints, weights, directions.unflatten(1, (-1, 3)), coefficients, _largest(left))


@checked()
def four_weights(weights: Float[Tensor, "v 16"]) -> Float[Tensor, "v 16"]:
    """Keep the four largest weights of each vertex, with sum 1.

    Args:
        weights: Skinning weights.

    Returns:
        The weights that players use.
    """
    top = weights.topk(WEIGHTS_OF_A_VERTEX, dim=1)
    kept = torch.zeros_like(weights).scatter(1, top.indices, top.values)
    return kept / kept.sum(1, keepdim=True)


def _offsets(track: HandTrack, keys: Tensor, rest: Tensor, weights: Tensor) -> Float[Tensor, "n v 3"]:
    """Offsets at rest with which skinning by four weights gives the hand model's mesh, at some keys."""
    model = track.model
    pose, shape = track.pose[keys].to(rest), track.shape.to(rest).expand(len(keys), -1)
    with torch.no_grad():
        goal = model(pose, shape).vertices
        local = axis_angle_to_matrix(pose.unflatten(1, (15, 3)))
        motion = torch.einsum("vj,njrc->nvrc", weights, joint_transforms(local, model.rest_joints(shape)))
        return torch.linalg.solve(motion[..., :3], goal - motion[..., 3]) - rest


def _largest(offsets: Float[Tensor, "n c"]) -> float:
    """Length of the largest offset; skinning hardly changes lengths."""
    return float(offsets.unflatten(1, (-1, 3)).norm(dim=-1).max())
