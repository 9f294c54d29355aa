"""The commands `dhpe data`: look at a dataset, check it, prepare it for training."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from dhpe_lib.terminal import OUT, Value, checked, prepare_folder, say

if TYPE_CHECKING:
    from dhpe_lib.contact_sheet import Tile
    from dhpe_lib.datasets import Dataset
    from dhpe_lib.datasets.files import Finding
    from dhpe_lib.datasets.prepared import Prepared

data_app = typer.Typer(no_args_is_help=True, help="Datasets: check a copy, look at it, prepare it for training.")
NAMES = "rhd, stb, dexter+object, freihand, ho3d-v2, ho3d-v3"
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help=f"{NAMES}.", show_default=False)]
FolderArgument = Annotated[
    Path, typer.Argument(metavar="DIR", help="The unpacked dataset, or a prepared split.", show_default=False)
]
SplitOption = Annotated[str | None, typer.Option("--split", metavar="SPLIT", help="As the dataset calls it.")]


@data_app.command()
def check(name: NameArgument, folder: FolderArgument) -> None:
    """Say what is there, what is missing or damaged, and what to do about it.

    A dataset takes seconds, since few pictures are opened; of a prepared split every byte is read. The exit code is 1
    where something is wrong.
    """
    cache = prepared(name, folder)
    if cache is not None:
        check_cache(cache)
        return
    dataset = dataset_of(name)
    findings = refused(lambda: dataset.check(folder))
    for finding in findings:
        say(*finding_line(finding, folder))
    problems = [finding for finding in findings if finding.problem]
    if not problems:
        say(f"\nNothing is missing. Next: dhpe data prepare {name} {folder} --out FOLDER")
        return
    say(f"\n{len(problems)} of {len(findings)} things are wrong:")
    for remedy in dict.fromkeys(finding.remedy for finding in problems):
        say(f"  {remedy}")
    say(f"The dataset's page: {dataset.homepage}")
    raise typer.Exit(1)


@data_app.command()
def show(
    name: NameArgument,
    folder: FolderArgument,
    split: SplitOption = None,
    count: Annotated[int, typer.Option("--count", min=1, help="How many pictures.")] = 24,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Which ones are drawn.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The page; by default in dhpe_out.", show_default=False)
    ] = None,
) -> None:
    """Draw a contact sheet: pictures with joints and masks.

    Of a dataset the whole pictures with the outline of the crop, of a prepared split the crops.
    """
    from dhpe_lib.contact_sheet import contact_sheet
    from dhpe_lib.outputs import together

    cache = prepared(name, folder)
    if cache is not None:
        split, total, tiles = cache_tiles(cache, split, count, seed)
    else:
        split, total, tiles = dataset_tiles(name, folder, split, count, seed)
    page = out or OUT / f"{name}_{split}.png"
    checked("--out", lambda: prepare_folder(page.parent))
    with together(page.parent, [page.name]) as (draft,):
        sheet = contact_sheet(tiles, f"{name} {split}: {len(tiles):,} of {total:,} samples")
        checked("--out", lambda: sheet.save(draft))
    say(f"{len(tiles)} of {total:,} samples: ", page)


@data_app.command()
def prepare(
    name: NameArgument,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The unpacked dataset.", show_default=False)],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where to; each split gets a folder in it.", show_default=False)
    ],
    split: Annotated[
        list[str] | None, typer.Option("--split", metavar="SPLIT", help="One of the splits; may be repeated.")
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Processes.", show_default="one for each core")
    ] = os.cpu_count() or 1,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out pictures that cannot be read.")] = False,
) -> None:
    """Crop every hand to 224 x 224 and write a cache for training, of all splits or some.

    A run that was stopped, by Ctrl-C or worse, goes on where it was when the same command is given again.
    """
    from dhpe_lib.datasets.preparation import Job
    from dhpe_lib.datasets.preparation import prepare as prepare_split

    dataset = dataset_of(name)
    for one in [known_split(dataset, name) for name in split or dataset.splits]:
        job = Job(name, one, dataset.reader, folder, out / one, skip_bad)
        try:
            cache = refused(partial(prepare_split, job, workers, Console()))
        except KeyboardInterrupt:
            say("\nStopped. What is finished is kept: the same command goes on from there.")
            raise typer.Exit(130) from None
        left_out = len(cache.meta["left_out"])
        say(
            f"{len(cache):,} samples in ",
            cache.directory,
            f"; {left_out:,} left out, meta.json says why" * bool(left_out),
        )
    say(f"Look at them: dhpe data show {name} ", cache.directory)


@data_app.command()
def make(
    name: Annotated[str, typer.Argument(metavar="NAME", help="orh, orh-s or orh-o.", show_default=False)],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where to; each split gets a folder in it.", show_default=False)
    ],
    split: Annotated[
        list[str] | None, typer.Option("--split", metavar="SPLIT", help="One of the splits; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed is another benchmark.")] = 0,
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="Pictures of each split.", show_default="all of them")
    ] = None,
    backgrounds: Annotated[
        Path | None,
        typer.Option(
            "--backgrounds", metavar="DIR", help="NYU depth v2, or a folder of images.", show_default="painted"
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Processes.", show_default="one for each core")
    ] = os.cpu_count() or 1,
) -> None:
    """Render the open benchmark: ORH, ORH-S or ORH-O, as prepared splits.

    The same seed gives the same bytes, whatever the number of workers. A run that was stopped goes on where it was when
    the same command is given again; `dhpe data check` reads every byte of the result again.
    """
    from dhpe_lib.datasets.synthetic import orh

    if name not in orh.COUNTS:
        raise typer.BadParameter(f"no benchmark is called {name}; there are {', '.join(orh.COUNTS)}", param_hint="NAME")
    counts = orh.COUNTS[name]
    for one in split or counts:
        if one not in counts:
            raise typer.BadParameter(f"there is no {one}, only {', '.join(counts)}", param_hint="--split")
        recipe = orh.Recipe(name, one, min(count or counts[one], counts[one]), seed, backgrounds)
        try:
            cache = refused(partial(orh.make, recipe, out / one, workers, Console()))
        except KeyboardInterrupt:
            say("\nStopped. What is finished is kept: the same command goes on from there.")
            raise typer.Exit(130) from None
        say(f"{len(cache):,} samples in ", cache.directory, f", SHA-256 {cache.meta['sha256'][:16]}")
    say(f"Look at them: dhpe data show {name} ", cache.directory)


# ------------------------------------------------------------------------------------------------------------- helpers
def refused(make: Callable[[], Value]) -> Value:
    """What `make` gives; files that cannot be used become a message and exit code 1."""
    try:
        return make()
    except (ValueError, OSError) as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(Text(f"✗ {error}", "red"))
        raise typer.Exit(1) from error


def dataset_of(name: str) -> "Dataset":
    """The dataset of a name."""
    from dhpe_lib.datasets import DATASETS

    if name not in DATASETS:
        raise typer.BadParameter(f"no dataset is called {name}; there are {', '.join(DATASETS)}", param_hint="NAME")
    return DATASETS[name]


def known_split(dataset: "Dataset", split: str) -> str:
    """The split, if the dataset has it."""
    if split not in dataset.splits:
        raise typer.BadParameter(f"there is no {split}, only {', '.join(dataset.splits)}", param_hint="--split")
    return split


def prepared(name: str, folder: Path) -> "Prepared | None":
    """The prepared split that a folder holds, if it does."""
    from dhpe_lib.datasets.layout import META, PLAN
    from dhpe_lib.datasets.prepared import Prepared

    if not any((folder / file).is_file() for file in (META, PLAN)):
        return None
    cache = refused(lambda: Prepared(folder))
    if cache.meta["dataset"] != name:
        raise typer.BadParameter(f"{folder} holds {cache.meta['dataset']}, not {name}", param_hint="NAME")
    return cache


def check_cache(cache: "Prepared") -> None:
    """Say what a prepared split holds and whether its bytes are those that were written."""
    from dhpe_lib.datasets.prepared import damaged_index

    meta = cache.meta
    damaged = [f"rows {part.start} to {part.stop - 1}" for part in cache.damaged_parts()] + damaged_index(cache)
    say(f"{meta['dataset']} {meta['split']}, prepared by dhpe {meta['dhpe_version']} from ", source_of(cache))
    say(f"{len(cache):,} samples, {len(meta['left_out']):,} left out, SHA-256 {meta['sha256']}")
    if damaged:
        refused(lambda: raise_damaged(cache, ", ".join(damaged)))
    say("Every byte is as it was written.")


def source_of(cache: "Prepared") -> str:
    """What a prepared split was made from."""
    source = cache.meta["source"]
    return source.get("directory") or ", ".join(f"{key} {value}" for key, value in source.items())


def raise_damaged(cache: "Prepared", what: str) -> None:
    """Stop for bytes that have changed."""
    from dhpe_lib.datasets.layout import PreparedError, remedy

    raise PreparedError(f"{cache.directory}: {what} have changed. {remedy(cache.directory, cache.meta)}")


def finding_line(finding: "Finding", folder: Path) -> list[str | Text]:
    """One thing that was looked at, as a line."""
    path = finding.path.relative_to(folder) if finding.path.is_relative_to(folder) else finding.path
    mark = Text("✗ ", "red") if finding.problem else Text("✓ ", "green")
    count = "" if finding.count is None else f"  {finding.count:,}"
    return [mark, str(path), count, f"  {finding.problem}" if finding.problem else ""]


def cache_tiles(cache: "Prepared", split: str | None, count: int, seed: int) -> tuple[str, int, list["Tile"]]:
    """Split, number of samples, and some of them, of a prepared split."""
    from dhpe_lib.contact_sheet import crop_tiles

    there = cache.meta["split"]
    if split not in (None, there):
        raise typer.BadParameter(f"{cache.directory} holds {there}", param_hint="--split")
    chosen = draw(len(cache), count, seed)
    return there, len(cache), list(crop_tiles(cache[chosen], [cache.ids[index] for index in chosen]))


def dataset_tiles(name: str, folder: Path, split: str | None, count: int, seed: int) -> tuple[str, int, list["Tile"]]:
    """The same of a dataset's own files."""
    from dhpe_lib.contact_sheet import sample_tile

    dataset = dataset_of(name)
    split = known_split(dataset, split or dataset.splits[0])
    reader = refused(lambda: dataset.reader(folder, split))
    chosen = draw(len(reader), count, seed)
    return split, len(reader), refused(lambda: [sample_tile(reader[index]) for index in chosen])


def draw(total: int, count: int, seed: int) -> list[int]:
    """Some of the numbers below `total`, in order."""
    import numpy as np

    return sorted(np.random.default_rng(seed).choice(total, min(count, total), replace=False).tolist())
