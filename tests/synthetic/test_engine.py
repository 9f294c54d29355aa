"""The synthetic engine: equal seeds give equal bytes, and the labels agree with the picture."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import dhpe_lib.synthetic.engine as synthetic_engine
from dhpe_lib.common.records import take_rows
from dhpe_lib.data.crop_frame import SIZE, CropFrame
from dhpe_lib.data.cropping import BOX_MARGIN
from dhpe_lib.hand.poses import joint_angles, joint_limits
from dhpe_lib.hand.skeleton import MIDDLE_MCP
from dhpe_lib.rendering.lighting import vertex_normals
from dhpe_lib.rendering.projection import rasterize
from dhpe_lib.synthetic.engine import CLOSEST, Look, Style, SyntheticBatch, SyntheticHands, draw_look, visible_joints
from dhpe_lib.synthetic.hands import (
    Hands,
    draw_pose_pool,
    draw_poses,
    draw_shots,
    in_perspective,
    place_hands,
    viewpoints,
)
from dhpe_lib.synthetic.sampling import Sampler, seed_of
from dhpe_lib.synthetic.scenery import SEEN, UNSEEN, cut_backgrounds, draw_backgrounds, paint_backgrounds

N = 12


@pytest.fixture(scope="module")
def engine() -> SyntheticHands:
    return SyntheticHands()


@pytest.fixture(scope="module")
def pool() -> Tensor:
    return paint_backgrounds(6, seed=1)


@pytest.fixture(scope="module")
def batch(engine, pool) -> SyntheticBatch:
    return engine.batch(N, 3, pool)


@pytest.fixture(scope="module")
def centred(engine, pool) -> SyntheticBatch:
    return engine.batch(N, 4, pool, Style(jitter=False, things=0.0), margin=16)


def scene(engine: SyntheticHands, style: Style, seed: int = 0) -> tuple[Hands, Look]:
    sampler = Sampler.from_seed(seed, N)
    shots = draw_shots(sampler, style.jitter)
    hands = place_hands(engine.model, draw_poses(sampler), sampler.normal(1.0, 10), shots, style.fingertips)
    return hands, draw_look(sampler, style, torch.full((N, 3), 0.5))


def test_a_seed_gives_the_same_bytes_and_another_seed_others(engine, pool, batch):
    again, other = engine.batch(N, 3, pool), engine.batch(N, 5, pool)
    for name, value in vars(batch).items():
        assert torch.equal(value, getattr(again, name)), name
    assert not torch.equal(batch.images, other.images)
    assert not torch.equal(batch.h, other.h)


def test_nothing_is_nan_and_pictures_use_their_range(batch):
    for name, value in vars(batch).items():
        assert not value.isnan().any(), name
    assert batch.images.shape == (N, SIZE, SIZE, 3)
    assert batch.images.float().std((1, 2, 3)).min() > 8  # no picture is empty
    share = batch.masks.float().mean((1, 2))
    assert share.min() > 0.01
    assert share.max() < 0.7


def test_h_is_the_hand_of_the_picture(engine, batch, centred, tol):
    for drawn in (batch, centred):
        mesh = engine.model.forward_h(drawn.h)
        joints = in_perspective(mesh.joints, drawn.kappa, drawn.axis)
        torch.testing.assert_close(joints, drawn.joints_crop, **tol[torch.float32])


def test_normalising_millimetres_gives_the_crop_frame(batch, centred):
    for drawn in (batch, centred):
        frame = drawn.crops().frame
        torch.testing.assert_close(frame.normalise(drawn.joints_mm, drawn.k), drawn.joints_crop, rtol=0, atol=2e-5)
        back = frame.denormalise(drawn.joints_crop, drawn.k, drawn.crops().z_root)
        torch.testing.assert_close(back, drawn.joints_mm, rtol=0, atol=0.05)


def test_millimetres_are_those_of_a_rigid_hand(engine, batch):
    pose, shape = batch.h[:, :45], batch.h[:, 45:55]
    own = 1000 * engine.model(pose, shape).joints
    torch.testing.assert_close(torch.cdist(batch.joints_mm, batch.joints_mm), torch.cdist(own, own), rtol=0, atol=0.1)


def test_crops_without_jitter_are_the_papers(centred):
    pixels = SIZE * centred.joints_crop[..., :2]
    frame = CropFrame.from_joints(pixels, torch.ones(N, 21, dtype=torch.bool), BOX_MARGIN)
    torch.testing.assert_close(frame.center, torch.zeros(N, 2), rtol=0, atol=0.01)
    torch.testing.assert_close(frame.side, torch.full((N,), float(SIZE)), rtol=0, atol=0.05)
    assert (centred.joints_crop[:, MIDDLE_MCP].abs() < 1e-5).all()


def test_without_objects_the_mask_is_the_silhouette_of_the_hand_less_what_the_arm_hides(engine, centred):
    size = centred.images.shape[1]
    mesh = in_perspective(engine.model.forward_h(centred.h).vertices, centred.kappa, centred.axis)
    scaled = mesh * torch.tensor([SIZE / size, SIZE / size, 1.0])
    alone = rasterize(scaled, engine.model.faces, size)
    silhouette = alone.face >= 0
    assert not (centred.masks & ~silhouette).any()
    seen = centred.masks.sum((1, 2)) / silhouette.sum((1, 2))
    assert seen.median() > 0.9
    close = (alone.depth - centred.depth)[centred.masks].abs()
    assert close.max() < 1e-4  # on the mask the depth is that of the hand


def test_visible_joints_are_not_behind_the_depth_buffer(batch, centred):
    for drawn in (batch, centred):
        size = drawn.images.shape[1]
        position = size / 2 + SIZE * drawn.joints_crop[..., :2]
        inside = ((position >= 0) & (position < size)).all(-1)
        assert not drawn.visible[~inside].any()
        pixel = position.long().clamp(0, size - 1)
        nearest = drawn.depth[torch.arange(N)[:, None], pixel[..., 1], pixel[..., 0]]
        unit = drawn.joints_mm[:, MIDDLE_MCP, 2] * drawn.kappa  # millimetres in a unit of g
        behind_by = (drawn.joints_crop[..., 2] - nearest) * unit[:, None]
        assert behind_by[drawn.visible].max() < 33
        in_photo = nearest.isfinite()  # beyond the photo the depth is infinite
        assert (behind_by[inside & ~drawn.visible & in_photo] > 7.9).all()
        assert 0.3 < drawn.visible.float().mean() < 0.95


def test_a_joint_behind_a_wall_or_outside_is_not_visible():
    joints = torch.zeros(1, 21, 3)
    joints[0, 1, 0] = 0.6
    free = visible_joints(torch.full((1, SIZE, SIZE), math.inf), joints, torch.tensor([4.0]))[0]
    assert free.sum() == 20
    assert not free[1]
    assert not visible_joints(torch.full((1, SIZE, SIZE), -0.5), joints, torch.tensor([4.0])).any()


def test_things_hide_hand_and_joints(engine, pool):
    (hands, held), walls = scene(engine, Style(things=1.0)), draw_backgrounds(pool, Sampler.from_seed(1, N), SIZE)
    empty = Look(
        **(vars(held) | {"things": type(held.things)(**(vars(held.things) | {"present": torch.zeros(N).bool()}))})
    )
    pictures = [engine.render(hands, look, walls, torch.Generator().manual_seed(0)) for look in (held, empty)]
    with_thing, without = pictures
    assert not (with_thing.masks & ~without.masks).any()
    hidden = (without.masks & ~with_thing.masks).sum((1, 2))
    assert (hidden > 20).float().mean() > 0.7
    assert not (with_thing.visible & ~without.visible).any()
    assert (without.visible & ~with_thing.visible).sum() >= N / 2
    assert (with_thing.depth <= without.depth).all()


def test_arms_continue_the_wrist_without_a_gap(engine):
    hands, look = scene(engine, Style(things=0.0))
    faces, ring = engine.assets.faces, engine.assets.ring
    arm_faces = faces[engine.assets.part[1:] == 1]
    assert set(arm_faces.flatten().tolist()) & set(range(778)) == set(ring)
    edges = torch.cat((engine.model.faces, arm_faces))[:, [[0, 1], [1, 2], [2, 0]]].flatten(0, 1)
    pairs = {tuple(edge) for edge in edges.tolist()}
    open_edges = [(a, b) for a, b in pairs if (b, a) not in pairs]
    assert len(pairs) == len(edges)  # each edge occurs once in each direction, so the winding is consistent
    assert len(open_edges) == 16  # only the far end of the arm
    assert min(min(edge) for edge in open_edges) >= 778
    _, solid = engine.vertices(hands, look)
    assert torch.equal(solid[:, :778], hands.body)
    hand_normals = vertex_normals(hands.body, engine.model.faces)[:, ring]
    both = vertex_normals(solid, faces)[:, ring]
    assert (hand_normals * both).sum(-1).mean() > 0.9  # the normals point outwards on both sides of the seam


def test_arms_leave_the_picture(engine):
    hands, look = scene(engine, Style(things=0.0))
    seen, solid = engine.vertices(hands, look)
    end = seen[:, 778:][:, : 17 * 16][:, -16:]
    assert (end[..., :2].abs().amax(-1) > 0.5 + 16 / SIZE).all()
    assert ((1 + hands.kappa[:, None] * solid[..., 2]) > CLOSEST - 1e-4).all()


def test_viewpoints_are_rotations_from_all_sides():
    rotation = viewpoints(Sampler.from_seed(0, 2000))
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3).expand(2000, 3, 3), rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(2000))
    palm = -rotation[:, :, 1]
    assert (
        (palm[:, 2] < -0.3).float().mean() - (palm[:, 2] > 0.3).float().mean()
    ).abs() < 0.06  # palm and back are seen equally often
    forearm = rotation[:, :, 0]
    assert 0.5 < (forearm[:, 1] > 0.3).float().mean() < 0.8  # most forearms come from below
    for corner in ((-1, 0), (0, -1), (1, 0)):
        toward = (forearm[:, :2] * torch.tensor(corner).float()).sum(-1)
        assert (toward > 0.7).float().mean() > 0.03


def test_poses_are_as_wide_as_those_of_people():
    """The bounds are 5 % and 95 % quantiles of hands in photos, rounded."""
    flexion = joint_angles(draw_poses(Sampler.from_seed(0, 1500)).double(), joint_limits())[..., 0].rad2deg()
    base, middle = flexion[:, 0:12:3], flexion[:, 1:12:3]
    fists = ((middle > 70) & (base > 30)).all(1).float().mean()
    assert 0.08 < fists < 0.18
    for angles, low, high in ((base, -10, 70), (middle, 9, 103)):
        assert ((angles < low).float().mean(0) > 0.02).all()
        assert ((angles > high).float().mean(0) > 0.02).all()
    assert flexion[:, :12].deg2rad().std(0).mean() > 0.45  # 0.40 without gestures; 0.47 in photos


def test_a_pool_of_poses_gives_a_batch_its_poses_and_nothing_else(engine, pool):
    poses = draw_pose_pool(70, 3)  # more than are drawn together
    assert torch.equal(poses, draw_pose_pool(70, 3))
    assert len(poses.unique(dim=0)) == 70
    one, other = (engine.batch(3, seed, pool, poses=poses).h for seed in (0, 1))
    from_pool = (one[:, None, :45] == poses).all(-1)
    assert (from_pool.sum(1) == 1).all()
    assert not torch.equal(one[:, :45], other[:, :45])
    assert (one[:, 45:55] != other[:, 45:55]).all()


def test_backgrounds_repeat_with_their_seed(pool):
    assert torch.equal(pool, paint_backgrounds(6, seed=1))
    assert not torch.equal(pool, paint_backgrounds(6, seed=2))
    assert not set(SEEN) & set(UNSEEN)
    for painter in {*SEEN, *UNSEEN}:
        picture = paint_backgrounds(1, 0, (painter,))
        assert picture.shape == (1, 3, 288, 288)
        assert picture.float().std() > 1, painter.__name__


def test_backgrounds_from_photos(tmp_path):
    (tmp_path / "deep").mkdir()
    Image.new("RGB", (400, 300), (200, 10, 30)).save(tmp_path / "deep" / "red.png")
    squares = cut_backgrounds(tmp_path, 3, 0)
    assert (squares == torch.tensor([200, 10, 30])[:, None, None]).all()
    Image.fromarray(np.arange(90_000, dtype=np.uint8).reshape(100, 300, 3)).save(tmp_path / "other.png")
    two = [SyntheticHands(photos=tmp_path).backgrounds(8, seed) for seed in (0, 0)]
    assert torch.equal(*two)
    assert len({square.numpy().tobytes() for square in two[0]}) > 2  # squares are cut at different positions


def test_a_batch_rendered_in_parts_is_the_whole_batch(engine, pool, monkeypatch):
    style = Style(things=0.0)
    few = engine.batch(N, 6, pool, style)
    monkeypatch.setattr(synthetic_engine, "AT_A_TIME", 5)
    in_parts = engine.batch(N, 6, pool, style)
    assert torch.equal(in_parts.h, few.h)
    assert (in_parts.masks != few.masks).float().mean() < 1e-4
    difference = (in_parts.images.float() - few.images.float()).abs()  # only the sensor's noise differs
    assert difference.mean() < 6


def test_rows_of_a_record(engine):
    _, look = scene(engine, Style())
    some = take_rows(look, torch.tensor([3, 3, 0]))
    assert torch.equal(some.skin.tone, look.skin.tone[[3, 3, 0]])
    assert torch.equal(some.things.present, look.things.present[[3, 3, 0]])
    assert some.cameras.quality.shape == (3,)


def test_seeds_depend_on_every_part():
    assert seed_of("a", 1) == seed_of("a", 1)
    assert len({seed_of("a", 1), seed_of("a", 2), seed_of("b", 1), seed_of("a1")}) == 4
    assert 0 <= seed_of("a") < 2**63


def test_samplers_keep_their_bounds():
    sampler = Sampler.from_seed(0, 4000)
    assert 0.2 <= sampler.log_uniform(0.2, 3.0).min() < sampler.log_uniform(0.2, 3.0).max() <= 3.0
    assert sampler.normal(2.0, 3).abs().max() <= 5.0
    chosen = sampler.choice((1.0, 7.0), (1.0, 3.0))
    assert set(chosen.tolist()) == {1.0, 7.0}
    assert float((chosen == 7).float().mean()) == pytest.approx(0.75, abs=0.03)
    assert float(sampler.chance(0.3).float().mean()) == pytest.approx(0.3, abs=0.03)
