"""Soft silhouette (Liu et al., Soft Rasterizer, ICCV 2019): a sigmoid blurs each face, and probabilities are combined.

s_k is the squared distance of a pixel's centre to the boundary of face k, positive inside and negative outside. Then
p_k = sigmoid(s_k / sigma) and m = 1 - prod_k (1 - p_k).
"""

from typing import Any

import warp as wp

from dhpe_lib.rendering.rasterizer.kernels.common import (
    OPTIONS,
    SCALARS,
    add_to_vertex,
    corner,
    cross,
    first_pixel,
    first_row,
    larger,
    load_face,
    pixel_centre,
    smaller,
    window,
)

wp.set_module_options(OPTIONS)


@wp.func
def narrow(low: Any, high: Any, a: Any, unit: Any, y: Any, radius: Any):
    """Narrow the interval [low, high] of a row to the points p with unit x (p - a) >= -radius.

    These points are inside the line through a in the direction `unit`, or outside by at most the radius.
    """
    reach = unit[0] * (y - a[1]) + unit[1] * a[0] + radius
    zero = type(y)(0.0)
    if unit[1] > zero:
        return low, smaller(high, reach / unit[1])
    if unit[1] < zero:
        return larger(low, reach / unit[1]), high
    return low, high


@wp.func
def columns(
    a: Any, ab: Any, b: Any, bc: Any, c: Any, ca: Any, y: Any, radius: Any, x0: int, x1: int, kind: Any, width: int
):
    """Return the columns of a row, between x0 and x1, with centres that may be within the radius of a face."""
    low = kind * type(kind)(x0)
    high = kind * type(kind)(x1)
    low, high = narrow(low, high, a, ab, y, radius)
    low, high = narrow(low, high, b, bc, y, radius)
    low, high = narrow(low, high, c, ca, y, radius)
    slack = type(kind)(0.01)
    return first_pixel(low - slack, width), first_pixel(high + slack, width)


@wp.func
def along_edge(q: Any, unit: Any, length: Any):
    """Return the distance from the edge's start to its point nearest to q; q is relative to the start."""
    return smaller(larger(wp.dot(unit, q), type(length)(0.0)), length)


@wp.func
def signed_square(qa: Any, ab: Any, len_ab: Any, qb: Any, bc: Any, len_bc: Any, qc: Any, ca: Any, len_ca: Any):
    """Compute s of a pixel and a face, the nearest edge (0 to 2), and the nearest point's distance along that edge.

    qa, qb and qc are the vectors from the corners to the pixel. ab, bc and ca are the unit vectors of the edges, and
    len_ab, len_bc and len_ca their lengths.
    """
    side_ab = cross(ab, qa)
    side_bc = cross(bc, qb)
    side_ca = cross(ca, qc)
    lowest = smaller(smaller(side_ab, side_bc), side_ca)
    zero = type(len_ab)(0.0)
    if lowest >= zero:  # for a point inside, the nearest point of the nearest line is on the edge
        if lowest == side_ab:
            return lowest * lowest, 0, wp.dot(ab, qa)
        if lowest == side_bc:
            return lowest * lowest, 1, wp.dot(bc, qb)
        return lowest * lowest, 2, wp.dot(ca, qc)
    t_ab = along_edge(qa, ab, len_ab)
    t_bc = along_edge(qb, bc, len_bc)
    t_ca = along_edge(qc, ca, len_ca)
    square_ab = wp.length_sq(qa - t_ab * ab)
    square_bc = wp.length_sq(qb - t_bc * bc)
    square_ca = wp.length_sq(qc - t_ca * ca)
    square = smaller(smaller(square_ab, square_bc), square_ca)
    if square == square_ab:
        return -square, 0, t_ab
    if square == square_bc:
        return -square, 1, t_bc
    return -square, 2, t_ca


@wp.func
def multiply(product: wp.array3d(dtype=Any), image: int, y: int, x: int, factor: Any):
    """Multiply atomically: product[image, y, x] *= factor."""
    expected = product[image, y, x]
    seen = wp.atomic_cas(product, image, y, x, expected, expected * factor)
    while seen != expected:
        expected = seen
        seen = wp.atomic_cas(product, image, y, x, expected, expected * factor)


@wp.kernel
def soft_forward(
    band: int,
    bands: int,
    screen: wp.array3d(dtype=Any),
    faces: wp.array3d(dtype=int),
    sigma: Any,
    radius: Any,
    adds: bool,
    odds: wp.array3d(dtype=Any),
):
    """Multiply odds[image, y, x] by 1 / (1 - p_k) = 1 + exp(s_k / sigma) for each face k and pixel in its radius.

    If `adds` is set, `odds` holds logarithms, to which the logarithm of the factor is added.
    """
    image, face = wp.tid()
    i, j, k, drawn = load_face(screen, faces, image, face)
    if not drawn:
        return
    a = corner(screen, image, i)
    b = corner(screen, image, j)
    c = corner(screen, image, k)
    len_ab = wp.length(b - a)
    len_bc = wp.length(c - b)
    len_ca = wp.length(a - c)
    ab = (b - a) / len_ab
    bc = (c - b) / len_bc
    ca = (a - c) / len_ca
    one = type(sigma)(1.0)
    sharpness = one / sigma
    x0, x1, y0, y1 = window(a, b, c, radius, odds.shape[2], odds.shape[1])
    for y in range(first_row(y0, band, bands), y1, bands):
        row = type(sigma)(y) + type(sigma)(0.5)
        left, right = columns(a, ab, b, bc, c, ca, row, radius, x0, x1, one, odds.shape[2])
        for x in range(left, right):
            p = pixel_centre(x, y, sigma)
            s, edge, t = signed_square(p - a, ab, len_ab, p - b, bc, len_bc, p - c, ca, len_ca)
            if s > -radius * radius:
                factor = one + wp.exp(s * sharpness)
                if adds:
                    wp.atomic_add(odds, image, y, x, wp.log(factor))
                else:
                    multiply(odds, image, y, x, factor)


@wp.kernel
def soft_backward(
    band: int,
    bands: int,
    screen: wp.array3d(dtype=Any),
    faces: wp.array3d(dtype=int),
    sigma: Any,
    radius: Any,
    odds: wp.array3d(dtype=Any),
    cotangent: wp.array3d(dtype=Any),
    gradient: wp.array4d(dtype=Any),
):
    """Add the gradient of a mask: gradient[band, image, vertex] += sum over pixels of cotangent dm / d vertex.

    dm / ds_k = (1 - m) p_k / sigma. If n = (1 - t) a + t b is the point of edge (a, b) nearest to the pixel p, then
    ds_k / d(a, b) = -2 (1 - t, t) (p - n) inside the face, and +2 (1 - t, t) (p - n) outside.
    """
    image, face = wp.tid()
    i, j, k, drawn = load_face(screen, faces, image, face)
    if not drawn:
        return
    a = corner(screen, image, i)
    b = corner(screen, image, j)
    c = corner(screen, image, k)
    len_ab = wp.length(b - a)
    len_bc = wp.length(c - b)
    len_ca = wp.length(a - c)
    ab = (b - a) / len_ab
    bc = (c - b) / len_bc
    ca = (a - c) / len_ca
    zero = type(sigma)(0.0)
    one = type(sigma)(1.0)
    two = type(sigma)(2.0)
    per_ab = one / len_ab
    per_bc = one / len_bc
    per_ca = one / len_ca
    gradient_a = wp.vector(zero, zero)
    gradient_b = wp.vector(zero, zero)
    gradient_c = wp.vector(zero, zero)
    sharpness = one / sigma
    x0, x1, y0, y1 = window(a, b, c, radius, odds.shape[2], odds.shape[1])
    for y in range(first_row(y0, band, bands), y1, bands):
        row = type(sigma)(y) + type(sigma)(0.5)
        left, right = columns(a, ab, b, bc, c, ca, row, radius, x0, x1, one, odds.shape[2])
        for x in range(left, right):
            p = pixel_centre(x, y, sigma)
            s, edge, t = signed_square(p - a, ab, len_ab, p - b, bc, len_bc, p - c, ca, len_ca)
            if s > -radius * radius:
                rate = sharpness / (odds[image, y, x] * (one + wp.exp(-s * sharpness)))
                push = wp.where(s >= zero, -two, two) * rate * cotangent[image, y, x]
                if edge == 0:
                    u = t * per_ab
                    pull = push * (p - a - t * ab)
                    gradient_a += (one - u) * pull
                    gradient_b += u * pull
                elif edge == 1:
                    u = t * per_bc
                    pull = push * (p - b - t * bc)
                    gradient_b += (one - u) * pull
                    gradient_c += u * pull
                else:
                    u = t * per_ca
                    pull = push * (p - c - t * ca)
                    gradient_c += (one - u) * pull
                    gradient_a += u * pull
    add_to_vertex(gradient, band, image, i, gradient_a)
    add_to_vertex(gradient, band, image, j, gradient_b)
    add_to_vertex(gradient, band, image, k, gradient_c)


for _scalar in SCALARS:
    _3d, _4d, _faces = wp.array3d(dtype=_scalar), wp.array4d(dtype=_scalar), wp.array3d(dtype=int)
    wp.overload(soft_forward, [int, int, _3d, _faces, _scalar, _scalar, bool, _3d])
    wp.overload(soft_backward, [int, int, _3d, _faces, _scalar, _scalar, _3d, _3d, _4d])
