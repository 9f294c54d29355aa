"""Read and write hand models in MANO's layout (DATASETS.md, MANO), and write meshes for other programs.

A hand is a plain dict of numpy arrays under MANO's names. The reader checks every field, and an error names the field
that is wrong. It runs no code in the file. Lengths are in metres.
"""

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Integer, UInt8

from dhpe_lib.common.arguments import checked
from dhpe_lib.common.npz_files import NpzFileError, read_npz
from dhpe_lib.common.unpickling import PickleFileError, load_pickle
from dhpe_lib.hand.mesh_glb import mesh_glb
from dhpe_lib.hand.mesh_texture import MeshTexture
from dhpe_lib.hand.obj_ply import mesh_obj, mesh_ply, textured_obj
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
MOST_BYTES = 2**28
"""Most bytes of the fields of a hand; MANO's have 4 MB."""
MESH_SUFFIXES = (".obj", ".ply", ".glb")


class HandFileError(ValueError):
    """The hand file cannot be read or is not in MANO's layout; the message names file, field and remedy."""


def read_hand(path: str | Path) -> Hand:
    """Read a hand model and check it against MANO's layout.

    Args:
        path: A ``.pkl`` (MANO's own file, or one written by any version of Python) or an ``.npz``.

    Returns:
        The fields of the file as numpy arrays; floats are float64. A missing ``J`` is added. The sign of a defective
        left hand is repaired (see :func:`repair_left_shape`).

    Raises:
        FileNotFoundError: The file does not exist.
        HandFileError: The file is damaged, unsafe or not a hand model, or a field is missing or wrong.

    Source: DATASETS.md, MANO.
    """
    path = Path(path)
    if path.is_dir():
        raise HandFileError(f"{path}: is a folder; name the hand file in it, such as {path / 'MANO_RIGHT.pkl'}")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such hand file; give a MANO .pkl, or an .npz in its layout")
    hand = _check_fields(path, _read_fields(path))
    if side_of(hand) == "left":
        repaired = repair_left_shape(hand)
        if repaired is not hand:
            warnings.warn(f"{path}: shapedirs has the wrong sign on x (a known defect); repaired", stacklevel=2)
        return repaired
    return hand


def _read_fields(path: Path) -> dict[str, Any]:
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return _read_npz(path)
    if suffix != ".pkl":
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
    try:
        return dict(read_npz(path, MOST_BYTES))
    except NpzFileError as error:
        raise HandFileError(
            f"{path}: {error}; the file is truncated or holds Python objects: copy it again, or write it with numpy "
            "arrays only"
        ) from error


def _as_array(path: Path, name: str, value: Any) -> np.ndarray:
    """Convert a field; in a list only numbers are accepted, since one long text would make an array of texts huge."""
    try:
        return np.asarray(value, None if isinstance(value, np.ndarray | np.generic | str | int | float) else np.float64)
    except (TypeError, ValueError) as error:
        raise HandFileError(f"{path}: field {name} is not an array ({error}); give a MANO hand") from error


def _check_fields(path: Path, fields: Mapping[str, Any]) -> Hand:
    hand = {name: _as_array(path, name, value) for name, value in fields.items()}
    check_layout(path, hand)
    for name in SHAPES:
        if hand[name].dtype.kind not in "iuf" or not np.isfinite(hand[name]).all():
            raise HandFileError(f"{path}: field {name} holds a value that is not a finite number; fetch the file again")
    for name, value in BLENDING.items():
        if name in hand and str(hand[name]) != value:
            raise HandFileError(f"{path}: field {name} is {hand[name]!s}, only {value} is supported; give a MANO hand")
    _check_values(path, hand)
    hand.setdefault("J", hand["J_regressor"] @ hand["v_template"])
    return {name: value.astype(np.float64) if value.dtype.kind == "f" else value for name, value in hand.items()}


def check_layout(source: str | Path, fields: Mapping[str, Any]) -> None:
    """Check that a hand has MANO's fields, each with its shape.

    Args:
        source: File or argument that the hand comes from, for messages.
        fields: Fields of a hand.

    Raises:
        HandFileError: A field is missing or has another shape.

    Source: DATASETS.md, MANO.
    """
    missing = [name for name in SHAPES if name not in fields]
    if missing:
        raise HandFileError(
            f"{source}: lacks {', '.join(missing)}; give a hand model in MANO's layout (not SMPL or SMPL-X)"
        )
    for name, shape in SHAPES.items():
        if (found := np.shape(fields[name])) != shape:
            raise HandFileError(f"{source}: field {name} has shape {found}, MANO's is {shape}; give a MANO hand")


def _check_values(path: Path, hand: Hand) -> None:
    if hand["f"].min() < 0 or hand["f"].max() >= len(hand["v_template"]):
        raise HandFileError(f"{path}: field f holds a vertex index outside 0 to 777; count vertices from 0")
    if tuple(hand["kintree_table"][0, 1:].astype(np.int64)) != MANO_PARENTS[1:]:
        raise HandFileError(f"{path}: field kintree_table is not MANO's tree; order the joints as MANO does")
    sums = hand["weights"].sum(1)
    if np.abs(sums - 1).max() > 1e-3:
        worst = int(np.abs(sums - 1).argmax())
        raise HandFileError(
            f"{path}: field weights sums to {sums[worst]:.4f} at vertex {worst}; divide each row by its sum"
        )


def side_of(hand: Mapping[str, np.ndarray]) -> Side:
    """Return the side of a hand: in MANO's frame, right fingers point along -x and left fingers along +x.

    Args:
        hand: Fields of a hand.

    Returns:
        "right" or "left".

    Source: MANO's right and left models.
    """
    joints = hand["J_regressor"] @ hand["v_template"]
    return "right" if joints[MANO_JOINT_NAMES.index("middle_1"), 0] < joints[0, 0] else "left"


def repair_left_shape(hand: Hand) -> Hand:
    r"""Undo the sign error of the published left hand, whose shape directions are not mirrored in x.

    The test uses a fact about people: long hands are also broad. Direction k changes the length (x) by
    :math:`a_k = \sum_v S_{vxk} \bar v_x` and the breadth and thickness (y, z) by
    :math:`b_k = \sum_v S_{vyk} \bar v_y + S_{vzk} \bar v_z`, where :math:`\bar v` is the centred template.
    Coefficients are independent with unit variance, so :math:`\sum_k a_k b_k` is the covariance of length and breadth
    over the population. If it is negative, the x of all shape directions is negated.

    Args:
        hand: Fields of a left hand.

    Returns:
        The given object if it is correct, else a copy with new ``shapedirs``.

    Source: smplx issue 48 reports the defect; the test is this project's own.
    """
    centred = hand["v_template"] - hand["v_template"].mean(0)
    length, breadth, thickness = np.einsum("vc,vck->ck", centred, hand["shapedirs"])
    if length @ (breadth + thickness) >= 0:
        return hand
    return {**hand, "shapedirs": hand["shapedirs"] * np.array([-1.0, 1.0, 1.0])[:, None]}


def mirror_hand(hand: Mapping[str, np.ndarray]) -> Hand:
    """Make the hand of the other side by the reflection M = diag(-1, 1, 1).

    Points and displacements are multiplied by M. A rotation R becomes M R M, so an axis-angle vector (x, y, z) becomes
    (x, -y, -z), and entry (i, j) of a pose feature is multiplied by M_i M_j. The corners of each face are reversed, so
    normals still point outwards.

    Args:
        hand: Fields of a hand. The open hand's extra fields ``joint_axes`` and ``ft`` (the corners of the faces in the
            texture) are mirrored too; all other extra fields are kept.

    Returns:
        A new dict: the hand of the other side.

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

    manopth and smplx look for ``MANO_RIGHT.pkl`` or ``MANO_LEFT.pkl`` in a folder, so name the file accordingly. The
    pickle has protocol 2 and holds numpy arrays, strings and, as in MANO, a scipy sparse ``J_regressor``.

    Args:
        path: Path of the file; its suffix chooses the format.
        hand: Fields of a hand, as returned by :func:`read_hand`.

    Raises:
        HandFileError: The suffix is unknown.

    Source: DATASETS.md, MANO.
    """
    path = Path(path)
    full: dict[str, Any] = {**hand, **{name: np.array(value) for name, value in BLENDING.items()}}
    if path.suffix.lower() == ".npz":
        with path.open("wb") as file:  # for a path in capitals numpy would add a suffix
            np.savez_compressed(file, **full)
    elif path.suffix.lower() == ".pkl":
        path.write_bytes(_mano_pickle({name: full[name] for name in MANO_FIELDS if name in full}))
    else:
        raise HandFileError(f"{path}: a hand model is written as .npz or .pkl, a mesh as {', '.join(MESH_SUFFIXES)}")


def _mano_pickle(hand: Hand) -> bytes:
    from scipy import sparse

    fields: dict[str, Any] = {**hand, **BLENDING}

    fields["J_regressor"] = sparse.csc_matrix(hand["J_regressor"])
    fields["f"] = hand["f"].astype(np.uint32)
    fields["kintree_table"] = np.array([(NO_PARENT, *MANO_PARENTS[1:]), range(len(MANO_PARENTS))], np.int64)
    # Old and new numpy and scipy all know these names. Users of manopth have numpy 1 and scipy before 1.8.
    written = pickle.dumps(fields, protocol=2).replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    return written.replace(b"cscipy.sparse._csc\n", b"cscipy.sparse\n")


@checked()
def write_mesh(
    path: str | Path,
    vertices: Float[np.ndarray, "v 3"],
    faces: Integer[np.ndarray, "f 3"],
    colors: UInt8[np.ndarray, "v 3"] | None = None,
    texture: MeshTexture | None = None,
) -> None:
    """Write a mesh as OBJ, PLY or GLB; the order of the vertices is kept.

    Args:
        path: Path of the file; its suffix chooses the format.
        vertices: Vertices; unit and axes are written unchanged.
        faces: Vertex indices of the triangles.
        colors: sRGB colour of each vertex, 0 to 255; a GLB holds it as linear light.
        texture: Texture of these faces, which OBJ and GLB hold instead of colours. A GLB repeats the vertices on its
            seams behind all others. An OBJ names two more files, :func:`files_of_mesh`, which are written too.

    Raises:
        HandFileError: The suffix is unknown.

    Source: :mod:`dhpe_lib.hand.mesh_glb` and :mod:`dhpe_lib.hand.obj_ply`.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in MESH_SUFFIXES:
        raise HandFileError(f"{path}: a mesh is written as {', '.join(MESH_SUFFIXES)}, not as {path.suffix!r}")
    if suffix == ".glb":
        path.write_bytes(mesh_glb(vertices, faces, colors, texture))
    elif suffix == ".ply":
        path.write_bytes(mesh_ply(vertices, faces, colors))
    elif texture is None:
        path.write_text(mesh_obj(vertices, faces, colors), encoding="utf-8")
    else:
        _write_textured_obj(path, vertices, faces, texture)


def files_of_mesh(path: Path, textured: bool) -> list[str]:
    """Return the names of the files that :func:`write_mesh` writes, all in one folder: an OBJ's material and image too.

    Args:
        path: Path of the mesh.
        textured: Whether the mesh has a texture.
    """
    if path.suffix.lower() != ".obj" or not textured:
        return [path.name]
    return [path.name, f"{path.stem}.mtl", f"{path.stem}_texture.jpg"]


def _write_textured_obj(path: Path, vertices: np.ndarray, faces: np.ndarray, texture: MeshTexture) -> None:
    """Write an OBJ with its material and its image beside it."""
    _, material, image = files_of_mesh(path, True)
    path.write_text(textured_obj(vertices, faces, texture, material), encoding="utf-8")
    (path.parent / material).write_text(f"newmtl skin\nKd 1 1 1\nKs 0 0 0\nmap_Kd {image}\n", encoding="utf-8")
    (path.parent / image).write_bytes(texture.jpeg())
