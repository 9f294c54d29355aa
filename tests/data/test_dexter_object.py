"""Dexter+Object: lines, unlabelled tips, conversion from the depth camera to the colour camera, defects."""

from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from fake_datasets import DO_NAMES, do_lines, noise, ordered, points, projected, write_do, write_image
from scipy.spatial.transform import Rotation

from dhpe_lib.data.checks import DatasetError
from dhpe_lib.data.readers import dexter_object
from dhpe_lib.data.readers.dexter_object import SEQUENCES, DexterObject, to_color_camera
from dhpe_lib.data.sample import mirror, project
from dhpe_lib.hand.skeleton import JOINT_NAMES

# A second copy of the calibration, as 4 x 4 matrix and 3 x 3 cameras; half a pixel is added to the colour camera.
COLOR_FROM_DEPTH = np.array(
    [
        [0.9999, 0.0034, 0.0161, 19.0473],
        [-0.0033, 1.0000, -0.0079, -1.8514],
        [-0.0162, 0.0079, 0.9998, -4.7501],
        [0, 0, 0, 1],
    ]
)
K_COLOR = np.array([[587.45209, 0, 325.5], [0, 600.67456, 249.5], [0, 0, 1]])
K_DEPTH = np.array([[224.502, 0, 160], [0, 230.494, 120], [0, 0, 1]])
FRAMES = 11


def in_color_camera(frame, sequence=0):
    """Return the five tips that the reader should return."""
    return ordered(points(100 * sequence + frame, depth=420), DO_NAMES)


def as_written(tips):
    """Convert points from the colour camera to the label frame: the depth camera with x and y negated."""
    homogeneous = np.c_[tips, np.ones(5)] @ np.linalg.inv(COLOR_FROM_DEPTH).T
    return homogeneous[:, :3] * [-1, -1, 1]


def unlabelled(labels):
    labels[3] = 0, 0, 32001
    return labels


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("do")
    for s, sequence in enumerate(SEQUENCES):
        tips = [as_written(in_color_camera(frame, s)) for frame in range(FRAMES)]
        pixels = [projected(frame * [-1, -1, 1], K_DEPTH) for frame in tips]
        tips[4] = unlabelled(tips[4])
        write_do(root, sequence, tips, pixels)
    return root


@pytest.fixture
def root(whole, tmp_path):
    return Path(copytree(whole, tmp_path / "do"))


def test_tips_come_out_in_the_colour_camera(root):
    found = DexterObject(root, "evaluation")
    assert len(found) == len(set(found.ids)) == 6 * FRAMES
    for index in (0, 2, 10, 11, 3 * FRAMES + 5):
        sequence, frame = divmod(index, FRAMES)
        sample = found[index]
        assert sample.id == f"{SEQUENCES[sequence]}/image_{frame}_color"  # 10 comes after 9, not after 1
        np.testing.assert_array_equal(sample.image, noise((640, 480), frame)[:, ::-1])
        as_taken = mirror(sample)
        expected = in_color_camera(frame, sequence)
        rows = [JOINT_NAMES.index(name) for name in DO_NAMES]
        np.testing.assert_allclose(as_taken.joints_3d[rows], expected, atol=1e-4)
        np.testing.assert_allclose(as_taken.joints_2d[rows], projected(expected, K_COLOR), atol=1e-3)
        np.testing.assert_allclose(project(sample.joints_3d, sample.k), sample.joints_2d, equal_nan=True)
        assert (sample.side, sample.mask) == ("left", None)


def test_all_but_the_tips_are_unknown(root):
    sample = DexterObject(root)[0]
    known = np.array([name.endswith("_tip") for name in JOINT_NAMES])
    for found in (sample.known, sample.visible, np.isfinite(sample.joints_2d).all(1)):
        np.testing.assert_array_equal(found, known)
    assert np.isnan(sample.root).all()


def test_32001_is_unknown(root):
    sample = DexterObject(root)[4]
    known = np.array([name.endswith("_tip") and name != "ring_tip" for name in JOINT_NAMES])
    np.testing.assert_array_equal(sample.known, known)
    np.testing.assert_array_equal(sample.visible, known)


def test_the_calibration_is_a_rotation_to_four_decimals():
    """This finds a typing error in the calibration."""
    matrix = COLOR_FROM_DEPTH[:3, :3]
    np.testing.assert_allclose(matrix, Rotation.from_matrix(matrix).as_matrix(), atol=1e-4)
    np.testing.assert_array_equal(dexter_object.DEPTH_TO_COLOR_ROTATION, matrix)
    np.testing.assert_array_equal(dexter_object.K_DEPTH, K_DEPTH)


def test_one_point_by_hand():
    """x: 0.9999 * -10 + 0.0034 * 20 + 0.0161 * 400 + 19.0473, and so on."""
    found = to_color_camera(np.array([[10.0, -20.0, 400.0]]))
    np.testing.assert_allclose(found, [[15.5563, 15.0216, 395.4899]], atol=1e-9)


def test_data_itself_may_be_named(root):
    assert DexterObject(root / "data").ids == DexterObject(root).ids


def labels(root, sequence="Pinch", kind="3D"):
    return root / "data" / sequence / "annotations" / f"{sequence}{kind}.txt"


@pytest.mark.parametrize("line", ["1,2,3; 4,5,6;", "1,2;" * 5, "1,2,x;" * 5, "1,2,nan;" * 5, "1,2,3;" * 6])
def test_damaged_line(root, line):
    lines = labels(root).read_text().splitlines()
    labels(root).write_text("\n".join([lines[0], line, *lines[2:]]))
    with pytest.raises(
        DatasetError, match=r"Pinch3D\.txt: line 2: (is not five points|is not 5 finite points).*; get Dexter"
    ):
        DexterObject(root)


def test_labels_missing_empty_or_too_few(root):
    labels(root).write_text("".join(labels(root).read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(DatasetError, match=r"Pinch3D\.txt: 10 lines of labels for 11 pictures; get Dexter"):
        DexterObject(root)
    labels(root).write_text("\n\n")
    with pytest.raises(DatasetError, match=r"Pinch3D\.txt: holds no labels; get Dexter"):
        DexterObject(root)
    labels(root).unlink()
    with pytest.raises(FileNotFoundError, match=r"Pinch3D\.txt: no such file; get Dexter"):
        DexterObject(root)


def test_missing_and_damaged_images(root):
    found = DexterObject(root)
    path = root / "data/Grasp1/color/image_0_color.png"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"image_0_color\.png: cannot be read .*again"):
        found[0]
    write_image(path, noise((320, 240)))
    with pytest.raises(DatasetError, match=r"image_0_color\.png: is 320 x 240 pixels, not 640 x 480"):
        found[0]
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"image_0_color\.png: no such file"):
        found[0]
    for path in (root / "data/Grasp2/color").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"Grasp2/color: no pictures in it; get Dexter"):
        DexterObject(root)


def test_unknown_split(root):
    with pytest.raises(DatasetError, match="has no split 'training'; use 'evaluation'"):
        DexterObject(root, "training")


def test_check(root, monkeypatch):
    *parts, total = dexter_object.check(root)
    assert len(parts) == 18
    assert not [part for part in parts if part.problem]
    assert total.problem == "66 labelled frames, 3145 were published"
    monkeypatch.setattr(dexter_object, "COUNT", 66)
    assert dexter_object.check(root)[-1].problem is None
    labels(root).unlink()
    assert "no such file" in next(part for part in dexter_object.check(root) if part.path == labels(root)).problem


def test_check_compares_the_two_kinds_of_labels(root):
    """The check reports a problem if the 3D labels have other axes than documented."""
    labels(root).write_bytes(
        do_lines([as_written(in_color_camera(n, 4)) * [-1, -1, 1] for n in range(FRAMES)]).encode()
    )
    bad = [part for part in dexter_object.check(root)[:-1] if part.problem]
    assert [part.path for part in bad] == [labels(root, kind="2D")]
    assert "the median distance to the projected 3D labels is" in bad[0].problem
    assert "draw the tips" in bad[0].remedy
    labels(root, kind="2D").write_bytes(do_lines([np.ones((5, 2))]).encode())
    assert any("1 lines, 11 in" in (part.problem or "") for part in dexter_object.check(root))
    labels(root, kind="2D").unlink()
    assert any("no such file" in (part.problem or "") for part in dexter_object.check(root))
