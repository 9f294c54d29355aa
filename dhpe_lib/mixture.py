"""What a training sees at each step: rows of prepared caches, hands rendered on the spot, or both.

Everything is a function of seed, step and process, so a training that is resumed sees what it would have seen. Rows of
caches and their jitter do not depend on the number of processes either: one with a batch of 2 n sees what two with
batches of n see.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from numpy import ndarray
from torch import Tensor

from dhpe_lib.camera import CropFrame
from dhpe_lib.crop_jitter import Jitter, JitterRange, View, draw_jitter, jittered_view, plain_view
from dhpe_lib.datasets.crops import Crops, concatenate
from dhpe_lib.datasets.layout import PreparedError, bytes_per_sample
from dhpe_lib.datasets.prepared import Prepared, free_memory
from dhpe_lib.datasets.synthetic.dice import seed_of
from dhpe_lib.datasets.synthetic.engine import SyntheticHands
from dhpe_lib.targets import Targets

Record = TypeVar("Record")
POOL, REPAINTED = 256, 500
"""Backgrounds to choose from, and the steps after which they are painted anew."""


@dataclass(frozen=True)
class Portion:
    """How one process fills its batches.

    Attributes:
        batch: Images of this process at a step.
        rendered: How many of them are rendered on the spot.
        seed: Of everything random.
        rank: Number of this process.
        world: Number of processes.
    """

    batch: int
    rendered: int
    seed: int
    rank: int = 0
    world: int = 1

    def rows(self, step: int, total: int) -> Int64[ndarray, " n"]:
        """The rows of all caches together that this process takes at a step: each once an epoch, in a new order."""
        taken = self.batch - self.rendered
        places = (step * self.world + self.rank) * taken + np.arange(taken)
        orders = (shuffled(total, self.seed, int(place // total)) for place in places)
        return np.array([order[place % total] for order, place in zip(orders, places, strict=True)], np.int64)


@lru_cache(maxsize=2)
def shuffled(total: int, seed: int, epoch: int) -> Int64[ndarray, " n"]:
    """The order of an epoch."""
    return np.random.default_rng(seed_of(seed, "order", epoch)).permutation(total)


class Mixture:
    """The batches of one process; ``mixture.view(step)`` gives one.

    Args:
        caches: Prepared splits; each of their samples is as likely as any other. One named twice counts twice.
        portion: How batches are filled.
        reach: Of the jitter of prepared crops; rendered ones come jittered by the engine.
        device: Where views are needed. On a GPU, caches move there as a whole if they take less than half of what
            is free, and are else read from disk one step ahead.
        photos: Backgrounds for rendered hands, as for ``dhpe data make``; by default they are painted.

    Raises:
        PreparedError: Rows of caches are asked for and there is none, or the caches' margins differ.
    """

    def __init__(
        self,
        caches: Sequence[Prepared],
        portion: Portion,
        reach: JitterRange,
        device: torch.device,
        photos: Path | None = None,
    ) -> None:
        self.portion, self.reach, self.device = portion, reach, device
        self.total = sum(map(len, caches))
        if portion.rendered < portion.batch and not self.total:
            raise PreparedError("no prepared split was named, and not every image is rendered; name one with --data")
        if len({cache.margin for cache in caches}) > 1:
            named = ", ".join(f"{cache.directory} {cache.margin}" for cache in caches)
            raise PreparedError(f"prepared splits differ in their margins, in pixels: {named}; prepare them alike")
        self.resident = caches_on(device, caches)
        self.caches = caches if self.resident is None else ()
        self.hands = SyntheticHands(device, photos) if portion.rendered else None
        self.ahead = ThreadPoolExecutor(2)
        self.pools: dict[int, Future[UInt8[Tensor, "n 3 288 288"]]] = {}
        self.read: dict[int, Future[Crops]] = {}

    def view(self, step: int) -> View:
        """What this process sees at a step."""
        parts = []
        if self.portion.rendered < self.portion.batch:
            parts.append(jittered_view(self._crops(step), self._jitter(step)))
        if self.hands is not None:
            parts.append(plain_view(self._rendered(self.hands, step)))
        return parts[0] if len(parts) == 1 else join_views(parts)

    def _jitter(self, step: int) -> Jitter:
        """Drawn for all processes, and this one's rows of it."""
        taken = self.portion.batch - self.portion.rendered
        own = slice(self.portion.rank * taken, (self.portion.rank + 1) * taken)
        return draw_jitter(taken * self.portion.world, seed_of(self.portion.seed, "jitter", step), self.reach)[own]

    def _crops(self, step: int) -> Crops:
        """Rows of the caches, on the device."""
        if self.resident is not None:
            return self.resident[self.portion.rows(step, self.total)]
        if self.device.type == "cpu":
            return rows_of(self.caches, self.portion.rows(step, self.total))
        for number in (step, step + 1):
            if number not in self.read:
                self.read[number] = self.ahead.submit(self._pinned, number)
        return self.read.pop(step).result().to(self.device)

    def _pinned(self, step: int) -> Crops:
        """Rows of the caches in memory that a GPU can fetch while it computes."""
        crops = rows_of(self.caches, self.portion.rows(step, self.total))
        return Crops(**{name: values.pin_memory() for name, values in crops.items()})

    def _rendered(self, hands: SyntheticHands, step: int) -> Crops:
        """New hands on painted backgrounds."""
        key = self.portion.seed, self.portion.rank
        number = step // REPAINTED
        for pool in (number, number + 1):  # the next one is painted while this one serves
            if pool not in self.pools:
                self.pools[pool] = self.ahead.submit(hands.backgrounds, POOL, seed_of(*key, "backgrounds", pool))
        self.pools = {pool: painted for pool, painted in self.pools.items() if pool >= number}
        seed = seed_of(*key, "hands", step)
        return hands.batch(self.portion.rendered, seed, self.pools[number].result()).crops()


def rows_of(caches: Sequence[Prepared], rows: Int64[ndarray, " n"]) -> Crops:
    """Rows of several caches that are counted on, in the order asked for, on the CPU."""
    starts = np.cumsum([0, *map(len, caches)])
    which = np.searchsorted(starts, rows, side="right") - 1
    order = np.argsort(which, kind="stable")
    parts = [caches[number][rows[which == number] - starts[number]] for number in np.unique(which)]
    return concatenate(parts)[np.argsort(order)]


def caches_on(device: torch.device, caches: Sequence[Prepared]) -> Crops | None:
    """All caches on a GPU, if they are to be there: they take less than half of what is free."""
    if device.type == "cpu" or not caches:
        return None
    needed, free = sum(len(cache) * bytes_per_sample(cache.margin) for cache in caches), free_memory(device)
    if free is None or needed > free / 2:
        return None
    return caches[0].to(device) if len(caches) == 1 else concatenate([cache.to(device) for cache in caches])


def join_views(views: Sequence[View]) -> View:
    """Views, at least one, as one."""
    images = torch.cat([view.images for view in views])
    frame = join_records(CropFrame, [view.frame for view in views])
    return View(images, join_records(Targets, [view.targets for view in views]), frame)


def join_records(kind: type[Record], records: Sequence[Record]) -> Record:
    """Dataclasses of tensors with a row for each image, one after the other."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: torch.cat([getattr(record, name) for record in records]) for name in names})
