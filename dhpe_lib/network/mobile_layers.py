"""Convolutions of small networks from TensorFlow, for the palm detector and the hand landmark network.

Batch normalisation is already part of the weights and biases of these networks.
"""

from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

WEIGHTS = Path(__file__).parent / "weights"


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding: the output has ceil(size / stride) rows and columns.

    An odd number of padded rows puts one more below than above, which `nn.Conv2d` cannot do.

    Source: the padding rule in TensorFlow's documentation of `tf.nn.convolution`.
    """

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b out_c out_h out_w"]:
        """Pad and convolve.

        The kernel gets a row or column of zeros on the other side if one zero more is needed on the right or below. To
        copy the maps into larger ones takes several times longer.
        """
        left, right = same_padding(images.shape[-1], self.kernel_size[1], self.stride[1])
        top, bottom = same_padding(images.shape[-2], self.kernel_size[0], self.stride[0])
        kernel = functional.pad(self.weight, (right - left, 0, bottom - top, 0))
        return functional.conv2d(images, kernel, self.bias, self.stride, (bottom, right), 1, self.groups)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after an axis.

    Args:
        size: Length of the axis.
        kernel: Length of the kernel.
        stride: Step of the kernel.

    Returns:
        Number of zeros before and after.
    """
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def pointwise(inner: int, outer: int) -> nn.Conv2d:
    """A 1 x 1 convolution."""
    return nn.Conv2d(inner, outer, 1)


def depthwise(channels: int, kernel: int, stride: int = 1, bias: bool = True) -> SameConv2d:
    """A convolution of each channel with its own kernel."""
    return SameConv2d(channels, channels, kernel, stride, groups=channels, bias=bias)


def load_weights(network: nn.Module, name: str, device: torch.device | str = "cpu") -> None:
    """Load weights that come with the library, and prepare the network for inference.

    The file has 16-bit numbers; the network keeps its own type. It is then in evaluation mode, its weights have no
    gradient, and its memory format is channels last.

    Args:
        network: The network that the file belongs to.
        name: Name of the file in `weights/`, without suffix.
        device: Device of the network.

    Raises:
        FileNotFoundError: This copy of the library has no such file.
    """
    path = WEIGHTS / f"{name}.safetensors"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; make it with data_scripts/convert_mediapipe.py")
    network.load_state_dict(load_file(path))
    network.eval().requires_grad_(False)
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
