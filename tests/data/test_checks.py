"""Checks of the dataset readers: every defect of a file gives an error, or a finding, that names the file."""

import json
from typing import Any

import numpy as np
import pytest
from fake_datasets import noise, write_image, write_json

from dhpe_lib.common.json_files import Matrix
from dhpe_lib.data.checks import (
    DatasetError,
    check_images,
    evenly_spaced,
    failure,
    field,
    numbers,
    read_image,
    read_indices,
    read_json,
    require,
    require_split,
)
from dhpe_lib.data.photos import PhotoError

REMEDY = "fetch it"


def test_missing_things(tmp_path):
    assert require(tmp_path, REMEDY) == tmp_path
    with pytest.raises(FileNotFoundError, match=r"a\.txt: no such file; fetch it"):
        require(tmp_path / "a.txt", REMEDY)
    with pytest.raises(FileNotFoundError, match="/b: no such folder; fetch it"):
        require(tmp_path / "b", REMEDY)


def test_splits():
    require_split("training", ("training",), "X")
    with pytest.raises(DatasetError, match="X has no split 'test'; use 'training' or 'evaluation'"):
        require_split("test", ("training", "evaluation"), "X")


def test_images(tmp_path):
    path = write_image(tmp_path / "a.png", noise((8, 6)))
    np.testing.assert_array_equal(read_image(path, (8, 6), REMEDY), noise((8, 6)))
    with pytest.raises(DatasetError, match=r"a\.png: is 8 x 6 pixels, not 6 x 8; fetch it"):
        read_image(path, (6, 8), REMEDY)
    with pytest.raises(FileNotFoundError, match=r"b\.png: no such file; fetch it"):
        read_image(tmp_path / "b.png", None, REMEDY)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(PhotoError, match=r"a\.png: cannot be read .* copy it again"):
        read_image(path, None, REMEDY)


def test_indices(tmp_path):
    values = noise((8, 6))[..., 0]
    path = write_image(tmp_path / "a.png", values)
    np.testing.assert_array_equal(read_indices(path, (8, 6), REMEDY), values)
    with pytest.raises(DatasetError, match=r"a\.png: is 8 x 6 pixels"):
        read_indices(path, (6, 8), REMEDY)
    with pytest.raises(FileNotFoundError, match=r"b\.png: no such file; fetch it"):
        read_indices(tmp_path / "b.png", None, REMEDY)
    with pytest.raises(DatasetError, match=r"c\.png: is of mode RGB, .*; fetch it"):
        read_indices(write_image(tmp_path / "c.png", noise((8, 6))), None, REMEDY)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DatasetError, match=r"a\.png: cannot be read as an image .*; fetch it"):
        read_indices(path, None, REMEDY)


def test_json(tmp_path):
    assert read_json(write_json(tmp_path / "a.json", {"x": [1]}), dict[str, list[int]], REMEDY) == {"x": [1]}
    for name, content in {"short": json.dumps([1, 2])[:-1], "latin": "\xff", "deep": "[" * 100_000}.items():
        (tmp_path / f"{name}.json").write_bytes(content.encode("latin1"))
        with pytest.raises(DatasetError, match=rf"{name}\.json: is not JSON .*; fetch it"):
            read_json(tmp_path / f"{name}.json", Any, REMEDY)


def test_wrong_rows_of_json_are_named(tmp_path):
    rows = np.arange(27.0).reshape(3, 3, 3).tolist()
    assert np.array_equal(read_json(write_json(tmp_path / "a.json", rows), list[Matrix], REMEDY), rows)
    for bad, problem in (
        (rows[0][:1], "is not a list of length 3"),
        ([[1, 2, 3], [4, 5], [6, 7, 8]], r"the field \[1\] is not a list of length 3"),
        (None, "is null, not a list"),
        ([*rows[0][:2], [1, 2, float("nan")]], r"the field \[2\]\[2\] is null, not a number"),
        ([*rows[0][:2], [1, 2, "3"]], r"the field \[2\]\[2\] is a text, not a number"),
    ):
        write_json(tmp_path / "a.json", [rows[0], bad, rows[2]])
        with pytest.raises(DatasetError, match=rf"a\.json: entry 1: {problem}; fetch it"):
            read_json(tmp_path / "a.json", list[Matrix], REMEDY)
    with pytest.raises(DatasetError, match=r"a\.json: is an object, not a list; fetch it"):
        read_json(write_json(tmp_path / "a.json", {"0": rows}), list[Matrix], REMEDY)


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (None, "lacks the field x"),
        ({"y": 1}, "lacks the field x"),
        ({"x": None}, r"the field x has shape \(\), not \(2, 3\)"),
        ({"x": np.zeros((3, 2))}, r"the field x has shape \(3, 2\), not \(2, 3\)"),
        ({"x": [[1, 2, 3], [4, 5]]}, "the field x is not 2 x 3 numbers"),
        ({"x": "text"}, "the field x is not 2 x 3 numbers"),
        ({"x": [[1, 2, 3], [4, np.nan, 6]]}, r"the field x is not finite at \(1, 1\)"),
    ],
)
def test_fields(record, problem):
    with pytest.raises(DatasetError, match=f"^a: {problem}.*; fetch it$"):
        field(record, "x", (2, 3), "a", REMEDY)


def test_good_fields_are_float64():
    found = field({"x": [[1, 2, 3]]}, "x", (1, 3), "a", REMEDY)
    assert found.dtype == np.float64
    assert numbers(np.float32(2), (), "a", REMEDY) == 2


def test_a_failure_says_path_and_remedy_once(tmp_path):
    path = tmp_path / "a.json"
    with pytest.raises(FileNotFoundError) as caught:
        read_json(path, Any, REMEDY)
    found = failure(path, caught.value, REMEDY)
    assert (found.path, found.problem, found.count, found.remedy) == (path, "no such file", None, REMEDY)


def test_a_few_are_spread_over_all():
    assert list(evenly_spaced(range(5))) == [0, 1, 2, 3, 4]
    many = list(evenly_spaced(range(100_000)))
    assert many[0] == 0
    assert 8 <= len(many) <= 16
    assert many[-1] > 80_000


def test_check_of_images(tmp_path):
    names = [f"{folder}/{number}.png" for folder in "ab" for number in range(3)]
    assert check_images(tmp_path / "no", names, None, REMEDY).problem == "no such folder"
    for name in names:
        write_image(tmp_path / name, noise((8, 6)))
    good = check_images(tmp_path, names, (8, 6), REMEDY)
    assert (good.problem, good.count, good.remedy) == (None, 6, "")

    wrong = check_images(tmp_path, names, (6, 8), REMEDY)
    assert wrong.path == tmp_path / "a/0.png"
    assert wrong.problem == "is 8 x 6 pixels, not 6 x 8"

    (tmp_path / "b/1.png").write_bytes(b"\x89PNG broken")
    assert check_images(tmp_path, names, None, REMEDY).problem.startswith("not an image")
    whole = write_image(tmp_path / "b/1.png", noise((80, 60))).read_bytes()
    (tmp_path / "b/1.png").write_bytes(whole[: len(whole) // 2])  # its header is complete
    cut = check_images(tmp_path, names, None, REMEDY)
    assert (cut.path, cut.count, cut.remedy) == (tmp_path / "b/1.png", 6, REMEDY)
    assert cut.problem.startswith("cannot be read (")
    (tmp_path / "b/1.png").write_bytes(b"")
    assert check_images(tmp_path, names, None, REMEDY).problem == "1 images are empty files, first b/1.png"
    (tmp_path / "a/2.png").unlink()
    missing = check_images(tmp_path, names, None, REMEDY)
    assert (missing.problem, missing.count) == ("1 of 6 images missing, first a/2.png", 5)
    assert missing.remedy == REMEDY
