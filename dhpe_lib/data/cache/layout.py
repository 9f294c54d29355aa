"""Layout of the prepared cache on disk: its folder, its plan, its parts and their checksums."""

import hashlib
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, NotRequired, Required, TypedDict, TypeVar

import numpy as np
from msgspec import Meta
from numpy import ndarray

from dhpe_lib.common.json_files import LARGE, Count, JsonError, Name, Value, Whole, read_json
from dhpe_lib.data.crop_frame import SIZE
from dhpe_lib.data.cropping import BOX_MARGIN, FINGERTIPS_MM
from dhpe_lib.data.crops import MARGIN, Crops

FORMAT = 1
"""Version of the format; it is increased whenever the meaning of the files changes."""
ROWS_PER_PART = 128
META, PLAN, DONE, ROWS, IDS = "meta.json", "plan.json", "done", "rows.npy", "ids.json"

Kind = TypeVar("Kind")
AGAIN = "delete the cache's folder and make it again"


class PreparedError(ValueError):
    """A prepared cache cannot be read or written; the message names the folder and the remedy."""


class Crop(TypedDict):
    """Parameters of the crops; see :func:`crop_parameters`. Another version may have others."""

    margin: Annotated[Whole, Meta(multiple_of=8)]
    size: NotRequired[Value]
    box_margin: NotRequired[Value]
    fingertips_mm: NotRequired[Value]


class Origin(TypedDict, total=False):
    """Fields that a cache of any version has: its format and how it was made."""

    format: Required[Whole]
    dataset: Name
    split: Name
    source: dict[str, Value]
    rows: Whole


class Plan(TypedDict):
    """Content of ``plan.json``; see :class:`Contents`."""

    format: Whole
    dataset: Name
    split: Name
    source: dict[str, Value]
    crop: Crop
    rows: Count
    rows_per_part: Count
    ids: str


class Metadata(Plan):
    """Content of ``meta.json``: the plan, and what came of it."""

    dhpe_version: str
    samples: Count
    left_out: dict[str, str]
    sha256: str
    parts: list[str]


class Done(TypedDict):
    """Content of the marker of a part: its usable rows, the reasons for leaving out the others, its checksum."""

    kept: list[Whole]
    left_out: dict[str, str]
    sha256: str


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

    def plan(self, rows_per_part: int = ROWS_PER_PART) -> Plan:
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


def crop_parameters(margin: int) -> Crop:
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


def part_count(plan: Plan) -> int:
    """Return the number of parts."""
    return -(-plan["rows"] // plan["rows_per_part"])


def parts_of(plan: Plan) -> list[range]:
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
        meta: Content of its meta.json or plan.json.

    Returns:
        The command; None if the cache does not name its source. A finished cache stores only the name of the
        dataset's folder, so its place is written as DIR. The same holds for the folder of background photos, of which
        the cache stores only the fingerprint.
    """
    if not {"dataset", "split", "source"} <= meta.keys():
        return None
    name, split, source = meta["dataset"], meta["split"], meta["source"]
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


def read_record(path: Path, kind: Callable[..., Kind]) -> Kind:
    """Read a JSON file of a cache.

    Args:
        path: The file.
        kind: Type of its content.

    Returns:
        The content.

    Raises:
        PreparedError: The file is not JSON, or a field is missing or has another type; the message names the field.
    """
    try:
        return read_json(path, kind, LARGE)
    except JsonError as error:
        raise PreparedError(f"{path}: {error}; {AGAIN}") from error


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
    names = read_record(path, list[str])
    if len(names) != count:
        raise PreparedError(f"{path}: holds {len(names)} names, not {count}; {AGAIN}")
    return names
