"""What each part of f_E3D that the paper does not have brings: f_E3D trained anew on evidence that stays as it is.

    python benchmarks/regressor_switches.py TRAIN TEST

TRAIN and TEST are prepared splits of rendered hands, as `dhpe data make` writes them. The shipped network finds the
evidence of all crops once: F(x), its maps at the joints, and j2D(0). Then each form of f_E3D learns L_Art, L_Ref and
L_h from it, with equal batches and steps. Rows: the mean error of the mesh's joints after alignment (protocol C, mm),
of its projection (pixels of the crop), and of the pose (root of the mean square, radians). The mean hand is the row
without a network. Writes book/results/regressor_switches.json.
"""

import argparse
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from refiner_calls import without_mask
from reporting import write_result
from torch import Tensor, nn

from dhpe_lib.common.records import join_rows, take_rows
from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.data.targets import Targets
from dhpe_lib.data.views import View
from dhpe_lib.evaluation.alignment import align_similarity
from dhpe_lib.hand.model import HandModel, neutral_h
from dhpe_lib.network.estimator import PRESETS, SIZE, Estimator
from dhpe_lib.network.regressor import Regressor
from dhpe_lib.network.trained import load_shipped
from dhpe_lib.network.upright import network_view
from dhpe_lib.training.batches import ViewOptions, draw_turns, training_view
from dhpe_lib.training.config import TrainingConfig
from dhpe_lib.training.losses import articulation_loss, hand_loss, refiner_loss

SEED, BATCH, AT_A_TIME, RATE = 0, 256, 64, 1e-3
WARMUP = 100


@dataclass(frozen=True)
class Form:
    """A form of f_E3D.

    Attributes:
        standard_units, hidden: As in `EstimatorConfig`.
        at_joints: Whether f_E3D sees F's maps at the joints.
        weight_h: Weight of L_h.
        true_joints: Whether j2D(0) is the ground truth, which shows what f_J2D's errors cost.
    """

    standard_units: bool = True
    hidden: int = PRESETS["light"].hidden
    at_joints: bool = True
    weight_h: float = TrainingConfig().weight_h
    true_joints: bool = False


FORMS = {
    "the paper's f_E3D": Form(standard_units=False, hidden=0, at_joints=False, weight_h=0.0),
    "light": Form(),
    "light without standard units": Form(standard_units=False),
    "light without hidden layers": Form(hidden=0),
    "light without the joints' maps": Form(at_joints=False),
    "light without L_h": Form(weight_h=0.0),
    "light with the true j2D": Form(true_joints=True),
}


@dataclass(frozen=True)
class Seen:
    """F(x), the same with F's maps at the joints, j2D(0), and the ground truth without masks."""

    feature: Tensor
    of_crop: Tensor
    joints_2d: Tensor
    targets: Targets


def seen_by_regressor(network: Estimator, views: list[View]) -> Seen:
    """Find the evidence of all views."""
    rows = []
    for view in views:
        with torch.no_grad():
            found = network.find_evidence(view.images)
        rows.append(Seen(found.feature, found.of_crop, found.joints_2d, without_mask(view.targets)))
    return join_rows(rows)


def parts(rows: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Split rows into numbered batches."""
    return list(enumerate(np.array_split(rows, max(len(rows) // AT_A_TIME, 1))))


def inputs(seen: Seen, form: Form) -> tuple[Tensor, Tensor]:
    """Return what f_E3D sees of the crop, and j2D(0)."""
    of_crop = seen.of_crop if form.at_joints else seen.feature
    return of_crop, seen.targets.joints_2d if form.true_joints else seen.joints_2d


def fit(form: Form, seen: Seen, hand: HandModel, steps: int) -> Regressor:
    """Train f_E3D with AdamW, a warmup and a cosine decay."""
    torch.manual_seed(SEED)
    of_crop, joints_2d = inputs(seen, form)
    regressor = Regressor(of_crop.shape[1], standard_units=form.standard_units, hidden=form.hidden)
    optimiser = torch.optim.AdamW(regressor.parameters(), RATE, weight_decay=1e-4)
    for step in range(steps):
        decay = 0.5 + 0.5 * math.cos(math.pi * step / steps)
        optimiser.param_groups[0]["lr"] = RATE * min(1, (step + 1) / WARMUP) * decay
        rows = torch.randint(len(of_crop), (BATCH,))
        path = regressor(of_crop[rows], joints_2d[rows], hand)
        targets, refined = take_rows(seen.targets, rows), torch.stack([state.joints_2d for state in path[1:]], 1)
        loss = articulation_loss(path[-1].mesh.joints, targets) + refiner_loss(refined, targets)
        loss = (loss + form.weight_h * hand_loss(path, targets)).mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(regressor.parameters(), 1.0)
        optimiser.step()
    return regressor


def aligned_mm(pose_shape: Tensor, targets: Targets, hand: HandModel) -> float:
    """Mean distance of the joints of two hands in millimetres after a similarity, without a camera."""

    def joints(values: Tensor) -> np.ndarray:
        h = neutral_h(hand).repeat(len(values), 1)
        h[:, :55] = values
        return 1000 * hand.forward_h(h).joints.double().numpy()

    truth = joints(targets.pose_shape)
    return float(np.linalg.norm(align_similarity(joints(pose_shape), truth) - truth, axis=-1).mean())


@torch.no_grad()
def describe(h: Tensor, seen: Seen, hand: HandModel) -> dict[str, float]:
    """Return the errors of hands."""
    targets = seen.targets
    off = (hand.forward_h(h).joints - targets.joints)[..., :2].norm(dim=-1).mean()
    pose = (h[:, :45] - targets.pose_shape[:, :45]).square().mean().sqrt()
    return {
        "aligned_mm": round(aligned_mm(h[:, :55], targets, hand), 2),
        "mesh_px": round(SIZE * float(off), 2),
        "pose_rad": round(float(pose), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--pictures", type=int, default=12288, help="images to train on")
    parser.add_argument("--tests", type=int, default=1024, help="images of the test split")
    parser.add_argument("--steps", type=int, default=1000)
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    torch.set_num_threads(1)
    network, options = load_shipped(), ViewOptions(size=128, upright=True)
    train, test = Prepared(arguments.train), Prepared(arguments.test)
    rows, held = train.evenly_spaced(arguments.pictures), test.evenly_spaced(arguments.tests)
    seen = seen_by_regressor(
        network, [training_view(train[part], draw_turns(len(part), k, options), options) for k, part in parts(rows)]
    )
    unseen = seen_by_regressor(network, [network_view(network, test[part]) for _, part in parts(held)])
    hand = network.hand
    mean = neutral_h(hand)[:, :55].repeat(len(held), 1)
    table = {"the mean hand": {"aligned_mm": round(aligned_mm(mean, unseen.targets, hand), 2)}}
    for name, form in FORMS.items():
        regressor = fit(form, seen, hand, arguments.steps)
        with torch.no_grad():
            h = regressor(*inputs(unseen, form), hand)[-1].h
        table[name] = describe(h, unseen, hand)
        print(name, table[name], flush=True)
    write_result("regressor_switches", table, SEED, load)


if __name__ == "__main__":
    main()
