"""Joint training (Sec. 3.3): one loop, to be read from top to bottom.

The loop is :func:`train`. Lightning Fabric lends it devices, processes and precision: on a CPU or one GPU as it is, on
several GPUs or machines under ``torchrun``. What happens at a step is a function of the configuration, the step and the
number of the process; so a run that is stopped in any way and resumed has, on a CPU, the weights to the bit of one that
never was. The chapter is *Joint training*.
"""

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from rich.console import Console
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from dhpe_lib.checkpoints import CheckpointError, load_network, load_optimiser, read_checkpoint, write_checkpoint
from dhpe_lib.crop_jitter import View, plain_view
from dhpe_lib.datasets.crops import Crops
from dhpe_lib.datasets.preparation import progress_bar
from dhpe_lib.datasets.prepared import Prepared
from dhpe_lib.datasets.synthetic.dice import seed_of
from dhpe_lib.datasets.synthetic.engine import Style, SyntheticHands
from dhpe_lib.estimator import PRESETS, Estimator
from dhpe_lib.evaluation import find, join, quick_scores
from dhpe_lib.laplacian import Laplacian
from dhpe_lib.losses import LossOptions, joint_error_px, losses_of
from dhpe_lib.mixture import Mixture, Portion
from dhpe_lib.pretrained import load_imagenet
from dhpe_lib.targets import Targets, masked_images
from dhpe_lib.training_config import ConfigError, TrainingConfig, config_from, read_config, refuse_other, write_config
from dhpe_lib.training_log import SHOWN, RunLog, prediction_sheet

CONFIG, LAST, BEST, STUDY = "config.json", "last.safetensors", "best.safetensors", "not_finite"
TEST_BATCH, RENDERED_FOR_TESTS = 64, 256
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
    tests = test_sets(config, fabric.device) if fabric.is_global_zero else {}
    log = RunLog(run, step, console) if fabric.is_global_zero else None
    objective, optimiser = wrap(fabric, Objective(network, config), optimiser, config)
    records: list[dict[str, Tensor]] = []

    with interrupts() as stop, progress_bar(console) as progress:
        task = progress.add_task("training", total=config.steps, completed=step)
        while step < config.steps and not stop:
            torch.manual_seed(seed_of(config.seed, "step", step, fabric.global_rank))
            set_rates(optimiser, config, step)
            set_mode(network, config)
            view = mixture.view(step)
            found = objective(in_format(view.images, config), vars(view.targets))
            if not agree(fabric, stop, found["objective"]):
                raise not_finite(run, network, view, step, fabric)
            fabric.backward(found["objective"])
            optimiser.step()
            optimiser.zero_grad()

            step += 1
            progress.update(task, completed=step)
            last = step == config.steps or bool(stop)
            if log is None:
                continue
            records.append({name: value.detach() for name, value in found.items()})
            if step % config.log_every == 0 or last:
                log.training(step, records)
                records = []
            if step % config.test_every == 0 or step == config.steps:
                score = test(network, tests, config, fabric.device, log, step)
                if score < best:
                    best = score
                    write_checkpoint(run / BEST, network, facts_of(config, step, best))
            if step % config.save_every == 0 or last:
                write_checkpoint(run / LAST, network, facts_of(config, step, best), optimiser)
    if log is not None:
        log.line(f"{'finished' if step == config.steps else 'interrupted'} after step {step}")
        log.close()
    fabric.barrier()
    return Outcome(step, step == config.steps, best)


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
            Means over the batch: "objective", which has the gradient, the terms by name, and the share under tau.

        Source: Eqs. 2 to 12.
        """
        targets, options = Targets(**labels), self.options
        masked = None if options.without_2d_losses else masked_images(images, targets)
        estimate = self.network(images, masked, render=not options.without_shape_loss)
        with torch.autocast(images.device.type, enabled=False):
            losses = losses_of(estimate, targets, self.laplacian, options)
            error = joint_error_px(estimate.joints, targets)
            shares = {"error_px": error.mean(), "share_under_tau": (error < options.tau).float().mean()}
            return losses.means() | shares | {"objective": losses.objective}


# ------------------------------------------------------------------------------------------------ before the first step
def launch(config: TrainingConfig, device: str | None = None) -> Fabric:
    """Start Fabric: on one device, or as one of the processes that ``torchrun`` has started.

    Args:
        config: For the precision.
        device: "cpu" or "cuda"; by default a GPU if there is one.

    Returns:
        Fabric, launched.

    Raises:
        ConfigError: The configuration cannot be run so.
    """
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if kind not in ("cpu", "cuda") or (kind == "cuda" and not torch.cuda.is_available()):
        raise ConfigError(f"{kind}: no such device here; use cpu, or cuda where there is a GPU")
    world, here = (int(os.environ.get(name, 1)) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    if kind == "cpu" and world > 1 and config.batch_norm == "batch":
        raise ConfigError(
            "batch_norm=batch needs the statistics of all processes, which torch shares on GPUs only; "
            "use one process, or --set batch_norm=frozen"
        )
    strategy = DDPStrategy() if world > 1 else "auto"
    torch.backends.cudnn.benchmark = kind == "cuda"
    fabric = Fabric(
        accelerator=kind, devices=here, num_nodes=world // here, strategy=strategy, precision=config.precision
    )
    fabric.launch()
    return fabric


def enter(config: TrainingConfig, run: Path, fabric: Fabric, resume: bool) -> None:
    """Make the folder of a run, or make sure that it holds the run that is to go on."""
    if resume:
        refuse_other(run / CONFIG, read_config(run / CONFIG), config)
    elif (run / CONFIG).is_file():
        raise ConfigError(f"{run}: holds a run; go on with it with --resume, or name another folder")
    fabric.barrier()
    if fabric.is_global_zero:
        run.mkdir(parents=True, exist_ok=True)
        write_config(run / CONFIG, config)
    fabric.barrier()


def build_network(config: TrainingConfig) -> Estimator:
    """The network with the weights to begin with, on the CPU.

    Args:
        config: Whose preset, ablations, seed and start count.

    Returns:
        f_DHPE.

    Raises:
        FileNotFoundError: The weights to start from are missing.
        CheckpointError: They are those of another network.
    """
    torch.manual_seed(config.seed)
    names = {"without_refiner": "without-refiner", "without_2d_losses": "without-2d-losses"}
    ablations = {field: name in config.ablation for field, name in names.items()}
    network = Estimator(replace(PRESETS[config.preset], **ablations))
    if config.start == "imagenet":
        load_imagenet(network.features)
    elif config.start != "random":
        load_network(read_checkpoint(Path(config.start)), network)
    return network


def load_trained(path: Path) -> Estimator:
    """The network of a checkpoint, as it was configured.

    Args:
        path: Of the file, or of a run's folder: then its best weights.

    Returns:
        f_DHPE on the CPU, in evaluation mode.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It is no checkpoint, or that of another network.
    """
    checkpoint = read_checkpoint(path)
    try:
        config = config_from(checkpoint.facts["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{checkpoint.path}: field config is missing or wrong ({error})") from error
    network = build_network(replace(config, start="random"))
    load_network(checkpoint, network)
    return network.eval()


def loss_options(config: TrainingConfig) -> LossOptions:
    """Tau and the ablations of the losses."""
    return LossOptions(
        tau=config.tau,
        constant_lambda=CONSTANT_LAMBDA if "constant-lambda" in config.ablation else None,
        without_shape_loss="without-shape-loss" in config.ablation,
        without_2d_losses="without-2d-losses" in config.ablation,
    )


def parameter_groups(network: Estimator, config: TrainingConfig) -> list[dict[str, Any]]:
    """F and f_E3D, which L trains, and f_J2D, which L_J2D trains: Adam treats each weight by itself, so one does."""
    heatmaps = [] if network.pose_machine is None else list(network.pose_machine.parameters())
    own = set(map(id, heatmaps))
    others = [weight for weight in network.parameters() if id(weight) not in own]
    groups = [{"params": others, "lr": config.learning_rate}, {"params": heatmaps, "lr": config.learning_rate_j2d}]
    return [group for group in groups if group["params"]]


def resume_from(path: Path, network: Estimator, optimiser: Optimizer) -> tuple[int, float]:
    """Load the last checkpoint; a run that was killed before its first begins anew.

    Returns:
        Steps done, and the least test error.
    """
    if not path.is_file():
        return 0, float("inf")
    checkpoint = read_checkpoint(path)
    load_network(checkpoint, network)
    load_optimiser(checkpoint, optimiser)
    return checkpoint.facts["step"], float(checkpoint.facts["best"])


def facts_of(config: TrainingConfig, step: int, best: float) -> dict[str, Any]:
    """What a checkpoint says of itself; the error as text, since JSON has no infinity."""
    return {"step": step, "best": str(best), "config": asdict(config)}


def portion_of(config: TrainingConfig, fabric: Fabric) -> Portion:
    """How this process fills its batches."""
    if config.batch % fabric.world_size:
        raise ConfigError(f"batch is {config.batch}, which {fabric.world_size} processes cannot share equally")
    own = config.batch // fabric.world_size
    rendered = round(own * config.rendered) if config.data else own
    return Portion(own, rendered, config.seed, fabric.global_rank, fabric.world_size)


def test_sets(config: TrainingConfig, device: torch.device) -> dict[str, Crops]:
    """What is tested on while training, by name: rows spread over prepared splits, or rendered hands."""
    if not config.test:
        hands, n = SyntheticHands(device), min(config.test_count, RENDERED_FOR_TESTS)
        style = Style(jitter=False, new_people=True)
        pool = hands.backgrounds(n, seed_of(config.seed, "test backgrounds"), style)
        return {"rendered": hands.batch(n, seed_of(config.seed, "test hands"), pool, style).crops()}
    sets = {}
    for cache in map(Prepared, config.test):
        rows = torch.linspace(0, len(cache) - 1, min(config.test_count, len(cache))).long()
        sets[f"{cache.meta['dataset']}_{cache.meta['split']}"] = cache[rows.numpy()]
    return sets


def wrap(
    fabric: Fabric, objective: Objective, optimiser: Optimizer, config: TrainingConfig
) -> tuple[nn.Module, Optimizer]:
    """Hand network and optimiser over to Fabric: devices, processes, memory format, compilation."""
    network = objective.network
    if config.channels_last:
        network.to(memory_format=torch.channels_last)
    if fabric.world_size > 1 and config.batch_norm == "batch":
        nn.SyncBatchNorm.convert_sync_batchnorm(network)
    if config.compile:
        network.features.network.compile()
        if network.pose_machine is not None:
            network.pose_machine.compile()
    return fabric.setup(objective, optimiser)


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
    """Whether the loop is to end after this step."""

    asked: bool = False

    def __bool__(self) -> bool:
        return self.asked


@contextmanager
def interrupts() -> Iterator[Stop]:
    """Let the first Ctrl-C end the loop after its step, and the second one at once."""
    stop = Stop()

    def ask(*_: object) -> None:
        stop.asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    if threading.current_thread() is not threading.main_thread():  # signals go to the main thread
        yield stop
        return
    before = signal.signal(signal.SIGINT, ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def agree(fabric: Fabric, stop: Stop, loss: Float[Tensor, ""]) -> bool:
    """Whether the loss is finite in all processes; if one of them was asked to stop, all are."""
    facts = torch.stack((loss.detach().isfinite().logical_not(), torch.tensor(stop.asked, device=loss.device))).float()
    if fabric.world_size > 1:
        facts = fabric.all_reduce(facts, reduce_op="sum")
    infinite, asked = facts.tolist()
    stop.asked = asked > 0
    return infinite == 0


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
        scores = quick_scores(join([find(network, batch, device) for batch in batches]), config.tau)
        log.test(step, name, scores)
        shown = plain_view(crops[:SHOWN].to(device))
        log.picture(step, name, prediction_sheet(network, shown, f"{name}, step {step}"))
        errors.append(scores["epe_a_mm"])
    return sum(errors) / len(errors)
