"""Open Rendered Hands: three benchmarks that anybody can reproduce byte for byte from a seed.

They replace the paper's three datasets and have as many pictures:

- ORH replaces RHD: all kinds of hands.
- ORH-S replaces STB: twelve sequences of slow motion.
- ORH-O replaces Dexter+Object: hands with objects, of which only the fingertips are labelled. Its skins, objects and
  backgrounds are of kinds that no training split shows.

Training and test splits share no people: the skin tones of the test splits are left out of the training splits.
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
from dhpe_lib.data.cache.shards import WHOLE, Shard, parts_of_shard, rows_of_shard
from dhpe_lib.data.cache.writer import PreparedWriter, write_part
from dhpe_lib.data.crops import MARGIN, Crops
from dhpe_lib.synthetic import scenery
from dhpe_lib.synthetic.engine import BORDERS, CROSSING, Style, SyntheticHands
from dhpe_lib.synthetic.hands import TIPS
from dhpe_lib.synthetic.sampling import seed_of
from dhpe_lib.synthetic.sequences import sequence_batch

VERSION = 4
"""Version of the engine; it is increased when a seed no longer gives the same pictures."""
COUNTS = {
    "orh": {"train": 41_258, "test": 2_728},
    "orh-s": {"train": 30_000, "test": 6_000},
    "orh-o": {"test": 3_145},
}
FRAMES = 3_000
"""Number of frames of each sequence of ORH-S."""
SHARED = 1024
"""Number of pictures that share a pool of backgrounds."""
POOL = 160
"""Number of backgrounds in a pool."""


@dataclass(frozen=True)
class Recipe:
    """Description of one split of a benchmark.

    Attributes:
        name: "orh", "orh-s" or "orh-o".
        split: "train" or "test".
        count: Number of pictures. A smaller number than the benchmark's gives other pictures, not its first ones.
        seed: Random seed of the benchmark.
        photos: NYU depth v2 or a folder of images, for the backgrounds; None for painted backgrounds.

    Raises:
        ValueError: The benchmark or split does not exist, or has fewer pictures.
    """

    name: str
    split: str
    count: int
    seed: int = 0
    photos: Path | None = None

    def __post_init__(self) -> None:
        published = COUNTS.get(self.name, {}).get(self.split)
        if published is None:
            existing = ", ".join(f"{name} {split}" for name, counts in COUNTS.items() for split in counts)
            raise ValueError(f"there is no {self.name} {self.split}, only {existing}")
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
        """Description of the cache's contents; all photos are read to compute their fingerprint."""
        backgrounds = "painted" if self.photos is None else fingerprint(self.photos)
        source = {"engine": VERSION, "seed": self.seed, "backgrounds": backgrounds}
        return Contents(self.name, self.split, self.ids, source)

    @property
    def style(self) -> Style:
        """Kind of pictures: the paper's crops without jitter; test splits have new people, ORH-O also new objects.

        Second hands and borders of the photo appear in ORH only.
        """
        if self.name == "orh-o":
            new = Style(fingertips=True, things=1.0, new_people=True, new_things=True, painters=scenery.UNSEEN)
            return replace(new, jitter=False)
        exact = Style(jitter=False, new_people=self.split == "test")
        if self.name == "orh-s":
            return replace(exact, things=0.0)
        return replace(exact, crossing=CROSSING, borders=BORDERS)


def make(recipe: Recipe, out: Path, workers: int, console: Console) -> Prepared:
    """Make a split, or continue an interrupted run.

    Args:
        recipe: Description of the split.
        out: Folder of the split.
        workers: Number of processes; it does not change the result.
        console: Console for the progress bar.

    Returns:
        The opened cache; its ``meta.json`` has a SHA-256 of the whole cache and one for each part.

    Raises:
        PreparedError: The folder holds something else, or a worker died.
        DiskFullError: The disk is too small.
        LockedError: Another process makes the split.
        DatasetError, PhotoError: The photos are damaged.
        OSError: There are no photos, or the folder cannot be written to.
    """
    whole = fill(recipe, out, WHOLE, workers, console)
    assert whole is not None
    return whole


def make_shard(recipe: Recipe, out: Path, shard: Shard, workers: int, console: Console) -> None:
    """Make one shard of a split in a folder of its own; :func:`dhpe_lib.data.cache.shards.join_shards` joins them.

    Args:
        recipe: Description of the split.
        out: Folder of the shard.
        shard: Number of the shard from 1, and number of shards.
        workers: Number of processes.
        console: Console for the progress bar.

    Raises:
        PreparedError, DatasetError, PhotoError, OSError: See :func:`make`.
    """
    fill(recipe, out, shard, workers, console)


def fill(recipe: Recipe, out: Path, shard: Shard, workers: int, console: Console) -> Prepared | None:
    """Write the missing parts of a shard of a split, and finish the cache if the shard is all of it."""
    with PreparedWriter(out, recipe.contents) as writer, progress_bar(console) as progress:
        missing = parts_of_shard(writer, shard)
        rows = rows_of_shard(writer, shard)
        task = progress.add_task(f"{recipe.name} {recipe.split}", total=rows, completed=rows - sum(map(len, missing)))
        for part in _run(recipe, out, missing, workers):
            progress.advance(task, len(part))
        return writer.finish() if shard == WHOLE else None


def draw_part(recipe: Recipe, rows: range) -> Crops:
    """Render the pictures of one part of the cache.

    Args:
        recipe: Description of the split.
        rows: Rows of the part. The first row is the seed, so parts do not depend on each other.

    Returns:
        The crops. For ORH-O only the fingertips are known; masks and h are unknown.
    """
    crops = draw_labelled(recipe, rows)
    return tips_only(crops) if recipe.name == "orh-o" else crops


def draw_labelled(recipe: Recipe, rows: range) -> Crops:
    """Render the same pictures as :func:`draw_part`, with all labels also for ORH-O.

    Args:
        recipe: Description of the split.
        rows: Rows of one part of the cache.

    Returns:
        The crops.
    """
    engine = engine_for(recipe.photos)
    with one_thread():
        if recipe.name == "orh-s":
            return _draw_frames(engine, recipe, rows)
        pool = pool_for(recipe, rows.start // SHARED)
        seed = seed_of(recipe.seed, recipe.name, recipe.split, rows.start)
        return engine.batch(len(rows), seed, pool, recipe.style, MARGIN).crops()


def _draw_frames(engine: SyntheticHands, recipe: Recipe, rows: range) -> Crops:
    batches, first = [], 0 if recipe.split == "train" else 10
    for sequence in range(rows.start // FRAMES, (rows.stop - 1) // FRAMES + 1):
        begin, end = max(rows.start - sequence * FRAMES, 0), min(rows.stop - sequence * FRAMES, FRAMES)
        seed = seed_of(recipe.seed, "orh-s", first + sequence)
        frames = torch.arange(begin, end)
        batches.append(sequence_batch(engine, seed, FRAMES, frames, recipe.style, MARGIN).crops())
    return join_rows(batches)


def tips_only(crops: Crops) -> Crops:
    """Remove all labels except the fingertips, as in Dexter+Object."""
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
    """Return the engine of this process; it is created once."""
    return SyntheticHands(photos=photos)


@lru_cache(maxsize=2)
def pool_for(recipe: Recipe, number: int) -> torch.Tensor:
    """Return pool `number` of the backgrounds, which `SHARED` pictures choose from."""
    seed = seed_of(recipe.seed, recipe.name, recipe.split, "pool", number)
    return engine_for(recipe.photos).backgrounds(min(POOL, recipe.count), seed, recipe.style)


def _run(recipe: Recipe, out: Path, parts: Sequence[range], workers: int) -> Iterator[range]:
    """Yield each part when it is written, in any order."""
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
