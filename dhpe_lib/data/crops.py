"""A batch of hands as the network sees them: crops and their labels, as tensors on any device.

The stored picture is the crop of side g with a margin around it. 224 pixels are g, and the centres of picture and crop
coincide, so ``pixel = size / 2 + 224 x``. Removing the margin gives exactly the 224 x 224 view. Training needs the
margin: a view that is shifted by up to 16 pixels, slightly rotated or smaller still shows the photo up to its border. A
black band instead would tell the network by how much the view was shifted.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from dhpe_lib.common.devices import to_device
from dhpe_lib.common.records import map_rows
from dhpe_lib.data.crop_frame import SIZE, CropFrame

MARGIN = 16
"""Margin around the 224 x 224 view, pixels; a multiple of 8, since masks are stored as bits."""


@dataclass(frozen=True)
class Crops:
    """A batch of right hands, each in its upright crop. Left hands have been mirrored.

    Attributes:
        images: RGB; s is 224 plus twice the margin; black outside the photo.
        mask_bits: Mask of the hand. A byte holds eight pixels of a row, the leftmost in the highest bit; see `masks`.
        has_mask: Whether the mask is known; if not, its bits are 0.
        joints_2d: Joints in the crop frame, units of g from the centre; NaN if unknown.
        joints_3d: Joints in the camera frame of the (mirrored) photo, millimetres; NaN if unknown.
        visible: Whether the dataset labels a joint as visible.
        k: Camera matrix of the photo, pixels.
        center: Centre of the crop in the photo, pixels.
        side: Side g of the crop in the photo, pixels.
        z_root: Depth of the middle MCP, millimetres. If it is unknown: mean depth of the known joints, or NaN if there
            are none.
        left: Whether the hand in the photo is a left hand.
        palm: Whether joint 0 is the palm's centre, not the wrist.
        h: Parameters of the hand (Eq. 4) if the picture was rendered from them, else NaN.
    """

    images: UInt8[Tensor, "b s s 3"]
    mask_bits: UInt8[Tensor, "b s s_eighth"]
    has_mask: Bool[Tensor, " b"]
    joints_2d: Float[Tensor, "b 21 2"]
    joints_3d: Float[Tensor, "b 21 3"]
    visible: Bool[Tensor, "b 21"]
    k: Float[Tensor, "b 3 3"]
    center: Float[Tensor, "b 2"]
    side: Float[Tensor, " b"]
    z_root: Float[Tensor, " b"]
    left: Bool[Tensor, " b"]
    palm: Bool[Tensor, " b"]
    h: Float[Tensor, "b 63"]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, indices: Any) -> "Crops":
        """Select hands.

        Args:
            indices: A tensor, array or list of indices or of booleans, or a slice.
        """
        chosen = indices if isinstance(indices, slice) else to_device(torch.as_tensor(indices), self.images.device)
        return map_rows(self, lambda values: values[chosen])

    def items(self) -> Iterator[tuple[str, Tensor]]:
        """Iterate over the name and tensor of each field."""
        return ((field.name, getattr(self, field.name)) for field in fields(self))

    def to(self, device: torch.device | str) -> "Crops":
        """Copy the batch to a device, as :func:`dhpe_lib.common.devices.to_device` does."""
        return map_rows(self, lambda values: to_device(values, device))

    @property
    def frame(self) -> CropFrame:
        """Crop frames in the photos; with `k` and `z_root` they invert Eq. 8."""
        return CropFrame(self.center, self.side, torch.zeros_like(self.side))

    @property
    def masks(self) -> Bool[Tensor, "b s s"]:
        """Masks of the hands, unpacked from `mask_bits`."""
        shifts = torch.arange(7, -1, -1, dtype=torch.uint8, device=self.mask_bits.device)
        return (self.mask_bits[..., None].bitwise_right_shift(shifts) & 1).flatten(-2).bool()

    @property
    def known(self) -> Bool[Tensor, "b 21"]:
        """Whether the 3D position of a joint is known."""
        return self.joints_3d.isfinite().all(-1)

    @property
    def joints_px(self) -> Float[Tensor, "b 21 2"]:
        """2D joints in pixels of `images`."""
        return self.images.shape[1] / 2 + SIZE * self.joints_2d

    def without_margin(self) -> "Crops":
        """Return the 224 x 224 view of the paper, as a view of the same memory."""
        edge = (self.images.shape[1] - SIZE) // 2
        inner, eighth = slice(edge, edge + SIZE), slice(edge // 8, (edge + SIZE) // 8)
        parts = dict(self.items())
        parts["images"] = self.images[:, inner, inner]
        parts["mask_bits"] = self.mask_bits[:, inner, eighth]
        return Crops(**parts)

    def network_images(self, out: Float[Tensor, "b 3 s s"] | None = None) -> Float[Tensor, "b 3 s s"]:
        """Convert the pictures to network input: channels first, values in [0, 1], memory format channels last.

        Args:
            out: Tensor to write to, for a loop that no longer needs the previous batch. On a CPU, allocating new memory
                takes longer than the conversion.

        Returns:
            `out`, or a new tensor.
        """
        if out is None:
            shape = self.images.permute(0, 3, 1, 2).shape
            out = torch.empty(shape, device=self.images.device, memory_format=torch.channels_last)
        return out.copy_(self.images.permute(0, 3, 1, 2)).div_(255)


def pack_masks(masks: Bool[Tensor, "b s s"]) -> UInt8[Tensor, "b s s_eighth"]:
    """Pack eight pixels of a row into a byte, the leftmost into the highest bit: the inverse of `Crops.masks`."""
    weights = 2 ** torch.arange(7, -1, -1, dtype=torch.uint8, device=masks.device)
    return (masks.unflatten(-1, (-1, 8)) * weights).sum(-1, dtype=torch.uint8)
