"""How much of the variety of hands do the open hand's ten shape directions span?

    python benchmarks/shape_space.py

This project has no licence for real scans, so the target hands are synthetic. Every bone of the open hand gets a random
length, with the published deviation of that bone (Buryanov and Kotiuk 2010), and a random breadth and thickness (10 %
each, an assumption). Ten numbers cannot describe all of this variety. Pose, shape and rigid motion are then fitted to
each target. The result is the mean distance of the fitted vertices to the target surface (to the tangent plane at the
nearest vertex). It measures the ten shape directions. It does not measure how realistic the template is, which would
need scans.
"""

import json
import platform
import sys
from datetime import date
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "data_scripts"))

from open_hand import anthropometry as body  # noqa: E402
from open_hand.source import Surface  # noqa: E402

from dhpe_lib.hand.model import HandModel  # noqa: E402
from dhpe_lib.hand.rotations import axis_angle_to_matrix  # noqa: E402
from dhpe_lib.rendering.lighting import vertex_normals  # noqa: E402

HANDS, STEPS, SEED = 32, 400, 0
# Relative standard deviation of the length of each bone in MANO's order. The wrist has that of the middle metacarpal.
LENGTHS = (
    *(5.4 / 64.6,),
    *(4.9 / 39.8, 2.5 / 22.4, 2.3 / 15.8),
    *(3.8 / 44.6, 3.0 / 26.3, 1.9 / 17.4),
    *(2.8 / 32.7, 2.5 / 18.1, 2.5 / 16.0),
    *(3.9 / 41.4, 3.3 / 25.7, 2.2 / 17.3),
    *(3.9 / 46.2, 3.1 / 31.6, 1.6 / 21.7),
)
ACROSS = 0.10  # relative standard deviation of breadth and thickness


def varied_hand(hand: Surface, random: np.random.Generator) -> np.ndarray:
    """Make the vertices, in metres, of a hand whose 16 bones vary independently."""
    along = body.bone_directions(hand)
    maps = {}
    for j in range(16):
        length = random.normal(0, LENGTHS[j]) * np.outer(along[j], along[j])
        dorsal = hand.axes[j, 1] - along[j] * (hand.axes[j, 1] @ along[j])
        dorsal /= np.linalg.norm(dorsal)
        side = np.cross(along[j], dorsal)
        width = random.normal(0, ACROSS) * np.outer(side, side)
        maps[j] = length + width + random.normal(0, ACROSS) * np.outer(dorsal, dorsal)
    return hand.vertices + body.stretch(hand, maps)[0]


def distances(model: HandModel, targets: torch.Tensor, with_shape: bool) -> torch.Tensor:
    """Compute the mean distance, in metres, of the fitted vertices to each target surface."""
    n = len(targets)
    pose, shape, turn, move = (torch.zeros(n, k, requires_grad=True) for k in (45, 10, 3, 3))
    free = [pose, turn, move, *([shape] if with_shape else [])]
    optimizer = torch.optim.Adam([{"params": [p], "lr": 0.002 if p is move else 0.05} for p in free])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        optimizer.zero_grad()
        vertices = model(pose, shape, axis_angle_to_matrix(turn), None, move).vertices
        ((1e3 * (vertices - targets)).square().sum(-1).mean(1) + 1e-3 * shape.square().sum(1)).sum().backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        vertices = model(pose, shape, axis_angle_to_matrix(turn), None, move).vertices
        nearest = torch.cdist(vertices, targets).argmin(2)[..., None].expand(-1, -1, 3)
        normals = vertex_normals(targets, model.faces).gather(1, nearest)
        return ((vertices - targets.gather(1, nearest)) * normals).sum(-1).abs().mean(1)


def main() -> None:
    random, model = np.random.default_rng(SEED), HandModel.open_hand()
    data = model.hand
    axes = np.concatenate([np.eye(3)[None][:, [2, 1, 0]], data["joint_axes"]])
    hand = Surface(data["v_template"], data["f"], np.zeros(0), {}, data["weights"], data["J"], axes)
    targets = torch.tensor(np.stack([varied_hand(hand, random) for _ in range(HANDS)]), dtype=torch.float32)
    results = {}
    for name, with_shape in (("mean shape", False), ("ten shape directions", True)):
        mm = 1000 * distances(model, targets, with_shape)
        results[name] = {"mean_mm": round(float(mm.mean()), 2), "worst_mm": round(float(mm.max()), 2)}
        print(f"{name:22} mean {results[name]['mean_mm']:.2f} mm, worst {results[name]['worst_mm']:.2f} mm")
    record = {
        "command": "python benchmarks/shape_space.py",
        "date": date.today().isoformat(),
        "seed": SEED,
        "hardware": {"cpu": platform.processor() or platform.machine(), "gpu": "none"},
        "hands": HANDS,
        "results": results,
    }
    (ROOT / "book" / "results" / "shape_space.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
