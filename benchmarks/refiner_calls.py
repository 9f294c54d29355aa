"""Can f_Ref be called fifty times? Train only its layer for more and more calls in a row.

    python benchmarks/refiner_calls.py TRAIN TEST...

TRAIN and TEST are prepared splits, as `dhpe data make` writes them. The shipped network computes all inputs of f_Ref
once. Then only f_Ref continues to learn L_Ref from its shipped weights, over the three calls of the regressor and some
more calls at h(3); the output of each call is the input of the next. Rows: the largest eigenvalue of the part that
multiplies j2D, and the error of j2D(t) in pixels of the crop over 3 + 50 calls, beside the error of the skeleton: the
mean distance of the joints, and the root of the mean square, which L_Ref trains.
Writes book/results/refiner_calls.json.
"""

import argparse
import copy
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from reporting import write_result
from torch import Tensor

from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.data.targets import Targets
from dhpe_lib.network.estimator import SIZE, Estimator
from dhpe_lib.network.regressor import JOINTS_2D, Regressor
from dhpe_lib.network.trained import load_shipped
from dhpe_lib.network.upright import network_view
from dhpe_lib.training.losses import refiner_loss

SEED, BATCH = 0, 64
EXTRA = (0, 5, 10, 50)
"""Numbers of calls, in addition to the regressor's three, for which f_Ref is trained."""
CALLS = 50
SHOWN = (0, 1, 2, 3, 5, 8, 13, 23, 53)


def seen_by_refiner(network: Estimator, path: Path, count: int) -> dict[str, Tensor]:
    """Return the inputs of f_Ref in each call and the ground truth, for images evenly spaced in a split."""
    cache, parts = Prepared(path), []
    rows = cache.evenly_spaced(count)
    for start in range(0, len(rows), BATCH):
        view = network_view(network, cache[rows[start : start + BATCH]])
        estimate = network.predict(view.images, render=False)
        parts.append(
            {
                "feature": estimate.evidence.of_crop,
                "h": torch.stack([step.h for step in estimate.steps], 1),
                "joints": torch.stack([step.mesh.joints for step in estimate.steps], 1),
                "start": estimate.steps[0].joints_2d,
            }
            | {f"target_{name}": values for name, values in vars(without_mask(view.targets)).items()}
        )
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def without_mask(targets: Targets) -> Targets:
    """Reduce the mask to one pixel: L_Ref does not need it, and thousands of masks take much memory."""
    return replace(targets, mask=targets.mask[:, :1, :1])


def targets_of(seen: dict[str, Tensor]) -> Targets:
    return Targets(**{name.removeprefix("target_"): values for name, values in seen.items() if "target_" in name})


def calls(regressor: Regressor, seen: dict[str, Tensor], count: int) -> Tensor:
    """Compute j2D(1), j2D(2), ... with the regressor's h(1), h(2), h(3), and with h(3) for later calls.

    The input of each call is detached, so a call learns only from its own error.
    """
    j2d, outputs = seen["start"], []
    for t in range(count):
        t = min(t + 1, regressor.iterations)
        j2d = regressor.refine_joints(j2d.detach(), seen["feature"], seen["h"][:, t], seen["joints"][:, t])
        outputs.append(j2d)
    return torch.stack(outputs, 1)


def fit(regressor: Regressor, seen: dict[str, Tensor], extra: int, steps: int) -> Regressor:
    """Train only f_Ref with Adam on L_Ref, over three calls and some extra calls."""
    fitted, generator = copy.deepcopy(regressor), torch.Generator().manual_seed(SEED)
    optimiser = torch.optim.Adam(fitted.f_ref.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, steps)
    for _ in range(steps):
        rows = torch.randint(len(seen["h"]), (BATCH,), generator=generator)
        batch = {name: values[rows] for name, values in seen.items()}
        refined = calls(fitted, batch, fitted.iterations + extra)
        optimiser.zero_grad()
        refiner_loss(refined, targets_of(batch)).mean().backward()
        optimiser.step()
        schedule.step()
    return fitted


@torch.no_grad()
def describe(regressor: Regressor, tests: dict[str, dict[str, Tensor]]) -> dict[str, Any]:
    """Return the largest eigenvalue and the errors after each number of calls."""
    part = regressor.f_ref.weight[:, :JOINTS_2D]
    row: dict[str, Any] = {"largest_eigenvalue": round(float(torch.linalg.eigvals(part).abs().max()), 3)}
    for name, seen in tests.items():
        j2d = torch.cat((seen["start"][:, None], calls(regressor, seen, regressor.iterations + CALLS)), 1)
        distances = {f"after {t} calls": distances_px(j2d[:, t], seen) for t in SHOWN}
        row[name] = {call: round(float(px.mean()), 2) for call, px in distances.items()}
        row[f"{name}, root mean square"] = {
            call: round(float(px.square().mean().sqrt()), 2) for call, px in distances.items()
        }
    return row


def distances_px(j2d: Tensor, seen: dict[str, Tensor]) -> Tensor:
    """Distances of the known joints to the ground truth, pixels of the crop."""
    return SIZE * (j2d - seen["target_joints_2d"])[seen["target_known_2d"]].norm(dim=-1)


def skeleton_px(seen: dict[str, Tensor]) -> float:
    """Mean error of the mesh's joints in the image, pixels of the crop."""
    return round(float(distances_px(seen["joints"][:, -1, :, :2], seen).mean()), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path, nargs="+")
    parser.add_argument("--pictures", type=int, default=3072, help="images to train on")
    parser.add_argument("--tests", type=int, default=256, help="images of each test split")
    parser.add_argument("--steps", type=int, default=1500)
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    torch.set_num_threads(1)
    network = load_shipped()
    train = seen_by_refiner(network, arguments.train, arguments.pictures)
    tests = {path.parent.name: seen_by_refiner(network, path, arguments.tests) for path in arguments.test}
    rows: dict[str, Any] = {
        "pixels": {name: {"skeleton": skeleton_px(seen)} for name, seen in tests.items()},
        "shipped, three calls": describe(network.regressor, tests),
    }
    for extra in EXTRA:
        fitted = fit(network.regressor, train, extra, arguments.steps)
        rows[f"fitted anew, 3 + {extra} calls"] = describe(fitted, tests)
    write_result("refiner_calls", rows, SEED, load)


if __name__ == "__main__":
    main()
