"""The One-Euro filter: it smooths a hand over a clip, strongly while the hand rests and weakly while it moves.

A low-pass filter trades jitter against lag. The One-Euro filter lets its cutoff frequency grow with the speed of the
signal: jitter is seen in a hand at rest, and lag in a hand that moves. Times are in seconds, frequencies in hertz. The
functions take a state and a measurement and return the next state; the first measurement makes the first state.
"""

from dataclasses import dataclass
from math import pi

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.hand.parameters import LINEAR_SCALE_FROM, positive_scale, split_h


@dataclass(frozen=True)
class OneEuroOptions:
    """The three numbers of the filter.

    Attributes:
        min_cutoff: Cutoff frequency for a signal at rest, hertz. Lower it against jitter.
        beta: Growth of the cutoff with speed, hertz for one unit per second. Raise it against lag.
        speed_cutoff: Cutoff frequency of the filter for the speed, hertz.
    """

    min_cutoff: float = 1.0
    beta: float = 2.0
    speed_cutoff: float = 1.0

    def __post_init__(self) -> None:
        if not (self.min_cutoff > 0 and self.speed_cutoff > 0 and self.beta >= 0):
            raise ValueError(f"{self}: cutoff frequencies must be positive, and beta 0 or more")


HAND = OneEuroOptions()
SHAPE = OneEuroOptions(min_cutoff=0.1, beta=0.0)  # a hand keeps its shape


@dataclass(frozen=True)
class OneEuroState:
    """State of the filter.

    Attributes:
        time: Time of the last measurement, seconds.
        value: Filtered value.
        speed: Filtered speed, units per second.
    """

    time: float
    value: Float[Tensor, "... n"]
    speed: Float[Tensor, "... n"]


def one_euro(
    state: OneEuroState | None, value: Float[Tensor, "... n"], time: float, options: OneEuroOptions = HAND
) -> OneEuroState:
    r"""Filter the next measurement of one or more vectors.

    With :math:`\alpha(f) = 1 / (1 + 1 / (2 \pi f\, dt))`, the speed :math:`(x - \hat{x}) / dt` is low-pass filtered
    with :math:`\alpha` of ``speed_cutoff``, and the value with :math:`\alpha` of
    ``min_cutoff`` + ``beta`` \|speed\|. All numbers of a row share one cutoff, so a rotation of the axes rotates the
    result.

    Args:
        state: State after the last measurement; None at the start.
        value: Measurement x. Each row is one vector; give a column of single numbers to filter each by itself.
        time: Time of the measurement, seconds.
        options: Parameters of the filter.

    Returns:
        The next state; its ``value`` is the result. The gradient flows to the measurements.

    Raises:
        ValueError: The time does not increase, or a number is not finite.

    Source: Casiez, Roussel, Vogel, *1 Euro Filter* (CHI 2012), Algorithm 1.
    """
    if not value.isfinite().all():
        raise ValueError(f"the measurement at {time} s holds a number that is not finite; leave it out")
    if state is None:
        return OneEuroState(time, value, torch.zeros_like(value))
    step = time - state.time
    if not step > 0:
        raise ValueError(f"the measurement at {time} s follows one at {state.time} s; times must increase")
    speed = torch.lerp(state.speed, (value - state.value) / step, _alpha(value.new_tensor(options.speed_cutoff), step))
    cutoff = options.min_cutoff + options.beta * speed.norm(dim=-1, keepdim=True)
    return OneEuroState(time, torch.lerp(state.value, value, _alpha(cutoff, step)), speed)


def _alpha(cutoff: Tensor, step: float) -> Tensor:
    """Weight of the new measurement."""
    return 1 / (1 + 1 / (2 * pi * cutoff * step))


def one_euro_rotation(
    state: OneEuroState | None, quaternion: Float[Tensor, "*rows 4"], time: float, options: OneEuroOptions = HAND
) -> OneEuroState:
    """Filter the next measurement of one or more rotations.

    A quaternion and its negative are one rotation. The measurement takes the sign that is nearer to the filtered value,
    then goes through :func:`one_euro`, and the result gets unit length again. A quaternion moves half as fast as its
    rotation turns, so beta counts twice: it is per radian per second.

    Args:
        state: State after the last measurement; None at the start.
        quaternion: (w, x, y, z) of any length but zero.
        time: Time of the measurement, seconds.
        options: Parameters of the filter.

    Returns:
        The next state; its ``value`` has unit length and keeps its sign over time.

    Raises:
        ValueError: The time does not increase, a number is not finite, or a quaternion is zero.

    Source: Casiez et al. 2012; the normalised mean of near quaternions approximates the mean rotation.
    """
    if not (quaternion.norm(dim=-1) > 0).all():
        raise ValueError(f"a quaternion at {time} s is zero or not finite; it is no rotation")
    unit = functional.normalize(quaternion, dim=-1)
    if state is not None:
        same = (unit * state.value).sum(-1, keepdim=True) >= 0
        unit = torch.where(same, unit, -unit)
    per_radian = OneEuroOptions(options.min_cutoff, 2 * options.beta, options.speed_cutoff)
    new = one_euro(state, unit, time, per_radian)
    return OneEuroState(time, functional.normalize(new.value, dim=-1), new.speed)


@dataclass(frozen=True)
class SmoothHand:
    """The filters of a hand's h. All are in the crop frame of the first measurement.

    Attributes:
        frame: Crop frame of h.
        pose: 15 rotation vectors.
        shape: Ten numbers, each by itself.
        rotation: Global rotation as a quaternion.
        scale: Global scale.
        translation: Global translation.
    """

    frame: CropFrame
    pose: OneEuroState
    shape: OneEuroState
    rotation: OneEuroState
    scale: OneEuroState
    translation: OneEuroState

    def h(self, frame: CropFrame) -> Float[Tensor, "b 63"]:
        """Give the filtered parameters.

        Args:
            frame: Crop frame that they are to be in.

        Returns:
            [pose 45, shape 10, c_q 4, c_s 1, c_t 3].
        """
        identity = self.rotation.value.new_tensor((1.0, 0, 0, 0))
        offset = scale_offset(self.scale.value)
        parts = (self.pose.value.flatten(1), self.shape.value.flatten(1), self.rotation.value - identity, offset)
        return change_crop(torch.cat((*parts, self.translation.value), 1), self.frame, frame)


def smooth_hand(
    state: SmoothHand | None,
    h: Float[Tensor, "b 63"],
    frame: CropFrame,
    time: float,
    options: OneEuroOptions = HAND,
    shape_options: OneEuroOptions = SHAPE,
) -> SmoothHand:
    """Filter the next parameters of a followed hand.

    Rotation, scale and translation in h depend on the crop, and a followed hand has another crop in each frame. So h is
    first brought into the crop of the first measurement. Finger poses are filtered as rotation vectors; inside the
    limits of the joints they are far from a half turn, where rotation vectors jump.

    Args:
        state: State after the last measurement; None at the start.
        h: Estimated parameters.
        frame: Their crop frame.
        time: Time of the frame, seconds.
        options: For the moving parts.
        shape_options: For the shape.

    Returns:
        The next state; its :meth:`SmoothHand.h` is the result.

    Raises:
        ValueError: The time does not increase, or a number is not finite.

    Source: Casiez et al. 2012.
    """
    reference = frame if state is None else state.frame
    parts = split_h(change_crop(h, frame, reference))
    identity = h.new_tensor((1.0, 0, 0, 0))
    pose, shape, rotation, scale, translation = (
        (None,) * 5 if state is None else (state.pose, state.shape, state.rotation, state.scale, state.translation)
    )
    return SmoothHand(
        reference,
        one_euro(pose, parts.pose.unflatten(1, (15, 3)), time, options),
        one_euro(shape, parts.shape[..., None], time, shape_options),
        one_euro_rotation(rotation, identity + parts.quaternion, time, options),
        one_euro(scale, positive_scale(parts.scale), time, options),
        one_euro(translation, parts.translation, time, options),
    )


def change_crop(h: Float[Tensor, "b 63"], frame: CropFrame, target: CropFrame) -> Float[Tensor, "b 63"]:
    """Express parameters of one crop frame in another: the hand in the image stays where it is.

    Args:
        h: Parameters whose mesh lies in ``frame``.
        frame: The crop frame of h.
        target: The crop frame of the result.

    Returns:
        Parameters whose mesh lies in ``target``; pose and shape stay.

    Source: Eq. 8, once inverted and once applied.
    """
    parts = split_h(h)
    half, ratio = (frame.angle - target.angle)[:, None] / 2, (frame.side / target.side)[:, None]
    identity = h.new_tensor((1.0, 0, 0, 0))
    w, x, y, z = functional.normalize(identity + parts.quaternion, dim=1).split(1, dim=1)
    cos, sin = half.cos(), half.sin()  # the quaternion of a turn about z, times q
    turned = torch.cat((cos * w - sin * z, cos * x - sin * y, cos * y + sin * x, cos * z + sin * w), 1)
    scale = scale_offset(ratio * positive_scale(parts.scale))
    across = target.to_crop(frame.to_image(parts.translation[:, None, :2]))[:, 0]
    place = torch.cat((across, ratio * parts.translation[:, 2:]), 1)
    return torch.cat((parts.pose, parts.shape, turned - identity, scale, place), 1)


def scale_offset(scale: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Turn a scale into c_s: the inverse of :func:`dhpe_lib.hand.parameters.positive_scale`.

    Args:
        scale: Positive scales.

    Returns:
        c_s.
    """
    floor = 1 + LINEAR_SCALE_FROM
    low = floor * (scale.clamp_max(floor) / floor).log() + LINEAR_SCALE_FROM
    return torch.where(scale > floor, scale - 1, low)
