"""The crop frame of the paper (Eq. 8): conversion of image pixels and millimetres to units of g, and back.

Pixel i covers [i, i + 1), so an image of width w spans [0, w), and in the crop of 224 pixels ``pixel = 112 + 224 x``.
In the crop frame x and y are measured from the crop centre in units of g, the side of the crop. z is relative to the
middle MCP, in the same unit. The camera of the crop frame is scaled orthographic. See the chapter *Conventions*.
"""

from dataclasses import dataclass
from math import ceil

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from dhpe_lib.hand.skeleton import MIDDLE_MCP

SIZE = 224
"""Pixels along a side of the crop."""
MAX_OVERSAMPLING = 8
"""Largest number of samples along a side of an output pixel."""
MOST_SAMPLES = 2**18
"""Samples of a crop that are taken together. More would need 100 MB for a crop of 800 pixels."""


@dataclass(frozen=True)
class CropFrame:
    """A square region of the image, possibly rotated, that the network sees as its crop of a hand.

    Attributes:
        center: Centre of the square, image pixels.
        side: Side g of the square, image pixels.
        angle: Direction of the crop's x axis in the image, radians from image x towards image y (clockwise on screen).
    """

    center: Float[Tensor, "b 2"]
    side: Float[Tensor, " b"]
    angle: Float[Tensor, " b"]

    def to(self, device: torch.device | str) -> "CropFrame":
        """Copy to a device."""
        return CropFrame(self.center.to(device), self.side.to(device), self.angle.to(device))

    @classmethod
    def from_box(cls, box: Float[Tensor, "b 4"], margin: float = 1.5) -> "CropFrame":
        """Centre an upright crop on a box: g = margin * max(width, height).

        Args:
            box: Left, top, right, bottom, pixels.
            margin: Side of the crop divided by the larger side of the box.

        Returns:
            The frame, with angle 0.

        Raises:
            ValueError: A box has neither width nor height.

        Source: PAPER.md Sec. 4, after Eq. 8.
        """
        low, high = box[:, :2], box[:, 2:]
        return cls._around((low + high) / 2, low, high, margin)

    @classmethod
    def from_joints(
        cls, joints_2d: Float[Tensor, "b 21 2"], valid: Bool[Tensor, "b 21"], margin: float = 1.5
    ) -> "CropFrame":
        """Centre an upright crop on the middle MCP: g = margin * max(width, height) of the joints' tight box.

        Args:
            joints_2d: Joints in canonical order, pixels.
            valid: True for the joints to use. If the middle MCP is not valid, the centre of the box is used instead.
            margin: Side of the crop divided by the larger side of the box.

        Returns:
            The frame, with angle 0.

        Raises:
            ValueError: A hand has fewer than two distinct valid joints.

        Source: PAPER.md Secs. 4 and 9.2.
        """
        off = ~valid[..., None]
        low = joints_2d.masked_fill(off, torch.inf).amin(1)
        high = joints_2d.masked_fill(off, -torch.inf).amax(1)
        center = torch.where(valid[:, MIDDLE_MCP, None], joints_2d[:, MIDDLE_MCP], (low + high) / 2)
        return cls._around(center, low, high, margin)

    @classmethod
    def _around(
        cls, center: Float[Tensor, "b 2"], low: Float[Tensor, "b 2"], high: Float[Tensor, "b 2"], margin: float
    ) -> "CropFrame":
        side = margin * (high - low).amax(1)
        bad = ~((side > 0) & side.isfinite())
        if bad.any():
            raise ValueError(
                f"no crop around hand {bad.nonzero()[0].item()}: its box is empty; "
                "give at least two distinct valid joints, or a box with left < right and top < bottom"
            )
        return cls(center, side, torch.zeros_like(side))

    def to_crop(self, points_px: Float[Tensor, "b n 2"]) -> Float[Tensor, "b n 2"]:
        """Convert image points to the crop frame: x = R(-angle) (p - center) / g.

        Args:
            points_px: Points of the image, pixels.

        Returns:
            Points in units of g from the crop centre, in [-0.5, 0.5] inside the crop.

        Source: Eq. 8 and PAPER.md Sec. 9.2.
        """
        x, y = (points_px - self.center[:, None]).unbind(-1)
        cos, sin = self.angle.cos()[:, None], self.angle.sin()[:, None]
        return torch.stack((cos * x + sin * y, cos * y - sin * x), -1) / self.side[:, None, None]

    def to_image(self, points_crop: Float[Tensor, "b n 2"]) -> Float[Tensor, "b n 2"]:
        """Convert points of the crop frame to the image: p = center + g R(angle) x.

        Args:
            points_crop: Points in units of g.

        Returns:
            Points of the image, pixels.

        Source: the inverse of Eq. 8.
        """
        x, y = points_crop.unbind(-1)
        cos, sin = self.angle.cos()[:, None], self.angle.sin()[:, None]
        rotated = torch.stack((cos * x - sin * y, cos * y + sin * x), -1)
        return self.center[:, None] + self.side[:, None, None] * rotated

    def crop_image(self, image: Float[Tensor, "b c h w"], size: int = SIZE) -> Float[Tensor, "b c size size"]:
        """Cut the crop out of the image; pixels outside the image are 0.

        Each output pixel is the mean of bilinear samples on a grid of up to 8 x 8 points. The largest crop of the batch
        determines their number. Therefore a large photo does not alias.

        Args:
            image: One image of any size for each frame.
            size: Pixels along a side of the crop.

        Returns:
            The crops. The centre of pixel i lies at (i + 0.5) / size - 0.5 in units of g.

        Source: PAPER.md Sec. 9.2.
        """
        fine = min(MAX_OVERSAMPLING, max(1, ceil(self.side.max().item() / size)))
        n = size * fine
        ticks = (torch.arange(n, device=image.device, dtype=image.dtype) + 0.5) / n - 0.5
        extent = torch.tensor(image.shape[:-3:-1], device=image.device, dtype=image.dtype)
        strips = []
        for rows in ticks.split(fine * max(1, MOST_SAMPLES // (n * fine))):
            y, x = torch.meshgrid(rows, ticks, indexing="ij")
            points = torch.stack((x, y), -1).reshape(1, -1, 2).expand(len(image), -1, -1)
            grid = (2 * self.to_image(points) / extent - 1).reshape(-1, len(rows), n, 2)
            samples = functional.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
            strips.append(functional.avg_pool2d(samples, fine))
        return torch.cat(strips, 2)

    def normalise(
        self, joints_mm: Float[Tensor, "b 21 3"], k: Float[Tensor, "b 3 3"], z_root: Float[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b 21 3"]:
        r"""Convert joints of the camera frame to the crop frame (the ground truth of Eq. 8).

        x and y are the projection in the crop frame; :math:`z = (Z - Z_{Root}) / (Z_{Root}\, g / c_f)`.

        Args:
            joints_mm: Joints in canonical order, camera frame, millimetres or any other unit of length.
            k: Pinhole camera matrices, pixels; c_f is the mean of the two focal lengths.
            z_root: Depth of the root, in the unit of the joints; by default the depth of the middle MCP.

        Returns:
            Joints in units of g; the root has z = 0. The gradient flows to the joints, the cameras and the frame.

        Source: Eq. 8.
        """
        homogeneous = joints_mm @ k.mT
        pixels = homogeneous[..., :2] / homogeneous[..., 2:]
        root = joints_mm[:, MIDDLE_MCP, 2] if z_root is None else z_root
        z = (joints_mm[..., 2] - root[:, None]) / self.depth_unit(k, root)[:, None]
        return torch.cat((self.to_crop(pixels), z[..., None]), -1)

    def denormalise(
        self, joints_crop: Float[Tensor, "b n 3"], k: Float[Tensor, "b 3 3"], z_root: Float[Tensor, " b"]
    ) -> Float[Tensor, "b n 3"]:
        """Convert points of the crop frame back to the camera frame: the inverse of :meth:`normalise`.

        Args:
            joints_crop: Points in units of g, z relative to the root.
            k: Pinhole camera matrices, pixels.
            z_root: Depth of the middle MCP, millimetres or any other unit of length.

        Returns:
            Points in the camera frame, in the unit of `z_root`.

        Source: Eq. 8, inverted ("normalised back with the same quantities", PAPER.md Sec. 4).
        """
        z = z_root[:, None] + joints_crop[..., 2] * self.depth_unit(k, z_root)[:, None]
        pixels = self.to_image(joints_crop[..., :2])
        rays = torch.cat((pixels, torch.ones_like(pixels[..., :1])), -1) @ torch.linalg.inv(k).mT
        return rays * z[..., None]

    def depth_unit(self, k: Float[Tensor, "b 3 3"], z_root: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """Compute the length at the root's depth that projects to g pixels: Z_Root g / c_f.

        Args:
            k: Pinhole camera matrices, pixels; c_f is the mean of the two focal lengths.
            z_root: Depth of the middle MCP, any unit of length.

        Returns:
            The length, in the unit of `z_root`.

        Source: Eq. 8, its unit of depth.
        """
        return z_root * self.side / ((k[:, 0, 0] + k[:, 1, 1]) / 2)
