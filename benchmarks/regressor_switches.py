"""What each part of f_E3D that the paper does not have brings: f_E3D trained anew on evidence that stays as it is.

    python benchmarks/regressor_switches.py TEST TRAIN...

TEST and TRAIN are prepared splits of rendered hands, as `dhpe data make` writes them. F and f_J2D of the shipped
network find the evidence of all crops once, as in `dhpe train-mesh`. Then each form of f_E3D learns from it, with equal
batches and steps. Rows: the mean error of the mesh's joints after alignment (mm), of its projection (pixels of the
crop), of the pose (root of the mean square, radians), and the IoU of the mask. The mean hand is the row without a
network. Writes book/results/regressor_switches.json.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from reporting import write_result
from torch import Tensor, nn

from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.data.targets import Targets
from dhpe_lib.evaluation.alignment import align_similarity
from dhpe_lib.hand.model import HandMesh, HandModel, neutral_h
from dhpe_lib.network.estimator import PRESETS, SIZE, Estimator
from dhpe_lib.network.hand_evidence import JointReader
from dhpe_lib.network.regressor import Regressor
from dhpe_lib.network.trained import default_weights, load_trained
from dhpe_lib.network.upright import network_view
from dhpe_lib.rendering.renderer import silhouette
from dhpe_lib.training.fixed_evidence import (
    AT_A_TIME,
    TRAINED_MASK,
    FixedEvidence,
    MeshEstimator,
    MeshStage,
    find_fixed_evidence,
    jittered_views,
    train_mesh_estimator,
)

SEED = 0
LIGHT = PRESETS["light"]


@dataclass(frozen=True)
class Form:
    """A form of f_E3D.

    Attributes:
        standard_units, hidden, joint_features: As in `EstimatorConfig`.
        weight_h, weight_sh: Weights of L_h and L_Sh.
        layer_norm: Whether F is normalised to mean 0 and variance 1.
        known_h: Whether pose and shape have labels; else L_h pulls to the mean hand, with the weight of the library.
        upright: Whether crops are turned upright.
        true_joints: Whether j2D(0) is the ground truth, which shows what f_J2D's errors cost.
    """

    standard_units: bool = True
    hidden: int = LIGHT.hidden
    joint_features: int = LIGHT.joint_features
    weight_h: float = MeshStage.weight_h
    weight_sh: float = MeshStage.weight_sh
    layer_norm: bool = LIGHT.layer_norm
    known_h: bool = True
    upright: bool = LIGHT.upright
    true_joints: bool = False


FORMS = {
    "light": Form(),
    "the paper's f_E3D": Form(standard_units=False, hidden=0, joint_features=0, weight_h=0.0, layer_norm=False),
    "light without standard units": Form(standard_units=False),
    "light without hidden layers": Form(hidden=0),
    "light without the joints' maps": Form(joint_features=0),
    "light without L_h": Form(weight_h=0.0),
    "light with the mean hand instead of labels": Form(known_h=False),
    "light without LayerNorm": Form(layer_norm=False),
    "light without upright crops": Form(upright=False),
    "the paper's f_E3D without upright crops": Form(
        standard_units=False, hidden=0, joint_features=0, weight_h=0.0, layer_norm=False, upright=False
    ),
    "light with L_Sh": Form(weight_sh=10.0),
    "light with the true j2D": Form(true_joints=True),
}


@dataclass(frozen=True)
class Evidence:
    """The evidence of the training and of the test, with features before LayerNorm, and this LayerNorm."""

    seen: FixedEvidence
    unseen: FixedEvidence
    norm: nn.Module


def find(
    network: Estimator, upright: bool, train: Sequence[Prepared], test: Prepared, counts: tuple[int, int]
) -> Evidence:
    """Find the evidence of images of the training splits and of the test."""
    network.config = replace(network.config, upright=upright)
    norm, network.features.norm = network.features.norm, nn.Identity()
    rows = np.array_split(test.evenly_spaced(counts[1]), max(counts[1] // AT_A_TIME, 1))
    seen = find_fixed_evidence(network, jittered_views(network, train, counts[0], SEED))
    unseen = find_fixed_evidence(network, (network_view(network, test[some]) for some in rows))
    network.features.norm = norm
    return Evidence(seen, unseen, norm)


@torch.no_grad()
def seen_by(form: Form, evidence: FixedEvidence, norm: nn.Module) -> FixedEvidence:
    """Return the feature, the j2D(0) and the labels that a form sees."""
    targets = evidence.targets
    return replace(
        evidence,
        feature=norm(evidence.feature) if form.layer_norm else evidence.feature,
        joints_2d=targets.joints_2d if form.true_joints else evidence.joints_2d,
        targets=replace(targets, has_h=targets.has_h & form.known_h),
    )


def fit(form: Form, evidence: FixedEvidence, hand: HandModel, steps: int) -> MeshEstimator:
    """Train f_E3D of a form on the evidence that it sees."""
    torch.manual_seed(SEED)
    reader = JointReader(form.joint_features) if form.joint_features else None
    size = evidence.feature.shape[1] + (reader.size if reader else 0)
    mesh = MeshEstimator(Regressor(size, standard_units=form.standard_units, hidden=form.hidden), reader, hand)
    stage = MeshStage(steps, weight_h=form.weight_h, weight_sh=form.weight_sh, seed=SEED)
    train_mesh_estimator(mesh, evidence, stage)
    return mesh


def aligned_mm(pose_shape: Tensor, targets: Targets, hand: HandModel) -> float:
    """Mean distance of the joints of two hands in millimetres after a similarity, without a camera."""

    def joints(values: Tensor) -> np.ndarray:
        h = neutral_h(hand).repeat(len(values), 1)
        h[:, :55] = values
        return 1000 * hand.forward_h(h).joints.double().numpy()

    truth = joints(targets.pose_shape)
    return float(np.linalg.norm(align_similarity(joints(pose_shape), truth) - truth, axis=-1).mean())


@torch.no_grad()
def describe(h: Tensor, mesh: HandMesh, targets: Targets, hand: HandModel) -> dict[str, float]:
    """Return the errors of hands."""
    off = (mesh.joints - targets.joints)[..., :2].norm(dim=-1).mean()
    pose = (h[:, :45] - targets.pose_shape[:, :45]).square().mean().sqrt()
    parts = torch.arange(len(h)).split(AT_A_TIME)
    masks = torch.cat([silhouette(mesh.vertices[rows], hand.faces, TRAINED_MASK, "coverage") for rows in parts])
    both = torch.minimum(masks, targets.mask).sum((1, 2)) / torch.maximum(masks, targets.mask).sum((1, 2))
    return {
        "aligned_mm": round(aligned_mm(h[:, :55], targets, hand), 2),
        "mesh_px": round(SIZE * float(off), 2),
        "pose_rad": round(float(pose), 3),
        "mask_iou": round(float(both.mean()), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("test", type=Path)
    parser.add_argument("train", type=Path, nargs="+")
    parser.add_argument("--pictures", type=int, default=16384, help="images to train on, over all splits")
    parser.add_argument("--tests", type=int, default=1024, help="images of the test split")
    parser.add_argument("--steps", type=int, default=1000)
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    torch.set_num_threads(1)
    network = load_trained(default_weights())
    test, train = Prepared(arguments.test), list(map(Prepared, arguments.train))
    hand, table = network.hand, {}
    for upright in (True, False):
        evidence = find(network, upright, train, test, (arguments.pictures, arguments.tests))
        targets = evidence.unseen.targets
        mean = neutral_h(hand).repeat(len(evidence.unseen), 1)
        table.setdefault("the mean hand", describe(mean, hand.forward_h(mean), targets, hand))
        for name, form in FORMS.items():
            if form.upright == upright:
                mesh = fit(form, seen_by(form, evidence.seen, evidence.norm), hand, arguments.steps)
                with torch.no_grad():
                    last = mesh(seen_by(form, evidence.unseen, evidence.norm))[-1]
                table[name] = describe(last.h, last.mesh, targets, hand)
                print(name, table[name], flush=True)
    write_result("regressor_switches", table, SEED, load)


if __name__ == "__main__":
    main()
