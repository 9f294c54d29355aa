"""Files from outside that are made to crash, to stall, to fill the memory or to run code end in a clean error.

Each runs in a child process with limited memory and time. The last tests change small valid files at random.
"""

import json
import pickle
import re
from pathlib import Path

import numpy as np
import torch
from fake_mano import Ch, OldCsc, python2_pickle
from limited import run_limited
from PIL import Image
from scipy.io import savemat

from dhpe_lib.hand.io import read_hand, write_hand
from dhpe_lib.hand.model import OPEN_HAND
from dhpe_lib.network.checkpoints import write_checkpoint
from dhpe_lib.training.config import TrainingConfig, write_config

LOAD_PICKLE = """
from dhpe_lib.common.unpickling import PickleFileError, load_pickle
for path in sys.argv[1:]:
    try:
        load_pickle(path)
        print("loaded")
    except PickleFileError as error:
        print(str(error).removeprefix(path).replace("\\n", " "))
"""


def csc(shape, data, rows, starts) -> bytes:
    """A pickle of a scipy matrix with any content."""
    fields = {"_shape": shape, "data": np.array(data), "indices": np.array(rows), "indptr": np.array(starts)}
    state = pickle.dumps(fields, 2)[2:-1]
    return (
        b"\x80\x02ccopy_reg\n_reconstructor\ncscipy.sparse.csc\ncsc_matrix\nc__builtin__\nobject\nN\x87R"
        + state
        + b"b."
    )


def memo_bomb(depth: int, kind: bytes = b"]") -> bytes:
    """A list that holds a list twice, which holds a list twice, and so on: 2^depth values."""
    raw = b"\x80\x02]q\x00"
    for k in range(depth):
        put, get = (b"r" + n.to_bytes(4, "little") for n in (k + 1, k))
        raw += b"](" + b"j" + get[1:] + b"j" + get[1:] + b"e" + put
    return raw + b"."


def same_hash(count: int) -> bytes:
    """A dict whose keys are different numbers with one hash; to make this dict here would take as long."""
    keys = (k * (2**61 - 1) for k in range(1, count))
    return b"\x80\x02}(" + b"".join(b"\x8a\x0b" + key.to_bytes(11, "little") + b"N" for key in keys) + b"u."


TOP = 2**63 - 1
HOSTILE_PICKLES = {
    "starts_wrap": (csc((3, 4), [1.0], [0], [0, 2**62, -(2**62), 2, 1]), "do not fit its columns"),
    "starts_wrap_to_0": (csc((1, 4), [], np.zeros(0, int), [0, TOP, -2, TOP, 0]), "do not fit its columns"),
    "starts_descend": (csc((3, 2), [1.0], [0], [0, 2, 1]), "do not fit its columns"),
    "negative_row": (csc((3, 1), [1.0], [-1], [0, 1]), "do not fit its columns"),
    "row_too_large": (csc((3, 1), [1.0], [3], [0, 1]), "do not fit its columns"),
    "billion_zeros": (csc((2**20, 2**10), [1.0], [3], np.append(np.zeros(2**10, int), 1)), "bytes of arrays"),
    "endless_shape": (csc((2**70, 1), [1.0], [3], [0, 1]), "something else than numbers"),
    "memo_bomb": (memo_bomb(60), "more than .* values"),
    "many_copies": (
        b"\x80\x02(" + pickle.dumps(np.zeros(2**20, np.uint8), 2)[2:-1] + b"q\xf0" + b"h\xf0" * 2000 + b"l.",
        "bytes of arrays",
    ),
    "claimed_bytes": (b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b"abc.", "damaged|truncated"),
    "claimed_text": (b"\x80\x04\x8d" + (2**40).to_bytes(8, "little") + b"abc.", "damaged|truncated"),
    "claimed_frame": (b"\x80\x04\x95" + (2**40).to_bytes(8, "little") + b"abc.", "damaged|truncated"),
    "deep_lists": (b"\x80\x02" + b"]" * 10**5 + b"a" * (10**5 - 1) + b".", "recursion"),
    "deep_key": (b"\x80\x02}N" + b"\x85" * 10**6 + b"Ns.", "a key of type tuple"),
    "deep_element": (b"\x80\x04\x8f(N" + b"\x85" * 10**6 + b"\x90.", "a key of type tuple"),
    "deep_frozen": (b"\x80\x04(N" + b"\x85" * 10**6 + b"\x91.", "a key of type tuple"),
    "one_hash": (same_hash(10**5), "a key of type int"),
    "long_text_in_list": (pickle.dumps(["a" * 10**6] + ["b"] * 10**5), "loaded"),
}


def test_hostile_pickles(tmp_path):
    paths = [tmp_path / f"{name}.pkl" for name in HOSTILE_PICKLES]
    for path, (raw, _) in zip(paths, HOSTILE_PICKLES.values(), strict=True):
        path.write_bytes(raw)
    found = run_limited(LOAD_PICKLE, *paths).splitlines()
    for (name, (_, message)), line in zip(HOSTILE_PICKLES.items(), found, strict=True):
        assert re.search(message, line), f"{name}: {line}"


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
    assert "a whole number of 401 digits" in found[3]
    assert "\\u001b" in found[4]
    assert all("name of letters" in found[k] for k in (1, 2, 4))


def valid_files(folder: Path) -> None:
    """Write a small valid file for each reader of `fuzz_readers`."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    content = {"a": rng.normal(size=(2, 3)), "b": Ch(x=np.arange(3.0)), "c": OldCsc(np.eye(3)), "d": ["text", 1]}
    (folder / "a.pickle").write_bytes(python2_pickle(content))
    write_hand(folder / "a.npz", read_hand(OPEN_HAND))
    joints = [[*place, 1] for place in rng.uniform(10, 90, (21, 2)).tolist()]
    (folder / "a.keypoints").write_text(json.dumps([{"file": "a.jpg", "joints_2d": joints, "hand": "right"}]))
    write_config(folder / "a.config", TrainingConfig())
    (folder / "a.meta").write_text(json.dumps(META_JSON))
    write_checkpoint(folder / "a.safetensors", torch.nn.Linear(2, 2), {"step": 3, "best": "1.5", "config": {}})
    savemat(folder / "a.mat", {"handPara": rng.normal(size=(3, 21, 2))}, do_compression=True)
    for suffix in ("jpg", "png", "tif", "webp"):
        Image.fromarray(rng.integers(0, 256, (16, 12, 3), np.uint8)).save(folder / f"a.{suffix}")


def test_changed_files_are_read_or_refused(tmp_path):
    """The space of addresses is larger here, since torch maps 4 GB when it is imported."""
    valid_files(tmp_path / "valid")
    code = "from fuzz_readers import main\nfrom pathlib import Path\nmain(Path(sys.argv[1]), 1, 100)"
    assert run_limited(code, tmp_path / "valid", memory=12 * 2**30).splitlines() == ["done"]
