"""The optimiser of joint training and its learning rates."""

from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor
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
    parts = ((network.features,), (network.regressor, network.joint_reader), (network.pose_machine,))
    trained = [
        [weight for part in group if part is not None for weight in part.parameters() if weight.requires_grad]
        for group in parts
    ]
    groups: list[dict[str, Any]] = [
        {"params": weights, "lr": rate} for weights, rate in zip(trained, rates_of(config), strict=True) if weights
    ]
    on_gpu = all(weight.is_cuda for weights in trained for weight in weights)
    return AdamW(groups, weight_decay=config.weight_decay, fused=on_gpu or None)


def rates_of(config: TrainingConfig) -> tuple[float, float, float]:
    """Return the learning rates of F, f_E3D and f_J2D."""
    return config.learning_rate, config.learning_rate_e3d, config.learning_rate_j2d


def match_layout(optimiser: Optimizer) -> None:
    """Give the loaded moments of Adam the memory format of their weights; call it after the weights' format is set.

    A checkpoint stores them contiguously. The fused kernel walks weights and moments side by side in memory, so with
    weights in channels last it would take the moment of another weight on the CPU, and it refuses them on a GPU.
    """
    for weight, state in optimiser.state.items():
        for name, value in state.items():
            if value.shape == weight.shape:
                state[name] = torch.empty_like(weight).copy_(value)


def set_rates(optimiser: Optimizer, config: TrainingConfig, step: int) -> None:
    """Set the learning rates of all groups for a step."""
    for group, rate in zip(optimiser.param_groups, rates_of(config), strict=False):
        group["lr"] = rate * config.rate(step)


def step_unless(flag: Bool[Tensor, ""], optimiser: Optimizer) -> None:
    """Change the weights, unless a flag is set: then weights and moments stay as they are.

    A fused kernel reads the flag on the GPU, as it reads that of `torch.amp.GradScaler`, so the host does not wait.
    """
    if optimiser.defaults["fused"]:
        inner: Any = getattr(optimiser, "optimizer", optimiser)  # Fabric's wrapper passes no attributes on
        inner.found_inf = flag.float()
        optimiser.step()
    elif not flag:
        optimiser.step()
