"""Measure the time of a refinement iteration at batch 1 and 64, and of the regression at batch 1.

    python benchmarks/refinement.py --device cuda --preset paper --bf16

An iteration is the whole of Eq. 13: hand model, renderer, F, backward pass, one step of Adam, f_Ref. The paper reports
5 ms for an iteration and 100 ms for the regression. Goals on one H200, not measured yet: 1 ms at batch 1, 0.2 ms for
each image at batch 64, and 4 ms for the regression. On a GPU the rows with `replayed` are one CUDA graph for each call,
as in the library; the others are launched kernel by kernel. --bf16 runs F in bfloat16. The weights are random, which
does not change the time. tau is infinite, so every image has its feature term. Times are medians over rounds, with the
slowest round. On a CPU the time is the CPU time of all threads, so that other programs do not count. Writes
book/results/refinement_speed_<device>.json.
"""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median

import torch
from reporting import write_result

from dhpe_lib.common.cuda_graphs import SWITCH, Replayed
from dhpe_lib.network.estimator import PRESETS, SIZE, Estimator
from dhpe_lib.refinement.descent import Optimizer, descent_step
from dhpe_lib.refinement.energy import EQ_13
from dhpe_lib.refinement.test_time import RefinementEnergy, RefineOptions

OPTIONS = RefineOptions(replace(EQ_13, tau=float("inf")))
SEED = 0
CALLS_BEFORE = 5


def timed(work: Callable[[], object], rounds: int, repeats: int, device: str) -> dict[str, float]:
    """Measure the milliseconds of one call of `work`: median and slowest of the rounds."""
    clock = time.perf_counter if device == "cuda" else time.process_time
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    values = []
    for _ in range(rounds):
        wait()
        start = clock()
        for _ in range(repeats):
            work()
        wait()
        values.append(1e3 * (clock() - start) / repeats)
    return {"ms": round(median(values), 2), "slowest_ms": round(max(values), 2)}


def iteration_of(network: Estimator, images: torch.Tensor, bf16: bool) -> Callable[[], object]:
    """Return one iteration of the refinement, which changes h and j2D in place."""
    kind = images.device.type
    objective = RefinementEnergy(network, images, network.predict(images, render=False), OPTIONS)
    h = objective.start.clone().requires_grad_()
    optimizer = Optimizer(h, OPTIONS.rate, OPTIONS.steps)

    def iterate() -> None:
        with torch.autocast(kind, torch.bfloat16, enabled=bf16):
            descent_step(objective, optimizer)
        objective.track.rewind()

    return iterate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--preset", choices=tuple(PRESETS), default="light")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5, help="calls in each round")
    parser.add_argument("--bf16", action="store_true", help="run F in bfloat16")
    parser.add_argument("--threads", type=int, default=1, help="threads of the CPU")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(SEED)
    device = torch.device(arguments.device)
    network = Estimator(PRESETS[arguments.preset]).eval().to(device)
    facts = f"{arguments.preset}{', bf16' * arguments.bf16}"
    rows = {}

    def measure(name: str, work: Callable[[], object], batch: int) -> None:
        for _ in range(CALLS_BEFORE):
            work()
        times = timed(work, arguments.rounds, arguments.repeats, device.type)
        rows[f"{name}, batch {batch} ({facts})"] = times | {"ms_an_image": round(times["ms"] / batch, 3)}

    one = torch.rand(1, 3, SIZE, SIZE, device=device)
    works: list[tuple[str, Callable[[], object], int]] = [("regression", lambda: network.predict(one, render=False), 1)]
    for batch in arguments.batches:
        iterate = iteration_of(network, torch.rand(batch, 3, SIZE, SIZE, device=device), arguments.bf16)
        works.append(("iteration", Replayed(iterate, device), batch))
    for name, work, batch in works:
        if device.type == "cuda":
            measure(f"{name}, replayed", work, batch)
            os.environ[SWITCH] = "0"
        measure(name, work, batch)
        os.environ.pop(SWITCH, None)
    write_result(f"refinement_speed_{device.type}", rows, SEED, load)


if __name__ == "__main__":
    main()
