"""The parameter vector h = [pose 45, shape 10, quaternion 4, scale 1, translation 3] (Eq. 4)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


def mirror_h(h: Float[Tensor, "b 63"]) -> Float[Tensor, "b 63"]:
    """Parameters of the other hand, for the mirrored model: its mesh is this one's with x negated.

    With M = diag(-1, 1, 1), a rotation becomes M R M: axis-angle (x, y, z) to (x, -y, -z), quaternion likewise.

    Args:
        h: [pose 45, shape 10, c_q 4, c_s 1, c_t 3].

    Returns:
        The same layout.

    Source: :func:`dhpe_lib.hand.io.mirror_hand`.
    """
    signs = torch.tensor([1.0, -1, -1] * 15 + [1] * 10 + [1, 1, -1, -1] + [1] + [-1, 1, 1])
    return h * signs.to(h)


# Below this c_s the scale 1 + c_s bends into an exponential, so that no step of a fit can turn the hand inside out.
LINEAR_SCALE_FROM = -0.5


@dataclass(frozen=True)
class HandParameters:
    """The five parts of h (Eq. 4) as they stand in the vector: offsets from the identity camera."""

    pose: Float[Tensor, "b 45"]
    shape: Float[Tensor, "b 10"]
    quaternion: Float[Tensor, "b 4"]
    scale: Float[Tensor, "b 1"]
    translation: Float[Tensor, "b 3"]


def split_h(h: Float[Tensor, "b 63"]) -> HandParameters:
    """Name the parts of h = [pose 45, shape 10, c_q 4, c_s 1, c_t 3].

    Args:
        h: Parameter vectors.

    Returns:
        Views of h.

    Source: Eq. 4.
    """
    return HandParameters(*h.split((45, 10, 4, 1, 3), dim=1))


def positive_scale(offset: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Turn c_s into a scale: 1 + c_s, continued below c_s = -0.5 by 0.5 exp(2 c_s + 1), which never reaches zero.

    Args:
        offset: c_s.

    Returns:
        The scale; value and slope are continuous.

    Source: PAPER.md Sec. 9.1.
    """
    low = offset.clamp_max(LINEAR_SCALE_FROM)
    floor = 1 + LINEAR_SCALE_FROM
    return torch.where(offset > LINEAR_SCALE_FROM, 1 + offset, floor * ((low - LINEAR_SCALE_FROM) / floor).exp())
