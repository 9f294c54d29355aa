"""STB: splits, joint order, the three cameras, the depth frame, both folder layouts, defects."""

import numpy as np
import pytest
from fake_datasets import STB_NAMES, canonical, noise, ordered, points, projected, write_image, write_stb_labels
from scipy.io import savemat
from scipy.linalg import expm

from dhpe_lib.data.checks import DatasetError
from dhpe_lib.data.readers import stb
from dhpe_lib.data.readers.stb import Stb, to_camera
from dhpe_lib.data.sample import mirror, project

HALF = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
K_BB = HALF @ [[822.79041, 0, 318.47345], [0, 822.79041, 250.31296], [0, 0, 1]]
K_SK = HALF @ [[607.92271, 0, 314.78337], [0, 607.88192, 236.42484], [0, 0, 1]]
SEQUENCES = [f"B{number}{motion}" for number in range(1, 7) for motion in ("Counting", "Random")]


def color_to_depth(x):
    """The readme's rotation as the exponential of the cross product matrix."""
    a, b, c = 0.00531, -0.01196, 0.00301
    rotation = expm(np.array([[0, -c, b], [c, 0, -a], [-b, a, 0]]))
    translation = np.array([-24.0381, -0.4563, -1.2326])
    return np.array([rotation @ point + translation for point in x])


def write_all(root, frames=1500, level="images/"):
    """Write labels of all sequences (sequence s: the cloud with seed s; SK: in the depth camera) and four pictures."""
    for s, sequence in enumerate(SEQUENCES):
        cloud = ordered(points(s), STB_NAMES)
        shift = np.arange(frames)[:, None, None] * 0.01
        write_stb_labels(root, sequence, "BB", cloud + shift)
        write_stb_labels(root, sequence, "SK", color_to_depth(cloud) + shift)
    for camera in ("BB_left", "BB_right", "SK_color"):
        write_image(root / f"{level}B1Counting/{camera}_0.png", noise((640, 480), len(camera)))
    write_image(root / f"{level}B4Random/BB_right_1499.png", noise((640, 480)))
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("stb"))


def test_splits_have_the_papers_sizes(root):
    """A frame gives two pictures of the stereo camera and one of the RealSense."""
    sizes = {"training": 30_000, "evaluation": 6_000, "training-sk": 15_000, "evaluation-sk": 3_000}
    assert set(stb.SPLITS) == set(sizes)
    for split, size in sizes.items():
        found = Stb(root, split)
        assert len(found) == len(set(found.ids)) == size
        assert {name[:2] for name in found.ids} == ({"B1"} if "evaluation" in split else {f"B{n}" for n in range(2, 7)})
        cameras = {name.split("/")[1].rsplit("_", 1)[0] for name in found.ids}
        assert cameras == ({"SK_color"} if "sk" in split else {"BB_left", "BB_right"})
    with pytest.raises(DatasetError, match="STB has no split 'test'"):
        Stb(root, "test")


@pytest.mark.parametrize(
    ("split", "name", "k", "shift"),
    [
        ("evaluation", "B1Counting/BB_left_0", K_BB, 0),
        ("evaluation", "B1Counting/BB_right_0", K_BB, 120.054),
        ("evaluation-sk", "B1Counting/SK_color_0", K_SK, 0),
    ],
)
def test_cameras(root, split, name, k, shift):
    """Each camera returns the joints of the cloud, mirrored to a right hand and in canonical order."""
    found = Stb(root, split)
    sample = found[found.ids.index(name)]
    assert (sample.id, sample.side, sample.joint_0, sample.mask) == (name, "left", "palm", None)
    assert sample.visible.all()
    in_camera = canonical(points(0)) - [shift, 0, 0]
    np.testing.assert_allclose(sample.joints_3d, in_camera * [-1, 1, 1], atol=1e-9)
    np.testing.assert_allclose(project(sample.joints_3d, sample.k), sample.joints_2d, atol=1e-9)
    as_taken = mirror(sample)
    np.testing.assert_allclose(as_taken.k, k, rtol=1e-12)
    np.testing.assert_allclose(as_taken.joints_2d, projected(in_camera, k), atol=1e-9)
    np.testing.assert_array_equal(as_taken.image, noise((640, 480), len(name.split("/")[1]) - 2))


def test_frames_and_cameras_follow_one_another(root):
    """Samples are sorted by sequence, camera and frame, each with its own labels."""
    ids = Stb(root, "evaluation").ids
    assert [ids[index] for index in (0, 1, 1499, 1500, 3000)] == [
        "B1Counting/BB_left_0",
        "B1Counting/BB_left_1",
        "B1Counting/BB_left_1499",
        "B1Counting/BB_right_0",
        "B1Random/BB_left_0",
    ]
    found = Stb(root, "training")
    sample = found[found.ids.index("B4Random/BB_right_1499")]
    expected = canonical(points(SEQUENCES.index("B4Random"))) + 14.99 - [120.054, 0, 0]
    np.testing.assert_allclose(mirror(sample).joints_3d, expected, atol=1e-9)


def test_depth_frame_is_left_by_the_inverse_of_the_readmes_transform():
    cloud = canonical(points(3))
    np.testing.assert_allclose(to_camera(color_to_depth(cloud), "SK_color"), cloud, atol=1e-10)
    wrong = np.linalg.norm(to_camera(cloud, "SK_color") - color_to_depth(cloud), axis=1)
    assert wrong.min() > 20  # the inverse rotation would be a large error


def test_copy_without_the_level_images(tmp_path, monkeypatch):
    monkeypatch.setattr(stb, "FRAMES", 2)
    write_all(tmp_path, frames=2, level="")
    assert Stb(tmp_path, "evaluation")[0].image.shape == (480, 640, 3)


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.setattr(stb, "FRAMES", 2)
    return write_all(tmp_path, frames=2)


def test_missing_and_damaged_images(small):
    found = Stb(small, "evaluation")
    with pytest.raises(FileNotFoundError, match=r"B1Counting/BB_left_1\.png: no such file; get STB"):
        found[1]
    path = small / "images/B1Counting/BB_left_0.png"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"BB_left_0\.png: cannot be read .*again"):
        found[0]
    write_image(path, noise((320, 240)))
    with pytest.raises(DatasetError, match=r"BB_left_0\.png: is 320 x 240 pixels, not 640 x 480; get STB"):
        found[0]


def test_missing_and_damaged_labels(small):
    path = small / "labels/B1Random_BB.mat"
    whole = path.read_bytes()
    for length in (0, 100, 200, len(whole) - 5):
        path.write_bytes(whole[:length])
        with pytest.raises(
            DatasetError, match=r"B1Random_BB\.mat: (cannot be read as a MATLAB|lacks the field).*get STB"
        ):
            Stb(small, "evaluation")
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"B1Random_BB\.mat: no such file; get STB"):
        Stb(small, "evaluation")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"other": np.zeros(3)}, "lacks the field handPara"),
        ({"handPara": np.zeros((3, 20, 2))}, r"the field handPara has shape \(3, 20, 2\), not \(3, 21, 2\)"),
        ({"handPara": np.full((3, 21, 2), np.nan)}, r"the field handPara is not finite at \(0, 0, 0\)"),
        ({"handPara": "text"}, r"cannot be read as a MATLAB file .*handPara is not an array of real numbers\)"),
    ],
)
def test_other_labels(small, content, problem):
    path = small / "labels/B1Random_BB.mat"
    savemat(path, content)
    with pytest.raises(DatasetError, match=rf"B1Random_BB\.mat: {problem}; get STB"):
        Stb(small, "evaluation")


def test_check(small):
    findings = stb.check(small)
    assert len(findings) == 24 + 3
    assert all(finding.problem is None and finding.count == 2 for finding in findings[:24])
    assert [finding.count for finding in findings[24:]] == [1, 1, 1]
    assert all("23 of 24 images missing" in finding.problem for finding in findings[24:])

    for sequence in SEQUENCES:
        for camera in ("BB_left", "BB_right", "SK_color"):
            for frame in range(2):
                write_image(small / f"images/{sequence}/{camera}_{frame}.png", noise((640, 480))[:1].repeat(480, 0))
    assert not [finding for finding in stb.check(small) if finding.problem]
    (small / "labels/B3Random_SK.mat").unlink()
    bad = [finding for finding in stb.check(small) if finding.problem]
    assert [finding.path.name for finding in bad] == ["B3Random_SK.mat"]
    assert stb.HOMEPAGE in bad[0].remedy
