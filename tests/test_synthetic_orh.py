"""ORH, ORH-S and ORH-O: counts, looks that are kept for tests, smooth sequences, and the same bytes however made."""

from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from dhpe_lib.cli import app
from dhpe_lib.datasets.synthetic import orh, scenery
from dhpe_lib.datasets.synthetic.engine import SyntheticHands
from dhpe_lib.datasets.synthetic.hands import TIPS
from dhpe_lib.datasets.synthetic.sequences import key_poses, poses_at, sequence_batch
from dhpe_lib.hand_model import HandModel
from dhpe_lib.poses import collides, joint_limits, limit_penalty
from dhpe_lib.skeleton import MIDDLE_MCP


@pytest.fixture(autouse=True)
def small_pools(monkeypatch) -> None:
    monkeypatch.setattr(orh, "POOL", 6)
    orh.pool_for.cache_clear()


def make(recipe: orh.Recipe, out: Path):
    return orh.make(recipe, out, 1, Console(quiet=True))


def test_counts_and_names_are_those_of_the_papers_sets():
    assert sum(orh.COUNTS["orh"].values()) + sum(orh.COUNTS["orh-s"].values()) + orh.COUNTS["orh-o"]["test"] == 83_131
    train, test = (orh.Recipe("orh-s", split, orh.COUNTS["orh-s"][split]).ids for split in ("train", "test"))
    assert len({*train, *test}) == 36_000
    assert {name.split("/")[0] for name in train} == {f"{k:02}" for k in range(10)}
    assert {name.split("/")[0] for name in test} == {"10", "11"}
    assert len(set(orh.Recipe("orh", "train", 41_258).ids)) == 41_258


def test_what_orh_o_shows_is_shown_nowhere_else():
    only = orh.Recipe("orh-o", "test", 1).style
    assert only.new_people
    assert only.new_things
    assert only.things == 1
    for name, split in (("orh", "train"), ("orh-s", "train")):
        trained = orh.Recipe(name, split, 1).style
        assert not trained.new_people
        assert not trained.new_things
        assert not set(trained.painters) & set(only.painters)
    assert set(only.painters) == set(scenery.UNSEEN)


def test_a_sample_of_200_pictures(tmp_path):
    recipe = orh.Recipe("orh", "train", 200, seed=7)
    cache = make(recipe, tmp_path / "train")
    assert len(cache) == 200
    assert cache.meta["source"]["seed"] == 7
    assert not list(cache.damaged_parts())
    crops = cache[:]
    assert crops.images.shape == (200, 256, 256, 3)
    for name, values in crops.items():
        assert values.dtype == torch.bool or not values.isnan().any(), name
    assert len({image.tobytes() for image in crops.images.numpy()}) == 200
    masks = crops.masks.float().mean((1, 2))
    assert masks.min() > 0.005
    again = orh.draw_part(recipe, range(128, 200))  # a part of its own: the other one is not needed for it
    assert torch.equal(again.images, crops.images[128:])
    known = crops.frame.normalise(crops.joints_3d, crops.k)
    torch.testing.assert_close(known[..., :2], crops.joints_2d, rtol=0, atol=2e-5)


def test_splits_and_seeds_do_not_share_pictures():
    recipes = [orh.Recipe("orh", "train", 2), orh.Recipe("orh", "test", 2), orh.Recipe("orh", "train", 2, seed=1)]
    h = torch.cat([orh.draw_part(recipe, range(2)).h for recipe in recipes])
    assert torch.cdist(h, h).fill_diagonal_(1).min() > 0.1


def test_orh_o_knows_fingertips_only():
    crops = orh.draw_part(orh.Recipe("orh-o", "test", 4), range(4))
    assert (crops.known.sum(1) == 5).all()
    assert crops.known[:, TIPS].all()
    assert crops.h.isnan().all()
    assert not crops.has_mask.any()
    assert not crops.mask_bits.any()
    low, high = crops.joints_2d[:, TIPS].amin(1), crops.joints_2d[:, TIPS].amax(1)
    torch.testing.assert_close((low + high) / 2, torch.zeros(4, 2), rtol=0, atol=1e-4)
    assert ((high - low).amax(1) <= 1 / 1.5 + 1e-4).all()
    torch.testing.assert_close(crops.z_root, crops.joints_3d[:, TIPS, 2].mean(1))


def test_sequences_are_smooth_and_of_one_person():
    engine, frames = SyntheticHands(), torch.arange(100, 112)
    style = orh.Recipe("orh-s", "train", 1).style
    batch = sequence_batch(engine, 5, 300, frames, style, 0)
    relative = batch.joints_mm - batch.joints_mm[:, MIDDLE_MCP, None]
    speed = relative.diff(dim=0).norm(dim=-1)
    assert 0.05 < speed.mean() < 8  # millimetres a frame
    assert speed.max() < 25
    assert relative.diff(n=2, dim=0).norm(dim=-1).max() < 4  # and no jerks
    assert (batch.h[:, 45:55].diff(dim=0) == 0).all()
    assert batch.images.float().mean((1, 2)).diff(dim=0).abs().max() < 12
    later = sequence_batch(engine, 5, 300, frames[6:], style, 0)
    torch.testing.assert_close(later.h, batch.h[6:], rtol=0, atol=1e-5)
    assert torch.equal(later.depth.isinf(), batch.depth[6:].isinf())


def test_poses_on_the_way_are_natural():
    keys = key_poses(12, 3)
    way = poses_at(keys, torch.arange(11 * 30))
    assert torch.equal(poses_at(keys, torch.tensor([60]))[0], keys[2])
    assert limit_penalty(way, joint_limits()).max() < 1e-6
    straight = poses_at(
        key_poses.__wrapped__(12, 3)[torch.randperm(12, generator=torch.Generator().manual_seed(0))],
        torch.arange(11 * 30),
    )
    hits, shuffled = (collides(HandModel.open_hand()(pose=poses).joints).float().mean() for poses in (way, straight))
    assert hits < 0.05
    assert hits <= shuffled


def test_the_command_makes_checks_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")

    def data(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, ("data", *arguments))
        assert result.exit_code == code, result.output
        return result.output

    out = tmp_path / "o"
    said = data("make", "orh-o", "--out", str(out), "--count", "3", "--workers", "1")
    assert "3 samples" in said
    assert "Every byte is as it was written" in data("check", "orh-o", str(out / "test"))
    before = (out / "test" / "images.npy").read_bytes()
    data("make", "orh-o", "--out", str(out), "--count", "3")  # it is all there
    assert (out / "test" / "images.npy").read_bytes() == before
    assert "stale" in " ".join(
        CliRunner()
        .invoke(app, ("data", "make", "orh-o", "--out", str(out), "--count", "3", "--seed", "1"))
        .output.split()
    )
    assert "orh-s" in data("make", "nothing", "--out", str(out), code=2)
    assert "test" in data("make", "orh-o", "--out", str(out), "--split", "train", code=2)
    assert np.load(out / "test" / "images.npy").shape == (3, 256, 256, 3)
