"""A mesh as a GLB file, and the parts that it shares with an animated hand: normals, linear colours, a matt material.

Nothing here has a gradient.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Integer, UInt8
from numpy import ndarray

from dhpe_lib.hand.glb import INDEX_DATA, VERTEX_DATA, GlbBuffer
from dhpe_lib.hand.mesh_texture import MeshTexture, split_seams

SKIN_MATERIAL: dict[str, Any] = {
    "name": "skin",
    "doubleSided": True,  # the wrist is open
    "pbrMetallicRoughness": {"metallicFactor": 0, "roughnessFactor": 0.7},
}


def mesh_glb(
    vertices: Float[ndarray, "v 3"],
    faces: Integer[ndarray, "f 3"],
    colors: UInt8[ndarray, "v 3"] | None = None,
    texture: MeshTexture | None = None,
) -> bytes:
    """Make a GLB file of a mesh; the order of the vertices is kept.

    Args:
        vertices: Vertices; unit and axes are written unchanged.
        faces: Vertex indices of the triangles.
        colors: sRGB colour of each vertex, 0 to 255; not used if there is a texture.
        texture: Texture of these faces. The vertices on its seams are repeated behind all others.

    Returns:
        The content of the file.

    Source: glTF 2.0, section *Meshes*.
    """
    buffer, attributes = GlbBuffer(), dict[str, int]()
    material, images = SKIN_MATERIAL, dict[str, Any]()
    normals = smooth_normals(vertices, faces)
    if texture is not None:
        seams = split_seams(len(vertices), faces, texture)
        vertices, normals, faces = vertices[seams.source], normals[seams.source], seams.faces
        attributes["TEXCOORD_0"] = buffer.add(seams.uv.astype(np.float32), VERTEX_DATA)
        material, images = textured(buffer, texture)
    elif colors is not None:
        attributes["COLOR_0"] = buffer.add(linear_light(colors / 255), VERTEX_DATA)
    attributes |= {
        "POSITION": buffer.add(vertices.astype(np.float32), VERTEX_DATA, bounds=True),
        "NORMAL": buffer.add(normals, VERTEX_DATA),
    }
    indices = buffer.add(faces.astype(np.uint32).ravel(), INDEX_DATA)
    document = {
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": "hand", "mesh": 0}],
        "meshes": [{"name": "hand", "primitives": [{"attributes": attributes, "indices": indices, "material": 0}]}],
        "materials": [material],
        **images,
    }
    return buffer.pack(document)


def textured(buffer: GlbBuffer, texture: MeshTexture) -> tuple[dict[str, Any], dict[str, Any]]:
    """Add the image of a texture to a file.

    Args:
        buffer: The file's numbers.
        texture: The texture.

    Returns:
        The skin's material with the texture, and the document's entries for its image.
    """
    image = {"name": "skin", "mimeType": "image/jpeg", "bufferView": buffer.add_file(texture.jpeg())}
    entries = {"images": [image], "textures": [{"source": 0}]}
    surface = SKIN_MATERIAL["pbrMetallicRoughness"] | {"baseColorTexture": {"index": 0}}
    return SKIN_MATERIAL | {"pbrMetallicRoughness": surface}, entries


def smooth_normals(vertices: Float[ndarray, "v 3"], faces: Integer[ndarray, "f 3"]) -> Float[ndarray, "v 3"]:
    """Compute unit normals: the sum of the faces' normals, weighted by area.

    Args:
        vertices: Vertices in any unit.
        faces: Vertex indices.

    Returns:
        Normals, float32; (0, 0, 1) at a vertex without a face, since glTF wants unit vectors.
    """
    a, b, c = vertices[faces].astype(np.float64).swapaxes(0, 1)
    total = np.zeros((len(vertices), 3))
    np.add.at(total, faces.ravel(), np.cross(b - a, c - a).repeat(3, 0))
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.where(length > 0, total / np.where(length > 0, length, 1), (0.0, 0.0, 1.0)).astype(np.float32)


def linear_light(colors: Float[ndarray, "v 3"]) -> Float[ndarray, "v 3"]:
    """Convert sRGB values in [0, 1] to linear light: glTF's vertex colours are linear.

    Args:
        colors: sRGB values.

    Returns:
        Linear values in [0, 1], float32.
    """
    return np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4).astype(np.float32)
