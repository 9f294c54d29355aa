"""InterHand2.6M: the world's cameras, both hands of a picture, the joint order, mirroring, defects."""

import json

import numpy as np
import pytest
from fake_datasets import canonical, projected, write_json
from fake_interhand import FILE, LEFT, RIGHT, K, interhand_labels, write_interhand

from dhpe_lib.data.checks import DatasetError
from dhpe_lib.data.readers import DATASETS, interhand
from dhpe_lib.data.readers.interhand import InterHand
from dhpe_lib.data.sample import mirror


@pytest.fixture
def root(tmp_path):
    return write_interhand(tmp_path)


def test_each_hand_of_a_picture_is_a_sample(root):
    found = InterHand(root, "val")
    assert found.ids == (f"val/{FILE}/right", f"val/{FILE}/left", f"val/{FILE.replace('2001', '2004')}/left")
    right = found[0]
    expected = canonical(RIGHT)
    np.testing.assert_allclose(right.joints_3d[:20], expected[:20], atol=1e-6)
    assert np.isnan(right.joints_3d[20]).all()
    assert right.visible.tolist() == [True] * 20 + [False]
    np.testing.assert_allclose(right.k, K)
    np.testing.assert_allclose(right.joints_2d[:20], projected(expected, K)[:20], atol=1e-6)
    assert (right.side, right.joint_0, right.mask, right.image.shape) == ("right", "wrist", None, (512, 334, 3))
    for index in (1, 2):
        left = mirror(found[index])  # back to the picture as it is
        assert left.side == "left"
        np.testing.assert_allclose(left.joints_3d, canonical(LEFT), atol=1e-6)


@pytest.mark.parametrize("folder", ["all", "machine_annot", "human_annot"])
def test_older_folders_of_annotations(root, folder):
    """The same files, but one folder for the kind of annotation instead of one for each split."""
    present = InterHand(root, "val")
    (root / "annotations/val").rename(root / "annotations" / folder)
    older = InterHand(root, "val")
    assert older.ids == present.ids
    np.testing.assert_array_equal(older[0].joints_3d, present[0].joints_3d)
    (root / f"annotations/{folder}/InterHand2.6M_val_camera.json").unlink()
    with pytest.raises(FileNotFoundError, match=rf"{folder}.InterHand2\.6M_val_camera\.json: no such file; get Inter"):
        InterHand(root, "val")


def test_the_present_folder_comes_first_and_all_before_a_part(root):
    for folder in ("human_annot", "machine_annot"):
        write_json(root / f"annotations/{folder}/InterHand2.6M_val_data.json", {"images": [], "annotations": []})
    assert len(InterHand(root, "val")) == 3
    (root / "annotations/val").rename(root / "annotations/all")
    assert len(InterHand(root, "val")) == 3


def test_a_hand_without_its_wrist_is_not_used(root):
    data = json.loads(interhand_labels(root, "data").read_text())
    data["annotations"][0]["joint_valid"][20] = [0]
    write_json(interhand_labels(root, "data"), data)
    assert [name.rsplit("/", 1)[1] for name in InterHand(root, "val").ids] == ["left", "left"]


def change(root, kind, path, value):
    content = json.loads(interhand_labels(root, kind).read_text())
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    write_json(interhand_labels(root, kind), content)


@pytest.mark.parametrize(
    ("kind", "path", "value", "message"),
    [
        ("data", ["images"], None, "lacks the field images"),
        ("data", ["images", 0, "camera"], None, r"lacks the field images\[0\]\.camera"),
        ("data", ["images", 0, "file_name"], "../../x.jpg", "not a path below the pictures"),
        ("data", ["images", 0, "width"], {}, r"the field images\[0\]\.width is an object, not a whole number"),
        (
            "data",
            ["annotations", 0, "hand_type"],
            "both",
            r"the field annotations\[0\]\.hand_type is 'both', which is not allowed",
        ),
        ("data", ["annotations", 0, "hand_type"], [], r"the field annotations\[0\]\.hand_type is a list, not a text"),
        (
            "data",
            ["annotations", 0, "joint_valid"],
            [[1], [1, 0]],
            r"the field annotations\[0\]\.joint_valid.* is not a list of length",
        ),
        (
            "data",
            ["annotations", 0, "joint_valid"],
            [1],
            r"the field annotations\[0\]\.joint_valid is not a list of length",
        ),
        ("camera", ["0", "focal", "400262"], None, "camera 0/400262 is missing"),
        ("camera", ["0", "camrot", "400262"], [1], r"the field .*camrot.* is a whole number, not a list"),
        ("joint_3d", ["0", "2001"], None, "joints 0/2001 is missing"),
        ("joint_3d", ["0", "2001", "world_coord", 3, 1], float("nan"), r"joints 0/2001 is not finite at \(3, 1\)"),
        ("data", ["annotations", 0, "image_id"], 8, "lacks picture 8, which has an annotation"),
        ("data", ["annotations", 0, "joint_valid", 3], [1, 0], r"joint_valid\[3\] is not a list of length 1"),
        ("joint_3d", ["0", "2001", "world_coord"], [[1]], r"the field .*world_coord.* is not a list of length"),
    ],
)
def test_damaged_labels_are_named(root, kind, path, value, message):
    change(root, kind, path, value)
    with pytest.raises(DatasetError, match=rf"InterHand2\.6M_val_{kind}\.json.*{message}.*; get InterHand2\.6M"):
        InterHand(root, "val")[0]


def test_missing_files(root):
    (root / "images/val" / FILE).unlink()
    with pytest.raises(FileNotFoundError, match=r"image2001\.jpg: no such file; get InterHand"):
        InterHand(root, "val")[0]
    interhand_labels(root, "camera").unlink()
    with pytest.raises(FileNotFoundError, match=r"val_camera\.json: no such file; get InterHand"):
        InterHand(root, "val")
    with pytest.raises(DatasetError, match="no split 'all'; use 'train' or 'val' or 'test'"):
        InterHand(root, "all")


def test_check(root, monkeypatch):
    monkeypatch.setattr(interhand, "SPLITS", ("val",))
    (count, _) = DATASETS["interhand2.6m"].check(root)
    assert count.problem == "2 pictures, 380,125 were published in version 1.0 and 184,287 in version 0.0"
    monkeypatch.setitem(interhand.COUNTS_OF_V0, "val", 2)
    good = DATASETS["interhand2.6m"].check(root)
    assert [(finding.problem, finding.count) for finding in good] == [(None, 3), (None, 2)]
    (root / "images/val" / FILE).unlink()
    assert "1 of 2 images missing, first Capture0" in DATASETS["interhand2.6m"].check(root)[-1].problem
    for published, problem in ((2, False), (1, False), (3, True)):  # more pictures: 30 frames a second
        monkeypatch.setattr(interhand, "COUNTS_OF_V0", {"val": 0})
        monkeypatch.setattr(interhand, "COUNTS", {"val": published})
        assert bool(DATASETS["interhand2.6m"].check(root)[0].problem) == problem
    interhand_labels(root, "data").unlink()
    assert DATASETS["interhand2.6m"].check(root)[0].problem == "no such file"
