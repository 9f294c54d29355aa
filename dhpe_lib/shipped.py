"""The trained weights that come with the project: where they lie, how they are loaded, how a run's become so small."""

from dataclasses import asdict
from pathlib import Path

import torch

from dhpe_lib.checkpoints import CheckpointError, read_checkpoint, write_checkpoint
from dhpe_lib.estimator import Estimator
from dhpe_lib.training_config import config_from, with_paths
from dhpe_lib.training_setup import load_trained

SHIPPED = Path(__file__).parent / "weights" / "light.safetensors"
NO_WEIGHTS = (
    "the trained network is not there. Name another with --weights FILE (a run of dhpe train will do), or do without: "
    "--keypoints FILE with the 21 joints, or --evidence mediapipe"
)


def default_weights() -> Path:
    """The weights that come with the project.

    Returns:
        The file.

    Raises:
        FileNotFoundError: This copy of the project has none.
    """
    if not SHIPPED.is_file():
        raise FileNotFoundError(f"{SHIPPED}: no such file: {NO_WEIGHTS}")
    return SHIPPED


def load_shipped(path: Path | None = None) -> Estimator:
    """A trained network.

    Args:
        path: Of a checkpoint, or of a run's folder; by default the one that comes with the project.

    Returns:
        f_DHPE on the CPU, in float32 and evaluation mode.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It is no checkpoint, or that of another network.
    """
    return load_trained(default_weights() if path is None else path)


def export_weights(run: Path, out: Path) -> None:
    """Write a network's weights at half their size: floating-point numbers with 16 bits, and what the run says of them.

    Of the paths in the run's configuration the last two names stay.

    Args:
        run: A checkpoint, or a run's folder: then its best weights.
        out: A .safetensors that :func:`dhpe_lib.training_setup.load_trained` reads; its folder exists.

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
