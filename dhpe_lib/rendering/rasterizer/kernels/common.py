"""What every kernel shares: one face, one pixel, one edge. Warp, one source for CPU and CUDA, float32 and float64.

Every kernel sees `places [batch, vertices, 3]`: u to the right and v downwards in pixels, z away from the camera in any
unit. Pixel (x, y) covers [x, x + 1) x [y, y + 1); its centre is (x + 1/2, y + 1/2). `faces [1 or batch, faces, 3]` is
one topology or one for each mesh.

Every kernel works on one `band` of `bands`. Warp runs a launch on the CPU in one thread; so several threads share it by
taking one band each, without a lock: of the rows (y % bands = band) where pixels are written, of the faces where only
gradients are, which have a copy for each band. On CUDA one launch does all.

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

OPTIONS = {"enable_backward": False, "fuse_fp": False}
"""For every module of kernels: gradients are written out; no fusing, for which `side_of` would not be antisymmetric."""

SCALARS = (wp.float32, wp.float64)
"""Warp compiles a kernel for the types it is first called with; naming both at once compiles them once, together."""

MIN_AREA = 1e-4
"""Faces whose doubled area is at most this, in square pixels, are not drawn."""


@wp.func
def smaller(a: Any, b: Any):
    """wp.min without its care for NaN, which no face that is drawn can bring: half the time of the inner loop."""
    return wp.where(a < b, a, b)


@wp.func
def larger(a: Any, b: Any):
    """wp.max without its care for NaN."""
    return wp.where(a > b, a, b)


@wp.func
def cross(a: Any, b: Any):
    """The z of the cross product: twice the signed area of the triangle (0, a, b)."""
    return a[0] * b[1] - a[1] * b[0]


@wp.func
def side_of(p: Any, a: Any, b: Any):
    """Twice the signed area of (p, a, b): positive where p lies inside a face that runs from a to b.

    (p, b, a) gives exactly the opposite, so no pixel falls between two faces that share the edge.
    """
    return cross(a - p, b - p)


@wp.func
def corner(places: wp.array3d(dtype=Any), image: int, vertex: int):
    """Where a vertex lies in the image."""
    return wp.vector(places[image, vertex, 0], places[image, vertex, 1])


@wp.func
def pixel_centre(x: int, y: int, kind: Any):
    """The centre of a pixel, in the scalar type of `kind`."""
    half = type(kind)(0.5)
    return wp.vector(type(kind)(x) + half, type(kind)(y) + half)


@wp.func
def doubled_area(places: wp.array3d(dtype=Any), faces: wp.array3d(dtype=int), image: int, face: int):
    """Twice a face's signed area in the image, and whether it is drawn; negative where it is seen from its front."""
    zero = type(places[0, 0, 0])(0.0)
    mesh = image % faces.shape[0]
    i = faces[mesh, face, 0]
    j = faces[mesh, face, 1]
    k = faces[mesh, face, 2]
    if wp.min(wp.min(i, j), k) < 0 or wp.max(wp.max(i, j), k) >= places.shape[1]:
        return zero, False
    a = corner(places, image, i)
    b = corner(places, image, j)
    c = corner(places, image, k)
    area = cross(b - a, c - a)
    perimeter = wp.length_sq(b - a) + wp.length_sq(c - b) + wp.length_sq(a - c)
    depth = places[image, i, 2] + places[image, j, 2] + places[image, k, 2]
    return area, wp.abs(area) > type(area)(MIN_AREA) and wp.isfinite(area + perimeter + depth)


@wp.func
def load_face(places: wp.array3d(dtype=Any), faces: wp.array3d(dtype=int), image: int, face: int):
    """A face's vertices, turned so that its area is positive, and whether it is drawn."""
    area, drawn = doubled_area(places, faces, image, face)
    mesh = image % faces.shape[0]
    i = faces[mesh, face, 0]
    j = faces[mesh, face, 1]
    k = faces[mesh, face, 2]
    if area < type(area)(0.0):
        return i, k, j, drawn
    return i, j, k, drawn


@wp.func
def first_pixel(place: Any, size: int):
    """The first row or column, 0 to size, whose centre is at `place` or beyond."""
    return int(wp.ceil(wp.clamp(place - type(place)(0.5), type(place)(0.0), type(place)(size))))


@wp.func
def window(a: Any, b: Any, c: Any, margin: Any, width: int, height: int):
    """The columns x0 <= x < x1 and rows y0 <= y < y1 whose centres lie in a face's box with a margin around it."""
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
    """The first row of this band at or after y."""
    return y + (band - y % bands + bands) % bands


@wp.func
def add_to_vertex(gradient: wp.array4d(dtype=Any), band: int, image: int, vertex: int, value: Any):
    """gradient[band, image, vertex] += value, in u and v."""
    wp.atomic_add(gradient, band, image, vertex, 0, value[0])
    wp.atomic_add(gradient, band, image, vertex, 1, value[1])
