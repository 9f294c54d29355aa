"""L_Lap, how far a mesh is from the smoothness of the hand at rest (Eq. 7; Kanazawa et al. 2018; PAPER.md Sec. 9.5).

The Laplacian of a vertex is its offset from the weighted mean of its neighbours, ``(L v)_i = v_i - sum_j w_ij v_j``.
Plain smoothness, the mean of ``|(L v)_i|``, is least for a mesh shrunk to a point: it pulls at the scale and at thin
fingers. So by default the length is compared with the one that the template has at the same scale, which turning,
moving and scaling leave at 0::

    L_Lap = mean_i | |(L v)_i| - c |(L vbar)_i| |

Measured on the open hand at c = 3.5, the size of a hand in its crop: natural poses and shapes have 0.0007, wildly wrong
poses 0.0027, a ratio of 3.8; 3.1 with uniform weights, and 1.5 and 1.3 with plain smoothness, whose pull at the scale
is 6 times as strong. Hence cotangent weights.
"""

from typing import Literal

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn
from torch.linalg import vector_norm

from dhpe_lib.hand.model import HandModel

Weights = Literal["uniform", "cotangent"]


class Laplacian(nn.Module):
    """L of one hand, and the template's own lengths ``|(L vbar)_i|``.

    Args:
        hand: The hand model.
        weights: "uniform": a neighbour counts one; "cotangent": by the two angles that face the edge, of the template.
        plain: Whether the template's lengths count as 0: plain smoothness.
    """

    matrix: Float[Tensor, "778 778"]
    rest: Float[Tensor, " 778"]

    def __init__(self, hand: HandModel, weights: Weights = "cotangent", plain: bool = False) -> None:
        super().__init__()
        template = hand.v_template
        uniform = weights == "uniform"
        edges = uniform_weights(template, hand.faces) if uniform else cotangent_weights(template, hand.faces)
        matrix = torch.eye(len(edges)).to(edges) - edges / edges.sum(1, keepdim=True)
        rest = vector_norm(matrix @ template, dim=-1)
        self.register_buffer("matrix", matrix, persistent=False)
        self.register_buffer("rest", torch.zeros_like(rest) if plain else rest, persistent=False)

    def forward(self, vertices: Float[Tensor, "b 778 3"], scale: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """L_Lap of each mesh.

        Args:
            vertices: Posed meshes.
            scale: Their global scale c, which is 1 + c_s; it gets a gradient, too.

        Returns:
            Mean length over the vertices, in the unit of `vertices`.

        Source: PAPER.md Sec. 9.5.
        """
        lengths = vector_norm(self.matrix @ vertices, dim=-1)
        return (lengths - scale[:, None] * self.rest).abs().mean(1)


def uniform_weights(vertices: Float[Tensor, "count 3"], faces: Integer[Tensor, "f 3"]) -> Float[Tensor, "count count"]:
    """1 for each pair of neighbours.

    Args:
        vertices: Mesh; its places do not matter.
        faces: Vertex indices.

    Returns:
        A symmetric matrix.
    """
    edges = vertices.new_zeros(len(vertices), len(vertices))
    for a, b in ((0, 1), (1, 2), (2, 0)):
        edges[faces[:, a], faces[:, b]] = 1
        edges[faces[:, b], faces[:, a]] = 1
    return edges


def cotangent_weights(
    vertices: Float[Tensor, "count 3"], faces: Integer[Tensor, "f 3"]
) -> Float[Tensor, "count count"]:
    """(cot alpha + cot beta) / 2 for each edge, alpha and beta the angles that face it; at least 0.

    Args:
        vertices: Mesh.
        faces: Vertex indices.

    Returns:
        A symmetric matrix.

    Source: Pinkall and Polthier 1993; the floor keeps rows from summing to 0.
    """
    edges = vertices.new_zeros(len(vertices), len(vertices))
    for corner in range(3):
        tip, a, b = (faces[:, (corner + k) % 3] for k in range(3))
        left, right = vertices[a] - vertices[tip], vertices[b] - vertices[tip]
        cotangent = (left * right).sum(-1) / vector_norm(torch.linalg.cross(left, right), dim=-1).clamp_min(1e-12)
        edges.index_put_((a, b), cotangent / 2, accumulate=True)
        edges.index_put_((b, a), cotangent / 2, accumulate=True)
    return edges.clamp_min(0)
