"""A hand with sliders in the browser: a stand-alone page, the output of a notebook, a figure of the book, or a widget.

`viewer.js` does the skinning and the drawing; this module packs a model for it. The viewer needs no kernel, server or
network afterwards. A page contains the model's arrays, so the model's licence applies to the page too.
"""

import base64
import html
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from PIL import Image
from torch import Tensor

from dhpe_lib.common.arguments import check_fields, checked
from dhpe_lib.common.records import to_numpy
from dhpe_lib.figures.data_urls import data_url, json_script
from dhpe_lib.figures.html_records import titled_page
from dhpe_lib.hand.export import SKIN_COLOR
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.poses import JOINTS_OF_FINGER, joint_limits
from dhpe_lib.hand.skeleton import FINGERS

SCRIPT = Path(__file__).parent / "viewer.js"
# Rounding steps: metres, except for the weights and the texture coordinates, which have no unit. Each entry of posedirs
# is off by at most half its step, 2.5 micrometres. The pose feature of a fist has norm 7, so the pose correctives of
# all joints together are off by at most 0.02 mm.
STEPS = {
    "v_template": 2e-6,
    "shapedirs": 1e-6,
    "posedirs": 5e-6,
    "weights": 1 / 32767,
    "J_template": 2e-6,
    "J_shapedirs": 1e-6,
    "corner_uv": 1 / 32767,
}
JPEG_QUALITY = 88
FRAME_HEIGHT = 760
"""Height of the page in a notebook, pixels."""
# Rotations that show fingers up and the palm to the viewer: model -x to view -y, model -y to view -z. A left hand is
# shown as the mirror image.
UPRIGHT = {"right": ((0, 0, 1), (1, 0, 0), (0, 1, 0)), "left": ((0, 0, -1), (-1, 0, 0), (0, 1, 0))}

Pose = Float[Tensor | ndarray, "45"] | None
Shape = Float[Tensor | ndarray, "10"] | None
HINTS = {
    "pose": "the viewer starts with one hand, so take one row of a batch; a pose of 48 starts with the global rotation",
    "shape": "the viewer starts with one hand, so take one row of a batch",
}


@dataclass(frozen=True)
class PhotoView:
    """A square crop of a photo and the similarity that maps the model to its crop frame: x -> scale R x + translation.

    Attributes:
        image: RGB crop.
        rotation: R, from the model's frame to the crop frame.
        scale: Units of g in a metre.
        translation: Position of the model's origin, crop frame, units of g; x and y are in [-0.5, 0.5] in the crop.
    """

    image: UInt8[ndarray, "size size 3"]
    rotation: Float[Tensor | ndarray, "3 3"]
    scale: float
    translation: Float[Tensor | ndarray, "3"]

    def __post_init__(self) -> None:
        check_fields(self)


@checked(HINTS)
def hand_payload(
    model: HandModel, pose: Pose = None, shape: Shape = None, photo: PhotoView | None = None, swing: Pose = None
) -> dict[str, Any]:
    """Return everything that `viewer.js` needs: the model's arrays rounded to 16 bits, the sliders, the start values.

    Args:
        model: Hand in MANO's format.
        pose: Start pose, axis-angle in radians relative to the flat hand; by default the flat hand.
        shape: Start shape, standard deviations; by default the mean.
        photo: Photo behind the hand, and the position of the hand in it.
        swing: Second pose; the hand moves between both until it is touched. By default it does not move.

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
        "swing": None if swing is None else to_numpy(swing).astype(float).tolist(),
        "shape": [0.0] * 10 if shape is None else to_numpy(shape).astype(float).tolist(),
        "tint": SKIN_COLOR,
        "texture": as_jpeg(hand["texture"]) if "texture" in hand else None,
        "placement": placement(model.side, photo),
        "photo": None if photo is None else {"image": as_jpeg(photo.image)},
    }


def slider_axes(model: HandModel) -> tuple[Float[ndarray, "15 3 3"], Float[ndarray, "15 3 2"]]:
    """Return the axes and limits (radians) of the joints: the model's own if it has them, else the open hand's."""
    if "joint_axes" in model.hand:
        return model.hand["joint_axes"].astype(float), model.hand["joint_limits"].astype(float)
    limits = joint_limits()
    mirror = np.array([1.0, -1.0, -1.0] if model.side == "left" else [1.0, 1.0, 1.0])  # of an axis of rotation, in x
    return to_numpy(limits.axes) * mirror, to_numpy(limits.bounds)


def placement(side: str, photo: PhotoView | None) -> dict[str, Any]:
    """Return rotation, scale and translation from the model's frame to the view's."""
    if photo is None:
        return {"rotation": np.ravel(UPRIGHT[side]).tolist(), "scale": 1.0, "translation": [0.0, 0.0, 0.0]}
    rotation, translation = to_numpy(photo.rotation), to_numpy(photo.translation)
    return {"rotation": rotation.ravel().tolist(), "scale": photo.scale, "translation": translation.tolist()}


def model_arrays(model: HandModel) -> dict[str, ndarray]:
    """Return the arrays of the blend shapes and the skinning; the axis of the directions comes first."""
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
    """Cut the mesh along the seams of its texture.

    Returns:
        `corner`: vertex of each corner; `corner_uv`: its texture coordinates; `corner_faces`: corners of each face.
        Empty for a hand without a texture.
    """
    if "texture" not in hand:
        return {}
    pairs = np.stack([hand["f"].ravel(), hand["ft"].ravel()], axis=1).astype(np.int64)
    corners, faces = np.unique(pairs, axis=0, return_inverse=True)
    uv = hand["vt"][corners[:, 1]].astype(float)
    return {"corner": corners[:, 0], "corner_uv": uv, "corner_faces": faces.reshape(-1, 3)}


def pack(arrays: dict[str, ndarray]) -> dict[str, Any]:
    """Store arrays as 16-bit integers times a step, low bytes before high bytes, in one compressed base64 string.

    An array whose values would not fit gets a larger step: an error is at most half of max(step, largest value /
    32767). Arrays of integers are stored unchanged, with step 0.
    """
    entries: list[list[Any]] = []
    blob = bytearray()
    for name, values in arrays.items():
        step = max(STEPS[name], float(np.abs(values).max()) / 32767) if name in STEPS else 0.0
        whole = np.rint(values / step).astype("<i2") if step else values.astype("<u2")
        entries.append([name, whole.size, step])
        blob += np.ascontiguousarray(whole).view(np.uint8).reshape(-1, 2).T.tobytes()
    return {"arrays": entries, "blob": base64.b64encode(zlib.compress(bytes(blob))).decode()}


def as_jpeg(image: UInt8[ndarray, "height width 3"]) -> str:
    """Return an image as the data URL of a JPEG."""
    return data_url(Image.fromarray(image), "JPEG", quality=JPEG_QUALITY)


STYLE = """:root { color-scheme: light dark; }
body { max-width: 1080px; margin: 2rem auto; padding: 0 1rem; font: 15px/1.5 system-ui, sans-serif;
  background: Canvas; color: CanvasText; --height: min(78vh, 680px); }
h1 { font-size: 1.3rem; font-weight: 600; }
.doubts { color: light-dark(#a34a00, #ffb066); }"""
CONTENT = """{doubts}<noscript>This page draws with JavaScript and WebGL2.</noscript>
<main>{data}</main>
<script type="module">
{module}
const place = document.querySelector("main");
mount(place, JSON.parse(place.querySelector("script").textContent)).catch((error) => {{
  place.append(`The hand cannot be drawn: ${{error.message}}`);
}});
</script>"""


@checked(HINTS)
def hand_page(
    model: HandModel,
    pose: Pose = None,
    shape: Shape = None,
    photo: PhotoView | None = None,
    title: str = "The hand",
    swing: Pose = None,
    doubts: Sequence[str] = (),
) -> str:
    """Return a stand-alone page with the hand and its sliders; it works offline, also when opened as a file.

    Args:
        model: Hand in MANO's format.
        pose: Start pose, axis-angle in radians relative to the flat hand; by default the flat hand.
        shape: Start shape, standard deviations; by default the mean.
        photo: Photo behind the hand, and the position of the hand in it.
        title: Heading of the page.
        swing: Second pose; the hand moves between both until it is touched. By default it does not move.
        doubts: Reasons to doubt the hand, which stand under the heading.

    Returns:
        HTML.
    """
    module = SCRIPT.read_text(encoding="utf-8")
    payload = hand_payload(model, pose, shape, photo, swing)
    reasons = "".join(f"<li>{html.escape(doubt)}</li>" for doubt in doubts)
    listed = f'<div class="doubts"><strong>This hand is doubtful:</strong><ul>{reasons}</ul></div>\n' if doubts else ""
    content = CONTENT.format(doubts=listed, data=json_script(payload), module=module)
    return titled_page(title, content, STYLE)


@dataclass(frozen=True)
class HandFigure:
    """Output of the book: data only; the book's own script draws it when it comes into view."""

    payload: dict[str, Any]

    def _repr_html_(self) -> str:
        return f'<div class="dhpe-viewer">{json_script(self.payload)}</div>'


@dataclass(frozen=True)
class HandFrame:
    """Output of a notebook: the stand-alone page in a frame.

    It needs no widget manager, server or network, so it works in JupyterLab, VS Code, Colab and pages of nbconvert.
    """

    page: str
    height: int = FRAME_HEIGHT

    def _repr_html_(self) -> str:
        style = f"width: 100%; height: {self.height}px; border: 0"
        return f'<iframe srcdoc="{html.escape(self.page)}" style="{style}" title="hand with sliders"></iframe>'


@cache
def widget_class() -> Any:
    """Return the anywidget class; anywidget is imported on first use, since only notebooks need it."""
    import anywidget
    import traitlets

    class HandWidget(anywidget.AnyWidget):
        _esm = SCRIPT
        payload = traitlets.Dict().tag(sync=True)
        pose = traitlets.List(traitlets.Float()).tag(sync=True)
        shape = traitlets.List(traitlets.Float()).tag(sync=True)

    return HandWidget


@checked(HINTS)
def hand_widget(model: HandModel, pose: Pose = None, shape: Shape = None, photo: PhotoView | None = None) -> Any:
    """Return the viewer as an anywidget, for a notebook with a kernel and a manager of widgets.

    Its traits `pose` and `shape` follow the sliders; setting them moves the sliders.
    """
    payload = hand_payload(model, pose, shape, photo)
    return widget_class()(payload=payload, pose=payload["pose"], shape=payload["shape"])


@checked(HINTS)
def hand_view(
    model: HandModel, pose: Pose = None, shape: Shape = None, photo: PhotoView | None = None, swing: Pose = None
) -> Any:
    """Show the viewer in a notebook: data for the page while the book is built, else a frame with the whole page.

    Args:
        model: Hand in MANO's format.
        pose: Start pose, axis-angle in radians relative to the flat hand; by default the flat hand.
        shape: Start shape, standard deviations; by default the mean.
        photo: Photo behind the hand, and the position of the hand in it.
        swing: Second pose; the hand moves between both until it is touched. By default it does not move.

    Returns:
        A `HandFigure` while the book is built, else a `HandFrame`. :func:`hand_widget` is for code that follows the
            sliders.
    """
    if os.environ.get("DHPE_BOOK"):
        return HandFigure(hand_payload(model, pose, shape, photo, swing))
    return HandFrame(hand_page(model, pose, shape, photo, swing=swing))
