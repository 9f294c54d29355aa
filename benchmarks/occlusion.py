"""What do things in front of a hand cost? The pictures of ORH-O with the labels of all joints.

    python benchmarks/occlusion.py

ORH-O gives the labels of the fingertips only, as Dexter+Object does. The engine knows all joints, so this benchmark
renders the pictures of ORH and ORH-O again, with all labels, and measures the shipped network on them. Rows: the error
of a group of joints after a similarity alignment (protocol C) to this group, or to all joints, beside that of the mean
hand. A joint is visible if it lies in the picture and nothing but the flesh around it hides it.
Writes book/results/occlusion.json.
"""

import argparse
import os
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from reporting import write_result

from dhpe_lib.common.records import join_rows
from dhpe_lib.data.cache.layout import ROWS_PER_PART
from dhpe_lib.evaluation.alignment import align_similarity
from dhpe_lib.evaluation.evaluate import Predictions, predict_batch
from dhpe_lib.evaluation.metrics import bootstrap, joint_errors, mean_epe
from dhpe_lib.evaluation.scores import mean_hands, rounded
from dhpe_lib.network.estimator import Estimator
from dhpe_lib.network.trained import load_shipped
from dhpe_lib.synthetic.hands import TIPS
from dhpe_lib.synthetic.orh import Recipe, draw_labelled

TESTS = ("orh", "orh-o")


def predict(network: Estimator, name: str, count: int) -> Predictions:
    """Run the network on the first `count` pictures of a test."""
    recipe, parts = Recipe(name, "test", count), []
    for start in range(0, count, ROWS_PER_PART):
        crops = draw_labelled(recipe, range(start, min(start + ROWS_PER_PART, count)))
        parts.append(predict_batch(network, crops, torch.device("cpu")))
    return join_rows(parts)


def aligned(
    joints: Float[ndarray, "n 21 3"], truth: Float[ndarray, "n 21 3"], group: Bool[ndarray, "n 21"]
) -> Float[ndarray, "n 21"]:
    """Errors of a group of joints after an alignment to this group, mm; NaN for the others."""
    truth = np.where(group[..., None], truth, np.nan)
    return joint_errors(align_similarity(joints, truth), truth)


def describe(found: Predictions) -> dict[str, Any]:
    """Return the errors of each group of joints, of the network and of the mean hand."""
    tips = np.zeros_like(found.visible)
    tips[:, TIPS] = True
    everything = np.ones_like(found.visible)
    rows = {}
    for name, aligned_to, counts in (
        ("all joints", everything, everything),
        ("visible joints, aligned to all", everything, found.visible),
        ("hidden joints, aligned to all", everything, ~found.visible),
        ("fingertips, aligned to all", everything, tips),
        ("fingertips, aligned to fingertips", tips, tips),
    ):
        both = {"network": found.joints_mm, "mean hand": mean_hands(len(tips))}
        errors = {one: aligned(joints, found.truth_mm, aligned_to) for one, joints in both.items()}
        rows[name] = {one: score(np.where(counts, mm, np.nan)) for one, mm in errors.items()}
    return {"images": len(tips), "share of visible joints": round(float(found.visible.mean()), 3), "mm": rows}


def score(errors: Float[ndarray, "n 21"]) -> dict[str, float]:
    """Mean error with its interval over the images, mm."""
    return rounded(bootstrap(mean_epe, errors), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=1024, help="pictures of each test")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    torch.set_num_threads(1)
    network = load_shipped()
    rows = {name: describe(predict(network, name, arguments.pictures)) for name in TESTS}
    write_result("occlusion", rows, 0, load)


if __name__ == "__main__":
    main()
