"""Milliseconds of an iteration of the refinement, at batch 1 and 64, and of the regression at batch 1.

    python benchmarks/refinement.py --device cuda --preset paper --bf16

An iteration is the whole of Eq. 13: hand, renderer, F, backward, one step of Adam, f_Ref. The paper has 5 ms for it and
100 ms for the regression; wanted on a GPU: 2 ms at batch 1, 0.2 ms an image at batch 64, regression within 4 ms. On a
GPU a row `captured` replays one iteration as a CUDA graph, and --bf16 runs F in bfloat16. The weights are random,
which takes as long; tau is so large that no image is left out. Medians of the rounds, with the slowest. On a CPU the
time is the processor's own, of all threads, so that other programs beside it do not count. Writes
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

from dhpe_lib.network.estimator import PRESETS, SIZE, Estimator
from dhpe_lib.refinement.descent import make_optimizer, move
from dhpe_lib.refinement.energy import EQ_13
from dhpe_lib.refinement.test_time import Objective, RefineOptions

OPTIONS = RefineOptions(replace(EQ_13, tau=float("inf")))
SEED = 0
WARM_UP = 3


def timed(work: Callable[[], object], rounds: int, repeats: int, device: str) -> dict[str, float]:
    """Milliseconds of one `work`: median and slowest of the rounds."""
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
    """One iteration of the refinement, which changes h and j2D in place."""
    kind = images.device.type
    objective = Objective(network, images, network.predict(images, render=False), OPTIONS)
    h = objective.start.clone().requires_grad_()
    optimizer = make_optimizer(h, OPTIONS.rate, OPTIONS.steps)

    def iterate() -> None:
        with torch.autocast(kind, torch.bfloat16, enabled=bf16):
            move(objective, h, optimizer)
        objective.forget()

    return iterate


def captured(work: Callable[[], object]) -> Callable[[], object]:
    """The work as one CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--preset", choices=tuple(PRESETS), default="light")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5, help="in each round")
    parser.add_argument("--bf16", action="store_true", help="F in bfloat16")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(SEED)
    device = torch.device(arguments.device)
    network = Estimator(PRESETS[arguments.preset]).eval().to(device)
    facts = f"{arguments.preset}{', bf16' * arguments.bf16}"
    rows = {}

    def measure(name: str, work: Callable[[], object], batch: int) -> None:
        for _ in range(WARM_UP):
            work()
        times = timed(work, arguments.rounds, arguments.repeats, device.type)
        rows[f"{name}, batch {batch} ({facts})"] = times | {"ms_an_image": round(times["ms"] / batch, 3)}

    one = torch.rand(1, 3, SIZE, SIZE, device=device)
    measure("regression", lambda: network.predict(one, render=False), 1)
    for batch in arguments.batches:
        iterate = iteration_of(network, torch.rand(batch, 3, SIZE, SIZE, device=device), arguments.bf16)
        measure("iteration", iterate, batch)
        if device.type == "cuda":
            measure("iteration, captured", captured(iterate), batch)
    write_result(f"refinement_speed_{device.type}", rows, SEED, load)


if __name__ == "__main__":
    main()
