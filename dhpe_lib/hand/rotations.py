"""Convert rotations between axis-angle vectors, unit quaternions and matrices, with finite gradients at 0 and pi.

Convention: column vectors, ``v' = R v``. An axis-angle vector points along the axis and its length is the angle in
radians (right-handed). Quaternions are ``(w, x, y, z)``. All functions take any leading batch dimensions and keep the
dtype and device of their input. The chapter is *MANO*, section *Rotations*.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from dhpe_lib.common.arguments import check_at_least, check_precision, checked

# Below this squared angle the Taylor series has a smaller error than the quotient of two rounded numbers.
SMALL_SQUARED = {torch.float32: 1e-4, torch.float64: 1e-6}


@checked()
def axis_angle_to_matrix(axis_angle: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    r"""Convert axis-angle vectors to rotation matrices by Rodrigues' formula.

    With :math:`\theta = |r|`,
    :math:`R = \cos\theta\, I + \frac{\sin\theta}{\theta} [r]_\times + \frac{1 - \cos\theta}{\theta^2} r r^T`.

    Args:
        axis_angle: Axis-angle vectors r, radians.

    Returns:
        Rotation matrices. At r = 0 the result is the identity, with the exact derivative :math:`[\cdot]_\times`.

    Source: Rodrigues 1840; Murray, Li, Sastry, *A Mathematical Introduction to Robotic Manipulation*, Eq. 2.14.
    """
    check_precision("axis_angle", axis_angle)
    squared = (axis_angle * axis_angle).sum(-1)
    cos, sine_ratio, cosine_ratio = _rodrigues_coefficients(squared)
    x, y, z = axis_angle.unbind(-1)
    sx, sy, sz = sine_ratio * x, sine_ratio * y, sine_ratio * z
    cx, cy, cz = cosine_ratio * x, cosine_ratio * y, cosine_ratio * z
    xy, xz, yz = cx * y, cx * z, cy * z
    rows = (cos + cx * x, xy - sz, xz + sy, xy + sz, cos + cy * y, yz - sx, xz - sy, yz + sx, cos + cz * z)
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def _rodrigues_coefficients(
    squared: Float[Tensor, "*batch"],
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Return cos(t), sin(t)/t and (1 - cos(t))/t^2 as smooth functions of t^2."""
    small = squared < SMALL_SQUARED[squared.dtype]
    # The backward pass also runs through the unused branch of torch.where, so that branch gets a safe angle.
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    sine_ratio = torch.where(small, 1 - squared / 6 + squared**2 / 120, angle.sin() / angle)
    cosine_ratio = torch.where(small, 0.5 - squared / 24 + squared**2 / 720, (1 - angle.cos()) / safe)
    return 1 - cosine_ratio * squared, sine_ratio, cosine_ratio


@checked()
def quaternion_to_matrix(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    r"""Convert quaternions of any length to rotation matrices; they are normalised first.

    For q = (w, u): :math:`R = I + \frac{2}{|q|^2} (w [u]_\times + [u]_\times^2)`.

    Args:
        quaternion: (w, x, y, z) of any length. The zero quaternion gives the identity.

    Returns:
        Rotation matrices. The gradient along q is zero, since the length of q has no effect.

    Source: Shepperd 1978; the network's c_q becomes a quaternion in
        :meth:`dhpe_lib.hand.model.HandModel.forward_h`.
    """
    w, x, y, z = quaternion.unbind(-1)
    squared = (quaternion * quaternion).sum(-1)
    s = 2 / squared.clamp_min(torch.finfo(quaternion.dtype).tiny)
    xx, yy, zz, xy, xz, yz = s * x * x, s * y * y, s * z * z, s * x * y, s * x * z, s * y * z
    wx, wy, wz = s * w * x, s * w * y, s * w * z
    rows = (1 - yy - zz, xy - wz, xz + wy, xy + wz, 1 - xx - zz, yz - wx, xz - wy, yz + wx, 1 - xx - yy)
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


@checked()
def matrix_to_quaternion(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    r"""Convert rotation matrices to unit quaternions with w >= 0.

    The matrix :math:`4 q q^T` is linear in R; its row i is :math:`4 q_i q`. The row with the largest diagonal entry
    has length 2 or more, so it can be normalised safely for every rotation, including half turns.

    Args:
        matrix: Rotation matrices.

    Returns:
        (w, x, y, z) of unit length. The choice of the row and the sign have no gradient.

    Source: Bar-Itzhack 2000, Eq. 4, for exact rotations.
    """
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = matrix.flatten(-2).unbind(-1)
    wx, wy, wz = m21 - m12, m02 - m20, m10 - m01
    xy, xz, yz = m01 + m10, m02 + m20, m12 + m21
    ww, xx, yy, zz = 1 + m00 + m11 + m22, 1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22
    outer = torch.stack((ww, wx, wy, wz, wx, xx, xy, xz, wy, xy, yy, yz, wz, xz, yz, zz), dim=-1).unflatten(-1, (4, 4))
    best = outer.diagonal(dim1=-2, dim2=-1).argmax(-1)
    row = outer.gather(-2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    quaternion = row / row.norm(dim=-1, keepdim=True)
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


@checked()
def matrix_to_axis_angle(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    r"""Convert rotation matrices to axis-angle vectors of length at most pi.

    With the quaternion (w, u), :math:`r = 2\,\mathrm{atan2}(|u|, w)\, u / |u|`. Near the identity the series in
    :math:`|u|/w` is used.

    Args:
        matrix: Rotation matrices.

    Returns:
        Axis-angle vectors, radians. A half turn has two such vectors; one is returned.

    Source: the logarithm on SO(3); Sola, Deray, Atchuthan 2018, Eq. 133.
    """
    check_precision("matrix", matrix)
    quaternion = matrix_to_quaternion(matrix)
    w, u = quaternion[..., :1], quaternion[..., 1:]
    squared = (u * u).sum(-1, keepdim=True)
    small = squared < SMALL_SQUARED[matrix.dtype]
    length = torch.where(small, torch.ones_like(squared), squared).sqrt()
    safe_w = torch.where(small, w, torch.ones_like(w))
    tangent_squared = squared / safe_w**2
    series = 2 / safe_w * (1 - tangent_squared / 3 + tangent_squared**2 / 5)
    return torch.where(small, series, 2 * torch.atan2(length, w) / length) * u


@checked()
def random_rotations(n: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Float[Tensor, "n 3 3"]:
    """Sample rotations uniformly (Haar measure on SO(3)).

    Args:
        n: Number of rotations.
        generator: Random number generator; the result is on its device.
        dtype: Floating type of the result.

    Returns:
        Rotation matrices.

    Raises:
        ValueError: n is negative.

    Source: normalised Gaussian quaternions, Shoemake 1992.
    """
    check_at_least("n", n, 0)
    return quaternion_to_matrix(torch.randn(n, 4, generator=generator, dtype=dtype, device=generator.device))


@checked()
def matrix_to_6d(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 6"]:
    """Convert rotation matrices to six numbers: the first column, then the second.

    HMR, HaMeR and WiLoR use this order. PyTorch3D takes rows instead of columns: transpose the matrix for it.

    Args:
        matrix: Rotation matrices.

    Returns:
        Six numbers without unit.

    Source: Zhou et al. 2019, *On the Continuity of Rotation Representations in Neural Networks*, Sec. 4.2.
    """
    return matrix[..., :2].transpose(-1, -2).flatten(-2)


@checked()
def matrix_from_6d(numbers: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 3 3"]:
    """Convert six numbers to rotation matrices: Gram-Schmidt on the first two columns.

    Args:
        numbers: The first column, then the second; they need not be orthogonal or of length 1, but not parallel.

    Returns:
        Rotation matrices, differentiable.

    Source: Zhou et al. 2019, Eq. 15.
    """
    first, second = numbers.unflatten(-1, (2, 3)).unbind(-2)
    x = torch.nn.functional.normalize(first, dim=-1)
    y = torch.nn.functional.normalize(second - (x * second).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack((x, y, torch.linalg.cross(x, y)), dim=-1)
