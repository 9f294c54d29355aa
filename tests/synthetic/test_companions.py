"""A second hand hides the labelled hand, and changes no label but mask and visibility."""

from dataclasses import replace

import pytest
import torch

from dhpe_lib.hand.skeleton import MIDDLE_MCP
from dhpe_lib.synthetic.companions import (
    Companions,
    draw_companions,
    mirror_lights,
    mirror_pictures,
    place_companions,
)
from dhpe_lib.synthetic.engine import LEAST_SHOWN, Look, Style, SyntheticBatch, SyntheticHands, draw_look
from dhpe_lib.synthetic.hands import Hands, draw_poses, draw_shots, in_perspective, place_hands
from dhpe_lib.synthetic.lighting import draw_lights
from dhpe_lib.synthetic.sampling import Sampler

N = 8


@pytest.fixture(scope="module")
def engine() -> SyntheticHands:
    return SyntheticHands()


@pytest.fixture(scope="module")
def scene(engine: SyntheticHands) -> tuple[Hands, Look]:
    sampler = Sampler.from_seed(0, N)
    shots = draw_shots(sampler, jitter=False)
    hands = place_hands(engine.model, draw_poses(sampler), sampler.normal(1.0, 10), shots, fingertips=False)
    return hands, draw_look(sampler, Style(things=0.0, crossing=1.0), torch.full((N, 3), 0.5))


def drawn(engine: SyntheticHands, scene: tuple[Hands, Look], **changes: torch.Tensor) -> SyntheticBatch:
    hands, look = scene
    look = replace(look, companions=replace(look.companions, **changes))
    return engine.render(hands, look, torch.full((N, 3, 224, 224), 0.5), torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def alone(engine, scene) -> SyntheticBatch:
    return drawn(engine, scene, present=torch.zeros(N, dtype=torch.bool))


@pytest.fixture(scope="module")
def behind(engine, scene) -> SyntheticBatch:
    return drawn(engine, scene, front=torch.zeros(N, dtype=torch.bool))


@pytest.fixture(scope="module")
def before(engine, scene) -> SyntheticBatch:
    return drawn(engine, scene, front=torch.ones(N, dtype=torch.bool))


def test_a_second_hand_does_not_alter_the_labels(alone, behind, before):
    for other in (behind, before):
        for name in ("h", "joints_crop", "joints_mm", "kappa", "axis", "k"):
            assert torch.equal(getattr(other, name), getattr(alone, name)), name
        changed = (other.images != alone.images).any(-1).float().mean((1, 2))
        assert (changed > 0.02).sum() >= N / 2


def test_a_hand_behind_hides_nothing(alone, behind):
    assert torch.equal(behind.masks, alone.masks)
    assert torch.equal(behind.visible, alone.visible)
    assert (behind.depth <= alone.depth).all()
    assert torch.equal(behind.depth[alone.masks], alone.depth[alone.masks])


def test_a_hand_in_front_hides_but_never_most_of_the_labelled_hand(alone, before):
    assert not (before.masks & ~alone.masks).any()
    assert not (before.visible & ~alone.visible).any()
    hidden = (alone.masks & ~before.masks).sum((1, 2))
    assert (hidden > 20).sum() >= 2
    assert (alone.visible & ~before.visible).any()
    assert (before.masks.sum((1, 2)) >= LEAST_SHOWN * alone.masks.sum((1, 2))).all()
    # Where the labelled hand is still seen, its depth is unchanged; where it is hidden, something is nearer.
    torch.testing.assert_close(before.depth[before.masks], alone.depth[before.masks], rtol=0, atol=0)
    gone = alone.masks & ~before.masks
    assert (before.depth[gone] < alone.depth[gone]).all()


def test_the_two_hands_share_no_depth_and_the_second_lies_where_it_was_drawn(engine, scene):
    hands, look = scene
    second, front = place_companions(engine.model, look.companions, hands)
    first_z, second_z = hands.skeleton[..., 2], second.skeleton[..., 2]
    assert (second_z.amax(1) < first_z.amin(1))[front].all()
    assert (second_z.amin(1) > first_z.amax(1))[~front].all()
    seen = in_perspective(second.skeleton, second.kappa, second.axis)[:, MIDDLE_MCP, :2]
    seen[:, 0] = torch.where(look.companions.left, -seen[:, 0], seen[:, 0])
    torch.testing.assert_close(seen, look.companions.aside, rtol=0, atol=1e-5)
    lengths = [(hand.skeleton[:, 9] - hand.skeleton[:, 0]).norm(dim=-1) for hand in (hands, second)]
    torch.testing.assert_close(*lengths, rtol=0.01, atol=0)  # both hands are of one person


def test_a_left_hand_is_the_mirror_image_of_a_right_one(engine, scene):
    hands, look = scene
    no, yes = torch.zeros(N, dtype=torch.bool), torch.ones(N, dtype=torch.bool)
    flip = torch.tensor([-1.0, 1.0])
    mirrored = replace(hands, axis=hands.axis * flip)
    right = replace(look.companions, left=no, aside=look.companions.aside * flip)
    expected, _ = place_companions(engine.model, right, mirrored)
    second, _ = place_companions(engine.model, replace(look.companions, left=yes), hands)
    torch.testing.assert_close(second.body, expected.body)
    lights = draw_lights(Sampler.from_seed(0, N), torch.full((N, 3), 0.5))
    twice = mirror_lights(mirror_lights(lights, yes), yes)
    assert torch.equal(twice.up, lights.up)
    assert torch.equal(mirror_lights(lights, yes).directions[..., 0], -lights.directions[..., 0])
    picture = torch.arange(2 * 3 * 4).view(2, 3, 4)
    one = mirror_pictures(picture, torch.tensor([True, False]))
    assert torch.equal(one[0], picture[0].flip(1))
    assert torch.equal(one[1], picture[1])


def test_as_many_second_hands_as_asked_for():
    sampler = Sampler.from_seed(3, 2000)
    some: Companions = draw_companions(sampler, 0.08)
    assert 0.06 < some.present.float().mean() < 0.10
    assert (some.pose[~some.present] == 0).all()
    assert (some.pose[some.present].abs().amax(1) > 0.1).all()
    assert not draw_companions(sampler, 0.0).present.any()
