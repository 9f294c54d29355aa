"""Functions that all kernels share, written in Warp: one source for CPU and CUDA, float32 and float64.

Every kernel reads `screen [batch, vertices, 3]`: u points right and v points down, both in pixels; z points away from
the camera, in any unit. Pixel (x, y) covers [x, x + 1) x [y, y + 1), and its centre is (x + 1/2, y + 1/2).
`faces [1 or batch, faces, 3]` is one topology for all meshes, or one for each.

Every kernel works on one `band` of `bands`. Warp runs a CPU launch in one thread, so several threads share the work by
launching one band each, without a lock. The bands divide the rows (y % bands = band); in backward kernels over faces
they divide the faces. Each band has its own copy of the gradient. On CUDA there is one band.

A face is not drawn if it has no area, a corner that is not finite, or an index that is not a vertex.
"""

from typing import Any

import warp as wp

from dhpe_lib.common.warp_runtime import start_warp

start_warp()

OPTIONS = {"enable_backward": False, "fuse_fp": False}
"""Compile options of all kernel modules.

Gradients are written by hand, so Warp generates none. Fused multiply-add is off: it would make `side_of` asymmetric.
"""

SCALARS = (wp.float32, wp.float64)
"""Scalar types of the kernels. Declaring overloads for both compiles them together, not one at its first call."""

MIN_AREA = 1e-4
"""Faces whose doubled area is at most this, in square pixels, are not drawn."""


@wp.func
def smaller(a: Any, b: Any):
    """Return the minimum of two numbers, without the NaN check of wp.min.

    Drawn faces contain no NaN. Without the check the inner loop takes half the time.
    """
    return wp.where(a < b, a, b)


@wp.func
def larger(a: Any, b: Any):
    """Return the maximum of two numbers, without the NaN check of wp.max."""
    return wp.where(a > b, a, b)


@wp.func
def cross(a: Any, b: Any):
    """Compute the z of the cross product, which is twice the signed area of the triangle (0, a, b)."""
    return a[0] * b[1] - a[1] * b[0]


@wp.func
def side_of(p: Any, a: Any, b: Any):
    """Compute twice the signed area of (p, a, b), which is positive if p is on the inner side of the edge from a to b.

    (p, b, a) gives exactly the negative value, so no pixel falls between two faces that share the edge.
    """
    return cross(a - p, b - p)


@wp.func
def corner(screen: wp.array3d(dtype=Any), image: int, vertex: int):
    """Return the (u, v) of a vertex."""
    return wp.vector(screen[image, vertex, 0], screen[image, vertex, 1])


@wp.func
def pixel_centre(x: int, y: int, kind: Any):
    """Return the centre of a pixel in the scalar type of `kind`."""
    half = type(kind)(0.5)
    return wp.vector(type(kind)(x) + half, type(kind)(y) + half)


@wp.func
def doubled_area(screen: wp.array3d(dtype=Any), faces: wp.array3d(dtype=int), image: int, face: int):
    """Compute twice a face's signed area in the image (negative if seen from its front), and whether it is drawn."""
    zero = type(screen[0, 0, 0])(0.0)
    mesh = image % faces.shape[0]
    i = faces[mesh, face, 0]
    j = faces[mesh, face, 1]
    k = faces[mesh, face, 2]
    if wp.min(wp.min(i, j), k) < 0 or wp.max(wp.max(i, j), k) >= screen.shape[1]:
        return zero, False
    a = corner(screen, image, i)
    b = corner(screen, image, j)
    c = corner(screen, image, k)
    area = cross(b - a, c - a)
    perimeter = wp.length_sq(b - a) + wp.length_sq(c - b) + wp.length_sq(a - c)
    depth = screen[image, i, 2] + screen[image, j, 2] + screen[image, k, 2]
    return area, wp.abs(area) > type(area)(MIN_AREA) and wp.isfinite(area + perimeter + depth)


@wp.func
def load_face(screen: wp.array3d(dtype=Any), faces: wp.array3d(dtype=int), image: int, face: int):
    """Return a face's vertices, ordered so that its area is positive, and whether it is drawn."""
    area, drawn = doubled_area(screen, faces, image, face)
    mesh = image % faces.shape[0]
    i = faces[mesh, face, 0]
    j = faces[mesh, face, 1]
    k = faces[mesh, face, 2]
    if area < type(area)(0.0):
        return i, k, j, drawn
    return i, j, k, drawn


@wp.func
def first_pixel(place: Any, size: int):
    """Return the first row or column, 0 to size, whose centre is at or after the coordinate `place`."""
    return int(wp.ceil(wp.clamp(place - type(place)(0.5), type(place)(0.0), type(place)(size))))


@wp.func
def window(a: Any, b: Any, c: Any, margin: Any, width: int, height: int):
    """Return the columns x0 <= x < x1 and rows y0 <= y < y1 with centres in a face's bounding box plus a margin."""
    low_x = smaller(smaller(a[0], b[0]), c[0]) - margin
    low_y = smaller(smaller(a[1], b[1]), c[1]) - margin
    slack = type(margin)(0.001)  # for rounding
    high_x = larger(larger(a[0], b[0]), c[0]) + margin + slack
    high_y = larger(larger(a[1], b[1]), c[1]) + margin + slack
    x0 = first_pixel(low_x - slack, width)
    y0 = first_pixel(low_y - slack, height)
    return x0, first_pixel(high_x, width), y0, first_pixel(high_y, height)


@wp.func
def first_row(y: int, band: int, bands: int):
    """Return the first row of this band at or after y."""
    return y + (band - y % bands + bands) % bands


@wp.func
def add_to_vertex(gradient: wp.array4d(dtype=Any), band: int, image: int, vertex: int, value: Any):
    """Add to the gradient of a vertex in u and v: gradient[band, image, vertex] += value."""
    wp.atomic_add(gradient, band, image, vertex, 0, value[0])
    wp.atomic_add(gradient, band, image, vertex, 1, value[1])
