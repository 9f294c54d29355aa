"""Can f_Ref be called fifty times? Its layer fitted anew for more and more calls in a row, all else as it is.

    python benchmarks/refiner_calls.py TRAIN TEST...

TRAIN and TEST are prepared splits, as `dhpe data make` writes them. Everything that f_Ref sees is found once by the
shipped network. Then f_Ref alone goes on learning L_Ref: from its shipped weights, over the regressor's three calls and
some more at h(3), each call from what the last one gave. Rows: the largest eigenvalue of the part that multiplies j2D,
and the error of j2D(t) in pixels of the crop over 3 + 50 calls, beside the skeleton's. Writes
book/results/refiner_calls.json.
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
from dhpe_lib.data.views import plain_view
from dhpe_lib.network.estimator import SIZE, Estimator
from dhpe_lib.network.regressor import JOINTS_2D, Regressor
from dhpe_lib.network.trained import load_shipped
from dhpe_lib.training.losses import refiner_loss

SEED, BATCH = 0, 64
EXTRA = (0, 5, 10, 50)
"""Calls beyond the regressor's three that f_Ref learns."""
CALLS = 50
SHOWN = (0, 1, 2, 3, 5, 8, 13, 23, 53)


def seen_by_refiner(network: Estimator, path: Path, count: int) -> dict[str, Tensor]:
    """What f_Ref gets in each call, of pictures spread over a split, and the truth: tensors with a row for each."""
    cache, parts = Prepared(path), []
    rows = cache.spread(count)
    for start in range(0, len(rows), BATCH):
        view = plain_view(cache[rows[start : start + BATCH]])
        estimate = network.predict(view.images, render=False)
        parts.append(
            {
                "feature": estimate.evidence.feature,
                "h": torch.stack([step.h for step in estimate.steps], 1),
                "joints": torch.stack([step.mesh.joints for step in estimate.steps], 1),
                "start": estimate.steps[0].joints_2d,
            }
            | {f"target_{name}": values for name, values in vars(without_mask(view.targets)).items()}
        )
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def without_mask(targets: Targets) -> Targets:
    """One pixel of it: L_Ref needs none, and thousands of masks need much memory."""
    return replace(targets, mask=targets.mask[:, :1, :1])


def targets_of(seen: dict[str, Tensor]) -> Targets:
    return Targets(**{name.removeprefix("target_"): values for name, values in seen.items() if "target_" in name})


def calls(regressor: Regressor, seen: dict[str, Tensor], count: int) -> Tensor:
    """j2D(1), j2D(2), ...: the regressor's h(t), then h(3) for ever. Each call learns from its own error alone."""
    j2d, found = seen["start"], []
    for t in range(count):
        t = min(t, regressor.iterations)
        j2d = regressor.refine_joints(j2d.detach(), seen["feature"], seen["h"][:, t], seen["joints"][:, t])
        found.append(j2d)
    return torch.stack(found, 1)


def fit(regressor: Regressor, seen: dict[str, Tensor], extra: int, steps: int) -> Regressor:
    """f_Ref after some steps of Adam on L_Ref, over three and some extra calls."""
    fitted, generator = copy.deepcopy(regressor), torch.Generator().manual_seed(SEED)
    optimiser = torch.optim.Adam(fitted.f_ref.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, steps)
    for _ in range(steps):
        rows = torch.randint(len(seen["h"]), (BATCH,), generator=generator)
        some = {name: values[rows] for name, values in seen.items()}
        found = calls(fitted, some, fitted.iterations + extra)
        optimiser.zero_grad()
        refiner_loss(found, targets_of(some)).mean().backward()
        optimiser.step()
        schedule.step()
    return fitted


@torch.no_grad()
def describe(regressor: Regressor, tests: dict[str, dict[str, Tensor]]) -> dict[str, Any]:
    """Eigenvalue and errors."""
    part = regressor.f_ref.weight[:, :JOINTS_2D]
    row: dict[str, Any] = {"largest_eigenvalue": round(float(torch.linalg.eigvals(part).abs().max()), 3)}
    for name, seen in tests.items():
        found = torch.cat((seen["start"][:, None], calls(regressor, seen, regressor.iterations + CALLS)), 1)
        row[name] = {f"after {t} calls": error_px(found[:, t], seen) for t in SHOWN}
    return row


def error_px(j2d: Tensor, seen: dict[str, Tensor]) -> float:
    """Mean distance of the known joints, pixels of the crop."""
    known = seen["target_known_2d"]
    return round(float(SIZE * (j2d - seen["target_joints_2d"])[known].norm(dim=-1).mean()), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path, nargs="+")
    parser.add_argument("--pictures", type=int, default=3072, help="to learn from")
    parser.add_argument("--tests", type=int, default=256, help="of each test split")
    parser.add_argument("--steps", type=int, default=1500)
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    torch.set_num_threads(1)
    network = load_shipped()
    train = seen_by_refiner(network, arguments.train, arguments.pictures)
    tests = {path.parent.name: seen_by_refiner(network, path, arguments.tests) for path in arguments.test}
    rows: dict[str, Any] = {
        "pixels": {name: {"skeleton": error_px(seen["joints"][:, -1, :, :2], seen)} for name, seen in tests.items()},
        "shipped, three calls": describe(network.regressor, tests),
    }
    for extra in EXTRA:
        fitted = fit(network.regressor, train, extra, arguments.steps)
        rows[f"fitted anew, 3 + {extra} calls"] = describe(fitted, tests)
    write_result("refiner_calls", rows, SEED, load)


if __name__ == "__main__":
    main()
