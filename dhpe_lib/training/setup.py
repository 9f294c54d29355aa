"""Prepare Fabric and the network before the first step of a training."""

import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch import nn
from torch.optim import Optimizer

from dhpe_lib.common.devices import default_device
from dhpe_lib.network.checkpoints import load_network, read_checkpoint
from dhpe_lib.network.estimator import Estimator, config_of
from dhpe_lib.network.evidence import FeatureNet
from dhpe_lib.network.hand_evidence import HandFeatureNet, load_hand_trunk
from dhpe_lib.network.pretrained import load_imagenet
from dhpe_lib.training.config import STARTS, ConfigError, TrainingConfig
from dhpe_lib.training.optimiser import match_layout


def launch_fabric(config: TrainingConfig, device: str | None = None) -> Fabric:
    """Launch Fabric on one device, or as one of the processes that ``torchrun`` started.

    Args:
        config: Its precision and batch norm are used.
        device: "cpu", "cuda", or a certain GPU such as "cuda:1"; None for a GPU if there is one.

    Returns:
        The launched Fabric.

    Raises:
        ConfigError: The device does not exist, or the configuration cannot run on it.
    """
    name = device or default_device()
    kind, _, number = name.partition(":")
    gpus = torch.cuda.device_count() if kind == "cuda" and torch.cuda.is_available() else 0
    if (number and not (number.isdecimal() and int(number) < gpus)) or not (kind == "cpu" or gpus):
        raise ConfigError(f"{name}: no such device here; use cpu, or cuda on a machine with a GPU")
    world, here = (int(os.environ.get(name, 1)) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    if kind == "cpu" and world > 1 and config.batch_norm == "batch":
        raise ConfigError(
            "batch_norm=batch needs the statistics of all processes, but torch shares them only on GPUs; "
            "use one process, or --set batch_norm=frozen"
        )
    precision: Any = config.precision
    strategy = DDPStrategy(broadcast_buffers=False) if world > 1 else "auto"
    torch.backends.cudnn.benchmark = kind == "cuda"
    if number and world > 1:
        raise ConfigError(f"{name}: torchrun gives each process its own GPU; use cuda")
    devices = [int(number)] if number else here
    fabric = Fabric(accelerator=kind, devices=devices, num_nodes=world // here, strategy=strategy, precision=precision)
    fabric.launch()
    return fabric


def build_network(config: TrainingConfig) -> Estimator:
    """Build the network with its initial weights, on the CPU.

    Args:
        config: Its preset, ablation, feature_input, seed and start are used.

    Returns:
        f_DHPE.

    Raises:
        FileNotFoundError: The initial weights are missing.
        CheckpointError: The initial weights belong to another network.
        ConfigError: The preset has no such start.
    """
    torch.manual_seed(config.seed)
    network = Estimator(config_of(config.preset, config.ablation, config.feature_input))
    features: FeatureNet | HandFeatureNet = network.features
    if config.start not in STARTS:
        load_start(Path(config.start), network)
    elif config.start == "hand" and isinstance(features, HandFeatureNet):
        load_hand_trunk(features)
    elif config.start == "imagenet" and isinstance(features, FeatureNet):
        load_imagenet(features)
    elif config.start != "random":
        other = "hand" if isinstance(features, HandFeatureNet) else "imagenet"
        raise ConfigError(
            f"start is {config.start}, which is not for the preset {config.preset}; it may be {other}, random or a "
            "checkpoint"
        )
    if isinstance(features, HandFeatureNet) and config.start != "random":
        features.freeze(config.frozen)
    return network


def load_start(path: Path, network: Estimator) -> None:
    """Load the weights of a checkpoint; f_E3D starts anew, with a warning, if its layers have other shapes there.

    An ablation or another preset changes the inputs of f_E3D, but not F and f_J2D, which cost most of a training.

    Args:
        path: Path of the checkpoint, or of a run's folder.
        network: f_DHPE with its initial weights; changed in place.

    Raises:
        FileNotFoundError: The file does not exist.
        CheckpointError: The file is not a checkpoint, or its F or f_J2D is another one.
    """
    checkpoint = read_checkpoint(path)
    anew, saved = (
        {name: value for name, value in weights.items() if name.startswith(("regressor.", "joint_reader."))}
        for weights in (network.state_dict(), checkpoint.network)
    )
    if {name: value.shape for name, value in anew.items()} != {name: value.shape for name, value in saved.items()}:
        warnings.warn(f"{checkpoint.path}: its f_E3D has other layers; f_E3D starts anew", stacklevel=2)
        rest = {name: value for name, value in checkpoint.network.items() if name not in saved}
        checkpoint = replace(checkpoint, network=rest | anew)
    load_network(checkpoint, network)


def setup_fabric(
    fabric: Fabric, network: Estimator, objective: nn.Module, optimiser: Optimizer, config: TrainingConfig
) -> tuple[nn.Module, Optimizer]:
    """Set memory format, batch norm and compilation, and pass network and optimiser to Fabric."""
    if config.channels_last:
        network.to(memory_format=torch.channels_last)
        match_layout(optimiser)
    if fabric.world_size > 1 and config.batch_norm == "batch":
        nn.SyncBatchNorm.convert_sync_batchnorm(network)
    if config.compile:
        network.features.network.compile()
        if network.pose_machine is not None:
            network.pose_machine.compile()
    return fabric.setup(objective, optimiser)
