"""Read and write checkpoints as safetensors files, which run no code when they are loaded.

``last.safetensors`` holds the network, the optimiser, the growing set and the step in one file, so that an interrupted
run never leaves two files of different steps. ``best.safetensors`` holds only the network. Files are written atomically
(:mod:`dhpe_lib.common.files`). Everything that is not a tensor is stored as JSON in the header.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

from msgspec import Meta, Struct
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from dhpe_lib.common.files import atomic_write, gigabytes
from dhpe_lib.common.json_files import Count, JsonError, Value, Whole, convert, parse_json

FORMAT = 1
"""Version of the file format. Increase it with each change of the format."""
NETWORK, OPTIMISER, GROWN, BATCH = "network.", "optimiser.", "grown.", "batch."


class Header(TypedDict, total=False):
    """The JSON of the header; a file may lack any of these fields."""

    format: Whole
    step: Whole
    best: str
    children_from: Whole
    feature_input: Count
    config: dict[str, Value | list[str]]
    groups: list[dict[str, Value | list[Value]]]


class Progress(Struct):
    """Facts that a run needs to continue; `best` is text, since JSON has no infinity."""

    step: Whole
    best: Annotated[str, Meta(pattern=r"\A(-?\d+(\.\d+)?(e[+-]?\d+)?|inf|nan)\Z")]
    children_from: Whole | None = None


class CheckpointError(ValueError):
    """A checkpoint cannot be read, written or used; the message names the file, the field and the remedy."""


@dataclass(frozen=True)
class Checkpoint:
    """Contents of a checkpoint file.

    Attributes:
        path: Path of the file.
        facts: The JSON of the header: the step, the configuration, scores.
        network: Weights and buffers by name.
        optimiser: Tensors of the optimiser by "parameter.name"; empty if the file holds only weights.
        grown: The growing sets of the self-augmentation, one row for each process; empty without self-augmentation.
        batch: A batch that was saved for inspection; empty in most files.
    """

    path: Path
    facts: Header
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
    """Write a checkpoint atomically: after a crash the file is either complete or unchanged.

    Args:
        path: Path of the file; its folder must exist.
        network: Network whose weights and buffers are saved.
        facts: Values for the JSON header.
        optimiser: Optimiser whose state is saved too, so that training can continue.
        grown: The growing sets.
        batch: A batch to inspect later.

    Raises:
        CheckpointError: The file cannot be written; the previous file is unchanged.
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
    except (OSError, SafetensorError) as error:
        size = gigabytes(sum(value.numel() * value.element_size() for value in plain.values()))
        reason = error.__cause__ or error
        raise CheckpointError(
            f"{path}: cannot be written ({reason}); it takes {size}. Free disk space or correct the permissions, then "
            "resume the run: the previous checkpoint is intact"
        ) from error


def require_safetensors(path: Path) -> None:
    """Raise CheckpointError if a file to write is not named .safetensors."""
    if path.suffix.lower() != ".safetensors":
        raise CheckpointError(f"{path}: weights are written as .safetensors; name such a file")


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: Path of the file, or of a run's folder. A folder stands for its best weights if there are any, otherwise
            for its last checkpoint.

    Returns:
        Contents of the file, on the CPU.

    Raises:
        FileNotFoundError: The file does not exist.
        CheckpointError: The file is not a checkpoint, is damaged, or has another format version.
    """
    path = weights_file(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint; name a .safetensors file or the folder of a run")
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get("dhpe", "{}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"{path}: is not a safetensors file, or is damaged ({error}); name another checkpoint"
        ) from error
    try:
        facts = parse_json(text, Header)
    except JsonError as error:
        raise CheckpointError(f"{path}: header: {error}; name another checkpoint") from error
    if (found := facts.get("format", "missing")) != FORMAT:
        raise CheckpointError(f"{path}: field format is {found}, this version reads {FORMAT}; train the network again")
    return Checkpoint(path, facts, *(_without_prefix(part, tensors) for part in (NETWORK, OPTIMISER, GROWN, BATCH)))


def progress_of(checkpoint: Checkpoint) -> Progress:
    """Return how far a run has come; raise CheckpointError if the header of its checkpoint does not say so."""
    try:
        return convert(checkpoint.facts, Progress)
    except JsonError as error:
        raise CheckpointError(f"{checkpoint.path}: header: {error}; name another checkpoint") from error


def weights_file(path: Path) -> Path:
    """Return the path of a checkpoint; the folder of a run stands for its weights (:func:`weights_in`)."""
    return weights_in(path) if path.is_dir() else path


def weights_in(run: Path) -> Path:
    """Return the best weights of a run's folder, else its last checkpoint, else the folder itself."""
    files = (run / name for name in ("best.safetensors", "last.safetensors"))
    return next((file for file in files if file.is_file()), run)


def _without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def load_network(checkpoint: Checkpoint, network: nn.Module) -> None:
    """Load the weights of a checkpoint into a network.

    Args:
        checkpoint: From :func:`read_checkpoint`.
        network: Network of the same configuration; changed in place.

    Raises:
        CheckpointError: A weight is missing, unexpected, or of another shape; the network is unchanged.
    """
    expected = network.state_dict()
    for name in sorted(expected.keys() | checkpoint.network.keys()):
        saved, wanted = (_shape(tensors.get(name)) for tensors in (checkpoint.network, expected))
        if saved != wanted:
            raise CheckpointError(
                f"{checkpoint.path}: field {name} is {saved} in the file and {wanted} in the network; build the "
                "network with the configuration that the file was trained with"
            )
    network.load_state_dict(checkpoint.network)


def _shape(value: Tensor | None) -> str:
    return "missing" if value is None else str(tuple(value.shape))


def optimiser_parts(optimiser: Optimizer) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Split the state of an optimiser into named tensors and options for JSON.

    Args:
        optimiser: A torch optimiser whose state consists of tensors, such as Adam.

    Returns:
        Tensors by "parameter.name", and the options of each parameter group.
    """
    state = optimiser.state_dict()
    moments = {f"{index}.{name}": value for index, values in state["state"].items() for name, value in values.items()}
    return moments, state["param_groups"]


def load_optimiser(checkpoint: Checkpoint, optimiser: Optimizer) -> None:
    """Load the optimiser state of a checkpoint.

    Args:
        checkpoint: From :func:`read_checkpoint`; the file must hold an optimiser state.
        optimiser: Optimiser of the same kind over the same parameters; changed in place.

    Raises:
        CheckpointError: The file holds only weights, or the state belongs to other parameters.
    """
    groups = checkpoint.facts.get("groups")
    if groups is None:
        raise CheckpointError(f"{checkpoint.path}: holds weights but no optimiser state; resume from last.safetensors")
    state: dict[int, dict[str, Tensor]] = {}
    try:
        for key, value in checkpoint.optimiser.items():
            index, name = key.split(".")
            state.setdefault(int(index), {})[name] = value
        # "fused" belongs to the device, not to the run, which may continue on another device.
        own = [{key: group[key] for key in group if key == "fused"} for group in optimiser.param_groups]
        groups = [saved | kept for saved, kept in zip(groups, own, strict=True)]
        optimiser.load_state_dict({"state": state, "param_groups": groups})
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{checkpoint.path}: field groups does not fit the network: {error}") from error
