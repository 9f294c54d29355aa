"""Anti-aliased edges for an image with one sample per pixel, and their gradient.

Take two neighbouring pixels, `first` and `second`, that show different faces. Let an outline pass between their
centres at c, where c = 0 is the first centre and c = 1 the second. The image has the first colour before c and the
second colour after c. Let s = c - 1/2. If s > 0, the second pixel takes the share s of the first colour. If s < 0, the
first pixel takes the share -s of the second colour. The share moves with the edge. This gives a gradient across
occlusions: at the outline of a finger in front of the palm, and at the outline of the hand.

A pixel takes at most 1/2 from each neighbour, so at most 1 along an axis. If it takes S_x along x and S_y along y, the
shares along x are multiplied by 1 - S_y / 2 and the shares along y by 1 - S_x / 2. The total S_x + S_y - S_x S_y is at
most 1.

The blended image is continuous, with two exceptions: when the direction of an edge passes 45 degrees, and when an
outline starts to pass between two more pixel centres.

Source:
    Blending across an outline between pairs of pixels: Laine et al., Modular Primitives for High-Performance
    Differentiable Rendering, TOG 2020, Sec. 3.4. This implementation finds outlines by walking from face to face.
"""

from typing import Any

import warp as wp

from dhpe_lib.rendering.rasterizer.kernels.common import OPTIONS, SCALARS, corner, doubled_area, pixel_centre

wp.set_module_options(OPTIONS)

FARTHEST_WALK = wp.constant(16)
"""Largest number of faces on the walk between two pixels. With smaller faces, edges stay jagged."""


@wp.func
def goes_on(screen: wp.array3d(dtype=Any), faces: wp.array3d(dtype=int), image: int, face: int, beyond: int):
    """Return whether the visible surface continues from a face to its neighbour.

    It continues if the neighbour exists, is drawn, and faces the same side.
    """
    if beyond < 0:
        return False
    here, _ = doubled_area(screen, faces, image, face)
    there, drawn = doubled_area(screen, faces, image, beyond)
    return drawn and (here > type(here)(0.0)) == (there > type(there)(0.0))


@wp.func
def crossing_of(p: Any, a: Any, b: Any, axis: int, step: Any):
    """Return the distance from p, in direction `step` along an axis, to the edge (a, b); -1 if it is not crossed."""
    other = 1 - axis
    if (a[other] > p[other]) == (b[other] > p[other]):
        return -type(step)(1.0)
    share = (p[other] - a[other]) / (b[other] - a[other])
    return step * (a[axis] + share * (b[axis] - a[axis]) - p[axis])


@wp.func
def walk(
    screen: wp.array3d(dtype=Any),
    faces: wp.array3d(dtype=int),
    neighbours: wp.array3d(dtype=int),
    image: int,
    face: int,
    p: Any,
    axis: int,
    step: Any,
):
    """Walk from a face at p one pixel along an axis, to the first edge where its surface ends.

    Returns the edge as 3 face + number, and its distance from p. The edge is -1 if the surface continues to the other
    pixel.
    """
    one = type(step)(1.0)
    mesh = image % faces.shape[0]
    now = int(face)
    before = int(-1)
    reached = type(step)(0.0)
    steps = int(FARTHEST_WALK)  # a variable, or the compiler writes the loop out sixteen times
    for _ in range(steps):
        exit_at = -one  # the farthest crossing; if p is on an edge, the nearest crossing would lead back
        exit_edge = int(-1)
        for e in range(3):
            a = corner(screen, image, faces[mesh, now, e])
            b = corner(screen, image, faces[mesh, now, (e + 1) % 3])
            t = crossing_of(p, a, b, axis, step)
            is_entry = before >= 0 and neighbours[mesh, now, e] == before
            if t >= reached and t > exit_at and not is_entry:
                exit_at = t
                exit_edge = e
        if exit_edge < 0 or exit_at > one:
            return -1, one
        beyond = neighbours[mesh, now, exit_edge]
        if not goes_on(screen, faces, image, now, beyond):
            return 3 * now + exit_edge, exit_at
        before = now
        now = beyond
        reached = exit_at
    return -1, one


@wp.kernel
def find_outlines(
    band: int,
    bands: int,
    screen: wp.array3d(dtype=Any),
    faces: wp.array3d(dtype=int),
    neighbours: wp.array3d(dtype=int),
    face_index: wp.array3d(dtype=int),
    depth: wp.array3d(dtype=Any),
    edges: wp.array4d(dtype=int),
    shifts: wp.array4d(dtype=Any),
):
    """Find the outline between (x, y) and the next pixel along each axis: shifts[image, y, x, axis] = c - 1/2.

    `edges` holds the edge of the outline, or -1 if there is none. An edge counts only for an axis that it crosses at 45
    degrees or more.
    """
    image, row, x = wp.tid()
    y = row * bands + band
    if y >= face_index.shape[1]:
        return
    zero = type(depth[0, 0, 0])(0.0)
    one = type(depth[0, 0, 0])(1.0)
    mesh = image % faces.shape[0]
    first = face_index[image, y, x]
    for axis in range(2):
        next_x = x + 1 - axis
        next_y = y + axis
        if next_x < face_index.shape[2] and next_y < face_index.shape[1]:
            second = face_index[image, next_y, next_x]
            if first != second:
                first_nearer = second < 0 or (first >= 0 and depth[image, y, x] < depth[image, next_y, next_x])
                near = wp.where(first_nearer, first, second)
                far = wp.where(first_nearer, second, first)
                adjacent = False
                for e in range(3):
                    if far >= 0 and neighbours[mesh, near, e] == far:
                        adjacent = True
                if not (adjacent and goes_on(screen, faces, image, near, far)):
                    p = pixel_centre(wp.where(first_nearer, x, next_x), wp.where(first_nearer, y, next_y), zero)
                    step = wp.where(first_nearer, one, -one)
                    edge, t = walk(screen, faces, neighbours, image, near, p, axis, step)
                    if edge >= 0:
                        face = edge // 3
                        a = corner(screen, image, faces[mesh, face, edge % 3])
                        b = corner(screen, image, faces[mesh, face, (edge % 3 + 1) % 3])
                        along = b - a
                        if wp.abs(along[1 - axis]) >= wp.abs(along[axis]):
                            edges[image, y, x, axis] = edge
                            shifts[image, y, x, axis] = step * (t - type(t)(0.5))


@wp.kernel
def outlines_backward(
    band: int,
    bands: int,
    screen: wp.array3d(dtype=Any),
    faces: wp.array3d(dtype=int),
    edges: wp.array4d(dtype=int),
    of_shifts: wp.array4d(dtype=Any),
    gradient: wp.array4d(dtype=Any),
):
    """Add the gradient of the shifts: gradient[band, image, vertex] += of_shifts dc / d vertex.

    The edge crosses the line of pixels at c = a + r (b - a) along the axis, where the line determines r. Then
    dc = (1 - r) (da - slope da') + r (db - slope db'), where ' marks the other axis.
    """
    image, row, x = wp.tid()
    y = row * bands + band
    if y >= edges.shape[1]:
        return
    mesh = image % faces.shape[0]
    for axis in range(2):
        edge = edges[image, y, x, axis]
        if edge >= 0:
            face = edge // 3
            i = faces[mesh, face, edge % 3]
            j = faces[mesh, face, (edge % 3 + 1) % 3]
            a = corner(screen, image, i)
            b = corner(screen, image, j)
            value = of_shifts[image, y, x, axis]
            p = pixel_centre(x, y, value)
            other = 1 - axis
            share = (p[other] - a[other]) / (b[other] - a[other])
            slope = (b[axis] - a[axis]) / (b[other] - a[other])
            of_a = (type(share)(1.0) - share) * value
            of_b = share * value
            wp.atomic_add(gradient, band, image, i, axis, of_a)
            wp.atomic_add(gradient, band, image, i, other, -slope * of_a)
            wp.atomic_add(gradient, band, image, j, axis, of_b)
            wp.atomic_add(gradient, band, image, j, other, -slope * of_b)


@wp.func
def touched(edges: wp.array4d(dtype=int), image: int, y: int, x: int):
    """Return whether an outline passes between a pixel and any of its four neighbours."""
    found = edges[image, y, x, 0] >= 0 or edges[image, y, x, 1] >= 0
    if x > 0:
        found = found or edges[image, y, x - 1, 0] >= 0
    if y > 0:
        found = found or edges[image, y - 1, x, 1] >= 0
    return found


@wp.func
def shift_towards(shifts: wp.array4d(dtype=Any), image: int, y: int, x: int, direction: int):
    """Return a neighbour of a pixel, the share that the neighbour gives to the pixel, and the share that it takes.

    Direction 0 is right, 1 is below, 2 is left and 3 is above.
    """
    zero = type(shifts[0, 0, 0, 0])(0.0)
    axis = direction % 2
    ahead = direction < 2
    row = y + wp.where(axis == 1, wp.where(ahead, 1, -1), 0)
    column = x + wp.where(axis == 0, wp.where(ahead, 1, -1), 0)
    if row < 0 or row >= shifts.shape[1] or column < 0 or column >= shifts.shape[2]:
        return y, x, zero, zero
    shift = zero
    if ahead:
        shift = -shifts[image, y, x, axis]
    else:
        shift = shifts[image, row, column, axis]
    return row, column, wp.max(shift, zero), wp.max(-shift, zero)


@wp.func
def taken_along(shifts: wp.array4d(dtype=Any), image: int, y: int, x: int, axis: int):
    """Compute S, the sum of the shares that a pixel takes from both neighbours along an axis."""
    row, column, ahead, taken = shift_towards(shifts, image, y, x, axis)
    row_2, column_2, behind, taken_2 = shift_towards(shifts, image, y, x, axis + 2)
    return ahead + behind


@wp.func
def left_by(shifts: wp.array4d(dtype=Any), image: int, y: int, x: int, axis: int):
    """Compute 1 - S / 2, where S is the sum of the other axis."""
    one = type(shifts[0, 0, 0, 0])(1.0)
    half = type(shifts[0, 0, 0, 0])(0.5)
    return one - half * taken_along(shifts, image, y, x, 1 - axis)


@wp.kernel
def blend_forward(
    band: int,
    bands: int,
    edges: wp.array4d(dtype=int),
    shifts: wp.array4d(dtype=Any),
    hard: wp.array4d(dtype=Any),
    blended: wp.array4d(dtype=Any),
):
    """Blend each pixel with its four neighbours: blended += sum of share (neighbour - hard).

    `blended` must be a copy of `hard` before.
    """
    image, band_row, x = wp.tid()
    y = band_row * bands + band
    if y >= hard.shape[1] or not touched(edges, image, y, x):
        return
    for direction in range(4):
        row, column, given, _ = shift_towards(shifts, image, y, x, direction)
        if given > type(given)(0.0):
            share = given * left_by(shifts, image, y, x, direction % 2)
            for channel in range(hard.shape[3]):
                change = hard[image, row, column, channel] - hard[image, y, x, channel]
                blended[image, y, x, channel] = blended[image, y, x, channel] + share * change


@wp.func
def change_along(
    shifts: wp.array4d(dtype=Any),
    hard: wp.array4d(dtype=Any),
    cotangent: wp.array4d(dtype=Any),
    image: int,
    y: int,
    x: int,
    axis: int,
):
    """Compute a pixel's cotangent . sum of given (neighbour - pixel) over both neighbours along an axis."""
    total = type(shifts[0, 0, 0, 0])(0.0)
    for side in range(2):
        row, column, given, _ = shift_towards(shifts, image, y, x, axis + 2 * side)
        for channel in range(hard.shape[3]):
            change = hard[image, row, column, channel] - hard[image, y, x, channel]
            total += given * cotangent[image, y, x, channel] * change
    return total


@wp.kernel
def blend_backward(
    band: int,
    bands: int,
    edges: wp.array4d(dtype=int),
    shifts: wp.array4d(dtype=Any),
    hard: wp.array4d(dtype=Any),
    cotangent: wp.array4d(dtype=Any),
    of_hard: wp.array4d(dtype=Any),
    of_shifts: wp.array4d(dtype=Any),
):
    """Compute the gradients of `blend_forward` to `hard` and to the shifts.

    `of_hard` must be a copy of the cotangent before; the transpose of the blending is added to it. `of_shifts` comes
    from the pixel that takes. It is that pixel's cotangent . (first - second), times `left_by` of the axis, less half
    of `change_along` the other axis; for the second term the sign depends on which pixel takes.
    """
    image, band_row, x = wp.tid()
    y = band_row * bands + band
    if y >= hard.shape[1] or not touched(edges, image, y, x):
        return
    half = type(shifts[0, 0, 0, 0])(0.5)
    for direction in range(4):
        row, column, given, taken = shift_towards(shifts, image, y, x, direction)
        given *= left_by(shifts, image, y, x, direction % 2)
        taken *= left_by(shifts, image, row, column, direction % 2)
        for channel in range(hard.shape[3]):
            value = taken * cotangent[image, row, column, channel] - given * cotangent[image, y, x, channel]
            of_hard[image, y, x, channel] = of_hard[image, y, x, channel] + value
    for axis in range(2):
        if edges[image, y, x, axis] >= 0:
            next_x = x + 1 - axis
            next_y = y + axis
            second_takes = shifts[image, y, x, axis] > type(half)(0.0)
            taker_x = wp.where(second_takes, next_x, x)
            taker_y = wp.where(second_takes, next_y, y)
            total = type(half)(0.0)
            for channel in range(hard.shape[3]):
                change = hard[image, y, x, channel] - hard[image, next_y, next_x, channel]
                total += cotangent[image, taker_y, taker_x, channel] * change
            total *= left_by(shifts, image, taker_y, taker_x, axis)
            others = half * change_along(shifts, hard, cotangent, image, taker_y, taker_x, 1 - axis)
            of_shifts[image, y, x, axis] = total + wp.where(second_takes, -others, others)


for _scalar in SCALARS:
    _3d, _4d, _int = wp.array3d(dtype=_scalar), wp.array4d(dtype=_scalar), wp.array3d(dtype=int)
    _edges = wp.array4d(dtype=int)
    wp.overload(find_outlines, [int, int, _3d, _int, _int, _int, _3d, _edges, _4d])
    wp.overload(outlines_backward, [int, int, _3d, _int, _edges, _4d, _4d])
    wp.overload(blend_forward, [int, int, _edges, _4d, _4d, _4d])
    wp.overload(blend_backward, [int, int, _edges, _4d, _4d, _4d, _4d, _4d])
