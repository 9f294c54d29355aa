"""The paper's ablation (Figs. 5d, 5e and 5f): train each variant with one budget and several seeds, and evaluate it.

Each training is a run in its own folder. Finished runs are not repeated, and interrupted runs are resumed. Variants
that differ only in the evaluation, with or without test-time refinement, share their trainings. The command is
`dhpe ablate`.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache as memoised
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from rich.console import Console

from dhpe_lib.common.files import atomic_writes, write_json
from dhpe_lib.common.npz_files import NpzFileError, read_npz
from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.evaluation.evaluate import Predictions
from dhpe_lib.evaluation.evaluate_refined import evaluate_refined
from dhpe_lib.evaluation.mask_metrics import mask_scores
from dhpe_lib.evaluation.metrics import THRESHOLDS, bootstrap, mean_epe
from dhpe_lib.evaluation.plots import pck_curve
from dhpe_lib.evaluation.reports import provenance
from dhpe_lib.evaluation.scores import DRAWS, GRIDS, area_over, protocol_errors, rounded
from dhpe_lib.experiments.ablation_figures import PANELS
from dhpe_lib.network.checkpoints import progress_of, read_checkpoint
from dhpe_lib.network.trained import load_trained
from dhpe_lib.refinement.test_time import REFINEMENTS as REFINEMENTS
from dhpe_lib.training.config import ConfigError, TrainingConfig, changed, read_config, refuse_other
from dhpe_lib.training.log import CURVES, read_curves
from dhpe_lib.training.loop import train
from dhpe_lib.training.run_folder import CONFIG, LAST
from dhpe_lib.training.setup import launch_fabric
from dhpe_lib.training.testing import open_tests

RESULT = "ablation.json"
MOST_BYTES = 2**30
"""Most bytes of the predictions of one run on one split."""


@dataclass(frozen=True)
class Variant:
    """A variant of training and evaluation.

    Attributes:
        label: Label in the legends of the figures.
        changes: Changes of the configuration, as for ``dhpe train --set``.
        refinement: Key of ``refinement.REFINEMENTS``; None for the network's estimate without refinement.
    """

    label: str
    changes: tuple[str, ...] = ()
    refinement: str | None = "refinement"


ABLATION_VARIANTS = {
    "full": Variant("ours"),
    "without-refinement": Variant("w/o test refinement", refinement=None),
    "without-refiner": Variant("also w/o f_Ref", ("ablation=without-refiner",), None),
    "without-2d-losses": Variant("also w/o 2D losses (as HMR)", ("ablation=without-2d-losses",), None),
    "without-augmentation": Variant("w/o augmentation", ("ablation=without-augmentation",)),
    "without-shape-loss": Variant("w/o shape loss", ("ablation=without-shape-loss",)),
    "constant-lambda": Variant("lambda 0.01 throughout", ("ablation=constant-lambda",)),
    "evidence-fixed": Variant("j2D fixed in refinement", refinement="evidence-fixed"),
    "filtered-seeds": Variant("seeds that fit alone", ("augment_filter=true",)),
}
"""The paper's variants, and two others: fixed 2D evidence as in earlier work, and novel views of only good seeds."""


@dataclass(frozen=True)
class Run:
    """One training of the ablation.

    Attributes:
        folder: Folder of the run.
        config: Configuration of the training.
    """

    folder: Path
    config: TrainingConfig

    @property
    def begun(self) -> bool:
        """Whether the folder holds a run."""
        return (self.folder / CONFIG).is_file()

    @property
    def steps(self) -> int:
        """Number of steps done."""
        last = self.folder / LAST
        return progress_of(read_checkpoint(last)).step if last.is_file() else 0

    def refuse_other(self) -> None:
        """Raise ConfigError if the folder holds a run with another configuration or with more steps."""
        if self.begun:
            refuse_other(self.folder / CONFIG, read_config(self.folder / CONFIG), self.config)
        if self.steps > self.config.steps:
            raise ConfigError(
                f"{self.folder}: was trained for {self.steps} steps, but steps is {self.config.steps}; "
                "name another folder with --out"
            )


Runs = Mapping[str, Sequence[Run]]


def plan(base: TrainingConfig, names: Sequence[str], seeds: int, out: Path) -> dict[str, list[Run]]:
    """Plan the trainings of each variant.

    Args:
        base: Common configuration of all variants, with the first random seed.
        names: Names of ``ABLATION_VARIANTS``.
        seeds: Number of trainings of each variant.
        out: Folder of the ablation.

    Returns:
        Runs of each variant; variants with equal changes have equal runs.

    Raises:
        ConfigError: A variant is unknown, the base already has an ablation, or there is no test split.
    """
    unknown = [name for name in names if name not in ABLATION_VARIANTS]
    if unknown:
        raise ConfigError(f"variant is {unknown[0]}; it may be {', '.join(ABLATION_VARIANTS)}")
    if base.ablation:
        raise ConfigError(f"ablation is {', '.join(base.ablation)}; remove it and name variants instead")
    if not base.test:
        raise ConfigError("test is empty; name at least one prepared split with --test")
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise ConfigError("WORLD_SIZE is above 1, but an ablation runs in one process; start it without torchrun")
    runs: dict[str, list[Run]] = {}
    for name in names:
        changes = ABLATION_VARIANTS[name].changes
        folder = "-".join(change.partition("=")[2] if "ablation" in change else change for change in changes) or "full"
        configs = [replace(changed(base, changes), seed=base.seed + number) for number in range(seeds)]
        runs[name] = [Run(out / f"{folder}_seed{config.seed}", config) for config in configs]
    return runs


def train_all(runs: Runs, device: str | None, console: Console) -> bool:
    """Train all unfinished runs: the first seed of all variants, then the second, and so on.

    Args:
        runs: From :func:`plan`.
        device: "cpu" or "cuda"; None for a GPU if there is one.
        console: Console for log lines.

    Returns:
        Whether all runs are finished; False after Ctrl-C.

    Raises:
        ConfigError: A folder holds a run with another configuration or with more steps; nothing is trained.
        TrainingError, CheckpointError, PreparedError: See :func:`dhpe_lib.training.loop.train`.
    """
    distinct = {run.folder: run for group in zip(*runs.values(), strict=True) for run in group}
    for run in distinct.values():
        run.refuse_other()
    for number, (folder, run) in enumerate(distinct.items(), 1):
        if run.steps == run.config.steps:
            continue
        console.rule(f"{folder.name}, {number} of {len(distinct)}")
        if not train(run.config, folder, launch_fabric(run.config, device), console, resume=run.begun).finished:
            return False
    return True


def find_of(
    run: Run, cache: Prepared, refinement: str | None, device: torch.device, count: int | None = None
) -> Predictions:
    """Evaluate a finished run on a split; the predictions are cached in the run's folder.

    Args:
        run: A finished run. Its last weights are used, since the best weights were selected on test errors.
        cache: The prepared split.
        refinement: Key of ``refinement.REFINEMENTS``, or None for no refinement.
        device: Device to compute on.
        count: Number of images, evenly spaced in the split; None for all images.

    Returns:
        Predictions, one row for each image.
    """
    path = run.folder / f"found_{cache.name}_{refinement or 'estimate'}.npz"
    variants = {} if refinement is None else {refinement: REFINEMENTS[refinement]}
    weights = hashlib.sha256((run.folder / LAST).read_bytes()).hexdigest()
    key = f"{cache.meta['sha256']}, {weights}, {variants}, {len(cache.evenly_spaced(count))} images"
    if (saved := saved_predictions(path, key)) is not None:
        return saved
    network = load_trained(run.folder / LAST).to(device)
    before, refined = evaluate_refined(network, cache, device, variants, count=count)
    found = before if refinement is None else refined[refinement].found
    with atomic_writes(run.folder, [path.name]) as (draft,):
        np.savez(draft, key=np.array(key), **vars(found))
    return found


def saved_predictions(path: Path, key: str) -> Predictions | None:
    """Read predictions of an earlier call; None if there are none for this key, or if the file is damaged."""
    try:
        saved = read_npz(path, MOST_BYTES)
    except (FileNotFoundError, NpzFileError):
        return None
    if str(saved.pop("key", None)) != key or saved.keys() != {field.name for field in fields(Predictions)}:
        return None
    return Predictions(**saved)


def errors_of(found: Sequence[Predictions]) -> Float[ndarray, "n _"]:
    """Errors (protocol A, mm) of several seeds: one row for each image, with the joints of all seeds as columns."""
    return np.concatenate([protocol_errors(one)["A"] for one in found], 1)


def scores_of(
    found: Sequence[Predictions], before: Sequence[Predictions], full: Sequence[Predictions] | None
) -> dict[str, Any]:
    """Compute the scores of a variant on a split.

    Args:
        found: Predictions of each seed.
        before: Predictions of each seed without test-time refinement.
        full: Predictions of each seed of the variant "full", or None.

    Returns:
        A dict for JSON: each measure with its interval over images (all seeds together) and its value for each seed;
        the mean difference of each image's error to `full`; a PCK curve.
    """
    rows, by_seed = errors_of(found), [errors_of([predictions]) for predictions in found]
    measures: dict[str, tuple[Callable[[ndarray], float], int]] = {"epe_mm": (mean_epe, 3)}
    measures |= {f"auc_{grid}": (area_over(grid), 4) for grid in GRIDS}
    scores: dict[str, Any] = {
        name: rounded(bootstrap(measure, rows, draws=DRAWS), places)
        | {"seeds": [round(measure(errors), places) for errors in by_seed]}
        for name, (measure, places) in measures.items()
    }
    scores["epe_before_refinement_mm"] = round(mean_epe(errors_of(before)), 3)
    if full is not None:
        known = np.isfinite(rows).any(1)
        difference = np.nanmean((rows - errors_of(full))[known], 1, keepdims=True)
        scores["epe_more_than_full_mm"] = rounded(bootstrap(mean_difference, difference, draws=DRAWS), 3)
    if all(one.counts.any() for one in found):
        scores["mask_iou"] = {"seeds": [round(mask_scores(one.counts[one.counts.any(1)]).iou, 4) for one in found]}
    scores["pck"] = pck_of(rows)
    return scores


def mean_difference(rows: Float[ndarray, "n 1"]) -> float:
    """Mean over the images."""
    return float(rows.mean())


def pck_of(rows: Float[ndarray, "n _"]) -> dict[str, Any]:
    """PCK curve for JSON, from errors in mm: from 20 to 50 mm, or from 0 to 100 mm if only fingertips are labelled.

    Both ranges are the paper's.
    """
    grid = "0-100" if np.isnan(rows).all(0).any() else "20-50"
    curve = pck_curve(rows, THRESHOLDS[grid])
    return {"grid": grid} | {name: values.round(4).tolist() for name, values in vars(curve).items()}


def measure(runs: Runs, out: Path, device: torch.device, count: int | None = None) -> dict[str, Any]:
    """Evaluate all runs, and write the result file.

    Args:
        runs: From :func:`plan`; all must be finished.
        out: Folder of the ablation.
        device: Device to compute on.
        count: Number of images of each test split, evenly spaced; None for all images.

    Returns:
        Content of `ablation.json`.

    Raises:
        ConfigError: Two test splits have the same name.
        OSError: The folder is not writable.
    """
    base = next(iter(runs.values()))[0].config
    caches = open_tests(base.test)

    @memoised  # several variants need each result, and each call hashes a checkpoint
    def found_by(run: Run, split: str, refinement: str | None) -> Predictions:
        return find_of(run, caches[split], refinement, device, count)

    def found(name: str, split: str, refinement: str | None) -> list[Predictions]:
        return [found_by(run, split, refinement) for run in runs[name]]

    result = provenance() | {
        "budget": budget_of(base),
        "tests": {
            name: {"images": len(cache.evenly_spaced(count)), "sha256": cache.meta["sha256"]}
            for name, cache in caches.items()
        },
        "results": {
            name: asdict(ABLATION_VARIANTS[name])
            | {
                "scores": {
                    split: scores_of(
                        found(name, split, ABLATION_VARIANTS[name].refinement),
                        found(name, split, None),
                        found("full", split, ABLATION_VARIANTS["full"].refinement) if "full" in runs else None,
                    )
                    for split in caches
                },
                "training": {split: curves_of(group, split) for split in caches},
            }
            for name, group in runs.items()
        },
    }
    result = json.loads(json.dumps(result))
    write_json(out / RESULT, result)
    return result


def curves_of(group: Sequence[Run], split: str) -> list[dict[str, list[float]]]:
    """Read the curves of Fig. 5f of each seed, for JSON."""
    curves = [read_curves(run.folder / CURVES, f"test_{split}") for run in group]
    return [{name: curve[name].round(4).tolist() for name in ("step", *PANELS)} for curve in curves]


def budget_of(config: TrainingConfig) -> dict[str, Any]:
    """Return the configuration that all variants share, with shortened paths, for JSON."""
    values = asdict(config) | {"data": ["/".join(Path(path).parts[-2:]) for path in config.data]}
    values["start"] = Path(config.start).name
    return {name: value for name, value in values.items() if name not in ("test", "backgrounds", "ablation")}
