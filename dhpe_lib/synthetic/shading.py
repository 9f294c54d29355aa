"""Shading of a posed scene: one z-buffer for hand, arm, sleeve and object, then colours and anti-aliased edges.

Only pixels that show a surface are shaded, as one list for the whole batch.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional

from dhpe_lib.common.devices import constant_like
from dhpe_lib.common.records import count_true, true_rows
from dhpe_lib.data.crop_frame import SIZE
from dhpe_lib.hand.model import HandModel, wrist_ring
from dhpe_lib.rendering.lighting import vertex_normals
from dhpe_lib.rendering.projection import rasterize, to_screen
from dhpe_lib.rendering.rasterizer.fragments import Fragments, antialias
from dhpe_lib.synthetic.arm import COLUMNS, CUFF, RINGS, tube_faces
from dhpe_lib.synthetic.cloth import Materials, cloth_color, thing_color
from dhpe_lib.synthetic.lighting import Lights, highlight, irradiance, lit_by_lamp, occlusion, toward_lamp
from dhpe_lib.synthetic.objects import superquadrics, thing_faces
from dhpe_lib.synthetic.skin import GLOSS, MELANIN, REDNESS, SLOPE_U, Skin, albedo, palm_share, skin_maps

HAND, ARM, SLEEVE, THING, NOTHING, OTHER = range(6)
"""Surface that a pixel shows; OTHER is a second hand with its arm and sleeve."""
STEEPEST = 0.7
"""Largest slope of the skin's relief along x and y."""
NOISE_SIZE, NOISE_EXTENT = 256, 0.12
"""Period of the noise texture, in pixels and in metres on the surface."""


@dataclass(frozen=True)
class SceneAssets:
    """Data that all pictures share: the topology of the scene, the skin's maps and noise.

    Attributes:
        faces: Faces of hand, arm, sleeve and object, in this order.
        part: Surface of no face (first entry) and of each face.
        ring: Indices of the wrist's vertices.
        uv: Texture coordinates of each corner of the hand's faces.
        maps: Maps of the skin; see :func:`dhpe_lib.synthetic.skin.skin_maps`.
        rest: For each vertex its position on its own surface at rest, metres, and its share of the palm's skin.
        noise: Two periodic smooth noise textures with standard deviation 1.
    """

    faces: Tensor
    part: Tensor
    ring: list[int]
    uv: Float[Tensor, "1538 3 2"]
    maps: Float[Tensor, "7 512 512"]
    rest: Float[Tensor, "vertices 4"]
    noise: Float[Tensor, "2 256 256"]

    @classmethod
    def build(cls, model: HandModel) -> "SceneAssets":
        """Compute the assets for the open hand, on its device."""
        device, ring = model.v_template.device, wrist_ring(model.faces)
        n = len(model.v_template)
        arm = n + torch.arange(len(RINGS) * COLUMNS).view(-1, COLUMNS)
        sleeve = n + arm.numel() + torch.arange(len(CUFF) * COLUMNS).view(-1, COLUMNS)
        parts = (
            model.faces.cpu(),
            tube_faces(torch.cat((torch.tensor(ring)[None], arm))),
            tube_faces(sleeve),
            n + arm.numel() + sleeve.numel() + thing_faces(),
        )
        part = torch.cat(
            [torch.tensor([NOTHING])] + [torch.full((len(faces),), k) for k, faces in enumerate(parts)]
        ).to(torch.uint8)
        corners = torch.as_tensor(model.hand["ft"].astype(np.int64))
        uv = torch.as_tensor(model.hand["vt"]).float()[corners]
        rest = rest_positions(model, ring)
        assets = cls(torch.cat(parts), part, ring, uv, skin_maps(model), rest, tileable_noise())
        return assets.to(device)

    def to(self, device: torch.device) -> "SceneAssets":
        """Copy to a device."""
        names = ("faces", "part", "uv", "maps", "rest", "noise")
        return SceneAssets(ring=self.ring, **{name: getattr(self, name).to(device) for name in names})


def rest_positions(model: HandModel, ring: list[int]) -> Float[Tensor, "vertices 4"]:
    """Return for each vertex the position at which noise and patterns are read, metres, and the share of palm skin."""
    rest = model.v_template.cpu()
    palm = palm_share(vertex_normals(rest[None], model.faces.cpu())[0])
    along, around = torch.tensor(RINGS), rest[ring]
    arm = around + functional.pad(along[:, None, None], (0, 2))
    inner = palm[ring] * (0.45 + 0.55 * (1 - along / 0.12).clamp(0, 1))[:, None]
    sleeve = 1.2 * (around - around.mean(0)) + functional.pad(torch.tensor(CUFF)[:, None, None], (0, 2))
    thing = superquadrics(torch.ones(1, 2), torch.zeros(1), torch.full((1, 3), 0.03))[0]
    positions = torch.cat((rest, arm.flatten(0, 1), sleeve.flatten(0, 1), thing))
    shares = torch.cat((palm, inner.flatten(), torch.zeros(sleeve[..., 0].numel() + len(thing))))
    return torch.cat((positions, shares[:, None]), 1)


def tileable_noise(seed: int = 11) -> Float[Tensor, "2 256 256"]:
    """Make periodic noise, like blotches on skin: white noise, filtered in Fourier space.

    The amplitude falls with the frequency f (periods in the texture) as max(f, 3)^-1.4.
    """
    white = torch.randn(2, NOISE_SIZE, NOISE_SIZE, generator=torch.Generator().manual_seed(seed))
    across, down = torch.fft.rfftfreq(NOISE_SIZE), torch.fft.fftfreq(NOISE_SIZE)[:, None]
    frequency = (across.square() + down.square()).sqrt() * NOISE_SIZE
    shape = torch.where(frequency < 1, 0.0, frequency.clamp_min(3.0) ** -1.4)
    noise = torch.fft.irfft2(torch.fft.rfft2(white) * shape, s=(NOISE_SIZE, NOISE_SIZE))
    return noise / noise.std((1, 2), keepdim=True)


@dataclass(frozen=True)
class Picture:
    """A shaded picture and its buffers.

    Attributes:
        image: sRGB in front of the background, with anti-aliased edges.
        part: Surface at a pixel's centre.
        depth: Depth of the nearest surface, units of g from the root; infinite if there is none.
    """

    image: Float[Tensor, "b s s 3"]
    part: UInt8[Tensor, "b s s"]
    depth: Float[Tensor, "b s s"]


def empty_picture(wall: Float[Tensor, "b s s 3"]) -> Picture:
    """Return a picture that shows the background only."""
    return Picture(
        wall,
        torch.full(wall.shape[:3], NOTHING, dtype=torch.uint8, device=wall.device),
        torch.full_like(wall[..., 0], torch.inf),
    )


@dataclass(frozen=True)
class Samples:
    """The pixels that show a surface.

    Attributes:
        image: Index of the image.
        pixel: Index among all pixels of the batch.
        part: Kind of surface.
        face: Index of the face.
        barycentric: Barycentric coordinates in the face.
        rows: Numbers of the samples on the hand, on the sleeve and on the object.
    """

    image: Tensor
    pixel: Tensor
    part: Tensor
    face: Tensor
    barycentric: Float[Tensor, "n 3"]
    rows: dict[int, Int64[Tensor, " m"]]


def find_samples(part: UInt8[Tensor, " pixels"], fragments: Fragments) -> Samples:
    """Find the pixels that show a surface; the host waits once for a GPU, to learn their number.

    Args:
        part: Kind of surface in each pixel of the batch.
        fragments: Faces and barycentric coordinates.

    Returns:
        The pixels, in order.
    """
    shown, kinds = part != NOTHING, (HAND, SLEEVE, THING)
    count, *counts = count_true(shown, *(part == kind for kind in kinds))
    pixel = true_rows(shown, count)
    face, share = fragments.face.flatten()[pixel].long(), fragments.barycentric.view(-1, 3).index_select(0, pixel)
    part = part[pixel]
    rows = {kind: true_rows(part == kind, count) for kind, count in zip(kinds, counts, strict=True)}
    return Samples(pixel // fragments.face[0].numel(), pixel, part, face, share, rows)


def draw_picture(
    assets: SceneAssets,
    solid: Float[Tensor, "b v 3"],
    seen: Float[Tensor, "b v 3"],
    looks: tuple[Skin, Materials, Lights],
    scale: Float[Tensor, " b"],
    behind: Float[Tensor, "b s s 3"],
) -> Picture:
    """Render the scene.

    Args:
        assets: Topology and maps.
        solid: All vertices in the crop frame before perspective, units of g; normals are computed from them.
        seen: The vertices in perspective.
        looks: Skin, materials and lights of each image.
        scale: Units of g in a metre.
        behind: Backgrounds, sRGB in [0, 1].

    Returns:
        The picture and its buffers.
    """
    size = behind.shape[1]
    extent = size / SIZE
    view = seen * constant_like((1 / extent, 1 / extent, 1.0), seen)
    fragments = rasterize(view, assets.faces, size)
    part = assets.part.index_select(0, fragments.face.flatten() + 1)
    samples = find_samples(part, fragments)
    color = shade(assets, samples, (vertex_normals(solid, assets.faces), view, seen), looks, scale, fragments.depth)
    hard = behind.flatten(0, 2).index_copy(0, samples.pixel, color).view_as(behind)
    image = antialias(hard, to_screen(view, size), assets.faces.int()[None], fragments)
    return Picture(image, part.view_as(fragments.face), fragments.depth)


def interpolated(table: Float[Tensor, "rows c"], corners: Tensor, samples: Samples) -> Float[Tensor, "n c"]:
    """Interpolate three rows of a table for each sample, with its barycentric coordinates."""
    return functional.embedding_bag(corners, table, per_sample_weights=samples.barycentric, mode="sum")


def shade(
    assets: SceneAssets,
    samples: Samples,
    geometry: tuple[Tensor, Tensor, Tensor],
    looks: tuple[Skin, Materials, Lights],
    scale: Float[Tensor, " b"],
    depth: Float[Tensor, "b s s"],
) -> Float[Tensor, "n 3"]:
    """Compute the colour of each sample, sRGB in [0, 1].

    Args:
        assets: Topology and maps.
        samples: Pixels to shade.
        geometry: Vertex normals; vertices as the z-buffer sees them; vertices in perspective, units of g.
        looks: Skin, materials and lights of each image.
        scale: Units of g in a metre.
        depth: Depth buffer, units of g.

    Returns:
        sRGB of each sample.
    """
    (skin, materials, lights), (normals, view, seen) = looks, geometry
    image, part = samples.image, samples.part
    corners = assets.faces.index_select(0, samples.face)
    rest = interpolated(assets.rest, corners, samples)
    normal = interpolated(normals.flatten(0, 1), corners + normals.shape[1] * image[:, None], samples)
    on_hand = samples.rows[HAND]
    of_hand, slope = hand_maps(assets, samples, on_hand, view, depth.shape[-1] / SIZE)
    palm = rest[:, 3]
    maps = palm.new_zeros(len(palm), assets.maps.shape[0])
    maps[:, MELANIN], maps[:, REDNESS] = 1 - 0.62 * palm, 0.25 + 0.55 * palm
    maps = maps.index_copy_(0, on_hand, of_hand)
    relief = (scale * skin.variety[:, 4]).index_select(0, image[on_hand])[:, None] * slope
    relief = torch.zeros_like(normal).index_copy_(0, on_hand, functional.pad(relief.clamp(-STEEPEST, STEEPEST), (0, 1)))
    # A visible surface faces the camera, so z of its normal is negative. The relief tilts the normal.
    upright = -normal[:, 2:].abs()
    normal = functional.normalize(torch.cat((normal[:, :2], upright), 1) + relief * upright, dim=-1)

    is_skin = part <= ARM
    spots = noise_at(assets, rest, materials.offset.index_select(0, image))
    color = albedo(skin, image, maps, spots)
    for kind, paint in ((SLEEVE, cloth_color), (THING, thing_color)):
        those = samples.rows[kind]
        color.index_copy_(0, those, paint(materials, image[those], rest[those, :3], spots[those]))

    sky = occlusion(depth).flatten()[samples.pixel]
    in_light = toward_lamp(lights, seen)
    position = interpolated(in_light.flatten(0, 1), corners + in_light.shape[1] * image[:, None], samples)
    lit = lit_by_lamp(lights, in_light, assets.faces, image, position)
    light = irradiance(lights, image, normal, is_skin.to(color), sky, lit)
    gloss = torch.where(is_skin, 0.045 * skin.variety[image, 5] + 0.12 * maps[:, GLOSS], materials.gloss[image, 0])
    gloss = torch.where(part == SLEEVE, 0.01, gloss)
    power = torch.where(is_skin, 14 + 50 * maps[:, GLOSS], materials.gloss[image, 1])
    color = color * light + (gloss * lit)[:, None] * highlight(lights, image, normal, power)
    return to_srgb(color)


def hand_maps(
    assets: SceneAssets, samples: Samples, on_hand: Int64[Tensor, " m"], view: Float[Tensor, "b v 3"], extent: float
) -> tuple[Float[Tensor, "m 7"], Float[Tensor, "m 2"]]:
    """Read the skin's maps at the samples on the hand.

    Args:
        assets: Topology and maps.
        samples: All samples.
        on_hand: Indices of the samples on the hand.
        view: Vertices as the z-buffer sees them.
        extent: Side of the picture, units of g.

    Returns:
        Maps, and the slope of the skin's relief along x and y of the picture, metres per unit of g.
    """
    image, face = samples.image[on_hand], samples.face[on_hand]
    share = samples.barycentric.index_select(0, on_hand)
    three = 3 * face[:, None] + torch.arange(3, device=face.device)
    uv = functional.embedding_bag(three, assets.uv.flatten(0, 1), per_sample_weights=share, mode="sum")
    grid = 2 * uv[None, None] - 1
    maps = functional.grid_sample(assets.maps[None], grid, padding_mode="border", align_corners=False)[0, :, 0].mT
    maps = maps.contiguous()
    # d(uv)/d(xy) of each face = [a b] [A B]^-1, where a, b are two edges in the texture and A, B in the picture:
    # d(uv)/dx = (B_y a - A_y b) / det, d(uv)/dy = (A_x b - B_x a) / det, det = A_x B_y - A_y B_x.
    corners = view[:, assets.faces[: len(assets.uv)], :2] * extent
    (ax, ay), (bx, by) = ((corners[:, :, k] - corners[:, :, 0]).unbind(-1) for k in (1, 2))
    a, b = ((assets.uv[:, k] - assets.uv[:, 0]) for k in (1, 2))
    determinant = ax * by - ay * bx
    determinant = torch.where(determinant.abs() < 1e-7, 1e-7, determinant)[..., None]
    along_x, along_y = by[..., None] * a - ay[..., None] * b, ax[..., None] * b - bx[..., None] * a
    jacobian = torch.cat((along_x, along_y), -1) / determinant
    u_x, v_x, u_y, v_y = jacobian.flatten(0, 1).index_select(0, image * len(assets.uv) + face).unbind(1)
    slope_u, slope_v = maps[:, SLOPE_U], maps[:, SLOPE_U + 1]
    return maps, torch.stack((u_x * slope_u + v_x * slope_v, u_y * slope_u + v_y * slope_v), 1)


def noise_at(assets: SceneAssets, rest: Float[Tensor, "n 4"], offset: Float[Tensor, "n 2"]) -> Float[Tensor, "n 2"]:
    """Read the noise textures at x and z of the rest position, so the noise is continuous over the whole surface."""
    position = rest[:, ::2][:, :2] / NOISE_EXTENT + offset
    grid = 2 * position.remainder(1.0) - 1
    return functional.grid_sample(assets.noise[None], grid[None, None], padding_mode="border", align_corners=False)[
        0, :, 0
    ].mT


def to_srgb(linear: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
    """Convert linear light to sRGB. Light x above 0.7 is compressed to 1 - 0.3 exp((0.7 - x) / 0.3), not clipped."""
    bright = linear.clamp_min(0)
    bright = torch.where(bright > 0.7, 1 - 0.3 * ((0.7 - bright) / 0.3).exp(), bright)
    return torch.where(bright < 0.0031308, 12.92 * bright, 1.055 * bright.clamp_min(1e-8) ** (1 / 2.4) - 0.055)
