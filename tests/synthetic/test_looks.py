"""Appearance of synthetic hands: skin tones over the human range, skin maps, light, objects and camera effects."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from dhpe_lib.hand.model import HandModel
from dhpe_lib.synthetic.camera_effects import blurred, draw_cameras, jpeg, photograph
from dhpe_lib.synthetic.cloth import draw_materials
from dhpe_lib.synthetic.lighting import draw_lights, irradiance, lit_by_lamp, occlusion, temperature, toward_lamp
from dhpe_lib.synthetic.objects import draw_things, superquadrics, thing_faces
from dhpe_lib.synthetic.sampling import Sampler
from dhpe_lib.synthetic.shading import SceneAssets, tileable_noise, to_srgb
from dhpe_lib.synthetic.skin import DARKNESS, GLOSS, MELANIN, albedo, draw_skin, draw_tones, lab_to_linear


@pytest.fixture(scope="module")
def assets() -> SceneAssets:
    return SceneAssets.build(HandModel.open_hand())


def typology_angle(linear: torch.Tensor) -> torch.Tensor:
    """Compute ITA in degrees from linear sRGB, by CIE XYZ: an independent inverse of `draw_tones`."""
    to_xyz = torch.tensor([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    _, y, z = ((linear @ to_xyz.mT) / torch.tensor([0.95047, 1.0, 1.08883])).unbind(-1)
    fy, fz = (torch.where(v > 0.008856, v.clamp_min(1e-6) ** (1 / 3), 7.787 * v + 16 / 116) for v in (y, z))
    return torch.rad2deg(torch.atan((116 * fy - 66) / (200 * (fy - fz))))


def test_lab_of_known_colours():
    lab = torch.tensor([[100.0, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20]])  # white, black, sRGB's red
    expected = torch.tensor([[1.0, 1, 1], [0, 0, 0], [1, 0, 0]])
    torch.testing.assert_close(lab_to_linear(lab), expected, rtol=0, atol=3e-3)


def test_tones_span_the_human_range_and_new_people_are_of_other_tones():
    seen, new = (typology_angle(draw_tones(Sampler.from_seed(0, 3000), kept)) for kept in (False, True))
    for low, high in ((55, 90), (41, 55), (28, 41), (10, 28), (-30, 10), (-90, -30)):  # very light ... dark
        assert ((seen > low) & (seen <= high)).float().mean() > 0.05
    width = 120 / 15
    position = ((seen + 58) / width) % 1, ((new + 58) / width) % 1
    assert (position[0] < 0.75).float().mean() > 0.99
    assert (position[1] > 0.75).float().mean() > 0.99


def test_palms_and_nails_are_lighter_and_creases_darker(assets):
    melanin, dark, gloss = (assets.maps[k] for k in (MELANIN, DARKNESS, GLOSS))
    assert (gloss > 0.5).float().mean() > 0.001  # there are nails
    assert melanin[gloss > 0.9].mean() < 0.5 < melanin.median()
    assert dark.max() > 0.4
    skin = draw_skin(Sampler.from_seed(0, 1), False)
    skin.nails[:, 3] = 0
    maps = torch.zeros(3, 7)
    maps[:, MELANIN] = torch.tensor([1.0, 0.4, 1.0])
    maps[2, DARKNESS] = 1
    back, palm, crease = albedo(skin, torch.zeros(3).long(), maps, torch.zeros(3, 2)).mean(-1)
    assert crease < back < palm
    torch.testing.assert_close(albedo(skin, torch.zeros(1).long(), maps[:1], torch.zeros(1, 2)), skin.tone)


def test_noise_repeats_at_its_border():
    noise = tileable_noise()
    inside = (noise[:, :, 1:] - noise[:, :, :-1]).abs().mean()
    assert (noise[:, :, 0] - noise[:, :, -1]).abs().mean() < 2 * inside
    torch.testing.assert_close(noise.std((1, 2)), torch.ones(2))


def lights(direction: tuple[float, float, float]):
    drawn = draw_lights(Sampler.from_seed(0, 1), torch.full((1, 3), 0.5))
    drawn.directions[:, 0] = torch.nn.functional.normalize(torch.tensor(direction), dim=0)
    return drawn


def test_light_falls_on_what_faces_it():
    lamp = lights((0.0, 0.0, 1.0))
    lamp.lamps[:, 0], lamp.lamps[:, 1] = 1.0, 0.0
    normal, one, image = torch.tensor([[0.0, 0, -1], [1, 0, 0], [0, 0, 1]]), torch.ones(3), torch.zeros(3).long()
    room = irradiance(lamp, image, normal, one, one, 0 * one)
    facing, grazing, turned = irradiance(lamp, image, normal, one, one, one) - room
    assert (facing > grazing).all()
    assert grazing[0] > grazing[2] > 0  # red light reaches farthest around the edge of the shade
    torch.testing.assert_close(turned, torch.zeros(3))
    assert (room[0] > irradiance(lamp, image, normal, one, 0.5 * one, 0 * one)[0]).all()


def test_a_thing_before_another_throws_a_shadow():
    lamp = lights((0.0, 0.0, 1.0))
    lamp.softness[:] = 0.002
    square = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    vertices = torch.cat((0.4 * square, 0.1 * square - torch.tensor([0, 0, 0.3])))[None]
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    position = toward_lamp(lamp, torch.tensor([[[0.0, 0, 0], [0.3, 0.3, 0], [0, 0, -0.3]]]))[0]
    lit = lit_by_lamp(lamp, toward_lamp(lamp, vertices), faces, torch.zeros(3).long(), position)
    torch.testing.assert_close(lit, torch.tensor([0.0, 1, 1]))


def test_corners_get_less_of_the_room():
    depth = torch.full((1, 64, 64), 0.5)
    depth[:, :, :32] = 0.45  # a step
    sky = occlusion(depth)
    assert sky[0, 32, 36] < 0.95
    assert sky[0, 32, 60] == 1
    assert (occlusion(torch.full((1, 32, 32), math.inf)) == 1).all()


def test_warm_light_is_red():
    red, green, blue = temperature(torch.tensor(0.1))
    assert red > green == 1 > blue


def test_srgb_curve_is_the_standards_where_it_is_not_a_shoulder():
    linear = torch.tensor([[0.0, 0.002, 0.2]])
    expected = [0.0, 12.92 * 0.002, 1.055 * 0.2 ** (1 / 2.4) - 0.055]
    torch.testing.assert_close(to_srgb(linear)[0], torch.tensor(expected), rtol=1e-5, atol=1e-5)
    bright = to_srgb(torch.linspace(0, 50, 1000)[:, None].expand(-1, 3))
    assert (bright.diff(dim=0) >= 0).all()
    assert bright.max() <= 1


def test_superquadrics_are_balls_boxes_and_face_outwards():
    size = torch.tensor([[1.0, 2.0, 3.0]])
    ball = superquadrics(torch.ones(1, 2), torch.zeros(1), size)
    torch.testing.assert_close((ball / size).norm(dim=-1), torch.ones(1, 280), rtol=0, atol=1e-4)
    box = superquadrics(torch.full((1, 2), 0.05), torch.zeros(1), size)
    assert ((box.abs() / size).amax(-1) > 0.9).all()
    corners = ball[0][thing_faces()]
    normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((normal * corners.mean(1)).sum(-1) > -1e-6).all()


def test_new_things_have_shapes_that_training_never_shows():
    seen, new = (draw_things(Sampler.from_seed(0, 500), 1.0, kept).taper for kept in (False, True))
    assert (seen == 0).all()
    assert new.abs().min() > 0.29
    assert new.min() < 0 < new.max()


def test_a_tapered_thing_is_wider_at_one_end():
    size = torch.tensor([[1.0, 1.0, 2.0]])
    can = superquadrics(torch.tensor([[0.05, 1.0]]), torch.tensor([0.5]), size)[0].view(14, 20, 3)
    width = can[..., :2].norm(dim=-1).mean(1)
    assert width[10] > 1.2 > 0.8 > width[3]


def test_blur_keeps_the_light_and_goes_along_its_direction():
    picture = torch.zeros(2, 1, 31, 31)
    picture[:, :, 15, 15] = 1
    out = blurred(picture, torch.tensor([[0.8, 2.0], [0.8, 0.0]]), torch.zeros(2))[:, 0]
    torch.testing.assert_close(out.sum((1, 2)), torch.ones(2))
    ticks = torch.arange(31.0) - 15
    wide, high = (out[0].sum(axis) @ ticks.square() for axis in (0, 1))
    assert wide > 3 * high
    torch.testing.assert_close(out[1], out[1].mT)


@pytest.mark.parametrize("quality", [40, 75, 92])
def test_jpeg_is_close_to_pillows(quality):
    y, x = np.mgrid[:64, :64]
    waves = [128 + 90 * np.sin(x / 5 + k) * np.cos(y / 9 - k) for k in range(3)]
    picture = np.stack(waves, -1).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "jpeg", quality=quality, subsampling="4:2:0")
    theirs = np.asarray(Image.open(file)).astype(int)
    ours = jpeg(torch.tensor(picture).permute(2, 0, 1)[None] / 255, torch.tensor([float(quality)]))
    difference = np.abs(ours[0].permute(1, 2, 0).numpy().astype(int) - theirs)
    assert difference.mean() < 1.5
    assert (
        np.abs(theirs - picture.astype(int)).mean() > difference.mean()
    )  # closer to Pillow's JPEG than that is to the original


def test_photographs_repeat_and_differ_by_their_noise():
    cameras, scene = draw_cameras(Sampler.from_seed(0, 4)), torch.full((4, 3, 32, 32), 0.5)
    cameras.quality[:] = 97.0
    a, b, c = (photograph(cameras, scene.clone(), torch.Generator().manual_seed(k)) for k in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert a.float().std((2, 3)).max() < 25


def test_materials_stay_within_what_surfaces_return():
    materials = draw_materials(Sampler.from_seed(0, 200))
    for colors in (materials.cloth, materials.thing):
        assert 0 < colors.min() <= colors.max() < 1
