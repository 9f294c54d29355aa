"""f_E2D, the 2D evidence of a crop: the feature F(x) and the joints of f_J2D (Sec. 3.1, Eqs. 2 and 3).

These are the paper's networks; :mod:`dhpe_lib.network.hand_evidence` has smaller ones. F is a ResNet without its
classifier; its last feature map is averaged over the crop. f_J2D is a convolutional pose machine (Wei et al. 2016) in
the form of Zimmermann and Brox's PoseNet (2017): a trunk like VGG's, then three stages of heat maps. Each stage sees
the maps of the stage before it, and all stages are supervised. The chapter is *2D evidence*.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dhpe_lib.network.heatmaps import JOINTS, FoundJoints, heatmap_joints, output_layer, resize

ResNet = Literal["resnet50", "resnet18"]


def torchvision_network(name: str) -> nn.Module:
    """Build a network of torchvision with random weights."""
    from torchvision import models  # takes two seconds to import, and only F needs it

    return getattr(models, name)()


BACKBONES = {name: partial(torchvision_network, name) for name in ("resnet50", "resnet18")}
FEATURE_SIZES = {"resnet50": 2048, "resnet18": 512}
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SLOPE = 0.01
"""Negative slope of the leaky ReLUs of f_J2D, as in Zimmermann and Brox's network."""


@dataclass(frozen=True)
class PoseMachineConfig:
    """Sizes of f_J2D; the defaults are the paper's: 256 x 256 pixels to 21 maps of 32 x 32 cells.

    Attributes:
        input_size: Side of the resized crop, pixels.
        trunk: Channels of the 3 x 3 convolutions, block by block; each block except the last ends with 2 x 2 pooling.
        head: Channels of the first stage's hidden 1 x 1 convolution.
        stage_width: Channels of the convolutions of the later stages.
        stages: Number of stages.
        batch_norm: Whether batch norm follows each convolution except the last of a stage. It helps a training from
            random weights. Zimmermann and Brox's network has no batch norm.
    """

    input_size: int = 256
    trunk: tuple[tuple[int, ...], ...] = ((64, 64), (128, 128), (256,) * 4, (512, 512, 256, 256, 256, 256, 128))
    head: int = 512
    stage_width: int = 128
    stages: int = 3
    batch_norm: bool = False

    @property
    def map_size(self) -> int:
        """Number of cells along the side of a heat map."""
        return self.input_size // 2 ** (len(self.trunk) - 1)


@dataclass(frozen=True)
class Evidence2D:
    """z, the 2D evidence of a batch of crops.

    Attributes:
        feature: F(x).
        masked_feature: F(x (.) m) of Eq. 2 for the first m crops; None if no masked images were given.
        heatmaps: Heat maps of each stage of f_J2D; None without f_J2D.
        joints_2d: j2D(0), crop frame, units of g; no gradient.
        score: Maximum of each heat map of the last stage.
        at_joints: Description of each joint of j2D(0) by :class:`dhpe_lib.network.hand_evidence.JointReader`, or None.
    """

    feature: Float[Tensor, "b f"]
    masked_feature: Float[Tensor, "m f"] | None
    heatmaps: Float[Tensor, "b stages 21 n n"] | None
    joints_2d: Float[Tensor, "b 21 2"]
    score: Float[Tensor, "b 21"]
    at_joints: Float[Tensor, "b a"] | None = None

    @property
    def of_crop(self) -> Float[Tensor, "b _"]:
        """F(x), and the descriptions of the joints if there are any: f_E3D sees this and j2D.

        With these descriptions f_E3D trains the trunk at the joints only, not through the average over the crop. That
        average is one long noisy gradient, and in a trunk without norms it lets the last maps die (LOG.md).
        """
        return self.feature if self.at_joints is None else torch.cat((self.feature.detach(), self.at_joints), 1)


class FeatureNet(nn.Module):
    """F, which maps a crop to one feature vector (2048 numbers with ResNet-50).

    Args:
        backbone: Name of the ResNet.
        input_size: Side of the resized crop, pixels.
    """

    mean: Float[Tensor, "3 1 1"]
    std: Float[Tensor, "3 1 1"]

    def __init__(self, backbone: ResNet = "resnet50", input_size: int = 224) -> None:
        super().__init__()
        self.backbone, self.size, self.input_size = backbone, FEATURE_SIZES[backbone], input_size
        self.network = BACKBONES[backbone]()
        self.network.fc = nn.Identity()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def forward(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b f"]:
        """Compute F(x).

        Args:
            images: Crops in [0, 1].

        Returns:
            Mean of the last feature map over the crop.

        Source: PAPER.md Sec. 2.
        """
        return self.network((resize(images, self.input_size) - self.mean) / self.std)


class PoseMachine(nn.Module):
    """f_J2D, which maps a crop to the heat maps of each stage.

    Layers have the names of Zimmermann and Brox's network: conv1_1 to conv4_7 (trunk), conv5_1 to conv7_7 (stages).
    """

    def __init__(self, config: PoseMachineConfig = PoseMachineConfig()) -> None:
        super().__init__()
        self.config = config
        self.trunk, encoding = _trunk(config)
        first = [*_conv("5_1", encoding, config.head, 1, config), ("conv5_2", output_layer(config.head))]
        later = [_stage(6 + k, encoding, config) for k in range(config.stages - 1)]
        self.stages = nn.ModuleList(nn.Sequential(OrderedDict(layers)) for layers in (first, *later))

    def forward(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b stages 21 n n"]:
        """Compute f_J2D(x).

        Args:
            images: Crops in [0, 1].

        Returns:
            Heat maps of all stages; the last stage is the best.

        Source: PAPER.md Sec. 2; Zimmermann and Brox 2017.
        """
        encoding = self.trunk(resize(images, self.config.input_size) - 0.5)
        maps = [self.stages[0](encoding)]
        for stage in self.stages[1:]:
            maps.append(stage(torch.cat((maps[-1], encoding), 1)))
        return torch.stack(maps, 1)


def find_joints(heatmaps: Float[Tensor, "b stages 21 n n"], sub_pixel: bool = True) -> FoundJoints:
    """Find j2D(0), the maxima of the last stage's maps; no gradient, so f_J2D learns from L_J2D only.

    Args:
        heatmaps: From :class:`PoseMachine`.
        sub_pixel: See :func:`dhpe_lib.network.heatmaps.heatmap_joints`.

    Returns:
        Joints (crop frame, units of g) and scores.
    """
    return heatmap_joints(heatmaps[:, -1].detach(), sub_pixel)


Layers = list[tuple[str, nn.Module]]


def _conv(name: str, inputs: int, outputs: int, kernel: int, config: PoseMachineConfig) -> Layers:
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    nn.init.kaiming_normal_(convolution.weight, a=SLOPE)
    layers: Layers = [(f"conv{name}", convolution)]
    if config.batch_norm:
        layers.append((f"norm{name}", nn.BatchNorm2d(outputs)))
    return [*layers, (f"relu{name}", nn.LeakyReLU(SLOPE, inplace=True))]


def _trunk(config: PoseMachineConfig) -> tuple[nn.Sequential, int]:
    """Return the trunk and the number of its output channels."""
    layers: Layers = []
    width = 3
    for b, widths in enumerate(config.trunk, 1):
        for k, outputs in enumerate(widths, 1):
            layers += _conv(f"{b}_{k}", width, outputs, 3, config)
            width = outputs
        if b < len(config.trunk):
            layers.append((f"pool{b}", nn.MaxPool2d(2)))
    return nn.Sequential(OrderedDict(layers)), width


def _stage(number: int, encoding: int, config: PoseMachineConfig) -> Layers:
    """Return the layers of a later stage: five 7 x 7 convolutions with a large receptive field, then two 1 x 1."""
    layers: Layers = []
    width, outputs = JOINTS + encoding, config.stage_width
    for k in range(1, 6):
        layers += _conv(f"{number}_{k}", width, outputs, 7, config)
        width = outputs
    return [*layers, *_conv(f"{number}_6", width, width, 1, config), (f"conv{number}_7", output_layer(width))]
