"""Each position of a slider is stored in the figure, under its name; an open notebook gets live sliders."""

import base64
import io
import json
import subprocess
import sys

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from PIL import Image
from project import ROOT, child_environment

from dhpe_lib.figures.sliders import AXIS_TITLE_HEIGHT, is_live, picture_slider, slider_figure, slider_view

VERTICES = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]])
FACES = torch.tensor([[0, 1, 2], [0, 2, 3]])


@pytest.fixture(autouse=True)
def closed(monkeypatch):
    """No notebook is open, also where the tests themselves run in one."""
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)


def shade(value: int) -> np.ndarray:
    return np.full((40, 60, 3), value, np.uint8)


def stored(source: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))))


def lines(height: float, color: str) -> go.Figure:
    """Two traces and a title: the height moves the first one, the colour is that of the second one."""
    still = go.Scatter(y=np.array([0.0, 1.0]), line={"color": color, "width": 2})
    return go.Figure([go.Scatter(y=np.array([height, 2 * height])), still], layout={"title": {"text": color}})


def test_every_position_has_its_picture() -> None:
    figure = picture_slider({"0": shade(10), "5": shade(120), "10": shade(240)}, "iteration", start=1)
    slider = figure.layout.sliders[0]
    assert [step.label for step in slider.steps] == ["0", "5", "10"]
    assert slider.active == 1
    assert abs(stored(figure.data[0].source).astype(int) - 120).max() < 3
    for step, value in zip(slider.steps, (10, 120, 240), strict=True):
        assert step.method == "update"
        picture = stored(step.args[0]["source"][0])
        assert picture.shape == (40, 60, 3)
        assert abs(picture.astype(int) - value).max() < 3


def test_no_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="no picture"):
        picture_slider({}, "iteration")


def test_slider_stores_the_vertices_of_each_value_and_fixes_the_axes():
    figure = slider_figure(lambda value: VERTICES * (1 + value), FACES, [-0.5, 0.0, 1.0], "size")
    steps = figure.layout.sliders[0].steps
    assert [step.label for step in steps] == ["-0.5", "0", "1"]
    np.testing.assert_allclose(steps[2].args[0]["z"][0], 2 * VERTICES[:, 2])
    assert set(steps[2].args[0]) == {"x", "y", "z"}  # the faces are stored once
    np.testing.assert_allclose(figure.data[0].z, VERTICES[:, 2])
    assert figure.layout.sliders[0].active == 1
    assert figure.layout.scene.zaxis.range == (0.0, 6.0)


def test_a_mesh_that_becomes_shorter_keeps_its_proportions():
    figure = slider_figure(lambda value: VERTICES * torch.tensor([1.0, 1, value]), FACES, [0.1, 0.5, 1.0], "height")
    scene = figure.layout.scene
    assert scene.aspectmode == "manual"  # "data" would stretch each mesh to the ranges of the axes
    lengths = [high - low for low, high in (scene.xaxis.range, scene.yaxis.range, scene.zaxis.range)]
    assert lengths == [1, 2, 3]
    ratio = scene.aspectratio
    np.testing.assert_allclose([ratio.y / ratio.x, ratio.z / ratio.x], [2, 3])


def test_each_slider_starts_from_the_start_of_the_others():
    figure = slider_view(lines, {"height": [1.0, 2.0, 3.0], "colour": ["red", "blue"]}, {"colour": 0})
    height, colour = figure.layout.sliders
    assert (height.active, colour.active) == (1, 0)
    assert height.steps[2].args[1] == {"title.text": "red", "sliders[1].active": 0}
    assert colour.steps[1].args[1] == {"title.text": "blue", "sliders[0].active": 1}
    data, _, traces = colour.steps[1].args
    assert list(traces) == [0, 1]
    np.testing.assert_allclose(data["y"][0], [2, 4])  # the start of the other slider
    np.testing.assert_allclose(data["y"][1], [0, 1])
    assert data["line.color"] == [None, "blue"]
    assert "line.width" not in data  # what never changes is stored once
    json.loads(figure.to_json())


def test_sliders_leave_room_for_the_title_of_the_axis():
    bare, titled = (
        slider_view(lambda height, title=title: lines(height, "red").update_xaxes(title=title), {"height": [1.0, 2.0]})
        for title in (None, "time, s")
    )
    assert titled.layout.sliders[0].pad.t == bare.layout.sliders[0].pad.t + AXIS_TITLE_HEIGHT
    assert titled.layout.height == bare.layout.height + AXIS_TITLE_HEIGHT


@pytest.mark.parametrize("positions", [{}, {"height": []}])
def test_a_slider_without_positions_is_refused(positions):
    with pytest.raises(ValueError, match="no position"):
        slider_view(lines, positions)


def test_a_start_of_no_slider_is_refused():
    with pytest.raises(ValueError, match=r"no slider is called \['depth'\]"):
        slider_view(lines, {"height": [1.0], "colour": ["red"]}, {"depth": 0})


def test_only_an_open_notebook_is_live(monkeypatch):
    pytest.importorskip("ipywidgets")
    assert not is_live()
    monkeypatch.setenv("JPY_SESSION_NAME", "mano.md")
    assert is_live()
    monkeypatch.setenv("DHPE_BOOK", "1")
    assert not is_live()
    monkeypatch.delenv("DHPE_BOOK")
    monkeypatch.setattr("dhpe_lib.figures.sliders.find_spec", lambda name: None)
    assert not is_live()


def test_live_sliders_move_together(monkeypatch):
    pytest.importorskip("ipywidgets")
    monkeypatch.setenv("JPY_SESSION_NAME", "mano.md")
    view = slider_view(lines, {"height": [1.0, 2.0, 3.0], "colour": ["red", "blue"]}, {"colour": 0})
    figure, height, colour = view.children
    assert (height.description, height.label, colour.label) == ("height", "2", "red")
    height.index, colour.index = 2, 1
    np.testing.assert_allclose(figure.data[0].y, [3, 6])
    assert figure.data[1].line.color == "blue"
    assert figure.layout.title.text == "blue"


def test_a_run_without_a_front_end_ends_and_stores_the_positions(tmp_path):
    """As `jupyter execute` runs the notebooks: a kernel without a browser."""
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    code = "import sys\\nassert 'ipywidgets' not in sys.modules\\nfrom dhpe_lib.figures import slider_view\\n"
    code += "import plotly.graph_objects as go\\n"
    code += "figure = slider_view(lambda y: go.Figure(go.Scatter(y=[y])), {'y': [1, 2]})\\n"
    code += "print(type(figure).__name__, len(figure.layout.sliders[0].steps))"
    script = tmp_path / "run.py"
    script.write_text(
        "import nbformat, nbclient\n"
        f"book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell('''{code}''')])\n"
        "nbclient.NotebookClient(book, timeout=60, kernel_name='python3').execute()\n"
        "print([o.get('text') for o in book.cells[0].outputs], 'widgets' in book.metadata)\n"
    )
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, cwd=ROOT, env=child_environment(), timeout=120
    )
    assert done.stdout == "['Figure 2\\n'] False\n", done.stderr
