"""Shaded rendering, lighting and cameras: known images, finite differences, and errors for wrong arguments."""

import inspect
import math

import pytest
import torch
import warp as wp
from scenes import ONE, SCENES, TRIANGLE, ball, points
from torch import Tensor

from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.rotations import axis_angle_to_matrix
from dhpe_lib.rendering import renderer
from dhpe_lib.rendering.lighting import Light, shade, spherical_harmonics, vertex_normals
from dhpe_lib.rendering.projection import Pinhole, interpolate, label_map, rasterize, to_screen
from dhpe_lib.rendering.rasterizer.fragments import interpolate as interpolate_unchecked
from dhpe_lib.rendering.renderer import Texture, render, sample_texture, silhouette

DTYPES = [torch.float32, torch.float64]

# render

FLOODLIGHT = Light(ambient=0.25, directional=0.5, direction=(0.0, 0.0, 2.0))


def square(size: float = 0.25, z: float = 0.0) -> tuple[Tensor, Tensor]:
    """Make the square [-size, size]^2 with corners counterclockwise for the camera, whose y points down."""
    corners = size * points((-1, -1, 0), (-1, 1, 0), (1, 1, 0), (1, -1, 0))
    return corners[None] + points((0, 0, z)), torch.tensor([[0, 1, 2], [0, 2, 3]])


@pytest.mark.parametrize("dtype", DTYPES)
def test_render_lights_and_places_a_square(dtype, device, tol):
    vertices, faces = square(z=0.3)
    colors = torch.tensor([[1.0, 0.5, 0.2]], dtype=dtype, device=device).expand(4, 3)
    picture = render(vertices.to(device, dtype), faces.to(device), colors, image_size=16, light=FLOODLIGHT)
    inside = torch.zeros(16, 16, device=device, dtype=torch.bool)
    inside[4:12, 4:12] = True
    torch.testing.assert_close(picture.mask[0], inside.to(dtype), **tol[dtype])  # the sides are between pixels
    torch.testing.assert_close(picture.image[0, inside], (0.75 * colors[0]).expand(64, 3), **tol[dtype])
    torch.testing.assert_close(picture.image[0, ~inside], torch.zeros_like(picture.image[0, ~inside]), **tol[dtype])
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
    """The mask is close to the exact coverage, and closer with more samples."""
    vertices, faces = (x.to(device) for x in ball(subdivisions=3))
    colors = torch.ones_like(vertices[0])
    exact = silhouette(vertices, faces, 32, "coverage")
    errors = []
    for supersample in (1, 2, 4):
        mask = render(vertices, faces, colors, image_size=32, supersample=supersample).mask
        assert ((mask > 0) & (mask < 1)).sum() > 30
        errors.append(float((mask - exact).abs().max()))
    assert errors[0] < 0.2
    assert errors[2] < errors[1] < errors[0]


def test_render_texture_has_its_origin_at_the_top_left(device):
    vertices, faces = (x.to(device) for x in square(0.5))
    texture = torch.rand(8, 8, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(device)
    uv = points((0, 0), (0, 1), (1, 1), (1, 0)).to(device)
    light = Light(ambient=1.0, directional=0.0)
    picture = render(vertices, faces, Texture(uv, faces, texture), image_size=8, light=light, supersample=1)
    torch.testing.assert_close(picture.image[0], texture)
    seam = render(vertices, faces, Texture(uv.flip(0), 3 - faces, texture), image_size=8, light=light, supersample=1)
    torch.testing.assert_close(seam.image, picture.image)
    mixed = render(vertices.float(), faces, Texture(uv, faces, texture), image_size=8, light=light, supersample=1)
    torch.testing.assert_close(mixed.image, picture.image.float())


def test_vertex_normals_of_a_ball_point_outwards(device):
    vertices, faces = (x.to(device) for x in ball(subdivisions=3))
    outwards = torch.nn.functional.normalize(vertices - points((0.05, -0.03, 0.02)).to(device), dim=-1)
    normals = vertex_normals(vertices, faces)
    assert (normals * outwards).sum(-1).min() > 0.999
    torch.testing.assert_close(normals.norm(dim=-1), torch.ones_like(normals[..., 0]))
    assert torch.autograd.gradcheck(vertex_normals, (ball(subdivisions=0)[0].requires_grad_(), ball(subdivisions=0)[1]))


def test_vertices_without_faces_have_no_normal(device):
    vertices, faces = (x.to(device) for x in square())
    vertices = torch.cat([vertices, vertices[:, :1]], dim=1)
    assert not vertex_normals(vertices, faces)[0, 4].any()


def gradients(loss: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
    assert loss.requires_grad
    return torch.autograd.grad(loss, leaves)


@pytest.mark.parametrize("textured", [False, True])
def test_render_gradients_are_derivatives(textured, device, generator):
    """The gradients to vertices, colours, light and background equal finite differences in float64."""

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64).to(device)

    vertices, faces = (x.to(device) for x in ball(subdivisions=1))
    leaves = {
        "vertices": vertices,
        "colors": 0.3 + 0.4 * (draw(6, 6, 3) if textured else draw(vertices.shape[1], 3)),
        "background": draw(14, 18, 3),
        "ambient": 0.2 + 0.1 * draw(1, 3),
        "directional": 0.3 + 0.1 * draw(1, 3),
        "direction": draw(1, 3),
        "harmonics": 0.1 * draw(1, 9, 3),
    }
    uv = draw(vertices.shape[1], 2)

    def picture(values: dict[str, Tensor]) -> Tensor:
        light = Light(values["ambient"], values["directional"], values["direction"], values["harmonics"])
        colors = Texture(uv, faces, values["colors"]) if textured else values["colors"]
        return render(values["vertices"], faces, colors, values["background"], (14, 18), light, 2).image

    values = {name: leaf.clone().requires_grad_() for name, leaf in leaves.items()}
    image = picture(values)
    cotangent = torch.randn(image.shape, generator=generator, dtype=torch.float64).to(device)
    found = dict(zip(values, gradients((image * cotangent).sum(), *values.values()), strict=True))
    for name, leaf in leaves.items():
        motion = torch.randn(leaf.shape, generator=generator, dtype=torch.float64).to(device)
        sums = [(picture({**leaves, name: leaf + t * motion}) * cotangent).sum() for t in (1e-7, -1e-7)]
        expected = (sums[0] - sums[1]) / 2e-7
        torch.testing.assert_close((found[name] * motion).sum(), expected, rtol=2e-4, atol=1e-5, msg=name)
        assert found[name].any(), name


def test_render_gradient_crosses_an_occlusion(device):
    """A bright finger in front of a dark palm has a gradient of the image, but no gradient of the mask."""
    scene = SCENES["finger over palm"]
    vertices = scene.vertices[None].to(device)
    inner = torch.cat([vertices[:, :4], 0.3 * vertices[:, 4:]], 1).requires_grad_()
    faces = scene.faces.to(device)
    colors = torch.tensor([0.1] * 4 + [0.9] * 4, dtype=torch.float64, device=device)[:, None].expand(8, 3)
    flat = Light(ambient=1.0, directional=0.0)
    picture = render(inner, faces, colors, image_size=48, light=flat)
    (of_mask,) = torch.autograd.grad(picture.mask.sum(), inner, retain_graph=True)
    assert not of_mask[:, 4:].any()
    right_half = torch.arange(48, device=device) > 24
    (of_image,) = torch.autograd.grad(picture.image[:, :, right_half].sum(), inner)
    assert of_image[:, 4:, 0].sum() > 1  # moving the finger to the right makes the right half brighter


def test_render_depth_and_normals_have_gradients(device):
    vertices, faces = ball(subdivisions=2)
    leaf = vertices.to(device).requires_grad_()
    picture = render(leaf, faces.to(device), torch.ones_like(leaf[0]), image_size=24)
    hit = picture.mask == 1
    (of_depth,) = torch.autograd.grad(picture.depth[hit].mean(), leaf, retain_graph=True)
    torch.testing.assert_close(of_depth[..., 2].sum().cpu(), torch.tensor(1.0, dtype=torch.float64))
    (of_normals,) = torch.autograd.grad(picture.normals[hit][:, 0].sum(), leaf)
    assert of_normals.isfinite().all()
    assert of_normals.any()


@pytest.mark.parametrize("name", ["empty", "a lost corner", "behind the camera"])
def test_render_of_nothing_is_the_background(name, device):
    vertices = TRIANGLE[None].clone()
    faces, camera = ONE, None
    if name == "empty":
        faces = torch.zeros(0, 3, dtype=torch.int64)
    elif name == "a lost corner":
        vertices[0, 1, 0] = math.nan
    else:
        camera = Pinhole(points((8, 0, 4), (0, 8, 4), (0, 0, 1)).to(device)[None])
        vertices[..., 2] -= 1
    leaf = vertices.to(device).requires_grad_()
    background = torch.rand(8, 8, 3, dtype=torch.float64, device=device).requires_grad_()
    colors = torch.ones(3, 3, dtype=torch.float64, device=device).requires_grad_()
    for supersample in (1, 2):
        picture = render(leaf, faces.to(device), colors, background, 8, camera=camera, supersample=supersample)
        torch.testing.assert_close(picture.image[0], background)
        assert not picture.mask.any()
        assert picture.depth.isinf().all()
        assert not picture.normals.any()
        of_vertices, of_background, of_colors = torch.autograd.grad(picture.image.sum(), (leaf, background, colors))
        assert not of_vertices.any()
        assert not of_colors.any()
        torch.testing.assert_close(of_background, torch.ones_like(background))


def test_render_batch_empty(device):
    picture = render(
        torch.zeros(0, 3, 3, device=device), ONE.to(device), torch.ones(3, 3, device=device), image_size=16
    )
    assert picture.image.shape == (0, 16, 16, 3)


def test_render_one_light_texture_and_topology_each(device, generator):
    """A batch with different lights, textures and topologies equals its images rendered one by one."""
    (big, big_faces), (small, small_faces) = ball(subdivisions=1), ball(subdivisions=0)
    vertices = torch.zeros(2, big.shape[1], 3, dtype=torch.float64)
    faces = torch.full((2, len(big_faces), 3), -1)
    vertices[0], vertices[1, : small.shape[1]] = big[0], small[0] + 0.1
    faces[0], faces[1, : len(small_faces)] = big_faces, small_faces
    vertices, faces = vertices.to(device), faces.to(device)
    colors, backgrounds, ambient, direction = (
        torch.rand(2, *shape, generator=generator, dtype=torch.float64).to(device)
        for shape in ((big.shape[1], 3), (20, 20, 3), (3,), (3,))
    )
    both = render(vertices, faces, colors, backgrounds, 20, Light(ambient, 0.5, direction))
    for k in range(2):
        one = slice(k, k + 1)
        light = Light(ambient[one], 0.5, direction[one])
        alone = render(vertices[one], faces[k], colors[k], backgrounds[k], 20, light)
        torch.testing.assert_close(both.image[one], alone.image)
        torch.testing.assert_close(both.normals[one], alone.normals)
    texture = torch.rand(2, 5, 5, 3, generator=generator, dtype=torch.float64).to(device)
    uv = torch.rand(big.shape[1], 2, generator=generator, dtype=torch.float64).to(device)
    pair = vertices[:1].expand(2, -1, -1)
    textured = render(pair, faces[0], Texture(uv, faces[0], texture), image_size=20).image
    for k in range(2):
        alone = render(pair[:1], faces[0], Texture(uv, faces[0], texture[k]), image_size=20).image
        torch.testing.assert_close(textured[k : k + 1], alone)
    assert not torch.allclose(textured[0], textured[1])


def test_label_map_names_parts(device):
    scene = SCENES["finger over palm"]
    fragments = rasterize(scene.vertices[None].to(device), scene.faces.to(device), 20)
    labels = label_map(torch.tensor([7, 7, 3, 3], device=device), fragments)
    assert set(labels.unique().tolist()) == {-1, 3, 7}
    assert torch.equal(labels == -1, fragments.face == -1)
    assert torch.equal(labels == 3, fragments.face >= 2)


# light


def test_harmonics_are_orthonormal():
    """The mean products of the harmonics over a fine sphere are the identity."""
    normals = ball(subdivisions=5, radius=1.0)[0][0] - points((0.05, -0.03, 0.02))
    area = torch.linalg.norm(vertex_area(normals, ball(subdivisions=5)[1]), dim=-1, keepdim=True)
    values = spherical_harmonics(torch.nn.functional.normalize(normals, dim=-1))
    products = (values * area).T @ values
    torch.testing.assert_close(products, torch.eye(9, dtype=torch.float64), rtol=0, atol=2e-3)


def vertex_area(vertices: Tensor, faces: Tensor) -> Tensor:
    a, b, c = vertices[faces].unbind(1)
    third = torch.linalg.cross(b - a, c - a) / 6
    return torch.zeros_like(vertices).index_add(0, faces.flatten(), third.repeat_interleave(3, 0))


def test_shade_adds_the_lamps(device):
    normals = points((0, 0, -1), (0.6, 0, -0.8), (0, 0, 0))[None, None].to(device)
    light = Light(0.25, 0.5, (0.0, 0.0, 3.0))
    expected = torch.tensor([0.75, 0.25 + 0.5 * 0.8, 0.25], dtype=torch.float64, device=device)
    torch.testing.assert_close(shade(normals, light)[0, 0, :, 0], expected)
    as_tensor = Light(0.25, 0.5, torch.tensor([[0, 0, 3.0]], device=device))
    torch.testing.assert_close(shade(normals, as_tensor), shade(normals, light))
    coloured = Light(torch.tensor([[0.1, 0.2, 0.3]], device=device), 0.0)
    torch.testing.assert_close(shade(normals, coloured)[0, 0, 0].cpu(), points((0.1, 0.2, 0.3))[0], rtol=0, atol=1e-7)
    constant = torch.zeros(1, 9, 3, dtype=torch.float64, device=device)
    constant[:, 0] = 2 * math.sqrt(math.pi)
    sky = shade(normals, Light(0.0, 0.0, harmonics=constant))
    torch.testing.assert_close(sky, torch.ones_like(sky))
    assert shade(normals, Light(-1.0, 0.0)).max() == 0


# cameras


def test_pinhole_at_a_distance_is_the_crop_frame(device):
    """With a distant camera and a long focal length, perspective and scaled orthographic masks agree."""
    vertices, faces = (x.to(device) for x in ball())
    far = 1e5
    k = points((20 * far, 0, 10), (0, 20 * far, 10), (0, 0, 1)).to(device)
    moved = vertices + points((0, 0, far)).to(device)
    for method in ("coverage", "soft", "kato"):
        orthographic = silhouette(vertices, faces, 20, method)
        torch.testing.assert_close(
            silhouette(moved, faces, 20, method, camera=Pinhole(k[None])), orthographic, rtol=0, atol=1e-3
        )


def test_pinhole_projects_and_differentiates(device):
    k = points((30, 1, 12), (0, 25, 9), (0, 0, 1)).to(device)
    vertices = (TRIANGLE + points((0, 0, 1.5)))[None].to(device)
    u, v, z = to_screen(vertices, (18, 24), Pinhole(k[None])).unbind(-1)
    x, y, depth = vertices.unbind(-1)
    torch.testing.assert_close(u, (30 * x + y) / depth + 12)
    torch.testing.assert_close(v, 25 * y / depth + 9)
    assert torch.equal(z, depth)
    faces = ONE.to(device)

    def mask(points_3d: Tensor) -> Tensor:
        return silhouette(
            points_3d, faces, (6, 8), "coverage", camera=Pinhole(k[None] / points((3,), (3,), (1,)).to(device))
        )

    assert mask(vertices).sum() > 1
    assert torch.autograd.gradcheck(mask, vertices.requires_grad_(), eps=1e-6, atol=1e-6)


def test_gradient_is_finite_behind_a_pinhole(device):
    k = points((20, 0, 10), (0, 20, 10), (0, 0, 1)).to(device)[None]
    vertices = torch.cat([TRIANGLE + points((0, 0, 1)), points((0, 0, 0), (0.1, 0.2, -1), (0.3, 0.1, 1e-9))])[None]
    leaf = vertices.to(device).requires_grad_()
    faces = torch.tensor([[0, 1, 2], [3, 4, 5], [0, 1, 3]], device=device)
    for method in ("coverage", "soft", "kato"):
        mask = silhouette(leaf, faces, 20, method, camera=Pinhole(k))
        (gradient,) = torch.autograd.grad(mask, leaf, torch.randn_like(mask))
        assert gradient.isfinite().all()
        assert gradient[:, :3].any()
        assert not gradient[:, 3:].any()


def test_texture_gradient_reaches_the_texels_that_are_seen(device):
    vertices, faces = square(0.5)
    image = torch.zeros(4, 4, 3, dtype=torch.float64, device=device).requires_grad_()
    uv = points((0, 0), (0, 0.5), (0.5, 0.5), (0.5, 0)).to(device)
    fragments = rasterize(vertices.to(device), faces.to(device), 16)
    sample_texture(Texture(uv, faces.to(device), image), fragments).sum().backward()
    assert image.grad[:2, :2].all()
    assert not image.grad[3:].any()


def test_rows_that_do_not_exist_are_refused_on_the_cpu_and_not_read_on_cuda(device):
    """The check would wait for the GPU, so there the kernel leaves such rows out."""
    vertices, faces = (value.to(device) for value in square(0.5))
    fragments = rasterize(vertices, faces, 16)
    if device.type == "cpu":
        with pytest.raises(IndexError, match="vertices 0 to 3"):
            interpolate(torch.ones(1, 2, 2).double(), faces, fragments)
    else:
        values = interpolate(torch.ones(1, 2, 2, dtype=torch.float64, device=device), faces, fragments)
        assert values.isfinite().all()
        assert values.max() < 1


# wrong arguments raise an error, and no array is read beyond its end


def render_arguments(**changes) -> dict:
    """Return the arguments of `render` for a square, with some of them changed."""
    vertices, faces = square()
    return {"vertices": vertices, "faces": faces, "colors": torch.ones(4, 3).double(), "image_size": 8} | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vertices": square()[0][0]}, r"shape \(4, 3\); give \[batch, vertices, 3\]"),
        ({"faces": square()[1].double()}, "faces are torch.float64"),
        ({"faces": square()[1].numpy()}, "Tensor and ndarray"),
        ({"faces": torch.zeros(2, 4, dtype=torch.int64)}, r"faces have shape \(2, 4\)"),
        ({"faces": square()[1].expand(3, 2, 3)}, r"shape \(3, 2, 3\) for 1 meshes"),
        ({"colors": torch.ones(3, 3).double()}, "for 4 vertices"),
        ({"colors": torch.ones(4, 1).double()}, r"floats \[vertices, 3\]"),
        ({"colors": torch.full((4, 3), 255, dtype=torch.uint8)}, r"in \[0, 1\]"),
        ({"colors": torch.ones(2, 4, 3).double()}, "2 sets of attributes for 1 images"),
        (
            {"colors": Texture(torch.rand(4, 2), square()[1][:1], torch.rand(4, 4, 3))},
            r"shape \(1, 3\); the mesh has 2",
        ),
        ({"colors": Texture(torch.rand(4, 2), square()[1], torch.rand(3, 4, 4, 3))}, "3 textures for 1 meshes"),
        ({"colors": Texture(torch.rand(3, 2), square()[1], torch.rand(4, 4, 3))}, "there are only 0 to 2"),
        ({"background": torch.rand(9, 8, 3).double()}, r"shape \(9, 8, 3\); give floats \(8, 8, 3\)"),
        ({"background": torch.zeros(8, 8, 3, dtype=torch.uint8)}, "the background is torch.uint8"),
        ({"colors": torch.ones(4, 3, dtype=torch.float64, device="meta")}, "colors is on meta, the mesh on cpu"),
        (
            {"colors": Texture(torch.rand(4, 2, device="meta"), square()[1], torch.rand(4, 4, 3))},
            "uv is on meta, the mesh on cpu",
        ),
        ({"background": torch.ones(8, 8, 3, device="meta")}, "background is on meta"),
        ({"light": Light(direction=torch.ones(1, 3, device="meta"))}, "direction is on meta"),
        ({"supersample": 0}, "supersample = 0"),
        ({"light": Light(direction=(0.0, 0.0, 0.0))}, "points nowhere"),
    ],
)
def test_render_refuses(changes, message, monkeypatch):
    """Wrong arguments raise errors without the run-time type checks of the tests, as for a user."""
    monkeypatch.setattr(renderer, "prepare_faces", inspect.unwrap(renderer.prepare_faces))
    with pytest.raises((ValueError, TypeError, IndexError), match=message):
        inspect.unwrap(render)(**render_arguments(**changes))


def test_pinhole_refuses_to_look_behind():
    with pytest.raises(ValueError, match=r"near = -1.*positive"):
        Pinhole(torch.eye(3)[None], near=-1.0)


def test_interpolate_reads_no_row_that_does_not_exist(device):
    """On CUDA indices are not checked: a corner or face that does not exist counts as 0."""
    vertices, faces = (x.to(device) for x in square())
    fragments = rasterize(vertices, faces, 8)
    one = faces[:1].int()[None]
    values = interpolate_unchecked(torch.ones(1, 2, 1, dtype=torch.float64, device=device), one, fragments)
    assert values.max() < 1
    assert not values[fragments.face == 1].any()


def test_an_error_in_a_thread_is_raised(monkeypatch):
    vertices, faces = square()

    def fail(kernel, dim, inputs, device):
        if inputs[0] > 0:
            raise RuntimeError("out of luck")

    monkeypatch.setattr(wp, "launch", fail)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with pytest.raises(RuntimeError, match="out of luck"):
            silhouette(vertices, faces, 8)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("size", [16, 24, 64])
def test_render_stays_between_0_and_1(size, device):
    """Values stay in [0, 1] for fingers as wide as a pixel, with outlines on all four sides."""
    model = HandModel.open_hand().to(device)
    turns = axis_angle_to_matrix(2 * torch.randn(16, 3, generator=torch.Generator().manual_seed(0)).to(device))
    vertices = model(pose=model.hands_mean.expand(16, -1), rotation=turns).vertices / 0.25
    picture = render(vertices, model.faces, torch.ones_like(vertices[0]), image_size=size, light=Light(1.0, 0.0))
    for values in (picture.mask, picture.image):
        assert values.min() >= 0
        assert values.max() <= 1 + 1e-6
    assert ((picture.mask > 0.01) & (picture.mask < 0.99)).any()
