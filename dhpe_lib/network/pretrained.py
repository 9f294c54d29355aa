"""Load published weights: ImageNet weights for F, and Zimmermann and Brox's weights for f_J2D.

No code of a file runs: files are read with safetensors, with torch's ``weights_only`` reader, or, if they are pickles,
with the allow-list unpickler. A downloaded or cached file is used only if its SHA-256 is the published one. The name
and shape of every array is checked before any weight changes.
"""

import hashlib
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from dhpe_lib.common.unpickling import load_pickle
from dhpe_lib.hand.skeleton import JOINT_ORDERS
from dhpe_lib.network.evidence import JOINTS, FeatureNet, PoseMachine
from dhpe_lib.network.old_weights import claimed_values

POSENET_SCOPE = "PoseNet2D"
MAP_OUTPUT_LAYERS, MAP_INPUT_LAYERS = ("conv5_2", "conv6_7", "conv7_7"), ("conv6_1", "conv7_1")
POSENET_PAGE = "https://github.com/lmb-freiburg/hand3d"
MOST_BYTES = 2**32
"""Largest file of weights."""


class WeightsFileError(ValueError):
    """A file does not hold the expected weights; the message names file, field and remedy."""


def imagenet_weights(backbone: str) -> Any:
    """Name torchvision's ImageNet weights of a network; the field ``url`` is their address."""
    from torchvision.models import get_model_weights  # takes two seconds to import

    return get_model_weights(backbone)["IMAGENET1K_V1"]


def load_imagenet(features: FeatureNet, path: str | Path | None = None) -> bool:
    """Load ImageNet weights into F.

    Without a path the file is taken from torch.hub's cache, or downloaded to it. If the download fails, a warning is
    given and F keeps its weights.

    Args:
        features: F; changed in place.
        path: A ``.safetensors`` or ``.pth`` file of torchvision's ResNet; its classifier is ignored.

    Returns:
        Whether the weights were loaded.

    Raises:
        FileNotFoundError: The file does not exist.
        WeightsFileError: The file does not hold these weights, or the file in the cache is not the published one.

    Source: torchvision, ``IMAGENET1K_V1``.
    """
    if path is None:
        source = imagenet_weights(features.backbone).url
        try:
            state = read_state(cached_file(source))
        # A missing network, a proxy's refusal and a damaged download have different errors, all derived from these two.
        except (OSError, RuntimeError) as error:
            warnings.warn(
                f"no ImageNet weights ({error}): F starts from random weights; download {source} and give its path",
                stacklevel=2,
            )
            return False
    else:
        state, source = read_state(path), str(path)
    assign(features.network, {name: v for name, v in state.items() if not name.startswith("fc.")}, source)
    return True


def cached_file(url: str) -> Path:
    """Find a published file in torch.hub's cache, or download it to the cache.

    Args:
        url: Address of the file. Its name ends with the first digits of its SHA-256, as in ``resnet18-f37072fd.pth``.

    Returns:
        Path of the file, whose SHA-256 begins with these digits.

    Raises:
        OSError, RuntimeError: The file cannot be downloaded.
        WeightsFileError: The file in the cache has another SHA-256.
    """
    name = Path(urlsplit(url).path).name
    path, digits = Path(torch.hub.get_dir()) / "checkpoints" / name, Path(name).stem.rpartition("-")[2]
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), digits, progress=False)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not digits or not found.startswith(digits):
        raise WeightsFileError(f"{path}: its SHA-256 begins with {found[:8]}, not {digits}; delete it")
    return path


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Read a file of named tensors without running its code.

    Args:
        path: ``.safetensors``, ``.pth`` or ``.pt``.

    Returns:
        Tensors by name, on the CPU.

    Raises:
        FileNotFoundError: The file does not exist.
        WeightsFileError: The file is damaged, too large or not a mapping of names to tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file of weights; correct the path")
    if path.suffix.lower() not in (".safetensors", ".pth", ".pt"):
        raise WeightsFileError(f"{path}: unknown file type {path.suffix!r}; give a .safetensors, .pth or .pt file")
    if unpacked_bytes(path) > MOST_BYTES:
        raise WeightsFileError(f"{path}: more than {MOST_BYTES} bytes of weights; give the weights of one network")
    try:
        safe = path.suffix.lower() == ".safetensors"
        if not safe and not zipfile.is_zipfile(path):
            require_values(path)
        state = load_file(path) if safe else torch.load(path, "cpu", weights_only=True)
    # Both readers can raise almost any error for a damaged file.
    except Exception as error:
        raise WeightsFileError(
            f"{path}: damaged, or holds more than tensors ({_first_line(error)}); download it again"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsFileError(f"{path}: not a mapping of names to tensors; save a state_dict")
    return dict(state)


def require_values(path: Path) -> None:
    """Raise ValueError if a file from before torch 1.6 claims more values than it has bytes."""
    claimed, size = claimed_values(path), path.stat().st_size
    if claimed > size:
        raise ValueError(f"it claims {claimed} values and has {size} bytes")


def unpacked_bytes(path: Path) -> int:
    """Return the size of a file, or of its content if it is a zip archive, as torch's files are."""
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return path.stat().st_size


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def assign(network: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Copy tensors into a network after checking all of them.

    Args:
        network: Changed in place; unchanged if a check fails.
        state: One tensor for each of its parameters and buffers.
        source: Origin of the tensors, for error messages.

    Raises:
        WeightsFileError: A name is missing or unknown, or a shape differs.
    """
    expected = network.state_dict()
    # Files older than torch 0.4.1 have no batch counters; nothing here reads these counters.
    missing = [name for name in expected if name not in state and not name.endswith("num_batches_tracked")]
    for name in [*missing, *(name for name in state if name not in expected)]:
        problem = "is missing" if name in expected else "is not a field of this network"
        raise WeightsFileError(f"{source}: {name} {problem}; give the weights of the same network")
    for name, value in state.items():
        if value.shape != expected[name].shape:
            raise WeightsFileError(
                f"{source}: {name} has shape {tuple(value.shape)}, but this network has "
                f"{tuple(expected[name].shape)}; give the weights of the same network"
            )
    network.load_state_dict(dict(state), strict=False)


def load_posenet(machine: PoseMachine, path: str | Path) -> None:
    """Load Zimmermann and Brox's published weights into f_J2D.

    Args:
        machine: f_J2D of the paper's sizes; changed in place.
        path: ``posenet-rhd-stb.pickle`` or another file with their ``PoseNet2D``; other networks in it are ignored.

    Raises:
        FileNotFoundError: The file does not exist.
        PickleFileError: The file is damaged, or holds more than data.
        WeightsFileError: An array is missing or has another shape, or the pose machine has batch norm.

    Source: Zimmermann and Brox 2017, with the array names of their network.
    """
    if machine.config.batch_norm:
        raise WeightsFileError(f"{path}: Zimmermann and Brox's network has no batch norm; build f_J2D without it")
    file = load_pickle(path)
    if not isinstance(file, dict):
        raise WeightsFileError(
            f"{path}: holds a {type(file).__name__}, not a dict of arrays; download it from {POSENET_PAGE}"
        )
    assign(machine, convert_posenet(file, machine, str(path)), str(path))


def convert_posenet(file: Mapping[str, np.ndarray], machine: PoseMachine, source: str) -> dict[str, Tensor]:
    """Convert TensorFlow arrays to torch tensors, and RHD's joint order to canonical order.

    Kernels are permuted from [height, width, in, out] to [out, in, height, width]. Heat maps are outputs of the last
    layer of a stage and inputs of the first layer of the next stage, so both layers are reordered.

    Args:
        file: Zimmermann and Brox's arrays by name, such as ``PoseNet2D/conv1_1/weights``.
        machine: The network that will load the weights.
        source: Origin of the arrays, for error messages.

    Returns:
        A state dict.

    Raises:
        WeightsFileError: An entry is missing or is not an array.
    """
    state = {}
    for name in machine.state_dict():
        layer, kind = name.split(".")[-2:]
        key = f"{POSENET_SCOPE}/{layer}/{'weights' if kind == 'weight' else 'biases'}"
        array = file.get(key)
        if not isinstance(array, np.ndarray) or array.ndim != (4 if kind == "weight" else 1):
            raise WeightsFileError(
                f"{source}: {key} is missing or not an array of a convolution; download the file from {POSENET_PAGE}"
            )
        value = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
        state[name] = _reorder_joints(value.permute(3, 2, 0, 1) if kind == "weight" else value, layer)
    return state


def _reorder_joints(value: Tensor, layer: str) -> Tensor:
    """Reorder the joints among the outputs and inputs of a layer from RHD's order to canonical order."""
    order = list(JOINT_ORDERS["rhd"])
    if layer in MAP_OUTPUT_LAYERS and len(value) == JOINTS:
        value = value[order]
    if layer in MAP_INPUT_LAYERS and value.ndim == 4 and value.shape[1] > JOINTS:
        value = torch.cat((value[:, order], value[:, JOINTS:]), 1)
    return value.contiguous()
