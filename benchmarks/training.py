"""Measure the images per second of the whole training step, and the time of its parts.

    python benchmarks/training.py --device cuda --preset paper --precision bf16-mixed --batch 128 --compile

The step is that of `dhpe train`: two passes of F, f_J2D, three iterations, the hand model, the renderer, all of Eq. 7,
backward pass, Adam. The images are rendered once, so the input takes no time. The rows `forward`, `backward` and `Adam`
are parts of the step, and the device is synchronised after each; `whole step` is timed without synchronisation in
between. Times are medians over rounds; the whole step also has the slowest round. Goal on one H200: 1,200 images/s for
the paper's network in bf16; an image takes 230 GFLOP, 181 of them f_J2D. Not measured yet. Writes
book/results/training_speed_cpu.json, or training_speed_<preset>_cuda.json.
"""

import argparse
import os
from dataclasses import replace
from statistics import median

import torch
from reporting import timed, write_result

from dhpe_lib.network.estimator import PRESETS
from dhpe_lib.synthetic.engine import SyntheticHands
from dhpe_lib.training.agreement import Flags, Stop
from dhpe_lib.training.batches import ViewOptions, draw_turns, training_view
from dhpe_lib.training.config import TrainingConfig, preset_config
from dhpe_lib.training.loop import TrainingObjective, in_format, set_mode
from dhpe_lib.training.optimiser import build_optimiser, step_unless
from dhpe_lib.training.setup import build_network, launch_fabric, setup_fabric


def measure(config: TrainingConfig, device: str, rounds: int, steps: int) -> dict[str, dict[str, float]]:
    fabric, network = launch_fabric(config, device), build_network(config)
    objective, optimiser = setup_fabric(
        fabric, network, TrainingObjective(network, config), build_optimiser(network, config), config
    )
    engine = SyntheticHands(fabric.device)
    views = ViewOptions.of(network, config)
    crops = engine.batch(config.batch, 0, engine.backgrounds(min(config.batch, 64), 0)).crops()
    view = training_view(crops, draw_turns(config.batch, 0, views), views)
    images, labels = in_format(view.images, config), vars(view.targets)
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    flags, losses = Flags(fabric, Stop()), dict[str, torch.Tensor]()

    def forward() -> None:
        losses.update(objective(images, labels))

    def adam() -> None:
        step_unless(flags.bad, optimiser)
        optimiser.zero_grad()

    def step() -> None:
        set_mode(network, config)
        forward()
        flags.note(losses["objective"], losses["h"], 0)
        fabric.backward(losses["objective"])
        adam()

    parts = {"forward": forward, "backward": lambda: fabric.backward(losses["objective"]), "Adam": adam}
    seconds: dict[str, list[float]] = {name: [] for name in (*parts, "whole step")}
    for _ in range(3):
        step()
    for _ in range(rounds):
        for name, work in parts.items():
            seconds[name].append(timed(work, wait))
        seconds["whole step"].append(timed(lambda: [step() for _ in range(steps)], wait) / steps)
    rows = {
        name: {"ms": round(1e3 * median(values), 1), "images_per_s": round(config.batch / median(values), 1)}
        for name, values in seconds.items()
    }
    rows["whole step"]["slowest_images_per_s"] = round(config.batch / max(seconds["whole step"]), 1)
    if device == "cuda":
        rows["whole step"]["peak_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--preset", choices=("light", "paper"), default="light")
    parser.add_argument("--precision", choices=("32-true", "bf16-mixed"), default="32-true")
    parser.add_argument("--size", type=int, nargs="+", default=[0], help="sides of the crop; 0 for the preset's")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1, help="steps in each round")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--contiguous", action="store_true", help="do not use channels_last")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    config = replace(
        preset_config(arguments.preset),
        start="random",
        precision=arguments.precision,
        batch=arguments.batch,
        compile=arguments.compile,
        channels_last=not arguments.contiguous,
    )
    rows = {}
    for size in arguments.size:
        sized = replace(config, feature_input=size)
        side = size or PRESETS[arguments.preset].feature_input
        facts = f"{arguments.preset}, {side} pixels, {arguments.precision}, batch {arguments.batch}"
        found = measure(sized, arguments.device, arguments.rounds, arguments.steps)
        rows |= {f"{name} ({facts})": values for name, values in found.items()}
    network = f"{arguments.preset}_" if arguments.device == "cuda" else ""
    write_result(f"training_speed_{network}{arguments.device}", rows, config.seed, load)


if __name__ == "__main__":
    main()
