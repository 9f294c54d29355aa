"""Compare statistics of rendered hands with those of photographed hands.

`python benchmarks/orh_vs_photos.py --photos DIR` measures size, colour, sharpness, viewpoint and pose of rendered hands
and of the hands in some photos, whose joints are in the folder's `labels.json` and `mediapipe.json`. It writes
`book/results/orh_statistics.json`, which holds only the statistics, not the photos.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from reporting import write_result

from dhpe_lib.data.crop_frame import SIZE, CropFrame
from dhpe_lib.data.photos import read_photo
from dhpe_lib.hand.skeleton import MIDDLE_MCP
from dhpe_lib.synthetic.engine import SyntheticHands

SEED = 0
KNUCKLES = (5, 9, 13, 17)
GREY = (0.299, 0.587, 0.114)


def photographed(folder: Path) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield crop, 2D joints (crop frame) and 3D joints (mm) of each photographed hand; left hands are mirrored."""
    labels = {entry["file"]: entry for entry in json.loads((folder / "labels.json").read_text())}
    for entry in json.loads((folder / "mediapipe.json").read_text()):
        image = torch.from_numpy(read_photo(folder / entry["file"]).copy()).permute(2, 0, 1)[None].float() / 255
        for hand in entry["hands"]:
            label = labels[entry["file"]]
            labelled = "joints_2d" in label and len(entry["hands"]) == 1
            joints = np.array(label["joints_2d"] if labelled else hand["joints_2d"], np.float32)[:, :2]
            in_space = np.array(hand["joints_3d_mm"], np.float32)
            picture = image
            if hand["hand"] == "left":
                picture, joints = image.flip(-1), np.array([image.shape[-1], 0], np.float32) + joints * [-1, 1]
                in_space = in_space * [-1, 1, 1]
            points = torch.tensor(joints, dtype=torch.float32)[None]
            frame = CropFrame.from_joints(points, torch.ones(1, 21, dtype=torch.bool))
            yield frame.crop_image(picture)[0], frame.to_crop(points)[0], torch.tensor(in_space, dtype=torch.float32)


def rendered(count: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield crop, 2D joints (crop frame) and 3D joints (mm) of rendered hands."""
    engine = SyntheticHands()
    for seed in range(math.ceil(count / 64)):
        batch = engine.batch(min(64, count - 64 * seed), SEED + seed, engine.backgrounds(48, SEED + seed))
        for image, joints, in_space in zip(batch.images, batch.joints_crop, batch.joints_mm, strict=True):
            yield image.permute(2, 0, 1).float() / 255, joints[:, :2], in_space


def lab(srgb: Tensor) -> Tensor:
    """Convert sRGB in [0, 1] to CIELAB."""
    linear = torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    to_xyz = torch.tensor([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ to_xyz.mT / torch.tensor([0.95047, 1.0, 1.08883])
    x, y, z = torch.where(xyz > 0.008856, xyz.clamp_min(1e-6) ** (1 / 3), 7.787 * xyz + 16 / 116).unbind(-1)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), -1)


def measure(image: Tensor, joints: Tensor, in_space: Tensor) -> dict[str, float]:
    """Compute the statistics of a hand."""
    share = torch.linspace(0.35, 0.9, 8)[:, None, None]
    palm = (joints[0] + share * (joints[list(KNUCKLES)] - joints[0])).reshape(-1, 2)
    x, y = (SIZE * (palm + 0.5)).long().clamp(0, SIZE - 1).unbind(-1)
    lightness, a, b = lab(image[:, y, x].mT).median(0).values.tolist()
    grey = torch.einsum("chw,c->hw", image, torch.tensor(GREY))
    steps = torch.cat((grey.diff(dim=0).abs().flatten(), grey.diff(dim=1).abs().flatten()))
    box = joints.amax(0) - joints.amin(0)
    toward = joints[MIDDLE_MCP] - joints[0]
    normal = torch.linalg.cross(in_space[5] - in_space[0], in_space[17] - in_space[0])
    fingers = in_space[1:].view(5, 4, 3)[1:]
    straight = (fingers[:, 3] - fingers[:, 0]).norm(dim=-1) / fingers.diff(dim=1).norm(dim=-1).sum(-1)
    return {
        "skin L*": lightness,
        "skin a*": a,
        "skin b*": b,
        "contrast of the crop": grey.std().item(),
        "sharpness, mean step between pixels": steps.mean().item(),
        "palm length in the picture, g": toward.norm().item(),
        "box, short side over long": (box.min() / box.max()).item(),
        "hand points up, cosine": (-toward[1] / toward.norm()).item(),
        "palm to the camera, cosine": (normal[2] / normal.norm()).item(),
        "straightness of the long fingers": straight.mean().item(),
        "straightness, least of a hand": straight.min().item(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True, help="folder with labels.json and mediapipe.json")
    parser.add_argument("--count", type=int, default=512, help="rendered hands (default: %(default)s)")
    arguments = parser.parse_args()
    if not (arguments.photos / "mediapipe.json").is_file():
        parser.exit(0, f"{arguments.photos}: no mediapipe.json in it, so there are no photos to compare with\n")
    photos = [measure(*hand) for hand in photographed(arguments.photos)]
    hands = [measure(*hand) for hand in rendered(arguments.count)]
    rows = {}
    for name in photos[0]:
        of_hands, of_photos = (np.array([hand[name] for hand in group]) for group in (hands, photos))
        low, high = np.quantile(of_hands, (0.025, 0.975))
        rows[name] = {
            "photos 10 50 90 %": np.quantile(of_photos, (0.1, 0.5, 0.9)).round(3).tolist(),
            "rendered 10 50 90 %": np.quantile(of_hands, (0.1, 0.5, 0.9)).round(3).tolist(),
            "photos within 95 % of rendered": round(float(((of_photos >= low) & (of_photos <= high)).mean()), 2),
        }
    rows["hands"] = {"photographed": len(photos), "rendered": len(hands)}
    write_result("orh_statistics", rows, SEED, os.getloadavg()[0])


if __name__ == "__main__":
    main()
