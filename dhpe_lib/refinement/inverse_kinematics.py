r"""Inverse kinematics: fit the hand model to given joints with a few steps of Levenberg-Marquardt.

A landmark network gives 21 joints in the image, each with a confidence, and 21 joints in space. The joints in the image
determine the 2D position of each joint. The joints in space determine whether each finger bends towards or away from
the camera; only the directions of their bones are used, so their scale and proportions do not matter. The priors of
:mod:`dhpe_lib.hand.poses` keep the hand natural. The fit starts from the closed form of
:mod:`dhpe_lib.refinement.analytic_start` and minimises the energy of :mod:`dhpe_lib.refinement.landmark_energy` in ten
steps. The first steps use a wide robust loss, so that a poor start does not turn good joints into outliers (graduated
non-convexity).

The model is a right hand; mirror the evidence of a left hand (:func:`dhpe_lib.hand.parameters.mirror_h`). Nothing here
has a gradient. The model and all inputs share one dtype and one device.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.parameters import positive_scale
from dhpe_lib.hand.skeleton import MIDDLE_MCP
from dhpe_lib.refinement.analytic_start import PALM, bone_directions, start_in_picture, start_in_space
from dhpe_lib.refinement.joint_kinematics import joints_and_jacobian
from dhpe_lib.refinement.landmark_energy import (
    DEPTH,
    SCALE,
    Deviations,
    LandmarkPrior,
    LandmarkTargets,
    landmark_residuals,
    pull,
)
from dhpe_lib.refinement.levenberg_marquardt import levenberg_marquardt

FEWEST_JOINTS = 4
WIDE = 6.0
"""Factor of the outlier threshold c in the first steps."""
CLOSEST = 8.0
"""Largest factor by which joints in space have a smaller deviation than ``Deviations.joint``, if they have no noise."""


@dataclass(frozen=True)
class LandmarkOptions:
    """Options of the fit.

    Attributes:
        deviations: Standard deviations of the energy's terms.
        wide_steps: Number of steps with the wide robust loss.
        steps: Number of steps after these.
        starts: Number of views to try if no joints in space are given.
    """

    deviations: Deviations = field(default=Deviations())
    wide_steps: int = 4
    steps: int = 6
    starts: int = 12


@dataclass(frozen=True)
class LandmarkFit:
    """One hand for each row.

    Attributes:
        h: Hand parameters for ``HandModel.forward_h``, in the frame of the given joints.
        joints: The 21 joints of the fitted hand.
        distance: Distance of each joint to the given joint, in their unit; 0 without confidence.
        trust: Weight of each given joint in the robust loss, from 1 (inlier) to 0 (outlier); 0 without confidence.
        energy: E(h); a lower energy is a more natural fit.
        steps: Number of steps that lowered the energy.
    """

    h: Float[Tensor, "b 63"]
    joints: Float[Tensor, "b 21 3"]
    distance: Float[Tensor, "b 21"]
    trust: Float[Tensor, "b 21"]
    energy: Float[Tensor, " b"]
    steps: Int64[Tensor, " b"]


@torch.no_grad()
def fit_to_landmarks(
    model: HandModel,
    joints_2d: Float[Tensor, "b 21 2"],
    confidence: Float[Tensor, "b 21"],
    joints_3d: Float[Tensor, "b 21 3"] | None = None,
    options: LandmarkOptions = LandmarkOptions(),
) -> LandmarkFit:
    """Fit the hand model to joints in the image, with joints in space as a hint on depth.

    Args:
        model: Model of a right hand.
        joints_2d: Joints in the crop frame, units of g, canonical order.
        confidence: Weight of each joint; 0 for an unknown joint, whose position may be any value.
        joints_3d: Joints in space in any unit, axes as in the crop frame (x right, y down, z away), or None. Then
            several views are tried, and the energy chooses.
        options: Options of the fit.

    Returns:
        One fit for each row, in the crop frame; the middle MCP lies at z = 0.

    Raises:
        ValueError: A shape is wrong, a needed value is not finite, a hand has fewer than 4 known joints, or its joints
            all lie in one place.
    """
    check_joints("joints_2d", joints_2d, confidence, 2)
    joints_2d = joints_2d.masked_fill(confidence[..., None] == 0, 0)
    if joints_3d is None:
        from dhpe_lib.refinement.energy import Observations  # these import the renderer, which takes a second
        from dhpe_lib.refinement.fitting import starting_points

        starts = starting_points(model, Observations(joints_2d, confidence), options.starts)
        directions = joints_2d.new_zeros(len(joints_2d), 20, 3)
    else:
        check_joints("joints_3d", joints_3d, torch.ones_like(confidence), 3)
        starts = start_in_picture(model, joints_2d, confidence, joints_3d)[:, None]
        directions = bone_directions(joints_3d)
    unit = positive_scale(starts[:, 0, SCALE])
    targets = LandmarkTargets(joints_2d, confidence, unit, directions, all_but(DEPTH, joints_2d))
    fit = minimise(LandmarkPrior.of(model), targets, starts, options)
    depth = fit.joints[:, MIDDLE_MCP, 2].clone()
    fit.h[:, DEPTH] -= depth
    fit.joints[..., 2] -= depth[:, None]
    return fit


@torch.no_grad()
def fit_to_joints_3d(
    model: HandModel,
    joints_3d: Float[Tensor, "b 21 3"],
    confidence: Float[Tensor, "b 21"] | None = None,
    size: Literal["metres", "any"] = "metres",
    options: LandmarkOptions = LandmarkOptions(),
) -> LandmarkFit:
    """Fit the hand model to joints in space.

    The noise of the joints decides how closely they are followed. A first fit hardly uses the priors. The median
    distance that it leaves is the standard deviation of the joints in the second fit, from an eighth of
    ``Deviations.joint`` to all of it. So exact joints of an unusual pose are met, and noisy joints are smoothed.

    Args:
        model: Model of a right hand.
        joints_3d: Joints in space, canonical order.
        confidence: Weight of each joint; 0 for an unknown joint, None for 1.
        size: "metres": the scale is 1, and the shape explains how large the hand is. "any": the joints are known up
            to a similarity, and the scale is fitted.
        options: Options of the fit; the directions of bones are not used.

    Returns:
        One fit for each row, in the frame of the joints.

    Raises:
        ValueError: See :func:`fit_to_landmarks`; or a hand has fewer than 3 known joints among wrist and MCPs.
    """
    confidence = joints_3d.new_ones(joints_3d.shape[:2]) if confidence is None else confidence
    check_joints("joints_3d", joints_3d, confidence, 3)
    if (bad := (confidence[:, list(PALM)] > 0).sum(1) < 3).any():
        raise ValueError(f"confidence: hand {_first(bad)} has fewer than 3 known joints among wrist and MCPs")
    joints_3d = joints_3d.masked_fill(confidence[..., None] == 0, 0)
    starts = start_in_space(model, joints_3d, confidence, keep_size=size == "metres")[:, None]
    free = all_but(SCALE, joints_3d) if size == "metres" else torch.ones_like(starts[0, 0])
    unit = positive_scale(starts[:, 0, SCALE])
    targets = LandmarkTargets(joints_3d, confidence, unit, joints_3d.new_zeros(len(joints_3d), 20, 3), free)
    prior = LandmarkPrior.of(model)
    close = minimise(prior, replace(targets, confidence=CLOSEST**2 * confidence), starts, options)
    noise = close.distance.masked_fill(confidence == 0, torch.nan).nanmedian(1).values / unit
    precision = (options.deviations.joint / noise).clamp(1, CLOSEST).square()
    targets = replace(targets, confidence=precision[:, None] * confidence)
    return minimise(prior, targets, close.h[:, None], options)


def minimise(
    prior: LandmarkPrior, targets: LandmarkTargets, starts: Float[Tensor, "b n 63"], options: LandmarkOptions
) -> LandmarkFit:
    """Minimise the energy of each hand from each of its starts, and keep the fit of lowest energy.

    Args:
        prior: Prior of the hand model.
        targets: One row for each hand.
        starts: n starting points h for each hand.
        options: Options of the fit.

    Returns:
        One fit for each hand.
    """
    b, n = starts.shape[:2]
    rows, final = targets.repeated(n), options.deviations
    wide = replace(final, outlier=WIDE * final.outlier)
    first = levenberg_marquardt(landmark_residuals(prior, rows, wide), starts.flatten(0, 1), options.wide_steps)
    last = levenberg_marquardt(landmark_residuals(prior, rows, final), first.x, options.steps)
    best = last.energy.view(b, n).argmin(1) + n * torch.arange(b, device=starts.device)
    h = last.x[best]
    joints, _ = joints_and_jacobian(prior.kinematics, h)
    known = targets.confidence > 0
    off = (joints[..., : targets.joints.shape[2]] - targets.joints) * known[..., None]
    trust = pull(off / (final.joint * targets.unit[:, None, None]), final.outlier) * known
    return LandmarkFit(h, joints, off.norm(dim=-1), trust, last.energy[best], (first.accepted + last.accepted)[best])


def all_but(entry: int, like: Tensor) -> Float[Tensor, " 63"]:
    """Return a vector that is 0 for one entry of h and 1 for all others."""
    free = torch.ones(63, dtype=like.dtype, device=like.device)
    free[entry] = 0
    return free


def check_joints(name: str, joints: Tensor, confidence: Tensor, size: int) -> None:
    """Refuse joints that no hand can be fitted to.

    Args:
        name: Name of the argument.
        joints: Joints; their shape must be b x 21 x size.
        confidence: Confidences; their shape must be b x 21.
        size: 2 in the image, 3 in space.

    Raises:
        ValueError: The message names the argument, what is wrong and what is right.
    """
    if joints.ndim != 3 or joints.shape[1:] != (21, size):
        raise ValueError(f"{name} has shape {tuple(joints.shape)}; give (hands, 21, {size})")
    if confidence.shape != joints.shape[:2]:
        raise ValueError(
            f"{name} has shape {tuple(joints.shape)} and its confidence (one for each joint of each hand) "
            f"{tuple(confidence.shape)}; give {tuple(joints.shape)} and {tuple(joints.shape[:2])}"
        )
    if not (confidence.isfinite() & (confidence >= 0)).all():
        raise ValueError(f"confidence, of shape {tuple(confidence.shape)}, must be finite and at least 0")
    known = confidence > 0
    where = f"{name}, of shape {tuple(joints.shape)}: hand "
    if (bad := known.sum(1) < FEWEST_JOINTS).any():
        raise ValueError(f"{where}{_first(bad)} has fewer than {FEWEST_JOINTS} joints with confidence")
    if (bad := (~joints.isfinite().all(2) & known).any(1)).any():
        raise ValueError(
            f"{where}{_first(bad)} has a joint that is not finite; give it confidence 0, or leave the hand out"
        )
    low = joints.masked_fill(~known[..., None], torch.inf).amin(1)
    high = joints.masked_fill(~known[..., None], -torch.inf).amax(1)
    if (bad := (high - low).amax(1) <= 0).any():
        raise ValueError(f"{where}{_first(bad)} has all its joints in one place")


def _first(rows: Tensor) -> int:
    return int(rows.nonzero()[0])
