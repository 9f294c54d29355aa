"""Joint training (Sec. 3.3): one loop, to be read from top to bottom.

The loop is :func:`train`. Lightning Fabric lends it devices, processes and precision: on a CPU or one GPU as it is, on
several GPUs or machines under ``torchrun``. What happens at a step is a function of the configuration, the step and the
number of the process; so a run that is stopped in any way and resumed has, on a CPU, the weights to the bit of one that
never was. The chapter is *Joint training*.
"""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType

import torch
from jaxtyping import Bool, Float
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from rich.console import Console
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from dhpe_lib.checkpoints import (
    CheckpointError,
    load_network,
    load_optimiser,
    read_checkpoint,
    write_checkpoint,
)
from dhpe_lib.crop_jitter import View, plain_view
from dhpe_lib.datasets.crops import Crops
from dhpe_lib.datasets.layout import PreparedError
from dhpe_lib.datasets.preparation import progress_bar
from dhpe_lib.datasets.prepared import Prepared
from dhpe_lib.datasets.synthetic.dice import seed_of
from dhpe_lib.datasets.synthetic.engine import Style, SyntheticHands
from dhpe_lib.estimator import PRESETS, Estimator
from dhpe_lib.evaluation import find, join, quick_scores
from dhpe_lib.laplacian import Laplacian
from dhpe_lib.losses import LossOptions, losses_of
from dhpe_lib.mixture import Mixture, Portion
from dhpe_lib.targets import Targets, masked_images
from dhpe_lib.training_config import ConfigError, TrainingConfig, read_config, refuse_other, write_config
from dhpe_lib.training_log import RunLog, means, prediction_sheet

CONFIG, LAST, BEST, STUDY = "config.json", "last.safetensors", "best.safetensors", "not_finite.safetensors"
TEST_BATCH, RENDERED_FOR_TESTS = 64, 256


class TrainingError(RuntimeError):
    """A training that cannot go on; the message says where, why, and what was kept."""


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Attributes:
        step: Steps that are done.
        finished: Whether these are all of them, or it was interrupted.
        best: The least test error, in millimetres; infinite if none was measured.
    """

    step: int
    finished: bool
    best: float


def train(config: TrainingConfig, run: Path, fabric: Fabric, console: Console, resume: bool = False) -> Outcome:
    """Train, from the start or from the last checkpoint.

    Args:
        config: Everything about the training.
        run: Folder for all that it leaves behind.
        fabric: Launched; see :func:`launch`.
        console: Where lines and the progress bar go.
        resume: Whether to go on with the run in the folder.

    Returns:
        How it ended.

    Raises:
        ConfigError: The folder holds a run and none is to be resumed, or the configuration differs from that run's.
        CheckpointError: A checkpoint does not fit, or cannot be written.
        PreparedError: Data are missing or damaged.
        TrainingError: The loss is not finite; the batch and the weights that gave it are in the folder.
    """
    enter(config, run, fabric, resume)
    network = build_network(config)
    optimiser = Adam(parameter_groups(network, config))
    step, best = resume_from(run / LAST, network, optimiser) if resume else (0, float("inf"))
    mixture = Mixture([Prepared(path) for path in config.data], portion_of(config, fabric), config.reach, fabric.device)
    tests = test_sets(config, fabric) if fabric.is_global_zero else {}
    log = RunLog(run, step, console) if fabric.is_global_zero else None
    objective, optimiser = wrap(fabric, Objective(network, config), optimiser)
    records: list[dict[str, Tensor]] = []

    with interrupts() as stop, progress_bar(console) as progress:
        task = progress.add_task("training", total=config.steps, completed=step)
        while step < config.steps and not stop:
            torch.manual_seed(seed_of(config.seed, "step", step, fabric.global_rank))
            set_rates(optimiser, config, step)
            set_mode(network, config)
            view = mixture.view(step)
            found = objective(in_format(view.images, config), vars(view.targets))
            agree(fabric, stop, found["objective"], lambda: save_study(run / STUDY, network, view, step))
            fabric.backward(found["objective"])
            optimiser.step()
            optimiser.zero_grad()
            step += 1

            progress.update(task, completed=step)
            records.append({name: value.detach() for name, value in found.items()})
            last = step == config.steps or bool(stop)
            if log is not None and (step % config.log_every == 0 or last):
                log.record(step, "train", means(records))
                log.line(f"step {step}: " + ", ".join(f"{name} {value:.4g}" for name, value in means(records).items()))
                records = []
            if log is not None and (step % config.test_every == 0 or step == config.steps):
                scores = test(network, tests, config, fabric, log, step)
                if min(scores) < best:
                    best = min(scores)
                    write_checkpoint(run / BEST, network, facts_of(config, step, best))
            if fabric.is_global_zero and (step % config.save_every == 0 or last):
                write_checkpoint(run / LAST, network, facts_of(config, step, best), optimiser)
            fabric.barrier()
    if log is not None:
        log.line(f"{'finished' if step == config.steps else 'interrupted'} after step {step}")
        log.close()
    return Outcome(step, step == config.steps, best)
