"""Where the points of the hand landmark network lie, relative to the joints of the hand model.

    python benchmarks/landmark_points.py CACHE [--count N]

CACHE is a prepared folder of rendered hands (`dhpe data make`), whose joints are known. The network looks four times at
each hand, as in `dhpe predict`, from a square around the true joints. For each joint of the fingers, over the network's
own bone b that ends there:

- `along`: median of (joint - point) . b / |b|^2. `quarter` and `three quarters` are its quartiles.
- `across`: median of the distance at a right angle to b, over |b|.
- `hands`: number of hands whose joint counts: it is visible, the bone points by less than 45 degrees away from the
  plane of the picture, and point and joint are less than 8 % of the hand's size apart at both ends of the bone.
- `used`: what `dhpe_lib.prediction.find_hands.model_joints` moves the point by. Thumbs of photos need less than
  rendered ones (LOG.md), so theirs lies between the two.

Writes `book/results/landmark_points.json`.
"""

import argparse
import os
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from reporting import write_result
from torch import Tensor

from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.data.crops import Crops
from dhpe_lib.hand.skeleton import JOINT_NAMES
from dhpe_lib.network.hand_landmarks import HandLandmarkNetwork
from dhpe_lib.prediction.find_hands import FINGERTIPS, LAST_JOINT
from dhpe_lib.prediction.hand_looks import Looks, look, look_again
from dhpe_lib.prediction.hand_search import load_hand_networks
from dhpe_lib.prediction.hand_squares import squares_of_joints

FAR, WRONG = 0.08, 0.1
"""Largest distance of a point to its joint, and largest mean distance of a hand's points, over the hand's size."""
LEAST_PRESENCE = 0.8
IN_PLANE = 0.5**0.5
"""Smallest length of a bone in the picture's plane over its length."""


def seen_hand(network: HandLandmarkNetwork, crops: Crops, row: int) -> Looks:
    """Look four times at one hand, starting from a square around its joints."""
    image = crops.images[row].numpy()
    return look_again(network, image, look(network, image, squares_of_joints(crops.joints_px[[row]])))


def near_points(crops: Crops, looks: list[Looks], points: Float[Tensor, "n 21 2"]) -> Bool[Tensor, "n 21"]:
    """Whether a point lies near its visible joint, in a hand that was found."""
    truth = crops.joints_px
    size = (truth.amax(1) - truth.amin(1)).amax(1, keepdim=True)
    off = (points - truth).norm(dim=-1) / size
    found = torch.tensor([bool(one.presence > LEAST_PRESENCE and one.right > 0.5) for one in looks])
    return (off < FAR) & crops.visible & (found & (off.mean(1) < WRONG))[:, None]


def offsets(crops: Crops, points: Float[Tensor, "n 21 2"], near: Bool[Tensor, "n 21"], joint: int) -> dict[str, Any]:
    """Statistics of one joint, whose bone begins at the joint before it."""
    in_space = crops.joints_3d[:, joint] - crops.joints_3d[:, joint - 1]
    flat = in_space[:, :2].norm(dim=1) > IN_PLANE * in_space.norm(dim=1)
    rows = near[:, joint] & near[:, joint - 1] & flat
    bone = (points[:, joint] - points[:, joint - 1])[rows]
    off, squared = (crops.joints_px - points)[rows, joint], bone.square().sum(1)
    along = (off * bone).sum(1) / squared
    across = (off[:, 0] * bone[:, 1] - off[:, 1] * bone[:, 0]).abs() / squared
    quarter, middle, three = along.quantile(torch.tensor([0.25, 0.5, 0.75])).tolist()
    used = {3: LAST_JOINT, 0: FINGERTIPS[(joint - 1) // 4]}.get(joint % 4, 0.0)
    values = {"along": middle, "quarter": quarter, "three quarters": three, "across": float(across.median())}
    return {key: round(value, 3) for key, value in values.items()} | {"used": used, "hands": int(rows.sum())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path, help="prepared folder of rendered hands")
    parser.add_argument("--count", type=int, default=400, help="number of hands")
    arguments = parser.parse_args()
    load, network, cache = os.getloadavg()[0], load_hand_networks().landmarks, Prepared(arguments.cache)
    crops = cache[cache.evenly_spaced(arguments.count)]
    looks = [seen_hand(network, crops, row) for row in range(len(crops))]
    points = torch.cat([one.joints_px for one in looks])
    near = near_points(crops, looks, points)
    joints = [joint for joint in range(1, 21) if joint % 4 != 1]  # the others begin a finger
    write_result("landmark_points", {JOINT_NAMES[k]: offsets(crops, points, near, k) for k in joints}, 0, load)


if __name__ == "__main__":
    main()
