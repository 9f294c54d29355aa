"""The built pages in a browser, light, dark and on a phone. Without a built site or a browser the tests are skipped."""

import io
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import chromium, watched_page
from PIL import Image
from project import ROOT

SITE = Path(os.environ.get("DHPE_SITE", ROOT / "_build" / "html"))
PAGES = re.findall(r"(?:root|file): (\S+)", (ROOT / "_toc.yml").read_text(encoding="utf-8"))
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
FIGURES = ".dhpe-plotly, .dhpe-viewer, .dhpe-triangle"
DRAWN = "(place) => place.querySelector('.main-svg, canvas, .dhpe-tri svg') && !place.querySelector('.dhpe-failed')"
# Boxes whose content is wider than they are: what does not fit has to be scrolled. Folded code may.
WIDE = ".bd-article :is(mjx-container[display], pre, .pst-scrollable-table-container)"
TOO_WIDE = """(selector) => [...document.querySelectorAll(selector)]
    .filter((box) => !box.closest('details:not([open])') && box.scrollWidth > box.clientWidth + 1)
    .map((box) => `${box.scrollWidth} > ${box.clientWidth}: ${box.textContent.trim().slice(0, 60)}`)"""
# A figure's lines behind its data: they must be fainter than the text, on white and on black.
STRONG_LINES = """() => [...document.querySelectorAll('.gridlayer path, .zerolinelayer path')]
    .map((line) => getComputedStyle(line))
    .filter(({ stroke, strokeOpacity }) => strokeOpacity > 0.5 || !/^rgb\\(1[0-6]\\d(, 1[0-6]\\d){2}\\)$/.test(stroke))
    .map(({ stroke, strokeOpacity }) => `${stroke} ${strokeOpacity}`)"""
# On a phone a box that is wider than the screen has to scroll.
CUT = """() => [...document.querySelectorAll('div.math, .dhpe-diagram, .dhpe-pictures, .bd-article pre, .cell_output')]
    .filter((box) => box.scrollWidth > box.clientWidth + 1 && !/auto|scroll/.test(getComputedStyle(box).overflowX))
    .map((box) => `${box.className} is cut: ${box.textContent.trim().slice(0, 60)}`)"""
# Labels of a plotly figure that leave its box or lie over each other, and legends over its plots.
LABELS = """(place) => {
    const frame = place.getBoundingClientRect(), rect = (part) => part.getBoundingClientRect();
    const cut = [...place.querySelectorAll('.main-svg text')]
        .filter((text) => rect(text).width && (rect(text).left < frame.left - 4 || rect(text).right > frame.right + 4));
    const legend = [...place.querySelectorAll('.legend')].map(rect)[0];
    const covered = [...place.querySelectorAll('.nsewdrag')].map(rect).filter((plot) => legend
        && legend.top < plot.bottom - 2 && legend.bottom > plot.top + 2
        && legend.left < plot.right - 2 && legend.right > plot.left + 2);
    const names = [...place.querySelectorAll('.ytick text')], over = names.filter((name, k) => names.slice(k + 1)
        .map(rect).some((other) => rect(name).bottom > other.top + 3 && rect(name).top < other.bottom - 3
            && rect(name).right > other.left && rect(name).left < other.right));
    return [...cut.map((text) => `"${text.textContent}" is cut`), ...covered.map(() => 'a legend covers a plot'),
        ...over.map((name) => `"${name.textContent}" lies over another name`)];
}"""
# In dark mode outputs have no light box of the theme.
BOXES = """() => [...document.querySelectorAll('.cell_output .text_html')]
    .filter((box) => getComputedStyle(box).backgroundColor !== 'rgba(0, 0, 0, 0)')
    .map((box) => `a box of its own: ${box.textContent.trim().slice(0, 60)}`)"""
# The view of a hand must not lie over its controls.
HIDDEN_CONTROLS = """() => [...document.querySelectorAll('.dhpe-hand')]
    .map((hand) => [...hand.querySelectorAll('.stage, .panel')].map((part) => part.getBoundingClientRect()))
    .filter(([stage, panel]) => stage.bottom > panel.top && stage.right > panel.left)
    .map(() => 'a hand lies over its controls')"""
# Dark mode must not change a picture of a result.
CHANGED_PICTURES = """() => [...document.querySelectorAll('.cell_output img')]
    .map((picture) => getComputedStyle(picture))
    .map(({ filter, padding, backgroundColor }) => `${filter} ${padding} ${backgroundColor}`)
    .filter((look) => look !== 'none 0px rgba(0, 0, 0, 0)')"""
COVERED = """() => [...document.querySelectorAll('.modebar')].filter((bar) => bar.childElementCount).length"""


@pytest.fixture(scope="module")
def browser() -> Any:
    if not SITE.is_dir():
        pytest.skip(f"{SITE} is missing: make book")
    with chromium() as started:
        yield started


@pytest.fixture(params=PAGES)
def address(request: pytest.FixtureRequest, browser: Any) -> str:
    """Where a page of the table of contents was built; an old one says nothing about the present source."""
    built, source = SITE / f"{request.param}.html", ROOT / f"{request.param}.md"
    if not built.is_file() or (built.stat().st_mtime < source.stat().st_mtime and "DHPE_SITE" not in os.environ):
        pytest.skip(f"{built} is older than its source: make book")
    return built.as_uri()


def pixels(page: Any, place: Any) -> np.ndarray:
    """What a place shows, without plotly's sliders at its bottom."""
    box = place.bounding_box()
    keys = [key.bounding_box()["y"] for key in place.locator(".dhpe-keys").all()]
    box["height"] = min([box["y"] + box["height"], *keys]) - box["y"]
    shot = page.screenshot(clip=box, animations="disabled")
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)


def drawn(page: Any) -> list[Any]:
    """All figures of a page, one after the other scrolled into view and drawn."""
    for place in page.locator(FIGURES).all():
        place.scroll_into_view_if_needed()
        page.wait_for_function(DRAWN, arg=place.element_handle(), timeout=30_000)
        yield place


def changes(page: Any, place: Any, before: np.ndarray) -> bool:
    """Whether a place soon shows another picture than before; a WebGL figure takes a moment."""
    for _ in range(20):
        if (pixels(page, place) != before).any():
            return True
        page.wait_for_timeout(100)
    return False


def check_sliders(page: Any, place: Any) -> list[str]:
    """The sliders of a figure that change nothing in its picture."""
    dead = []
    for slider in place.locator("input[type=range]:visible").all():
        before = pixels(page, place)
        slider.focus()
        page.keyboard.press("End" if slider.input_value() != slider.get_attribute("max") else "Home")
        if not changes(page, place, before):
            dead.append(slider.get_attribute("aria-label") or "a slider")
    return dead


def test_page_on_a_screen_light_and_dark(browser, address):
    page, problems = watched_page(browser, viewport=DESKTOP)
    page.goto(address)
    page.wait_for_function(
        "!window.MathJax || !document.querySelector('.math') || document.querySelector('mjx-container')"
    )
    problems += page.evaluate(TOO_WIDE, WIDE)
    for mode in ("light", "dark"):
        page.evaluate("(mode) => { document.documentElement.dataset.theme = mode; }", mode)
        paper = 255 if mode == "light" else 30
        for place in drawn(page):
            page.wait_for_timeout(100)
            shown = pixels(page, place)
            assert shown.std() > 2, f"figure without a picture in {mode} mode"
            problems += page.evaluate(LABELS, place.element_handle())
            if "dhpe-plotly" in place.get_attribute("class"):  # the others have a frame of their own
                corners = shown[[2, 2], [2, -3]].mean(1)
                assert abs(corners - paper).max() < 20, f"{mode}: a figure's background is {corners}"
            if mode == "light":
                problems += [f"{name} changes nothing" for name in check_sliders(page, place)]
        problems += page.evaluate(STRONG_LINES)
    problems += page.evaluate(CHANGED_PICTURES)
    problems += page.evaluate(BOXES)
    page.close()
    assert problems == []


def test_page_on_a_phone(browser, address):
    page, problems = watched_page(browser, viewport=PHONE, has_touch=True, is_mobile=True)
    page.goto(address)
    for place in drawn(page):
        assert place.bounding_box()["width"] <= PHONE["width"]
        page.wait_for_timeout(300)  # the legend gets its room
        problems += page.evaluate(LABELS, place.element_handle())
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= PHONE["width"], f"the page is {wide} pixels wide"
    problems += page.evaluate(CUT)
    page.evaluate("window.scrollTo(0, 0)")
    problems += page.evaluate(HIDDEN_CONTROLS)
    assert page.evaluate(COVERED) == 0, "a toolbar lies over a figure"
    page.close()
    assert problems == []


def test_search_finds_chapters_before_the_library(browser):
    built = SITE / "search.html"
    if not built.is_file():
        pytest.skip(f"{built} is missing: make book")
    page, problems = watched_page(browser, viewport=DESKTOP)
    page.goto(f"{built.as_uri()}?q=silhouette")
    page.wait_for_selector("#search-results li > a")
    page.wait_for_function("document.querySelector('#search-results p')?.textContent.includes('finished')")
    found = page.locator("#search-results li > a").evaluate_all("(links) => links.map((link) => link.pathname)")
    found = [path for path in found if not path.endswith("/versions.html")]  # it holds the changelog, and may come last
    is_library = ["/book/api" in path for path in found]
    page.close()
    assert is_library == sorted(is_library)
    assert True in is_library
    assert "/book/renderer.html" in "".join(found[: is_library.index(True)])
    assert problems == []
