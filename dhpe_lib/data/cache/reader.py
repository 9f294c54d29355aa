"""Reading the prepared cache: the crops of a split on disk, with random access.

The folder of a split contains:

- an array for each field of `Crops` (``images.npy``, ``joints_3d.npy``, ...), with row i for sample i of the split;
- ``rows.npy``: the rows that can be used;
- ``ids.json``: the names of all samples;
- ``meta.json``, which is written last: source and parameters of the crops, the samples that were left out and the
  reasons, and a SHA-256 for each part of 128 rows.

While the cache is being written, ``plan.json`` and ``done/`` take the place of ``meta.json``.
"""

import hashlib
from collections.abc import Iterator
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
    PLAN,
    ROWS,
    Metadata,
    Origin,
    Plan,
    PreparedError,
    bytes_per_sample,
    command,
    crop_parameters,
    digest,
    map_array,
    part_count,
    parts_of,
    read_ids,
    read_record,
    refuse_differences,
    remedy,
    row_types,
)
from dhpe_lib.data.crops import Crops

ON_DISK = ("images", "mask_bits")
"""Fields that are read from disk for each batch. The others, 1 kB for each sample, are held in memory."""


class Prepared:
    """A prepared cache, open for reading.

    ``prepared[indices]`` returns `Crops` on the CPU; ``prepared.to(device)`` returns the whole cache on a device, if it
    fits. A `Prepared` can be passed to the workers of a DataLoader: each worker opens the files itself.

    Args:
        directory: Folder of one split.

    Raises:
        FileNotFoundError: The folder does not exist.
        PreparedError: The folder holds no cache, or the cache is unfinished, damaged, or from another version.
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
        """Read samples.

        Args:
            indices: An array, tensor or list of indices or of booleans, or a slice.

        Returns:
            The samples in this order, copied to new tensors on the CPU.

        Raises:
            IndexError: An index is out of range.
        """
        rows = np.atleast_1d(self.rows[indices])
        return Crops(**{name: torch.from_numpy(values[rows]) for name, values in self._ready.items()})

    def evenly_spaced(self, count: int | None = None) -> Int64[ndarray, " n"]:
        """Return the indices of `count` evenly spaced samples; by default of all samples."""
        n = len(self) if count is None else min(count, len(self))
        return np.linspace(0, len(self) - 1, n).astype(np.int64)

    @property
    def name(self) -> str:
        """Dataset and split; names of result files use it."""
        return f"{self.meta['dataset']}_{self.meta['split']}"

    @property
    def margin(self) -> int:
        """Margin around the 224 x 224 view, pixels."""
        return self.meta["crop"]["margin"]

    @cached_property
    def ids(self) -> list[str]:
        """Names of the samples, as in the dataset's reader."""
        names = read_ids(self.directory / IDS, self.meta["rows"])
        return [names[row] for row in self.rows]

    def to(self, device: torch.device | str, batch: int = 1024) -> Crops:
        """Copy the whole cache to a device.

        Args:
            device: Target device.
            batch: Number of samples to copy at a time.

        Returns:
            All samples, in order.

        Raises:
            PreparedError: The cache does not fit into the free memory of the device.
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
            crops = self[start : start + batch]
            for name, values in whole.items():
                values[start : start + batch] = getattr(crops, name)
        return whole

    def damaged_parts(self) -> Iterator[range]:
        """Yield the rows of each part whose bytes differ from those that were written; reads the whole cache."""
        for expected, part in zip(self.meta["parts"], parts_of(self.meta), strict=True):
            if expected != digest(values[part.start : part.stop] for values in self._arrays.values()):
                yield part


def damaged_index(cache: Prepared) -> list[str]:
    """Check the files ``rows.npy`` and ``ids.json`` against their checksums.

    Args:
        cache: An opened cache.

    Returns:
        Names of the damaged files; empty if there are none.
    """
    parts = np.frombuffer("".join(cache.meta["parts"]).encode(), np.uint8)
    names = read_ids(cache.directory / IDS, cache.meta["rows"])
    ids = hashlib.sha256("\n".join(names).encode()).hexdigest()
    found = {ROWS: digest([parts, cache.rows]), IDS: ids}
    expected = {ROWS: cache.meta["sha256"], IDS: cache.meta["ids"]}
    return [name for name in found if found[name] != expected[name]]


def read_meta(directory: Path) -> Metadata:
    """Read and check the ``meta.json`` of a cache.

    Args:
        directory: Folder of one split.

    Returns:
        The entries of ``meta.json``.

    Raises:
        FileNotFoundError: The folder does not exist.
        PreparedError: The folder holds no cache, the cache is unfinished or from another version, or ``meta.json`` is
            damaged.
    """
    if not directory.is_dir():
        raise FileNotFoundError(f"{directory}: no such folder")
    path = directory / META
    if not path.is_file():
        raise PreparedError(f"{directory}: {why_unreadable(directory)}")
    # Another version may have other fields.
    refuse_differences(directory, read_record(path, Origin), {"format": FORMAT})
    meta = read_record(path, Metadata)
    refuse_differences(directory, meta, {"crop": crop_parameters(meta["crop"]["margin"])})
    # The parts are counted before they are listed: a small file can claim any number.
    if len(meta["parts"]) != (due := part_count(meta)):
        raise PreparedError(f"{path}: the field parts has {len(meta['parts'])} entries, not {due}; {AGAIN}")
    return meta


def why_unreadable(directory: Path) -> str:
    """Explain why a folder without ``meta.json`` is not a prepared split, with the remedy."""
    if (directory / PLAN).is_file():
        plan = read_record(directory / PLAN, Plan)
        done, due = len(list((directory / DONE).glob("*.json"))), part_count(plan)
        again = command(directory, plan) or "the command that began it"
        return f"its preparation was not finished: {done} of {due} parts are there. To continue, run: {again}"
    inner = sorted(path.name for path in directory.iterdir() if (path / META).is_file())
    if inner:
        return f"contains prepared splits but is not one itself; name one of them: {', '.join(inner)}"
    return f"holds no {META}, so it is not a prepared split; make one with dhpe data prepare or dhpe data make"


def load_rows(path: Path, meta: Metadata) -> Int64[ndarray, " n"]:
    """Load the indices of the usable rows and check that they are rows of the cache."""
    rows, count = load_array(path, meta), meta["samples"]
    if (rows.dtype, rows.shape) != (np.int64, (count,)) or rows.min() < 0 or rows.max() >= meta["rows"]:
        raise PreparedError(f"{path}: does not hold {count} numbers below {meta['rows']}. {remedy(path.parent, meta)}")
    return rows


def open_field(directory: Path, name: str, meta: Metadata) -> ndarray:
    """Open the array of a field, memory-mapped, and check its type and shape against ``meta.json``."""
    path, (kind, shape) = directory / f"{name}.npy", row_types(meta["crop"]["margin"])[name]
    values, expected = load_array(path, meta), (meta["rows"], *shape)
    if (values.dtype, values.shape) != (kind, expected):
        found = f"{values.dtype} {values.shape}, not {kind} {expected}"
        raise PreparedError(f"{path}: holds {found}. {remedy(directory, meta)}")
    return values


def load_array(path: Path, meta: Metadata) -> ndarray:
    """Open an array file, memory-mapped."""
    try:
        return map_array(path)
    except PreparedError as error:
        raise PreparedError(f"{error}. {remedy(path.parent, meta)}") from error
