"""Chromium for tests that look at pages; its two parts, playwright and a browser, may be absent."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
SOFTWARE = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")  # WebGL without a graphics card
# Chromium counts reads of a canvas (plotly measures pictures there) and says so; that is no fault of a page.
HARMLESS = ("Canvas2D: Multiple readback", "GL Driver Message", "GPU stall due to ReadPixels")


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless Chromium of playwright's, or the system's; the test is skipped where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[browser]'")
    with api.sync_playwright() as playwright:
        path = next((found for found in map(shutil.which, NAMES) if found), playwright.chromium.executable_path)
        try:
            browser = playwright.chromium.launch(executable_path=path, args=SOFTWARE)
        except api.Error as error:
            pytest.skip(f"no Chromium can be started ({str(error).splitlines()[0]})")
        yield browser
        browser.close()


def watched_page(browser: Any, **options: Any) -> tuple[Any, list[str]]:
    """A page, and a list that gets a line for each error, warning and request to another host."""
    page, problems = browser.new_page(**options), []

    def answer(route: Any) -> None:
        if route.request.url.startswith(("file:", "data:", "blob:")):
            route.continue_()
        else:
            problems.append(f"asks for {route.request.url}")
            route.abort()

    def say(message: Any) -> None:
        if message.type in ("error", "warning") and not any(text in message.text for text in HARMLESS):
            problems.append(f"{message.type}: {message.text}")

    page.route("**/*", answer)
    page.on("console", say)
    page.on("pageerror", lambda error: problems.append(f"error: {error}"))
    return page, problems
