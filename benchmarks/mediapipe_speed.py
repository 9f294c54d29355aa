"""Time and memory of MediaPipe Hands, as JSON on the last line; `benchmarks/prediction.py` runs this program.

    python benchmarks/mediapipe_speed.py ROUNDS PHOTO PHOTO [PHOTO ...]

It imports nothing of this project, because MediaPipe needs an older NumPy than the project:

    python -m venv mediapipe-env && mediapipe-env/bin/pip install mediapipe==0.10.21

The first photo should show one hand. Milliseconds are those of the processor, summed over MediaPipe's threads: a photo
of one colour costs the palm detector alone, and the first photo costs the landmarks of its hand beside it. The other
photos give the rate.
"""

import json
import re
import sys
import time
from pathlib import Path

import mediapipe
import numpy as np
from PIL import Image, ImageOps
from processor_time import processor_ms

MOST_HANDS = 8


def read_photo(path: str) -> np.ndarray:
    """Read a photo as upright RGB."""
    with Image.open(path) as photo:
        return np.ascontiguousarray(ImageOps.exif_transpose(photo).convert("RGB"))


def count_hands(detector: mediapipe.solutions.hands.Hands, image: np.ndarray) -> int:
    """Number of hands that MediaPipe finds."""
    return len(detector.process(image).multi_hand_landmarks or ())


def main() -> None:
    rounds, photo, *photos = int(sys.argv[1]), *sys.argv[2:]
    image = read_photo(photo)
    empty = np.full_like(image, 128)
    with mediapipe.solutions.hands.Hands(static_image_mode=True, max_num_hands=MOST_HANDS) as detector:
        count = count_hands(detector, image)
        photo_ms = processor_ms(lambda: detector.process(image), rounds)
        detection_ms = processor_ms(lambda: detector.process(empty), rounds)
        start = time.perf_counter()
        hands = sum(count_hands(detector, read_photo(one)) for one in photos)
        seconds = time.perf_counter() - start
    peak = re.search(r"^VmHWM:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert peak is not None
    report = {
        "version": mediapipe.__version__,
        "detection_ms": round(detection_ms, 1),
        "hand_ms": round((photo_ms - detection_ms) / max(1, count), 1),
        "photos_per_s": round(len(photos) / seconds, 1),
        "hands": hands,
        "peak_mb": round(int(peak[1]) / 1024),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
