"""A contact sheet shows every picture with its labels at the right position, for pictures of any size."""

import numpy as np
import pytest
from dot_dataset import Dots, write_dots
from PIL import ImageFont

from dhpe_lib.common.records import join_rows
from dhpe_lib.data.cropping import crop_sample
from dhpe_lib.figures.contact_sheet import (
    GAP,
    LINE,
    TILE,
    TITLE,
    Tile,
    contact_sheet,
    crop_tiles,
    draw_tile,
    facts_line,
    fitted,
    sample_tile,
    tinted,
)
from dhpe_lib.figures.palette import JOINT_COLORS


def plain(value: int, width: int = 50, height: int = 30) -> Tile:
    return Tile(np.full((height, width, 3), value, np.uint8), np.full((21, 2), np.nan), None, ("name", "facts"))


def test_pictures_in_rows():
    sheet = np.asarray(contact_sheet([plain(10 * k) for k in range(7)], "seven", columns=3, tile=60))
    assert sheet.shape == (TITLE + 3 * (60 + 2 * LINE + GAP + 4), GAP + 3 * (60 + GAP), 3)
    for k in range(7):
        y = TITLE + k // 3 * (60 + 2 * LINE + GAP + 4) + 30
        x = GAP + k % 3 * (60 + GAP) + 30
        assert (sheet[y, x] == 10 * k).all()
    texts = sheet[TITLE + 60 : TITLE + 60 + 2 * LINE, GAP : GAP + 60]
    assert (texts.min(axis=(1, 2)) < 150).sum() > 8  # both lines are there


@pytest.mark.parametrize("n", [1, 2, 24, 300])
def test_any_number(n):
    width, height = contact_sheet(n * [plain(9)], "title", tile=20).size
    assert width >= 2 * GAP + 20
    assert n < 24 or 0.5 < width / height < 2


@pytest.mark.parametrize(("width", "height"), [(640, 480), (30, 90), (1, 400), (7, 7)])
def test_pictures_of_any_size_keep_their_shape(width, height):
    drawn = draw_tile(plain(0, width, height), 60)
    assert drawn.shape == (60, 60, 3)
    dark = (drawn == 0).all(-1)
    expected = max(1, round(60 * width / max(width, height))) * max(1, round(60 * height / max(width, height)))
    assert dark.sum() == expected


def test_labels_are_drawn_where_they_are(tmp_path):
    reader = Dots(write_dots(tmp_path, 3), "all")
    crops = join_rows([crop_sample(reader[k]) for k in range(3)])
    raw, cropped = sample_tile(reader[1]), list(crop_tiles(crops, reader.ids))
    assert raw.caption[0] == cropped[1].caption[0] == "all/1"
    assert cropped[0].caption[1].startswith("left · g = ")
    assert cropped[1].caption[1].endswith(f"px · {reader[1].root[2]:.0f} mm")
    assert [tile.mask is None for tile in cropped] == [True, False, False]
    assert raw.outline is not None
    np.testing.assert_allclose(np.ptp(raw.outline, axis=0), crops.side[1].item(), rtol=1e-5)
    drawn = draw_tile(cropped[1], 224)
    tip = bytes.fromhex(JOINT_COLORS[20].lstrip("#"))
    u, v = cropped[1].joints_2d[20].astype(int)
    assert np.abs(drawn[v, u].astype(int) - list(tip)).max() < 40


def test_hidden_joints_are_counted_and_missing_ones_leave_no_crop(tmp_path):
    sample = Dots(write_dots(tmp_path, 2), "all")[1]
    sample.visible[:3] = False
    assert sample_tile(sample).caption[1].endswith("18 seen")
    sample.joints_2d[1:] = np.nan
    tile = sample_tile(sample)
    assert tile.outline is None
    assert "no crop: too few joints" in tile.caption[1]


def test_masks_are_tinted_and_outlined():
    mask = np.zeros((20, 20), bool)
    mask[5:15, 5:15] = True
    drawn = tinted(np.full((20, 20, 3), 100, np.uint8), mask).astype(int)
    assert (drawn[0] == 100).all()
    assert drawn[5, 8].tolist() == [0, 190, 255]
    assert drawn[10, 10].tolist() == [78, 120, 134]


def test_facts_of_a_left_hand_fit_below_its_picture():
    facts = facts_line(True, "g = 224 px", 1234.0, np.arange(21) < 14)
    assert facts == "left · g = 224 px · 1234 mm · 14 seen"
    assert fitted(facts, ImageFont.load_default(12), TILE - 4) == facts


def test_long_names_are_cut_in_the_middle():
    font = ImageFont.load_default(12)
    assert fitted("short", font, 100) == "short"
    cut = fitted("B1Counting/a_very_long_name_of_a_picture_00012", font, 120)
    assert font.getlength(cut) <= 120
    assert cut.startswith("B1C")
    assert cut.endswith("12")
    assert "…" in cut
