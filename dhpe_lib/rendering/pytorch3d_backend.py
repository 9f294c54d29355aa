"""PyTorch3D as the rasterizer: the functions that `backend="pytorch3d"` calls.

In PyTorch3D's screen, x points left, y points up, the smaller side of the image spans [-1, 1], and only positive z is
drawn.
"""

import math

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from dhpe_lib.rendering.rasterizer.fragments import Fragments
from dhpe_lib.rendering.rasterizer.silhouettes import TAIL

FACES_PER_PIXEL = 50
"""Number of nearest faces that PyTorch3D blends in a soft silhouette; enough up to a sigma of about 1e-3.

The Warp kernel blends all faces.
"""


def _meshes(screen: Tensor, faces: Tensor, height: int, width: int, shift: Tensor | float):
    """Convert to PyTorch3D's meshes; a face that must not be drawn gets three equal corners, so it has no area."""
    try:
        from pytorch3d.structures import Meshes
    except ImportError as error:
        raise ImportError(
            'backend="pytorch3d" needs PyTorch3D: pip install --no-build-isolation '
            "git+https://github.com/facebookresearch/pytorch3d"
        ) from error
    if screen.dtype != torch.float32:
        raise TypeError(
            f'vertices are {screen.dtype}; PyTorch3D works in float32 only: convert them or use backend="warp"'
        )
    half = min(height, width) / 2
    u, v, z = screen.unbind(-1)
    screen = torch.stack([(width / 2 - u) / half, (height / 2 - v) / half, z + shift], dim=-1)
    each = faces.long().expand(len(screen), -1, -1)
    valid = (each >= 0) & (each < screen.shape[1])
    finite = screen.isfinite().all(-1)
    drawn = finite.gather(1, (each * valid).flatten(1)).view_as(each) & valid
    each = torch.where(drawn.all(-1, keepdim=True), each, 0)
    return Meshes(torch.where(finite[..., None], screen, 0.0), each)


def _shift(screen: Tensor) -> Tensor:
    """Return the number to add to all depths to make them positive; PyTorch3D draws nothing at a negative depth."""
    z = screen[..., 2].detach()
    return 1 - torch.where(z.isfinite(), z, math.inf).amin() if z.numel() else z.new_ones(())


def soft_silhouette(
    screen: Float[Tensor, "batch vertices 3"],
    faces: Int32[Tensor, "meshes faces 3"],
    height: int,
    width: int,
    sigma: float,
    faces_per_pixel: int = FACES_PER_PIXEL,
) -> Float[Tensor, "batch height width"]:
    """Render `dhpe_lib.rendering.rasterizer.silhouettes.soft` with PyTorch3D, from the nearest faces of each pixel.

    Args:
        screen: Screen coordinates u and v in pixels, and depth.
        faces: From `prepare_faces`.
        height: Rows.
        width: Columns.
        sigma: Softness, squared pixels.
        faces_per_pixel: Number of nearest faces to blend.

    Returns:
        Probabilities in [0, 1].

    Raises:
        ImportError: PyTorch3D is not installed.
        TypeError: The screen coordinates are not float32.
    """
    meshes = _meshes(screen, faces, height, width, _shift(screen))
    if meshes.isempty():
        return screen.new_zeros(len(screen), height, width) + 0 * screen.sum()
    from pytorch3d.renderer import BlendParams, sigmoid_alpha_blend
    from pytorch3d.renderer.mesh.rasterizer import Fragments as Nearest
    from pytorch3d.renderer.mesh.rasterizer import rasterize_meshes

    sigma = sigma / (min(height, width) / 2) ** 2
    radius = math.log(1 / TAIL - 1) * sigma
    nearest = Nearest(*rasterize_meshes(meshes, (height, width), radius, faces_per_pixel))
    white = screen.new_ones(*nearest.pix_to_face.shape, 3)
    return sigmoid_alpha_blend(white, nearest, BlendParams(sigma=sigma))[..., 3]


def rasterize(
    screen: Float[Tensor, "batch vertices 3"],
    faces: Int32[Tensor, "meshes faces 3"],
    height: int,
    width: int,
    pinhole: bool,
) -> Fragments:
    """Do `dhpe_lib.rendering.rasterizer.fragments.rasterize` with PyTorch3D.

    Args:
        screen: Screen coordinates u and v in pixels, and depth.
        faces: From `prepare_faces`.
        height: Rows.
        width: Columns.
        pinhole: Whether the projection is perspective.

    Returns:
        The fragments, with PyTorch3D's gradients.

    Raises:
        ImportError: PyTorch3D is not installed.
        TypeError: The screen coordinates are not float32.
    """
    shift = 0.0 if pinhole else _shift(screen)
    meshes = _meshes(screen, faces, height, width, shift)
    if meshes.isempty():
        nowhere = screen.new_zeros(len(screen), height, width) + 0 * screen.sum()
        return Fragments(
            torch.full_like(nowhere, -1).int(), nowhere[..., None].expand(-1, -1, -1, 3), nowhere + math.inf
        )
    from pytorch3d.renderer.mesh.rasterizer import rasterize_meshes

    face, depth, barycentric, _ = (
        part[..., 0, :] if part.ndim == 5 else part[..., 0]
        for part in rasterize_meshes(meshes, (height, width), 0.0, 1, perspective_correct=pinhole)
    )
    offsets = torch.arange(len(screen), device=face.device)[:, None, None] * faces.shape[1]
    missing = face < 0
    return Fragments(
        torch.where(missing, -1, face - offsets).int(),
        torch.where(missing[..., None], 0, barycentric),
        torch.where(missing, math.inf, depth - shift),
    )
