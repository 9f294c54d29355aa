"""The README is true: its numbers are those of the result files, and what it names exists."""

import re
import shlex

import pytest
import typer
from project import ROOT

from dhpe_lib.cli.__main__ import app
from dhpe_lib.figures import read_result

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def sentences() -> dict[str, str]:
    """The sentences with measured numbers, made from the result files."""
    tested = read_result("light_cpu_orh")["results"]
    a, c = (tested["protocols"][name]["epe_mm"]["value"] for name in "AC")
    speed = read_result("prediction_speed_cpu")["results"]
    photos = read_result("real_photos")["results"]["mean"]
    start, torch = (speed[name]["processor_s"] for name in ("start to result", "import PyTorch"))
    return {
        "speed": f"takes {start:.1f} s of processor time, and {torch:.1f} s of that is the import of PyTorch",
        "network": f"On {tested['images']:,} rendered hands the mean error of its joints is {a:.1f} mm, and {c:.1f} mm",
        "mean hand": f"the *mean hand*, has {tested['mean_hand']['epe_mm']['value']:.1f} mm after alignment",
        "photos": f"are off by {100 * photos['estimator to label']:.0f} % of the hand's size",
    }


@pytest.mark.parametrize("name", sentences())
def test_number_is_that_of_a_result_file(name):
    assert sentences()[name] in TEXT


def test_names_and_counts_what_exists():
    chapters = (ROOT / "_toc.yml").read_text(encoding="utf-8").partition("caption: Teaching")[0]
    assert f"The book has {chapters.count('- file: ')} chapters" in TEXT
    named = [*re.findall(r"\]\((?!https?:)([^)]+)\)", TEXT), *re.findall(r"^\| `(dhpe_lib/\w+)`", TEXT, re.M)]
    assert len(named) > 15
    for path in named:
        assert (ROOT / path).exists(), path
    folders = {f"dhpe_lib/{path.parent.name}" for path in (ROOT / "dhpe_lib").glob("*/__init__.py")}
    assert folders <= set(named)


def resolve(words: list[str]) -> None:
    """Walk down the commands of `dhpe` and check the options; a word in capitals stands for one of a kind."""
    command = typer.main.get_command(app)
    options = {"--help", "--version"}
    for word in words:
        if word.startswith("-"):
            assert word in options, words
        elif hasattr(command, "commands"):
            if word.isupper():
                return
            command = command.commands[word]
            options |= {name for parameter in command.params for name in parameter.opts}


def test_commands_exist():
    spans = re.findall(r"`(dhpe [a-z][^`]*)`", TEXT)
    assert len(spans) >= 6
    for span in spans:
        resolve(shlex.split(span)[1:])
    resolve(["predict", "--evidence"])  # named without their commands
    resolve(["hand", "show", "--model"])
    assert set(re.findall(r"`(--[a-z-]+)", TEXT)) == {"--evidence", "--model"}


def test_targets_of_make_and_extras_exist():
    targets = re.findall(r"(?:^|`)make (\w+)", TEXT, re.M)
    made = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert {"demo", "test", "lab", "book"} <= set(targets) <= set(made)
    extras = re.findall(r"-e \"\.\[(\w+)\]", TEXT)
    assert extras
    for extra in extras:
        assert re.search(rf"^{extra} = \[", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)


def test_a_wrong_command_is_found():
    resolve(["predict", "photo.jpg", "--resume"])
    with pytest.raises(KeyError):
        resolve(["forecast", "photo.jpg"])
    with pytest.raises(AssertionError):
        resolve(["predict", "photo.jpg", "--resumed"])
