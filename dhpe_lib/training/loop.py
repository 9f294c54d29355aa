"""Joint training (Sec. 3.3): one loop, to be read from top to bottom.

The loop is :func:`train`. Lightning Fabric lends it devices, processes and precision: on a CPU or one GPU as it is, on
several GPUs or machines under ``torchrun``. What happens at a step is a function of the configuration, the step and the
number of the process; so a run that is stopped in any way and resumed has, on a CPU, the weights to the bit of one that
never was. The chapter is *Joint training*.
"""

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from lightning_fabric import Fabric
from rich.console import Console
from torch import Tensor, nn
from torch.optim import Optimizer

from dhpe_lib.common.console import progress_bar
from dhpe_lib.common.records import join_rows
from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.data.crops import Crops
from dhpe_lib.data.targets import Targets, joint_error_px, masked_images
from dhpe_lib.data.views import View, plain_view
from dhpe_lib.evaluation.evaluate import find, quick_scores
from dhpe_lib.hand.laplacian import Laplacian
from dhpe_lib.network.checkpoints import write_checkpoint
from dhpe_lib.network.estimator import Estimator
from dhpe_lib.synthetic.sampling import seed_of
from dhpe_lib.training.batches import Mixture
from dhpe_lib.training.config import TrainingConfig, resolved
from dhpe_lib.training.log import SHOWN, RunLog, families, prediction_sheet
from dhpe_lib.training.losses import LossOptions, losses_of
from dhpe_lib.training.self_augmentation import Augmentation
from dhpe_lib.training.setup import (
    BEST,
    LAST,
    as_begun,
    build_network,
    build_optimiser,
    check_folder,
    enter,
    facts_of,
    grown_sets,
    portion_of,
    resume_from,
    test_sets,
    wrap,
)

STUDY = "not_finite"
TEST_BATCH = 64
CONSTANT_LAMBDA = 0.01
"""Of the ablation in Fig. 5f."""


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
        fabric: Launched; see :func:`dhpe_lib.training.setup.launch`.
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
    config = resolved(config)
    check_folder(config, run, resume)
    network = build_network(config)
    optimiser = build_optimiser(network, config)
    caches = [Prepared(path) for path in config.data]
    portion = portion_of(config, fabric, sum(map(len, caches)))
    if resume:
        portion = as_begun(portion, run / LAST)
    photos = Path(config.backgrounds) if config.backgrounds else None
    mixture = Mixture(caches, portion, config.reach, fabric.device, photos)
    hand = network.hand.to(fabric.device)
    augmentation = Augmentation(hand, config, portion, mixture.backgrounds) if portion.children else None
    step, best = 0, float("inf")
    if resume:
        step, best = resume_from(run / LAST, network, optimiser, augmentation, fabric.global_rank)
    tests = test_sets(config, fabric.device) if fabric.is_global_zero else {}
    enter(config, run, fabric)
    log = RunLog(run, step, console) if fabric.is_global_zero else None
    objective, optimiser = wrap(fabric, network, Objective(network, config), optimiser, config)
    records: list[dict[str, Tensor]] = []

    with interrupts(fabric.world_size) as stop, progress_bar(console) as progress:
        task = progress.add_task("training", total=config.steps, completed=step)
        ends = False
        while step < config.steps and not ends:
            torch.manual_seed(seed_of(config.seed, "step", step, fabric.global_rank))
            set_rates(optimiser, config, step)
            set_mode(network, config)
            seen = mixture.view(step)
            view = seen if augmentation is None else augmentation.extend(seen, step)
            found = objective(in_format(view.images, config), vars(view.targets))
            h = found.pop("h")[: len(seen.images)]
            finite, ends = agree(fabric, stop, found["objective"])
            if not finite:
                raise not_finite(run, network, view, step, fabric)
            fabric.backward(found["objective"])
            optimiser.step()
            optimiser.zero_grad()
            if augmentation is not None:
                augmentation.spawn(h, seen, step)

            step += 1
            progress.update(task, completed=step)
            last = step == config.steps or ends
            saves = step % config.save_every == 0 or last
            grown = grown_sets(augmentation, fabric) if saves else {}
            if log is None:
                continue
            records.append({name: value.detach() for name, value in found.items()})
            if step % config.log_every == 0 or last:
                log.training(step, records)
                records = []
            if step % config.test_every == 0 or step == config.steps:
                score = test(network, tests, config, fabric.device, log, step)
                if augmentation is not None and step >= portion.children_from:
                    log.picture(step, "children", families(augmentation, seen, h, step))
                if score < best:
                    best = score
                    write_checkpoint(run / BEST, network, facts_of(config, portion, step, best))
            if saves:
                write_checkpoint(run / LAST, network, facts_of(config, portion, step, best), optimiser, grown)
    finished = step >= config.steps
    if log is not None:
        log.line(f"{'finished' if finished else 'interrupted'} after step {step}")
        log.close()
    fabric.barrier()
    return Outcome(step, finished, best)


class Objective(nn.Module):
    """All between a batch and the number that is minimised, as one module: processes share the gradients of a module.

    Args:
        network: f_DHPE.
        config: For the ablations and tau.
    """

    def __init__(self, network: Estimator, config: TrainingConfig) -> None:
        super().__init__()
        self.network = network
        self.laplacian = Laplacian(network.hand)
        self.options = loss_options(config)

    def forward(self, images: Float[Tensor, "b 3 s s"], labels: dict[str, Tensor]) -> dict[str, Tensor]:
        """The losses of a batch; under autocast in full precision.

        Args:
            images: Of a view.
            labels: The fields of its targets (Fabric passes no dataclass on).

        Returns:
            Means over the batch: "objective", which has the gradient, the terms by name, and the share under tau; and
            "h" of each image, without gradient.

        Source: Eqs. 2 to 12.
        """
        targets, options = Targets(**labels), self.options
        masked = None if options.without_2d_losses else masked_images(images, targets)
        estimate = self.network(images, masked, render=not options.without_shape_loss)
        with torch.autocast(images.device.type, enabled=False):
            losses = losses_of(estimate, targets, self.laplacian, options)
            error = joint_error_px(estimate.joints, targets)
            shares = {"error_px": error.mean(), "share_under_tau": (error < options.tau).float().mean()}
            return losses.means() | shares | {"objective": losses.objective, "h": estimate.h.detach()}


def loss_options(config: TrainingConfig) -> LossOptions:
    """L_Lap's weight, tau and the ablations of the losses."""
    return LossOptions(
        lap=config.weight_lap,
        tau=config.tau,
        constant_lambda=CONSTANT_LAMBDA if "constant-lambda" in config.ablation else None,
        without_shape_loss="without-shape-loss" in config.ablation,
        without_2d_losses="without-2d-losses" in config.ablation,
    )


# ------------------------------------------------------------------------------------------------------- at every step
def set_rates(optimiser: Optimizer, config: TrainingConfig, step: int) -> None:
    """Give each group its learning rate of a step."""
    rates = (config.learning_rate, config.learning_rate_j2d)
    for group, rate in zip(optimiser.param_groups, rates, strict=False):
        group["lr"] = rate * config.rate(step)


def set_mode(network: Estimator, config: TrainingConfig) -> None:
    """Training mode; normalisations that are frozen stay in evaluation mode."""
    network.train()
    if config.batch_norm == "frozen":
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()


def in_format(images: Float[Tensor, "b 3 s s"], config: TrainingConfig) -> Float[Tensor, "b 3 s s"]:
    """Images in the memory format of the convolutions."""
    return images.contiguous(memory_format=torch.channels_last if config.channels_last else torch.contiguous_format)


@dataclass
class Stop:
    """Whether this process was asked to end the loop."""

    asked: bool = False


@contextmanager
def interrupts(processes: int) -> Iterator[Stop]:
    """Let the first Ctrl-C end the loop after its step, and the second one at once.

    Where there are several processes, torchrun passes the same Ctrl-C on to each: there a second one changes nothing.
    """
    stop = Stop()

    def ask(*_: object) -> None:
        stop.asked = True
        if processes == 1:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    if threading.current_thread() is not threading.main_thread():  # signals go to the main thread
        yield stop
        return
    before = signal.signal(signal.SIGINT, ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def agree(fabric: Fabric, stop: Stop, loss: Float[Tensor, ""]) -> tuple[bool, bool]:
    """What all processes take for true at a step, whatever one of them is asked meanwhile.

    Returns:
        Whether the loss is finite in all of them, and whether one was asked to stop, so that all end after this step.
    """
    facts = torch.stack((loss.detach().isfinite().logical_not(), torch.tensor(stop.asked, device=loss.device))).float()
    if fabric.world_size > 1:
        facts = torch.as_tensor(fabric.all_reduce(facts, reduce_op="sum"))
    infinite, asked = facts.tolist()
    return infinite == 0, asked > 0


def not_finite(run: Path, network: Estimator, view: View, step: int, fabric: Fabric) -> TrainingError:
    """Save the batch and the weights that gave a loss that is no number; batch statistics have met the batch."""
    path = run / f"{STUDY}_{fabric.global_rank}.safetensors"
    write_checkpoint(path, network, {"step": step}, batch={"images": view.images, **vars(view.targets)})
    return TrainingError(
        f"the loss of step {step} is not finite. {path} holds its batch and the weights before it; the last checkpoint "
        "is untouched. Lower learning_rate, or look at the data"
    )


def test(
    network: Estimator, sets: Mapping[str, Crops], config: TrainingConfig, device: torch.device, log: RunLog, step: int
) -> float:
    """Test on each set, record the curves of Fig. 5f, draw pictures.

    Returns:
        The mean of the sets' end-point errors (protocol A), mm.
    """
    errors = []
    for name, crops in sets.items():
        batches = [crops[start : start + TEST_BATCH] for start in range(0, len(crops), TEST_BATCH)]
        scores = quick_scores(join_rows([find(network, batch, device) for batch in batches]), config.tau)
        log.test(step, name, scores)
        shown = plain_view(crops[:SHOWN].to(device))
        log.picture(step, name, prediction_sheet(network, shown, f"{name}, step {step}"))
        errors.append(scores["epe_a_mm"])
    return sum(errors) / len(errors)
