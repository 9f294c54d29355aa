"""The chapters' helpers: axes in the book's look, tables that Markdown can read, results with their origin."""

import json
import tomllib

import plotly.graph_objects as go
import pytest
from project import ROOT

from dhpe_lib.figures import chapters
from dhpe_lib.figures.chapters import chart, machine_line, markdown_table, read_result, results_table


def test_chart_names_its_axes_and_keeps_its_traces():
    lines = [go.Scatter(y=[1, 10, 100], name="a"), go.Scatter(y=[2, 3, 4], name="b")]
    figure = chart("step", "loss", lines, height=320, log_y=True)
    assert [trace.name for trace in figure.data] == ["a", "b"]
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("step", "loss")
    assert (figure.layout.height, figure.layout.yaxis.type) == (320, "log")
    assert figure.layout.xaxis.gridcolor == figure.layout.yaxis.gridcolor == chapters.GRID_COLOR
    assert chart("step", "loss", lines).layout.yaxis.type == "linear"


def test_a_title_stands_above_the_legend_and_leaves_the_height_of_the_axes():
    plain, titled = chart("x", "y", []), chart("x", "y", [], title="Errors")
    assert (plain.layout.title.text, titled.layout.title.text) == (None, "Errors")
    assert titled.layout.height - titled.layout.margin.t == plain.layout.height - plain.layout.margin.t


def test_markdown_table_aligns_text_left_and_numbers_right():
    table = markdown_table(("method", "error"), [("ours", 1.5), ("theirs", "2.0")])
    assert table == "| method | error |\n| --- | --: |\n| ours | 1.5 |\n| theirs | 2.0 |"
    assert markdown_table("abc", ["def"], text_columns=2).split("\n")[1] == "| --- | --- | --: |"


def test_markdown_table_rejects_a_row_of_another_length():
    with pytest.raises(ValueError, match=r"row \['ours'\] has 1 cells, but the head has 2"):
        markdown_table(("method", "error"), [("ours",)])


def test_results_table_leaves_missing_values_empty():
    results = {"cpu": {"ms": 1234.5, "images_per_s": 7}, "gpu": {"ms": 0.123456, "note": "bf16", "images_per_s": None}}
    assert results_table(results, "device").split("\n") == [
        "| device | ms | images per s | note |",
        "| --- | --: | --: | --: |",
        "| cpu | 1,234 | 7 |  |",
        "| gpu | 0.1235 |  | bf16 |",
    ]


@pytest.mark.parametrize("path", sorted((ROOT / "book" / "results").glob("*.json")), ids=lambda path: path.stem)
def test_every_result_is_read_and_says_its_origin(path):
    result = read_result(path.stem)
    assert result == json.loads(path.read_text(encoding="utf-8"))
    line = machine_line(result)
    assert line.startswith(f"`{result['command']}`, {result['date']}")
    assert line.endswith(".")


def test_machine_line_names_the_hardware():
    result = {"command": "python b.py", "date": "2026-01-02"}
    assert machine_line(result) == "`python b.py`, 2026-01-02."
    hardware = {"cpu": "A", "load_before": 0.5}
    assert machine_line(result | {"hardware": hardware}) == "`python b.py`, 2026-01-02; cpu A, load before 0.5."
    assert machine_line(result | {"hardware": "A, 2 cores"}) == "`python b.py`, 2026-01-02; A, 2 cores."


def test_a_result_that_is_missing_is_named_with_those_that_exist():
    with pytest.raises(FileNotFoundError, match=r"no_such_result\.json is missing; results that exist: .*overfit"):
        read_result("no_such_result")


def test_a_wheel_holds_the_results():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included["book/results"] == f"dhpe_lib/{chapters.IN_WHEEL.relative_to(ROOT / 'dhpe_lib').as_posix()}"


def test_without_the_files_the_error_says_how_to_get_the_results(monkeypatch, tmp_path):
    monkeypatch.setattr(chapters, "RESULTS", tmp_path / "book" / "results")
    with pytest.raises(FileNotFoundError, match=r"results is missing: .* install dhpe again"):
        read_result("overfit")
