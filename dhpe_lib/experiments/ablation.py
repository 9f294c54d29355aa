"""The paper's ablation (Figs. 5d, 5e and 5f): every variant trained at one budget with several seeds, and measured.

Each training is a run of its own in a folder of its own; what is finished is not done again, what was stopped goes on.
Variants that differ in the evaluation alone, with or without test-time refinement, share their trainings. The command
is `dhpe ablate`.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache as remembered
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from rich.console import Console

from dhpe_lib.common.files import atomic_writes, write_json
from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.evaluation.evaluate import DRAWS, GRIDS, Found, area_over, protocol_errors, rounded
from dhpe_lib.evaluation.evaluate_refined import evaluate_refined
from dhpe_lib.evaluation.mask_metrics import mask_scores
from dhpe_lib.evaluation.metrics import THRESHOLDS, bootstrap, mean_epe
from dhpe_lib.evaluation.plots import pck_curve
from dhpe_lib.evaluation.reports import provenance
from dhpe_lib.experiments.ablation_figures import PANELS
from dhpe_lib.network.checkpoints import read_checkpoint
from dhpe_lib.network.trained import load_trained
from dhpe_lib.refinement.test_time import VARIANTS as REFINEMENTS
from dhpe_lib.training.config import ConfigError, TrainingConfig, changed, read_config, refuse_other
from dhpe_lib.training.log import CURVES, read_curves
from dhpe_lib.training.loop import train
from dhpe_lib.training.setup import CONFIG, LAST, launch, open_tests

RESULT = "ablation.json"


@dataclass(frozen=True)
class Variant:
    """A network of the ablation, and how it is used.

    Attributes:
        label: In the figures' legends.
        changes: Of the configuration, as ``dhpe train --set`` takes them.
        refinement: Of the estimates, a key of ``refinement.VARIANTS``; none for the network's own.
    """

    label: str
    changes: tuple[str, ...] = ()
    refinement: str | None = "refinement"


VARIANTS = {
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
"""The paper's variants, and last two that it argues with: 2D evidence as earlier work had it, and children of well
fitted seeds alone."""


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
    def begun(self) -> bool:
        """Whether its folder holds a run."""
        return (self.folder / CONFIG).is_file()

    @property
    def steps(self) -> int:
        """Steps that are done."""
        last = self.folder / LAST
        return int(read_checkpoint(last).facts["step"]) if last.is_file() else 0

    def refuse_other(self) -> None:
        """Stop where the folder holds a run of another configuration, or one that went on for longer."""
        if self.begun:
            refuse_other(self.folder / CONFIG, read_config(self.folder / CONFIG), self.config)
        if self.steps > self.config.steps:
            raise ConfigError(
                f"{self.folder}: was trained for {self.steps} steps, and {self.config.steps} are asked for; "
                "name another folder with --out"
            )


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
        ConfigError: A folder holds a run of another configuration, or one that went on for longer; nothing is trained.
        TrainingError, CheckpointError, PreparedError: As :func:`dhpe_lib.training.loop.train`.
    """
    distinct = {run.folder: run for group in zip(*runs.values(), strict=True) for run in group}
    for run in distinct.values():
        run.refuse_other()
    for number, (folder, run) in enumerate(distinct.items(), 1):
        if run.steps == run.config.steps:
            continue
        console.rule(f"{folder.name}, {number} of {len(distinct)}")
        if not train(run.config, folder, launch(run.config, device), console, resume=run.begun).finished:
            return False
    return True


def find_of(run: Run, cache: Prepared, refinement: str | None, device: torch.device, count: int | None = None) -> Found:
    """What a finished run finds in a split; kept beside it, and read from there where it is known.

    Args:
        run: Finished. Its last weights are taken, since the best were chosen by tests.
        cache: The split.
        refinement: A key of ``refinement.VARIANTS``, or none.
        device: Where to compute.
        count: Images, evenly spread over the split; all of them by default.

    Returns:
        A row for each image.
    """
    kept = run.folder / f"found_{cache.name}_{refinement or 'estimate'}.npz"
    variants = {} if refinement is None else {refinement: REFINEMENTS[refinement]}
    weights = hashlib.sha256((run.folder / LAST).read_bytes()).hexdigest()
    key = f"{cache.meta['sha256']}, {weights}, {variants}, {len(cache.spread(count))} images"
    if kept.is_file():
        with np.load(kept) as known:
            if str(known["key"]) == key:
                return Found(**{field: known[field] for field in known.files if field != "key"})
    network = load_trained(run.folder / LAST).to(device)
    before, refined = evaluate_refined(network, cache, device, variants, count=count)
    found = before if refinement is None else refined[refinement].found
    with atomic_writes(run.folder, [kept.name]) as (draft,):
        np.savez(draft, key=np.array(key), **vars(found))
    return found


def errors_of(found: Sequence[Found]) -> Float[ndarray, "n _"]:
    """Errors (protocol A) of several seeds, a row for each image, the seeds' joints beside each other."""
    return np.concatenate([protocol_errors(one)["A"] for one in found], 1)


def scores_of(found: Sequence[Found], before: Sequence[Found], full: Sequence[Found] | None) -> dict[str, Any]:
    """The numbers of a variant on a split.

    Args:
        found: Of each seed.
        before: The same without test-time refinement.
        full: Of each seed of the variant that has everything, if it is there.

    Returns:
        For JSON: each measure with its interval over images (all seeds together) and its value for each seed; the
        difference of the errors to `full`, image by image; a PCK curve.
    """
    rows, alone = errors_of(found), [errors_of([one]) for one in found]
    measures: dict[str, tuple[Callable[[ndarray], float], int]] = {"epe_mm": (mean_epe, 3)}
    measures |= {f"auc_{grid}": (area_over(grid), 4) for grid in GRIDS}
    scores: dict[str, Any] = {
        name: rounded(bootstrap(measure, rows, draws=DRAWS), places)
        | {"seeds": [round(measure(one), places) for one in alone]}
        for name, (measure, places) in measures.items()
    }
    scores["epe_before_refinement_mm"] = round(mean_epe(errors_of(before)), 3)
    if full is not None:
        known = np.isfinite(rows).any(1)
        more = np.nanmean((rows - errors_of(full))[known], 1, keepdims=True)
        scores["epe_more_than_full_mm"] = rounded(bootstrap(mean_difference, more, draws=DRAWS), 3)
    if all(one.counts.any() for one in found):
        scores["mask_iou"] = {"seeds": [round(mask_scores(one.counts[one.counts.any(1)]).iou, 4) for one in found]}
    scores["pck"] = pck_of(rows)
    return scores


def mean_difference(rows: Float[ndarray, "n 1"]) -> float:
    """Mean over the images."""
    return float(rows.mean())


def pck_of(rows: Float[ndarray, "n _"]) -> dict[str, Any]:
    """A PCK curve for JSON: over 20 to 50 mm, or where fingertips alone are labelled over 0 to 100, as in the paper."""
    grid = "0-100" if np.isnan(rows).all(0).any() else "20-50"
    curve = pck_curve(rows, THRESHOLDS[grid])
    return {"grid": grid} | {name: values.round(4).tolist() for name, values in vars(curve).items()}


def measure(runs: Runs, out: Path, device: torch.device, count: int | None = None) -> dict[str, Any]:
    """Evaluate all runs, and write the result file.

    Args:
        runs: From :func:`plan`, all finished.
        out: Folder of the ablation.
        device: Where to compute.
        count: Images of each split to test on, evenly spread; all of them by default.

    Returns:
        What `ablation.json` holds.

    Raises:
        ConfigError: Two splits to test on have the same name.
        OSError: The folder cannot be written to.
    """
    base = next(iter(runs.values()))[0].config
    caches = open_tests(base.test)

    @remembered  # each of them is asked for by several variants, and hashes a checkpoint
    def found_by(run: Run, split: str, refinement: str | None) -> Found:
        return find_of(run, caches[split], refinement, device, count)

    def found(name: str, split: str, refinement: str | None) -> list[Found]:
        return [found_by(run, split, refinement) for run in runs[name]]

    result = provenance() | {
        "budget": budget_of(base),
        "tests": {
            name: {"images": len(cache.spread(count)), "sha256": cache.meta["sha256"]} for name, cache in caches.items()
        },
        "results": {
            name: asdict(VARIANTS[name])
            | {
                "scores": {
                    split: scores_of(
                        found(name, split, VARIANTS[name].refinement),
                        found(name, split, None),
                        found("full", split, VARIANTS["full"].refinement) if "full" in runs else None,
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
    """The curves of Fig. 5f of each seed, for JSON."""
    curves = [read_curves(run.folder / CURVES, f"test_{split}") for run in group]
    return [{name: curve[name].round(4).tolist() for name in ("step", *PANELS)} for curve in curves]


def budget_of(config: TrainingConfig) -> dict[str, Any]:
    """What all variants have in common, without paths of a machine."""
    values = asdict(config) | {"data": ["/".join(Path(path).parts[-2:]) for path in config.data]}
    values["start"] = Path(config.start).name
    return {name: value for name, value in values.items() if name not in ("test", "backgrounds", "ablation")}
