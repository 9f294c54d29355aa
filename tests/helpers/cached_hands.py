"""Small cached evidence of known hands: the feature is random, and j2D is near the truth."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dhpe_lib.data.crop_frame import CropFrame
from dhpe_lib.data.crops import Crops
from dhpe_lib.data.targets import Targets
from dhpe_lib.experiments.cached_evidence import CachedEvidence
from dhpe_lib.hand.model import HandMesh, HandModel
from dhpe_lib.rendering.renderer import silhouette
from dhpe_lib.training.novel_views import framed

FOCAL, DEPTH, SIDE = 600.0, 500.0, 150.0


@dataclass(frozen=True)
class KnownHands:
    """Evidence with the hands that it was made from."""

    plain: CachedEvidence
    h: Tensor
    truth_mesh: HandMesh

    @property
    def of_crop(self) -> Tensor:
        return self.plain.of_crop

    @property
    def joints_2d(self) -> Tensor:
        return self.plain.joints_2d

    @property
    def targets(self) -> Targets:
        return self.plain.targets


def cached_hands(hand: HandModel, n: int, features: int, masks: bool = True) -> KnownHands:
    generator = torch.Generator().manual_seed(0)
    h = framed(hand, 0.1 * torch.randn(n, 63, generator=generator))
    mesh = hand.forward_h(h)
    size = 64 if masks else 1
    mask = silhouette(mesh.vertices, hand.faces, size) if masks else torch.zeros(n, 1, 1)
    yes = torch.ones(n, 21, dtype=torch.bool)
    xy = mesh.joints[..., :2].contiguous()
    targets = Targets(
        mesh.joints, yes, xy, yes.clone(), (mask > 0.5).half(), yes[:, 0].clone(), h[:, :55], yes[:, 1].clone()
    )
    feature = torch.randn(n, features, generator=generator)
    joints_2d = xy + 0.02 * torch.randn(n, 21, 2, generator=generator)
    frame = CropFrame(torch.full((n, 2), 160.0), torch.full((n,), SIDE), torch.zeros(n))
    return KnownHands(CachedEvidence(feature, joints_2d, targets, frame), h, mesh)


def crops_of(hands: KnownHands) -> Crops:
    """Crops with the labels of the hands and black images."""
    n, frame = len(hands.h), hands.plain.frame
    k = torch.tensor([[FOCAL, 0, 160], [0, FOCAL, 160], [0, 0, 1]]).expand(n, 3, 3)
    z_root, yes = torch.full((n,), DEPTH), torch.ones(n, dtype=torch.bool)
    truth = frame.denormalise(hands.targets.joints, k, z_root)
    return Crops(
        torch.zeros(n, 256, 256, 3, dtype=torch.uint8), torch.zeros(n, 256, 32, dtype=torch.uint8), yes,
        hands.targets.joints_2d, truth, yes[:, None].expand(n, 21), k, frame.center, frame.side, z_root, ~yes, ~yes,
        hands.h,
    )  # fmt: skip
