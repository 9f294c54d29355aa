"""The skin that comes with a hand, and the layout of its texture: which texel lies where on the mesh."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Integer
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torch.nn import functional

from dhpe_lib.common.records import map_rows
from dhpe_lib.hand.model import HandModel
from dhpe_lib.rendering.projection import interpolate
from dhpe_lib.rendering.rasterizer import fragments as fragment_functions
from dhpe_lib.rendering.rasterizer.fragments import Fragments
from dhpe_lib.rendering.rasterizer.launch import prepare_faces
from dhpe_lib.rendering.renderer import Texture


def hand_texture(model: HandModel) -> Texture:
    """The skin that comes with a hand.

    Args:
        model: A hand with texture coordinates, such as the open hand.

    Returns:
        Its texture, on the model's device.

    Raises:
        ValueError: The model has none, as MANO's files have not; its colours can be lifted to vertices.
    """
    if not {"vt", "ft", "texture"} <= set(model.hand):
        raise ValueError("this hand has no texture coordinates (vt, ft, texture); lift its colours with lift_colors")
    uv, corners, image = (torch.as_tensor(model.hand[name].astype(float)) for name in ("vt", "ft", "texture"))
    like = model.v_template
    return Texture(uv.to(like), corners.long().to(like.device), image.to(like) / 255)


def texels_of(texture: Texture, size: int) -> Fragments:
    """For each texel the face whose colours it holds, and where in it: the layout, rasterized."""
    layout = torch.cat([size * texture.uv, torch.zeros_like(texture.uv[:, :1])], dim=1)[None]
    return fragment_functions.rasterize(layout, prepare_faces(layout, texture.uv_faces), size, size, False)


def for_each(texels: Fragments, n: int) -> Fragments:
    """The same for n meshes."""
    return map_rows(texels, lambda values: values.expand(n, *values.shape[1:]))


def colors_at_texels(base: Texture, texels: Fragments) -> Float[Tensor, "one height width 3"]:
    """The base's image at the size of the new one."""
    image = base.image.view(-1, *base.image.shape[-3:])[:1].movedim(-1, 1)
    return functional.interpolate(image, texels.face.shape[1:], mode="area").movedim(1, -1)


def colors_at_vertices(base: Texture, count: int, faces: Integer[Tensor, "faces 3"]) -> Float[Tensor, "vertices 3"]:
    """The base's colour at each vertex; where a seam has several, one of them."""
    corner_of_vertex = torch.zeros(count, dtype=torch.int64, device=faces.device)
    corner_of_vertex.scatter_(0, faces.long().flatten(), base.uv_faces.long().flatten())
    image = base.image.view(-1, *base.image.shape[-3:])[:1]
    blurred = functional.avg_pool2d(image.movedim(-1, 1), 9, 1, 4, count_include_pad=False)  # skin, not a nail's edge
    grid = 2 * base.uv[corner_of_vertex][None, None] - 1
    return functional.grid_sample(blurred, grid, padding_mode="border", align_corners=False)[0, :, 0].T


def fill_margin(image: Tensor, used: Tensor, steps: int = 4) -> Tensor:
    """Grow the used texels outwards, so that bilinear sampling at a seam finds skin."""
    weight = used[:, None].to(image.dtype)
    filled = image.movedim(-1, 1) * weight
    for _ in range(steps):
        near = functional.avg_pool2d(weight, 3, 1, 1)
        mean = functional.avg_pool2d(filled, 3, 1, 1) / near.clamp_min(1e-6)
        filled = torch.where(weight > 0, filled, mean * (near > 0))
        weight = torch.maximum(weight, (near > 0).to(weight))
    return filled.movedim(1, -1)


@dataclass(frozen=True)
class TintedSkin:
    """Makes textures from colours of vertices: the skin that comes with a hand, tinted so that it has them.

    A colour for each vertex takes a hundredth of a texture's memory; creases and nails come from the hand's own skin.

    Attributes:
        base: The hand's own texture.
        vertices: Its colours at the vertices.
        faces: Of the mesh.
        texels: For each texel its place on the mesh; outside the layout that of the nearest texel inside.
        image: The base's colours there.
    """

    base: Texture
    vertices: Float[Tensor, "vertices 3"]
    faces: Integer[Tensor, "faces 3"]
    texels: Fragments
    image: Float[Tensor, "1 size size 3"]

    @classmethod
    def of(cls, model: HandModel, size: int = 256) -> "TintedSkin":
        """Prepare a hand.

        Args:
            model: A hand with texture coordinates, such as the open hand.
            size: Texels along each side.

        Returns:
            The skin, on the model's device.

        Raises:
            ValueError: The model has no texture.
        """
        base = hand_texture(model)
        texels = texels_of(base, size)
        rows, columns = distance_transform_edt(
            (texels.face[0] < 0).cpu().numpy(), return_distances=False, return_indices=True
        )
        place = torch.as_tensor(rows * size + columns, device=texels.face.device).flatten().long()
        face, barycentric = texels.face.flatten()[place], texels.barycentric.flatten(0, 2)[place]
        filled = replace(texels, face=face.view(1, size, size), barycentric=barycentric.view(1, size, size, 3))
        image = colors_at_texels(base, texels).reshape(-1, 3)[place].view(1, size, size, 3)
        return cls(base, colors_at_vertices(base, len(model.v_template), model.faces), model.faces, filled, image)

    def texture(self, colors: Float[Tensor, "batch vertices 3"]) -> Texture:
        """The skin with these colours at the vertices, between them with its own detail.

        Args:
            colors: In [0, 1], for instance of :func:`dhpe_lib.rendering.texture_from_photo.lift_colors` with `vertices` as its base.

        Returns:
            A texture for each row. Gradient to the colours.
        """
        tint = interpolate(colors / self.vertices.clamp_min(0.02), self.faces, for_each(self.texels, len(colors)))
        return replace(self.base, image=(self.image * tint).clamp(0, 1))
