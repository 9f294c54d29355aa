"""Weights and the state of a training in safetensors files: no code runs when they are loaded.

``last.safetensors`` holds network, optimiser, growing set and step in one file, so that a kill never leaves two files
of different steps; ``best.safetensors`` holds the network alone. The name of a file always stands for a whole file
(:mod:`dhpe_lib.common.files`). What is no tensor is JSON in the header.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from dhpe_lib.common.files import atomic_write, gigabytes

FORMAT = 1
"""Goes up with each change of what the files mean."""
NETWORK, OPTIMISER, GROWN, BATCH = "network.", "optimiser.", "grown.", "batch."


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, written or used; the message names the file, the field and the remedy."""


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Attributes:
        path: The file.
        facts: What was written with the tensors: the step, the configurations, scores.
        network: Weights and buffers by name.
        optimiser: Its tensors by "parameter.name", empty in a file of weights alone.
        grown: The growing sets of the self-augmentation, a row for each process; empty in a run without.
        batch: A batch for study, empty in most files.
    """

    path: Path
    facts: dict[str, Any]
    network: dict[str, Tensor]
    optimiser: dict[str, Tensor]
    grown: dict[str, Tensor]
    batch: dict[str, Tensor]


def write_checkpoint(
    path: Path,
    network: nn.Module,
    facts: Mapping[str, Any],
    optimiser: Optimizer | None = None,
    grown: Mapping[str, Tensor] | None = None,
    batch: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a checkpoint that is there as a whole or not at all, whatever happens to program and machine.

    Args:
        path: Of the file; its folder exists.
        network: Whose weights and buffers are kept.
        facts: For JSON.
        optimiser: Kept as well, for training to go on.
        grown: The growing sets, kept as well.
        batch: Kept as well, for study.

    Raises:
        CheckpointError: It cannot be written; what was there before is still there.
    """
    tensors = {NETWORK + name: value for name, value in network.state_dict().items()}
    header: dict[str, Any] = {"format": FORMAT, **facts}
    if optimiser is not None:
        moments, header["groups"] = optimiser_parts(optimiser)
        tensors |= {OPTIMISER + name: value for name, value in moments.items()}
    tensors |= {GROWN + name: value for name, value in (grown or {}).items()}
    tensors |= {BATCH + name: value for name, value in (batch or {}).items()}
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    try:
        with atomic_write(path) as draft:
            save_file(plain, draft, {"dhpe": json.dumps(header)})
            draft.chmod(0o644)  # the library makes files that only their owner can read
    except (OSError, SafetensorError) as error:
        size = gigabytes(sum(value.numel() * value.element_size() for value in plain.values()))
        raise CheckpointError(
            f"{path}: cannot be written ({error}); it takes {size}. Make room or correct the permissions and resume "
            "the run: the checkpoint before is whole"
        ) from error


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: Of the file, or of a run's folder: then of its best weights, if there are any, else of its last.

    Returns:
        Its contents, on the CPU.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It is no checkpoint, a damaged one, or one of another version.
    """
    if path.is_dir():
        path = weights_in(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint; name a .safetensors file or the folder of a run")
    try:
        with safe_open(path, "pt") as file:
            facts = json.loads((file.metadata() or {}).get("dhpe", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path}: is no safetensors file, or a damaged one ({error})") from error
    if facts.get("format") != FORMAT:
        found = facts.get("format", "missing")
        raise CheckpointError(f"{path}: field format is {found}, this version reads {FORMAT}; train it again")
    return Checkpoint(path, facts, *(_with(part, tensors) for part in (NETWORK, OPTIMISER, GROWN, BATCH)))


def weights_in(run: Path) -> Path:
    """The best weights in a run's folder, if there are any, else the last; the folder itself if it has none."""
    files = (run / name for name in ("best.safetensors", "last.safetensors"))
    return next((file for file in files if file.is_file()), run)


def _with(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def load_network(checkpoint: Checkpoint, network: nn.Module) -> None:
    """Put a checkpoint's weights into a network.

    Args:
        checkpoint: From :func:`read_checkpoint`.
        network: Of the same configuration.

    Raises:
        CheckpointError: A weight is missing, left over, or of another shape; the network is unchanged.
    """
    own = network.state_dict()
    for name in sorted(own.keys() | checkpoint.network.keys()):
        kept, wanted = (_shape(tensors.get(name)) for tensors in (checkpoint.network, own))
        if kept != wanted:
            raise CheckpointError(
                f"{checkpoint.path}: field {name} is {kept} in the file and {wanted} in the network; build the network "
                "with the configuration that the file was trained with"
            )
    network.load_state_dict(checkpoint.network)


def _shape(value: Tensor | None) -> str:
    return "missing" if value is None else str(tuple(value.shape))


def optimiser_parts(optimiser: Optimizer) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """The state of an optimiser as tensors with names and options for JSON.

    Args:
        optimiser: Of torch; its state consists of tensors, as Adam's does.

    Returns:
        Tensors by "parameter.name", and the options of each group.
    """
    state = optimiser.state_dict()
    moments = {f"{index}.{name}": value for index, own in state["state"].items() for name, value in own.items()}
    return moments, state["param_groups"]


def load_optimiser(checkpoint: Checkpoint, optimiser: Optimizer) -> None:
    """Put a checkpoint's state into an optimiser.

    Args:
        checkpoint: From :func:`read_checkpoint`, of a file with a state.
        optimiser: Of the same kind over the same parameters.

    Raises:
        CheckpointError: The file holds weights alone, or the state of other parameters.
    """
    groups = checkpoint.facts.get("groups")
    if groups is None:
        raise CheckpointError(f"{checkpoint.path}: holds weights and no optimiser; resume from last.safetensors")
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in checkpoint.optimiser.items():
        index, name = key.split(".")
        state.setdefault(int(index), {})[name] = value
    try:
        optimiser.load_state_dict({"state": state, "param_groups": groups})
    except ValueError as error:
        raise CheckpointError(f"{checkpoint.path}: field groups does not fit the network: {error}") from error
