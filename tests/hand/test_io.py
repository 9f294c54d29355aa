"""Hand files: MANO's layout is read, every format is written, and an error names what is wrong in a file."""

import os
import pickle
import pickletools
import subprocess
import sys

import numpy as np
import pytest
import trimesh
from fake_mano import disc_faces, mano_fields, python2_pickle, random_hand, write_mano_pickle
from project import ROOT
from scipy import sparse

from dhpe_lib.hand.io import (
    SHAPES,
    HandFileError,
    mirror_hand,
    read_hand,
    repair_left_shape,
    side_of,
    write_hand,
    write_mesh,
)
from dhpe_lib.hand.model import OPEN_HAND


@pytest.fixture(scope="module")
def hand() -> dict[str, np.ndarray]:
    return random_hand()


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12, atol=1e-15, err_msg=name)


@pytest.mark.parametrize("protocol", [0, 2])
@pytest.mark.parametrize("side", ["right", "left"])
def test_reads_manos_own_files_without_chumpy(side, protocol, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "chumpy", None)  # importing chumpy now raises an error
    hand = random_hand(side=side)
    found = read_hand(write_mano_pickle(tmp_path / "MANO.pkl", hand, protocol))
    assert side_of(found) == side
    assert_same(found, hand)
    assert found["shapedirs"].shape == (778, 3, 10)


def test_the_fake_file_has_the_names_of_the_real_file(hand):
    """The pickle has the globals that public reports list for MANO_RIGHT.pkl, and no Python 3 string."""
    raw = python2_pickle(mano_fields(hand))
    opcodes = list(pickletools.genops(raw))
    names = {arg for opcode, arg, _ in opcodes if opcode.name == "GLOBAL"}
    assert names == {
        "chumpy.ch Ch",
        "chumpy.reordering Select",
        "scipy.sparse.csc csc_matrix",
        "numpy.core.multiarray _reconstruct",
        "numpy ndarray",
        "numpy dtype",
        "__builtin__ set",
    }
    assert not {opcode.name for opcode, _, _ in opcodes} & {"BINUNICODE", "SHORT_BINBYTES", "STACK_GLOBAL"}


@pytest.mark.parametrize("suffix", [".npz", ".pkl"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_written_hands_read_back(side, suffix, tmp_path):
    hand = random_hand(side=side)
    write_hand(tmp_path / f"hand{suffix}", hand)
    assert_same(read_hand(tmp_path / f"hand{suffix}"), hand)


def test_written_pickle_is_manos_layout(hand, tmp_path):
    write_hand(tmp_path / "hand.pkl", {**hand, "uv": np.zeros((5, 2))})
    raw = (tmp_path / "hand.pkl").read_bytes()
    assert raw[:2] == b"\x80\x02"
    assert b"numpy._core" not in raw  # numpy 1 does not know that module
    names = {arg for opcode, arg, _ in pickletools.genops(raw) if opcode.name == "GLOBAL"}
    assert (
        "scipy.sparse csc_matrix" in names
    )  # scipy before 1.8 knows no scipy.sparse._csc, scipy 2 no scipy.sparse.csc
    assert not [name for name in names if name.startswith("scipy.sparse.")]
    fields = pickle.loads(raw, encoding="latin1")
    assert set(fields) == {*SHAPES, "J", "hands_coeffs", "bs_style", "bs_type"}
    assert sparse.issparse(fields["J_regressor"])
    assert fields["f"].dtype == np.uint32
    assert fields["kintree_table"][0, 0] == 4294967295
    assert (fields["bs_style"], fields["bs_type"]) == ("lbs", "lrotmin")


def test_npz_keeps_extras(hand, tmp_path):
    extras = {"uv": np.random.default_rng(0).random((5, 2)), "shape_names": np.array(["a", "b"])}
    write_hand(tmp_path / "hand.npz", {**hand, **extras})
    found = read_hand(tmp_path / "hand.npz")
    np.testing.assert_array_equal(found["uv"], extras["uv"])
    assert list(found["shape_names"]) == ["a", "b"]


def test_missing_j_is_regressed(hand, tmp_path):
    write_hand(tmp_path / "hand.npz", {k: v for k, v in hand.items() if k != "J"})
    np.testing.assert_allclose(read_hand(tmp_path / "hand.npz")["J"], hand["J"])


def test_defective_left_hand_is_repaired(tmp_path):
    left = random_hand(side="left")
    defective = {**left, "shapedirs": random_hand()["shapedirs"]}  # the right hand's, as in the published file
    with pytest.warns(UserWarning, match=r"MANO_LEFT\.pkl: shapedirs has the wrong sign on x"):
        found = read_hand(write_mano_pickle(tmp_path / "MANO_LEFT.pkl", defective))
    np.testing.assert_array_equal(found["shapedirs"][:, 0], -defective["shapedirs"][:, 0])
    np.testing.assert_array_equal(found["shapedirs"][:, 1:], defective["shapedirs"][:, 1:])
    assert_same(found, left)


@pytest.mark.skipif(not OPEN_HAND.exists(), reason="the open hand is not built yet: data_scripts/build_open_hand.py")
def test_the_rule_of_the_left_hand_holds_for_the_open_hand():
    right = read_hand(OPEN_HAND)
    left = mirror_hand(right)
    assert repair_left_shape(left) is left
    repaired = repair_left_shape({**left, "shapedirs": right["shapedirs"]})
    np.testing.assert_array_equal(repaired["shapedirs"], left["shapedirs"])


def test_right_hands_are_never_repaired(tmp_path):
    odd = random_hand()
    odd["shapedirs"] = odd["shapedirs"] * np.array([-1.0, 1.0, 1.0])[:, None]
    write_hand(tmp_path / "odd.npz", odd)
    np.testing.assert_array_equal(read_hand(tmp_path / "odd.npz")["shapedirs"], odd["shapedirs"])


def test_mirror_keeps_the_outside_outside_and_turns_extras():
    hand = random_hand()
    hand |= {"ft": hand["f"].copy(), "joint_axes": np.ones((15, 3, 3))}
    mirrored = mirror_hand(hand)
    one = trimesh.Trimesh(hand["v_template"], hand["f"], process=False)
    other = trimesh.Trimesh(mirrored["v_template"], mirrored["f"], process=False)
    flipped = one.face_normals * (-1, 1, 1)
    np.testing.assert_allclose(other.face_normals, flipped, atol=1e-9)
    np.testing.assert_array_equal(mirrored["ft"], mirrored["f"])
    np.testing.assert_array_equal(mirrored["joint_axes"][0], [[1, -1, -1]] * 3)
    assert_same(mirror_hand(mirrored), hand)


WRONG = {
    "lacks weights; give": lambda h: h.pop("weights"),
    "field v_template has shape (6890, 3), MANO's is (778, 3)": lambda h: h.update(v_template=np.zeros((6890, 3))),
    "field shapedirs has shape (778, 3, 9)": lambda h: h.update(shapedirs=h["shapedirs"][:, :, :9]),
    "field posedirs holds a value that is not a finite number": lambda h: h["posedirs"].__setitem__((0, 0, 0), np.nan),
    "field hands_mean holds a value": lambda h: h.update(hands_mean=np.array(["x"] * 45)),
    "field f holds a vertex index outside 0 to 777": lambda h: h["f"].__setitem__((0, 0), 778),
    "field kintree_table is not MANO's tree": lambda h: h["kintree_table"].__setitem__((0, 5), 3),
    "field weights sums to 0.5": lambda h: h["weights"].__imul__(0.5),
    "field bs_type is quaternions, only lrotmin": lambda h: h.update(bs_type=np.array("quaternions")),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_fields_are_named(message, tmp_path):
    hand = {name: value.copy() for name, value in random_hand().items()}
    WRONG[message](hand)
    np.savez(tmp_path / "wrong.npz", **hand)
    with pytest.raises(HandFileError) as error:
        read_hand(tmp_path / "wrong.npz")
    assert str(error.value).startswith(str(tmp_path / "wrong.npz"))
    assert message in str(error.value)
    assert ";" in str(error.value)  # the remedy


def test_truncated_files_are_named(hand, tmp_path):
    for name, write in {"a.npz": write_hand, "a.pkl": write_mano_pickle}.items():
        write(tmp_path / name, hand)
        raw = (tmp_path / name).read_bytes()
        for share in (0.0, 0.3, 0.999):
            (tmp_path / name).write_bytes(raw[: int(share * len(raw))])
            with pytest.raises(HandFileError, match=rf"{name}: .*(truncated|again)"):
                read_hand(tmp_path / name)


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_a_truncated_npz(hand, tmp_path, share):
    np.savez(tmp_path / "a.npz", **hand)
    raw = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(raw[: int(share * len(raw))])
    with pytest.raises(HandFileError, match=r"a\.npz: is no \.npz file, or its end is missing; .*copy it again"):
        read_hand(tmp_path / "a.npz")


def test_damaged_member_of_an_npz_is_named(hand, tmp_path):
    np.savez(tmp_path / "a.npz", **hand)
    raw = bytearray((tmp_path / "a.npz").read_bytes())
    raw[raw.index(b"weights.npy") + 400] ^= 255
    (tmp_path / "a.npz").write_bytes(raw)
    with pytest.raises(HandFileError, match="field weights cannot be read"):
        read_hand(tmp_path / "a.npz")


def test_npz_with_python_objects_is_refused(hand, tmp_path):
    np.savez(tmp_path / "a.npz", **{**hand, "J_regressor": np.array({"a": 1})})
    with pytest.raises(HandFileError, match="field J_regressor cannot be read"):
        read_hand(tmp_path / "a.npz")


class Evil:
    def __reduce__(self):
        return os.system, ("true",)


def test_hostile_hand_is_refused_by_name(hand, tmp_path):
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({**hand, "v_template": Evil()}))
    with pytest.raises(HandFileError, match=r"evil\.pkl: refused, since the pickle asks for (posix|nt)\.system"):
        read_hand(tmp_path / "evil.pkl")


@pytest.mark.parametrize(("name", "message"), [("a.pkl", "holds a list"), ("a.txt", "hand models are .pkl or .npz")])
def test_other_files_are_refused(name, message, tmp_path):
    (tmp_path / name).write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(HandFileError, match=message):
        read_hand(tmp_path / name)
    with pytest.raises(HandFileError, match="written as"):
        write_hand(tmp_path / "hand.txt", {})
    with pytest.raises(FileNotFoundError, match=r"none\.pkl: no such hand file"):
        read_hand(tmp_path / "none.pkl")


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".glb"])
def test_meshes_read_back(suffix, hand, tmp_path):
    rng = np.random.default_rng(0)
    colors = rng.integers(0, 256, (778, 3), np.uint8)
    write_mesh(tmp_path / f"hand{suffix}", hand["v_template"], hand["f"], colors)
    mesh = trimesh.load(tmp_path / f"hand{suffix}", process=False, force="mesh", maintain_order=True)
    np.testing.assert_allclose(mesh.vertices, hand["v_template"], atol=1e-6)
    np.testing.assert_array_equal(mesh.faces, hand["f"])
    if suffix == ".glb":  # its colours are linear: tests/hand/test_export.py looks at them
        assert mesh.visual.material.metallicFactor == 0
    else:
        np.testing.assert_array_equal(mesh.visual.vertex_colors[:, :3], colors)


def test_unknown_mesh_format_is_refused(hand, tmp_path):
    with pytest.raises(HandFileError, match=r"\.obj, \.ply, \.glb"):
        write_mesh(tmp_path / "hand.stl", hand["v_template"], hand["f"])


def test_fake_topology_is_manos():
    mesh = trimesh.Trimesh(np.zeros((778, 3)), disc_faces(), process=False)
    assert len(mesh.faces) == 1538
    rim = trimesh.grouping.group_rows(mesh.edges_sorted, require_count=1)
    assert len(rim) == 16


def test_convert_script(hand, tmp_path):
    source = write_mano_pickle(tmp_path / "MANO_RIGHT.pkl", hand)
    command = [sys.executable, ROOT / "data_scripts" / "convert_mano.py", source, tmp_path / "out" / "right.npz"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert "right hand" in done.stdout
    assert_same(read_hand(tmp_path / "out" / "right.npz"), hand)
    missing = [*command[:2], tmp_path / "none.pkl", tmp_path / "x.npz"]
    failed = subprocess.run(missing, capture_output=True, text=True, check=False, env=environment)
    assert failed.returncode == 1
    assert "none.pkl: no such hand file" in failed.stderr
    assert "Traceback" not in failed.stderr
