"""The z-buffer: nearest face and barycentric coordinates at the centre of each pixel, and interpolation of attributes.

Barycentric coordinates are b_c = w_c A_c / sum w A. A_c is the doubled area of the triangle between the pixel and the
edge opposite to corner c. w_c is 1 for an orthographic camera. For a pinhole it is 1 / z of the corner, since equal
steps in the image are not equal steps on the face.
"""

from typing import Any

import warp as wp

from dhpe_lib.rendering.rasterizer.kernels.common import (
    OPTIONS,
    SCALARS,
    add_to_vertex,
    corner,
    first_row,
    load_face,
    pixel_centre,
    side_of,
    smaller,
    window,
)

wp.set_module_options(OPTIONS)

NO_FACE = 0x7FFFFFFFFFFFFFFF
"""Key of a pixel without a face; it is larger than the key of any (depth, face)."""


@wp.func
def depth_key(z: Any, face: int):
    """Compute an integer key that sorts by depth in float32, then by face.

    The upper 32 bits are the bits of the float, changed so that they sort as an integer.
    """
    bits = wp.cast(wp.float32(z), wp.int32)
    if bits < 0:
        bits = bits ^ 0x7FFFFFFF
    return wp.int64(bits) * wp.int64(4294967296) + wp.int64(face)


@wp.func
def corner_weights(z_a: Any, z_b: Any, z_c: Any, pinhole: bool):
    """Return the weights w of the three corners."""
    one = type(z_a)(1.0)
    if pinhole:
        return wp.vector(one / z_a, one / z_b, one / z_c)
    return wp.vector(one, one, one)


@wp.func
def barycentric_of(p: Any, a: Any, b: Any, c: Any, weights: Any):
    """Compute the barycentric coordinates b of a pixel, and sum w A."""
    areas = wp.vector(side_of(p, b, c), side_of(p, c, a), side_of(p, a, b))
    parts = wp.cw_mul(weights, areas)
    total = parts[0] + parts[1] + parts[2]
    return parts / total, total


@wp.kernel
def nearest_face(
    band: int,
    bands: int,
    screen: wp.array3d(dtype=Any),
    faces: wp.array3d(dtype=int),
    pinhole: bool,
    keys: wp.array3d(dtype=wp.int64),
):
    """Compute keys[image, y, x] = min of `depth_key` over the faces that cover the pixel's centre.

    `keys` must be filled with NO_FACE before.
    """
    image, face = wp.tid()
    i, j, k, drawn = load_face(screen, faces, image, face)
    if not drawn:
        return
    z_a = screen[image, i, 2]
    z_b = screen[image, j, 2]
    z_c = screen[image, k, 2]
    a = corner(screen, image, i)
    b = corner(screen, image, j)
    c = corner(screen, image, k)
    zero = type(z_a)(0.0)
    weights = corner_weights(z_a, z_b, z_c, pinhole)
    x0, x1, y0, y1 = window(a, b, c, zero, keys.shape[2], keys.shape[1])
    for y in range(first_row(y0, band, bands), y1, bands):
        for x in range(x0, x1):
            p = pixel_centre(x, y, zero)
            side_ab = side_of(p, a, b)
            side_bc = side_of(p, b, c)
            side_ca = side_of(p, c, a)
            if smaller(smaller(side_ab, side_bc), side_ca) >= zero and side_ab + side_bc + side_ca > zero:
                part_a = weights[0] * side_bc
                part_b = weights[1] * side_ca
                part_c = weights[2] * side_ab
                z = (part_a * z_a + part_b * z_b + part_c * z_c) / (part_a + part_b + part_c)
                wp.atomic_min(keys, image, y, x, depth_key(z, face))


@wp.kernel
def resolve(
    band: int,
    bands: int,
    screen: wp.array3d(dtype=Any),
    faces: wp.array3d(dtype=int),
    pinhole: bool,
    keys: wp.array3d(dtype=wp.int64),
    face_index: wp.array3d(dtype=int),
    barycentric: wp.array4d(dtype=Any),
    depth: wp.array3d(dtype=Any),
):
    """Read faces from keys (-1: none), and compute barycentric coordinates in the order of the corners, and depth."""
    image, row, x = wp.tid()
    y = row * bands + band
    if y >= keys.shape[1]:
        return
    if keys[image, y, x] == wp.int64(NO_FACE):
        face_index[image, y, x] = -1
        return
    face = int(keys[image, y, x] & wp.int64(0xFFFFFFFF))
    face_index[image, y, x] = face
    mesh = image % faces.shape[0]
    i = faces[mesh, face, 0]
    j = faces[mesh, face, 1]
    k = faces[mesh, face, 2]
    z_i = screen[image, i, 2]
    z_j = screen[image, j, 2]
    z_k = screen[image, k, 2]
    p = pixel_centre(x, y, z_i)
    weights = corner_weights(z_i, z_j, z_k, pinhole)
    b, _ = barycentric_of(p, corner(screen, image, i), corner(screen, image, j), corner(screen, image, k), weights)
    for c in range(3):
        barycentric[image, y, x, c] = b[c]
    depth[image, y, x] = b[0] * z_i + b[1] * z_j + b[2] * z_k


@wp.kernel
def resolve_backward(
    band: int,
    bands: int,
    screen: wp.array3d(dtype=Any),
    faces: wp.array3d(dtype=int),
    pinhole: bool,
    face_index: wp.array3d(dtype=int),
    of_barycentric: wp.array4d(dtype=Any),
    of_depth: wp.array3d(dtype=Any),
    gradient: wp.array4d(dtype=Any),
):
    """Add the gradient of barycentric coordinates and depth to gradient[band, image, vertex].

    If g is the loss's derivative to b, then dL / d(w_c A_c) = (g_c - sum_k g_k b_k) / sum w A.
    """
    image, row, x = wp.tid()
    y = row * bands + band
    if y >= face_index.shape[1]:
        return
    face = face_index[image, y, x]
    if face < 0:
        return
    mesh = image % faces.shape[0]
    i = faces[mesh, face, 0]
    j = faces[mesh, face, 1]
    k = faces[mesh, face, 2]
    z = wp.vector(screen[image, i, 2], screen[image, j, 2], screen[image, k, 2])
    weights = corner_weights(z[0], z[1], z[2], pinhole)
    a = corner(screen, image, i)
    b = corner(screen, image, j)
    c = corner(screen, image, k)
    p = pixel_centre(x, y, z[0])
    share, total = barycentric_of(p, a, b, c, weights)
    of_z = of_depth[image, y, x] * share
    g = of_depth[image, y, x] * z
    for m in range(3):
        g[m] = g[m] + of_barycentric[image, y, x, m]
    mean = wp.dot(g, share)
    of_part = (g - wp.vector(mean, mean, mean)) / total
    of_area = wp.cw_mul(of_part, weights)
    if pinhole:  # dw = -w^2 dz
        areas = wp.vector(side_of(p, b, c), side_of(p, c, a), side_of(p, a, b))
        of_z -= wp.cw_mul(wp.cw_mul(of_part, areas), wp.cw_mul(weights, weights))
    # A_a = cross(b - p, c - p); A_b and A_c follow by rotating a, b, c.
    add_to_vertex(gradient, band, image, i, of_area[1] * turned(p - c) + of_area[2] * turned(b - p))
    add_to_vertex(gradient, band, image, j, of_area[2] * turned(p - a) + of_area[0] * turned(c - p))
    add_to_vertex(gradient, band, image, k, of_area[0] * turned(p - b) + of_area[1] * turned(a - p))
    wp.atomic_add(gradient, band, image, i, 2, of_z[0])
    wp.atomic_add(gradient, band, image, j, 2, of_z[1])
    wp.atomic_add(gradient, band, image, k, 2, of_z[2])


@wp.func
def turned(v: Any):
    """Return (v_y, -v_x), which is d cross(u, v) / du."""
    return wp.vector(v[1], -v[0])


@wp.kernel
def interpolate_forward(
    band: int,
    bands: int,
    attributes: wp.array3d(dtype=Any),
    corners: wp.array3d(dtype=int),
    face_index: wp.array3d(dtype=int),
    barycentric: wp.array4d(dtype=Any),
    values: wp.array4d(dtype=Any),
):
    """Compute values[image, y, x] = sum_c b_c attributes[corner c of the face].

    Attributes and corners have one set for all images, or one for each.
    """
    image, row, x = wp.tid()
    y = row * bands + band
    if y >= face_index.shape[1]:
        return
    face = face_index[image, y, x]
    if face < 0 or face >= corners.shape[1]:
        return
    source = image % attributes.shape[0]
    mesh = image % corners.shape[0]
    for channel in range(values.shape[3]):
        value = type(attributes[0, 0, 0])(0.0)
        for c in range(3):
            place = corners[mesh, face, c]
            if place >= 0 and place < attributes.shape[1]:
                value += barycentric[image, y, x, c] * attributes[source, place, channel]
        values[image, y, x, channel] = value


@wp.kernel
def interpolate_backward(
    band: int,
    bands: int,
    attributes: wp.array3d(dtype=Any),
    corners: wp.array3d(dtype=int),
    face_index: wp.array3d(dtype=int),
    barycentric: wp.array4d(dtype=Any),
    cotangent: wp.array4d(dtype=Any),
    of_attributes: wp.array4d(dtype=Any),
    of_barycentric: wp.array4d(dtype=Any),
):
    """Compute of_attributes[band, source, place] += b_c cotangent, and of_barycentric = attributes . cotangent."""
    image, row, x = wp.tid()
    y = row * bands + band
    if y >= face_index.shape[1]:
        return
    face = face_index[image, y, x]
    if face < 0 or face >= corners.shape[1]:
        return
    source = image % attributes.shape[0]
    mesh = image % corners.shape[0]
    for c in range(3):
        place = corners[mesh, face, c]
        if place >= 0 and place < attributes.shape[1]:
            total = type(attributes[0, 0, 0])(0.0)
            for channel in range(cotangent.shape[3]):
                value = cotangent[image, y, x, channel]
                total += value * attributes[source, place, channel]
                wp.atomic_add(of_attributes, band, source, place, channel, barycentric[image, y, x, c] * value)
            of_barycentric[image, y, x, c] = total


for _scalar in SCALARS:
    _3d, _4d, _int = wp.array3d(dtype=_scalar), wp.array4d(dtype=_scalar), wp.array3d(dtype=int)
    _keys = wp.array3d(dtype=wp.int64)
    wp.overload(nearest_face, [int, int, _3d, _int, bool, _keys])
    wp.overload(resolve, [int, int, _3d, _int, bool, _keys, _int, _4d, _3d])
    wp.overload(resolve_backward, [int, int, _3d, _int, bool, _int, _4d, _3d, _4d])
    wp.overload(interpolate_forward, [int, int, _3d, _int, _int, _4d, _4d])
    wp.overload(interpolate_backward, [int, int, _3d, _int, _int, _4d, _4d, _4d, _4d])
