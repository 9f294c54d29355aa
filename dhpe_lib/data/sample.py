"""One labelled picture of a hand, the same for every dataset.

Pixels, camera frame and joint order are those of the chapter *Conventions*; lengths are in millimetres.

A pixel i covers [i, i + 1) here. Cameras of calibrated photographs (STB, Dexter+Object, FreiHAND, HO-3D) come from
tools that put whole numbers at the pixels' centres: their principal points, and with them all projections, move by half
a pixel (:func:`from_pixel_centers`). RHD is rendered, with the principal point at half the picture's width: its numbers
already count from the picture's corner and stay. Nothing here has a gradient.
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
    """A picture, its camera and what is known of the one hand that counts.

    Readers hand out right hands only: a left one has been mirrored, picture and all, and `side` says so.

    Attributes:
        id: Name of the sample within its dataset, unique and stable: it finds the picture's file again.
        image: RGB.
        k: Pinhole camera, pixels; a pixel i covers [i, i + 1).
        joints_2d: Pixels, canonical order; NaN where unknown.
        joints_3d: Millimetres in the camera frame of `image`; NaN where unknown.
        visible: Which joints the dataset calls visible; where it does not say, those that are known.
        mask: Where the hand is, if the dataset says so.
        side: Which hand it was before mirroring.
        joint_0: What the dataset's first joint is.
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
        """Which joints have a place in space."""
        return np.isfinite(self.joints_3d).all(-1)

    @property
    def root(self) -> Float[ndarray, " 3"]:
        """The middle MCP in the camera frame, millimetres; NaN where unknown."""
        return self.joints_3d[MIDDLE_MCP]


@runtime_checkable
class Reader(Protocol):
    """What every dataset's reader offers: a sequence of samples that reads a picture when it is asked for."""

    @property
    def ids(self) -> Sequence[str]:
        """One name for each index, unique and stable."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


def project(joints_3d: Float[ndarray, "n 3"], k: Float[ndarray, "3 3"]) -> Float[ndarray, "n 2"]:
    """Pinhole projection: pixel = (K X)_xy / (K X)_z.

    Args:
        joints_3d: Points in the camera frame, any unit.
        k: Camera matrix.

    Returns:
        Pixels; NaN where a point is.
    """
    homogeneous = joints_3d @ k.T
    return homogeneous[:, :2] / homogeneous[:, 2:]


def from_pixel_centers(k: Float[ndarray, "3 3"]) -> Float[ndarray, "3 3"]:
    """Bring a camera whose whole numbers are the pixels' centres to the project's: c + 1/2.

    Args:
        k: Camera matrix; its projection of a point in the middle of the first pixel is (0, 0).

    Returns:
        The camera matrix whose projection of that point is (0.5, 0.5).
    """
    corner = np.eye(3)
    corner[:2, 2] = 0.5
    return corner @ k


def mirror(sample: Sample) -> Sample:
    """Reflect a sample left to right, with everything that goes along: a left hand becomes a right one.

    Picture and mask flip; u becomes width - u, the camera's c_x width - c_x and its skew -skew; X becomes -X. `side`
    stays what it was in the photo, and whoever calls this knows whether the hand is mirrored.

    Args:
        sample: Any sample.

    Returns:
        Its mirror image; mirroring twice gives the sample back.
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
    """Mirror a sample whose hand is a left one; the last step of every reader.

    Args:
        sample: As it is in the photo.

    Returns:
        The sample, or its mirror image.
    """
    return mirror(sample) if sample.side == "left" else sample


def with_palm(sample: Sample) -> Sample:
    """Make joint 0 the palm's centre, as in the paper: palm = (wrist + middle MCP) / 2, in space.

    Args:
        sample: Whose first joint is the wrist or the palm.

    Returns:
        The sample with the palm; visible if one of the two joints is.

    Source: Zimmermann & Brox, ICCV 2017 (they halve the 2D labels too; here the point in space is projected).
    """
    if sample.joint_0 == "palm":
        return sample
    palm = (sample.joints_3d[0] + sample.root) / 2
    return _with_joint_0(sample, "palm", palm, bool(sample.visible[[0, MIDDLE_MCP]].any()))


def with_wrist(sample: Sample) -> Sample:
    """Guess the wrist from the palm's centre: wrist = ring MCP + 2 (palm - ring MCP), for hand models that need one.

    Args:
        sample: Whose first joint is the palm or the wrist.

    Returns:
        The sample with a wrist; visible if the palm is.

    Source: the rule of hand3d's and of Ge et al.'s (CVPR 2019) STB readers.
    """
    if sample.joint_0 == "wrist":
        return sample
    ring = sample.joints_3d[RING_MCP]
    return _with_joint_0(sample, "wrist", 2 * sample.joints_3d[0] - ring, bool(sample.visible[0]))


def _with_joint_0(sample: Sample, name: Literal["wrist", "palm"], point: Float[ndarray, " 3"], visible: bool) -> Sample:
    joints_2d, joints_3d, seen = sample.joints_2d.copy(), sample.joints_3d.copy(), sample.visible.copy()
    joints_2d[0], joints_3d[0], seen[0] = project(point[None], sample.k)[0], point, visible
    return replace(sample, joints_2d=joints_2d, joints_3d=joints_3d, visible=seen, joint_0=name)
