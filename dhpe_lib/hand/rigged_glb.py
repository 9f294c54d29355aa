"""A hand as one GLB file that Blender and three.js animate: skeleton, skin weights and a blend shape for each shape.

The parts of skinned meshes are shared with :mod:`dhpe_lib.hand.animated_glb`. Nothing here has a gradient.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from dhpe_lib.common.arguments import checked
from dhpe_lib.common.records import to_numpy
from dhpe_lib.hand.glb import INDEX_DATA, VERTEX_DATA, GlbBuffer
from dhpe_lib.hand.mesh_glb import SKIN_MATERIAL, smooth_normals, textured
from dhpe_lib.hand.mesh_texture import split_seams, texture_of
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.rig import WEIGHTS_OF_A_VERTEX, four_weights
from dhpe_lib.hand.rotations import axis_angle_to_matrix, matrix_to_quaternion
from dhpe_lib.hand.skeleton import MANO_JOINT_NAMES
from dhpe_lib.hand.skinning import blend_shape


@checked()
def write_rigged_glb(
    path: str | Path,
    model: HandModel,
    pose: Float[Tensor, " 45"] | None = None,
    shape: Float[Tensor, " 10"] | None = None,
) -> None:
    """Write a hand with its skeleton.

    The file has 16 joints in MANO's order, the four largest skin weights of each vertex, and ten blend shapes, whose
    weight 1 is one standard deviation. The axes are the model's, in metres. Blend shapes move the surface and leave the
    joints where they are; to pose a hand of another shape, write it with that shape. The pose correctives of the model
    are not in the file, since a skeleton cannot drive them: some vertices of a posed hand are millimetres off.

    Args:
        path: Output path (.glb).
        model: The hand.
        pose: Axis-angle vectors of the 15 finger joints, radians, in which the file opens; flat by default. The rest
            pose is always flat.
        shape: Shape at rest, standard deviations; the mean shape by default.

    Raises:
        OSError: The file cannot be written.

    Source: glTF 2.0, sections *Skins* and *Morph targets*.
    """
    like = model.v_template
    row = like.new_zeros(1, 10) if shape is None else shape[None].to(like)
    rest, joints = to_numpy(like + blend_shape(row, model.shapedirs)[0]), to_numpy(model.rest_joints(row)[0])
    angles = like.new_zeros(15, 3) if pose is None else pose.to(like).unflatten(0, (15, 3))
    turns = to_numpy(matrix_to_quaternion(axis_angle_to_matrix(angles)))[:, [1, 2, 3, 0]].tolist()
    buffer, faces, texture = GlbBuffer(), to_numpy(model.faces), texture_of(model.hand)
    material, images = SKIN_MATERIAL, dict[str, Any]()
    source, attributes = np.arange(len(rest)), {}
    if texture is not None:
        seams = split_seams(len(rest), faces, texture)
        source, faces = seams.source, seams.faces
        attributes["TEXCOORD_0"] = buffer.add(seams.uv.astype(np.float32), VERTEX_DATA)
        material, images = textured(buffer, texture)
    normals = smooth_normals(rest, to_numpy(model.faces))[source]
    attributes |= skin_attributes(buffer, rest[source], normals, four_weights(model.weights)[source])
    directions = np.ascontiguousarray(to_numpy(model.shapedirs)[source].transpose(2, 0, 1), dtype=np.float32)
    primitive = {
        "attributes": attributes,
        "indices": buffer.add(faces.astype(np.uint16).ravel(), INDEX_DATA),
        "material": 0,
        "targets": [{"POSITION": buffer.add(each, VERTEX_DATA, bounds=True)} for each in directions],
    }
    names = [str(name) for name in model.hand.get("shape_names", [f"shape_{k}" for k in range(10)])]
    nodes = joint_nodes(model.parents, joints, model.side, 0)
    for node, turn in zip(nodes[1:], turns, strict=True):
        node |= {"rotation": turn}
    bind = buffer.add(inverse_bind(joints))
    mesh = {"name": f"{model.side}_hand", "primitives": [primitive], "weights": [0] * 10}
    document = {
        "scene": 0,
        "scenes": [{"nodes": [0, len(nodes)]}],
        "nodes": [*nodes, {"name": f"{model.side}_hand", "mesh": 0, "skin": 0}],
        "meshes": [mesh | {"extras": {"targetNames": names}}],
        "skins": [{"joints": list(range(len(nodes))), "skeleton": 0, "inverseBindMatrices": bind}],
        "materials": [material],
        **images,
    }
    Path(path).write_bytes(buffer.pack(document))


def joint_nodes(parents: Sequence[int], joints: Float[ndarray, "16 3"], name: str, first: int) -> list[dict[str, Any]]:
    """Make the nodes of the 16 joints, each relative to its parent.

    Args:
        parents: Parent of each joint; the wrist's is not read.
        joints: Joints at rest, metres.
        name: First part of the nodes' names.
        first: Number of the first node in the file.

    Returns:
        glTF's nodes, in MANO's order.
    """
    nodes: list[dict[str, Any]] = []
    for joint, parent in enumerate(parents):
        place = joints[joint] - (joints[parent] if joint else 0)
        children = [first + child for child, its in enumerate(parents) if its == joint]
        node = {"name": f"{name}_{MANO_JOINT_NAMES[joint]}", "translation": place.tolist()}
        nodes.append(node | ({"children": children} if children else {}))
    return nodes


def inverse_bind(joints: Float[ndarray, "16 3"]) -> Float[ndarray, "16 4 4"]:
    """Make the matrices that bring a hand at rest into the frame of each joint: a shift by minus the joint."""
    matrices = np.tile(np.eye(4, dtype=np.float32), (len(joints), 1, 1))
    matrices[:, :3, 3] = -joints
    return matrices


def skin_attributes(
    buffer: GlbBuffer, rest: Float[ndarray, "v 3"], normals: Float[ndarray, "v 3"], weights: Float[Tensor, "v 16"]
) -> dict[str, int]:
    """Add the vertices of a skinned mesh to a file.

    Args:
        buffer: The file's numbers.
        rest: Vertices at rest, metres.
        normals: Unit normals at rest.
        weights: Skin weights, of which four in a row are positive.

    Returns:
        Accessor of each attribute.
    """
    four, joints = weights.topk(WEIGHTS_OF_A_VERTEX, dim=1)
    used = np.where(to_numpy(four) > 0, to_numpy(joints), 0).astype(np.uint8)
    return {
        "POSITION": buffer.add(rest.astype(np.float32), VERTEX_DATA, bounds=True),
        "NORMAL": buffer.add(normals.astype(np.float32), VERTEX_DATA),
        "JOINTS_0": buffer.add(used, VERTEX_DATA),
        "WEIGHTS_0": buffer.add(to_numpy(four).astype(np.float32), VERTEX_DATA),
    }
