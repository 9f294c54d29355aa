"""The PyTorch3D backend agrees with the Warp backend, and a missing PyTorch3D gives a clear error."""

import inspect
import sys

import pytest
import torch
from scenes import ONE, SCENES, TRIANGLE, points
from torch import Tensor

from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.poses import sample_poses
from dhpe_lib.hand.rotations import axis_angle_to_matrix
from dhpe_lib.rendering.projection import Pinhole, rasterize
from dhpe_lib.rendering.renderer import render, silhouette


@pytest.fixture(scope="module")
def pytorch3d() -> None:
    pytest.importorskip("pytorch3d", reason="PyTorch3D is not installed", exc_type=ImportError)


def hands(count: int) -> tuple[Tensor, Tensor]:
    """Make hands in natural poses and random rotations, with the size that they have in the paper's crops."""
    generator = torch.Generator().manual_seed(5)
    model = HandModel.open_hand()
    turns = axis_angle_to_matrix(2 * torch.randn(count, 3, generator=generator))
    vertices = model(pose=sample_poses(count, generator), rotation=turns).vertices
    vertices = vertices - (vertices.amax(1, True) + vertices.amin(1, True)) / 2
    extent = (vertices.amax(1) - vertices.amin(1))[:, :2].amax(-1)
    return vertices / (1.5 * extent[:, None, None]), model.faces


def test_its_absence_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch3d.structures", None)
    with pytest.raises(ImportError, match=r"pip install.*pytorch3d"):
        silhouette(TRIANGLE[None].float(), ONE, 8, "soft", backend="pytorch3d")
    with pytest.raises(ImportError, match=r"pip install.*pytorch3d"):
        rasterize(TRIANGLE[None].float(), ONE, 8, backend="pytorch3d")


def test_unsupported_methods_and_backends_are_named():
    with pytest.raises(ValueError, match=r"no 'kato' silhouette; use method=\"soft\""):
        silhouette(TRIANGLE[None], ONE, 8, "kato", backend="pytorch3d")
    unchecked = inspect.unwrap(silhouette)  # without the run-time type checks of the tests
    with pytest.raises(ValueError, match=r"backend = 'opengl'; use \"warp\" or \"pytorch3d\""):
        unchecked(TRIANGLE[None], ONE, 8, backend="opengl")
    with pytest.raises(ValueError, match=r"method = 'hard'; use \"coverage\""):
        unchecked(TRIANGLE[None], ONE, 8, "hard")


@pytest.mark.usefixtures("pytorch3d")
def test_hard_masks_of_hands_differ_at_edges_alone():
    vertices, faces = hands(4)
    ours, theirs = (rasterize(vertices, faces, backend=name) for name in ("warp", "pytorch3d"))
    differing = (ours.face >= 0) != (theirs.face >= 0)
    assert differing.float().mean() <= 0.002
    exact = silhouette(vertices, faces, method="coverage")
    assert ((exact > 0) & (exact < 1))[differing].all()
    same = (ours.face == theirs.face) & (ours.face >= 0)
    assert same.sum() > 0.99 * (ours.face >= 0).sum()
    # Rounding errors are large on faces that are nearly edge-on.
    assert ((ours.barycentric - theirs.barycentric)[same].abs() < 2e-3).float().mean() > 0.99
    assert ((ours.depth - theirs.depth)[same].abs() < 1e-4).float().mean() > 0.99


@pytest.mark.usefixtures("pytorch3d")
@pytest.mark.parametrize("size", [64, (48, 64), (64, 48)])
def test_soft_maps_and_gradients_of_hands_agree(size):
    vertices, faces = hands(2)
    results = []
    for backend in ("warp", "pytorch3d"):
        leaf = vertices.clone().requires_grad_()
        mask = silhouette(leaf, faces, size, "soft", backend=backend)
        cotangent = torch.randn(mask.shape, generator=torch.Generator().manual_seed(0))
        results.append((mask.detach(), torch.autograd.grad(mask, leaf, cotangent)[0].flatten()))
    assert (results[0][0] - results[1][0]).abs().mean() < 1e-3
    assert torch.cosine_similarity(results[0][1], results[1][1], dim=0) > 0.99
    assert results[0][1].norm() > 1


@pytest.mark.usefixtures("pytorch3d")
def test_pinhole_and_gradients_of_depth_agree():
    scene = SCENES["two overlapping"]
    k = points((40, 0, 16), (0, 44, 12), (0, 0, 1))[None].float()
    results = []
    for backend in ("warp", "pytorch3d"):
        leaf = (scene.vertices + points((0, 0, 1.5)))[None].float().requires_grad_()
        fragments = rasterize(leaf, scene.faces, (24, 32), Pinhole(k), backend)
        hit = fragments.face >= 0
        (gradient,) = torch.autograd.grad(fragments.depth[hit].sum(), leaf)
        results.append((fragments, gradient))
    (ours, our_gradient), (theirs, their_gradient) = results
    assert (ours.face != theirs.face).float().mean() < 0.01
    same = (ours.face == theirs.face) & (ours.face >= 0)
    assert same.sum() > 50
    torch.testing.assert_close(ours.barycentric[same], theirs.barycentric[same], rtol=0, atol=1e-4)
    torch.testing.assert_close(our_gradient, their_gradient, rtol=0.02, atol=0.02)


@pytest.mark.usefixtures("pytorch3d")
def test_nothing_and_float64():
    for vertices, faces in (
        (torch.zeros(0, 3, 3), ONE),
        (TRIANGLE[None].float(), torch.zeros(0, 3, dtype=torch.int64)),
    ):
        leaf = vertices.requires_grad_()
        mask = silhouette(leaf, faces, 8, "soft", backend="pytorch3d")
        mask.sum().backward()
        assert mask.shape == (len(vertices), 8, 8)
        assert not mask.any()
        assert (rasterize(vertices, faces, 8, backend="pytorch3d").face == -1).all()
    with pytest.raises(TypeError, match="float32 only"):
        silhouette(TRIANGLE[None], ONE, 8, "soft", backend="pytorch3d")


@pytest.mark.usefixtures("pytorch3d")
def test_pictures_agree_and_lost_faces_are_left_out():
    vertices, faces = hands(2)
    vertices = torch.cat([vertices, torch.full_like(vertices[:, :1], torch.nan)], 1)
    faces = torch.cat([faces, torch.tensor([[0, 1, 778], [-1, -1, -1]])])
    colors = torch.rand(779, 3, generator=torch.Generator().manual_seed(0))
    ours, theirs = (render(vertices, faces, colors, image_size=96, backend=name) for name in ("warp", "pytorch3d"))
    assert (ours.image - theirs.image).abs().mean() < 2e-3
    assert (ours.mask - theirs.mask).abs().mean() < 1e-3
    assert ours.mask.mean() > 0.05
