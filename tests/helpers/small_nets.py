"""Networks of the paper's structure that are small enough for tests, and ground truth for them."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dhpe_lib.data.targets import Targets
from dhpe_lib.network.estimator import Estimator, EstimatorConfig
from dhpe_lib.network.evidence import PoseMachineConfig

SIZE = 64
MACHINE = PoseMachineConfig(input_size=32, trunk=((4,), (6, 6), (8, 5)), head=7, stage_width=6)
CONFIG = EstimatorConfig("resnet18", feature_input=SIZE, pose_machine=MACHINE)


def network_on_gpu(**changes: Any) -> Estimator:
    """An untrained network with seed 0 on the (pretended) GPU; `changes` are those of its configuration."""
    torch.manual_seed(0)
    return Estimator(replace(CONFIG, **changes)).eval().to("cuda")


def random_images(n: int, generator: torch.Generator) -> Tensor:
    return torch.rand(n, 3, SIZE, SIZE, generator=generator)


def random_targets(n: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Targets:
    """Targets with all labels: joints spread over the crop, and a rectangle as the mask."""
    joints = (torch.rand(n, 21, 3, generator=generator) - 0.5).to(dtype)
    yes = torch.ones(n, 21, dtype=torch.bool)
    mask = torch.zeros(n, SIZE, SIZE, dtype=dtype)
    mask[:, 16:48, 20:40] = 1
    one = torch.ones(n, dtype=torch.bool)
    pose_shape = 0.3 * torch.randn(n, 55, generator=generator).to(dtype)
    return Targets(joints, yes, joints[..., :2].clone(), yes.clone(), mask, one, pose_shape, one.clone())
