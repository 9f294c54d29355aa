"""Tables, names and the chart of the ablation: nothing is empty, and signs are right."""

import base64
import re

import plotly.graph_objects as go
import pytest

from dhpe_lib.experiments.claims import CLAIMS
from dhpe_lib.experiments.evidence_figures import with_buttons
from dhpe_lib.experiments.evidence_tables import (
    NOT_MEASURED,
    gains_csv,
    gains_table,
    if_drawn,
    photos_table,
    variant_rows,
)
from dhpe_lib.experiments.part_effects import PARTS, VARIANTS, effect_sentence, effects_figure, gain_dots
from dhpe_lib.experiments.plain_names import in_html, in_markdown, plain_name


def one(value, width=0.5):
    ends = {"value": value, "low": value - width, "high": value + width}
    return ends | {
        "of": 20,
        "without": 20.0,
        "with": 20.0 - value,
        "unit": "mm",
        "places": 1,
        "images": 9,
        "seeds": [1],
    }


def result(value):
    parts = {variant.part for variant in VARIANTS} | set(PARTS.values())
    score = {"mean": 20.0}
    tests = {test: {"epe_a_mm": score} for test in ("orh_test", "orh-o_test")}
    gains = {f"{part}, {test}": one(value) for part in parts for test in ("ORH", "ORH-O")}
    return {"comparisons": gains, "forms": {"full": {"tests": tests}}}


def test_a_table_without_data_says_so():
    assert gains_table({"comparisons": {}}, ["f_Ref"]) == NOT_MEASURED
    assert "not measured" in photos_table({"comparisons": {}}, ["f_Ref"])
    assert "Not measured" in if_drawn(go.Figure()).html
    drawn = go.Figure(go.Scatter(x=[0], y=[1]))
    assert if_drawn(drawn) is drawn


def test_a_table_has_a_row_for_each_part_in_words_and_a_column_for_each_test():
    found = gains_table(result(1.0), ["f_Ref", "shape loss of a quarter", "none"], ("ORH", "under tau")).split("\n")
    assert found[0] == "| gain of | ORH | images under $\\tau$ |"
    assert found[2:] == [
        "| $f_\\text{Ref}$ | +1.0 [+0.5, +1.5] mm |  |",
        "| shape loss of every fourth image | +1.0 [+0.5, +1.5] mm |  |",
    ]


def test_variants_have_their_scores_and_none_that_was_not_measured():
    (row,) = variant_rows(result(1.0))
    assert row[1:] == ("20.0", "", "20.0", "", "")
    assert list(variant_rows(result(1.0), ["few"])) == []


def test_all_gains_are_in_the_download():
    html = gains_csv({"f_Ref, ORH": one(1.0), "course, ORH": one(2.0)}).html
    address = re.search(r'download="gains.csv" href="data:text/csv;charset=utf-8;base64,([^"]+)"', html)[1]
    lines = base64.b64decode(address).decode().splitlines()
    assert len(lines) == 3
    assert lines[1] == '"f_Ref, ORH",mm,20.0,19.0,1.0,0.5,1.5,9,1'
    assert "(2 rows)" in html


def test_no_short_name_of_a_comparison_is_left():
    for claim in CLAIMS.values():
        for name in claim.comparisons:
            assert not re.search(r"j2D\(|of a quarter|course$|against", plain_name(name)), name
    assert plain_name("moving against fixed j2D, ORH") == "refinement, joints moved by f_Ref instead of fixed ones, ORH"
    assert plain_name("shape loss, pose, ORH") == "shape loss, ORH, pose"
    assert in_markdown("lambda of j2D(3) and f_Ref") == r"$\lambda$ of $j_{2D}(3)$ and $f_\text{Ref}$"
    assert in_markdown("F(x) in the training of F") == "$F(x)$ in the training of $F$"
    assert plain_name("instead of the hand landmark network, A8, ORH").endswith("instead of MediaPipe's, A8, ORH")
    assert in_html("tau < j2D(0), `a`, *b*") == "τ &lt; <i>j</i><sub>2D</sub>(0), <code>a</code>, <em>b</em>"


def test_a_variant_without_a_harmful_part_is_better():
    figure = effects_figure(result(-1.0))
    bars = figure.data[0]
    for label, color, width in list(zip(bars.y, bars.marker.color, bars.error_x.array, strict=True))[1:]:
        assert color == ("#3fa34d" if label.startswith("without") else "#e63946")
        assert width == 0.5
    assert bars.error_x.array[0] is None
    assert set(effects_figure(result(0.1)).data[0].marker.color[1:]) == {"#8a929c"}


def test_a_dot_has_the_colour_and_the_interval_of_its_gain():
    figure = gain_dots({"up": one(1.0), "none": one(0.1), "down": one(-1.0, 0.25)}, "mm")
    (dots,) = figure.data
    assert dots.y == figure.layout.yaxis.categoryarray == ("up", "none", "down")
    assert figure.layout.yaxis.type == "category"  # the chart's linear axis shows no names
    assert dots.x == (1.0, 0.1, -1.0)
    assert dots.marker.color == ("#3fa34d", "#8a929c", "#e63946")
    assert dots.error_x.array == dots.error_x.arrayminus == pytest.approx((0.5, 0.5, 0.25))


def test_a_sentence_has_the_direction_of_the_gain():
    said = effect_sentence(result(1.0), "The shape loss of every fourth image")
    subject, numbers = "The shape loss of every fourth image", "(+1.0 [+0.5, +1.5] mm)"
    assert said.startswith(f"{subject} lowers the error on ORH by 1.0 mm {numbers} and on ORH-O by")
    assert effect_sentence(result(-1.0), "f_Ref").startswith("$f_\\text{Ref}$ raises the error on ORH by 1.0 mm")
    mixed = result(1.0)
    mixed["comparisons"]["f_Ref, ORH-O"] = one(0.1)
    assert "lowers the error on ORH by 1.0 mm" in effect_sentence(mixed, "f_Ref")
    assert "), and it has no clear effect on ORH-O (" in effect_sentence(mixed, "f_Ref")


def test_a_button_shows_the_traces_and_the_axes_of_its_figure():
    some = go.Figure([go.Scatter(x=[0], y=[1])] * 2).update_yaxes(range=[0, 1])
    other = go.Figure(go.Scatter(x=[0], y=[9]))
    together = with_buttons({"a": some, "b": other})
    assert [trace.visible for trace in together.data] == [True, True, False]
    first, second = together.layout.updatemenus[0].buttons
    assert first.args[0] == {"visible": [True, True, False]}
    assert first.args[1]["yaxis.range"] == [0, 1]
    assert second.args == ({"visible": [False, False, True]}, {"xaxis.autorange": True, "yaxis.autorange": True})
