"""Write the trained weights of a run at half their size."""

from dataclasses import asdict
from pathlib import Path

import torch

from dhpe_lib.network.checkpoints import CheckpointError, read_checkpoint, write_checkpoint
from dhpe_lib.network.trained import load_trained
from dhpe_lib.training.config import config_from, with_paths


def export_weights(run: Path, out: Path) -> None:
    """Write a network's weights at half their size: floating-point numbers with 16 bits, and what the run says of them.

    Of the paths in the run's configuration the last two names stay.

    Args:
        run: A checkpoint, or a run's folder: then its best weights.
        out: A .safetensors that :func:`dhpe_lib.network.trained.load_trained` reads; its folder exists.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        CheckpointError: It is none, it cannot be written, or a weight is too large for 16 bits.
    """
    if out.suffix != ".safetensors":
        raise CheckpointError(f"{out}: weights are written as .safetensors; name such a file")
    facts = dict(read_checkpoint(run).facts)
    network = load_trained(run).half()
    for name, value in network.state_dict().items():
        if not torch.isfinite(value).all():
            raise CheckpointError(f"{run}: field {name} has a number that 16 bits cannot hold; train with less rate")
    config = with_paths(config_from(facts["config"]), lambda path: Path(*path.parts[-2:]))
    kept = {name: facts[name] for name in ("step", "best") if name in facts}
    write_checkpoint(out, network, kept | {"config": asdict(config)})
