"""Shards of a split on several machines: joined, they have the same bytes as one run."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from dot_dataset import Dots, write_dots
from rich.console import Console
from typer.testing import CliRunner

from dhpe_lib.cli.__main__ import app
from dhpe_lib.data.cache.layout import Contents, PreparedError
from dhpe_lib.data.cache.preparation import Job, prepare, prepare_shard
from dhpe_lib.data.cache.shards import join_shards, parts_of_shard, shard_folder, shards_in
from dhpe_lib.data.cache.writer import PreparedWriter
from dhpe_lib.data.readers import DATASETS, Dataset

QUIET = Console(quiet=True)


@pytest.fixture
def source(tmp_path) -> Path:
    return write_dots(tmp_path / "files", 10)


def job(source: Path, out: Path) -> Job:
    return Job("dots", "all", Dots, source, out)


def made(source: Path, out: Path, count: int, rows: int = 2) -> list[Path]:
    folders = [shard_folder(out / "all", (number, count)) for number in range(1, count + 1)]
    for number, folder in enumerate(folders, 1):
        prepare_shard(job(source, folder), (number, count), 1, QUIET, rows)
    return folders


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("count", [2, 3, 7])
def test_the_union_has_the_bytes_of_one_run(tmp_path, source, count):
    whole = prepare(job(source, tmp_path / "whole" / "all"), 1, QUIET, 2)
    made(source, tmp_path / "parts", count)
    (folders,) = shards_in(tmp_path / "parts").values()
    joined = join_shards(tmp_path / "parts" / "all", folders)
    assert content(joined.directory) == content(whole.directory)


def test_each_part_belongs_to_one_shard(tmp_path, source):
    with PreparedWriter(tmp_path / "x", Contents("dots", "all", list("abcdefghij"), {}), 2) as writer:
        missing = writer.missing()
        shares = [parts_of_shard(writer, (number, 3)) for number in (1, 2, 3)]
    assert len(missing) == 5
    assert sorted((part for share in shares for part in share), key=lambda part: part.start) == missing
    assert [len(share) for share in shares] == [2, 2, 1]


def test_an_interrupted_shard_continues_and_a_join_can_be_repeated(tmp_path, source):
    folders = made(source, tmp_path, 2)
    made(source, tmp_path, 2)
    first = content(join_shards(tmp_path / "all", folders).directory)
    assert content(join_shards(tmp_path / "all", folders).directory) == first


def test_what_is_missing_or_wrong_is_named(tmp_path, source):
    folders = made(source, tmp_path / "parts", 3)
    with pytest.raises(PreparedError, match=r"2 of 5 parts of all are missing, first rows 2 to 3; copy all shards"):
        join_shards(tmp_path / "joined", [folders[0], folders[2]])
    images = np.load(folders[1] / "images.npy", mmap_mode="r+")
    images[2, 0, 0] += 1
    images.flush()
    with pytest.raises(PreparedError, match=r"shard-2-of-3: rows 2 to 3 have changed; copy or run the shard again"):
        join_shards(tmp_path / "joined", folders)
    shutil.rmtree(folders[1])
    prepare_shard(job(write_dots(tmp_path / "other", 9), folders[1]), (2, 3), 1, QUIET, 2)
    with pytest.raises(PreparedError, match=r"shard-2-of-3: the cache is stale: .*rows was 9, is 10 now"):
        join_shards(tmp_path / "joined", folders)
    (tmp_path / "empty").mkdir()
    with pytest.raises(PreparedError, match="holds no folders of shards, such as training-shard-1-of-8"):
        shards_in(tmp_path / "empty")


def test_the_commands(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(DATASETS, "dots", Dataset(Dots, ("all",), lambda _: [], "https://dots.example"))

    def data(*arguments: str) -> str:
        result = CliRunner().invoke(app, ("data", *arguments), env={"COLUMNS": "1000"})
        assert result.exit_code == 0, result.output
        return result.output

    for number in ("1", "2"):
        said = data("prepare", "dots", "files", "--out", "out", "--workers", "1", "--shard", f"{number}/2")
        assert f"Shard {number} of 2 in out/all-shard-{number}-of-2" in said
        assert "dhpe data join out" in said
    assert "10 samples in out/all, SHA-256" in data("join", "out")
    assert CliRunner().invoke(app, ("data", "make", "orh", "--out", "o", "--shard", "3/2")).exit_code == 2
