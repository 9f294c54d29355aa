"""Trained weights: those that come with the project, and those of a run."""

from pathlib import Path

from dhpe_lib.network.checkpoints import CheckpointError, load_network, read_checkpoint
from dhpe_lib.network.estimator import Estimator, config_of

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


def load_trained(path: Path) -> Estimator:
    """The network of a checkpoint, as it was configured.

    Args:
        path: Of the file, or of a run's folder: then its best weights.

    Returns:
        f_DHPE on the CPU, in evaluation mode.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It is no checkpoint, or that of another network.
    """
    checkpoint = read_checkpoint(path)
    try:
        kept = checkpoint.facts["config"]
        network = Estimator(config_of(kept["preset"], kept["ablation"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{checkpoint.path}: field config is missing or wrong ({error})") from error
    load_network(checkpoint, network)
    return network.eval()
