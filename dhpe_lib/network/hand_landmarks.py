"""The hand landmark network of MediaPipe: it finds the 21 joints of a hand in a rotated crop.

The trunk is an EfficientNet-Lite0 with a stem of 24 channels and no projection in its last block. Four linear heads
read its mean features: joints in the image, joints in space, presence of a hand, handedness.

The crop must show the hand upright, with the wrist below the middle MCP. For a hand that points down the error is ten
times larger if the crop is not rotated.

Source: Zhang et al. 2020, "MediaPipe Hands: On-device Real-time Hand Tracking", Sec. 2.2; Tan and Le 2019,
"EfficientNet", Table 1, for the trunk.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from dhpe_lib.common.devices import constant_like
from dhpe_lib.network.mobile_layers import SameConv2d, depthwise, load_weights, pointwise

SIZE = 224
"""Side of the network's input, pixels."""
FEATURES = 1152
"""Channels of the trunk's output."""
# expanded channels, kernel, stride, output channels; None: the block lacks this convolution
LAYOUT = (
    (None, 3, 1, 16),  # 112 x 112
    (64, 3, 2, 24),  # 56 x 56
    (144, 3, 1, 24),
    (144, 5, 2, 40),  # 28 x 28
    (240, 5, 1, 40),
    (240, 3, 2, 80),  # 14 x 14
    (480, 3, 1, 80),
    (480, 3, 1, 80),
    (480, 5, 1, 112),
    (672, 5, 1, 112),
    (672, 5, 1, 112),
    (672, 5, 2, 192),  # 7 x 7
    (1152, 5, 1, 192),
    (1152, 5, 1, 192),
    (1152, 5, 1, 192),
    (1152, 3, 1, None),
)


class InvertedResidual(nn.Module):
    """Expand 1 x 1, depthwise, project 1 x 1; ReLU6 after the first two.

    Source: Sandler et al. 2018, "MobileNetV2", Sec. 3.3.
    """

    def __init__(self, inner: int, expanded: int | None, kernel: int, stride: int, outer: int | None):
        super().__init__()
        wide = expanded or inner
        self.expand = pointwise(inner, wide) if expanded else None
        self.depthwise = depthwise(wide, kernel, stride)
        self.project = pointwise(wide, outer) if outer else None
        self.residual = stride == 1 and inner == outer

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b out_c out_h out_w"]:
        """Compute the block."""
        wide = features if self.expand is None else functional.relu6(self.expand(features), inplace=True)
        wide = functional.relu6(self.depthwise(wide), inplace=True)
        narrow = wide if self.project is None else self.project(wide)
        return features + narrow if self.residual else narrow


@dataclass(frozen=True)
class HandLandmarks:
    """Output of the network for each crop.

    Attributes:
        joints: x and y of the joints in the crop frame (units of the crop's side, from its centre) and depth relative
            to the wrist in the same unit, away from the camera.
        world: Joints in space, metres from the hand's centre; x and y along the crop's axes, z away from the camera.
        presence: Probability that the crop shows a hand.
        right: Probability that it is a right hand, in a picture that is not mirrored.
    """

    joints: Float[Tensor, "b 21 3"]
    world: Float[Tensor, "b 21 3"]
    presence: Float[Tensor, " b"]
    right: Float[Tensor, " b"]


def hand_trunk() -> nn.Sequential:
    """Build the trunk with random weights: a crop of n x n pixels becomes 1152 maps of n / 32 x n / 32 cells."""
    blocks: list[nn.Module] = [SameConv2d(3, 24, 3, 2), nn.ReLU6(inplace=True)]
    width = 24
    for expanded, kernel, stride, outer in LAYOUT:
        blocks.append(InvertedResidual(width, expanded, kernel, stride, outer))
        width = outer or FEATURES
    return nn.Sequential(*blocks)


class HandLandmarkNetwork(nn.Module):
    """The hand landmark network: 2.6 million weights.

    `trunk` gives features for other heads; its gradient flows to its weights and its input.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trunk = hand_trunk()
        self.side = nn.Linear(FEATURES, 1)
        self.presence = nn.Linear(FEATURES, 1)
        self.joints = nn.Linear(FEATURES, 63)
        self.world = nn.Linear(FEATURES, 63)

    def forward(self, crops: Float[Tensor, "b 3 224 224"]) -> HandLandmarks:
        """Find the landmarks in crops with an upright hand.

        Args:
            crops: RGB in [0, 1].

        Returns:
            The landmarks of each crop.
        """
        features = self.trunk(crops).mean((2, 3))
        joints = self.joints(features).unflatten(1, (21, 3)) / SIZE
        joints = joints - constant_like((0.5, 0.5, 0.0), joints)
        world = self.world(features).unflatten(1, (21, 3))
        presence, side = self.presence(features)[:, 0].sigmoid(), self.side(features)[:, 0].sigmoid()
        return HandLandmarks(joints, world, presence, side)


def load_hand_landmarks(device: torch.device | str = "cpu") -> HandLandmarkNetwork:
    """Load the hand landmark network with MediaPipe's weights, ready for inference.

    Args:
        device: Device of the network.

    Returns:
        The network in float32 and evaluation mode; its weights have no gradient.

    Raises:
        FileNotFoundError: This copy of the library has no weights.
    """
    network = HandLandmarkNetwork()
    load_weights(network, "hand_landmarks", device)
    return network
