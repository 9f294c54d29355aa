"""Each term of Eq. 7 equals plain loops, ignores missing labels, and trains the right weights."""

from dataclasses import replace

import pytest
import torch
from small_nets import CONFIG, SIZE, random_images, random_targets

from dhpe_lib.data.targets import Targets, joint_error_px, masked_images
from dhpe_lib.hand.laplacian import Laplacian
from dhpe_lib.network.estimator import Estimator
from dhpe_lib.network.heatmaps import target_heatmaps
from dhpe_lib.network.regressor import POSE_SPREAD
from dhpe_lib.training.losses import (
    PRIOR,
    Losses,
    LossOptions,
    articulation_loss,
    feature_loss,
    hand_loss,
    heatmap_loss,
    losses_of,
    refiner_loss,
    shape_gate,
    shape_loss,
)

F64 = torch.float64
NEAR = LossOptions(tau=1e9)  # lambda is 1 for all


@pytest.fixture(scope="module")
def estimator() -> Estimator:
    torch.manual_seed(0)
    return Estimator(CONFIG).eval()


@pytest.fixture(scope="module")
def laplacian(estimator) -> Laplacian:
    return Laplacian(estimator.hand)


@pytest.fixture
def partly(generator) -> Targets:
    """Three instances with all labels, some labels and no labels."""
    full = random_targets(3, generator, F64)
    known, known_2d = full.known.clone(), full.known_2d.clone()
    known[1, :9] = known_2d[1, 4:] = known[2] = known_2d[2] = False
    return replace(full, known=known, known_2d=known_2d, has_mask=torch.tensor([True, False, False]))


def rand(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=generator, dtype=F64)


def everything(estimator, images, targets, laplacian, options=NEAR) -> Losses:
    return losses_of(estimator(images, masked_images(images, targets), render=True), targets, laplacian, options)


def sum_of_squares(a: torch.Tensor, b: torch.Tensor) -> float:
    return sum((x - y) ** 2 for x, y in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True))


def test_articulation_by_hand(partly, generator):
    joints = rand(generator, 3, 21, 3)
    expected = [sum_of_squares(joints[0], partly.joints[0])]
    flat = sum_of_squares(joints[1, :4, :2], partly.joints_2d[1, :4])  # these four have only a 2D label
    expected += [(flat + sum_of_squares(joints[1, 9:], partly.joints[1, 9:])) / 16 * 21, 0.0]
    assert articulation_loss(joints, partly).tolist() == pytest.approx(expected)


def test_refiner_by_hand(partly, generator):
    refined = rand(generator, 3, 2, 21, 2)
    expected = [sum(sum_of_squares(step, partly.joints_2d[0]) for step in refined[0]) / 2]
    expected += [sum(sum_of_squares(step[:4], partly.joints_2d[1, :4]) for step in refined[1]) / 2 / 4 * 21, 0.0]
    assert refiner_loss(refined, partly).tolist() == pytest.approx(expected)


def test_heatmaps_by_hand(partly, generator):
    maps = rand(generator, 3, 2, 21, 4, 4)
    drawn = target_heatmaps(partly.joints_2d, partly.known_2d, 4, 0.1)
    expected = [sum(sum_of_squares(stage, drawn[0]) for stage in maps[0]) / 21]
    expected += [sum(sum_of_squares(stage[:4], drawn[1, :4]) for stage in maps[1]) / 4, 0.0]
    assert heatmap_loss(maps, partly, 0.1).tolist() == pytest.approx(expected)


def test_perfect_maps_have_loss_0(partly):
    drawn = target_heatmaps(partly.joints_2d, partly.known_2d, 8)
    assert not heatmap_loss(drawn[:, None].expand(-1, 3, -1, -1, -1), partly).any()


def test_features_and_masks_by_hand(partly, generator):
    one, other = rand(generator, 3, 5), rand(generator, 3, 5)
    expected = [sum_of_squares(one[0], other[0]) / 5, 0, 0]
    assert feature_loss(one, other, partly).tolist() == pytest.approx(expected)
    mask = rand(generator, 3, SIZE, SIZE)
    expected = [sum_of_squares(mask[0], partly.mask[0]) / SIZE**2, 0, 0]
    assert shape_loss(mask, partly).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(("pixels", "expected"), [(14.9, 1.0), (15.1, 0.0)])
def test_lambda_is_1_below_15_pixels(pixels, expected, generator):
    targets = random_targets(2, generator, F64)
    joints = targets.joints + torch.tensor([0.6, -0.8, 5.0], dtype=F64) * pixels / 224
    assert joint_error_px(joints, targets).tolist() == pytest.approx([pixels, pixels])
    assert shape_gate(joints, targets).tolist() == [expected, expected]
    literal = LossOptions(literal_tau=True, tau=21 * 15.0**2)
    assert shape_gate(joints, targets, literal).tolist() == [expected, expected]
    assert joint_error_px(joints, targets, squared_sum=True).tolist() == pytest.approx([21 * pixels**2] * 2)


def test_lambda_is_0_without_joints_or_mask(partly):
    assert shape_gate(partly.joints, partly).tolist() == [1, 0, 0]
    assert shape_gate(partly.joints, replace(partly, has_mask=~partly.has_mask)).tolist() == [0, 1, 0]
    assert shape_gate(partly.joints + 9, partly, LossOptions(constant_lambda=0.01)).tolist() == [0.01, 0, 0]


def test_the_total_is_eq_7(estimator, laplacian, generator):
    images, targets = random_images(2, generator), random_targets(2, generator)
    plain = everything(estimator, images, targets, laplacian)
    weighted = everything(estimator, images, targets, laplacian, replace(NEAR, lap=3.0))
    for name in ("art", "lap", "feat", "sh", "ref", "j2d"):
        assert (getattr(plain, name) > 0).all(), name
        weight = 3 if name == "lap" else 1
        torch.testing.assert_close(getattr(weighted, name), weight * getattr(plain, name))
    torch.testing.assert_close(plain.total, plain.art + plain.lap + plain.feat + plain.sh + plain.ref)
    torch.testing.assert_close(plain.objective, (plain.total + plain.j2d).mean())
    assert plain.means()["art"] == plain.art.mean()
    assert not plain.means()["art"].requires_grad
    closed = everything(estimator, images, targets, laplacian, LossOptions(tau=0.0))
    assert not closed.sh.any()


def test_each_loss_trains_its_own_weights(estimator, laplacian, generator):
    """L trains only F and f_E3D, L_J2D trains only f_J2D, and the objective trains every weight."""
    images, targets = random_images(2, generator), random_targets(2, generator)
    parts = {
        "art": {"features", "f_j3d", "f_ref"},
        "lap": {"features", "f_j3d", "f_ref"},
        "sh": {"features", "f_j3d", "f_ref"},
        "feat": {"features"},
        "ref": {"features", "f_j3d", "f_ref"},
        "j2d": {"pose_machine"},
        "total": {"features", "f_j3d", "f_ref"},
    }
    estimator.regressor.f_ref.weight.data.add_(0.01)  # its initial weights ignore F(x) and h
    losses = everything(estimator, images, targets, laplacian)
    for name, expected in parts.items():
        estimator.zero_grad()
        getattr(losses, name).sum().backward(retain_graph=True)
        reached = {
            parameter.removeprefix("regressor.").split(".")[0]
            for parameter, value in estimator.named_parameters()
            if value.grad is not None and value.grad.any()
        }
        assert reached == expected, name
    estimator.zero_grad()
    losses.objective.backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in estimator.parameters())


def test_missing_labels_are_ignored(estimator, laplacian, generator):
    """The losses of an instance do not depend on the labels of others; unknown labels may be NaN."""
    images, full = random_images(3, generator), random_targets(3, generator)
    known, known_2d = full.known.clone(), full.known_2d.clone()
    known[1], known_2d[1], has_mask = False, False, torch.tensor([True, False, True])
    joints, joints_2d, mask = full.joints.clone(), full.joints_2d.clone(), full.mask.clone()
    joints[1], joints_2d[1], mask[1] = torch.nan, torch.nan, torch.nan
    missing = replace(
        full, joints=joints, known=known, joints_2d=joints_2d, known_2d=known_2d, mask=mask, has_mask=has_mask
    )
    expected = everything(estimator, images, full, laplacian)
    losses = everything(estimator, images, missing, laplacian)
    for name in ("art", "lap", "feat", "sh", "ref", "j2d", "gate", "total"):
        torch.testing.assert_close(getattr(losses, name)[[0, 2]], getattr(expected, name)[[0, 2]])
    for name in ("art", "feat", "sh", "ref", "j2d", "gate"):
        assert getattr(losses, name)[1] == 0, name
    assert losses.total[1] == losses.lap[1]
    estimator.zero_grad()
    losses.objective.backward()
    gradients = [value.grad for value in estimator.parameters()]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert sum(gradient.abs().sum() for gradient in gradients) > 0


def test_a_batch_of_one_without_labels(estimator, laplacian, generator):
    full = random_targets(1, generator)
    off = torch.zeros(1, 21, dtype=torch.bool)
    no = torch.tensor([False])
    empty = replace(full, known=off, known_2d=off, mask=torch.zeros_like(full.mask), has_mask=no)
    estimator.zero_grad()
    losses = everything(estimator, random_images(1, generator), empty, laplacian)
    assert losses.objective == losses.lap[0]
    losses.objective.backward()
    assert all(value.grad is None or value.grad.isfinite().all() for value in estimator.parameters())


def test_a_2d_label_counts_in_x_and_y_only(generator):
    """Of a joint without depth the projection is compared; its 3D position is not used."""
    targets = random_targets(2, generator)
    flat = replace(targets, known=torch.zeros_like(targets.known), joints=torch.full_like(targets.joints, torch.nan))
    moved = targets.joints + torch.tensor([0.3, -0.4, 7.0])
    assert articulation_loss(moved, flat).tolist() == pytest.approx([21 * 0.25] * 2, rel=1e-5)
    assert articulation_loss(moved, targets).tolist() == pytest.approx([21 * 49.25] * 2, rel=1e-5)


def test_hand_loss_pulls_to_the_label_or_weakly_to_the_mean_hand(estimator, generator):
    """In units of the spread; scale and camera do not count."""
    estimate, targets = estimator(random_images(2, generator)), random_targets(2, generator)
    h = estimate.h.clone().detach().requires_grad_()
    estimate = replace(estimate, steps=(*estimate.steps[:-1], replace(estimate.steps[-1], h=h)))
    targets = replace(targets, has_h=torch.tensor([True, False]))
    mean = estimate.steps[0].h[1, :55]
    unit = torch.tensor([POSE_SPREAD] * 45 + [1.0] * 10)
    expected = [((h[k, :55] - wanted) / unit).square().mean() for k, wanted in enumerate((targets.pose_shape[0], mean))]
    found = hand_loss(estimate.steps, targets)
    torch.testing.assert_close(found, torch.stack((expected[0], PRIOR * expected[1])))
    found.sum().backward()
    assert not h.grad[:, 55:].any()
    assert h.grad[:, :55].any(1).all()


def test_without_weight_l_feat_needs_no_masked_feature(estimator, laplacian, generator):
    targets = random_targets(2, generator)
    estimate = estimator(random_images(2, generator), render=True)
    losses = losses_of(estimate, targets, laplacian, LossOptions(feat=0.0))
    assert estimate.evidence.masked_feature is None
    assert losses.feat.tolist() == [0, 0]
    torch.testing.assert_close(losses.total, losses.art + losses.lap + losses.sh + losses.ref)


def test_feature_loss_of_a_part_of_the_batch_has_the_expectation_of_the_whole(generator):
    targets = random_targets(4, generator)
    feature, masked = torch.randn(2, 4, 7, generator=generator)
    whole, part = feature_loss(feature, masked, targets), feature_loss(feature, masked[:1], targets)
    torch.testing.assert_close(part, torch.tensor([4.0, 0, 0, 0]) * whole)


def test_an_empty_mask_is_a_mask(estimator, laplacian, generator):
    """The mask of a fully occluded hand is 0 everywhere and is a label; x (.) m is black."""
    images, full = random_images(1, generator), random_targets(1, generator)
    targets = replace(full, mask=torch.zeros_like(full.mask))
    estimate = estimator(images, masked_images(images, targets), render=True)
    losses = losses_of(estimate, targets, laplacian, NEAR)
    torch.testing.assert_close(losses.sh, estimate.mask.square().mean((1, 2)))
    assert losses.feat > 0


def test_a_perfect_estimate_has_only_the_smoothness_loss(estimator, laplacian, generator):
    images = random_images(2, generator)
    estimate = estimator(images, images, render=True)
    last = estimate.steps[-1]
    yes = torch.ones(2, 21, dtype=torch.bool)
    targets = Targets(last.mesh.joints, yes, last.joints_2d, yes, estimate.mask, yes[:, 0], last.h[:, :55], yes[:, 0])
    steps = (estimate.steps[0], *[last] * 3)
    losses = losses_of(replace(estimate, steps=steps), targets, laplacian, replace(NEAR, hand=1.0))
    assert not (losses.art + losses.feat + losses.sh + losses.ref + losses.hand).any()


def test_a_batch_may_be_split(estimator, laplacian, generator, tol):
    images, targets = random_images(4, generator), random_targets(4, generator)
    targets = replace(targets, has_mask=torch.tensor([True, False, False, False]))
    whole = everything(estimator, images, targets, laplacian).objective
    halves = []
    for part in (slice(0, 2), slice(2, 4)):
        some = Targets(**{name: value[part] for name, value in vars(targets).items()})
        halves.append(everything(estimator, images[part], some, laplacian).objective)
    torch.testing.assert_close((halves[0] + halves[1]) / 2, whole, **tol[torch.float32])


def test_without_shape_loss(estimator, laplacian, generator):
    images, targets = random_images(2, generator), random_targets(2, generator)
    options = replace(NEAR, without_shape_loss=True)
    losses = losses_of(estimator(images, images), targets, laplacian, options)
    assert not losses.sh.any()
    assert not losses.gate.any()
    with pytest.raises(ValueError, match="no mask; call the estimator with render=True"):
        losses_of(estimator(images, images), targets, laplacian)


def test_without_2d_losses(laplacian, generator):
    images, targets = random_images(2, generator), random_targets(2, generator)
    hmr = Estimator(replace(CONFIG, without_2d_losses=True)).eval()
    losses = losses_of(hmr(images, render=True), targets, laplacian, replace(NEAR, without_2d_losses=True))
    assert not (losses.feat + losses.ref + losses.j2d).any()
    losses.objective.backward()
    assert all(value.grad is not None for value in hmr.parameters())
    with pytest.raises(ValueError, match="no masked feature; call the estimator with masked_images"):
        losses_of(hmr(images, render=True), targets, laplacian)
    with pytest.raises(ValueError, match="no heat maps"):
        losses_of(hmr(images, images, render=True), targets, laplacian)


def test_half_precision_features_give_float32_losses(estimator, laplacian, generator):
    images, targets = random_images(2, generator), random_targets(2, generator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = everything(estimator, images, targets, laplacian)
    assert all(value.dtype == torch.float32 for value in vars(losses).values())
    losses.objective.backward()


def test_gradients_by_finite_differences(partly, generator):
    joints, refined = rand(generator, 3, 21, 3).requires_grad_(), rand(generator, 3, 2, 21, 2).requires_grad_()
    maps, mask = rand(generator, 3, 2, 21, 4, 4).requires_grad_(), rand(generator, 3, SIZE, SIZE).requires_grad_()
    direction = rand(generator, 3, SIZE, SIZE)
    gradcheck = torch.autograd.gradcheck
    assert gradcheck(lambda x: articulation_loss(x, partly), joints)
    assert gradcheck(lambda x: refiner_loss(x, partly), refined)
    assert gradcheck(
        lambda t: heatmap_loss(maps.detach() + t * direction[0, 0, 0], partly), rand(generator, 1).requires_grad_()
    )
    (gradient,) = torch.autograd.grad(shape_loss(mask, partly).sum(), mask)
    torch.testing.assert_close(gradient[0], 2 * (mask.detach()[0] - partly.mask[0]) / SIZE**2)
    assert not gradient[1:].any()
