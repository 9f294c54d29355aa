"""f_DHPE, the whole estimator of Eq. 1: x -> (F, f_J2D) -> z -> (f_J3D, f_Ref) -> v -> (f_Reg, f_Ren) -> (j, m).

Crops are `[batch, 3, 224, 224]` in [0, 1]; meshes, joints and masks are in the crop frame, in units of g. Under
autocast F and f_J2D run in the lower precision; f_E3D, the hand model and the renderer run in float32. The chapter is
*The losses*.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dhpe_lib.common.cuda_graphs import ReplayedCalls
from dhpe_lib.data.crop_frame import SIZE
from dhpe_lib.hand.model import HandMesh, HandModel
from dhpe_lib.network.evidence import Evidence2D, FeatureNet, PoseMachine, PoseMachineConfig, find_joints
from dhpe_lib.network.hand_evidence import HandFeatureNet, JointReader, PyramidConfig, PyramidMachine, read_at_joints
from dhpe_lib.network.heatmaps import heatmap_statistics
from dhpe_lib.network.regressor import Regressor, RegressorState
from dhpe_lib.rendering.renderer import DEFAULT_METHOD, Method, silhouette

Backbone = Literal["resnet50", "resnet18", "hand"]


@dataclass(frozen=True)
class EstimatorConfig:
    """Sizes and ablations of the network; the defaults are the paper's.

    Attributes:
        backbone: F: a ResNet, or "hand" for the trunk of the hand landmark network.
        feature_input: Side of the crop that F sees, pixels.
        layer_norm: Whether the feature of the backbone "hand" is normalised to mean 0 and variance 1. The paper does
            not say that F is normalised.
        pose_machine: Sizes of f_J2D: the paper's network of its own, or a head on the trunk of F.
        iterations: Iterations of the regressor.
        standard_units: Whether f_E3D sees the pose in units of its spread; see
            :class:`dhpe_lib.network.regressor.Regressor`.
        hidden: Width of two hidden layers of f_J3D; 0 for the paper's single layer.
        joint_features: Number of numbers that f_E3D also sees of the trunk's maps at each joint of j2D(0); 0 for none.
            The paper's f_E3D sees F(x), which is an average over the crop, and j2D.
        upright: Whether crops are turned before the network, so that the direction from the wrist to the middle MCP
            points up; see :mod:`dhpe_lib.network.upright`. The paper does not turn crops.
        sub_pixel: Whether j2D(0) is located between the cells of the heat maps.
        silhouette: Method of the silhouette renderer f_Ren.
        without_refiner: Remove f_Ref: j2D(t) stays j2D(0).
        without_2d_losses: Remove f_J2D and f_Ref, since no loss would train them: j2D is 0 and the regressor sees only
            F(x) and h(t), as in HMR (Kanazawa et al. 2018).
    """

    backbone: Backbone = "resnet50"
    feature_input: int = 224
    layer_norm: bool = False
    pose_machine: PoseMachineConfig | PyramidConfig = field(default_factory=PoseMachineConfig)
    iterations: int = 3
    standard_units: bool = False
    hidden: int = 0
    joint_features: int = 0
    upright: bool = False
    sub_pixel: bool = True
    silhouette: Method = DEFAULT_METHOD
    without_refiner: bool = False
    without_2d_losses: bool = False


PRESETS = {
    "paper": EstimatorConfig(),
    "light": EstimatorConfig(
        "hand",
        feature_input=192,
        layer_norm=True,
        pose_machine=PyramidConfig(),
        standard_units=True,
        hidden=512,
        joint_features=64,
        upright=True,
    ),
}
"""The paper's network, and a light network for CPUs and workshops. The light network has the same equations. F and
f_J2D are two heads on one small trunk that was trained on photos of hands. f_J3D has two hidden layers, f_E3D also sees
the trunk's maps at the joints, and crops are turned upright."""


def config_of(preset: str, ablation: Sequence[str] = (), feature_input: int = 0) -> EstimatorConfig:
    """Return the configuration of a preset, without the parts that an ablation removes.

    Args:
        preset: A key of ``PRESETS``.
        ablation: Names of the paper's ablations; names that do not change the network are ignored.
        feature_input: Side of the crop that F sees, pixels; 0 for the preset's.

    Returns:
        The configuration.

    Raises:
        ValueError: The preset does not exist.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset is {preset!r}; it may be {' or '.join(PRESETS)}")
    config = PRESETS[preset]
    return replace(
        config,
        feature_input=feature_input or config.feature_input,
        without_refiner="without-refiner" in ablation,
        without_2d_losses="without-2d-losses" in ablation,
    )


@dataclass(frozen=True)
class Estimate:
    """Output of f_DHPE with all intermediate results.

    Attributes:
        evidence: z, the 2D evidence.
        steps: States of the regressor, from h(0) and j2D(0) to the last iteration.
        mask: Silhouette f_Ren(v), 1 inside the hand and 0 outside; None if it was not rendered.
    """

    evidence: Evidence2D
    steps: tuple[RegressorState, ...]
    mask: Float[Tensor, "b s s"] | None

    @property
    def h(self) -> Float[Tensor, "b 63"]:
        """Hand parameters h after the last iteration."""
        return self.steps[-1].h

    @property
    def mesh(self) -> HandMesh:
        """The mesh v and its skeleton, crop frame, units of g."""
        return self.steps[-1].mesh

    @property
    def joints(self) -> Float[Tensor, "b 21 3"]:
        """[f_DHPE(x)]_J, crop frame, units of g; `CropFrame.denormalise` converts to the camera frame."""
        return self.steps[-1].mesh.joints

    @property
    def joints_2d(self) -> Float[Tensor, "b 21 2"]:
        """j2D after the last iteration, crop frame, units of g; this is not the projection of `joints`."""
        return self.steps[-1].joints_2d


class Estimator(nn.Module):
    """f_DHPE = f_Proj o f_E3D o f_E2D.

    Args:
        config: Sizes and ablations; `PRESETS` has two configurations.
        hand: The hand model; the open hand if None. It is not part of the saved weights.
    """

    def __init__(self, config: EstimatorConfig = PRESETS["paper"], hand: HandModel | None = None) -> None:
        super().__init__()
        self.config = config
        self.hand = HandModel.open_hand() if hand is None else hand
        self.features: FeatureNet | HandFeatureNet = build_features(config)
        self.pose_machine = None if config.without_2d_losses else build_pose_machine(config)
        reads = config.joint_features and isinstance(self.pose_machine, PyramidMachine)
        self.joint_reader = JointReader(config.joint_features) if reads else None
        self.regressor = Regressor(
            self.features.size + (self.joint_reader.size if self.joint_reader else 0),
            config.iterations,
            config.without_refiner or config.without_2d_losses,
            config.standard_units,
            config.hidden,
        )
        self.replayed = ReplayedCalls()

    def forward(
        self,
        images: Float[Tensor, "b 3 s s"],
        masked_images: Float[Tensor, "m 3 s s"] | None = None,
        render: bool = False,
    ) -> Estimate:
        """Compute f_DHPE(x).

        Args:
            images: Crops x in [0, 1].
            masked_images: x (.) m of the first crops, needed for L_Feat only; see
                :func:`dhpe_lib.data.targets.masked_images`.
            render: Whether to render the mask.

        Returns:
            The estimate with all intermediate results. f_J2D receives a gradient only through its heat maps.

        Source: Eq. 1.
        """
        evidence = self.find_evidence(images, masked_images)
        steps = self.estimate_mesh(evidence)
        mask = self.render_mask(steps[-1].mesh, images.shape[-1]) if render else None
        return Estimate(evidence, steps, mask)

    def find_evidence(
        self, images: Float[Tensor, "b 3 s s"], masked_images: Float[Tensor, "m 3 s s"] | None = None
    ) -> Evidence2D:
        """Compute f_E2D(x) = (F(x), f_J2D(x)).

        x and x (.) m go through F as one batch, so that both use the same batch statistics.

        Args:
            images: Crops x in [0, 1].
            masked_images: x (.) m of the first crops, or None.

        Returns:
            z, the 2D evidence.

        Source: Eqs. 2 and 3.
        """
        both = images if masked_images is None else torch.cat((images, masked_images))
        if isinstance(self.pose_machine, PyramidMachine) and isinstance(self.features, HandFeatureNet):
            levels = self.features.levels(both)
            feature = self.features.pooled(levels[-1])
            levels = [maps[: len(images)] for maps in levels]
            heatmaps = self.pose_machine(levels)
        else:
            feature, levels = self.features(both), []
            heatmaps = None if self.pose_machine is None else self.pose_machine(images)
        feature, masked = (feature[: len(images)], None if masked_images is None else feature[len(images) :])
        if heatmaps is None:
            zeros = images.new_zeros(len(images), 21, 3, dtype=self._dtype)
            return Evidence2D(feature, masked, None, zeros[..., :2], zeros[..., 2])
        found = find_joints(heatmaps, self.config.sub_pixel)
        at_joints = None
        if self.joint_reader is not None:
            readings = read_at_joints(levels, found.joints_2d)
            at_joints = self.joint_reader(readings, heatmap_statistics(heatmaps[:, -1], found))
        return Evidence2D(feature, masked, heatmaps, found.joints_2d, found.score, at_joints)

    def estimate_mesh(self, evidence: Evidence2D) -> tuple[RegressorState, ...]:
        """Compute f_E3D(z) in full precision.

        Args:
            evidence: z, the 2D evidence.

        Returns:
            States of the regressor, including the start.

        Source: Eqs. 4 to 6.
        """
        with torch.autocast(evidence.feature.device.type, enabled=False):
            feature, joints_2d = evidence.of_crop.to(self._dtype), evidence.joints_2d.to(self._dtype)
            return self.regressor(feature, joints_2d, self.hand)

    def render_mask(self, mesh: HandMesh, size: int = SIZE) -> Float[Tensor, "b size size"]:
        """Render f_Ren(v) in full precision.

        Args:
            mesh: v, crop frame, units of g.
            size: Side of the mask, pixels.

        Returns:
            Covered fraction of each pixel, in [0, 1].

        Source: PAPER.md Sec. 1, f_Ren.
        """
        with torch.autocast(mesh.vertices.device.type, enabled=False):
            return silhouette(mesh.vertices, self.hand.faces, size, self.config.silhouette)

    @torch.no_grad()
    def predict(self, images: Float[Tensor, "b 3 s s"], render: bool = True) -> Estimate:
        """Compute f_DHPE(x) in evaluation mode, without gradients, and restore the former mode.

        On a GPU the fourth call for a batch of the same size, and all later calls, replay a CUDA graph; see
        :mod:`dhpe_lib.common.cuda_graphs`.

        Args:
            images: Crops x in [0, 1].
            render: Whether to render the mask.

        Returns:
            The estimate.
        """

        def evaluated(images: Tensor) -> Estimate:
            with evaluating(self):
                return self(images, render=render)

        return self.replayed.call(evaluated, images, self, render)

    @property
    def _dtype(self) -> torch.dtype:
        return self.regressor.unit.dtype


def build_features(config: EstimatorConfig) -> FeatureNet | HandFeatureNet:
    """Build F with random weights."""
    if config.backbone == "hand":
        return HandFeatureNet(config.feature_input, config.layer_norm)
    return FeatureNet(config.backbone, config.feature_input)


def build_pose_machine(config: EstimatorConfig) -> PoseMachine | PyramidMachine:
    """Build f_J2D with random weights.

    Raises:
        ValueError: f_J2D needs the trunk of the hand landmark network, but F has another one.
    """
    if isinstance(config.pose_machine, PoseMachineConfig):
        return PoseMachine(config.pose_machine)
    if config.backbone != "hand":
        raise ValueError(f"backbone is {config.backbone!r}; this f_J2D is a head on the trunk of backbone 'hand'")
    return PyramidMachine(config.pose_machine)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Set evaluation mode inside the block and restore the former mode after it.

    In training mode batch norm would mix the images of a batch.
    """
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)
