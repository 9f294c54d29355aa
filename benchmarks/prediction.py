"""Time and memory of `dhpe predict` on the processor, and photos a second for a folder, beside MediaPipe.

    python benchmarks/prediction.py PHOTO --photos DIR [DIR ...] [--count 160] [--rounds 5] [--mediapipe-python PYTHON]

- Steps of one photo run in one thread; their time is the processor's own, so that other programs do not count.
- "start to result" is the whole command in a new process, beside a process that imports PyTorch and nothing else: wall
  time, processor time and the ratio of the two processor times.
- "photo of 40 megapixels": the same photo, enlarged; the largest memory of some rounds counts.
- Photos a second: the command runs with a few photos and with `--count` more, and the difference of the two wall times
  counts. So start-up counts neither for one process nor for several. The photos come from `--photos`, the same number
  from each folder of pictures as far as it has them. Each hand gets its .json and its .glb.
- MediaPipe Hands gives joints and no mesh. It runs on the same photos, in the environment of `--mediapipe-python` (see
  `benchmarks/mediapipe_speed.py`).

Wanted: start to result under 3 s, then under 0.5 s a hand with 20 ms for the detection, and less than 1 GB of memory.
Writes book/results/prediction_speed_cpu.json.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, zip_longest
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from processor_time import processor_ms
from reporting import write_result

from dhpe_lib.data.camera import Camera
from dhpe_lib.data.photos import read_photo
from dhpe_lib.hand.model import HandModel
from dhpe_lib.network.palm_detector import detect_palms
from dhpe_lib.prediction.batch import GROUP, photos_in
from dhpe_lib.prediction.find_hands import find_hands, letterboxed
from dhpe_lib.prediction.from_photo import fit_found_hands
from dhpe_lib.prediction.hand_search import LEAST_PALM, load_hand_networks, search_hands
from dhpe_lib.prediction.outputs import SUFFIXES, write_estimate

SEED = 0
WORKERS = (1, 2)
FEW = 2 * GROUP
"""Photos of the run that measures the start-up: worker processes start from two groups on."""
MOST_CANDIDATES = 8
LARGE = 40e6
"""Pixels of a large photo."""
IMPORT = "import torch"
CHILD = """
import sys
from dhpe_lib.cli.__main__ import main
sys.argv = ["dhpe", *sys.argv[1:]]
main()
"""
LAUNCHER = """
import os, sys
_, status, usage = os.wait4(os.posix_spawn(sys.executable, [sys.executable, "-c", *sys.argv[1:]], os.environ), 0)
print(f"launched: {usage.ru_maxrss} kB, {usage.ru_utime + usage.ru_stime} s")
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""Programs: two that are measured, and one that starts them and prints their largest memory, the end included, and
their processor time. The system counts a process at least as large as the one that started it, so that one is small."""

Rows = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Cost:
    """What a command needed.

    Attributes:
        seconds: Wall time.
        processor: Time of the processor, seconds, worker processes included.
        peak_mb: Largest memory of a process, MB of 1,000,000 bytes.
        hands: Number of hands that it wrote.
    """

    seconds: float
    processor: float
    peak_mb: float
    hands: int = 0


def steps_of_one_photo(photo: Path, rounds: int) -> Rows:
    """Milliseconds of each step, in one thread."""
    image, networks, model = read_photo(photo), load_hand_networks(), HandModel.open_hand()
    hands, empty = find_hands(networks, image), np.full_like(image, 128)
    estimate = fit_found_hands(model, hands)[0]
    camera = Camera.assumed(image.shape[1], image.shape[0])
    steps: dict[str, Callable[[], object]] = {
        "read the photo": lambda: read_photo(photo),
        "palm detector": lambda: detect_palms(networks.palms, letterboxed(image), LEAST_PALM),
        "find all hands": lambda: find_hands(networks, image),
        "find no hand in a photo of one colour": lambda: search_hands(networks, empty, MOST_CANDIDATES),
        "fit the meshes": lambda: fit_found_hands(model, hands),
    }
    rows: Rows = {name: {"ms": round(processor_ms(step, rounds), 1)} for name, step in steps.items()}
    with tempfile.TemporaryDirectory() as folder:
        for suffix in SUFFIXES:
            options = (estimate, image, photo.name, Path(folder), "x", camera, (suffix,))
            rows[f"write {suffix}"] = {"ms": round(processor_ms(partial(write_estimate, *options), rounds), 1)}
    return rows | {"hands in the photo": {"count": len(hands)}}


def whole_command(photos: Sequence[Path], *options: str) -> Cost:
    """Cost of `dhpe predict` in a new process."""
    with tempfile.TemporaryDirectory() as folder:
        return new_process(CHILD, "predict", *map(str, photos), "--out", folder, *options)


def new_process(program: str, *arguments: str) -> Cost:
    """Cost of a Python program in a new process."""
    start = time.perf_counter()
    command = [sys.executable, "-S", "-c", LAUNCHER, program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - start
    usage = re.search(r"^launched: (\d+) kB, (\S+) s$", done.stdout, re.M)
    hands = re.search(r"(\d+) hands? in ", done.stdout)
    assert usage is not None, done.stdout + done.stderr
    return Cost(seconds, float(usage[2]), 1.024e-3 * int(usage[1]), int(hands[1]) if hands else 0)


def start_to_result(photo: Path, rounds: int) -> Rows:
    """The whole command and the import of PyTorch in turn, the cheapest of some rounds of each."""
    pairs = [(whole_command([photo]), new_process(IMPORT)) for _ in range(rounds)]
    rows: Rows = {}
    for name, costs in zip(("start to result", "import PyTorch"), zip(*pairs, strict=True), strict=True):
        best = {"s": min(cost.seconds for cost in costs), "processor_s": min(cost.processor for cost in costs)}
        rows[name] = {key: round(value, 2) for key, value in best.items()} | {"peak_mb": round(costs[0].peak_mb)}
    ratio = rows["start to result"]["processor_s"] / rows["import PyTorch"]["processor_s"]
    return rows | {"start to result, times import PyTorch": {"ratio": round(ratio, 2)}}


def large_photo(photo: Path, rounds: int) -> Rows:
    """The whole command for the photo at 40 megapixels: the least time and the largest memory of some rounds."""
    image = Image.fromarray(read_photo(photo))
    factor = (LARGE / (image.width * image.height)) ** 0.5
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.jpg"
        image.resize((round(factor * image.width), round(factor * image.height))).save(path)
        costs = [whole_command([path]) for _ in range(rounds)]
    best = {"s": round(min(cost.seconds for cost in costs), 2), "peak_mb": round(max(cost.peak_mb for cost in costs))}
    return {"photo of 40 megapixels": best}


def choose_photos(folders: Sequence[Path], count: int) -> list[Path]:
    """Choose photos at random, the same number from each folder of pictures as far as it has them."""
    by_folder: dict[Path, list[Path]] = {}
    for photo in photos_in(folders):
        by_folder.setdefault(photo.parent, []).append(photo)
    shuffled = [random.Random(SEED).sample(photos, len(photos)) for photos in by_folder.values()]
    in_turn = [photo for photo in chain.from_iterable(zip_longest(*shuffled)) if photo is not None]
    if len(in_turn) < count:
        raise SystemExit(f"the folders hold {len(in_turn)} photos, and {count} are needed; lower --count")
    return in_turn[:count]


def photos_per_second(photos: Sequence[Path], workers: int) -> dict[str, float]:
    """Rate of `dhpe predict` with some processes: all photos against the first few, so that start-up does not count."""
    options = ("--write", "json", "--write", "glb", "--workers", str(workers))
    few, many = whole_command(photos[:FEW], *options), whole_command(photos, *options)
    more, seconds = len(photos) - FEW, many.seconds - few.seconds
    row = {"photos_per_s": round(more / seconds, 2), "hands": many.hands - few.hands}
    if workers > 1:
        return row
    processor = (many.processor - few.processor) / more
    return row | {"processor_s_per_photo": round(processor, 3), "peak_mb": round(many.peak_mb)}


def mediapipe_rows(python: str, photo: Path, photos: Sequence[Path], rounds: int) -> Rows:
    """The row of MediaPipe Hands; none where that Python does not have it."""
    program = Path(__file__).with_name("mediapipe_speed.py")
    command = [python, str(program), str(rounds), str(photo), *map(str, photos)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "No module named 'mediapipe'" in done.stderr:
        print(f"{python} has no MediaPipe, so its row is missing; see {program.name}")
        return {}
    assert not done.returncode, done.stderr
    return {"MediaPipe Hands, joints alone": json.loads(done.stdout.splitlines()[-1])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path, help="a photo with one hand")
    parser.add_argument("--photos", type=Path, nargs="+", required=True, help="folders of photos")
    parser.add_argument("--count", type=int, default=160, help="photos of the folders that count")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mediapipe-python", default=sys.executable, help="Python of an environment with MediaPipe")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    torch.set_num_threads(1)
    photos = choose_photos(arguments.photos, FEW + arguments.count)
    results = steps_of_one_photo(arguments.photo, arguments.rounds)
    results |= start_to_result(arguments.photo, arguments.rounds)
    results |= large_photo(arguments.photo, arguments.rounds)
    for workers in WORKERS:
        name = f"folder, {workers} process{'es' * (workers > 1)}"
        results[name] = photos_per_second(photos, workers)
    pixels = median(image.shape[0] * image.shape[1] for image in map(read_photo, photos[FEW:]))
    results["photos of the folder"] = {"count": arguments.count, "folders": len({photo.parent for photo in photos})}
    results["photos of the folder"]["median_side_px"] = round(pixels**0.5)
    results |= mediapipe_rows(arguments.mediapipe_python, arguments.photo, photos[FEW:], arguments.rounds)
    write_result("prediction_speed_cpu", results, SEED, load)


if __name__ == "__main__":
    main()
