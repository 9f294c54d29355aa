"""F and f_J2D of the light preset: two heads on the trunk of the hand landmark network.

The trunk was trained on photos of hands (:mod:`dhpe_lib.network.hand_landmarks`), as the paper's F was on ImageNet and
its f_J2D on hands. F averages the trunk's last map. f_J2D merges the maps of four strides from coarse to fine, as a
feature pyramid does, and finds heat maps in the finest of them in two stages. The chapter is *2D evidence*.

Source: Lin et al. 2017, "Feature Pyramid Networks for Object Detection", Sec. 3; Wei et al. 2016 for the stages.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from dhpe_lib.network.hand_landmarks import FEATURES, hand_trunk, load_hand_landmarks
from dhpe_lib.network.heatmaps import JOINTS, STATISTICS, output_layer, resize
from dhpe_lib.network.mobile_layers import depthwise, pointwise

LEVELS = (5, 7, 13, 18)
"""Number of the trunk's modules up to the maps with strides 4, 8, 16 and 32."""
CHANNELS = (24, 40, 112, FEATURES)
"""Number of maps at each of these strides."""


EPSILON = 1e-12
"""Added to the variance of F before the division. With torch's 1e-5 training can lower L_Feat by making the maps tiny,
until only this number is left of F (LOG.md)."""


@dataclass(frozen=True)
class PyramidConfig:
    """Sizes of f_J2D on the trunk.

    Attributes:
        width: Number of channels of the merged map and of the stages.
        stages: Number of stages; each stage sees the heat maps of the stage before it.
    """

    width: int = 64
    stages: int = 2


class HandFeatureNet(nn.Module):
    """F: the trunk's last map, averaged over the crop and normalised to mean 0 and variance 1.

    Args:
        input_size: Side of the resized crop, pixels; a multiple of 32.
        layer_norm: Whether F is normalised.
    """

    size = FEATURES

    def __init__(self, input_size: int = 192, layer_norm: bool = True) -> None:
        super().__init__()
        self.input_size = input_size
        self.network = hand_trunk()
        self.norm = nn.LayerNorm(FEATURES, EPSILON) if layer_norm else nn.Identity()

    def forward(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b 1152"]:
        """Compute F(x).

        Args:
            images: Crops in [0, 1].

        Returns:
            The feature.
        """
        return self.pooled(self.network(resize(images, self.input_size)))

    def levels(self, images: Float[Tensor, "b 3 s s"]) -> list[Tensor]:
        """Compute the trunk's maps at the strides 4, 8, 16 and 32.

        Args:
            images: Crops in [0, 1].

        Returns:
            Maps of shape [b, channels, side, side], the finest first.
        """
        maps, levels, start = resize(images, self.input_size), [], 0
        for stop in LEVELS:
            maps = self.network[start:stop](maps)
            levels.append(maps)
            start = stop
        return levels

    def pooled(self, maps: Float[Tensor, "b 1152 n n"]) -> Float[Tensor, "b 1152"]:
        """Average the trunk's last map over the crop, and normalise."""
        return self.norm(maps.mean((2, 3)))

    def freeze(self, modules: int) -> None:
        """Exclude the first modules of the trunk from training. A gradient still passes through them."""
        self.network[:modules].requires_grad_(False)


def load_hand_trunk(features: HandFeatureNet) -> None:
    """Load the trunk's weights from the hand landmark network that comes with the library.

    Args:
        features: F; changed in place.

    Raises:
        FileNotFoundError: This copy of the library has no weights.
    """
    features.network.load_state_dict(load_hand_landmarks().trunk.state_dict())


class PyramidMachine(nn.Module):
    """f_J2D on the trunk's maps: 48 x 48 cells for a crop of 192 pixels."""

    def __init__(self, config: PyramidConfig = PyramidConfig()) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.lateral = nn.ModuleList(pointwise(channels, width) for channels in CHANNELS)
        self.merge = nn.Sequential(depthwise(width, 5), pointwise(width, width), nn.ReLU(inplace=True))
        first = nn.Sequential(pointwise(width, width), nn.ReLU(inplace=True), output_layer(width))
        self.stages = nn.ModuleList([first, *(_later_stage(width) for _ in range(config.stages - 1))])

    def forward(self, levels: Sequence[Tensor]) -> Float[Tensor, "b stages 21 n n"]:
        """Compute the heat maps of all stages; the last stage is the best.

        Args:
            levels: From :meth:`HandFeatureNet.levels`.

        Returns:
            Heat maps with the side of the finest level.

        Source: Eq. 3.
        """
        merged = self.lateral[-1](levels[-1])
        for lateral, maps in zip(reversed(self.lateral[:-1]), reversed(levels[:-1]), strict=True):
            merged = lateral(maps) + functional.interpolate(merged, scale_factor=2.0, mode="nearest")
        merged = self.merge(merged)
        heatmaps = [self.stages[0](merged)]
        for stage in self.stages[1:]:
            heatmaps.append(stage(torch.cat((heatmaps[-1], merged), 1)))
        return torch.stack(heatmaps, 1)


class JointReader(nn.Module):
    """Describes each joint of j2D(0) by a few numbers, from the trunk's maps at this joint and from its heat map.

    F(x) is an average over the crop and knows little of single fingers. f_J2D's heads get no gradient from here.

    Args:
        width: Number of numbers for each joint, without those of the heat map.

    Source: ours, after the pixel-aligned features of Saito et al. 2019, "PIFu", Sec. 3.1.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.size = JOINTS * (width + STATISTICS)
        self.project = nn.Linear(sum(CHANNELS), width)
        self.norm = nn.LayerNorm(width)

    def forward(self, readings: Float[Tensor, "b 21 c"], statistics: Float[Tensor, "b 21 4"]) -> Float[Tensor, "b _"]:
        """Describe the joints.

        Args:
            readings: From :func:`read_at_joints`.
            statistics: From :func:`dhpe_lib.network.heatmaps.heatmap_statistics`.

        Returns:
            21 (width + 4) numbers, joint by joint.
        """
        joints = self.norm(self.project(readings))
        return torch.cat((joints, statistics.to(joints.dtype)), 2).flatten(1)


def read_at_joints(levels: Sequence[Tensor], joints_2d: Float[Tensor, "b 21 2"]) -> Float[Tensor, "b 21 c"]:
    """Read the trunk's maps at joints, bilinearly.

    Args:
        levels: From :meth:`HandFeatureNet.levels`.
        joints_2d: Crop frame, units of g.

    Returns:
        For each joint the values of all maps, the finest first.
    """
    grid = 2 * joints_2d[:, :, None].to(levels[0].dtype)
    read = [functional.grid_sample(maps, grid, padding_mode="border", align_corners=False)[..., 0] for maps in levels]
    return torch.cat(read, 1).mT


def _later_stage(width: int) -> nn.Sequential:
    """Return a stage with two 5 x 5 depthwise convolutions, so that a joint sees the other joints."""
    return nn.Sequential(
        *(pointwise(JOINTS + width, width), nn.ReLU(inplace=True)),
        *(depthwise(width, 5), pointwise(width, width), nn.ReLU(inplace=True)),
        *(depthwise(width, 5), pointwise(width, width), nn.ReLU(inplace=True)),
        output_layer(width),
    )
