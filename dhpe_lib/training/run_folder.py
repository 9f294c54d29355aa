"""The folder of a run: its configuration and its checkpoints."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from torch.optim import Optimizer

from dhpe_lib.common.files import clear_drafts, refuse_input, require_space, size_of
from dhpe_lib.network.checkpoints import load_network, load_optimiser, progress_of, read_checkpoint, weights_file
from dhpe_lib.network.estimator import Estimator
from dhpe_lib.training.batches import BatchPlan
from dhpe_lib.training.config import STARTS, ConfigError, TrainingConfig, read_config, refuse_other, write_config
from dhpe_lib.training.self_augmentation import SelfAugmentation, load_growing_set

CONFIG, LAST, BEST = "config.json", "last.safetensors", "best.safetensors"


def check_folder(config: TrainingConfig, run: Path, resume: bool) -> None:
    """Check that a folder is free for a new run, or holds the run to resume.

    Raises:
        FileNotFoundError: There is no run to resume.
        ConfigError: The folder already holds a run, or the run to resume has another configuration.
        FileExistsError: The initial weights are a file that the run writes.
    """
    if resume:
        refuse_other(run / CONFIG, read_config(run / CONFIG), config)
    elif (run / CONFIG).is_file():
        raise ConfigError(f"{run}: already holds a run; continue it with --resume, or name another folder")
    if config.start not in STARTS:
        for name in (LAST, BEST):
            refuse_input(run / name, [weights_file(Path(config.start))])


def create_run_folder(config: TrainingConfig, run: Path, fabric: Fabric, network: Estimator) -> None:
    """Create the folder of a run and write its configuration; all processes must call this.

    Call it after all inputs were read, so that a wrong path leaves no folder behind.

    Raises:
        DiskFullError: The disk has no room for the checkpoints of the network.
        OSError: The folder cannot be written to.
    """
    fabric.barrier()
    if fabric.is_global_zero:
        require_space(run, space_of_checkpoints(network) - size_of([run / LAST, run / BEST]))
        run.mkdir(parents=True, exist_ok=True)
        clear_drafts(run)
        write_config(run / CONFIG, config)
    fabric.barrier()


def space_of_checkpoints(network: Estimator) -> int:
    """Return the bytes that the checkpoints of a run need at least.

    They are the best weights, and the last checkpoint with the two moments of Adam twice, since the old one stays until
    the new one is complete.
    """
    weights = sum(value.numel() * value.element_size() for value in network.state_dict().values())
    moments = sum(2 * value.numel() * value.element_size() for value in network.parameters())
    return weights + 2 * (weights + moments)


def checkpoint_facts(
    network: Estimator, config: TrainingConfig, plan: BatchPlan, step: int, best: float
) -> dict[str, Any]:
    """Return the JSON header of a checkpoint; the error is text, since JSON has no infinity."""
    side = network.features.input_size
    progress = {"step": step, "best": str(best), "children_from": plan.novel_views_from}
    return progress | {"feature_input": side, "config": asdict(config)}


def resume_from(
    path: Path, network: Estimator, optimiser: Optimizer, augmentation: SelfAugmentation | None, rank: int = 0
) -> tuple[int, float]:
    """Load the last checkpoint; without a checkpoint the run starts again at step 0.

    Args:
        path: Path of the checkpoint.
        network: Its weights are loaded in place.
        optimiser: Its state is loaded in place.
        augmentation: The growing set of this process is loaded in place; None without self-augmentation.
        rank: Number of this process.

    Returns:
        Number of steps done, and the lowest test error in mm.
    """
    if not path.is_file():
        return 0, float("inf")
    checkpoint = read_checkpoint(path)
    load_network(checkpoint, network)
    load_optimiser(checkpoint, optimiser)
    if augmentation is not None and checkpoint.grown:
        load_growing_set(augmentation, checkpoint.grown, rank)
    progress = progress_of(checkpoint)
    return progress.step, float(progress.best)


def resume_plan(plan: BatchPlan, path: Path) -> BatchPlan:
    """Return the batch plan of a resumed run.

    If novel views had started by the last checkpoint, their first step stays the same.
    """
    if not path.is_file():
        return plan
    progress = progress_of(read_checkpoint(path))
    first = plan.novel_views_from if progress.children_from is None else progress.children_from
    return replace(plan, novel_views_from=first) if first <= progress.step else plan
