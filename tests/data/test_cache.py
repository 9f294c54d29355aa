"""The prepared cache returns what was written, reports stale and damaged caches, and survives an interruption."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from dot_dataset import Dots, SlowDots, die, write_dots
from project import child_environment
from rich.console import Console

from dhpe_lib.common.devices import free_memory
from dhpe_lib.common.files import DiskFullError
from dhpe_lib.common.locks import LockedError
from dhpe_lib.common.records import join_rows
from dhpe_lib.data.cache import layout, preparation, writer
from dhpe_lib.data.cache import reader as prepared
from dhpe_lib.data.cache.layout import Contents, PreparedError, bytes_per_sample
from dhpe_lib.data.cache.preparation import Job, fingerprint, prepare
from dhpe_lib.data.cache.reader import Prepared, damaged_index
from dhpe_lib.data.cache.writer import PreparedWriter
from dhpe_lib.data.cropping import crop_sample
from dhpe_lib.data.crops import Crops

N = 7


@pytest.fixture
def dots(tmp_path) -> Path:
    return write_dots(tmp_path / "dots", N)


@pytest.fixture
def job(dots, tmp_path) -> Job:
    return Job("dots", "all", Dots, dots, tmp_path / "cache" / "all")


def make(job: Job, workers: int = 1, rows_per_part: int = 3) -> Prepared:
    return prepare(job, workers, Console(quiet=True), rows_per_part)


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def contents_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def same(a: Crops, b: Crops) -> bool:
    pairs = zip(a.items(), b.items(), strict=True)
    return all(x.dtype == y.dtype and torch.equal(x.nan_to_num(-1.0), y.nan_to_num(-1.0)) for (_, x), (_, y) in pairs)


def test_what_is_prepared_is_what_is_read(job):
    cache = make(job)
    reader = Dots(job.source, "all")
    truth = join_rows([crop_sample(reader[index]) for index in range(N)])
    assert len(cache) == N
    assert cache.ids == reader.ids
    assert same(cache[:], truth)
    assert same(cache[[5, 0, 5]], truth[[5, 0, 5]])
    assert same(cache[torch.tensor([1, 6])], truth[[1, 6]])
    assert same(cache[-1], truth[[6]])
    assert same(cache[np.arange(N) % 2 == 1], truth[1::2])
    with pytest.raises(IndexError):
        cache[[N]]
    cache[[0]].images[:] = 0  # changing a batch does not change the cache
    assert same(cache[[0]], truth[[0]])
    assert sorted(path.name for path in job.out.iterdir()) == sorted(
        [f"{name}.npy" for name in layout.row_types(16)] + ["rows.npy", "ids.json", "meta.json"]
    )
    assert cache.meta["samples"] == N
    assert cache.meta["left_out"] == {}
    assert list(cache.damaged_parts()) == []


def test_whole_on_a_device(job, device, monkeypatch):
    cache = make(job)
    whole = cache.to(device, batch=2)
    assert whole.images.device.type == device.type
    assert same(whole.to("cpu"), cache[:])
    monkeypatch.setattr(prepared, "free_memory", lambda _: 1_000_000)
    with pytest.raises(PreparedError, match=rf"7 samples take 1\.4 MB and {device} has 1\.0 MB free; read batches"):
        cache.to(device)


def test_size_of_a_sample(job):
    cache = make(job)
    on_disk = sum((job.out / f"{name}.npy").stat().st_size - 128 for name in layout.row_types(16))
    assert on_disk == N * bytes_per_sample()
    in_memory = sum(values.numel() * values.element_size() for _, values in cache[:].items())
    assert in_memory == on_disk


def test_free_memory_is_that_of_the_machine():
    if not Path("/proc/meminfo").is_file():
        assert free_memory(torch.device("cpu")) is None
        return
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < free_memory(torch.device("cpu")) < total
    assert free_memory(torch.device("meta")) is None


def test_workers_change_no_byte(job):
    make(job)
    other = replace(job, out=job.out.with_name("other"))
    make(other, workers=2)
    assert contents_of(job.out) == contents_of(other.out)


def test_a_data_loader_may_have_it(job):
    cache = make(job)
    frozen = pickle.dumps(cache)
    assert len(frozen) < 1000
    assert same(pickle.loads(frozen)[:], cache[:])


def test_one_sample(tmp_path):
    job = Job("dots", "all", Dots, write_dots(tmp_path / "one", 1), tmp_path / "out")
    cache = make(job, workers=4)
    assert len(cache) == 1
    assert cache[0].left.item()


def test_no_sample(tmp_path):
    job = Job("dots", "all", Dots, write_dots(tmp_path / "none", 0), tmp_path / "out")
    with pytest.raises(PreparedError, match="all split of dots holds no sample"):
        make(job)


def forget(dots: Path, index: int) -> None:
    """Remove all joints of a sample except one."""
    labels = json.loads((dots / "labels.json").read_text())
    labels[index]["joints"][1:] = [None] * 20
    (dots / "labels.json").write_text(json.dumps(labels))


def test_samples_without_two_joints_are_left_out_and_counted(job):
    whole = make(replace(job, out=job.out.with_name("whole")))
    for index in (0, 4, 6):
        forget(job.source, index)
    cache = make(job)
    assert cache.ids == ["all/1", "all/2", "all/3", "all/5"]
    assert list(cache.meta["left_out"]) == ["all/0", "all/4", "all/6"]
    assert "1 of its 21 joints" in cache.meta["left_out"]["all/4"]
    assert same(cache[:], whole[[1, 2, 3, 5]])
    assert same(cache.to("cpu"), whole[[1, 2, 3, 5]])
    assert list(cache.damaged_parts()) == []


def test_nothing_can_be_used(job):
    for index in range(N):
        forget(job.source, index)
    with pytest.raises(PreparedError, match="no sample can be used; all/0: 1 of its 21"):
        make(job)


def test_pictures_that_cannot_be_read_are_all_named(job):
    (job.source / "1.png").write_bytes(b"no picture")
    (job.source / "5.png").unlink()
    with pytest.raises(PreparedError, match="2 samples of the all split cannot be read") as caught:
        make(job)
    message = str(caught.value)
    assert f"all/1: {job.source / '1.png'}: not an image" in message
    assert f"all/5: {job.source / '5.png'}: no such file" in message
    assert "--skip-bad" in message
    with pytest.raises(PreparedError, match="was not finished"):
        Prepared(job.out)
    cache = make(replace(job, skip_bad=True))
    assert cache.ids == [f"all/{index}" for index in (0, 2, 3, 4, 6)]
    assert "not an image" in cache.meta["left_out"]["all/1"]


def test_of_many_bad_pictures_some_are_named(job, monkeypatch):
    monkeypatch.setattr(preparation, "SHOWN", 2)
    for index in range(5):
        (job.source / f"{index}.png").unlink()
    with pytest.raises(PreparedError, match="and 3 more"):
        make(job)


def test_prepared_again_it_is_left_alone(job):
    make(job)
    before = contents_of(job.out)
    times = {path: path.stat().st_mtime_ns for path in job.out.iterdir()}
    assert len(make(job)) == N
    assert contents_of(job.out) == before
    assert {path: path.stat().st_mtime_ns for path in job.out.iterdir()} == times


def with_value(record: dict, name: str, value: object) -> dict:
    """Copy a record, with one field (of the record or of an inner object) replaced or removed."""
    outer, _, inner = name.rpartition(".")
    owner = record[outer] if outer else record
    changed = {key: old for key, old in owner.items() if key != inner} | ({} if value is None else {inner: value})
    return record | {outer: changed} if outer else changed


WHOLE, NAME = "a whole number", "a name of letters, digits and _ . + -"
META_FIELDS = {
    "format": (WHOLE, ()),
    "dataset": (NAME, ("text",)),
    "split": (NAME, ("text",)),
    "source": ("an object", ({},)),
    "crop": ("an object", ()),
    "crop.margin": (WHOLE, ()),
    "rows": (WHOLE, ()),
    "rows_per_part": (WHOLE, ()),
    "ids": ("a text", ("text",)),
    "dhpe_version": ("a text", ("text",)),
    "samples": (WHOLE, ()),
    "left_out": ("an object", ({},)),
    "sha256": ("a text", ("text",)),
    "parts": ("a list", ([],)),
}
"""Words for the type of each field, and the values below that fit it."""


@pytest.mark.parametrize("value", [None, "text", "a/b", -1, 1.5, True, [], [1], {}, {"a": [1]}, 10**400])
@pytest.mark.parametrize("name", META_FIELDS)
def test_each_field_of_meta_json_is_looked_at(cache_of_dots, name, value):
    path = cache_of_dots / "meta.json"
    good = json.loads(path.read_text())
    words, fitting = META_FIELDS[name]
    if words == NAME and not isinstance(value, str):
        words = "a text"
    if value in fitting or (words == "a text" and isinstance(value, str)):
        return
    path.write_text(json.dumps(with_value(good, name, value)))
    problem = "lacks the field" if value is None else "the field"
    inner = r"[.\[].*" if value in ([1], {"a": [1]}, {}) else ""
    with pytest.raises(PreparedError, match=rf"meta\.json: (lacks the field {name}[.]|{problem} {name})") as caught:
        Prepared(cache_of_dots)
    assert "delete the cache's folder and make it again" in str(caught.value)
    assert value is None or inner or f"not {words}" in str(caught.value) or "is too large" in str(caught.value)
    path.write_text(json.dumps(good))


@pytest.fixture(scope="module")
def cache_of_dots(tmp_path_factory) -> Path:
    """A cache that many tests share; no test changes it."""
    folder = tmp_path_factory.mktemp("module")
    make(Job("dots", "all", Dots, write_dots(folder / "dots", 3), folder / "all"))
    return folder / "all"


@pytest.mark.parametrize("text", ["[]", "null", "3", '"text"', "[{}]", "{", "", "\xff", "[" * 100_000])
@pytest.mark.parametrize("file", ["meta.json", "plan.json"])
def test_other_json_in_place_of_a_cache(tmp_path, dots, file, text):
    out = tmp_path / "all"
    out.mkdir()
    (out / file).write_bytes(text.encode("latin-1"))
    for use in (lambda: Prepared(out), lambda: make(Job("dots", "all", Dots, dots, out))):
        with pytest.raises(PreparedError, match=rf"{file}: (is .*, not an object|is not JSON).*delete the cache"):
            use()


def test_other_json_in_the_small_files(job):
    cache = make(job)
    ids, good = job.out / "ids.json", (job.out / "ids.json").read_text()
    for text, problem in {
        "{}": "is an object, not a list",
        "[]": "holds 0 names, not 7",
        "[1, 2, 3, 4, 5, 6, 7]": "entry 0: is a whole number, not a text",
        "null": "is null, not a list",
    }.items():
        ids.write_text(text)
        for use in (lambda: Prepared(job.out).ids, lambda: damaged_index(cache)):
            with pytest.raises(PreparedError, match=rf"ids\.json: {problem}; delete the cache"):
                use()
    ids.unlink()
    with pytest.raises(PreparedError, match=r"ids\.json: no such file"):
        damaged_index(cache)
    ids.write_text(good)
    edit(job.out / "meta.json", parts=cache.meta["parts"][1:])
    with pytest.raises(PreparedError, match=r"meta\.json: the field parts has 2 entries, not 3"):
        Prepared(job.out)


@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4, 5, 9], [-1, 1, 2, 3, 4, 5, 6], [0, 1], [0.0] * 7, [[0]] * 7])
def test_rows_that_are_not_there(job, rows):
    make(job)
    np.save(job.out / "rows.npy", rows)
    with pytest.raises(PreparedError, match=r"rows\.npy: does not hold 7 numbers below 7"):
        Prepared(job.out)


def die_here() -> None:
    raise KeyboardInterrupt


def test_a_note_of_a_finished_part_that_is_damaged(job, monkeypatch):
    monkeypatch.setattr(PreparedWriter, "_complete", lambda *_: die_here())
    with pytest.raises(KeyboardInterrupt):
        make(job)
    monkeypatch.undo()
    with pytest.raises(
        PreparedError, match=r"not finished: 3 of 3 parts are there. To continue, run: dhpe data prepare"
    ):
        Prepared(job.out)
    edit(job.out / "done" / "00000003.json", kept=["3"])
    assert rows_read(job, monkeypatch) == [3, 4, 5]


def test_a_dataset_that_changed_makes_the_cache_stale(job):
    make(job)
    moved = job.source.rename(job.source.with_name("moved"))
    assert len(make(replace(job, source=moved))) == N  # only its folder has changed
    (moved / "8.png").write_bytes(b"new")
    with pytest.raises(PreparedError, match=r"the cache is stale: source\.fingerprint was \w+, is \w+ now") as caught:
        make(replace(job, source=moved))
    assert f"dhpe data prepare dots {moved} --split all --out {job.out.parent}" in str(caught.value)


def test_fingerprint_follows_names_sizes_and_times(tmp_path):
    (tmp_path / "a").mkdir()
    file = tmp_path / "a" / "b.txt"
    file.write_text("x")
    seen = [fingerprint(tmp_path)]
    os.utime(file, ns=(1, 1))
    seen.append(fingerprint(tmp_path))
    file.write_text("xy")
    os.utime(file, ns=(1, 1))
    seen.append(fingerprint(tmp_path))
    file.rename(file.with_name("c.txt"))
    seen.append(fingerprint(tmp_path))
    assert len(set(seen)) == 4
    assert fingerprint(tmp_path) == seen[-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 0}, "format was 0, is 1 now"),
        ({"crop": {"size": 224, "margin": 16, "box_margin": 1.2}}, r"crop\.box_margin was 1\.2, is 1\.5 now"),
    ],
)
def test_other_versions_of_the_program(job, change, message):
    make(job)
    edit(job.out / "meta.json", **change)
    for use, source in ((lambda: Prepared(job.out), f"DIR/{job.source.name}"), (lambda: make(job), job.source)):
        with pytest.raises(PreparedError, match=message) as caught:
            use()
        assert f"Delete the folder and run: dhpe data prepare dots {source}" in str(caught.value)


def test_damaged_files(job):
    cache = make(job)
    path = job.out / "joints_3d.npy"
    good = path.read_bytes()
    path.write_bytes(good[:-5])
    with pytest.raises(PreparedError, match=r"joints_3d\.npy: cannot be read .* Delete the folder and run"):
        Prepared(job.out)
    np.save(path, np.zeros((N, 20, 3), np.float32))
    with pytest.raises(PreparedError, match=r"holds float32 \(7, 20, 3\), not float32 \(7, 21, 3\)"):
        Prepared(job.out)
    path.write_bytes(good)
    with (job.out / "images.npy").open("r+b") as file:
        file.seek(128 + 4 * 256 * 256 * 3)
        file.write(b"\xff")
    assert list(cache.damaged_parts()) == [range(3, 6)]
    assert damaged_index(cache) == []
    rows, ids = (job.out / "rows.npy"), (job.out / "ids.json")
    np.save(rows, np.load(rows)[::-1].copy())
    ids.write_text(ids.read_text().replace("0", "1", 1))
    assert damaged_index(Prepared(job.out)) == ["rows.npy", "ids.json"]
    (job.out / "meta.json").write_text("{")
    with pytest.raises(PreparedError, match=r"meta\.json: is not JSON"):
        Prepared(job.out)


def test_folders_that_are_no_cache(job, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        Prepared(tmp_path / "nowhere")
    with pytest.raises(PreparedError, match=r"holds no meta\.json"):
        Prepared(tmp_path)
    with pytest.raises(PreparedError, match="holds other files"):
        make(replace(job, out=tmp_path))
    with pytest.raises(PreparedError, match="lies in the dataset's own folder"):
        make(replace(job, out=job.source / "cache"))
    file = tmp_path / "file"
    file.touch()
    for out in (file, file / "all"):
        with pytest.raises(PreparedError, match="file: is a file; name a new or an empty folder"):
            make(replace(job, out=out))
    make(job)
    with pytest.raises(PreparedError, match="contains prepared splits but is not one itself; name one of them: all"):
        Prepared(job.out.parent)


def test_disk_space_is_checked_first(job, monkeypatch):
    needed = N * bytes_per_sample()
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, needed - 1))
    with pytest.raises(DiskFullError, match=r"1\.4 MB are needed and 1\.4 MB are free there; make room"):
        make(job)
    assert not job.out.exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, needed))
    assert len(make(job)) == N


def rows_read(job: Job, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Finish the cache, and return the rows that were read for it."""
    read = []
    with monkeypatch.context() as patch:
        get = Dots.__getitem__
        patch.setattr(Dots, "__getitem__", lambda self, index: read.append(index) or get(self, index))
        assert len(make(job)) == N
    return read


def begin_all(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write all parts, but stop before the cache is finished."""
    with monkeypatch.context() as patch:
        patch.setattr(PreparedWriter, "finish", lambda _: die_here())
        with pytest.raises(KeyboardInterrupt):
            make(job)


def test_a_disk_that_fills_up_loses_nothing(job, monkeypatch):
    write, calls = writer.write_rows, []

    def full(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) > 20:
            raise OSError(28, "No space left on device")
        write(*arguments)

    monkeypatch.setattr(writer, "write_rows", full)
    with pytest.raises(OSError, match="No space left"):
        make(job)
    monkeypatch.undo()
    assert [path.name for path in (job.out / "done").iterdir()] == ["00000000.json"]
    assert rows_read(job, monkeypatch) == [3, 4, 5, 6]


def test_a_full_disk_is_named_with_the_array_and_its_size(job, monkeypatch):
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    begin_all(job, monkeypatch)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError, match=r"images\.npy: the disk is full, at least 0\.6 MB are needed; make room"):
        writer.write_rows(job.out / "images.npy", 0, np.zeros((3, 256, 256, 3), np.uint8))


@pytest.mark.parametrize("name", ["images", "joints_3d", "left"])
def test_an_array_that_is_lost_is_made_again(job, monkeypatch, name):
    straight = make(replace(job, out=job.out.with_name("straight")))
    begin_all(job, monkeypatch)
    (job.out / f"{name}.npy").unlink()
    assert rows_read(job, monkeypatch) == list(range(N))
    assert contents_of(job.out) == contents_of(straight.directory)


def test_an_array_that_is_cut_is_made_again(job, monkeypatch):
    begin_all(job, monkeypatch)
    path = job.out / "joints_3d.npy"
    path.write_bytes(path.read_bytes()[:-5])
    assert rows_read(job, monkeypatch) == list(range(N))


def test_only_the_part_that_has_other_bytes_is_made_again(job, monkeypatch):
    begin_all(job, monkeypatch)
    with (job.out / "images.npy").open("r+b") as file:
        file.seek(128 + 4 * 256 * 256 * 3)
        file.write(b"\xff")
    assert rows_read(job, monkeypatch) == [3, 4, 5]


def test_data_is_on_the_disk_before_the_file_that_declares_it(job, monkeypatch):
    """A file is synced before it gets its name, and an array before its part is marked; the cache's meta is last."""
    synced, steps = set(), []
    sync, move = os.fsync, Path.replace

    def note_sync(descriptor: int) -> None:
        sync(descriptor)
        synced.add(os.fstat(descriptor).st_ino)

    def note_move(draft: Path, target: Path) -> None:
        assert draft.stat().st_ino in synced, f"{target.name} was not synced"
        if target.suffix == ".json" and target.parent.name == "done":
            assert all(path.stat().st_ino in synced for path in job.out.glob("*.npy"))
            synced.clear()
        steps.append(target.name)
        move(draft, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_move)
    make(job)
    assert steps[0] == "plan.json"
    assert steps[-2:] == ["rows.npy", "meta.json"]
    assert steps[-5:-2] == ["00000000.json", "00000003.json", "00000006.json"]


def test_two_runs_are_kept_apart(job, monkeypatch):
    reader = Dots(job.source, "all")
    source = {"directory": str(job.source.absolute()), "fingerprint": fingerprint(job.source)}
    with (
        PreparedWriter(job.out, Contents("dots", "all", reader.ids, source), 3),
        pytest.raises(LockedError, match=rf"all: another run writes there \(process {os.getpid()} +on "),
    ):
        make(job)
    assert rows_read(job, monkeypatch) == list(range(N))
    assert not list(job.out.glob(".*"))


def test_drafts_that_a_kill_left_are_cleared(job, monkeypatch):
    begin_all(job, monkeypatch)
    for folder in (job.out, job.out / "done"):
        (folder / ".dhpe-left").mkdir()
        (folder / ".dhpe-left" / ".lock").touch()
        (folder / ".dhpe-left" / "draft.json").touch()
    make(job)
    assert not list(job.out.glob(".*"))


def test_what_a_kill_left_in_a_finished_cache_is_cleared(job):
    make(job)
    (job.out / ".lock").touch()
    (job.out / ".dhpe-left").mkdir()
    (job.out / ".dhpe-left" / ".lock").touch()
    assert len(make(job)) == N
    assert not list(job.out.glob(".*"))


KILLED = """
import signal
import sys
from pathlib import Path
from rich.console import Console
from dot_dataset import SlowDots
from dhpe_lib.data.cache.preparation import Job, prepare
source, out = map(Path, sys.argv[1:])
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs are started without this handler
    prepare(Job("dots", "all", SlowDots, source, out), 2, Console(quiet=True), 3)
"""


def begin(job: Job, script: Path, interrupt: signal.Signals) -> None:
    """Prepare in a separate process, and stop it after the first part."""
    script.write_text(KILLED)
    command = [sys.executable, script, job.source, job.out]
    running = subprocess.Popen(
        command, env=child_environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    waited = time.monotonic() + 300  # a loaded machine takes a minute to import torch twice
    while not list((job.out / "done").glob("0*.json")):
        assert running.poll() is None
        assert time.monotonic() < waited
        time.sleep(0.01)
    if interrupt == signal.SIGINT:
        os.killpg(running.pid, interrupt)  # a terminal sends Ctrl-C to all processes of a command
    else:
        running.send_signal(interrupt)
    running.communicate(timeout=120)  # returns when no process has the output open: no worker outlives its parent


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_killed_goes_on_bit_for_bit(tmp_path, how):
    source = write_dots(tmp_path / "dots", 24)
    straight = make(Job("dots", "all", Dots, source, tmp_path / "straight"))
    job = Job("dots", "all", SlowDots, source, tmp_path / "killed")
    begin(job, tmp_path / "script.py", how)
    with pytest.raises(
        PreparedError, match=r"was not finished: . of 8 parts are there\. To continue, run: dhpe data prepare"
    ):
        Prepared(job.out)
    assert 1 <= len(list((job.out / "done").glob("0*.json"))) < 8
    assert len(make(replace(job, reader=Dots))) == 24
    assert contents_of(job.out) == contents_of(straight.directory)


def test_a_worker_that_dies(job, monkeypatch):
    monkeypatch.setattr(preparation, "work", die)
    with pytest.raises(PreparedError, match=r"a worker died.*fewer --workers"):
        list(preparation.run_parts(job, Dots(job.source, "all"), [range(3), range(3, 6)], 2))


def test_an_engine_writes_its_own(tmp_path, job):
    """The writer accepts batches of tensors with any margin, so rendered pictures need no reader."""
    sample = Dots(job.source, "all")[1]
    crops = join_rows([replace(crop_sample(sample, margin=0), h=torch.arange(63.0)[None])] * 5)
    contents = Contents("orh", "test", [f"{index}" for index in range(5)], {"seed": 3}, margin=0)
    with PreparedWriter(tmp_path / "orh", contents, rows_per_part=2) as begun:
        parts = begun.missing()
        assert parts == [range(0, 2), range(2, 4), range(4, 5)]
        begun.write(parts[2], crops[:1])
        with pytest.raises(PreparedError, match="4 samples are still to be written"):
            begun.finish()
        with pytest.raises(ValueError, match=r"2 crops of shape \(224, 224, 3\) are needed, not 1 of"):
            begun.write(parts[0], crops[:1])
        with pytest.raises(ValueError, match=r"not 2 of \(256, 256, 3\)"):
            begun.write(parts[0], join_rows([crop_sample(sample)] * 2))
    with PreparedWriter(tmp_path / "orh", contents, rows_per_part=2) as again:
        for part in again.missing():
            again.write(
                part, None if part.start == 2 else crops[: len(part)], {"2": "no", "3": "no"} if part.start == 2 else {}
            )
        cache = again.finish()
    assert cache.ids == ["0", "1", "4"]
    assert same(cache[:], crops[:3])
    assert cache.margin == 0
    with pytest.raises(PreparedError, match=r"source\.seed was 3, is 4 now\. Delete the folder and make it again"):
        PreparedWriter(tmp_path / "orh", replace(contents, source={"seed": 4}), rows_per_part=2).__enter__()


def test_a_finished_cache_names_no_absolute_path(job):
    cache = make(job)
    assert cache.meta["source"]["directory"] == job.source.name
    assert str(job.source.parent) not in (job.out / "meta.json").read_text()
