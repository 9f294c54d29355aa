"""The pages as notebooks that run anywhere: one for students, without solutions, and one with them."""

import re
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path

import jupytext
import nbformat
import yaml

ROOT = Path(__file__).parent.parent.parent
SETUP = """\
# One thread is fastest on shared cores. The library is installed where it is missing, for example in Colab.
import importlib.util, os

os.environ.setdefault("OMP_NUM_THREADS", "1")
if importlib.util.find_spec("dhpe_lib") is None:
    {install}"""
NO_ADDRESS = 'raise ModuleNotFoundError("dhpe_lib is missing: run `pip install .` in the folder of the project")'
EXERCISE = re.compile(
    r"^```\{exercise-start\} *(?P<title>.*)\n:label: (?P<label>\S+)\n```\n\n\*\*(?P<kind>.+?)\.\*\*", re.M
)
FOLDED = {"hide-input", "remove-input"}  # tags of cells whose code the site folds or leaves out
FIGURE = re.compile(r"^    name: (fig-\S+)$", re.M)
SOLUTION = re.compile(
    r"^```\{solution-start\} (\S+)\n:class: dropdown\n```\n(.*?)^```\{solution-end\}\n```\n", re.M | re.S
)


@dataclass(frozen=True)
class Page:
    """A page of the book.

    Attributes:
        name: Name of its file in `book/`, without suffix.
        number: 0 for the first page, then the number of the chapter; None for the pages after the chapters.
        text: Its source.
    """

    name: str
    number: int | None
    text: str

    @property
    def title(self) -> str:
        """The first heading."""
        return re.search(r"^# (.+)$", self.text, re.M)[1]

    @property
    def file(self) -> str:
        """Name of its notebook; the numbers put the files into the book's order."""
        return f"{self.name}.ipynb" if self.number is None else f"{self.number:02d}_{self.name}.ipynb"

    @property
    def has_code(self) -> bool:
        """Whether there is anything to run."""
        return "```{code-cell}" in self.text

    @cached_property
    def exercises(self) -> dict[str, tuple[str, str, str]]:
        """Number (3.2), title and kind of each exercise, by label."""
        found = enumerate(EXERCISE.finditer(self.text), start=1)
        return {one["label"]: (f"{self.number}.{k}", one["title"], one["kind"]) for k, one in found}


def read_pages() -> dict[str, Page]:
    """All pages by name, in the order of `_toc.yml`."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    numbered, others = (
        [name for part in toc["parts"] if ("numbered" in part) == has_number for name in page_names(part["chapters"])]
        for has_number in (True, False)
    )
    names: dict[str, int | None] = {name: k for k, name in enumerate([Path(toc["root"]).name, *numbered])}
    names |= dict.fromkeys(others)
    return {
        name: Page(name, k, (ROOT / "book" / f"{name}.md").read_text(encoding="utf-8")) for name, k in names.items()
    }


def page_names(entries: list[dict]) -> list[str]:
    """Names of the pages of a table of contents, and of those below them."""
    return [name for one in entries for name in (Path(one["file"]).name, *page_names(one.get("sections", [])))]


def figure_numbers(pages: dict[str, Page]) -> dict[str, str]:
    """Number of each figure by its label, as Sphinx counts: 3.2 in a chapter, 1, 2, 3 on all pages without a number."""
    numbers: dict[str, str] = {}
    elsewhere = count(1)
    for page in pages.values():
        counter, chapter = (count(1), f"{page.number}.") if page.number else (elsewhere, "")
        numbers |= {label: f"{chapter}{next(counter)}" for label in FIGURE.findall(page.text)}
    return numbers


def exercise_index(pages: dict[str, Page]) -> str:
    """All exercises as a table in Markdown."""
    rows = [
        f"| {number} | {{ref}}`{title} <{label}>` | {kind} | {{doc}}`{page.name}` |"
        for page in pages.values()
        for label, (number, title, kind) in page.exercises.items()
    ]
    return "\n".join(["| | exercise | kind | chapter |", "|---|---|---|---|", *rows])


def notebook(page: Page, pages: dict[str, Page], repository: str, solutions: bool) -> nbformat.NotebookNode:
    """A page as a notebook in plain Markdown, whose first code cell makes it run where the library is missing.

    Args:
        page: The page.
        pages: All pages, for its links.
        repository: Address of the public repository, or an empty string.
        solutions: Whether the solutions of the exercises stay in it.

    Returns:
        The notebook, without outputs.
    """
    made = jupytext.reads(plain_markdown(page, pages, solutions), fmt="md:myst")
    install = f'%pip install --quiet "dhpe @ git+{repository}"' if repository else NO_ADDRESS
    first = next(k for k, cell in enumerate(made.cells) if cell.cell_type == "code")
    made.cells.insert(first, nbformat.v4.new_code_cell(SETUP.format(install=install), id="setup"))
    made.cells = [one for cell in made.cells for one in with_caption(cell, figure_numbers(pages))]
    for k, cell in enumerate(made.cells):
        if FOLDED & set(cell.metadata.get("tags", [])):
            cell.metadata["jupyter"] = {"source_hidden": True}  # as on the site; a click in JupyterLab shows it
        cell.id = f"cell-{k}"  # jupytext draws them: two builds would differ
    return made


def with_caption(cell: nbformat.NotebookNode, numbers: dict[str, str]) -> list[nbformat.NotebookNode]:
    """A cell, and after a figure its number and caption, which are metadata of the cell in the source."""
    figure = cell.metadata.pop("mystnb", {}).get("figure")
    if figure is None:
        return [cell]
    caption = f"**Figure {numbers[figure['name']]}.** {figure['caption'].strip()}"
    return [cell, nbformat.v4.new_markdown_cell(caption)]


def plain_markdown(page: Page, pages: dict[str, Page], solutions: bool) -> str:
    """The source without Sphinx's directives and roles, which a notebook shows as they are written."""
    text = SOLUTION.sub(lambda found: solution(found, page) if solutions else "", page.text)
    text = EXERCISE.sub(lambda found: "### Exercise {}: {}\n\n**{}.**".format(*page.exercises[found["label"]]), text)
    text = re.sub(r"^```\{exercise-end\}\n```\n", "", text, flags=re.M)
    text = re.sub(r"^:{3,}(\{grid\}.*\n(?::.*\n)*)?\n?$", "", text, flags=re.M)
    text = re.sub(r"^:{3,}\{(?:grid-item-card|admonition)\} (.+)\n((?::.*\n)*)", r"**\1:** ", text, flags=re.M)
    text = re.sub(r"\]\((\w+)\.md\)", lambda found: f"]({pages[found[1]].file})", text)
    text = re.sub(r"^\{\{ \w+ \}\}\n\n|^\(\w+\)=\n", "", text, flags=re.M)
    text = re.sub(r"\{doc\}`(?:[^`<]*<)?(\w+)>?`", lambda found: link(pages[found[1]]), text)
    text = re.sub(r"\{py:\w+\}`(?:[^`<]*<)?~?([\w.]+)>?`", r"`\1`", text)
    text = re.sub(r"\{cite(?::\w+)?\}`([\w,]+)`", lambda found: f"({keys(found[1])})", text)
    numbers = figure_numbers(pages)
    text = re.sub(r"\{numref\}`(fig-[\w-]+)`", lambda found: f"Figure {numbers[found[1]]}", text)
    return re.sub(r"\{(?:term|ref|eq|source)\}`([^`<]+?)(?: *<[^`]*>)?`", r"\1", text)


def solution(found: re.Match[str], page: Page) -> str:
    """A solution below a heading of its own."""
    return f"### Solution of exercise {page.exercises[found[1]][0]}\n{found[2]}"


def link(page: Page) -> str:
    """A link from one notebook to another, or the title of a page that is no notebook."""
    return f"[{page.title}]({page.file})" if page.has_code else f"*{page.title}*"


def keys(cited: str) -> str:
    """`baek2019,loper2015` as `Baek 2019, Loper 2015`."""
    return ", ".join(re.sub(r"(\D+)(\d+)\w*", r"\1 \2", key).capitalize() for key in cited.split(","))
