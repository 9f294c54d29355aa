"""One labelled picture of a hand, the same for every dataset.

Pixels, camera frame and joint order are those of the chapter *Conventions*; lengths are in millimetres.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from dhpe_lib.skeleton import MIDDLE_MCP


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
    side: Literal["left", "right"]
    joint_0: Literal["wrist", "palm"]

    @property
    def known(self) -> Bool[ndarray, " 21"]:
        """Which joints have a place in space."""
        return np.isfinite(self.joints_3d).all(-1)

    @property
    def root(self) -> Float[ndarray, " 3"]:
        """The middle MCP in the camera frame, millimetres; NaN where unknown."""
        return self.joints_3d[MIDDLE_MCP]


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
