"""FreiHAND: four backgrounds, masks, half a pixel, evaluation with and without labels, defects, real photos."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fake_datasets import FREIHAND_K, canonical, noise, points, projected, write_freihand, write_image, write_json
from PIL import Image
from project import REAL_PHOTOS
from rich.console import Console

from dhpe_lib.data.cache.layout import PreparedError
from dhpe_lib.data.cache.preparation import Job, prepare
from dhpe_lib.data.checks import DatasetError
from dhpe_lib.data.readers import freihand
from dhpe_lib.data.readers.freihand import FreiHand
from dhpe_lib.data.sample import project

CLOUDS = [points(seed, depth=700) for seed in range(3)]


@pytest.fixture
def root(tmp_path):
    write_freihand(tmp_path, "training", CLOUDS, backgrounds=4)
    write_freihand(tmp_path, "evaluation", CLOUDS[:2])
    return tmp_path


def jpeg(seed, tmp_path):
    return np.array(Image.open(write_image(tmp_path / "again.jpg", noise((224, 224), seed))))


def test_a_photograph_comes_with_four_backgrounds(root, tmp_path):
    found = FreiHand(root, "training")
    assert len(found) == len(set(found.ids)) == 12
    for index in range(12):
        sample = found[index]
        assert sample.id == found.ids[index] == f"training/{index:08d}"
        np.testing.assert_array_equal(sample.image, jpeg(index, tmp_path))
        np.testing.assert_allclose(sample.joints_3d, canonical(CLOUDS[index % 3]), atol=1e-9)
        assert abs(int(sample.mask.sum()) - 100 * 20 * (index % 3 + 1)) < 50
        assert (sample.side, sample.joint_0) == ("right", "wrist")
        assert sample.visible.all()
    with pytest.raises(IndexError):
        found[12]
    assert found[-1].id == "training/00000011"


def test_whole_numbers_are_the_middle_of_pixels(root):
    sample = FreiHand(root, "training")[1]
    expected = projected(canonical(CLOUDS[1]), FREIHAND_K) + 0.5
    np.testing.assert_allclose(sample.joints_2d, expected, atol=1e-9)
    np.testing.assert_allclose(project(sample.joints_3d, sample.k), sample.joints_2d, atol=1e-9)


def test_evaluation_with_truth(root):
    found = FreiHand(root, "evaluation")
    assert len(found) == 2
    np.testing.assert_allclose(found[1].joints_3d, canonical(CLOUDS[1]), atol=1e-9)
    assert found[1].mask is None


def test_evaluation_without_truth(root):
    (root / "evaluation_xyz.json").unlink()
    sample = FreiHand(root, "evaluation")[1]
    assert np.isnan(sample.joints_3d).all()
    assert np.isnan(sample.joints_2d).all()
    assert not sample.visible.any()
    np.testing.assert_allclose(sample.k[:2, 2], 112.5)
    job = Job("freihand", "evaluation", FreiHand, root, root.parent / "cache")
    with pytest.raises(PreparedError, match=r"evaluation_xyz\.json: no such file, so no joint is known; get Frei"):
        prepare(job, 1, Console(quiet=True))
    assert not job.out.exists()


@pytest.mark.parametrize("kind", ["rgb", "mask"])
def test_missing_and_damaged_images(root, kind):
    found = FreiHand(root, "training")
    path = root / "training" / kind / "00000001.jpg"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=rf"{kind}/00000001\.jpg: cannot be read .*again"):
        found[1]
    write_image(path, noise((32, 32)))
    with pytest.raises(DatasetError, match=rf"{kind}/00000001\.jpg: is 32 x 32 pixels, not 224 x 224; get FreiHAND"):
        found[1]
    path.unlink()
    with pytest.raises(FileNotFoundError, match=rf"{kind}/00000001\.jpg: no such file; get FreiHAND"):
        found[1]


@pytest.mark.parametrize("name", ["K", "xyz"])
def test_missing_and_damaged_labels(root, name):
    path = root / f"training_{name}.json"
    rows = json.loads(path.read_text())
    write_json(path, rows[:2])
    with pytest.raises(DatasetError, match=r"training_xyz\.json: joints of .* photographs, cameras of .*; get Frei"):
        FreiHand(root, "training")
    write_json(path, [rows[0], rows[1][:2], rows[2]])
    with pytest.raises(DatasetError, match=rf"training_{name}\.json: entry 1: is not a list of length"):
        FreiHand(root, "training")
    rows[1][0][0] = float("nan")
    write_json(path, rows)
    with pytest.raises(
        DatasetError, match=rf"training_{name}\.json: entry 1: the field \[0\]\[0\] is null, not a number; get Frei"
    ):
        FreiHand(root, "training")
    rows[1][0][0] = 0.0
    path.write_text(json.dumps(rows)[:-10])
    with pytest.raises(DatasetError, match=rf"training_{name}\.json: is not JSON .*; get Frei"):
        FreiHand(root, "training")
    path.unlink()
    with pytest.raises(FileNotFoundError, match=rf"training_{name}\.json: no such file; get Frei"):
        FreiHand(root, "training")


def test_unknown_split(root):
    with pytest.raises(DatasetError, match="FreiHAND has no split 'test'"):
        FreiHand(root, "test")


def test_check(root, monkeypatch):
    findings = freihand.check(root)
    assert [finding.problem for finding in findings if finding.problem] == [
        "labels of 3 photographs, 32560 were published",
        "labels of 2 photographs, 3960 were published",
    ]
    assert [finding.count for finding in findings] == [3, 12, 3, 2, 2]
    assert [str(finding.path.relative_to(root)) for finding in findings] == [
        "training_K.json",
        "training/rgb",
        "training/mask",
        "evaluation_K.json",
        "evaluation/rgb",
    ]
    monkeypatch.setattr(freihand, "PHOTOGRAPHS", {"training": 3, "evaluation": 2})
    assert not [finding for finding in freihand.check(root) if finding.problem]
    (root / "evaluation_xyz.json").unlink()
    (root / "training/rgb/00000011.jpg").unlink()
    problems = [finding.problem for finding in freihand.check(root) if finding.problem]
    assert problems == ["1 of 12 images missing, first 00000011.jpg", "no such file: joints are unknown"]
    (root / "training_K.json").unlink()
    assert freihand.check(root)[0].problem == "no such file"


@pytest.mark.skipif(not REAL_PHOTOS.is_dir(), reason=f"no real photos in {REAL_PHOTOS}")
def test_real_photos(tmp_path):
    """Real photos at their positions in the dataset, with 2D labels lifted to a plane, are shifted by half a pixel.

    Two pictures are photos 17,620 and 355 with one background, two are these photos with another background.
    """
    entries = [
        entry for entry in json.loads((REAL_PHOTOS / "labels.json").read_text()) if entry["source"] == "freihand"
    ]
    joints = [[[0, 0, 1]] * 21 for _ in range(32_560)]
    for entry in entries:
        number = int(Path(entry["file"]).stem)
        rays = np.c_[np.array(entry["joints_2d"])[:, :2], np.ones(21)] @ np.linalg.inv(FREIHAND_K).T
        joints[number % 32_560] = (0.7 * rays).tolist()
        write_image(tmp_path / f"training/mask/{number % 32_560:08d}.jpg", np.zeros((224, 224), np.uint8))
        photo = tmp_path / f"training/rgb/{number:08d}.jpg"
        photo.parent.mkdir(exist_ok=True)
        shutil.copyfile(REAL_PHOTOS / entry["file"], photo)
    write_json(tmp_path / "training_K.json", [FREIHAND_K] * 32_560)
    write_json(tmp_path / "training_xyz.json", joints)
    found = FreiHand(tmp_path, "training")
    assert len(found) == 130_240
    assert len(entries) == 4
    for entry in entries:
        sample = found[int(Path(entry["file"]).stem)]
        np.testing.assert_allclose(sample.joints_2d, np.array(entry["joints_2d"])[:, :2] + 0.5, atol=1e-9)
        np.testing.assert_array_equal(sample.image, np.array(Image.open(REAL_PHOTOS / entry["file"])))
        assert sample.joints_3d[:, 2] == pytest.approx(700)
