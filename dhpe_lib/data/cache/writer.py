"""Writing the prepared cache in parts. After an interruption the same command continues with the missing parts.

A part is on disk before its file in ``done/`` is written. The result does not depend on the order of the parts or on
the processes that write them.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from dhpe_lib import __version__
from dhpe_lib.common.files import gigabytes, write_json
from dhpe_lib.data.cache.layout import (
    DONE,
    DONE_FIELDS,
    IDS,
    META,
    PLAN,
    ROWS,
    ROWS_PER_PART,
    Contents,
    PreparedError,
    bytes_per_sample,
    digest,
    parts_of,
    read_record,
    refuse_differences,
    row_types,
)
from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.data.crops import Crops


class PreparedWriter:
    """A prepared cache, open for writing: a new one, or an unfinished one that is continued.

    ::

        writer = PreparedWriter(folder, Contents("orh", "train", ids, {"seed": 0}))
        for part in writer.missing():
            writer.write(part, make_crops(part))
        prepared = writer.finish()

    Args:
        directory: Folder of the split: new, empty, or begun by an earlier run with the same contents.
        contents: Description of the contents.
        rows_per_part: Number of samples in a part.

    Raises:
        PreparedError: The folder holds other files or a cache with other contents, the disk has too little space, or
            there is no sample.
        OSError: The folder cannot be written to.
    """

    def __init__(self, directory: Path, contents: Contents, rows_per_part: int = ROWS_PER_PART) -> None:
        self.directory, self.contents = directory, contents
        self.plan = contents.plan(rows_per_part)
        if not contents.ids:
            raise PreparedError(f"{directory}: the {contents.split} split of {contents.dataset} holds no sample")
        begun = next((directory / name for name in (META, PLAN) if (directory / name).is_file()), None)
        if begun is not None:
            refuse_differences(directory, read_record(begun, {}), self.plan)
        elif directory.is_dir() and any(not path.name.startswith(".") for path in directory.iterdir()):
            raise PreparedError(f"{directory}: holds other files; name a new or an empty folder")
        if not self.finished:
            check_space(directory, sum(map(len, self.missing())) * bytes_per_sample(contents.margin))
            self._begin()

    @property
    def finished(self) -> bool:
        """Whether the cache is complete and can be read."""
        return (self.directory / META).is_file()

    def missing(self) -> list[range]:
        """Return the rows of the parts that are not written yet."""
        parts = [] if self.finished else parts_of(self.plan)
        return [part for part in parts if not marker(self.directory, part).is_file()]

    def write(self, part: range, crops: Crops | None, left_out: Mapping[str, str] | None = None) -> None:
        """Write one part.

        Args:
            part: A part from `missing()`.
            crops: Samples of the part in order, on the CPU, without the left-out samples; None if all are left out.
            left_out: Id and reason of each sample that cannot be used.

        Raises:
            ValueError: The number or the size of the crops is wrong.
            OSError: The part cannot be written, for instance because the disk is full. Earlier parts are kept.
        """
        names = [self.contents.ids[row] for row in part]
        write_part(self.directory, self.contents.margin, part, names, crops, left_out or {})

    def finish(self) -> Prepared:
        """Finish the cache after all parts are written.

        Returns:
            The cache, open for reading.

        Raises:
            PreparedError: Parts are missing, or every sample was left out.
        """
        if missing := self.missing():
            raise PreparedError(f"{self.directory}: {sum(map(len, missing))} samples are still to be written")
        if not self.finished:
            self._complete([read_record(marker(self.directory, part), DONE_FIELDS) for part in parts_of(self.plan)])
        (self.directory / PLAN).unlink(missing_ok=True)
        shutil.rmtree(self.directory / DONE, ignore_errors=True)
        return Prepared(self.directory)

    def _begin(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        write_json(self.directory / PLAN, self.plan)
        (self.directory / DONE).mkdir(exist_ok=True)
        write_json(self.directory / IDS, list(self.contents.ids))
        for name, (kind, shape) in row_types(self.contents.margin).items():
            path = self.directory / f"{name}.npy"
            if not path.exists():
                draft = path.with_name(f".{path.name}")
                np.lib.format.open_memmap(draft, "w+", kind, (len(self.contents.ids), *shape))  # takes no space yet
                draft.replace(path)

    def _complete(self, parts: list[dict[str, Any]]) -> None:
        rows = np.array([row for part in parts for row in part["kept"]], np.int64)
        left_out = {name: reason for part in parts for name, reason in part["left_out"].items()}
        if not len(rows):
            name, reason = next(iter(left_out.items()))
            raise PreparedError(f"{self.directory}: no sample can be used; {name}: {reason}")
        np.save(self.directory / ROWS, rows)
        digests = [part["sha256"] for part in parts]
        whole = digest([np.frombuffer("".join(digests).encode(), np.uint8), rows])
        found = {"samples": len(rows), "left_out": left_out, "sha256": whole, "parts": digests}
        write_json(self.directory / META, handed_on(self.plan) | {"dhpe_version": __version__} | found)


def handed_on(plan: dict[str, Any]) -> dict[str, Any]:
    """Return a plan that can be handed on: of the source's folder only the name is kept."""
    source = dict(plan["source"])
    if "directory" in source:
        source["directory"] = Path(source["directory"]).name
    return plan | {"source": source}


def marker(directory: Path, part: range) -> Path:
    """Return the file that marks a part as written."""
    return directory / DONE / f"{part.start:08}.json"


def check_space(directory: Path, needed: int) -> None:
    """Check that a folder can be created, if it does not exist yet, and that its disk has `needed` bytes.

    Raises:
        PreparedError: The path, or a parent of it, is a file, or the disk has too little space.
    """
    existing = next(folder for folder in (directory.absolute(), *directory.absolute().parents) if folder.exists())
    if not existing.is_dir():
        raise PreparedError(f"{existing}: is a file; name a new or an empty folder")
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise PreparedError(
            f"{directory}: {gigabytes(needed)} are needed and {gigabytes(free)} are free there; "
            "make room, or name a folder on another disk"
        )


def write_part(
    directory: Path, margin: int, part: range, names: list[str], crops: Crops | None, left_out: Mapping[str, str]
) -> None:
    """Write one part, like `PreparedWriter.write`, in a process that has no writer.

    Args:
        directory: Folder of a cache that a writer has begun.
        margin: Margin of the pictures, pixels.
        part: Rows of the part.
        names: Id of each row.
        crops: The samples that are not left out; None if all are left out.
        left_out: Id and reason of each left-out sample.

    Raises:
        ValueError: The number or the size of the crops is wrong.
        OSError: The part cannot be written.
    """
    kept = [k for k, name in enumerate(names) if name not in left_out]
    types = row_types(margin)
    given = (0, None) if crops is None else (len(crops), tuple(crops.images.shape[1:]))
    if given[0] != len(kept) or given[1] not in (None, types["images"][1]):
        raise ValueError(
            f"{directory}: {len(kept)} crops of shape {types['images'][1]} are needed, not {given[0]} of {given[1]}"
        )
    arrays = {name: np.zeros((len(part), *shape), kind) for name, (kind, shape) in types.items()}
    for name, tensor in () if crops is None else crops.items():
        arrays[name][kept] = tensor.numpy()
    for name, values in arrays.items():
        write_rows(directory / f"{name}.npy", part.start, values)
    done = {"kept": [part[k] for k in kept], "left_out": dict(left_out), "sha256": digest(arrays.values())}
    write_json(marker(directory, part), done)


def write_rows(path: Path, start: int, values: ndarray) -> None:
    """Overwrite rows of an array file, and wait until they are on disk.

    On a full disk `write` raises an error, whereas writing to a memory map would kill the process.
    """
    with path.open("r+b") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        file.seek(start * values[0].nbytes, os.SEEK_CUR)
        file.write(np.ascontiguousarray(values).data)
        file.flush()
        os.fsync(file.fileno())
