"""The three silhouettes: values and gradients equal the reference, finite differences and known answers."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scenes import ONE, SCENES, TRIANGLE, Scene, ball, letter, points
from torch import Tensor

from dhpe_lib.rendering.projection import rasterize, to_screen
from dhpe_lib.rendering.rasterizer import reference, silhouettes
from dhpe_lib.rendering.rasterizer.launch import launch, prepare_faces
from dhpe_lib.rendering.rasterizer.silhouettes import coverage, kato, soft, soft_odds
from dhpe_lib.rendering.renderer import silhouette

SIGMA = 1e-3  # soft enough for small images
DTYPES = [torch.float32, torch.float64]
METHODS = ["coverage", "soft", "kato"]
EXACT = ["coverage", "soft"]  # the methods with a gradient that is the derivative of the mask


def cotangent_like(image: Tensor) -> Tensor:
    return torch.randn(image.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(image)


def mask_and_gradient(function, vertices: Tensor, *arguments) -> tuple[Tensor, Tensor]:
    vertices = vertices.clone().requires_grad_()
    mask = function(vertices, *arguments)
    return mask.detach(), torch.autograd.grad(mask, vertices, cotangent_like(mask))[0]


def draw(vertices: Tensor, faces: Tensor, image_size: int, method: str) -> Tensor:
    return silhouette(vertices, faces, image_size, method, SIGMA)


def two_balls(subdivisions: int = 1) -> tuple[Tensor, Tensor]:
    vertices, faces = ball(subdivisions)
    return torch.cat([vertices, 0.7 * vertices - 0.3]), faces


# comparison with the reference


def assert_equals_twin(ours: tuple[Tensor, Tensor], twin: tuple[Tensor, Tensor], atol: float) -> None:
    torch.testing.assert_close(ours[0], twin[0], rtol=0, atol=atol)
    scale = twin[1].abs().max()
    torch.testing.assert_close(ours[1] / scale, twin[1] / scale, rtol=0, atol=10 * atol)
    assert (twin[1][..., :2] != 0).float().mean() > 0.4  # half of a ball is hidden


# In float32 a pixel's distance from an edge, in units of sqrt(sigma), has an error of about 1e-5.
TWIN_ATOL = {torch.float32: 5e-5, torch.float64: 1e-10}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(17, 17), (32, 32), (20, 31)])
@pytest.mark.parametrize("sigma", [1e-4, SIGMA, 1e-2])
def test_soft_equals_reference(dtype, size, sigma, device):
    vertices, faces = two_balls(2)
    screen, faces = to_screen(vertices.to(device, dtype), size), faces.to(device)
    sigma_px = sigma * min(size) ** 2 / 4
    ours = mask_and_gradient(soft, screen, prepare_faces(screen, faces), *size, sigma_px)
    twin = mask_and_gradient(reference.soft, screen, faces, *size, sigma_px)
    assert ours[0].shape == (2, *size)
    assert_equals_twin(ours, twin, TWIN_ATOL[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sigma", [1e-4, SIGMA, 1e-2])
def test_soft_by_added_logarithms_equals_reference(dtype, sigma, monkeypatch):
    """The way of a GPU, on the CPU."""
    monkeypatch.setattr(silhouettes, "soft_odds", lambda *rest, adds: soft_odds(*rest, adds=not adds))
    test_soft_equals_reference(dtype, (20, 31), sigma, torch.device("cpu"))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(14, 14), (12, 19)])
def test_coverage_equals_reference(dtype, size, device):
    vertices, faces = two_balls()
    screen, faces = to_screen(vertices.to(device, dtype), size), faces.to(device)
    ours = mask_and_gradient(coverage, screen, prepare_faces(screen, faces), *size)
    twin = mask_and_gradient(reference.coverage, screen, faces, *size)
    torch.testing.assert_close(ours[0], twin[0], rtol=0, atol=TWIN_ATOL[dtype])
    # In float32, rounding decides if a full pixel is above 1 and has no gradient. Its gradients sum to 0.
    scale = twin[1].abs().max()
    torch.testing.assert_close(ours[1] / scale, twin[1] / scale, rtol=0, atol=10 * TWIN_ATOL[dtype])
    assert (twin[1].abs() > 1e-3 * scale).float().mean() > 0.1  # the outline's vertices


@pytest.mark.parametrize("size", [(16, 16), (13, 20)])
def test_kato_equals_reference(size, device):
    vertices, faces = two_balls()
    screen, faces = to_screen(vertices.to(device), size), faces.to(device)
    mask, gradient = mask_and_gradient(kato, screen, prepare_faces(screen, faces), *size)
    face, _, _ = reference.rasterize(screen, faces, *size)
    assert torch.equal(mask, (face >= 0).to(mask))
    twin = reference.kato_gradient(screen, faces, face, cotangent_like(mask))
    torch.testing.assert_close(gradient, twin, rtol=1e-9, atol=1e-9)
    assert (twin[..., :2] != 0).float().mean() > 0.1


@pytest.mark.parametrize("name", SCENES)
def test_twins_agree_on_scenes(name, device):
    screen = to_screen(SCENES[name].vertices[None].to(device), 24)
    faces = SCENES[name].faces.to(device)
    checked = prepare_faces(screen, faces)
    face, _, _ = reference.rasterize(screen, faces, 24, 24)
    pairs = [
        (mask_and_gradient(soft, screen, checked, 24, 24, 0.2), (reference.soft, 24, 24, 0.2)),
        (mask_and_gradient(coverage, screen, checked, 24, 24), (reference.coverage, 24, 24)),
    ]
    for ours, (twin, *arguments) in pairs:
        expected = mask_and_gradient(twin, screen, faces, *arguments)
        for a, b in zip(ours, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
            assert a.abs().max() > 0.01
    mask, gradient = mask_and_gradient(kato, screen, checked, 24, 24)
    assert torch.equal(mask, (face >= 0).to(mask))
    torch.testing.assert_close(gradient, reference.kato_gradient(screen, faces, face, cotangent_like(mask)))


# comparison of the derivative with finite differences


def derivative_image(scene: Scene, image_size: int, method: str, device: torch.device) -> Tensor:
    """Compute the derivative of a silhouette to t by one backward pass over a batch with one mesh for each pixel."""
    step = 1e-6
    motion = (scene.moved(step) - scene.moved(-step)) / (2 * step)
    pixels = image_size**2
    vertices = scene.vertices.to(device).repeat(pixels, 1, 1).requires_grad_()
    masks = draw(vertices, scene.faces.to(device), image_size, method)
    each_pixel = torch.eye(pixels, dtype=torch.float64, device=device).view(pixels, image_size, image_size)
    gradient = torch.autograd.grad(masks, vertices, each_pixel)[0]
    return (gradient * motion.to(device)).sum((1, 2)).view(image_size, image_size)


def save_signed(path: Path, image: Tensor) -> None:
    """Save a signed image: zero is grey, positive values are red, negative values are blue."""
    scaled = (image / image.abs().max().clamp_min(1e-30)).cpu().numpy()
    rgb = np.stack([scaled, 0 * scaled, -scaled], -1).clip(-1, 1) * 127 + 128
    Image.fromarray(rgb.astype(np.uint8)).resize((256, 256), Image.Resampling.NEAREST).save(path)


@pytest.mark.parametrize("method", EXACT)
@pytest.mark.parametrize("name", SCENES)
def test_derivative_is_that_of_the_image(name, method, device, tmp_path):
    scene, size, step = SCENES[name], 16, 1e-5
    ends = torch.stack([scene.moved(step), scene.moved(-step)]).to(device)
    ahead, behind = draw(ends, scene.faces.to(device), size, method)
    expected = (ahead - behind) / (2 * step)
    actual = derivative_image(scene, size, method, device)
    error = (actual - expected).abs()
    assert expected.abs().max() > 0.1  # the image changes
    wrong = error > 1e-6 * expected.abs().max().clamp_min(1)
    if wrong.any():
        save_signed(tmp_path / "actual.png", actual)
        save_signed(tmp_path / "error.png", actual - expected)
    assert not wrong.any(), f"{wrong.sum()} pixels, worst {error.max():.2e}; images in {tmp_path}"


@pytest.mark.parametrize("method", EXACT)
@pytest.mark.parametrize("name", ["two overlapping", "thin", "leaving the image", "finger over palm"])
def test_gradcheck(name, method, device):
    vertices, faces = SCENES[name].vertices[None].to(device).requires_grad_(), SCENES[name].faces.to(device)
    assert torch.autograd.gradcheck(lambda v: silhouette(v, faces, 7, method, 1e-2), vertices, eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("method", EXACT)
def test_large_gradient_against_finite_difference(method, device, generator):
    vertices, faces = ball(subdivisions=3)
    vertices, faces = vertices.to(device), faces.to(device)
    motion = torch.randn(vertices.shape, generator=generator, dtype=torch.float64).to(device)
    _, gradient = mask_and_gradient(draw, vertices, faces, 64, method)
    contracted = []
    for t in (1e-7, -1e-7):
        mask = draw(vertices + t * motion, faces, 64, method)
        contracted.append((mask * cotangent_like(mask)).sum())
    expected = (contracted[0] - contracted[1]) / 2e-7
    torch.testing.assert_close((gradient * motion).sum(), expected, rtol=1e-5, atol=0)


# known values


def test_soft_half_plane_is_a_sigmoid(device):
    wide = points((-4, -9, 0), (-4, 9, 0), (0.1, 9, 0), (0.1, -9, 0)).to(device)  # covers x < 0.1
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]], device=device)
    mask = silhouette(wide[None], faces, 50, "soft", 0.05)[0]
    x = (torch.arange(50, dtype=torch.float64, device=device) + 0.5) / 50 - 0.5
    signed_square = 4 * (x - 0.1).square() * torch.sign(0.1 - x)
    one_face = torch.sigmoid(signed_square / 0.05)
    assert (mask >= one_face - 1e-4).all()  # the other face, beyond the diagonal, can only add
    torch.testing.assert_close(mask[0], one_face, rtol=0, atol=2e-4)  # far from the diagonal


def test_coverage_of_a_square_between_pixels(device):
    """A rectangle in 8 x 8 pixels covers 3.25 columns and 2.5 rows, starting at (2.25, 3.5)."""
    corners = points((2.25, 3.5, 0), (2.25, 6.0, 0), (5.5, 6.0, 0), (5.5, 3.5, 0)) / 8 - points((0.5, 0.5, 0))
    mask = silhouette(corners[None].to(device), torch.tensor([[0, 1, 2], [0, 2, 3]], device=device), 8, "coverage")[0]
    across = torch.tensor([0, 0, 0.75, 1, 1, 0.5, 0, 0], dtype=torch.float64, device=device)
    down = torch.tensor([0, 0, 0, 0.5, 1, 1, 0, 0], dtype=torch.float64, device=device)
    torch.testing.assert_close(mask, down[:, None] * across, rtol=0, atol=1e-12)


def test_coverage_is_the_area_of_a_polygon(device, generator):
    """For star-shaped polygons, the sum over pixels is the area by the shoelace formula."""
    angles = torch.sort(6.28 * torch.rand(20, 9, generator=generator, dtype=torch.float64)).values
    radii = 0.1 + 0.3 * torch.rand(20, 9, generator=generator, dtype=torch.float64)
    rim = torch.stack([radii * angles.cos(), radii * angles.sin(), 0 * radii], -1)
    rim = rim[(angles.diff(append=angles[:, :1] + 6.2832) < 3).all(1)].to(device)
    assert len(rim) > 10
    vertices = torch.cat([torch.zeros_like(rim[:, :1]), rim], 1)
    faces = torch.tensor([[0, k + 1, (k + 1) % 9 + 1] for k in range(9)], device=device)
    after = rim.roll(-1, 1)
    area = (rim[..., 0] * after[..., 1] - rim[..., 1] * after[..., 0]).sum(1) / 2
    for size in (5, 32):
        torch.testing.assert_close(silhouette(vertices, faces, size, "coverage").mean((1, 2)), area)


def test_coverage_gradient_is_the_derivative_of_the_area(device):
    """The gradient of the mask's sum equals the derivative of the shoelace formula."""
    triangle = TRIANGLE[None].to(device).requires_grad_()
    silhouette(triangle, ONE.to(device), 32, "coverage").mean((1, 2)).sum().backward()
    x, y, _ = TRIANGLE.T
    expected = torch.stack([y.roll(-1) - y.roll(1), x.roll(1) - x.roll(-1), 0 * x], -1) / 2
    torch.testing.assert_close(triangle.grad[0].cpu(), expected, rtol=1e-9, atol=1e-9)


def test_coverage_counts_layers_once(device):
    """A finger in front of the palm adds nothing and has no gradient; a longer finger adds its tip."""
    scene, faces = SCENES["finger over palm"], SCENES["finger over palm"].faces.to(device)
    vertices = scene.vertices[None].to(device)
    palm = silhouette(vertices[:, :4], faces[:2], 64, "coverage")
    finger = silhouette(vertices[:, 4:], faces[:2], 64, "coverage")
    both = silhouette(vertices, faces, 64, "coverage")
    assert palm.sum() < both.sum() < palm.sum() + finger.sum() - 40
    assert both.max() <= 1
    short = torch.cat([vertices[:, :4], 0.3 * vertices[:, 4:]], 1).requires_grad_()
    mask = silhouette(short, faces, 64, "coverage")
    mask.sum().backward()
    torch.testing.assert_close(mask, palm)
    assert not short.grad[:, 4:].any()
    assert short.grad[:, :4].any()


def test_kato_reaches_across_the_image(device):
    """A far pixel of a row gives the near side of a square the gradient 1 / way, shared by the ends of the side."""
    corners = points((2, 2, 0), (2, 6, 0), (6, 6, 0), (6, 2, 0)) / 16 - points((0.5, 0.5, 0))
    vertices = corners[None].to(device).requires_grad_()
    mask = silhouette(vertices, torch.tensor([[0, 1, 2], [0, 2, 3]], device=device), 16, "kato")
    cotangent = torch.zeros_like(mask)
    cotangent[0, 3, 12] = -1
    (gradient,) = torch.autograd.grad(mask, vertices, cotangent)
    way = 12 - (6 - 0.5) + 0.1
    down = (3 - 1.5) / 4  # position of the row along the side, 0 to 1
    expected = points((0, 0, 0), (0, 0, 0), (-down / way, 0, 0), (-(1 - down) / way, 0, 0)) * 16
    torch.testing.assert_close(gradient[0].cpu(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_every_gradient_descends_towards_a_shifted_target(method, device):
    vertices, faces = (x.to(device) for x in letter())
    target = silhouette(vertices + points((0.06, 0.0, 0.0)).to(device), faces, 64, "coverage")
    moving = vertices.clone().requires_grad_()
    (silhouette(moving, faces, 64, method) - target).square().sum().backward()
    assert moving.grad[..., 0].mean() < 0  # downhill is to the right
    assert moving.grad[..., 0].mean().abs() > 5 * moving.grad[..., 1].mean().abs()


@pytest.mark.parametrize("method", METHODS)
def test_agrees_with_the_hard_mask(method, device):
    vertices, faces = (x.to(device) for x in ball(subdivisions=3))
    hard = rasterize(vertices, faces, 96).face >= 0
    mask = silhouette(vertices, faces, 96, method, 1e-5)
    differing = ((mask > 0.5) != hard).float().mean()
    assert differing < 0.02 * hard.float().mean()
    assert abs(mask.sum() / 96**2 - math.pi * 0.3**2) < 0.02 * math.pi * 0.3**2


# invariants


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_ignores_order_and_depth(dtype, method, device, generator, tol):
    vertices, faces = ball()
    vertices, faces = vertices.to(device, dtype), faces.to(device)
    order = torch.randperm(vertices.shape[1], generator=generator).to(device)
    mixed = order.argsort()[faces][torch.randperm(len(faces), generator=generator).to(device)].flip(1)
    mask, gradient = mask_and_gradient(draw, vertices, faces, 40, method)
    mask_mixed, gradient_mixed = mask_and_gradient(draw, vertices[:, order], mixed, 40, method)
    torch.testing.assert_close(mask_mixed, mask, **tol[dtype])
    scale = gradient.abs().max()
    torch.testing.assert_close(gradient_mixed / scale, gradient[:, order] / scale, rtol=0, atol=tol[dtype]["rtol"])
    assert gradient.any()
    assert not gradient[..., 2].any()
    assert torch.equal(draw(vertices * vertices.new_tensor([1, 1, 3]), faces, 40, method), mask)


@pytest.mark.parametrize("method", METHODS)
def test_is_equivariant_to_a_shift_by_pixels(method, device):
    vertices, faces = (x.to(device) for x in ball())
    shift = points((5 / 40, -3 / 40, 0)).to(device)
    here, there = draw(vertices, faces, 40, method), draw(vertices + shift, faces, 40, method)
    torch.testing.assert_close(there.roll((3, -5), (1, 2))[:, 5:-5, 5:-5], here[:, 5:-5, 5:-5], rtol=0, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_is_deterministic_for_any_number_of_threads(method):
    vertices, faces = ball()
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 1, 3, 16):
            torch.set_num_threads(threads)
            results.append(mask_and_gradient(draw, vertices, faces, 40, method))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0][1], results[1][1])
    for mask, gradient in results:
        assert torch.equal(mask, results[0][0])
        torch.testing.assert_close(gradient, results[0][1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_takes_any_layout(method, device):
    vertices, faces = (x.to(device) for x in ball())
    twice = vertices.expand(2, -1, -1).requires_grad_()
    draw(twice, faces.int(), 20, method).sum().backward()  # the incoming gradient is one expanded number
    assert twice.grad is not None
    torch.testing.assert_close(twice.grad[0], twice.grad[1])
    columns_first = vertices.transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(draw(columns_first, faces, 20, method), draw(vertices, faces, 20, method))


@pytest.mark.parametrize("method", METHODS)
def test_several_topologies_in_a_batch(method, device):
    """Two different meshes, padded with rows of -1, give the masks and gradients of each mesh alone."""
    (big, big_faces), (small, small_faces) = ball(subdivisions=1), ball(subdivisions=0)
    vertices = torch.full((2, big.shape[1], 3), math.nan, dtype=torch.float64)
    faces = torch.full((2, len(big_faces), 3), -1)
    vertices[0], vertices[1, : small.shape[1]] = big[0], 0.5 * small[0]
    faces[0], faces[1, : len(small_faces)] = big_faces, small_faces
    both = mask_and_gradient(draw, vertices.to(device), faces.to(device), 24, method)
    cotangent = cotangent_like(both[0])
    for k, (alone, own) in enumerate(((big, big_faces), (0.5 * small, small_faces))):
        leaf = alone.to(device).requires_grad_()
        mask = draw(leaf, own.to(device), 24, method)
        gradient = torch.autograd.grad(mask, leaf, cotangent[k : k + 1])[0]
        assert torch.equal(both[0][k], mask[0])
        torch.testing.assert_close(both[1][k, : alone.shape[1]], gradient[0])
        assert not both[1][k, alone.shape[1] :].any()


@pytest.mark.parametrize("method", METHODS)
def test_rectangle_is_cut_from_the_square(method, device):
    """The unit of x is the image's width, so an image with fewer rows is a part of the square image."""
    vertices, faces = (x.to(device) for x in ball())
    square = silhouette(vertices, faces, 40, method, SIGMA)
    strip = silhouette(vertices, faces, (20, 40), method, SIGMA * 4)  # sigma is in units of the smaller side
    torch.testing.assert_close(strip, square[:, 10:30], rtol=0, atol=1e-9)


# degenerate and bad input

NOTHING = {
    "no faces": (TRIANGLE, torch.zeros(0, 3, dtype=torch.int64)),
    "no vertices": (torch.zeros(0, 3, dtype=torch.float64), torch.zeros(0, 3, dtype=torch.int64)),
    "only padding": (TRIANGLE, torch.full((2, 3), -1)),
    "one vertex thrice": (TRIANGLE, torch.tensor([[1, 1, 1]])),
    "one vertex twice": (TRIANGLE, torch.tensor([[0, 1, 1]])),
    "three points in a line": (points((-0.2, -0.2, 0), (0, 0, 0), (0.2, 0.2, 0)), ONE),
    "edge-on": (TRIANGLE * points((0, 1, 1)), ONE),
    "left of the image": (TRIANGLE - points((2, 0, 0)), ONE),
    "below the image": (TRIANGLE + points((0, 2, 0)), ONE),
    "very far": (TRIANGLE * 1e30 + 1e31, ONE),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NOTHING)
def test_nothing_to_draw(name, dtype, method, device):
    vertices, faces = NOTHING[name]
    vertices, faces = vertices[None].to(device, dtype), faces.to(device)
    mask, gradient = mask_and_gradient(draw, vertices, faces, 16, method)
    assert not mask.any()
    assert not gradient.any()
    assert (rasterize(vertices, faces, 16).face == -1).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30])
def test_face_with_a_lost_corner_leaves_the_others_alone(value, dtype, method, device):
    lost = torch.cat([TRIANGLE, points((value, 0.1, 0.0))])[None].to(device, dtype)
    faces = torch.tensor([[0, 1, 2], [0, 1, 3]], device=device)
    alone = mask_and_gradient(draw, lost, faces[:1], 16, method)
    both = mask_and_gradient(draw, lost, faces, 16, method)
    if value != 1e30 or dtype == torch.float32:  # in float64 this face has a finite area
        assert torch.equal(both[0], alone[0])
        assert torch.equal(both[1], alone[1])
    assert both[1].isfinite().all()


@pytest.mark.parametrize("method", METHODS)
def test_no_nan_gradient_from_finite_faces(method, device, generator):
    """Gradients are finite for coinciding corners and corners on pixel centres and edges, in float32, for any sigma."""
    grid = torch.randint(-8, 9, (64, 12, 3), generator=generator) / 16 + 1 / 32
    grid = (grid + 1e-7 * torch.randn(grid.shape, generator=generator).sign()).to(device)
    faces = torch.randint(0, 12, (40, 3), generator=generator).to(device)
    for sigma in (1e-8, 1e-5, 1e-2, 1.0):
        mask, gradient = mask_and_gradient(silhouette, grid, faces, 16, method, sigma)
        assert mask.isfinite().all()
        assert gradient.isfinite().all()
        assert gradient.any()


@pytest.mark.parametrize("method", METHODS)
def test_empty_batch(method, device):
    vertices = torch.zeros(0, 3, 3, device=device, requires_grad=True)
    mask = silhouette(vertices, ONE.to(device), 16, method)
    mask.sum().backward()
    assert mask.shape == (0, 16, 16)


def test_bad_arguments_say_what_is_wrong():
    vertices = TRIANGLE[None]
    with pytest.raises(TypeError, match=r"float16.*float32 and float64"):
        silhouette(vertices.half(), ONE)
    with pytest.raises(IndexError, match="faces use vertices 0 to 3, but there are only 0 to 2"):
        silhouette(vertices, torch.tensor([[0, 1, 3]]))
    with pytest.raises(IndexError, match="vertices -1 to 2"):
        rasterize(vertices, torch.tensor([[0, -1, 2]]))
    with pytest.raises(ValueError, match=r"sigma = 0.*positive"):
        silhouette(vertices, ONE, sigma=0.0)
    with pytest.raises(ValueError, match=r"image_size = 0.*positive"):
        silhouette(vertices, ONE, image_size=0)
    with pytest.raises(ValueError, match=r"image_size = \(3, -1\).*positive"):
        silhouette(vertices, ONE, image_size=(3, -1))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_kernels_read_indices_of_32_bits(method, dtype, device, monkeypatch):
    """Indices of vertices and of faces, forward and backward; 64 bits would be twice the memory to read."""
    read = []

    def noted(kernel, dim, arguments):
        read.append([value.dtype for value in arguments if isinstance(value, Tensor) and not value.is_floating_point()])
        launch(kernel, dim, arguments)

    monkeypatch.setattr(silhouettes, "launch", noted)
    vertices, faces = (x.to(device) for x in ball())
    _, gradient = mask_and_gradient(draw, vertices, faces.to(dtype), 20, method)
    assert gradient.any()
    expected = {"kato": [2], "soft": [1, 1], "coverage": [1, 1]}[method]  # Kato's forward pass is the z-buffer's
    assert read == [count * [torch.int32] for count in expected]


# fitting by a mask, and CUDA graphs


@pytest.mark.parametrize(("method", "pixels"), [("coverage", 0.1), ("soft", 0.5), ("kato", 1.0)])
def test_a_mesh_is_fitted_by_its_mask_alone(method, pixels, device):
    """The mesh starts shifted by ten of 64 pixels, rotated by half a radian, and a quarter too large."""
    vertices, faces = (x.to(device) for x in letter())
    target = silhouette(vertices, faces, 64, "coverage")
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
        (silhouette(moved(), faces, 64, method) - target).square().mean().backward()
        optimizer.step()
        schedule.step()
    assert (moved() - vertices).norm(dim=-1).max() < pixels / 64


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("method", METHODS)
def test_is_captured_in_a_cuda_graph(method):
    """After a warm-up on a side stream, rendering is captured and replayed on other vertices."""
    vertices, faces = (x.cuda() for x in ball())
    static = vertices.float().requires_grad_()

    def both() -> tuple[Tensor, Tensor]:
        mask = draw(static, faces, 40, method)
        return mask, torch.autograd.grad(mask.square().sum(), static)[0]

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        both()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        mask, gradient = both()
    with torch.no_grad():
        static.copy_(0.8 * vertices + 0.05)
    graph.replay()
    expected_mask, expected_gradient = both()
    torch.testing.assert_close(mask, expected_mask, rtol=0, atol=1e-5)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-3, atol=1e-3)
    assert gradient.any()
