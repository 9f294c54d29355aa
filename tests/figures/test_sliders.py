"""Each position of a slider is stored in the figure, under its name."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from dhpe_lib.figures.sliders import picture_slider, slider_figure

VERTICES = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]])
FACES = torch.tensor([[0, 1, 2], [0, 2, 3]])


def shade(value: int) -> np.ndarray:
    return np.full((40, 60, 3), value, np.uint8)


def stored(source: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))))


def test_every_position_has_its_picture() -> None:
    figure = picture_slider({"0": shade(10), "5": shade(120), "10": shade(240)}, "iteration", start=1)
    slider = figure.layout.sliders[0]
    assert [step.label for step in slider.steps] == ["0", "5", "10"]
    assert slider.active == 1
    assert abs(stored(figure.data[0].source).astype(int) - 120).max() < 3
    by_name = {frame.name: stored(frame.data[0].source) for frame in figure.frames}
    for step, value in zip(slider.steps, (10, 120, 240), strict=True):
        picture = by_name[step.args[0][0]]
        assert picture.shape == (40, 60, 3)
        assert abs(picture.astype(int) - value).max() < 3


def test_no_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="no picture"):
        picture_slider({}, "iteration")


def test_slider_has_a_frame_for_each_value_and_fixed_axes():
    figure = slider_figure(lambda value: VERTICES * (1 + value), FACES, [-0.5, 0.0, 1.0], "size")
    assert [frame.name for frame in figure.frames] == ["-0.5", "0", "1"]
    np.testing.assert_allclose(figure.frames[2].data[0].z, 2 * VERTICES[:, 2])
    np.testing.assert_allclose(figure.data[0].z, VERTICES[:, 2])
    assert figure.layout.sliders[0].active == 1
    assert figure.layout.scene.zaxis.range == (0.0, 6.0)
