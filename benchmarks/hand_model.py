"""Compare the hand model with smplx and manopth.

    python benchmarks/hand_model.py             # forward and backward of a batch on two CPU cores, in one run
    python benchmarks/hand_model.py --vertices  # the largest distance between two vertices that should be equal

All programs pose the same hands (the open hand, exported to their format) from the same axis-angle vectors. Then the
gradient of one random contraction of the vertices is computed to pose, shape, global rotation and translation.

The programs take turns, so a busy machine slows all of them, and the table shows medians. Run it on an idle machine:
with more threads than cores, the times are only noise. Programs that are not installed are skipped. Install smplx with
pip; CONTRIBUTING.md describes how to install manopth. The results are written to book/results/hand_model_speed.json and
book/results/hand_model_vertices.json.
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
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from reporting import ROOT, commit, processor, write_result

from dhpe_lib.hand.io import write_hand
from dhpe_lib.hand.model import HandModel, about_wrist
from dhpe_lib.hand.rotations import axis_angle_to_matrix

RESULT = ROOT / "book" / "results" / "hand_model_speed.json"
BARS = {"smplx": 1.5, "manopth": 3.0}  # required speed-up over each program
METRES = {"smplx": 1.0, "manopth": 1e-3}  # the unit of their vertices
# From pose, shape, global rotation (axis-angle) and translation to vertices.
Program = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def ours(model: HandModel) -> Program:
    return lambda pose, shape, turn, shift: model(pose, shape, axis_angle_to_matrix(turn), None, shift).vertices


def smplx_program(folder: str) -> Program:
    import smplx

    layer = smplx.MANO(folder, use_pca=False, flat_hand_mean=True)
    return lambda pose, shape, turn, shift: layer(shape, turn, pose, shift).vertices


def manopth_program(folder: str) -> Program:
    sys.path.append(str(ROOT / "tests" / "helpers"))  # for fake_chumpy: current Python cannot import chumpy
    import fake_chumpy

    fake_chumpy.install()
    from manopth.manolayer import ManoLayer

    layer = ManoLayer(mano_root=folder, use_pca=False, flat_hand_mean=True, ncomps=45)
    return lambda pose, shape, turn, shift: layer(torch.cat((turn, pose), 1), shape, shift)[0]


def programs(model: HandModel) -> dict[str, Program]:
    """Return all programs that are installed; this project's comes first."""
    found = {"dhpe": ours(model)}
    with tempfile.TemporaryDirectory() as folder:
        write_hand(Path(folder) / "MANO_RIGHT.pkl", model.hand)
        for name, make in {"smplx": smplx_program, "manopth": manopth_program}.items():
            try:
                found[name] = make(folder)
            except ImportError as error:
                print(f"{name} is skipped: {error}")
    return found


def draw_inputs(batch: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Sample pose (radians), shape, global rotation (axis-angle, radians) and translation (metres)."""
    scales = {45: 0.3, 10: 1.0, 3: 1.0}
    return tuple((scales[n] * torch.randn(batch, n, generator=generator)).requires_grad_() for n in (45, 10, 3, 3))


def seconds(program: Program, inputs: tuple[Tensor, ...], cotangent: Tensor) -> float:
    start = time.perf_counter()
    torch.autograd.grad((program(*inputs) * cotangent).sum(), inputs)
    return time.perf_counter() - start


def measure(found: dict[str, Program], inputs: tuple[Tensor, ...], rounds: int) -> dict[str, list[float]]:
    """Measure the milliseconds of each program in each round; the first three rounds warm up and are dropped."""
    cotangent = torch.randn(len(inputs[0]), 778, 3, generator=torch.Generator().manual_seed(1))
    taken: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(rounds + 3):
        for name, program in found.items():
            taken[name].append(1000 * seconds(program, inputs, cotangent))
    return {name: times[3:] for name, times in taken.items()}


@torch.no_grad()
def compare_vertices(model: HandModel, found: dict[str, Program], inputs: tuple[Tensor, ...]) -> dict[str, dict]:
    """Return for each other program the largest distance of a vertex from ours, in millimetres."""
    pose, shape, turn, shift = inputs
    rotation = axis_angle_to_matrix(turn)
    ours = model(pose, shape, rotation, None, about_wrist(shift, rotation, model.rest_joints(shape)[:, 0])).vertices
    rows = {}
    for name, metres in METRES.items():
        if name in found:
            apart = (metres * found[name](*inputs) - ours).norm(dim=-1)
            rows[name] = {
                "version": version(name),
                "hands": len(pose),
                "largest_mm": float(f"{1000 * apart.max():.1g}"),
            }
    return rows


def version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "from its repository"


def report(taken: dict[str, list[float]], arguments: argparse.Namespace) -> dict[str, Any]:
    medians = {name: median(times) for name, times in taken.items()}
    return {
        "command": " ".join(["python", "benchmarks/hand_model.py", *sys.argv[1:]]),
        "commit": commit(),
        "date": datetime.date.today().isoformat(),
        "hardware": f"{processor()}, {os.cpu_count()} cores",
        "load_average": round(os.getloadavg()[0], 1),
        "threads": arguments.threads,
        "seed": arguments.seed,
        "batch": arguments.batch,
        "rounds": arguments.rounds,
        "versions": {
            "python": platform.python_version(),
            **{n: version(n) for n in ("torch", "numpy", *taken) if n != "dhpe"},
        },
        "median_ms": {name: round(value, 1) for name, value in medians.items()},
        "fastest_ms": {name: round(min(times), 1) for name, times in taken.items()},
        "times_as_fast_as": {n: round(medians[n] / medians["dhpe"], 2) for n in medians if n != "dhpe"},
        "bars": BARS,
    }


def show(result: dict) -> None:
    table = Table(
        title=f"forward + backward, batch {result['batch']}, {result['threads']} threads, {result['hardware']}"
    )
    for column in ("program", "median ms", "fastest ms", "dhpe is faster by", "bar"):
        table.add_column(column, justify="left" if column == "program" else "right")
    for name, value in result["median_ms"].items():
        ratio = result["times_as_fast_as"].get(name)
        bar = f"{BARS[name]} x" if name in BARS else ""
        table.add_row(name, str(value), str(result["fastest_ms"][name]), f"{ratio:.2f} x" if ratio else "", bar)
    Console().print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=1024, help="hands in a batch (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=25, help="measured rounds (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: %(default)s)")
    parser.add_argument("--vertices", action="store_true", help="compare the vertices, not the times")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=RESULT, help="output JSON file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")  # warnings of the other programs, which are old
    inputs = draw_inputs(arguments.batch, torch.Generator().manual_seed(arguments.seed))
    model = HandModel.open_hand()
    found = programs(model)
    if arguments.vertices:
        rows = compare_vertices(model, found, inputs)
        write_result("hand_model_vertices", rows, arguments.seed, os.getloadavg()[0])
        return 0
    result = report(measure(found, inputs, arguments.rounds), arguments)
    show(result)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    missed = [name for name, ratio in result["times_as_fast_as"].items() if ratio < BARS[name]]
    print(f"below the bar against {', '.join(missed)}" if missed else "every bar is met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
