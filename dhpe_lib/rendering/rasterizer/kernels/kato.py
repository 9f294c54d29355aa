"""The gradient of a hard mask by Kato et al. (Neural 3D Mesh Renderer, CVPR 2018, Sec. 3.2), which the paper uses.

The value of a pixel jumps when an edge passes over its centre. Along a row or a column, the jump delta I of a pixel is
divided by the distance delta v that a vertex must move until its edge reaches the pixel: dI / dv = delta I / delta v.
Only jumps that lower the loss count. An edge has a gradient from every background pixel of its row or column on its
outer side, and from the pixels of its own face on its inner side.
"""

from typing import Any

import warp as wp

from dhpe_lib.rendering.rasterizer.kernels.common import OPTIONS, SCALARS, corner, larger, load_face, smaller

wp.set_module_options(OPTIONS)

CLOSEST = 0.1
"""Added to every distance, in pixels, so that an edge at a pixel's centre has a finite gradient."""


@wp.func
def shown(face_index: wp.array3d(dtype=int), image: int, along: int, across: int, axis: int):
    """Return the face that a pixel shows.

    For axis 0 the edge moves along x, and the pixel is in row `along` and column `across`. For axis 1 rows and columns
    are swapped.
    """
    if axis == 0:
        return face_index[image, along, across]
    return face_index[image, across, along]


@wp.func
def pull(cotangent: wp.array3d(dtype=Any), image: int, along: int, across: int, axis: int):
    """Return the loss's derivative to a pixel."""
    if axis == 0:
        return cotangent[image, along, across]
    return cotangent[image, across, along]


@wp.func
def per_way(way: Any):
    """Compute 1 / way for a distance `way`, kept finite near zero."""
    one = type(way)(1.0)
    closest = type(way)(CLOSEST)
    return one / (way + wp.where(way < type(way)(0.0), -closest, closest))


@wp.func
def crossing_pull(
    crossing: Any,
    outwards: int,
    line: int,
    image: int,
    face: int,
    axis: int,
    size: int,
    face_index: wp.array3d(dtype=int),
    cotangent: wp.array3d(dtype=Any),
):
    """Compute the loss's derivative to the point where an edge crosses a line of pixels.

    It is 0 unless the visible face ends at this point and the background begins.
    """
    zero = type(crossing)(0.0)
    total = zero
    inner = int(wp.where(outwards > 0, wp.floor(crossing), wp.ceil(crossing)))
    outer = inner + outwards
    if inner < 0 or inner >= size or outer < 0 or outer >= size:
        return zero
    if shown(face_index, image, line, inner, axis) != face or shown(face_index, image, line, outer, axis) >= 0:
        return zero
    d = outer
    while d >= 0 and d < size:  # background that should be covered
        value = pull(cotangent, image, line, d, axis)
        if value < zero and shown(face_index, image, line, d, axis) < 0:
            total += value * per_way(type(zero)(d) - crossing)
        d += outwards
    d = inner
    while d >= 0 and d < size and shown(face_index, image, line, d, axis) == face:  # covered, and should not be
        value = pull(cotangent, image, line, d, axis)
        if value > zero:
            total -= value * per_way(type(zero)(d) - crossing)
        d -= outwards
    return total


@wp.func
def edge_pull(
    a: Any,
    b: Any,
    third: Any,
    image: int,
    face: int,
    axis: int,
    face_index: wp.array3d(dtype=int),
    cotangent: wp.array3d(dtype=Any),
):
    """Compute the gradients of both ends of an edge along an axis; `third` is the face's other corner."""
    zero = type(a[0])(0.0)
    one = type(a[0])(1.0)
    half = type(a[0])(0.5)
    of_start = zero
    of_end = zero
    lines = wp.where(axis == 0, face_index.shape[1], face_index.shape[2])
    size = wp.where(axis == 0, face_index.shape[2], face_index.shape[1])
    along_a = a[1 - axis] - half  # after this shift, pixel centres have whole numbers
    along_b = b[1 - axis] - half
    if along_a == along_b:
        return zero, zero
    slope = (b[axis] - a[axis]) / (along_b - along_a)
    inside = third[axis] - a[axis] - (third[1 - axis] - a[1 - axis]) * slope
    outwards = wp.where(inside < zero, 1, -1)
    first = int(wp.ceil(wp.clamp(smaller(along_a, along_b), zero, type(zero)(lines))))
    last = int(wp.floor(wp.clamp(larger(along_a, along_b), -one, type(zero)(lines - 1))))
    for line in range(first, last + 1):
        share = (type(zero)(line) - along_a) / (along_b - along_a)
        crossing = a[axis] - half + share * (b[axis] - a[axis])
        if crossing > -one and crossing < type(zero)(size):
            total = crossing_pull(crossing, outwards, line, image, face, axis, size, face_index, cotangent)
            of_start += (one - share) * total
            of_end += share * total
    return of_start, of_end


@wp.func
def add_edge(
    gradient: wp.array4d(dtype=Any),
    band: int,
    image: int,
    face: int,
    start: int,
    end: int,
    other: int,
    screen: wp.array3d(dtype=Any),
    face_index: wp.array3d(dtype=int),
    cotangent: wp.array3d(dtype=Any),
):
    """Add the gradients of an edge, along both axes, to its two vertices."""
    a = corner(screen, image, start)
    b = corner(screen, image, end)
    c = corner(screen, image, other)
    for axis in range(2):
        of_start, of_end = edge_pull(a, b, c, image, face, axis, face_index, cotangent)
        wp.atomic_add(gradient, band, image, start, axis, of_start)
        wp.atomic_add(gradient, band, image, end, axis, of_end)


@wp.kernel
def kato_backward(
    band: int,
    bands: int,
    screen: wp.array3d(dtype=Any),
    faces: wp.array3d(dtype=int),
    face_index: wp.array3d(dtype=int),
    cotangent: wp.array3d(dtype=Any),
    gradient: wp.array4d(dtype=Any),
):
    """Add to gradient[band, image, vertex] the gradients of all crossings of an edge with a line of pixels."""
    image, face = wp.tid()
    if face % bands != band:
        return
    i, j, k, drawn = load_face(screen, faces, image, face)
    if not drawn:
        return
    add_edge(gradient, band, image, face, i, j, k, screen, face_index, cotangent)
    add_edge(gradient, band, image, face, j, k, i, screen, face_index, cotangent)
    add_edge(gradient, band, image, face, k, i, j, screen, face_index, cotangent)


for _scalar in SCALARS:
    _3d, _4d, _int = wp.array3d(dtype=_scalar), wp.array4d(dtype=_scalar), wp.array3d(dtype=int)
    wp.overload(kato_backward, [int, int, _3d, _int, _int, _3d, _4d])
