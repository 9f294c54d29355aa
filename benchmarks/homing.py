"""Measure from how far away each silhouette method brings a hand back to its target, by the mask alone.

The result is the reason for the renderer's default method. `python benchmarks/homing.py` displaces the open hand in
four ways with increasing size, and minimises the squared difference of masks (Eq. 9) with Adam. All methods take the
same number of steps. A start is "home" if the mean image distance of the displaced vertices is below 4 of 224 pixels
at the end.

It writes `book/results/renderer_homing.json`: for each method and kind of displacement, the number of starts that come
home, and the largest displacement up to which all starts come home.
"""

import argparse
import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parent))
from reporting import write_result

from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.poses import JointLimits, joint_limits, pose_from_angles
from dhpe_lib.rendering.renderer import silhouette

SEED, SIZE, STEPS, RATE, HOME_PX = 0, 112, 150, 0.02, 4.0


@dataclass(frozen=True)
class Starts:
    """Displacements of one kind.

    Attributes:
        sizes: Size of each displacement.
        similarity: Start of (x, y, angle in radians, log scale) in the image.
        pose: Start of the pose, radians.
        free: "similarity" or "pose", the parameters that are optimised.
    """

    sizes: list[float]
    similarity: Tensor
    pose: Tensor
    free: str


def all_starts(true_pose: Tensor, limits: JointLimits) -> dict[str, Starts]:
    """Make the displacements of all four kinds."""

    def similar(rows: list[tuple[float, ...]], sizes: list[float]) -> Starts:
        return Starts(sizes, torch.tensor(rows), true_pose.expand(len(rows), -1), "similarity")

    around = [(math.cos(0.4 + k * math.pi / 2), math.sin(0.4 + k * math.pi / 2)) for k in range(4)]
    shifts = [d for d in (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5) for _ in around]
    turns = [a for a in (5, 10, 15, 30, 45, 60, 90) for _ in range(2)]
    factors = [q for q in (1.2, 1.4, 1.7, 2.0, 2.5, 3.0) for _ in range(2)]
    bends = [float(b) for b in (20, 40, 60, 80, 100, 120) for _ in range(8)]
    return {
        "translation": similar(
            [(d * around[k % 4][0], d * around[k % 4][1], 0, 0) for k, d in enumerate(shifts)], shifts
        ),
        "rotation": similar([(0, 0, math.radians(a) * (-1) ** k, 0) for k, a in enumerate(turns)], turns),
        "scale": similar([(0, 0, 0, math.log(q) * (-1) ** k) for k, q in enumerate(factors)], factors),
        "finger pose": Starts(bends, torch.zeros(len(bends), 4), bent(bends, limits), "pose"),
    }


def bent(degrees: list[float], limits: JointLimits) -> Tensor:
    """Make flat hands with one or two random fingers bent; the angle is shared equally by their first two joints."""
    generator = torch.Generator().manual_seed(SEED)
    angles = torch.zeros(len(degrees), 15, 3)
    for row, degree in zip(angles, degrees, strict=True):
        for finger in torch.randperm(4, generator=generator)[: int(torch.randint(1, 3, (1,), generator=generator))]:
            row[3 * finger : 3 * finger + 2, 0] = math.radians(degree) / 2
    return pose_from_angles(angles, limits)


def pyramid(difference: Tensor) -> Tensor:
    """Compute the sum of the mean squares at full size and at four halved sizes."""
    levels = [functional.avg_pool2d(difference[:, None], 2**k) for k in range(5)]
    return sum(level.square().mean((1, 2, 3)) for level in levels)


def plain(difference: Tensor) -> Tensor:
    """Compute Eq. 9 as a mean over the pixels."""
    return difference.square().mean((1, 2))


METHODS: dict[str, tuple[Callable[[Tensor, Tensor, float], Tensor], Callable[[Tensor], Tensor]]] = {
    "kato": (lambda v, f, t: silhouette(v, f, SIZE, "kato"), plain),
    "coverage": (lambda v, f, t: silhouette(v, f, SIZE, "coverage"), plain),
    "soft, sigma 1e-5": (lambda v, f, t: silhouette(v, f, SIZE, "soft", 1e-5), plain),
    "soft, sigma 1e-4": (lambda v, f, t: silhouette(v, f, SIZE, "soft", 1e-4), plain),
    "soft, sigma 1e-3 to 1e-5": (lambda v, f, t: silhouette(v, f, SIZE, "soft", 1e-3 * 1e-2**t), plain),
    "kato, pyramid of masks": (lambda v, f, t: silhouette(v, f, SIZE, "kato"), pyramid),
    "soft, sigma 1e-4, pyramid of masks": (lambda v, f, t: silhouette(v, f, SIZE, "soft", 1e-4), pyramid),
    "coverage, pyramid of masks": (lambda v, f, t: silhouette(v, f, SIZE, "coverage"), pyramid),
}


def come_home(model: HandModel, true_pose: Tensor, starts: Starts, method: str) -> dict[str, float | None]:
    """Minimise the mask loss from all starts as one batch, and count the starts that come home."""
    draw, loss = METHODS[method]
    similarity, pose = starts.similarity.clone(), starts.pose.clone()
    leaf = (similarity if starts.free == "similarity" else pose).requires_grad_()

    def placed(similarity: Tensor, pose: Tensor) -> Tensor:
        vertices = model(pose=pose).vertices @ VIEW.mT / REACH
        x, y, angle, growth = similarity.T[:, :, None]
        c, s = growth.exp() * angle.cos(), growth.exp() * angle.sin()
        px, py, pz = (vertices - CENTRE).unbind(-1)
        return torch.stack([c * px - s * py + x, s * px + c * py + y, pz], dim=-1)

    truth = placed(torch.zeros(1, 4), true_pose)
    target = silhouette(truth, model.faces, SIZE, "coverage").detach()
    optimizer = torch.optim.Adam([leaf], lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for step in range(STEPS):
        optimizer.zero_grad()
        masks = draw(placed(similarity, pose), model.faces, step / STEPS)
        loss(masks - target).sum().backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        first = 224 * (placed(starts.similarity, starts.pose) - truth)[..., :2].norm(dim=-1)
        last = 224 * (placed(similarity, pose) - truth)[..., :2].norm(dim=-1)
    displaced = first > 1  # pixels; for a bent finger, the rest of the hand is not counted
    pixels = (last * displaced).sum(1) / displaced.sum(1)
    home = pixels < HOME_PX
    whole = [
        size
        for size in sorted(set(starts.sizes))
        if all(h for h, s in zip(home, starts.sizes, strict=True) if s <= size)
    ]
    median = round(float(pixels[home].median()), 2) if home.any() else None
    return {
        "home": int(home.sum()),
        "of": len(home),
        "all_up_to": whole[-1] if whole else 0,
        "median_px_at_home": median,
    }


VIEW = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
"""Rotation to a view of the hand's back with fingers to the left."""
REACH = 0.27
"""Width of the image in metres."""
CENTRE = torch.tensor([0.0, 0.0, 0.0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=METHODS, help="run one method and write no file")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    model = HandModel.open_hand()
    true_pose = torch.zeros(1, 45)
    rows = {}
    for method in METHODS if arguments.only is None else [arguments.only]:
        for way, starts in all_starts(true_pose, joint_limits()).items():
            rows[f"{method} | {way}"] = come_home(model, true_pose, starts, method)
            print(f"{method} | {way}", rows[f"{method} | {way}"], flush=True)
    if arguments.only is None:
        write_result("renderer_homing", rows, SEED, load)


if __name__ == "__main__":
    main()
