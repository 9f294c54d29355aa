"""Prepare a split on several machines: each writes every n-th part into its own folder, and the parts are joined.

The joined cache has the same bytes as one that a single run wrote.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from dhpe_lib.common.files import write_json
from dhpe_lib.data.cache.layout import (
    IDS,
    PLAN,
    Contents,
    Done,
    Plan,
    PreparedError,
    digest,
    map_array,
    parts_of,
    read_ids,
    read_record,
    refuse_differences,
    row_types,
)
from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.data.cache.writer import PreparedWriter, marker, write_rows

Shard = tuple[int, int]
WHOLE: Shard = (1, 1)
FOLDER = re.compile(r"(.+)-shard-(\d+)-of-(\d+)")


def shard_folder(folder: Path, shard: Shard) -> Path:
    """Return the folder of a shard of a split.

    Args:
        folder: Folder of the split.
        shard: Number of the shard from 1, and number of shards.
    """
    number, count = shard
    return folder if shard == WHOLE else folder.with_name(f"{folder.name}-shard-{number}-of-{count}")


def parts_of_shard(writer: PreparedWriter, shard: Shard) -> list[range]:
    """Return the missing parts of a cache that belong to a shard: every n-th part of the cache.

    Args:
        writer: The cache.
        shard: Number of the shard from 1, and number of shards.
    """
    number, count = shard
    mine = set(parts_of(writer.plan)[number - 1 :: count])
    return [part for part in writer.missing() if part in mine]


def rows_of_shard(writer: PreparedWriter, shard: Shard) -> int:
    """Return the number of rows of a shard, written or missing."""
    number, count = shard
    return sum(map(len, parts_of(writer.plan)[number - 1 :: count]))


def shards_in(folder: Path) -> dict[str, list[Path]]:
    """Find the folders of shards in a folder: name of the split -> its folders, in the order of their numbers.

    Raises:
        PreparedError: There is none.
    """
    found: dict[str, list[tuple[int, Path]]] = {}
    for path in folder.iterdir():
        if path.is_dir() and (match := FOLDER.fullmatch(path.name)):
            found.setdefault(match[1], []).append((int(match[2]), path))
    if not found:
        raise PreparedError(f"{folder}: holds no folders of shards, such as training-shard-1-of-8; copy them into it")
    return {name: [path for _, path in sorted(paths)] for name, paths in sorted(found.items())}


def join_shards(out: Path, folders: Sequence[Path]) -> Prepared:
    """Join the shards of a split. The folders of the shards are not changed.

    Args:
        out: Folder of the joined cache.
        folders: Folders of the shards, at least one.

    Returns:
        The opened cache.

    Raises:
        PreparedError: The shards have different contents, a part is missing, or its bytes have changed.
        OSError: The folder cannot be written to.
    """
    first = read_record(folders[0] / PLAN, Plan)
    for folder in folders[1:]:
        refuse_differences(folder, read_record(folder / PLAN, Plan), first)
    ids = read_ids(folders[0] / IDS, first["rows"])
    contents = Contents(first["dataset"], first["split"], ids, first["source"], first["crop"]["margin"])
    refuse_differences(folders[0], first, contents.plan(first["rows_per_part"]))
    homes = {part: [folder for folder in folders if marker(folder, part).is_file()] for part in parts_of(first)}
    if missing := [part for part, found in homes.items() if not found]:
        rows = f"rows {missing[0].start} to {missing[0].stop - 1}"
        raise PreparedError(
            f"{folders[0].parent}: {len(missing)} of {len(homes)} parts of {first['split']} are missing, first {rows}; "
            "copy all shards there, and run the shards again that did not end"
        )
    with PreparedWriter(out, contents, first["rows_per_part"]) as writer:
        for part in writer.missing():
            _copy_part(out, homes[part][0], part, contents.margin)
        return writer.finish()


def _copy_part(out: Path, folder: Path, part: range, margin: int) -> None:
    done = read_record(marker(folder, part), Done)
    arrays = {name: map_array(folder / f"{name}.npy")[part.start : part.stop] for name in row_types(margin)}
    if digest(arrays.values()) != done["sha256"]:
        raise PreparedError(f"{folder}: rows {part.start} to {part.stop - 1} have changed; copy or run the shard again")
    for name, values in arrays.items():
        write_rows(out / f"{name}.npy", part.start, values)
    write_json(marker(out, part), done)
