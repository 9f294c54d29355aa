"""The unpickler reads pickles of Python 2 and 3, and refuses hostile and damaged pickles."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from fake_mano import Ch, OldCsc, Select, python2_pickle
from scipy import sparse

from dhpe_lib.common.unpickling import PickleFileError, load_pickle

RNG = np.random.default_rng(0)
ARRAYS = {
    "doubles": RNG.normal(size=(3, 4)),
    "fortran": np.asfortranarray(RNG.normal(size=(3, 4))),
    "singles": RNG.normal(size=5).astype(np.float32),
    "big_endian": RNG.normal(size=5).astype(">f8"),
    "unsigned": np.array([[4294967295, 0]], np.uint32),
    "booleans": np.array([True, False]),
    "empty": np.zeros((0, 3)),
    "strings": np.array(["a", "bc"]),
}


def saved(path: Path, raw: bytes) -> Path:
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_python_3(protocol, tmp_path):
    value = {"number": 3, "text": "naïve", "scalar": np.float64(2.5), "list": [1, (None, True)], **ARRAYS}
    found = load_pickle(saved(tmp_path / "a.pkl", pickle.dumps(value, protocol=protocol)))
    assert {k: found[k] for k in ("number", "text", "scalar", "list")} == {
        k: value[k] for k in ("number", "text", "scalar", "list")
    }
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
        assert found[name].flags.writeable


@pytest.mark.parametrize("protocol", [0, 2])
def test_arrays_of_python_2(protocol, tmp_path):
    numeric = {name: array for name, array in ARRAYS.items() if array.dtype.kind != "U"}
    found = load_pickle(saved(tmp_path / "a.pkl", python2_pickle({"text": "lbs", **numeric}, protocol)))
    assert found.pop("text") == "lbs"
    for name, array in numeric.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("protocol", [0, 2])
def test_chumpy_and_scipy_objects_of_python_2(protocol, tmp_path):
    array = RNG.normal(size=(4, 3, 5))
    index = np.arange(60).reshape(4, 3, 5)[:, :, :2]
    matrix = np.where(RNG.random((6, 7)) < 0.3, RNG.random((6, 7)), 0)
    value = {
        "leaf": Ch(x=array),
        "chosen": Select(a=Ch(x=array), idxs=index.ravel(), preferred_shape=index.shape),
        "flat": Select(a=array, idxs=index.ravel()),
        "sparse": OldCsc(matrix),
    }
    found = load_pickle(saved(tmp_path / "a.pkl", python2_pickle(value, protocol)))
    np.testing.assert_array_equal(found["leaf"], array)
    np.testing.assert_array_equal(found["chosen"], array[:, :, :2])
    np.testing.assert_array_equal(found["flat"], array[:, :, :2].ravel())
    np.testing.assert_array_equal(found["sparse"], matrix)


def test_sparse_matrix_of_todays_scipy(tmp_path):
    matrix = np.where(RNG.random((6, 7)) < 0.3, RNG.random((6, 7)), 0)
    found = load_pickle(saved(tmp_path / "a.pkl", pickle.dumps(sparse.csc_matrix(matrix))))
    np.testing.assert_array_equal(found, matrix)


class Runs:
    """An object whose pickle calls a function when a plain unpickler reads it."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


HOSTILE = {
    r"(posix|nt)\.mkdir": lambda target: Runs(os.mkdir, target),
    r"(posix|nt)\.system": lambda target: Runs(os.system, f"mkdir {target}"),
    r"builtins\.eval": lambda target: Runs(eval, f"__import__('os').mkdir({target!r})"),
    r"builtins\.getattr": lambda target: Runs(getattr, os, "mkdir"),
    r"numpy\.\S+\.?(load|fromfile)": lambda target: Runs(np.load, target),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_hostile_pickle_is_refused_by_name(name, protocol, tmp_path):
    target = tmp_path / "made"
    if name == r"builtins\.getattr":
        raw = pickle.dumps(getattr, protocol=protocol)
    elif "load" in name:
        raw = b"cnumpy.lib.npyio\nload\n(S'x'\ntR."
    else:
        raw = pickle.dumps(HOSTILE[name](str(target)), protocol=protocol)
    expected = name if protocol > 2 else name.replace("builtins", "(builtins|__builtin__)")
    with pytest.raises(PickleFileError, match=rf"bad\.pkl: refused, since the pickle asks for {expected}, which"):
        load_pickle(saved(tmp_path / "bad.pkl", raw))
    assert not target.exists()


def test_the_hostile_pickle_is_hostile(tmp_path):
    pickle.loads(pickle.dumps(HOSTILE[r"(posix|nt)\.mkdir"](str(tmp_path / "made"))))
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "raw",
    [
        b"cnumpy\nndarray\n(cnumpy\ndtype\nd(S'__class__'\ncnumpy\nndarray\nsb.",  # the state of a class
        b"cnumpy\nndarray\n.",  # a name where data should be
        b"cnumpy.core.multiarray\n_reconstruct\n(I1\ntR.",  # an array without its state
        b"c_codecs\nencode\n(I1000000000000\ntR.",  # a request for a lot of memory
        b"Pname\n.",  # a persistent id
        b"\x80\x02\x82\x05.",  # an extension code
        pickle.dumps({"x": 1})[:-3],
        b"",
        b"PK\x03\x04 this is a zip",
        b"\x80\x63 no such protocol",
    ],
)
def test_nonsense_is_an_error_that_names_the_file(raw, tmp_path):
    with pytest.raises(PickleFileError, match=r"odd\.pkl: (damaged|refused)"):
        load_pickle(saved(tmp_path / "odd.pkl", raw))


def test_arrays_of_objects_are_refused(tmp_path):
    raw = pickle.dumps(np.array([{"a": 1}, None], dtype=object))
    with pytest.raises(PickleFileError, match="'O8', but only numbers and strings are data"):
        load_pickle(saved(tmp_path / "objects.pkl", raw))


def test_every_truncation_is_noticed(tmp_path):
    raw = python2_pickle({"a": Select(a=Ch(x=RNG.normal(size=6)), idxs=np.arange(3), preferred_shape=(3, 1))})
    assert load_pickle(saved(tmp_path / "whole.pkl", raw))["a"].shape == (3, 1)
    for length in range(len(raw)):
        with pytest.raises(PickleFileError, match=r"short\.pkl: (damaged, truncated|refused)"):
            load_pickle(saved(tmp_path / "short.pkl", raw[:length]))


def test_random_damage_never_escapes_as_another_error(tmp_path):
    raw = bytearray(python2_pickle({"a": Ch(x=RNG.normal(size=6)), "b": OldCsc(np.eye(3))}))
    refused = 0
    for _ in range(600):
        broken = bytearray(raw)
        broken[RNG.integers(len(raw))] = RNG.integers(256)
        try:
            load_pickle(saved(tmp_path / "broken.pkl", bytes(broken)))
        except PickleFileError:
            refused += 1
    assert refused > 200


def test_nothing_that_a_file_does_outlives_it(tmp_path):
    """A state that is set on a class, not on an object, must not reach the placeholders of the next file."""
    saved(tmp_path / "a.pkl", b"(cnumpy\nndarray\n(dS'kind'\nS'csc'\nsb.")
    with pytest.raises(PickleFileError):
        load_pickle(tmp_path / "a.pkl")
    good = saved(tmp_path / "b.pkl", pickle.dumps(np.arange(3)))
    np.testing.assert_array_equal(load_pickle(good), np.arange(3))


def test_missing_file():
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pkl"):
        load_pickle("nowhere.pkl")
