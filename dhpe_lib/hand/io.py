"""Hand models on disk in MANO's layout (DATASETS.md, MANO), and meshes for other programs.

A hand is a plain dict of numpy arrays under MANO's names. Reading checks every field and names what is wrong; nothing
in a file is run. Lengths in metres.
"""

import io
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Integer, UInt8
from scipy import sparse

from dhpe_lib.common.unpickling import PickleFileError, load_pickle
from dhpe_lib.hand.skeleton import MANO_JOINT_NAMES, MANO_PARENTS

Hand = dict[str, np.ndarray]
Side = Literal["right", "left"]

SHAPES: dict[str, tuple[int, ...]] = {
    "v_template": (778, 3),
    "f": (1538, 3),
    "weights": (778, 16),
    "shapedirs": (778, 3, 10),
    "posedirs": (778, 3, 135),
    "J_regressor": (16, 778),
    "kintree_table": (2, 16),
    "hands_mean": (45,),
    "hands_components": (45, 45),
}
MANO_FIELDS = (*SHAPES, "J", "hands_coeffs", "bs_style", "bs_type")
BLENDING = {"bs_style": "lbs", "bs_type": "lrotmin"}
NO_PARENT = 4294967295
MESH_SUFFIXES = (".obj", ".ply", ".glb")


class HandFileError(ValueError):
    """A hand file that cannot be read or is not in MANO's layout; the message names file, field and remedy."""


def read_hand(path: str | Path) -> Hand:
    """Read a hand model and check it against MANO's layout.

    Args:
        path: MANO's ``.pkl`` (as its authors give it, or written anew by any Python) or an ``.npz``.

    Returns:
        The fields of the file as numpy arrays, floats in float64; ``J`` is added where missing, and the sign of a
        defective left hand repaired (see :func:`repair_left_shape`).

    Raises:
        FileNotFoundError: There is no such file.
        HandFileError: The file is damaged, unsafe, of another format, or a field is missing or wrong.

    Source: DATASETS.md, MANO.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such hand file; give a MANO .pkl, or an .npz in its layout")
    hand = _checked(path, _read_fields(path))
    if side_of(hand) == "left":
        repaired = repair_left_shape(hand)
        if repaired is not hand:
            warnings.warn(f"{path}: shapedirs has the wrong sign on x (a known defect); repaired", stacklevel=2)
        return repaired
    return hand


def _read_fields(path: Path) -> dict[str, Any]:
    if path.suffix == ".npz":
        return _read_npz(path)
    if path.suffix != ".pkl":
        raise HandFileError(f"{path}: hand models are .pkl or .npz files, not {path.suffix or 'without suffix'}")
    try:
        fields = load_pickle(path)
    except PickleFileError as error:
        raise HandFileError(str(error)) from error
    if not isinstance(fields, dict):
        raise HandFileError(
            f"{path}: holds a {type(fields).__name__}, not the fields of a hand; give a MANO model file"
        )
    return fields


def _read_npz(path: Path) -> dict[str, Any]:
    field = "?"
    try:
        # From memory: numpy leaves the file open when it turns out to be no archive.
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            fields = {}
            for field in archive.files:
                fields[field] = archive[field]
            return fields
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise HandFileError(
            f"{path}: field {field} cannot be read ({error}); the file is truncated or holds Python objects: "
            "copy it again, or write it with numpy arrays only"
        ) from error


def _checked(path: Path, fields: Mapping[str, Any]) -> Hand:
    missing = [name for name in SHAPES if name not in fields]
    if missing:
        raise HandFileError(
            f"{path}: lacks {', '.join(missing)}; give a hand model in MANO's layout (not SMPL or SMPL-X)"
        )
    hand = {name: np.asarray(value) for name, value in fields.items()}
    for name, shape in SHAPES.items():
        if hand[name].shape != shape:
            raise HandFileError(
                f"{path}: field {name} has shape {hand[name].shape}, MANO's is {shape}; give a MANO hand"
            )
        if hand[name].dtype.kind not in "iuf" or not np.isfinite(hand[name]).all():
            raise HandFileError(f"{path}: field {name} holds something that is no finite number; fetch the file again")
    for name, value in BLENDING.items():
        if name in hand and str(hand[name]) != value:
            raise HandFileError(f"{path}: field {name} is {hand[name]!s}, only {value} is known; give a MANO hand")
    _check_values(path, hand)
    hand.setdefault("J", hand["J_regressor"] @ hand["v_template"])
    return {name: value.astype(np.float64) if value.dtype.kind == "f" else value for name, value in hand.items()}


def _check_values(path: Path, hand: Hand) -> None:
    if hand["f"].min() < 0 or hand["f"].max() >= len(hand["v_template"]):
        raise HandFileError(f"{path}: field f names a vertex beyond the 778; vertices are counted from 0")
    if tuple(hand["kintree_table"][0, 1:].astype(np.int64)) != MANO_PARENTS[1:]:
        raise HandFileError(f"{path}: field kintree_table is not MANO's tree; order the joints as MANO does")
    sums = hand["weights"].sum(1)
    if np.abs(sums - 1).max() > 1e-3:
        worst = int(np.abs(sums - 1).argmax())
        raise HandFileError(
            f"{path}: field weights sums to {sums[worst]:.4f} at vertex {worst}; divide rows by their sums"
        )


def side_of(hand: Mapping[str, np.ndarray]) -> Side:
    """Tell which hand it is: in MANO's frame a right hand's fingers point along -x, a left hand's along +x.

    Args:
        hand: Fields of a hand.

    Returns:
        The side.

    Source: MANO's own pair of models.
    """
    joints = hand["J_regressor"] @ hand["v_template"]
    return "right" if joints[MANO_JOINT_NAMES.index("middle_1"), 0] < joints[0, 0] else "left"


def repair_left_shape(hand: Hand) -> Hand:
    r"""Undo the sign error of the published left hand, whose shape directions are the right hand's, unmirrored in x.

    The rule: among people, long hands are broad hands. Direction k changes the length (x) by
    :math:`a_k = \sum_v S_{vxk} \bar v_x` and the breadth and thickness (y, z) by
    :math:`b_k = \sum_v S_{vyk} \bar v_y + S_{vzk} \bar v_z` with the centred template :math:`\bar v`. Coefficients are
    independent with unit variance, so :math:`\sum_k a_k b_k` is the covariance of the two over the population. Where
    it is negative, x of all shape directions is negated.

    Args:
        hand: Fields of a left hand.

    Returns:
        The same object when it is sound, else a copy with new ``shapedirs``.

    Source: smplx issue 48 reports the defect; the rule is this project's own.
    """
    centred = hand["v_template"] - hand["v_template"].mean(0)
    length, breadth, thickness = np.einsum("vc,vck->ck", centred, hand["shapedirs"])
    if length @ (breadth + thickness) >= 0:
        return hand
    return {**hand, "shapedirs": hand["shapedirs"] * np.array([-1.0, 1.0, 1.0])[:, None]}


def mirror_hand(hand: Mapping[str, np.ndarray]) -> Hand:
    """Make the other hand by the reflection M = diag(-1, 1, 1).

    Points and displacements take M; a rotation R becomes M R M, so an axis-angle vector (x, y, z) becomes (x, -y, -z)
    and the entry (i, j) of a pose feature takes the sign M_i M_j; faces turn round to keep their outside outside.

    Args:
        hand: Fields of a hand. Of the open hand's own extras ``joint_axes`` and ``ft`` (the faces' corners in
            the texture) are mirrored as well, all others kept.

    Returns:
        A new dict of the other side.

    Source: PAPER.md Sec. 1 (right hand; a left hand is mirrored).
    """
    point = np.array([-1.0, 1.0, 1.0])
    turn = -point
    angles = np.tile(turn, 15)
    features = np.tile(np.outer(point, point).ravel(), 15)
    rules = {
        "v_template": lambda a: a * point,
        "shapedirs": lambda a: a * point[:, None],
        "posedirs": lambda a: a * point[:, None] * features,
        "J": lambda a: a * point,
        "f": lambda a: a[:, ::-1].copy(),
        "ft": lambda a: a[:, ::-1].copy(),
        "hands_mean": lambda a: a * angles,
        "hands_components": lambda a: a * angles,
        "joint_axes": lambda a: a * turn,
    }
    return {name: rules[name](value) if name in rules else value for name, value in hand.items()}


def write_hand(path: str | Path, hand: Mapping[str, np.ndarray]) -> None:
    """Write a hand model: ``.npz`` with every field, or ``.pkl`` with MANO's fields for manopth and smplx.

    Those two look for ``MANO_RIGHT.pkl`` or ``MANO_LEFT.pkl`` in a folder, so name the file accordingly. The pickle
    is of protocol 2 and holds numpy arrays, strings and, as in MANO, a scipy sparse ``J_regressor``.

    Args:
        path: Where to; the suffix chooses the format.
        hand: Fields of a hand, as :func:`read_hand` gives them.

    Raises:
        HandFileError: Another suffix.

    Source: DATASETS.md, MANO.
    """
    path = Path(path)
    full: dict[str, Any] = {**hand, **{name: np.array(value) for name, value in BLENDING.items()}}
    if path.suffix == ".npz":
        np.savez_compressed(path, **full)
    elif path.suffix == ".pkl":
        path.write_bytes(_mano_pickle({name: full[name] for name in MANO_FIELDS if name in full}))
    else:
        raise HandFileError(f"{path}: a hand model is written as .npz or .pkl, a mesh as {', '.join(MESH_SUFFIXES)}")


def _mano_pickle(hand: Hand) -> bytes:
    fields: dict[str, Any] = {**hand, **BLENDING}
    fields["J_regressor"] = sparse.csc_matrix(hand["J_regressor"])
    fields["f"] = hand["f"].astype(np.uint32)
    fields["kintree_table"] = np.array([(NO_PARENT, *MANO_PARENTS[1:]), range(len(MANO_PARENTS))], np.int64)
    # The old home of this function is the one that numpy 1 and 2 both know: manopth's users are on numpy 1.
    return pickle.dumps(fields, protocol=2).replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def write_mesh(
    path: str | Path,
    vertices: Float[np.ndarray, "v 3"],
    faces: Integer[np.ndarray, "f 3"],
    colors: UInt8[np.ndarray, "v 3"] | None = None,
) -> None:
    """Write a mesh as OBJ, PLY or GLB, vertices in their order.

    Args:
        path: Where to; the suffix chooses the format.
        vertices: Points, in the unit and axes that the file is to have.
        faces: Triangles.
        colors: RGB of each vertex.

    Raises:
        HandFileError: Another suffix.

    Source: written by trimesh.
    """
    path = Path(path)
    if path.suffix not in MESH_SUFFIXES:
        raise HandFileError(f"{path}: a mesh is written as {', '.join(MESH_SUFFIXES)}, not as {path.suffix!r}")
    import trimesh  # takes half a second to import

    trimesh.Trimesh(vertices, faces, vertex_colors=colors, process=False).export(path)
