"""The hand landmark network gives TensorFlow Lite's numbers, and its trunk can be trained."""

import pytest
import torch
from jaxtyping import TypeCheckError
from wave_picture import wave_picture

from dhpe_lib.network.hand_landmarks import FEATURES, SIZE, HandLandmarkNetwork, load_hand_landmarks


@pytest.fixture(scope="module")
def network() -> HandLandmarkNetwork:
    return load_hand_landmarks()


def test_the_numbers_of_tensorflow_lite(network):
    """Computed once by TensorFlow Lite from hand_landmark_full.tflite for this picture."""
    seen = network(wave_picture(SIZE))
    pixels = (SIZE * (seen.joints + torch.tensor([0.5, 0.5, 0]))).flatten()
    world, picked = seen.world.flatten(), [0, 1, 2, 30, 31, 62]
    expected = torch.tensor([131.2682, 168.3792, 0.0002, 121.5833, 93.4256, -13.9843])
    torch.testing.assert_close(pixels[picked], expected, rtol=0, atol=2e-3)
    assert pixels.abs().mean().item() == pytest.approx(83.1466, abs=1e-3)
    expected = torch.tensor([0.0153, 0.1124, 0.0385, 0.0053, -0.0822, 0.0598])
    torch.testing.assert_close(world[picked], expected, rtol=0, atol=6e-5)
    assert world.abs().mean().item() == pytest.approx(0.0302, abs=6e-5)
    assert seen.presence.item() == pytest.approx(0, abs=1e-3)
    assert seen.right.item() == pytest.approx(0.6936, abs=1e-3)


def test_several_crops_are_as_one_by_one(network):
    crops = torch.cat((wave_picture(SIZE), wave_picture(SIZE).flip(-1)))
    both, second = network(crops), network(crops[1:])
    for name in ("joints", "world", "presence", "right"):
        torch.testing.assert_close(getattr(both, name)[1:], getattr(second, name), rtol=1e-3, atol=1e-4)


def test_the_weights_of_a_loaded_network_are_fixed(network):
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_the_gradient_flows_through_the_trunk():
    network = load_hand_landmarks()
    network.requires_grad_(True)
    picture = wave_picture(SIZE).requires_grad_(True)
    features = network.trunk(picture)
    assert features.shape == (1, FEATURES, 7, 7)
    (features * torch.linspace(-1, 1, FEATURES)[:, None, None]).sum().backward()
    assert (picture.grad != 0).float().mean() > 0.9
    for name, parameter in network.trunk.named_parameters():
        assert (parameter.grad != 0).float().mean() > 0.3, name


def test_the_gradient_is_that_of_finite_differences():
    """ReLU6 bends often: the step must be tiny to cross no bend."""
    network = load_hand_landmarks().double()
    picture = wave_picture(SIZE).double()
    direction = torch.randn(picture.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    picture.requires_grad_(True)
    (slope,) = torch.autograd.grad(network(picture).joints[0, 8, 0], picture)
    with torch.no_grad():
        ahead, behind = (network(picture + step * direction).joints[0, 8, 0] for step in (1e-9, -1e-9))
    assert (slope * direction).sum().item() == pytest.approx(((ahead - behind) / 2e-9).item(), rel=1e-3)


def test_another_size_is_refused(network):
    with pytest.raises(TypeCheckError):
        network(torch.zeros(1, 3, 192, 192))
