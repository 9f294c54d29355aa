"""How the prepared cache lies on disk: its folder, its plan, its parts and their checksums."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from dhpe_lib.datasets.cropping import BOX_MARGIN, FINGERTIPS_MM
from dhpe_lib.datasets.crops import MARGIN, SIZE, Crops

FORMAT = 1
"""Goes up with each change of what the files mean."""
ROWS_PER_PART = 128
META, PLAN, DONE, ROWS, IDS = "meta.json", "plan.json", "done", "rows.npy", "ids.json"


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
    differences = [f"{key} was {old.get(key)}, is {value} now" for key, value in new.items() if old.get(key) != value]
    if differences:
        raise PreparedError(f"{directory}: the cache is stale: {'; '.join(differences)}. {remedy(directory, found)}")


def remedy(directory: Path, meta: Mapping[str, Any]) -> str:
    """What to do about a cache that is stale or damaged."""
    source = meta.get("source", {}).get("directory")
    if source is None:
        return "Delete the folder and make it again"
    command = f"dhpe data prepare {meta['dataset']} {source} --split {meta['split']} --out {directory.parent}"
    return f"Delete the folder and run: {command}"


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
    except ValueError as error:
        raise PreparedError(f"{path}: is no JSON ({error}); delete the folder and prepare it again") from error


def write_json(path: Path, values: Any) -> None:
    """Write a JSON file that is there as a whole or not at all, whatever happens to program and machine."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("w", encoding="utf-8") as file:
        json.dump(values, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def gigabytes(n: int) -> str:
    """A number of bytes for people."""
    return f"{n / 1e9:.1f} GB" if n >= 1e8 else f"{n / 1e6:.1f} MB"
