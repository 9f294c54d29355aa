"""Training batches: rows of prepared caches, hands rendered on the fly, or both.

A batch is a function of seed, step and process, so a resumed training sees the batches of an uninterrupted one. Rows of
caches and their jitter do not depend on the number of processes: one process with a batch of 2 n sees the images that
two processes with batches of n see.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64, UInt8
from lightning_fabric import Fabric
from numpy import ndarray
from torch import Tensor

from dhpe_lib.common.devices import free_memory, to_device
from dhpe_lib.common.records import join_rows, map_rows
from dhpe_lib.data.backgrounds import open_backgrounds
from dhpe_lib.data.cache.layout import PreparedError, bytes_per_sample
from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.data.crop_frame import SIZE
from dhpe_lib.data.crops import Crops
from dhpe_lib.data.views import (
    NO_JITTER,
    Jitter,
    JitterRange,
    View,
    draw_jitter,
    jittered_view,
    upright_angle,
)
from dhpe_lib.network.estimator import Estimator
from dhpe_lib.network.upright import turns_upright
from dhpe_lib.synthetic.engine import SyntheticHands
from dhpe_lib.synthetic.hands import draw_pose_pool
from dhpe_lib.synthetic.orh import COUNTS
from dhpe_lib.synthetic.sampling import seed_of
from dhpe_lib.synthetic.scenery import make_backgrounds
from dhpe_lib.training.config import ConfigError, TrainingConfig

POOL, POSES, REPAINTED = 256, 4096, 500
"""Numbers of backgrounds and of poses in a pool, and number of steps after which a new pool is made."""
RENDERED_EPOCH = COUNTS["orh"]["train"]
"""Number of images that count as an epoch if all images are rendered on the fly."""


@dataclass(frozen=True)
class BatchPlan:
    """Number of images of each kind in the batches of one process.

    Attributes:
        batch: Images of this process in a step.
        rendered: Images that are rendered on the fly, as long as there are no novel views.
        seed: Random seed.
        rank: Number of this process.
        world: Number of processes.
        novel_views: Novel views of the self-augmentation, from step `novel_views_from` on.
        novel_views_from: First step with novel views.
        photos: Images that are rows of splits with 2D labels only.
    """

    batch: int
    rendered: int
    seed: int
    rank: int = 0
    world: int = 1
    novel_views: int = 0
    novel_views_from: int = 0
    photos: int = 0

    def novel_views_at(self, step: int) -> int:
        """Number of novel views in a step."""
        return self.novel_views if step >= self.novel_views_from else 0

    def rendered_at(self, step: int) -> int:
        """Number of images of a step that are rendered on the fly: a constant share of the rest after novel views."""
        return round(self.rendered * self._labelled_at(step) / max(self.batch - self.photos, 1))

    def taken_at(self, step: int) -> int:
        """Number of images of a step that are rows of the caches."""
        return self._labelled_at(step) - self.rendered_at(step)

    def _labelled_at(self, step: int) -> int:
        """Number of images of a step that are neither novel views nor photos."""
        return self.batch - self.photos - self.novel_views_at(step)

    def rows(self, step: int, total: int) -> Int64[ndarray, " n"]:
        """Rows of the concatenated caches that this process takes in a step: each row once an epoch, in a new order.

        When novel views start, a step takes fewer rows, and the order continues at another position.
        """
        taken = self.taken_at(step)
        positions = (step * self.world + self.rank) * taken + np.arange(taken)
        orders = (shuffled(total, self.seed, int(position // total)) for position in positions)
        return np.array([order[p % total] for order, p in zip(orders, positions, strict=True)], np.int64)


def plan_batches(config: TrainingConfig, fabric: Fabric, total: int) -> BatchPlan:
    """Plan the batches of this process.

    Args:
        config: Configuration of the training.
        fabric: The launched Fabric.
        total: Number of rows of all caches.

    Returns:
        The batch plan; novel views start one step after the first seeds.

    Raises:
        ConfigError: The processes cannot share the batch equally, or the batch is too small for a novel view.
    """
    if config.batch % fabric.world_size:
        raise ConfigError(
            f"batch is {config.batch}, which {fabric.world_size} processes cannot share equally; give a multiple of "
            f"{fabric.world_size}"
        )
    per_process = config.batch // fabric.world_size
    photos = round(per_process * config.photos_share) if config.photos else 0
    labelled = per_process - photos
    rendered = round(labelled * config.rendered) if config.data else labelled
    plain = BatchPlan(per_process, rendered, config.seed, fabric.global_rank, fabric.world_size, photos=photos)
    if not config.augments:
        return plain
    epoch = (
        total / (fabric.world_size * (labelled - rendered)) if rendered < labelled else RENDERED_EPOCH / config.batch
    )
    first = round(min(config.augment_after * epoch, config.steps / 2))
    novel_views = min(labelled - 1, round(labelled * config.augment_share))
    if not novel_views:
        raise ConfigError(
            f"batch is {config.batch}, {per_process} in each process, and augment_share is {config.augment_share}: "
            "no novel view fits. Self-augmentation needs 2 or more images in each process, and a share of at least "
            "1 image; change batch or augment_share, or train with --ablation without-augmentation"
        )
    return replace(plain, novel_views=novel_views, novel_views_from=first + 1)


@lru_cache(maxsize=2)
def shuffled(total: int, seed: int, epoch: int) -> Int64[ndarray, " n"]:
    """Random order of the rows in an epoch."""
    return np.random.default_rng(seed_of(seed, "order", epoch)).permutation(total)


class Ahead:
    """Results that some steps share; those of the next steps are made in a thread while the present ones are in use.

    Args:
        make: Function from a number to a result; step `step` uses number `step // lasts`.
        lasts: Number of steps that use the same result.
    """

    def __init__(self, make: Callable[[int], Any], lasts: int) -> None:
        self.make, self.lasts = make, lasts
        self.worker, self.lock = ThreadPoolExecutor(1), Lock()
        self.made: dict[int, Future[Any]] = {}

    def at(self, step: int) -> Any:
        """Return the result of a step; several threads may call this for steps that are close to each other."""
        number = step // self.lasts
        with self.lock:
            for needed in (number, number + 1):
                if needed not in self.made:
                    self.made[needed] = self.worker.submit(self.make, needed)
            self.made = {other: result for other, result in self.made.items() if other >= number - 1}
            result = self.made[number]
        return result.result()


class Backgrounds:
    """Pools of background images.

    Args:
        photos: NYU depth v2 or a folder of images; None for painted backgrounds.
        key: Seed and number of the process.
        device: Device of the pools.

    Raises:
        FileNotFoundError: There are no photos.
    """

    def __init__(self, photos: Path | None, key: tuple[int, int], device: torch.device) -> None:
        if photos is not None:
            open_backgrounds(photos)  # the photos may be needed late in a training: fail now if they are missing
        self.pools = Ahead(
            lambda pool: make_backgrounds(POOL, seed_of(*key, "backgrounds", pool), photos).to(device), REPAINTED
        )

    def at(self, step: int) -> UInt8[Tensor, "n 3 288 288"]:
        """Return the pool of a step."""
        return self.pools.at(step)


@dataclass(frozen=True)
class ViewOptions:
    """Options of the views that a network is trained on.

    Attributes:
        jitter: Ranges of the jitter.
        size: Side of the views, pixels.
        upright: Whether crops are turned upright before the jitter.
        turned: Share of the upright crops that have any angle instead.
    """

    jitter: JitterRange = field(default_factory=JitterRange)
    size: int = SIZE
    upright: bool = False
    turned: float = 0.0

    @classmethod
    def of(cls, network: Estimator, config: TrainingConfig) -> "ViewOptions":
        """Return the options for a network and a configuration."""
        size = network.features.input_size
        return cls(config.jitter_range, size, turns_upright(network), config.jitter_turned)


@dataclass(frozen=True)
class Turns:
    """Random parameters of views, one row for each image.

    Attributes:
        jitter: The jitter; its angle is measured from the upright direction if crops are turned upright.
        any_angle: Rotation of the crop that replaces the upright direction and the jitter's angle; NaN for none.
    """

    jitter: Jitter
    any_angle: Float[Tensor, " b"]


def draw_turns(n: int, seed: int, options: ViewOptions) -> Turns:
    """Sample the parameters of n views on the CPU; equal seeds give equal rows."""
    generator = torch.Generator().manual_seed(seed_of(seed, "turned"))
    chosen, angle = torch.rand(2, n, generator=generator)
    any_angle = torch.where(chosen < options.turned, (2 * angle - 1) * math.pi, torch.nan)
    return Turns(draw_jitter(n, seed, options.jitter), any_angle)


def training_view(crops: Crops, turns: Turns, options: ViewOptions) -> View:
    """Return the view of crops in a training.

    Args:
        crops: Crops with their margin.
        turns: One row for each crop, on any device.
        options: Size of the views, and whether crops are turned upright.
    """
    jitter = turns.jitter.to(crops.images.device)
    if options.upright:
        any_angle = to_device(turns.any_angle, crops.images.device)
        known = crops.joints_2d.isfinite().all(-1, keepdim=True)
        up = upright_angle(torch.where(known, crops.joints_2d, 0))
        jitter = replace(jitter, angle=torch.where(any_angle.isnan(), up + jitter.angle, any_angle))
    return jittered_view(crops, jitter, options.size)


class TrainingBatches:
    """The batches of one process without the novel views of the self-augmentation.

    Args:
        caches: Prepared splits. All samples are equally likely; a split that is named twice counts twice.
        plan: The batch plan.
        views: Options of the views; the engine jitters rendered crops itself.
        device: Device of the views. On a GPU the caches are copied there if they take less than half of the free
            memory; otherwise they are read from disk one step ahead. Rendered hands are drawn one step ahead there.
        photos: Backgrounds for rendered hands, as for ``dhpe data make``; None for painted backgrounds.
        weak: Prepared splits with 2D labels only; see :func:`chances`.

    Attributes:
        backgrounds: Pools of background images.

    Raises:
        PreparedError: The plan takes rows of caches but there is no cache, or the margins of the caches differ.
    """

    def __init__(
        self,
        caches: Sequence[Prepared],
        plan: BatchPlan,
        views: ViewOptions,
        device: torch.device,
        photos: Path | None = None,
        weak: Sequence[Prepared] = (),
    ) -> None:
        self.plan, self.views, self.device, self.weak = plan, views, device, tuple(weak)
        self.total = sum(map(len, caches))
        if plan.rendered < plan.batch - plan.photos and not self.total:
            raise PreparedError("no prepared split was named, and not every image is rendered; name one with --data")
        everything = (*caches, *weak)
        if len({cache.margin for cache in everything}) > 1:
            named = ", ".join(f"{cache.directory} {cache.margin}" for cache in everything)
            raise PreparedError(
                f"prepared splits differ in their margins, in pixels: {named}; prepare them with one margin"
            )
        self.resident = caches_on(device, caches)
        self.caches = caches if self.resident is None else ()
        self.hands = SyntheticHands(device, photos) if plan.rendered else None
        self.backgrounds = Backgrounds(photos, (plan.seed, plan.rank), device)
        self.poses = Ahead(self._make_poses, REPAINTED)
        self.weak_chance = chances([name for cache in weak for name in cache.ids])
        self.read = Ahead(lambda step: pinned(self._read_rows(step)), 1)
        self.read_photos = Ahead(lambda step: pinned(self._read_photos(step)), 1)
        self.drawn = Ahead(self._render_aside, 1)
        self.aside = torch.cuda.Stream(device) if device.type == "cuda" else None
        if self.aside is not None:
            self.aside.wait_stream(torch.cuda.current_stream(device))  # the engine was made there

    def view(self, step: int) -> View:
        """Return the batch of this process in a step."""
        parts = []
        if self.plan.taken_at(step):
            parts.append(training_view(self._crops(step), self._turns(step, self.plan.taken_at(step)), self.views))
        if self.hands is not None and self.plan.rendered_at(step):
            crops = self._rendered_crops(step)
            still = replace(self.views, jitter=NO_JITTER)
            parts.append(training_view(crops, self._turns(step, len(crops), "rendered", options=still), still))
        if self.plan.photos:
            turns = self._turns(step, self.plan.photos, "photos")
            parts.append(training_view(self._photos(step), turns, self.views))
        return parts[0] if len(parts) == 1 else join_rows(parts)

    def _turns(self, step: int, n: int, *use: str, options: ViewOptions | None = None) -> Turns:
        """Draw the parameters of the views of all processes, and return the n rows of this process."""
        rows = slice(self.plan.rank * n, (self.plan.rank + 1) * n)
        seed = seed_of(self.plan.seed, "jitter", *use, step)
        turns = draw_turns(n * self.plan.world, seed, options or self.views)
        return Turns(turns.jitter[rows], turns.any_angle[rows])

    def _photos(self, step: int) -> Crops:
        """Return random rows of the splits with 2D labels only, on the device."""
        if self.device.type == "cpu":
            return self._read_photos(step)
        return self.read_photos.at(step).to(self.device)

    def _read_photos(self, step: int) -> Crops:
        random = np.random.default_rng(seed_of(self.plan.seed, self.plan.rank, "photos", step))
        chosen = random.choice(len(self.weak_chance), self.plan.photos, p=self.weak_chance)
        return rows_of(self.weak, chosen)

    def _crops(self, step: int) -> Crops:
        """Return rows of the caches on the device."""
        if self.resident is not None:
            return self.resident[self.plan.rows(step, self.total)]
        if self.device.type == "cpu":
            return self._read_rows(step)
        return self.read.at(step).to(self.device)

    def _read_rows(self, step: int) -> Crops:
        return rows_of(self.caches, self.plan.rows(step, self.total))

    def _rendered_crops(self, step: int) -> Crops:
        """Return the rendered hands of a step; a GPU renders those of the next step beside the training."""
        if self.aside is None:
            return self._render(step)
        drawn = self.drawn.at(step)
        assert drawn is not None
        crops, done = drawn
        here = torch.cuda.current_stream(self.device)
        here.wait_event(done)
        for values in vars(crops).values():
            values.record_stream(here)  # its memory is not used again before this stream has read it
        return crops

    def _render_aside(self, step: int) -> tuple[Crops, Any] | None:
        """Render hands in a thread and on a stream of their own, since their shading waits for the GPU.

        Returns:
            The crops, and the event after which they are complete; None for a step without rendered hands.
        """
        if self.aside is None or not self.plan.rendered_at(step):
            return None
        with torch.cuda.stream(self.aside):
            return self._render(step), self.aside.record_event()

    def _render(self, step: int) -> Crops:
        """Render new hands on new backgrounds.

        A GPU renders faster than the CPU draws poses, which takes about 1 ms each. On a GPU poses therefore come from a
        pool, and shape, view and everything else are new.
        """
        assert self.hands is not None
        seed = seed_of(self.plan.seed, self.plan.rank, "hands", step)
        poses = self.poses.at(step) if self.device.type == "cuda" else None
        return self.hands.batch(self.plan.rendered_at(step), seed, self.backgrounds.at(step), poses=poses).crops()

    def _make_poses(self, pool: int) -> Float[Tensor, "count 45"]:
        return draw_pose_pool(POSES, seed_of(self.plan.seed, self.plan.rank, "poses", pool)).to(self.device)


def pinned(crops: Crops) -> Crops:
    """Copy crops to pinned memory, from which a GPU can copy while it computes."""
    return map_rows(crops, Tensor.pin_memory)


def chances(ids: Sequence[str]) -> Float64[ndarray, " n"]:
    """Return the probability of each photo, so that a large set of similar photos does not outweigh the others.

    A set is drawn in proportion to the square root of its size, and its photos are equally likely.

    Args:
        ids: Names of the photos; the part before the first slash is the name of the set.
    """
    sets = [name.partition("/")[0] for name in ids]
    sizes = Counter(sets)
    weights = np.array([sizes[name] ** -0.5 for name in sets])
    return weights / weights.sum()


def rows_of(caches: Sequence[Prepared], rows: Int64[ndarray, " n"]) -> Crops:
    """Return rows of the concatenated caches in the given order, on the CPU."""
    starts = np.cumsum([0, *map(len, caches)])
    cache_index = np.searchsorted(starts, rows, side="right") - 1
    order = np.argsort(cache_index, kind="stable")
    parts = [caches[number][rows[cache_index == number] - starts[number]] for number in np.unique(cache_index)]
    return join_rows(parts)[np.argsort(order)]


def caches_on(device: torch.device, caches: Sequence[Prepared]) -> Crops | None:
    """Copy all caches to a GPU if they take less than half of its free memory; otherwise return None."""
    if device.type == "cpu" or not caches:
        return None
    needed, free = sum(len(cache) * bytes_per_sample(cache.margin) for cache in caches), free_memory(device)
    if free is None or needed > free / 2:
        return None
    return caches[0].to(device) if len(caches) == 1 else join_rows([cache.to(device) for cache in caches])
