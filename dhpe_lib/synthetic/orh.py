"""The open rendered hands: three benchmarks that anybody can make again from a seed, byte for byte.

They stand in for the paper's three: ORH for RHD (hands of any kind), ORH-S for STB (twelve sequences of slow motion),
ORH-O for Dexter+Object (hands with things; skins, things and backgrounds of kinds that no other part shows; fingertips
are all that is labelled). They have the same numbers of pictures. Their people are not shared either: the skins of a
test split are of tones that the training split leaves out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import torch
from rich.console import Console

from dhpe_lib.common.console import progress_bar
from dhpe_lib.common.devices import one_thread
from dhpe_lib.common.records import join_rows
from dhpe_lib.common.workers import WorkerDiedError, run_in_workers
from dhpe_lib.data.backgrounds import fingerprint
from dhpe_lib.data.cache.layout import Contents, PreparedError
from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.data.cache.writer import PreparedWriter, write_part
from dhpe_lib.data.crops import MARGIN, Crops
from dhpe_lib.synthetic import scenery
from dhpe_lib.synthetic.engine import Style, SyntheticHands
from dhpe_lib.synthetic.hands import TIPS
from dhpe_lib.synthetic.sampling import seed_of
from dhpe_lib.synthetic.sequences import sequence_batch

VERSION = 2
"""Goes up when the same seed no longer gives the same pictures."""
COUNTS = {
    "orh": {"train": 41_258, "test": 2_728},
    "orh-s": {"train": 30_000, "test": 6_000},
    "orh-o": {"test": 3_145},
}
FRAMES = 3_000
"""Of each sequence of ORH-S."""
SHARED = 1024
"""Pictures that choose from one pool of backgrounds."""
POOL = 160


@dataclass(frozen=True)
class Recipe:
    """One split of one benchmark.

    Attributes:
        name: "orh", "orh-s" or "orh-o".
        split: "train" or "test".
        count: Pictures; fewer than the benchmark has are a sample of its kind, not its first ones.
        seed: Of the benchmark.
        photos: NYU depth v2 or a folder of images, for the backgrounds; None paints them.

    Raises:
        ValueError: There is no such benchmark or split, or it has fewer pictures.
    """

    name: str
    split: str
    count: int
    seed: int = 0
    photos: Path | None = None

    def __post_init__(self) -> None:
        published = COUNTS.get(self.name, {}).get(self.split)
        if published is None:
            there = ", ".join(f"{name} {split}" for name, counts in COUNTS.items() for split in counts)
            raise ValueError(f"there is no {self.name} {self.split}, only {there}")
        if not 0 < self.count <= published:
            raise ValueError(f"{self.name} {self.split} has {published:,} pictures; {self.count:,} cannot be made")

    @property
    def ids(self) -> list[str]:
        """Names of the pictures."""
        if self.name == "orh-s":
            first = 0 if self.split == "train" else 10
            return [f"{first + row // FRAMES:02}/{row % FRAMES:04}" for row in range(self.count)]
        return [f"{self.split}/{row:05}" for row in range(self.count)]

    @property
    def contents(self) -> Contents:
        """What its cache holds; photos are read to tell them from others."""
        backgrounds = "painted" if self.photos is None else fingerprint(self.photos)
        source = {"engine": VERSION, "seed": self.seed, "backgrounds": backgrounds}
        return Contents(self.name, self.split, self.ids, source)

    @property
    def style(self) -> Style:
        """What kind of pictures: crops as the paper cuts them; what tests show is new."""
        if self.name == "orh-o":
            new = Style(fingertips=True, things=1.0, new_people=True, new_things=True, painters=scenery.UNSEEN)
            return replace(new, jitter=False)
        return Style(jitter=False, things=0.0 if self.name == "orh-s" else 0.25, new_people=self.split == "test")


def make(recipe: Recipe, out: Path, workers: int, console: Console) -> Prepared:
    """Make a split, or go on where an earlier run was stopped.

    Args:
        recipe: Which one.
        out: Its folder.
        workers: Processes; their number changes no byte.
        console: Where the progress bar goes.

    Returns:
        The cache, open; its ``meta.json`` has a SHA-256 of all of it and one for each part.

    Raises:
        PreparedError: The folder holds something else, the disk is too small, or a worker died.
        DatasetError, PhotoError: The photos are damaged.
        OSError: There are no photos, or the folder cannot be written to.
    """
    writer = PreparedWriter(out, recipe.contents)
    missing = writer.missing()
    with progress_bar(console) as progress:
        done = recipe.count - sum(map(len, missing))
        task = progress.add_task(f"{recipe.name} {recipe.split}", total=recipe.count, completed=done)
        for part in _run(recipe, out, missing, workers):
            progress.advance(task, len(part))
    return writer.finish()


def draw_part(recipe: Recipe, rows: range) -> Crops:
    """The pictures of some rows: a part of the cache.

    Args:
        recipe: Of the split.
        rows: Whose first row decides what is drawn, so that parts do not depend on each other.

    Returns:
        The crops; of ORH-O only the fingertips are known, and neither mask nor h.
    """
    engine = engine_for(recipe.photos)
    with one_thread():
        if recipe.name == "orh-s":
            return _draw_frames(engine, recipe, rows)
        pool = pool_for(recipe, rows.start // SHARED)
        seed = seed_of(recipe.seed, recipe.name, recipe.split, rows.start)
        crops = engine.batch(len(rows), seed, pool, recipe.style, MARGIN).crops()
    return tips_only(crops) if recipe.name == "orh-o" else crops


def _draw_frames(engine: SyntheticHands, recipe: Recipe, rows: range) -> Crops:
    batches, first = [], 0 if recipe.split == "train" else 10
    for sequence in range(rows.start // FRAMES, (rows.stop - 1) // FRAMES + 1):
        begin, end = max(rows.start - sequence * FRAMES, 0), min(rows.stop - sequence * FRAMES, FRAMES)
        seed = seed_of(recipe.seed, "orh-s", first + sequence)
        frames = torch.arange(begin, end)
        batches.append(sequence_batch(engine, seed, FRAMES, frames, recipe.style, MARGIN).crops())
    return join_rows(batches)


def tips_only(crops: Crops) -> Crops:
    """What Dexter+Object would say of the same pictures: where the fingertips are."""
    other = torch.ones(21, dtype=torch.bool)
    other[TIPS] = False
    joints_3d = crops.joints_3d.masked_fill(other[:, None], torch.nan)
    return replace(
        crops,
        mask_bits=torch.zeros_like(crops.mask_bits),
        has_mask=torch.zeros_like(crops.has_mask),
        joints_2d=crops.joints_2d.masked_fill(other[:, None], torch.nan),
        joints_3d=joints_3d,
        visible=crops.visible & ~other,
        z_root=joints_3d[:, TIPS, 2].mean(1),
        h=torch.full_like(crops.h, torch.nan),
    )


@lru_cache(maxsize=1)
def engine_for(photos: Path | None) -> SyntheticHands:
    """The engine of this process."""
    return SyntheticHands(photos=photos)


@lru_cache(maxsize=2)
def pool_for(recipe: Recipe, number: int) -> torch.Tensor:
    """The backgrounds that `SHARED` pictures choose from."""
    seed = seed_of(recipe.seed, recipe.name, recipe.split, "pool", number)
    return engine_for(recipe.photos).backgrounds(min(POOL, recipe.count), seed, recipe.style)


def _run(recipe: Recipe, out: Path, parts: Sequence[range], workers: int) -> Iterator[range]:
    """Each part when it is written, in any order."""
    if workers <= 1 or len(parts) <= 1:
        for part in parts:
            _write(recipe, out, part)
            yield part
        return
    try:
        for part, _ in run_in_workers(partial(_write, recipe, out), parts, workers):
            yield part
    except WorkerDiedError as error:
        raise PreparedError(f"{out}: {error}") from error


def _write(recipe: Recipe, out: Path, part: range) -> None:
    write_part(out, MARGIN, part, recipe.ids[part.start : part.stop], draw_part(recipe, part), {})
