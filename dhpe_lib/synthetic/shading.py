"""From a posed scene to a picture: one z-buffer for hand, arm, sleeve and thing, colour, and smooth edges.

Only pixels that show something are coloured, as one list for the whole batch.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional

from dhpe_lib.data.crop_frame import SIZE
from dhpe_lib.hand.model import HandModel, wrist_ring
from dhpe_lib.rendering.lighting import vertex_normals
from dhpe_lib.rendering.projection import rasterize, to_pixels
from dhpe_lib.rendering.rasterizer.fragments import antialias
from dhpe_lib.synthetic.arm import COLUMNS, CUFF, RINGS, tube_faces
from dhpe_lib.synthetic.cloth import Materials, cloth_color, thing_color
from dhpe_lib.synthetic.lighting import Lights, highlight, irradiance, lit_by_lamp, occlusion, toward_lamp
from dhpe_lib.synthetic.objects import superquadrics, thing_faces
from dhpe_lib.synthetic.skin import GLOSS, MELANIN, REDNESS, SLOPE_U, Skin, albedo, palm_share, skin_maps

HAND, ARM, SLEEVE, THING, NOTHING = range(5)
"""What a pixel shows."""
STEEPEST = 0.7
NOISE_SIZE, NOISE_EXTENT = 256, 0.12


@dataclass(frozen=True)
class Stage:
    """What all pictures have in common: the topology of the scene, the skin's maps, noise.

    Attributes:
        faces: Of hand, arm, sleeve and thing, in this order.
        part: Of no face (first) and of each face.
        ring: The wrist's vertices.
        uv: Texture coordinates of each corner of the hand's faces.
        maps: The skin's.
        rest: Of each vertex, a place of its own surface at rest, metres, and how much it is of the palm's side.
        noise: Two smooth noises, deviation 1, that repeat.
    """

    faces: Tensor
    part: Tensor
    ring: list[int]
    uv: Float[Tensor, "1538 3 2"]
    maps: Float[Tensor, "7 512 512"]
    rest: Float[Tensor, "vertices 4"]
    noise: Float[Tensor, "2 256 256"]

    @classmethod
    def build(cls, model: HandModel) -> "Stage":
        """Set the stage for the open hand, on its device."""
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
        stage = cls(torch.cat(parts), part, ring, uv, skin_maps(model), rest_places(model, ring), tileable_noise())
        return stage.to(device)

    def to(self, device: torch.device) -> "Stage":
        """The same on another device."""
        names = ("faces", "part", "uv", "maps", "rest", "noise")
        return Stage(ring=self.ring, **{name: getattr(self, name).to(device) for name in names})


def rest_places(model: HandModel, ring: list[int]) -> Float[Tensor, "vertices 4"]:
    """Where noise and patterns are read for each vertex, and the palm's share of the skin's colour there."""
    rest = model.v_template.cpu()
    palm = palm_share(vertex_normals(rest[None], model.faces.cpu())[0])
    along, around = torch.tensor(RINGS), rest[ring]
    arm = around + functional.pad(along[:, None, None], (0, 2))
    inner = palm[ring] * (0.45 + 0.55 * (1 - along / 0.12).clamp(0, 1))[:, None]
    sleeve = 1.2 * (around - around.mean(0)) + functional.pad(torch.tensor(CUFF)[:, None, None], (0, 2))
    thing = superquadrics(torch.ones(1, 2), torch.zeros(1), torch.full((1, 3), 0.03))[0]
    places = torch.cat((rest, arm.flatten(0, 1), sleeve.flatten(0, 1), thing))
    shares = torch.cat((palm, inner.flatten(), torch.zeros(sleeve[..., 0].numel() + len(thing))))
    return torch.cat((places, shares[:, None]), 1)


def tileable_noise(seed: int = 11) -> Float[Tensor, "2 256 256"]:
    """Noise whose amplitude falls with frequency, like blotches on skin: filtered in Fourier space, so it repeats."""
    white = torch.randn(2, NOISE_SIZE, NOISE_SIZE, generator=torch.Generator().manual_seed(seed))
    across, down = torch.fft.rfftfreq(NOISE_SIZE), torch.fft.fftfreq(NOISE_SIZE)[:, None]
    frequency = (across.square() + down.square()).sqrt() * NOISE_SIZE
    shape = torch.where(frequency < 1, 0.0, frequency.clamp_min(3.0) ** -1.4)
    noise = torch.fft.irfft2(torch.fft.rfft2(white) * shape, s=(NOISE_SIZE, NOISE_SIZE))
    return noise / noise.std((1, 2), keepdim=True)


@dataclass(frozen=True)
class Picture:
    """What the z-buffer shows.

    Attributes:
        image: sRGB, before the background, with smooth edges.
        part: What a pixel's centre shows.
        depth: Of the nearest surface, units of g from the root; infinite where there is none.
    """

    image: Float[Tensor, "b s s 3"]
    part: UInt8[Tensor, "b s s"]
    depth: Float[Tensor, "b s s"]


@dataclass(frozen=True)
class Samples:
    """The pixels that show a surface: image, place among all pixels of the batch, part, face, where in it."""

    image: Tensor
    pixel: Tensor
    part: Tensor
    face: Tensor
    barycentric: Float[Tensor, "n 3"]


def draw_picture(
    stage: Stage,
    solid: Float[Tensor, "b v 3"],
    seen: Float[Tensor, "b v 3"],
    looks: tuple[Skin, Materials, Lights],
    scale: Float[Tensor, " b"],
    behind: Float[Tensor, "b s s 3"],
) -> Picture:
    """Draw the scene.

    Args:
        stage: Topology and maps.
        solid: All vertices in the crop frame before perspective: their normals are the true ones.
        seen: The same in perspective.
        looks: Skin, cloth and things, light of each image.
        scale: Units of g in a metre.
        behind: Backgrounds, sRGB.

    Returns:
        Colour and buffers.
    """
    size = behind.shape[1]
    extent = size / SIZE
    view = seen * seen.new_tensor((1 / extent, 1 / extent, 1.0))
    fragments = rasterize(view, stage.faces, size)
    part = stage.part.index_select(0, fragments.face.flatten() + 1)
    pixel = (part != NOTHING).nonzero()[:, 0]
    face, share = fragments.face.flatten()[pixel].long(), fragments.barycentric.view(-1, 3).index_select(0, pixel)
    samples = Samples(pixel // size**2, pixel, part[pixel], face, share)
    color = shade(stage, samples, (vertex_normals(solid, stage.faces), view, seen), looks, scale, fragments.depth)
    hard = behind.flatten(0, 2).index_copy(0, pixel, color).view_as(behind)
    image = antialias(hard, to_pixels(view, size), stage.faces.int()[None], fragments)
    return Picture(image, part.view_as(fragments.face), fragments.depth)


def carried(table: Float[Tensor, "rows c"], corners: Tensor, samples: Samples) -> Float[Tensor, "n c"]:
    """Weighted sum of three rows of a table for each sample: its corners' values, barycentric."""
    return functional.embedding_bag(corners, table, per_sample_weights=samples.barycentric, mode="sum")


def shade(
    stage: Stage,
    samples: Samples,
    geometry: tuple[Tensor, Tensor, Tensor],
    looks: tuple[Skin, Materials, Lights],
    scale: Float[Tensor, " b"],
    depth: Float[Tensor, "b s s"],
) -> Float[Tensor, "n 3"]:
    """Colour of each sample, sRGB in [0, 1]."""
    (skin, materials, lights), (normals, view, seen) = looks, geometry
    image, part = samples.image, samples.part
    corners = stage.faces.index_select(0, samples.face)
    rest = carried(stage.rest, corners, samples)
    normal = carried(normals.flatten(0, 1), corners + normals.shape[1] * image[:, None], samples)
    on_hand = (part == HAND).nonzero()[:, 0]
    of_hand, slope = hand_maps(stage, samples, on_hand, view, depth.shape[-1] / SIZE)
    palm = rest[:, 3]
    maps = torch.zeros(len(palm), stage.maps.shape[0]).to(palm)
    maps[:, MELANIN], maps[:, REDNESS] = 1 - 0.62 * palm, 0.25 + 0.55 * palm
    maps = maps.index_copy_(0, on_hand, of_hand)
    relief = (scale * skin.variety[:, 4]).index_select(0, image[on_hand])[:, None] * slope
    relief = torch.zeros_like(normal).index_copy_(0, on_hand, functional.pad(relief.clamp(-STEEPEST, STEEPEST), (0, 1)))
    # What the camera sees faces it; and the relief tilts it.
    upright = -normal[:, 2:].abs()
    normal = functional.normalize(torch.cat((normal[:, :2], upright), 1) + relief * upright, dim=-1)

    is_skin = part <= ARM
    spots = noise_at(stage, rest, materials.offset.index_select(0, image))
    color = albedo(skin, image, maps, spots)
    for kind, paint in ((SLEEVE, cloth_color), (THING, thing_color)):
        those = (part == kind).nonzero()[:, 0]
        color.index_copy_(0, those, paint(materials, image[those], rest[those, :3], spots[those]))

    sky = occlusion(depth).flatten()[samples.pixel]
    in_light = toward_lamp(lights, seen)
    place = carried(in_light.flatten(0, 1), corners + in_light.shape[1] * image[:, None], samples)
    lit = lit_by_lamp(lights, in_light, stage.faces, image, place)
    light = irradiance(lights, image, normal, is_skin.to(color), sky, lit)
    gloss = torch.where(is_skin, 0.045 * skin.variety[image, 5] + 0.12 * maps[:, GLOSS], materials.gloss[image, 0])
    gloss = torch.where(part == SLEEVE, 0.01, gloss)
    power = torch.where(is_skin, 14 + 50 * maps[:, GLOSS], materials.gloss[image, 1])
    color = color * light + (gloss * lit)[:, None] * highlight(lights, image, normal, power)
    return to_srgb(color)


def hand_maps(
    stage: Stage, samples: Samples, on_hand: Int64[Tensor, " m"], view: Float[Tensor, "b v 3"], extent: float
) -> tuple[Float[Tensor, "m 7"], Float[Tensor, "m 2"]]:
    """The skin's maps at the samples on the hand, and the slope of its relief along x and y of the picture."""
    image, face = samples.image[on_hand], samples.face[on_hand]
    share = samples.barycentric.index_select(0, on_hand)
    three = 3 * face[:, None] + torch.arange(3, device=face.device)
    uv = functional.embedding_bag(three, stage.uv.flatten(0, 1), per_sample_weights=share, mode="sum")
    grid = 2 * uv[None, None] - 1
    maps = functional.grid_sample(stage.maps[None], grid, padding_mode="border", align_corners=False)[0, :, 0].mT
    maps = maps.contiguous()
    # d(uv)/d(xy) of each face: texture edges times the inverse of picture edges.
    corners = view[:, stage.faces[: len(stage.uv)], :2] * extent
    (ax, ay), (bx, by) = ((corners[:, :, k] - corners[:, :, 0]).unbind(-1) for k in (1, 2))
    a, b = ((stage.uv[:, k] - stage.uv[:, 0]) for k in (1, 2))
    determinant = ax * by - ay * bx
    determinant = torch.where(determinant.abs() < 1e-7, 1e-7, determinant)[..., None]
    along_x, along_y = by[..., None] * a - ay[..., None] * b, ax[..., None] * b - bx[..., None] * a
    jacobian = torch.cat((along_x, along_y), -1) / determinant
    u_x, v_x, u_y, v_y = jacobian.flatten(0, 1).index_select(0, image * len(stage.uv) + face).unbind(1)
    slope_u, slope_v = maps[:, SLOPE_U], maps[:, SLOPE_U + 1]
    return maps, torch.stack((u_x * slope_u + v_x * slope_v, u_y * slope_u + v_y * slope_v), 1)


def noise_at(stage: Stage, rest: Float[Tensor, "n 4"], offset: Float[Tensor, "n 2"]) -> Float[Tensor, "n 2"]:
    """The noises where a place lies at rest, seen along y: continuous over the whole surface."""
    where = rest[:, ::2][:, :2] / NOISE_EXTENT + offset
    grid = 2 * where.remainder(1.0) - 1
    return functional.grid_sample(stage.noise[None], grid[None, None], padding_mode="border", align_corners=False)[
        0, :, 0
    ].mT


def to_srgb(linear: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
    """Linear light to sRGB's curve, with a shoulder above 0.8 in place of hard clipping."""
    bright = linear.clamp_min(0)
    bright = torch.where(bright > 0.7, 1 - 0.3 * ((0.7 - bright) / 0.3).exp(), bright)
    return torch.where(bright < 0.0031308, 12.92 * bright, 1.055 * bright.clamp_min(1e-8) ** (1 / 2.4) - 0.055)
