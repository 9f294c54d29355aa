"""Textures and light lifted from rendered photos, whose texture and light are known."""

import inspect
from dataclasses import replace

import pytest
import torch
from scenes import ball, points
from torch import Tensor

from dhpe_lib.hand.laplacian import uniform_weights
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.rotations import axis_angle_to_matrix
from dhpe_lib.rendering.lighting import Light, shade
from dhpe_lib.rendering.projection import Pinhole
from dhpe_lib.rendering.renderer import Texture, render
from dhpe_lib.rendering.texture_from_photo import SMOOTHNESS, complete, estimate_light, lift_colors, lift_texture
from dhpe_lib.rendering.uv_layout import hand_texture

MAGENTA = torch.tensor([1.0, 0.0, 1.0])
UPRIGHT = axis_angle_to_matrix(torch.full((1, 3), 1.2092))
LIGHT = Light(0.45, 0.6, (0.6, 0.4, 1.0))


@pytest.fixture(scope="module")
def model() -> HandModel:
    return HandModel.open_hand()


def hand_from(model: HandModel, turn: float) -> Tensor:
    """Make the flat hand in the crop frame: fingers up, rotated by `turn` about the vertical axis."""
    rotation = axis_angle_to_matrix(torch.tensor([[0.0, turn, 0.0]])) @ UPRIGHT
    vertices = model(rotation=rotation).vertices
    return (vertices - (vertices.amax(1, True) + vertices.amin(1, True)) / 2) / 0.26


def dark_skin(model: HandModel) -> Texture:
    skin = hand_texture(model)
    return replace(skin, image=skin.image * torch.tensor([0.6, 0.5, 0.45]))


def photo_of(model: HandModel, vertices: Tensor, light: Light = LIGHT) -> Tensor:
    wall = MAGENTA.expand(224, 224, 3)
    return render(vertices, model.faces, dark_skin(model), wall, light=light, supersample=2).image


def test_lifted_texture_gives_the_photo_back(model):
    vertices = hand_from(model, 0.4)
    photo = photo_of(model, vertices)
    lifted = lift_texture(photo, vertices, model.faces, hand_texture(model))
    picture = render(
        vertices, model.faces, lifted.texture, MAGENTA.expand(224, 224, 3), light=lifted.light, supersample=2
    )
    error = (picture.image - photo).abs().mean(-1)
    assert error[picture.mask > 0.99].mean() < 0.01
    assert (photo - MAGENTA).abs().mean(-1)[picture.mask > 0.99].mean() > 0.3  # the hand differs from the wall


def test_other_side_is_completed_with_the_same_skin(model):
    """The back of the hand has about the right colour, without magenta and without holes."""
    vertices, behind = hand_from(model, 0.4), hand_from(model, 0.4 + 3.1416)
    lifted = lift_texture(photo_of(model, vertices), vertices, model.faces, hand_texture(model))
    white = Light(1.0, 0.0)
    ours = render(behind, model.faces, lifted.texture, light=white, supersample=2)
    true = render(behind, model.faces, dark_skin(model), light=white, supersample=2)
    inside = true.mask > 0.99
    ratio = ours.image[inside].mean(0) / true.image[inside].mean(0)
    assert (ratio / ratio.mean() - 1).abs().max() < 0.1  # hue only: the light's brightness is unknown
    redder_than_blue = ours.image[inside][:, 0] - ours.image[inside][:, 2]
    assert redder_than_blue.min() > 0  # in magenta they are equal
    assert 0.2 < lifted.seen.gt(0.5).float().sum() / (lifted.texture.image.sum(-1) > 0).float().sum() < 0.6


def test_light_is_taken_out(model):
    """Two photos of one hand under two lights give nearly the same texture where both see it."""
    vertices = hand_from(model, 0.0)
    lights = (Light(0.4, 0.6, (0.8, 0.0, 1.0)), Light(0.4, 0.6, (-0.8, 0.0, 1.0)))
    both = [
        lift_texture(photo_of(model, vertices, light), vertices, model.faces, hand_texture(model)) for light in lights
    ]
    seen = (both[0].seen > 0.9) & (both[1].seen > 0.9)
    photos = [photo_of(model, vertices, light)[0] for light in lights]
    hand = (photos[0] - MAGENTA).abs().sum(-1) > 0.5
    before = (photos[0] - photos[1])[hand].abs().mean()
    after = (both[0].texture.image - both[1].texture.image)[seen].abs().mean()
    assert seen.sum() > 1000
    assert after < 0.5 * before


def test_estimated_light_explains_its_own_shading(generator):
    normals = torch.nn.functional.normalize(torch.randn(2, 400, 3, generator=generator, dtype=torch.float64), dim=-1)
    harmonics = torch.zeros(2, 9, 3, dtype=torch.float64)
    harmonics[:, 0], harmonics[:, 1:4] = 3.5, 0.5 * torch.rand(2, 3, 3, generator=generator, dtype=torch.float64)
    albedo = 0.3 + 0.4 * torch.rand(2, 400, 3, generator=generator, dtype=torch.float64)
    brightness = shade(normals[:, None], Light(0.0, 0.0, harmonics=harmonics))[:, 0]
    light = estimate_light(albedo * brightness, normals, torch.ones(2, 400, dtype=torch.float64), albedo)
    found = shade(normals[:, None], light)[:, 0]
    ratio = found / brightness
    assert (ratio / ratio.mean((1, 2), keepdim=True) - 1).abs().max() < 0.05
    torch.testing.assert_close(found.mean((1, 2)), torch.ones(2, dtype=torch.float64), rtol=0.02, atol=0)


def test_complete_keeps_what_is_seen_and_is_harmonic_elsewhere():
    """On a strip with a red end and a blue end, the colours between them change evenly."""
    n = 11
    rows = [(x, y, 0.0) for x in range(n) for y in (0.0, 1.0)]
    faces = [(2 * x, 2 * x + 2, 2 * x + 1) for x in range(n - 1)] + [
        (2 * x + 2, 2 * x + 3, 2 * x + 1) for x in range(n - 1)
    ]
    colors = torch.zeros(1, len(rows), 3, dtype=torch.float64)
    colors[:, :2, 0], colors[:, -2:, 2] = 1, 1
    seen = torch.zeros(1, len(rows), dtype=torch.float64)
    seen[:, :2], seen[:, -2:] = 1, 1
    filled = complete(colors, seen, torch.tensor(faces))[0]
    red, blue = filled[:, 0], filled[:, 2]
    assert (red.view(n, 2).mean(1).diff() < 0).all()
    assert (blue.view(n, 2).mean(1).diff() > 0).all()
    torch.testing.assert_close(red + blue, torch.ones_like(red), rtol=0, atol=1e-2)
    assert red[0] > 0.9
    nothing = complete(colors, 0 * seen, torch.tensor(faces))
    torch.testing.assert_close(nothing, torch.ones_like(nothing))


def test_complete_solves_its_equation(model, device):
    """All of the hand, a quarter of it, one vertex and nothing are visible."""
    generator = torch.Generator().manual_seed(0)
    x, y = model.v_template[:, 0], model.v_template[:, 1]
    seen = torch.rand(4, 778, generator=generator)
    seen[1] *= (x > x.median()) & (y > y.median())
    seen[2:] = 0
    seen[2, 400] = 0.5
    colors = 0.2 + torch.rand(4, 778, 3, generator=generator)
    adjacency = uniform_weights(model.v_template, model.faces).double()
    laplacian = adjacency.sum(1).diag() - adjacency
    matrix = torch.diag_embed(seen.double() + 1e-5) + SMOOTHNESS * laplacian
    exact = torch.linalg.solve(matrix, (seen[..., None] * colors + 1e-5).double())
    found = complete(colors.to(device), seen.to(device), model.faces.to(device)).cpu().double()
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-3)
    torch.testing.assert_close(found[[0, 3]], exact[[0, 3]], rtol=0, atol=1e-5)


def test_vertices_take_the_colours_of_their_pixels():
    """In a photo that is red on the left and green on the right, a ball gets these colours."""
    vertices, faces = ball(subdivisions=3)
    photo = torch.zeros(1, 64, 64, 3, dtype=torch.float64)
    photo[:, :, :32, 0], photo[:, :, 32:, 1] = 0.8, 0.8
    lifted = lift_colors(photo, vertices, faces)
    front = lifted.seen[0] > 0.5
    assert 0.2 < front.double().mean() < 0.5
    assert (vertices[0, front, 2] < 0.02).all()
    left, right = front & (vertices[0, :, 0] < -0.05), front & (vertices[0, :, 0] > 0.05)
    assert (lifted.colors[0, left, 0] > 3 * lifted.colors[0, left, 1]).all()
    assert (lifted.colors[0, right, 1] > 3 * lifted.colors[0, right, 0]).all()
    assert lifted.colors.isfinite().all()


def test_pinhole_sees_the_near_side_only():
    vertices, faces = ball(subdivisions=3)
    k = points((64, 0, 32), (0, 64, 32), (0, 0, 1))[None]
    photo = torch.full((1, 64, 64, 3), 0.5, dtype=torch.float64)
    seen = lift_colors(photo, vertices + points((0, 0, 1.0)), faces, camera=Pinhole(k)).seen[0]
    distances = (vertices[0] + points((0, 0, 1.0))).norm(dim=-1)
    assert distances[seen > 0.5].max() < distances.mean()


@pytest.mark.parametrize("where", ["out of the picture", "lost"])
def test_nothing_seen_gives_the_base_skin(model, where):
    vertices = hand_from(model, 0.0)
    vertices = vertices + 3 if where == "out of the picture" else vertices * torch.nan
    if where == "lost":
        with pytest.raises(ValueError, match=r"vertices.*not finite.*fit"):
            lift_texture(torch.rand(1, 64, 64, 3), vertices, model.faces, hand_texture(model), 64)
        return
    lifted = lift_texture(torch.rand(1, 64, 64, 3), vertices, model.faces, hand_texture(model), 64)
    assert not lifted.seen.any()
    assert lifted.texture.image.isfinite().all()
    painted = lifted.texture.image.sum(-1) > 0
    assert abs(float(lifted.texture.image[painted].mean() - hand_texture(model).image.mean())) < 0.15


def test_mano_has_no_texture_and_says_so(model):
    bare = HandModel.open_hand()
    bare.hand = {name: value for name, value in bare.hand.items() if name not in ("vt", "ft", "texture")}
    with pytest.raises(ValueError, match="lift_colors"):
        hand_texture(bare)


def test_mask_keeps_a_wrong_fit_from_the_background(model):
    """A mesh that is shifted by five pixels gets colours of the wall, unless the hand mask is given."""
    vertices = hand_from(model, 0.2)
    photo = photo_of(model, vertices)
    mask = render(vertices, model.faces, torch.ones_like(vertices[0])).mask
    off = vertices + torch.tensor([5 / 224, 0.0, 0.0])
    stains = []
    for known in (None, (mask > 0.99).float()):
        lifted = lift_texture(photo, off, model.faces, hand_texture(model), mask=known)
        image = lifted.texture.image[0]
        stains.append(((image[..., 2] > image[..., 1] + 0.15) & (lifted.seen[0] > 0.5)).sum())
    assert stains[0] > 50
    assert stains[1] < 0.1 * stains[0]


def test_photos_and_meshes_come_in_pairs_and_in_any_float(model):
    vertices = hand_from(model, 0.0)
    with pytest.raises(ValueError, match="2 photos for 1 meshes"):
        inspect.unwrap(lift_colors)(torch.rand(2, 64, 64, 3), vertices, model.faces)
    double = lift_texture(torch.rand(1, 64, 64, 3).double(), vertices.double(), model.faces, hand_texture(model), 32)
    assert double.texture.image.dtype == torch.float64
