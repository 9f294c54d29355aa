"""Hands are labelled where the looks agree; the labels are what the reader of photos expects."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.data.readers.photos import Photos, read_labels
from dhpe_lib.prediction import pseudo_label
from dhpe_lib.prediction.find_hands import FoundHand
from dhpe_lib.prediction.hand_estimate import NoHandError
from dhpe_lib.prediction.hand_looks import SPREAD_UNIT
from dhpe_lib.prediction.hand_search import load_hand_networks
from dhpe_lib.prediction.pseudo_label import label_photos, spread_of, write_labels


def hand(presence: float, spread: float) -> FoundHand:
    joints = 20 + 40 * torch.rand(21, 2, generator=torch.Generator().manual_seed(0))
    confidence = presence * torch.full((21,), -spread / SPREAD_UNIT).exp()
    frame = CropFrame(torch.zeros(1, 2), torch.ones(1), torch.zeros(1))
    return FoundHand(joints, joints.new_zeros(21, 3), presence, "left", 0.1, 0.9, frame, confidence)


def test_only_hands_that_the_looks_agree_on_are_kept(tmp_path, monkeypatch):
    (tmp_path / "walk").mkdir()
    photos = [tmp_path / name for name in ("0.png", "1.png", "walk/2.png", "broken.png")]
    for k, path in enumerate(photos[:3]):
        Image.fromarray(np.full((80, 80, 3), k, np.uint8)).save(path)
    photos[3].write_bytes(b"no photo")
    answers = {0: [hand(0.9, 0.01), hand(0.7, 0.01), hand(0.9, 0.2)], 2: [hand(0.95, 0.03)]}

    def find(networks: object, image: np.ndarray) -> list[FoundHand]:
        if image[0, 0, 0] not in answers:
            raise NoHandError("no hand is found", 0.1)
        return answers[image[0, 0, 0]]

    monkeypatch.setattr(pseudo_label, "find_hands", find)
    steps: list[None] = []
    found = label_photos(load_hand_networks(), tmp_path, photos, lambda: steps.append(None))
    assert [one["file"] for one in found.rows] == ["0.png", "walk/2.png"]
    assert [one["set"] for one in found.rows] == [tmp_path.name, "walk"]
    assert (found.doubtful, found.empty, list(found.unreadable)) == (2, [photos[1]], [photos[3]])
    assert len(steps) == 4
    write_labels(tmp_path, found)
    assert len(read_labels(tmp_path)) == 2
    total = sum(len(Photos(tmp_path, split)) for split in ("train", "test"))
    assert total == 2


@pytest.mark.parametrize("spread", [0.0, 0.02, 0.1])
def test_the_spread_is_that_of_the_looks(spread):
    assert spread_of(hand(0.9, spread)) == pytest.approx(spread, abs=1e-4)


def test_paths_are_inside_the_folder(tmp_path):
    one = pseudo_label.label(tmp_path, tmp_path / "a b" / "x.jpg", hand(1.0, 0.0))
    assert (one["file"], one["set"], one["hand"]) == ("a b/x.jpg", "a_b", "left")
    assert not Path(one["file"]).is_absolute()
