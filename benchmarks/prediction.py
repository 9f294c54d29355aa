"""Time and memory of `dhpe predict` on the processor, and photos a second for a folder, beside MediaPipe.

    python benchmarks/prediction.py PHOTO [--rounds 5] [--photos 64]

Steps of one photo run in one thread; their time is the processor's own, so that other programs do not count. "start to
result" is the whole command in a new process: its wall time, and the processor's own time beside that of a process that
imports PyTorch and nothing else. The folder holds copies of the photo. Where MediaPipe is
installed, its time for the same photo stands beside. Wanted: start to result under 3 s, then under 0.5 s a hand with 20
ms for the detection, and less than 1 GB of memory. Writes book/results/prediction_speed_cpu.json.
"""

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from reporting import write_result

from dhpe_lib.data.camera import Camera
from dhpe_lib.data.photos import read_photo
from dhpe_lib.hand.model import HandModel
from dhpe_lib.network.palm_detector import detect_palms
from dhpe_lib.prediction.find_hands import find_hands, letterboxed
from dhpe_lib.prediction.from_photo import fit_found_hands
from dhpe_lib.prediction.hand_search import LEAST_PALM, load_hand_networks
from dhpe_lib.prediction.keypoints import KeypointsError, import_mediapipe
from dhpe_lib.prediction.outputs import SUFFIXES, write_estimate

CHILD = """
import resource, sys
from dhpe_lib.cli.__main__ import main
sys.argv = ["dhpe", *sys.argv[1:]]
try:
    main()
except SystemExit:
    pass
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
IMPORT = 'import resource, torch; print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)'


@dataclass(frozen=True)
class Cost:
    """What a command needed.

    Attributes:
        seconds: Wall time.
        processor: Time of the processor, seconds.
        peak_mb: Largest memory, MB.
    """

    seconds: float
    processor: float
    peak_mb: float


def processor_ms(work: Callable[[], object], rounds: int) -> float:
    """Median milliseconds of the processor for one call, after a first call."""
    work()
    values = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        values.append(1e3 * (time.process_time() - start))
    return round(median(values), 1)


def steps_of_one_photo(photo: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each step, in one thread."""
    image, networks, model = read_photo(photo), load_hand_networks(), HandModel.open_hand()
    hands = find_hands(networks, image)
    estimates = fit_found_hands(model, hands)
    camera = Camera.assumed(image.shape[1], image.shape[0])
    count = len(hands)
    rows = {
        "read the photo": processor_ms(lambda: read_photo(photo), rounds),
        "palm detector": processor_ms(lambda: detect_palms(networks.palms, letterboxed(image), LEAST_PALM), rounds),
        "find all hands": processor_ms(lambda: find_hands(networks, image), rounds),
        "fit the meshes": processor_ms(lambda: fit_found_hands(model, hands), rounds),
    }
    with tempfile.TemporaryDirectory() as folder:
        for suffix in SUFFIXES:
            rows[f"write {suffix}"] = processor_ms(
                lambda suffix=suffix: write_estimate(
                    estimates[0], image, photo.name, Path(folder), "x", camera, (suffix,)
                ),
                rounds,
            )
    return {name: {"ms": value} for name, value in rows.items()} | {"hands in the photo": {"count": count}}


def whole_command(photos: list[Path], *options: str) -> Cost:
    """Cost of `dhpe predict` in a new process."""
    with tempfile.TemporaryDirectory() as folder:
        return new_process(CHILD, "predict", *map(str, photos), "--out", folder, *options)


def new_process(program: str, *arguments: str) -> Cost:
    """Cost of a Python program that prints its peak memory in kB; its own worker processes count too."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    found = re.search(r"^peak (\d+)$", done.stdout, re.MULTILINE)
    assert found is not None, done.stdout + done.stderr
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(seconds, processor, int(found[1]) / 1024)


def start_to_result(photo: Path, rounds: int) -> dict[str, dict[str, float]]:
    """The whole command and the import of PyTorch in turn, the cheapest of some rounds of each."""
    pairs = [(whole_command([photo]), new_process(IMPORT)) for _ in range(rounds)]
    command, alone = (min(costs, key=lambda cost: cost.processor) for costs in zip(*pairs, strict=True))
    return {
        "start to result": {
            "s": round(min(one.seconds for one, _ in pairs), 2),
            "processor_s": round(command.processor, 2),
            "peak_mb": round(command.peak_mb),
        },
        "import PyTorch": {"processor_s": round(alone.processor, 2)},
        "start to result, times import PyTorch": {"ratio": round(command.processor / alone.processor, 2)},
    }


def mediapipe_ms(photo: Path, rounds: int) -> dict[str, float] | None:
    """Milliseconds of MediaPipe Hands for a photo, or None where it is not installed."""
    try:
        mediapipe = import_mediapipe()
    except KeypointsError:
        return None
    image = read_photo(photo)
    with mediapipe.solutions.hands.Hands(static_image_mode=True, max_num_hands=8) as detector:
        return {"ms": processor_ms(lambda: detector.process(image), rounds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path, help="a photo with a hand")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--photos", type=int, default=64, help="copies of the photo in the folder")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    torch.set_num_threads(1)
    results: dict[str, dict[str, float]] = steps_of_one_photo(arguments.photo, arguments.rounds)
    results |= start_to_result(arguments.photo, arguments.rounds)
    with tempfile.TemporaryDirectory() as folder:
        copies = [Path(folder) / f"{k:04}{arguments.photo.suffix}" for k in range(arguments.photos)]
        for copy in copies:
            shutil.copy(arguments.photo, copy)
        for workers in (1, 2):
            cost = whole_command(copies, "--write", "json", "--write", "glb", "--workers", str(workers))
            row = {"photos_per_s": round(len(copies) / cost.seconds, 2), "peak_mb": round(cost.peak_mb)}
            results[f"folder, {workers} process{'es' * (workers > 1)}"] = row
    peer = mediapipe_ms(arguments.photo, arguments.rounds)
    if peer is not None:
        results["MediaPipe, joints alone"] = peer
        results["find all hands, times MediaPipe"] = {"ratio": round(results["find all hands"]["ms"] / peer["ms"], 2)}
    write_result("prediction_speed_cpu", results, 0, load)


if __name__ == "__main__":
    main()
