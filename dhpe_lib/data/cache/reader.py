"""The prepared cache: one split of a dataset as crops on disk, for random access.

A folder holds one array for each field of `Crops` (``images.npy``, ``joints_3d.npy``, ...), row i for sample i of the
split; ``rows.npy``, the rows that can be used; ``ids.json``, the names of all samples; and ``meta.json``, which appears
last: what was prepared, from what and how, which samples were left out and why, and a SHA-256 for each part of 128
rows. While it is being written, ``plan.json`` and ``done/`` stand in for ``meta.json``.
"""

import hashlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray

from dhpe_lib.common.devices import free_memory
from dhpe_lib.common.files import gigabytes
from dhpe_lib.data.cache.layout import (
    AGAIN,
    DONE,
    FORMAT,
    IDS,
    META,
    META_FIELDS,
    PLAN,
    PLAN_FIELDS,
    ROWS,
    WHOLE,
    PreparedError,
    bytes_per_sample,
    command,
    crop_parameters,
    digest,
    parts_of,
    read_ids,
    read_record,
    refuse_differences,
    remedy,
    require_fields,
    row_types,
)
from dhpe_lib.data.crops import Crops

ON_DISK = ("images", "mask_bits")
"""Fields that are read from disk with each batch; the others, 1 kB a sample, are held in memory."""


class Prepared:
    """A prepared cache, open for reading.

    ``prepared[indices]`` gives `Crops` on the CPU; ``prepared.to(device)`` the whole of it on a device, where it fits.
    The workers of a DataLoader may have it: each opens the files for itself.

    Args:
        directory: Folder of one split.

    Raises:
        FileNotFoundError: There is no such folder.
        PreparedError: It holds no cache, an unfinished one, a damaged one, or one that another version wrote.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.meta = read_meta(self.directory)
        self.rows: Int64[ndarray, " n"] = load_rows(self.directory / ROWS, self.meta)
        self._arrays = {name: open_field(self.directory, name, self.meta) for name in row_types(self.margin)}
        self._ready = {n: values if n in ON_DISK else np.array(values) for n, values in self._arrays.items()}

    def __reduce__(self) -> tuple[type["Prepared"], tuple[Path]]:
        return Prepared, (self.directory,)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: Any) -> Crops:
        """Some samples.

        Args:
            indices: An array, tensor or list of indices or of booleans, or a slice.

        Returns:
            They, in that order, as tensors of their own on the CPU.

        Raises:
            IndexError: There is no such sample.
        """
        rows = np.atleast_1d(self.rows[indices])
        return Crops(**{name: torch.from_numpy(values[rows]) for name, values in self._ready.items()})

    def spread(self, count: int | None = None) -> Int64[ndarray, " n"]:
        """Indices of some samples, evenly spread over the split; of all of them by default."""
        n = len(self) if count is None else min(count, len(self))
        return np.linspace(0, len(self) - 1, n).astype(np.int64)

    @property
    def name(self) -> str:
        """Of dataset and split, as results are filed under."""
        return f"{self.meta['dataset']}_{self.meta['split']}"

    @property
    def margin(self) -> int:
        """Pixels around the 224 x 224 view."""
        return self.meta["crop"]["margin"]

    @cached_property
    def ids(self) -> list[str]:
        """Names of the samples, as the reader of their dataset has them."""
        names = read_ids(self.directory / IDS, self.meta["rows"])
        return [names[row] for row in self.rows]

    def to(self, device: torch.device | str, batch: int = 1024) -> Crops:
        """The whole cache on a device.

        Args:
            device: Where to.
            batch: Samples to copy at a time.

        Returns:
            All samples, in order.

        Raises:
            PreparedError: It does not fit there.
        """
        needed, free = len(self) * bytes_per_sample(self.margin), free_memory(torch.device(device))
        if free is not None and needed > free:
            raise PreparedError(
                f"{self.directory}: {len(self)} samples take {gigabytes(needed)} and {device} has {gigabytes(free)} "
                "free; read batches from disk instead: prepared[indices].to(device)"
            )
        like = self[:1]
        whole = Crops(**{name: row.new_empty(len(self), *row.shape[1:], device=device) for name, row in like.items()})
        for start in range(0, len(self), batch):
            some = self[start : start + batch]
            for name, values in whole.items():
                values[start : start + batch] = getattr(some, name)
        return whole

    def damaged_parts(self) -> Iterator[range]:
        """Rows of the parts whose bytes are no longer those that were written; reads the whole cache."""
        for expected, part in zip(self.meta["parts"], parts_of(self.meta), strict=True):
            if expected != digest(values[part.start : part.stop] for values in self._arrays.values()):
                yield part


def damaged_index(cache: Prepared) -> list[str]:
    """Which of the small files, that say what each row is, are no longer what was written.

    Args:
        cache: Any.

    Returns:
        Names of files, none if all is well.
    """
    parts = np.frombuffer("".join(cache.meta["parts"]).encode(), np.uint8)
    names = read_ids(cache.directory / IDS, cache.meta["rows"])
    ids = hashlib.sha256("\n".join(names).encode()).hexdigest()
    found = {ROWS: digest([parts, cache.rows]), IDS: ids}
    expected = {ROWS: cache.meta["sha256"], IDS: cache.meta["ids"]}
    return [name for name in found if found[name] != expected[name]]


def read_meta(directory: Path) -> dict[str, Any]:
    """What ``meta.json`` says of a cache that this version can read.

    Args:
        directory: Folder of one split.

    Returns:
        Its entries.

    Raises:
        FileNotFoundError: There is no such folder.
        PreparedError: It holds no cache, an unfinished one, one that another version wrote, or a damaged ``meta.json``.
    """
    if not directory.is_dir():
        raise FileNotFoundError(f"{directory}: no such folder")
    path = directory / META
    if not path.is_file():
        raise PreparedError(f"{directory}: {why_unreadable(directory)}")
    meta = read_record(path, {"format": WHOLE})
    refuse_differences(directory, meta, {"format": FORMAT})  # another version may have other fields
    require_fields(path, meta, META_FIELDS)
    refuse_differences(directory, meta, {"crop": crop_parameters(meta["crop"]["margin"])})
    if len(meta["parts"]) != (due := len(parts_of(meta))):
        raise PreparedError(f"{path}: the field parts has {len(meta['parts'])} entries, not {due}; {AGAIN}")
    return meta


def why_unreadable(directory: Path) -> str:
    """What a folder without a ``meta.json`` is instead of a prepared split, and what to do."""
    if (directory / PLAN).is_file():
        plan = read_record(directory / PLAN, PLAN_FIELDS)
        done, due = len(list((directory / DONE).glob("*.json"))), len(parts_of(plan))
        again = command(directory, plan) or "the command that began it"
        return f"its preparation was not finished: {done} of {due} parts are there. To go on, run: {again}"
    inner = sorted(path.name for path in directory.iterdir() if (path / META).is_file())
    if inner:
        return f"holds prepared splits and is none itself; name one of them: {', '.join(inner)}"
    return f"holds no {META}, so it is no prepared split; dhpe data prepare or dhpe data make makes one"


def load_rows(path: Path, meta: Mapping[str, Any]) -> Int64[ndarray, " n"]:
    """The rows in use, if they are rows of the cache."""
    rows, count = load_array(path, meta), meta["samples"]
    if (rows.dtype, rows.shape) != (np.int64, (count,)) or rows.min() < 0 or rows.max() >= meta["rows"]:
        raise PreparedError(f"{path}: does not hold {count} numbers below {meta['rows']}. {remedy(path.parent, meta)}")
    return rows


def open_field(directory: Path, name: str, meta: Mapping[str, Any]) -> ndarray:
    """One field, memory-mapped, if it is what ``meta.json`` announces."""
    path, (kind, shape) = directory / f"{name}.npy", row_types(meta["crop"]["margin"])[name]
    values, expected = load_array(path, meta), (meta["rows"], *shape)
    if (values.dtype, values.shape) != (kind, expected):
        found = f"{values.dtype} {values.shape}, not {kind} {expected}"
        raise PreparedError(f"{path}: holds {found}. {remedy(directory, meta)}")
    return values


def load_array(path: Path, meta: Mapping[str, Any]) -> ndarray:
    """An array file, memory-mapped."""
    try:
        return np.asarray(np.load(path, mmap_mode="r"))
    except (OSError, ValueError, EOFError) as error:
        raise PreparedError(f"{path}: cannot be read ({error}). {remedy(path.parent, meta)}") from error
