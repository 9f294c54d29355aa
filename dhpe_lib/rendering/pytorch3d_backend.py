"""PyTorch3D as the rasterizer, for users who have it: the same calls and conventions, `backend="pytorch3d"`.

PyTorch3D's screen has x to the left and y up, spans [-1, 1] along the smaller side, and holds what has a positive z.
"""

import math

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from dhpe_lib.rendering.rasterizer.fragments import Fragments
from dhpe_lib.rendering.rasterizer.silhouettes import TAIL

FACES_PER_PIXEL = 50
"""Of the soft silhouette: PyTorch3D keeps the nearest so many, ours all. Enough up to sigma 1e-3 or so."""


def _meshes(places: Tensor, faces: Tensor, height: int, width: int, shift: Tensor | float):
    """PyTorch3D's meshes on its screen; faces that are not drawn become one vertex thrice, which has no area."""
    try:
        from pytorch3d.structures import Meshes
    except ImportError as error:
        raise ImportError(
            'backend="pytorch3d" needs PyTorch3D: pip install --no-build-isolation '
            "git+https://github.com/facebookresearch/pytorch3d"
        ) from error
    if places.dtype != torch.float32:
        raise TypeError(
            f'vertices are {places.dtype}; PyTorch3D works in float32 only: convert them or use backend="warp"'
        )
    half = min(height, width) / 2
    u, v, z = places.unbind(-1)
    screen = torch.stack([(width / 2 - u) / half, (height / 2 - v) / half, z + shift], dim=-1)
    each = faces.long().expand(len(places), -1, -1)
    named = (each >= 0) & (each < places.shape[1])
    finite = places.isfinite().all(-1)
    drawn = finite.gather(1, (each * named).flatten(1)).view_as(each) & named
    each = torch.where(drawn.all(-1, keepdim=True), each, 0)
    return Meshes(torch.where(finite[..., None], screen, 0.0), each)


def _shift(places: Tensor) -> Tensor:
    """What brings every depth above 0, since PyTorch3D draws nothing at a negative one."""
    z = places[..., 2].detach()
    return 1 - torch.where(z.isfinite(), z, math.inf).amin() if z.numel() else z.new_ones(())


def soft_silhouette(
    places: Float[Tensor, "batch vertices 3"],
    faces: Int32[Tensor, "meshes faces 3"],
    height: int,
    width: int,
    sigma: float,
    faces_per_pixel: int = FACES_PER_PIXEL,
) -> Float[Tensor, "batch height width"]:
    """`dhpe_lib.rendering.rasterizer.silhouettes.soft` by PyTorch3D, of a pixel's nearest faces.

    Args:
        places: Pixels.
        faces: From `prepare_faces`.
        height: Rows.
        width: Columns.
        sigma: Softness, squared pixels.
        faces_per_pixel: So many.

    Returns:
        Probabilities in [0, 1].

    Raises:
        ImportError: PyTorch3D is not there.
        TypeError: The places are not float32.
    """
    meshes = _meshes(places, faces, height, width, _shift(places))
    if meshes.isempty():
        return places.new_zeros(len(places), height, width) + 0 * places.sum()
    from pytorch3d.renderer import BlendParams, sigmoid_alpha_blend
    from pytorch3d.renderer.mesh.rasterizer import Fragments as Nearest
    from pytorch3d.renderer.mesh.rasterizer import rasterize_meshes

    sigma = sigma / (min(height, width) / 2) ** 2
    radius = math.log(1 / TAIL - 1) * sigma
    nearest = Nearest(*rasterize_meshes(meshes, (height, width), radius, faces_per_pixel))
    white = places.new_ones(*nearest.pix_to_face.shape, 3)
    return sigmoid_alpha_blend(white, nearest, BlendParams(sigma=sigma))[..., 3]


def rasterize(
    places: Float[Tensor, "batch vertices 3"],
    faces: Int32[Tensor, "meshes faces 3"],
    height: int,
    width: int,
    pinhole: bool,
) -> Fragments:
    """`dhpe_lib.rendering.rasterizer.fragments.rasterize` by PyTorch3D.

    Args:
        places: Pixels and depth.
        faces: From `prepare_faces`.
        height: Rows.
        width: Columns.
        pinhole: Whether the image is a perspective one.

    Returns:
        The fragments, with PyTorch3D's gradients.

    Raises:
        ImportError: PyTorch3D is not there.
        TypeError: The places are not float32.
    """
    shift = 0.0 if pinhole else _shift(places)
    meshes = _meshes(places, faces, height, width, shift)
    if meshes.isempty():
        nowhere = places.new_zeros(len(places), height, width) + 0 * places.sum()
        return Fragments(
            torch.full_like(nowhere, -1).long(), nowhere[..., None].expand(-1, -1, -1, 3), nowhere + math.inf
        )
    from pytorch3d.renderer.mesh.rasterizer import rasterize_meshes

    face, depth, barycentric, _ = (
        part[..., 0, :] if part.ndim == 5 else part[..., 0]
        for part in rasterize_meshes(meshes, (height, width), 0.0, 1, perspective_correct=pinhole)
    )
    offsets = torch.arange(len(places), device=face.device)[:, None, None] * faces.shape[1]
    missing = face < 0
    return Fragments(
        torch.where(missing, -1, face - offsets),
        torch.where(missing[..., None], 0, barycentric),
        torch.where(missing, math.inf, depth - shift),
    )
