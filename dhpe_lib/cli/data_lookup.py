"""What `dhpe data` finds under a name and in a folder: a dataset's own files, or prepared splits."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.text import Text

from dhpe_lib.common.console import plain, say

if TYPE_CHECKING:
    from dhpe_lib.data.cache.reader import Prepared
    from dhpe_lib.data.checks import Finding
    from dhpe_lib.data.readers import Dataset

NAMES = "rhd, stb, dexter+object, freihand, ho3d-v2, ho3d-v3"
RENDERED = ("orh", "orh-s", "orh-o")


def dataset_of(name: str) -> "Dataset":
    """The dataset of a name."""
    from dhpe_lib.data.readers import DATASETS

    if name in RENDERED:
        raise typer.BadParameter(f"{name} is rendered: dhpe data make {name} --out FOLDER makes it", param_hint="NAME")
    if name not in DATASETS:
        raise typer.BadParameter(f"no dataset is called {name}; there are {', '.join(DATASETS)}", param_hint="NAME")
    return DATASETS[name]


def known_split(splits: tuple[str, ...], split: str) -> str:
    """The split, if it is one of them."""
    if split not in splits:
        raise typer.BadParameter(f"there is no {split}, only {', '.join(splits)}", param_hint="--split")
    return split


def cache_folders(name: str, folder: Path) -> list[Path]:
    """Where prepared splits are or should be: a folder itself, or one in it for each split; none of a dataset's own."""
    from dhpe_lib.data.cache.layout import holds_cache

    splits = splits_of(name)
    if holds_cache(folder):
        return [folder]
    inner = [folder / split for split in splits]
    return inner if name in RENDERED or any(map(holds_cache, inner)) else []


def splits_of(name: str) -> tuple[str, ...]:
    """The splits of a dataset or of a rendered benchmark."""
    if name not in RENDERED:
        return dataset_of(name).splits
    from dhpe_lib.synthetic.orh import COUNTS

    return tuple(COUNTS[name])


def open_cache(name: str, folder: Path) -> "Prepared":
    """A prepared split of a dataset; if it is not there, the error says how to make it."""
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
    """A line of `dhpe data` for the shell, with quotes where a path needs them."""
    return shlex.join(["dhpe", "data", *map(str, words)])


def nothing_there(findings: list["Finding"]) -> bool:
    """Whether a check came upon none of a dataset's files, as in a folder that holds something else."""
    return not any(finding.count or finding.path.is_file() for finding in findings)


def check_caches(name: str, folders: list[Path]) -> None:
    """Say of each prepared split what it holds, or what is wrong with it."""
    wrong = 0
    for folder in folders:
        try:
            describe(open_cache(name, folder))
        except (ValueError, OSError) as error:
            wrong += 1
            say(Text(f"✗ {error}", "red"))
    if wrong:
        raise typer.Exit(1)


def describe(cache: "Prepared") -> None:
    """Say what a prepared split holds, once its bytes have been found to be those that were written."""
    from dhpe_lib.data.cache.layout import PreparedError, remedy
    from dhpe_lib.data.cache.reader import damaged_index

    meta, source = cache.meta, cache.meta["source"]
    damaged = [f"rows {part.start} to {part.stop - 1}" for part in cache.damaged_parts()] + damaged_index(cache)
    if damaged:
        what = ", ".join(damaged)
        raise PreparedError(f"{cache.directory}: {what} have changed. {remedy(cache.directory, meta)}")
    origin = source.get("directory") or ", ".join(f"{key} {value}" for key, value in source.items())
    say(Text("✓ ", "green"), f"{meta['dataset']} {meta['split']}, by dhpe {meta['dhpe_version']} from {origin}")
    say(f"  {len(cache):,} samples, {len(meta['left_out']):,} left out, SHA-256 {meta['sha256']}")
    say("  Every byte is as it was written.")
    if meta["dataset"] in RENDERED:
        compare(meta)


def compare(meta: dict[str, Any]) -> None:
    """Say in what a rendered split is not the benchmark as this program makes it."""
    from dhpe_lib.synthetic.orh import COUNTS, VERSION

    whole, engine = COUNTS[meta["dataset"]].get(meta["split"], 0), meta["source"].get("engine")
    if meta["rows"] != whole:
        say(f"  Only a sample: the benchmark has {whole:,} pictures.")
    if engine != VERSION:
        say(f"  Drawn by engine {engine}; this program's engine {VERSION} draws other pictures.")
