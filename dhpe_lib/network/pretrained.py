"""Weights that others have trained: ImageNet's for F, Zimmermann and Brox's for f_J2D.

No code of a file is run: safetensors, torch's ``weights_only`` reader, and for pickles the allow-list unpickler. Every
array's name and shape is checked before any weight is changed.
"""

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from dhpe_lib.common.unpickling import load_pickle
from dhpe_lib.hand.skeleton import JOINT_ORDERS
from dhpe_lib.network.evidence import JOINTS, FeatureNet, PoseMachine

POSENET_SCOPE = "PoseNet2D"
GIVE_MAPS, TAKE_MAPS = ("conv5_2", "conv6_7", "conv7_7"), ("conv6_1", "conv7_1")
POSENET_PAGE = "https://github.com/lmb-freiburg/hand3d"


class WeightsFileError(ValueError):
    """A file that does not hold the weights asked for; the message names file, field and remedy."""


def imagenet_weights(backbone: str) -> Any:
    """Name torchvision's ImageNet weights of a network: their address, and how they are loaded."""
    from torchvision.models import get_model_weights  # takes two seconds to import

    return get_model_weights(backbone)["IMAGENET1K_V1"]


def load_imagenet(features: FeatureNet, path: str | Path | None = None) -> bool:
    """Start F from ImageNet's weights.

    Without a path torchvision looks in torch.hub's cache and then downloads. Where neither works there is a warning,
    and F keeps the weights that it has.

    Args:
        features: F; changed in place.
        path: A file of torchvision's ResNet, ``.safetensors`` or ``.pth``; its classifier is left off.

    Returns:
        Whether F has the weights now.

    Raises:
        FileNotFoundError: There is no such file.
        WeightsFileError: The file holds something else.

    Source: torchvision, ``IMAGENET1K_V1``.
    """
    if path is None:
        origin = imagenet_weights(features.backbone)
        try:
            state = origin.get_state_dict(progress=False, check_hash=True)
        # No network, a proxy's refusal, a damaged download: each has its own error, all derived from these two.
        except (OSError, RuntimeError) as error:
            warnings.warn(
                f"no ImageNet weights ({error}): F starts from random ones; get {origin.url} and give its path",
                stacklevel=2,
            )
            return False
        source = origin.url
    else:
        state, source = read_state(path), str(path)
    assign(features.network, {name: v for name, v in state.items() if not name.startswith("fc.")}, source)
    return True


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Read a file of named tensors without running its code.

    Args:
        path: ``.safetensors``, ``.pth`` or ``.pt``.

    Returns:
        Name to tensor, on the CPU.

    Raises:
        FileNotFoundError: There is no such file.
        WeightsFileError: The file is damaged or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file of weights")
    if path.suffix not in (".safetensors", ".pth", ".pt"):
        raise WeightsFileError(f"{path}: unknown kind {path.suffix!r}; give a .safetensors, .pth or .pt")
    try:
        safe = path.suffix == ".safetensors"
        state = load_file(path) if safe else torch.load(path, "cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, pickle.UnpicklingError, KeyError, ValueError) as error:
        raise WeightsFileError(
            f"{path}: damaged, or more than tensors ({_first_line(error)}); fetch it again"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsFileError(f"{path}: not a mapping of names to tensors; save a state_dict")
    return dict(state)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def assign(network: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Copy tensors into a network after checking all of them.

    Args:
        network: Changed in place, or not at all.
        state: One tensor for each of its parameters and buffers.
        source: Where they come from, for messages.

    Raises:
        WeightsFileError: A name is missing or unknown, or a shape differs.
    """
    own = network.state_dict()
    # Files older than torch 0.4.1 have no counters of batches; nothing here reads them.
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    for name in [*missing, *(name for name in state if name not in own)]:
        problem = "is missing" if name in own else "is not a field of this network"
        raise WeightsFileError(f"{source}: {name} {problem}; give the weights of the same network")
    for name, value in state.items():
        if value.shape != own[name].shape:
            raise WeightsFileError(
                f"{source}: {name} has shape {tuple(value.shape)} where this network has {tuple(own[name].shape)}; "
                "give the weights of the same network"
            )
    network.load_state_dict(dict(state), strict=False)


def load_posenet(machine: PoseMachine, path: str | Path) -> None:
    """Start f_J2D from Zimmermann and Brox's published weights.

    Args:
        machine: f_J2D of the paper's sizes; changed in place.
        path: ``posenet-rhd-stb.pickle`` or another file with their ``PoseNet2D``; other networks in it are ignored.

    Raises:
        FileNotFoundError: There is no such file.
        PickleFileError: The file is damaged, or asks for more than data.
        WeightsFileError: An array is missing or has another shape, or the pose machine normalises its batches.

    Source: Zimmermann and Brox 2017; the names are those of their network.
    """
    if machine.config.batch_norm:
        raise WeightsFileError(f"{path}: Zimmermann and Brox's network has no batch norm; build f_J2D without it")
    file = load_pickle(path)
    if not isinstance(file, dict):
        raise WeightsFileError(
            f"{path}: holds a {type(file).__name__}, not a dict of arrays; get it from {POSENET_PAGE}"
        )
    assign(machine, convert_posenet(file, machine, str(path)), str(path))


def convert_posenet(file: Mapping[str, np.ndarray], machine: PoseMachine, source: str) -> dict[str, Tensor]:
    """Turn TensorFlow's arrays into torch's, RHD's joints into canonical order.

    Kernels turn from [height, width, in, out] to [out, in, height, width]. Maps are outputs of each stage's last layer
    and inputs of the next one's first: both change their order.

    Args:
        file: Their arrays by name, such as ``PoseNet2D/conv1_1/weights``.
        machine: The network that is to take them.
        source: Where they come from, for messages.

    Returns:
        A state dict.

    Raises:
        WeightsFileError: An array is missing or no array.
    """
    state = {}
    for name in machine.state_dict():
        layer, kind = name.split(".")[-2:]
        key = f"{POSENET_SCOPE}/{layer}/{'weights' if kind == 'weight' else 'biases'}"
        array = file.get(key)
        if not isinstance(array, np.ndarray) or array.ndim != (4 if kind == "weight" else 1):
            raise WeightsFileError(
                f"{source}: {key} is missing or not an array of a convolution; get the file from {POSENET_PAGE}"
            )
        value = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
        state[name] = _canonical(value.permute(3, 2, 0, 1) if kind == "weight" else value, layer)
    return state


def _canonical(value: Tensor, layer: str) -> Tensor:
    """Bring the joints among a layer's outputs, and inputs, from RHD's order to ours."""
    order = list(JOINT_ORDERS["rhd"])
    if layer in GIVE_MAPS and len(value) == JOINTS:
        value = value[order]
    if layer in TAKE_MAPS and value.ndim == 4 and value.shape[1] > JOINTS:
        value = torch.cat((value[:, order], value[:, JOINTS:]), 1)
    return value.contiguous()
