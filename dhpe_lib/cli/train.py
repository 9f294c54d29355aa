"""The commands `dhpe train`, `dhpe evaluate`, `dhpe export` and `dhpe ablate`."""

from contextlib import nullcontext
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from dhpe_lib.cli.options import CheckpointArgument, DeviceOption, clean_exit, prepare_folder, usage_error
from dhpe_lib.common.console import Terminal, say
from dhpe_lib.common.locks import LOCK, locked

if TYPE_CHECKING:
    import torch

    from dhpe_lib.data.cache.reader import Prepared
    from dhpe_lib.evaluation.benchmark_files import Benchmark
    from dhpe_lib.network.estimator import Estimator
    from dhpe_lib.refinement.test_time import RefineOptions
    from dhpe_lib.training.config import TrainingConfig

Folders = list[Path] | None


class BenchmarkName(StrEnum):
    """Benchmarks with meshes."""

    freihand = "freihand"
    ho3d = "ho3d"


def train(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the run.", show_default=False)],
    preset: Annotated[
        str | None, typer.Option("--preset", metavar="light|paper", help="Network preset.", show_default="light")
    ] = None,
    data: Annotated[
        Folders,
        typer.Option("--data", metavar="DIR", help="Prepared split; may be repeated. Without it: rendered hands."),
    ] = None,
    test: Annotated[
        Folders, typer.Option("--test", metavar="DIR", help="Prepared split to test on; may be repeated.")
    ] = None,
    ablation: Annotated[
        list[str] | None,
        typer.Option(
            "--ablation",
            metavar="NAME",
            help="Ablation: without-refiner, without-2d-losses, without-shape-loss, constant-lambda or "
            "without-augmentation; may be repeated.",
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any field of TrainingConfig; may be repeated."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the folder.")] = False,
    device: DeviceOption = None,
) -> None:
    """Train the estimator with Eq. 7 on prepared splits, on hands rendered during training, or on both.

    Ctrl-C saves a checkpoint after the current step (on a GPU after at most ten) and stops. --resume continues an
    interrupted run from its last checkpoint. On several GPUs:
    torchrun --nproc-per-node 8 -m dhpe_lib.cli.__main__ train ...
    """
    from dhpe_lib.network.checkpoints import weights_in
    from dhpe_lib.training import loop as training
    from dhpe_lib.training.config import read_config
    from dhpe_lib.training.run_folder import CONFIG
    from dhpe_lib.training.setup import launch_fabric

    with usage_error("--out"):
        base = read_config(out / CONFIG) if resume else None
    options = {"preset": preset, "data": texts(data), "test": texts(test), "ablation": texts(ablation)}
    with usage_error("--set"):
        config = build_config(base, options, changes or [])
    with clean_exit():
        fabric = launch_fabric(config, device)
    with clean_exit():
        check_splits(config)
    with usage_error("--out"):
        prepare_folder(out)
    alone = locked(out / LOCK) if fabric.is_global_zero else nullcontext()
    with clean_exit(training.TrainingError), alone:
        outcome = training.train(config, out, fabric, Terminal(), resume)
    if not fabric.is_global_zero:
        return
    if not outcome.finished:
        say(f"\nStopped and saved after step {outcome.step}. The same command with --resume continues.")
        raise typer.Exit(130)
    say("Run: ", out, "; weights: ", weights_in(out))
    say("To measure its errors, run: dhpe evaluate ", out, " DATASET_DIR")


def evaluate(
    checkpoint: CheckpointArgument,
    folder: Annotated[Path, typer.Argument(metavar="DATASET_DIR", help="Prepared split.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Folder for JSON and figure.", show_default="folder of the checkpoint"
        ),
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Images in a batch.")] = 64,
    count: Annotated[
        int | None,
        typer.Option(
            "--count", min=2, help="Number of images, evenly spread over the split.", show_default="all of them"
        ),
    ] = None,
    refine: Annotated[bool, typer.Option("--refine", help="Refine each estimate (Eq. 13) and measure again.")] = False,
    variant: Annotated[
        list[str] | None,
        typer.Option(
            "--variant", metavar="NAME", help="Variant of the refinement; may be repeated.", show_default="refinement"
        ),
    ] = None,
    iterations: Annotated[
        int | None, typer.Option("--iterations", min=0, help="Iterations of the refinement.", show_default="50")
    ] = None,
    benchmark: Annotated[
        BenchmarkName | None,
        typer.Option("--format", help="Write pred.json for a benchmark, with meshes."),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option("--truth", metavar="DIR", help="Folder of the benchmark's dataset, to score pred.json too."),
    ] = None,
    device: DeviceOption = None,
) -> None:
    """Evaluate a trained network on a prepared split: joint errors and AUC in protocols A, B and C, mask scores.

    The command writes a JSON and a page with the PCK curves. Confidence intervals cover 95 % of 200 bootstrap samples
    of the images. With --refine, both files also hold the scores after refinement, and the JSON holds the errors over
    its iterations. Variants: refinement, evidence-anchored, evidence-fixed, coverage, coverage-fixed, joints-only,
    joints-only-fixed, feature-only, gradient-steps.
    """
    from dhpe_lib.common.console import progress_bar
    from dhpe_lib.common.devices import find_device
    from dhpe_lib.data.cache.reader import Prepared
    from dhpe_lib.evaluation.evaluate_refined import evaluate_refined
    from dhpe_lib.evaluation.reports import write_report
    from dhpe_lib.evaluation.scores import full_scores
    from dhpe_lib.network.trained import load_trained

    for option, given in (("--variant", variant), ("--iterations", iterations)):
        if given not in (None, []) and not refine:
            raise typer.BadParameter("applies only to the refinement; add --refine, or leave it out", param_hint=option)
    if benchmark is not None and (refine or count is not None):
        raise typer.BadParameter("a benchmark has all pictures and no refinement", param_hint="--format")
    with usage_error("--variant"):
        variants = chosen_variants(variant, iterations) if refine else {}
    with usage_error("--device"):
        torch_device = find_device(device)
    with clean_exit():
        network = load_trained(checkpoint).to(torch_device)
    with clean_exit():
        cache = Prepared(folder)
    target = out or (checkpoint if checkpoint.is_dir() else checkpoint.parent)
    with usage_error("--out"):
        prepare_folder(target)
    title = f"{cache.meta['dataset']} {cache.meta['split']}"
    if benchmark is not None:
        evaluate_benchmark(network, cache, benchmark.value, truth, target, batch, torch_device)
        return
    with progress_bar(Terminal()) as progress:
        task = progress.add_task(title, total=len(cache.evenly_spaced(count)))

        def advance(n: int) -> None:
            progress.advance(task, n)

        predictions, refined = evaluate_refined(network, cache, torch_device, variants, batch, advance, count)
    scores = full_scores(predictions)
    refined_scores = {name: refinement.scores() for name, refinement in refined.items()}
    show_scores(scores, title)
    for name, variant_scores in refined_scores.items():
        show_scores(variant_scores, f"{title}, after {variants[name].iterations} iterations of {name}")
    curves = {"": predictions} | {f", {name}": refinement.found for name, refinement in refined.items()}
    if refined_scores:
        scores = scores | {"refined": refined_scores}
    with clean_exit():
        written = write_report(curves, scores, cache, checkpoint, target)
    for path in written:
        say("Written: ", path)


def export(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a run, or a .safetensors file.", show_default=False)
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The .safetensors file to write.", show_default=False)],
) -> None:
    """Export the best weights of a run in half precision, for sharing and for `dhpe predict --weights OUT`."""
    from dhpe_lib.training.export import export_weights

    with usage_error("OUT"):
        prepare_folder(out.parent)
    with clean_exit():
        export_weights(run, out)
    say("Written: ", out, f" ({out.stat().st_size / 1e6:.1f} MB)")


def ablate(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the ablation.", show_default=False)],
    test: Annotated[
        list[Path],
        typer.Option("--test", metavar="DIR", help="Prepared split to test on; may be repeated.", show_default=False),
    ],
    data: Annotated[
        Folders, typer.Option("--data", metavar="DIR", help="Prepared split for training; may be repeated.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option("--preset", metavar="light|paper", help="Network preset.", show_default="light")
    ] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option("--variant", metavar="NAME", help="Variant; may be repeated.", show_default="all"),
    ] = None,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, help="Number of trainings of each variant, each with its own seed.")
    ] = 1,
    count: Annotated[
        int | None,
        typer.Option("--count", min=2, help="Number of images of each test split, evenly spread.", show_default="all"),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="Any field of TrainingConfig, for all variants; may be repeated."
        ),
    ] = None,
    device: DeviceOption = None,
) -> None:
    """Train and evaluate the paper's variants with equal training budgets: Figs. 5d, 5e and 5f.

    Variants: full, without-refinement, without-refiner, without-2d-losses, without-augmentation, without-shape-loss,
    constant-lambda, evidence-fixed, filtered-seeds. The command writes ablation.json and a page for each figure. The
    same command continues an interrupted ablation; finished trainings are not repeated.
    """
    from dhpe_lib.common.devices import find_device
    from dhpe_lib.experiments import ablation
    from dhpe_lib.experiments.ablation_figures import COLUMNS, IN_TERMINAL, table_rows, write_figures
    from dhpe_lib.training.loop import TrainingError

    console = Terminal()
    options = {"preset": preset, "data": texts(data), "test": texts(test)}
    with usage_error("--set"):
        config = build_config(None, options, changes or [])
    with usage_error("--variant"):
        runs = ablation.plan(config, variant or list(ablation.ABLATION_VARIANTS), seeds, out)
    with clean_exit():
        check_splits(config)
    with usage_error("--out"):
        prepare_folder(out)
    with usage_error("--device"):
        torch_device = find_device(device)
    with clean_exit(TrainingError), locked(out / LOCK):
        if not ablation.train_all(runs, device, console):
            say("\nStopped and saved. The same command continues.")
            raise typer.Exit(130)
        result = ablation.measure(runs, out, torch_device, count)
        write_figures(result, out)
    for split, facts in result["tests"].items():
        table = Table(title=f"{split}, {facts['images']:,} images, {seeds} of each variant")
        for name in IN_TERMINAL:
            table.add_column(name, justify="left" if name == "variant" else "right", no_wrap=name == "variant")
        for row in table_rows(result, split):
            table.add_row(*(cell for name, cell in zip(COLUMNS, row, strict=True) if name in IN_TERMINAL))
        console.print(table)
    say("Written: ", out / "ablation.json", " and the figures in the same folder")


# ------------------------------------------------------------------------------------------------------------- helpers
def evaluate_benchmark(
    network: "Estimator",
    cache: "Prepared",
    name: "Benchmark",
    truth: Path | None,
    folder: Path,
    batch: int,
    device: "torch.device",
) -> None:
    """Write the prediction file of a benchmark and, with the folder of its ground truth, the scores."""
    from dhpe_lib.common.console import progress_bar
    from dhpe_lib.common.files import write_json
    from dhpe_lib.evaluation.benchmark_files import (
        benchmark_scores,
        predict_surfaces,
        require_benchmark,
        write_benchmark,
    )
    from dhpe_lib.evaluation.reports import provenance

    with usage_error("DATASET_DIR"):
        require_benchmark(cache, name)
    with progress_bar(Terminal()) as progress:
        task = progress.add_task(f"{name} evaluation", total=len(cache))
        found = predict_surfaces(network, cache, device, batch, lambda n: progress.advance(task, n))
    with clean_exit():
        write_benchmark(folder / "pred.json", name, *found)
        say("Written: ", folder / "pred.json")
        if truth is None:
            say("To score it, add --truth with the folder that holds evaluation_verts.json.")
            return
        scores = benchmark_scores(cache, truth, name, *found)
        write_json(folder / f"scores_{name}.json", provenance() | {"results": scores})
    table = Table(title=f"{name}, {len(cache):,} images")
    for title in ("", "MPJPE, mm", "AUC joints", "MPVPE, mm", "AUC vertices", "F@5", "F@15"):
        table.add_column(title, justify="right" if title else "left")
    for row, values in scores.items():
        table.add_row(row, *(f"{value:.3f}" for value in values.values()))
    Terminal().print(table)
    say("Written: ", folder / f"scores_{name}.json")


def texts(values: Any) -> tuple[str, ...] | None:
    """Convert the values of an option to strings, as the configuration stores them; None if the option is missing."""
    return None if not values else tuple(map(str, values))


def build_config(base: "TrainingConfig | None", options: dict[str, Any], changes: list[str]) -> "TrainingConfig":
    """Return the configuration of a new or a resumed run, with the changes of the command line.

    Args:
        base: Configuration of the resumed run; None for a new run.
        options: Value of each field that has its own option; None if the option is missing.
        changes: NAME=VALUE for other fields.

    Returns:
        The configuration.
    """
    from dhpe_lib.training.config import changed, preset_config

    given = {name: value for name, value in options.items() if value is not None}
    return changed(replace(base or preset_config(given.get("preset", "light")), **given), changes)


def check_splits(config: "TrainingConfig") -> None:
    """Open all training and test splits before the output folder is made, so that a wrong path leaves no folder."""
    from dhpe_lib.data.cache.reader import Prepared
    from dhpe_lib.training.testing import open_tests

    for path in config.data:
        Prepared(path)
    open_tests(config.test)


def chosen_variants(names: list[str] | None, iterations: int | None) -> "dict[str, RefineOptions]":
    """Return the options of each named refinement; `iterations` replaces their number of iterations."""
    from dhpe_lib.refinement.test_time import REFINEMENTS

    wanted = names or ["refinement"]
    if unknown := set(wanted) - set(REFINEMENTS):
        raise ValueError(f"{', '.join(sorted(unknown))}: no such variant; choose from {', '.join(REFINEMENTS)}")
    options = {name: REFINEMENTS[name] for name in wanted}
    if iterations is None:
        return options
    return {name: replace(option, iterations=iterations) for name, option in options.items()}


def show_scores(scores: dict[str, Any], title: str) -> None:
    """Print the table of scores, and a line with the mask scores if the split has masks."""
    Terminal().print(score_table(scores, title))
    if "mask" in scores:
        mask = scores["mask"]
        low, high = mask["iou_interval"]
        say(
            f"Mask: IoU {mask['iou']:.3f} [{low:.3f}, {high:.3f}], precision {mask['precision']:.3f}, "
            f"recall {mask['recall']:.3f}, F1 {mask['f1']:.3f}"
        )


def score_table(scores: dict[str, Any], title: str) -> Table:
    """Return the table of errors (mm) and AUC, one row for each protocol."""
    from dhpe_lib.evaluation.scores import GRIDS, score_rows

    table = Table(title=f"{title}, {scores['images']:,} images")
    for name in ("protocol", "EPE, mm", "median, mm", *(f"AUC {grid}" for grid in GRIDS)):
        table.add_column(name, justify="left" if name == "protocol" else "right")
    for row in score_rows(scores):
        table.add_row(*row)
    return table
