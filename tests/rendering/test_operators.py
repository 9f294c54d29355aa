"""Pictures are custom operators: PyTorch knows their shapes and compiles code around them to one graph."""

import subprocess
import sys

import pytest
import torch
from project import child_environment
from scenes import TRIANGLE

from dhpe_lib.rendering.rasterizer import fragments, silhouettes
from dhpe_lib.rendering.rasterizer.kernels import zbuffer
from dhpe_lib.rendering.rasterizer.launch import launch

pytestmark = pytest.mark.without_device
SIDE = 8
FACES = torch.tensor([[[0, 1, 2]]], dtype=torch.int32)


def on_screen() -> torch.Tensor:
    """Two copies of a triangle in pixels, float64, with a gradient."""
    return (SIDE * (TRIANGLE.repeat(2, 1, 1) + 0.5)).requires_grad_()


def calls() -> dict[str, tuple]:
    """Each operator with arguments of every kind that it takes."""
    screen = on_screen()
    barycentric, depth, face = (value.detach() for value in fragments._rasterize(screen, FACES, SIDE, SIDE, False))
    shifts, edges = (value.detach() for value in fragments._outlines(screen, FACES, face, depth))
    assert (face >= 0).any()
    assert (edges >= 0).any()
    image = torch.rand(2, SIDE, SIDE, 4, dtype=torch.float64).requires_grad_()
    return {
        "soft": (silhouettes._soft, (screen, FACES, SIDE, SIDE, 0.5)),
        "coverage": (silhouettes._coverage, (screen, FACES, SIDE, SIDE)),
        "kato": (silhouettes._kato, (screen, FACES, SIDE, SIDE)),
        "rasterize": (fragments._rasterize, (screen, FACES, SIDE, SIDE, False)),
        "interpolate": (
            fragments._interpolate,
            (torch.rand(2, 3, 4, dtype=torch.float64).requires_grad_(), FACES, face, barycentric.requires_grad_()),
        ),
        "outlines": (fragments._outlines, (screen, FACES, face, depth)),
        "blend": (fragments._blend, (image, edges, shifts.requires_grad_())),
    }


@pytest.mark.parametrize("name", ["soft", "coverage", "kato", "rasterize", "interpolate", "outlines", "blend"])
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # opcheck's own
def test_operator_says_its_shapes_and_changes_no_input(name):
    operator, arguments = calls()[name]
    assert operator.name() == f"dhpe::{name}"
    checks = ("test_schema", "test_faketensor", "test_autograd_registration", "test_aot_dispatch_static")
    torch.library.opcheck(operator, arguments, test_utils=checks)


def test_there_are_no_second_derivatives():
    screen = on_screen()
    mask = silhouettes.coverage(screen, FACES, SIDE, SIDE)
    (gradient,) = torch.autograd.grad(mask.square().sum(), screen, create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivatives"):
        gradient.sum().backward()


def test_tensors_of_two_devices_never_reach_a_kernel():
    keys = torch.empty(1, SIDE, SIDE, dtype=torch.int64, device="meta")
    with pytest.raises(ValueError, match=r"nearest_face reads tensors on cpu and on meta"):
        launch(zbuffer.nearest_face, (1, 1), [TRIANGLE[None], FACES, False, keys])
    with pytest.raises(TypeError, match=r"nearest_face has no version for torch.float16"):
        launch(zbuffer.nearest_face, (1, 1), [TRIANGLE[None].half(), FACES, False, torch.zeros(1, 8, 8).long()])


COMPILED = """
import torch
from dhpe_lib.hand.model import HandModel, neutral_h
from dhpe_lib.refinement.energy import EnergyWeights, Observations, energy, hand_prior
from dhpe_lib.rendering.renderer import render

hand = HandModel.open_hand()
prior, weights = hand_prior(hand), EnergyWeights(joints=1.0, lap=1.0, mask=1.0, pose=0.1, shape=0.1, limits=0.1)
generator = torch.Generator().manual_seed(0)
h = neutral_h(hand) + 0.02 * torch.randn(2, 63, generator=generator)
h[:, 59] = 2.2
h.requires_grad_()
mask = torch.zeros(2, 32, 32)
mask[:, 8:20, 10:22] = 1
evidence = Observations(torch.rand(2, 21, 2, generator=generator) - 0.5, torch.ones(2, 21), mask)


def energies(h):
    return energy(hand, h, evidence, weights, prior)


def picture(h):
    return render(hand.forward_h(h).vertices, hand.faces, torch.full_like(hand.v_template, 0.5), image_size=32).image


for function in (energies, picture):
    plain, compiled = function(h), torch.compile(function, fullgraph=True, backend="aot_eager")(h)
    assert torch.equal(plain, compiled), function
    of_plain, of_compiled = (torch.autograd.grad(value.square().sum(), h)[0] for value in (plain, compiled))
    assert of_plain.abs().max() > 1, function
    torch.testing.assert_close(of_compiled, of_plain)
print("one graph each")
"""


def test_energy_and_picture_compile_to_one_graph():
    """In a process of its own: the run-time checks of the tests cannot be compiled."""
    command = [sys.executable, "-c", COMPILED]
    done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "one graph each", done.stderr[-3000:]
