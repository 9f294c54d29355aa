"""2D errors of a trained network on labelled photos, beside MediaPipe's.

    python benchmarks/real_photos.py WEIGHTS --photos DIR

The folder holds photos, `labels.json` (21 x (u, v, visible) of one hand each) and `mediapipe.json` (what MediaPipe
found). Each error is the mean distance of the labelled joints in pixels, over the larger side of the hand's box. The
network is given the crop that the labels give (the paper's protocol) and which hand it is; MediaPipe found its hands by
itself. Writes `book/results/real_photos.json`; the photos themselves go nowhere.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reporting import write_result
from torch import Tensor

from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.data.photos import read_photo
from dhpe_lib.network.estimator import Estimate, Estimator
from dhpe_lib.network.trained import load_trained


def labelled(folder: Path) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Photos with a label, and the hand that MediaPipe found in each."""
    labels = {entry["file"]: entry for entry in json.loads((folder / "labels.json").read_text())}
    found = {entry["file"]: entry["hands"] for entry in json.loads((folder / "mediapipe.json").read_text())}
    return [(file, label, found[file][0]) for file, label in labels.items() if "joints_2d" in label and found[file]]


def estimate(network: Estimator, photo: Tensor, joints: Tensor, known: Tensor, left: bool) -> dict[str, Tensor]:
    """Joints in the photo's pixels: of f_J2D, of f_Ref, of the mesh."""
    width = photo.shape[-1]
    if left:
        photo, joints = photo.flip(-1), mirrored(joints, width)
    frame = CropFrame.from_joints(joints[None], known[None])
    crop = frame.crop_image(photo[None])
    result: Estimate = network.predict(crop, render=False)
    places = {
        "f_J2D": result.steps[0].joints_2d,
        "f_Ref": result.joints_2d,
        "mesh": result.mesh.joints[..., :2],
    }
    found = {name: frame.to_image(place)[0] for name, place in places.items()}
    return {name: mirrored(place, width) if left else place for name, place in found.items()}


def mirrored(points: Tensor, width: int) -> Tensor:
    return torch.stack((width - points[..., 0], points[..., 1]), -1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--photos", type=Path, required=True)
    arguments = parser.parse_args()
    load, network = os.getloadavg()[0], load_trained(arguments.weights)
    rows = {}
    for file, label, mediapipe in labelled(arguments.photos):
        joints = torch.tensor(label["joints_2d"], dtype=torch.float32)
        known, joints = joints[:, 2] > 0, joints[:, :2]
        size = (joints[known].amax(0) - joints[known].amin(0)).amax()
        photo = torch.from_numpy(read_photo(arguments.photos / file).copy()).permute(2, 0, 1).float() / 255
        left = (label.get("hand") or mediapipe["hand"]) == "left"
        found = estimate(network, photo, joints, known, left)
        found["MediaPipe"] = torch.tensor(mediapipe["joints_2d"], dtype=torch.float32)[:, :2]
        errors = {name: float((place - joints)[known].norm(dim=-1).mean() / size) for name, place in found.items()}
        rows[file] = {name: round(error, 4) for name, error in errors.items()}
    rows["mean"] = {name: round(float(np.mean([row[name] for row in rows.values()])), 4) for name in rows[file]}
    write_result("real_photos", rows, 0, load)


if __name__ == "__main__":
    main()
