"""Errors in the image on photos: some with labels by hand, and many whose labels another network found.

Photos have no joints in space, so a variant is judged by its skeleton in the image, in pixels of the crop. The crop is
1.5 times as large as the hand's box.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from dhpe_lib.common.records import join_rows, to_numpy
from dhpe_lib.data.cropping import crop_sample
from dhpe_lib.data.crops import Crops
from dhpe_lib.data.photos import read_photo
from dhpe_lib.data.sample import Sample, as_right_hand
from dhpe_lib.data.targets import joint_error_px
from dhpe_lib.experiments.cached_evidence import CachedEvidence
from dhpe_lib.experiments.evidence_forms import Form
from dhpe_lib.experiments.evidence_refinement import ITERATIONS, MODES, refined
from dhpe_lib.experiments.evidence_results import gain
from dhpe_lib.experiments.evidence_training import JointHand, iterate
from dhpe_lib.hand.model import HandModel
from dhpe_lib.network.estimator import Estimator
from dhpe_lib.network.regressor import Regressor

PHOTOS = {"pseudo": "photos with labels of a network", "labelled": "labelled photos"}
"""The sets of photos, and their names in comparisons."""
OF_FREIHAND = 32_560
"""FreiHAND has each training hand before four backgrounds: photo i + 32,560 k shows hand i."""


def hand_of_photo(file: str) -> str:
    """Name of the hand that a photo shows; some photos of FreiHAND show one hand before several backgrounds."""
    path = Path(file)
    return f"freihand/{int(path.stem) % OF_FREIHAND}" if path.parent.name == "freihand" else file


def labelled_photos(folder: Path) -> Crops:
    """Return the crops of the labelled hands of a folder, in the boxes of their labels; one photo of each hand.

    Args:
        folder: The folder with `labels.json` and `mediapipe.json`. A hand without a label of its side has that of
            MediaPipe, or is a right hand.
    """
    sides = {one["file"]: one["hands"] for one in json.loads((folder / "mediapipe.json").read_text())}
    found: dict[str, Crops] = {}
    for label in json.loads((folder / "labels.json").read_text()):
        name = hand_of_photo(label["file"])
        if "joints_2d" in label and name not in found:
            others = [hand["hand"] for hand in sides.get(label["file"], [])]
            side = label.get("hand") or (others or ["right"])[0]
            found[name] = crop_sample(labelled_sample(folder / label["file"], label["joints_2d"], side))
    return join_rows(list(found.values()))


def labelled_sample(path: Path, joints: Sequence[Sequence[float]], side: Any) -> Sample:
    """Read a photo whose joints are known in the image: 21 x (u, v, visible)."""
    rows = np.array(joints, float)
    visible = rows[:, 2] > 0
    joints_2d, unknown = np.where(visible[:, None], rows[:, :2], np.nan), np.full((21, 3), np.nan)
    sample = Sample(path.name, read_photo(path), np.eye(3), joints_2d, unknown, visible, None, side, "wrist")
    return as_right_hand(sample)


@torch.no_grad()
def photo_errors(form: Form, regressor: Regressor, evidence: CachedEvidence, hand: HandModel) -> Float[ndarray, " n"]:
    """Mean distance of the skeleton to the labels of each photo, pixels of the crop."""
    path = iterate(regressor, evidence, JointHand.of(hand), form.refiner_before)
    return to_numpy(joint_error_px(path.joints, evidence.targets))


def refined_photo_errors(network: Estimator, evidence: CachedEvidence, mode: str) -> Float[ndarray, "t n"]:
    """Errors of each photo after each number of steps of the refinement, pixels of the crop."""
    path = refined(network, evidence, mode, ITERATIONS[-1]).joints
    return np.stack([to_numpy(joint_error_px(path[step], evidence.targets)) for step in ITERATIONS])


def photo_gains(
    errors: Mapping[str, Float[ndarray, "seeds n"]], parts: Mapping[str, tuple[str, str]], name: str
) -> dict[str, Any]:
    """Compute the gains of each part on a set of photos.

    Args:
        errors: Errors by variant, pixels of the crop.
        parts: For each part the variants without it and with it.
        name: Name of the set.
    """
    return {
        f"{part}, {name}": gain(errors[without], errors[with_it], "px")
        for part, (without, with_it) in parts.items()
        if without in errors and with_it in errors
    }


def refined_photo_gains(errors: Mapping[str, Float[ndarray, "seeds t n"]]) -> dict[str, Any]:
    """Compute the gain of each refinement after each number of steps on the photos with labels of a network."""
    return {
        f"refinement, {steps} steps, {mode}, {PHOTOS['pseudo']}": gain(errors[mode][:, 0], errors[mode][:, k], "px")
        for mode in MODES
        for k, steps in enumerate(ITERATIONS)
        if steps
    }
