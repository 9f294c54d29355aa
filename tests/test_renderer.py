import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scenes import ONE, SCENES, TRIANGLE, Scene, ball, letter, points
from torch import Tensor

from dhpe_lib.rasterizer import reference
from dhpe_lib.renderer import Light, interpolate, rasterize, render, silhouette, vertex_normals

SIGMA = 1e-3  # soft enough for small images
DTYPES = [torch.float32, torch.float64]


def cotangent_like(image: Tensor) -> Tensor:
    return torch.randn(image.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(image)


def mask_and_gradient(function, vertices: Tensor, faces: Tensor, *arguments) -> tuple[Tensor, Tensor]:
    vertices = vertices.clone().requires_grad_()
    mask = function(vertices, faces, *arguments)
    return mask.detach(), torch.autograd.grad(mask, vertices, cotangent_like(mask))[0]


# silhouette: against its twin, and against finite differences


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("image_size", [17, 32])
@pytest.mark.parametrize("sigma", [1e-4, SIGMA, 1e-2])
def test_silhouette_equals_reference(dtype, image_size, sigma, device, tol):
    vertices, faces = ball()
    vertices = torch.cat([vertices, 0.7 * vertices - 0.3]).to(device, dtype)
    faces = faces.to(device)
    mask, gradient = mask_and_gradient(silhouette, vertices, faces, image_size, sigma)
    mask_twin, gradient_twin = mask_and_gradient(reference.silhouette, vertices, faces, image_size, sigma)
    assert mask.shape == (2, image_size, image_size)
    # in float32 a pixel's distance from an edge, in units of sqrt(sigma), is known to about 1e-5
    atol = 5e-5 if dtype == torch.float32 else tol[dtype]["atol"]
    torch.testing.assert_close(mask, mask_twin, rtol=0, atol=atol)
    scale = gradient_twin.abs().max()
    torch.testing.assert_close(gradient / scale, gradient_twin / scale, rtol=0, atol=10 * atol)
    assert (gradient_twin[..., :2] != 0).float().mean() > 0.5


@pytest.mark.parametrize("name", SCENES)
def test_silhouette_reference_on_scenes(name, device, tol):
    vertices, faces = SCENES[name].vertices[None].to(device), SCENES[name].faces.to(device)
    for ours, twin in zip(
        mask_and_gradient(silhouette, vertices, faces, 24, SIGMA),
        mask_and_gradient(reference.silhouette, vertices, faces, 24, SIGMA),
        strict=True,
    ):
        torch.testing.assert_close(ours, twin, **tol[torch.float64])
        assert ours.abs().max() > 0.01


def derivative_image(scene: Scene, image_size: int, device: torch.device) -> Tensor:
    """The change of a silhouette with t, by one backward pass: a batch of equal meshes, each for one pixel."""
    step = 1e-6
    motion = (scene.moved(step) - scene.moved(-step)) / (2 * step)
    pixels = image_size**2
    vertices = scene.vertices.to(device).repeat(pixels, 1, 1).requires_grad_()
    masks = silhouette(vertices, scene.faces.to(device), image_size, SIGMA)
    each_pixel = torch.eye(pixels, dtype=torch.float64, device=device).view(pixels, image_size, image_size)
    gradient = torch.autograd.grad(masks, vertices, each_pixel)[0]
    return (gradient * motion.to(device)).sum((1, 2)).view(image_size, image_size)


def save_signed(path: Path, image: Tensor) -> None:
    """Zero grey, positive red, negative blue."""
    scaled = (image / image.abs().max().clamp_min(1e-30)).cpu().numpy()
    rgb = np.stack([scaled, 0 * scaled, -scaled], -1).clip(-1, 1) * 127 + 128
    Image.fromarray(rgb.astype(np.uint8)).resize((256, 256), Image.Resampling.NEAREST).save(path)


@pytest.mark.parametrize("name", SCENES)
def test_silhouette_derivative_is_that_of_the_image(name, device, tmp_path):
    scene, size, step = SCENES[name], 16, 1e-5
    ends = torch.stack([scene.moved(step), scene.moved(-step)]).to(device)
    ahead, behind = silhouette(ends, scene.faces.to(device), size, SIGMA)
    expected = (ahead - behind) / (2 * step)
    actual = derivative_image(scene, size, device)
    error = (actual - expected).abs()
    assert expected.abs().max() > 1  # the scene does move
    wrong = error > 1e-6 * expected.abs().max()
    if wrong.any():
        save_signed(tmp_path / "actual.png", actual)
        save_signed(tmp_path / "error.png", actual - expected)
    assert not wrong.any(), f"{wrong.sum()} pixels, worst {error.max():.2e}; images in {tmp_path}"


@pytest.mark.parametrize("name", ["two overlapping", "thin", "leaving the image"])
def test_silhouette_gradcheck(name, device):
    vertices, faces = SCENES[name].vertices[None].to(device).requires_grad_(), SCENES[name].faces.to(device)
    assert torch.autograd.gradcheck(lambda v: silhouette(v, faces, 7, 1e-2), vertices, eps=1e-6, atol=1e-6)


def test_silhouette_large_gradient_against_finite_difference(device, generator):
    vertices, faces = ball(subdivisions=3)
    vertices, faces = vertices.to(device), faces.to(device)
    motion = torch.randn(vertices.shape, generator=generator, dtype=torch.float64).to(device)
    _, gradient = mask_and_gradient(silhouette, vertices, faces, 64, SIGMA)
    contracted = []
    for t in (1e-7, -1e-7):
        mask = silhouette(vertices + t * motion, faces, 64, SIGMA)
        contracted.append((mask * cotangent_like(mask)).sum())
    expected = (contracted[0] - contracted[1]) / 2e-7
    torch.testing.assert_close((gradient * motion).sum(), expected, rtol=1e-5, atol=0)


# silhouette: known values and invariants


def test_silhouette_of_a_half_plane_is_a_sigmoid(device):
    wide = points((-4, -9, 0), (-4, 9, 0), (0.1, 9, 0), (0.1, -9, 0)).to(device)  # covers x < 0.1
    mask = silhouette(wide[None], torch.tensor([[0, 1, 2], [0, 2, 3]], device=device), 50, 0.05)[0]
    x = (torch.arange(50, dtype=torch.float64, device=device) + 0.5) / 50 - 0.5
    signed_square = 4 * (x - 0.1).square() * torch.sign(0.1 - x)
    one_face = torch.sigmoid(signed_square / 0.05)
    assert (mask >= one_face - 1e-4).all()  # the other face, beyond the diagonal, can only add
    torch.testing.assert_close(mask[0], one_face, rtol=0, atol=2e-4)  # far from the diagonal


def test_silhouette_covers_the_hard_mask(device):
    vertices, faces = (x.to(device) for x in ball(subdivisions=3))
    hard = rasterize(vertices, faces, 96).face >= 0
    soft = silhouette(vertices, faces, 96, 1e-5)
    differing = ((soft > 0.5) != hard).float().mean()
    assert differing < 0.02 * hard.float().mean()
    assert abs(soft.sum() / 96**2 - math.pi * 0.3**2) < 0.02 * math.pi * 0.3**2


@pytest.mark.parametrize("dtype", DTYPES)
def test_silhouette_ignores_order_and_depth(dtype, device, generator, tol):
    vertices, faces = ball()
    vertices, faces = vertices.to(device, dtype), faces.to(device)
    order = torch.randperm(vertices.shape[1], generator=generator).to(device)
    mixed = order.argsort()[faces][torch.randperm(len(faces), generator=generator).to(device)].flip(1)
    mask, gradient = mask_and_gradient(silhouette, vertices, faces, 40, SIGMA)
    mask_mixed, gradient_mixed = mask_and_gradient(silhouette, vertices[:, order], mixed, 40, SIGMA)
    torch.testing.assert_close(mask_mixed, mask, **tol[dtype])
    scale = gradient.abs().max()
    torch.testing.assert_close(gradient_mixed / scale, gradient[:, order] / scale, rtol=0, atol=tol[dtype]["rtol"])
    assert not gradient[..., 2].any()
    assert torch.equal(silhouette(vertices * vertices.new_tensor([1, 1, -3]), faces, 40, SIGMA), mask)


def test_silhouette_is_equivariant_to_a_shift_by_pixels(device):
    vertices, faces = (x.to(device) for x in ball())
    shift = points((5 / 40, -3 / 40, 0)).to(device)
    here, there = silhouette(vertices, faces, 40, SIGMA), silhouette(vertices + shift, faces, 40, SIGMA)
    torch.testing.assert_close(there.roll((3, -5), (1, 2))[:, 5:-5, 5:-5], here[:, 5:-5, 5:-5], rtol=0, atol=1e-9)


def test_silhouette_is_deterministic_for_any_number_of_threads():
    vertices, faces = ball()
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 1, 3, 16):
            torch.set_num_threads(threads)
            results.append(mask_and_gradient(silhouette, vertices, faces, 40, SIGMA))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0][1], results[1][1])
    for mask, gradient in results:
        assert torch.equal(mask, results[0][0])
        torch.testing.assert_close(gradient, results[0][1], rtol=1e-9, atol=1e-9)


def test_silhouette_takes_any_layout(device):
    vertices, faces = (x.to(device) for x in ball())
    twice = vertices.expand(2, -1, -1).requires_grad_()
    silhouette(twice, faces.int(), 20, SIGMA).sum().backward()  # its cotangent is one expanded number
    assert twice.grad is not None
    torch.testing.assert_close(twice.grad[0], twice.grad[1])
    columns_first = vertices.transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(silhouette(columns_first, faces, 20, SIGMA), silhouette(vertices, faces, 20, SIGMA))


# silhouette: degenerate and bad input


def assert_nothing_drawn(vertices: Tensor, faces: Tensor) -> None:
    mask, gradient = mask_and_gradient(silhouette, vertices, faces, 16, SIGMA)
    assert not mask.any()
    assert not gradient.any()
    assert (rasterize(vertices, faces, 16).face == -1).all()


NOTHING = {
    "no faces": (TRIANGLE, torch.zeros(0, 3, dtype=torch.int64)),
    "no vertices": (torch.zeros(0, 3, dtype=torch.float64), torch.zeros(0, 3, dtype=torch.int64)),
    "one vertex thrice": (TRIANGLE, torch.tensor([[1, 1, 1]])),
    "one vertex twice": (TRIANGLE, torch.tensor([[0, 1, 1]])),
    "three points in a line": (points((-0.2, -0.2, 0), (0, 0, 0), (0.2, 0.2, 0)), ONE),
    "edge-on": (TRIANGLE * points((0, 1, 1)), ONE),
    "left of the image": (TRIANGLE - points((2, 0, 0)), ONE),
    "below the image": (TRIANGLE + points((0, 2, 0)), ONE),
    "very far": (TRIANGLE * 1e30 + 1e31, ONE),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NOTHING)
def test_nothing_to_draw(name, dtype, device):
    vertices, faces = NOTHING[name]
    assert_nothing_drawn(vertices[None].to(device, dtype), faces.to(device))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30])
def test_face_with_a_lost_corner_leaves_the_others_alone(value, dtype, device):
    lost = torch.cat([TRIANGLE, points((value, 0.1, 0.0))])[None].to(device, dtype)
    faces = torch.tensor([[0, 1, 2], [0, 1, 3]], device=device)
    alone = mask_and_gradient(silhouette, lost, faces[:1], 16, SIGMA)
    both = mask_and_gradient(silhouette, lost, faces, 16, SIGMA)
    if value != 1e30 or dtype == torch.float32:  # in float64 even that face has an area
        assert torch.equal(both[0], alone[0])
        assert torch.equal(both[1], alone[1])
    assert both[1].isfinite().all()


def test_no_nan_gradient_from_finite_faces(device, generator):
    """Corners on top of each other, on pixel centres and on edges, in float32, at sharp and soft sigma."""
    grid = torch.randint(-8, 9, (64, 12, 3), generator=generator) / 16 + 1 / 32
    grid = (grid + 1e-7 * torch.randn(grid.shape, generator=generator).sign()).to(device)
    faces = torch.randint(0, 12, (40, 3), generator=generator).to(device)
    for sigma in (1e-8, 1e-5, 1e-2, 1.0):
        mask, gradient = mask_and_gradient(silhouette, grid, faces, 16, sigma)
        assert mask.isfinite().all()
        assert gradient.isfinite().all()
        assert gradient.any()


def test_empty_batch(device):
    vertices = torch.zeros(0, 3, 3, device=device, requires_grad=True)
    mask = silhouette(vertices, ONE.to(device), 16)
    mask.sum().backward()
    assert mask.shape == (0, 16, 16)
    picture = render(vertices, ONE.to(device), torch.ones(3, 3, device=device), image_size=16)
    assert picture.image.shape == (0, 16, 16, 3)


def test_bad_arguments_say_what_is_wrong():
    vertices = TRIANGLE[None]
    with pytest.raises(TypeError, match=r"float16.*float32 and float64"):
        silhouette(vertices.half(), ONE)
    with pytest.raises(IndexError, match="vertices 0 to 3, but there are only 0 to 2"):
        silhouette(vertices, torch.tensor([[0, 1, 3]]))
    with pytest.raises(IndexError, match="vertices -1 to 2"):
        rasterize(vertices, torch.tensor([[0, -1, 2]]))
    with pytest.raises(ValueError, match=r"sigma = 0.*positive"):
        silhouette(vertices, ONE, sigma=0.0)
    with pytest.raises(ValueError, match=r"image_size = 0.*positive"):
        silhouette(vertices, ONE, image_size=0)


# silhouette: what it is for


def test_mask_alone_brings_a_mesh_home(device):
    """Shifted by ten of 64 pixels, turned by half a radian, and a quarter too large, all at once."""
    vertices, faces = (x.to(device) for x in letter())
    target = (rasterize(vertices, faces, 64).face >= 0).double()
    parameters = torch.tensor([0.12, -0.1, 0.5, 0.25], dtype=torch.float64, device=device, requires_grad=True)

    def moved() -> Tensor:
        x, y, angle, growth = parameters
        c, s, o = angle.cos(), angle.sin(), torch.zeros_like(angle)
        turn = torch.stack([c, -s, o, s, c, o, o, o, o]).view(3, 3)
        return growth.exp() * vertices @ turn.T + torch.stack([x, y, o])

    optimizer = torch.optim.Adam([parameters], lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 120)
    for _ in range(120):
        optimizer.zero_grad()
        (silhouette(moved(), faces, 64) - target).square().mean().backward()
        optimizer.step()
        schedule.step()
    assert (moved() - vertices).norm(dim=-1).max() < 0.5 / 64  # half a pixel


# rasterize


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("image_size", [33, 64])
def test_rasterize_equals_reference(dtype, image_size, device):
    vertices, faces = ball(subdivisions=1)
    vertices, faces = torch.cat([vertices, 1.6 * vertices - 0.3]).to(device, dtype), faces.to(device)
    ours = rasterize(vertices, faces, image_size)
    face, barycentric, depth = reference.rasterize(vertices, faces, image_size)
    same = ours.face == face
    assert (~same).float().mean() <= (0.002 if dtype == torch.float32 else 0)  # a pixel's centre on an edge
    assert (face >= 0).float().mean() > 0.1
    tolerance = {"rtol": 0, "atol": 1e-3} if dtype == torch.float32 else {"rtol": 0, "atol": 1e-9}
    torch.testing.assert_close(ours.barycentric[same], barycentric[same], **tolerance)
    torch.testing.assert_close(ours.depth[same], depth[same], **tolerance)


def test_rasterize_knows_where_it_is(device, tol):
    """Barycentric coordinates lead back to the pixel's centre, and a ball's depth is known."""
    vertices, faces = (x.to(device) for x in ball(subdivisions=4))
    fragments = rasterize(vertices, faces, 40)
    hit = fragments.face >= 0
    torch.testing.assert_close(fragments.barycentric.sum(-1)[hit], torch.ones_like(fragments.depth[hit]))
    x, y, z = interpolate(vertices, faces, fragments)[hit].unbind(-1)
    _, row, column = hit.nonzero(as_tuple=True)
    torch.testing.assert_close(x, (column.double() + 0.5) / 40 - 0.5, rtol=0, atol=1e-9)
    torch.testing.assert_close(y, (row.double() + 0.5) / 40 - 0.5, rtol=0, atol=1e-9)
    torch.testing.assert_close(z, fragments.depth[hit], **tol[torch.float64])
    front = 0.02 - (0.09 - (x - 0.05) ** 2 - (y + 0.03) ** 2).clamp_min(0).sqrt()
    assert (z - front).abs().mean() < 1e-3
    assert (z < 0.02 + 0.05).all()  # never the far side
    assert fragments.depth[~hit].isinf().all()
    assert not fragments.barycentric[~hit].any()


@pytest.mark.parametrize("faces", [[[0, 1, 2], [3, 4, 5]], [[3, 4, 5], [0, 1, 2]], [[2, 1, 0], [4, 3, 5]]])
def test_rasterize_nearer_face_wins(faces, device):
    flat = 2 * TRIANGLE * points((1, 1, 0))
    near, far = flat - points((0, 0, 0.2)), flat + points((0.1, 0, 3))
    faces = torch.tensor(faces, device=device)
    fragments = rasterize(torch.cat([near, far])[None].to(device), faces, 20)
    of_near = int((faces.amin(1) == 0).nonzero())
    centre = fragments.face[0, 10, 10]
    assert centre == of_near
    assert set(fragments.depth[fragments.face == of_near].round(decimals=9).tolist()) == {-0.2}
    assert set(fragments.face.unique().tolist()) == {-1, 0, 1}


def test_rasterize_cuts_faces_that_pass_through_each_other(device):
    """Two large faces, z = x and z = -x: left of the middle the first is nearer, right of it the second."""
    flat = points((-2, -2, 0), (2, -2, 0), (0, 3, 0))
    rising, falling = flat + flat[:, :1] * points((0, 0, 1)), flat - flat[:, :1] * points((0, 0, 1))
    faces = torch.tensor([[0, 1, 2], [3, 4, 5]], device=device)
    fragments = rasterize(torch.cat([rising, falling])[None].to(device), faces, 20)
    assert (fragments.face[0, :, :10] == 0).all()
    assert (fragments.face[0, :, 10:] == 1).all()
    assert (fragments.depth < 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_rasterize_leaves_no_hole_and_takes_the_first_of_equals(dtype, device, generator):
    """A jittered grid whose corners and edges run through pixel centres covers every pixel."""
    n = 16
    ticks = torch.linspace(-0.5, 0.5, n + 1, dtype=torch.float64)
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    grid = torch.stack([x, y, torch.zeros_like(x)], -1)
    grid[::2, ::2, :2] += 0.5 / 48  # onto a pixel's centre
    grid[1::2, :, 0] += 0.01 * torch.randn(n // 2, n + 1, generator=generator)
    index = torch.arange((n + 1) ** 2).view(n + 1, n + 1)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = torch.cat([torch.stack([a, b, c], -1).view(-1, 3), torch.stack([c, a, d], -1).view(-1, 3)]).to(device)
    face = rasterize(grid.view(1, -1, 3).to(device, dtype), faces, 48).face
    assert (face[:, 2:-2, 2:-2] >= 0).all()
    twice = rasterize(grid.view(1, -1, 3).to(device, dtype), torch.cat([faces, faces]), 48).face
    assert torch.equal(twice, face)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rasterize_leaves_no_hole_on_an_edge_through_a_pixel(dtype, device, generator):
    """500 squares of two triangles whose common edge, but for rounding, runs through the centre of one pixel."""
    centre = points((5.5 / 8 - 0.5, 3.5 / 8 - 0.5, 0))
    angle = 6.3 * torch.rand(500, 1, generator=generator, dtype=torch.float64)
    along = torch.cat([angle.cos(), angle.sin(), 0 * angle], 1)
    across = torch.cat([-angle.sin(), angle.cos(), 0 * angle], 1)
    lengths = 0.1 + torch.rand(4, 500, 1, generator=generator, dtype=torch.float64)
    ways = zip(lengths, (along, across, -along, -across), strict=True)
    vertices = torch.stack([centre + length * way for length, way in ways], 1).to(device, dtype)
    for faces in ([[0, 1, 2], [0, 2, 3]], [[2, 0, 1], [3, 0, 2]], [[2, 1, 0], [0, 2, 3]]):
        assert (rasterize(vertices, torch.tensor(faces, device=device), 8).face[:, 3, 5] >= 0).all()


def test_interpolate_equals_reference(device, generator, tol):
    vertices, faces = (x.to(device) for x in ball(subdivisions=1))
    vertices = torch.cat([vertices, 0.5 * vertices])
    attributes = torch.randn(2, vertices.shape[1], 5, generator=generator, dtype=torch.float64).to(device)
    fragments = rasterize(vertices, faces, 30)
    for image in (0, 1):
        one = reference.interpolate(attributes[image], faces, fragments.face, fragments.barycentric)
        torch.testing.assert_close(interpolate(attributes, faces, fragments)[image], one[image], **tol[torch.float64])
        shared = interpolate(attributes[image : image + 1], faces, fragments)
        torch.testing.assert_close(shared, one, **tol[torch.float64])


# render

FLOODLIGHT = Light(ambient=0.25, directional=0.5, direction=(0.0, 0.0, 2.0))


def square(size: float = 0.25, z: float = 0.0) -> tuple[Tensor, Tensor]:
    """[-size, size]^2, corners counterclockwise seen by the camera (which sees y downwards)."""
    corners = size * points((-1, -1, 0), (-1, 1, 0), (1, 1, 0), (1, -1, 0))
    return corners[None] + points((0, 0, z)), torch.tensor([[0, 1, 2], [0, 2, 3]])


@pytest.mark.parametrize("dtype", DTYPES)
def test_render_lights_and_places_a_square(dtype, device, tol):
    vertices, faces = square(z=0.3)
    colors = torch.tensor([[1.0, 0.5, 0.2]], dtype=dtype, device=device).expand(4, 3)
    picture = render(vertices.to(device, dtype), faces.to(device), colors, image_size=16, light=FLOODLIGHT)
    inside = torch.zeros(16, 16, device=device, dtype=torch.bool)
    inside[4:12, 4:12] = True
    assert torch.equal(picture.mask[0] == 1, inside)
    assert torch.equal(picture.mask[0] == 0, ~inside)
    torch.testing.assert_close(picture.image[0, inside], (0.75 * colors[0]).expand(64, 3), **tol[dtype])
    assert not picture.image[0, ~inside].any()
    torch.testing.assert_close(picture.depth[0, inside], torch.full_like(picture.depth[0, inside], 0.3), **tol[dtype])
    assert picture.depth[0, ~inside].isinf().all()
    towards_camera = torch.tensor([0.0, 0.0, -1.0], dtype=dtype, device=device)
    torch.testing.assert_close(picture.normals[0, inside], towards_camera.expand(64, 3), **tol[dtype])
    from_back = render(vertices.to(device, dtype), faces.flip(1).to(device), colors, image_size=16, light=FLOODLIGHT)
    torch.testing.assert_close(from_back.image, picture.image, **tol[dtype])
    torch.testing.assert_close(from_back.normals, picture.normals, **tol[dtype])


def test_render_light_from_behind_leaves_the_ambient(device):
    vertices, faces = (x.to(device) for x in square())
    light = Light(ambient=0.25, directional=0.5, direction=(0.0, 0.0, -1.0))
    picture = render(vertices, faces, torch.ones_like(vertices[0]), image_size=8, light=light)
    assert picture.image[0, 4, 4].tolist() == [0.25] * 3


def test_render_over_a_background(device, generator):
    vertices, faces = (x.to(device) for x in ball())
    vertices = torch.cat([vertices, vertices + 0.1])
    colors = torch.rand(vertices.shape[1], 3, generator=generator, dtype=torch.float64).to(device)
    backgrounds = torch.rand(2, 30, 30, 3, generator=generator, dtype=torch.float64).to(device)
    black, each, shared = (render(vertices, faces, colors, b, 30) for b in (None, backgrounds, backgrounds[0]))
    torch.testing.assert_close(each.image, black.image + (1 - black.mask[..., None]) * backgrounds)
    torch.testing.assert_close(shared.image[0], each.image[0])
    assert torch.equal(each.image[each.mask == 0], backgrounds[each.mask == 0])
    assert each.image.min() >= 0
    assert each.image.max() <= 1


def test_render_edges_are_antialiased(device):
    vertices, faces = (x.to(device) for x in ball(subdivisions=3))
    colors = torch.ones_like(vertices[0])
    exact = math.pi * 0.3**2
    for supersample in (1, 2, 4):
        mask = render(vertices, faces, colors, image_size=32, supersample=supersample).mask
        assert torch.equal(mask * supersample**2, (mask * supersample**2).round())
        assert abs(mask.mean() - exact) < 0.02 * exact
        between = ((mask > 0) & (mask < 1)).sum()
        assert (between > 30) == (supersample > 1)


def test_render_texture_has_its_origin_at_the_top_left(device):
    vertices, faces = (x.to(device) for x in square(0.5))
    texture = torch.rand(8, 8, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(device)
    uv = points((0, 0), (0, 1), (1, 1), (1, 0)).to(device)
    light = Light(ambient=1.0, directional=0.0)
    picture = render(vertices, faces, (uv, faces, texture), image_size=8, light=light, supersample=1)
    torch.testing.assert_close(picture.image[0], texture)
    seam = render(vertices, faces, (uv.flip(0), 3 - faces, texture), image_size=8, light=light, supersample=1)
    torch.testing.assert_close(seam.image, picture.image)
    mixed = render(vertices.float(), faces, (uv, faces, texture), image_size=8, light=light, supersample=1)
    torch.testing.assert_close(mixed.image, picture.image.float())


def test_vertex_normals_of_a_ball_point_outwards(device):
    vertices, faces = (x.to(device) for x in ball(subdivisions=3))
    outwards = torch.nn.functional.normalize(vertices - points((0.05, -0.03, 0.02)).to(device), dim=-1)
    normals = vertex_normals(vertices, faces)
    assert (normals * outwards).sum(-1).min() > 0.999
    torch.testing.assert_close(normals.norm(dim=-1), torch.ones_like(normals[..., 0]))
    assert torch.autograd.gradcheck(vertex_normals, (ball(subdivisions=0)[0].requires_grad_(), ball(subdivisions=0)[1]))


def test_render_has_no_gradient_and_vertices_without_faces_no_normal(device):
    vertices, faces = (x.to(device) for x in square())
    vertices = torch.cat([vertices, vertices[:, :1]], dim=1).requires_grad_()
    assert not render(vertices, faces, torch.ones_like(vertices[0]), image_size=8).image.requires_grad
    assert not vertex_normals(vertices, faces)[0, 4].any()
