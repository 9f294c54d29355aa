"""What a training sees at each step: rows of prepared caches, hands rendered on the spot, or both.

Everything is a function of seed, step and process, so a training that is resumed sees what it would have seen. Rows of
caches and their jitter do not depend on the number of processes either: one with a batch of 2 n sees what two with
batches of n see.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from numpy import ndarray
from torch import Tensor

from dhpe_lib.common.devices import free_memory
from dhpe_lib.common.records import join_rows, map_rows
from dhpe_lib.data.backgrounds import open_backgrounds
from dhpe_lib.data.cache.layout import PreparedError, bytes_per_sample
from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.data.crops import Crops
from dhpe_lib.data.views import Jitter, JitterRange, View, draw_jitter, jittered_view, plain_view
from dhpe_lib.synthetic.engine import SyntheticHands
from dhpe_lib.synthetic.sampling import seed_of
from dhpe_lib.synthetic.scenery import make_backgrounds

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
        children: How many are children of the self-augmentation, once there are any.
        children_from: The first step that has them.
    """

    batch: int
    rendered: int
    seed: int
    rank: int = 0
    world: int = 1
    children: int = 0
    children_from: int = 0

    def children_at(self, step: int) -> int:
        """How many images of a step are children."""
        return self.children if step >= self.children_from else 0

    def rendered_at(self, step: int) -> int:
        """How many images of a step are rendered on the spot: of those that are no children the same share always."""
        return round(self.rendered * (self.batch - self.children_at(step)) / self.batch)

    def taken_at(self, step: int) -> int:
        """How many images of a step are rows of the caches."""
        return self.batch - self.children_at(step) - self.rendered_at(step)

    def rows(self, step: int, total: int) -> Int64[ndarray, " n"]:
        """The rows of all caches together that this process takes at a step: each once an epoch, in a new order.

        Where children begin, a step takes fewer rows, and the order goes on from another place.
        """
        taken = self.taken_at(step)
        places = (step * self.world + self.rank) * taken + np.arange(taken)
        orders = (shuffled(total, self.seed, int(place // total)) for place in places)
        return np.array([order[place % total] for order, place in zip(orders, places, strict=True)], np.int64)


@lru_cache(maxsize=2)
def shuffled(total: int, seed: int, epoch: int) -> Int64[ndarray, " n"]:
    """The order of an epoch."""
    return np.random.default_rng(seed_of(seed, "order", epoch)).permutation(total)


class Backgrounds:
    """Pools of pictures to put behind hands; the next one is painted while one serves.

    Args:
        photos: NYU depth v2 or a folder of images; None paints.
        key: Seed and number of the process.
        device: Where they are needed.

    Raises:
        FileNotFoundError: There are no photos.
    """

    def __init__(self, photos: Path | None, key: tuple[int, int], device: torch.device) -> None:
        if photos is not None:
            open_backgrounds(photos)  # they may be wanted late in a training: what is missing is said at once
        self.photos, self.key, self.device = photos, key, device
        self.ahead = ThreadPoolExecutor(1)
        self.pools: dict[int, Future[UInt8[Tensor, "n 3 288 288"]]] = {}

    def at(self, step: int) -> UInt8[Tensor, "n 3 288 288"]:
        """The pool of a step."""
        number = step // REPAINTED
        for pool in (number, number + 1):
            if pool not in self.pools:
                self.pools[pool] = self.ahead.submit(self._made, pool)
        self.pools = {pool: painted for pool, painted in self.pools.items() if pool >= number}
        return self.pools[number].result()

    def _made(self, pool: int) -> UInt8[Tensor, "n 3 288 288"]:
        return make_backgrounds(POOL, seed_of(*self.key, "backgrounds", pool), self.photos).to(self.device)


class Mixture:
    """The batches of one process, but for the children of the self-augmentation; ``mixture.view(step)`` gives one.

    Args:
        caches: Prepared splits; each of their samples is as likely as any other. One named twice counts twice.
        portion: How batches are filled.
        reach: Of the jitter of prepared crops; rendered ones come jittered by the engine.
        device: Where views are needed. On a GPU, caches move there as a whole if they take less than half of what
            is free, and are else read from disk one step ahead.
        photos: Backgrounds for rendered hands, as for ``dhpe data make``; by default they are painted.

    Attributes:
        backgrounds: Pools of them.

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
        self.backgrounds = Backgrounds(photos, (portion.seed, portion.rank), device)
        self.ahead = ThreadPoolExecutor(1)
        self.read: dict[int, Future[Crops]] = {}

    def view(self, step: int) -> View:
        """What this process sees at a step."""
        parts = []
        if self.portion.taken_at(step):
            parts.append(jittered_view(self._crops(step), self._jitter(step)))
        if self.hands is not None and self.portion.rendered_at(step):
            parts.append(plain_view(self._rendered(self.hands, step)))
        return parts[0] if len(parts) == 1 else join_rows(parts)

    def _jitter(self, step: int) -> Jitter:
        """Drawn for all processes, and this one's rows of it."""
        taken = self.portion.taken_at(step)
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
        return map_rows(crops, Tensor.pin_memory)

    def _rendered(self, hands: SyntheticHands, step: int) -> Crops:
        """New hands on new backgrounds."""
        seed = seed_of(self.portion.seed, self.portion.rank, "hands", step)
        return hands.batch(self.portion.rendered_at(step), seed, self.backgrounds.at(step)).crops()


def rows_of(caches: Sequence[Prepared], rows: Int64[ndarray, " n"]) -> Crops:
    """Rows of several caches that are counted on, in the order asked for, on the CPU."""
    starts = np.cumsum([0, *map(len, caches)])
    which = np.searchsorted(starts, rows, side="right") - 1
    order = np.argsort(which, kind="stable")
    parts = [caches[number][rows[which == number] - starts[number]] for number in np.unique(which)]
    return join_rows(parts)[np.argsort(order)]


def caches_on(device: torch.device, caches: Sequence[Prepared]) -> Crops | None:
    """All caches on a GPU, if they are to be there: they take less than half of what is free."""
    if device.type == "cpu" or not caches:
        return None
    needed, free = sum(len(cache) * bytes_per_sample(cache.margin) for cache in caches), free_memory(device)
    if free is None or needed > free / 2:
        return None
    return caches[0].to(device) if len(caches) == 1 else join_rows([cache.to(device) for cache in caches])
