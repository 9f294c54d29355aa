"""Batches have each sample once an epoch, do not depend on the number of processes, and are a function of the step."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from dot_dataset import Dots, write_dots
from rich.console import Console

from dhpe_lib.common.records import join_rows
from dhpe_lib.data.cache.layout import Contents, PreparedError
from dhpe_lib.data.cache.preparation import Job, prepare
from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.data.cache.writer import PreparedWriter
from dhpe_lib.data.views import NO_JITTER, upright_angle, wrist_targets
from dhpe_lib.training import batches
from dhpe_lib.training.batches import (
    BatchPlan,
    TrainingBatches,
    ViewOptions,
    chances,
    draw_turns,
    rows_of,
    training_view,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def caches(tmp_path_factory) -> list[Prepared]:
    folder = tmp_path_factory.mktemp("dots")
    jobs = [
        Job("dots", "all", Dots, write_dots(folder / f"files{seed}", 4 + seed, seed), folder / f"cache{seed}")
        for seed in range(2)
    ]
    return [prepare(job, 1, Console(quiet=True)) for job in jobs]


def test_an_epoch_has_each_row_once_whatever_the_batch():
    plan = BatchPlan(batch=4, rendered=0, seed=5)
    rows = np.concatenate([plan.rows(step, 14) for step in range(7)])  # two epochs
    assert sorted(rows[:14]) == list(range(14))
    assert sorted(rows[14:]) == list(range(14))
    assert rows[:14].tolist() != rows[14:].tolist()
    assert rows[:14].tolist() != sorted(rows[:14])
    assert BatchPlan(4, 0, 6).rows(0, 14).tolist() != rows[:4].tolist()


def test_two_processes_see_the_images_of_one(caches):
    alone = TrainingBatches(caches, BatchPlan(4, 0, 0), ViewOptions(), CPU)
    pair = [TrainingBatches(caches, BatchPlan(2, 0, 0, rank, 2), ViewOptions(), CPU) for rank in range(2)]
    for step in (0, 3):
        whole, halves = alone.view(step), [process.view(step) for process in pair]
        assert torch.equal(whole.images, torch.cat([half.images for half in halves]))
        assert torch.equal(whole.targets.joints, torch.cat([half.targets.joints for half in halves]))


def test_a_batch_depends_only_on_its_step(caches, monkeypatch):
    monkeypatch.setattr(batches, "POOL", 4)
    monkeypatch.setattr(batches, "REPAINTED", 2)
    forward = TrainingBatches(caches, BatchPlan(3, 1, 0), ViewOptions(), CPU)
    seen = [forward.view(step) for step in range(3)]
    late = TrainingBatches(caches, BatchPlan(3, 1, 0), ViewOptions(), CPU).view(2)
    assert torch.equal(seen[2].images, late.images)
    assert torch.equal(seen[2].targets.mask, late.targets.mask)
    assert not torch.equal(seen[1].images, late.images)
    assert late.images.shape == (3, 3, 224, 224)
    other = TrainingBatches(caches, BatchPlan(3, 3, 0, 1, 2), ViewOptions(), CPU).view(2)
    assert not torch.equal(other.images[2], late.images[2])  # each process renders other hands


def test_rows_index_the_concatenated_caches(caches):
    whole = join_rows([cache[:] for cache in caches])
    rows = np.array([8, 0, 4, 3, 8])
    assert torch.equal(rows_of(caches, rows).images, whole[rows].images)
    assert torch.equal(rows_of(caches, rows).k, whole[rows].k)


def test_caches_that_cannot_be_combined_are_refused(caches, tmp_path):
    with pytest.raises(PreparedError, match="no prepared split was named"):
        TrainingBatches([], BatchPlan(2, 1, 0), ViewOptions(), CPU)
    plain = caches[0][:1].without_margin()
    with PreparedWriter(tmp_path / "narrow", Contents("narrow", "all", ["0"], {}, margin=0)) as writer:
        writer.write(writer.missing()[0], plain)
        narrow = writer.finish()
    with pytest.raises(
        PreparedError, match=r"differ in their margins, in pixels: .*cache0 16, .*narrow 0; prepare them"
    ):
        TrainingBatches([caches[0], narrow], BatchPlan(2, 0, 0), ViewOptions(), CPU)


def test_on_a_device(caches, device: torch.device):
    """On a GPU the caches are copied to it; the images are those of the CPU."""
    on_device = TrainingBatches(caches, BatchPlan(4, 0, 0), ViewOptions(), device).view(1)
    on_cpu = TrainingBatches(caches, BatchPlan(4, 0, 0), ViewOptions(), CPU).view(1)
    assert on_device.images.device.type == device.type
    torch.testing.assert_close(on_device.images.cpu(), on_cpu.images, atol=1e-4, rtol=0)


def test_novel_views_replace_other_images():
    plan = BatchPlan(batch=8, rendered=4, seed=0, novel_views=4, novel_views_from=2)
    counts = [(plan.taken_at(step), plan.rendered_at(step), plan.novel_views_at(step)) for step in (1, 2)]
    assert counts == [(4, 4, 0), (2, 2, 4)]
    plain = replace(plan, rendered=0)
    assert [len(plain.rows(step, 10)) for step in (1, 2)] == [8, 4]
    epoch = np.concatenate([plain.rows(step, 20) for step in range(5, 10)])  # positions 20 to 39
    assert sorted(epoch) == list(range(20))


def test_batches_leave_room_for_novel_views(caches, monkeypatch):
    monkeypatch.setattr(batches, "POOL", 2)
    mixed = TrainingBatches(caches, BatchPlan(4, 2, 0, novel_views=2, novel_views_from=1), ViewOptions(), CPU)
    assert len(mixed.view(1).images) == 2


def test_upright_views_point_up_except_the_chosen_share(caches):
    """The direction from the wrist to the middle MCP is up; with turned = 1 it is any direction."""
    crops = caches[0][:]
    options = ViewOptions(NO_JITTER, 64, upright=True)
    view = training_view(crops, draw_turns(len(crops), 3, options), options)
    assert view.images.shape == (len(crops), 3, 64, 64)
    assert view.targets.mask.shape == (len(crops), 64, 64)
    assert upright_angle(view.targets.joints_2d).abs().max() < 1e-5
    assert upright_angle(wrist_targets(crops).joints_2d).abs().max() > 0.1
    free = replace(options, turned=1.0)
    turns = draw_turns(200, 3, free)
    assert turns.any_angle.abs().max() > 3
    assert turns.any_angle.mean().abs() < 0.5
    assert draw_turns(200, 3, replace(free, turned=0.25)).any_angle.isfinite().float().mean() == pytest.approx(
        0.25, abs=0.1
    )


def test_photos_take_their_share_of_each_batch(caches):
    mixed = TrainingBatches(caches[:1], BatchPlan(5, 0, 0, photos=2), ViewOptions(), CPU, weak=caches[1:])
    assert mixed.plan.taken_at(0) == 3
    view = mixed.view(4)
    assert len(view.images) == 5
    again = TrainingBatches(caches[:1], BatchPlan(5, 0, 0, photos=2), ViewOptions(), CPU, weak=caches[1:]).view(4)
    assert torch.equal(view.images, again.images)


def test_a_large_set_of_photos_does_not_outweigh_a_small_one():
    found = chances(["a/1"] * 16 + ["b/1"] * 4)
    assert found.sum() == pytest.approx(1)
    assert found[:16].sum() / found[16:].sum() == pytest.approx(2)
