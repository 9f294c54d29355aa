"""The hand with sliders in a browser: a page of its own, a figure of the book, a widget in JupyterLab.

The drawing and the skinning are `assets/viewer.js`; this module packs a model for it. No kernel, server or network is
needed afterwards. A page holds the model's arrays: what the model's licence says of copies holds for the page.
"""

import base64
import html
import io
import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from PIL import Image
from torch import Tensor

from dhpe_lib.common.records import to_numpy
from dhpe_lib.hand.export import SKIN_COLOR
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.poses import JOINTS_OF_FINGER, joint_limits
from dhpe_lib.hand.skeleton import FINGERS

SCRIPT = Path(__file__).parent / "viewer.js"
# Rounding steps in metres (shares for the weights). posedirs: each entry is off by at most 2.5 micrometres, and a fist
# has a pose feature of norm 7, so correctives of all joints together stay within 0.02 mm.
STEPS = {
    "v_template": 2e-6,
    "shapedirs": 1e-6,
    "posedirs": 5e-6,
    "weights": 1 / 32767,
    "J_template": 2e-6,
    "J_shapedirs": 1e-6,
    "corner_uv": 1 / 32767,
}
# Fingers up, palm to the viewer: model -x to view -y, model -y to view -z (a left hand: the mirror image).
UPRIGHT = {"right": ((0, 0, 1), (1, 0, 0), (0, 1, 0)), "left": ((0, 0, -1), (-1, 0, 0), (0, 1, 0))}

Pose = Float[Tensor | ndarray, "45"] | None
Shape = Float[Tensor | ndarray, "10"] | None


@dataclass(frozen=True)
class PhotoView:
    """A square crop of a photo and the rigid motion that takes the model into its crop frame (x, y in [-0.5, 0.5])."""

    image: UInt8[ndarray, "size size 3"]
    rotation: Float[Tensor | ndarray, "3 3"]
    scale: float
    translation: Float[Tensor | ndarray, "3"]


def hand_payload(
    model: HandModel, pose: Pose = None, shape: Shape = None, photo: PhotoView | None = None
) -> dict[str, Any]:
    """Everything that `viewer.js` needs, as JSON: the model's arrays rounded to 16 bits, the sliders and the start.

    Args:
        model: a hand in MANO's format.
        pose: the start, axis-angle in radians relative to the flat hand; the flat hand if absent.
        shape: the start in standard deviations; the mean if absent.
        photo: what to draw behind the hand, and where the hand is in it.

    Returns:
        A JSON-serialisable dict.
    """
    hand, (axes, limits) = model.hand, slider_axes(model)
    fingers = [{"name": name, "joints": list(range(15)[JOINTS_OF_FINGER[name]])} for name in FINGERS]
    return {
        **pack(model_arrays(model) | texture_arrays(hand)),
        "parents": list(model.parents),
        "fingers": fingers,
        "shape_names": [str(name) for name in hand.get("shape_names", [f"shape {k + 1}" for k in range(10)])],
        "axes": np.round(axes, 6).tolist(),
        "limits": np.round(limits, 4).tolist(),
        "pose": [0.0] * 45 if pose is None else to_numpy(pose).astype(float).tolist(),
        "shape": [0.0] * 10 if shape is None else to_numpy(shape).astype(float).tolist(),
        "tint": SKIN_COLOR,
        "texture": data_url(hand["texture"]) if "texture" in hand else None,
        "placement": placement(model.side, photo),
        "photo": None if photo is None else {"image": data_url(photo.image)},
    }


def slider_axes(model: HandModel) -> tuple[Float[ndarray, "15 3 3"], Float[ndarray, "15 3 2"]]:
    """Axes and limits (radians) of the joints: the model's own, or the open hand's for a model without any."""
    if "joint_axes" in model.hand:
        return model.hand["joint_axes"].astype(float), model.hand["joint_limits"].astype(float)
    limits = joint_limits()
    mirror = np.array([1.0, -1.0, -1.0] if model.side == "left" else [1.0, 1.0, 1.0])  # of an axis of rotation, in x
    return to_numpy(limits.axes) * mirror, to_numpy(limits.bounds)


def placement(side: str, photo: PhotoView | None) -> dict[str, Any]:
    """The rigid motion and scale from the model's frame to the view's."""
    if photo is None:
        return {"rotation": np.ravel(UPRIGHT[side]).tolist(), "scale": 1.0, "translation": [0.0, 0.0, 0.0]}
    rotation, translation = to_numpy(photo.rotation), to_numpy(photo.translation)
    return {"rotation": rotation.ravel().tolist(), "scale": photo.scale, "translation": translation.tolist()}


def model_arrays(model: HandModel) -> dict[str, ndarray]:
    """The arrays of the blend shapes and the skinning, one direction after the other as the browser reads them."""
    template, shapedirs, posedirs, regressor = (
        to_numpy(array).astype(float)
        for array in (model.v_template, model.shapedirs, model.posedirs, model.J_regressor)
    )
    return {
        "v_template": template,
        "shapedirs": shapedirs.transpose(2, 0, 1),
        "posedirs": posedirs.transpose(2, 0, 1),
        "weights": to_numpy(model.weights).astype(float),
        "J_template": regressor @ template,
        "J_shapedirs": np.einsum("jv,vck->kjc", regressor, shapedirs),
        "faces": to_numpy(model.faces),
    }


def texture_arrays(hand: Mapping[str, ndarray]) -> dict[str, ndarray]:
    """The mesh cut along the seams of its texture: the vertex and the place of each corner, and faces of corners."""
    if "texture" not in hand:
        return {}
    pairs = np.stack([hand["f"].ravel(), hand["ft"].ravel()], axis=1).astype(np.int64)
    corners, faces = np.unique(pairs, axis=0, return_inverse=True)
    uv = hand["vt"][corners[:, 1]].astype(float)
    return {"corner": corners[:, 0], "corner_uv": uv, "corner_faces": faces.reshape(-1, 3)}


def pack(arrays: dict[str, ndarray]) -> dict[str, Any]:
    """Arrays as 16-bit integers times a step, low bytes before high bytes, in one compressed base64 string.

    The step grows where the values would not fit: an error is at most half of max(step, largest value / 32767).
    Integers stay as they are, with step 0.
    """
    entries: list[list[Any]] = []
    blob = bytearray()
    for name, values in arrays.items():
        step = max(STEPS[name], float(np.abs(values).max()) / 32767) if name in STEPS else 0.0
        whole = np.rint(values / step).astype("<i2") if step else values.astype("<u2")
        entries.append([name, whole.size, step])
        blob += np.ascontiguousarray(whole).view(np.uint8).reshape(-1, 2).T.tobytes()
    return {"arrays": entries, "blob": base64.b64encode(zlib.compress(bytes(blob), 9)).decode()}


def data_url(image: UInt8[ndarray, "height width 3"]) -> str:
    """An image as a JPEG inside an address, so that a page stays one file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def island(payload: dict[str, Any]) -> str:
    """JSON inside a page, safe from a closing tag in its strings."""
    text = json.dumps(payload, separators=(",", ":")).replace("</", "<\\/")
    return f'<script type="application/json">{text}</script>'


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
:root {{ color-scheme: light dark; }}
body {{ max-width: 1080px; margin: 2rem auto; padding: 0 1rem; font: 15px/1.5 system-ui, sans-serif;
  background: Canvas; color: CanvasText; --height: min(78vh, 680px); }}
h1 {{ font-size: 1.3rem; font-weight: 600; }}
</style>
</head>
<body>
<h1>{title}</h1>
<noscript>This page draws with JavaScript and WebGL2.</noscript>
<main>{island}</main>
<script type="module">
{module}
const place = document.querySelector("main");
mount(place, JSON.parse(place.querySelector("script").textContent)).catch((error) => {{
  place.append(`The hand cannot be drawn: ${{error.message}}`);
}});
</script>
</body>
</html>
"""


def hand_page(
    model: HandModel,
    pose: Pose = None,
    shape: Shape = None,
    photo: PhotoView | None = None,
    title: str = "The hand",
) -> str:
    """A page of its own with the hand and its sliders; works from the file system and asks for nothing.

    Args:
        model: a hand in MANO's format.
        pose: the start, axis-angle in radians relative to the flat hand.
        shape: the start in standard deviations.
        photo: what to draw behind the hand, and where the hand is in it.
        title: the page's heading.

    Returns:
        HTML.
    """
    module = SCRIPT.read_text(encoding="utf-8")
    payload = hand_payload(model, pose, shape, photo)
    return PAGE.format(title=html.escape(title), island=island(payload), module=module)


@dataclass(frozen=True)
class HandFigure:
    """The viewer as an output of the book: data only, drawn by the book's own script when it comes into view."""

    payload: dict[str, Any]

    def _repr_html_(self) -> str:
        return f'<div class="dhpe-viewer">{island(self.payload)}</div>'


@cache
def widget_class() -> Any:
    """The anywidget class; anywidget is imported on first use, since only notebooks need it."""
    import anywidget
    import traitlets

    class HandWidget(anywidget.AnyWidget):
        _esm = SCRIPT
        payload = traitlets.Dict().tag(sync=True)
        pose = traitlets.List(traitlets.Float()).tag(sync=True)
        shape = traitlets.List(traitlets.Float()).tag(sync=True)

    return HandWidget


def hand_widget(model: HandModel, pose: Pose = None, shape: Shape = None, photo: PhotoView | None = None) -> Any:
    """The viewer as an anywidget, whose traits `pose` and `shape` follow the sliders and move them."""
    payload = hand_payload(model, pose, shape, photo)
    return widget_class()(payload=payload, pose=payload["pose"], shape=payload["shape"])


def hand_view(model: HandModel, pose: Pose = None, shape: Shape = None, photo: PhotoView | None = None) -> Any:
    """The viewer where the notebook is: data for the page while the book is built, else a live widget.

    Args:
        model: a hand in MANO's format.
        pose: the start, axis-angle in radians relative to the flat hand.
        shape: the start in standard deviations.
        photo: what to draw behind the hand, and where the hand is in it.
    """
    if os.environ.get("DHPE_BOOK"):
        return HandFigure(hand_payload(model, pose, shape, photo))
    return hand_widget(model, pose, shape, photo)
