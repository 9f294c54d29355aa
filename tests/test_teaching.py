"""The plan for teachers: its exercises exist and need only the sections before them, and its minutes keep its rule.

The times on the chapters' cards are the measured ones.
"""

import ast
import builtins
import json
import re

import pytest
from project import ROOT

PLAN = re.compile(r"^\| (\d+) \| \{doc\}`(\w+)` up to and including \*([^*]+)\*[^|]*\| ([\d., ]*)\|$", re.M)
CELL = re.compile(r"^```\{code-cell\} ipython3\n(?:---\n.*?\n---\n|(?::[^\n]*\n)*)(.*?)^```", re.M | re.S)


def source(page: str) -> str:
    """The Markdown of a page."""
    return (ROOT / "book" / f"{page}.md").read_text(encoding="utf-8")


PAGE = source("teaching")
ROWS = PLAN.findall(PAGE)
TIMES = json.loads((ROOT / "book" / "results" / "chapter_times.json").read_text(encoding="utf-8"))
SECONDS = {name: row["seconds"] for name, row in TIMES["results"].items()}
CHAPTERS = re.findall(r"- file: book/(\w+)", (ROOT / "_toc.yml").read_text(encoding="utf-8"))
by_row = pytest.mark.parametrize(("minutes", "chapter", "section", "exercises"), ROWS, ids=[row[1] for row in ROWS])


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
    parts = re.split(r"^(?=## )", source(chapter), flags=re.M)
    (last,) = (k for k, part in enumerate(parts) if part.startswith(f"## {section}\n"))
    return "".join(parts[: last + 1])


def numbers(exercises: str) -> list[str]:
    """The numbers in a cell of the plan."""
    return re.findall(r"\d+\.\d+", exercises)


def test_every_row_with_a_chapter_is_read():
    assert len(ROWS) == len(re.findall(r"^\| \d+ \| \{doc\}", PAGE, re.M)) > 8


@by_row
def test_exercises_of_the_plan_can_be_solved(minutes, chapter, section, exercises):
    cells = code(taught(chapter, section))
    everything = source(chapter)
    for number in numbers(exercises):
        place, which = map(int, number.split("."))
        assert CHAPTERS[place - 1] == chapter, number
        exercise = everything.split("```{exercise-start} ")[which].split("```{exercise-end}")[0]
        assert undefined_names(f"{cells}\n{code(exercise)}") == set(), number


@by_row
def test_minutes_keep_the_rule_of_the_page(minutes, chapter, section, exercises):
    assert "one minute for 80 words, one minute for 20 lines of code, and ten minutes for an exercise" in PAGE
    text = taught(chapter, section)
    words, lines = len(re.findall(r"[A-Za-z]{2,}", CELL.sub("", text))), len(code(text).splitlines())
    assert int(minutes) >= words / 80 + lines / 20 + 10 * len(numbers(exercises))


def test_plans_fill_their_hours():
    rows = PAGE.split("## Half a day")[1].split("## Assessment")[0]
    morning, evening, afternoon = (
        sum(map(int, re.findall(r"^\| (\d+) \|", table, re.M)))
        for table in re.split(r"^\| minutes", rows, flags=re.M)[1:]
    )
    assert (morning, evening, afternoon) == (210, 60, 225)
    assert "It takes three hours and a half" in PAGE
    assert "three hours and 45 minutes" in PAGE


def test_outcomes_name_the_exercises_of_the_plan():
    outcomes = PAGE.split("## What students learn")[1].split("## Half a day")[0]
    named = [number for bracket in re.findall(r"\(([\d., ]+)\)", outcomes) for number in numbers(bracket)]
    assert sorted(named) == sorted(number for row in ROWS for number in numbers(row[3]))


def test_every_chapter_was_measured():
    assert list(SECONDS) == [name for name in CHAPTERS if "\n## Exercises\n" in source(name)]


def test_a_chapter_takes_less_than_a_minute_unless_it_trains_while_it_is_read():
    assert {name for name, seconds in SECONDS.items() if seconds > 60} <= {"full_training"}


@pytest.mark.parametrize("chapter", SECONDS)
def test_card_has_the_measured_time(chapter):
    """Within a quarter of it: two runs on one machine differ, too."""
    (card,) = re.findall(r"^:::\{grid-item-card\} It takes\n(.*)$", source(chapter), re.M)
    seconds = re.match(r"about (\d+) seconds on one CPU core\b", card)
    assert seconds, card
    assert SECONDS[chapter] / 1.25 < int(seconds[1]) < 1.25 * SECONDS[chapter]


def test_a_missing_name_is_found():
    assert undefined_names("import a\ndef f(x):\n    return a.b(x, y)") == {"y"}
