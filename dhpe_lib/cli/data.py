"""The commands `dhpe data`: check, show, prepare and make datasets."""

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
from dhpe_lib.cli.options import OUT, DeviceOption, clean_exit, parse_shard, prepare_folder, usage_error
from dhpe_lib.common.console import Terminal, plain, say

if TYPE_CHECKING:
    from dhpe_lib.data.checks import Finding
    from dhpe_lib.figures.contact_sheet import Tile

data_app = typer.Typer(no_args_is_help=True, help="Check, show and prepare datasets; render the open benchmarks.")


def existing_folder(folder: Path) -> Path:
    """Return the folder if it exists; else raise a usage error."""
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
        help="Unpacked dataset, prepared split, or folder with all prepared splits.",
        show_default=False,
        callback=existing_folder,
    ),
]
SplitOption = Annotated[str | None, typer.Option("--split", metavar="SPLIT", help="Name of the split in the dataset.")]


@data_app.command()
def check(name: NameArgument, folder: FolderArgument) -> None:
    """List the files that are present, missing or damaged, with a remedy for each problem.

    The check of a dataset takes seconds, since it opens few pictures. The check of a prepared split reads every byte.
    The exit code is 1 if there is a problem.
    """
    caches = cache_folders(name, folder)
    if caches:
        check_caches(name, caches)
        return
    dataset = dataset_of(name)
    with clean_exit():
        findings = dataset.check(folder)
    if nothing_there(findings):
        example = findings[0].path.relative_to(folder)
        say(Text(f"✗ {folder}: holds no labels of {name}, such as {example}. Is it the right folder?", "red"))
        raise typer.Exit(1)
    for finding in findings:
        say(*finding_line(finding, folder))
    problems = [finding for finding in findings if finding.problem]
    if not problems:
        say(f"\nNothing is missing. Next: {command('prepare', name, folder, '--out', 'FOLDER')}")
        return
    say(f"\n{len(problems)} of {len(findings)} checks failed:")
    for remedy in dict.fromkeys(finding.remedy for finding in problems):
        say(f"  {remedy}")
    say(f"Home page of the dataset: {dataset.homepage}")
    raise typer.Exit(1)


@data_app.command()
def show(
    name: NameArgument,
    folder: FolderArgument,
    split: SplitOption = None,
    count: Annotated[int, typer.Option("--count", min=1, help="Number of pictures.")] = 24,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Random seed of the selection.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Image to write; by default in dhpe_out.", show_default=False),
    ] = None,
) -> None:
    """Draw a contact sheet: pictures with joints and masks.

    The sheet shows the whole pictures of a dataset, with the outline of the crop, or the crops of a prepared split.
    Without --split it shows the first split. Pictures that cannot be read are left out and named; then the exit code
    is 1.
    """
    if out is not None:
        refuse_files_of(folder, out)
    caches = cache_folders(name, folder)
    if caches:
        samples = cache_samples(name, caches, split, count, seed)
    else:
        samples = dataset_samples(name, folder, split, count, seed)
    if samples.tiles:
        write_sheet(name, samples, out or OUT / f"{name}_{samples.split}.png")
    for sample, problem in samples.unreadable.items():
        say(Text(f"✗ {sample}: {problem}", "red"))
    if samples.unreadable:
        raise typer.Exit(1)


@data_app.command()
def prepare(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"{NAMES}.", show_default=False)],
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Unpacked dataset.", show_default=False, callback=existing_folder)
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="DIR", help="Folder of the caches; each split gets a folder in it.", show_default=False
        ),
    ],
    split: Annotated[
        list[str] | None, typer.Option("--split", metavar="SPLIT", help="Split; may be repeated. Default: all splits.")
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Number of processes.", show_default="one for each core")
    ] = os.cpu_count() or 1,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out pictures that cannot be read.")] = False,
    shard: Annotated[
        str | None,
        typer.Option("--shard", metavar="I/N", help="Write the I-th of N shards; `dhpe data join` joins them."),
    ] = None,
) -> None:
    """Crop every hand to 224 x 224 pixels and write a cache for training.

    The same command continues an interrupted run.
    """
    from dhpe_lib.data.cache.preparation import Job, prepare_shard
    from dhpe_lib.data.cache.preparation import prepare as prepare_split
    from dhpe_lib.data.cache.shards import WHOLE, shard_folder
    from dhpe_lib.data.cache.writer import check_folder

    dataset = dataset_of(name)
    with usage_error("--shard"):
        part = parse_shard(shard)
    chosen = [known_split(dataset.splits, wanted) for wanted in split or dataset.splits]
    with usage_error("--out"):
        for split_name in chosen:
            check_folder(shard_folder(out / split_name, part))
    for split_name in chosen:
        job = Job(name, split_name, dataset.reader, folder, shard_folder(out / split_name, part), skip_bad)
        try:
            with clean_exit():
                if part != WHOLE:
                    prepare_shard(job, part, workers, Terminal())
                    say_shard(job.out, part)
                    continue
                cache = prepare_split(job, workers, Terminal())
        except KeyboardInterrupt:
            say("\nStopped. The finished part is kept; the same command continues.")
            raise typer.Exit(130) from None
        left_out = len(cache.meta["left_out"])
        say(
            f"{len(cache):,} samples in ",
            cache.directory,
            f"; {left_out:,} left out, meta.json says why" * bool(left_out),
        )
    if part == WHOLE:
        say(f"Show them: {command('show', name, cache.directory)}")


@data_app.command()
def make(
    name: Annotated[str, typer.Argument(metavar="NAME", help="orh, orh-s or orh-o.", show_default=False)],
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="DIR", help="Folder of the caches; each split gets a folder in it.", show_default=False
        ),
    ],
    split: Annotated[
        list[str] | None, typer.Option("--split", metavar="SPLIT", help="Split; may be repeated. Default: all splits.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Random seed; another seed gives another benchmark.")] = 0,
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="Number of pictures of each split.", show_default="all of them")
    ] = None,
    backgrounds: Annotated[
        Path | None,
        typer.Option(
            "--backgrounds",
            metavar="DIR",
            help="NYU depth v2, or a folder of images.",
            show_default="painted by the program",
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Number of processes.", show_default="one for each core")
    ] = os.cpu_count() or 1,
    shard: Annotated[
        str | None,
        typer.Option("--shard", metavar="I/N", help="Write the I-th of N shards; `dhpe data join` joins them."),
    ] = None,
) -> None:
    """Render an open benchmark (ORH, ORH-S or ORH-O) as prepared splits.

    The same seed gives the same bytes for any number of workers. The same command continues an interrupted run.
    `dhpe data check` verifies every byte of the result.
    """
    from dhpe_lib.data.cache.shards import WHOLE, shard_folder
    from dhpe_lib.data.cache.writer import check_folder
    from dhpe_lib.synthetic import orh

    if name not in RENDERED:
        raise typer.BadParameter(f"no benchmark is called {name}; choose from {', '.join(RENDERED)}", param_hint="NAME")
    counts = orh.COUNTS[name]
    splits = [known_split(tuple(counts), wanted) for wanted in split or counts]
    with usage_error("--count"):
        recipes = [orh.Recipe(name, wanted, count or counts[wanted], seed, backgrounds) for wanted in splits]
    with usage_error("--shard"):
        part = parse_shard(shard)
    with usage_error("--out"):
        for recipe in recipes:
            check_folder(shard_folder(out / recipe.split, part))
    for recipe in recipes:
        target = shard_folder(out / recipe.split, part)
        try:
            with clean_exit():
                if part != WHOLE:
                    orh.make_shard(recipe, target, part, workers, Terminal())
                    say_shard(target, part)
                    continue
                cache = orh.make(recipe, target, workers, Terminal())
        except KeyboardInterrupt:
            say("\nStopped. The finished part is kept; the same command continues.")
            raise typer.Exit(130) from None
        say(f"{len(cache):,} samples in ", cache.directory, f", SHA-256 {cache.meta['sha256'][:16]}")
    if part == WHOLE:
        say(f"Show them: {command('show', name, cache.directory)}")


@data_app.command()
def join(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="Folder with the shards of all machines.", show_default=False, callback=existing_folder
        ),
    ],
) -> None:
    """Join the shards that --shard wrote, such as training-shard-1-of-8, to prepared splits in the same folder.

    The result has the same bytes as that of a single run. The folders of the shards can be deleted afterwards.
    """
    from dhpe_lib.data.cache.shards import join_shards, shards_in

    with clean_exit():
        for name, folders in shards_in(folder).items():
            cache = join_shards(folder / name, folders)
            say(f"{len(cache):,} samples in ", cache.directory, f", SHA-256 {cache.meta['sha256'][:16]}")


@data_app.command("pseudo-label")
def pseudo_label(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Folder with photos.", show_default=False, callback=existing_folder),
    ],
    device: DeviceOption = None,
) -> None:
    """Find the hands in a folder of photos and write their 2D joints to DIR/labels.json.

    The labels are for `dhpe data prepare photos`. They come from the hand landmark network. A hand is kept if several
    looks at it agree. The photos of a subfolder are one set; a training draws a large set less often than its size
    suggests.
    """
    from dhpe_lib.common.console import progress_bar
    from dhpe_lib.common.devices import find_device
    from dhpe_lib.data.readers.photos import LABELS
    from dhpe_lib.prediction.batch import photos_in
    from dhpe_lib.prediction.hand_search import load_hand_networks
    from dhpe_lib.prediction.pseudo_label import label_photos, write_labels

    if (folder / LABELS).exists():
        raise typer.BadParameter(plain(f"{folder / LABELS} exists; move it away first"), param_hint="DIR")
    with usage_error("--device"):
        torch_device = find_device(device)
    with usage_error("DIR"):
        photos = photos_in([folder])
    networks = load_hand_networks(torch_device)
    with progress_bar(Terminal()) as progress:
        task = progress.add_task("photos", total=len(photos))
        labelled = label_photos(networks, folder, photos, lambda: progress.advance(task))
    for path, problem in labelled.unreadable.items():
        say(Text(f"✗ {path}: {problem}", "red"))
    say(
        f"{len(labelled.rows):,} hands labelled, {labelled.doubtful:,} doubtful ones left out; "
        f"{len(labelled.empty):,} of {len(photos):,} photos show no hand"
    )
    with clean_exit():
        written = write_labels(folder, labelled)
    say("Written: ", written)
    say(f"Next: {command('prepare', 'photos', folder, '--out', 'FOLDER')}")


# ------------------------------------------------------------------------------------------------------------- helpers
def say_shard(folder: Path, shard: tuple[int, int]) -> None:
    """Print where a shard is, and how to join the shards."""
    number, count = shard
    say(f"Shard {number} of {count} in ", folder, f"; when all are in one folder: {command('join', folder.parent)}")


@dataclass(frozen=True)
class SheetSamples:
    """Randomly chosen samples of a split for a contact sheet.

    Attributes:
        split: Name of the split.
        total: Number of samples in the split.
        tiles: Tiles of the chosen samples that can be read.
        unreadable: Id and problem of each chosen sample that cannot be read.
    """

    split: str
    total: int
    tiles: list["Tile"]
    unreadable: dict[str, str] = field(default_factory=dict)


def refuse_files_of(folder: Path, out: Path) -> None:
    """Raise a usage error if a file to write is a file of a dataset, also through links or ``..``."""
    if out.exists() and out.resolve().is_relative_to(folder.resolve()):
        raise typer.BadParameter(
            plain(f"{out}: is a file in the dataset's folder; name another file"), param_hint="--out"
        )


def write_sheet(name: str, samples: SheetSamples, path: Path) -> None:
    """Write the contact sheet and print its path."""
    from dhpe_lib.common.files import atomic_write
    from dhpe_lib.figures.contact_sheet import contact_sheet

    with usage_error("--out"):
        prepare_folder(path.parent)
    title = f"{name} {samples.split}: {len(samples.tiles):,} of {samples.total:,} samples"
    sheet = contact_sheet(samples.tiles, title)
    with usage_error("--out"), atomic_write(path) as draft:
        sheet.save(draft)
    say(f"{len(samples.tiles)} of {samples.total:,} samples: ", path)


def finding_line(finding: "Finding", folder: Path) -> list[str | Text]:
    """Return the line of a finding: mark, path, count and problem."""
    path = finding.path.relative_to(folder) if folder in finding.path.parents else finding.path
    mark = Text("✗ ", "red") if finding.problem else Text("✓ ", "green")
    count = "" if finding.count is None else f"  {finding.count:,}"
    return [mark, str(path), count, f"  {finding.problem}" if finding.problem else ""]


def cache_samples(name: str, folders: list[Path], split: str | None, count: int, seed: int) -> SheetSamples:
    """Choose samples of a prepared split: of the named split, or of the first."""
    from dhpe_lib.data.cache.layout import holds_cache
    from dhpe_lib.figures.contact_sheet import crop_tiles

    if split is not None:
        known_split(splits_of(name), split)
    folder = next((path for path in folders if (path.name == split if split else holds_cache(path))), folders[0])
    with clean_exit():
        cache = open_cache(name, folder)
    cached_split = cache.meta["split"]
    if split not in (None, cached_split):
        raise typer.BadParameter(plain(f"{cache.directory} holds the split {cached_split}"), param_hint="--split")
    chosen = sample_rows(len(cache), count, seed)
    return SheetSamples(
        cached_split, len(cache), list(crop_tiles(cache[chosen], [cache.ids[index] for index in chosen]))
    )


def dataset_samples(name: str, folder: Path, split: str | None, count: int, seed: int) -> SheetSamples:
    """Choose samples of a split from the original files of a dataset."""
    from dhpe_lib.figures.contact_sheet import sample_tile

    dataset = dataset_of(name)
    split = known_split(dataset.splits, split or dataset.splits[0])
    with clean_exit():
        reader = dataset.reader(folder, split)
    samples = SheetSamples(split, len(reader), [])
    for index in sample_rows(len(reader), count, seed):
        try:
            samples.tiles.append(sample_tile(reader[index]))
        except (OSError, ValueError) as error:
            samples.unreadable[reader.ids[index]] = str(error)
    return samples


def sample_rows(total: int, count: int, seed: int) -> list[int]:
    """Choose `count` distinct row numbers below `total` at random, or all if there are fewer; in ascending order."""
    import numpy as np

    return sorted(np.random.default_rng(seed).choice(total, min(count, total), replace=False).tolist())
