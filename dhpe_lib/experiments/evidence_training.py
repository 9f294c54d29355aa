"""Train a variant of f_E3D on evidence that was found once, and predict the tests.

f_E3D is the paper's: f_J3D and f_Ref are one layer each, and see F(x) and j2D, in standard units. The losses are the
paper's (Eq. 7) without L_Feat and L_J2D, which train F and f_J2D: L_Art, L_Lap, L_Ref and lambda L_Sh. Pose and shape
have no label, and a share of the images has no mask, as in the paper's training set. All variants of a seed begin with
equal weights, as far as they have the same layers, and see the same images in the same order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn.functional import linear, pad

from dhpe_lib.common.records import join_rows, take_rows, to_numpy
from dhpe_lib.common.schedules import half_cosine
from dhpe_lib.data.crop_frame import SIZE
from dhpe_lib.data.crops import Crops
from dhpe_lib.data.targets import Targets, joint_error_px, weighted_mean
from dhpe_lib.evaluation.evaluate import Predictions, millimetres, undo_eq8
from dhpe_lib.evaluation.mask_metrics import mask_counts
from dhpe_lib.evaluation.metrics import joint_errors, mean_epe
from dhpe_lib.evaluation.scores import TAU
from dhpe_lib.experiments.cached_evidence import CachedEvidence
from dhpe_lib.experiments.evidence_forms import SHARE, Form, disturbed
from dhpe_lib.hand.laplacian import Laplacian
from dhpe_lib.hand.model import HandModel, neutral_h
from dhpe_lib.hand.parameters import positive_scale, split_h
from dhpe_lib.hand.rotations import axis_angle_to_matrix, quaternion_to_matrix
from dhpe_lib.hand.skinning import joint_transforms, pose_features, skin
from dhpe_lib.network.regressor import JOINTS_2D, POSE_SPREAD, Regressor
from dhpe_lib.rendering.renderer import silhouette
from dhpe_lib.synthetic.sampling import seed_of
from dhpe_lib.training.fixed_evidence import masked_loss
from dhpe_lib.training.losses import LossOptions, articulation_loss, refiner_loss, shape_gate

BATCH, RATE, DECAY, WARMUP, CLIP = 256, 1e-3, 1e-3, 100, 1.0
TEST_EVERY, TESTED = 50, 256
"""Steps between the tests of Fig. 5f, and images of each of these tests."""
NO_DISTANCE = 1e-4
"""Added to a distance so that its gradient is finite at 0, units of g."""


@dataclass(frozen=True)
class Training:
    """Result of a training.

    Attributes:
        regressor: f_E3D.
        curve: Fig. 5f: at each step "step", the error of the test (protocol A8, mm), and the share of the training
            instances of the last steps whose 2D error is below tau.
        under_tau: Whether the 2D error of some training images is below tau at the end.
    """

    regressor: Regressor
    curve: list[dict[str, float]]
    under_tau: Bool[np.ndarray, " n"] = field(repr=False)


def new_regressor(form: Form, features: int, seed: int) -> Regressor:
    """Build the paper's f_E3D in standard units; layers of equal shape are equal in all variants of a seed."""
    torch.manual_seed(seed)
    return Regressor(features, form.iterations, not form.refiner, standard_units=True)


@dataclass(frozen=True)
class JointHand:
    """The part of a hand model that its joints depend on: 110 of the open hand's 778 vertices.

    Attributes:
        hand: The hand model.
        rows: The vertices with a weight in f_Reg.
        directions: Displacement of these vertices for each shape coefficient and pose feature.
    """

    hand: HandModel
    rows: Int64[Tensor, " n"]
    directions: Float[Tensor, "145 n_3"]

    @classmethod
    def of(cls, hand: HandModel) -> "JointHand":
        """Select the vertices."""
        rows = hand.regressor.any(0).nonzero()[:, 0]
        directions = torch.cat((hand.shapedirs, hand.posedirs), 2)[rows]
        return cls(hand, rows, directions.flatten(0, 1).mT.contiguous())

    def joints(self, h: Float[Tensor, "b 63"]) -> Float[Tensor, "b 21 3"]:
        """Compute f_Reg(v(h)) as `HandModel.forward_h` does, in a fifth of the time."""
        hand, parts = self.hand, split_h(h)
        local = axis_angle_to_matrix(parts.pose.unflatten(1, (15, 3)))
        offsets = torch.cat((parts.shape, pose_features(local)), 1) @ self.directions
        rest = hand.v_template[self.rows] + offsets.unflatten(1, (len(self.rows), 3))
        posed = skin(rest, joint_transforms(local, hand.rest_joints(parts.shape)), hand.weights[self.rows])
        joints = (posed.mT @ hand.regressor[:, self.rows].mT).mT
        turned = joints @ quaternion_to_matrix(hand.identity + parts.quaternion).mT
        return positive_scale(parts.scale)[..., None] * turned + parts.translation[:, None]


@dataclass(frozen=True)
class Iterations:
    """The values of the iterations of f_E3D that the losses need.

    Attributes:
        h: h after the last iteration.
        joints: f_Reg(v) after the last iteration, crop frame, units of g.
        refined: j2D(1), j2D(2), ..., units of g.
    """

    h: Float[Tensor, "b 63"]
    joints: Float[Tensor, "b 21 3"]
    refined: Float[Tensor, "b t 21 2"]


def iterate(
    regressor: Regressor, evidence: CachedEvidence, body: JointHand, refiner_before: bool = False
) -> Iterations:
    """Iterate f_E3D as `Regressor.forward` does, without what is equal in all iterations and without meshes.

    F(x) is most of the input of f_J3D and f_Ref and does not change, so its product with the weights is computed once.

    Args:
        regressor: f_E3D without hidden layers.
        evidence: Evidence of crops.
        body: From the hand model.
        refiner_before: Whether f_Ref sees h(t) and v(t), not h(t+1) and v(t+1).
    """
    layer, unit = regressor.f_j3d, regressor.unit
    assert isinstance(layer, nn.Linear)
    of_crop, joints_2d = evidence.of_crop, evidence.joints_2d
    features = of_crop.shape[1]
    of_feature, changing = layer.weight.split((features, JOINTS_2D + len(unit)), 1)
    shared = linear(of_crop, of_feature, layer.bias)
    if regressor.f_ref is not None:
        of_joints, of_ref, of_hand = regressor.f_ref.weight.split((JOINTS_2D, features, len(unit) + 63), 1)
        shared_ref, moving = linear(of_crop, of_ref, regressor.f_ref.bias), torch.cat((of_joints, of_hand), 1)
    h, refined = neutral_h(body.hand).expand(len(of_crop), -1), []
    joints = body.joints(h)
    for _ in range(regressor.iterations):
        before = h, joints
        h = h + unit * (shared + linear(torch.cat((joints_2d.flatten(1), h / unit), 1), changing))
        joints = body.joints(h)
        if regressor.f_ref is not None:
            own_h, own_joints = before if refiner_before else (h, joints)
            inputs = torch.cat((joints_2d.flatten(1), own_h / unit, own_joints.flatten(1)), 1)
            joints_2d = (shared_ref + linear(inputs, moving)).unflatten(1, (21, 2))
        refined.append(joints_2d)
    return Iterations(h, joints, torch.stack(refined, 1))


def loss_of(form: Form, path: Iterations, targets: Targets, hand: HandModel, laplacian: Laplacian) -> Float[Tensor, ""]:
    """Compute the mean loss of a batch; pose and shape count as unknown unless L_h has a weight.

    L_Lap and L_Sh need the mesh. To save time L_Lap is a mean over every fourth image, and L_Sh over the form's share.
    """
    loss = articulation_loss(path.joints, targets).mean()
    rows = torch.arange(0, len(path.h), form.shape_share)
    vertices = hand.forward_h(path.h[rows]).vertices
    scale = positive_scale(split_h(path.h[::SHARE]).scale[:, 0])
    loss = loss + laplacian(vertices[:: SHARE // form.shape_share], scale).mean()
    if form.loss_ref and form.refiner:
        loss = loss + (distance_loss if form.distance_ref else refiner_loss)(path.refined, targets).mean()
    if form.weight_sh:
        some = take_rows(targets, rows)
        gate = shape_gate(path.joints[rows], some, LossOptions(constant_lambda=form.constant_lambda))
        loss = loss + form.weight_sh * masked_loss(vertices, some, gate, hand, form.silhouette).mean()
    if form.weight_h:
        loss = loss + form.weight_h * known_hand_loss(path.h, targets).mean()
    return loss


def distance_loss(refined: Float[Tensor, "b t 21 2"], targets: Targets) -> Float[Tensor, " b"]:
    """Compute L_Ref with distances instead of their squares; for a joint tau away from the truth both are equal.

    Args:
        refined: j2D(1), j2D(2), ..., units of g.
        targets: Ground truth; unlabelled joints do not count.

    Returns:
        As :func:`dhpe_lib.training.losses.refiner_loss`.
    """
    off = torch.where(targets.known_2d[:, None, :, None], refined - targets.joints_2d[:, None], 0)
    distance = (off.square().sum(-1) + NO_DISTANCE**2).sqrt().mean(1)
    return 21 * TAU / SIZE * weighted_mean(distance, targets.known_2d.to(distance.dtype))


def known_hand_loss(h: Float[Tensor, "b 63"], targets: Targets) -> Float[Tensor, " b"]:
    """Compute L_h of hands with known pose and shape; see :func:`dhpe_lib.training.losses.hand_loss`."""
    off = (h[:, :55] - targets.pose_shape).square()
    return (off[:, :45].sum(1) / POSE_SPREAD**2 + off[:, 45:].sum(1)) / 55


def spread(total: int, count: int) -> Int64[Tensor, " count"]:
    """Return row numbers that are evenly spaced from the first to the last row."""
    return torch.linspace(0, total - 1, count, dtype=torch.float64).long()


@dataclass(frozen=True)
class Batches:
    """The rows of each batch: a function of seed and step, equal for all variants.

    Attributes:
        real: Evidence of the real images.
        novel: Evidence of the novel views, or None.
        seed: Random seed of the order.
        few: Number of real images, evenly spaced in all; 0 for all.
        half: Whether a batch without novel views has only the real images of a batch with them.
    """

    real: CachedEvidence
    novel: CachedEvidence | None
    seed: int
    few: int = 0
    half: bool = False

    def real_rows(self, step: int) -> Int64[Tensor, " n"]:
        """Rows of the real images of a step; with novel views or of half a batch the first half of them."""
        generator = torch.Generator().manual_seed(seed_of(self.seed, "real", step))
        count = self.few or len(self.real)
        chosen = spread(len(self.real), count)
        return chosen[torch.randint(count, (BATCH,), generator=generator)][
            : BATCH // (2 if self.novel or self.half else 1)
        ]

    def at(self, step: int) -> CachedEvidence:
        """Return the batch of a step."""
        real = take_rows(self.real, self.real_rows(step))
        if self.novel is None:
            return real
        generator = torch.Generator().manual_seed(seed_of(self.seed, "novel", step))
        rows = torch.randint(len(self.novel), (BATCH - len(real),), generator=generator)
        return join_rows([real, take_rows(self.novel, rows)])


def fit(
    form: Form,
    batches: Batches,
    hand: HandModel,
    test: CachedEvidence,
    crops: Crops,
    start: Mapping[str, Tensor] | None = None,
) -> Training:
    """Train f_E3D with AdamW, a warmup and a cosine decay.

    Args:
        form: The variant.
        batches: Training images.
        hand: The hand model.
        test: Evidence of the test of the curve.
        crops: Its crops.
        start: Weights to start from; None for random weights.
    """
    steps, before = form.steps, form.refiner_before
    regressor, laplacian = new_regressor(form, batches.real.of_crop.shape[1], batches.seed), Laplacian(hand)
    if start is not None:
        regressor.load_state_dict(start)
    body = JointHand.of(hand)
    optimiser = torch.optim.AdamW(regressor.parameters(), RATE, weight_decay=DECAY, fused=True)
    curve: list[dict[str, float]] = []
    truth = to_numpy(crops.joints_3d).astype(float)
    near: list[Tensor] = []
    for step in range(steps + 1):
        if step % TEST_EVERY == 0:
            error = mean_epe(joint_errors(joints_mm(form, regressor, test, crops, body), truth))
            curve.append({"step": float(step), "epe_a_mm": error, "share_under_tau": share(near)})
            near = []
        if step == steps:
            break
        optimiser.param_groups[0]["lr"] = RATE * min(1, (step + 1) / WARMUP) * half_cosine(step, steps)
        batch = disturbed(form, batches.at(step), seed_of(batches.seed, "disturbed", step))
        path = iterate(regressor, batch, body, before)
        near.append(joint_error_px(path.joints, batch.targets) < TAU)
        optimiser.zero_grad()
        loss_of(form, path, batch.targets, hand, laplacian).backward()
        nn.utils.clip_grad_norm_(regressor.parameters(), CLIP)
        optimiser.step()
    some = take_rows(batches.real, spread(len(batches.real), 4 * BATCH))
    with torch.no_grad():
        near_at_end = joint_error_px(iterate(regressor, some, body, before).joints, some.targets) < TAU
    return Training(regressor, curve, to_numpy(near_at_end))


def share(near: Sequence[Tensor]) -> float:
    """Share of True; 0 for no tensor, as before the first step."""
    return float(torch.cat(list(near)).float().mean()) if near else 0.0


@torch.no_grad()
def joints_mm(form: Form, regressor: Regressor, evidence: CachedEvidence, crops: Crops, body: JointHand) -> np.ndarray:
    """Return the joints of the mesh in the camera frame, mm (protocol A8)."""
    return undo_eq8(iterate(regressor, evidence, body, form.refiner_before).joints, crops, evidence.frame)


@torch.no_grad()
def predict(form: Form, regressor: Regressor, evidence: CachedEvidence, crops: Crops, hand: HandModel) -> Predictions:
    """Compare f_E3D's hands with the ground truth of a test; see :func:`compare`."""
    path = iterate(regressor, evidence, JointHand.of(hand), form.refiner_before)
    return compare(path, evidence, crops, hand)


@torch.no_grad()
def compare(path: Iterations, evidence: CachedEvidence, crops: Crops, hand: HandModel) -> Predictions:
    """Compare hands with the ground truth of a test; masks have the size of the evidence's masks."""
    targets = evidence.targets
    masks = silhouette(hand.forward_h(path.h).vertices, hand.faces, targets.mask.shape[-1]) > 0.5
    return Predictions(
        joints_mm=millimetres(path.joints, crops, evidence.frame),
        eq8_mm=undo_eq8(path.joints, crops, evidence.frame),
        truth_mm=to_numpy(crops.joints_3d).astype(float),
        visible=to_numpy(crops.visible),
        palm=to_numpy(crops.palm),
        counts=mask_counts(to_numpy(masks), to_numpy(targets.mask > 0.5)) * to_numpy(crops.has_mask)[:, None],
        error_px=to_numpy(joint_error_px(path.joints, targets)),
        first_px=error_px(evidence.joints_2d, targets),
        last_px=error_px(path.refined[:, -1], targets),
        hand=to_numpy(path.h[:, :55]).astype(float),
        true_hand=to_numpy(crops.h[:, :55]).astype(float),
    )


def error_px(joints_2d: Float[Tensor, "b 21 2"], targets: Targets) -> Float[np.ndarray, " b"]:
    """Mean distance of 2D joints (units of g) to the ground truth, pixels of the crop."""
    return to_numpy(joint_error_px(pad(joints_2d, (0, 1)), targets))
