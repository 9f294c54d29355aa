"""Change small valid files at random and read them; run by tests/common/test_hostile_files.py in a child process.

Usage: ``python fuzz_readers.py FOLDER SEED COUNT``, where FOLDER holds the valid files. Each error that is not clean is
printed as one line; a clean one is of the reader's own kind and names the file.
"""

import json
import random
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dhpe_lib.common.unpickling import PickleFileError, load_pickle
from dhpe_lib.data.cache.layout import META_FIELDS, PreparedError, read_record
from dhpe_lib.data.mat_files import MatFileError, read_array
from dhpe_lib.data.photos import PhotoError, read_photo
from dhpe_lib.hand.io import HandFileError, read_hand
from dhpe_lib.network.checkpoints import CheckpointError, read_checkpoint
from dhpe_lib.prediction.keypoints import KeypointsError, keypoints_of, read_keypoints
from dhpe_lib.training.config import ConfigError, read_config

ODD = (
    [],
    {},
    "",
    "text",
    None,
    True,
    -1,
    0,
    1.5,
    10**18,
    10**400,
    float("inf"),
    float("nan"),
    [[]],
    "\x1b[31m",
    "../a",
)


def read_all_keypoints(path: Path) -> None:
    keypoints_of("a.jpg", (640, 480), read_keypoints(path), path)


READERS: dict[str, tuple[Callable[[Path], Any], type[Exception]]] = {
    ".pickle": (load_pickle, PickleFileError),
    ".npz": (read_hand, HandFileError),
    ".keypoints": (read_all_keypoints, KeypointsError),
    ".config": (read_config, ConfigError),
    ".meta": (lambda path: read_record(path, META_FIELDS), PreparedError),
    ".safetensors": (read_checkpoint, CheckpointError),
    ".mat": (lambda path: read_array(path, "handPara"), MatFileError),
    ".jpg": (read_photo, PhotoError),
    ".png": (read_photo, PhotoError),
    ".tif": (read_photo, PhotoError),
    ".webp": (read_photo, PhotoError),
}


def changed_bytes(raw: bytes, rng: random.Random) -> bytes:
    """Cut, overwrite, repeat or remove pieces."""
    data = bytearray(raw)
    for _ in range(rng.randint(1, 4)):
        place, length = rng.randrange(len(data) + 1), rng.randint(1, 16)
        piece = rng.choice((rng.randbytes(length), b"\xff" * length, b"\0" * length, bytes(data[:length]), b""))
        data[place : place + rng.choice((0, length, 1))] = piece
    return bytes(data[: rng.randrange(len(data) + 1)] if rng.random() < 0.1 else data)


def changed_json(value: Any, rng: random.Random) -> Any:
    """Replace one value at any depth by an odd one, or remove it."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.1:
        return rng.choice(ODD)
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key, copy = rng.choice(keys), value.copy()
    if rng.random() < 0.1:
        del copy[key]
    else:
        copy[key] = changed_json(copy[key], rng)
    return copy


def changed(raw: bytes, rng: random.Random) -> bytes:
    """Change a file; JSON is half of the time changed as JSON."""
    if raw[:1] in (b"{", b"[") and rng.random() < 0.7:
        return json.dumps(changed_json(json.loads(raw), rng)).encode()
    return changed_bytes(raw, rng)


def main(folder: Path, seed: int, count: int) -> None:
    """Read `count` changed copies of each file."""
    warnings.simplefilter("ignore")
    for whole in sorted(folder.iterdir()):
        read, clean = READERS[whole.suffix]
        read(whole)  # the file itself is valid
        rng, path = random.Random(f"{seed} {whole.suffix}"), folder.parent / f"changed{whole.suffix}"
        refused = 0
        for case in range(count):
            path.write_bytes(changed(whole.read_bytes(), rng))
            try:
                read(path)
            except clean as error:
                refused += 1
                if clean is not MatFileError and str(path) not in str(error):
                    print(f"{whole.suffix} case {case}: the error names no file: {error}")
            except Exception as error:
                print(f"{whole.suffix} case {case}: {type(error).__name__}: {error}")
        print(f"refused {whole.suffix} {refused}", file=sys.stderr)
    print("done")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
