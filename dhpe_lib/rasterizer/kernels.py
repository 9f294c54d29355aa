"""The rasterizer in Warp: one source for CPU and CUDA, for float32 and float64; no torch here.

Every kernel sees vertices in the crop frame (x right, y down, z away from the camera; x and y in [-1/2, 1/2] fill the
image) and turns x and y at once into the frame of the formulas, where the image spans [-1, 1].

Every kernel works on one `band` of `bands`: the rows y with y % bands = band. Warp runs a launch on the CPU in one
thread; so several threads share an image by taking one band each, without a lock. On CUDA one launch does all rows.

A face is not drawn when it has no area, a corner that is not finite, or an index that is not a vertex.
"""

import os
from typing import Any

import warp as wp


def _init_quietly() -> None:
    """Start Warp without its banner; without a GPU its C code also writes a warning to stderr that no setting stops."""
    wp.config.log_level = max(wp.config.log_level, wp.LOG_WARNING)
    stderr = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        wp.init()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


_init_quietly()
wp.set_module_options({"enable_backward": False, "fuse_fp": False})  # gradients are written out; fuse_fp: see edge_side

MIN_AREA = 1e-8
"""Faces whose doubled area is at most this are not drawn (PyTorch3D's threshold)."""

NO_FACE = 0x7FFFFFFFFFFFFFFF
"""The z-buffer's key where no face is: larger than any (depth, face)."""


# One face


@wp.func
def min3(a: Any, b: Any, c: Any):
    """The smallest of three."""
    return wp.min(wp.min(a, b), c)


@wp.func
def max3(a: Any, b: Any, c: Any):
    """The largest of three."""
    return wp.max(wp.max(a, b), c)


@wp.func
def load_corner(vertices: wp.array3d(dtype=Any), image: int, vertex: int):
    """A vertex's x and y where the image spans [-1, 1]."""
    two = type(vertices[0, 0, 0])(2.0)
    return wp.vector(two * vertices[image, vertex, 0], two * vertices[image, vertex, 1])


@wp.func
def cross(a: Any, b: Any):
    """The z of the cross product: twice the signed area of the triangle (0, a, b)."""
    return a[0] * b[1] - a[1] * b[0]


@wp.func
def load_face(vertices: wp.array3d(dtype=Any), faces: wp.array2d(dtype=int), image: int, face: int):
    """A face's vertices, turned so that its area is positive, and whether it is drawn."""
    i = faces[face, 0]
    j = faces[face, 1]
    k = faces[face, 2]
    if min3(i, j, k) < 0 or max3(i, j, k) >= vertices.shape[1]:
        return i, j, k, False
    a = load_corner(vertices, image, i)
    b = load_corner(vertices, image, j)
    c = load_corner(vertices, image, k)
    area = cross(b - a, c - a)
    shortest = min3(wp.length_sq(b - a), wp.length_sq(c - b), wp.length_sq(a - c))
    longest = max3(wp.length_sq(b - a), wp.length_sq(c - b), wp.length_sq(a - c))
    drawn = wp.abs(area) > type(area)(MIN_AREA) and shortest > type(area)(0.0) and wp.isfinite(area + longest)
    if area < type(area)(0.0):
        return i, k, j, drawn
    return i, j, k, drawn


# Pixels


@wp.func
def pixel_centre(i: int, size: int, kind: Any):
    """The centre of row or column i, as a scalar of the type of `kind`."""
    one = type(kind)(1.0)
    return type(kind)(2 * i + 1) * (one / type(kind)(size)) - one


@wp.func
def first_pixel(x: Any, size: int):
    """The first row or column (to size) whose centre is at x or beyond, a thousandth of a pixel early for rounding."""
    column = (x + type(x)(1.0)) * type(x)(0.5) * type(x)(size) - type(x)(0.501)
    return int(wp.ceil(wp.clamp(column, type(x)(0.0), type(x)(size))))


@wp.func
def window(a: Any, b: Any, c: Any, margin: Any, size: int):
    """The columns x0 <= x < x1 and rows y0 <= y < y1 whose centres lie in a face's box with a margin around it."""
    lowest = wp.min(wp.min(a, b), c)
    highest = wp.max(wp.max(a, b), c)
    slack = type(margin)(0.004) / type(margin)(size)
    x0 = first_pixel(lowest[0] - margin, size)
    x1 = first_pixel(highest[0] + margin + slack, size)
    y0 = first_pixel(lowest[1] - margin, size)
    y1 = first_pixel(highest[1] + margin + slack, size)
    return x0, x1, y0, y1


@wp.func
def first_row(y: int, band: int, bands: int):
    """The first row of this band at or after y."""
    return y + (band - y % bands + bands) % bands


# Soft silhouette (Liu et al., Soft Rasterizer, ICCV 2019)


@wp.func
def edge_distance(q: Any, unit: Any, length: Any):
    """How a pixel lies to an edge, from q, the vector to it from the edge's start.

    Returns its signed distance to the edge's line (positive inside), how far along the edge the closest point is, and
    the squared distance to that point.
    """
    side = cross(unit, q)
    along = wp.dot(unit, q)
    zero = type(length)(0.0)
    nearest = wp.where(along < zero, zero, wp.where(along > length, length, along))
    past = along - nearest
    return side, nearest, side * side + past * past


@wp.func
def smaller(a: Any, b: Any):
    """wp.min without its care for NaN, which no face that is drawn can bring: half the time of the inner loop."""
    return wp.where(a < b, a, b)


@wp.func
def probability(signed_squared_distance: Any, sigma: Any):
    """The probability sigmoid(-d / sigma) that a face covers a pixel."""
    one = type(sigma)(1.0)
    return one / (one + wp.exp(signed_squared_distance * (one / sigma)))


@wp.func
def multiply(product: wp.array3d(dtype=Any), image: int, y: int, x: int, factor: Any):
    """product[image, y, x] *= factor, atomically."""
    expected = product[image, y, x]
    seen = wp.atomic_cas(product, image, y, x, expected, expected * factor)
    while seen != expected:
        expected = seen
        seen = wp.atomic_cas(product, image, y, x, expected, expected * factor)


@wp.kernel
def silhouette_forward(
    band: int,
    bands: int,
    vertices: wp.array3d(dtype=Any),
    faces: wp.array2d(dtype=int),
    sigma: Any,
    radius: Any,
    empty: wp.array3d(dtype=Any),
):
    """empty[image, y, x] *= 1 - p_k for each face k and the pixels closer to it than the blur radius."""
    image, face = wp.tid()
    size = empty.shape[1]
    i, j, k, drawn = load_face(vertices, faces, image, face)
    if not drawn:
        return
    a = load_corner(vertices, image, i)
    b = load_corner(vertices, image, j)
    c = load_corner(vertices, image, k)
    length_ab = wp.length(b - a)
    length_bc = wp.length(c - b)
    length_ca = wp.length(a - c)
    ab = (b - a) / length_ab
    bc = (c - b) / length_bc
    ca = (a - c) / length_ca
    x0, x1, y0, y1 = window(a, b, c, radius, size)
    for y in range(first_row(y0, band, bands), y1, bands):
        for x in range(x0, x1):
            p = wp.vector(pixel_centre(x, size, sigma), pixel_centre(y, size, sigma))
            side_ab, _, square_ab = edge_distance(p - a, ab, length_ab)
            side_bc, _, square_bc = edge_distance(p - b, bc, length_bc)
            side_ca, _, square_ca = edge_distance(p - c, ca, length_ca)
            lowest = smaller(smaller(side_ab, side_bc), side_ca)
            if lowest > -radius:
                distance = smaller(smaller(square_ab, square_bc), square_ca)
                if lowest >= type(sigma)(0.0):
                    distance = -distance
                if distance < radius * radius:
                    multiply(empty, image, y, x, probability(-distance, sigma))  # 1 - p(d) = p(-d)


@wp.func
def add_corner(gradient: wp.array4d(dtype=Any), band: int, image: int, vertex: int, value: Any):
    """gradient[band, image, vertex] += value, in x and y."""
    wp.atomic_add(gradient, band, image, vertex, 0, value[0])
    wp.atomic_add(gradient, band, image, vertex, 1, value[1])


@wp.kernel
def silhouette_backward(
    band: int,
    bands: int,
    vertices: wp.array3d(dtype=Any),
    faces: wp.array2d(dtype=int),
    sigma: Any,
    radius: Any,
    empty: wp.array3d(dtype=Any),
    cotangent: wp.array3d(dtype=Any),
    gradient: wp.array4d(dtype=Any),
):
    """gradient[band, image, vertex] += sum over pixels of cotangent * d(1 - empty) / d vertex.

    With d_k the signed squared distance of pixel p to face k, and n = (1 - t) u + t v the closest point on edge (u, v):
    d(1 - empty) / d d_k = -empty p_k / sigma; d d_k / d (u, v) = -2 (1 - t, t) (p - n) outside, + inside.
    One factor 2 more leads from [-1, 1] to the crop frame.
    """
    image, face = wp.tid()
    size = empty.shape[1]
    i, j, k, drawn = load_face(vertices, faces, image, face)
    if not drawn:
        return
    a = load_corner(vertices, image, i)
    b = load_corner(vertices, image, j)
    c = load_corner(vertices, image, k)
    length_ab = wp.length(b - a)
    length_bc = wp.length(c - b)
    length_ca = wp.length(a - c)
    ab = (b - a) / length_ab
    bc = (c - b) / length_bc
    ca = (a - c) / length_ca
    zero = type(sigma)(0.0)
    one = type(sigma)(1.0)
    gradient_a = wp.vector(zero, zero)
    gradient_b = wp.vector(zero, zero)
    gradient_c = wp.vector(zero, zero)
    x0, x1, y0, y1 = window(a, b, c, radius, size)
    for y in range(first_row(y0, band, bands), y1, bands):
        for x in range(x0, x1):
            p = wp.vector(pixel_centre(x, size, sigma), pixel_centre(y, size, sigma))
            side_ab, near_ab, square_ab = edge_distance(p - a, ab, length_ab)
            side_bc, near_bc, square_bc = edge_distance(p - b, bc, length_bc)
            side_ca, near_ca, square_ca = edge_distance(p - c, ca, length_ca)
            lowest = smaller(smaller(side_ab, side_bc), side_ca)
            if lowest > -radius:
                square = smaller(smaller(square_ab, square_bc), square_ca)
                sign = wp.where(lowest >= zero, -one, one)
                if sign * square < radius * radius:
                    push = sign * cotangent[image, y, x] * empty[image, y, x] * probability(sign * square, sigma)
                    if square == square_ab:
                        pull = push * (p - a - near_ab * ab)
                        gradient_a += (length_ab - near_ab) / length_ab * pull
                        gradient_b += near_ab / length_ab * pull
                    elif square == square_bc:
                        pull = push * (p - b - near_bc * bc)
                        gradient_b += (length_bc - near_bc) / length_bc * pull
                        gradient_c += near_bc / length_bc * pull
                    else:
                        pull = push * (p - c - near_ca * ca)
                        gradient_c += (length_ca - near_ca) / length_ca * pull
                        gradient_a += near_ca / length_ca * pull
    scale = type(sigma)(4.0) / sigma
    add_corner(gradient, band, image, i, scale * gradient_a)
    add_corner(gradient, band, image, j, scale * gradient_b)
    add_corner(gradient, band, image, k, scale * gradient_c)


# Z-buffer


@wp.func
def edge_side(p: Any, a: Any, b: Any):
    """Twice the signed area of (p, a, b).

    (p, b, a) gives exactly the opposite, so no pixel falls between two faces that share the edge. This holds only while
    the compiler does not fuse the multiplication and the subtraction (`fuse_fp`).
    """
    return cross(a - p, b - p)


@wp.func
def depth_key(z: Any, face: int):
    """A number that orders first by depth in float32, then by face: the float's bits, made to sort as an integer."""
    bits = wp.cast(wp.float32(z), wp.int32)
    if bits < 0:
        bits = bits ^ 0x7FFFFFFF
    return wp.int64(bits) * wp.int64(4294967296) + wp.int64(face)


@wp.kernel
def nearest_face(
    band: int,
    bands: int,
    vertices: wp.array3d(dtype=Any),
    faces: wp.array2d(dtype=int),
    keys: wp.array3d(dtype=wp.int64),
):
    """keys[image, y, x] = min of `depth_key` over the faces that cover the pixel's centre; filled with NO_FACE."""
    image, face = wp.tid()
    size = keys.shape[1]
    i, j, k, drawn = load_face(vertices, faces, image, face)
    if not drawn:
        return
    a = load_corner(vertices, image, i)
    b = load_corner(vertices, image, j)
    c = load_corner(vertices, image, k)
    z_a = vertices[image, i, 2]
    z_b = vertices[image, j, 2]
    z_c = vertices[image, k, 2]
    if not wp.isfinite(z_a + z_b + z_c):
        return
    zero = type(z_a)(0.0)
    x0, x1, y0, y1 = window(a, b, c, zero, size)
    for y in range(first_row(y0, band, bands), y1, bands):
        for x in range(x0, x1):
            p = wp.vector(pixel_centre(x, size, z_a), pixel_centre(y, size, z_a))
            side_ab = edge_side(p, a, b)
            side_bc = edge_side(p, b, c)
            side_ca = edge_side(p, c, a)
            area = side_ab + side_bc + side_ca
            if smaller(smaller(side_ab, side_bc), side_ca) >= zero and area > zero:
                z = (side_bc * z_a + side_ca * z_b + side_ab * z_c) / area
                wp.atomic_min(keys, image, y, x, depth_key(z, face))


@wp.kernel
def resolve(
    band: int,
    bands: int,
    vertices: wp.array3d(dtype=Any),
    faces: wp.array2d(dtype=int),
    keys: wp.array3d(dtype=wp.int64),
    face_index: wp.array3d(dtype=wp.int64),
    barycentric: wp.array4d(dtype=Any),
    depth: wp.array3d(dtype=Any),
):
    """The z-buffer's keys to face, barycentric coordinates (in the order of the face's corners) and depth."""
    image, y, x = wp.tid()
    if y % bands != band or keys[image, y, x] == wp.int64(NO_FACE):
        return
    face = int(keys[image, y, x] & wp.int64(0xFFFFFFFF))
    i = faces[face, 0]
    j = faces[face, 1]
    k = faces[face, 2]
    z_i = vertices[image, i, 2]
    p = wp.vector(pixel_centre(x, keys.shape[2], z_i), pixel_centre(y, keys.shape[1], z_i))
    a = load_corner(vertices, image, i)
    b = load_corner(vertices, image, j)
    c = load_corner(vertices, image, k)
    sides = wp.vector(edge_side(p, b, c), edge_side(p, c, a), edge_side(p, a, b))
    weights = sides / (sides[0] + sides[1] + sides[2])
    face_index[image, y, x] = wp.int64(face)
    for corner in range(3):
        barycentric[image, y, x, corner] = weights[corner]
    depth[image, y, x] = weights[0] * z_i + weights[1] * vertices[image, j, 2] + weights[2] * vertices[image, k, 2]


@wp.kernel
def interpolate(
    band: int,
    bands: int,
    attributes: wp.array3d(dtype=Any),
    corners: wp.array2d(dtype=int),
    face_index: wp.array3d(dtype=wp.int64),
    barycentric: wp.array4d(dtype=Any),
    values: wp.array4d(dtype=Any),
):
    """values[image, y, x] = sum_c barycentric_c attributes[corner c of the face]; one set for all images, or each."""
    image, y, x = wp.tid()
    face = int(face_index[image, y, x])
    if y % bands != band or face < 0:
        return
    source = image % attributes.shape[0]
    for channel in range(values.shape[3]):
        value = type(attributes[0, 0, 0])(0.0)
        for corner in range(3):
            value += barycentric[image, y, x, corner] * attributes[source, corners[face, corner], channel]
        values[image, y, x, channel] = value


# Warp compiles a kernel for the types it is first called with; naming both here compiles them once, together.
for _scalar in (wp.float32, wp.float64):
    _3d, _4d = wp.array3d(dtype=_scalar), wp.array4d(dtype=_scalar)
    _faces, _keys = wp.array2d(dtype=int), wp.array3d(dtype=wp.int64)
    wp.overload(silhouette_forward, [int, int, _3d, _faces, _scalar, _scalar, _3d])
    wp.overload(silhouette_backward, [int, int, _3d, _faces, _scalar, _scalar, _3d, _3d, _4d])
    wp.overload(nearest_face, [int, int, _3d, _faces, _keys])
    wp.overload(resolve, [int, int, _3d, _faces, _keys, _keys, _4d, _3d])
    wp.overload(interpolate, [int, int, _3d, _faces, _keys, _4d, _4d])
