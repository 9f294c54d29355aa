"""The texture that comes with a hand, and its UV layout, which maps each texel to a point on the mesh."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Integer
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torch.nn import functional

from dhpe_lib.common.arguments import check_at_least, checked
from dhpe_lib.common.records import map_rows
from dhpe_lib.hand.model import HandModel
from dhpe_lib.rendering.projection import interpolate
from dhpe_lib.rendering.rasterizer import fragments as fragment_functions
from dhpe_lib.rendering.rasterizer.fragments import Fragments
from dhpe_lib.rendering.rasterizer.launch import prepare_faces
from dhpe_lib.rendering.renderer import Texture


def hand_texture(model: HandModel) -> Texture:
    """Return the texture that comes with a hand.

    Args:
        model: A hand with texture coordinates, such as the open hand.

    Returns:
        The texture, on the model's device.

    Raises:
        ValueError: The model has no texture. MANO's files have none; use vertex colours from `lift_colors` instead.
    """
    if not {"vt", "ft", "texture"} <= set(model.hand):
        raise ValueError("this hand has no texture coordinates (vt, ft, texture); use vertex colours from lift_colors")
    uv, corners, image = (torch.as_tensor(model.hand[name].astype(float)) for name in ("vt", "ft", "texture"))
    like = model.v_template
    return Texture(uv.to(like), corners.long().to(like.device), image.to(like) / 255)


def rasterize_layout(texture: Texture, size: int) -> Fragments:
    """Rasterize the UV layout: the face of each texel, and its barycentric coordinates on that face."""
    layout = torch.cat([size * texture.uv, torch.zeros_like(texture.uv[:, :1])], dim=1)[None]
    return fragment_functions.rasterize(layout, prepare_faces(layout, texture.uv_faces), size, size, False)


def repeat_fragments(texels: Fragments, n: int) -> Fragments:
    """Repeat the fragments of one image for n meshes, without a copy."""
    return map_rows(texels, lambda values: values.expand(n, *values.shape[1:]))


def colors_at_texels(base: Texture, texels: Fragments) -> Float[Tensor, "one height width 3"]:
    """Resize the image of the base texture to the size of the texels."""
    image = base.image.view(-1, *base.image.shape[-3:])[:1].movedim(-1, 1)
    return functional.interpolate(image, texels.face.shape[1:], mode="area").movedim(1, -1)


def colors_at_vertices(base: Texture, count: int, faces: Integer[Tensor, "faces 3"]) -> Float[Tensor, "vertices 3"]:
    """Sample the base texture at each vertex; a vertex on a seam takes one of its colours."""
    corner_of_vertex = torch.zeros(count, dtype=torch.int64, device=faces.device)
    corner_of_vertex.scatter_(0, faces.long().flatten(), base.uv_faces.long().flatten())
    image = base.image.view(-1, *base.image.shape[-3:])[:1]
    # The blur gives the colour of the skin around a vertex, not of a detail such as the edge of a nail.
    blurred = functional.avg_pool2d(image.movedim(-1, 1), 9, 1, 4, count_include_pad=False)
    grid = 2 * base.uv[corner_of_vertex][None, None] - 1
    return functional.grid_sample(blurred, grid, padding_mode="border", align_corners=False)[0, :, 0].T


def fill_margin(image: Tensor, used: Tensor, steps: int = 4) -> Tensor:
    """Extend the colours of the used texels outwards by `steps` texels; bilinear sampling needs them at a seam."""
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
    """Makes textures from vertex colours: the hand's own texture is multiplied by a smooth tint.

    Vertex colours take a hundredth of the memory of a texture. Creases and nails come from the hand's own texture.

    Attributes:
        base: Texture that comes with the hand.
        vertices: Colours of the base at the vertices, in [0, 1].
        faces: Faces of the mesh.
        texels: Point on the mesh of each texel. A texel outside the layout has the point of the nearest texel inside.
        image: Colours of the base at the texels, in [0, 1].
    """

    base: Texture
    vertices: Float[Tensor, "vertices 3"]
    faces: Integer[Tensor, "faces 3"]
    texels: Fragments
    image: Float[Tensor, "1 size size 3"]

    @classmethod
    def of(cls, model: HandModel, size: int = 256) -> "TintedSkin":
        """Prepare the texture of a hand for tinting.

        Args:
            model: A hand with texture coordinates, such as the open hand.
            size: Texels along each side.

        Returns:
            The tinted skin, on the model's device.

        Raises:
            ValueError: The model has no texture, or the size is not positive.
        """
        check_at_least("size", size, 1)
        base = hand_texture(model)
        texels = rasterize_layout(base, size)
        rows, columns = distance_transform_edt(
            (texels.face[0] < 0).cpu().numpy(), return_distances=False, return_indices=True
        )
        nearest = torch.as_tensor(rows * size + columns, device=texels.face.device).flatten().long()
        face, barycentric = texels.face.flatten()[nearest], texels.barycentric.flatten(0, 2)[nearest]
        filled = replace(texels, face=face.view(1, size, size), barycentric=barycentric.view(1, size, size, 3))
        image = colors_at_texels(base, texels).reshape(-1, 3)[nearest].view(1, size, size, 3)
        return cls(base, colors_at_vertices(base, len(model.v_template), model.faces), model.faces, filled, image)

    @checked()
    def texture(self, colors: Float[Tensor, "batch vertices 3"]) -> Texture:
        """Make a texture with these colours at the vertices and the detail of the base between them.

        Args:
            colors: Vertex colours in [0, 1], for example from
                :func:`dhpe_lib.rendering.texture_from_photo.lift_colors` with `vertices` as its base.

        Returns:
            Textures, one image for each row of colours. Gradient to the colours.
        """
        texels = repeat_fragments(self.texels, len(colors))
        tint = interpolate(colors / self.vertices.clamp_min(0.02), self.faces, texels)
        return replace(self.base, image=(self.image * tint).clamp(0, 1))
