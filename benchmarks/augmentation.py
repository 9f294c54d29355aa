"""Measure the time of the self-augmentation: lift a seed's skin, render a novel view, train with and without both.

    python benchmarks/augmentation.py --device cpu

The training step is that of `benchmarks/training.py`: images are rendered once, so the input takes no time. With
self-augmentation, half of the batch are seeds, whose skin is lifted after the step, and half are novel views, which are
rendered before it, as in `dhpe train`. Times are medians over rounds. Writes
book/results/augmentation_speed_<device>.json.
"""

import argparse
import os
from collections.abc import Callable
from dataclasses import replace
from statistics import median

import torch
from reporting import timed, write_result

from dhpe_lib.common.records import take_rows
from dhpe_lib.data.views import View, plain_view
from dhpe_lib.synthetic.engine import SyntheticHands
from dhpe_lib.training.batches import Backgrounds, ViewOptions, plan_batches
from dhpe_lib.training.config import TrainingConfig, preset_config
from dhpe_lib.training.loop import TrainingObjective, in_format, set_mode
from dhpe_lib.training.novel_views import VIEWS_PER_SEED
from dhpe_lib.training.optimiser import build_optimiser
from dhpe_lib.training.self_augmentation import SelfAugmentation
from dhpe_lib.training.setup import build_network, launch_fabric, setup_fabric


def measure(config: TrainingConfig, device: str, rounds: int) -> dict[str, dict[str, float]]:
    fabric, network = launch_fabric(config, device), build_network(config)
    objective, optimiser = setup_fabric(
        fabric, network, TrainingObjective(network, config), build_optimiser(network, config), config
    )
    engine = SyntheticHands(fabric.device)
    pool = engine.backgrounds(min(config.batch, 64), 0)
    pictures = engine.batch(config.batch, 0, pool)
    view, h = plain_view(pictures.crops()), pictures.h
    backgrounds = Backgrounds(None, (0, 0), fabric.device)
    backgrounds.at = lambda step: pool  # type: ignore[method-assign]
    plan = plan_batches(config, fabric, 0)
    augmentation = SelfAugmentation(network.hand, config, plan, backgrounds, ViewOptions.of(network, config))
    later, seeds = plan.novel_views_from, torch.arange(config.batch - plan.novel_views, device=fabric.device)
    some, found = take_rows(view, seeds), h[seeds]
    augmentation.add_views(found, some, later)
    novel_views = augmentation.grown.draw(plan.novel_views, 0)

    def step(batch: View) -> None:
        set_mode(network, config)
        losses = objective(in_format(batch.images, config), vars(batch.targets))
        fabric.backward(losses["objective"])
        optimiser.step()
        optimiser.zero_grad()

    def augmented() -> None:
        step(augmentation.extend(some, later))
        augmentation.add_views(found, some, later)

    works: dict[str, tuple[Callable[[], object], int]] = {
        "a seed: skin, light, three children": (
            lambda: augmentation.view_renderer.lift_views(found, some, 0),
            len(found),
        ),
        "a child: picture and labels": (
            lambda: augmentation.view_renderer.render_views(novel_views, pool, 0),
            len(novel_views),
        ),
        "a picture of a step without augmentation": (lambda: step(view), config.batch),
        "a picture of a step with it": (augmented, config.batch),
    }
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, (work, _) in works.items():
            spent = timed(work, wait)
            if number:  # the first round warms up
                seconds[name].append(spent)
    rows = {
        name: {
            "ms": round(1e3 * median(values) / works[name][1], 2),
            "slowest_ms": round(1e3 * max(values) / works[name][1], 2),
        }
        for name, values in seconds.items()
    }
    plain, with_it = (rows[name]["ms"] for name in list(rows)[2:])
    rows["step with augmentation over step without"] = {"ratio": round(with_it / plain, 3)}
    rows["memory of the growing set"] = {
        "children": config.augment_capacity,
        "mb": round(augmentation.grown.bytes / 1e6, 1),
        "kb_a_child": round(augmentation.grown.bytes / config.augment_capacity / 1e3, 2),
        "kb_of_a_picture_with_mask": round((3 + 1 / 8) * 224**2 / 1e3, 1),
        "children_a_step": VIEWS_PER_SEED * len(found),
    }
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--preset", choices=("light", "paper"), default="light")
    parser.add_argument("--precision", choices=("32-true", "bf16-mixed"), default="32-true")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    config = replace(
        preset_config(arguments.preset), start="random", precision=arguments.precision, batch=arguments.batch
    )
    rows = measure(config, arguments.device, arguments.rounds)
    facts = f"{arguments.preset}, {arguments.precision}, batch {arguments.batch}, {torch.get_num_threads()} threads"
    rows["setting"] = {"network": facts}
    write_result(f"augmentation_speed_{arguments.device}", rows, config.seed, load)


if __name__ == "__main__":
    main()
