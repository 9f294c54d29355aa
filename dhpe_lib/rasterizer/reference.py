"""The rasterizer in plain torch: every face against every pixel, slow and true; the twin that tests the kernels.

Frames and conventions as in `dhpe_lib.rasterizer.kernels`; autograd gives the gradients.
"""

import math

import torch
from jaxtyping import Bool, Float, Int, Integer
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

MIN_AREA = 1e-8
"""Faces whose doubled area is at most this, where the image spans [-1, 1], are not drawn."""

FACES_AT_ONCE = 64
"""How many faces meet all pixels in one tensor: bounds the memory."""


def pixel_centres(image_size: int, like: Tensor) -> Float[Tensor, "size size 2"]:
    """Where the pixels' centres lie (x, y), where the image spans [-1, 1]."""
    ticks = (2 * torch.arange(image_size, dtype=like.dtype, device=like.device) + 1) / image_size - 1
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    return torch.stack([x, y], dim=-1)


def cross(a: Float[Tensor, "*n 2"], b: Float[Tensor, "*n 2"]) -> Float[Tensor, "*n"]:
    """Twice the signed area of the triangle (0, a, b)."""
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def drawn_faces(corners: Float[Tensor, "faces 3 3"]) -> Bool[Tensor, " faces"]:
    """Which faces have area and finite corners."""
    a, b, c = corners[..., :2].unbind(1)
    return (cross(b - a, c - a).abs() * 4 > MIN_AREA) & corners.isfinite().all(-1).all(-1)


def squared_distance_to_edge(
    p: Float[Tensor, "size size 1 2"], a: Float[Tensor, "faces 2"], b: Float[Tensor, "faces 2"]
) -> Float[Tensor, "size size faces"]:
    """Squared distance of p to the nearest point of an edge, `a + t (b - a)` with t kept between 0 and 1."""
    t = ((p - a) * (b - a)).sum(-1) / (b - a).square().sum(-1)
    return (p - a - t.clamp(0, 1)[..., None] * (b - a)).square().sum(-1)


def inside_faces(
    p: Float[Tensor, "size size 1 2"], corners: Float[Tensor, "faces 3 2"]
) -> Bool[Tensor, "size size faces"]:
    """Whether p lies in a face, its edges included."""
    a, b, c = corners.unbind(1)
    sides = torch.stack([cross(a - p, b - p), cross(b - p, c - p), cross(c - p, a - p)])
    return (sides >= 0).all(0) | (sides <= 0).all(0)


def log_empty(
    corners: Float[Tensor, "faces 3 2"], image_size: int, sigma: float, radius: float
) -> Float[Tensor, "size size"]:
    """sum_k log(1 - p_k) = -sum_k log(1 + exp(-d_k / sigma)) over some faces."""
    p = pixel_centres(image_size, corners)[:, :, None]
    a, b, c = corners.unbind(1)
    edges = [squared_distance_to_edge(p, *edge) for edge in ((a, b), (b, c), (c, a))]
    distance = torch.stack(edges).amin(0)
    distance = torch.where(inside_faces(p, corners), -distance, distance)
    return -torch.where(distance < radius**2, functional.softplus(-distance / sigma), 0).sum(-1)


def silhouette(
    vertices: Float[Tensor, "batch vertices 3"], faces: Integer[Tensor, "faces 3"], image_size: int, sigma: float
) -> Float[Tensor, "batch size size"]:
    """The soft silhouette 1 - prod_k (1 - p_k) with p_k = sigmoid(-d_k / sigma); see `dhpe_lib.renderer.silhouette`.

    Source:
        Liu et al., Soft Rasterizer, ICCV 2019, Eqs. 1 and 5.
    """
    radius = math.sqrt(math.log(1 / 1e-4 - 1) * sigma)
    masks = []
    for mesh in vertices:
        corners = mesh[faces.long()]
        corners = 2 * corners[drawn_faces(corners)][..., :2]
        total = vertices.new_zeros(image_size, image_size)
        for some in corners.split(FACES_AT_ONCE):
            total = total + checkpoint(log_empty, some, image_size, sigma, radius, use_reentrant=False)
        masks.append(1 - total.exp())
    return torch.stack(masks)


def rasterize(
    vertices: Float[Tensor, "batch vertices 3"], faces: Integer[Tensor, "faces 3"], image_size: int
) -> tuple[Int[Tensor, "batch size size"], Float[Tensor, "batch size size 3"], Float[Tensor, "batch size size"]]:
    """The z-buffer: face after face, keep what is nearer. Face or -1, barycentric coordinates, depth or inf."""
    shape = (len(vertices), image_size, image_size)
    nearest = torch.full(shape, -1, device=vertices.device)
    barycentric = vertices.new_zeros(*shape, 3)
    depth = vertices.new_full(shape, math.inf)
    p = pixel_centres(image_size, vertices)
    for image, mesh in enumerate(vertices):
        corners = mesh[faces.long()]
        for face in drawn_faces(corners).nonzero()[:, 0].tolist():
            (a, b, c), z = 2 * corners[face, :, :2], corners[face, :, 2]
            weights = torch.stack([cross(b - p, c - p), cross(c - p, a - p), cross(a - p, b - p)], dim=-1)
            weights = weights / weights.sum(-1, keepdim=True)
            closer = (weights >= 0).all(-1) & ((weights @ z).float() < depth[image].float())
            nearest[image][closer] = face
            barycentric[image][closer] = weights[closer]
            depth[image][closer] = (weights @ z)[closer]
    return nearest, barycentric, depth


def interpolate(
    attributes: Float[Tensor, "places channels"],
    corners: Integer[Tensor, "faces 3"],
    face: Int[Tensor, "batch size size"],
    barycentric: Float[Tensor, "batch size size 3"],
) -> Float[Tensor, "batch size size channels"]:
    """sum_c barycentric_c attributes[corners[face, c]], 0 where there is no face."""
    values = (barycentric[..., None] * attributes[corners[face].long()]).sum(-2)
    return values * (face >= 0)[..., None]
