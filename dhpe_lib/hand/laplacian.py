"""L_Lap, the Laplacian smoothness of a mesh (Eq. 7; Kanazawa et al. 2018; PAPER.md Sec. 9.5).

The Laplacian of a vertex is its offset from the weighted mean of its neighbours, ``(L v)_i = v_i - sum_j w_ij v_j``.
Plain smoothness, the mean of ``|(L v)_i|``, is smallest for a mesh that is shrunk to a point, so it shrinks the scale
and thin fingers. By default, each length is compared with the length of the template vbar at the same scale c::

    L_Lap = mean_i | |(L v)_i| - c |(L vbar)_i| |

A rotated, translated or scaled template has L_Lap = 0.

Cotangent weights were chosen by measurement on the open hand at c = 3.5, the size of a hand in its crop. Natural poses
and shapes have L_Lap = 0.0007 and wildly wrong poses 0.0027, a ratio of 3.8. With uniform weights the ratio is 3.1.
With plain smoothness it is 1.5 (cotangent) and 1.3 (uniform), and the gradient to the scale is 6 times as large.
"""

from typing import Literal

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn
from torch.linalg import vector_norm

from dhpe_lib.common.arguments import checked
from dhpe_lib.common.precision import full_precision
from dhpe_lib.hand.model import HandModel

EdgeWeights = Literal["uniform", "cotangent"]


class Laplacian(nn.Module):
    """Laplacian matrix L of a hand, and the lengths ``|(L vbar)_i|`` of its template.

    Args:
        hand: The hand model.
        weights: "uniform": all neighbours have weight 1; "cotangent": see `cotangent_weights`, on the template.
        plain: Whether to use plain smoothness, with the template's lengths replaced by 0.
    """

    matrix: Float[Tensor, "778 778"]
    rest: Float[Tensor, " 778"]

    @checked()
    @full_precision
    def __init__(self, hand: HandModel, weights: EdgeWeights = "cotangent", plain: bool = False) -> None:
        super().__init__()
        template = hand.v_template
        uniform = weights == "uniform"
        edges = uniform_weights(template, hand.faces) if uniform else cotangent_weights(template, hand.faces)
        matrix = torch.eye(len(edges)).to(edges) - edges / edges.sum(1, keepdim=True)
        rest = vector_norm(matrix @ template, dim=-1)
        self.register_buffer("matrix", matrix, persistent=False)
        self.register_buffer("rest", torch.zeros_like(rest) if plain else rest, persistent=False)

    @checked()
    @full_precision
    def forward(self, vertices: Float[Tensor, "b 778 3"], scale: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """Compute L_Lap of each mesh.

        Args:
            vertices: Posed meshes, metres times scale.
            scale: Global scale c = 1 + c_s of each mesh.

        Returns:
            Mean over the vertices, in the unit of `vertices`. It has a gradient to vertices and scale.

        Source: PAPER.md Sec. 9.5.
        """
        # One product of two matrices for the whole batch; one for each mesh takes ten times as long on a CPU.
        offsets = (vertices.mT @ self.matrix.mT).mT
        lengths = vector_norm(offsets.contiguous(), dim=-1)
        return (lengths - scale[:, None] * self.rest).abs().mean(1)


@checked()
def uniform_weights(vertices: Float[Tensor, "count 3"], faces: Integer[Tensor, "f 3"]) -> Float[Tensor, "count count"]:
    """Return the adjacency matrix of a mesh: 1 for each pair of vertices that share an edge, else 0.

    Args:
        vertices: Vertices in any unit; only their number, dtype and device are used.
        faces: Vertex indices.

    Returns:
        A symmetric matrix.
    """
    edges = vertices.new_zeros(len(vertices), len(vertices))
    for a, b in ((0, 1), (1, 2), (2, 0)):
        edges[faces[:, a], faces[:, b]] = 1
        edges[faces[:, b], faces[:, a]] = 1
    return edges


@checked()
def cotangent_weights(
    vertices: Float[Tensor, "count 3"], faces: Integer[Tensor, "f 3"]
) -> Float[Tensor, "count count"]:
    """Compute the weight (cot alpha + cot beta) / 2 of each edge; alpha and beta are the angles opposite to it.

    Args:
        vertices: Vertices in any unit.
        faces: Vertex indices.

    Returns:
        A symmetric matrix. Negative weights are set to 0, which keeps the sum of a row from being 0.

    Source: Pinkall and Polthier 1993.
    """
    edges = vertices.new_zeros(len(vertices), len(vertices))
    for corner in range(3):
        tip, a, b = (faces[:, (corner + k) % 3] for k in range(3))
        left, right = vertices[a] - vertices[tip], vertices[b] - vertices[tip]
        # The angle at `tip` is opposite to edge (a, b): cot = cos / sin = (left . right) / |left x right|.
        cotangent = (left * right).sum(-1) / vector_norm(torch.linalg.cross(left, right), dim=-1).clamp_min(1e-12)
        edges.index_put_((a, b), cotangent / 2, accumulate=True)
        edges.index_put_((b, a), cotangent / 2, accumulate=True)
    return edges.clamp_min(0)
