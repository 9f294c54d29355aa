"""Novel views agree with their labels for any seed, and the growing set is bounded."""

import math
from dataclasses import replace

import pytest
import tiny_network
import torch
from torch import Tensor

from dhpe_lib.common.records import take_rows
from dhpe_lib.data.views import JitterRange, View, plain_view
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.parameters import split_h
from dhpe_lib.hand.rotations import quaternion_to_matrix
from dhpe_lib.hand.skeleton import MIDDLE_MCP
from dhpe_lib.rendering.renderer import silhouette
from dhpe_lib.synthetic.engine import SyntheticHands
from dhpe_lib.synthetic.sampling import Sampler
from dhpe_lib.synthetic.scenery import make_backgrounds
from dhpe_lib.training.batches import Backgrounds, BatchPlan, ViewOptions
from dhpe_lib.training.log import family_sheet
from dhpe_lib.training.novel_views import (
    NO_JITTER,
    SHAPE_RANGE,
    VIEWS_PER_SEED,
    NovelViewRenderer,
    NovelViews,
    draw_novel_views,
    draw_rotations,
    framed,
    recropped,
)
from dhpe_lib.training.self_augmentation import GrowingSet, SelfAugmentation

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> HandModel:
    return HandModel.open_hand()


@pytest.fixture(scope="module")
def view_renderer(model) -> NovelViewRenderer:
    return NovelViewRenderer.of(model)


@pytest.fixture(scope="module")
def pool() -> Tensor:
    return make_backgrounds(3, 1)


@pytest.fixture(scope="module")
def seeds(pool) -> tuple[View, Tensor]:
    """Two images and the hands in them."""
    batch = SyntheticHands().batch(2, 4, pool)
    return plain_view(batch.crops()), batch.h


# ------------------------------------------------------------------------------------------------------------ sampling
def test_articulation_is_kept_and_shape_is_within_three_deviations(model, seeds):
    h = draw_novel_views(model, seeds[1], 0)
    parts = split_h(h)
    assert len(h) == VIEWS_PER_SEED * len(seeds[1])
    assert torch.equal(parts.pose, split_h(seeds[1]).pose.repeat_interleave(VIEWS_PER_SEED, 0))
    shape = split_h(draw_novel_views(model, seeds[1][:1].expand(200, -1), 1)).shape
    assert shape.abs().max() <= SHAPE_RANGE
    assert shape.std() == pytest.approx(2 * SHAPE_RANGE / math.sqrt(12), rel=0.03)  # uniform distribution
    assert shape.mean().abs() < 0.1
    half = draw_novel_views(model, seeds[1], 0, shape_range=SHAPE_RANGE / 2)
    torch.testing.assert_close(split_h(half).shape, parts.shape / 2)
    assert not torch.equal(parts.shape[0], parts.shape[1])


def test_novel_views_fit_their_crop(model, seeds):
    joints = model.forward_h(draw_novel_views(model, seeds[1], 0)).joints
    torch.testing.assert_close(joints[:, MIDDLE_MCP], torch.zeros(6, 3), rtol=0, atol=1e-6)
    box = joints[..., :2].amax(1) - joints[..., :2].amin(1)
    torch.testing.assert_close(box.amax(1), torch.full((6,), 1 / 1.5), rtol=1e-5, atol=0)


def test_framing_changes_only_scale_and_translation(model, seeds):
    other = seeds[1].clone()
    other[:, 59:] += 0.3
    torch.testing.assert_close(framed(model, other), framed(model, seeds[1]))
    assert torch.equal(framed(model, other)[:, :59], other[:, :59])


def test_recropping_moves_joints_as_the_crop_frame_does(model, seeds):
    h = framed(model, seeds[1])
    shift, scale = torch.tensor([[0.1, -0.05], [0.0, 0.02]]), torch.tensor([1.1, 0.8])
    joints, moved = model.forward_h(h).joints, model.forward_h(recropped(h, shift, scale)).joints
    expected = torch.cat((joints[..., :2] - shift[:, None], joints[..., 2:]), -1) / scale[:, None, None]
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-6)


def deciles(values: Tensor) -> Tensor:
    """Sorted values at the quantiles 0.1, 0.2, ... 0.9."""
    return values.quantile(torch.linspace(0.1, 0.9, 9))


def test_rotations_follow_their_distributions():
    n = 40_000
    paper, uniform = (draw_rotations(Sampler.from_seed(0, n), distribution) for distribution in ("axes", "uniform"))
    for rotations in (paper, uniform):
        identity = torch.eye(3).expand(n, 3, 3)
        torch.testing.assert_close(rotations @ rotations.mT, identity, rtol=0, atol=1e-5)
        torch.testing.assert_close(torch.linalg.det(rotations), torch.ones(n))
    tenths = torch.linspace(0.1, 0.9, 9)
    # SO(3): each column is uniform on the sphere, so its depth is uniform in [-1, 1] (Archimedes)
    torch.testing.assert_close(deciles(uniform[:, 2, 0]), 2 * tenths - 1, rtol=0, atol=0.02)
    # the paper's: the depth of the x axis is -sin b with b uniform, which is the arcsine distribution
    torch.testing.assert_close(deciles(paper[:, 2, 0]), -torch.cos(math.pi * tenths), rtol=0, atol=0.02)
    # both are uniform in the image plane
    for rotations in (paper, uniform):
        angle = torch.atan2(rotations[:, 1, 0], rotations[:, 0, 0])
        torch.testing.assert_close(deciles(angle), math.pi * (2 * tenths - 1), rtol=0, atol=0.06)


def test_novel_views_have_the_sampled_rotation(model, seeds):
    h = draw_novel_views(model, seeds[1], 7, "uniform")
    sampler = Sampler.from_seed(7, len(h))
    sampler.uniform(-SHAPE_RANGE, SHAPE_RANGE, 10)
    rotation = quaternion_to_matrix(split_h(h).quaternion + torch.tensor([1.0, 0, 0, 0]))
    torch.testing.assert_close(rotation, draw_rotations(sampler, "uniform"), rtol=0, atol=1e-5)


def test_the_random_seed_determines_the_views(model, view_renderer, seeds, pool):
    view, h = seeds
    assert torch.equal(draw_novel_views(model, h, 3), draw_novel_views(model, h, 3))
    assert not torch.equal(draw_novel_views(model, h, 3), draw_novel_views(model, h, 4))
    novel_views = view_renderer.lift_views(h, view, 3)
    pictures = [view_renderer.render_views(novel_views, pool, seed).images for seed in (5, 5, 6)]
    assert torch.equal(pictures[0], pictures[1])
    assert not torch.equal(pictures[0], pictures[2])


def test_a_seed_that_is_not_finite_is_refused(view_renderer, seeds):
    view, h = seeds
    with pytest.raises(ValueError, match="h of a seed is not finite, so it has no novel views"):
        view_renderer.lift_views(h * torch.nan, view, 0)


def test_an_unknown_distribution_is_refused():
    with pytest.raises(ValueError, match=r"distribution = 'any'; use axes \(the paper's\) or uniform"):
        draw_rotations(Sampler.from_seed(0, 1), "any")


# ----------------------------------------------------------------------------------------------------------- rendering
def test_labels_are_those_of_the_mesh_in_the_picture(model, view_renderer, seeds, pool):
    novel_views = view_renderer.lift_views(seeds[1], seeds[0], 0)
    view = view_renderer.render_views(novel_views, pool, 0)
    mesh, targets = model.forward_h(novel_views.h), view.targets
    torch.testing.assert_close(targets.joints, mesh.joints)
    assert torch.equal(targets.joints_2d, targets.joints[..., :2])
    assert targets.known.all()
    assert targets.known_2d.all()
    assert targets.has_mask.all()
    # f_Ren renders the open mesh; the lid at the wrist does not change the outline
    drawn = silhouette(mesh.vertices, model.faces, 224, "kato")
    assert (drawn != targets.mask).float().mean() < 1e-4
    assert 0.05 < targets.mask.mean() < 0.6


def test_joints_lie_on_the_mask(view_renderer, seeds, pool):
    novel_views = view_renderer.lift_views(seeds[1], seeds[0], 0)
    view = view_renderer.render_views(novel_views, pool, 0, JitterRange())
    pixel = (224 * (view.targets.joints_2d + 0.5)).long()
    inside = ((pixel >= 0) & (pixel < 224)).all(-1)
    x, y = pixel.clamp(0, 223).unbind(-1)
    dilated = torch.nn.functional.max_pool2d(view.targets.mask[:, None], 5, 1, 2)[:, 0]
    on = dilated[torch.arange(len(x))[:, None], y, x] > 0
    assert inside.float().mean() > 0.8
    assert on[inside].float().mean() > 0.97  # a joint of a bent finger may lie just outside its skin


def test_outside_the_mask_there_is_only_background(view_renderer, seeds, pool):
    """Another skin colour changes only the pixels inside the mask."""
    novel_views = view_renderer.lift_views(seeds[1], seeds[0], 0)
    view, other = (
        view_renderer.render_views(c, pool, 0)
        for c in (novel_views, replace(novel_views, colors=255 - novel_views.colors))
    )
    change = (view.images - other.images).abs()
    mask = torch.nn.functional.max_pool2d(view.targets.mask[:, None], 3, 1, 1)  # outlines are smooth
    assert (change * (1 - mask)).max() < 1e-5
    assert (change * mask).sum() / mask.sum() > 0.1


def test_jitter_moves_picture_and_labels_together(view_renderer, seeds, pool):
    """The mask's centre moves with the joints, and its area is proportional to the square of their distances."""
    jitter_range = JitterRange(0.03, 0.0, 0.2, 0.0)
    novel_views = view_renderer.lift_views(seeds[1], seeds[0], 0)
    small = recropped(
        novel_views.h, torch.zeros(6, 2), torch.full((6,), 1.6)
    )  # smaller, so that no wrist is at the border
    novel_views = replace(novel_views, h=small)
    still, moved = (
        view_renderer.render_views(novel_views, pool, 2, jitter).targets for jitter in (NO_JITTER, jitter_range)
    )
    centred = [one.joints_2d - one.joints_2d.mean(1, keepdim=True) for one in (still, moved)]
    scale = centred[1].norm(dim=(1, 2)) / centred[0].norm(dim=(1, 2))
    assert (scale - 1).abs().max() > 0.05
    torch.testing.assert_close(centred[1], scale[:, None, None] * centred[0], rtol=0, atol=1e-5)
    inside = [n for n in range(len(novel_views)) if not (border(still.mask[n]) or border(moved.mask[n]))]
    assert inside
    for n in inside:
        ratio = moved.mask[n].sum() / still.mask[n].sum()
        assert float(ratio) == pytest.approx(float(scale[n]) ** 2, rel=0.05)
        offsets = [middle(one.mask[n]) - one.joints_2d[n].mean(0) for one in (still, moved)]
        torch.testing.assert_close(offsets[1], scale[n] * offsets[0], rtol=0, atol=0.01)


def border(mask: Tensor) -> bool:
    return bool(mask[[0, -1]].any() or mask[:, [0, -1]].any())


def middle(mask: Tensor) -> Tensor:
    """Centre of a mask, crop frame, units of g."""
    rows, columns = mask.nonzero().float().mean(0)
    return (torch.stack((columns, rows)) + 0.5) / 224 - 0.5


def test_skin_comes_from_the_picture(view_renderer, seeds):
    """A green hand gives green views; colours outside a labelled mask are not used.

    If the mesh does not overlap the hand, the model's own skin is used.
    """
    view, h = seeds
    green = torch.tensor([0.1, 0.8, 0.2])[:, None, None]
    mask = silhouette(view_renderer.model.forward_h(h).vertices, view_renderer.model.faces)
    painted = torch.where(mask[:, None] > 0, green, torch.tensor([1.0, 0.0, 1.0])[:, None, None])
    known = replace(view, images=painted, targets=replace(view.targets, mask=mask))
    colors = view_renderer.lift_views(h, known, 0).colors.float() / 255
    assert (colors[..., 1] > 1.5 * colors[..., 0]).float().mean() > 0.99
    shifted = h.clone()
    shifted[:, 60] += 0.12  # misses part of the hand: with the mask no magenta is used, without it much magenta
    with_mask = view_renderer.lift_views(shifted, known, 0).colors.float()
    blind = replace(known, targets=replace(known.targets, has_mask=torch.zeros(2, dtype=torch.bool)))
    without = view_renderer.lift_views(shifted, blind, 0).colors.float()
    magenta = [((c[..., 2] > c[..., 1]) & (c[..., 0] > c[..., 1])).float().mean() for c in (with_mask, without)]
    assert magenta[0] < 0.02 < magenta[1]
    away = h.clone()
    away[:, 60] += 5
    own = view_renderer.lift_views(away, known, 0).colors.float() / 255
    torch.testing.assert_close(own, view_renderer.skin.vertices.expand_as(own), rtol=0, atol=0.02)


def test_nothing_has_a_gradient(view_renderer, seeds, pool):
    view, h = seeds
    novel_views = view_renderer.lift_views(h.clone().requires_grad_(), view, 0)
    rendered = view_renderer.render_views(
        replace(novel_views, light=novel_views.light.clone().requires_grad_()), pool, 0
    )
    assert not any(
        t.requires_grad for t in (*vars(novel_views).values(), rendered.images, *vars(rendered.targets).values())
    )


def test_a_family_sheet_has_a_row_for_each_seed(view_renderer, seeds, pool):
    plain, labelled = (family_sheet(view_renderer, *seeds, pool, "two", labels=labels) for labels in (False, True))
    assert plain.shape == labelled.shape
    assert plain.shape[1] > plain.shape[0] > 2 * 224
    assert (plain != labelled).any()


# ------------------------------------------------------------------------------------------------------ the growing set
def numbered(first: int, n: int, vertices: int = 2) -> NovelViews:
    """Novel views with numbers as their values."""
    h = torch.arange(first, first + n).float()[:, None].expand(-1, 63).clone()
    colors = (h[:, :1, None] % 256).byte().expand(-1, vertices, 3).clone()
    return NovelViews(h, colors, h[:, :1, None].expand(-1, 4, 3).clone())


def test_the_oldest_views_are_overwritten():
    grown = GrowingSet(5, 2, CPU)
    for first in (0, 3):
        grown.add(numbered(first, 3))
    assert len(grown) == 5
    assert sorted(grown.rows.h[:, 0].tolist()) == [1, 2, 3, 4, 5]
    grown.add(numbered(6, 12))  # more than it holds
    assert sorted(grown.rows.h[:, 0].tolist()) == [13, 14, 15, 16, 17]
    grown.add(numbered(18, 1))
    assert sorted(grown.rows.h[:, 0].tolist()) == [14, 15, 16, 17, 18]
    assert (grown.rows.colors[:, 0, 0] == grown.rows.h[:, 0]).all()
    assert (grown.rows.light[:, 0, 0] == grown.rows.h[:, 0]).all()


def test_memory_is_bounded():
    grown = GrowingSet(64, 778, CPU)
    before = grown.bytes
    assert before == 64 * (63 * 4 + 778 * 3 + 4 * 3 * 4)
    grown.add(numbered(0, 1000, 778))
    assert grown.bytes == before
    assert before / 64 < 0.02 * (224 * 224 * 3 + 224 * 224 / 8)  # of a picture and its mask


def test_draws_are_uniform_and_reproducible():
    grown = GrowingSet(8, 2, CPU)
    grown.add(numbered(0, 4))
    drawn = grown.draw(4000, 1).h[:, 0]
    assert set(drawn.tolist()) == {0, 1, 2, 3}  # no empty row
    assert (drawn.long().bincount() / 4000 - 0.25).abs().max() < 0.03
    assert torch.equal(drawn, grown.draw(4000, 1).h[:, 0])
    assert not torch.equal(drawn, grown.draw(4000, 2).h[:, 0])
    with pytest.raises(ValueError, match="growing set is empty"):
        GrowingSet(8, 2, CPU).draw(1, 0)


@pytest.mark.parametrize("added", [3, 11])
def test_state_and_load_restore_the_set(added):
    grown, other = GrowingSet(8, 2, CPU), GrowingSet(8, 2, CPU)
    grown.add(numbered(0, added))
    filled = {name: v if name == "count" else v[: len(grown)].clone() for name, v in grown.state().items()}
    other.load(filled)
    for growing_set in (grown, other):
        growing_set.add(numbered(20, 2))
    assert torch.equal(grown.rows.h, other.rows.h)
    assert (grown.count, len(grown)) == (other.count, len(other))


# ------------------------------------------------------------------------------------------------------- at each step
def augmentation(model: HandModel, tmp_path, pool: Tensor, **changes: object) -> SelfAugmentation:
    config = tiny_network.config(tmp_path, augment_share=0.5, augment_capacity=32, **changes)
    plan = BatchPlan(4, 0, 0, novel_views=2, novel_views_from=3)
    backgrounds = Backgrounds(None, (0, 0), CPU)
    backgrounds.at = lambda step: pool
    return SelfAugmentation(model, config, plan, backgrounds, ViewOptions(config.jitter_range))


def test_novel_views_start_at_their_first_step(model, tmp_path, seeds, pool):
    view, h = seeds
    augment = augmentation(model, tmp_path, pool)
    augment.add_views(h, view, 1)
    assert len(augment.grown) == 0
    assert augment.extend(view, 2) is view
    assert augment.extend(view, 3) is view  # the first step, but the set is still empty
    augment.add_views(h, view, 2)
    assert len(augment.grown) == 6
    assert augment.extend(view, 2) is view
    longer = augment.extend(view, 3)
    assert len(longer.images) == 4
    assert torch.equal(longer.images[:2], view.images)
    assert longer.targets.joints.shape == (4, 21, 3)
    assert torch.equal(longer.images, augment.extend(view, 3).images)
    assert not torch.equal(longer.images, augment.extend(view, 4).images)


def test_the_filter_keeps_only_seeds_within_tau(model, tmp_path, seeds, pool):
    view, h = seeds
    bad = h.clone()
    bad[1, 60] += 0.5  # 112 pixels
    plain, filtered = (augmentation(model, tmp_path, pool, augment_filter=choice) for choice in (False, True))
    for augment in (plain, filtered):
        augment.add_views(bad, view, 5)
    assert (len(plain.grown), len(filtered.grown)) == (6, 3)
    assert torch.equal(split_h(filtered.grown.rows.h).pose[:3], split_h(h[:1]).pose.expand(3, -1))
    nothing = augmentation(model, tmp_path, pool, augment_filter=True)
    unknown = replace(view, targets=replace(view.targets, known_2d=torch.zeros(2, 21, dtype=torch.bool)))
    nothing.add_views(h, unknown, 5)
    nothing.add_views(bad[1:], take_rows(view, torch.tensor([1])), 5)
    assert len(nothing.grown) == 0
