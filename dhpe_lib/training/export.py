"""Export the trained weights of a run as 16-bit numbers."""

from dataclasses import asdict
from pathlib import Path

import torch

from dhpe_lib.common.files import refuse_input
from dhpe_lib.network.checkpoints import (
    CheckpointError,
    read_checkpoint,
    require_safetensors,
    weights_file,
    write_checkpoint,
)
from dhpe_lib.network.trained import load_trained
from dhpe_lib.training.config import config_from, with_paths


def export_weights(run: Path, out: Path) -> None:
    """Export a network's weights as 16-bit floating-point numbers, with its step, best error and configuration.

    Paths in the configuration are shortened to their last two names.

    Args:
        run: Path of a checkpoint, or of a run's folder (then its best weights).
        out: Path of the .safetensors file, for :func:`dhpe_lib.network.trained.load_trained`; its folder must exist.

    Raises:
        FileNotFoundError: The checkpoint does not exist.
        FileExistsError: `out` is the checkpoint itself.
        CheckpointError: The file is not a checkpoint, `out` cannot be written, or a weight is too large for 16 bits.
    """
    require_safetensors(out)
    refuse_input(out, [weights_file(run)])
    facts = read_checkpoint(run).facts
    network = load_trained(run).half()
    for name, value in network.state_dict().items():
        if not torch.isfinite(value).all():
            raise CheckpointError(
                f"{run}: field {name} has a number that 16 bits cannot hold; train with a lower learning rate"
            )
    try:
        config = with_paths(config_from(facts["config"]), lambda path: Path(*path.parts[-2:]))
    except ValueError as error:
        raise CheckpointError(f"{run}: field config: {error}; train the network again") from error
    kept = {name: value for name, value in facts.items() if name in ("step", "best", "feature_input")}
    write_checkpoint(out, network, kept | {"config": asdict(config)})
