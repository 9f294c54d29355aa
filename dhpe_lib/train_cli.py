"""The commands `dhpe train`, `dhpe evaluate` and `dhpe ablate`."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dhpe_lib.terminal import Value, checked, prepare_folder, say

if TYPE_CHECKING:
    from dhpe_lib.training_config import TrainingConfig

Folders = list[Path] | None
DeviceOption = Annotated[
    str | None, typer.Option("--device", metavar="cpu|cuda", help="Where to compute; by default a GPU if there is one.")
]


def train(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the run.", show_default=False)],
    preset: Annotated[
        str | None, typer.Option("--preset", metavar="light|paper", help="The network.", show_default="light")
    ] = None,
    data: Annotated[
        Folders,
        typer.Option("--data", metavar="DIR", help="A prepared split; repeat for a mixture. None: rendered hands."),
    ] = None,
    test: Annotated[
        Folders, typer.Option("--test", metavar="DIR", help="A prepared split to test on; may be repeated.")
    ] = None,
    ablation: Annotated[
        list[str] | None,
        typer.Option(
            "--ablation",
            metavar="NAME",
            help="without-refiner, without-2d-losses, without-shape-loss, constant-lambda or without-augmentation; "
            "may be repeated.",
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any field of TrainingConfig; may be repeated."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")] = False,
    device: DeviceOption = None,
) -> None:
    """Train the estimator: Eq. 7 on prepared splits, on hands rendered on the spot, or on both.

    Ctrl-C ends after the step and saves. However a run was stopped, the same command with --resume goes on from the
    last checkpoint. On several GPUs: torchrun --nproc-per-node 8 -m dhpe_lib.cli train ...
    """
    from dhpe_lib import training
    from dhpe_lib.training_config import read_config
    from dhpe_lib.training_setup import CONFIG, launch

    base = checked("--out", lambda: read_config(out / CONFIG)) if resume else None
    options = {"preset": preset, "data": texts(data), "test": texts(test), "ablation": texts(ablation)}
    config = checked("--set", lambda: configured(base, options, changes or []))
    checked("--out", lambda: prepare_folder(out))
    fabric = refused(lambda: launch(config, device))
    outcome = refused(lambda: training.train(config, out, fabric, Console(highlight=False), resume))
    if not fabric.is_global_zero:
        return
    if not outcome.finished:
        say(f"\nStopped and saved after step {outcome.step}. The same command with --resume goes on from there.")
        raise typer.Exit(130)
    say("The run: ", out, "; its weights: ", out / training.BEST)
    say("How good they are: dhpe evaluate ", out, " DATASET_DIR")


def evaluate(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="A .safetensors, or a run's folder.", show_default=False)
    ],
    folder: Annotated[Path, typer.Argument(metavar="DATASET_DIR", help="A prepared split.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where JSON and figure go.", show_default="beside the checkpoint"),
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Images at a time.")] = 64,
    device: DeviceOption = None,
) -> None:
    """Measure a trained network on a prepared split: errors and areas in protocols A, B and C, mask scores.

    Intervals hold 95 % of 200 draws of the images. Writes a JSON and a page with the PCK curves.
    """
    from dhpe_lib.batch import find_device
    from dhpe_lib.datasets.preparation import progress_bar
    from dhpe_lib.datasets.prepared import Prepared
    from dhpe_lib.evaluation import evaluate as run
    from dhpe_lib.evaluation import full_scores
    from dhpe_lib.reports import write_report
    from dhpe_lib.training_setup import load_trained

    place = checked("--device", lambda: find_device(device))
    network = refused(lambda: load_trained(checkpoint)).to(place)
    cache = refused(lambda: Prepared(folder))
    target = out or (checkpoint if checkpoint.is_dir() else checkpoint.parent)
    checked("--out", lambda: prepare_folder(target))
    with progress_bar(Console()) as progress:
        task = progress.add_task(f"{cache.meta['dataset']} {cache.meta['split']}", total=len(cache))
        found = run(network, cache, place, batch, lambda n: progress.advance(task, n))
    scores = full_scores(found)
    Console(highlight=False).print(score_table(scores, f"{cache.meta['dataset']} {cache.meta['split']}"))
    if "mask" in scores:
        mask = scores["mask"]
        low, high = mask["iou_interval"]
        say(
            f"Mask: IoU {mask['iou']:.3f} [{low:.3f}, {high:.3f}], precision {mask['precision']:.3f}, "
            f"recall {mask['recall']:.3f}, F1 {mask['f1']:.3f}"
        )
    for path in refused(lambda: write_report(found, scores, cache, checkpoint, target)):
        say("Written: ", path)


def ablate(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the ablation.", show_default=False)],
    test: Annotated[
        list[Path],
        typer.Option("--test", metavar="DIR", help="A prepared split to test on; may be repeated.", show_default=False),
    ],
    data: Annotated[
        Folders, typer.Option("--data", metavar="DIR", help="A prepared split; repeat for a mixture.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option("--preset", metavar="light|paper", help="The network.", show_default="light")
    ] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option("--variant", metavar="NAME", help="A variant; may be repeated.", show_default="all"),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Trainings of each variant.")] = 1,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any field of TrainingConfig, for all; may be repeated."),
    ] = None,
    device: DeviceOption = None,
) -> None:
    """Train and measure the paper's variants at one budget: Figs. 5d, 5e and 5f.

    Variants: full, without-refinement, without-refiner, without-2d-losses, without-augmentation, without-shape-loss,
    constant-lambda, filtered-seeds. However it was stopped, the same command goes on; what is finished is not done
    again. Writes ablation.json and a page for each figure.
    """
    from dhpe_lib import ablation
    from dhpe_lib.batch import find_device

    console = Console(highlight=False)
    options = {"preset": preset, "data": texts(data), "test": texts(test)}
    config = checked("--set", lambda: configured(None, options, changes or []))
    runs = checked("--variant", lambda: ablation.plan(config, variant or list(ablation.VARIANTS), seeds, out))
    checked("--out", lambda: prepare_folder(out))
    place = checked("--device", lambda: find_device(device))
    if not refused(lambda: ablation.train_all(runs, device, console)):
        say("\nStopped and saved. The same command goes on from there.")
        raise typer.Exit(130)
    result = refused(lambda: ablation.measure(runs, out, place))
    for split, facts in result["tests"].items():
        table = Table(title=f"{split}, {facts['images']:,} images, {seeds} of each variant")
        for name in ("variant", "refined", "EPE, mm", "AUC 20-50", "AUC 0-100", "mask IoU"):
            table.add_column(name, justify="left" if name == "variant" else "right")
        for row in ablation.table_rows(result, split):
            table.add_row(*row)
        console.print(table)
    say("Written: ", out / "ablation.json", " and the figures beside it")


# ------------------------------------------------------------------------------------------------------------- helpers
def texts(values: Any) -> tuple[str, ...] | None:
    """Options as the configuration has them; None where not given."""
    return None if not values else tuple(map(str, values))


def configured(base: "TrainingConfig | None", options: dict[str, Any], changes: list[str]) -> "TrainingConfig":
    """The configuration of a new run, or of one that is resumed, with the command line's changes."""
    from dhpe_lib.training_config import TrainingConfig, changed

    given = {name: value for name, value in options.items() if value is not None}
    return changed(replace(base or TrainingConfig(), **given), changes)


def refused(make: Callable[[], Value]) -> Value:
    """What `make` gives; what cannot be used, or a training that failed, becomes a message and exit code 1."""
    from dhpe_lib.training import TrainingError

    try:
        return make()
    except (ValueError, OSError, TrainingError) as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(Text(f"✗ {error}", "red"))
        raise typer.Exit(1) from error


def score_table(scores: dict[str, Any], title: str) -> Table:
    """Errors and areas, one row for each protocol."""
    from dhpe_lib.evaluation import GRIDS, score_rows

    table = Table(title=f"{title}, {scores['images']:,} images")
    for name in ("protocol", "EPE, mm", "median, mm", *(f"AUC {grid}" for grid in GRIDS)):
        table.add_column(name, justify="left" if name == "protocol" else "right")
    for row in score_rows(scores):
        table.add_row(*row)
    return table
