"""A small InterHand2.6M in its true layout."""

from pathlib import Path

import numpy as np
from fake_datasets import fingers, noise, ordered, points, write_image, write_json

NAMES = [*fingers("thumb index middle ring little", "tip 3 2 1"), "wrist"]
RIGHT, LEFT = points(1, depth=900), points(2, depth=950)
TURN = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
PLACE = np.array([100.0, -200, 300])
FOCAL, CENTER = [1300.0, 1310], [170.0, 250]
K = np.array([[1300, 0, 170.5], [0, 1310, 250.5], [0, 0, 1]])  # whole numbers are the centres of pixels
FILE = "Capture0/ROM04_LT_Occlusion/cam400262/image2001.jpg"
SIZE = (334, 512)


def interhand_labels(root: Path, kind: str) -> Path:
    return root / f"annotations/val/InterHand2.6M_val_{kind}.json"


def write_interhand(root: Path) -> Path:
    """Write one picture with both hands, one with a left hand; the little fingertip of the right hand is unknown."""
    world = np.vstack([ordered(RIGHT, NAMES), ordered(LEFT, NAMES)]) @ TURN + PLACE  # camera = R (world - place)
    valid = np.ones((42, 1), int)
    valid[NAMES.index("little_tip")] = 0
    alone = np.vstack([np.zeros((21, 1), int), np.ones((21, 1), int)])
    image = {
        "width": 334,
        "height": 512,
        "capture": 0,
        "subject": 1,
        "seq_name": "ROM04_LT_Occlusion",
        "camera": "400262",
    }
    images = [
        image | {"id": 7, "file_name": FILE, "frame_idx": 2001},
        image | {"id": 9, "file_name": FILE.replace("2001", "2004"), "frame_idx": 2004},
    ]
    annotations = [
        {"id": 0, "image_id": 7, "joint_valid": valid.tolist(), "hand_type": "interacting", "hand_type_valid": 1},
        {"id": 1, "image_id": 9, "joint_valid": alone.tolist(), "hand_type": "left", "hand_type_valid": 1},
    ]
    camera = {"campos": PLACE.tolist(), "camrot": TURN.tolist(), "focal": FOCAL, "princpt": CENTER}
    write_json(interhand_labels(root, "data"), {"images": images, "annotations": annotations})
    write_json(interhand_labels(root, "camera"), {"0": {name: {"400262": value} for name, value in camera.items()}})
    frame = {"world_coord": world.tolist(), "joint_valid": valid.tolist(), "hand_type": "interacting"}
    write_json(interhand_labels(root, "joint_3d"), {"0": {"2001": frame, "2004": frame}})
    for image in images:
        write_image(root / "images/val" / image["file_name"], noise(SIZE))
    return root
