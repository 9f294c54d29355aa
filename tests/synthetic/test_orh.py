"""ORH, ORH-S and ORH-O: counts, appearance reserved for tests, smooth sequences, and reproducible bytes."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_datasets import noise, write_image
from rich.console import Console
from typer.testing import CliRunner

from dhpe_lib.cli.__main__ import app
from dhpe_lib.data.cache.layout import PreparedError
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.poses import collides, joint_limits, limit_penalty
from dhpe_lib.hand.skeleton import MIDDLE_MCP
from dhpe_lib.synthetic import orh, scenery
from dhpe_lib.synthetic.engine import SyntheticHands
from dhpe_lib.synthetic.hands import TIPS
from dhpe_lib.synthetic.sequences import key_poses, poses_at, sequence_batch


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


def test_training_splits_show_nothing_of_orh_o():
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
    again = orh.draw_part(recipe, range(128, 200))  # a part does not depend on the other parts
    assert torch.equal(again.images, crops.images[128:])
    known = crops.frame.normalise(crops.joints_3d, crops.k)
    torch.testing.assert_close(known[..., :2], crops.joints_2d, rtol=0, atol=2e-5)


def test_splits_and_seeds_do_not_share_pictures():
    recipes = [orh.Recipe("orh", "train", 2), orh.Recipe("orh", "test", 2), orh.Recipe("orh", "train", 2, seed=1)]
    h = torch.cat([orh.draw_part(recipe, range(2)).h for recipe in recipes])
    assert torch.cdist(h, h).fill_diagonal_(1).min() > 0.1


def test_orh_o_has_fingertip_labels_only():
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
    labelled = orh.draw_labelled(orh.Recipe("orh-o", "test", 4), range(4))
    assert torch.equal(labelled.images, crops.images)
    assert torch.equal(labelled.joints_3d[:, TIPS], crops.joints_3d[:, TIPS])
    assert labelled.known.all()


def test_sequences_are_smooth_and_of_one_person():
    engine, frames = SyntheticHands(), torch.arange(100, 112)
    style = orh.Recipe("orh-s", "train", 1).style
    batch = sequence_batch(engine, 5, 300, frames, style, 0)
    relative = batch.joints_mm - batch.joints_mm[:, MIDDLE_MCP, None]
    speed = relative.diff(dim=0).norm(dim=-1)
    assert 0.05 < speed.mean() < 8  # millimetres per frame
    assert speed.max() < 25
    assert relative.diff(n=2, dim=0).norm(dim=-1).max() < 4  # no jumps
    assert (batch.h[:, 45:55].diff(dim=0) == 0).all()
    assert batch.images.float().mean((1, 2)).diff(dim=0).abs().max() < 12
    later = sequence_batch(engine, 5, 300, frames[6:], style, 0)
    torch.testing.assert_close(later.h, batch.h[6:], rtol=0, atol=1e-5)
    assert torch.equal(later.depth.isinf(), batch.depth[6:].isinf())


def test_poses_between_key_poses_are_natural():
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


@pytest.fixture
def data(monkeypatch) -> Callable[..., str]:
    """Return a function that runs `dhpe data` and returns its output as one line."""
    monkeypatch.setenv("COLUMNS", "1000")

    def run(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, ("data", *map(str, arguments)))
        assert result.exit_code == code, result.output
        return " ".join(result.output.replace("│", " ").split())

    return run


@pytest.mark.parametrize(
    ("name", "split", "count", "message"),
    [
        ("orh", "train", 41_259, "orh train has 41,258 pictures; 41,259 cannot be made"),
        ("orh-s", "test", 0, "orh-s test has 6,000 pictures; 0 cannot be made"),
        ("orh-o", "train", 1, "there is no orh-o train, only orh train, orh test, orh-s train"),
        ("rhd", "test", 1, "there is no rhd test, only orh train"),
    ],
)
def test_recipes_of_unpublished_splits_are_refused(name, split, count, message):
    with pytest.raises(ValueError, match=message):
        orh.Recipe(name, split, count)


def test_more_pictures_than_there_are(tmp_path, data):
    said = data("make", "orh", "--out", tmp_path / "o", "--count", "2729", code=2)
    assert "Invalid value for --count: orh test has 2,728 pictures; 2,729 cannot be made" in said
    assert not (tmp_path / "o").exists()


def test_other_photos_make_the_cache_stale(tmp_path):
    photos, elsewhere = tmp_path / "photos", tmp_path / "elsewhere"
    write_image(photos / "a.png", noise((40, 30), 1))
    recipe = orh.Recipe("orh", "test", 2, photos=photos)
    cache = make(recipe, tmp_path / "test")
    assert str(tmp_path) not in (cache.directory / "meta.json").read_text()
    shutil.copytree(photos, elsewhere)
    assert len(make(replace(recipe, photos=elsewhere), tmp_path / "test")) == 2
    write_image(elsewhere / "a.png", noise((40, 30), 2))
    with pytest.raises(PreparedError, match=r"source\.backgrounds was \w{16}, is \w{16} now.*--backgrounds DIR"):
        make(replace(recipe, photos=elsewhere), tmp_path / "test")
    with pytest.raises(PreparedError, match="is painted now"):
        make(replace(recipe, photos=None), tmp_path / "test")
    with pytest.raises(FileNotFoundError, match="gone: no such folder"):
        make(replace(recipe, photos=tmp_path / "gone"), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_with_one_split_of_two(tmp_path, data, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data("make", "orh", "--out", "o", "--split", "test", "--count", "2", "--workers", "1")
    made = "o/train: no such folder. To make it, run: dhpe data make orh --split train --out o"
    said = data("check", "orh", "o", code=1)
    assert f"✗ {made}" in said
    assert "✓ orh test, by dhpe" in said
    assert "2 samples, 0 left out" in said
    assert "Only a sample: the benchmark has 2,728 pictures." in said
    assert "draws other pictures" not in said
    assert "2 of 2 samples: dhpe_out/orh_test.png" in data("show", "orh", "o")
    assert made in data("show", "orh", "o", "--split", "train", code=1)
    assert "o/test holds orh, not orh-s" in data("check", "orh-s", "o", code=2)
    monkeypatch.setattr(orh, "VERSION", orh.VERSION + 1)
    assert f"this program's engine {orh.VERSION} draws other pictures" in data("check", "orh", "o/test")
    Path("o/test/meta.json").rename("o/test/plan.json")
    again = "dhpe data make orh --split test --out o --seed 0 --count 2"
    for folder in ("o", "o/test"):
        said = data("check", "orh", folder, code=1)
        assert f"o/test: its preparation was not finished: 0 of 1 parts are there. To continue, run: {again}" in said
    Path("o/test/plan.json").write_text("[]")
    assert "o/test/plan.json: is a list, not an object" in data("check", "orh", "o", code=1)
    (tmp_path / "empty").mkdir()
    assert data("check", "orh-s", "empty", code=1).count("To make it, run: dhpe data make orh-s --split") == 2
    assert "dhpe data make orh-s --split train --out empty" in data("show", "orh-s", "empty", code=1)


def test_the_command_makes_checks_and_continues(tmp_path, data):
    out = tmp_path / "o"
    said = data("make", "orh-o", "--out", str(out), "--count", "3", "--workers", "1")
    assert "3 samples" in said
    assert "Every byte is as it was written" in data("check", "orh-o", str(out / "test"))
    before = (out / "test" / "images.npy").read_bytes()
    data("make", "orh-o", "--out", str(out), "--count", "3")  # the cache is complete already
    assert (out / "test" / "images.npy").read_bytes() == before
    assert "stale: source.seed was 0, is 1 now" in data(
        "make", "orh-o", "--out", str(out), "--count", "3", "--seed", "1", code=1
    )
    assert "orh-s" in data("make", "nothing", "--out", str(out), code=2)
    assert "test" in data("make", "orh-o", "--out", str(out), "--split", "train", code=2)
    assert np.load(out / "test" / "images.npy").shape == (3, 256, 256, 3)
