"""MATLAB files: equal to what scipy writes; damaged, nested and enormous files are refused."""

import zlib

import numpy as np
import pytest
from scipy.io import savemat

from dhpe_lib.data import mat_files
from dhpe_lib.data.mat_files import MatFileError, read_array

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
def test_arrays_of_every_type(tmp_path, dtype, compressed):
    values = RNG.integers(0, 100, (3, 21, 5)).astype(dtype)
    others = {"a": np.zeros((2, 2)), "text": "abc", "cell": np.array([[1, "x"]], object), "struct": {"x": {"y": 1}}}
    savemat(tmp_path / "a.mat", others | {"handPara": values}, do_compression=compressed)
    found = read_array(tmp_path / "a.mat", "handPara")
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, values)
    assert read_array(tmp_path / "a.mat", "other") is None
    for name in ("text", "cell", "struct"):
        with pytest.raises(MatFileError, match=f"the variable {name} is not an array of real numbers"):
            read_array(tmp_path / "a.mat", name)


def test_complex_numbers_are_refused(tmp_path):
    savemat(tmp_path / "a.mat", {"x": np.array([1 + 2j])})
    with pytest.raises(MatFileError, match="not an array of real numbers"):
        read_array(tmp_path / "a.mat", "x")


def test_bomb_and_claimed_length(tmp_path, monkeypatch):
    savemat(tmp_path / "a.mat", {"x": np.zeros(10**5)}, do_compression=True)
    monkeypatch.setattr(mat_files, "MOST_BYTES", 10**5)
    with pytest.raises(MatFileError, match="a variable has more than 100000 bytes"):
        read_array(tmp_path / "a.mat", "x")
    head = (tmp_path / "a.mat").read_bytes()[:128]
    (tmp_path / "b.mat").write_bytes(head + (14).to_bytes(4, "little") + (2**31).to_bytes(4, "little") + b"abc")
    with pytest.raises(MatFileError, match="an element claims 2147483648 bytes, 3 are there"):
        read_array(tmp_path / "b.mat", "x")
    packed = zlib.compress(b"\0" * 100)[:-6]
    (tmp_path / "c.mat").write_bytes(head + (15).to_bytes(4, "little") + len(packed).to_bytes(4, "little") + packed)
    with pytest.raises(MatFileError, match="truncated"):
        read_array(tmp_path / "c.mat", "x")
