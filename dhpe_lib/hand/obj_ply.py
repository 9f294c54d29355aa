"""A mesh as an OBJ or a PLY file, which most 3D programs read. Nothing here has a gradient."""

import numpy as np
from jaxtyping import Float, Integer, UInt8
from numpy import ndarray

from dhpe_lib.hand.mesh_texture import MeshTexture

COLORS = ("red", "green", "blue", "alpha")


def mesh_obj(
    vertices: Float[ndarray, "v 3"], faces: Integer[ndarray, "f 3"], colors: UInt8[ndarray, "v 3"] | None = None
) -> str:
    """Make an OBJ file without a texture; the order of the vertices is kept.

    Args:
        vertices: Vertices; unit and axes are written unchanged.
        faces: Vertex indices of the triangles.
        colors: sRGB colour of each vertex, 0 to 255. The file holds it behind the vertex, as values from 0 to 1.

    Returns:
        The content of the file.
    """
    rows = vertices if colors is None else np.concatenate((vertices, colors / 255), axis=1)
    lines = _vertex_lines(rows)
    lines += ["f {} {} {}".format(*row) for row in (faces.astype(int) + 1).tolist()]
    return "\n".join(lines) + "\n"


def textured_obj(
    vertices: Float[ndarray, "v 3"], faces: Integer[ndarray, "f 3"], texture: MeshTexture, material: str
) -> str:
    """Make an OBJ file whose corners have their own places in the texture, so that no vertex is repeated.

    Args:
        vertices: Vertices; unit and axes are written unchanged.
        faces: Vertex indices of the triangles.
        texture: Texture of these faces.
        material: Name of the file with the material `skin`.

    Returns:
        The content of the file.
    """
    corners = np.stack((faces, texture.corners), axis=-1).astype(int) + 1
    lines = [f"mtllib {material}", "usemtl skin"]
    lines += _vertex_lines(vertices)
    lines += [f"vt {u:.6f} {1 - v:.6f}" for u, v in texture.uv.tolist()]
    lines += ["f {}/{} {}/{} {}/{}".format(*row) for row in corners.reshape(-1, 6).tolist()]
    return "\n".join(lines) + "\n"


def _vertex_lines(rows: Float[ndarray, "v n"]) -> list[str]:
    line = "v" + rows.shape[1] * " {:.8f}"
    return [line.format(*row) for row in rows.tolist()]


def mesh_ply(
    vertices: Float[ndarray, "v 3"], faces: Integer[ndarray, "f 3"], colors: UInt8[ndarray, "v 3"] | None = None
) -> bytes:
    """Make a binary PLY file; the order of the vertices is kept.

    Args:
        vertices: Vertices; unit and axes are written unchanged, in float32.
        faces: Vertex indices of the triangles.
        colors: sRGB colour of each vertex, 0 to 255.

    Returns:
        The content of the file.

    Source: Turk, "The PLY Polygon File Format".
    """
    point = [("position", "<f4", 3)] + ([] if colors is None else [("color", "u1", 4)])
    rows = np.zeros(len(vertices), point)
    rows["position"] = vertices
    if colors is not None:
        rows["color"][:, :3], rows["color"][:, 3] = colors, 255
    triangles = np.zeros(len(faces), [("count", "u1"), ("corners", "<i4", 3)])
    triangles["count"], triangles["corners"] = 3, faces
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(rows)}"]
    header += [f"property float {axis}" for axis in "xyz"]
    header += [] if colors is None else [f"property uchar {name}" for name in COLORS]
    header += [f"element face {len(triangles)}", "property list uchar int vertex_indices", "end_header"]
    return ("\n".join(header) + "\n").encode() + rows.tobytes() + triangles.tobytes()
