"""A batch of hands as the network sees them: crops with everything known of them, as tensors on any device.

The stored picture is the crop of side g with a margin around it, in the same pixels: 224 of them are g, so the crop's
centre is the picture's, ``pixel = size / 2 + 224 x``, and cutting the margin off gives exactly the 224 x 224 view. The
margin is for training: a view shifted by up to 16 pixels, or a little turned or smaller, still shows the photo up to
its border, where a black band would tell the network by how much it was shifted.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from dhpe_lib.common.records import map_rows
from dhpe_lib.data.crop_frame import SIZE, CropFrame

MARGIN = 16
"""Pixels around it, a multiple of 8 (masks are stored as bits)."""


@dataclass(frozen=True)
class Crops:
    """Right hands (a left one has been mirrored), each in its upright crop.

    Attributes:
        images: RGB; s is 224 plus twice the margin; black where there is no photo.
        mask_bits: Where the hand is, eight pixels of a row in a byte, the leftmost in the highest bit; see `masks`.
        has_mask: Whether that is known; where not, the bits are 0.
        joints_2d: Crop frame, units of g from the centre; NaN where unknown.
        joints_3d: Millimetres in the camera frame of the (mirrored) photo; NaN where unknown.
        visible: Which joints the dataset calls visible.
        k: Camera of the photo, pixels.
        center: Centre of the crop in the photo, pixels.
        side: Side g of the crop in the photo, pixels.
        z_root: Depth of the middle MCP, millimetres; where it is unknown, the mean of the known joints; NaN if none is.
        left: Whether it was a left hand.
        palm: Whether joint 0 is the palm's centre, not the wrist.
        h: The hand's parameters (Eq. 4) where the picture was rendered from them; NaN where not.
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
        """Some of them.

        Args:
            indices: A tensor, array or list of indices or of booleans, or a slice.
        """
        chosen = indices if isinstance(indices, slice) else torch.as_tensor(indices, device=self.images.device)
        return map_rows(self, lambda values: values[chosen])

    def items(self) -> Iterator[tuple[str, Tensor]]:
        """Name and tensor of each field."""
        return ((field.name, getattr(self, field.name)) for field in fields(self))

    def to(self, device: torch.device | str) -> "Crops":
        """The same on another device; from pinned memory the copy does not wait."""
        return map_rows(self, lambda values: values.to(device, non_blocking=True))

    @property
    def frame(self) -> CropFrame:
        """The crops' place in their photos; with it, `k` and `z_root` Eq. 8 is inverted."""
        return CropFrame(self.center, self.side, torch.zeros_like(self.side))

    @property
    def masks(self) -> Bool[Tensor, "b s s"]:
        """Where the hands are."""
        shifts = torch.arange(7, -1, -1, dtype=torch.uint8, device=self.mask_bits.device)
        return (self.mask_bits[..., None].bitwise_right_shift(shifts) & 1).flatten(-2).bool()

    @property
    def known(self) -> Bool[Tensor, "b 21"]:
        """Which joints have a place in space."""
        return self.joints_3d.isfinite().all(-1)

    @property
    def joints_px(self) -> Float[Tensor, "b 21 2"]:
        """2D joints in pixels of `images`."""
        return self.images.shape[1] / 2 + SIZE * self.joints_2d

    def without_margin(self) -> "Crops":
        """The 224 x 224 view of the paper; no pixel is copied or resampled."""
        edge = (self.images.shape[1] - SIZE) // 2
        inner, eighth = slice(edge, edge + SIZE), slice(edge // 8, (edge + SIZE) // 8)
        parts = dict(self.items())
        parts["images"] = self.images[:, inner, inner]
        parts["mask_bits"] = self.mask_bits[:, inner, eighth]
        return Crops(**parts)

    def network_images(self, out: Float[Tensor, "b 3 s s"] | None = None) -> Float[Tensor, "b 3 s s"]:
        """The pictures as networks take them: channels first, values in [0, 1], in memory with channels last.

        Args:
            out: Where to, for a loop that has no use for the batch before; on a CPU new memory costs more than the
                conversion.

        Returns:
            `out`, or a new tensor.
        """
        if out is None:
            shape = self.images.permute(0, 3, 1, 2).shape
            out = torch.empty(shape, device=self.images.device, memory_format=torch.channels_last)
        return out.copy_(self.images.permute(0, 3, 1, 2)).div_(255)


def pack_masks(masks: Bool[Tensor, "b s s"]) -> UInt8[Tensor, "b s s_eighth"]:
    """Eight pixels of a row in a byte, the leftmost in the highest bit: the inverse of `Crops.masks`."""
    weights = 2 ** torch.arange(7, -1, -1, dtype=torch.uint8, device=masks.device)
    return (masks.unflatten(-1, (-1, 8)) * weights).sum(-1, dtype=torch.uint8)
