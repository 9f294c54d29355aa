"""The notebooks that the book offers run outside the repository, and students' notebooks hold no solutions."""

import ast
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from project import ROOT

pytest.importorskip("jupytext", reason="the book's packages are not installed: pip install -e '.[book]'")
import dhpe_book
import dhpe_notebooks

PAGES = {name: page for name, page in dhpe_notebooks.read_pages().items() if page.has_code}
ADDRESS = "https://github.com/owner/name"


def cells(page: dhpe_notebooks.Page, kind: str, solutions: bool = False, repository: str = ADDRESS) -> list[str]:
    """Sources of one kind of cells of a page's notebook."""
    made = dhpe_notebooks.notebook(page, dhpe_notebooks.read_pages(), repository, solutions)
    return [cell.source for cell in made.cells if cell.cell_type == kind]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The content of the wheel that a user installs."""
    pytest.importorskip("hatchling", reason="the book's packages are not installed: pip install -e '.[book]'")
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", out], cwd=ROOT, check=True)
    (file,) = out.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(out / "content")
    return out / "content"


def imports_and_results(source: str) -> str:
    """The import statements of a cell, and its results, each read on its own."""
    tree = ast.parse(source)
    lines = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "read_result":
            (name,) = node.args
            parts = name.values if isinstance(name, ast.JoinedStr) else [name]
            pattern = "".join(part.value if isinstance(part, ast.Constant) else "*" for part in parts)
            lines += [f"assert [read_result(path.stem) for path in RESULTS.glob('{pattern}.json')], '{pattern}'"]
    return "\n".join(lines)


def test_imports_and_results_work_outside_the_repository(wheel, tmp_path):
    lines = [
        "import dhpe_lib",
        f"assert dhpe_lib.__file__.startswith({str(wheel)!r})",
        "from dhpe_lib.figures import *",
    ]
    for page in PAGES.values():
        setup, *others = cells(page, "code", solutions=True)
        assert setup.startswith("# One thread")
        lines += [f"print({page.file!r}, flush=True)", *map(imports_and_results, others)]
    assert sum("read_result(path" in line for line in lines) > 10
    environment = os.environ | {"PYTHONPATH": str(wheel), "OMP_NUM_THREADS": "1"}
    script = tmp_path / "imports.py"
    script.write_text("\n".join(lines), encoding="utf-8")
    subprocess.run([sys.executable, script], cwd=tmp_path, env=environment, check=True)


def test_first_cell_installs_only_what_is_missing(monkeypatch):
    page = PAGES["mano"]
    setup = cells(page, "code")[0]
    assert f'%pip install --quiet "dhpe @ git+{ADDRESS}"' in setup
    without = cells(page, "code", repository="")[0]
    exec(compile(without, "setup", "exec"), {})  # the library is here
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install"):
        exec(compile(without, "setup", "exec"), {})


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_notebook_is_plain_markdown(page):
    for solutions in (False, True):
        text = "\n".join(cells(page, "markdown", solutions))
        assert not re.search(r"^[`:]{3,}\{|\{[a-z:]+\}`|^:::", text, re.M)
        for file in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
            assert file.startswith("images/") or file in {other.file for other in PAGES.values()}, file


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_students_get_all_but_the_solutions(page):
    student, teacher = (
        cells(page, "code", solutions) + cells(page, "markdown", solutions) for solutions in (False, True)
    )
    assert [cell for cell in teacher if cell.startswith("### Solution of exercise")] or not page.exercises
    text = "\n".join(student)
    assert "Solution" not in text
    for number, title, _ in page.exercises.values():
        assert f"### Exercise {number}: {title}\n" in text
    for solution in re.findall(dhpe_notebooks.SOLUTION, page.text):
        for code in re.findall(r"```\{code-cell\} ipython3\n(.*?)\n```", solution[1], re.S):
            assert code not in student
            assert code in teacher


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_code_that_the_site_folds_is_folded_in_the_notebook(page):
    made = dhpe_notebooks.notebook(page, dhpe_notebooks.read_pages(), ADDRESS, solutions=True)
    folded = [cell for cell in made.cells if cell.metadata.get("jupyter") == {"source_hidden": True}]
    assert all(cell.cell_type == "code" for cell in folded)
    marked = re.findall(r"^:?tags: \[.*\b(?:hide|remove)-input\b", page.text, re.M)
    assert len(folded) == len(marked)
    assert all("-input" in str(cell.metadata["tags"]) for cell in folded)


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_code_in_the_notebook_is_that_of_the_page(page):
    made = dhpe_notebooks.notebook(page, dhpe_notebooks.read_pages(), "", solutions=True)
    _setup, *code = (cell.source for cell in made.cells if cell.cell_type == "code")
    assert all(source in page.text for source in code)


def test_exercise_index_has_every_exercise_once():
    index = dhpe_notebooks.exercise_index(dhpe_notebooks.read_pages())
    labels = [label for page in PAGES.values() for label in page.exercises]
    assert re.findall(r"<(ex-\S+)>`", index) == labels
    assert "| 4.2 | {ref}`How many joints a fit needs <ex-joints>` | Measure something | {doc}`fitting` |" in index


def test_captions_follow_their_figures_and_references_have_numbers():
    made = dhpe_notebooks.notebook(PAGES["renderer"], dhpe_notebooks.read_pages(), "", solutions=True)
    after = {k for k, cell in enumerate(made.cells) if cell.source.startswith("**Figure 2.")}
    assert len(after) == len(dhpe_notebooks.FIGURE.findall(PAGES["renderer"].text)) > 5
    assert all(made.cells[k - 1].cell_type == "code" for k in after)
    text = "\n".join(cell.source for cell in made.cells)
    assert "**Figure 2.1.** **A mask pulls at a triangle.** The arrows show" in text
    assert "In Figure 2.1 one triangle should become another" in text


def test_figures_have_the_numbers_of_the_site():
    """Sphinx numbers the figures of the pages, and the notebooks count for themselves."""
    built = {name: ROOT / "_build" / "html" / "book" / f"{name}.html" for name in PAGES}
    fresh = [
        page
        for name, page in built.items()
        if page.is_file() and page.stat().st_mtime > (ROOT / "book" / f"{name}.md").stat().st_mtime
    ]
    if not fresh:
        pytest.skip("the site is missing or older than its source: make book")
    numbers = dhpe_notebooks.figure_numbers(dhpe_notebooks.read_pages())
    pattern = re.compile(r'<figure[^>]* id="(fig-[^"]+)">.*?class="caption-number">Figure ([\d.]+) ', re.S)
    for page in fresh:
        for label, number in pattern.findall(page.read_text(encoding="utf-8")):
            assert numbers[label] == number, f"{page.name}: {label}"


def test_notebooks_of_two_builds_are_equal():
    made = [dhpe_notebooks.notebook(PAGES["mano"], dhpe_notebooks.read_pages(), "", True) for _ in range(2)]
    assert made[0] == made[1]


@pytest.mark.parametrize("address", ["", ADDRESS])
def test_one_address_makes_buttons_and_picture(address):
    app = SimpleNamespace(config=SimpleNamespace(dhpe_repository=address, html_title="Book"))
    context = {"header_buttons": [], "title": "1. <em>MANO</em>", "metatags": ""}
    dhpe_book.offer_notebook(app, "book/mano", None, context, None)
    dhpe_book.describe_page(app, "book/mano", None, context, object())
    assert context["ipynb_source"] == "../notebooks/student/01_mano.ipynb"
    assert '<meta property="og:title" content="1. MANO — Book">' in context["metatags"]
    buttons = {button["tooltip"]: button["url"] for button in context["header_buttons"]}
    assert ("https://owner.github.io/name/_static/social.jpg" in context["metatags"]) == bool(address)
    assert list(buttons) == ["Repository", "Run on Binder", "Run on Colab"] * bool(address)
    if address:
        assert buttons["Repository"] == address
        assert buttons["Run on Colab"].endswith("/github/owner/name/blob/notebooks/student/01_mano.ipynb")
        assert buttons["Run on Binder"].endswith("/v2/gh/owner/name/HEAD?urlpath=lab/tree/book/mano.md")


def test_address_comes_from_the_workflow_while_the_configuration_has_none(monkeypatch):
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    assert dhpe_book.github_address() == ""
    monkeypatch.setenv("GITHUB_REPOSITORY", "owner/name")
    assert dhpe_book.github_address() == ADDRESS


def test_first_page_links_to_the_repository_where_its_address_is_known():
    assert dhpe_book.links(ADDRESS) == f"[Repository]({ADDRESS}) · {dhpe_book.links('')}"
    assert "Repository" not in dhpe_book.links("")
    assert "{{ links }}" in dhpe_notebooks.read_pages()["intro"].text
