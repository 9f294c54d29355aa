"""Exact area coverage: the share of a pixel's square that the faces cover, and its exact derivative.

A face covers the area sum_e sign_e (G_e(x + 1) - G_e(x)) of pixel (x, y). The sum is over its three edges, and G_e(t)
is the area within the row between edge e and the vertical line at t, to the right of the edge. Faces seen from the
front and faces seen from the back are summed separately: each sum counts the layers of the surface over the pixel.
"""

from typing import Any

import warp as wp

from dhpe_lib.rendering.rasterizer.kernels.common import (
    OPTIONS,
    SCALARS,
    add_to_vertex,
    corner,
    doubled_area,
    first_row,
    larger,
    load_face,
    smaller,
)

wp.set_module_options(OPTIONS)

FULL = wp.constant(1 - 1e-5)
"""A pixel with at least this coverage counts as full and has no gradient; rounding errors are smaller than 1e-5."""


@wp.func
def pixel_of(place: Any, size: int):
    """Return the row or column, 0 to size, that contains the coordinate `place`."""
    return int(wp.floor(wp.clamp(place, type(place)(0.0), type(place)(size))))


@wp.func
def area_right_of(t: Any, low: Any, high: Any, height: Any):
    """Compute G(t) of an edge that runs from x = low to x = high over a signed `height` in y."""
    half = type(t)(0.5)
    if t <= low:
        return type(t)(0.0)
    if t >= high:
        return height * (t - half * (low + high))
    return half * height * (t - low) * (t - low) / (high - low)


@wp.func
def cut_to_row(a: Any, b: Any, top: Any):
    """Clip an edge to the row [top, top + 1), and return its smallest x, largest x and signed height.

    The computation always starts at the upper end, so the terms of two faces that share the edge cancel exactly.
    """
    zero = type(top)(0.0)
    upwards = a[1] > b[1]
    upper = wp.where(upwards, b, a)
    lower = wp.where(upwards, a, b)
    start = wp.clamp(upper[1], top, top + type(top)(1.0))
    end = wp.clamp(lower[1], top, top + type(top)(1.0))
    if start == end:
        return zero, zero, zero
    slope = (lower[0] - upper[0]) / (lower[1] - upper[1])
    x_start = upper[0] + (start - upper[1]) * slope
    x_end = upper[0] + (end - upper[1]) * slope
    return smaller(x_start, x_end), larger(x_start, x_end), wp.where(upwards, end - start, start - end)


@wp.kernel
def coverage_forward(
    band: int,
    bands: int,
    screen: wp.array3d(dtype=Any),
    faces: wp.array3d(dtype=int),
    layers: wp.array4d(dtype=Any),
):
    """Add each face's area in pixel (x, y) to layers[side, image, y, x]; side 0 is the front, side 1 the back."""
    image, face = wp.tid()
    i, j, k, drawn = load_face(screen, faces, image, face)
    if not drawn:
        return
    signed, _ = doubled_area(screen, faces, image, face)
    side = wp.where(signed < type(signed)(0.0), 0, 1)
    a = corner(screen, image, i)
    b = corner(screen, image, j)
    c = corner(screen, image, k)
    width = layers.shape[3]
    height = layers.shape[2]
    x0 = pixel_of(smaller(smaller(a[0], b[0]), c[0]), width)
    x1 = wp.min(pixel_of(larger(larger(a[0], b[0]), c[0]), width) + 1, width)
    y0 = pixel_of(smaller(smaller(a[1], b[1]), c[1]), height)
    y1 = wp.min(pixel_of(larger(larger(a[1], b[1]), c[1]), height) + 1, height)
    for y in range(first_row(y0, band, bands), y1, bands):
        top = type(signed)(y)
        low_ab, high_ab, height_ab = cut_to_row(a, b, top)
        low_bc, high_bc, height_bc = cut_to_row(b, c, top)
        low_ca, high_ca, height_ca = cut_to_row(c, a, top)
        left = type(signed)(x0)
        before = area_right_of(left, low_ab, high_ab, height_ab)
        before += area_right_of(left, low_bc, high_bc, height_bc)
        before += area_right_of(left, low_ca, high_ca, height_ca)
        for x in range(x0, x1):
            right = type(signed)(x + 1)
            after = area_right_of(right, low_ab, high_ab, height_ab)
            after += area_right_of(right, low_bc, high_bc, height_bc)
            after += area_right_of(right, low_ca, high_ca, height_ca)
            wp.atomic_add(layers, side, image, y, x, after - before)
            before = after


@wp.func
def within(start: Any, step: Any, low: Any):
    """Return the interval of t in [0, 1] for which start + t step lies in [low, low + 1)."""
    zero = type(start)(0.0)
    one = type(start)(1.0)
    if step == zero:
        inside = start >= low and start < low + one
        return zero, wp.where(inside, one, zero)
    enter = (low - start) / step
    leave = (low + one - start) / step
    return larger(smaller(enter, leave), zero), smaller(larger(enter, leave), one)


@wp.func
def deciding_cotangent(
    layers: wp.array4d(dtype=Any), cotangent: wp.array3d(dtype=Any), side: int, image: int, y: int, x: int
):
    """Return the loss's derivative to the layers of one side.

    It is the derivative to the pixel if this side has more layers than the other and the pixel is not full, else 0.
    """
    mine = layers[side, image, y, x]
    others = layers[1 - side, image, y, x]
    decides = mine > others or (mine == others and side == 0)
    if decides and mine < type(mine)(FULL):
        return cotangent[image, y, x]
    return type(mine)(0.0)


@wp.func
def edge_push(a: Any, b: Any, image: int, side: int, layers: wp.array4d(dtype=Any), cotangent: wp.array3d(dtype=Any)):
    """Compute the gradients of both ends of an edge.

    An edge that moves outwards by v covers int v . n ds more of each pixel that it crosses. The point at t moves by
    v(t) = (1 - t) v_start + t v_end, and n ds = (dy, -dx) dt.
    """
    zero = type(a[0])(0.0)
    half = type(a[0])(0.5)
    step = b - a
    of_start = zero
    of_end = zero
    width = cotangent.shape[2]
    height = cotangent.shape[1]
    if larger(a[1], b[1]) < zero or larger(a[0], b[0]) < zero:
        return wp.vector(zero, zero), wp.vector(zero, zero)
    y0 = pixel_of(smaller(a[1], b[1]), height)
    y1 = wp.min(pixel_of(larger(a[1], b[1]), height) + 1, height)
    for y in range(y0, y1):
        row_start, row_end = within(a[1], step[1], type(a[0])(y))
        x_start = a[0] + row_start * step[0]
        x_end = a[0] + row_end * step[0]
        x0 = wp.max(pixel_of(smaller(x_start, x_end), width) - 1, 0)  # one more pixel on each side, for rounding
        x1 = wp.min(pixel_of(larger(x_start, x_end), width) + 2, width)
        for x in range(x0, x1):
            value = deciding_cotangent(layers, cotangent, side, image, y, x)
            if value != zero:  # most pixels are full and have no gradient
                t0, t1 = within(a[0], step[0], type(a[0])(x))
                t0 = larger(t0, row_start)
                t1 = smaller(t1, row_end)
                if t1 > t0:
                    end_share = half * (t1 * t1 - t0 * t0)
                    of_start += value * (t1 - t0 - end_share)
                    of_end += value * end_share
    outwards = wp.vector(step[1], -step[0])
    return of_start * outwards, of_end * outwards


@wp.kernel
def coverage_backward(
    band: int,
    bands: int,
    screen: wp.array3d(dtype=Any),
    faces: wp.array3d(dtype=int),
    layers: wp.array4d(dtype=Any),
    cotangent: wp.array3d(dtype=Any),
    gradient: wp.array4d(dtype=Any),
):
    """Add the gradient of a mask: gradient[band, image, vertex] += sum over pixels of cotangent d mask / d vertex."""
    image, face = wp.tid()
    if face % bands != band:
        return
    i, j, k, drawn = load_face(screen, faces, image, face)
    if not drawn:
        return
    signed, _ = doubled_area(screen, faces, image, face)
    side = wp.where(signed < type(signed)(0.0), 0, 1)
    a = corner(screen, image, i)
    b = corner(screen, image, j)
    c = corner(screen, image, k)
    ab_start, ab_end = edge_push(a, b, image, side, layers, cotangent)
    bc_start, bc_end = edge_push(b, c, image, side, layers, cotangent)
    ca_start, ca_end = edge_push(c, a, image, side, layers, cotangent)
    add_to_vertex(gradient, band, image, i, ab_start + ca_end)
    add_to_vertex(gradient, band, image, j, bc_start + ab_end)
    add_to_vertex(gradient, band, image, k, ca_start + bc_end)


for _scalar in SCALARS:
    _3d, _4d, _faces = wp.array3d(dtype=_scalar), wp.array4d(dtype=_scalar), wp.array3d(dtype=int)
    wp.overload(coverage_forward, [int, int, _3d, _faces, _4d])
    wp.overload(coverage_backward, [int, int, _3d, _faces, _4d, _3d, _4d])
