"""A network of the library's own classes with very few weights, for tests of the code around it."""

from pathlib import Path

from rich.console import Console
from torch import nn

from dhpe_lib.network import evidence
from dhpe_lib.network.estimator import PRESETS, EstimatorConfig
from dhpe_lib.network.evidence import PoseMachineConfig
from dhpe_lib.training import batches, loop
from dhpe_lib.training.config import TrainingConfig
from dhpe_lib.training.loop import Outcome
from dhpe_lib.training.setup import launch_fabric

WIDTH = 8
TINY = EstimatorConfig(
    "resnet18", feature_input=16, pose_machine=PoseMachineConfig(16, ((4,), (WIDTH,)), 8, 8, 2, batch_norm=True)
)


def backbone() -> nn.Sequential:
    """A replacement for a ResNet; its last layer is the classifier that `FeatureNet` removes."""
    net = nn.Sequential(
        nn.Conv2d(3, WIDTH, 5, 4, bias=False),
        nn.BatchNorm2d(WIDTH),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    net.fc = nn.Identity()
    return net


def install(setitem=dict.__setitem__) -> None:
    """Make the preset "light" tiny; `setitem` may be monkeypatch's."""
    setitem(evidence.BACKBONES, "resnet18", backbone)
    setitem(evidence.FEATURE_SIZES, "resnet18", WIDTH)
    setitem(PRESETS, "light", TINY)
    setitem(vars(batches), "POOL", 4)


def config(data: Path, **changes: object) -> TrainingConfig:
    """Configuration of a few steps on one prepared split, with a checkpoint after each step."""
    values = {
        "start": "random", "data": (str(data),), "test": (str(data),), "batch": 4, "steps": 6, "save_every": 1,
        "log_every": 2, "test_every": 100, "learning_rate": 1e-2, "learning_rate_e3d": 1e-2, "learning_rate_j2d": 1e-2,
        "warmup": 0, "decay": "constant", "augment_share": 0.0,
    }  # fmt: skip
    return TrainingConfig(**values | changes)


def run(config: TrainingConfig, folder: Path, resume: bool = False) -> Outcome:
    """Train on the CPU without console output."""
    return loop.train(config, folder, launch_fabric(config, "cpu"), Console(quiet=True), resume)
