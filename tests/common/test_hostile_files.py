"""Files from outside that are made to crash, to stall, to fill the memory or to run code end in a clean error.

Each runs in a child process with limited memory and time. The last test changes small valid files at random.
"""

import json
import pickle
import random
import re
import struct
import zipfile
from pathlib import Path

import pytest
from fuzz_readers import FORMATS, changed, outcome
from hostile_pickles import HOSTILE_PICKLES, RUNNERS, calls
from hypothesis import given, settings
from hypothesis import strategies as st
from limited import run_limited

LOAD_PICKLE = """
from dhpe_lib.common.unpickling import PickleFileError, load_pickle
for path in sys.argv[1:]:
    try:
        load_pickle(path)
        print("loaded")
    except PickleFileError as error:
        print(str(error).removeprefix(path).replace("\\n", " "))
"""


def test_hostile_pickles(tmp_path):
    paths = [tmp_path / f"{name}.pkl" for name in HOSTILE_PICKLES]
    for path, (raw, _) in zip(paths, HOSTILE_PICKLES.values(), strict=True):
        path.write_bytes(raw)
    found = run_limited(LOAD_PICKLE, *paths).splitlines()
    for (name, (_, message)), line in zip(HOSTILE_PICKLES.items(), found, strict=True):
        assert re.search(message, line), f"{name}: {line}"


def test_no_pickle_runs_code(tmp_path):
    marker = tmp_path / "marker"
    pickles = [code for name in RUNNERS for code in calls(name, marker).values()]
    paths = [tmp_path / f"{k}.pkl" for k in range(len(pickles))]
    for path, raw in zip(paths, pickles, strict=True):
        path.write_bytes(raw)
    found = run_limited(LOAD_PICKLE, *paths).splitlines()
    assert all("refused, since the pickle asks for" in line for line in found)
    assert len(found) == len(pickles)
    assert not marker.exists()
    pickle.loads(calls("builtins.eval", marker)["REDUCE"])
    assert marker.exists()  # Python's own reader runs it


META_JSON = {
    "format": 1, "dataset": "orh", "split": "test", "source": {}, "crop": {"margin": 16}, "rows": 10**8,
    "rows_per_part": 1, "ids": "", "dhpe_version": "1", "samples": 1, "left_out": {}, "sha256": "", "parts": [],
}  # fmt: skip
READ_META = """
from pathlib import Path
from unittest.mock import patch
from dhpe_lib.data.cache import reader
with patch.object(reader, "refuse_differences"):
    for path in sys.argv[1:]:
        try:
            reader.read_meta(Path(path))
        except reader.PreparedError as error:
            print(error)
"""


def test_hostile_meta_json(tmp_path):
    changes = [{}, {"split": "../../picture"}, {"dataset": "/orh"}, {"rows": 10**400}, {"dataset": "\x1b[31m"}]
    folders = [tmp_path / str(k) for k in range(len(changes))]
    for folder, change in zip(folders, changes, strict=True):
        folder.mkdir()
        (folder / "meta.json").write_text(json.dumps(META_JSON | change))
    found = run_limited(READ_META, *folders, memory=4 * 2**30).splitlines()
    assert "the field parts has 0 entries, not 100000000" in found[0]
    assert "the field split is" in found[1]
    assert "the field dataset is" in found[2]
    assert "the field rows is not a whole number <= 9007199254740992" in found[3]
    assert "the field dataset is" in found[4]
    assert all("name of letters" in found[k] for k in (1, 2, 4))


READ_NPZ = """
from pathlib import Path
from dhpe_lib.common.npz_files import NpzFileError, read_npz
for path in sys.argv[1:]:
    try:
        read_npz(Path(path), 2**20)
    except NpzFileError as error:
        print(error)
"""


BOMB = 2**29


def zip_bomb(path: Path, claimed: int | None = None) -> Path:
    """An archive whose entry `a.npy` unpacks to 512 MB of zeros; its header may claim fewer bytes."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("a.npy", "w") as entry,
    ):
        for _ in range(BOMB // 2**20):
            entry.write(bytes(2**20))
    if claimed is not None:
        raw, whole = path.read_bytes(), struct.pack("<I", BOMB)
        assert whole in raw
        path.write_bytes(raw.replace(whole, struct.pack("<I", claimed)))
    return path


def test_zip_bombs(tmp_path):
    """Each takes more than the memory of the child process, if it is unpacked."""
    honest, lying, other = (tmp_path / f"{name}.npz" for name in ("honest", "lying", "other"))
    zip_bomb(honest)
    assert honest.stat().st_size < BOMB / 200
    zip_bomb(lying, 128)
    with zipfile.ZipFile(other, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.npy", bytes(2**20))
    found = run_limited(READ_NPZ, honest, lying, other, memory=BOMB).splitlines()
    assert "the fields have more than 1048576 bytes" in found[0]
    assert "Bad CRC-32" in found[1] or "has 129 bytes and claims 128" in found[1]
    assert "it is packed by method 12" in found[2]


@pytest.mark.parametrize("name", FORMATS)
def test_changed_files_are_read_or_refused(name, tmp_path):
    if name == "clip":
        pytest.importorskip("av", reason='PyAV is not installed: pip install "dhpe[video]"')
    path = FORMATS[name].write(tmp_path)
    whole = path.read_bytes()
    assert outcome(name, path) == ("result", "")

    @settings(max_examples=30, derandomize=True, database=None, deadline=None)
    @given(st.randoms(use_true_random=False))
    def read_or_refuse(rng: random.Random) -> None:
        path.write_bytes(changed(whole, rng))
        kind, error = outcome(name, path)
        assert kind in ("result", "clean"), error

    read_or_refuse()
