"""Training on cached evidence: the fast iterations equal those of the network, and all variants see equal batches."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from cached_hands import cached_hands, crops_of

from dhpe_lib.common.records import take_rows
from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.experiments import evidence_training
from dhpe_lib.experiments.cached_evidence import first_rows, read_evidence, write_evidence
from dhpe_lib.experiments.evidence_forms import (
    DISTURBED_SHARE,
    FORMS,
    HALF_OPEN_STEPS,
    SHIFT,
    WITHOUT_MASK,
    Form,
    disturbed,
    facing_rows,
    seen_by,
    weakly_labelled,
    with_whole_masks,
)
from dhpe_lib.experiments.evidence_training import (
    Batches,
    JointHand,
    distance_loss,
    fit,
    iterate,
    known_hand_loss,
    new_regressor,
    predict,
)
from dhpe_lib.hand.model import HandModel
from dhpe_lib.network.hand_landmarks import FEATURES
from dhpe_lib.network.regressor import RegressorState
from dhpe_lib.rendering.renderer import silhouette
from dhpe_lib.training.fixed_evidence import masked_loss
from dhpe_lib.training.losses import hand_loss, refiner_loss, shape_loss


@pytest.fixture(scope="module")
def hand() -> HandModel:
    return HandModel.open_hand()


@pytest.fixture(scope="module")
def evidence(hand):
    return cached_hands(hand, 6, FEATURES)


def test_some_vertices_give_all_joints(hand):
    h = 0.3 * torch.randn(4, 63, generator=torch.Generator().manual_seed(0))
    body = JointHand.of(hand)
    assert len(body.rows) < 200
    torch.testing.assert_close(body.joints(h), hand.forward_h(h).joints, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("form", [Form(), Form(refiner=False), Form(iterations=1)])
def test_iterations_equal_those_of_the_regressor(form, hand, evidence):
    regressor = new_regressor(form, FEATURES, 0)
    for weights in regressor.parameters():
        torch.nn.init.normal_(weights, std=0.02)
    steps = regressor(evidence.of_crop, evidence.joints_2d, hand)
    path = iterate(regressor, evidence.plain, JointHand.of(hand))
    torch.testing.assert_close(path.h, steps[-1].h, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(path.joints, steps[-1].mesh.joints, atol=1e-5, rtol=1e-4)
    expected = torch.stack([step.joints_2d for step in steps[1:]], 1)
    torch.testing.assert_close(path.refined, expected, atol=1e-4, rtol=1e-4)
    gradients = [
        torch.autograd.grad(one.square().sum(), regressor.f_j3d.weight)[0]
        for one in (path.joints, steps[-1].mesh.joints)
    ]
    assert gradients[1].abs().max() > 0
    torch.testing.assert_close(*gradients, atol=1e-3 * float(gradients[1].abs().max()), rtol=1e-2)


def test_the_refiner_may_see_the_hand_before_the_step(hand, evidence):
    regressor = new_regressor(Form(iterations=1), FEATURES, 0)
    for weights in regressor.parameters():
        torch.nn.init.normal_(weights, std=0.02)
    body = JointHand.of(hand)
    early, late = (iterate(regressor, evidence.plain, body, before) for before in (True, False))
    first = regressor(evidence.of_crop, evidence.joints_2d, hand)[0]
    seen = regressor.refine_joints(evidence.joints_2d, evidence.of_crop, first.h, first.mesh.joints)
    torch.testing.assert_close(early.refined[:, 0], seen, atol=1e-4, rtol=1e-4)
    assert torch.equal(early.h, late.h)
    assert not torch.allclose(early.refined, late.refined)


def test_hands_without_lambda_are_not_rendered(hand, evidence):
    vertices = evidence.truth_mesh.vertices * 1.1
    gate = torch.tensor([1.0, 1.0, 0.0, 1.0, 0.01, 1.0])
    found = masked_loss(vertices, evidence.targets, gate, hand)
    exact = shape_loss(
        silhouette(vertices, hand.faces, 64), replace(evidence.targets, mask=evidence.targets.mask.float())
    )
    torch.testing.assert_close(found, gate * exact)
    assert found[0] > 0
    assert masked_loss(vertices, evidence.targets, torch.zeros(6), hand).eq(0).all()


def test_known_hands_have_the_librarys_loss(hand, evidence):
    h = evidence.h + 0.1
    states = [RegressorState(one, evidence.joints_2d, hand.forward_h(one)) for one in (0 * h, h)]
    torch.testing.assert_close(known_hand_loss(h, evidence.targets), hand_loss(states, evidence.targets))


def test_masks_are_hidden_as_in_the_papers_data(hand):
    many = cached_hands(hand, 400, 2, masks=False).plain
    hidden = ~weakly_labelled(many).targets.has_mask
    assert hidden.float().mean() == pytest.approx(WITHOUT_MASK, abs=0.08)
    assert torch.equal(weakly_labelled(many).targets.has_mask, ~hidden)


def test_whole_masks_are_those_of_the_true_hands(hand, evidence):
    targets = evidence.targets
    cut = replace(targets, mask=targets.mask * (torch.arange(64) < 30))
    unknown = replace(cut, has_h=cut.has_h & (torch.arange(6) > 0))
    whole = with_whole_masks(replace(evidence.plain, targets=unknown), hand).targets.mask
    assert whole.dtype == targets.mask.dtype
    assert torch.equal(whole[0], cut.mask[0])  # pose and shape are unknown, so it stays cut
    assert (whole[1:] != targets.mask[1:]).float().mean() < 0.01
    assert (cut.mask[1:] != targets.mask[1:]).float().mean() > 0.05


def test_without_2d_losses_the_regressor_sees_the_feature_alone(evidence):
    wide = replace(evidence.plain, of_crop=torch.cat((evidence.of_crop, torch.ones(6, 5)), 1))
    assert torch.equal(seen_by(Form(), wide).of_crop, evidence.of_crop)
    assert torch.equal(seen_by(Form(), wide).joints_2d, evidence.joints_2d)
    assert seen_by(Form(joints_2d=False), wide).joints_2d.eq(0).all()


def test_batches_depend_on_seed_and_step_alone(hand, evidence):
    real, novel = evidence.plain, take_rows(evidence.plain, torch.tensor([1]))
    alone, with_views = Batches(real, None, 0), Batches(real, novel, 0)
    half = len(alone.real_rows(3)) // 2
    assert torch.equal(alone.real_rows(3), Batches(real, None, 0).real_rows(3))
    assert torch.equal(with_views.real_rows(3), alone.real_rows(3)[:half])
    assert not torch.equal(alone.real_rows(3), alone.real_rows(4))
    assert not torch.equal(alone.real_rows(3), Batches(real, None, 1).real_rows(3))
    assert set(Batches(real, None, 0, few=2).real_rows(0).tolist()) == {0, 5}
    batch = with_views.at(0)
    assert len(batch) == 2 * half
    assert torch.equal(Batches(real, None, 0, half=True).at(0).of_crop, batch.of_crop[:half])
    assert (batch.of_crop[half:] == evidence.of_crop[1]).all()


def test_a_short_training_ends_nearer_to_the_truth(hand, evidence, monkeypatch):
    monkeypatch.setattr(evidence_training, "BATCH", 12)
    monkeypatch.setattr(evidence_training, "TEST_EVERY", 20)
    monkeypatch.setattr(evidence_training, "WARMUP", 5)
    crops = crops_of(evidence)
    form = replace(FORMS["without-shape-loss"], steps=80)
    training = fit(form, Batches(evidence.plain, None, 0), hand, evidence.plain, crops)
    errors = [point["epe_a_mm"] for point in training.curve]
    assert [point["step"] for point in training.curve] == [0, 20, 40, 60, 80]
    assert errors[-1] < 0.8 * errors[0]
    found = predict(form, training.regressor, evidence.plain, crops, hand)
    assert np.linalg.norm(found.eq8_mm - found.truth_mm, axis=-1).mean() == pytest.approx(errors[-1], rel=1e-4)
    assert found.counts.sum() > 0


def test_evidence_survives_its_file(evidence, tmp_path):
    write_evidence(tmp_path / "some.safetensors", evidence.plain)
    again = read_evidence(tmp_path / "some.safetensors")
    assert torch.equal(again.of_crop, evidence.of_crop)
    for name in ("targets", "frame"):
        for field, values in vars(getattr(evidence.plain, name)).items():
            assert torch.equal(getattr(getattr(again, name), field), values)


def test_rows_are_taken_from_the_first_splits():
    def split(length: int) -> Prepared:
        one = Prepared.__new__(Prepared)
        one.rows = np.arange(length)
        return one

    rows = first_rows([split(5), split(9), split(4)], 8)
    assert [some.tolist() for some in rows] == [[0, 1, 2, 3, 4], [0, 4, 8], []]


def test_far_joints_do_not_rule_a_distance(evidence):
    targets, known = evidence.targets, evidence.targets.known_2d.clone()
    known[0, 3] = False
    targets = replace(targets, known_2d=known)
    at = [targets.joints_2d[:, None] + torch.tensor([off / 224, 0]) for off in (15.0, 30.0)]
    near, far = (distance_loss(one, targets) for one in at)
    torch.testing.assert_close(near, refiner_loss(at[0], targets), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(far, 2 * near, atol=1e-5, rtol=1e-4)
    exact = targets.joints_2d[:, None].clone().requires_grad_()
    (slope,) = torch.autograd.grad(distance_loss(exact, targets).sum(), exact)
    assert slope.abs().max() < 1e-6


def test_erased_joints_say_nothing_and_shifted_ones_say_less(hand):
    many = cached_hands(hand, 300, 2, masks=False).plain
    assert disturbed(Form(), many, 0) is many
    for kind in ("erased", "shifted"):
        found = disturbed(Form(disturbed=kind), many, 0).joints_2d
        moved = (found != many.joints_2d).any(-1)
        assert moved.float().mean() == pytest.approx(DISTURBED_SHARE, abs=0.02)
        assert torch.equal(found, disturbed(Form(disturbed=kind), many, 0).joints_2d)
        assert not torch.equal(found, disturbed(Form(disturbed=kind), many, 1).joints_2d)
        if kind == "erased":
            assert torch.equal(found[moved], many.joints_2d.roll(1, 0)[moved])
        else:
            assert (found - many.joints_2d)[moved].std() == pytest.approx(SHIFT, rel=0.1)


def test_few_viewpoints_are_those_of_palms_and_backs():
    palm = torch.zeros(6, 21, 3)
    palm[:, 5], palm[:, 17] = torch.tensor([0.3, 1.0, 0.0]), torch.tensor([-0.3, 0.9, 0.0])
    angles = torch.tensor([80.0, 5.0, 60.0, 175.0, 90.0, 30.0]).deg2rad()
    for row, angle in enumerate(angles):
        turn = torch.tensor([[angle.cos(), 0, angle.sin()], [0, 1, 0], [-angle.sin(), 0, angle.cos()]])
        palm[row] = palm[row] @ turn.mT
    assert facing_rows(palm, 3).tolist() == [1, 3, 5]


def test_a_training_may_start_from_another(hand, evidence, monkeypatch):
    monkeypatch.setattr(evidence_training, "BATCH", 12)
    crops = crops_of(evidence)
    assert FORMS["half-open"].steps == HALF_OPEN_STEPS
    assert {form.start for form in FORMS.values()} == {None, "half-open"}
    batches = Batches(evidence.plain, None, 0)
    first = fit(Form(weight_sh=0.0, steps=5), batches, hand, evidence.plain, crops).regressor.state_dict()
    again = fit(Form(weight_sh=0.0, steps=0), batches, hand, evidence.plain, crops, first).regressor.state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
