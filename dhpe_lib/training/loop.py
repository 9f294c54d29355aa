"""Joint training (Sec. 3.3): one loop, to be read from top to bottom.

The loop is :func:`train`. Lightning Fabric handles devices, processes and precision; several GPUs or machines need
``torchrun``. A step is a function of the configuration, the step number and the process number. On a CPU an interrupted
and resumed run therefore has, bit for bit, the weights of an uninterrupted run. The chapter is *A training run*.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from lightning_fabric import Fabric
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional

from dhpe_lib.common.console import progress_bar
from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.data.targets import Targets, joint_error_px, masked_images
from dhpe_lib.data.views import View
from dhpe_lib.hand.laplacian import Laplacian
from dhpe_lib.hand.model import neutral_h
from dhpe_lib.network.checkpoints import write_checkpoint
from dhpe_lib.network.estimator import Estimator
from dhpe_lib.synthetic.sampling import seed_of
from dhpe_lib.training.agreement import Flags, interrupts, reads_flags
from dhpe_lib.training.batches import TrainingBatches, ViewOptions, plan_batches
from dhpe_lib.training.config import TrainingConfig, resolved
from dhpe_lib.training.log import RunLog, families
from dhpe_lib.training.losses import LossOptions, evidence_loss, losses_of
from dhpe_lib.training.optimiser import build_optimiser, set_rates, step_unless
from dhpe_lib.training.run_folder import (
    BEST,
    LAST,
    check_folder,
    checkpoint_facts,
    create_run_folder,
    resume_from,
    resume_plan,
)
from dhpe_lib.training.self_augmentation import SelfAugmentation, gather_growing_sets
from dhpe_lib.training.setup import build_network, setup_fabric
from dhpe_lib.training.testing import load_test_sets, log_tests, predict_tests

NOT_FINITE = "not_finite"
CONSTANT_LAMBDA = 0.01
"""Constant lambda of the ablation in Fig. 5f."""


class TrainingError(RuntimeError):
    """A training cannot continue; the message says at which step, why, and what was saved."""


@dataclass(frozen=True)
class Outcome:
    """End of a training.

    Attributes:
        step: Number of steps done.
        finished: Whether all steps were done; False after an interrupt.
        best: Lowest test error, mm (pixels if only the evidence learns); infinite if there was no test.
    """

    step: int
    finished: bool
    best: float


def train(config: TrainingConfig, run: Path, fabric: Fabric, console: Console, resume: bool = False) -> Outcome:
    """Train from the start, or continue from the last checkpoint.

    Args:
        config: Configuration of the training.
        run: Folder of the run, for checkpoints and logs.
        fabric: The launched Fabric; see :func:`dhpe_lib.training.setup.launch_fabric`.
        console: Console for log lines and the progress bar.
        resume: Whether to continue the run in the folder.

    Returns:
        The number of steps done and the best test error.

    Raises:
        ConfigError: The folder holds a run and `resume` is False, or the configuration differs from that run's.
        CheckpointError: A checkpoint does not fit, or cannot be written.
        PreparedError: Data are missing or damaged.
        TrainingError: The loss or an h is not finite; the folder holds the batch and the weights before the step.
    """
    config = resolved(config)
    check_folder(config, run, resume)
    network = build_network(config).to(fabric.device)  # before the optimiser, whose loaded state follows its weights
    optimiser = build_optimiser(network, config)
    caches, weak = ([Prepared(path) for path in paths] for paths in (config.data, config.photos))
    plan = plan_batches(config, fabric, sum(map(len, caches)))
    if resume:
        plan = resume_plan(plan, run / LAST)
    photos = Path(config.backgrounds) if config.backgrounds else None
    views = ViewOptions.of(network, config)
    batches = TrainingBatches(caches, plan, views, fabric.device, photos, weak)
    augmentation = (
        SelfAugmentation(network.hand, config, plan, batches.backgrounds, views) if plan.novel_views else None
    )
    step, best = 0, float("inf")
    if resume:
        step, best = resume_from(run / LAST, network, optimiser, augmentation, fabric.global_rank)
    tests = load_test_sets(config, fabric)
    create_run_folder(config, run, fabric, network)
    log = RunLog(run, step, console) if fabric.is_global_zero else None
    objective, optimiser = setup_fabric(fabric, network, TrainingObjective(network, config), optimiser, config)
    records: list[dict[str, Tensor]] = []

    with interrupts(fabric.world_size) as stop, progress_bar(console) as progress:
        task = progress.add_task("training", total=config.steps, completed=step)
        flags, ends = Flags(fabric, stop), False
        while step < config.steps and not ends:
            torch.manual_seed(seed_of(config.seed, "step", step, fabric.global_rank))
            set_rates(optimiser, config, step)
            set_mode(network, config)
            seen = batches.view(step)
            view = seen if augmentation is None else augmentation.extend(seen, step)
            losses = objective(in_format(view.images, config), vars(view.targets))
            h = losses.pop("h")[: len(seen.images)]
            flags.note(losses["objective"], h, step)
            if reads_flags(step, config, plan, fabric.device):
                bad, ends = flags.read()
                if bad is not None:
                    raise not_finite(run, network, view if bad == step else batches.view(bad), bad, fabric)
            fabric.backward(losses["objective"])
            if config.clip:
                nn.utils.clip_grad_norm_(network.parameters(), config.clip)
            step_unless(flags.bad, optimiser)
            optimiser.zero_grad()
            if augmentation is not None:
                augmentation.add_views(h, seen, step)

            step += 1
            progress.update(task, completed=step)
            last = step == config.steps or ends
            saves = step % config.save_every == 0 or last
            grown = gather_growing_sets(augmentation, fabric) if saves else {}
            tested = step % config.test_every == 0 or step == config.steps
            predictions = predict_tests(network, tests, fabric) if tested else None
            if log is None:
                continue
            records.append({name: value.detach() for name, value in losses.items()})
            if step % config.log_every == 0 or last:
                log.training(step, records)
                records = []
            if predictions is not None:
                score = log_tests(network, tests, predictions, config, log, step)
                if augmentation is not None and step >= plan.novel_views_from:
                    log.picture(step, "children", families(augmentation, seen, h, step))
                if score < best:
                    best = score
                    write_checkpoint(run / BEST, network, checkpoint_facts(network, config, plan, step, best))
            if saves:
                facts = checkpoint_facts(network, config, plan, step, best)
                write_checkpoint(run / LAST, network, facts, optimiser, grown)
    finished = step >= config.steps
    if log is not None:
        log.line(f"{'finished' if finished else 'interrupted'} after step {step}")
        log.close()
    fabric.barrier()
    return Outcome(step, finished, best)


class TrainingObjective(nn.Module):
    """Network and losses as one module, since processes share the gradients of one module.

    Args:
        network: f_DHPE.
        config: Its ablations, tau, weights and `learns` are used.
    """

    def __init__(self, network: Estimator, config: TrainingConfig) -> None:
        super().__init__()
        self.network = network
        self.laplacian = Laplacian(network.hand)
        self.feature_share = config.feature_share
        self.options = loss_options(config)
        self.evidence_only = config.learns == "evidence"

    def forward(self, images: Float[Tensor, "b 3 s s"], labels: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compute the losses of a batch; they are in full precision also under autocast.

        Args:
            images: Images of a view, in [0, 1].
            labels: The fields of the view's targets, as a dict because Fabric does not pass dataclasses on.

        Returns:
            Means over the batch: the "objective", which has the gradient, each term by name, "error_px" and
            "share_under_tau"; and "h" of each image, without gradient.

        Source: Eqs. 2 to 12.
        """
        targets, options = Targets(**labels), self.options
        if self.evidence_only:
            return self.evidence_losses(images, targets)
        needs_masked = options.feat > 0 and not options.without_2d_losses
        shown = math.ceil(self.feature_share * len(images))
        masked = masked_images(images, targets)[:shown] if needs_masked else None
        estimate = self.network(images, masked, render=not options.without_shape_loss)
        with torch.autocast(images.device.type, enabled=False):
            losses = losses_of(estimate, targets, self.laplacian, options)
            error = joint_error_px(estimate.joints, targets)
            shares = {"error_px": error.mean(), "share_under_tau": (error < options.tau).float().mean()}
            return losses.means() | shares | {"objective": losses.objective, "h": estimate.h.detach()}

    def evidence_losses(self, images: Float[Tensor, "b 3 s s"], targets: Targets) -> dict[str, Tensor]:
        """Compute L_J2D alone; h is the mean hand and "error_px" is the error of j2D(0).

        Source: Eq. 3.
        """
        evidence = self.network.find_evidence(images)
        with torch.autocast(images.device.type, enabled=False):
            loss = evidence_loss(evidence, targets, self.options).mean()
            error = joint_error_px(functional.pad(evidence.joints_2d, (0, 1)), targets).mean()
            h = neutral_h(self.network.hand).expand(len(images), -1)
            return {"j2d": loss.detach(), "error_px": error, "objective": loss, "h": h}


def loss_options(config: TrainingConfig) -> LossOptions:
    """Return the options of the losses: weights, tau and ablations."""
    return LossOptions(
        lap=config.weight_lap,
        feat=config.weight_feat,
        sh=config.weight_sh,
        j2d=config.weight_j2d,
        hand=config.weight_h,
        prior=config.weight_prior,
        tau=config.tau,
        constant_lambda=CONSTANT_LAMBDA if "constant-lambda" in config.ablation else None,
        without_shape_loss="without-shape-loss" in config.ablation,
        without_2d_losses="without-2d-losses" in config.ablation,
    )


# --------------------------------------------------------------------------------------------------- parts of each step
def set_mode(network: Estimator, config: TrainingConfig) -> None:
    """Set training mode; frozen batch norm layers stay in evaluation mode."""
    network.train()
    if config.batch_norm == "frozen":
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()


def in_format(images: Float[Tensor, "b 3 s s"], config: TrainingConfig) -> Float[Tensor, "b 3 s s"]:
    """Convert images to the memory format of the convolutions."""
    return images.contiguous(memory_format=torch.channels_last if config.channels_last else torch.contiguous_format)


def not_finite(run: Path, network: Estimator, view: View, step: int, fabric: Fabric) -> TrainingError:
    """Save the batch and the weights of a loss or h that is not finite, and return the error to raise.

    The saved batch norm statistics already include this batch, and on a GPU up to nine later ones.
    """
    path = run / f"{NOT_FINITE}_{fabric.global_rank}.safetensors"
    write_checkpoint(path, network, {"step": step}, batch={"images": view.images, **vars(view.targets)})
    return TrainingError(
        f"the loss or h of step {step} is not finite. {path} holds the batch and the weights before the step; the last "
        "checkpoint is unchanged. Lower learning_rate, or look at the data"
    )
