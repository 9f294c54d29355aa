"""The ablation's table and Figs. 5d, 5e and 5f, from its result file alone."""

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
"""Columns for which 80 characters are enough."""


def ablation_figures(result: Mapping[str, Any]) -> dict[str, go.Figure]:
    """Figs. 5d (splits that label all joints), 5e (fingertips alone) and 5f (over the training), by name.

    Args:
        result: What `ablation.json` holds.

    Returns:
        A figure of the PCK curves with their intervals for each split, and one of the curves of the trainings for each.
    """
    figures = {}
    for split in result["tests"]:
        shown = {
            name: one["scores"][split]["pck"] for name, one in result["results"].items() if name in IN_FIGURES_5D_5E
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
    """A curve with its band."""
    return Interval(*(np.array(pck[name]) for name in ("value", "low", "high")))


def write_figures(result: Mapping[str, Any], out: Path) -> list[Path]:
    """Write each figure as a page.

    Args:
        result: What `ablation.json` holds.
        out: Folder.

    Returns:
        Their paths.

    Raises:
        OSError: The folder cannot be written to.
    """
    figures = ablation_figures(result)
    with atomic_writes(out, [f"{name}.html" for name in figures]) as drafts:
        for draft, figure in zip(drafts, figures.values(), strict=True):
            figure.write_html(draft, include_plotlyjs=True)
    return [out / f"{name}.html" for name in figures]


def table_rows(result: Mapping[str, Any], split: str) -> list[tuple[str, ...]]:
    """A table of a split, under ``COLUMNS``; intervals hold 95 % of draws of the images.

    Args:
        result: What `ablation.json` holds.
        split: One of its tests.

    Returns:
        Text, a row for each variant.
    """
    rows = []
    for name, one in result["results"].items():
        scores = one["scores"][split]
        more = interval_text(scores["epe_more_than_full_mm"], "+.1f") if "epe_more_than_full_mm" in scores else ""
        areas = [interval_text(scores[f"auc_{grid}"], ".3f") for grid in ("20-50", "0-100")]
        mask = f"{np.mean(scores['mask_iou']['seeds']):.3f}" if "mask_iou" in scores else ""
        before = f"{scores['epe_before_refinement_mm']:.1f}"
        rows.append(
            (name, one["refinement"] or "no", interval_text(scores["epe_mm"], ".1f"), more, before, *areas, mask)
        )
    return rows


def interval_text(scores: Mapping[str, float], form: str) -> str:
    """Value and interval."""
    return f"{scores['value']:{form}} [{scores['low']:{form}}, {scores['high']:{form}}]"
