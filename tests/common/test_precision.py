"""Geometry is computed in float32 also under autocast, with gradients."""

from dataclasses import replace

import pytest
import torch
from small_nets import CONFIG, random_images

from dhpe_lib.common.precision import full_precision
from dhpe_lib.hand.laplacian import Laplacian
from dhpe_lib.hand.model import HandModel, neutral_h
from dhpe_lib.network.estimator import Estimator
from dhpe_lib.refinement.test_time import REFINEMENTS, RefineOptions, refine
from dhpe_lib.rendering.renderer import render, silhouette


@pytest.fixture
def lowered(device):
    return torch.autocast(device.type, torch.bfloat16)


def test_products_are_lowered_outside_and_not_inside(device, lowered):
    values = torch.rand(4, 4, device=device)
    with lowered:
        assert (values @ values).dtype == torch.bfloat16
        assert full_precision(torch.matmul)(values, values).dtype == torch.float32
        assert (values @ values).dtype == torch.bfloat16


def geometry(hand: HandModel, h: torch.Tensor) -> list[torch.Tensor]:
    """Values of the hand, its smoothness and its two pictures."""
    mesh = hand.forward_h(h)
    lap = Laplacian(hand).to(h.device)(mesh.vertices, torch.ones_like(h[:, 0]))
    mask = silhouette(mesh.vertices, hand.faces, 32, "coverage")
    image = render(mesh.vertices, hand.faces, torch.full_like(hand.v_template, 0.5), image_size=32).image
    return [mesh.vertices, mesh.joints, lap, mask, image]


def test_hand_and_renderer_do_not_see_autocast(device, lowered, tol):
    hand = HandModel.open_hand().to(device)
    h = neutral_h(hand).repeat(2, 1)
    h[:, 59] = 2.2
    h.requires_grad_()
    plain = geometry(hand, h)
    with lowered:
        found = geometry(hand, h)
    for one, other in zip(found, plain, strict=True):
        torch.testing.assert_close(one, other, **tol[torch.float32])
    of_found, of_plain = (torch.autograd.grad(sum(v.square().sum() for v in values), h)[0] for values in (found, plain))
    assert of_plain.abs().max() > 1
    torch.testing.assert_close(of_found, of_plain, rtol=1e-3, atol=1e-3 * float(of_plain.abs().max()))


def test_refinement_under_autocast_moves_the_hand_as_without(device, lowered, generator):
    """F alone is lowered; without the feature term nothing may change."""
    torch.manual_seed(0)
    network = Estimator(CONFIG).eval().to(device)
    images = random_images(2, generator).to(device)
    estimate = network.predict(images)
    options = replace(REFINEMENTS["joints-only"], iterations=4)
    plain = refine(network, images, estimate, options)
    with lowered:
        found = refine(network, images, estimate, options)
        whole = refine(network, images, estimate, RefineOptions(iterations=2))
    assert found.path.dtype == whole.path.dtype == torch.float32
    torch.testing.assert_close(found.path, plain.path, rtol=1e-3, atol=1e-4)
    assert whole.estimate.h.isfinite().all()
