"""Convert MediaPipe's palm detector and hand landmark network to safetensors.

    pip download --no-deps mediapipe==0.10.21      # a wheel for Linux, macOS or Windows
    pip install tflite                             # reads the models; the library itself does not need it
    python data_scripts/convert_mediapipe.py mediapipe-0.10.21-*.whl

Writes `palm_detector.safetensors` and `hand_landmarks.safetensors` into `dhpe_lib/network/weights/`. The numbers are
those of MediaPipe: its models hold 16-bit numbers, too, and batch normalisation is already part of the convolutions.
The order of the axes changes from TensorFlow's to PyTorch's.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import tflite
import torch
from numpy import ndarray
from safetensors.torch import save_file
from torch import nn

from dhpe_lib.network.hand_landmarks import HandLandmarkNetwork
from dhpe_lib.network.mobile_layers import WEIGHTS
from dhpe_lib.network.palm_detector import PalmDetector

MODELS = {
    "palm_detector": ("mediapipe/modules/palm_detection/palm_detection_full.tflite", PalmDetector),
    "hand_landmarks": ("mediapipe/modules/hand_landmark/hand_landmark_full.tflite", HandLandmarkNetwork),
}
WITH_WEIGHTS = {
    tflite.BuiltinOperator.CONV_2D: nn.Conv2d,
    tflite.BuiltinOperator.DEPTHWISE_CONV_2D: nn.Conv2d,
    tflite.BuiltinOperator.FULLY_CONNECTED: nn.Linear,
    tflite.BuiltinOperator.PRELU: nn.PReLU,
}
TYPES = {tflite.TensorType.FLOAT16: np.float16, tflite.TensorType.FLOAT32: np.float32}


class Graph:
    """The operators of a TensorFlow Lite model and their constant tensors."""

    def __init__(self, content: bytes):
        self.model = tflite.Model.GetRootAsModel(content, 0)
        self.graph = self.model.Subgraphs(0)
        self.operators = [self.graph.Operators(k) for k in range(self.graph.OperatorsLength())]
        dequantize = tflite.BuiltinOperator.DEQUANTIZE  # the graph widens each 16-bit tensor before its use
        self.stored = {o.Outputs(0): o.Inputs(0) for o in self.operators if self.kind(o) == dequantize}

    def kind(self, operator: tflite.Operator) -> int:
        code = self.model.OperatorCodes(operator.OpcodeIndex())
        return max(code.BuiltinCode(), code.DeprecatedBuiltinCode())

    def array(self, index: int) -> ndarray:
        tensor = self.graph.Tensors(self.stored.get(index, index))
        values = self.model.Buffers(tensor.Buffer()).DataAsNumpy().view(TYPES[tensor.Type()])
        return values.reshape(tensor.ShapeAsNumpy())

    def layers(self) -> Iterator[tuple[type[nn.Module], bool, list[ndarray]]]:
        """Kind of each layer with weights, whether it is depthwise, and its arrays, in the order of the graph."""
        for operator in self.operators:
            kind = self.kind(operator)
            if kind in WITH_WEIGHTS:
                arrays = [self.array(operator.Inputs(k)) for k in range(1, operator.InputsLength())]
                yield WITH_WEIGHTS[kind], kind == tflite.BuiltinOperator.DEPTHWISE_CONV_2D, arrays


def in_torch_order(weight: ndarray, depthwise: bool) -> ndarray:
    """Axes out, y, x, in become out, in, y, x; those of a depthwise kernel 1, y, x, out become out, 1, y, x."""
    if weight.ndim == 3:  # PReLU: one slope for each channel
        return weight.reshape(-1)
    if weight.ndim == 4:
        return weight.transpose((3, 0, 1, 2) if depthwise else (0, 3, 1, 2))
    return weight


def convert(content: bytes, network: nn.Module) -> dict[str, torch.Tensor]:
    """Read a model's weights under the names of our network; the layers of both have the same order."""
    kinds = (nn.Conv2d, nn.Linear, nn.PReLU)
    own = [(name, module) for name, module in network.named_modules() if isinstance(module, kinds)]
    weights = {}
    for (name, module), (kind, depthwise, arrays) in zip(own, Graph(content).layers(), strict=True):
        if not isinstance(module, kind):
            raise ValueError(f"{name} is a {type(module).__name__}, the model has a {kind.__name__} there")
        parts = [in_torch_order(arrays[0], depthwise), *arrays[1:]]
        for part, values in zip(("weight", "bias"), parts, strict=False):
            if part == "bias" and module.bias is None:
                if values.any():
                    raise ValueError(f"{name} has no bias, the model has one")
                continue
            weights[f"{name}.{part}"] = torch.from_numpy(np.array(values, np.float16, order="C"))
    network.load_state_dict(weights)
    return weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, help="mediapipe-0.10.21-....whl")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder for the two files")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with ZipFile(arguments.wheel) as wheel:
        for name, (member, network) in MODELS.items():
            path = arguments.out / f"{name}.safetensors"
            weights = convert(wheel.read(member), network())
            save_file(weights, path, {"source": f"mediapipe 0.10.21, {member}", "license": "Apache-2.0"})
            path.chmod(0o644)
            print(f"{path}: {sum(w.numel() for w in weights.values()):,} numbers")


if __name__ == "__main__":
    main()
