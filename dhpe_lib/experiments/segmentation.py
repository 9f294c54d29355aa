"""A segmentation network for Table 2: a small U-Net that finds the mask of the hand without a mesh.

Source: Ronneberger et al. 2015, "U-Net", with batch norm and fewer channels. The paper compares with the networks of
Khan and Borji 2018 and of Zimmermann and Brox 2017.
"""

from collections.abc import Callable
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


def block(inputs: int, outputs: int) -> nn.Sequential:
    """Return two 3 x 3 convolutions with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for width in (inputs, outputs):
        layers += [nn.Conv2d(width, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """A U-Net from an image to the logit of the mask in each pixel; its first convolution halves the image."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 5, 2, 2)
        self.down = nn.ModuleList(block(a, b) for a, b in pairwise(widths))
        self.up = nn.ModuleList(block(a + b, a) for a, b in reversed(list(pairwise(widths))))
        self.last = nn.Conv2d(widths[0], 1, 1)

    def forward(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b s s"]:
        """Compute the logits.

        Args:
            images: RGB in [0, 1]; the side is a multiple of 32.
        """
        maps = functional.relu(self.stem(images - 0.5))
        fine = []
        for layers in self.down:
            fine.append(maps)
            maps = layers(functional.max_pool2d(maps, 2))
        for layers, other in zip(self.up, reversed(fine), strict=True):
            maps = layers(torch.cat((other, functional.interpolate(maps, scale_factor=2.0)), 1))
        return functional.interpolate(self.last(maps), scale_factor=2.0, mode="bilinear")[:, 0]


def fit_unet(batch: Callable[[int], View], steps: int, seed: int = 0) -> UNet:
    """Train a U-Net with the binary cross entropy, AdamW and a cosine decay.

    Args:
        batch: Returns the images and masks of a step.
        steps: Number of steps.
        seed: Random seed of the weights.

    Returns:
        The network in evaluation mode.
    """
    torch.manual_seed(seed)
    network = UNet()
    optimiser = torch.optim.AdamW(network.parameters(), RATE, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        view = batch(step)
        loss = functional.binary_cross_entropy_with_logits(network(view.images), view.targets.mask)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network.eval()


@torch.no_grad()
def unet_counts(network: UNet, images: Float[Tensor, "b 3 s s"], mask: Float[Tensor, "b s s"]) -> Int[ndarray, "b 3"]:
    """Count the right and wrong pixels of the network's masks; see :func:`mask_counts`."""
    return mask_counts(to_numpy(network(images) > 0), to_numpy(mask > 0.5))
