"""The book's script in a browser: a plotly slider follows the arrow keys, and its focus is visible."""

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import plotly
import plotly.graph_objects as go
import pytest
from browser import chromium, watched_page
from plotly.subplots import make_subplots
from project import ROOT

from dhpe_lib.figures.book_figures import figure_html
from dhpe_lib.figures.sliders import slider_figure, slider_view
from dhpe_lib.hand.model import HandModel

PLOTLY = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
PAGE = """<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><link rel="stylesheet" href="book.css">
<body>{figures}<script src="book.js"></script></body>"""

LINES = "(text) => [...text.querySelectorAll('.line')].map((line) => line.textContent)"


def square(height: float, color: str) -> go.Figure:
    axes = {"xaxis": {"range": [0, 1]}, "yaxis": {"range": [0, 1]}}
    return go.Figure(go.Bar(y=[height], marker={"color": color}), layout={"height": 300, **axes})


def side_by_side() -> go.Figure:
    """Two plots with titles, and a legend that a phone has to put elsewhere."""
    figure = make_subplots(1, 2, subplot_titles=["left", "right"])
    for column in (1, 2):
        figure.add_scatter(y=[1, 2], name=f"a long name, {column}", row=1, col=column)
    return figure.update_layout(height=320, legend={"orientation": "h", "y": 1.14}, margin={"t": 35, "b": 45})


def named_rows() -> go.Figure:
    """Bars in two plots, whose rows have names that are too long for a phone."""
    names = ["without the term that compares two pictures of one hand", "with <i>f</i><sub>Ref</sub> in all iterations"]
    figure = make_subplots(1, 2, shared_yaxes=True)
    for column in (1, 2):
        figure.add_bar(x=[1, 2], y=names, orientation="h", row=1, col=column)
    figure.update_yaxes(categoryorder="array", categoryarray=names, automargin=True)
    return figure.update_layout(height=200, showlegend=False, margin={"t": 40, "b": 50})


def write_page(folder: Path, figures: list[go.Figure], text: str = "") -> str:
    """Write a page with the book's script, some figures and a text in HTML; return its address."""
    (folder / "dhpe").mkdir()
    shutil.copy(PLOTLY, folder / "dhpe")
    for name in ("book.js", "book.css"):
        shutil.copy(ROOT / "book" / "_static" / name, folder)
    html = "".join(figure_html(json.loads(figure.to_json())) for figure in figures)
    (folder / "index.html").write_text(PAGE.format(figures=html + text), encoding="utf-8")
    return (folder / "index.html").as_uri()


@pytest.fixture(scope="module")
def browser() -> Any:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def page(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    hand = HandModel.open_hand()
    figures = [
        slider_view(square, {"height": [0.2, 0.5, 0.8], "colour": ["red", "blue"]}, {"colour": 0}),
        slider_figure(lambda size: size * hand.v_template, hand.faces, [0.5, 1.0], "size"),
    ]
    address = write_page(tmp_path_factory.mktemp("page"), figures)
    opened, problems = watched_page(browser, viewport={"width": 900, "height": 1000})
    opened.goto(address)
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


def test_on_a_phone_plots_stand_below_each_other_and_the_legend_below_them(browser, tmp_path):
    address = write_page(tmp_path, [side_by_side()])
    boxes = {}
    for name, width in {"screen": 900, "phone": 390}.items():
        page, problems = watched_page(browser, viewport={"width": width, "height": 900})
        page.goto(address)
        page.wait_for_selector(".legend")
        page.wait_for_timeout(500)
        boxes[name] = [place.bounding_box() for place in page.locator(".nsewdrag").all()]
        legend, place = (page.locator(which).bounding_box() for which in (".legend", ".dhpe-plotly"))
        titles = [title.bounding_box() for title in page.locator(".annotation-text").all()]
        assert problems == []
        page.close()
    left, right = boxes["screen"]
    assert left["y"] == right["y"]
    upper, lower = boxes["phone"]
    assert upper["x"] == lower["x"]
    assert upper["y"] + upper["height"] <= titles[1]["y"] <= lower["y"]  # each title is above its own plot
    assert lower["y"] + lower["height"] < legend["y"]
    assert legend["y"] + legend["height"] <= place["y"] + place["height"] + 1
    assert min(upper["height"], lower["height"]) > 120


def test_on_a_phone_long_names_of_rows_break_and_leave_room_for_the_plots(browser, tmp_path):
    page, problems = watched_page(browser, viewport={"width": 390, "height": 900})
    page.goto(write_page(tmp_path, [named_rows()]))
    page.wait_for_selector(".ytick")
    page.wait_for_timeout(500)
    plots = [place.bounding_box() for place in page.locator(".nsewdrag").all()]
    names = page.locator(".ytick text").all()
    texts = [name.evaluate(LINES) for name in names]
    boxes = sorted((name.bounding_box() for name in names), key=lambda box: box["y"])
    page.close()
    assert len(plots) == 2
    assert min(plot["width"] for plot in plots) > 150
    assert texts[0] == ["without the term that", "compares two pictures of", "one hand"]
    assert len(texts[1]) == 2  # letters of tags do not count
    assert all(upper["y"] + upper["height"] < lower["y"] for upper, lower in pairwise(boxes))
    assert problems == []


def test_short_entries_and_the_mark_after_a_formula_do_not_break(browser, tmp_path):
    text = (
        '<div class="bd-article" style="width:60px"><p>see <span class="math">x</span>), too</p>'
        "<p><code>--focal</code></p>"
        "<table><tr><td>16 × 3</td><td>a longer entry</td></tr></table></div>"
    )
    page, problems = watched_page(browser, viewport={"width": 390, "height": 900})
    page.goto(write_page(tmp_path, [], text))
    whole = page.locator("span.math").locator("..")
    kept = [page.locator(part).first.evaluate("(part) => part.style.whiteSpace") for part in ("td", "code", "td + td")]
    assert whole.text_content() == "x),"
    assert whole.evaluate("(part) => part.style.whiteSpace") == "nowrap"
    assert page.locator("p").first.text_content() == "see x), too"
    assert kept == ["nowrap", "nowrap", ""]
    page.close()
    assert problems == []
