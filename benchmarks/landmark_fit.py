"""The fast fit to a landmark network's joints, over real photos.

    python benchmarks/landmark_fit.py --real DIR [--out FILE.json] [--slow]

The folder holds photos, `mediapipe.json` (joints that MediaPipe found, in the picture and in space) and `labels.json`
(labelled joints of some photos). For each hand, in per cent of the larger side of its box:

- `to_given`: mean 2D distance of the fitted mesh's joints to MediaPipe's joints;
- `to_labels`: to the labelled joints, beside the same distance for MediaPipe's own joints (`given_to_labels`).

In millimetres, where the label has joints in space, after alignment by a similarity: `mm`, beside MediaPipe's joints in
space (`given_mm`). `mean_hand` is the trivial answer: the mean pose, placed like MediaPipe's palm. `pose` is the pose
prior's energy, in squared deviations. `--slow` also runs the fit by Adam (`dhpe_lib.refinement.fitting`), whose columns
begin with `slow_`. `--out` writes the rows as JSON. `benchmarks/real_photos.py` measures the whole way from the photo.
"""

import argparse
import json
import os
import platform
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reporting import commit, processor, timed
from torch import Tensor

from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.evaluation.alignment import align_similarity
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.poses import pose_penalty, pose_space
from dhpe_lib.refinement.analytic_start import start_in_picture
from dhpe_lib.refinement.energy import Observations
from dhpe_lib.refinement.fitting import fit_hands
from dhpe_lib.refinement.inverse_kinematics import fit_to_landmarks

REPEATS = 5
MIRROR = torch.tensor([-1.0, 1.0, 1.0])


def found_hands(folder: Path) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """File, hand of MediaPipe and label (empty for all but the first hand of a photo)."""
    labels = {entry["file"]: entry for entry in json.loads((folder / "labels.json").read_text())}
    photos = json.loads((folder / "mediapipe.json").read_text())
    return [
        (photo["file"], hand, labels.get(photo["file"], {}) if first == 0 else {})
        for photo in photos
        for first, hand in enumerate(photo["hands"])
    ]


def evidence_of(hand: dict[str, Any]) -> tuple[CropFrame, Tensor, Tensor, Tensor]:
    """Crop, joints in the crop, their confidence, and joints in space, all as of a right hand."""
    joints = torch.tensor(hand["joints_2d"])[None, :, :2]
    space = torch.tensor(hand["joints_3d_mm"])[None] / 1000
    frame = CropFrame.from_joints(joints, torch.ones(1, 21, dtype=torch.bool))
    mirror = MIRROR if hand["hand"] == "left" else torch.ones(3)
    return frame, frame.to_crop(joints) * mirror[:2], torch.ones(1, 21), space * mirror


def distance(a: Tensor, b: Tensor, size: Tensor, known: Tensor) -> float:
    """Mean distance in per cent of the hand's size."""
    return float(100 * (a - b)[known].norm(dim=-1).mean() / size)


def aligned_mm(joints: Tensor, truth: Tensor) -> float:
    aligned = align_similarity(joints.double().numpy()[None], truth.double().numpy()[None])
    return float(np.linalg.norm(aligned[0] - truth.numpy(), axis=1).mean())


def measure(model: HandModel, hand: dict[str, Any], label: dict[str, Any], slow: bool) -> dict[str, float]:
    frame, joints, confidence, space = evidence_of(hand)
    fit = fit_to_landmarks(model, joints, confidence, space)
    seconds = [timed(lambda: fit_to_landmarks(model, joints, confidence, space), lambda: None) for _ in range(REPEATS)]
    mirror = MIRROR if hand["hand"] == "left" else torch.ones(3)
    flat = start_in_picture(model, joints, confidence, space)
    flat[:, :45] = model.hands_mean
    answers = {"": fit.joints, "mean_": model.forward_h(flat).joints}
    if slow:
        answers["slow_"] = fit_hands(model, Observations(joints, confidence)).mesh.joints
    row = {"s": float(np.median(seconds)), "pose": float(pose_penalty(fit.h[:, :45], pose_space(model)))}
    if slow:
        row["slow_s"] = timed(lambda: fit_hands(model, Observations(joints, confidence)), lambda: None)
    for name, answer in answers.items():
        picture = frame.to_image((answer * mirror)[..., :2])
        row |= {name + key: value for key, value in errors(answer[0] * mirror, picture[0], hand, label).items()}
    given = torch.tensor(hand["joints_2d"])[:, :2]
    own = errors(torch.tensor(hand["joints_3d_mm"]), given, hand, label)
    return row | {"given_" + key: value for key, value in own.items() if key != "to_given"}


def errors(space: Tensor, picture: Tensor, hand: dict[str, Any], label: dict[str, Any]) -> dict[str, float]:
    """Errors of joints in space and in the photo, beside MediaPipe's and the label's."""
    given = torch.tensor(hand["joints_2d"])[:, :2]
    everywhere = torch.ones(21, dtype=torch.bool)
    size = (given.amax(0) - given.amin(0)).amax()
    values = {"to_given": distance(picture, given, size, everywhere)}
    if "joints_2d" in label:
        labelled = torch.tensor(label["joints_2d"], dtype=torch.float32)
        known, labelled = labelled[:, 2] > 0, labelled[:, :2]
        size = (labelled[known].amax(0) - labelled[known].amin(0)).amax()
        values["to_labels"] = distance(picture, labelled, size, known)
    if "joints_3d_mm" in label:
        values["mm"] = aligned_mm(space, torch.tensor(label["joints_3d_mm"]))
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, required=True, help="folder of photos, labels.json and mediapipe.json")
    parser.add_argument("--out", type=Path, help="JSON to write")
    parser.add_argument("--slow", action="store_true", help="also run the fit by Adam")
    arguments = parser.parse_args()
    load, model = os.getloadavg()[0], HandModel.open_hand()
    rows: dict[str, dict[str, float]] = {}
    for file, hand, label in found_hands(arguments.real):
        name = file if file not in rows else f"{file} (2nd hand)"
        rows[name] = measure(model, hand, label, arguments.slow)
    columns = sorted({key for row in rows.values() for key in row})
    rows["mean"] = {key: float(np.mean([row[key] for row in rows.values() if key in row])) for key in columns}
    print(f"{'':32s}" + "".join(f"{key:>16s}" for key in columns))
    for name, row in rows.items():
        print(f"{name:32s}" + "".join(f"{row[key]:16.3f}" if key in row else f"{'':16s}" for key in columns))
    if arguments.out:
        about = {"commit": commit(), "date": date.today().isoformat(), "load_before": round(load, 1)}
        about["hardware"] = f"{processor()}, {torch.get_num_threads()} threads, Python {platform.python_version()}"
        rounded = {name: {key: round(value, 4) for key, value in row.items()} for name, row in rows.items()}
        arguments.out.write_text(json.dumps(about | {"results": rounded}, indent=1) + "\n")


if __name__ == "__main__":
    main()
