"""L_Lap equals plain loops over faces, and is zero for a moved template."""

import math

import pytest
import torch

from dhpe_lib.hand.laplacian import Laplacian, cotangent_weights, uniform_weights
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.poses import sample_poses
from dhpe_lib.hand.rotations import random_rotations

F64 = torch.float64


@pytest.fixture(scope="module")
def hand() -> HandModel:
    return HandModel(HandModel.open_hand().hand, dtype=F64)


def angle(tip: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> float:
    left, right = a - tip, b - tip
    return math.acos(float(left @ right / left.norm() / right.norm()))


def test_weights_edge_by_edge(hand):
    v = hand.v_template
    count, cotangents = torch.zeros(778, 778, dtype=F64), torch.zeros(778, 778, dtype=F64)
    for face in hand.faces.tolist():
        for tip, a, b in (face, face[1:] + face[:1], face[2:] + face[:2]):
            count[a, b] = count[b, a] = 1
            cotangent = 0.5 / math.tan(angle(v[tip], v[a], v[b]))
            cotangents[a, b] += cotangent
            cotangents[b, a] += cotangent
    assert torch.equal(uniform_weights(v, hand.faces), count)
    torch.testing.assert_close(cotangent_weights(v, hand.faces), cotangents.clamp_min(0))


@pytest.mark.parametrize("weights", ["uniform", "cotangent"])
@pytest.mark.parametrize("plain", [True, False])
def test_loss_vertex_by_vertex(weights, plain, hand, generator):
    posed = hand(sample_poses(2, generator).double()).vertices
    make = uniform_weights if weights == "uniform" else cotangent_weights
    w = make(hand.v_template, hand.faces)
    expected = torch.zeros(2, dtype=F64)
    for i in range(778):
        near = w[i].nonzero()[:, 0]
        share = w[i, near] / w[i, near].sum()
        rest = (hand.v_template[i] - share @ hand.v_template[near]).norm()
        length = (posed[:, i] - share @ posed[:, near]).norm(dim=-1)
        expected += (length - (0 if plain else 1.3 * rest)).abs() / 778
    found = Laplacian(hand, weights, plain)(posed, torch.full((2,), 1.3, dtype=F64))
    torch.testing.assert_close(found, expected)


def test_moving_the_hand_at_rest_costs_nothing(hand, generator):
    scale = torch.tensor([0.5, 1.0, 3.5], dtype=F64)
    shift = torch.randn(3, 3, generator=generator, dtype=F64)
    vertices = hand(None, None, random_rotations(3, generator, F64), scale, shift).vertices
    assert Laplacian(hand)(vertices, scale).max() < 1e-6
    assert (Laplacian(hand, plain=True)(vertices, scale) > 5e-4).all()


def test_wrong_poses_cost_more_than_natural_ones(hand, generator):
    natural = hand(sample_poses(50, generator).double()).vertices
    wild = hand(1.2 * torch.randn(50, 45, generator=generator, dtype=F64)).vertices
    one = torch.ones(50, dtype=F64)
    laplacian = Laplacian(hand)
    assert laplacian(wild, one).min() > laplacian(natural, one).quantile(0.95)


def test_gradient_by_finite_differences_and_at_rest(hand, generator):
    laplacian = Laplacian(hand)
    vertices = hand(sample_poses(1, generator).double()).vertices
    direction = torch.randn(vertices.shape, generator=generator, dtype=F64)
    step = torch.zeros((), dtype=F64, requires_grad=True)
    scale = torch.full((1,), 1.1, dtype=F64, requires_grad=True)  # at 1 the palm is at rest: a kink
    gradcheck = torch.autograd.gradcheck
    assert gradcheck(lambda t, c: laplacian(vertices + 1e-3 * t * direction, c), (step, scale), eps=1e-7, atol=1e-6)
    rest, point = hand().vertices.requires_grad_(), torch.zeros(1, 778, 3, dtype=F64, requires_grad=True)
    gradients = torch.autograd.grad(laplacian(rest, scale.detach()) + laplacian(point, scale.detach()), (rest, point))
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_a_face_without_area_gives_finite_weights():
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 1, 0]])
    weights = cotangent_weights(vertices, torch.tensor([[0, 1, 2], [0, 1, 3]]))
    assert weights.isfinite().all()
