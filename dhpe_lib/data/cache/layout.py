"""How the prepared cache lies on disk: its folder, its plan, its parts and their checksums."""

import hashlib
import json
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from dhpe_lib.data.crop_frame import SIZE
from dhpe_lib.data.cropping import BOX_MARGIN, FINGERTIPS_MM
from dhpe_lib.data.crops import MARGIN, Crops

FORMAT = 1
"""Goes up with each change of what the files mean."""
ROWS_PER_PART = 128
META, PLAN, DONE, ROWS, IDS = "meta.json", "plan.json", "done", "rows.npy", "ids.json"

# What a field of a JSON file must be, in words, and the test for it.
Kind = tuple[str, Callable[[Any], bool]]
WHOLE: Kind = ("a whole number", lambda value: type(value) is int and value >= 0)
COUNT: Kind = ("a whole number above 0", lambda value: type(value) is int and value > 0)
TEXT: Kind = ("a text", lambda value: isinstance(value, str))
OBJECT: Kind = ("an object", lambda value: isinstance(value, dict))
TEXTS: Kind = ("a list of texts", lambda value: isinstance(value, list) and all(map(TEXT[1], value)))
ROW_NUMBERS: Kind = ("a list of whole numbers", lambda value: isinstance(value, list) and all(map(WHOLE[1], value)))
MARGIN_OF_CROP: Kind = ("a multiple of 8", lambda value: WHOLE[1](value) and value % 8 == 0)

PLAN_FIELDS = {
    "format": WHOLE,
    "dataset": TEXT,
    "split": TEXT,
    "source": OBJECT,
    "crop": OBJECT,
    "crop.margin": MARGIN_OF_CROP,
    "rows": COUNT,
    "rows_per_part": COUNT,
    "ids": TEXT,
}
DONE_FIELDS = {"kept": ROW_NUMBERS, "left_out": OBJECT, "sha256": TEXT}
META_FIELDS = PLAN_FIELDS | {
    "dhpe_version": TEXT,
    "samples": COUNT,
    "left_out": OBJECT,
    "sha256": TEXT,
    "parts": TEXTS,
}
AGAIN = "delete the cache's folder and make it again"


class PreparedError(ValueError):
    """A prepared cache that cannot be read or written; the message names the folder and the remedy."""


@dataclass(frozen=True)
class Contents:
    """What a cache is to hold. Caches with equal contents hold equal bytes.

    Attributes:
        dataset: Name of the dataset.
        split: Name of its split.
        ids: Names of all samples, in order.
        source: What the samples come from, for JSON: a fingerprint of the files, or the seed of an engine. An entry
            `directory` is kept for the reader and does not count as a difference.
        margin: Pixels around the 224 x 224 view, a multiple of 8.
    """

    dataset: str
    split: str
    ids: Sequence[str]
    source: Mapping[str, Any]
    margin: int = MARGIN

    def plan(self, rows_per_part: int = ROWS_PER_PART) -> dict[str, Any]:
        """The same for JSON, with the format and the parameters of the crop."""
        return {
            "format": FORMAT,
            "dataset": self.dataset,
            "split": self.split,
            "source": dict(self.source),
            "crop": crop_parameters(self.margin),
            "rows": len(self.ids),
            "rows_per_part": rows_per_part,
            "ids": hashlib.sha256("\n".join(self.ids).encode()).hexdigest(),
        }


def crop_parameters(margin: int) -> dict[str, Any]:
    """How this version of the program cuts crops."""
    return {"size": SIZE, "margin": margin, "box_margin": BOX_MARGIN, "fingertips_mm": FINGERTIPS_MM}


def row_types(margin: int) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """Type and shape of one row in each array on disk, in the order of the fields of `Crops`."""
    size = SIZE + 2 * margin
    shapes: dict[str, tuple[type, tuple[int, ...]]] = {
        "images": (np.uint8, (size, size, 3)),
        "mask_bits": (np.uint8, (size, size // 8)),
        "has_mask": (np.bool_, ()),
        "joints_2d": (np.float32, (21, 2)),
        "joints_3d": (np.float32, (21, 3)),
        "visible": (np.bool_, (21,)),
        "k": (np.float32, (3, 3)),
        "center": (np.float32, (2,)),
        "side": (np.float32, ()),
        "z_root": (np.float32, ()),
        "left": (np.bool_, ()),
        "palm": (np.bool_, ()),
        "h": (np.float32, (63,)),
    }
    return {field.name: (np.dtype(shapes[field.name][0]), shapes[field.name][1]) for field in fields(Crops)}


def bytes_per_sample(margin: int = MARGIN) -> int:
    """What a sample takes on disk and, since masks stay bits, in memory."""
    return sum(kind.itemsize * int(np.prod(shape)) for kind, shape in row_types(margin).values())


def parts_of(plan: Mapping[str, Any]) -> list[range]:
    """Rows of each part."""
    n, step = plan["rows"], plan["rows_per_part"]
    return [range(start, min(start + step, n)) for start in range(0, n, step)]


def digest(arrays: Iterable[ndarray]) -> str:
    """SHA-256 over the bytes of arrays, one after the other."""
    found = hashlib.sha256()
    for values in arrays:
        found.update(np.ascontiguousarray(values).data)
    return found.hexdigest()


def holds_cache(directory: Path) -> bool:
    """Whether a folder is a prepared split, finished or not."""
    return any((directory / file).is_file() for file in (META, PLAN))


def refuse_differences(directory: Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Stop where a cache is not what is asked for.

    Args:
        directory: The cache.
        found: What its meta.json or plan.json says.
        expected: What it would say today; entries that are not in here do not count.

    Raises:
        PreparedError: They differ.
    """
    old, new = _flat(found), _flat(expected)
    differences = [
        f"{k} was {old.get(k)!s:.16}, is {value!s:.16} now" for k, value in new.items() if old.get(k) != value
    ]
    if differences:
        again = remedy(directory, {**found, **expected})
        raise PreparedError(f"{directory}: the cache is stale: {'; '.join(differences)}. {again}")


def remedy(directory: Path, meta: Mapping[str, Any]) -> str:
    """What to do about a cache that is stale or damaged."""
    made_by = command(directory, meta)
    return f"Delete the folder and run: {made_by}" if made_by else "Delete the folder and make it again"


def command(directory: Path, meta: Mapping[str, Any]) -> str | None:
    """The command that makes a cache.

    Args:
        directory: The cache.
        meta: What its meta.json or plan.json says, right or wrong.

    Returns:
        For a shell; None if the cache does not say where it comes from. Photos of backgrounds are only known by their
        fingerprint, so their folder stays DIR.
    """
    name, split, source = (meta.get(key) for key in ("dataset", "split", "source"))
    if not (isinstance(name, str) and isinstance(split, str) and isinstance(source, Mapping)):
        return None
    where = ["--split", split, "--out", str(directory.parent)]
    if "directory" in source:
        return shlex.join(["dhpe", "data", "prepare", name, str(source["directory"]), *where])
    if "engine" in source:
        photos = [] if source.get("backgrounds") == "painted" else ["--backgrounds", "DIR"]
        numbers = ["--seed", str(source.get("seed")), "--count", str(meta.get("rows"))]
        return shlex.join(["dhpe", "data", "make", name, *where, *numbers, *photos])
    return None


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    nested = {f"{k}.{i}": v for k, inner in values.items() if isinstance(inner, Mapping) for i, v in inner.items()}
    flat = {key: value for key, value in values.items() if not isinstance(value, Mapping)} | nested
    return {key: value for key, value in flat.items() if key != "source.directory"}


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        PreparedError: It is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise PreparedError(f"{path}: is no JSON ({error}); {AGAIN}") from error


def read_record(path: Path, kinds: Mapping[str, Kind]) -> dict[str, Any]:
    """What a JSON file holds that is an object with certain fields.

    Args:
        path: The file.
        kinds: Fields that it must have, as for :func:`require_fields`.

    Returns:
        The object, with whatever other fields it has.

    Raises:
        PreparedError: It is no JSON, no object, or a field is missing or something else.
    """
    record = read_json(path)
    if not isinstance(record, dict):
        raise PreparedError(f"{path}: holds {shown(record)}, not an object; {AGAIN}")
    require_fields(path, record, kinds)
    return record


def require_fields(path: Path, record: Mapping[str, Any], kinds: Mapping[str, Kind]) -> None:
    """Stop where an object lacks a field, or has something else in it.

    Args:
        path: Its file, for the message.
        record: The object.
        kinds: What each field must be; one of an inner object is called `outer.inner`, after `outer`.

    Raises:
        PreparedError: Names the first such field.
    """
    for name, (words, right) in kinds.items():
        outer, _, inner = name.rpartition(".")
        owner = record[outer] if outer else record
        if inner not in owner:
            raise PreparedError(f"{path}: lacks the field {name}; {AGAIN}")
        if not right(owner[inner]):
            raise PreparedError(f"{path}: the field {name} is {shown(owner[inner])}, not {words}; {AGAIN}")


def read_ids(path: Path, count: int) -> list[str]:
    """Names of all rows of a cache.

    Args:
        path: Its ids.json.
        count: Its number of rows.

    Returns:
        One for each row.

    Raises:
        PreparedError: The file is missing or holds something else.
    """
    if not path.is_file():
        raise PreparedError(f"{path}: no such file; {AGAIN}")
    names = read_json(path)
    if not TEXTS[1](names) or len(names) != count:
        raise PreparedError(f"{path}: holds {shown(names)}, not a list of {count} names; {AGAIN}")
    return names


def shown(value: Any) -> str:
    """The beginning of a JSON value, for a message."""
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
