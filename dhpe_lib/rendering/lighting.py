"""Lighting: vertex normals, light sources, spherical harmonics and the shading of a diffuse surface.

All functions have a gradient to normals, to vertices and to the tensors of the light.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch.nn import functional

from dhpe_lib.common.arguments import check_fields, checked


@dataclass(frozen=True)
class Light:
    """The light sources: ambient light, one directional light, and spherical harmonics.

    brightness = ambient + directional max(0, -n . direction) + sum_k harmonics_k Y_k(n)

    A number holds for all images of a batch. A tensor has one row for each image, and gets a gradient.

    Attributes:
        ambient: Brightness of the ambient light; [batch, 3] gives each channel its own.
        directional: Brightness of the directional light; [batch, 3] gives each channel its own.
        direction: Direction in which the light travels (+z is away from the camera), of any length.
        harmonics: Coefficients of `spherical_harmonics` for each channel.
    """

    ambient: float | Float[Tensor, "batch ambient_channels"] = 0.5
    directional: float | Float[Tensor, "batch directional_channels"] = 0.6
    direction: tuple[float, float, float] | Float[Tensor, "batch 3"] = (0.4, 0.6, 1.0)
    harmonics: Float[Tensor, "batch 9 3"] | None = None

    def __post_init__(self) -> None:
        check_fields(self)


DAYLIGHT = Light()


@checked()
def vertex_normals(
    vertices: Float[Tensor, "batch vertices 3"],
    faces: Integer[Tensor, "faces 3"] | Integer[Tensor, "meshes faces 3"],
) -> Float[Tensor, "batch vertices 3"]:
    """Compute vertex normals: the mean of the normals of the faces around a vertex, weighted by their area.

    Args:
        vertices: Vertices in any unit.
        faces: Vertex indices. Corners in counterclockwise order seen from outside give outward normals.

    Returns:
        Unit vectors. The normal is 0 at a vertex whose faces have no area or a corner that is not finite. Gradient to
        the vertices.
    """
    rows = faces.long().expand(len(vertices), -1, -1)
    finite = vertices.isfinite().all(-1)
    rows_3d = rows.clamp_min(0).flatten(1)[..., None].expand(-1, -1, 3)
    invalid = (rows < 0) | ~finite.gather(1, rows_3d[..., 0]).view_as(rows)
    corners = torch.where(finite[..., None], vertices, 0).gather(1, rows_3d).unflatten(1, (-1, 3))
    normals = torch.cross(corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0], dim=-1)
    normals = normals.masked_fill(invalid.any(-1, keepdim=True), 0)
    each_corner = normals.repeat_interleave(3, dim=1)
    return functional.normalize(torch.zeros_like(vertices).scatter_add(1, rows_3d, each_corner), dim=-1)


@checked()
def spherical_harmonics(normals: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 9"]:
    """Compute the nine real, orthonormal spherical harmonics up to degree 2.

    These nine are enough to describe the light on a diffuse surface.

    Args:
        normals: Unit vectors.

    Returns:
        Y_00, Y_1-1, Y_10, Y_11, Y_2-2, Y_2-1, Y_20, Y_21, Y_22, which are multiples of 1, y, z, x, xy, yz, 3 z^2 - 1,
        xz and x^2 - y^2.

    Source:
        Ramamoorthi and Hanrahan, An Efficient Representation for Irradiance Environment Maps, SIGGRAPH 2001, Eq. 3.
    """
    x, y, z = normals.unbind(-1)
    c0, c1, c2, c3 = (0.5 * math.sqrt(q / math.pi) for q in (1, 3, 15, 5 / 4))
    rows = [
        c0 * torch.ones_like(x), c1 * y, c1 * z, c1 * x,
        c2 * x * y, c2 * y * z, c3 * (3 * z * z - 1), c2 * x * z, c2 / 2 * (x * x - y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1)


@checked()
def shade(
    normals: Float[Tensor, "batch height width 3"], light: Light = DAYLIGHT
) -> Float[Tensor, "batch height width channels"]:
    """Compute the brightness of a white diffuse surface.

    brightness = ambient + directional max(0, -n . direction) + sum_k harmonics_k Y_k(n)

    Args:
        normals: Unit vectors n, or 0, for which the directional light adds nothing.
        light: The light sources.

    Returns:
        Brightness, at least 0; one channel if no light source has a colour. Gradient to the normals and to the tensors
        of the light.

    Raises:
        ValueError: The direction of the light is zero.
    """

    def for_each_pixel(value: float | Tensor) -> float | Tensor:
        return value[:, None, None].to(normals) if isinstance(value, Tensor) else value

    x, y, z = normals.unbind(-1)
    if isinstance(light.direction, Tensor):
        direction = functional.normalize(light.direction.to(normals), dim=-1)[:, None, None]
        towards = -(normals * direction).sum(-1)
    else:  # numbers are not copied to the device
        norm = math.sqrt(sum(part * part for part in light.direction))
        if norm == 0:
            raise ValueError("light.direction = (0, 0, 0) points nowhere; give a vector of any length above 0")
        dx, dy, dz = (part / norm for part in light.direction)
        towards = -(dx * x + dy * y + dz * z)
    directional = for_each_pixel(light.directional) * towards.clamp_min(0)[..., None]
    brightness = for_each_pixel(light.ambient) + directional
    if light.harmonics is not None:
        brightness = brightness + torch.einsum(
            "bhwk,bkc->bhwc", spherical_harmonics(normals), light.harmonics.to(normals)
        )
    return brightness.clamp_min(0)
