"""The book is complete and its site checker finds what it is for; the strict build itself is part of `.ci/run`."""

import base64
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from project import ROOT

from dhpe_lib.figures.data_urls import json_script
from dhpe_lib.figures.picture_rows import picture_row

CHAPTERS = [ROOT / f"{name}.md" for name in re.findall(r"(?:root|file): (\S+)", (ROOT / "_toc.yml").read_text())]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "dhpe_lib").rglob("*.py")
    if path.name != "__init__.py"
)
HEADER = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
    format_version: 0.13
kernelspec:
  display_name: Python 3 (ipykernel)
  language: python
  name: python3
---
"""


def load(path: Path) -> ModuleType:
    """A script that is no part of a package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


checker = load(ROOT / "book" / "check_site.py")


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_chapter_opens_as_a_notebook_and_holds_no_output(chapter):
    text = chapter.read_text(encoding="utf-8")
    assert text.startswith(HEADER)
    assert re.search(r"^# \S", text, re.MULTILINE)
    assert len(text) < 60_000  # a picture or an output pasted into the source


def test_every_page_is_in_the_table_of_contents():
    assert set((ROOT / "book").glob("*.md")) == set(CHAPTERS)


def test_first_page_lists_the_chapters_in_order():
    """JupyterLab sorts the files by name; the first page, which `make lab` opens, has the book's order."""
    text = (ROOT / "book" / "intro.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\d+\. \[(.+)\]\((\w+)\.md\)", text, re.MULTILINE)
    toc = (ROOT / "_toc.yml").read_text(encoding="utf-8").partition("caption: Teaching")[0]
    assert [name for _, name in listed] == re.findall(r"file: book/(\w+)", toc)
    for title, name in listed:
        assert f"\n# {title}\n" in (ROOT / "book" / f"{name}.md").read_text(encoding="utf-8")


def test_library_pages_name_every_module_once():
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "book").glob("api*.md"))
    named = re.findall(r"automodule:: (\S+)", pages)
    assert sorted(named) == MODULES


def test_reference_pages_name_what_exists():
    """A role that leads nowhere fails the strict build; here it fails in a second."""
    text = "".join((ROOT / "book" / name).read_text(encoding="utf-8") for name in ("notation.md", "conventions.md"))
    targets = re.findall(r"\{py:\w+\}`([\w.]+)`", text)
    assert len(targets) > 10
    for target in targets:
        module = max((name for name in MODULES if f"{target}.".startswith(f"{name}.")), key=len, default=None)
        assert module is not None, target
        found = importlib.import_module(module)
        for attribute in target.removeprefix(module).split(".")[1:]:
            found = getattr(found, attribute)


KINDS = ("Fill in a function", "Measure something", "Explain a failure", "Explain a choice", "Open question")
NUMBERED = [path for path in CHAPTERS if re.search(r"^## Exercises$", path.read_text(encoding="utf-8"), re.M)]


def test_exercises_have_one_form_and_hidden_solutions():
    """A title, a label of its own in the whole book, a kind; then the solution, folded."""
    labels = []
    for chapter in CHAPTERS:
        text = chapter.read_text(encoding="utf-8")
        start = rf"^```{{exercise-start}} \S.*\n:label: (\S+)\n```\n\n\*\*(?:{'|'.join(KINDS)})\.\*\* "
        exercises = re.findall(start, text, re.MULTILINE)
        assert len(exercises) == len(re.findall(r"\{exercise(?:-start)?\}", text)), chapter.name
        assert exercises == re.findall(r"^```\{solution-start\} (\S+)\n:class: dropdown\n", text, re.MULTILINE)
        labels += exercises
    assert len(labels) == len(set(labels)) > 40


@pytest.mark.parametrize("chapter", NUMBERED, ids=lambda path: path.stem)
def test_a_chapter_has_three_to_five_exercises_and_the_last_one_is_open(chapter):
    kinds = re.findall(r"^:label: ex-\S+\n```\n\n\*\*(.+?)\.\*\* ", chapter.read_text(encoding="utf-8"), re.MULTILINE)
    assert 3 <= len(kinds) <= 5
    assert [kind == "Open question" for kind in kinds] == [False] * (len(kinds) - 1) + [True]


def test_every_chapter_has_exercises():
    toc = (ROOT / "_toc.yml").read_text(encoding="utf-8").partition("caption: Teaching")[0]
    assert [path.stem for path in NUMBERED] == re.findall(r"- file: book/(\w+)", toc)


@pytest.mark.parametrize("chapter", NUMBERED, ids=lambda path: path.stem)
def test_every_exercise_but_the_open_one_has_a_check_with_hints(chapter):
    """The stub is told why it is wrong, and the solution passes."""
    parts = chapter.read_text(encoding="utf-8").split("```{exercise-start} ")[1:]
    for exercise, solution in (part.split("```{exercise-end}\n") for part in parts):
        if "**Open question.**" not in exercise:
            assert exercise.rstrip().endswith(")\n```"), exercise[:40]
            assert re.search(r"^def check\(", exercise, re.M), exercise[:40]
            assert "not yet: " in exercise, exercise[:40]
            assert re.search(r'assert check\(.*\) == "right"', solution.split("{solution-end}")[0]), exercise[:40]


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_a_check_that_fails_gives_a_hint(chapter):
    """Whoever is wrong is told more than that."""
    text = chapter.read_text(encoding="utf-8")
    assert not re.search(r"""["']not yet["']""", text.replace('**`check` says "not yet".**', ""))


FIGURE = re.compile(
    r"^```\{code-cell\} ipython3\n---\nmystnb:\n  figure:\n    name: (.+)\n"
    r"    caption: \|\n      (.+)\n(?:tags: .+\n)?---\n",
    re.M,
)


def test_figures_have_one_form_and_are_named_in_the_text():
    """A label of its own, a title, a sentence, and a reference where the figure is discussed."""
    labels = []
    for chapter in CHAPTERS:
        text = chapter.read_text(encoding="utf-8")
        figures = FIGURE.findall(text)
        assert len(figures) == text.count("\nmystnb:"), chapter.name
        prose = re.sub(r"^```\{code-cell\}.*?^```", "", text, flags=re.M | re.S)
        for label, caption in figures:
            assert re.fullmatch(r"fig-[a-z0-9-]+", label)
            assert re.match(r"\*\*[^*]+\.\*\* .*\S[.]$", caption), caption
            assert f"{{numref}}`{label}`" in prose, f"{chapter.name} does not mention {label}"
        labels += [label for label, _ in figures]
    assert len(labels) == len(set(labels)) > 50


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_code_that_is_shown_fits_a_page(chapter):
    """At most 15 lines of at most 80 columns; code behind a fold may be longer."""
    large = []
    for cell in re.findall(r"^```\{code-cell\}[^\n]*\n(.*?)^```", chapter.read_text(encoding="utf-8"), re.M | re.S):
        options, code = re.match(r"(---\n.*?\n---\n|(?::[^\n]*\n)*)\n?(.*)", cell, re.S).groups()
        lines = code.rstrip().split("\n")
        if "-input" not in options and (len(lines) > 15 or max(map(len, lines)) > 80):
            large.append(lines[0])
    assert not large


def test_lab_opens_markdown_as_notebooks():
    """The settings file is installed with the package, at the place where JupyterLab looks."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert '"book/_ext/lab_overrides.json" = "share/jupyter/lab/settings/overrides.d/dhpe.json"' in project
    settings = json.loads((ROOT / "book" / "_ext" / "lab_overrides.json").read_text(encoding="utf-8"))
    assert settings["@jupyterlab/docmanager-extension:plugin"]["defaultViewers"]["markdown"] == "Jupytext Notebook"


GOOD = (
    '<body id="top"><script src="a.js"></script><a href="b.html#x">b</a><a href="https://example.org">out</a>'
    '<figure id="fig-a"><figure><img src="_images/a.png" alt="a hand"></figure>'
    '<div class="dhpe-viewer"></div></figure></body>'
)
PLANTED = {
    "script": ('<script src="https://example.org/a.js"></script>', "from another host"),
    "style sheet": ('<link rel="stylesheet" href="//example.org/a.css">', "from another host"),
    "image": ('<img src="http://example.org/a.png">', "from another host"),
    "inline style": ("<style>a { background: url(https://example.org/a.png) }</style>", "from another host"),
    "inline module": ('<script>import("https://example.org/a.js")</script>', "from another host"),
    "missing file": ('<img src="missing.png">', "dead link missing.png"),
    "dead link": ('<a href="missing.html">m</a>', "dead link missing.html"),
    "dead anchor": ('<a href="b.html#nowhere">m</a>', "dead link b.html#nowhere"),
    "figure": ('<figure><div class="dhpe-plotly"></div></figure>', "1 figures without a number"),
    "picture": ('<figure id="fig-a"></figure><img src="_images/a.png" alt="b">', "1 figures without a number"),
    "inline picture": (f'<img src="data:image/png;base64,{6000 * "A"}" alt="b">', "a picture of 6022 characters"),
    "no alternative text": ('<img src="data:image/png;base64,AA">', "alternative text is ''"),
    "file name": ('<img src="data:," alt="../_images/a.png">', "alternative text is '../_images/a.png'"),
    "widget": ('<script type="application/vnd.jupyter.widget-view+json">{}</script>', "blank without a kernel"),
}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "index.html").write_text(GOOD)
    (tmp_path / "b.html").write_text('<p id="x"></p><script type="application/json">{"src": "https://data"}</script>')
    (tmp_path / "a.js").write_text("")
    (tmp_path / "_images").mkdir()
    (tmp_path / "_images" / "a.png").write_bytes(b"")
    return tmp_path


def test_checker_passes_a_good_site(site):
    assert checker.check_site(site, max_kb=100) == (2, [])


@pytest.mark.parametrize("planted", PLANTED)
def test_checker_catches(site, planted):
    html, expected = PLANTED[planted]
    (site / "index.html").write_text(GOOD.replace("</body>", f"{html}</body>"))
    _, problems = checker.check_site(site, max_kb=100)
    assert len(problems) == 1
    assert problems[0].startswith("index.html: ")
    assert expected in problems[0]


def test_checker_catches_style_files_and_large_pages(site):
    (site / "theme.css").write_text('@import "https://example.org/font.css";')
    (site / "b.html").write_text('<p id="x"></p>' + 200_000 * " ")
    _, problems = checker.check_site(site, max_kb=100)
    assert problems == ["b.html: 200 kB, more than 100", "theme.css: a style loads from another host"]


def test_checker_exit_status_counts_problems_and_pages(site, tmp_path):
    command = [sys.executable, str(ROOT / "book" / "check_site.py")]
    assert subprocess.run([*command, str(site)], check=False, capture_output=True).returncode == 0
    (site / "a.js").unlink()
    failed = subprocess.run([*command, str(site)], check=False, capture_output=True, text=True)
    assert (failed.returncode, failed.stdout) == (1, "index.html: dead link a.js\n2 pages checked, 1 problems\n")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert subprocess.run([*command, str(empty)], check=False, capture_output=True).returncode == 1


def test_plotly_renderer_gives_data_to_the_page():
    nodes = pytest.importorskip(
        "docutils.nodes", reason="the book's packages are not installed: pip install -e '.[book]'"
    )
    renderer = importlib.import_module("dhpe_lib.figures.book_figures").PlotlyMime
    figure = {"data": [{"name": "</script>"}], "layout": {"height": 333}}

    class Output:
        mime_type, content = "application/vnd.plotly.v1+json", figure

    (node,) = renderer.handle_mime(None, Output, False)
    assert isinstance(node, nodes.raw)
    assert node.astext().startswith('<div class="dhpe-plotly" style="height:333px"><script type="application/json">')
    assert node.astext().count("</script>") == 1
    island = node.astext().split('json">')[1].split("</script>")[0]
    assert json.loads(island) == figure
    assert renderer.handle_mime(None, Output, True) is None
    Output.mime_type = "text/html"
    assert renderer.handle_mime(None, Output, False) is None


def test_only_this_book_draws_figures_its_own_way(monkeypatch):
    assert "myst_nb" not in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    render = pytest.importorskip(
        "myst_nb.core.render", reason="the book's packages are not installed: pip install -e '.[book]'"
    )
    monkeypatch.setattr(render, "load_mime_renders", lambda: [])
    load(ROOT / "book" / "_ext" / "dhpe_book.py").draw_plotly_ourselves()
    assert [its.__name__ for its in render.load_mime_renders()] == ["PlotlyMime"]


def test_figures_become_classic_scripts():
    """Pages opened as files can import no module, so the book makes plain scripts of the figures' modules."""
    pytest.importorskip("jupytext", reason="the book's packages are not installed: pip install -e '.[book]'")
    extension = load(ROOT / "book" / "_ext" / "dhpe_book.py")
    assets = ROOT / "dhpe_lib" / "figures"
    assert sorted(extension.SCRIPTS) == sorted(path.name for path in assets.glob("*.js"))
    for file, name in extension.SCRIPTS.items():
        module = (assets / file).read_text(encoding="utf-8")
        script = extension.classic_script(module, name)
        assert "\nexport " not in script
        assert f"globalThis.{name} = {{ mount }}" in script
        with pytest.raises(AssertionError, match="the module ends"):
            extension.classic_script(module + "\n", name)
    with pytest.raises(AssertionError, match="no longer exports"):
        extension.classic_script("mount();\n", "dhpeNothing")


def test_large_embedded_pictures_become_files(tmp_path):
    """A page keeps small pictures; of the others it keeps all but the bytes."""
    pytest.importorskip("jupytext", reason="the book's packages are not installed: pip install -e '.[book]'")
    extension = load(ROOT / "book" / "_ext" / "dhpe_book.py")
    noise = np.random.default_rng(0).random((60, 80, 3))
    small, large, photo = (
        picture_row({"a <b>": pixels}, quality=quality).html
        for pixels, quality in ((noise[:4, :4], None), (noise, None), (noise, 95))
    )
    script = json_script({"html": large})
    context = {
        "body": f"<p>{small}{large}{photo}{script}</p>",
        "pathto": lambda name, resource: f"../{name}" if resource else "",
    }
    extension.store_pictures(SimpleNamespace(outdir=tmp_path), "book/a", "page.html", context, None)
    files = sorted((tmp_path / "_images").iterdir(), key=lambda file: file.suffix)
    assert [file.suffix for file in files] == [".jpeg", ".png"]
    expected = context["body"]
    for row, file in ((large, files[1]), (photo, files[0])):
        address = re.search(r'src="(data:.*?)"', row)[1]
        assert file.read_bytes() == base64.b64decode(address.partition(",")[2])
        stored = row.replace(f'src="{address}"', f'loading="lazy" src="../_images/{file.name}"')
        assert 'alt="a &lt;b&gt;"' in stored
        expected = expected.replace(stored, "")
    assert expected == f"<p>{small}{script}</p>"
    empty = {}  # the index has no body of its own
    extension.store_pictures(SimpleNamespace(outdir=tmp_path), "genindex", "genindex.html", empty, None)
    assert empty == {}


def test_library_hash_follows_the_sources(monkeypatch, tmp_path):
    pytest.importorskip("jupytext", reason="the book's packages are not installed: pip install -e '.[book]'")
    extension = load(ROOT / "book" / "_ext" / "dhpe_book.py")
    monkeypatch.setattr(extension, "ROOT", tmp_path)
    (tmp_path / "dhpe_lib").mkdir()
    source = tmp_path / "dhpe_lib" / "a.py"
    source.write_text("x = 1")
    before = extension.library_hash()
    assert extension.library_hash() == before
    source.write_text("x = 2")
    assert extension.library_hash() != before
