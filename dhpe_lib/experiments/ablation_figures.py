"""The table of the ablation and Figs. 5d, 5e and 5f, computed from its result file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dhpe_lib.common.files import atomic_writes
from dhpe_lib.evaluation.metrics import THRESHOLDS, Interval
from dhpe_lib.evaluation.plots import curves_figure, pck_curves_figure

IN_FIGURES_5D_5E = (
    "full",
    "without-refinement",
    "without-refiner",
    "without-2d-losses",
    "without-augmentation",
    "without-shape-loss",
)
IN_FIGURE_5F = {
    "full": "lambda of Eq. 12",
    "constant-lambda": "lambda 0.01 throughout",
}
PANELS = {"epe_a_mm": "test error, mm", "share_under_tau": "share of instances under tau"}
COLUMNS = ("variant", "refined", "EPE, mm", "more than full", "before refinement", "AUC 20-50", "AUC 0-100", "mask IoU")
IN_TERMINAL = ("variant", "EPE, mm", "more than full", "before refinement", "mask IoU")
"""Columns that fit into a terminal of 80 characters."""


def ablation_figures(result: Mapping[str, Any]) -> dict[str, go.Figure]:
    """Draw Figs. 5d (all joints labelled), 5e (only fingertips labelled) and 5f (curves over the training).

    Args:
        result: Content of `ablation.json`.

    Returns:
        Figures by name: for each split the PCK curves with their intervals, and the curves of the trainings.
    """
    figures = {}
    for split in result["tests"]:
        shown = {
            name: variant["scores"][split]["pck"]
            for name, variant in result["results"].items()
            if name in IN_FIGURES_5D_5E
        }
        if shown:
            grid = next(iter(shown.values()))["grid"]
            curves = {result["results"][name]["label"]: interval_of(pck) for name, pck in shown.items()}
            panel = "5e" if grid == "0-100" else "5d"
            figures[f"figure_{panel}_{split}"] = pck_curves_figure(curves, THRESHOLDS[grid])
        courses = {
            label: [
                {name: np.array(values) for name, values in seed.items()}
                for seed in result["results"][name]["training"][split]
            ]
            for name, label in IN_FIGURE_5F.items()
            if name in result["results"]
        }
        if courses:
            figures[f"figure_5f_{split}"] = curves_figure(courses, PANELS)
    return figures


def interval_of(pck: Mapping[str, Any]) -> Interval[np.ndarray]:
    """Convert a PCK curve of the result file to an interval."""
    return Interval(*(np.array(pck[name]) for name in ("value", "low", "high")))


def write_figures(result: Mapping[str, Any], out: Path) -> list[Path]:
    """Write each figure as an HTML page.

    Args:
        result: Content of `ablation.json`.
        out: Folder of the pages.

    Returns:
        Paths of the pages.

    Raises:
        OSError: The folder is not writable.
    """
    figures = ablation_figures(result)
    with atomic_writes(out, [f"{name}.html" for name in figures]) as drafts:
        for draft, figure in zip(drafts, figures.values(), strict=True):
            figure.write_html(draft, include_plotlyjs=True)
    return [out / f"{name}.html" for name in figures]


def table_rows(result: Mapping[str, Any], split: str) -> list[tuple[str, ...]]:
    """Format the scores of a split as a table with the columns ``COLUMNS``; intervals are 95 % intervals over images.

    Args:
        result: Content of `ablation.json`.
        split: Name of a test split.

    Returns:
        Text cells, one row for each variant.
    """
    rows = []
    for name, variant in result["results"].items():
        scores = variant["scores"][split]
        more = interval_text(scores["epe_more_than_full_mm"], "+.1f") if "epe_more_than_full_mm" in scores else ""
        areas = [interval_text(scores[f"auc_{grid}"], ".3f") for grid in ("20-50", "0-100")]
        mask = f"{np.mean(scores['mask_iou']['seeds']):.3f}" if "mask_iou" in scores else ""
        before = f"{scores['epe_before_refinement_mm']:.1f}"
        rows.append(
            (name, variant["refinement"] or "no", interval_text(scores["epe_mm"], ".1f"), more, before, *areas, mask)
        )
    return rows


def interval_text(scores: Mapping[str, float], form: str) -> str:
    """Format a value and its interval."""
    return f"{scores['value']:{form}} [{scores['low']:{form}}, {scores['high']:{form}}]"
