"""A row of pictures is one piece of HTML that needs no other file."""

import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from dhpe_lib.figures.picture_rows import picture_row, single_picture


def test_row_holds_each_picture_and_its_caption():
    grey = torch.tensor([[0.0, 0.5], [1.0, 2.0]])
    color = np.random.default_rng(0).random((3, 4, 3))
    html = picture_row({"a <b>": grey, "c": color}, width=99)._repr_html_()
    assert "a &lt;b&gt;</figcaption>" in html
    assert "<b>" not in html
    addresses = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    found = [np.asarray(Image.open(io.BytesIO(base64.b64decode(address)))) for address in addresses]
    np.testing.assert_array_equal(found[0], [[0, 128], [255, 255]])
    np.testing.assert_array_equal(found[1], np.rint(255 * color))
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", html)


@pytest.mark.parametrize(("count", "is_grid"), [(4, False), (7, False), (8, True), (12, True)])
def test_full_rows_keep_their_columns_on_a_phone(count, is_grid):
    """Four pictures of 160 pixels fit beside each other on a page."""
    html = picture_row({str(k): np.zeros((2, 2)) for k in range(count)}, width=160).html
    assert "--columns:4;" in html
    assert ("dhpe-grid" in html) == is_grid


def test_photos_take_fewer_bytes_as_jpeg():
    y, x = np.mgrid[:64, :64] / 64
    photo = np.stack((x, y, x * y), -1) + np.random.default_rng(0).normal(0, 0.05, (64, 64, 3))
    png, jpeg = (picture_row({"a": photo}, quality=quality).html for quality in (None, 85))
    assert "data:image/jpeg;base64," in jpeg
    assert len(jpeg) < 0.5 * len(png)


def test_a_single_picture_has_its_own_size_and_an_alternative_text():
    y, x = np.mgrid[:30, :80]
    pixels = np.stack((3 * x, 8 * y, x + y), -1).astype(np.uint8)
    html = single_picture(pixels, 'a "b"')._repr_html_()
    assert 'alt="a &quot;b&quot;"' in html
    assert 'style="width:80px;max-width:100%;aspect-ratio:80/30"' in html
    (data,) = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html)
    found = np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).astype(int)
    assert np.abs(found - pixels).mean() < 4
