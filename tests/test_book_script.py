"""The book's script in a browser: a plotly slider follows the arrow keys, and its focus is visible."""

import json
import shutil
from pathlib import Path
from typing import Any

import plotly
import plotly.graph_objects as go
import pytest
from browser import chromium, watched_page
from project import ROOT

from dhpe_lib.figures.book_figures import figure_html
from dhpe_lib.figures.sliders import slider_figure, slider_view
from dhpe_lib.hand.model import HandModel

PLOTLY = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
PAGE = """<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><link rel="stylesheet" href="book.css">
<body>{figures}<script src="book.js"></script></body>"""


def square(height: float, color: str) -> go.Figure:
    axes = {"xaxis": {"range": [0, 1]}, "yaxis": {"range": [0, 1]}}
    return go.Figure(go.Bar(y=[height], marker={"color": color}), layout={"height": 300, **axes})


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("page")
    hand = HandModel.open_hand()
    figures = [
        slider_view(square, {"height": [0.2, 0.5, 0.8], "colour": ["red", "blue"]}, {"colour": 0}),
        slider_figure(lambda size: size * hand.v_template, hand.faces, [0.5, 1.0], "size"),
    ]
    (folder / "dhpe").mkdir()
    shutil.copy(PLOTLY, folder / "dhpe")
    for name in ("book.js", "book.css"):
        shutil.copy(ROOT / "book" / "_static" / name, folder)
    html = "".join(figure_html(json.loads(figure.to_json())) for figure in figures)
    (folder / "index.html").write_text(PAGE.format(figures=html), encoding="utf-8")
    with chromium() as browser:
        opened, problems = watched_page(browser, viewport={"width": 900, "height": 1000})
        opened.goto((folder / "index.html").as_uri())
        opened.wait_for_function("document.querySelectorAll('.dhpe-keys').length === 3")
        yield opened
        assert problems == []


def bar(page: Any) -> tuple[float, str]:
    trace = "document.querySelector('.js-plotly-plot')._fullData[0]"
    return page.evaluate(f"[{trace}.y[0], {trace}.marker.color]")


def test_arrow_keys_move_a_slider_and_the_other_one_returns_to_its_start(page):
    page.locator(".dhpe-keys").first.focus()
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "height"
    page.keyboard.press("ArrowRight")
    assert bar(page) == [0.8, "red"]
    assert page.evaluate("document.activeElement.getAttribute('aria-valuetext')") == "0.8"
    page.keyboard.press("Home")
    assert bar(page) == [0.2, "red"]
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowUp")
    assert bar(page) == [0.5, "blue"]
    assert page.evaluate("[...document.querySelectorAll('.dhpe-keys')].map((input) => +input.value)")[:2] == [1, 1]


def test_focus_is_visible_around_the_slider(page):
    key = page.locator(".dhpe-keys").first
    box = key.bounding_box()
    around = {"x": box["x"] - 8, "y": box["y"] - 8, "width": box["width"] + 16, "height": box["height"] + 16}
    page.evaluate("document.activeElement.blur()")
    before = page.screenshot(clip=around)
    key.focus()
    assert page.screenshot(clip=around) != before
    assert box["width"] > 300


def test_mouse_still_moves_the_slider_and_hands_the_focus_to_the_keys(page):
    rail = page.locator(".slider-rail-touch-rect").first.bounding_box()
    page.mouse.click(rail["x"] + rail["width"] - 12, rail["y"] + rail["height"] / 2)
    page.wait_for_timeout(300)  # plotly answers the mouse a moment later
    assert bar(page) == [0.8, "red"]
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "height"
    page.keyboard.press("ArrowLeft")
    assert bar(page) == [0.5, "red"]


def test_a_mesh_follows_the_keys(page):
    figure = page.locator(".js-plotly-plot").nth(1)
    page.locator(".dhpe-keys").nth(2).focus()
    page.keyboard.press("End")
    page.wait_for_timeout(300)
    large = figure.locator("canvas").first.screenshot()
    page.keyboard.press("Home")
    page.wait_for_timeout(300)
    assert figure.locator("canvas").first.screenshot() != large
