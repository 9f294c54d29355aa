"""The reference implementation of the rasterizer in plain torch and Python: slow and simple, it tests the kernels.

All functions take screen coordinates in pixels, as in `dhpe_lib.rendering.rasterizer.kernels.common`. Gradients come
from autograd, except Kato's gradient, which is a function of its own.
"""

import itertools
import math
from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int, Int32, Integer
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

MIN_AREA = 1e-4
"""Faces whose doubled area is at most this, in square pixels, are not drawn."""

FACES_AT_ONCE = 64
"""Number of faces that are compared with all pixels in one tensor; it limits the memory."""

TAIL = 1e-4
"""A face adds nothing to a soft pixel where its probability is below this."""

CLOSEST = 0.1
"""Added to every distance of Kato's gradient, in pixels."""

Pixels = Float[Tensor, "batch height width"]


def pixel_centres(height: int, width: int, like: Tensor) -> Float[Tensor, "height width 2"]:
    """Return the (u, v) of all pixel centres."""
    y, x = torch.meshgrid(
        torch.arange(height, dtype=like.dtype, device=like.device) + 0.5,
        torch.arange(width, dtype=like.dtype, device=like.device) + 0.5,
        indexing="ij",
    )
    return torch.stack([x, y], dim=-1)


def cross(a: Float[Tensor, "*n 2"], b: Float[Tensor, "*n 2"]) -> Float[Tensor, "*n"]:
    """Compute twice the signed area of the triangle (0, a, b)."""
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def signed_area(corners: Float[Tensor, "*n 3 k"]) -> Float[Tensor, "*n"]:
    """Compute twice the signed area of triangles in the image."""
    a, b, c = corners[..., :2].unbind(-2)
    return cross(b - a, c - a)


def drawn_faces(corners: Float[Tensor, "faces 3 k"]) -> Bool[Tensor, " faces"]:
    """Return which faces are drawn: those with an area and with finite corners."""
    return (signed_area(corners).abs() > MIN_AREA) & corners.isfinite().all(-1).all(-1)


# Soft


def squared_distance_to_edge(
    p: Float[Tensor, "height width 1 2"], a: Float[Tensor, "faces 2"], b: Float[Tensor, "faces 2"]
) -> Float[Tensor, "height width faces"]:
    """Compute the squared distance of p to the nearest point of an edge, `a + t (b - a)` with t clamped to [0, 1]."""
    t = ((p - a) * (b - a)).sum(-1) / (b - a).square().sum(-1)
    return (p - a - t.clamp(0, 1)[..., None] * (b - a)).square().sum(-1)


def inside_faces(
    p: Float[Tensor, "height width 1 2"], corners: Float[Tensor, "faces 3 2"]
) -> Bool[Tensor, "height width faces"]:
    """Return whether p is inside a face or on its edges."""
    a, b, c = corners.unbind(1)
    sides = torch.stack([cross(a - p, b - p), cross(b - p, c - p), cross(c - p, a - p)])
    return (sides >= 0).all(0) | (sides <= 0).all(0)


def log_empty(
    corners: Float[Tensor, "faces 3 2"], height: int, width: int, sigma: float
) -> Float[Tensor, "height width"]:
    """Compute sum_k log(1 - p_k) = -sum_k log(1 + exp(s_k / sigma)) over the given faces."""
    p = pixel_centres(height, width, corners)[:, :, None]
    a, b, c = corners.unbind(1)
    square = torch.stack([squared_distance_to_edge(p, *edge) for edge in ((a, b), (b, c), (c, a))]).amin(0)
    s = torch.where(inside_faces(p, corners), square, -square)
    near = s > -math.log(1 / TAIL - 1) * sigma
    return -torch.where(near, functional.softplus(s / sigma), 0).sum(-1)


def soft(
    screen: Float[Tensor, "batch vertices 3"], faces: Integer[Tensor, "faces 3"], height: int, width: int, sigma: float
) -> Pixels:
    """Render the soft silhouette 1 - prod_k (1 - p_k) with p_k = sigmoid(s_k / sigma); sigma in squared pixels.

    Source:
        Liu et al., Soft Rasterizer, ICCV 2019, Eqs. 1 and 5.
    """
    masks = []
    for mesh in screen:
        corners = mesh[faces.long()]
        corners = corners[drawn_faces(corners)][..., :2]
        total = screen.new_zeros(height, width)
        for some in corners.split(FACES_AT_ONCE):
            total = total + checkpoint(log_empty, some, height, width, sigma, use_reentrant=False)
        masks.append(1 - total.exp())
    return torch.stack(masks)


# Coverage


def clip(polygon: list[Tensor], axis: int, bound: int, sign: int) -> list[Tensor]:
    """Clip a polygon by a line: keep the points p with sign (p[axis] - bound) >= 0.

    Source: Sutherland and Hodgman, Reentrant Polygon Clipping, 1974.
    """
    kept = []
    for a, b in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        da, db = sign * (a[axis] - bound), sign * (b[axis] - bound)
        if da >= 0:
            kept.append(a)
        if (da >= 0) != (db >= 0):
            kept.append(a + da / (da - db) * (b - a))
    return kept


def polygon_area(polygon: list[Tensor]) -> Tensor:
    """Compute the signed area of a polygon by the shoelace formula."""
    corners = torch.stack(polygon)
    return cross(corners, corners.roll(-1, 0)).sum() / 2


def pixels_in_box(corners: Float[Tensor, "3 2"], height: int, width: int) -> Iterator[tuple[int, int]]:
    """Yield the pixels (x, y) that the bounding box of a face touches."""
    low = corners.detach().amin(0).floor().clamp(min=0).tolist()
    high = corners.detach().amax(0).ceil().tolist()
    for y in range(int(low[1]), min(int(high[1]), height)):
        for x in range(int(low[0]), min(int(high[0]), width)):
            yield x, y


def coverage(
    screen: Float[Tensor, "batch vertices 3"], faces: Integer[Tensor, "faces 3"], height: int, width: int
) -> Pixels:
    """Render the coverage min(1, max(front, back)); each is the summed area of faces clipped to the pixel's square."""
    masks = []
    for mesh in screen:
        corners = mesh[faces.long()][..., :2]
        rows: dict[tuple[int, int, int], Tensor] = {}
        for face in drawn_faces(corners).nonzero()[:, 0].tolist():
            area = signed_area(corners[face])
            polygon = list(corners[face] if area > 0 else corners[face].flip(0))
            for x, y in pixels_in_box(corners[face], height, width):
                cut = clip(clip(clip(clip(polygon, 0, x, 1), 0, x + 1, -1), 1, y, 1), 1, y + 1, -1)
                if cut:
                    key = (int(area > 0), y, x)
                    rows[key] = rows.get(key, 0) + polygon_area(cut)
        layers = screen.new_zeros(2, height, width)
        if rows:
            index = torch.tensor(list(rows), device=screen.device).T
            layers = layers.index_put(tuple(index), torch.stack(list(rows.values())))
        masks.append(layers.amax(0).clamp(0, 1))
    return torch.stack(masks)


# Kato


def kato_gradient(
    screen: Float[Tensor, "batch vertices 3"],
    faces: Integer[Tensor, "faces 3"],
    face_index: Int[Tensor, "batch height width"],
    cotangent: Pixels,
) -> Float[Tensor, "batch vertices 3"]:
    """Compute Kato's gradient of a hard mask to the vertices, from the loss's derivative to the mask.

    Source:
        Kato, Ushiku and Harada, Neural 3D Mesh Renderer, CVPR 2018, Sec. 3.2.
    """
    gradient = torch.zeros_like(screen)
    for image in range(len(screen)):
        for face, (i, j, k) in enumerate(faces.tolist()):
            for start, end, third in ((i, j, k), (j, k, i), (k, i, j)):
                for axis in (0, 1):
                    # For motion along v, swap rows and columns, so that it becomes motion along u.
                    order = [axis, 1 - axis]
                    a, b, c = (screen[image, [start, end, third]][:, order] - 0.5).tolist()
                    shown = face_index[image] if axis == 0 else face_index[image].T
                    pulls = cotangent[image] if axis == 0 else cotangent[image].T
                    of_start, of_end = edge_pull(a, b, c, face, shown.tolist(), pulls.tolist())
                    gradient[image, start, axis] += of_start
                    gradient[image, end, axis] += of_end
    return gradient


def edge_pull(
    a: list[float], b: list[float], third: list[float], face: int, shown: list[list[int]], pulls: list[list[float]]
) -> tuple[float, float]:
    """Compute the gradients of both ends of an edge that moves along the rows.

    Coordinates are shifted by 1/2, so pixel centres have whole numbers.
    """
    of_start = of_end = 0.0
    if a[1] == b[1]:
        return 0.0, 0.0
    for line, (faces, values) in enumerate(zip(shown, pulls, strict=True)):
        share = (line - a[1]) / (b[1] - a[1])
        if 0 <= share <= 1:
            crossing = a[0] + share * (b[0] - a[0])
            inside_right = third[0] > a[0] + (third[1] - a[1]) * (b[0] - a[0]) / (b[1] - a[1])
            total = line_pull(crossing, -1 if inside_right else 1, face, faces, values)
            of_start += (1 - share) * total
            of_end += share * total
    return of_start, of_end


def line_pull(crossing: float, outwards: int, face: int, faces: list[int], values: list[float]) -> float:
    """Compute the loss's derivative to the point where an edge crosses a row of pixels.

    It is the sum of each pixel's change divided by its distance to the edge, over the changes that lower the loss.
    """
    inner = math.floor(crossing) if outwards > 0 else math.ceil(crossing)
    outer, size = inner + outwards, len(faces)
    if not (0 <= inner < size and 0 <= outer < size and faces[inner] == face and faces[outer] < 0):
        return 0.0

    def per_way(d: int) -> float:
        way = d - crossing
        return 1 / (way - CLOSEST if way < 0 else way + CLOSEST)

    outside = range(outer, size) if outwards > 0 else range(outer, -1, -1)
    total = sum(values[d] * per_way(d) for d in outside if faces[d] < 0 and values[d] < 0)
    for d in range(inner, -1, -1) if outwards > 0 else range(inner, size):
        if faces[d] != face:
            break
        total -= max(values[d], 0) * per_way(d)
    return total


# Z-buffer


def rasterize(
    screen: Float[Tensor, "batch vertices 3"],
    faces: Integer[Tensor, "faces 3"],
    height: int,
    width: int,
    pinhole: bool = False,
) -> tuple[Int32[Tensor, "batch height width"], Float[Tensor, "batch height width 3"], Pixels]:
    """Rasterize with a z-buffer that keeps the nearest face of each pixel.

    Returns:
        The face (-1 if there is none), its barycentric coordinates, and its depth (infinite if there is no face).
    """
    shape = (len(screen), height, width)
    nearest = torch.full(shape, -1, dtype=torch.int32, device=screen.device)
    barycentric = screen.new_zeros(*shape, 3)
    depth = screen.new_full(shape, math.inf)
    p = pixel_centres(height, width, screen)
    for image, mesh in enumerate(screen):
        corners = mesh[faces.long()]
        for face in drawn_faces(corners).nonzero()[:, 0].tolist():
            (a, b, c), z = corners[face, :, :2], corners[face, :, 2]
            areas = torch.stack([cross(b - p, c - p), cross(c - p, a - p), cross(a - p, b - p)], dim=-1)
            inside = (areas >= 0).all(-1) | (areas <= 0).all(-1)
            weights = areas / z if pinhole else areas
            weights = weights / weights.sum(-1, keepdim=True)
            closer = inside & ((weights @ z).float() < depth[image].float())
            nearest[image] = torch.where(closer, face, nearest[image])
            barycentric = barycentric.index_put(
                (torch.tensor(image),), torch.where(closer[..., None], weights, barycentric[image])
            )
            depth = depth.index_put((torch.tensor(image),), torch.where(closer, weights @ z, depth[image]))
    return nearest, barycentric, depth


def interpolate(
    attributes: Float[Tensor, "rows channels"],
    corners: Integer[Tensor, "faces 3"],
    face: Int[Tensor, "batch height width"],
    barycentric: Float[Tensor, "batch height width 3"],
) -> Float[Tensor, "batch height width channels"]:
    """Compute sum_c b_c attributes[corners[face, c]]; 0 at pixels without a face."""
    values = (barycentric[..., None] * attributes[corners[face].long()]).sum(-2)
    return values * (face >= 0)[..., None]


# Anti-aliasing


def outlines(mesh: Float[Tensor, "vertices 3"], faces: Integer[Tensor, "faces 3"]) -> dict[tuple[int, int], int]:
    """Map each edge (face, number) to the face where the surface continues.

    An edge where the surface ends or folds is an outline and has no entry.
    """
    owners: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for face, corners in enumerate(faces.tolist()):
        for e in range(3):
            a, b = sorted((corners[e], corners[(e + 1) % 3]))
            owners.setdefault((a, b), []).append((face, e))
    front = (signed_area(mesh[faces.long()]) > 0).tolist()
    drawn = drawn_faces(mesh[faces.long()]).tolist()
    beyond = {}
    for sides in owners.values():
        if len(sides) == 2:
            (f, e), (g, d) = sides
            if front[f] == front[g]:
                if drawn[g]:
                    beyond[f, e] = g
                if drawn[f]:
                    beyond[g, d] = f
    return beyond


def antialias(
    hard: Float[Tensor, "batch height width channels"],
    screen: Float[Tensor, "batch vertices 3"],
    faces: Integer[Tensor, "faces 3"],
    face_index: Int[Tensor, "batch height width"],
    depth: Pixels,
) -> Float[Tensor, "batch height width channels"]:
    """Blend pixels across the outlines that pass between them."""
    pictures = []
    for image, mesh in enumerate(screen):
        beyond = outlines(mesh.detach(), faces)
        height, width = hard.shape[1:3]
        given: dict[tuple[int, int, int], list[tuple[Tensor, Tensor]]] = {}  # (row, column, axis) -> (share, colour)
        for y, x, axis in itertools.product(range(height), range(width), (0, 1)):
            other = (y + axis, x + 1 - axis)
            if other[0] < height and other[1] < width:
                shift = pair_shift(mesh, faces, beyond, face_index[image], depth[image], (y, x), other, axis)
                taker, giver = (other, (y, x)) if shift > 0 else ((y, x), other)
                given.setdefault((*taker, axis), []).append((shift.abs(), hard[image][giver]))
        rows = []
        for y, x in itertools.product(range(height), range(width)):
            pixel = hard[image, y, x]
            along = [given.get((y, x, axis), []) for axis in (0, 1)]
            totals = [sum(share for share, _ in pairs) for pairs in along]
            changes = [sum(share * (color - pixel) for share, color in pairs) for pairs in along]
            rows.append(pixel + changes[0] * (1 - totals[1] / 2) + changes[1] * (1 - totals[0] / 2))
        pictures.append(torch.stack(rows).view(height, width, -1))
    return torch.stack(pictures)


def pair_shift(
    mesh: Float[Tensor, "vertices 3"],
    faces: Integer[Tensor, "faces 3"],
    beyond: dict[tuple[int, int], int],
    shown: Int[Tensor, "height width"],
    depth: Float[Tensor, "height width"],
    first: tuple[int, int],
    second: tuple[int, int],
    axis: int,
) -> Tensor:
    """Compute c - 1/2 for the outline between two pixels (row, column); 0 if there is no outline."""
    none = mesh.new_zeros(())
    f, g = int(shown[first]), int(shown[second])
    if f == g:
        return none
    from_first = g < 0 or (f >= 0 and bool(depth[first] < depth[second]))
    now, target, start = (f, g, first) if from_first else (g, f, second)
    if any(beyond.get((now, e)) == target for e in range(3)):
        return none
    centre = [start[1] + 0.5, start[0] + 0.5]
    step, reached, before = (1 if from_first else -1), 0.0, -1
    while True:
        found = []
        for e in range(3):
            a, b = mesh[faces[now, e]], mesh[faces[now, (e + 1) % 3]]
            straddles = bool((a[1 - axis] > centre[1 - axis]) != (b[1 - axis] > centre[1 - axis]))
            if straddles and (before < 0 or beyond.get((now, e)) != before):
                share = (centre[1 - axis] - a[1 - axis]) / (b[1 - axis] - a[1 - axis])
                t = step * (a[axis] + share * (b[axis] - a[axis]) - centre[axis])
                if t >= reached:
                    found.append((t, e, b - a))
        if not found:
            return none
        t, e, along = max(found, key=lambda item: float(item[0].detach()))
        if t > 1:
            return none
        if (now, e) not in beyond:
            steep = bool(along[1 - axis].abs() >= along[axis].abs())
            return step * (t - 0.5) if steep else none
        before, now, reached = now, beyond[now, e], float(t.detach())
