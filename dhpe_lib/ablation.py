"""The paper's ablation (Figs. 5d, 5e and 5f): every variant trained at one budget with several seeds, and measured.

Each training is a run of its own in a folder of its own; what is finished is not done again, what was stopped goes on.
Variants that differ in the evaluation alone, with or without test-time refinement, share their trainings. The command
is `dhpe ablate`.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from rich.console import Console

from dhpe_lib.checkpoints import read_checkpoint
from dhpe_lib.datasets.prepared import Prepared
from dhpe_lib.estimator import Estimator
from dhpe_lib.evaluation import DRAWS, GRIDS, Found, area_over, evaluate, protocol_errors, rounded
from dhpe_lib.mask_metrics import mask_scores
from dhpe_lib.metric_plots import curves_figure, pck_figure
from dhpe_lib.metrics import bootstrap, mean_epe
from dhpe_lib.outputs import together
from dhpe_lib.refined_evaluation import evaluate_refined
from dhpe_lib.refinement import RefineOptions
from dhpe_lib.reports import provenance
from dhpe_lib.training import train
from dhpe_lib.training_config import ConfigError, TrainingConfig, changed
from dhpe_lib.training_log import CURVES, read_curves
from dhpe_lib.training_setup import LAST, launch, load_trained


@dataclass(frozen=True)
class Variant:
    """A network of the ablation, and how it is used.

    Attributes:
        label: In the figures' legends.
        changes: Of the configuration, as ``dhpe train --set`` takes them.
        refined: Whether estimates go through test-time refinement (Eq. 13).
    """

    label: str
    changes: tuple[str, ...] = ()
    refined: bool = True


VARIANTS = {
    "full": Variant("ours"),
    "without-refinement": Variant("w/o test refinement", refined=False),
    "without-refiner": Variant("also w/o f_Ref", ("ablation=without-refiner",), False),
    "without-2d-losses": Variant("also w/o 2D losses (as HMR)", ("ablation=without-2d-losses",), False),
    "without-augmentation": Variant("w/o augmentation", ("ablation=without-augmentation",)),
    "without-shape-loss": Variant("w/o shape loss", ("ablation=without-shape-loss",)),
    "constant-lambda": Variant("lambda 0.01 throughout", ("ablation=constant-lambda",)),
    "filtered-seeds": Variant("seeds that fit alone", ("augment_filter=true",)),
}
"""The paper's variants, and last one of this project's: children of well fitted seeds alone."""
IN_FIGURES_5D_5E = tuple(VARIANTS)[:6]
IN_FIGURE_5F = ("full", "constant-lambda")


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        folder: Where it is.
        config: How it is trained.
    """

    folder: Path
    config: TrainingConfig

    @property
    def finished(self) -> bool:
        """Whether all its steps are done."""
        last = self.folder / LAST
        return last.is_file() and read_checkpoint(last).facts["step"] >= self.config.steps


Runs = Mapping[str, Sequence[Run]]


def plan(base: TrainingConfig, names: Sequence[str], seeds: int, out: Path) -> dict[str, list[Run]]:
    """The trainings of each variant.

    Args:
        base: The budget: everything but the variants' changes and the seed, of which this is the first.
        names: Of ``VARIANTS``.
        seeds: How many trainings of each variant.
        out: Folder of the ablation.

    Returns:
        Runs by variant; those that train alike are the same.

    Raises:
        ConfigError: A variant is unknown, the base has an ablation itself, or there is nothing to test on.
    """
    unknown = [name for name in names if name not in VARIANTS]
    if unknown:
        raise ConfigError(f"variant is {unknown[0]}; it may be {', '.join(VARIANTS)}")
    if base.ablation:
        raise ConfigError(f"ablation is {', '.join(base.ablation)}; leave it to the variants and name them instead")
    if not base.test:
        raise ConfigError("no split to test on; name at least one prepared split with --test")
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise ConfigError("an ablation trains one network after the other in one process; start it without torchrun")
    runs: dict[str, list[Run]] = {}
    for name in names:
        changes = VARIANTS[name].changes
        folder = "-".join(change.partition("=")[2] if "ablation" in change else change for change in changes) or "full"
        configs = [replace(changed(base, changes), seed=base.seed + number) for number in range(seeds)]
        runs[name] = [Run(out / f"{folder}_seed{config.seed}", config) for config in configs]
    return runs


def train_all(runs: Runs, device: str | None, console: Console) -> bool:
    """Train what is not finished, one seed of all variants after the other.

    Args:
        runs: From :func:`plan`.
        device: "cpu" or "cuda"; by default a GPU if there is one.
        console: Where lines go.

    Returns:
        Whether all are finished; not so after Ctrl-C.

    Raises:
        ConfigError: A folder holds a run of another configuration.
        TrainingError, CheckpointError, PreparedError: As :func:`dhpe_lib.training.train`.
    """
    distinct = {run.folder: run for group in zip(*runs.values(), strict=True) for run in group}
    for number, (folder, run) in enumerate(distinct.items(), 1):
        if run.finished:
            continue
        console.rule(f"{folder.name}, {number} of {len(distinct)}")
        begun = (folder / "config.json").is_file()
        if not train(run.config, folder, launch(run.config, device), console, resume=begun).finished:
            return False
    return True


def find_of(run: Run, cache: Prepared, refined: bool, device: torch.device) -> Found:
    """What a finished run finds in a split; kept beside it, and read from there where it is known.

    Args:
        run: Finished. Its last weights are taken, since the best were chosen by tests.
        cache: The split.
        refined: Whether with test-time refinement.
        device: Where to compute.

    Returns:
        A row for each image.
    """
    name = f"found_{split_name(cache)}{'_refined' if refined else ''}.npz"
    key = f"{cache.meta['sha256']}, step {read_checkpoint(run.folder / LAST).facts['step']}"
    if (run.folder / name).is_file():
        with np.load(run.folder / name) as kept:
            if str(kept["key"]) == key:
                return Found(**{field: kept[field] for field in kept.files if field != "key"})
    method = found_after_refinement if refined else evaluate
    found = method(load_trained(run.folder / LAST).to(device), cache, device)
    with together(run.folder, [name]) as (draft,):
        np.savez(draft, key=np.array(key), **vars(found))
    return found


def found_after_refinement(network: Estimator, cache: Prepared, device: torch.device) -> Found:
    """What a network finds in a split with the paper's refinement."""
    _, refined = evaluate_refined(network, cache, device, {"paper": RefineOptions()})
    return refined["paper"].found


def split_name(cache: Prepared) -> str:
    """As the tests of a training name it."""
    return f"{cache.meta['dataset']}_{cache.meta['split']}"


def errors_of(found: Sequence[Found]) -> Float[ndarray, "n _"]:
    """Errors (protocol A) of several seeds, a row for each image, the seeds' joints beside each other."""
    return np.concatenate([protocol_errors(one)["A"] for one in found], 1)


def scores_of(found: Sequence[Found]) -> dict[str, Any]:
    """The numbers of a variant on a split.

    Args:
        found: Of each seed.

    Returns:
        For JSON: each measure with its interval over images (all seeds together) and its value for each seed.
    """
    measures: dict[str, tuple[Callable[[ndarray], float], int]] = {"epe_mm": (mean_epe, 3)}
    measures |= {f"auc_{grid}": (area_over(grid), 4) for grid in GRIDS}
    together, alone = errors_of(found), [errors_of([one]) for one in found]
    scores: dict[str, Any] = {
        name: rounded(bootstrap(measure, together, draws=DRAWS), places)
        | {"seeds": [round(measure(rows), places) for rows in alone]}
        for name, (measure, places) in measures.items()
    }
    if all(one.counts.any() for one in found):
        scores["mask_iou"] = {"seeds": [round(mask_scores(one.counts[one.counts.any(1)]).iou, 4) for one in found]}
    return scores


def measure(runs: Runs, out: Path, device: torch.device) -> dict[str, Any]:
    """Evaluate all runs, write the result file and the figures.

    Args:
        runs: From :func:`plan`, all finished.
        out: Folder of the ablation.
        device: Where to compute.

    Returns:
        What `ablation.json` holds.

    Raises:
        OSError: The folder cannot be written to.
    """
    base = next(iter(runs.values()))[0].config
    caches = [Prepared(path) for path in base.test]
    found = {
        split_name(cache): {
            name: [find_of(run, cache, VARIANTS[name].refined, device) for run in group] for name, group in runs.items()
        }
        for cache in caches
    }
    result = provenance() | {
        "command": "dhpe ablate",
        "budget": budget_of(base),
        "tests": {split_name(cache): {"images": len(cache), "sha256": cache.meta["sha256"]} for cache in caches},
        "results": {
            name: {
                "label": VARIANTS[name].label,
                "changes": list(VARIANTS[name].changes),
                "refined": VARIANTS[name].refined,
                "scores": {split: scores_of(by_name[name]) for split, by_name in found.items()},
            }
            for name in runs
        },
    }
    with together(out, ["ablation.json"]) as (draft,):
        draft.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    draw_figures(runs, found, out)
    return result


def budget_of(config: TrainingConfig) -> dict[str, Any]:
    """What all variants have in common, without paths of a machine."""
    values = asdict(config) | {"data": [Path(path).parent.name + "/" + Path(path).name for path in config.data]}
    return {name: value for name, value in values.items() if name not in ("test", "start", "backgrounds", "ablation")}


def draw_figures(runs: Runs, found: Mapping[str, Mapping[str, Sequence[Found]]], out: Path) -> list[Path]:
    """Figs. 5d (splits that label all joints), 5e (fingertips alone) and 5f (over the training) as pages.

    Args:
        runs: By variant.
        found: By split and variant.
        out: Where to.

    Returns:
        Their paths.
    """
    figures = {}
    for split, by_name in found.items():
        errors = {VARIANTS[n].label: errors_of(by_name[n]) for n in IN_FIGURES_5D_5E if n in by_name}
        tips = all(np.isnan(rows).all(0).any() for rows in errors.values())
        if errors:
            figures[f"figure_{'5e' if tips else '5d'}_{split}"] = pck_figure(
                errors, "0-100" if tips else "20-50", band=True
            )
    first = next(iter(found))
    curves = {
        VARIANTS[name].label: [read_curves(run.folder / CURVES, f"test_{first}") for run in runs[name]]
        for name in IN_FIGURE_5F
        if name in runs
    }
    panels = {"epe_a_mm": "test error, mm", "share_under_tau": "share of instances under tau"}
    if curves:
        figures["figure_5f"] = curves_figure(curves, panels)
    with together(out, [f"{name}.html" for name in figures]) as drafts:
        for draft, figure in zip(drafts, figures.values(), strict=True):
            figure.write_html(draft, include_plotlyjs=True)
    return [out / f"{name}.html" for name in figures]


def table_rows(result: Mapping[str, Any], split: str) -> list[tuple[str, ...]]:
    """A table of a split: variant, refined or not, error and area with intervals, IoU of the mask, as text."""
    rows = []
    for name, one in result["results"].items():
        scores = one["scores"][split]
        cells = [f"{scores[m]['value']:.{p}f} [{scores[m]['low']:.{p}f}, {scores[m]['high']:.{p}f}]" for m, p in SHOWN]
        mask = f"{np.mean(scores['mask_iou']['seeds']):.3f}" if "mask_iou" in scores else ""
        rows.append((name, "yes" if one["refined"] else "no", *cells, mask))
    return rows


SHOWN = (("epe_mm", 1), ("auc_20-50", 3), ("auc_0-100", 3))
"""Measures of the table, with their places."""
