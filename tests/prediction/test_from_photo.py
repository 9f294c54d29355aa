"""Found hands become meshes: joints and depth agree with the ground truth, for both sides, alone and in a batch."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from found_hands import known_hands

from dhpe_lib.evaluation.alignment import align_similarity
from dhpe_lib.hand.model import HandModel
from dhpe_lib.prediction import from_photo
from dhpe_lib.prediction.from_photo import fit_found_hands, predict_hands
from dhpe_lib.prediction.hand_search import load_hand_networks


@pytest.fixture(scope="module")
def model() -> HandModel:
    return HandModel.open_hand()


def aligned_error_mm(estimate, truth) -> float:
    joints = estimate.metres(estimate.mesh.joints)[None]
    truth = truth.numpy().astype(float)[None]
    return 1000 * float(np.linalg.norm(align_similarity(joints, truth) - truth, axis=-1).mean())


@pytest.mark.parametrize("side", ["right", "left"])
def test_meshes_lie_on_the_joints_and_have_their_depth(model, side):
    hands, truth = known_hands(6, side=side)
    found = fit_found_hands(model, hands)
    assert [one.model.side for one in found] == [side] * 6
    assert max(one.relative_error for one in found) < 0.04
    assert np.mean([aligned_error_mm(one, joints) for one, joints in zip(found, truth, strict=True)]) < 8
    for one in found:
        torch.testing.assert_close(one.mesh.vertices, one.model.forward_h(one.h).vertices, atol=2e-5, rtol=0)


def test_both_sides_in_one_batch_are_what_they_are_alone(model):
    hands = [*known_hands(1, 1)[0], *known_hands(1, 2, "left")[0]]
    together = fit_found_hands(model, hands)
    for one, hand in zip(together, hands, strict=True):
        (alone,) = fit_found_hands(model, [hand])
        torch.testing.assert_close(one.mesh.joints, alone.mesh.joints, atol=2e-3, rtol=0)
        assert one.model.side == alone.model.side == hand.side


def test_a_mirrored_hand_gives_the_mirrored_mesh(model):
    (hand,), _ = known_hands(1, 3)
    flip = torch.tensor([-1.0, 1])
    other = replace(
        hand,
        joints_px=hand.joints_px * flip + torch.tensor([640.0, 0]),
        joints_world=hand.joints_world * torch.tensor([-1.0, 1, 1]),
        side="left",
    )
    right, left = fit_found_hands(model, [hand]), fit_found_hands(model, [other])
    mirrored = left[0].joints_px * (-1, 1) + (640, 0)
    np.testing.assert_allclose(mirrored, right[0].joints_px, atol=0.3)


def test_the_joints_in_space_decide_the_depth(model):
    """The same picture with the depths negated is another hand."""
    (hand,), truth = known_hands(1, 5)
    other = replace(hand, joints_world=hand.joints_world * torch.tensor([1.0, 1, -1]))
    (first,), (second,) = fit_found_hands(model, [hand]), fit_found_hands(model, [other])
    assert aligned_error_mm(first, truth[0]) < aligned_error_mm(second, truth[0])


def test_no_hand_and_a_mask_for_two(model):
    assert fit_found_hands(model, []) == []
    with pytest.raises(ValueError, match="does not say which of 2 hands"):
        fit_found_hands(model, known_hands(2)[0], mask=np.zeros((480, 640), bool))


def test_a_mask_moves_the_mesh(model):
    (hand,), _ = known_hands(1, 4)
    low, high = hand.joints_px.amin(0), hand.joints_px.amax(0)
    mask = np.zeros((480, 640), bool)
    mask[int(low[1]) : int(high[1]) + 1, int(low[0]) : int(high[0]) + 1] = True
    (plain,), (masked,) = fit_found_hands(model, [hand]), fit_found_hands(model, [hand], mask=mask)
    assert masked.with_mask
    assert not torch.equal(plain.h, masked.h)


def test_options_reach_the_search(model, monkeypatch):
    (hand,), _ = known_hands(1)
    asked = []
    monkeypatch.setattr(from_photo, "find_hands", lambda *options: asked.append(options[2:]) or [hand])
    monkeypatch.setattr(from_photo, "find_hand_in_box", lambda *options: asked.append(options[2:]) or hand)
    networks, photo = load_hand_networks(), np.zeros((480, 640, 3), np.uint8)
    predict_hands(model, networks, photo, 3, "left")
    (estimate,) = predict_hands(model, networks, photo, box=(10.0, 20.0, 30.0, 40.0))
    assert asked == [(3, "left"), ((10.0, 20.0, 40.0, 60.0), None)]
    assert not estimate.side_known
    assert not estimate.side_assumed


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        ({"presence": 0.6}, "not sure that this is a hand"),
        ({"presence": 0.2}, "sees no hand here"),
        ({"doubts": ("another hand",)}, "another hand"),
        ({"right_probability": 0.55}, "left or right is uncertain"),
    ],
)
def test_doubts_are_said(model, change, warning):
    (hand,), _ = known_hands(1)
    (sure,) = fit_found_hands(model, [hand])
    assert sure.warnings == []
    (doubtful,) = fit_found_hands(model, [replace(hand, **change)])
    assert len(doubtful.warnings) == 1
    assert warning in doubtful.warnings[0]


def test_a_given_side_that_the_network_contradicts_is_said(model):
    (hand,), _ = known_hands(1)  # a right hand
    (agreed,) = fit_found_hands(model, [replace(hand, right_probability=0.55)], side_known=True)
    assert agreed.warnings == []
    (contradicted,) = fit_found_hands(model, [replace(hand, right_probability=0.1)], side_known=True)
    assert contradicted.warnings == ["the network sees a left hand (probability 0.90), not the right hand of --hand"]
    (unsure,) = fit_found_hands(model, [replace(hand, right_probability=0.4)], side_known=True)
    assert unsure.warnings == []


def test_joints_that_are_no_hand_are_said(model):
    (hand,), _ = known_hands(1)
    scrambled = hand.joints_px[torch.randperm(21, generator=torch.Generator().manual_seed(1))]
    (estimate,) = fit_found_hands(model, [replace(hand, joints_px=scrambled)])
    assert any("misses the joints" in warning for warning in estimate.warnings)
