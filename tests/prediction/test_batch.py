"""Runs over many photos: names, groups, workers, shards, and resuming an interrupted run."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from found_hands import known_hands
from PIL import Image

from dhpe_lib.prediction import batch, photo_groups
from dhpe_lib.prediction.batch import (
    index_file,
    index_line,
    left_to_do,
    photos_in,
    read_index,
    run_photos,
    shard_of,
    start_index,
)
from dhpe_lib.prediction.find_hands import no_hand
from dhpe_lib.prediction.photo_groups import load_tools
from dhpe_lib.prediction.request import Request, name_photos

GREY, BLACK, WHITE = 200, 0, 255


def photo(path: Path, shade: int = GREY) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((48, 64, 3), shade, np.uint8)).save(path)
    return path


@pytest.fixture
def finder(monkeypatch):
    """Replace the search: grey photos have two known hands, black photos have none, and white photos raise an error."""
    hands = [*known_hands(1, 1)[0], *known_hands(1, 2, "left")[0]]

    def find(networks, image, max_hands, side, palms):
        if image[0, 0, 0] == WHITE:
            raise ZeroDivisionError("ours")
        if image[0, 0, 0] == BLACK:
            raise no_hand(0.2)
        return hands[:max_hands]

    monkeypatch.setattr(photo_groups, "find_hands", find)


def test_names_of_photos_on_several_drives(tmp_path, monkeypatch):
    paths = [tmp_path / "a" / "x.png", tmp_path / "b" / "x.png"]
    assert [photo.name for photo in name_photos(paths, Request(tmp_path))] == ["a/x.png", "b/x.png"]

    def several_drives(_):
        raise ValueError("Paths don't have the same drive")

    monkeypatch.setattr("os.path.commonpath", several_drives)
    named = name_photos(paths, Request(tmp_path))
    assert [photo.name for photo in named] == [path.as_posix() for path in paths]
    assert [photo.stem for photo in named] == ["x", "x_2"]


def test_each_photo_gets_its_result_and_a_failure_stops_nothing(tmp_path, finder):
    paths = [photo(tmp_path / f"{k}.png") for k in range(3)]
    paths += [photo(tmp_path / "black.png", BLACK), photo(tmp_path / "white.png", WHITE), tmp_path / "missing.png"]
    (tmp_path / "broken.png").write_text("no image")
    paths += [tmp_path / "broken.png", photo(tmp_path / "later" / "0.png")]
    request = Request(tmp_path / "out", suffixes=(".json", ".glb"), device="cpu")
    results = list(run_photos(name_photos(paths, request), request))
    assert [result.photo.path for result in results] == paths
    assert [len(result.hands) for result in results] == [2, 2, 2, 0, 0, 0, 0, 2]
    assert "no hand is found: the best candidate has presence 0.20" in results[3].problem
    assert results[4].problem == "ZeroDivisionError: ours"
    assert results[5].problem.startswith("no such file")
    assert "not an image" in results[6].problem
    assert [result.no_hand for result in results] == [False, False, False, True, False, False, False, False]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    stems = [f"{stem}_hand{n}" for stem in ("0", "1", "2", "0_2") for n in ("", "2")]
    assert names == {stem + suffix for stem in stems for suffix in (".json", ".glb")}
    first, second = (json.loads((tmp_path / "out" / f"0{n}_hand.json").read_text()) for n in ("", "_2"))
    assert (first["photo"]["file"], second["photo"]["file"]) == ("0.png", "later/0.png")
    np.testing.assert_allclose(first["joints"]["px"], second["joints"]["px"], atol=0.02)


def test_a_picture_of_all_hands(tmp_path, finder):
    """It is written beside the pictures of two hands, the files name it, and a resumed run misses it."""
    request = Request(tmp_path / "out", suffixes=(".json", ".png"), device="cpu")
    Image.fromarray(np.full((480, 640, 3), GREY, np.uint8)).save(tmp_path / "a.png")
    photos, index = name_photos([tmp_path / "a.png"], request), index_file(tmp_path / "out")
    (result,) = run_photos(photos, request)
    assert result.all_hands == request.folder / "a_hands.png"
    assert {path.name for path in request.folder.iterdir() if path.suffix == ".png"} == {
        "a_hand.png", "a_hand2.png", "a_hands.png"
    }  # fmt: skip
    with Image.open(result.all_hands) as picture:
        assert picture.size == (640, 480)
        assert (np.asarray(picture) != GREY).any()
    for name in ("a_hand.json", "a_hand2.json"):
        assert json.loads((request.folder / name).read_text())["photo"]["all_hands"] == "a_hands.png"
    index.write_text(index_line(result))
    assert not left_to_do(photos, request, index)
    result.all_hands.unlink()
    assert left_to_do(photos, request, index) == photos
    for other in (replace(request, max_hands=1), replace(request, suffixes=(".json",))):
        (alone,) = run_photos(photos, other)
        assert alone.all_hands is None
        assert not result.all_hands.exists()
        assert json.loads((request.folder / "a_hand.json").read_text())["photo"]["all_hands"] is None


def test_max_hands_and_side(tmp_path, finder):
    request = Request(tmp_path / "out", max_hands=1, suffixes=(".json",), device="cpu")
    (result,) = run_photos(name_photos([photo(tmp_path / "a.png")], request), request)
    assert [hand.side for hand in result.hands] == ["right"]
    assert not result.hands[0].side_assumed


def test_the_number_of_photos_in_a_group_changes_nothing(tmp_path, finder):
    """The hands of several photos are fitted as one batch; each photo alone gives almost equal joints."""
    request = Request(tmp_path / "one", suffixes=(".json",), device="cpu")
    paths = [photo(tmp_path / f"{k}.png") for k in range(3)]
    photos, tools = name_photos(paths, request), load_tools(request)
    list(run_photos(photos, request, tools=tools))
    for one in photos:
        list(run_photos([one], replace(request, folder=tmp_path / "alone"), tools=tools))
    for one in photos:
        batched, alone = (
            np.array(json.loads((tmp_path / folder / f"{one.stem}_hand.json").read_text())["joints"]["px"])
            for folder in ("one", "alone")
        )
        np.testing.assert_allclose(batched, alone, atol=0.05)


def test_workers_give_the_results_of_one_process(tmp_path):
    """Two worker processes find no hand in black photos."""
    paths = [photo(tmp_path / f"{k:02}.png", BLACK) for k in range(9)]
    request = Request(tmp_path / "out", device="cpu")
    results = list(run_photos(name_photos(paths, request), request, workers=2))
    assert sorted(result.photo.path for result in results) == paths
    assert all("no hand is found" in result.problem for result in results)


def test_stems_are_distinct_and_spare_the_inputs(tmp_path):
    out = tmp_path / "a"
    paths = [
        tmp_path / "a" / "x.png",
        tmp_path / "b" / "x.png",
        tmp_path / "a" / "x_hand.png",
        tmp_path / "a" / "y.png",
    ]
    photos = name_photos(paths, Request(out))
    assert [one.stem for one in photos] == ["x_2", "x_3", "x_hand", "y"]
    assert [one.name for one in photos] == ["a/x.png", "b/x.png", "a/x_hand.png", "a/y.png"]
    assert [one.name for one in name_photos(paths[:1], Request(out))] == ["x.png"]


def test_folders_are_searched_for_photos(tmp_path):
    for name in ("b.JPG", "a.png", "deep/c.webp"):
        photo(tmp_path / "in" / name.replace("JPG", "png")).rename(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").touch()
    found = [path.relative_to(tmp_path).as_posix() for path in photos_in([tmp_path / "in", tmp_path / "single"])]
    assert found == ["in/a.png", "in/b.JPG", "in/deep/c.webp", "single"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty: holds no photo \(\.jpg"):
        photos_in([tmp_path / "empty"])


def test_shards_are_a_partition(tmp_path):
    photos = name_photos([tmp_path / f"{k}.png" for k in range(10)], Request(tmp_path))
    shards = [shard_of(photos, (k, 3)) for k in (1, 2, 3)]
    assert sorted((one for shard in shards for one in shard), key=photos.index) == photos
    assert {index_file(tmp_path, (k, 3)).name for k in (1, 2, 3)} == {f"index-{k}-of-3.jsonl" for k in (1, 2, 3)}
    assert index_file(tmp_path).name == "index.jsonl"


def test_a_resumed_run_processes_the_groups_of_missing_photos(tmp_path, finder, monkeypatch):
    """A group is computed together: other groups could differ in the last bits. A photo without a hand is finished."""
    monkeypatch.setattr(batch, "GROUP", 2)
    paths = [photo(tmp_path / f"{k}.png", {3: BLACK, 5: WHITE}.get(k, GREY)) for k in range(7)]
    request = Request(tmp_path / "out", suffixes=(".json",), device="cpu")
    photos, index = name_photos(paths, request), index_file(tmp_path / "out")
    assert left_to_do(photos, request, index) == photos
    results = list(run_photos(photos[:6], request))
    lines = "".join(f"{index_line(result)}\n" for result in results)
    index.write_text(lines + lines.splitlines()[0][:20])  # the last line is truncated
    (request.folder / "1_hand2.json").unlink()
    assert [one.path.stem for one in left_to_do(photos, request, index)] == ["0", "1", "4", "5", "6"]
    with_hands = {f"{k}.png": [f"{k}_hand.json", f"{k}_hand2.json"] for k in (0, 1, 2, 4)}
    assert read_index(index) == with_hands | {"3.png": []}
    assert json.loads(lines.splitlines()[0])["hands"][1]["hand"] == "left"
    start_index(index, photos, left_to_do(photos, request, index))
    assert index.read_text().splitlines() == [lines.splitlines()[k] for k in (2, 3)]
    start_index(index, photos, photos)
    assert not index.exists()


def test_a_resumed_run_writes_other_kinds_of_files(tmp_path, finder):
    paths = [photo(tmp_path / "0.png", GREY), photo(tmp_path / "1.png", BLACK)]
    request = Request(tmp_path / "out", suffixes=(".json",), device="cpu")
    photos, index = name_photos(paths, request), index_file(tmp_path / "out")
    lines = [index_line(result) for result in run_photos(photos, request)]
    index.write_text("\n".join(lines))
    assert not left_to_do(photos, request, index)
    assert left_to_do(photos, replace(request, suffixes=(".json", ".obj")), index) == photos
    index.write_text(lines[1])
    photos = photos[1:]
    assert not left_to_do(photos, replace(request, suffixes=(".obj",)), index)  # it has no hand, so no file is missing


RECORDS = ("7", "[]", '{"photo": "0.png", "problem": "", "hands": 3}', '{"photo": [], "hands": {}}')


@pytest.mark.parametrize("line", RECORDS)
def test_lines_that_are_no_record_are_skipped(tmp_path, line):
    (tmp_path / "index.jsonl").write_text(line + "\n")
    assert read_index(tmp_path / "index.jsonl") == {}
