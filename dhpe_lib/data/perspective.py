"""From the weak perspective of an estimate to the perspective of a camera: where the hand is, in metres.

An estimate lies in the crop frame, whose camera is scaled orthographic. Three steps bring it to a pinhole camera:

1. Crop units become metres and the crop's axes become the image's axes (:func:`metric_points`).
2. The hand is turned by the rotation that takes the optical axis to the ray through the crop's centre
   (:func:`ray_rotation`). A crop away from the image's centre shows the hand as a camera sees it that looks along this
   ray; the estimate's z axis is that ray, not the optical axis.
3. The translation is the one that projects the joints onto their pixels (:func:`solve_translation`).

:func:`place_hand` does all three. Metres come from the hand model's size: one photo does not tell how large a hand is.
Depth is proportional to that size and to the focal length. The chapter is *Any photo*.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from dhpe_lib.data.crop_frame import CropFrame

MIN_SPREAD = 1e-6


@dataclass(frozen=True)
class WeakPerspective:
    """A scaled orthographic camera of the whole image: pixel = scale (X, Y) + translation.

    Attributes:
        scale: Pixels of the image in a metre at the hand.
        translation: Image position of the point X = Y = 0, pixels.
    """

    scale: Float[Tensor, " b"]
    translation: Float[Tensor, "b 2"]

    def project(self, points: Float[Tensor, "b n 3"]) -> Float[Tensor, "b n 2"]:
        """Project points; their depth changes nothing.

        Args:
            points: Points with the axes of the image, metres.

        Returns:
            Points of the image, pixels.
        """
        return self.scale[:, None, None] * points[..., :2] + self.translation[:, None]


@dataclass(frozen=True)
class PlacedHand:
    """The rigid motion that brings a hand in metres into the camera's frame: P = R X + t.

    Attributes:
        rotation: R, from the view along the crop's ray to the view along the optical axis.
        translation: t, the place of the root in the camera's frame, metres.
    """

    rotation: Float[Tensor, "b 3 3"]
    translation: Float[Tensor, "b 3"]

    def to_camera(self, points: Float[Tensor, "b n 3"]) -> Float[Tensor, "b n 3"]:
        """Move points into the camera's frame.

        Args:
            points: Points from :func:`metric_points`, metres.

        Returns:
            Points of the camera frame, metres.
        """
        return points @ self.rotation.mT + self.translation[:, None]


def metric_points(
    frame: CropFrame, points: Float[Tensor, "b n 3"], root: Float[Tensor, "b 3"], scale: Float[Tensor, " b"]
) -> Float[Tensor, "b n 3"]:
    """Turn points of the crop frame into metres from the root, with the axes of the image.

    Args:
        frame: The crops.
        points: Points of the crop frame, units of g.
        root: The point that becomes the origin, units of g.
        scale: Crop units in a metre of the hand model (``HandEstimate.scale``).

    Returns:
        Points in metres; x and y are turned by the crop's angle.
    """
    x, y, z = ((points - root[:, None]) / scale[:, None, None]).unbind(-1)
    cos, sin = frame.angle.cos()[:, None], frame.angle.sin()[:, None]
    return torch.stack((cos * x - sin * y, cos * y + sin * x, z), -1)


def weak_perspective(frame: CropFrame, root: Float[Tensor, "b 3"], scale: Float[Tensor, " b"]) -> WeakPerspective:
    """Give the weak-perspective camera of the whole image for points from :func:`metric_points`.

    Args:
        frame: The crops.
        root: The origin of the metric points, units of g.
        scale: Crop units in a metre of the hand model.

    Returns:
        The camera: its scale is the side g in pixels times ``scale``, its translation the root in the image.

    Source: Eq. 8, its x and y.
    """
    return WeakPerspective(frame.side * scale, frame.to_image(root[:, None, :2])[:, 0])


def closed_form_translation(camera: WeakPerspective, k: Float[Tensor, "b 3 3"]) -> Float[Tensor, "b 3"]:
    r"""Estimate a hand's translation from its size in the image: :math:`t_z = f / s`.

    A metre at depth :math:`t_z` spans :math:`f / t_z` pixels, and the weak-perspective scale s says how many it spans.
    The root lies at that depth on the ray through its pixel. The error grows with the hand's extent in depth over its
    distance, and with the angle between the ray and the optical axis.

    Args:
        camera: The weak-perspective camera of the whole image.
        k: Camera matrices; f is the mean of their two focal lengths.

    Returns:
        Place of the root in the camera's frame, metres.

    Source: Eq. 8: its unit of depth Z_Root g / c_f is the length that spans g pixels; solved for Z_Root.
    """
    depth = (k[:, 0, 0] + k[:, 1, 1]) / 2 / camera.scale
    return _rays(camera.translation, k) * depth[:, None]


def _rays(pixels: Float[Tensor, "*n 2"], k: Float[Tensor, "*#n 3 3"]) -> Float[Tensor, "*n 3"]:
    """Directions K^-1 (u, v, 1) of pixels; their z is 1."""
    homogeneous = functional.pad(pixels, (0, 1), value=1.0)
    return torch.linalg.solve(k, homogeneous[..., None])[..., 0]


def ray_rotation(pixels: Float[Tensor, "b 2"], k: Float[Tensor, "b 3 3"]) -> Float[Tensor, "b 3 3"]:
    r"""Give the smallest rotation that takes the optical axis to the rays of pixels.

    For the unit ray :math:`d = (x, y, z)`, :math:`R = I + [v]_\times + [v]_\times^2 / (1 + z)` with
    :math:`v = e_z \times d = (-y, x, 0)`.

    Args:
        pixels: Points of the image, pixels.
        k: Camera matrices.

    Returns:
        Rotations R with R (0, 0, 1) along the ray.

    Source: Rodrigues' formula for the axis v.
    """
    x, y, z = functional.normalize(_rays(pixels, k), dim=-1).unbind(-1)
    zero = torch.zeros_like(x)
    rows = (zero, zero, x, zero, zero, y, -x, -y, zero)
    cross = torch.stack(rows, -1).unflatten(-1, (3, 3))
    return torch.eye(3).to(cross) + cross + cross @ cross / (1 + z)[:, None, None]


def solve_translation(
    points: Float[Tensor, "b n 3"],
    pixels: Float[Tensor, "b n 2"],
    k: Float[Tensor, "b 3 3"],
    weights: Float[Tensor, "b n"] | None = None,
    steps: int = 2,
) -> Float[Tensor, "b 3"]:
    """Find the translation that projects metric points onto their pixels, in the sense of least squares.

    With K_3 the last row of K, a point P projects onto pixel p where (K_xy - p K_3) P = 0. With P = X + t this is
    linear in t: one 3 x 3 system starts the search. Gauss-Newton steps on the distance in pixels follow. For exact
    points and pixels the linear system is exact.

    Args:
        points: Points X in the axes of the camera, relative to the root, metres.
        pixels: Image position of each point, pixels.
        k: Camera matrices.
        weights: Confidence of each pixel, 0 or more; by default 1.
        steps: Gauss-Newton steps.

    Returns:
        Place of the root in the camera's frame, metres. The gradient flows to all inputs.

    Raises:
        ValueError: The points with a weight share one pixel, so the depth is not known; or the solution puts a point
            behind the camera.

    Source: the direct linear transform with known rotation; Hartley and Zisserman, Secs. 4.1 and 7.2.
    """
    weights = torch.ones_like(pixels[..., 0]) if weights is None else weights
    _require_spread(pixels, weights)
    known, last = k[:, None, :2], k[:, None, 2:]
    matrix = known - pixels[..., None] * last
    translation = _least_squares(matrix, -(matrix @ points[..., None])[..., 0], weights)
    for _ in range(steps):
        image = (points + translation[:, None]) @ k.mT
        _require_front(image[..., 2], weights)
        projected = image[..., :2] / image[..., 2:]
        jacobian = (known - projected[..., None] * last) / image[..., 2, None, None]
        translation = translation + _least_squares(jacobian, pixels - projected, weights)
    _require_front(points[..., 2] + translation[:, None, 2], weights)
    return translation


def translation_at_depth(
    points: Float[Tensor, "b n 3"],
    pixels: Float[Tensor, "b n 2"],
    k: Float[Tensor, "b 3 3"],
    depth: Float[Tensor, " b"],
) -> Float[Tensor, "b 3"]:
    """Find the translation with a known depth that brings points next to the rays of their pixels.

    Args:
        points: Points in the axes of the camera, relative to the root, any unit of length.
        pixels: Image position of each point, pixels.
        k: Camera matrices.
        depth: Depth of the root, in the unit of the points.

    Returns:
        Place of the root in the camera's frame: x and y have the smallest squared distance of the points to their rays,
        each measured at the point's depth.
    """
    on_rays = _rays(pixels, k[:, None]) * (points[..., 2] + depth[:, None])[..., None]
    return torch.cat(((on_rays - points)[..., :2].mean(1), depth[:, None]), 1)


def _least_squares(
    matrix: Float[Tensor, "b n 2 3"], right: Float[Tensor, "b n 2"], weights: Float[Tensor, "b n"]
) -> Float[Tensor, "b 3"]:
    """Minimise sum_i w_i |A_i t - b_i|^2 by the normal equations."""
    weighted = (matrix * weights[..., None, None]).flatten(1, 2)
    normal = weighted.mT @ matrix.flatten(1, 2)
    return torch.linalg.solve(normal, weighted.mT @ right.flatten(1)[..., None])[..., 0]


def _require_spread(pixels: Float[Tensor, "b n 2"], weights: Float[Tensor, "b n"]) -> None:
    off = ~(weights > 0)[..., None]
    size = pixels.masked_fill(off, -torch.inf).amax(1) - pixels.masked_fill(off, torch.inf).amin(1)
    bad = ~(size.amax(1) > MIN_SPREAD)
    if bad.any():
        raise ValueError(f"hand {bad.nonzero()[0].item()} has no size in the image; give two or more distinct joints")


def _require_front(depth: Float[Tensor, "b n"], weights: Float[Tensor, "b n"]) -> None:
    bad = (~(depth > 0) & (weights > 0)).any(1)
    if bad.any():
        raise ValueError(
            f"hand {bad.nonzero()[0].item()} would lie behind the camera; its pixels do not fit its joints "
            "(a mirrored or turned hand, or too large a field of view)"
        )


def place_hand(
    frame: CropFrame,
    joints: Float[Tensor, "b n 3"],
    scale: Float[Tensor, " b"],
    k: Float[Tensor, "b 3 3"],
    pixels: Float[Tensor, "b n 2"] | None = None,
    weights: Float[Tensor, "b n"] | None = None,
) -> PlacedHand:
    """Place an estimated hand in front of a camera.

    Args:
        frame: The crops.
        joints: Estimated joints in the crop frame, units of g; the first is the root.
        scale: Crop units in a metre of the hand model (``HandEstimate.scale``).
        k: Camera matrices of the whole image.
        pixels: Image position of each joint, pixels; by default that of the estimate.
        weights: Confidence of each pixel; by default 1.

    Returns:
        The motion of points from :func:`metric_points` into the camera's frame. The gradient flows to all inputs.

    Raises:
        ValueError: See :func:`solve_translation`.

    Source: steps 1 to 3 at the head of this module.
    """
    pixels = frame.to_image(joints[..., :2]) if pixels is None else pixels
    rotation = ray_rotation(frame.center, k)
    turned = metric_points(frame, joints, joints[:, 0], scale) @ rotation.mT
    return PlacedHand(rotation, solve_translation(turned, pixels, k, weights))
