"""RHD: larger hand, joint order, visibility, mirroring, defects, and real photos if they are present."""

import json
import os
import pickle

import numpy as np
import pytest
from fake_datasets import (
    RHD_K,
    RHD_NAMES,
    canonical,
    noise,
    points,
    projected,
    rhd_mask,
    rhd_record,
    write_image,
    write_pickle,
    write_rhd,
)
from PIL import Image, ImageDraw
from project import REAL_PHOTOS

from dhpe_lib.common.unpickling import PickleFileError
from dhpe_lib.data.checks import DatasetError
from dhpe_lib.data.readers import rhd
from dhpe_lib.data.readers.rhd import Rhd
from dhpe_lib.data.sample import mirror, project
from dhpe_lib.hand.skeleton import JOINT_NAMES

LEFT, RIGHT = points(1), points(2, depth=700)


@pytest.fixture
def root(tmp_path):
    masks = [rhd_mask(300, 200), rhd_mask(200, 300), rhd_mask(250, 250)]
    write_rhd(tmp_path, "evaluation", [rhd_record(LEFT, RIGHT)] * 3, masks)
    return tmp_path


def labels_file(root):
    return root / "RHD_published_v2" / "evaluation" / "anno_evaluation.pickle"


def test_the_hand_with_more_pixels_counts_and_the_right_one_if_equal(root):
    found = Rhd(root, "evaluation")
    assert len(found) == 3
    assert [sample.side for sample in found] == ["left", "right", "right"]
    assert [int(sample.mask.sum()) for sample in found] == [300, 300, 250]
    assert list(found.ids) == [sample.id for sample in found] == [f"evaluation/0000{n}" for n in range(3)]


def test_right_hand_is_as_it_was_written(root):
    sample = Rhd(root, "evaluation")[1]
    np.testing.assert_allclose(sample.joints_3d, canonical(RIGHT), atol=1e-3)
    np.testing.assert_allclose(sample.joints_2d, projected(canonical(RIGHT), RHD_K), atol=1e-3)
    np.testing.assert_allclose(sample.root, RIGHT["middle_1"], atol=1e-3)
    np.testing.assert_array_equal(sample.image, noise((320, 320), 1))
    np.testing.assert_array_equal(sample.mask, rhd_mask(200, 300) >= 18)
    np.testing.assert_allclose(sample.k, RHD_K, atol=1e-4)
    visible = [(21 + RHD_NAMES.index(name)) % 3 > 0 for name in JOINT_NAMES]
    np.testing.assert_array_equal(sample.visible, visible)
    assert sample.joint_0 == "wrist"


def test_left_hand_is_mirrored_with_everything(root):
    sample = Rhd(root, "evaluation")[0]
    np.testing.assert_allclose(sample.joints_3d, canonical(LEFT) * [-1, 1, 1], atol=1e-3)
    expected = projected(canonical(LEFT), RHD_K)
    np.testing.assert_allclose(sample.joints_2d, np.c_[320 - expected[:, 0], expected[:, 1]], atol=1e-3)
    np.testing.assert_allclose(project(sample.joints_3d, sample.k), sample.joints_2d, atol=1e-3)
    np.testing.assert_array_equal(sample.image, noise((320, 320), 0)[:, ::-1])
    mask = rhd_mask(300, 200)
    np.testing.assert_array_equal(sample.mask, ((mask >= 2) & (mask <= 17))[:, ::-1])


def test_the_folder_itself_may_be_named(root):
    assert Rhd(root / "RHD_published_v2", "evaluation").ids == Rhd(root, "evaluation").ids


def test_labels_of_python_3_and_gaps_in_the_numbers(root):
    labels_file(root).write_bytes(pickle.dumps({2: rhd_record(LEFT, RIGHT), 0: rhd_record(LEFT, RIGHT)}))
    found = Rhd(root, "evaluation")
    assert list(found.ids) == ["evaluation/00000", "evaluation/00002"]
    np.testing.assert_array_equal(found[1].image, noise((320, 320), 2))
    with pytest.raises(IndexError):
        found[2]


def test_masks_saved_as_colours_are_read_if_they_are_grey(root):
    path = root / "RHD_published_v2/evaluation/mask/00001.png"
    classes = np.array(Image.open(path))
    Image.fromarray(np.dstack([classes] * 3)).save(path)
    assert int(Rhd(root, "evaluation")[1].mask.sum()) == 300
    assert rhd.check(root)[-1].problem is None


def test_check_refuses_the_masks_that_the_reader_refuses(root):
    path = root / "RHD_published_v2/evaluation/mask/00001.png"
    Image.fromarray(np.array(np.random.default_rng(0).integers(0, 34, (320, 320, 3)), np.uint8)).save(path)
    with pytest.raises(DatasetError, match=r"00001\.png: is of mode RGB, not one channel"):
        Rhd(root, "evaluation")[1]
    assert "is of mode RGB, not one channel" in rhd.check(root)[-1].problem


@pytest.mark.parametrize("kind", ["color", "mask"])
def test_missing_and_damaged_images(root, kind):
    path = root / "RHD_published_v2" / "evaluation" / kind / "00001.png"
    found = Rhd(root, "evaluation")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=rf"{kind}/00001\.png: cannot be read .*again"):
        found[1]
    write_image(path, noise((64, 64)))
    with pytest.raises(DatasetError, match=rf"{kind}/00001\.png: is .*unpack RHD"):
        found[1]
    path.unlink()
    with pytest.raises(FileNotFoundError, match=rf"{kind}/00001\.png: no such file; unpack RHD"):
        found[1]


def test_missing_labels_and_unknown_split(root):
    with pytest.raises(FileNotFoundError, match=r"anno_training\.pickle: no such file; unpack RHD_v1-1\.zip"):
        Rhd(root, "training")
    with pytest.raises(DatasetError, match="no split 'test'"):
        Rhd(root, "test")


@pytest.mark.parametrize("length", [0, 1, 100, -1])
def test_truncated_pickle(root, length):
    path = labels_file(root)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(PickleFileError, match=r"anno_evaluation\.pickle: damaged, truncated"):
        Rhd(root, "evaluation")


class Runs:
    def __reduce__(self):
        return os.mkdir, ("made",)


def test_hostile_pickle(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels_file(root).write_bytes(pickle.dumps({0: {"xyz": Runs()}}, protocol=2))
    with pytest.raises(PickleFileError, match=r"anno_evaluation\.pickle: refused"):
        Rhd(root, "evaluation")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("labels", [[], {}, {"a": 1}, [1, 2]])
def test_another_pickle(root, labels):
    write_pickle(labels_file(root), labels)
    with pytest.raises(DatasetError, match=r"anno_evaluation\.pickle: is not a dict .*unpack RHD"):
        Rhd(root, "evaluation")


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("xyz", np.zeros((21, 3)), r"the field xyz has shape \(21, 3\), not \(42, 3\)"),
        ("uv_vis", np.full((42, 3), np.nan), r"the field uv_vis is not finite at \(0, 0\)"),
        ("K", None, "lacks the field K"),
    ],
)
def test_damaged_record(root, field, value, problem):
    record = rhd_record(LEFT, RIGHT) | {field: value}
    if value is None:
        del record[field]
    write_pickle(labels_file(root), {0: rhd_record(LEFT, RIGHT), 1: record})
    found = Rhd(root, "evaluation")
    assert found[0].side == "left"
    with pytest.raises(DatasetError, match=rf"anno_evaluation\.pickle: sample 1: {problem}; unpack RHD"):
        found[1]
    assert f"sample 1: {problem.split(' (')[0].split(chr(92))[0]}" in rhd.check(root)[1].problem


def test_check(root, monkeypatch):
    training, labels, *images = rhd.check(root)
    assert training.problem == "no such file"
    assert rhd.HOMEPAGE in training.remedy
    assert labels.problem == "labels of 3 pictures, 2728 were published"
    assert [(image.problem, image.count) for image in images] == [(None, 3), (None, 3)]

    monkeypatch.setattr(rhd, "COUNTS", {"training": 2, "evaluation": 3})
    write_rhd(root, "training", [rhd_record(LEFT, RIGHT)] * 2, [rhd_mask(3, 2)] * 2)
    assert not [finding for finding in rhd.check(root) if finding.problem]
    (root / "RHD_published_v2/training/mask/00001.png").unlink()
    bad = [finding for finding in rhd.check(root) if finding.problem]
    assert [finding.problem for finding in bad] == ["1 of 2 images missing, first 00001.png"]


@pytest.mark.skipif(not REAL_PHOTOS.is_dir(), reason=f"no real photos in {REAL_PHOTOS}")
@pytest.mark.parametrize("name", ["rhd/00111.png", "rhd/01111.png"])
def test_real_photos(name, tmp_path):
    """Labels of real photos, written in RHD's format, give the same joints and pictures through the reader."""
    label = next(entry for entry in json.loads((REAL_PHOTOS / "labels.json").read_text()) if entry["file"] == name)
    joints_2d, joints_3d = np.array(label["joints_2d"]), np.array(label["joints_3d_mm"])
    (fx, fy), (cx, cy) = label["camera"]["focal"], label["camera"]["princpt"]
    to_rhd = [JOINT_NAMES.index(joint) for joint in RHD_NAMES]
    record = {
        "uv_vis": np.r_[joints_2d[to_rhd], np.zeros((21, 3))],
        "xyz": np.r_[joints_3d[to_rhd], np.ones((21, 3))] / 1000,
        "K": np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]),
    }
    mask = Image.new("L", (320, 320))
    for joint in joints_2d:
        ImageDraw.Draw(mask).circle(tuple(joint[:2]), 5, fill=2)
    write_rhd(tmp_path, "evaluation", [record], [np.array(mask)])
    photo = np.array(Image.open(REAL_PHOTOS / name).convert("RGB"))
    write_image(tmp_path / "RHD_published_v2/evaluation/color/00000.png", photo)

    sample = Rhd(tmp_path, "evaluation")[0]
    assert sample.side == label["hand"] == "left"
    np.testing.assert_allclose(project(sample.joints_3d, sample.k), sample.joints_2d, atol=0.2)
    rows, columns = sample.joints_2d[:, 1].astype(int), sample.joints_2d[:, 0].astype(int)
    assert sample.mask[rows, columns].all()
    as_taken = mirror(sample)
    np.testing.assert_array_equal(as_taken.image, photo)
    np.testing.assert_allclose(as_taken.joints_2d, joints_2d[:, :2], atol=1e-9)
    np.testing.assert_allclose(as_taken.joints_3d, joints_3d, atol=1e-9)
