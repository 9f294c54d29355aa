"""Images of every mode are read with correct colours and upright; errors name the broken file."""

import re
import tracemalloc

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image
from project import ROOT

from dhpe_lib.data import photos
from dhpe_lib.data.checks import DatasetError, read_indices
from dhpe_lib.data.exif import ExifFocal, read_exif_focal
from dhpe_lib.data.photos import STRIP, PhotoError, read_mask, read_photo, reduce_photo, shrink_photo

RED = (200, 40, 20)


@pytest.fixture
def picture() -> Image.Image:
    """Return a blue image, wider than high, with one red corner."""
    image = Image.new("RGB", (6, 4), (10, 20, 220))
    image.putpixel((0, 0), RED)
    return image


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "YCbCr"])
def test_colours_survive_every_mode(tmp_path, picture, mode):
    path = tmp_path / ("a.png" if mode in ("RGB", "RGBA", "P") else "a.tif")
    picture.convert(mode, palette=Image.Palette.ADAPTIVE).save(path)
    photo = read_photo(path)
    assert (photo.shape, photo.dtype) == ((4, 6, 3), np.uint8)
    assert photo.flags.writeable
    np.testing.assert_allclose(photo[0, 0].astype(int), RED, atol=4)
    np.testing.assert_allclose(photo[2, 3].astype(int), (10, 20, 220), atol=4)


@pytest.mark.parametrize(
    ("name", "values", "grey"),
    [
        ("a.png", np.full((3, 5), 130, np.uint8), 130),
        ("a.png", np.full((3, 5), 130 * 257, np.uint16), 130),
        ("a.tif", np.full((3, 5), 130 * 257, np.int32), 130),
        ("a.tif", np.full((3, 5), 130 / 255, np.float32), 130),
        ("a.tif", np.full((3, 5), 130, np.float32), 130),
        ("a.png", np.ones((3, 5), bool), 255),
    ],
)
def test_grey_of_any_depth(tmp_path, name, values, grey):
    Image.fromarray(values).save(tmp_path / name)
    np.testing.assert_array_equal(read_photo(tmp_path / name), np.full((3, 5, 3), grey))


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_grey_of_fewer_bits_in_16(tmp_path, bits):
    values = np.array([[0, 2**bits - 1, 2 ** (bits - 1)]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_photo(tmp_path / "a.png")[0, :, 0], [0, 255, 128])


@pytest.mark.parametrize("white", [1, 255])
def test_a_float_without_a_number_does_not_change_the_others(tmp_path, white):
    values = np.full((3, 5), 130 / 255 * white, np.float32)
    values[0, 0], values[1, 1], values[2, 2], values[0, 4] = np.nan, np.inf, -np.inf, white
    Image.fromarray(values).save(tmp_path / "a.tif")
    grey = read_photo(tmp_path / "a.tif")[..., 0]
    assert grey[[0, 1, 2, 0, 0], [0, 1, 2, 4, 1]].tolist() == [0, 255, 0, 255, 130]


def test_very_large_images_are_read_and_larger_ones_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # as if Pillow refused all that has more than 2,000
    monkeypatch.setattr(photos, "MOST_PIXELS", 1_000_000)
    Image.new("L", (1000, 1000)).save(tmp_path / "b.png")
    assert read_photo(tmp_path / "b.png").shape == (1000, 1000, 3)
    Image.new("L", (1001, 1000)).save(tmp_path / "a.png")
    with pytest.raises(PhotoError, match=r"a\.png: has more than 1 million pixels; make it smaller"):
        read_photo(tmp_path / "a.png")
    assert Image.MAX_IMAGE_PIXELS == 1000  # Pillow's own limit holds for other programs


@pytest.mark.parametrize(
    ("brand", "command"),
    [
        (b"heic", "pip install 'dhpe[heif]'"),
        (b"mif1", "pip install 'dhpe[heif]'"),
        (b"avif", "pip install 'pillow>=11.3'"),
    ],
)
def test_the_error_names_the_plugin_that_is_missing(tmp_path, monkeypatch, brand, command):
    monkeypatch.setattr(photos, "known_formats", lambda: frozenset({"JPEG"}))
    (tmp_path / "phone.jpg").write_bytes(b"\0\0\0\x18ftyp" + brand + bytes(40))
    with pytest.raises(PhotoError, match=rf"phone\.jpg: Pillow reads this .*; {re.escape(command)}$"):
        read_photo(tmp_path / "phone.jpg")


@pytest.mark.parametrize(("suffix", "module"), [(".heic", "pillow_heif"), (".avif", None)])
def test_photos_of_phones(tmp_path, suffix, module):
    if module is not None:
        pytest.importorskip(module, reason="the plugin for HEIC is not installed")
    if not {"HEIF", "AVIF"} & photos.known_formats():
        pytest.skip("this Pillow reads no AVIF")
    Image.new("RGB", (64, 48), RED).save(tmp_path / f"a{suffix}", quality=90)
    photo = read_photo(tmp_path / f"a{suffix}")
    assert photo.shape == (48, 64, 3)
    np.testing.assert_allclose(photo[20, 30].astype(int), RED, atol=6)


def test_transparent_pixels_are_white(tmp_path, picture):
    picture.putalpha(0)
    picture.save(tmp_path / "a.png")
    assert (read_photo(tmp_path / "a.png") == 255).all()
    palette = Image.new("P", (3, 2))
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.save(tmp_path / "p.png", transparency=0)
    assert (read_photo(tmp_path / "p.png") == 255).all()


@pytest.mark.parametrize(
    ("orientation", "corner"), [(1, (0, 0)), (2, (0, -1)), (3, (-1, -1)), (6, (0, -1)), (8, (-1, 0))]
)
def test_exif_rotation_is_applied(tmp_path, picture, orientation, corner):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "a.png", exif=exif)
    photo = read_photo(tmp_path / "a.png")
    assert photo.shape[:2] == ((6, 4) if orientation >= 5 else (4, 6))
    np.testing.assert_array_equal(photo[corner], RED)


def test_photos_of_several_strips_are_whole_and_writable(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2 * STRIP + 3, 5, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    photo = read_photo(tmp_path / "a.png")
    np.testing.assert_array_equal(photo, pixels)
    assert photo.flags.writeable


def test_reading_a_large_photo_takes_twice_its_memory_at_most(tmp_path):
    Image.new("RGB", (2000, 1500)).save(tmp_path / "a.jpg")
    read_photo(tmp_path / "a.jpg")
    tracemalloc.start()
    photo = read_photo(tmp_path / "a.jpg")  # Pillow's own memory is not traced: four bytes a pixel
    peak = tracemalloc.get_traced_memory()[1]
    shrink_photo(photo, 20, 15)
    reduce_photo(photo, 4)
    after = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.3 * photo.nbytes
    assert after < 1.6 * photo.nbytes


def test_transparent_photos_of_several_strips_are_whole(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2 * STRIP + 3, 5, 4), np.uint8)
    image = Image.fromarray(pixels)
    image.save(tmp_path / "a.png")
    white = Image.new("RGBA", image.size, "white")
    expected = np.asarray(Image.alpha_composite(white, image).convert("RGB"))
    np.testing.assert_array_equal(read_photo(tmp_path / "a.png"), expected)


def test_threads_do_not_wait_for_the_conversion_of_a_photo(tmp_path, monkeypatch):
    """The lock of Pillow's limit is free while the pixels of a strip are copied."""
    Image.new("RGB", (5, 2 * STRIP)).save(tmp_path / "a.png")
    locked, copy = [], Image.Image.tobytes

    def tobytes(image, *options):
        locked.append(photos._limit_lock.locked())
        return copy(image, *options)

    monkeypatch.setattr(Image.Image, "tobytes", tobytes)
    read_photo(tmp_path / "a.png")
    assert locked == [False, False]


@pytest.mark.parametrize("factor", [3, 2 * STRIP])
def test_strips_of_a_reduced_photo_are_small(factor, monkeypatch):
    rows, make = [], Image.fromarray

    def fromarray(strip):
        rows.append(len(strip))
        return make(strip)

    monkeypatch.setattr(Image, "fromarray", fromarray)
    reduce_photo(np.zeros((4 * STRIP + 7, 5, 3), np.uint8), factor)
    assert sum(rows) == 4 * STRIP + 7
    assert max(rows) <= max(STRIP, factor)


@pytest.mark.parametrize("factor", [1, 3])
def test_means_of_squares_of_pixels(factor):
    photo = np.random.default_rng(0).integers(0, 256, (factor * STRIP + 7, 41, 3), np.uint8)
    reduced = reduce_photo(photo, factor)
    assert reduced.shape == (-(-len(photo) // factor), -(-41 // factor), 3)
    rows, columns = len(photo) // factor, 41 // factor
    squares = photo[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor, 3)
    np.testing.assert_allclose(reduced[:rows, :columns], squares.mean((1, 3)), atol=0.6)


@pytest.mark.parametrize("size", [(900, 1301), (60, 40), (1, 1), (5, 3000)])
def test_a_shrunk_photo_keeps_its_places(size):
    """A ramp stays a ramp, without a shift, whether or not pixels are averaged first."""
    height, width = size
    y, x = np.mgrid[:height, :width] + 0.5
    photo = np.stack((x * 255 / width, y * 255 / height, x * 0), 2).astype(np.uint8)
    shrunk = shrink_photo(photo, 40, 30)
    assert shrunk.shape == (30, 40, 3)
    if min(size) > 30:
        np.testing.assert_allclose(shrunk[15, 2:-2, 0], (np.arange(40)[2:-2] + 0.5) * 255 / 40, atol=1.6)
        np.testing.assert_allclose(shrunk[2:-2, 20, 1], (np.arange(30)[2:-2] + 0.5) * 255 / 30, atol=1.6)


def test_the_first_of_several_frames_counts(tmp_path, picture):
    picture.save(tmp_path / "a.gif", save_all=True, append_images=[Image.new("RGB", (6, 4), "white")])
    np.testing.assert_allclose(read_photo(tmp_path / "a.gif")[0, 0].astype(int), RED, atol=4)


def test_broken_files_are_named(tmp_path, picture):
    with pytest.raises(FileNotFoundError, match=r"none\.png: no such file"):
        read_photo(tmp_path / "none.png")
    with pytest.raises(PhotoError, match="is a folder"):
        read_photo(tmp_path)
    (tmp_path / "text.jpg").write_text("not an image")
    with pytest.raises(PhotoError, match=r"text\.jpg: not an image"):
        read_photo(tmp_path / "text.jpg")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for name in ("cut.jpg", "cut.png"):
        Image.fromarray(noise).save(tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(PhotoError, match=rf"{name}: cannot be read"):
            read_photo(tmp_path / name)


def test_a_photo_that_needs_too_much_memory_is_named(tmp_path, picture, monkeypatch):
    def load(self: Image.Image) -> None:
        raise MemoryError

    picture.save(tmp_path / "large.png")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    with pytest.raises(PhotoError, match=r"large\.png: needs more memory than there is"):
        read_photo(tmp_path / "large.png")


@pytest.mark.parametrize("white", [1, 255])
def test_a_mask_is_what_is_brighter_than_half(tmp_path, white):
    truth = np.arange(12).reshape(3, 4) % 3 == 0
    Image.fromarray(np.where(truth, white, 0).astype(np.uint8)).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png", (4, 3)), truth)


DISC = np.hypot(*np.mgrid[-6:6, -8:8]) < 4
COLOUR = np.full((*DISC.shape, 3), (200, 160, 140), np.uint8)
MASKS = {
    "black.png": np.dstack([0 * COLOUR, 255 * DISC]).astype(np.uint8),
    "colour.png": np.dstack([COLOUR, 255 * DISC]).astype(np.uint8),
    "grey_alpha.png": np.dstack([0 * DISC, 255 * DISC]).astype(np.uint8),
    "opaque.png": np.dstack([255 * DISC[..., None].repeat(3, 2), np.full(DISC.shape, 255)]).astype(np.uint8),
    "16bit.png": DISC.astype(np.uint16),
    "16bit_white.png": (65535 * DISC).astype(np.uint16),
    "32bit.tif": DISC.astype(np.int32),
    "float.tif": DISC.astype(np.float32),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks_of_every_kind(tmp_path, name):
    Image.fromarray(MASKS[name]).save(tmp_path / name)
    np.testing.assert_array_equal(read_mask(tmp_path / name, (16, 12)), DISC)


def test_a_mask_of_another_size_or_without_a_hand_is_refused(tmp_path):
    Image.new("L", (4, 3), 255).save(tmp_path / "m.png")
    with pytest.raises(PhotoError, match="4 x 3 pixels, the upright photo 3 x 4"):
        read_mask(tmp_path / "m.png", (3, 4))
    Image.new("L", (4, 3)).save(tmp_path / "m.png")
    with pytest.raises(PhotoError, match="black or transparent everywhere"):
        read_mask(tmp_path / "m.png", (4, 3))


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"


def test_no_other_program_is_started_for_a_picture(tmp_path, monkeypatch):
    """Pillow starts Ghostscript for an EPS file, whatever its name."""

    def started(*_, **__):
        raise AssertionError("Ghostscript was started")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", started)
    (tmp_path / "holiday.jpg").write_bytes(EPS)
    with Image.open(tmp_path / "holiday.jpg") as image, pytest.raises(AssertionError, match="started"):
        image.load()
    with pytest.raises(PhotoError, match=r"holiday\.jpg: not an image in a supported format"):
        read_photo(tmp_path / "holiday.jpg")
    with pytest.raises(DatasetError, match=r"holiday\.jpg: cannot be read as an image"):
        read_indices(tmp_path / "holiday.jpg", None, "get it again")
    assert read_exif_focal(tmp_path / "holiday.jpg") == ExifFocal()


def test_only_one_function_opens_images():
    opening = [path.name for path in (ROOT / "dhpe_lib").rglob("*.py") if "Image.open(" in path.read_text()]
    assert opening == ["photos.py"]
