"""Train f_E3D alone on evidence that is found once: the last stage of the light network.

F and f_J2D stay as they are, so no step has a convolution. On a CPU a step of 256 crops takes half a second instead of
ten. In the same time the whole network could only learn with small batches, whose gradients are noisy.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from dhpe_lib.common.devices import to_device
from dhpe_lib.common.records import join_rows, take_rows
from dhpe_lib.common.schedules import half_cosine
from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.data.targets import Targets
from dhpe_lib.data.views import View
from dhpe_lib.hand.model import HandModel
from dhpe_lib.network.estimator import Estimator, evaluating
from dhpe_lib.network.evidence import find_joints
from dhpe_lib.network.hand_evidence import HandFeatureNet, JointReader, PyramidMachine, read_at_joints
from dhpe_lib.network.heatmaps import heatmap_statistics
from dhpe_lib.network.regressor import Regressor, RegressorState
from dhpe_lib.rendering.renderer import DEFAULT_METHOD, Method, silhouette
from dhpe_lib.synthetic.sampling import seed_of
from dhpe_lib.training.batches import ViewOptions, draw_turns, training_view
from dhpe_lib.training.losses import PRIOR, articulation_loss, hand_loss, refiner_loss, shape_gate, shape_loss

AT_A_TIME = 64
TRAINED_MASK = 64
"""Side of the masks that L_Sh is trained on, pixels. Its gradient to h has nearly the direction that it has at 224
pixels (cosine 0.99)."""


@dataclass(frozen=True)
class FixedEvidence:
    """The evidence of crops and their ground truth, one row for each crop.

    Attributes:
        feature: F(x).
        readings: F's maps at the joints of j2D(0), in half precision.
        joints_2d: j2D(0), crop frame, units of g.
        statistics: Height, mean and spread of each heat map.
        targets: Ground truth, with small masks in half precision.
    """

    feature: Float[Tensor, "b f"]
    readings: Float[Tensor, "b 21 c"]
    joints_2d: Float[Tensor, "b 21 2"]
    statistics: Float[Tensor, "b 21 4"]
    targets: Targets

    def __len__(self) -> int:
        return len(self.feature)


@torch.no_grad()
def find_fixed_evidence(
    network: Estimator, views: Iterable[View], advance: Callable[[int], None] = lambda n: None
) -> FixedEvidence:
    """Find the evidence of views; no gradient.

    Args:
        network: f_DHPE whose f_J2D is a head on its F, as in the preset light.
        views: Views of crops on the network's device, one after another, since the images of all take gigabytes.
        advance: Called with the number of crops of each view.

    Returns:
        One row for each crop, on the views' device; about 70 kB of memory each.

    Raises:
        ValueError: F has no maps that f_J2D shares, as in the preset paper.
    """
    features, pose_machine = network.features, network.pose_machine
    if not (isinstance(features, HandFeatureNet) and isinstance(pose_machine, PyramidMachine)):
        raise ValueError("F has no maps at the joints; use a network of the preset light")
    parts = []
    with evaluating(network):
        for view in views:
            levels = features.levels(view.images)
            heatmaps = pose_machine(levels)
            found = find_joints(heatmaps, network.config.sub_pixel)
            readings = read_at_joints(levels, found.joints_2d).half()
            feature = features.pooled(levels[-1])
            statistics, targets = heatmap_statistics(heatmaps[:, -1], found), with_small_masks(view.targets)
            parts.append(FixedEvidence(feature, readings, found.joints_2d, statistics, targets))
            advance(len(feature))
    return join_rows(parts)


def jittered_views(network: Estimator, splits: Sequence[Prepared], count: int, seed: int = 0) -> Iterator[View]:
    """Return views for the training, each crop once, jittered and turned as the network's training does.

    Args:
        network: f_DHPE.
        splits: Prepared splits; each gives an equal share of the crops, evenly spaced in it.
        count: Number of crops of all splits together.
        seed: Random seed of the jitter.

    Returns:
        Views of at most 64 crops, on the network's device.
    """
    device = network.hand.v_template.device
    options = ViewOptions(size=network.features.input_size, upright=network.config.upright)
    for number, split in enumerate(splits):
        rows = split.evenly_spaced(min(len(split), max(count // len(splits), 1)))
        for start in range(0, len(rows), AT_A_TIME):
            part = rows[start : start + AT_A_TIME]
            turns = draw_turns(len(part), seed_of(seed, number, start), options)
            yield training_view(split[part].to(device), turns, options)


def with_small_masks(targets: Targets, size: int = TRAINED_MASK) -> Targets:
    """Reduce the masks to size x size pixels in half precision, since thousands of masks take much memory."""
    mask = functional.interpolate(targets.mask[:, None], (size, size), mode="area")[:, 0]
    return replace(targets, mask=mask.half())


class MeshEstimator(nn.Module):
    """f_E3D with the reader of the joints.

    Args:
        regressor: f_E3D.
        joint_reader: Describes the joints, or None.
        hand: The hand model; it has no trained weights.
    """

    def __init__(self, regressor: Regressor, joint_reader: JointReader | None, hand: HandModel) -> None:
        super().__init__()
        self.regressor, self.joint_reader, self.hand = regressor, joint_reader, hand

    @classmethod
    def of(cls, network: Estimator) -> "MeshEstimator":
        """Return the f_E3D of a network, which is trained in place."""
        return cls(network.regressor, network.joint_reader, network.hand)

    @classmethod
    def anew(cls, network: Estimator, seed: int = 0) -> "MeshEstimator":
        """Return an f_E3D of the same form with random weights, on the same device."""
        torch.manual_seed(seed)
        return cls.of(Estimator(network.config, network.hand).to(network.hand.v_template.device))

    def forward(self, evidence: FixedEvidence) -> tuple[RegressorState, ...]:
        """Iterate from the evidence.

        Source: Eqs. 4 to 6.
        """
        of_crop = evidence.feature
        if self.joint_reader is not None:
            of_crop = torch.cat((of_crop, self.joint_reader(evidence.readings.float(), evidence.statistics)), 1)
        return self.regressor(of_crop, evidence.joints_2d, self.hand)


@dataclass(frozen=True)
class MeshStage:
    """Budget and losses of the stage, with the rate of a new f_E3D.

    Attributes:
        steps: Steps of AdamW, with a warmup and a cosine decay to 0.
        batch: Crops in a step.
        learning_rate: Largest rate of AdamW.
        weight_decay: Weight decay of AdamW.
        warmup: Steps in which the rate rises from 0.
        clip: Largest norm of the gradient.
        weight_h: Weight of L_h where pose and shape are known.
        weight_prior: Weight of L_h where they are unknown.
        weight_sh: Weight of L_Sh, a mean over the pixels; 0 for none.
        shape_share: To save time L_Sh is a mean over every n-th crop of a batch.
        seed: Random seed of the weights and of the order.
    """

    steps: int = 2000
    batch: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1e-3
    warmup: int = 200
    clip: float = 1.0
    weight_h: float = 1.0
    weight_prior: float = PRIOR
    weight_sh: float = 0.0
    shape_share: int = 4
    seed: int = 0

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        return self.learning_rate * min(1, (step + 1) / self.warmup) * half_cosine(step, self.steps)


def train_mesh_estimator(
    mesh: MeshEstimator,
    evidence: FixedEvidence,
    stage: MeshStage = MeshStage(),
    report: Callable[[int, Tensor], None] = lambda step, loss: None,
) -> None:
    """Train f_E3D on fixed evidence by L_Art, L_Ref, L_h and lambda L_Sh.

    L_Sh uses the exact silhouette: with the approximate gradient of Kato et al. f_E3D gets worse (LOG.md).

    Args:
        mesh: f_E3D; changed in place.
        evidence: The crops to train on, on the device of f_E3D.
        stage: Budget and losses.
        report: Called after each step with its number and its loss. A GPU is waited for only if it reads the loss.
    """
    optimiser = torch.optim.AdamW(
        mesh.parameters(), stage.learning_rate, weight_decay=stage.weight_decay, fused=evidence.feature.is_cuda or None
    )
    generator = torch.Generator().manual_seed(stage.seed)
    for step in range(stage.steps):
        optimiser.param_groups[0]["lr"] = stage.rate(step)
        rows = torch.randint(len(evidence), (stage.batch,), generator=generator)
        batch = take_rows(evidence, to_device(rows, evidence.feature.device))
        loss = mesh_loss(mesh(batch), batch.targets, mesh.hand, stage)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(mesh.parameters(), stage.clip)
        optimiser.step()
        report(step + 1, loss.detach())


def mesh_loss(
    path: tuple[RegressorState, ...], targets: Targets, hand: HandModel, stage: MeshStage
) -> Float[Tensor, ""]:
    """Compute the mean loss of a batch.

    Source: Eqs. 6, 8, 9 and 12, and L_h.
    """
    joints, vertices = path[-1].mesh.joints, path[-1].mesh.vertices
    refined = torch.stack([state.joints_2d for state in path[1:]], 1)
    loss = articulation_loss(joints, targets) + refiner_loss(refined, targets)
    loss = (loss + hand_loss(path, targets, stage.weight_h, stage.weight_prior)).mean()
    if not stage.weight_sh:
        return loss
    rows = torch.arange(0, len(joints), stage.shape_share, device=joints.device)
    some = take_rows(targets, rows)
    gate = shape_gate(joints[rows], some)
    return loss + stage.weight_sh * masked_loss(vertices[rows], some, gate, hand, "coverage").mean()


def masked_loss(
    vertices: Float[Tensor, "b v 3"],
    targets: Targets,
    gate: Float[Tensor, " b"],
    hand: HandModel,
    method: Method = DEFAULT_METHOD,
) -> Float[Tensor, " b"]:
    """Compute lambda L_Sh with masks of 64 x 64 pixels; the CPU does not render hands whose lambda is 0.

    Args:
        vertices: Vertices of the meshes, crop frame, units of g.
        targets: Ground truth with small masks.
        gate: Lambda of each hand.
        hand: The hand model, for its faces.
        method: Method of f_Ren.

    Returns:
        One number for each hand.

    Source: Eqs. 9 and 12.
    """
    on_cpu = gate.device.type == "cpu"  # on a GPU the host would wait to know the rows
    rows = gate.nonzero()[:, 0] if on_cpu else torch.arange(len(gate), device=gate.device)
    if not len(rows):
        return torch.zeros_like(gate)
    some = take_rows(targets, rows)
    some = replace(some, mask=some.mask.float())
    mask = silhouette(vertices.index_select(0, rows), hand.faces, TRAINED_MASK, method)
    return torch.zeros_like(gate).index_put((rows,), gate[rows] * shape_loss(mask, some))
