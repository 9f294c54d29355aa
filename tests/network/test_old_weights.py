"""Old files of weights: the claimed values are counted before torch allocates them."""

import struct
from pathlib import Path

import pytest
import torch

from dhpe_lib.network.old_weights import claimed_values
from dhpe_lib.network.pretrained import WeightsFileError, read_state


@pytest.fixture
def old(tmp_path) -> Path:
    shared = torch.arange(6.0)
    state = {"weight": shared.reshape(2, 3), "again": shared[:2], "bias": torch.zeros(2, dtype=torch.float16)}
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    return tmp_path / "old.pth"


def test_storages_are_counted_once(old):
    assert claimed_values(old) == 6 + 2
    assert read_state(old)["weight"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_small_file_cannot_claim_much(old):
    raw = old.read_bytes()
    assert raw.count(b"K\x06") >= 1
    old.write_bytes(raw.replace(b"K\x06", b"\x8a\x05" + (2**35).to_bytes(5, "little")))
    assert claimed_values(old) > 2**35
    with pytest.raises(WeightsFileError, match=r"old\.pth: damaged.*it claims 343597\d+ values and has \d+ bytes"):
        read_state(old)


def test_a_text_cannot_claim_more_than_there_is(old):
    """Torch's reader allocates the claimed 2 GB first."""
    old.write_bytes(b"\x80\x02X" + struct.pack("<I", 2**31) + b"text")
    with pytest.raises(EOFError):
        claimed_values(old)
    with pytest.raises(WeightsFileError, match=r"old\.pth: damaged, or holds more than tensors"):
        read_state(old)
