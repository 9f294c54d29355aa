"""Each diagram is one whole SVG with a text for readers who do not see it; nothing leaves its frame."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from dhpe_lib.figures import diagrams
from dhpe_lib.figures.svg import Drawing, words
from dhpe_lib.hand.model import HandModel

DRAWINGS = {
    "bones": lambda: diagrams.bone_tree(HandModel.open_hand()),
    "method": diagrams.method_parts,
    "kato": diagrams.kato_sweep,
    "machine": diagrams.pose_machine,
    "light": diagrams.light_network,
    "regressor": diagrams.unrolled_regressor,
    "reach": diagrams.gradient_reach,
    "spheres": diagrams.viewpoint_spheres,
    "augmentation": diagrams.augmentation_loop,
    "energy": diagrams.energy_line,
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawing_is_whole_and_described(name):
    drawing = DRAWINGS[name]()
    assert isinstance(drawing, Drawing)
    page = drawing._repr_html_()
    (picture,) = ElementTree.fromstring(page)
    assert (picture.tag, picture.get("role")) == ("svg", "img")
    text = picture.get("aria-label")
    assert 40 < len(text) < 300
    assert text.endswith(".")
    assert DRAWINGS[name]()._repr_html_() == page  # the same in every build


@pytest.mark.parametrize("name", DRAWINGS)
def test_nothing_is_drawn_outside_the_frame(name):
    drawing = DRAWINGS[name]()
    for part in drawing.parts:
        for path in re.findall(r' d="([^"]+)"', part):
            for x, y in re.findall(r"([\d.-]+) ([\d.-]+)", path):
                assert -1 <= float(x) <= drawing.width
                assert 0 <= float(y) <= drawing.height
        for x, y in re.findall(r'c?x="([\d.-]+)" c?y="([\d.-]+)"', part):
            assert 0 <= float(x) <= drawing.width
            assert 0 <= float(y) <= drawing.height


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawing_takes_the_colour_of_the_text(name):
    """Black or white ink would be lost on one of the two modes; white stands only on coloured discs."""
    page = DRAWINGS[name]()._repr_html_()
    assert 'stroke="currentColor"' in page
    assert not re.search(r'"(#000|black|#222|white)"', page)
    assert page.count('"#fff"') in (0, 16)


def test_words_have_subscripts_and_no_markup():
    text = words((1, 2), "f_J2D < x")
    assert ">J2D</tspan>" in text
    assert "&lt; x" in text


def test_bones_follow_the_hand():
    hand = HandModel.open_hand()
    page = diagrams.bone_tree(hand)._repr_html_()
    assert sorted(map(int, re.findall(r">(\d+)</text>", page))) == list(range(16))
    heights = {name: float(re.search(rf'y="([\d.]+)"[^>]*>{name}<', page)[1]) for name in ("0", "5", "middle")}
    assert heights["0"] > heights["5"] > heights["middle"]  # fingers up
