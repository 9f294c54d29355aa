"""The paper's claims beside this project's measurements: the table of the chapter *The paper says, we measured*.

Each row is made from result files by one function of ``ROWS``; nothing in it is typed by hand except the claim, its
place in the paper, the paper's number and the reason. To add a row, write such a function and add it to ``ROWS``. A row
whose file does not exist is "not measured". A number must have been measured on the paper's data; a number on other
data is shown, but it is "not comparable". All verdicts have the rule of :mod:`dhpe_lib.experiments.verdicts`. Claims
about the parts come from ``evidence.json``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from dhpe_lib.evaluation.paper_sets import PAPER_SETS, PaperSet
from dhpe_lib.evaluation.published import PUBLISHED_AUC, PUBLISHED_MASKS
from dhpe_lib.experiments.claims import CLAIMS, deciding, gain_text, here, opposite, verdict_of
from dhpe_lib.experiments.evidence_results import NAMES, version_text
from dhpe_lib.experiments.plain_names import plain_name
from dhpe_lib.experiments.reasons import pull_of_feature_term, reasons
from dhpe_lib.experiments.verdicts import Verdict, judge_all, judge_number
from dhpe_lib.figures.chapters import machine_line, markdown_table, read_result

Read = Callable[[str], Mapping[str, Any] | None]

OURS = "Baek et al. 2019"
CALLS = ("orh_test", "orh-o_test")
"""Tests on which the calls of f_Ref are judged."""


REFINERS = {"distance-ref": "with L_Ref as a distance", "erased-joints": "with some joints that are wrong in training"}
"""Variants of f_Ref by name, in words."""


@dataclass(frozen=True)
class Row:
    """A claim of the paper and its fate here.

    Attributes:
        claim: The claim in our words.
        where: Figure, table or section of the paper.
        paper: The paper's number or direction.
        here: Our number with its interval; empty if nothing was measured.
        verdict: The verdict, by the rules of this module.
        why: Reason for the difference, or for the missing verdict.
        file: Name of the result file in ``book/results``; empty if there is none.
        gain: The gain that decides, if the claim is about one: "value", "low" and "high" with the sign that the paper
            claims, "of", "unit" and "places", as in ``evidence.json``.
        decides: The deciding gain as text, if there are several gains.
    """

    claim: str
    where: str
    paper: str
    here: str
    verdict: Verdict
    why: str
    file: str = ""
    gain: Mapping[str, Any] | None = None
    decides: str = ""

    @property
    def line(self) -> str:
        """The number that decides, for one line."""
        return self.decides or self.here


def read_if_there(name: str) -> Mapping[str, Any] | None:
    """Return a result file, or None if it does not exist."""
    try:
        return read_result(name)
    except FileNotFoundError:
        return None


def area_row(paper_set: PaperSet, read: Read) -> Row:
    """Row of an AUC of Figs. 5a to 5c: measured on the set itself if its file exists, else shown on rendered hands.

    The AUC is that of the paper's protocol, A8, which undoes Eq. 8 joint by joint.
    """
    claimed = PUBLISHED_AUC[paper_set.published][OURS]
    own, rendered = f"light_cpu_{paper_set.dataset}", f"light_cpu_{paper_set.rendered}"
    claim, where = f"AUC over {paper_set.grid} mm on {paper_set.name}", f"Fig. {paper_set.figure}"
    if (result := read(own)) is not None:
        area = protocol(result, "A8")[f"auc_{paper_set.grid}"]
        verdict = judge_number(area["low"], area["high"], claimed)
        why = "another network, trained on other data, with the paper's test images, in the paper's protocol (A8)"
        return Row(claim, where, f"{claimed:.3f}", interval_text(area, 3), verdict, why, own)
    why = f"{paper_set.name} may not be redistributed; the number is that of {paper_set.rendered.upper()}, rendered"
    if (result := read(rendered)) is None:
        return Row(claim, where, f"{claimed:.3f}", "", "not measured", why)
    area = protocol(result, "A8")[f"auc_{paper_set.grid}"]
    here = f"{interval_text(area, 3)} on {paper_set.rendered.upper()}"
    why = f"{why}, in the paper's protocol (A8)"
    return Row(claim, where, f"{claimed:.3f}", here, "not comparable", why, rendered)


def mask_row(read: Read) -> Row:
    """Row of Table 2."""
    claimed = PUBLISHED_MASKS[OURS].iou
    claim, where, paper = "IoU of the mask on RHD", "Table 2", f"{100 * claimed:.2f} %"
    if (result := read("light_cpu_rhd")) is not None and "mask" in result["results"]:
        low, high = result["results"]["mask"]["iou_interval"]
        here = mask_text(result["results"]["mask"])
        why = "another network, trained on other data, with the paper's test images"
        return Row(claim, where, paper, here, judge_number(low, high, claimed), why, "light_cpu_rhd")
    why = "RHD may not be redistributed; the number is that of ORH, which is rendered like RHD"
    if (result := read("light_cpu_orh")) is None:
        return Row(claim, where, paper, "", "not measured", why)
    return Row(
        claim, where, paper, f"{mask_text(result['results']['mask'])} on ORH", "not comparable", why, "light_cpu_orh"
    )


def refinement_row(split: str, neutral: bool, read: Read, exact: bool = False) -> Row:
    """Row of what 50 steps of Eq. 13 with f_Ref change on a split.

    Args:
        split: "orh" or "orh-o".
        neutral: Whether the paper says that nothing changes.
        read: Reader of result files.
        exact: Whether the silhouette has the exact gradient, not the paper's.
    """
    name, of_paper = f"light_cpu_refined_{split}", {"orh": "RHD", "orh-o": "Dexter+Object"}[split]
    network = f"one trained network{', exact gradient of the silhouette' if exact else ''}"
    claim = f"Refinement {'changes nothing' if neutral else 'helps'} on {of_paper} ({network})"
    where = "Fig. 5d" if neutral else "Fig. 5e"
    paper = "no change" if neutral else "much smaller error"
    variant = "coverage" if exact else "refinement"
    if (result := read(name)) is None or variant not in result["results"]["refined"]:
        return Row(claim, where, paper, "", "not measured", "not run")
    less = less_after_refinement(result["results"], variant)
    verdict = judge_all([less], neutral)
    why = f"{result['results']['images']} images of {split.upper()}, last iterate; {feature_pull(split, read, exact)}"
    return Row(claim, where, paper, gain_text(less), verdict, why, name, less)


def feature_pull(split: str, read: Read, exact: bool) -> str:
    """Say how hard the feature term pulls, and what the refinement does with and without it, in `evidence.json`.

    That file may be about an earlier network, so the text names it.
    """
    forms = {"all terms": f"1{' with the exact gradient' if exact else ''}", "without the feature term": "0"}
    name = "shipped network refined, feature weight {}, j2D by f_Ref, " + split.upper()
    names = {label: name.format(form) for label, form in forms.items()}
    file = read("evidence")
    if file is None or any(name not in file["results"]["comparisons"] for name in names.values()):
        return "size of the feature term: not measured"
    result = file["results"]
    times = pull_of_feature_term(result["feature_term"][f"{split}_test"], exact)
    gains = "; ".join(f"{label} {gain_text(result['comparisons'][name])}" for label, name in names.items())
    network = version_text(result["setting"]["network"]["sha256"])
    return f"in {network}: the feature term pulls {times:.1f} times as hard as the joints; {gains}"


def claim_row(name: str, read: Read = read_if_there) -> Row:
    """Row of a claim about a part, measured by ``benchmarks/evidence.py``; its verdict has the rules of `claims`.

    Args:
        name: Name in :data:`dhpe_lib.experiments.claims.CLAIMS`.
        read: Reader of result files.

    Returns:
        The row, with the comparison that decides.
    """
    claim, file = CLAIMS[name], read("evidence")
    verdict = None if file is None else verdict_of(claim, file["results"])
    if file is None or verdict is None:
        return Row(claim.text, claim.source, claim.paper, "", "not measured", "not run")
    result = file["results"]
    why, numbers, decides = reasons(result).get(name, ""), here(claim, result), deciding(claim, result)
    one = result["comparisons"][decides]
    text = f"{gain_text(one)} ({plain_name(decides).rpartition(', ')[2]})"
    return Row(claim.text, claim.source, claim.paper, numbers, verdict, why, "evidence", one, text)


def refiner_row(read: Read) -> Row:
    """Row of f_Ref itself: j2D is nearer to the truth after the three calls than f_J2D's.

    The interval of the gain lies between the farthest ends of both errors, so it is wider than a paired one.
    """
    claim, where, paper = "f_Ref improves the 2D joints, by their mean distance", "Sec. 3.2", "nearer to the truth"
    if (file := read("evidence")) is None or "forms" not in file["results"]:
        return Row(claim, where, paper, "", "not measured", "not run")
    tests = file["results"]["forms"]["full"]["tests"]
    gains = {NAMES[test]: decrease(tests[test]["j2d_first_px"], tests[test]["j2d_last_px"], "px") for test in CALLS}
    numbers = "; ".join(f"{name}: {gain_text(one)}" for name, one in gains.items())
    why = "; ".join(f"{words}: {calls_text(file['results'], form)}" for form, words in REFINERS.items())
    (least, one) = min(gains.items(), key=lambda named: named[1]["low"])
    verdict, text = judge_all(list(gains.values())), f"{gain_text(one)} ({least})"
    return Row(claim, where, paper, numbers, verdict, why, "evidence", one, text)


def calls_text(result: Mapping[str, Any], form: str) -> str:
    """Say how far j2D is from the truth before and after the calls of f_Ref in a variant."""
    if form not in result["forms"]:
        return "not measured"
    tests, parts = result["forms"][form]["tests"], []
    for test in CALLS:
        first, last = (tests[test][name]["mean"] for name in ("j2d_first_px", "j2d_last_px"))
        parts.append(f"{first:.1f} px before the calls and {last:.1f} px after them on {NAMES[test]}")
    return ", ".join(parts)


def time_row(read: Read) -> Row:
    """Row of the time of an estimate with refinement."""
    claim, where, paper = "Time of one hand with 50 steps of refinement", "Sec. 3.4", "100 ms + 50 x 5 ms, GPU"
    if (result := read("refinement_speed_cpu")) is None:
        return Row(claim, where, paper, "", "not measured", "not run")
    ms = {name.split(",")[0]: row["ms"] for name, row in result["results"].items() if "batch 1 " in name}
    here = f"{ms['regression']:.0f} ms + 50 x {ms['iteration']:.0f} ms, CPU"
    why = "the paper's time is that of another network on a GPU"
    return Row(claim, where, paper, here, "not comparable", why, "refinement_speed_cpu")


def unmeasured_row(claim: str, where: str, paper: str, why: str) -> Row:
    """Row of a claim that no result file speaks of."""
    return Row(claim, where, paper, "", "not measured", why)


ROWS: tuple[Callable[[Read], Row], ...] = (
    lambda read: area_row(PAPER_SETS[0], read),
    lambda read: area_row(PAPER_SETS[1], read),
    lambda read: area_row(PAPER_SETS[2], read),
    lambda read: unmeasured_row(
        "Mean error on RHD about 4 mm below Cai et al.", "Sec. 4", "about 4 mm", "needs RHD and the paper's training"
    ),
    mask_row,
    lambda read: refinement_row("orh", True, read),
    lambda read: refinement_row("orh-o", False, read),
    lambda read: refinement_row("orh", True, read, exact=True),
    lambda read: refinement_row("orh-o", False, read, exact=True),
    refiner_row,
    *(partial(claim_row, name) for name in CLAIMS),
    time_row,
    lambda read: unmeasured_row(
        "The network at full size learns from 71,258 images", "Sec. 4", "trained", "no GPU run and no licensed data"
    ),
)
"""Functions that make the rows, in the paper's order."""


def paper_rows(read: Read = read_if_there) -> list[Row]:
    """Return all rows.

    Args:
        read: Reader of result files: the content by name, or None for a file that does not exist.

    Returns:
        One row for each claim.
    """
    return [row(read) for row in ROWS]


def file_numbers(rows: Sequence[Row]) -> dict[str, int]:
    """Number the result files of rows in the order in which they first occur, from 1."""
    return {name: number for number, name in enumerate(dict.fromkeys(row.file for row in rows if row.file), 1)}


def commands_table(rows: Sequence[Row], read: Read = read_if_there) -> str:
    """Return number, command, date and machine of each result file that rows were made from, as a table in Markdown."""
    found = ((number, name, read(name)) for name, number in file_numbers(rows).items())
    lines = [(number, f"`{name}.json`", machine_line(result)) for number, name, result in found if result is not None]
    return markdown_table(("", "file", "command, date, machine"), lines, text_columns=3)


def protocol(result: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Scores of a protocol in a result file of `dhpe evaluate`."""
    return result["results"]["protocols"][name]


def interval_text(value: Mapping[str, float], places: int) -> str:
    """A value with its interval."""
    return f"{value['value']:.{places}f} [{value['low']:.{places}f}, {value['high']:.{places}f}]"


def mask_text(mask: Mapping[str, Any]) -> str:
    """IoU of a mask with its interval, in percent."""
    low, high = mask["iou_interval"]
    return f"{100 * mask['iou']:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def less_after_refinement(scores: Mapping[str, Any], variant: str) -> dict[str, Any]:
    """Return by how much a refinement lowers the mean error of protocol A.

    Args:
        scores: "results" of a file of `dhpe evaluate --refine`.
        variant: Name of the refinement.

    Returns:
        A gain as in ``evidence.json``. It is the paired difference of the last step if the file has it. Otherwise its
        interval lies between the farthest ends of those of both errors, so it is wider than a paired one.
    """
    refined = scores["refined"][variant]
    before, after = (part["protocols"]["A"]["epe_mm"] for part in (scores, refined))
    if "change_mm" not in refined:
        return decrease(before, after, "mm")
    return opposite(refined["change_mm"]) | {"of": before["value"], "unit": "mm", "places": 2}


def decrease(before: Mapping[str, Any], after: Mapping[str, Any], unit: str) -> dict[str, Any]:
    """Gain between two quantities of which only their own intervals are known: between the farthest ends of these."""
    middle = "mean" if "mean" in before else "value"
    ends = {"value": (middle, middle), "low": ("low", "high"), "high": ("high", "low")}
    gain = {name: float(before[one] - after[other]) for name, (one, other) in ends.items()}
    return gain | {"of": before[middle], "unit": unit, "places": 2}
