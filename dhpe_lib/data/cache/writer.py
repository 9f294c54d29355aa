"""Writing the prepared cache in parts. After an interruption the same command continues with the missing parts.

A part is on disk before its file in ``done/`` is written, and everything is on disk before ``meta.json`` is. A
continued run compares the bytes of each finished part with its file in ``done/``. The result does not depend on the
order of the parts or on the processes that write them.
"""

import os
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy import ndarray

from dhpe_lib import __version__
from dhpe_lib.common.files import (
    atomic_write,
    clear_drafts,
    explain_full_disk,
    holds_leftovers,
    require_space,
    write_json,
)
from dhpe_lib.common.locks import LOCK, locked
from dhpe_lib.data.cache.layout import (
    DONE,
    IDS,
    META,
    PLAN,
    ROWS,
    ROWS_PER_PART,
    Contents,
    Done,
    Plan,
    PreparedError,
    bytes_per_sample,
    digest,
    holds_cache,
    map_array,
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

        with PreparedWriter(folder, Contents("orh", "train", ids, {"seed": 0})) as writer:
            for part in writer.missing():
                writer.write(part, make_crops(part))
            prepared = writer.finish()

    Args:
        directory: Folder of the split: new, empty, or begun by an earlier run with the same contents.
        contents: Description of the contents.
        rows_per_part: Number of samples in a part.

    Raises:
        PreparedError: The folder holds other files or a cache with other contents, or there is no sample.
        DiskFullError: The disk has too little space.
        LockedError: Another process writes the cache.
        OSError: The folder cannot be written to.
    """

    def __init__(self, directory: Path, contents: Contents, rows_per_part: int = ROWS_PER_PART) -> None:
        self.directory, self.contents = directory, contents
        self.plan = contents.plan(rows_per_part)
        self._lock = ExitStack()

    def __enter__(self) -> "PreparedWriter":
        self._check()
        if not self.finished or holds_leftovers(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
            with ExitStack() as stack:
                stack.enter_context(locked(self.directory / LOCK))
                clear_drafts(self.directory)
                if not self.finished:  # another run may have finished it before this one had the lock
                    self._begin()
                self._lock = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

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
            self._complete([read_record(marker(self.directory, part), Done) for part in parts_of(self.plan)])
        (self.directory / PLAN).unlink(missing_ok=True)
        shutil.rmtree(self.directory / DONE, ignore_errors=True)
        return Prepared(self.directory)

    def _check(self) -> None:
        if not self.contents.ids:
            raise PreparedError(
                f"{self.directory}: the {self.contents.split} split of {self.contents.dataset} holds no sample"
            )
        check_folder(self.directory)
        begun = next((self.directory / name for name in (META, PLAN) if (self.directory / name).is_file()), None)
        if begun is not None:
            refuse_differences(self.directory, read_record(begun, Plan), self.plan)
        if not self.finished:
            require_space(self.directory, sum(map(len, self.missing())) * bytes_per_sample(self.contents.margin))

    def _begin(self) -> None:
        done = self.directory / DONE
        write_json(self.directory / PLAN, self.plan)
        done.mkdir(exist_ok=True)
        clear_drafts(done)
        write_json(self.directory / IDS, list(self.contents.ids))
        for name, (kind, shape) in row_types(self.contents.margin).items():
            path, shape = self.directory / f"{name}.npy", (len(self.contents.ids), *shape)
            if not holds_array(path, kind, shape):
                with atomic_write(path) as draft:
                    np.lib.format.open_memmap(draft, "w+", kind, shape)  # takes no space yet
        self._forget_damaged()

    def _forget_damaged(self) -> None:
        """Delete the marker of each part whose bytes are not those that it declares; the part is written again."""
        arrays = [map_array(self.directory / f"{name}.npy") for name in row_types(self.contents.margin)]
        for part in parts_of(self.plan):
            path = marker(self.directory, part)
            if path.is_file() and not self._is_whole(path, part, arrays):
                path.unlink()

    def _is_whole(self, path: Path, part: range, arrays: list[ndarray]) -> bool:
        try:
            done = read_record(path, Done)
        except PreparedError:
            return False
        kept = [row for row in part if self.contents.ids[row] not in done["left_out"]]
        return done["kept"] == kept and done["sha256"] == digest(values[part.start : part.stop] for values in arrays)

    def _complete(self, parts: list[Done]) -> None:
        rows = np.array([row for part in parts for row in part["kept"]], np.int64)
        left_out = {name: reason for part in parts for name, reason in part["left_out"].items()}
        if not len(rows):
            name, reason = next(iter(left_out.items()))
            raise PreparedError(f"{self.directory}: no sample can be used; {name}: {reason}")
        with atomic_write(self.directory / ROWS) as draft:
            np.save(draft, rows)
        digests = [part["sha256"] for part in parts]
        whole = digest([np.frombuffer("".join(digests).encode(), np.uint8), rows])
        found = {"samples": len(rows), "left_out": left_out, "sha256": whole, "parts": digests}
        write_json(self.directory / META, handed_on(self.plan) | {"dhpe_version": __version__} | found)


def handed_on(plan: Plan) -> Plan:
    """Return a plan that can be handed on: of the source's folder only the name is kept."""
    source = dict(plan["source"])
    if "directory" in source:
        source["directory"] = Path(str(source["directory"])).name
    return plan | {"source": source}


def marker(directory: Path, part: range) -> Path:
    """Return the file that marks a part as written."""
    return directory / DONE / f"{part.start:08}.json"


def check_folder(directory: Path) -> None:
    """Check that a folder can hold a cache: it is missing, empty, or holds one already.

    Raises:
        PreparedError: The folder holds other files, or the path or a parent of it is a file.
    """
    existing = next(folder for folder in (directory.absolute(), *directory.absolute().parents) if folder.exists())
    if not existing.is_dir():
        raise PreparedError(f"{existing}: is a file; name a new or an empty folder")
    others = directory.is_dir() and any(not path.name.startswith(".") for path in directory.iterdir())
    if others and not holds_cache(directory):
        raise PreparedError(f"{directory}: holds other files; name a new or an empty folder")


def holds_array(path: Path, kind: np.dtype, shape: tuple[int, ...]) -> bool:
    """Return whether a file holds an array of a certain type and shape."""
    try:
        values = map_array(path)
    except PreparedError:
        return False
    return (values.dtype, values.shape) == (kind, shape)


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
        DiskFullError: The disk is full.
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
    with explain_full_disk(path, lambda: values.nbytes), path.open("r+b") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        file.seek(start * values[0].nbytes, os.SEEK_CUR)
        file.write(np.ascontiguousarray(values).data)
        file.flush()
        os.fsync(file.fileno())
