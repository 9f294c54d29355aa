"""Load trained networks: the network shipped with the project, or the network of a run."""

from pathlib import Path

from msgspec import Struct

from dhpe_lib.common.json_files import convert
from dhpe_lib.network.checkpoints import CheckpointError, load_network, read_checkpoint
from dhpe_lib.network.estimator import Estimator, config_of

SHIPPED = Path(__file__).parent / "weights" / "light.safetensors"
NO_WEIGHTS = (
    "the trained network is missing. Name another one with --weights FILE (for example a run of dhpe train), or use "
    "no network: --keypoints FILE with the 21 joints, or --evidence mediapipe"
)
FIRST_INPUT = {"light": 128}
"""Side of the crop that F sees, pixels, in checkpoints that do not name it."""


class NetworkChoice(Struct):
    """The fields of a configuration that determine the network."""

    preset: str
    ablation: list[str]


def default_weights() -> Path:
    """Return the path of the weights shipped with the project.

    Raises:
        FileNotFoundError: This copy of the project has no weights.
    """
    if not SHIPPED.is_file():
        raise FileNotFoundError(f"{SHIPPED}: no such file: {NO_WEIGHTS}")
    return SHIPPED


def load_shipped(path: Path | None = None) -> Estimator:
    """Load a trained network, by default the network shipped with the project.

    Args:
        path: Path of a checkpoint or of a run's folder; None for the shipped weights.

    Returns:
        f_DHPE on the CPU, in float32 and evaluation mode.

    Raises:
        FileNotFoundError: The file does not exist.
        CheckpointError: The file is not a checkpoint, or holds another network.
    """
    return load_trained(default_weights() if path is None else path)


def load_trained(path: Path) -> Estimator:
    """Load the network of a checkpoint, with the configuration it was trained with.

    Args:
        path: Path of the file, or of a run's folder (then its best weights).

    Returns:
        f_DHPE on the CPU, in evaluation mode.

    Raises:
        FileNotFoundError: The file does not exist.
        CheckpointError: The file is not a checkpoint, or holds another network.
    """
    checkpoint = read_checkpoint(path)
    try:
        config = convert(checkpoint.facts.get("config"), NetworkChoice)
        side = checkpoint.facts.get("feature_input", FIRST_INPUT.get(config.preset, 0))
        network = Estimator(config_of(config.preset, config.ablation, side))
    except ValueError as error:
        raise CheckpointError(f"{checkpoint.path}: field config is missing or wrong ({error}); train again") from error
    load_network(checkpoint, network)
    return network.eval()
