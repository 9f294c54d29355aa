"""Blend shapes and linear blend skinning: the pure functions that :class:`dhpe_lib.hand.model.HandModel` calls.

Lengths are in metres, vectors are columns, and joints are in MANO's order. The chapter is *MANO*.
"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from dhpe_lib.common.arguments import checked
from dhpe_lib.common.precision import full_precision

HANDS_IN_CACHE = 128


@checked()
def blend_shape(shape: Float[Tensor, "b s"], shapedirs: Float[Tensor, "v 3 s"]) -> Float[Tensor, "b v 3"]:
    """Compute the shape blend shapes, a linear combination of the shape directions: B_S = sum_k shape_k S_k.

    Args:
        shape: Shape coefficients, standard deviations.
        shapedirs: Shape directions S_k: a displacement of every vertex for each coefficient, metres.

    Returns:
        Offsets from the template, metres.

    Source: SMPL (Loper et al. 2015), Eq. 8.
    """
    return torch.einsum("bs,vcs->bvc", shape, shapedirs)


@checked()
def pose_features(rotations: Float[Tensor, "b j 3 3"]) -> Float[Tensor, "b p"]:
    """Compute the pose features f: the entries of R_n - I, row by row, joint by joint.

    The pose blend shapes are B_P = sum_k f_k P_k, where P are the ``posedirs``.

    Args:
        rotations: Joint rotations without the wrist.

    Returns:
        9 numbers for each joint, no unit; zero for the flat hand.

    Source: SMPL (Loper et al. 2015), Eq. 9; MANO's ``bs_type`` "lrotmin".
    """
    return (rotations - torch.eye(3, dtype=rotations.dtype, device=rotations.device)).flatten(1)


@checked()
def joint_transforms(
    rotations: Float[Tensor, "b 15 3 3"], joints: Float[Tensor, "b 16 3"]
) -> Float[Tensor, "b 16 3 4"]:
    """Compute the rigid transform of each joint from rest to pose (forward kinematics).

    With G_k = G_parent R_k and t_k = t_parent + G_parent (J_k - J_parent), the transform is
    [G_k | t_k - G_k J_k]. Every finger has three joints, so three steps compute all five fingers
    in parallel. The wrist stays at rest.

    Args:
        rotations: Rotations R_k relative to the parents, in MANO's order without the wrist.
        joints: Rest joints J_k in MANO's order, metres.

    Returns:
        3 x 4 matrices with translations in metres; the wrist's is the identity.

    Source: SMPL (Loper et al. 2015), Eqs. 3 and 4.
    """
    local = rotations.unflatten(1, (5, 3))
    rest = joints[:, 1:].unflatten(1, (5, 3))
    first = local[:, :, 0]
    second = first @ local[:, :, 1]
    turned = torch.stack((first, second, second @ local[:, :, 2]), dim=2)
    # t_k - G_k J_k is the sum of (G_parent - G_k) J_k over the joints from wrist to joint k.
    identity = torch.eye(3, dtype=first.dtype, device=first.device)
    parents = torch.cat((identity.expand_as(turned[:, :, :1]), turned[:, :, :2]), dim=2)
    shift = ((parents - turned) @ rest[..., None]).cumsum(2)
    fingers = torch.cat((turned, shift), dim=-1).flatten(1, 2)
    wrist = torch.eye(3, 4, dtype=first.dtype, device=first.device)
    return torch.cat((wrist.expand(len(rotations), 1, 3, 4), fingers), dim=1)


class _Skin(torch.autograd.Function):
    """Skinning that recomputes its blended matrices in the backward pass instead of storing them.

    The blended matrices are twelve numbers for each vertex of each hand, 38 MB for a batch of 1024. Reading and writing
    them makes skinning slow on a CPU. Here a few hands are computed at a time, so the matrices stay in the cache. In
    all arrays the vertices are the last axis.
    """

    @staticmethod
    def forward(ctx: Any, vertices: Tensor, transforms: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(vertices, transforms, weights)
        columns = transforms.permute(0, 3, 2, 1).contiguous()
        posed = torch.empty_like(vertices)
        for s in _hand_slices(vertices):
            x, y, z, one = (columns[s] @ weights.mT).unbind(1)
            v = vertices[s, :, None]
            torch.addcmul(one, x, v[:, 0], out=posed[s]).addcmul_(y, v[:, 1]).addcmul_(z, v[:, 2])
        return posed

    @staticmethod
    @once_differentiable
    @full_precision
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        vertices, transforms, weights = ctx.saved_tensors
        rows = transforms[..., :3].permute(0, 2, 3, 1).contiguous()
        to_vertices, to_columns = torch.empty_like(vertices), torch.empty_like(transforms.permute(0, 3, 2, 1))
        for s in _hand_slices(vertices):
            x, y, z = (rows[s] @ weights.mT).unbind(1)
            g, v = gradient[s, :, None], vertices[s, :, None]
            torch.mul(x, g[:, 0], out=to_vertices[s]).addcmul_(y, g[:, 1]).addcmul_(z, g[:, 2])
            to_columns[s, :3] = (v * gradient[s, None]) @ weights
            to_columns[s, 3] = gradient[s] @ weights
        return to_vertices, to_columns.permute(0, 3, 2, 1), None


def _hand_slices(vertices: Tensor) -> Iterator[slice]:
    """Split the batch into slices that fit a CPU's cache; on a GPU and under `torch.compile` there is one slice."""
    if torch.compiler.is_compiling():  # a graph for batches of any size holds no loop over them
        return iter((slice(None),))
    step = HANDS_IN_CACHE if vertices.device.type == "cpu" else max(1, len(vertices))
    return (slice(start, start + step) for start in range(0, len(vertices), step))


@checked()
def skin(
    vertices: Float[Tensor, "b v 3"], transforms: Float[Tensor, "b j 3 4"], weights: Float[Tensor, "v j"]
) -> Float[Tensor, "b v 3"]:
    """Move each vertex by the weighted mean of the joint transforms: v' = (sum_j w_j A_j) [v, 1].

    Args:
        vertices: Rest vertices after the blend shapes, metres.
        transforms: Rigid transform A_j of each joint, translations in metres.
        weights: Skinning weights w_j; rows sum to 1.

    Returns:
        Posed vertices, metres (in memory, the vertices are the last axis). They have a gradient to vertices and
        transforms, no gradient to the weights, and no second derivatives.

    Source: linear blend skinning; SMPL (Loper et al. 2015), Eq. 2.
    """
    return _Skin.apply(vertices.transpose(1, 2), transforms, weights).transpose(1, 2)
