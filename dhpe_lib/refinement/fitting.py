"""Fit a hand to 2D evidence without a network: minimise :mod:`dhpe_lib.refinement.energy` from many starts.

2D joints allow two depths for each finger and do not determine an occluded finger. Several starts are therefore fitted
in one batch, each hand keeps its best fit, and the priors decide between the possible depths. The handedness cannot be
found in this way: a left hand is the reflection in depth of a right hand and has the same image.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from dhpe_lib.hand.model import HandMesh, HandModel
from dhpe_lib.hand.rotations import axis_angle_to_matrix, matrix_to_quaternion
from dhpe_lib.refinement.analytic_start import align_in_plane
from dhpe_lib.refinement.descent import Descent, descend
from dhpe_lib.refinement.energy import EnergyWeights, HandPrior, Observations, energy, hand_prior

# The joint term is 400 d^2 for a root mean square 2D error d: 0.04 for d = 0.01 g, about 2 pixels of the 224. The
# priors add 0.04 for a squared Mahalanobis distance of 20 of the pose (2e-3 * 20), for |s|^2 = 8 (5e-3 * 8), or for one
# angle 0.14 rad = 8 degrees beyond its limit (2 * 0.14^2). The mask term is 0.04 if 0.5 % of the pixels are wrong.
# So the priors mainly determine what the joints leave open.
PHOTO = EnergyWeights(joints=400.0, mask=8.0, pose=2e-3, shape=5e-3, limits=2.0)
"""Weights for a fit to the joints of a photo."""


@dataclass(frozen=True)
class FitOptions:
    """Options of a fit in two stages.

    In the first stage the priors have more influence, so that a natural pose has a lower energy than an unnatural pose.
    The second stage follows the joints and the mask closely.

    Attributes:
        weights: Weights of the terms in the first stage.
        final_joints: Weight of the joints in the second stage.
        starts: Number of starting rotations for each hand.
        iterations: Steps of the first stage, for each start, without the mask.
        finalists: Number of starts of each hand that continue in the second stage.
        final_iterations: Steps of the second stage, with the mask if there is one.
        rate: Adam's initial step size; in each stage it decays to 0 along half a cosine.
    """

    weights: EnergyWeights = PHOTO
    final_joints: float = 1200.0
    starts: int = 12
    iterations: int = 120
    finalists: int = 2
    final_iterations: int = 150
    rate: float = 0.06

    @property
    def final_weights(self) -> EnergyWeights:
        """Weights of the terms in the second stage."""
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
    """Return rotations that turn evenly spaced directions of the hand towards the camera.

    The directions are a Fibonacci sphere: the heights 1 - 2 (k + 1/2) / n are evenly spaced, and the longitude
    increases by the golden angle pi (3 - sqrt 5).
    """
    k = torch.arange(count, dtype=torch.float64) + 0.5
    height, turn = 1 - 2 * k / count, k * torch.pi * (3 - 5**0.5)
    ring = (1 - height.square()).sqrt()
    direction = torch.stack((ring * turn.cos(), ring * turn.sin(), height), 1)
    towards = torch.tensor([0.0, 0.0, -1.0], dtype=torch.float64).expand_as(direction)
    axis = torch.linalg.cross(direction, towards)
    angle = torch.acos((direction * towards).sum(1).clamp(-1, 1))
    return axis_angle_to_matrix(torch.nn.functional.normalize(axis, dim=1) * angle[:, None]).to(dtype)


def starting_points(
    model: HandModel, evidence: Observations, count: int, views: int = 64
) -> Float[Tensor, "b count 63"]:
    """Choose starting points: views of the mean hand that fit the 2D joints best after an alignment in the plane.

    Args:
        model: Model of a right hand.
        evidence: One row for each hand.
        count: Number of starts for each hand.
        views: Number of views to try.

    Returns:
        Hand parameters h, best first.
    """
    target = evidence.joints_2d
    b, device = len(target), target.device
    turns = view_rotations(views, target.dtype).to(device)
    mean = model(pose=model.hands_mean[None]).joints[0]
    flat = (turns @ mean.mT).mT[..., :2].repeat(b, 1, 1)
    angle, scale, shift, residual = align_in_plane(
        flat, target.repeat_interleave(views, 0), evidence.confidence.repeat_interleave(views, 0)
    )
    spin = axis_angle_to_matrix(torch.stack((torch.zeros_like(angle), torch.zeros_like(angle), angle), 1))
    quaternion = matrix_to_quaternion(spin @ turns.repeat(b, 1, 1))
    # A poor view is aligned by shrinking it to a point, so each start gets at least a third of the largest scale.
    minimum = scale.view(b, views).amax(1, keepdim=True).expand(-1, views).flatten() / 3
    h = torch.cat(
        (
            model.hands_mean.expand(b * views, 45),
            torch.zeros(b * views, 10, dtype=target.dtype, device=device),
            quaternion - quaternion.new_tensor([1.0, 0, 0, 0]),
            torch.maximum(scale, minimum)[:, None] - 1,
            shift,
            torch.zeros_like(angle)[:, None],
        ),
        dim=1,
    ).view(b, views, 63)
    return best_rows(h, residual.view(b, views), count)[0]


def fit_hands(
    model: HandModel,
    evidence: Observations,
    options: FitOptions = FitOptions(),
    guess: Float[Tensor, "b 63"] | None = None,
) -> Fit:
    """Fit the model to each hand's evidence.

    Args:
        model: Model of a right hand; mirror the evidence of a left hand.
        evidence: One row for each hand, in its crop frame.
        options: Weights and numbers of steps.
        guess: One more start h for each hand, such as a network's estimate.

    Returns:
        The best fit of each hand; deterministic on the CPU.

    Raises:
        ValueError: A hand has fewer than 4 joints with confidence above 0, or such a joint is not finite.
    """
    known = evidence.confidence > 0
    if (known.sum(1) < 4).any():
        raise ValueError(f"hand {int((known.sum(1) < 4).nonzero()[0])}: fewer than 4 known joints; give 4 or more")
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
    evidence: Observations,
    prior: HandPrior,
    weights: EnergyWeights,
    iterations: int,
    rate: float,
) -> Descent:
    """Call :func:`dhpe_lib.refinement.descent.descend` for n starts of each hand in one batch of b * n rows."""
    n = h.shape[1]
    mask = None if evidence.mask is None else evidence.mask.repeat_interleave(n, 0)
    rows = Observations(evidence.joints_2d.repeat_interleave(n, 0), evidence.confidence.repeat_interleave(n, 0), mask)
    return descend(lambda x: energy(model, x, rows, weights, prior), h.flatten(0, 1), iterations, rate)


def best_rows(
    h: Float[Tensor, "b n 63"], value: Float[Tensor, "b n"], count: int
) -> tuple[Float[Tensor, "b count 63"], Float[Tensor, "b count"]]:
    """Return the starts of lowest energy of each hand, best first."""
    value, order = value.sort(1)
    return h.gather(1, order[:, :count, None].expand(-1, -1, 63)), value[:, :count]
