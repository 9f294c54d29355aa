import base64
import io

import numpy as np
import pytest
from PIL import Image

from dhpe_lib.figures.picture_slider import picture_slider


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
