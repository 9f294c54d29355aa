"""Random hands in MANO's layout, and pickles with the byte format of MANO's files, written without chumpy.

MANO's files were written by Python 2. They have byte strings and old module paths. ``shapedirs`` is a chumpy ``Select``
of the first 10 columns of a ``Ch``, and ``J_regressor`` is a scipy csc matrix.
"""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from scipy.spatial import Delaunay

from dhpe_lib.hand.io import mirror_hand
from dhpe_lib.hand.skeleton import MANO_PARENTS

FINGER_Z = {"index": 0.025, "middle": 0.0, "little": -0.045, "ring": -0.02, "thumb": 0.05}


def random_hand(seed: int = 0, side: str = "right") -> dict[str, np.ndarray]:
    """Make a hand of random vertices around its joints; every array is random and has MANO's shape."""
    rng = np.random.default_rng(seed)
    joints = np.array([(0.09, 0.0, 0.0)] + [(-0.03 * k, 0.003, z) for z in FINGER_Z.values() for k in range(3)])
    owner = np.arange(778) % 16
    vertices = joints[owner] + rng.normal(0, 0.01, (778, 3))
    regressor = np.where(owner == np.arange(16)[:, None], rng.random((16, 778)), 0)
    closeness = -np.linalg.norm(vertices[:, None] - joints, axis=2) / 0.01
    weights = np.exp(closeness - closeness.max(1, keepdims=True))
    shapedirs = rng.normal(0, 0.001, (778, 3, 10))
    shapedirs[:, :, 0] += 0.05 * (vertices - vertices.mean(0))
    regressor /= regressor.sum(1, keepdims=True)
    hand = {
        "v_template": vertices,
        "f": disc_faces(),
        "weights": weights / weights.sum(1, keepdims=True),
        "shapedirs": shapedirs,
        "posedirs": rng.normal(0, 0.001, (778, 3, 135)),
        "J_regressor": regressor,
        "J": regressor @ vertices,
        "kintree_table": np.array([(4294967295, *MANO_PARENTS[1:]), range(16)], np.int64),
        "hands_mean": rng.normal(0, 0.2, 45),
        "hands_components": np.linalg.qr(rng.normal(size=(45, 45)))[0],
        "hands_coeffs": rng.normal(size=(20, 45)),
    }
    return hand if side == "right" else mirror_hand(hand)


def disc_faces() -> np.ndarray:
    """Triangulate a disc: 1,538 faces on 778 vertices with one boundary of 16 edges."""
    golden = np.pi * (3 - 5**0.5)
    i = np.arange(762)
    radius, angle = 0.965 * np.sqrt((i + 0.5) / 762), i * golden
    rim = np.arange(16) / 16 * 2 * np.pi
    points = np.r_[np.c_[radius * np.cos(angle), radius * np.sin(angle)], np.c_[np.cos(rim), np.sin(rim)]]
    return Delaunay(points).simplices.astype(np.uint32)


class Ch:
    """Pickles like a chumpy array: the name of the class, then its dict."""

    old_name = ("chumpy.ch", "Ch")

    def __init__(self, **state: Any) -> None:
        hidden = {
            "_dirty_vars": set(),
            "_itr": None,
            "_depends_on_deps": {},
            "_make_dense": False,
            "_make_sparse": False,
        }
        self.__dict__.update(state, **hidden)


class Select(Ch):
    """Pickles like an indexed chumpy array."""

    old_name = ("chumpy.reordering", "Select")


class OldCsc:
    """Pickles like a csc matrix of scipy in 2016."""

    old_name = ("scipy.sparse.csc", "csc_matrix")

    def __init__(self, dense: np.ndarray) -> None:
        matrix = sparse.csc_matrix(dense)
        self.__dict__.update(data=matrix.data, indices=matrix.indices, indptr=matrix.indptr)
        self.__dict__.update(_shape=dense.shape, maxprint=50)


class Python2Pickler(pickle._Pickler):
    """Writes pickles like Python 2: str and bytes as byte strings, with the old module names."""

    dispatch = dict(pickle._Pickler.dispatch)
    old_modules = {"builtins": "__builtin__", "copyreg": "copy_reg", "numpy._core.multiarray": "numpy.core.multiarray"}

    def save_byte_string(self, text: str | bytes) -> None:
        raw = text.encode("latin1") if isinstance(text, str) else text
        if self.proto:
            self.write(pickle.BINSTRING + len(raw).to_bytes(4, "little") + raw)
        else:
            self.write(pickle.STRING + repr(raw)[1:].encode() + b"\n")
        self.memoize(text)

    def save_global(self, obj: Any, name: str | None = None) -> None:
        module, name = getattr(obj, "old_name", (obj.__module__, obj.__name__))
        module = self.old_modules.get(module, module)
        self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
        self.memoize(obj)

    dispatch[str] = save_byte_string
    dispatch[bytes] = save_byte_string
    dispatch[type] = save_global
    dispatch[type(len)] = save_global
    dispatch[type(disc_faces)] = save_global


def python2_pickle(value: Any, protocol: int = 2) -> bytes:
    file = io.BytesIO()
    Python2Pickler(file, protocol).dump(value)
    return file.getvalue()


def mano_fields(hand: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the objects of a MANO file: it stores 20 shape directions and selects the first 10."""
    all_directions = np.concatenate((hand["shapedirs"], np.zeros((778, 3, 10))), axis=2)
    chosen = np.arange(778 * 3 * 20).reshape(778, 3, 20)[:, :, :10].ravel()
    return {
        **hand,
        "shapedirs": Select(a=Ch(x=all_directions), idxs=chosen, preferred_shape=(778, 3, 10)),
        "J_regressor": OldCsc(hand["J_regressor"]),
        "f": hand["f"].astype(np.uint32),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }


def write_mano_pickle(path: Path, hand: dict[str, np.ndarray], protocol: int = 2) -> Path:
    path.write_bytes(python2_pickle(mano_fields(hand), protocol))
    return path
