"""Skin of every tone: the distribution of melanin and blood on the hand, and the resulting colour.

Pigments absorb light, so the colour of skin in linear light is exp(-(melanin + blood)). People differ in the amount of
melanin, which is measured by the individual typology angle ITA = atan((L* - 50) / b*). Skin is called very light above
55 degrees, light above 41, intermediate above 28, tan above 10, brown above -30, and dark below (Chardon et al. 1991;
Del Bino and Bernerd 2013). Palms and nails have little melanin for every skin tone.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from dhpe_lib.common.devices import constant_like
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.poses import joint_limits
from dhpe_lib.hand.skeleton import MANO_FINGERS
from dhpe_lib.rendering.lighting import vertex_normals
from dhpe_lib.rendering.projection import interpolate, rasterize
from dhpe_lib.synthetic.sampling import Sampler

MAP_SIZE = 512
"""Side of the skin's maps, texels."""
LIGHTEST, DARKEST = 62.0, -58.0
"""Range of skin tones, degrees of ITA."""
BANDS = 15
"""Number of bands into which the range is divided; see `draw_tones`."""
BLOODLESS = (77.0, 5.0, 13.0)
"""CIELAB of skin without melanin, the palest skin."""
BLOOD = (0.13, 1.0, 0.85)
"""Relative absorption of haemoglobin in red, green and blue."""
MELANIN, REDNESS, DARKNESS, GLOSS, VEIN, SLOPE_U, SLOPE_V = range(7)
"""Channels of the skin's maps."""


def lab_to_linear(lab: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3"]:
    """Convert CIELAB (D65) to linear sRGB, without clipping."""
    y = (lab[..., 0] + 16) / 116
    f = torch.stack((y + lab[..., 1] / 500, y, y - lab[..., 2] / 200), -1)
    xyz = torch.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * constant_like((0.95047, 1.0, 1.08883), f)
    to_rgb = ((3.2406, -1.5372, -0.4986), (-0.9689, 1.8758, 0.0415), (0.0557, -0.2040, 1.0570))
    return xyz @ constant_like(to_rgb, f).mT


def draw_tones(sampler: Sampler, new: bool) -> Float[Tensor, "b 3"]:
    """Sample the colour of the back of each hand, uniform in ITA over the whole human range.

    The chroma follows measured skin: b* is highest for tan skin and lower for lighter and darker skin; a* is about 10.
    The range is divided into `BANDS` bands. The last quarter of each band is reserved for people who never appear in
    training.

    Args:
        sampler: Random number generator.
        new: Whether to use the reserved tones.

    Returns:
        Linear sRGB.

    Source: ranges of a* and b* from Xiao et al., Skin Research and Technology 2017.
    """
    band = sampler.index(BANDS) + (sampler.uniform(0.77, 1.0) if new else sampler.uniform(0.0, 0.73))
    ita = DARKEST + (LIGHTEST - DARKEST) * band / BANDS
    yellow = 18.5 - 7.0 * ((ita - 15) / 60).abs() ** 1.6 + sampler.normal(1.0)
    lightness = 50 + yellow * torch.deg2rad(ita).tan()
    return lab_to_linear(torch.stack((lightness, 9.5 + sampler.normal(1.2), yellow), -1)).clamp(0.004, 1)


@dataclass(frozen=True)
class Skin:
    """Skin of a person.

    Attributes:
        tone: Colour of the back of the hand, linear sRGB.
        variety: Strength of melanin spots, blotches of blood, creases, veins, relief and gloss; 1 is average.
        nails: Colour of nail polish, linear sRGB, and its opacity.
    """

    tone: Float[Tensor, "b 3"]
    variety: Float[Tensor, "b 6"]
    nails: Float[Tensor, "b 4"]


def draw_skin(sampler: Sampler, new: bool) -> Skin:
    """Sample a skin for each image; one hand in twelve has nail polish. For `new` see :func:`draw_tones`."""
    polish = torch.cat((sampler.uniform(0.02, 0.9, 3), 0.92 * sampler.chance(0.08, 1).float()), 1)
    return Skin(draw_tones(sampler, new), sampler.log_uniform(0.5, 1.8, 6), polish)


def albedo(skin: Skin, image: Tensor, maps: Float[Tensor, "n 7"], spots: Float[Tensor, "n 2"]) -> Float[Tensor, "n 3"]:
    """Compute the colour of points on the skin.

    log colour = log bloodless + melanin (log tone - log bloodless) - blood absorption - darkness.

    Args:
        skin: Skin of each image.
        image: Index of the image of each point.
        maps: Maps of the skin at the points.
        spots: Noise of melanin and blood at the points, with mean 0.

    Returns:
        Linear sRGB.
    """
    pale = lab_to_linear(constant_like(BLOODLESS, maps)).log()
    packed = torch.cat((skin.variety, skin.tone.log() - pale, skin.nails), 1).index_select(0, image)
    variety, darker, polish, cover = packed.split((6, 3, 3, 1), 1)
    melanin = maps[:, MELANIN] * (1 + 0.05 * variety[:, 0] * spots[:, 0])
    blood = 0.20 * maps[:, REDNESS] + 0.045 * variety[:, 1] * spots[:, 1]
    dark = 0.55 * variety[:, 2] * maps[:, DARKNESS] + 0.06 * variety[:, 3] * maps[:, VEIN]
    color = pale + melanin[:, None] * darker
    color -= blood[:, None] * constant_like(BLOOD, maps)
    color -= dark[:, None] * constant_like((1.0, 0.95, 0.85), maps)
    color.exp_()
    return color + cover * (maps[:, GLOSS, None] > 0.5) * (polish - color)


# ---------------------------------------------------------------------------------------------- the maps of the skin


@dataclass(frozen=True)
class Texels:
    """The surface under each texel of the hand's texture, at rest.

    Attributes:
        position: Position, metres.
        normal: Unit normal.
        weights: Skinning weights.
        covered: Whether a face covers the texel.
    """

    position: Float[Tensor, "s s 3"]
    normal: Float[Tensor, "s s 3"]
    weights: Float[Tensor, "s s 16"]
    covered: Tensor


def texels(model: HandModel) -> Texels:
    """Rasterise the hand in the plane of its texture."""
    uv = torch.as_tensor(model.hand["vt"]).float() - 0.5
    corners = torch.as_tensor(model.hand["ft"].astype(np.int64))
    fragments = rasterize(functional.pad(uv, (0, 1))[None], corners, MAP_SIZE)
    rest = model.v_template.cpu()[None]
    faces = model.faces.cpu()
    carried = torch.cat((rest, vertex_normals(rest, faces), model.weights.cpu()[None]), -1)
    values = interpolate(carried, faces, fragments)[0]
    return Texels(
        values[..., :3], functional.normalize(values[..., 3:6], dim=-1), values[..., 6:], fragments.face[0] >= 0
    )


def bump(x: Tensor, width: float) -> Tensor:
    """Compute exp(-(x / width)^2)."""
    return (-((x / width) ** 2)).exp()


def palm_share(normal: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n"]:
    """Compute the share of palm skin, 0 to 1, from the normal at rest; the palm faces -y."""
    return torch.sigmoid(-7 * (normal[..., 1] + 0.2))


def skin_maps(model: HandModel) -> Float[Tensor, "7 512 512"]:
    """Paint the maps of the open hand: melanin, redness, creases, gloss, veins and the slope of the relief.

    Args:
        model: The open hand, which has texture coordinates.

    Returns:
        Channels in the order MELANIN .. SLOPE_V. The slope is the derivative of the height (metres) with respect to the
        texture coordinates.
    """
    t = texels(model)
    palm = palm_share(t.normal)
    melanin, redness = 1 - 0.62 * palm, 0.25 + 0.55 * palm
    dark, gloss, height = torch.zeros_like(palm), torch.zeros_like(palm), torch.zeros_like(palm)
    rest, axes = model.rest_joints(torch.zeros(1, 10).to(model.v_template))[0].cpu(), joint_limits().axes.float()
    for k, finger in enumerate(MANO_FINGERS):
        tip = model.v_template[model.tips[("thumb", "index", "middle", "ring", "little").index(finger)]].cpu()
        for bone in range(3 * k, 3 * k + 3):
            side, dorsal, along = axes[bone]
            offset = t.position - rest[bone + 1]
            s, r = offset @ along, offset @ side
            parent = 0 if bone == 3 * k else bone
            mine = t.weights[..., bone + 1] + t.weights[..., parent]
            up = t.normal @ dorsal
            back, front = up.clamp(0, 1) * mine, (-up).clamp(0, 1) * mine
            knuckle = bump(s, 0.008) * bump(r, 0.010) * back
            redness = redness + 0.55 * knuckle
            melanin = melanin + 0.20 * knuckle
            if bone > 3 * k:
                wrinkles = sum(bump(s - at, 0.0007) for at in (-0.0042, -0.0024, -0.0008, 0.0011, 0.0029, 0.0046))
                wrinkles = wrinkles * bump(r, 0.008) * back
                folds = (bump(s - 0.001, 0.0008) + 0.5 * bump(s + 0.0022, 0.0008)) * front
                dark = dark + 0.35 * wrinkles + 0.75 * folds
                height = height - 0.00035 * wrinkles - 0.0006 * folds
            elif finger != "thumb":
                fold = bump(s - 0.021, 0.0009) * front
                dark, height = dark + 0.75 * fold, height - 0.0006 * fold
                height = height + 0.0022 * bump(s + 0.002, 0.008) * bump(r, 0.007) * back  # the knuckle
                tendon = bump(r, 0.0032) * bump((s + 0.035) / 0.030, 1.0) * up.clamp(0, 1) * t.weights[..., 0]
                height = height + 0.0012 * tendon
            if bone == 3 * k + 2:
                length = (tip - rest[bone + 1]) @ along
                own = t.weights[..., bone + 1]
                redness = redness + 0.9 * (s / length - 0.55).clamp(0, 0.5) * own
                melanin, redness, dark, gloss, height = paint_nail(
                    (melanin, redness, dark, gloss, height), own * (3 * up).clamp(0, 1), s / length, r / (0.30 * length)
                )
    lines = palm_lines(t, rest)
    dark, height = dark + 0.6 * lines, height - 0.0006 * lines
    vein = veins(t) * (1 - palm) * t.weights[..., 0] * bump((t.position[..., 0] - 0.045) / 0.05, 1.0)
    height = height + 0.0003 * vein
    maps = torch.stack((melanin, redness, dark.clamp_max(1.2), gloss, vein))
    maps, height = fill_uncovered(maps, t.covered), fill_uncovered(height[None], t.covered)[0]
    slope_v, slope_u = torch.gradient(height, spacing=1 / MAP_SIZE)
    return torch.cat((maps, torch.stack((slope_u, slope_v))))


def paint_nail(layers: tuple[Tensor, ...], mine: Tensor, s: Tensor, r: Tensor) -> tuple[Tensor, ...]:
    """Paint a nail: a superellipse on the back of the last bone.

    Args:
        layers: Melanin, redness, darkness, gloss and height (metres).
        mine: Share of the texel that belongs to the back of this bone.
        s: Position along the bone, from the joint (0) to the tip (1).
        r: Position across the bone, relative to 0.30 of its length.

    Returns:
        The layers with the nail.
    """
    melanin, redness, dark, gloss, height = layers
    edge = ((s - 0.71) / 0.27) ** 4 + r.abs() ** 3.2
    inside = torch.sigmoid(14 * (0.95 - edge)) * (mine > 0.5)
    free = torch.sigmoid(60 * (s - 0.93))  # the white edge beyond the nail bed
    moon = torch.sigmoid(40 * (0.54 - s + 0.05 * (1 - r * r)))
    rim = bump(edge - 1.2, 0.3) * (mine > 0.4)
    melanin = melanin + inside * (0.30 - 0.2 * free - melanin)
    redness = redness + inside * (0.95 - 1.1 * free - 0.5 * moon - redness)
    return (
        melanin,
        redness,
        dark * (1 - inside) + 0.45 * rim,
        gloss + inside,
        height - 0.0004 * rim + 0.0004 * inside,
    )


def palm_lines(t: Texels, rest: Float[Tensor, "16 3"]) -> Tensor:
    """Paint the three main lines of the palm, as arcs whose points are given in units of palm length and breadth."""
    index, little = rest[1], rest[7]
    along, across = rest[4] - rest[0], little - index
    u = (t.position - rest[0]) @ along / (along @ along)  # 0 at the wrist, 1 at the knuckles
    w = (t.position - index) @ across / (across @ across)  # 0 under the index, 1 under the little finger
    front = (-2 * t.normal[..., 1]).clamp(0, 1) * (t.weights[..., 0] + t.weights[..., 13])
    heart = bump(u - (0.92 - 0.10 * w - 0.10 * (w - 0.35) ** 2), 0.012) * (w > 0.12)
    head = bump(u - (0.80 - 0.22 * w), 0.011) * (w > -0.35) * (w < 0.85)
    life = bump(w - (0.42 - 1.1 * (u - 0.30) ** 2 - 0.25 * u), 0.016) * (u > 0.12) * (u < 0.84)
    return torch.maximum(torch.maximum(heart, head), life) * front


def veins(t: Texels) -> Tensor:
    """Paint a net of veins on the back of the hand: the zero lines of a sum of smooth waves in space."""
    generator = torch.Generator().manual_seed(4)
    waves = torch.randn(12, 2, generator=generator) * torch.linspace(60, 170, 12)[:, None]
    phase = 2 * math.pi * torch.rand(12, generator=generator)
    stretched = t.position[..., ::2] * constant_like((0.35, 1.25), t.position)
    field = (stretched @ waves.mT + phase).sin().sum(-1) / math.sqrt(12)
    return bump(field, 0.14)


def fill_uncovered(values: Float[Tensor, "c s s"], covered: Tensor) -> Float[Tensor, "c s s"]:
    """Fill texels outside the charts with the nearest covered texel, so that filtering at a seam finds skin."""
    nearest = ndimage.distance_transform_edt(~covered.numpy(), return_distances=False, return_indices=True)
    rows, columns = torch.from_numpy(np.asarray(nearest)).long()
    return values[:, rows, columns]
