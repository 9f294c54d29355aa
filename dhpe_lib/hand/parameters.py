"""The parameter vector h = [pose 45, shape 10, quaternion 4, scale 1, translation 3] (Eq. 4)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dhpe_lib.common.arguments import checked
from dhpe_lib.common.devices import constant_like


@checked()
def mirror_h(h: Float[Tensor, "b 63"]) -> Float[Tensor, "b 63"]:
    """Mirror parameter vectors: the mirrored model with them gives the mesh with x negated.

    With M = diag(-1, 1, 1), a rotation becomes M R M. An axis-angle vector (x, y, z) becomes (x, -y, -z), and a
    quaternion (w, x, y, z) becomes (w, x, -y, -z).

    Args:
        h: [pose 45 in radians, shape 10 in standard deviations, c_q 4, c_s 1, c_t 3 in metres times scale].

    Returns:
        Parameter vectors in the layout of h.

    Source: :func:`dhpe_lib.hand.io.mirror_hand`.
    """
    signs = (1.0, -1.0, -1.0) * 15 + (1.0,) * 10 + (1.0, 1.0, -1.0, -1.0) + (1.0,) + (-1.0, 1.0, 1.0)
    return h * constant_like(signs, h)


@checked()
def turn_h(h: Float[Tensor, "b 63"], angle: Float[Tensor, " b"]) -> Float[Tensor, "b 63"]:
    """Turn hands about the z axis through the origin: each point (x, y, z) of the mesh is rotated from x towards y.

    Args:
        h: Parameter vectors (Eq. 4).
        angle: Rotation, radians.

    Returns:
        Parameter vectors of the turned hands.

    Source: v' = R_z v with v = s R X + t gives R' = R_z R and t' = R_z t; a product of quaternions for R_z R.
    """
    parts, (cos, sin) = split_h(h), ((angle / 2).cos()[:, None], (angle / 2).sin()[:, None])
    identity = constant_like((1.0, 0.0, 0.0, 0.0), h)
    w, x, y, z = (identity + parts.quaternion).split(1, 1)
    turned = torch.cat((cos * w - sin * z, cos * x - sin * y, cos * y + sin * x, cos * z + sin * w), 1)
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    right, down, depth = parts.translation.split(1, 1)
    moved = torch.cat((cos * right - sin * down, sin * right + cos * down, depth), 1)
    return torch.cat((h[:, :55], turned - identity, parts.scale, moved), 1)


# Below this c_s the scale follows an exponential instead of 1 + c_s. A negative scale would turn the hand inside out.
LINEAR_SCALE_FROM = -0.5


@dataclass(frozen=True)
class HandParameters:
    """The five parts of h (Eq. 4); the camera parts are offsets from the identity camera.

    Attributes:
        pose: Axis-angle vectors of the 15 finger joints, radians.
        shape: Shape coefficients, standard deviations.
        quaternion: c_q, added to (1, 0, 0, 0).
        scale: c_s, added to 1.
        translation: c_t, metres times scale.
    """

    pose: Float[Tensor, "b 45"]
    shape: Float[Tensor, "b 10"]
    quaternion: Float[Tensor, "b 4"]
    scale: Float[Tensor, "b 1"]
    translation: Float[Tensor, "b 3"]


@checked()
def split_h(h: Float[Tensor, "b 63"]) -> HandParameters:
    """Split h = [pose 45, shape 10, c_q 4, c_s 1, c_t 3] into its parts.

    Args:
        h: Parameter vectors; the units are those of :class:`HandParameters`.

    Returns:
        Views of h.

    Source: Eq. 4.
    """
    return HandParameters(*h.split((45, 10, 4, 1, 3), dim=1))


@checked()
def positive_scale(offset: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Convert c_s to a positive scale: 1 + c_s, and 0.5 exp(2 c_s + 1) below c_s = -0.5.

    Args:
        offset: c_s, no unit.

    Returns:
        The scale; its value and slope are continuous.

    Source: PAPER.md Sec. 9.1.
    """
    low = offset.clamp_max(LINEAR_SCALE_FROM)
    floor = 1 + LINEAR_SCALE_FROM
    return torch.where(offset > LINEAR_SCALE_FROM, 1 + offset, floor * ((low - LINEAR_SCALE_FROM) / floor).exp())
