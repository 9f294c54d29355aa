"""Verdicts follow from intervals alone, and each row changes with its result file."""

import copy
import re

import pytest

from dhpe_lib.evaluation.paper_sets import PAPER_SETS
from dhpe_lib.experiments.claims import CLAIMS
from dhpe_lib.experiments.claims_figures import COLORS, FARTHEST, gains_figure, percent, verdicts_figure
from dhpe_lib.experiments.folded_claims import claims_list, folded
from dhpe_lib.experiments.paper_table import (
    ROWS,
    Row,
    area_row,
    claim_row,
    commands_table,
    less_after_refinement,
    mask_row,
    paper_rows,
    read_if_there,
    refinement_row,
    refiner_row,
)


def nothing(_):
    return None


def only(name, result):
    return {name: result}.get


def test_without_files_nothing_is_measured():
    rows = paper_rows(nothing)
    assert len(rows) == len(ROWS)
    assert {row.verdict for row in rows} == {"not measured"}
    assert all(row.claim and row.where and row.paper and row.why and not row.here for row in rows)


def test_rows_of_the_book_come_from_files_that_exist():
    rows = paper_rows()
    for row in rows:
        assert bool(row.file) == bool(row.here), row.claim
        assert not row.file or read_if_there(row.file) is not None
    claims = [row.claim for row in rows]
    assert len(set(claims)) == len(claims)
    commands = commands_table(rows)
    for file in {row.file for row in rows if row.file}:
        assert f"| `{file}.json` |" in commands
    assert commands.split("\n")[2].startswith(f"| 1 | `{rows[0].file}.json` |")


def test_a_claim_is_one_line_and_the_rest_is_folded():
    rows = paper_rows()
    shown = claims_list(rows)._repr_html_()
    assert shown.count("<details>") == shown.count("</summary>") == len(rows)
    counts = [int(count) for count in re.findall(r"<strong>[a-z ]+: (\d+)</strong>", shown)]
    assert sum(counts) == len(rows)
    assert shown.count("<em>result file:</em>") == sum(bool(row.file) for row in rows)
    one = Row("a < b", "Fig. 1", "better", "x: 1; y: 2", "holds", "*full* of `a.json`; f_Ref", decides="2 (y)")
    line, _, rest = folded(one).partition("</summary>")
    assert line.endswith("a &lt; b (Fig. 1): 2 (y)")
    assert "x: 1<br>y: 2" in rest
    assert "<em>full</em> of <code>a.json</code><br><i>f</i><sub>Ref</sub>" in rest
    assert "2 (y)" not in rest
    assert "result file" not in rest


def test_an_area_counts_on_the_papers_data_only():
    rhd = PAPER_SETS[0]
    area = {"auc_20-50": {"value": 0.95, "low": 0.94, "high": 0.96}}
    other = {"auc_20-50": {"value": 0.99, "low": 0.98, "high": 1.0}}
    result = {"results": {"protocols": {"A": other, "A8": area}}}  # the paper's protocol is A8
    rendered = area_row(rhd, only("light_cpu_orh", result))
    assert (rendered.verdict, rendered.here) == ("not comparable", "0.950 [0.940, 0.960] on ORH")
    assert area_row(rhd, only("light_cpu_rhd", result)).verdict == "holds"
    area["auc_20-50"] |= {"low": 0.8, "high": 0.9}
    assert area_row(rhd, only("light_cpu_rhd", result)).verdict == "does not hold"


def test_a_mask_counts_on_the_papers_data_only():
    result = {"results": {"mask": {"iou": 0.6, "iou_interval": [0.55, 0.66]}}}
    assert mask_row(only("light_cpu_orh", result)).verdict == "not comparable"
    assert mask_row(only("light_cpu_rhd", result)).verdict == "undecided"
    result["results"]["mask"]["iou_interval"] = [0.64, 0.66]
    assert mask_row(only("light_cpu_rhd", result)).verdict == "holds"
    result["results"]["mask"]["iou_interval"] = [0.55, 0.65]
    assert mask_row(only("light_cpu_rhd", result)).verdict == "does not hold"


def refined(change=None, before=(10, 9, 11), after=(8, 7.5, 8.5)):
    def epe(triple):
        return {"protocols": {"A": {"epe_mm": dict(zip(("value", "low", "high"), triple, strict=True))}}}

    over = {"j2d_px": [9.0, 8.0], "epe_mm": [10.0, 7.0, 8.0]}
    variant = epe(after) | {"over_iterations": over} | ({"change_mm": change} if change else {})
    return {"results": epe(before) | {"images": 5, "refined": {"refinement": variant}}}


def test_refinement_is_judged_by_the_paired_change_if_the_file_has_it():
    paired = {"value": -2.0, "low": -3.0, "high": -1.0}
    unit = {"of": 10, "unit": "mm", "places": 2}
    found = less_after_refinement(refined(paired)["results"], "refinement")
    assert found == {"value": 2.0, "low": 1.0, "high": 3.0} | unit
    found = less_after_refinement(refined()["results"], "refinement")
    assert found == {"value": 2.0, "low": 0.5, "high": 3.5} | unit
    file = "light_cpu_refined_orh-o"
    assert refinement_row("orh-o", False, only(file, refined(paired))).verdict == "holds"
    assert refinement_row("orh-o", True, only(file, refined(paired))).verdict == "does not hold"
    near = {"value": -0.2, "low": -0.3, "high": -0.15}  # the margin is 2 % of 10 mm
    assert refinement_row("orh-o", True, only(file, refined(near))).verdict == "undecided"
    results = refined(paired)["results"]
    exact = {"results": results | {"refined": results["refined"] | {"coverage": results["refined"]["refinement"]}}}
    row = refinement_row("orh-o", False, only(file, exact), exact=True)
    assert (row.verdict, "exact gradient" in row.claim) == ("holds", True)
    assert refinement_row("orh-o", False, only(file, refined(paired)), exact=True).verdict == "not measured"


def test_calls_of_the_refiner_are_judged_by_the_farthest_ends():
    def calls(first, last):
        ends = [{"mean": value, "low": value - 0.5, "high": value + 0.5} for value in (first, last)]
        score = dict(zip(("j2d_first_px", "j2d_last_px"), ends, strict=True))
        tests = dict.fromkeys(("orh_test", "orh-o_test"), score)
        return only("evidence", {"results": {"forms": {"full": {"tests": tests}}}})

    row = refiner_row(calls(10.0, 8.0))
    assert (row.verdict, row.gain["low"], row.gain["high"]) == ("holds", 1, 3)
    assert refiner_row(calls(10.0, 9.5)).verdict == "undecided"
    assert refiner_row(calls(10.0, 12.0)).verdict == "does not hold"


def evidence(low, high):
    one = {"value": (low + high) / 2, "low": low, "high": high, "of": 20.0, "unit": "mm", "places": 1}
    return only("evidence", {"results": {"comparisons": dict.fromkeys(CLAIMS["2d-losses"].comparisons, one)}})


def test_a_claim_about_a_part_has_the_verdict_of_its_comparisons():
    for low, high, verdict in ((1.0, 2.0, "holds"), (-1.0, 2.0, "undecided"), (-2.0, -1.0, "does not hold")):
        row = claim_row("2d-losses", evidence(low, high))
        assert (row.verdict, row.gain["low"], row.gain["high"], row.file) == (verdict, low, high, "evidence")
        assert row.here.startswith("2D joints instead of F(x) alone, ORH: ")
        assert row.line.endswith(" mm (ORH)")
    assert claim_row("masks", evidence(1.0, 2.0)).verdict == "not measured"


def test_figures_show_every_row_and_every_gain():
    rows = paper_rows()
    bars = verdicts_figure(rows).data[0]
    assert sum(bars.x) == len(rows)
    assert list(bars.y) == list(COLORS)
    shown = [value for trace in gains_figure(rows).data for value in trace.x]
    gains = [percent(row)[0] for row in rows if row.gain is not None and row.gain["of"]]
    assert sorted(shown) == sorted(min(max(value, -FARTHEST), FARTHEST) for value in gains)
    for trace in gains_figure(rows).data:
        assert min(*trace.error_x.array, *trace.error_x.arrayminus) >= 0


def test_a_gain_beyond_the_axis_has_its_number():
    gain = {"value": 4.0, "low": 3.0, "high": 5.0, "of": 20.0, "unit": "mm", "places": 1}
    (trace,) = gains_figure([Row("f_Ref helps", "Fig. 1", "better", "4 mm", "holds", "", "evidence", gain)]).data
    assert (list(trace.x), list(trace.text), list(trace.error_x.array)) == ([15], ["+20 %"], [0])
    assert list(trace.y) == ["<i>f</i><sub>Ref</sub> helps"]
    with pytest.raises(ValueError, match="there is no gain"):
        percent(Row("a", "Fig. 1", "b", "", "not measured", "c"))


def test_reading_a_row_does_not_change_a_file():
    result = read_if_there("evidence")
    before = copy.deepcopy(result)
    paper_rows(lambda name: result if name == "evidence" else None)
    assert result == before
