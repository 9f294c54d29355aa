"""The browser's masks and gradients equal the library's; the book gets data and notebooks a widget."""

import json
import shutil
import subprocess
from pathlib import Path

import anywidget
import pytest
import torch
from torch import Tensor

from dhpe_lib.figures.triangle_figure import SCRIPT, TriangleFigure, triangle_payload, triangle_view
from dhpe_lib.rendering.renderer import silhouette

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="Node.js is not installed: the browser's code cannot be run")
METHODS = ["coverage", "soft", "kato"]
SIZE, BLUR = 16, 0.8

# Reads [{method, positions, cotangent, sigma}] and prints masks and gradients.
RUN = """
import { gradientOf, maskOf } from "./triangle.mjs";
import { readFileSync } from "node:fs";
const { size, tasks } = JSON.parse(readFileSync("input.json"));
console.log(JSON.stringify(tasks.map(({ method, positions, cotangent, sigma }) => ({
  mask: Array.from(maskOf(method, positions, size, sigma)),
  gradient: gradientOf(method, positions, size, cotangent, sigma),
}))));
"""


def in_browser(folder: Path, method: str, triangles: Tensor, cotangents: Tensor) -> tuple[Tensor, Tensor]:
    """Masks and gradients that `triangle.js` computes, run by Node.js."""
    assert NODE is not None
    shutil.copy(SCRIPT, folder / "triangle.mjs")
    (folder / "run.mjs").write_text(RUN)
    tasks = [
        {"method": method, "positions": positions.tolist(), "cotangent": cotangent.flatten().tolist(), "sigma": BLUR**2}
        for positions, cotangent in zip(triangles, cotangents, strict=True)
    ]
    (folder / "input.json").write_text(json.dumps({"size": SIZE, "tasks": tasks}))
    done = subprocess.run([NODE, "run.mjs"], cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    masks = torch.tensor([task["mask"] for task in found], dtype=torch.float64).view(-1, SIZE, SIZE)
    return masks, torch.tensor([task["gradient"] for task in found], dtype=torch.float64)


def in_library(method: str, triangles: Tensor, cotangents: Tensor) -> tuple[Tensor, Tensor]:
    """Masks and gradients of the library's renderer, with respect to corners in pixels.

    The renderer's crop frame has side 1, so sigma is converted from square pixels to its units.
    """
    positions = triangles.clone().requires_grad_()
    vertices = torch.nn.functional.pad(positions / SIZE - 0.5, (0, 1))
    masks = silhouette(vertices, torch.tensor([[0, 1, 2]]), SIZE, method, sigma=BLUR**2 / (SIZE / 2) ** 2)
    (masks * cotangents).sum().backward()
    assert positions.grad is not None
    return masks.detach(), positions.grad


@needs_node
@pytest.mark.parametrize("method", METHODS)
def test_browser_equals_library(tmp_path, generator, method):
    """The triangles have random orientation; many are partly outside the image."""
    triangles = 20 * torch.rand(40, 3, 2, generator=generator, dtype=torch.float64) - 2
    cotangents = torch.randn(40, SIZE, SIZE, generator=generator, dtype=torch.float64)
    masks, gradients = in_browser(tmp_path, method, triangles, cotangents)
    expected_masks, expected_gradients = in_library(method, triangles, cotangents)
    torch.testing.assert_close(masks, expected_masks, rtol=0, atol=1e-9)
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-6, atol=1e-9)
    assert (expected_masks > 0).float().mean() > 0.05
    assert (expected_gradients != 0).float().mean() > 0.9


@needs_node
@pytest.mark.parametrize("method", METHODS)
def test_browser_draws_no_face_without_area(tmp_path, method):
    line = torch.tensor([[[2.0, 2.0], [5.0, 5.0], [9.0, 9.0]]], dtype=torch.float64)
    masks, gradients = in_browser(tmp_path, method, line, torch.ones(1, SIZE, SIZE, dtype=torch.float64))
    assert not masks.any()
    assert not gradients.any()


def test_start_of_the_figure_overlaps_the_target():
    """Without overlap, coverage would have no gradient at the start; with full overlap there would be nothing to do."""
    payload = triangle_payload()
    positions = torch.tensor([payload["triangle"], payload["target"]], dtype=torch.float64)
    start, wanted = in_library("coverage", positions, torch.zeros(2, SIZE, SIZE))[0]
    assert 3 < torch.minimum(start, wanted).sum() < 0.5 * start.sum()


def test_view_is_data_in_the_book_and_a_widget_elsewhere(monkeypatch):
    monkeypatch.setenv("DHPE_BOOK", "1")
    figure = triangle_view(method="kato")
    assert isinstance(figure, TriangleFigure)
    html = figure._repr_html_()
    assert html.startswith('<div class="dhpe-triangle"><script type="application/json">')
    assert json.loads(html.split('json">')[1].split("</script>")[0]) == triangle_payload(method="kato")
    monkeypatch.delenv("DHPE_BOOK")
    widget = triangle_view(method="soft")
    assert isinstance(widget, anywidget.AnyWidget)
    assert widget.method == "soft"
    assert widget.triangle == triangle_payload()["triangle"]
    assert "export default { render }" in str(widget._esm)


def test_a_triangle_has_three_corners():
    with pytest.raises(ValueError, match="2 and 3 corners"):
        triangle_payload(triangle=[(0.0, 0.0), (1.0, 1.0)])
