"""Fragments, interpolation and anti-aliasing: values and gradients equal the reference and known answers."""

import pytest
import torch
from scenes import ONE, SCENES, TRIANGLE, Scene, ball, points
from torch import Tensor

from dhpe_lib.rendering.projection import Pinhole, interpolate, rasterize, to_screen
from dhpe_lib.rendering.rasterizer import fragments as fragment_functions
from dhpe_lib.rendering.rasterizer import reference
from dhpe_lib.rendering.rasterizer.launch import find_neighbours, prepare_faces

DTYPES = [torch.float32, torch.float64]


def random_like(image: Tensor, seed: int = 1) -> Tensor:
    return torch.randn(image.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(image)


def two_balls(subdivisions: int = 1) -> tuple[Tensor, Tensor]:
    vertices, faces = ball(subdivisions)
    return torch.cat([vertices, 1.6 * vertices - 0.3]), faces


# rasterize


@pytest.mark.parametrize("pinhole", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(33, 33), (64, 50)])
def test_rasterize_equals_reference(dtype, size, pinhole, device):
    vertices, faces = two_balls()
    screen, faces = to_screen(vertices, size).to(device, dtype), faces.to(device)
    screen[..., 2] += 2.0
    ours = fragment_functions.rasterize(screen, prepare_faces(screen, faces), *size, pinhole)
    face, barycentric, depth = reference.rasterize(screen, faces, *size, pinhole)
    same = ours.face == face
    assert (~same).float().mean() <= (0.002 if dtype == torch.float32 else 0)  # pixel centres on an edge
    assert (face >= 0).float().mean() > 0.1
    tolerance = {"rtol": 0, "atol": 1e-3} if dtype == torch.float32 else {"rtol": 0, "atol": 1e-9}
    torch.testing.assert_close(ours.barycentric[same], barycentric[same], **tolerance)
    torch.testing.assert_close(ours.depth[same], depth[same], **tolerance)


def ours(screen: Tensor, faces: Tensor, pinhole: bool) -> tuple[Tensor, Tensor, Tensor]:
    fragments = fragment_functions.rasterize(screen, prepare_faces(screen, faces), 20, 24, pinhole)
    return fragments.face, fragments.barycentric, fragments.depth


@pytest.mark.parametrize("pinhole", [False, True])
def test_rasterize_gradient_equals_reference(pinhole, device):
    vertices, faces = two_balls()
    gradients = []
    for rasterizer in (
        lambda p: ours(p, faces.to(device), pinhole),
        lambda p: reference.rasterize(p, faces.to(device), 20, 24, pinhole),
    ):
        screen = (to_screen(vertices, (20, 24)) + points((0, 0, 2))).to(device).requires_grad_()
        face, barycentric, depth = rasterizer(screen)
        hit = face >= 0
        loss = (barycentric * random_like(barycentric)).sum() + (depth * random_like(depth, 2))[hit].sum()
        gradients.append(torch.autograd.grad(loss, screen)[0])
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-9, atol=1e-9)
    assert (gradients[0] != 0).float().mean() > 0.5


def test_barycentric_coordinates_give_the_point_on_the_face(device, tol):
    """Interpolated vertices lie at the pixel's centre, and at the known depth of a ball."""
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
    """Of two large faces, z = x and z = -x, the first is nearer on the left and the second on the right."""
    flat = points((-2, -2, 0), (2, -2, 0), (0, 3, 0))
    rising, falling = flat + flat[:, :1] * points((0, 0, 1)), flat - flat[:, :1] * points((0, 0, 1))
    faces = torch.tensor([[0, 1, 2], [3, 4, 5]], device=device)
    fragments = rasterize(torch.cat([rising, falling])[None].to(device), faces, 20)
    assert (fragments.face[0, :, :10] == 0).all()
    assert (fragments.face[0, :, 10:] == 1).all()
    assert (fragments.depth < 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_rasterize_leaves_no_hole_and_takes_the_first_of_equals(dtype, device, generator):
    """A jittered grid covers every pixel, although its corners and edges pass through pixel centres."""
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
    """500 pairs of triangles cover a pixel whose centre is on their common edge, except for rounding."""
    centre = points((5.5 / 8 - 0.5, 3.5 / 8 - 0.5, 0))
    angle = 6.3 * torch.rand(500, 1, generator=generator, dtype=torch.float64)
    along = torch.cat([angle.cos(), angle.sin(), 0 * angle], 1)
    across = torch.cat([-angle.sin(), angle.cos(), 0 * angle], 1)
    lengths = 0.1 + torch.rand(4, 500, 1, generator=generator, dtype=torch.float64)
    ways = zip(lengths, (along, across, -along, -across), strict=True)
    vertices = torch.stack([centre + length * way for length, way in ways], 1).to(device, dtype)
    for faces in ([[0, 1, 2], [0, 2, 3]], [[2, 0, 1], [3, 0, 2]], [[2, 1, 0], [0, 2, 3]]):
        assert (rasterize(vertices, torch.tensor(faces, device=device), 8).face[:, 3, 5] >= 0).all()


def test_pinhole_interpolates_on_the_face_not_in_the_image(device):
    """Interpolation is linear on a floor in 3D, not in its image."""
    floor = points((-1, 1, 2), (1, 1, 2), (1, 1, 10), (-1, 1, 10))[None].to(device)
    k = points((20, 0, 10), (0, 20, 0), (0, 0, 1)).to(device)
    camera = Pinhole(k[None])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]], device=device)
    fragments = rasterize(floor, faces, (12, 20), camera)
    hit = fragments.face >= 0
    assert hit.sum() > 40
    x, y, z = interpolate(floor, faces, fragments)[hit].unbind(-1)
    _, row, column = hit.nonzero(as_tuple=True)
    torch.testing.assert_close(y, torch.ones_like(y))
    torch.testing.assert_close(20 * x / z + 10, column.double() + 0.5)
    torch.testing.assert_close(20 / z, row.double() + 0.5)
    torch.testing.assert_close(fragments.depth[hit], z)


def test_pinhole_draws_nothing_behind_the_camera(device):
    k = points((20, 0, 10), (0, 20, 10), (0, 0, 1)).to(device)[None]
    mesh = torch.cat([TRIANGLE + points((0, 0, 1)), TRIANGLE - points((0, 0, 1)), TRIANGLE + points((0, 0, 0.05))])
    mesh = mesh[None].to(device).requires_grad_()
    faces = torch.tensor([[0, 1, 2], [3, 4, 5], [6, 7, 8]], device=device)  # before, behind, and through the camera
    fragments = rasterize(mesh, faces, 20, Pinhole(k))
    assert set(fragments.face.unique().tolist()) == {-1, 0}
    fragments.depth[fragments.face >= 0].sum().backward()
    assert mesh.grad[:, :3].any()
    assert not mesh.grad[:, 3:].any()
    assert mesh.grad.isfinite().all()


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


@pytest.mark.parametrize("shared", [False, True])
def test_interpolate_gradient_equals_reference(shared, device, generator):
    vertices, faces = two_balls()
    screen, faces = to_screen(vertices, 20).to(device), faces.to(device)
    face, barycentric, depth = reference.rasterize(screen, faces, 20, 20)
    attributes = torch.randn(1 if shared else 2, screen.shape[1], 4, generator=generator, dtype=torch.float64).to(
        device
    )

    def ours(a: Tensor, b: Tensor) -> Tensor:
        return interpolate(a, faces, fragment_functions.Fragments(face, b, depth))

    def twin(a: Tensor, b: Tensor) -> Tensor:
        rows = [reference.interpolate(a[k % len(a)], faces, face[k : k + 1], b[k : k + 1]) for k in range(2)]
        return torch.cat(rows)

    results = []
    for function in (ours, twin):
        a, b = attributes.clone().requires_grad_(), barycentric.clone().requires_grad_()
        values = function(a, b)
        results.append(torch.autograd.grad(values, (a, b), random_like(values)))
    for mine, other in zip(*results, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-9)
        assert (mine != 0).float().mean() > 0.1


# neighbours


def test_neighbours_of_a_closed_surface(device):
    faces = ball(subdivisions=1)[1].int()[None].to(device)
    beyond = find_neighbours(faces)[0]
    assert (beyond >= 0).all()
    for face, row in enumerate(faces[0].tolist()):
        for e in range(3):
            other = faces[0, beyond[face, e]].tolist()
            assert {row[e], row[(e + 1) % 3]} <= set(other)
            assert int(beyond[face, e]) != face


def test_neighbours_at_rims_forks_and_filling():
    rim = torch.tensor([[[0, 1, 2], [2, 1, 3]]], dtype=torch.int32)
    assert find_neighbours(rim).tolist() == [[[-1, 1, -1], [0, -1, -1]]]
    fork = torch.tensor([[[0, 1, 2], [1, 0, 3], [0, 1, 4]]], dtype=torch.int32)  # three faces at edge (0, 1)
    assert (find_neighbours(fork) == -1).all()
    filled = torch.tensor([[[0, 1, 2], [2, 1, 3]], [[0, 1, 2], [-1, -1, -1]]], dtype=torch.int32)
    assert find_neighbours(filled).tolist() == [[[-1, 1, -1], [0, -1, -1]], [[-1, -1, -1], [-1, -1, -1]]]
    assert find_neighbours(torch.zeros(1, 0, 3, dtype=torch.int32)).shape == (1, 0, 3)


# antialias


def smooth(screen: Tensor, faces: Tensor, hard: Tensor) -> Tensor:
    checked = prepare_faces(screen, faces)
    fragments = fragment_functions.rasterize(screen, checked, *hard.shape[1:3], False)
    return fragment_functions.antialias(hard, screen, checked, fragments)


def hard_picture(screen: Tensor, faces: Tensor, height: int, width: int, channels: int = 3) -> Tensor:
    """Render each face in its own colour over a random background, without anti-aliasing."""
    fragments = fragment_functions.rasterize(screen, prepare_faces(screen, faces), height, width, False)
    palette = torch.rand(len(faces), channels, generator=torch.Generator().manual_seed(0), dtype=screen.dtype)
    background = torch.rand(height, width, channels, generator=torch.Generator().manual_seed(1), dtype=screen.dtype)
    hit = (fragments.face >= 0)[..., None]
    return torch.where(hit, palette.to(screen.device)[fragments.face], background.to(screen.device))


@pytest.mark.parametrize("name", [*(name for name in SCENES if name != "edge-on"), "balls"])
def test_antialias_equals_reference(name, device):
    vertices, faces = two_balls() if name == "balls" else (SCENES[name].vertices[None], SCENES[name].faces)
    screen, faces = to_screen(vertices, (20, 24)).to(device), faces.to(device)
    picture = hard_picture(screen, faces, 20, 24)
    face, _, depth = reference.rasterize(screen, faces, 20, 24)
    results = []
    for function in (smooth, lambda p, f, h: reference.antialias(h, p, f, face, depth)):
        leaf, hard = screen.clone().requires_grad_(), picture.clone().requires_grad_()
        image = function(leaf, faces, hard)
        results.append([image.detach(), *torch.autograd.grad(image, (leaf, hard), random_like(image))])
    for mine, other in zip(*results, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-9)
    assert (results[0][0] != picture).float().mean() > 0.001
    assert results[0][1].any()


def test_antialias_of_an_upright_edge_is_its_coverage(device):
    for x in (2.1, 2.4, 2.7, 3.4):
        corners = points((-1, -1, 0), (-1, 9, 0), (x, 9, 0), (x, -1, 0))[None].to(device)
        faces = torch.tensor([[0, 1, 2], [0, 2, 3]], device=device)
        white = (torch.arange(6, device=device) + 0.5 < x).double()[None, None, :, None].expand(1, 8, 6, 1)
        covered = (x - torch.arange(6, dtype=torch.float64, device=device)).clamp(0, 1)
        torch.testing.assert_close(smooth(corners, faces, white)[0, :, :, 0], covered.expand(8, 6))


def derivative_image(scene: Scene, size: int, device: torch.device) -> Tensor:
    """Compute the derivative of `shades_of_grey` along the motion of a scene by one backward pass."""
    step = 1e-6
    motion = (scene.moved(step) - scene.moved(-step)) / (2 * step)
    vertices = scene.vertices.repeat(size**2, 1, 1).to(device).requires_grad_()
    image = shades_of_grey(vertices, scene.faces.to(device), size)
    each = torch.eye(size**2, dtype=torch.float64, device=device).view(size**2, size, size)
    gradient = torch.autograd.grad(image, vertices, each)[0]
    return (gradient * motion.to(device)).sum((1, 2)).view(size, size)


def shades_of_grey(vertices: Tensor, faces: Tensor, size: int) -> Tensor:
    """Render faces in grey, each brighter than the one before, with anti-aliasing."""
    screen = to_screen(vertices, size)
    checked = prepare_faces(screen, faces)
    fragments = fragment_functions.rasterize(screen, checked, size, size, False)
    grey = torch.linspace(0, 1, len(faces) + 1, dtype=vertices.dtype, device=vertices.device)[fragments.face + 1]
    return fragment_functions.antialias(grey[..., None], screen, checked, fragments)[..., 0]


@pytest.mark.parametrize("name", [name for name in SCENES if name not in ("thin", "edge-on")])  # they miss all centres
def test_antialias_derivative_is_that_of_the_picture(name, device):
    """The derivative is right also at the outline of one face in front of another."""
    scene, size, step = SCENES[name], 16, 1e-6
    ends = torch.stack([scene.moved(step), scene.moved(-step)]).to(device)
    ahead, behind = shades_of_grey(ends, scene.faces.to(device), size)
    expected = (ahead - behind) / (2 * step)
    actual = derivative_image(scene, size, device)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-5)


def test_antialias_sees_an_outline_before_a_surface(device):
    """With a square in front of a wall, the sum of the image depends on the square's position by its outline only."""
    square = points((2.3, 2.3, 0), (2.3, 5.6, 0), (5.6, 5.6, 0), (5.6, 2.3, 0))
    wall = points((-1, -1, 1), (-1, 9, 1), (9, 9, 1), (9, -1, 1))
    screen = torch.cat([square, wall])[None].to(device).requires_grad_()
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], device=device)
    hard = torch.where(rasterize_pixels(screen, faces) < 2, 1.0, 0.25).double()[..., None]
    smooth(screen, faces, hard).sum().backward()
    side = 0.75 * (5.6 - 2.3)  # the contrast times the length of the moving side, corners included
    torch.testing.assert_close(screen.grad[0, [0, 1], 0].sum().abs().cpu(), torch.tensor(side, dtype=torch.float64))
    assert not screen.grad[0, 4:].any()


def rasterize_pixels(screen: Tensor, faces: Tensor) -> Tensor:
    return fragment_functions.rasterize(screen, prepare_faces(screen, faces), 8, 8, False).face


def test_antialias_leaves_a_smooth_surface_alone(device):
    """Faces of one surface with different colours keep them, since their common edges are not outlines."""
    grid = points((0, 0, 0), (4, 0, 0), (8, 0, 0), (0, 8, 0), (4.2, 8, 0), (8, 8, 0))[None].to(device)
    faces = torch.tensor([[0, 3, 1], [1, 3, 4], [1, 4, 2], [2, 4, 5]], device=device)
    picture = hard_picture(grid, faces, 8, 8)
    assert torch.equal(smooth(grid, faces, picture), picture)
    assert len(picture.view(-1, 3).unique(dim=0)) == 4


def test_one_face_of_any_shape_and_none(device):
    screen = to_screen(TRIANGLE[None], 9).to(device)
    hard = torch.rand(1, 9, 9, 2, dtype=torch.float64, device=device)
    none = torch.zeros(0, 3, dtype=torch.int64, device=device)
    assert torch.equal(smooth(screen, none, hard), hard)
    assert not torch.equal(smooth(screen, ONE.to(device), hard), hard)


@pytest.mark.parametrize("place", [0.0, 0.25, 0.5])
def test_antialias_stays_between_its_colours(place, device, generator):
    """Values stay in [0, 1] for vertices on pixel corners, quarters and centres, where all ties occur."""
    vertices = torch.randint(0, 12, (64, 9, 3), generator=generator).double() + place
    faces = torch.randint(0, 9, (64, 5, 3), generator=generator).to(device)
    checked = prepare_faces(vertices.to(device), faces)
    fragments = fragment_functions.rasterize(vertices.to(device), checked, 12, 12, False)
    white = (fragments.face >= 0).double()[..., None]
    mask = fragment_functions.antialias(white, vertices.to(device), checked, fragments)
    assert mask.min() >= 0
    assert mask.max() <= 1
    assert ((mask > 0) & (mask < 1)).any()
