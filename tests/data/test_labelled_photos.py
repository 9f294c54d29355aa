"""Photos with 2D labels: right hands, unknown depth, groups that stay in one split, and refused labels."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from dhpe_lib.common.json_files import convert
from dhpe_lib.data.cache.preparation import Job, prepare
from dhpe_lib.data.checks import DatasetError
from dhpe_lib.data.readers.photos import Label, Photos, check, read_labels, split_of

JOINTS = (np.random.default_rng(0).random((21, 2)) * 60 + 20).round(1).tolist()


def row(file: str = "0.png", **changes: object) -> dict[str, object]:
    return {"file": file, "set": "mine", "group": file, "hand": "right", "joints_2d": JOINTS} | changes


@pytest.fixture
def folder(tmp_path) -> Path:
    """Four photos; the second has two hands, and the third shows a left hand."""
    random = np.random.default_rng(1)
    for k in range(4):
        Image.fromarray(random.integers(0, 255, (90, 120, 3), np.uint8)).save(tmp_path / f"{k}.png")
    rows = [row("0.png"), row("1.png"), row("1.png"), row("2.png", hand="left"), row("3.png")]
    write(tmp_path, [one | {"group": "a"} for one in rows])
    return tmp_path


def write(folder: Path, rows: object) -> None:
    (folder / "labels.json").write_text(json.dumps(rows))


def split_with_photos(folder: Path) -> str:
    return split_of(read_labels(folder)[0])


def test_left_hands_are_mirrored_and_depth_is_unknown(folder):
    reader = Photos(folder, split_with_photos(folder))
    assert reader.ids == ("mine/0.png", "mine/1.png", "mine/1.png#2", "mine/2.png", "mine/3.png")
    right, left = reader[0], reader[3]
    np.testing.assert_allclose(right.joints_2d, JOINTS)
    np.testing.assert_allclose(left.joints_2d, np.array(JOINTS) * [-1, 1] + [120, 0])
    plain = np.asarray(Image.open(folder / "2.png"))
    assert np.array_equal(left.image, plain[:, ::-1])
    assert not right.known.any()
    assert right.mask is None


def test_they_can_be_prepared(folder, tmp_path_factory):
    split = split_with_photos(folder)
    out = tmp_path_factory.mktemp("caches") / split
    cache = prepare(Job("photos", split, Photos, folder, out), 1, Console(quiet=True))
    crops = cache[:]
    assert len(crops) == 5
    assert crops.joints_2d.isfinite().all()
    assert not crops.known.any()
    assert not crops.has_mask.any()


def test_a_group_is_in_one_split(tmp_path):
    rows = [row("x.png", group=str(k // 3)) for k in range(300)]
    splits = [split_of(convert(one, Label)) for one in rows]
    assert all(len(set(splits[k : k + 3])) == 1 for k in range(0, 300, 3))
    assert 0.02 < splits.count("test") / 300 < 0.25


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joints_2d": JOINTS[:20]}, "entry 0: the field joints_2d is not a list of length"),
        ({"joints_2d": [[float("nan")] * 2] * 21}, r"entry 0: the field joints_2d\[0\]\[0\] is null, not a number"),
        ({"hand": "both"}, "entry 0: the field hand is 'both'"),
        ({"file": "../outside.png"}, "lies outside the folder"),
        ({"file": "/etc/passwd"}, "lies outside the folder"),
        ({"file": "..\\outside.png"}, "lies outside the folder"),
        ({"file": "C:/outside.png"}, "lies outside the folder"),
        ({"file": "a" * 300}, "lies outside the folder"),
        ({"file": "a/" * 3000}, "lies outside the folder"),
        ({"set": "a/b"}, "entry 0: the field set is not a name of letters"),
    ],
)
def test_wrong_labels_are_refused(tmp_path, change, message):
    write(tmp_path, [row(**change)])
    with pytest.raises(DatasetError, match=message):
        Photos(tmp_path)


def test_check_names_missing_photos(folder):
    assert [finding.problem for finding in check(folder)] == [None, None]
    (folder / "1.png").unlink()
    labels, photos = check(folder)
    assert labels.problem is None
    assert "2 of 5 photos are missing, such as 1.png" in photos.problem
    (folder / "labels.json").write_text("{}")
    assert check(folder)[0].problem == "is an object, not a list"
    (folder / "labels.json").unlink()
    assert check(folder)[0].problem
