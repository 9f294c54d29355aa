"""The plan for teachers: each of its exercises can be solved with the cells of the sections before it."""

import ast
import builtins
import re

import pytest
from project import ROOT

PLAN = re.compile(r"^\| \d+ \| \{doc\}`(\w+)` up to and including \*([^*]+)\*[^|]*\| ([\d., ]*)\|$", re.M)
CELL = re.compile(r"^```\{code-cell\} ipython3\n(?:---\n.*?\n---\n|(?::[^\n]*\n)*)(.*?)^```", re.M | re.S)
ROWS = PLAN.findall((ROOT / "book" / "teaching.md").read_text(encoding="utf-8"))


def code(text: str) -> str:
    """The code of all cells."""
    return "\n".join(CELL.findall(text))


def undefined_names(source: str) -> set[str]:
    """Names that are read but never bound; scopes are not told apart."""
    bound: set[str] = set(dir(builtins))
    read: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
    return read - bound


def taught(chapter: str, section: str) -> str:
    """The chapter up to the end of a section."""
    parts = re.split(r"^(?=## )", (ROOT / "book" / f"{chapter}.md").read_text(encoding="utf-8"), flags=re.M)
    (last,) = (k for k, part in enumerate(parts) if part.startswith(f"## {section}\n"))
    return "".join(parts[: last + 1])


def test_every_row_with_a_chapter_is_read():
    text = (ROOT / "book" / "teaching.md").read_text(encoding="utf-8")
    assert len(ROWS) == len(re.findall(r"^\| \d+ \| \{doc\}", text, re.M)) > 8


@pytest.mark.parametrize(("chapter", "section", "exercises"), ROWS, ids=[row[0] for row in ROWS])
def test_exercises_of_the_plan_can_be_solved(chapter, section, exercises):
    cells = code(taught(chapter, section))
    everything = (ROOT / "book" / f"{chapter}.md").read_text(encoding="utf-8")
    for number in filter(None, exercises.strip().split(", ")):
        exercise = everything.split("```{exercise-start} ")[int(number.split(".")[1])]
        assert undefined_names(f"{cells}\n{code(exercise)}") == set(), number


def test_a_missing_name_is_found():
    assert undefined_names("import a\ndef f(x):\n    return a.b(x, y)") == {"y"}
