"""A labelled picture of a hand, in one format for all datasets.

Pixels, camera frame and joint order follow the chapter *Conventions*; lengths are in millimetres.

Here pixel i covers [i, i + 1). The calibration tools behind STB, Dexter+Object, FreiHAND and HO-3D put whole numbers at
the pixels' centres, so their principal points are moved by half a pixel (:func:`from_pixel_centers`). RHD is rendered
with the principal point at half the picture's width: its coordinates already start at the picture's corner and are not
changed. Nothing here has a gradient.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from dhpe_lib.hand.io import Side
from dhpe_lib.hand.skeleton import JOINT_NAMES, MIDDLE_MCP

RING_MCP = JOINT_NAMES.index("ring_1")


@dataclass(frozen=True)
class Sample:
    """A picture, its camera and the labels of one hand.

    Readers return right hands only: a left hand is mirrored together with its picture, and `side` is "left".

    Attributes:
        id: Name of the sample in its dataset, unique and stable; the picture's file can be found from it.
        image: RGB picture.
        k: Pinhole camera matrix, pixels; pixel i covers [i, i + 1).
        joints_2d: Joints in canonical order, pixels; NaN if unknown.
        joints_3d: Joints in the camera frame of `image`, millimetres; NaN if unknown.
        visible: Whether the dataset labels a joint as visible; without such labels, whether the joint is known.
        mask: True on the hand; None if the dataset has no mask.
        side: Handedness before mirroring.
        joint_0: Meaning of the dataset's first joint.
    """

    id: str
    image: UInt8[ndarray, "height width 3"]
    k: Float[ndarray, "3 3"]
    joints_2d: Float[ndarray, "21 2"]
    joints_3d: Float[ndarray, "21 3"]
    visible: Bool[ndarray, " 21"]
    mask: Bool[ndarray, "height width"] | None
    side: Side
    joint_0: Literal["wrist", "palm"]

    @property
    def known(self) -> Bool[ndarray, " 21"]:
        """Whether the 3D position of a joint is known."""
        return np.isfinite(self.joints_3d).all(-1)

    @property
    def root(self) -> Float[ndarray, " 3"]:
        """The middle MCP in the camera frame, millimetres; NaN if unknown."""
        return self.joints_3d[MIDDLE_MCP]


@runtime_checkable
class Reader(Protocol):
    """Interface of all dataset readers: a sequence of samples that reads a picture when it is indexed."""

    @property
    def ids(self) -> Sequence[str]:
        """Name of each sample, unique and stable."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


def project(joints_3d: Float[ndarray, "n 3"], k: Float[ndarray, "3 3"]) -> Float[ndarray, "n 2"]:
    """Project points with a pinhole camera: pixel = (K X)_xy / (K X)_z.

    Args:
        joints_3d: Points in the camera frame, any unit of length.
        k: Camera matrix, pixels.

    Returns:
        Points in pixels; NaN for NaN points.
    """
    homogeneous = joints_3d @ k.T
    return homogeneous[:, :2] / homogeneous[:, 2:]


def from_pixel_centers(k: Float[ndarray, "3 3"]) -> Float[ndarray, "3 3"]:
    """Convert a camera with whole numbers at the pixels' centres to the project's pixels: c + 1/2.

    Args:
        k: Camera matrix, pixels; it projects a point at the centre of the first pixel to (0, 0).

    Returns:
        Camera matrix that projects this point to (0.5, 0.5).
    """
    corner = np.eye(3)
    corner[:2, 2] = 0.5
    return corner @ k


def mirror(sample: Sample) -> Sample:
    """Mirror a sample left to right, with its labels and camera: a left hand becomes a right hand.

    Picture and mask are flipped. u becomes width - u, X becomes -X; in the camera c_x becomes width - c_x and the skew
    changes its sign. `side` is not changed: it remains the handedness in the photo, so the caller must keep track of
    the mirroring.

    Args:
        sample: Any sample.

    Returns:
        The mirror image; mirroring twice returns the original sample.
    """
    width = sample.image.shape[1]
    k = sample.k.copy()
    k[0, 1], k[0, 2] = -k[0, 1], width - k[0, 2]
    return replace(
        sample,
        image=np.ascontiguousarray(sample.image[:, ::-1]),
        k=k,
        joints_2d=np.array([width, 0]) + sample.joints_2d * np.array([-1, 1]),
        joints_3d=sample.joints_3d * np.array([-1, 1, 1]),
        mask=None if sample.mask is None else np.ascontiguousarray(sample.mask[:, ::-1]),
    )


def as_right_hand(sample: Sample) -> Sample:
    """Mirror the sample if it shows a left hand; this is the last step of every reader.

    Args:
        sample: Sample as it is in the photo.

    Returns:
        The sample, or its mirror image.
    """
    return mirror(sample) if sample.side == "left" else sample


def with_wrist(sample: Sample) -> Sample:
    """Estimate the wrist from the palm's centre, for hand models that need it: wrist = ring MCP + 2 (palm - ring MCP).

    Args:
        sample: Sample whose first joint is the palm or the wrist.

    Returns:
        The sample with a wrist, which is visible if the palm is.

    Source: the rule of the STB readers of hand3d and of Ge et al. (CVPR 2019).
    """
    if sample.joint_0 == "wrist":
        return sample
    ring = sample.joints_3d[RING_MCP]
    joints_2d, joints_3d = sample.joints_2d.copy(), sample.joints_3d.copy()
    joints_3d[0] = 2 * joints_3d[0] - ring
    joints_2d[0] = project(joints_3d[:1], sample.k)[0]
    return replace(sample, joints_2d=joints_2d, joints_3d=joints_3d, joint_0="wrist")
