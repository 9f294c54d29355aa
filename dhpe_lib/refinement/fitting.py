"""Fit a hand to 2D evidence from nothing: many starts go down :mod:`dhpe_lib.refinement.energy` with its priors, one is kept.

2D joints leave each finger two readings in depth and say nothing of a hidden one, so several starts are fitted at once,
each hand keeps its best, and the priors decide between readings. They cannot tell a left hand from a right one: the
reflection in depth of one is the other, with the same picture.
"""

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from dhpe_lib.hand.model import HandMesh, HandModel
from dhpe_lib.hand.rotations import axis_angle_to_matrix, matrix_to_quaternion
from dhpe_lib.refinement.descent import Descent, descend
from dhpe_lib.refinement.energy import Evidence, Prior, Weights, energy, hand_prior

PHOTO = Weights(joints=400.0, mask=8.0, pose=2e-3, shape=5e-3, limits=2.0)
"""Of a fit to a photo's joints; the priors keep natural what the joints leave open."""


@dataclass(frozen=True)
class FitOptions:
    """Weights of the energy's terms and the course of the descent.

    The first stage trusts the priors more than the joints, so that its energies tell a natural reading from a strained
    one; the second follows the joints (and the mask) closely.

    Attributes:
        weights: Of the terms in the first stage.
        final_joints: Weight of the joints in the second stage.
        starts: Rotations tried for each hand.
        iterations: Steps of Adam for every start, without the mask.
        finalists: Starts of each hand that go on to the second stage.
        final_iterations: Steps for these, with the mask where there is one.
        rate: Adam's first step size; it falls to zero along half a cosine in each stage.
    """

    weights: Weights = field(default=PHOTO)
    final_joints: float = 1200.0
    starts: int = 12
    iterations: int = 120
    finalists: int = 2
    final_iterations: int = 150
    rate: float = 0.06

    @property
    def final_weights(self) -> Weights:
        """Of the terms in the second stage."""
        return replace(self.weights, joints=self.final_joints)


@dataclass(frozen=True)
class Fit:
    """The best fit of each hand.

    Attributes:
        h: Parameters.
        mesh: Vertices and joints in the crop frame, units of g; the middle MCP lies near z = 0.
        energy: The winning start's E after the first stage: lower is the more natural reading of the evidence.
        trajectory: h along the second stage of the winning start, first to last.
    """

    h: Float[Tensor, "b 63"]
    mesh: HandMesh
    energy: Float[Tensor, " b"]
    trajectory: Float[Tensor, "steps b 63"]


def view_rotations(count: int, dtype: torch.dtype = torch.float32) -> Float[Tensor, "n 3 3"]:
    """Rotations that turn evenly spread directions of the hand towards the camera (Fibonacci sphere)."""
    k = torch.arange(count, dtype=torch.float64) + 0.5
    height, turn = 1 - 2 * k / count, k * torch.pi * (3 - 5**0.5)
    ring = (1 - height.square()).sqrt()
    direction = torch.stack((ring * turn.cos(), ring * turn.sin(), height), 1)
    towards = torch.tensor([0.0, 0.0, -1.0], dtype=torch.float64).expand_as(direction)
    axis = torch.linalg.cross(direction, towards)
    angle = torch.acos((direction * towards).sum(1).clamp(-1, 1))
    return axis_angle_to_matrix(torch.nn.functional.normalize(axis, dim=1) * angle[:, None]).to(dtype)


def align_in_plane(
    points: Float[Tensor, "b n 2"], target: Float[Tensor, "b n 2"], weight: Float[Tensor, "b n"]
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"], Float[Tensor, "b 2"], Float[Tensor, " b"]]:
    """Turn, scale and shift points in the plane onto their targets, by weighted least squares.

    Returns:
        Angle (radians, x towards y), scale, translation, and the mean squared distance that is left.

    Source: Umeyama 1991 in two dimensions; complex numbers would say it in one line.
    """
    w = (weight / weight.sum(1, keepdim=True).clamp_min(1e-9))[..., None]
    mean_p, mean_t = (w * points).sum(1), (w * target).sum(1)
    p, t = points - mean_p[:, None], target - mean_t[:, None]
    dot, cross = (w * p * t).sum((1, 2)), (w[..., 0] * (p[..., 0] * t[..., 1] - p[..., 1] * t[..., 0])).sum(1)
    norm = (w * p * p).sum((1, 2)).clamp_min(1e-9)
    angle, scale = torch.atan2(cross, dot), torch.hypot(dot, cross) / norm
    cos, sin = angle.cos(), angle.sin()
    moved = torch.stack((cos * mean_p[:, 0] - sin * mean_p[:, 1], sin * mean_p[:, 0] + cos * mean_p[:, 1]), 1)
    left = (w * t * t).sum((1, 2)) - scale.square() * norm
    return angle, scale, mean_t - scale[:, None] * moved, left


def starting_points(model: HandModel, evidence: Evidence, count: int, views: int = 64) -> Float[Tensor, "b count 63"]:
    """The best of many views of the mean hand, each turned in the plane onto the 2D joints.

    Args:
        model: Hand model.
        evidence: One row for each hand.
        count: Starts for each hand.
        views: Views tried.

    Returns:
        Parameters h, best first.
    """
    target = evidence.joints_2d
    b, device = len(target), target.device
    turns = view_rotations(views, target.dtype).to(device)
    mean = model(pose=model.hands_mean[None]).joints[0]
    flat = (turns @ mean.mT).mT[..., :2].repeat(b, 1, 1)
    angle, scale, shift, left = align_in_plane(
        flat, target.repeat_interleave(views, 0), evidence.confidence.repeat_interleave(views, 0)
    )
    spin = axis_angle_to_matrix(torch.stack((torch.zeros_like(angle), torch.zeros_like(angle), angle), 1))
    quaternion = matrix_to_quaternion(spin @ turns.repeat(b, 1, 1))
    # A poor view aligns to a point; every start keeps at least a third of the largest scale.
    floor = scale.view(b, views).amax(1, keepdim=True).expand(-1, views).flatten() / 3
    h = torch.cat(
        (
            model.hands_mean.expand(b * views, 45),
            torch.zeros(b * views, 10, dtype=target.dtype, device=device),
            quaternion - quaternion.new_tensor([1.0, 0, 0, 0]),
            torch.maximum(scale, floor)[:, None] - 1,
            shift,
            torch.zeros_like(angle)[:, None],
        ),
        dim=1,
    ).view(b, views, 63)
    return best_rows(h, left.view(b, views), count)[0]


def fit_hands(
    model: HandModel,
    evidence: Evidence,
    options: FitOptions = FitOptions(),
    guess: Float[Tensor, "b 63"] | None = None,
) -> Fit:
    """Fit the model to each hand's evidence.

    Args:
        model: Hand model of a right hand (mirror the evidence of a left one).
        evidence: One row for each hand, in its crop frame.
        options: Weights and course.
        guess: One more start for each hand, such as a network's estimate.

    Returns:
        The best fit of each hand; deterministic on the CPU.

    Raises:
        ValueError: A hand has fewer than 4 joints with confidence, or a joint with confidence is not finite.
    """
    known = evidence.confidence > 0
    if (known.sum(1) < 4).any():
        raise ValueError(
            f"hand {int((known.sum(1) < 4).nonzero()[0])}: fewer than 4 known joints; a fit needs 4 or more"
        )
    if not evidence.joints_2d[known].isfinite().all():
        raise ValueError("a joint with confidence is not finite; give it confidence 0")
    evidence = replace(evidence, joints_2d=evidence.joints_2d.masked_fill(~known[..., None], 0))
    prior = hand_prior(model)
    starts = starting_points(model, evidence, options.starts)
    if guess is not None:
        starts = torch.cat((starts, guess[:, None]), 1)
    loose = replace(evidence, mask=None)
    first = descend_all(model, starts, loose, prior, options.weights, options.iterations, options.rate)

    b, device = len(starts), starts.device
    h, value = best_rows(first.h.view(b, -1, 63), first.energy.view(b, -1), options.finalists)
    last = descend_all(model, h, evidence, prior, options.final_weights, options.final_iterations, options.rate)

    winner = last.energy.view(b, -1).argmin(1)
    rows = torch.arange(b, device=device)
    chosen = rows * h.shape[1] + winner
    with torch.no_grad():
        return Fit(last.h[chosen], model.forward_h(last.h[chosen]), value[rows, winner], last.path[:, chosen])


def descend_all(
    model: HandModel,
    h: Float[Tensor, "b n 63"],
    evidence: Evidence,
    prior: Prior,
    weights: Weights,
    iterations: int,
    rate: float,
) -> Descent:
    """:func:`dhpe_lib.refinement.descent.descend` from n starts of each hand at once; b * n rows, hand by hand."""
    n = h.shape[1]
    mask = None if evidence.mask is None else evidence.mask.repeat_interleave(n, 0)
    rows = Evidence(evidence.joints_2d.repeat_interleave(n, 0), evidence.confidence.repeat_interleave(n, 0), mask)
    return descend(lambda x: energy(model, x, rows, weights, prior), h.flatten(0, 1), iterations, rate)


def best_rows(
    h: Float[Tensor, "b n 63"], value: Float[Tensor, "b n"], count: int
) -> tuple[Float[Tensor, "b count 63"], Float[Tensor, "b count"]]:
    """The starts of lowest energy of each hand, best first."""
    value, order = value.sort(1)
    return h.gather(1, order[:, :count, None].expand(-1, -1, 63)), value[:, :count]
