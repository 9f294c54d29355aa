"""Compare the speed of the prepared cache with image files, in pictures per second, on two cores.

    python benchmarks/loading.py

The alternatives are the usual first solution: 224 x 224 PNG or JPEG files, Pillow, and torch's DataLoader with two
workers. They load only the picture; the cache loads all its fields. The pictures are windows of the demonstration's
picture, whose files are as large as those of photos. All sources take turns, so a busy machine slows all of them, and
the medians are reported. The workers start before the first round. After the first round the files are in memory, so
the speed of the disk does not matter, except in the row `from disk`: there the system is asked to drop the cache's
files from memory before each round. Writes book/results/loading_speed.json.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, Dataset

sys.path.insert(0, str(Path(__file__).parent))
from reporting import ROOT, commit, processor

from dhpe_lib.common.records import join_rows
from dhpe_lib.data.cache.layout import Contents
from dhpe_lib.data.cache.reader import ON_DISK, Prepared
from dhpe_lib.data.cache.writer import PreparedWriter
from dhpe_lib.data.cropping import crop_sample
from dhpe_lib.data.crops import Crops
from dhpe_lib.data.sample import Sample
from dhpe_lib.hand.model import HandModel
from dhpe_lib.prediction.demo import demo_scene

RESULT = ROOT / "book" / "results" / "loading_speed.json"
BAR = 3000
"""Required speed of the row `prepared cache`, pictures per second."""
OURS, FLOATS, COLD = "prepared cache", "prepared cache, as floats", "prepared cache, from disk"
PEERS = {"JPEG files, DataLoader": "jpg", "PNG files, DataLoader": "png"}
# Reads all pictures in batches, in the given order of their indices.
Epoch = Callable[[np.ndarray], None]


class Files(Dataset):
    """Dataset of pictures that are image files."""

    def __init__(self, folder: Path, suffix: str, n: int) -> None:
        self.paths = [folder / f"{index}.{suffix}" for index in range(n)]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self.paths[index]) as image:
            return torch.from_numpy(np.array(image))


class Order:
    """A sampler whose order is set before each round, so that all sources read the pictures in one order."""

    def __init__(self, n: int) -> None:
        self.order = np.arange(n)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Any:
        return iter(self.order.tolist())


def windows(n: int, rng: np.random.Generator) -> Crops:
    """Return random parts of the demonstration's picture, with random brightness, as crops."""
    scene = demo_scene(HandModel.open_hand())
    row = np.stack((np.linspace(0, 1, 21), np.zeros(21)), 1)
    base = Sample("", scene.image, np.eye(3), row, np.full((21, 3), 1.0), np.ones(21, bool), None, "right", "wrist")
    crops = crop_sample(base)
    corners = rng.integers(0, (scene.image.shape[0] - 256, scene.image.shape[1] - 256), (n, 2))
    parts = [scene.image[y : y + 256, x : x + 256] * rng.uniform(0.6, 1) for y, x in corners]
    images = torch.from_numpy(np.array(parts).astype(np.uint8))
    return replace(join_rows([crops] * n), images=images)


def write_all(folder: Path, n: int, rng: np.random.Generator) -> None:
    """Write the pictures as a cache and, without the margin, as files."""
    contents = Contents("windows", "all", [str(index) for index in range(n)], {})
    with PreparedWriter(folder / "cache", contents) as writer:
        for part in writer.missing():
            crops = windows(len(part), rng)
            writer.write(part, crops)
            for index, pixels in zip(part, crops.without_margin().images.numpy(), strict=True):
                Image.fromarray(pixels).save(folder / f"{index}.png")
                Image.fromarray(pixels).save(folder / f"{index}.jpg", quality=90)
        writer.finish()


def from_cache(directory: Path, batch: int) -> Epoch:
    def read(order: np.ndarray) -> None:
        cache = Prepared(directory)  # opened each time: the system cannot drop files that are mapped
        for start in range(0, len(order), batch):
            cache[order[start : start + batch]].without_margin()

    return read


def floats_from_cache(directory: Path, batch: int) -> Epoch:
    out = torch.empty(batch, 3, 224, 224).to(memory_format=torch.channels_last)

    def read(order: np.ndarray) -> None:
        cache = Prepared(directory)
        for start in range(0, len(order), batch):
            crops = cache[order[start : start + batch]].without_margin()
            crops.network_images(out[: len(crops)])

    return read


def from_files(folder: Path, suffix: str, n: int, batch: int, workers: int) -> Epoch:
    order = Order(n)
    loader = DataLoader(
        Files(folder, suffix, n), batch, sampler=order, num_workers=workers, persistent_workers=workers > 0
    )

    def read(numbers: np.ndarray) -> None:
        order.order = numbers
        for _ in loader:
            pass

    return read


def forget(directory: Path) -> None:
    """Ask the system to drop the cache's files from memory."""
    for name in ON_DISK:
        with (directory / f"{name}.npy").open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Measure the pictures per second of each source in each round; the first round is a warm-up and is left out."""
    n, batch, rng = arguments.pictures, arguments.batch, np.random.default_rng(arguments.seed)
    write_all(folder, n, rng)
    cache = folder / "cache"
    epochs = {OURS: from_cache(cache, batch), FLOATS: floats_from_cache(cache, batch)}
    epochs |= {name: from_files(folder, suffix, n, batch, arguments.threads) for name, suffix in PEERS.items()}
    speeds: dict[str, list[float]] = {name: [] for name in (*epochs, COLD)}
    for _ in range(arguments.rounds + 1):
        order = rng.permutation(n)
        for name, epoch in epochs.items():
            speeds[name].append(rate(epoch, order))
        forget(cache)
        speeds[COLD].append(rate(epochs[OURS], order))
    return {name: values[1:] for name, values in speeds.items()}


def rate(epoch: Epoch, order: np.ndarray) -> float:
    start = time.perf_counter()
    epoch(order)
    return len(order) / (time.perf_counter() - start)


def report(speeds: dict[str, list[float]], arguments: argparse.Namespace) -> dict[str, Any]:
    medians = {name: median(values) for name, values in speeds.items()}
    return {
        "command": " ".join(["python", "benchmarks/loading.py", *sys.argv[1:]]),
        "commit": commit(),
        "date": datetime.date.today().isoformat(),
        "hardware": f"{processor()}, {os.cpu_count()} cores",
        "load_average": round(os.getloadavg()[0], 1),
        "threads": arguments.threads,
        "seed": arguments.seed,
        "pictures": arguments.pictures,
        "batch": arguments.batch,
        "rounds": arguments.rounds,
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("torch", "numpy", "pillow")},
        },
        "median_images_per_s": {name: round(value) for name, value in medians.items()},
        "slowest_images_per_s": {name: round(min(values)) for name, values in speeds.items()},
        "times_as_fast_as": {name: round(medians[OURS] / medians[name], 1) for name in PEERS},
        "bar_images_per_s": BAR,
    }


def show(result: dict[str, Any]) -> None:
    table = Table(title=f"batches of {result['batch']}, {result['threads']} cores, {result['hardware']}")
    for column in ("source", "pictures/s, median", "slowest round", "the cache is faster by"):
        table.add_column(column, justify="left" if column == "source" else "right")
    for name, value in result["median_images_per_s"].items():
        ratio = result["times_as_fast_as"].get(name)
        slowest = f"{result['slowest_images_per_s'][name]:,}"
        table.add_row(name, f"{value:,}", slowest, f"{ratio:.1f} x" if ratio else "")
    Console().print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULT, help="the JSON file to write")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        result = report(measure(Path(folder), arguments), arguments)
    show(result)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    reached = result["median_images_per_s"][OURS] >= BAR
    print(f"the bar of {BAR:,} pictures per second is {'met' if reached else 'missed'}")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
