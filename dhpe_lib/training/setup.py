"""What happens before the first step of a training: devices, the folder, network, optimiser, data, tests."""

import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from dhpe_lib.common.files import clear_drafts
from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.data.crops import Crops
from dhpe_lib.network.checkpoints import load_network, load_optimiser, read_checkpoint
from dhpe_lib.network.estimator import Estimator, config_of
from dhpe_lib.network.pretrained import load_imagenet
from dhpe_lib.synthetic.engine import Style, SyntheticHands
from dhpe_lib.synthetic.orh import COUNTS
from dhpe_lib.synthetic.sampling import seed_of
from dhpe_lib.training.batches import Portion
from dhpe_lib.training.config import ConfigError, TrainingConfig, read_config, refuse_other, write_config
from dhpe_lib.training.self_augmentation import Augmentation

CONFIG, LAST, BEST = "config.json", "last.safetensors", "best.safetensors"
RENDERED_FOR_TESTS = 256
RENDERED_EPOCH = COUNTS["orh"]["train"]
"""Pictures that count as an epoch where all are rendered on the spot."""


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
    precision: Any = config.precision
    strategy = DDPStrategy() if world > 1 else "auto"
    torch.backends.cudnn.benchmark = kind == "cuda"
    fabric = Fabric(accelerator=kind, devices=here, num_nodes=world // here, strategy=strategy, precision=precision)
    fabric.launch()
    return fabric


def check_folder(config: TrainingConfig, run: Path, resume: bool) -> None:
    """Make sure that a folder is free for a run, or holds the run that is to go on."""
    if resume:
        refuse_other(run / CONFIG, read_config(run / CONFIG), config)
    elif (run / CONFIG).is_file():
        raise ConfigError(f"{run}: holds a run; go on with it with --resume, or name another folder")


def enter(config: TrainingConfig, run: Path, fabric: Fabric) -> None:
    """Make the folder of a run, once all that it needs is there: a wrong path leaves no run behind."""
    fabric.barrier()
    if fabric.is_global_zero:
        run.mkdir(parents=True, exist_ok=True)
        clear_drafts(run)
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
    network = Estimator(config_of(config.preset, config.ablation))
    if config.start == "imagenet":
        load_imagenet(network.features)
    elif config.start != "random":
        load_network(read_checkpoint(Path(config.start)), network)
    return network


def build_optimiser(network: Estimator, config: TrainingConfig) -> Optimizer:
    """One Adam, which treats each weight by itself: a group for F and f_E3D (L trains them), one for f_J2D (L_J2D)."""
    heatmaps = [] if network.pose_machine is None else list(network.pose_machine.parameters())
    own = set(map(id, heatmaps))
    others = [weight for weight in network.parameters() if id(weight) not in own]
    groups = [{"params": others, "lr": config.learning_rate}, {"params": heatmaps, "lr": config.learning_rate_j2d}]
    return Adam([group for group in groups if group["params"]])


def resume_from(
    path: Path, network: Estimator, optimiser: Optimizer, augmentation: Augmentation | None, rank: int = 0
) -> tuple[int, float]:
    """Load the last checkpoint; a run that was killed before its first begins anew.

    Args:
        path: Of the checkpoint.
        network: Gets its weights.
        optimiser: Gets its state.
        augmentation: Gets the growing set of this process.
        rank: Number of this process.

    Returns:
        Steps done, and the least test error.
    """
    if not path.is_file():
        return 0, float("inf")
    checkpoint = read_checkpoint(path)
    load_network(checkpoint, network)
    load_optimiser(checkpoint, optimiser)
    if augmentation is not None and checkpoint.grown:
        sets = checkpoint.grown
        own = rank % len(sets["count"])
        augmentation.grown.load({name: values[own] for name, values in sets.items()})
    return checkpoint.facts["step"], float(checkpoint.facts["best"])


def facts_of(config: TrainingConfig, portion: Portion, step: int, best: float) -> dict[str, Any]:
    """What a checkpoint says of itself; the error as text, since JSON has no infinity."""
    return {"step": step, "best": str(best), "children_from": portion.children_from, "config": asdict(config)}


def grown_sets(augmentation: Augmentation | None, fabric: Fabric) -> dict[str, Tensor]:
    """The growing sets of all processes for a checkpoint, each without its empty rows; all processes must ask."""
    if augmentation is None:
        return {}
    state = augmentation.grown.state()
    if fabric.world_size > 1:
        sets = {name: torch.as_tensor(fabric.all_gather(values)) for name, values in state.items()}
    else:
        sets = {name: values[None] for name, values in state.items()}
    filled = int(sets["count"].max())
    return {name: values if name == "count" else values[:, :filled] for name, values in sets.items()}


def portion_of(config: TrainingConfig, fabric: Fabric, total: int) -> Portion:
    """How this process fills its batches.

    Args:
        config: Of the training.
        fabric: Launched.
        total: Rows of all caches.

    Returns:
        Its portion; children come a step after the first seeds.

    Raises:
        ConfigError: Processes cannot share the batch equally, or there are to be children and none has a place.
    """
    if config.batch % fabric.world_size:
        raise ConfigError(f"batch is {config.batch}, which {fabric.world_size} processes cannot share equally")
    own = config.batch // fabric.world_size
    rendered = round(own * config.rendered) if config.data else own
    plain = Portion(own, rendered, config.seed, fabric.global_rank, fabric.world_size)
    if not config.augments:
        return plain
    epoch = total / (config.batch - fabric.world_size * rendered) if rendered < own else RENDERED_EPOCH / config.batch
    first = round(min(config.augment_after * epoch, config.steps / 2))
    children = min(own - 1, round(own * config.augment_share))
    if not children:
        raise ConfigError(
            f"batch is {config.batch}, {own} in each process, and augment_share {config.augment_share}: no place for a "
            "child. Children need 2 images or more in each process and a share that makes at least one a child; "
            "change batch or augment_share, or train with --ablation without-augmentation"
        )
    return replace(plain, children=children, children_from=first + 1)


def as_begun(portion: Portion, path: Path) -> Portion:
    """The portion of a resumed run: children that had begun at its last checkpoint have begun when they did."""
    if not path.is_file():
        return portion
    facts = read_checkpoint(path).facts
    first = facts.get("children_from", portion.children_from)
    return replace(portion, children_from=first) if first <= facts["step"] else portion


def open_tests(folders: Sequence[str]) -> dict[str, Prepared]:
    """Prepared splits to test on, by the name that their results go by.

    Raises:
        ConfigError: Two have the same name.
        PreparedError: One is missing or damaged.
    """
    caches: dict[str, Prepared] = {}
    for cache in map(Prepared, folders):
        if cache.name in caches:
            raise ConfigError(
                f"test names {caches[cache.name].directory} and {cache.directory}, which are both {cache.name}: "
                "their results could not be told apart. Name one of them"
            )
        caches[cache.name] = cache
    return caches


def test_sets(config: TrainingConfig, device: torch.device) -> dict[str, Crops]:
    """What is tested on while training, by name: rows spread over prepared splits, or rendered hands."""
    if not config.test:
        hands, n = SyntheticHands(device), min(config.test_count, RENDERED_FOR_TESTS)
        style = Style(jitter=False, new_people=True)
        pool = hands.backgrounds(n, seed_of(config.seed, "test backgrounds"), style)
        return {"rendered": hands.batch(n, seed_of(config.seed, "test hands"), pool, style).crops()}
    return {name: cache[cache.spread(config.test_count)] for name, cache in open_tests(config.test).items()}


def wrap(
    fabric: Fabric, network: Estimator, objective: nn.Module, optimiser: Optimizer, config: TrainingConfig
) -> tuple[nn.Module, Optimizer]:
    """Hand network and optimiser over to Fabric: devices, processes, memory format, compilation."""
    if config.channels_last:
        network.to(memory_format=torch.channels_last)
    if fabric.world_size > 1 and config.batch_norm == "batch":
        nn.SyncBatchNorm.convert_sync_batchnorm(network)
    if config.compile:
        network.features.network.compile()
        if network.pose_machine is not None:
            network.pose_machine.compile()
    return fabric.setup(objective, optimiser)
