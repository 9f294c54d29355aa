"""Read the rigged starting surface (WebXR generic hand, MIT licence) and convert it to MANO's frame and joints."""

import json
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .anthropometry import DIGITS
from .numbering import TIPS

# WebXR: x up (dorsal), y towards the wrist, z towards the little finger.
# MANO: x towards the wrist, y up (dorsal), z towards the thumb.
MANO_FROM_WEBXR = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
DTYPES = {5121: "u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}

# WebXR joints of each MANO joint, which has the sum of their skin weights and the position of the first one.
MANO_FROM_WEBXR_JOINTS = {
    "wrist": (
        "wrist",
        "index-finger-metacarpal",
        "middle-finger-metacarpal",
        "ring-finger-metacarpal",
        "pinky-finger-metacarpal",
    ),
    **{
        f"{finger}{k}": names
        for finger, webxr in (("index", "index"), ("middle", "middle"), ("little", "pinky"), ("ring", "ring"))
        for k, names in (
            (1, (f"{webxr}-finger-phalanx-proximal",)),
            (2, (f"{webxr}-finger-phalanx-intermediate",)),
            (3, (f"{webxr}-finger-phalanx-distal", f"{webxr}-finger-tip")),
        )
    },
    "thumb1": ("thumb-metacarpal",),
    "thumb2": ("thumb-phalanx-proximal",),
    "thumb3": ("thumb-phalanx-distal", "thumb-tip"),
}


@dataclass
class Surface:
    """A rigged triangle mesh with texture charts; `tips` is valid only after the step `numbering`.

    Attributes:
        vertices: `[V, 3]` metres, in MANO's model frame.
        faces: `[F, 3]` vertex indices.
        charts: `[F]` texture chart of each face.
        uv: Texture coordinates, by (vertex, chart).
        weights: `[V, 16]` skin weights in MANO's joint order.
        joints: `[16, 3]` metres.
        axes: `[16, 3, 3]` flexion, abduction and twist axis (rows) of each joint, unit vectors.
    """

    vertices: np.ndarray
    faces: np.ndarray
    charts: np.ndarray
    uv: dict[tuple[int, int], np.ndarray]
    weights: np.ndarray
    joints: np.ndarray
    axes: np.ndarray

    @property
    def tips(self) -> np.ndarray:
        """Fingertips `[5, 3]` in MANO's order of digits: index, middle, little, ring, thumb."""
        return self.vertices[[TIPS[digit][0] for digit in DIGITS]]


def read_glb(path: Path) -> tuple[dict, bytes]:
    """Split a binary glTF file into its JSON header and its data."""
    raw = path.read_bytes()
    if raw[:4] != b"glTF":
        raise ValueError(f"{path}: not a binary glTF file; data_scripts/README.md says where to get right.glb")
    head_size = struct.unpack("<I", raw[12:16])[0]
    return json.loads(raw[20 : 20 + head_size]), raw[28 + head_size :]


def accessor(head: dict, data: bytes, index: int) -> np.ndarray:
    """Return one array of the file, `[count, width]`."""
    entry = head["accessors"][index]
    view = head["bufferViews"][entry["bufferView"]]
    width = WIDTHS[entry["type"]]
    offset = view.get("byteOffset", 0) + entry.get("byteOffset", 0)
    return np.frombuffer(data, DTYPES[entry["componentType"]], entry["count"] * width, offset).reshape(-1, width)


def chart_of_vertices(faces: np.ndarray, count: int) -> np.ndarray:
    """Return the texture chart of each vertex, its connected component: the file doubles vertices along seams."""
    label = np.arange(count)
    while True:
        low = label[faces].min(axis=1)
        new = label.copy()
        np.minimum.at(new, faces.ravel(), np.repeat(low, 3))
        if np.array_equal(new, label):
            return np.unique(label, return_inverse=True)[1]
        label = new


def load(path: Path) -> Surface:
    """Load the starting surface of a right hand: vertices welded, cap of the wrist removed, with MANO's 16 joints."""
    head, data = read_glb(path)
    primitive = head["meshes"][0]["primitives"][0]
    arrays = {name: accessor(head, data, k) for name, k in primitive["attributes"].items()}
    corners = accessor(head, data, primitive["indices"]).reshape(-1, 3).astype(int)
    chart = chart_of_vertices(corners, len(arrays["POSITION"]))
    kept = corners[chart[corners[:, 0]] != np.bincount(chart).argmin()]  # the smallest chart is the cap of the wrist

    _, first, welded = np.unique(arrays["POSITION"], axis=0, return_index=True, return_inverse=True)
    welded = welded.ravel()
    uv = {(welded[c], chart[c]): arrays["TEXCOORD_0"][c].astype(float) for c in np.unique(kept)}
    joints, axes, weights = joints_and_weights(head, data, arrays)
    return Surface(
        vertices=arrays["POSITION"][first].astype(float) @ MANO_FROM_WEBXR.T,
        faces=welded[kept],
        charts=chart[kept[:, 0]],
        uv=uv,
        weights=weights[first],
        joints=joints,
        axes=axes,
    )


def joints_and_weights(head: dict, data: bytes, arrays: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return joint positions, joint axes and skin weights in MANO's order.

    In the frame of a WebXR joint, -z points to the fingertip and y to the side of the nail. So flexion is a negative
    rotation about x, abduction a rotation about y, and twist a rotation about -z.
    """
    skin = head["skins"][0]
    names = [head["nodes"][k]["name"] for k in skin["joints"]]
    bind = np.linalg.inv(accessor(head, data, skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1))
    position = bind[:, :3, 3] @ MANO_FROM_WEBXR.T
    frame = MANO_FROM_WEBXR @ bind[:, :3, :3]
    each = np.zeros((len(arrays["POSITION"]), len(names)))
    for k in range(4):
        each[np.arange(len(each)), arrays["JOINTS_0"][:, k]] += arrays["WEIGHTS_0"][:, k]
    groups = [[names.index(n) for n in group] for group in MANO_FROM_WEBXR_JOINTS.values()]
    weights = np.stack([each[:, g].sum(axis=1) for g in groups], axis=1)
    frames = frame[[g[0] for g in groups]]
    axes = np.stack([-frames[:, :, 0], frames[:, :, 1], -frames[:, :, 2]], axis=1)
    axes /= np.linalg.norm(axes, axis=2, keepdims=True)
    return position[[g[0] for g in groups]], axes, weights
