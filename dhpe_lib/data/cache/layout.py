"""Layout of the prepared cache on disk: its folder, its plan, its parts and their checksums."""

import hashlib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from dhpe_lib.common.json_files import (
    COUNT,
    LARGE,
    NAME,
    OBJECT,
    TEXT,
    TEXTS,
    WHOLE,
    JsonError,
    Kind,
    check_fields,
    read_json,
    shown,
)
from dhpe_lib.data.crop_frame import SIZE
from dhpe_lib.data.cropping import BOX_MARGIN, FINGERTIPS_MM
from dhpe_lib.data.crops import MARGIN, Crops

FORMAT = 1
"""Version of the format; it is increased whenever the meaning of the files changes."""
ROWS_PER_PART = 128
META, PLAN, DONE, ROWS, IDS = "meta.json", "plan.json", "done", "rows.npy", "ids.json"

ROW_NUMBERS: Kind = ("a list of whole numbers", lambda value: isinstance(value, list) and all(map(WHOLE[1], value)))
MARGIN_OF_CROP: Kind = ("a multiple of 8", lambda value: WHOLE[1](value) and value % 8 == 0)

PLAN_FIELDS = {
    "format": WHOLE,
    "dataset": NAME,
    "split": NAME,
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
    """A prepared cache cannot be read or written; the message names the folder and the remedy."""


@dataclass(frozen=True)
class Contents:
    """Description of a cache's contents. Caches with equal descriptions hold equal bytes.

    Attributes:
        dataset: Name of the dataset.
        split: Name of the split.
        ids: Names of all samples, in order.
        source: Origin of the samples, as JSON: a fingerprint of the files, or the seed of an engine. An entry
            `directory` is stored too, but is ignored when caches are compared.
        margin: Margin around the 224 x 224 view, pixels; a multiple of 8.
    """

    dataset: str
    split: str
    ids: Sequence[str]
    source: Mapping[str, Any]
    margin: int = MARGIN

    def plan(self, rows_per_part: int = ROWS_PER_PART) -> dict[str, Any]:
        """Return the description as JSON, with the format and the parameters of the crop."""
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
    """Return the parameters with which this version of the program cuts crops."""
    return {"size": SIZE, "margin": margin, "box_margin": BOX_MARGIN, "fingertips_mm": FINGERTIPS_MM}


def row_types(margin: int) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """Return type and shape of a row of each array on disk, in the order of the fields of `Crops`."""
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
    """Return the size of a sample on disk, which is also its size in memory, since masks stay packed as bits."""
    return sum(kind.itemsize * int(np.prod(shape)) for kind, shape in row_types(margin).values())


def part_count(plan: Mapping[str, Any]) -> int:
    """Return the number of parts."""
    return -(-plan["rows"] // plan["rows_per_part"])


def parts_of(plan: Mapping[str, Any]) -> list[range]:
    """Return the rows of each part."""
    n, step = plan["rows"], plan["rows_per_part"]
    return [range(start, min(start + step, n)) for start in range(0, n, step)]


def digest(arrays: Iterable[ndarray]) -> str:
    """Compute the SHA-256 over the concatenated bytes of arrays."""
    checksum = hashlib.sha256()
    for values in arrays:
        checksum.update(np.ascontiguousarray(values).data)
    return checksum.hexdigest()


def holds_cache(directory: Path) -> bool:
    """Return whether a folder is a prepared split, finished or not."""
    return any((directory / file).is_file() for file in (META, PLAN))


def refuse_differences(directory: Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise an error if a cache differs from the requested one.

    Args:
        directory: Folder of the cache.
        found: Content of its meta.json or plan.json.
        expected: Content that it would have today; only the entries in here are compared.

    Raises:
        PreparedError: An entry differs.
    """
    old, new = _flat(found), _flat(expected)
    differences = [
        f"{k} was {old.get(k)!s:.16}, is {value!s:.16} now" for k, value in new.items() if old.get(k) != value
    ]
    if differences:
        again = remedy(directory, {**found, **expected})
        raise PreparedError(f"{directory}: the cache is stale: {'; '.join(differences)}. {again}")


def remedy(directory: Path, meta: Mapping[str, Any]) -> str:
    """Return the instruction for a cache that is stale or damaged."""
    made_by = command(directory, meta)
    return f"Delete the folder and run: {made_by}" if made_by else "Delete the folder and make it again"


def command(directory: Path, meta: Mapping[str, Any]) -> str | None:
    """Return the shell command that makes a cache.

    Args:
        directory: Folder of the cache.
        meta: Content of its meta.json or plan.json; it may be wrong.

    Returns:
        The command; None if the cache does not name its source. A finished cache stores only the name of the
        dataset's folder, so its place is written as DIR. The same holds for the folder of background photos, of which
        the cache stores only the fingerprint.
    """
    name, split, source = (meta.get(key) for key in ("dataset", "split", "source"))
    if not (isinstance(name, str) and isinstance(split, str) and isinstance(source, Mapping)):
        return None
    where = ["--split", split, "--out", str(directory.parent)]
    if "directory" in source:
        folder = Path(str(source["directory"]))
        shown_folder = str(folder if folder.is_absolute() else "DIR" / folder)
        return shlex.join(["dhpe", "data", "prepare", name, shown_folder, *where])
    if "engine" in source:
        photos = [] if source.get("backgrounds") == "painted" else ["--backgrounds", "DIR"]
        numbers = ["--seed", str(source.get("seed")), "--count", str(meta.get("rows"))]
        return shlex.join(["dhpe", "data", "make", name, *where, *numbers, *photos])
    return None


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    nested = {f"{k}.{i}": v for k, inner in values.items() if isinstance(inner, Mapping) for i, v in inner.items()}
    flat = {key: value for key, value in values.items() if not isinstance(value, Mapping)} | nested
    return {key: value for key, value in flat.items() if key != "source.directory"}


def read_record(path: Path, kinds: Mapping[str, Kind]) -> dict[str, Any]:
    """Read a JSON file that must be an object with certain fields.

    Args:
        path: The file.
        kinds: Required fields, see :func:`dhpe_lib.common.json_files.check_fields`.

    Returns:
        The object, including other fields.

    Raises:
        PreparedError: The file is not JSON or not an object, or a field is missing or has another type.
    """
    record = _read(path)
    require_fields(path, record, kinds)
    return record


def require_fields(path: Path, record: Any, kinds: Mapping[str, Kind]) -> None:
    """Check the fields of an object (:func:`dhpe_lib.common.json_files.check_fields`).

    Raises:
        PreparedError: A field is missing or has another type; the message names the file and the first such field.
    """
    try:
        check_fields(record, kinds)
    except JsonError as error:
        raise PreparedError(f"{path}: {error}; {AGAIN}") from error


def _read(path: Path) -> Any:
    try:
        return read_json(path, LARGE)
    except JsonError as error:
        raise PreparedError(f"{path}: is not JSON ({error}); {AGAIN}") from error


def map_array(path: Path) -> ndarray:
    """Open an array file, memory-mapped.

    Raises:
        PreparedError: The file is missing or damaged.
    """
    try:
        return np.asarray(np.load(path, mmap_mode="r"))
    except Exception as error:  # numpy reads the header as Python text, which can raise almost any error
        raise PreparedError(f"{path}: cannot be read ({error})") from error


def read_ids(path: Path, count: int) -> list[str]:
    """Read the sample names of a cache.

    Args:
        path: The cache's ids.json.
        count: Number of rows of the cache.

    Returns:
        Name of each row.

    Raises:
        PreparedError: The file is missing or is not a list of `count` names.
    """
    if not path.is_file():
        raise PreparedError(f"{path}: no such file; {AGAIN}")
    names = _read(path)
    if not TEXTS[1](names) or len(names) != count:
        raise PreparedError(f"{path}: holds {shown(names)}, not a list of {count} names; {AGAIN}")
    return names
