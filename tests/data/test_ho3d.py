"""HO-3D: OpenGL's axes, MANO's order, both versions, root and joints of the evaluation, defects."""

import os
import pickle
import re

import numpy as np
import pytest
from fake_datasets import (
    HO3D_K,
    canonical,
    noise,
    opengl,
    points,
    projected,
    write_ho3d,
    write_image,
    write_json,
    write_pickle,
)

from dhpe_lib.common.unpickling import PickleFileError
from dhpe_lib.data.checks import DatasetError
from dhpe_lib.data.readers import DATASETS, ho3d
from dhpe_lib.data.readers.ho3d import Ho3d
from dhpe_lib.data.sample import project

CLOUDS = [points(seed) for seed in range(2)]


def write(root, suffix=".jpg"):
    for number, cloud in enumerate(CLOUDS):
        write_ho3d(root, "train", f"ABF1{number}/000{number}", opengl(cloud), suffix)
        write_ho3d(root, "evaluation", f"SM1/000{number}", opengl(cloud)[0], suffix)
    return root


@pytest.fixture
def root(tmp_path):
    return write(tmp_path)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_axes_order_and_both_kinds_of_pictures(tmp_path, suffix):
    found = Ho3d(write(tmp_path, suffix), "train")
    assert list(found.ids) == ["train/ABF10/0000", "train/ABF11/0001"]
    for sample, cloud in zip(found, CLOUDS, strict=True):
        np.testing.assert_allclose(sample.joints_3d, canonical(cloud), atol=1e-3)
        np.testing.assert_allclose(sample.joints_2d, projected(canonical(cloud), HO3D_K) + 0.5, atol=1e-2)
        np.testing.assert_allclose(project(sample.joints_3d, sample.k), sample.joints_2d, atol=1e-9)
        assert (sample.joints_3d[:, 2] > 0).all()
        assert (sample.side, sample.joint_0, sample.mask) == ("right", "wrist", None)
        assert sample.visible.all()
    if suffix == ".png":
        np.testing.assert_array_equal(found[0].image, noise((640, 480)))


@pytest.mark.parametrize("size", [(640, 480), (320, 240)])
def test_the_hand_is_blue_in_the_mask(root, size):
    classes = np.zeros((size[1], size[0], 3), np.uint8)
    classes[: size[1] // 4, :, 2] = 255  # the hand
    classes[size[1] // 2 :, :, 1] = 255  # the object
    write_image(root / "train/ABF10/seg/0000.png", classes)
    expected = np.zeros((480, 640), bool)
    expected[:120] = True
    np.testing.assert_array_equal(Ho3d(root, "train")[0].mask, expected)


def test_only_the_root_of_the_evaluation_is_known(root):
    assert re.search(
        r"evaluation_xyz\.json: no such file, so only wr.*; get HO-3D", Ho3d(root, "evaluation").unlabelled
    )
    sample = Ho3d(root, "evaluation")[1]
    assert np.flatnonzero(sample.known).tolist() == [0]
    assert np.flatnonzero(sample.visible).tolist() == [0]
    np.testing.assert_allclose(sample.joints_3d[0], CLOUDS[1]["wrist"], atol=1e-3)
    assert np.isnan(sample.joints_2d[1:]).all()


def test_the_joints_of_the_evaluation(root):
    write_json(root / "evaluation_xyz.json", [opengl(cloud).tolist() for cloud in CLOUDS])
    assert "evaluation_xyz.json: no such file" not in str(Ho3d(root, "evaluation").unlabelled)
    found = Ho3d(root, "evaluation")
    for sample, cloud in zip(found, CLOUDS, strict=True):
        np.testing.assert_allclose(sample.joints_3d, canonical(cloud), atol=1e-9)
        assert sample.visible.all()
    write_json(root / "evaluation_xyz.json", [opengl(CLOUDS[0]).tolist()])
    with pytest.raises(
        DatasetError, match=r"evaluation_xyz\.json: joints of 1 pictures, evaluation\.txt lists 2; get HO"
    ):
        Ho3d(root, "evaluation")


def test_list_missing_or_wrong(root):
    with pytest.raises(DatasetError, match="HO-3D has no split 'test'"):
        Ho3d(root, "test")
    for text in ("", "ABF10/0000\nABF10\n"):
        (root / "train.txt").write_text(text)
        with pytest.raises(DatasetError, match=r"train\.txt: .*, not <sequence>/<frame>; get HO"):
            Ho3d(root, "train")
    (root / "train.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"train\.txt: no such file; get HO-3D"):
        Ho3d(root, "train")


class Runs:
    def __reduce__(self):
        return os.mkdir, ("made",)


@pytest.mark.parametrize(
    ("meta", "problem"),
    [
        ({"camMat": HO3D_K, "handJoints3D": None}, r"the field handJoints3D has shape \(\), not \(21, 3\); get HO"),
        ({"camMat": HO3D_K}, "lacks the field handJoints3D; get HO"),
        ({"camMat": None, "handJoints3D": np.ones((21, 3))}, r"the field camMat has shape \(\)"),
        ({"camMat": HO3D_K, "handJoints3D": np.full((21, 3), np.nan)}, "the field handJoints3D is not finite"),
        ({"camMat": HO3D_K, "handJoints3D": np.full(3, np.nan)}, "the field handJoints3D is not finite"),
        ([1, 2], "lacks the field camMat"),
    ],
)
def test_damaged_labels(root, meta, problem):
    write_pickle(root / "train/ABF10/meta/0000.pkl", meta)
    with pytest.raises(DatasetError, match=rf"ABF10/meta/0000\.pkl: {problem}"):
        Ho3d(root, "train")[0]


def test_truncated_hostile_and_missing_labels(root, monkeypatch):
    monkeypatch.chdir(root)
    path = root / "train/ABF10/meta/0000.pkl"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(PickleFileError, match=r"0000\.pkl: damaged, truncated"):
        Ho3d(root, "train")[0]
    path.write_bytes(pickle.dumps({"camMat": Runs()}))
    with pytest.raises(PickleFileError, match=r"0000\.pkl: refused"):
        Ho3d(root, "train")[0]
    assert not (root / "made").exists()
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"0000\.pkl: no such file; get HO-3D"):
        Ho3d(root, "train")[0]


def test_missing_and_damaged_images(root):
    path = root / "train/ABF10/rgb/0000.jpg"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"rgb/0000\.jpg: cannot be read .*again"):
        Ho3d(root, "train")[0]
    write_image(path, noise((32, 32)))
    with pytest.raises(DatasetError, match=r"rgb/0000\.jpg: is 32 x 32 pixels, not 640 x 480; get HO"):
        Ho3d(root, "train")[0]
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"rgb/0000\.png: no such file; get HO"):
        Ho3d(root, "train")[0]


def test_check_compares_the_evaluation_with_the_roots(root):
    write_json(root / "evaluation_xyz.json", [opengl(cloud).tolist() for cloud in reversed(CLOUDS)])
    assert "the roots in evaluation_xyz.json and in meta differ" in DATASETS["ho3d-v3"].check(root)[-1].problem


def test_check(root, monkeypatch):
    assert [finding.problem for finding in DATASETS["ho3d-v2"].check(root) if finding.problem] == [
        "2 pictures, 66034 were published in this version",
        "2 pictures, 11524 were published in this version",
        "only the root is labelled in some pictures",
    ]
    monkeypatch.setattr(ho3d, "COUNTS", {"v3": {"train": 2, "evaluation": 2}})
    write_json(root / "evaluation_xyz.json", [opengl(cloud).tolist() for cloud in CLOUDS])
    assert [finding.problem for finding in DATASETS["ho3d-v3"].check(root)] == [None] * 6
    (root / "train/ABF11/meta/0001.pkl").write_bytes(b"")
    (root / "evaluation/SM1/rgb/0001.jpg").unlink()
    (root / "train.txt").write_text("ABF11/0001")
    problems = [finding.problem for finding in DATASETS["ho3d-v3"].check(root) if finding.problem]
    assert len(problems) == 3
    assert problems[0].startswith("1 pictures, 2 were published")
    assert "0001.pkl: damaged" in problems[1]
    assert problems[2] == "1 of 2 images missing, first SM1/rgb/0001.jpg"
    (root / "train.txt").unlink()
    assert DATASETS["ho3d-v3"].check(root)[0].problem == "no such file"
