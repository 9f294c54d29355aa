"""A dataset for tests: dark pictures with a bright dot on each joint, and its reader."""

import json
import os
import time
from pathlib import Path

import numpy as np
from PIL import Image

from dhpe_lib.data.photos import read_photo
from dhpe_lib.data.sample import Sample, as_right_hand, project

WIDTH, HEIGHT = 320, 240
K = np.array([[300.0, 0, 150], [0, 310, 125], [0, 0, 1]])


def hand_mm(rng: np.random.Generator) -> np.ndarray:
    """Return 21 random joints in view of the camera, some 600 mm away."""
    return rng.uniform((-90, -60, 560), (90, 60, 640), (21, 3))


def write_dots(folder: Path, n: int, seed: int = 0) -> Path:
    """Write pictures and labels; every third hand is a left hand, every fourth sample has no mask."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    labels = []
    for index in range(n):
        joints = hand_mm(rng)
        x, y = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
        distance = np.min([np.hypot(x - u, y - v) for u, v in project(joints, K)], axis=0)
        grey = np.clip(255 - 60 * distance, 20, 255)
        Image.fromarray(np.repeat(grey[..., None], 3, 2).astype(np.uint8)).save(folder / f"{index}.png")
        labels.append({"joints": joints.tolist(), "left": index % 3 == 0, "mask": index % 4 != 0})
    (folder / "labels.json").write_text(json.dumps(labels))
    return folder


class Dots:
    """Reader of the dataset. A joint that is null in labels.json is unknown."""

    def __init__(self, directory: Path, split: str) -> None:
        self.directory = directory
        self.labels = json.loads((directory / "labels.json").read_text())
        self.ids = [f"{split}/{index}" for index in range(len(self.labels))]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        label = self.labels[index]
        image = read_photo(self.directory / f"{index}.png")
        joints = np.array([joint or 3 * [np.nan] for joint in label["joints"]], float)
        sample = Sample(
            id=self.ids[index],
            image=image,
            k=K,
            joints_2d=project(joints, K),
            joints_3d=joints,
            visible=np.isfinite(joints).all(1),
            mask=image[..., 0] > 100 if label["mask"] else None,
            side="left" if label["left"] else "right",
            joint_0="wrist",
        )
        return as_right_hand(sample)


class SlowDots(Dots):
    """A slow reader, so that a test has time to interrupt it."""

    def __getitem__(self, index: int) -> Sample:
        time.sleep(0.1)
        return super().__getitem__(index)


def die(part: range) -> None:
    """End the worker at once, as the system does when memory runs out."""
    os._exit(1)
