"""The One-Euro filter against its own words in scalar code, and what it is for: less jitter, little lag."""

from math import pi

import pytest
import torch

from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.parameters import positive_scale, split_h
from dhpe_lib.hand.rotations import axis_angle_to_matrix, matrix_to_quaternion, quaternion_to_matrix, random_rotations
from dhpe_lib.prediction.one_euro import (
    HAND,
    OneEuroOptions,
    change_crop,
    one_euro,
    one_euro_rotation,
    scale_offset,
    smooth_hand,
)

F64 = torch.float64


def run(values, times, options=HAND, step=one_euro):
    state, results = None, []
    for value, time in zip(values, times, strict=True):
        state = step(state, value, time, options)
        results.append(state.value)
    return torch.stack(results)


def scalar_filter(values, times, options):
    """Algorithm 1 of the paper for one number, word by word."""

    def alpha(rate, cutoff):
        tau = 1 / (2 * pi * cutoff)
        return 1 / (1 + tau * rate)

    results, speed = [values[0]], 0.0
    for k in range(1, len(values)):
        rate = 1 / (times[k] - times[k - 1])
        a = alpha(rate, options.speed_cutoff)
        speed = a * (values[k] - results[-1]) * rate + (1 - a) * speed
        a = alpha(rate, options.min_cutoff + options.beta * abs(speed))
        results.append(a * values[k] + (1 - a) * results[-1])
    return results


@pytest.mark.parametrize("options", [HAND, OneEuroOptions(0.3, 0.0, 2.0), OneEuroOptions(5.0, 10.0, 0.5)])
def test_a_column_is_filtered_number_by_number(options, generator):
    times = torch.rand(40, generator=generator, dtype=F64).cumsum(0).div(10).tolist()  # an uneven rate
    values = torch.randn(40, 3, 1, generator=generator, dtype=F64)
    found = run(values, times, options)
    for i in range(3):
        expected = scalar_filter(values[:, i, 0].tolist(), times, options)
        torch.testing.assert_close(found[:, i, 0], torch.tensor(expected, dtype=F64))


def test_vectors_share_a_cutoff_so_axes_do_not_matter(generator):
    times = [k / 30 for k in range(30)]
    values = torch.randn(30, 5, 3, generator=generator, dtype=F64)
    turn = random_rotations(1, generator, F64)[0]
    torch.testing.assert_close(run(values @ turn.mT, times), run(values, times) @ turn.mT)


def test_a_constant_stays_and_a_step_is_reached():
    times = [k / 30 for k in range(90)]
    values = torch.ones(90, 2, dtype=F64)
    torch.testing.assert_close(run(values, times), values)
    values[:1] = 0
    found = run(values, times)[:, 0]
    assert (found.diff() >= 0).all()  # no overshoot
    assert 0.5 < found[1] < 1
    assert found[-1] == pytest.approx(1, abs=1e-3)


def test_after_a_long_pause_the_measurement_counts():
    found = run(torch.tensor([[0.0], [1.0]], dtype=F64), [0.0, 1000.0])
    assert found[1].item() == pytest.approx(1, abs=1e-3)


def test_less_jitter_at_rest_and_little_lag_in_motion(generator):
    times = torch.arange(300, dtype=F64) / 30
    moving = times % 4 > 2
    truth = 0.5 * torch.sin(2 * pi * times) * moving
    noisy = truth + 0.02 * torch.randn(300, generator=generator, dtype=F64)
    found = run(noisy[:, None, None], times.tolist())[:, 0, 0]
    rest = (times % 4 > 0.7) & (times % 4 < 1.9)
    assert found[rest].diff().std() < 0.2 * noisy[rest].diff().std()
    lag = (found - truth)[moving].square().mean().sqrt()
    plain = run(noisy[:, None, None], times.tolist(), OneEuroOptions(HAND.min_cutoff, 0.0))[:, 0, 0]
    assert lag < 0.08
    assert lag < 0.4 * (plain - truth)[moving].square().mean().sqrt()  # what speed adds to the cutoff


def turning(n: int) -> torch.Tensor:
    """Quaternions of two turns about an axis, 30 a second, w >= 0: their sign flips at each half turn."""
    angle = torch.linspace(0, 4 * pi, n, dtype=F64)[:, None]
    return matrix_to_quaternion(axis_angle_to_matrix(angle * torch.tensor([[0.6, 0.0, 0.8]], dtype=F64)))


def test_flips_of_sign_are_no_motion(generator):
    times = [k / 30 for k in range(120)]
    quaternions = turning(120)
    assert ((quaternions[1:] * quaternions[:-1]).sum(1) < 0).sum() == 2
    found = run(quaternions, times, step=one_euro_rotation)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(120, dtype=F64))
    assert ((found[1:] * found[:-1]).sum(1) > 0.9).all()
    cosine = (found * quaternions).sum(1).abs().clamp_max(1)
    assert (2 * cosine.acos()).max() < 0.15  # radians behind, at 3.2 radians a second
    signs = 1 - 2 * torch.randint(2, (120, 1), generator=generator)
    torch.testing.assert_close(run(signs * quaternions, times, step=one_euro_rotation), signs[0] * found)


def test_rotations_do_not_depend_on_the_world(generator):
    """Turning all measurements turns the results."""
    times = [k / 30 for k in range(60)]
    turns = quaternion_to_matrix(turning(60))
    world = random_rotations(1, generator, F64)[0]
    found = quaternion_to_matrix(run(turning(60), times, step=one_euro_rotation))
    other = quaternion_to_matrix(run(matrix_to_quaternion(world @ turns), times, step=one_euro_rotation))
    torch.testing.assert_close(other, world @ found)


def test_scale_offset_inverts_the_models_scale():
    offset = torch.linspace(-4, 8, 200, dtype=F64)
    torch.testing.assert_close(scale_offset(positive_scale(offset)), offset)


def crops(n: int, generator: torch.Generator) -> CropFrame:
    rand = torch.rand(n, 4, generator=generator, dtype=F64)
    return CropFrame(300 + 200 * rand[:, :2], 100 + 200 * rand[:, 2], 6 * rand[:, 3])


def random_h(n: int, generator: torch.Generator) -> torch.Tensor:
    return 0.3 * torch.randn(n, 63, generator=generator, dtype=F64) + torch.eye(63, dtype=F64)[59] * 3


def test_another_crop_shows_the_same_hand(generator):
    model = HandModel.open_hand().double()
    h, frame, target = random_h(4, generator), crops(4, generator), crops(4, generator)
    other = change_crop(h, frame, target)
    before, after = model.forward_h(h).vertices, model.forward_h(other).vertices
    torch.testing.assert_close(target.to_image(after[..., :2]), frame.to_image(before[..., :2]))
    torch.testing.assert_close(after[..., 2] * target.side[:, None], before[..., 2] * frame.side[:, None])
    back = change_crop(other, target, frame)
    torch.testing.assert_close(model.forward_h(back).vertices, before)


def test_a_resting_hand_stays_at_rest_while_its_crop_wanders(generator):
    """The crop follows noisy keypoints; a filter on h as it stands would see motion."""
    model = HandModel.open_hand().double()
    h, first = random_h(1, generator), crops(1, generator)
    goal = first.to_image(model.forward_h(h).vertices[..., :2])
    state = None
    for k in range(10):
        frame = crops(1, generator)
        state = smooth_hand(state, change_crop(h, first, frame), frame, k / 30)
        seen = frame.to_image(model.forward_h(state.h(frame)).vertices[..., :2])
        torch.testing.assert_close(seen, goal)


def test_noise_of_a_followed_hand_is_reduced(generator):
    model = HandModel.open_hand().double()
    h, frame = random_h(1, generator), crops(1, generator)
    goal = model.forward_h(h).vertices
    state, noisy, smooth = None, [], []
    for k in range(60):
        measured = h + 0.02 * torch.randn(1, 63, generator=generator, dtype=F64)
        state = smooth_hand(state, measured, frame, k / 30)
        noisy.append(model.forward_h(measured).vertices)
        smooth.append(model.forward_h(state.h(frame)).vertices)
    noisy, smooth = torch.cat(noisy)[20:], torch.cat(smooth)[20:]
    assert (smooth - goal).norm(dim=-1).mean() < 0.6 * (noisy - goal).norm(dim=-1).mean()
    assert smooth.diff(dim=0).norm(dim=-1).mean() < 0.4 * noisy.diff(dim=0).norm(dim=-1).mean()  # jitter


def test_first_measurement_is_kept(generator):
    h, frame = random_h(2, generator), crops(2, generator)
    state = smooth_hand(None, h, frame, 0.0)
    model = HandModel.open_hand().double()
    torch.testing.assert_close(model.forward_h(state.h(frame)).vertices, model.forward_h(h).vertices)
    torch.testing.assert_close(split_h(state.h(frame)).pose, split_h(h).pose)


def test_gradient_flows_to_the_measurements(generator):
    values = torch.randn(4, 2, 3, generator=generator, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: run(v, [0.0, 0.03, 0.07, 0.1])[-1], values)
    h, frame, target = random_h(1, generator).requires_grad_(), crops(1, generator), crops(1, generator)
    assert torch.autograd.gradcheck(lambda x: change_crop(x, frame, target), h)


def test_bad_input_is_refused():
    state = one_euro(None, torch.zeros(1), 1.0)
    for time in (1.0, 0.5):
        with pytest.raises(ValueError, match="times must increase"):
            one_euro(state, torch.zeros(1), time)
    with pytest.raises(ValueError, match="not finite; leave it out"):
        one_euro(state, torch.tensor([torch.nan]), 2.0)
    for bad in (0.0, torch.nan):
        with pytest.raises(ValueError, match="it is no rotation"):
            one_euro_rotation(None, torch.full((4,), bad), 0.0)
    for options in ({"min_cutoff": 0.0}, {"beta": -1.0}, {"speed_cutoff": -1.0}):
        with pytest.raises(ValueError, match="must be positive"):
            OneEuroOptions(**options)
