"""Can the light network learn 32 pictures by heart? Nothing that fails at this can learn.

    python benchmarks/overfit.py

The first 32 pictures of ORH are rendered, trained on without jitter, and tested on. Wanted: a mean joint error under
2 mm (protocol A) and a mask IoU above 0.9. Writes book/results/overfit.json. A run that was stopped goes on where it
was when the same command is given again with --resume.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import torch
from reporting import write_result
from rich.console import Console

from dhpe_lib.datasets.prepared import Prepared
from dhpe_lib.datasets.synthetic.orh import Recipe, make
from dhpe_lib.evaluation import evaluate, full_scores
from dhpe_lib.training import train
from dhpe_lib.training_config import TrainingConfig
from dhpe_lib.training_setup import launch, load_trained

PICTURES = 32
MOST_MM, LEAST_IOU = 2.0, 0.9


def configuration(data: Path, steps: int, rate: float) -> TrainingConfig:
    """Batches of 8, for many steps; the rate falls, for the last millimetres."""
    return TrainingConfig(
        data=(str(data),),
        test=(str(data),),
        steps=steps,
        batch=8,
        learning_rate=rate,
        learning_rate_j2d=rate,
        warmup=20,
        decay="cosine",
        jitter_shift=0.0,
        jitter_angle=0.0,
        jitter_scale=0.0,
        jitter_color=0.0,
        ablation=("without-augmentation",),
        log_every=50,
        test_every=100,
        save_every=100,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--run", type=Path, default=Path("dhpe_out/overfit"), help="where pictures and network go")
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    load, start, console = os.getloadavg()[0], time.perf_counter(), Console()
    data = arguments.run / "pictures"
    cache = make(Recipe("orh", "train", PICTURES), data, 1, console) if not data.exists() else Prepared(data)
    config = configuration(data, arguments.steps, arguments.rate)
    outcome = train(config, arguments.run / "network", launch(config, "cpu"), console, arguments.resume)
    if not outcome.finished:
        return 130
    network = load_trained(arguments.run / "network" / "last.safetensors")
    scores = full_scores(evaluate(network, cache, torch.device("cpu")))
    error, iou = scores["protocols"]["A"]["epe_mm"]["value"], scores["mask"]["iou"]
    reached = error < MOST_MM and iou > LEAST_IOU
    summary = {
        "epe_mm": error,
        "epe_pa_mm": scores["protocols"]["C"]["epe_mm"]["value"],
        "mask_iou": iou,
        "wanted": f"below {MOST_MM} mm and above {LEAST_IOU}",
        "reached": reached,
        "steps": arguments.steps,
        "seconds_of_this_call": round(time.perf_counter() - start),
    }
    write_result("overfit", {"light network, 32 pictures of ORH": summary}, config.seed, load)
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
