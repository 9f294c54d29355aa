"""The browser's hand equals the library's; a page is one offline file; the book gets data and notebooks a widget."""

import base64
import copy
import html
import json
import re
import shutil
import subprocess
import zlib
from pathlib import Path

import anywidget
import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from dhpe_lib.figures.book_figures import figure_html
from dhpe_lib.figures.data_urls import json_script
from dhpe_lib.figures.viewer import (
    SCRIPT,
    HandFigure,
    PhotoView,
    hand_page,
    hand_payload,
    hand_view,
    hand_widget,
    model_arrays,
    pack,
    slider_axes,
)
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.poses import joint_limits, pose_from_angles

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="Node.js is not installed: the browser's code cannot be run")

# Reads {payload, poses, shapes} and prints the vertices of each.
RUN_HAND = """
import { Hand } from "./viewer.mjs";
import { readFileSync } from "node:fs";
const { payload, poses, shapes } = JSON.parse(readFileSync("input.json"));
const hand = await Hand.load(payload);
console.log(JSON.stringify(poses.map((pose, i) => Array.from(hand.forward(pose, shapes[i])))));
"""


@pytest.fixture(scope="module")
def model() -> HandModel:
    return HandModel.open_hand()


@pytest.fixture
def poses(generator: torch.Generator) -> torch.Tensor:
    """Thirty poses spread over all joint ranges, the flat hand first."""
    bounds = joint_limits().bounds
    share = torch.rand(30, 15, 3, generator=generator, dtype=torch.float64)
    angles = bounds[..., 0] + share * (bounds[..., 1] - bounds[..., 0])
    angles[0] = 0
    return pose_from_angles(angles, joint_limits()).float()


@pytest.fixture
def shapes(generator: torch.Generator) -> torch.Tensor:
    return 6 * torch.rand(30, 10, generator=generator) - 3


def vertices_in_browser(folder: Path, model: HandModel, poses: torch.Tensor, shapes: torch.Tensor) -> torch.Tensor:
    """The vertices that `viewer.js` computes, run by Node.js."""
    assert NODE is not None
    shutil.copy(SCRIPT, folder / "viewer.mjs")
    (folder / "run.mjs").write_text(RUN_HAND)
    task = {"payload": hand_payload(model), "poses": poses.tolist(), "shapes": shapes.tolist()}
    (folder / "input.json").write_text(json.dumps(task))
    done = subprocess.run([NODE, "run.mjs"], cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return torch.tensor(json.loads(done.stdout)).unflatten(1, (-1, 3))


@needs_node
@pytest.mark.parametrize("side", ["right", "left"])
def test_browser_equals_library(tmp_path, poses, shapes, side):
    model = HandModel.open_hand(side)
    mirrored = poses.unflatten(1, (15, 3)) * torch.tensor([1.0, -1.0, -1.0])
    posed = poses if side == "right" else mirrored.flatten(1)
    error = vertices_in_browser(tmp_path, model, posed, shapes) - model(posed, shapes).vertices
    assert error.norm(dim=-1).max() < 5e-5


@needs_node
def test_browser_equals_library_for_dense_correctives(tmp_path, model, poses, shapes, generator):
    """Rounding errors are largest if no entry of posedirs is zero."""
    correctives = 0.002 * torch.randn(778, 3, 135, generator=generator)
    dense = HandModel({**model.hand, "posedirs": correctives.double().numpy()})
    expected = dense(poses, shapes).vertices
    assert (expected - model(poses, shapes).vertices).norm(dim=-1).max() > 0.01  # the correctives matter
    error = vertices_in_browser(tmp_path, dense, poses, shapes) - expected
    assert error.norm(dim=-1).max() < 1e-4


def test_pack_keeps_values_within_half_a_step(model):
    arrays = model_arrays(model)
    packed = pack(arrays)
    data, at = zlib.decompress(base64.b64decode(packed["blob"])), 0
    for (name, size, step), values in zip(packed["arrays"], arrays.values(), strict=True):
        low, high = np.frombuffer(data, np.uint8, 2 * size, at).reshape(2, size).astype(np.uint16)
        whole = (low | high << 8).astype(np.uint16)
        at += 2 * size
        found = whole if step == 0 else whole.view(np.int16) * step
        assert np.abs(found - values.ravel()).max() <= 0.5001 * step, name
    assert at == len(data)


def test_pack_widens_the_step_of_large_values():
    packed = pack({"v_template": np.array([[-70.0, 0.0, 65.0]])})
    assert packed["arrays"][0][2] == pytest.approx(70 / 32767)


def test_left_sliders_mirror_the_right(model):
    """Equal slider values give mirrored meshes on both hands."""
    angles = np.linspace(-0.2, 0.6, 45).reshape(15, 3)
    meshes = []
    for hand in (model, model.mirrored()):
        axes, _ = slider_axes(hand)
        pose = torch.tensor(np.einsum("jac,ja->jc", axes, angles).reshape(1, 45), dtype=torch.float32)
        meshes.append(hand(pose).vertices[0])
    torch.testing.assert_close(meshes[0] * torch.tensor([-1.0, 1.0, 1.0]), meshes[1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("side", ["right", "left"])
def test_model_without_extras_borrows_the_open_hands_axes(side):
    """MANO has no joint axes, shape names or texture: it gets the open hand's axes and numbered shapes."""
    own = HandModel.open_hand(side)
    plain = copy.deepcopy(own)
    for name in ("joint_axes", "joint_limits", "shape_names", "texture", "vt", "ft"):
        del plain.hand[name]
    np.testing.assert_allclose(slider_axes(plain)[0], slider_axes(own)[0], atol=1e-6)
    payload = hand_payload(plain)
    assert payload["shape_names"][0] == "shape 1"
    assert payload["texture"] is None
    assert "corner" not in [name for name, _, _ in payload["arrays"]]


def test_page_is_one_small_offline_file(model):
    page = hand_page(model, pose=model.hands_mean, title="A </script> & co")
    assert len(page.encode()) < 400_000
    assert "<title>A &lt;/script&gt; &amp; co</title>" in page
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:)|https?:|import\(|from ["']""", page)
    assert page.count("</script>") == 2  # the data and the module: nothing in them closes the element early


def test_page_lists_the_doubts(model):
    page = hand_page(model, doubts=("joints <outside>", "no side"))
    assert "<li>joints &lt;outside&gt;</li><li>no side</li>" in page
    assert "<ul>" not in hand_page(model)


def test_page_starts_at_the_given_hand(model):
    page = hand_page(model, pose=model.hands_mean, shape=np.full(10, 0.5))
    found = re.search(r'<script type="application/json">(.*?)</script>', page)
    assert found is not None
    payload = json.loads(found[1])
    np.testing.assert_allclose(payload["pose"], model.hands_mean, atol=1e-6)
    assert payload["shape"] == [0.5] * 10
    assert payload["photo"] is None


def test_hand_moves_only_if_a_second_pose_is_given(model, monkeypatch):
    assert hand_payload(model)["swing"] is None
    np.testing.assert_allclose(hand_payload(model, swing=model.hands_mean)["swing"], model.hands_mean, atol=1e-6)
    page = hand_page(model, swing=model.hands_mean)
    monkeypatch.delenv("DHPE_BOOK", raising=False)
    assert hand_view(model, swing=model.hands_mean).page == page != hand_page(model)


def test_photo_view_places_the_hand_in_the_crop(model):
    crop = np.zeros((64, 64, 3), np.uint8)
    payload = hand_payload(model, photo=PhotoView(crop, torch.eye(3), 3.0, torch.tensor([0.1, 0.2, 0.0])))
    assert payload["photo"]["image"].startswith("data:image/jpeg;base64,")
    assert payload["placement"]["rotation"] == [1, 0, 0, 0, 1, 0, 0, 0, 1]
    assert payload["placement"]["scale"] == 3.0
    np.testing.assert_allclose(payload["placement"]["translation"], [0.1, 0.2, 0.0], atol=1e-7)


def test_wrong_sizes_are_refused(model):
    with pytest.raises(
        ValueError, match=r"pose has shape \[48\]; give a tensor \[45\].* starts with the global rotation"
    ):
        hand_page(model, pose=np.zeros(48))
    with pytest.raises((ValueError, TypeCheckError)):
        PhotoView(np.zeros((10, 20, 3), np.uint8), np.eye(3), 1.0, np.zeros(3))


@pytest.mark.parametrize("show", [hand_view, hand_widget, hand_page, hand_payload])
def test_wrong_types_are_refused(model, show):
    with pytest.raises(TypeError, match=r"^model is a HandMesh; give a HandModel$"):
        show(model())
    with pytest.raises(TypeError, match=r"^model is 'right' \(str\); give a HandModel$"):
        show("right")
    with pytest.raises(TypeError, match=r"^photo is 'a\.jpg' \(str\); give a PhotoView$"):
        show(model, photo="a.jpg")


def test_view_is_data_in_the_book_and_a_page_in_a_frame_elsewhere(model, monkeypatch):
    monkeypatch.setenv("DHPE_BOOK", "1")
    figure = hand_view(model)
    assert isinstance(figure, HandFigure)
    assert figure._repr_html_().startswith('<div class="dhpe-viewer"><script type="application/json">')
    monkeypatch.delenv("DHPE_BOOK")
    shown = hand_view(model, model.hands_mean)._repr_html_()
    assert shown.startswith('<iframe srcdoc="')
    page = html.unescape(re.fullmatch(r'<iframe srcdoc="([^"]*)" style="[^"]*" title="[^"]*"></iframe>', shown)[1])
    assert page == hand_page(model, model.hands_mean)
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert isinstance(hand_widget(model), anywidget.AnyWidget)


def test_widget_holds_the_pose(model):
    widget = hand_widget(model, pose=model.hands_mean)
    np.testing.assert_allclose(widget.pose, model.hands_mean, atol=1e-6)
    assert widget.shape == [0.0] * 10
    assert "export default { render }" in str(widget._esm)


def test_no_text_ends_the_element_of_the_data():
    hostile = {"name": "</script><script>alert(1)</script><!--"}
    for found in (json_script(hostile), figure_html({"layout": {"title": hostile["name"], "height": 300}})):
        assert found.count("<script") == found.count("</script>") == 1
        assert "<!--" not in found
        assert "\\u003c/script>" in found
    assert (
        json.loads(json_script(hostile).removeprefix('<script type="application/json">').removesuffix("</script>"))
        == hostile
    )
