"""The variants of f_E3D and of its training, and the evidence and labels that each of them sees."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import pad

from dhpe_lib.common.records import take_rows, to_numpy
from dhpe_lib.evaluation.alignment import align_similarity
from dhpe_lib.experiments.cached_evidence import CachedEvidence
from dhpe_lib.experiments.novel_view_evidence import Seeds
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.skeleton import JOINT_NAMES
from dhpe_lib.network.hand_landmarks import FEATURES
from dhpe_lib.rendering.renderer import DEFAULT_METHOD, Method, silhouette

SHARE = 4
"""Every fourth image of a batch has its mesh computed for L_Lap, and for L_Sh unless a form says otherwise."""
AS_SUM = 224.0**2
"""Weight with which a mean over the pixels of a crop is the paper's sum."""
WITHOUT_MASK = 30_000 / 71_258
"""Share of the paper's training images without a mask: those of STB."""
FEW = 512
"""Number of real images from which the augmentation has something to add."""
STEPS, WEAK_STEPS, HALF_OPEN_STEPS = 600, 100, 200
"""Steps of a training; of one that ends early for a weak start of the refinement; and of one after which about half of
the images are within tau, so that the gates of Eq. 12 are half open."""
DISTURBED_SHARE, SHIFT = 0.15, 0.1
"""Share of the joints of j2D(0) that are erased or shifted in training, and the deviation of a shift, units of g."""
PALM = [JOINT_NAMES.index(name) for name in ("wrist", "index_1", "little_1")]
AT_A_TIME = 256


@dataclass(frozen=True)
class Form:
    """A variant of f_E3D and of its training.

    Attributes:
        iterations: Iterations of the regressor.
        refiner: Whether there is f_Ref.
        loss_ref: Whether L_Ref trains f_Ref; else only the other losses do.
        distance_ref: Whether L_Ref is a distance, which far joints do not rule, instead of its square.
        disturbed: Whether some joints of j2D(0) are "erased" or "shifted" in training, as by things before a hand.
        joints_2d: Whether f_E3D sees j2D(0); else j2D(0) is 0 and f_E3D sees F(x) alone, as in HMR.
        weight_sh: Weight of L_Sh, a mean over the pixels; 0 for none.
        shape_share: L_Sh is the mean over every image of a batch (1), or to save time over every second (2) or fourth.
        silhouette: Method of f_Ren.
        whole_masks: Whether L_Sh compares with the mask of the whole true hand, not with that of its visible part.
        constant_lambda: A constant lambda instead of Eq. 12.
        weight_h: Weight of L_h, with known pose and shape.
        few: Number of real images, evenly spaced in all; 0 for all.
        few_viewpoints: Whether the real images are the ``FEW`` whose palm or back of the hand faces the camera most.
        novel_views: Kind of the novel views that take half of each batch; None for real images in their place.
        near_seeds: Whether only estimates within tau have novel views.
        half_batch: Whether each batch has only the real images that a batch with novel views has, and nothing else.
        refiner_before: Whether f_Ref sees h(t) and v(t), from before the step of f_J3D, instead of h(t+1) and v(t+1).
        start: Name of the form whose trained weights of the same seed are the start; None for random weights.
        steps: Steps of the training.
    """

    iterations: int = 3
    refiner: bool = True
    loss_ref: bool = True
    distance_ref: bool = False
    disturbed: Literal["erased", "shifted"] | None = None
    joints_2d: bool = True
    weight_sh: float = 10.0
    shape_share: int = SHARE
    silhouette: Method = DEFAULT_METHOD
    whole_masks: bool = False
    constant_lambda: float | None = None
    weight_h: float = 0.0
    few: int = 0
    few_viewpoints: bool = False
    novel_views: Seeds | None = None
    near_seeds: bool = False
    half_batch: bool = False
    refiner_before: bool = False
    start: str | None = None
    steps: int = STEPS


FORMS = {
    "full": Form(),
    "without-shape-loss": Form(weight_sh=0.0),
    "without-refiner": Form(refiner=False),
    "without-loss-ref": Form(loss_ref=False),
    "without-2d-losses": Form(refiner=False, joints_2d=False),
    "shape-loss-of-all": Form(shape_share=1),
    "small-shape-loss": Form(weight_sh=1.0),
    "exact-silhouette": Form(silhouette="coverage"),
    "whole-masks": Form(whole_masks=True),
    "shape-loss-as-sum": Form(weight_sh=AS_SUM),
    "constant-lambda-as-sum": Form(weight_sh=AS_SUM, constant_lambda=0.01),
    "constant-lambda": Form(constant_lambda=0.01),
    "few": Form(few=FEW),
    "few-novel-views": Form(few=FEW, novel_views="predicted"),
    "novel-views": Form(novel_views="predicted"),
    "with-hand-loss": Form(weight_h=1.0),
    "one-iteration": Form(iterations=1),
    "five-iterations": Form(iterations=5),
    "few-true-views": Form(few=FEW, novel_views="true"),
    "few-half-batch": Form(few=FEW, half_batch=True),
    "weak-start": Form(steps=WEAK_STEPS),
    "few-without-shape-loss": Form(few=FEW, weight_sh=0.0),
    "few-without-refiner": Form(few=FEW, refiner=False),
    "few-without-2d-losses": Form(few=FEW, refiner=False, joints_2d=False),
    "refiner-before": Form(refiner_before=True),
    "shape-loss-50": Form(weight_sh=50.0),
    "constant-lambda-50": Form(weight_sh=50.0, constant_lambda=0.01),
    "shape-loss-500": Form(weight_sh=500.0),
    "constant-lambda-500": Form(weight_sh=500.0, constant_lambda=0.01),
    "distance-ref": Form(distance_ref=True),
    "erased-joints": Form(disturbed="erased"),
    "erased-joints-without-refiner": Form(disturbed="erased", refiner=False),
    "shifted-joints": Form(disturbed="shifted"),
    "half-open": Form(weight_sh=0.0, steps=HALF_OPEN_STEPS),
    "half-open-without-shape-loss": Form(start="half-open", weight_sh=0.0),
    "half-open-50": Form(start="half-open", weight_sh=50.0),
    "half-open-constant-50": Form(start="half-open", weight_sh=50.0, constant_lambda=0.01),
    "half-open-1": Form(start="half-open", weight_sh=1.0),
    "half-open-constant-1": Form(start="half-open", weight_sh=1.0, constant_lambda=0.01),
    "half-open-500": Form(start="half-open", weight_sh=500.0),
    "half-open-constant-500": Form(start="half-open", weight_sh=500.0, constant_lambda=0.01),
    "half-open-as-sum": Form(start="half-open", weight_sh=AS_SUM),
    "half-open-constant-as-sum": Form(start="half-open", weight_sh=AS_SUM, constant_lambda=0.01),
    "few-smaller-shapes": Form(few=FEW, novel_views="smaller-shapes"),
    "few-near-seeds": Form(few=FEW, novel_views="predicted", near_seeds=True),
    "few-viewpoints": Form(few_viewpoints=True),
    "few-viewpoints-half-batch": Form(few_viewpoints=True, half_batch=True),
    "few-viewpoints-novel-views": Form(few_viewpoints=True, novel_views="predicted"),
}
"""The variants that are trained, by name."""
MEANINGS = {
    "full": "*full*: all losses but L_Feat, L_J2D; L_Sh is 10 times the mean over pixels of every fourth image",
    "without-shape-loss": "no L_Sh",
    "without-refiner": "no f_Ref, so j2D stays j2D(0)",
    "without-loss-ref": "f_Ref, but no L_Ref: only L_Art trains it",
    "without-2d-losses": "neither f_Ref nor j2D: f_E3D sees F(x) alone, as HMR does",
    "shape-loss-of-all": "L_Sh over all images of a batch",
    "small-shape-loss": "L_Sh with weight 1 instead of 10",
    "exact-silhouette": "L_Sh with the exact gradient of a silhouette (coverage) instead of the paper's",
    "whole-masks": "L_Sh compares with the mask of the whole true hand, which no thing cuts",
    "shape-loss-as-sum": "L_Sh is the sum over the pixels, as the paper writes it",
    "constant-lambda-as-sum": "the sum, with lambda 0.01 throughout instead of Eq. 12",
    "constant-lambda": "lambda 0.01 throughout; with weight 10 this is 0.1 of a mean",
    "few": "512 of the images",
    "few-novel-views": "512 images; novel views of them, in the estimated poses, fill half of each batch",
    "novel-views": "all images; novel views of 512 of them replace half of the real images of each batch",
    "with-hand-loss": "L_h: pose and shape have labels",
    "one-iteration": "one iteration of the regressor instead of three",
    "five-iterations": "five iterations of the regressor",
    "few-true-views": "as few-novel-views, but the novel views have the true poses",
    "few-half-batch": "512 images, and half as many in a batch: as many real ones as few-novel-views has",
    "weak-start": "100 steps instead of 600, as a weak start for the refinement",
    "few-without-shape-loss": "512 images, no L_Sh",
    "few-without-refiner": "512 images, no f_Ref",
    "few-without-2d-losses": "512 images, neither f_Ref nor j2D",
    "refiner-before": "f_Ref sees h(t) and v(t), from before the step of f_J3D",
    "shape-loss-50": "L_Sh with weight 50",
    "constant-lambda-50": "weight 50, with lambda 0.01 throughout",
    "shape-loss-500": "L_Sh with weight 500",
    "constant-lambda-500": "weight 500, with lambda 0.01 throughout",
    "distance-ref": "L_Ref is a distance, not its square",
    "erased-joints": "15 % of the joints of j2D(0) in training are those of another hand",
    "erased-joints-without-refiner": "the same, and no f_Ref",
    "shifted-joints": "15 % of the joints of j2D(0) in training are shifted by about 28 pixels",
    "half-open": "200 steps without L_Sh; after them about half of the images are within tau",
    "half-open-without-shape-loss": "600 more steps from *half-open*, no L_Sh",
    "half-open-50": "600 more steps from *half-open*, L_Sh with weight 50",
    "half-open-constant-50": "the same, with lambda 0.01 throughout",
    "half-open-1": "600 more steps from *half-open*, L_Sh with weight 1",
    "half-open-constant-1": "the same, with lambda 0.01 throughout",
    "half-open-500": "600 more steps from *half-open*, L_Sh with weight 500",
    "half-open-constant-500": "the same, with lambda 0.01 throughout",
    "half-open-as-sum": "600 more steps from *half-open*, L_Sh is the sum",
    "half-open-constant-as-sum": "the same, with lambda 0.01 throughout",
    "few-smaller-shapes": "as few-novel-views, but the views' shapes are within 1.5 standard deviations, not 3",
    "few-near-seeds": "as few-novel-views, but only estimates within tau have novel views",
    "few-viewpoints": "the 512 images whose palm or back of the hand faces the camera most",
    "few-viewpoints-half-batch": "the same images, and half as many in a batch",
    "few-viewpoints-novel-views": "the same images, and novel views of them fill half of each batch",
}
"""Descriptions of the variants, or of their difference to *full*."""


def seen_by(form: Form, evidence: CachedEvidence) -> CachedEvidence:
    """Return the evidence with what the paper's f_E3D sees: F(x) and j2D(0), which is 0 without 2D losses.

    The light network's f_E3D also sees descriptions of the joints.
    """
    joints_2d = evidence.joints_2d if form.joints_2d else torch.zeros_like(evidence.joints_2d)
    return replace(evidence, of_crop=evidence.of_crop[:, :FEATURES].contiguous(), joints_2d=joints_2d)


def weakly_labelled(evidence: CachedEvidence, seed: int = 0) -> CachedEvidence:
    """Hide the masks of a share of the images, as many as have none in the paper's training set."""
    hidden = torch.rand(len(evidence), generator=torch.Generator().manual_seed(seed)) < WITHOUT_MASK
    targets = evidence.targets
    return replace(evidence, targets=replace(targets, has_mask=targets.has_mask & ~hidden))


def with_whole_masks(evidence: CachedEvidence, hand: HandModel) -> CachedEvidence:
    """Replace the masks by those of the whole true hands, which no thing and no border of the photo cuts.

    The mesh of the true pose and shape is moved to the true joints by a similarity, so perspective is left out. A hand
    with unknown pose keeps its mask.
    """
    parts, targets = [], evidence.targets
    for rows in torch.arange(len(evidence)).split(AT_A_TIME):
        some = take_rows(targets, rows)
        with torch.no_grad():
            mesh = hand.forward_h(pad(some.pose_shape, (0, 8)))
        points = to_numpy(torch.cat((mesh.joints, mesh.vertices), 1)).astype(float)
        truth = np.full_like(points, np.nan)
        truth[:, :21] = to_numpy(some.joints)
        placed = torch.from_numpy(align_similarity(points, truth)[:, 21:]).float()
        whole = silhouette(placed, hand.faces, some.mask.shape[-1]).to(some.mask)
        parts.append(torch.where(some.has_h[:, None, None], whole, some.mask))
    return replace(evidence, targets=replace(targets, mask=torch.cat(parts)))


def disturbed(form: Form, evidence: CachedEvidence, seed: int) -> CachedEvidence:
    """Erase or shift some joints of j2D(0), as things before a hand do; with neither the evidence stays as it is.

    An erased joint lies where this joint lies in the image before, so its place says nothing.

    Args:
        form: The variant.
        evidence: A batch in random order.
        seed: Random seed of the batch.
    """
    if form.disturbed is None:
        return evidence
    generator, joints = torch.Generator().manual_seed(seed), evidence.joints_2d
    chosen = torch.rand(joints.shape[:2], generator=generator) < DISTURBED_SHARE
    shifted = joints + SHIFT * torch.randn(joints.shape, generator=generator)
    moved = joints.roll(1, 0) if form.disturbed == "erased" else shifted
    return replace(evidence, joints_2d=torch.where(chosen[..., None], moved, joints))


def facing_rows(joints: Float[Tensor, "n 21 3"], count: int) -> Int64[Tensor, " count"]:
    """Return the rows of the hands whose palm or back faces the camera most, in order.

    Args:
        joints: True joints, crop frame.
        count: Number of rows.
    """
    wrist, index, little = joints[:, PALM].unbind(1)
    normal = torch.linalg.cross(index - wrist, little - wrist)
    facing = normal[:, 2].abs() / normal.norm(dim=1)
    return facing.topk(count).indices.sort().values
