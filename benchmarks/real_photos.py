"""From photos to meshes, end to end, on photos with known joints, beside MediaPipe.

    python benchmarks/real_photos.py --photos DIR [--sheet FILE.png] [--no-estimator]

The folder holds photos, `labels.json` (21 x (u, v, visible) of one hand of a photo, where known, and its joints in
space in millimetres, where known) and `mediapipe.json` (what MediaPipe Hands found). Nobody says where the hands are.

2D errors are mean distances of joints in pixels, over the larger side of the reference's box:

- `mesh to label` and `mesh to MediaPipe`: of the mesh's joints. In the second the hands of a photo are averaged.
- `landmarks to label`: of the joints that the mesh was fitted to. `MediaPipe to label`: of MediaPipe's own joints.
- `estimator to label`, `estimator to MediaPipe`: of the mesh by this project's own network, for the hands
  that the public networks find.
- `mean hand to label`: the trivial answer, the mean hand, upright and its palm to the camera, in the true box.

Columns in mm are mean joint errors in space after alignment by a similarity. `seconds` is the median of some runs, from
the photo in memory to the meshes.

A hand of MediaPipe that is much smaller than another one and lies inside its box is no hand: in the photo where this
happens it lies on the fingers of the first one. Such phantoms are counted, but need not be found.

The landmark network has MediaPipe's weights, so the distance to MediaPipe's joints shows that search and fit work. It
is no independent test of accuracy; the labels are.

Writes `book/results/real_photos.json`. `--sheet` draws all photos with their hands; the photos go nowhere else.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from PIL import Image
from reporting import timed, write_result

from dhpe_lib.data.photos import read_photo
from dhpe_lib.evaluation.alignment import align_similarity
from dhpe_lib.hand.model import HandModel
from dhpe_lib.network.estimator import Estimator
from dhpe_lib.network.trained import load_shipped
from dhpe_lib.prediction.find_hands import find_hands
from dhpe_lib.prediction.from_estimator import look_with_estimator
from dhpe_lib.prediction.from_photo import fit_found_hands, predict_hands
from dhpe_lib.prediction.hand_estimate import HandEstimate, NoHandError
from dhpe_lib.prediction.hand_search import HandNetworks, load_hand_networks
from dhpe_lib.prediction.overlay import photo_figure

RUNS = 3
PHANTOM_SIZE, PHANTOM_INSIDE = 0.6, 0.9
SAME_HAND = 0.35
"""Distance over the hand's size below which MediaPipe's hand counts as found."""
WANTED = {"mesh to label": 0.09, "mesh to MediaPipe": 0.06}
UPRIGHT = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
SHEET_HEIGHT, SHEET_WIDTH = 200, 1900

Joints = Float[ndarray, "21 2"]


def find(model: HandModel, networks: HandNetworks, photo: UInt8[ndarray, "h w 3"]) -> list[HandEstimate]:
    """All hands of a photo; none is an empty list."""
    try:
        return predict_hands(model, networks, photo)
    except NoHandError:
        return []


def find_by_estimator(
    model: HandModel, networks: HandNetworks, estimator: Estimator | None, photo: UInt8[ndarray, "h w 3"]
) -> list[HandEstimate]:
    """All hands of a photo, with the joints of this project's own network."""
    try:
        hands = [] if estimator is None else find_hands(networks, photo)
    except NoHandError:
        return []
    return fit_found_hands(model, look_with_estimator(estimator, photo, hands) if estimator else [])


def reference(rows: list[list[float]]) -> tuple[Joints, Bool[ndarray, " 21"]]:
    """Joints, and which of them are visible; MediaPipe's rows have no third number that says so."""
    joints = np.array(rows, float)
    return joints[:, :2], joints[:, 2] > 0 if joints.shape[1] > 2 else np.ones(21, bool)


def distance(joints: Joints, truth: Joints, known: Bool[ndarray, " 21"]) -> float:
    """Mean distance of the known joints over the larger side of their box."""
    size = np.ptp(truth[known], axis=0).max()
    return float(np.linalg.norm((joints - truth)[known], axis=1).mean() / size)


def nearest(hands: list[Joints], truth: Joints, known: Bool[ndarray, " 21"]) -> tuple[int, float | None]:
    """Index and distance of the nearest hand; -1 and None without one."""
    distances = [distance(joints, truth, known) for joints in hands]
    return (int(np.argmin(distances)), min(distances)) if distances else (-1, None)


def aligned_mm(joints: Float[ndarray, "21 3"], truth: Float[ndarray, "21 3"]) -> float:
    """Mean joint error after alignment by a similarity, in the truth's unit."""
    return float(np.linalg.norm(align_similarity(joints[None], truth[None])[0] - truth, axis=1).mean())


def is_phantom(hand: Joints, others: list[Joints]) -> bool:
    """Whether a hand is much smaller than another one and lies inside its box."""
    low, high = hand.min(0), hand.max(0)
    for other in others:
        common = np.minimum(high, other.max(0)) - np.maximum(low, other.min(0))
        inside = common.clip(0).prod() / (high - low).prod()
        if (high - low).max() < PHANTOM_SIZE * np.ptp(other, axis=0).max() and inside > PHANTOM_INSIDE:
            return True
    return False


def mean_hand(model: HandModel, truth: Joints, known: Bool[ndarray, " 21"], left: bool) -> Joints:
    """The trivial answer: joints of the mean hand, upright, in the true box."""
    with torch.no_grad():
        joints = model(pose=model.hands_mean[None], rotation=UPRIGHT[None]).joints[0, :, :2].numpy().astype(float)
    joints = joints * ((-1 if left else 1), 1)
    low, high = truth[known].min(0), truth[known].max(0)
    unit = (joints - (joints.min(0) + joints.max(0)) / 2) / np.ptp(joints, axis=0).max()
    return (low + high) / 2 + unit * (high - low).max()


def measured(
    model: HandModel,
    networks: HandNetworks,
    estimator: Estimator | None,
    photo: UInt8[ndarray, "h w 3"],
    label: dict[str, Any],
    mediapipe: list[dict[str, Any]],
) -> tuple[dict[str, Any], list[HandEstimate]]:
    """One row of the result, and the hands that were found."""
    hands, own = find(model, networks, photo), find_by_estimator(model, networks, estimator, photo)
    seconds = [timed(lambda: find(model, networks, photo), lambda: None) for _ in range(RUNS)]
    row: dict[str, Any] = {
        "hands": len(hands),
        "sides": [hand.model.side for hand in hands],
        "presence": [round(hand.presence or 0.0, 2) for hand in hands],
        "warnings": [hand.warnings for hand in hands],
        "residual": [round(hand.relative_error, 4) for hand in hands],
    }
    row |= beside_mediapipe(hands, own, mediapipe)
    if "joints_2d" in label:
        row |= beside_label(model, hands, own, label, mediapipe)
    return row | {"seconds": round(float(np.median(seconds)), 2)}, hands


def beside_mediapipe(
    hands: list[HandEstimate], own: list[HandEstimate], mediapipe: list[dict[str, Any]]
) -> dict[str, Any]:
    """Count MediaPipe's hands that are found; measure distances and count equal sides."""
    theirs = [reference(other["joints_2d"])[0] for other in mediapipe]
    real = [k for k, joints in enumerate(theirs) if not is_phantom(joints, theirs)]
    everywhere = np.ones(21, bool)
    found, sides, distances, of_own = 0, 0, [], []
    for k in real:
        which, apart = nearest([hand.joints_px for hand in hands], theirs[k], everywhere)
        if apart is not None and apart < SAME_HAND:
            found += 1
            sides += hands[which].model.side == mediapipe[k]["hand"]
            distances.append(apart)
        of_own.append(nearest([hand.joints_px for hand in own], theirs[k], everywhere)[1])
    row: dict[str, Any] = {
        "hands of MediaPipe": len(real),
        "phantoms of MediaPipe": len(theirs) - len(real),
        "of these found": found,
        "of these with MediaPipe's side": sides,
        "mesh to MediaPipe": _rounded(float(np.mean(distances))) if distances else None,
    }
    seen = [value for value in of_own if value is not None]
    return row | {"estimator to MediaPipe": _rounded(min(seen)) if seen else None}


def beside_label(
    model: HandModel,
    hands: list[HandEstimate],
    own: list[HandEstimate],
    label: dict[str, Any],
    mediapipe: list[dict[str, Any]],
) -> dict[str, Any]:
    """Errors of the labelled hand."""
    truth, known = reference(label["joints_2d"])
    theirs = [reference(other["joints_2d"])[0] for other in mediapipe]
    which, apart = nearest([hand.joints_px for hand in hands], truth, known)
    whose, their_error = nearest(theirs, truth, known)
    side = label.get("hand") or (mediapipe[whose]["hand"] if theirs else "right")
    row: dict[str, Any] = {
        "mesh to label": _rounded(apart),
        "landmarks to label": _rounded(nearest([hand.keypoints.joints for hand in hands], truth, known)[1]),
        "MediaPipe to label": _rounded(their_error),
        "estimator to label": _rounded(nearest([hand.joints_px for hand in own], truth, known)[1]),
        "mean hand to label": _rounded(distance(mean_hand(model, truth, known, side == "left"), truth, known)),
    }
    if label.get("hand") and hands:
        row["labelled side right"] = hands[which].model.side == label["hand"]
    if "joints_3d_mm" in label and hands:
        space = np.array(label["joints_3d_mm"], float)
        row["mesh mm"] = round(aligned_mm(hands[which].metres(hands[which].mesh.joints), space), 1)
        row["MediaPipe mm"] = round(aligned_mm(np.array(mediapipe[whose]["joints_3d_mm"], float), space), 1)
        if own:
            row["estimator mm"] = round(aligned_mm(own[0].metres(own[0].mesh.joints), space), 1)
    return row


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def means(rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Means of the numbers over the photos that have them, and sums of the counts."""
    columns = dict.fromkeys(key for row in rows.values() for key in row)
    result: dict[str, Any] = {}
    for key in columns:
        values = [row[key] for row in rows.values() if row.get(key) is not None]
        if not values or isinstance(values[0], list):
            continue
        whole = all(isinstance(value, int) for value in values)
        result[key] = int(sum(values)) if whole else round(float(np.mean(values)), 4)
    return result


def sheet(figures: dict[str, UInt8[ndarray, "h w 3"]]) -> Image.Image:
    """All pictures at one height, in rows of about one width."""
    small = [Image.fromarray(one) for one in figures.values()]
    small = [one.resize((round(one.width * SHEET_HEIGHT / one.height), SHEET_HEIGHT)) for one in small]
    places, left, top = [], 0, 0
    for one in small:
        if left and left + one.width > SHEET_WIDTH:
            left, top = 0, top + SHEET_HEIGHT
        places.append((left, top))
        left += one.width
    page = Image.new("RGB", (max(SHEET_WIDTH, *(one.width for one in small)), top + SHEET_HEIGHT), "white")
    for one, place in zip(small, places, strict=True):
        page.paste(one, place)
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--sheet", type=Path, help="picture of all photos with their hands")
    parser.add_argument("--no-estimator", action="store_true", help="leave out this project's own network")
    arguments = parser.parse_args()
    load, model, networks = os.getloadavg()[0], HandModel.open_hand(), load_hand_networks()
    estimator = None if arguments.no_estimator else load_shipped(None)
    mediapipe = {one["file"]: one["hands"] for one in json.loads((arguments.photos / "mediapipe.json").read_text())}
    rows, figures = {}, {}
    for label in json.loads((arguments.photos / "labels.json").read_text()):
        file, photo = label["file"], read_photo(arguments.photos / label["file"])
        rows[file], hands = measured(model, networks, estimator, photo, label, mediapipe[file])
        print(file, flush=True)
        if arguments.sheet:
            figures[file] = photo_figure(hands, photo)
    results = rows | {"mean": means(rows), "wanted": dict(WANTED)}
    write_result("real_photos", results, 0, load)
    if arguments.sheet:
        sheet(figures).save(arguments.sheet)


if __name__ == "__main__":
    main()
