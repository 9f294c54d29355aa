"""Measure how many pictures of hands the synthetic engine renders per second.

`python benchmarks/synthetic.py` renders 224 x 224 pictures, including their backgrounds, in one process and in one
process for each core. It writes `book/results/synthetic_speed.json`. `--device cuda` renders on the GPU in one process,
with poses from a pool, as a training does. Goal on one H200: 10,000 pictures/s. Not measured yet.
"""

import argparse
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from reporting import write_result

from dhpe_lib.synthetic.engine import SyntheticHands
from dhpe_lib.synthetic.hands import draw_pose_pool
from dhpe_lib.synthetic.orh import POOL, SHARED, one_thread
from dhpe_lib.training.batches import POSES

SEED = 0
_engine: SyntheticHands
_poses: torch.Tensor | None = None


def start(device: str) -> None:
    """Create the engine of this process, and render one batch as a warm-up."""
    global _engine, _poses
    _engine = SyntheticHands(device)
    if _engine.device.type == "cuda":
        _poses = draw_pose_pool(POSES, SEED).to(device)
    _engine.batch(8, SEED, _engine.backgrounds(2, SEED))


def draw(work: tuple[int, int, int]) -> tuple[float, float]:
    """Render batches and their share of backgrounds; return the elapsed seconds and the processor's seconds.

    Args:
        work: Random seed, number of batches, pictures in a batch.
    """
    seed, batches, size = work
    before, busy = time.perf_counter(), time.process_time()
    with one_thread():
        pool = _engine.backgrounds(max(1, POOL * batches * size // SHARED), seed)
        for number in range(batches):
            last = _engine.batch(size, seed + number, pool, poses=_poses)
    if last.images.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - before, time.process_time() - busy


def in_processes(workers: int, batches: int, size: int) -> dict[str, float]:
    """Return the pictures per second of several processes, and the processor time of a picture in milliseconds."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, start, ("cpu",)) as pool:
        list(pool.map(draw, [(k, 1, 8) for k in range(2 * workers)]))
        before = time.perf_counter()
        spent = list(pool.map(draw, [(100 * k, batches, size) for k in range(workers)]))
        seconds = time.perf_counter() - before
    count = workers * batches * size
    return {
        "images_per_s": round(count / seconds, 1),
        "processor_ms": round(1e3 * sum(busy for _, busy in spent) / count, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", help="a torch device (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes on the CPU (default: cores)")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]  # other programs slow the measurement
    rows = {}
    if arguments.device == "cpu":
        for workers in sorted({1, arguments.workers}):
            rows[f"{workers} processes, batches of 64"] = in_processes(workers, 4, 64)
    else:
        start(arguments.device)
        for size in (64, 256):
            draw((0, 2, size))
            rows[f"batches of {size}"] = {"images_per_s": round(16 * size / draw((0, 16, size))[0], 1)}
    write_result("synthetic_speed" if arguments.device == "cpu" else "synthetic_speed_cuda", rows, SEED, load)


if __name__ == "__main__":
    main()
