"""The commands `dhpe data`: look at a dataset, check it, prepare it for training."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from dhpe_lib.cli.data_lookup import (
    NAMES,
    RENDERED,
    cache_folders,
    check_caches,
    command,
    dataset_of,
    known_split,
    nothing_there,
    open_cache,
    splits_of,
)
from dhpe_lib.cli.options import OUT, clean_exit, prepare_folder, usage_error
from dhpe_lib.common.console import Terminal, plain, say

if TYPE_CHECKING:
    from dhpe_lib.data.checks import Finding
    from dhpe_lib.figures.contact_sheet import Tile

data_app = typer.Typer(no_args_is_help=True, help="Datasets: check a copy, look at it, prepare it for training.")


def existing(folder: Path) -> Path:
    """The folder, if there is one."""
    if not folder.is_dir():
        problem = "is a file; unpack it and name the folder" if folder.exists() else "no such folder"
        raise typer.BadParameter(plain(f"{folder}: {problem}"), param_hint="DIR")
    return folder


NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help=f"{NAMES}, {', '.join(RENDERED)}.", show_default=False)
]
FolderArgument = Annotated[
    Path,
    typer.Argument(
        metavar="DIR",
        help="The unpacked dataset, a prepared split, or the folder with all prepared splits.",
        show_default=False,
        callback=existing,
    ),
]
SplitOption = Annotated[str | None, typer.Option("--split", metavar="SPLIT", help="As the dataset calls it.")]


@data_app.command()
def check(name: NameArgument, folder: FolderArgument) -> None:
    """Say what is there, what is missing or damaged, and what to do about it.

    A dataset takes seconds, since few pictures are opened; of a prepared split every byte is read. The exit code is 1
    where something is wrong.
    """
    caches = cache_folders(name, folder)
    if caches:
        check_caches(name, caches)
        return
    dataset = dataset_of(name)
    with clean_exit():
        findings = dataset.check(folder)
    if nothing_there(findings):
        wanted = findings[0].path.relative_to(folder)
        say(Text(f"✗ {folder}: no labels of {name} are there, such as {wanted}. Is it the right folder?", "red"))
        raise typer.Exit(1)
    for finding in findings:
        say(*finding_line(finding, folder))
    problems = [finding for finding in findings if finding.problem]
    if not problems:
        say(f"\nNothing is missing. Next: {command('prepare', name, folder, '--out', 'FOLDER')}")
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

    Of a dataset the whole pictures with the outline of the crop, of a prepared split the crops. Without --split the
    first one that is there. Pictures of a dataset that cannot be read are left out and named, and the exit code is 1.
    """
    caches = cache_folders(name, folder)
    if caches:
        drawn = cache_samples(name, caches, split, count, seed)
    else:
        drawn = dataset_samples(name, folder, split, count, seed)
    if drawn.tiles:
        write_sheet(name, drawn, out or OUT / f"{name}_{drawn.split}.png")
    for sample, problem in drawn.unreadable.items():
        say(Text(f"✗ {sample}: {problem}", "red"))
    if drawn.unreadable:
        raise typer.Exit(1)


@data_app.command()
def prepare(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"{NAMES}.", show_default=False)],
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The unpacked dataset.", show_default=False, callback=existing)
    ],
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
    from dhpe_lib.data.cache.preparation import Job
    from dhpe_lib.data.cache.preparation import prepare as prepare_split

    dataset = dataset_of(name)
    for one in [known_split(dataset.splits, name) for name in split or dataset.splits]:
        job = Job(name, one, dataset.reader, folder, out / one, skip_bad)
        try:
            with clean_exit():
                cache = prepare_split(job, workers, Terminal())
        except KeyboardInterrupt:
            say("\nStopped. What is finished is kept: the same command goes on from there.")
            raise typer.Exit(130) from None
        left_out = len(cache.meta["left_out"])
        say(
            f"{len(cache):,} samples in ",
            cache.directory,
            f"; {left_out:,} left out, meta.json says why" * bool(left_out),
        )
    say(f"Look at them: {command('show', name, cache.directory)}")


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
    from dhpe_lib.synthetic import orh

    if name not in RENDERED:
        raise typer.BadParameter(f"no benchmark is called {name}; there are {', '.join(RENDERED)}", param_hint="NAME")
    counts = orh.COUNTS[name]
    wanted = [known_split(tuple(counts), one) for one in split or counts]
    with usage_error("--count"):
        recipes = [orh.Recipe(name, one, count or counts[one], seed, backgrounds) for one in wanted]
    for recipe in recipes:
        try:
            with clean_exit():
                cache = orh.make(recipe, out / recipe.split, workers, Terminal())
        except KeyboardInterrupt:
            say("\nStopped. What is finished is kept: the same command goes on from there.")
            raise typer.Exit(130) from None
        say(f"{len(cache):,} samples in ", cache.directory, f", SHA-256 {cache.meta['sha256'][:16]}")
    say(f"Look at them: {command('show', name, cache.directory)}")


# ------------------------------------------------------------------------------------------------------------- helpers
@dataclass(frozen=True)
class Drawn:
    """Samples of a split, drawn for a contact sheet.

    Attributes:
        split: Its name.
        total: Number of its samples.
        tiles: Those drawn that can be read.
        unreadable: Id of each of the others, and what is wrong with it.
    """

    split: str
    total: int
    tiles: list["Tile"]
    unreadable: dict[str, str] = field(default_factory=dict)


def write_sheet(name: str, drawn: Drawn, page: Path) -> None:
    """Write the contact sheet and say where it is."""
    from dhpe_lib.common.files import atomic_write
    from dhpe_lib.figures.contact_sheet import contact_sheet

    with usage_error("--out"):
        prepare_folder(page.parent)
    with atomic_write(page) as draft:
        title = f"{name} {drawn.split}: {len(drawn.tiles):,} of {drawn.total:,} samples"
        sheet = contact_sheet(drawn.tiles, title)
        with usage_error("--out"):
            sheet.save(draft)
    say(f"{len(drawn.tiles)} of {drawn.total:,} samples: ", page)


def finding_line(finding: "Finding", folder: Path) -> list[str | Text]:
    """One thing that was looked at, as a line."""
    path = finding.path.relative_to(folder) if folder in finding.path.parents else finding.path
    mark = Text("✗ ", "red") if finding.problem else Text("✓ ", "green")
    count = "" if finding.count is None else f"  {finding.count:,}"
    return [mark, str(path), count, f"  {finding.problem}" if finding.problem else ""]


def cache_samples(name: str, folders: list[Path], split: str | None, count: int, seed: int) -> Drawn:
    """Some samples of a prepared split: of the one named or the first."""
    from dhpe_lib.data.cache.layout import holds_cache
    from dhpe_lib.figures.contact_sheet import crop_tiles

    if split is not None:
        known_split(splits_of(name), split)
    folder = next((one for one in folders if (one.name == split if split else holds_cache(one))), folders[0])
    with clean_exit():
        cache = open_cache(name, folder)
    there = cache.meta["split"]
    if split not in (None, there):
        raise typer.BadParameter(plain(f"{cache.directory} holds {there}"), param_hint="--split")
    chosen = draw(len(cache), count, seed)
    return Drawn(there, len(cache), list(crop_tiles(cache[chosen], [cache.ids[index] for index in chosen])))


def dataset_samples(name: str, folder: Path, split: str | None, count: int, seed: int) -> Drawn:
    """The same of a dataset's own files."""
    from dhpe_lib.figures.contact_sheet import sample_tile

    dataset = dataset_of(name)
    split = known_split(dataset.splits, split or dataset.splits[0])
    with clean_exit():
        reader = dataset.reader(folder, split)
    drawn = Drawn(split, len(reader), [])
    for index in draw(len(reader), count, seed):
        try:
            drawn.tiles.append(sample_tile(reader[index]))
        except (OSError, ValueError) as error:
            drawn.unreadable[reader.ids[index]] = str(error)
    return drawn


def draw(total: int, count: int, seed: int) -> list[int]:
    """Some of the numbers below `total`, in order."""
    import numpy as np

    return sorted(np.random.default_rng(seed).choice(total, min(count, total), replace=False).tolist())
