"""A page has its title twice: for the browser and for the reader."""

from dhpe_lib.figures.html_records import titled_page


def test_a_page_shows_its_title_and_its_content():
    page = titled_page("a < b", "<p>It holds.</p>")
    assert page.startswith("<!doctype html>")
    assert "<title>a &lt; b</title>" in page
    assert "<h1>a &lt; b</h1>\n<p>It holds.</p>" in page
