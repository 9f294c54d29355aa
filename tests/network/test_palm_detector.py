"""The palm detector gives TensorFlow Lite's numbers; anchors, boxes and suppression follow their formulas."""

import pytest
import torch
from jaxtyping import TypeCheckError
from torch.nn import functional
from wave_picture import wave_picture

from dhpe_lib.network import palm_detector
from dhpe_lib.network.mobile_layers import SameConv2d, load_weights, same_padding
from dhpe_lib.network.palm_detector import (
    PalmDetector,
    decode_palms,
    detect_palms,
    intersection_over_union,
    load_palm_detector,
    merge_palms,
    palm_anchors,
)


@pytest.fixture(scope="module")
def network() -> PalmDetector:
    return load_palm_detector()


def test_the_numbers_of_tensorflow_lite(network):
    """Computed once by TensorFlow Lite from palm_detection_full.tflite for this picture."""
    raw = network(wave_picture(192))[0]
    rows = raw[[0, 700, 1151, 1152, 1800, 2015]]
    boxes = [
        [0.5559, 19.6539, -8.1692, 15.5897],
        [1.8476, 20.6489, 0.7330, -11.7934],
        [-2.7801, 28.6661, 8.0903, 2.4037],
        [4.9983, 35.4294, -1.8079, 14.9944],
        [-1.6414, 35.0790, -4.8680, 12.3568],
        [21.0509, 113.3282, 17.1649, 16.2392],
    ]
    scores = [-4.0005, -3.8561, -9.6318, -9.2765, -8.3298, -6.8998]
    torch.testing.assert_close(rows[:, [0, 2, 5, 17]], torch.tensor(boxes), rtol=0, atol=1e-3)
    torch.testing.assert_close(rows[:, 18], torch.tensor(scores), rtol=0, atol=1e-3)
    assert raw[:, :18].abs().mean().item() == pytest.approx(10.5041, abs=1e-3)


def test_several_pictures_are_as_one_by_one(network):
    pictures = torch.cat((wave_picture(192), wave_picture(192).flip(-1)))
    torch.testing.assert_close(network(pictures)[1:], network(pictures[1:]), rtol=1e-3, atol=1e-3)


def test_anchors_are_the_centres_of_the_cells():
    anchors = palm_anchors()
    assert anchors.shape == (2016, 2)
    for row, column, k in ((0, 0, 0), (3, 5, 1), (23, 23, 1)):
        expected = torch.tensor([(column + 0.5) / 24, (row + 0.5) / 24])
        torch.testing.assert_close(anchors[2 * (24 * row + column) + k], expected)
    for row, column, k in ((0, 0, 0), (7, 2, 4), (11, 11, 5)):
        expected = torch.tensor([(column + 0.5) / 12, (row + 0.5) / 12])
        torch.testing.assert_close(anchors[1152 + 6 * (12 * row + column) + k], expected)


def test_a_box_is_decoded_around_its_anchor():
    raw = torch.zeros(1, 2016, 19)
    raw[0, 0, :6] = torch.tensor([4.0, 8, 96, 48, 20, -4])
    raw[0, 1, 18] = 1000.0
    positions, score = decode_palms(raw)
    center = torch.tensor([4.0 + 4, 4 + 8]) / 192
    half = torch.tensor([96.0, 48]) / 192 / 2
    torch.testing.assert_close(positions[0, 0, :2], torch.stack((center - half, center + half)))
    torch.testing.assert_close(positions[0, 0, 2], torch.tensor([24.0, 0]) / 192)
    assert score[0, :2].tolist() == [0.5, 1.0]


def test_overlap():
    box = torch.tensor([[0.0, 0], [2, 2]])
    others = torch.tensor([[[0.0, 0], [2, 2]], [[1, 0], [3, 2]], [[2, 2], [3, 3]], [[1, 1], [1, 1]]])
    torch.testing.assert_close(intersection_over_union(box, others), torch.tensor([1, 1 / 3, 0, 0]))


def test_boxes_of_one_palm_become_their_weighted_mean():
    def boxed(left: float) -> torch.Tensor:
        corners = torch.tensor([[left, 0.0], [left + 1, 1]])
        return torch.cat((corners, torch.full((7, 2), left)))

    positions = torch.stack([boxed(5.0), boxed(0.2), boxed(0.0)])
    merged, score = merge_palms(positions, torch.tensor([0.5, 0.3, 0.9]))
    assert score.tolist() == pytest.approx([0.9, 0.5])
    torch.testing.assert_close(merged, torch.stack([boxed(0.2 * 0.3 / 1.2), boxed(5.0)]))


def test_no_palm_in_an_even_picture(network):
    found = detect_palms(network, torch.stack([torch.full((3, 192, 192), grey) for grey in (0.0, 0.5, 1.0)]))
    assert [len(palms.score) for palms in found] == [0, 0, 0]
    assert found[0].box.shape == (0, 4)
    assert found[0].points.shape == (0, 7, 2)


def test_many_pictures_in_parts_are_those_at_once(network, monkeypatch):
    pictures = torch.rand(5, 3, 192, 192, generator=torch.Generator().manual_seed(0))
    whole = detect_palms(network, pictures, 0.0)
    monkeypatch.setattr(palm_detector, "AT_ONCE", 2)
    for palms, others in zip(detect_palms(network, pictures, 0.0), whole, strict=True):
        torch.testing.assert_close(palms.score, others.score, atol=1e-5, rtol=0)
        torch.testing.assert_close(palms.points, others.points, atol=1e-4, rtol=0)


def test_another_size_is_refused(network):
    with pytest.raises(TypeCheckError):
        network(torch.zeros(1, 3, 200, 200))


@pytest.mark.parametrize(("size", "kernel", "stride"), [(8, 5, 2), (7, 5, 2), (8, 3, 2), (7, 3, 1), (3, 1, 2)])
def test_same_padding(size, kernel, stride):
    before, after = same_padding(size, kernel, stride)
    assert after - before in (0, 1)
    layer, picture = SameConv2d(2, 3, kernel, stride), torch.rand(1, 2, size, size)
    padded = functional.pad(picture, (before, after, before, after))
    expected = functional.conv2d(padded, layer.weight, layer.bias, stride)
    assert expected.shape[-1] == -(-size // stride)
    torch.testing.assert_close(layer(picture), expected)


def test_weights_that_are_missing():
    with pytest.raises(FileNotFoundError, match="convert_mediapipe"):
        load_weights(PalmDetector(), "no_such_network")
