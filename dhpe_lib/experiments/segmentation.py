"""Segmentation networks for Table 2: they find the mask of the hand without a mesh.

The paper compares with the networks of Khan and Borji 2018 and of Zimmermann and Brox 2017. Here a small U-Net stands
for the first, whose mask is as fine as the image. `CoarseNet` stands for the second: like a heat map, its mask is a
classification of the cells of a coarse grid.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor, nn
from torch.nn import functional

from dhpe_lib.common.records import to_numpy
from dhpe_lib.data.views import View
from dhpe_lib.evaluation.mask_metrics import mask_counts

WIDTHS = (16, 24, 48, 96, 96)
RATE = 3e-3
STEM_STRIDE = 2


def block(inputs: int, outputs: int) -> nn.Sequential:
    """Return two 3 x 3 convolutions with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for width in (inputs, outputs):
        layers += [nn.Conv2d(width, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def stem(width: int) -> nn.Sequential:
    """Return a first convolution that halves the image."""
    return nn.Sequential(nn.Conv2d(3, width, 5, STEM_STRIDE, 2), nn.ReLU(inplace=True))


class UNet(nn.Module):
    """A U-Net from an image to the logit of the mask in each pixel, with fewer channels than the original.

    Source: Ronneberger et al. 2015, "U-Net", with batch norm.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.stem = stem(widths[0])
        self.down = nn.ModuleList(block(a, b) for a, b in pairwise(widths))
        self.up = nn.ModuleList(block(a + b, a) for a, b in reversed(list(pairwise(widths))))
        self.last = nn.Conv2d(widths[0], 1, 1)

    def forward(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b s s"]:
        """Compute the logits.

        Args:
            images: RGB in [0, 1]; the side is a multiple of 32.
        """
        maps = self.stem(images - 0.5)
        fine = []
        for layers in self.down:
            fine.append(maps)
            maps = layers(functional.max_pool2d(maps, 2))
        for layers, other in zip(self.up, reversed(fine), strict=True):
            maps = layers(torch.cat((other, functional.interpolate(maps, scale_factor=2.0)), 1))
        return as_fine_as(images, self.last(maps))[:, 0]


class CoarseNet(nn.Module):
    """A two-class network in the form of HandSegNet: at an eighth of the size, a map for the hand and one for the rest.

    The larger map decides, after bilinear interpolation to the image's size. The original also keeps the connected
    region around the largest value only; that step is left out.

    Source: Zimmermann and Brox 2017, Sec. 4.1, with fewer channels and batch norm.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        fine, half, quarter, eighth, last = widths
        self.layers = nn.Sequential(
            stem(fine),
            block(fine, half),
            nn.MaxPool2d(2),
            block(half, quarter),
            nn.MaxPool2d(2),
            block(quarter, eighth),
            block(eighth, last),
            nn.Conv2d(last, 2, 1),
        )

    def forward(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b s s"]:
        """Compute the logit of the hand: the difference of the two maps.

        Args:
            images: RGB in [0, 1]; the side is a multiple of 8.
        """
        rest, hand = as_fine_as(images, self.layers(images - 0.5)).unbind(1)
        return hand - rest


def as_fine_as(images: Float[Tensor, "b 3 s s"], maps: Float[Tensor, "b n t t"]) -> Float[Tensor, "b n s s"]:
    """Interpolate maps to the size of the images."""
    return functional.interpolate(maps, images.shape[-2:], mode="bilinear")


SEGMENTERS: dict[str, type[nn.Module]] = {"U-Net": UNet, "two-class network": CoarseNet}
"""The segmentation networks, by the name of their row in Table 2."""


def fit_segmenters(networks: Sequence[nn.Module], batch: Callable[[int], View], steps: int) -> None:
    """Train networks with the binary cross entropy, AdamW and a cosine decay; afterwards they are in evaluation mode.

    All networks see the same batches, which are made once. Convolutions use bfloat16 and channels last, which takes
    half the time on a CPU.

    Args:
        networks: Networks from images to logits; they do not depend on each other.
        batch: Returns the images and masks of a step.
        steps: Number of steps.
    """
    networks = [network.to(memory_format=torch.channels_last) for network in networks]
    optimisers = [torch.optim.AdamW(network.parameters(), RATE, fused=True) for network in networks]
    schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps) for optimiser in optimisers]
    for step in range(steps):
        view = batch(step)
        for network, optimiser, schedule in zip(networks, optimisers, schedules, strict=True):
            with torch.autocast(view.images.device.type, torch.bfloat16):
                logits = network(view.images.contiguous(memory_format=torch.channels_last))
            loss = functional.binary_cross_entropy_with_logits(logits.float(), view.targets.mask)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    for network in networks:
        network.eval()


@torch.no_grad()
def segmenter_counts(
    network: nn.Module, images: Float[Tensor, "b 3 s s"], mask: Float[Tensor, "b s s"]
) -> Int[ndarray, "b 3"]:
    """Count the right and wrong pixels of a network's masks; see :func:`mask_counts`."""
    return mask_counts(to_numpy(network(images) > 0), to_numpy(mask > 0.5))
