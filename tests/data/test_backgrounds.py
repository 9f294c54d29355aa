"""Backgrounds: NYU depth v2 as MATLAB writes it, and folders of images."""

import h5py
import numpy as np
import pytest
from fake_datasets import noise, write_image, write_nyu

from dhpe_lib.data import backgrounds
from dhpe_lib.data.backgrounds import ImageFolder, NyuDepth, fingerprint, open_backgrounds
from dhpe_lib.data.checks import DatasetError
from dhpe_lib.data.photos import PhotoError

IMAGES = np.stack([noise((640, 480), seed) for seed in range(3)])


@pytest.fixture
def nyu(tmp_path):
    return write_nyu(tmp_path / "nyu_depth_v2_labeled.mat", IMAGES)


def test_nyu_is_turned_back_and_loses_its_frame(nyu):
    found = open_backgrounds(nyu)
    assert isinstance(found, NyuDepth)
    assert len(found) == 3
    for image, expected in zip(found, IMAGES, strict=True):
        np.testing.assert_array_equal(image, expected[16:464, 16:624])
    assert isinstance(open_backgrounds(nyu.parent), NyuDepth)


def test_damaged_nyu(nyu, tmp_path):
    nyu.write_bytes(nyu.read_bytes()[:3000])
    with pytest.raises(DatasetError, match=r"labeled\.mat: images cannot be read .*; get nyu_depth_v2_labeled\.mat"):
        NyuDepth(nyu)
    with h5py.File(nyu, "w") as file:
        file["depths"] = np.zeros(3)
    with pytest.raises(DatasetError, match=r"labeled\.mat: images cannot be read"):
        NyuDepth(nyu)
    with h5py.File(nyu, "w") as file:
        file["images"] = np.zeros((2, 480, 640, 3), np.uint8)
    with pytest.raises(DatasetError, match=r"images has shape \(2, 480, 640, 3\), not \(n, \(3, 640, 480\)\)"):
        NyuDepth(nyu)
    with h5py.File(nyu, "w") as file:
        file.create_group("images")
    with pytest.raises(DatasetError, match=r"labeled\.mat: images cannot be read"):
        NyuDepth(nyu)
    with pytest.raises(FileNotFoundError, match=r"no\.mat: no such file; get nyu"):
        NyuDepth(tmp_path / "no.mat")


def test_folder_of_images(tmp_path):
    write_image(tmp_path / "b" / "2.PNG", noise((30, 20), 2))
    write_image(tmp_path / "c.png", noise((10, 40), 1))
    (tmp_path / "readme.txt").write_text("no image")
    found = open_backgrounds(tmp_path)
    assert isinstance(found, ImageFolder)
    assert len(found) == 2
    np.testing.assert_array_equal(found[1], noise((10, 40), 1))
    np.testing.assert_array_equal(found[0], noise((30, 20), 2))
    with pytest.raises(IndexError):
        found[2]


def test_no_images(tmp_path):
    with pytest.raises(FileNotFoundError, match="no images in it; get nyu"):
        open_backgrounds(tmp_path)
    with pytest.raises(FileNotFoundError, match="/gone: no such folder"):
        open_backgrounds(tmp_path / "gone")
    (tmp_path / "a.png").write_bytes(b"broken")
    with pytest.raises(PhotoError, match=r"a\.png: not an image"):
        open_backgrounds(tmp_path)[0]


def test_fingerprint_tells_pictures_from_others_wherever_they_lie(nyu, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there" / "below"
    for folder in (here, there):
        write_image(folder / "a.bmp", noise((10, 40), 1))
        write_image(folder / "b.bmp", noise((10, 40), 2))
    (there / "readme.txt").write_text("no image")
    first = fingerprint(here)
    assert first == fingerprint(there)
    (there / "b.bmp").replace(there / "0.bmp")  # which picture has which number counts
    write_image(here / "b.bmp", noise((10, 40), 3))  # as large as before
    seen = [first, fingerprint(here), fingerprint(there), fingerprint(nyu)]
    assert len(set(seen)) == 4
    assert fingerprint(nyu.parent) == seen[-1]
    with pytest.raises(FileNotFoundError, match="no such folder"):
        fingerprint(tmp_path / "gone")


def test_check(nyu, tmp_path, monkeypatch):
    (finding,) = backgrounds.check(nyu)
    assert (finding.problem, finding.count) == ("3 pictures, 1449 were published", 3)
    monkeypatch.setattr(backgrounds, "NYU_COUNT", 3)
    assert backgrounds.check(nyu.parent)[0].problem is None
    folder = tmp_path / "folder"
    write_image(folder / "a.png", noise((10, 40)))
    assert backgrounds.check(folder)[0].count == 1
    (folder / "a.png").write_bytes(b"broken")
    assert "not an image" in backgrounds.check(folder)[0].problem
