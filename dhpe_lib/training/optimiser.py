"""The optimiser of joint training and its learning rates."""

from torch.optim import Adam, Optimizer

from dhpe_lib.network.estimator import Estimator
from dhpe_lib.training.config import TrainingConfig


def build_optimiser(network: Estimator, config: TrainingConfig) -> Optimizer:
    """Build Adam with two parameter groups: F and f_E3D (trained by L), and f_J2D (trained by L_J2D)."""
    f_j2d = [] if network.pose_machine is None else list(network.pose_machine.parameters())
    ids = set(map(id, f_j2d))
    others = [weight for weight in network.parameters() if id(weight) not in ids]
    groups = [{"params": others, "lr": config.learning_rate}, {"params": f_j2d, "lr": config.learning_rate_j2d}]
    return Adam([group for group in groups if group["params"]])


def set_rates(optimiser: Optimizer, config: TrainingConfig, step: int) -> None:
    """Set the learning rates of both groups for a step."""
    rates = (config.learning_rate, config.learning_rate_j2d)
    for group, rate in zip(optimiser.param_groups, rates, strict=False):
        group["lr"] = rate * config.rate(step)
