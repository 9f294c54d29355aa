"""Hands found in labelled photos, beside MediaPipe's, with the times.

    python benchmarks/find_hands.py --photos DIR [--out FILE]

The folder holds photos, `labels.json` (21 x (u, v, visible) of one hand each, where known) and `mediapipe.json` (what
MediaPipe found). Distances are means over the joints in pixels, over the larger side of the reference's box. The time
of detection is that of the palm detector with the whole photo; the time of a look is that of the landmark network with
one square; the total is that of `find_hands`. Each is the median of some runs.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray
from reporting import commit, processor, timed
from torch import Tensor

from dhpe_lib.data.photos import read_photo
from dhpe_lib.network.palm_detector import detect_palms
from dhpe_lib.prediction.find_hands import FoundHand, NoHandError, find_hands, follow_hand, letterboxed
from dhpe_lib.prediction.hand_search import HandNetworks, load_hand_networks

RUNS = 5


def nothing() -> None:
    """All work is done on the CPU: there is nothing to wait for."""


def median_ms(work: Any) -> float:
    return round(1000 * float(np.median([timed(work, nothing) for _ in range(RUNS)])), 1)


def distance(places: list[Tensor], reference: list) -> float | None:
    """Distance of the nearest hand to reference joints; rows with a third number 0 do not count.

    Args:
        places: 21 x 2 for each hand.
        reference: 21 rows of u, v and, where known, visible.

    Returns:
        Mean distance over the larger side of the reference's box; None without a hand.
    """
    joints = torch.tensor(reference, dtype=torch.float32)
    known = joints[:, 2] > 0 if joints.shape[1] > 2 else torch.ones(21, dtype=torch.bool)
    joints = joints[known, :2]
    size = (joints.amax(0) - joints.amin(0)).amax()
    errors = [float((place[known] - joints).norm(dim=1).mean() / size) for place in places]
    return round(min(errors), 4) if errors else None


def measured(networks: HandNetworks, photo: UInt8[ndarray, "h w 3"], label: dict, mediapipe: list[dict]) -> dict:
    """One row of the result."""

    def find() -> list[FoundHand]:
        try:
            return find_hands(networks, photo)
        except NoHandError:
            return []

    hands = find()
    places = [hand.joints_px for hand in hands]
    theirs = [torch.tensor(other["joints_2d"], dtype=torch.float32)[:, :2] for other in mediapipe]
    row: dict[str, Any] = {
        "hands": len(hands),
        "hands of MediaPipe": len(mediapipe),
        "sides": [hand.side for hand in hands],
        "presence": [round(hand.presence, 2) for hand in hands],
        "to MediaPipe": [distance(places, place.tolist()) for place in theirs],
        "detection ms": median_ms(lambda: detect_palms(networks.palms, letterboxed(photo))),
        "total ms": median_ms(find),
    }
    if mediapipe:
        row["side of MediaPipe"] = [other["hand"] for other in mediapipe]
    if "joints_2d" in label:
        row["to label"] = distance(places, label["joints_2d"])
        row["MediaPipe to label"] = distance(theirs, label["joints_2d"])
    if hands:
        row["look ms"] = median_ms(lambda: follow_hand(networks, photo, hands[0].joints_px))
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--out", type=Path, help="JSON file for the rows")
    arguments = parser.parse_args()
    found = {entry["file"]: entry["hands"] for entry in json.loads((arguments.photos / "mediapipe.json").read_text())}
    networks, rows = load_hand_networks(), {}
    for label in json.loads((arguments.photos / "labels.json").read_text()):
        file = label["file"]
        rows[file] = measured(networks, read_photo(arguments.photos / file), label, found[file])
        print(f"{file:24s}", "  ".join(f"{key} {value}" for key, value in rows[file].items()))
    if arguments.out:
        facts = {"commit": commit(), "cpu": processor(), "threads": torch.get_num_threads(), "runs": RUNS}
        arguments.out.write_text(json.dumps(facts | {"results": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
