"""From a posed scene to a picture: one z-buffer for hand, arm, sleeve and thing, and colour for what it shows.

The z-buffer has two by two points in a pixel. Where all four see one surface, one of them is coloured and counts for
all; at edges each is, which costs a quarter more than no anti-aliasing at all.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from dhpe_lib.datasets.synthetic.arm import COLUMNS, CUFF, RINGS, tube_faces, wrist_ring
from dhpe_lib.datasets.synthetic.cloth import Materials, cloth_color, thing_color
from dhpe_lib.datasets.synthetic.lighting import (
    Lights,
    highlight,
    irradiance,
    lit_by_lamp,
    occlusion,
    toward_lamp,
)
from dhpe_lib.datasets.synthetic.objects import superquadrics, thing_faces
from dhpe_lib.datasets.synthetic.skin import (
    GLOSS,
    MELANIN,
    REDNESS,
    SLOPE_U,
    SLOPE_V,
    Skin,
    albedo,
    palm_share,
    skin_maps,
)
from dhpe_lib.hand_model import HandModel
from dhpe_lib.renderer import Fragments, rasterize, vertex_normals

HAND, ARM, SLEEVE, THING, NOTHING = range(5)
"""What a pixel shows."""
DEPTH_EDGE = 0.03
"""Points of a pixel that differ more in depth, units of g, are coloured one by one."""
STEEPEST = 0.7
QUAD = ((0, 0), (0, 1), (1, 0), (1, 1))
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
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **moved)


def rest_places(model: HandModel, ring: list[int]) -> Float[Tensor, "vertices 4"]:
    """Where noise and patterns are read for each vertex, and the palm's share of the skin's colour there."""
    rest = model.v_template.cpu()
    palm = palm_share(vertex_normals(rest[None], model.faces.cpu())[0])
    along, around = torch.tensor(RINGS), rest[ring]
    arm = around + functional.pad(along[:, None, None], (0, 2))
    inner = palm[ring] * (0.45 + 0.55 * (1 - along / 0.12).clamp(0, 1))[:, None]
    sleeve = 1.2 * (around - around.mean(0)) + functional.pad(torch.tensor(CUFF)[:, None, None], (0, 2))
    thing = superquadrics(torch.ones(1, 2), torch.full((1, 3), 0.03))[0]
    places = torch.cat((rest, arm.flatten(0, 1), sleeve.flatten(0, 1), thing))
    shares = torch.cat((palm, inner.flatten(), torch.zeros(sleeve[..., 0].numel() + len(thing))))
    return torch.cat((places, shares[:, None]), 1)


def tileable_noise(seed: int = 11) -> Float[Tensor, "2 256 256"]:
    """Noise whose amplitude falls with frequency, like blotches on skin: filtered in Fourier space, so it repeats."""
    white = torch.randn(2, NOISE_SIZE, NOISE_SIZE, generator=torch.Generator().manual_seed(seed))
    across, down = torch.fft.rfftfreq(NOISE_SIZE), torch.fft.fftfreq(NOISE_SIZE)[:, None]
    frequency = (across.square() + down.square()).sqrt() * NOISE_SIZE
    shape = torch.where(frequency < 1, 0.0, frequency.clamp_min(2.0) ** -1.0)
    noise = torch.fft.irfft2(torch.fft.rfft2(white) * shape, s=(NOISE_SIZE, NOISE_SIZE))
    return noise / noise.std((1, 2), keepdim=True)


@dataclass(frozen=True)
class Picture:
    """What the z-buffer shows, before the background.

    Attributes:
        color: sRGB, multiplied by the coverage.
        coverage: Share of a pixel that is not background.
        hand: Share of a pixel that is hand.
        depth: Of the nearest surface, units of g from the root; infinite where there is none.
    """

    color: Float[Tensor, "b s s 3"]
    coverage: Float[Tensor, "b s s"]
    hand: Float[Tensor, "b s s"]
    depth: Float[Tensor, "b s s"]


@dataclass(frozen=True)
class Samples:
    """The points that are coloured: image, row and column among the z-buffer's points, part, and weight in their pixel."""

    image: Tensor
    row: Tensor
    column: Tensor
    part: Tensor
    weight: Float[Tensor, " n"]
    face: Tensor
    barycentric: Float[Tensor, "n 3"]
    depth: Float[Tensor, " n"]


def draw_picture(
    stage: Stage,
    solid: Float[Tensor, "b v 3"],
    seen: Float[Tensor, "b v 3"],
    looks: tuple[Skin, Materials, Lights],
    scale: Float[Tensor, " b"],
    size: int,
    extent: float,
) -> Picture:
    """Draw the scene.

    Args:
        stage: Topology and maps.
        solid: All vertices in the crop frame before perspective: their normals are the true ones.
        seen: The same in perspective.
        looks: Skin, cloth and things, light of each image.
        scale: Units of g in a metre.
        size: Pixels along each side.
        extent: Side of the picture, units of g.

    Returns:
        Colour and buffers.
    """
    view = seen * seen.new_tensor((1 / extent, 1 / extent, 1.0))
    fragments = rasterize(view, stage.faces, 2 * size)
    part = stage.part.index_select(0, fragments.face.flatten() + 1).view_as(fragments.face)
    quads = [part[:, y::2, x::2] for y, x in QUAD]
    depths = [fragments.depth[:, y::2, x::2] for y, x in QUAD]
    samples = chosen_samples(fragments, part, depths)
    near = torch.minimum(torch.minimum(depths[0], depths[1]), torch.minimum(depths[2], depths[3]))
    color = shade(stage, samples, (vertex_normals(solid, stage.faces), view, seen), looks, scale, near, extent)
    pixel = (samples.image * size + samples.row // 2) * size + samples.column // 2
    flat = torch.zeros(len(solid) * size * size, 3).to(color)
    flat.index_add_(0, pixel, samples.weight[:, None] * color)
    hand, nothing = (sum((part == k).to(torch.uint8) for part in quads).to(color) / 4 for k in (HAND, NOTHING))
    return Picture(flat.view(len(solid), size, size, 3), 1 - nothing, hand, near)


def chosen_samples(fragments: Fragments, part: Int[Tensor, "b n n"], depths: list[Tensor]) -> Samples:
    """Of the four points of a pixel the first, if all see one surface, else those that see any."""
    n, quads = part.shape[-1], [part[:, y::2, x::2] for y, x in QUAD]
    plain = quads[0] != NOTHING
    for other, depth in zip(quads[1:], depths[1:], strict=True):
        plain &= (other == quads[0]) & ((depth - depths[0]).abs() < DEPTH_EDGE)
    chosen = part != NOTHING
    for y, x in QUAD[1:]:
        chosen[:, y::2, x::2] &= ~plain
    at = chosen.flatten().nonzero()[:, 0]
    image, row, column = at // (n * n), at // n % n, at % n
    whole = plain.flatten()[(image * (n // 2) + row // 2) * (n // 2) + column // 2]
    weight = torch.where(whole, 1.0, 0.25).to(fragments.barycentric)
    barycentric = fragments.barycentric.view(-1, 3).index_select(0, at)
    face, depth = fragments.face.flatten()[at].long(), fragments.depth.flatten()[at]
    return Samples(image, row, column, part.flatten()[at], weight, face, barycentric, depth)


def carried(table: Float[Tensor, "rows c"], corners: Tensor, samples: Samples) -> Float[Tensor, "n c"]:
    """Weighted sum of three rows of a table for each sample: its corners' values, barycentric."""
    return functional.embedding_bag(corners, table, per_sample_weights=samples.barycentric, mode="sum")


def shade(
    stage: Stage,
    samples: Samples,
    geometry: tuple[Tensor, Tensor, Tensor],
    looks: tuple[Skin, Materials, Lights],
    scale: Float[Tensor, " b"],
    near: Float[Tensor, "b s s"],
    extent: float,
) -> Float[Tensor, "n 3"]:
    """Colour of each sample, sRGB in [0, 1]."""
    (skin, materials, lights), (normals, view, seen) = looks, geometry
    image, part = samples.image, samples.part
    corners = stage.faces.index_select(0, samples.face)
    rest = carried(stage.rest, corners, samples)
    normal = carried(normals.flatten(0, 1), corners + normals.shape[1] * image[:, None], samples)
    on_hand = part == HAND
    maps, slope = hand_maps(stage, samples, view, on_hand, extent)
    palm = rest[:, 3]
    arm = torch.zeros(len(palm), maps.shape[1]).to(maps)
    arm[:, MELANIN], arm[:, REDNESS] = 1 - 0.62 * palm, 0.25 + 0.55 * palm
    arm[on_hand] = maps
    maps = arm
    relief = (scale * skin.variety[:, 4])[image[on_hand], None] * slope
    normal[on_hand, :2] -= relief.clamp(-STEEPEST, STEEPEST) * normal[on_hand, 2:].abs()
    normal = torch.cat((normal[:, :2], -normal[:, 2:].abs()), 1)  # what the camera sees faces it
    normal = functional.normalize(normal, dim=-1)

    is_skin = part <= ARM
    spots = noise_at(stage, rest, materials.offset[image])
    color = torch.empty_like(normal)
    color[is_skin] = albedo(skin, image[is_skin], maps[is_skin], spots[is_skin])
    for kind, paint in ((SLEEVE, cloth_color), (THING, thing_color)):
        those = part == kind
        color[those] = paint(materials, image[those], rest[those, :3], spots[those])

    row, column = samples.row, samples.column
    sky = occlusion(-functional.max_pool2d(-near, 2))[image, row // 4, column // 4]
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
    stage: Stage, samples: Samples, view: Float[Tensor, "b v 3"], on_hand: Bool[Tensor, " n"], extent: float
) -> tuple[Float[Tensor, "m 7"], Float[Tensor, "m 2"]]:
    """The skin's maps at the samples on the hand, and the slope of its relief along x and y of the picture."""
    image, face, share = samples.image[on_hand], samples.face[on_hand], samples.barycentric[on_hand]
    uv = (stage.uv.index_select(0, face) * share[..., None]).sum(1)
    maps = functional.grid_sample(stage.maps[None], 2 * uv[None, None] - 1, padding_mode="border", align_corners=False)
    maps = maps[0, :, 0].mT.contiguous()
    # d(uv)/d(xy) of each face: texture edges times the inverse of picture edges.
    corners = view[:, stage.faces[: len(stage.uv)], :2] * extent
    (ax, ay), (bx, by) = ((corners[:, :, k] - corners[:, :, 0]).unbind(-1) for k in (1, 2))
    a, b = ((stage.uv[:, k] - stage.uv[:, 0]) for k in (1, 2))
    determinant = ax * by - ay * bx
    determinant = torch.where(determinant.abs() < 1e-7, 1e-7, determinant)[..., None]
    along_x, along_y = by[..., None] * a - ay[..., None] * b, ax[..., None] * b - bx[..., None] * a
    jacobian = torch.cat((along_x, along_y), -1) / determinant
    jacobian = jacobian.flatten(0, 1).index_select(0, image * len(stage.uv) + face).view(-1, 2, 2)
    return maps, (jacobian * maps[:, None, (SLOPE_U, SLOPE_V)]).sum(-1)


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
