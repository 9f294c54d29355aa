"""Checks the built book: requests to other hosts, dead links, blank outputs, figures without a number, pictures.

    python book/check_site.py _build/html [--max-kb 400]

Prints one line a problem and the number of pages; exit status 1 if there is any problem.
"""

import argparse
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADING = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "embed": "src",
}
LOADING_LINKS = {"stylesheet", "icon", "preload", "modulepreload", "preconnect", "dns-prefetch", "manifest"}
WIDGET = "application/vnd.jupyter.widget"  # ipywidgets: dead on a page
DRAWN = {"dhpe-plotly", "dhpe-viewer", "dhpe-triangle", "dhpe-pictures", "dhpe-diagram", "dhpe-drawing"}
MAX_INLINE = 5000  # characters of a picture that a page itself holds
PICTURE_FILE = re.compile(r"\S+\.(png|jpe?g|webp|gif|svg)")
SLIDES = "slides.html"  # a slide has a heading in place of a number
CSS_LOADS = re.compile(r"""(?:url\(|@import)\s*["']?(?:https?:)?//""")
JS_LOADS = re.compile(r"""(?:import\(|import\s[^;]*?from|fetch\(|importScripts\()\s*["'`]https?://""")


class Page(HTMLParser):
    """Files that a page loads (`loads`), targets of its links (`links`), and its own anchors (`anchors`)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.inline = ""
        self.widgets = False
        self.unnumbered = 0  # figures
        self.pictures: list[tuple[str, str]] = []  # address and alternative text of each
        self._in_code = False
        self._figures: list[bool] = []  # whether each open figure has a number
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Sort one element's addresses."""
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        self.inline += given.get("style", "")
        self._in_code = tag == "style" or (tag == "script" and "json" not in given.get("type", ""))
        self.widgets |= given.get("type", "").startswith(WIDGET)
        if tag == "figure":
            self._figures.append(given.get("id", "").startswith("fig-"))
        is_picture = tag == "img" and "_images/" in given.get("src", "")
        if (is_picture or DRAWN & set(given.get("class", "").split())) and not any(self._figures):
            self.unnumbered += 1
        if tag == "img" and re.search("_images/|^data:", given.get("src", "")):
            self.pictures.append((given["src"], given.get("alt", "")))
        if tag in LOADING and given.get(LOADING[tag]):
            self.loads.append(given[LOADING[tag]])
        if tag == "link" and LOADING_LINKS & set(given.get("rel", "").split()):
            self.loads.append(given.get("href", ""))
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])

    def handle_endtag(self, tag: str) -> None:
        """Leave a script, a style or a figure."""
        self._in_code = False
        if tag == "figure":
            self._figures.pop()

    def handle_data(self, data: str) -> None:
        """Keep the code of scripts and styles, not the text."""
        if self._in_code:
            self.inline += data


def is_outside(address: str) -> bool:
    """Whether an address leads to another host."""
    return address.startswith("//") or urlsplit(address).scheme in ("http", "https", "ws", "wss")


def check_site(root: Path, max_kb: int) -> tuple[int, list[str]]:
    """All problems of the site below `root`.

    Args:
        root: the folder of the built pages.
        max_kb: the largest allowed page, in 1000 bytes.

    Returns:
        The number of pages and one line for each problem.
    """
    files = [path for path in sorted(root.rglob("*.html")) if "_static" not in path.parts]
    pages = {path.resolve(): Page(path.read_text(encoding="utf-8")) for path in files}
    problems = []
    for path, page in pages.items():
        name, kilobytes = path.relative_to(root.resolve()), path.stat().st_size / 1000
        problems += [f"{name}: {problem}" for problem in page_problems(path, page, pages)]
        if kilobytes > max_kb:
            problems.append(f"{name}: {kilobytes:.0f} kB, more than {max_kb}")
    for path in sorted(root.rglob("*.css")):
        if CSS_LOADS.search(path.read_text(encoding="utf-8", errors="replace")):
            problems.append(f"{path.relative_to(root)}: a style loads from another host")
    return len(files), problems


def page_problems(path: Path, page: Page, pages: dict[Path, Page]) -> list[str]:
    """The problems of one page."""
    problems = [f"loads {address} from another host" for address in page.loads if is_outside(address)]
    if CSS_LOADS.search(page.inline) or JS_LOADS.search(page.inline):
        problems.append("a script or style in the page loads from another host")
    if page.widgets:
        problems.append("an ipywidgets output, blank without a kernel")
    if page.unnumbered and path.name != SLIDES:
        problems.append(f"{page.unnumbered} figures without a number")
    problems += [f"a picture of {len(source)} characters" for source, _ in page.pictures if len(source) > MAX_INLINE]
    unnamed = [alt for _, alt in page.pictures if not alt or PICTURE_FILE.fullmatch(alt)]
    problems += [f"a picture whose alternative text is {alt!r}" for alt in unnamed]
    inside = [
        address for address in page.loads + page.links if not is_outside(address) and not urlsplit(address).scheme
    ]
    problems += [f"dead link {address}" for address in inside if is_dead(address, path, pages)]
    return problems


def is_dead(address: str, path: Path, pages: dict[Path, Page]) -> bool:
    """Whether an address within the site leads nowhere."""
    parts = urlsplit(address)
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not target.is_file():
        return True
    return bool(parts.fragment) and target in pages and unquote(parts.fragment) not in pages[target].anchors


def main() -> int:
    """Read the command line, print, return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--max-kb", type=int, default=1500, help="largest allowed page (default 1500)")
    arguments = parser.parse_args()
    count, problems = check_site(arguments.root, arguments.max_kb)
    print("\n".join(problems) + "\n" * bool(problems) + f"{count} pages checked, {len(problems)} problems")
    return int(bool(problems) or count == 0)


if __name__ == "__main__":
    sys.exit(main())
