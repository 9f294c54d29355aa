"""Docstrings of the library say what a thing is: no sentence is a fragment such as "Where it lies."."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "dhpe_lib").rglob("*.py"))
SECTIONS = ("Args:", "Attributes:", "Returns:", "Yields:")
ENTRY = re.compile(r"\s{4}\*{0,2}`?\w+`?: (?=\S)")
FRAGMENT = re.compile(r"(Of|What|Where|Which|How)\b[^?]*?([.:;](\s|$)|$)")


def docstrings(source: str) -> Iterator[str]:
    """Docstrings of modules, classes and functions, and the strings below constants."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


def sentences(text: str) -> Iterator[str]:
    """Sentences of a docstring; an entry of a section starts a new one after its name."""
    lines, in_section = [], False
    indent = min((len(line) - len(line.lstrip()) for line in text.split("\n")[1:] if line.strip()), default=0)
    for number, line in enumerate(text.split("\n")):
        line = line[indent:] if number else line
        if line and not line.startswith(" "):
            in_section = line in SECTIONS
        entry = ENTRY.match(line) if in_section else None
        starts = entry or not line.strip() or line in SECTIONS or line.lstrip().startswith("- ")
        text_of_line = (line[entry.end() :] if entry else line).strip().removeprefix("- ")
        lines.append(("\n" if starts else " ") + text_of_line + ("\n" if line in SECTIONS else ""))
    for paragraph in "".join(lines).split("\n"):
        yield from re.split(r"(?<=[.?!]) +(?=[A-Z])", paragraph.strip())


def fragments(source: str) -> list[str]:
    return [one for text in docstrings(source) for one in sentences(text) if FRAGMENT.match(one)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_sentence_is_a_fragment(path):
    assert fragments(path.read_text(encoding="utf-8")) == []


def test_fragments_are_seen():
    source = '''
"""How a hand is held. Is it held? How sure is this?

    The rest. Which hand
    it is.
"""
X = 1
"""Of the photo."""
def f():
    """Return it.

    Args:
        a: Where it lies.
        b: Place: of the hand.
            Wherever it is.

    Returns:
        What was found.
    """
'''
    found = fragments(source)
    expected = ["How a hand is held.", "Which hand it is.", "Of the photo.", "Where it lies.", "What was found."]
    assert sorted(found) == sorted(expected)
