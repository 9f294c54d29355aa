"""The optimiser of joint training and its learning rates."""

from typing import Any

from torch.optim import AdamW, Optimizer

from dhpe_lib.network.estimator import Estimator
from dhpe_lib.training.config import TrainingConfig


def build_optimiser(network: Estimator, config: TrainingConfig) -> Optimizer:
    """Build AdamW with one parameter group for each of F, f_E3D and f_J2D; frozen weights are left out.

    On a GPU one kernel updates all weights (fused AdamW). Its rounding differs from the CPU's in the last digit.

    Args:
        network: f_DHPE, on the device of the training.
        config: Its learning rates and weight decay are used.

    Returns:
        The optimiser.
    """
    parts = (network.features, network.regressor, network.pose_machine)
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in part.parameters() if weight.requires_grad], "lr": rate}
        for part, rate in zip(parts, rates_of(config), strict=True)
        if part is not None
    ]
    on_gpu = all(weight.is_cuda for group in groups for weight in group["params"])
    return AdamW(groups, weight_decay=config.weight_decay, fused=on_gpu or None)


def rates_of(config: TrainingConfig) -> tuple[float, float, float]:
    """Return the learning rates of F, f_E3D and f_J2D."""
    return config.learning_rate, config.learning_rate_e3d, config.learning_rate_j2d


def set_rates(optimiser: Optimizer, config: TrainingConfig, step: int) -> None:
    """Set the learning rates of all groups for a step."""
    for group, rate in zip(optimiser.param_groups, rates_of(config), strict=False):
        group["lr"] = rate * config.rate(step)
