"""What each part of f_E3D that the paper does not have brings: f_E3D trained anew on evidence that stays as it is.

    python benchmarks/regressor_switches.py TEST TRAIN... [--start FILE] [--write FILE]

TEST and TRAIN are prepared splits of rendered hands, as `dhpe data make` writes them. F and f_J2D of the shipped
network, or of `--start`, find the evidence of all crops once: F(x), its maps at the joints, and j2D(0). Then each form
of f_E3D learns L_Art, L_Ref and L_h from it, with equal batches and steps. Rows: the mean error of the mesh's joints
after alignment (mm), of its projection (pixels of the crop), and of the pose (root of the mean square, radians). The
mean hand is the row without a network. Writes book/results/regressor_switches.json.

With `--write` only the light form is trained. The network with it is written, with the configuration of the start: a
step costs a quarter of a second instead of two.
"""

import argparse
import math
import os
from collections.abc import Iterable
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
from dhpe_lib.network.checkpoints import read_checkpoint, write_checkpoint
from dhpe_lib.network.estimator import PRESETS, SIZE, Estimator
from dhpe_lib.network.evidence import find_joints
from dhpe_lib.network.hand_evidence import JointReader, read_at_joints
from dhpe_lib.network.regressor import Regressor, RegressorState
from dhpe_lib.network.trained import default_weights, load_trained
from dhpe_lib.network.upright import network_view
from dhpe_lib.training.batches import ViewOptions, draw_turns, training_view
from dhpe_lib.training.config import TrainingConfig
from dhpe_lib.training.losses import articulation_loss, hand_loss, refiner_loss

SEED, BATCH, AT_A_TIME, RATE, DECAY = 0, 256, 64, 1e-3, 1e-3
WARMUP = 200
LIGHT = PRESETS["light"]


@dataclass(frozen=True)
class Form:
    """A form of f_E3D.

    Attributes:
        standard_units, hidden, joint_features: As in `EstimatorConfig`.
        weight_h: Weight of L_h.
        true_joints: Whether j2D(0) is the ground truth, which shows what f_J2D's errors cost.
    """

    standard_units: bool = True
    hidden: int = LIGHT.hidden
    joint_features: int = LIGHT.joint_features
    weight_h: float = TrainingConfig().weight_h
    true_joints: bool = False


FORMS = {
    "light": Form(),
    "the paper's f_E3D": Form(standard_units=False, hidden=0, joint_features=0, weight_h=0.0),
    "light without standard units": Form(standard_units=False),
    "light without hidden layers": Form(hidden=0),
    "light without the joints' maps": Form(joint_features=0),
    "light without L_h": Form(weight_h=0.0),
    "light with the true j2D": Form(true_joints=True),
}


@dataclass(frozen=True)
class Seen:
    """F(x), F's maps at the joints in half precision, j2D(0) with its scores, and the ground truth without masks."""

    feature: Tensor
    readings: Tensor
    joints_2d: Tensor
    score: Tensor
    targets: Targets


def seen_by_regressor(network: Estimator, views: Iterable[View]) -> Seen:
    """Find the evidence of all views, one after another, since the images of all take gigabytes."""
    rows = []
    for view in views:
        with torch.no_grad():
            levels = network.features.levels(view.images)
            found = find_joints(network.pose_machine(levels))
            readings = read_at_joints(levels, found.joints_2d).half()
            feature = network.features.pooled(levels[-1])
        rows.append(Seen(feature, readings, found.joints_2d, found.score, without_mask(view.targets)))
    return join_rows(rows)


class TrainedForm(nn.Module):
    """f_E3D of a form, with the reader of the joints if the form has one."""

    def __init__(self, form: Form, hand: HandModel, features: int) -> None:
        super().__init__()
        self.form, self.hand = form, hand
        self.joint_reader = JointReader(form.joint_features) if form.joint_features else None
        size = features + (self.joint_reader.size if self.joint_reader else 0)
        self.regressor = Regressor(size, standard_units=form.standard_units, hidden=form.hidden)

    def forward(self, seen: Seen) -> tuple[RegressorState, ...]:
        """Iterate from the evidence."""
        of_crop = seen.feature
        if self.joint_reader is not None:
            of_crop = torch.cat((of_crop, self.joint_reader(seen.readings.float(), seen.score)), 1)
        joints_2d = seen.targets.joints_2d if self.form.true_joints else seen.joints_2d
        return self.regressor(of_crop, joints_2d, self.hand)


def fit(form: Form, seen: Seen, hand: HandModel, steps: int) -> TrainedForm:
    """Train f_E3D with AdamW, a warmup and a cosine decay."""
    torch.manual_seed(SEED)
    trained = TrainedForm(form, hand, seen.feature.shape[1])
    optimiser = torch.optim.AdamW(trained.parameters(), RATE, weight_decay=DECAY)
    for step in range(steps):
        decay = 0.5 + 0.5 * math.cos(math.pi * step / steps)
        optimiser.param_groups[0]["lr"] = RATE * min(1, (step + 1) / WARMUP) * decay
        batch = take_rows(seen, torch.randint(len(seen.feature), (BATCH,)))
        path = trained(batch)
        refined = torch.stack([state.joints_2d for state in path[1:]], 1)
        loss = articulation_loss(path[-1].mesh.joints, batch.targets) + refiner_loss(refined, batch.targets)
        loss = (loss + form.weight_h * hand_loss(path, batch.targets)).mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimiser.step()
    return trained


def aligned_mm(pose_shape: Tensor, targets: Targets, hand: HandModel) -> float:
    """Mean distance of the joints of two hands in millimetres after a similarity, without a camera."""

    def joints(values: Tensor) -> np.ndarray:
        h = neutral_h(hand).repeat(len(values), 1)
        h[:, :55] = values
        return 1000 * hand.forward_h(h).joints.double().numpy()

    truth = joints(targets.pose_shape)
    return float(np.linalg.norm(align_similarity(joints(pose_shape), truth) - truth, axis=-1).mean())


@torch.no_grad()
def describe(h: Tensor, targets: Targets, hand: HandModel) -> dict[str, float]:
    """Return the errors of hands."""
    off = (hand.forward_h(h).joints - targets.joints)[..., :2].norm(dim=-1).mean()
    pose = (h[:, :45] - targets.pose_shape[:, :45]).square().mean().sqrt()
    return {
        "aligned_mm": round(aligned_mm(h[:, :55], targets, hand), 2),
        "mesh_px": round(SIZE * float(off), 2),
        "pose_rad": round(float(pose), 3),
    }


def parts(rows: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Split rows into numbered batches."""
    return list(enumerate(np.array_split(rows, max(len(rows) // AT_A_TIME, 1))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("test", type=Path)
    parser.add_argument("train", type=Path, nargs="+")
    parser.add_argument("--start", type=Path, help="network whose F and f_J2D are used; by default the shipped one")
    parser.add_argument("--write", type=Path, help="file for the network with the light f_E3D, trained anew")
    parser.add_argument("--pictures", type=int, default=16384, help="images to train on, over all splits")
    parser.add_argument("--tests", type=int, default=1024, help="images of the test split")
    parser.add_argument("--steps", type=int, default=1000)
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    torch.set_num_threads(1)
    start = arguments.start or default_weights()
    network = load_trained(start)
    options = ViewOptions(size=network.features.input_size, upright=True)
    count = arguments.pictures // len(arguments.train)
    views = (
        training_view(train[part], draw_turns(len(part), k, options), options)
        for train in map(Prepared, arguments.train)
        for k, part in parts(train.evenly_spaced(count))
    )
    seen, hand = seen_by_regressor(network, views), network.hand
    if arguments.write is not None:
        trained = fit(FORMS["light"], seen, hand, arguments.steps)
        network.joint_reader, network.regressor = trained.joint_reader, trained.regressor
        facts = {"step": 0, "feature_input": options.size, "config": read_checkpoint(start).facts["config"]}
        write_checkpoint(arguments.write, network, facts)
        return
    test = Prepared(arguments.test)
    views = (network_view(network, test[part]) for _, part in parts(test.evenly_spaced(arguments.tests)))
    unseen = seen_by_regressor(network, views)
    mean = neutral_h(hand).repeat(len(unseen.feature), 1)
    table = {"the mean hand": describe(mean, unseen.targets, hand)}
    for name, form in FORMS.items():
        trained = fit(form, seen, hand, arguments.steps)
        with torch.no_grad():
            h = trained(unseen)[-1].h
        table[name] = describe(h, unseen.targets, hand)
        print(name, table[name], flush=True)
    write_result("regressor_switches", table, SEED, load)


if __name__ == "__main__":
    main()
