"""Look up datasets by name and prepared splits by folder, for `dhpe data`."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.text import Text

from dhpe_lib.common.console import plain, say

if TYPE_CHECKING:
    from dhpe_lib.data.cache.reader import Prepared
    from dhpe_lib.data.checks import Finding
    from dhpe_lib.data.readers import Dataset

NAMES = "rhd, stb, dexter+object, freihand, interhand2.6m, dexycb, ho3d-v2, ho3d-v3, photos"
RENDERED = ("orh", "orh-s", "orh-o")


def dataset_of(name: str) -> "Dataset":
    """Return the dataset with a name."""
    from dhpe_lib.data.readers import DATASETS

    if name in RENDERED:
        raise typer.BadParameter(
            f"{name} is rendered; to make it, run: dhpe data make {name} --out FOLDER", param_hint="NAME"
        )
    if name not in DATASETS:
        raise typer.BadParameter(f"no dataset is called {name}; choose from {', '.join(DATASETS)}", param_hint="NAME")
    return DATASETS[name]


def known_split(splits: tuple[str, ...], split: str) -> str:
    """Return the split if it is one of `splits`; else raise a usage error."""
    if split not in splits:
        raise typer.BadParameter(f"there is no split {split}; choose from {', '.join(splits)}", param_hint="--split")
    return split


def cache_folders(name: str, folder: Path) -> list[Path]:
    """Return the folders in which prepared splits are, or should be.

    This is the folder itself, or one folder in it for each split. The list is empty if the folder holds the original
    files of a dataset.
    """
    from dhpe_lib.data.cache.layout import holds_cache

    splits = splits_of(name)
    if holds_cache(folder):
        return [folder]
    inner = [folder / split for split in splits]
    return inner if name in RENDERED or any(map(holds_cache, inner)) else []


def splits_of(name: str) -> tuple[str, ...]:
    """Return the names of the splits of a dataset or of a rendered benchmark."""
    if name not in RENDERED:
        return dataset_of(name).splits
    from dhpe_lib.synthetic.orh import COUNTS

    return tuple(COUNTS[name])


def open_cache(name: str, folder: Path) -> "Prepared":
    """Open a prepared split of a dataset; if the folder is missing, the error says how to make it."""
    from dhpe_lib.data.cache.reader import Prepared

    if not folder.is_dir():
        makes = ["make", name] if name in RENDERED else ["prepare", name, "DIR"]
        line = command(*makes, "--split", folder.name, "--out", folder.parent)
        raise FileNotFoundError(f"{folder}: no such folder. To make it, run: {line}")
    cache = Prepared(folder)
    if cache.meta["dataset"] != name:
        raise typer.BadParameter(plain(f"{folder} holds {cache.meta['dataset']}, not {name}"), param_hint="NAME")
    return cache


def command(*words: str | Path) -> str:
    """Return a `dhpe data` command line for the shell; paths are quoted where necessary."""
    return shlex.join(["dhpe", "data", *map(str, words)])


def nothing_there(findings: list["Finding"]) -> bool:
    """Return whether a check found none of a dataset's files, for example in the wrong folder."""
    return not any(finding.count or finding.path.is_file() for finding in findings)


def check_caches(name: str, folders: list[Path]) -> None:
    """Print the contents of each prepared split, or its problem. Exit with code 1 if there is a problem."""
    failed = False
    for folder in folders:
        try:
            describe(open_cache(name, folder))
        except (ValueError, OSError) as error:
            failed = True
            say(Text(f"✗ {error}", "red"))
    if failed:
        raise typer.Exit(1)


def describe(cache: "Prepared") -> None:
    """Verify the checksums of a prepared split, then print its contents.

    Raises:
        PreparedError: Some bytes have changed since the split was written.
    """
    from dhpe_lib.data.cache.layout import PreparedError, remedy
    from dhpe_lib.data.cache.reader import damaged_index

    meta, source = cache.meta, cache.meta["source"]
    damaged = [f"rows {part.start} to {part.stop - 1}" for part in cache.damaged_parts()] + damaged_index(cache)
    if damaged:
        raise PreparedError(f"{cache.directory}: {', '.join(damaged)} have changed. {remedy(cache.directory, meta)}")
    origin = source.get("directory") or ", ".join(f"{key} {value}" for key, value in source.items())
    say(Text("✓ ", "green"), f"{meta['dataset']} {meta['split']}, by dhpe {meta['dhpe_version']} from {origin}")
    say(f"  {len(cache):,} samples, {len(meta['left_out']):,} left out, SHA-256 {meta['sha256']}")
    say("  Every byte is as it was written.")
    if meta["dataset"] in RENDERED:
        report_differences(meta)


def report_differences(meta: Mapping[str, Any]) -> None:
    """Print how a rendered split differs from the benchmark of this version: number of pictures, engine."""
    from dhpe_lib.synthetic.orh import COUNTS, VERSION

    full_count, engine = COUNTS[meta["dataset"]].get(meta["split"], 0), meta["source"].get("engine")
    if meta["rows"] != full_count:
        say(f"  Only a sample: the benchmark has {full_count:,} pictures.")
    if engine != VERSION:
        say(f"  Rendered by engine {engine}; this program's engine {VERSION} draws other pictures.")
