"""Moving hands as one GLB file that Blender and three.js play: a skeleton of 16 joints, its skin, and keys over time.

Joint rotations carry nearly all of the motion. Pose correctives are stored as morph targets of glTF: directions that
are added to the flat hand before skinning (:mod:`dhpe_lib.hand.rig`). Nothing here has a gradient.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from dhpe_lib.common.records import to_numpy
from dhpe_lib.hand.glb import INDEX_DATA, VERTEX_DATA, GlbBuffer
from dhpe_lib.hand.mesh_glb import SKIN_MATERIAL, linear_light, smooth_normals
from dhpe_lib.hand.rig import TOLERANCE, HandTrack, Rig, make_rig
from dhpe_lib.hand.rigged_glb import inverse_bind, joint_nodes, skin_attributes
from dhpe_lib.hand.rotations import axis_angle_to_matrix, matrix_to_quaternion

SKIN_COLOR = (0.87, 0.65, 0.53)  # sRGB
HALF_TURN_ABOUT_X = [1.0, 0.0, 0.0, 0.0]  # from x right, y down, z away to glTF's y up, z towards the viewer


def write_animated_glb(path: str | Path, tracks: Sequence[HandTrack], tolerance: float = TOLERANCE) -> float:
    """Write moving hands into one file. A hand is hidden before its first key and after its last one.

    Args:
        path: Output path (.glb).
        tracks: The hands.
        tolerance: Largest distance that a vertex may have to the hand model's at a key, metres.

    Returns:
        Largest distance of a vertex to the hand model's over all hands and keys, metres. It is at most ``tolerance``,
        except for clips of more than 256 keys, where it may be a little larger.

    Raises:
        ValueError: There is no track.
        OSError: The file cannot be written.

    Source: glTF 2.0, sections *Skins*, *Morph targets* and *Animations*.
    """
    if not tracks:
        raise ValueError("there is no hand to write; give at least one track")
    end = max(float(track.times[-1]) for track in tracks)
    start = min(float(track.times[0]) for track in tracks)
    rigs = [make_rig(track, tolerance) for track in tracks]
    Path(path).write_bytes(_document(tracks, rigs, (start, end)))
    return max(rig.error for rig in rigs)


def _document(tracks: Sequence[HandTrack], rigs: Sequence[Rig], span: tuple[float, float]) -> bytes:
    """The whole file."""
    buffer = GlbBuffer()
    root: dict[str, Any] = {"name": "camera", "rotation": HALF_TURN_ABOUT_X, "children": []}
    nodes, meshes, skins, scene = [root], [], [], [0]
    channels: list[dict[str, Any]] = []
    samplers: list[dict[str, Any]] = []
    for number, (track, rig) in enumerate(zip(tracks, rigs, strict=True)):
        name, first = f"{track.model.side}_hand_{number}", len(nodes)
        root["children"].append(first)
        places = _float32(rig.joints)
        nodes += joint_nodes(track.model.parents, places, name, first)
        joints = list(range(first, first + len(rig.joints)))
        skins.append({"joints": joints, "skeleton": first, "inverseBindMatrices": buffer.add(inverse_bind(places))})
        meshes.append({"name": name, **_mesh(buffer, track, rig)})
        scene.append(len(nodes))
        nodes.append({"name": name, "mesh": number, "skin": number})
        times = buffer.add(_float32(track.times), bounds=True)
        for node, path, values in _curves(track, rig, first):
            channels.append({"sampler": len(samplers), "target": {"node": node, "path": path}})
            samplers.append({"input": times, "output": buffer.add(values), "interpolation": "LINEAR"})
        if (hidden := _visibility(track, span)) is not None:
            channels.append({"sampler": len(samplers), "target": {"node": first, "path": "scale"}})
            keys, sizes = (buffer.add(array, bounds=k == 0) for k, array in enumerate(hidden))
            samplers.append({"input": keys, "output": sizes, "interpolation": "STEP"})
    return buffer.pack(
        {
            "scene": 0,
            "scenes": [{"nodes": scene}],
            "nodes": nodes,
            "meshes": meshes,
            "skins": skins,
            "materials": [SKIN_MATERIAL],
            "animations": [{"name": "clip", "channels": channels, "samplers": samplers}],
        }
    )


def _mesh(buffer: GlbBuffer, track: HandTrack, rig: Rig) -> dict[str, Any]:
    """The skinned mesh with its directions."""
    rest = _float32(rig.rest)
    colors = np.full(rest.shape, SKIN_COLOR) if track.colors is None else track.colors / 255
    attributes = skin_attributes(buffer, rest, smooth_normals(rest, to_numpy(track.model.faces)), rig.weights)
    primitive: dict[str, Any] = {
        "attributes": attributes | {"COLOR_0": buffer.add(linear_light(colors), VERTEX_DATA)},
        "indices": buffer.add(track.model.faces.cpu().numpy().astype(np.uint16).ravel(), INDEX_DATA),
        "material": 0,
    }
    if not len(rig.directions):
        return {"primitives": [primitive]}
    targets = [{"POSITION": buffer.add(_float32(each), VERTEX_DATA, bounds=True)} for each in rig.directions]
    return {"primitives": [primitive | {"targets": targets}], "weights": _float32(rig.coefficients[0]).tolist()}


def _curves(track: HandTrack, rig: Rig, first: int) -> list[tuple[int, str, ndarray]]:
    """Node, property and values of each animated property, at the track's times."""
    local = axis_angle_to_matrix(track.pose.unflatten(1, (15, 3)))
    turns = matrix_to_quaternion(torch.cat((track.rotation[:, None].to(local), local), dim=1))
    wrist = track.translation.to(local) + track.rotation.to(local) @ rig.joints[0].to(local)
    curves = [(first + joint, "rotation", _xyzw(turns[:, joint])) for joint in range(turns.shape[1])]
    curves.append((first, "translation", _float32(wrist)))
    if len(rig.directions):
        curves.append((first + len(rig.joints), "weights", _float32(rig.coefficients).ravel()))
    return curves


def _xyzw(quaternions: Float[Tensor, "n 4"]) -> Float[ndarray, "n 4"]:
    """Quaternions in glTF's order; q and -q are one rotation, and each key takes the one nearer to the last key."""
    flips = torch.where((quaternions[1:] * quaternions[:-1]).sum(1) < 0, -1.0, 1.0).to(quaternions)
    signs = torch.cat((torch.ones_like(quaternions[:1, 0]), flips.cumprod(0)))
    return _float32((signs[:, None] * quaternions)[:, [1, 2, 3, 0]])


def _visibility(track: HandTrack, span: tuple[float, float]) -> tuple[ndarray, ndarray] | None:
    """Times and sizes that hide the hand while it has no keys; None where it has keys all the time."""
    first, last = float(track.times[0]), float(track.times[-1])
    keys = [(span[0], 0.0)] if first > span[0] else []
    keys.append((first, 1.0))
    if last < span[1]:
        step = float(track.times.diff().mean()) if len(track.times) > 1 else 0.0
        after = min(last + step, span[1]) if step else span[1]
        keys.append((after, 0.0))
    if len(keys) == 1:
        return None
    times, sizes = np.array(keys, np.float32).T.copy()
    return times, np.repeat(sizes[:, None], 3, axis=1)


def _float32(values: Tensor) -> ndarray:
    return values.detach().cpu().numpy().astype(np.float32)
