"""The children of a seed (Sec. 3.5): what is drawn anew, how they are drawn, and what is known of them.

A *seed* is the network's estimate of a training picture. Its children keep the articulation p; their shape s and their
rotation are drawn anew; skin and light are lifted from the picture; behind them is a new background. Mask, skeleton and
h are those of the mesh that was drawn, so they are right by construction, however wrong the seed was. Nothing here has
a gradient.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional

from dhpe_lib.data.crop_frame import SIZE, CropFrame
from dhpe_lib.data.targets import Targets
from dhpe_lib.data.views import JitterRange, View, draw_jitter, in_other_light
from dhpe_lib.hand.model import HandModel, wrist_ring
from dhpe_lib.hand.parameters import split_h
from dhpe_lib.hand.rotations import axis_angle_to_matrix, matrix_to_quaternion, random_rotations
from dhpe_lib.hand.skeleton import MIDDLE_MCP
from dhpe_lib.rendering.lighting import Light
from dhpe_lib.rendering.renderer import Texture, render
from dhpe_lib.rendering.texture_from_photo import lift_colors
from dhpe_lib.rendering.uv_layout import TintedSkin
from dhpe_lib.synthetic.sampling import Sampler, seed_of
from dhpe_lib.synthetic.scenery import draw_backgrounds

VIEWS_PER_SEED = 3
"""Of each seed (the paper's number)."""
SHAPE_RANGE = 3.0
"""Standard deviations to either side between which each number of s is drawn (the paper's)."""
LIGHT_TERMS = 4
"""Spherical harmonics that an estimated light has: constant and linear."""
NO_JITTER = JitterRange(0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class NovelViews:
    """What is needed to draw children, one row for each.

    Attributes:
        h: Parameters (Eq. 4), framed as the paper's crops are.
        colors: Of the vertices under white light, 255 is 1.
        light: Constant and linear spherical harmonics of each channel.
    """

    h: Float[Tensor, "n 63"]
    colors: UInt8[Tensor, "n vertices 3"]
    light: Float[Tensor, "n 4 3"]

    def __len__(self) -> int:
        return len(self.h)


def draw_rotations(sampler: Sampler, distribution: str = "axes") -> Float[Tensor, "b 3 3"]:
    """Draw a rotation for each row.

    "axes" is the paper's law: R = R_z(c) R_y(b) R_x(a) with each angle uniform in [0, 2 pi). "uniform" is the same for
    all rotations (Haar measure on SO(3)); under the paper's law what points along x at rest comes too often to point
    along the camera's axis.

    Args:
        sampler: Source of randomness.
        distribution: Which of the two.

    Returns:
        Rotation matrices, on the dice's device.

    Raises:
        ValueError: There is no such law.

    Source: Sec. 3.5.
    """
    if distribution == "uniform":
        return random_rotations(sampler.batch, sampler.generator).to(sampler.device)
    if distribution != "axes":
        raise ValueError(f"distribution = {distribution!r}; use axes (the paper's) or uniform")
    angles = sampler.uniform(0.0, 2 * math.pi, 3)
    x, y, z = (axis_angle_to_matrix(angles[:, k, None] * torch.eye(3).to(angles)[k]) for k in range(3))
    return z @ y @ x


def framed(model: HandModel, h: Float[Tensor, "b 63"]) -> Float[Tensor, "b 63"]:
    """Scale and move hands so that the crop is theirs: middle MCP at the origin, g = 1.5 times their larger side.

    Args:
        model: The hand.
        h: Parameters; their scale and translation do not matter.

    Returns:
        Parameters whose skeleton is jhat.

    Raises:
        ValueError: A hand has no extent or is not finite.

    Source: Eq. 8 and PAPER.md Sec. 9.2.
    """
    h = torch.cat((h[:, :59], torch.zeros_like(h[:, 59:])), 1)  # at scale 1 about the origin
    joints = model.forward_h(h).joints
    frame = CropFrame.from_joints(joints[..., :2], torch.ones_like(joints[..., 0], dtype=torch.bool))
    scale = 1 / frame.side[:, None]
    return torch.cat((h[:, :59], scale - 1, -scale * joints[:, MIDDLE_MCP]), 1)


def recropped(
    h: Float[Tensor, "b 63"], shift: Float[Tensor, "b 2"], scale: Float[Tensor, " b"]
) -> Float[Tensor, "b 63"]:
    """The same hands in other crops.

    Args:
        h: Of framed hands.
        shift: Of the crop's centre, units of g.
        scale: Factor of the crop's side.

    Returns:
        Their parameters there.
    """
    parts, factor = split_h(h), 1 / scale[:, None]
    moved = factor * (parts.translation - functional.pad(shift, (0, 1)))
    return torch.cat((h[:, :59], factor * (1 + parts.scale) - 1, moved), 1)


@torch.no_grad()
def draw_novel_views(
    model: HandModel, h: Float[Tensor, "b 63"], seed: int, distribution: str = "axes"
) -> Float[Tensor, "children 63"]:
    """Three children of each seed: p kept, each number of s uniform within 3 deviations, the rotation drawn anew.

    Args:
        model: The hand.
        h: The seeds' parameters.
        seed: The same seed gives the same children.
        distribution: Of the rotations; see :func:`draw_rotations`.

    Returns:
        Framed parameters; a seed's children follow each other.

    Raises:
        ValueError: A seed is not finite, or there is no such law.

    Source: Sec. 3.5.
    """
    if not h.isfinite().all():
        raise ValueError("h of a seed is not finite: it has no children; leave it out")
    sampler = Sampler.from_seed(seed, VIEWS_PER_SEED * len(h), h.device)
    pose = split_h(h).pose.repeat_interleave(VIEWS_PER_SEED, 0)
    shape = sampler.uniform(-SHAPE_RANGE, SHAPE_RANGE, 10)
    quaternion = matrix_to_quaternion(draw_rotations(sampler, distribution)) - h.new_tensor((1.0, 0.0, 0.0, 0.0))
    return framed(model, torch.cat((pose, shape, quaternion, h.new_zeros(len(pose), 4)), 1))


@dataclass(frozen=True)
class NovelViewRenderer:
    """What all children have in common.

    The mesh ends at the wrist in an open ring, through which its inside would show. A lid closes it for the picture, in
    the skin's colour there. No forearm is added: the picture shows what is labelled. The paper says of neither.

    Attributes:
        model: The hand.
        skin: How its texture comes from colours of vertices.
        faces: The mesh's and the lid's.
        corners: The same of the texture.
    """

    model: HandModel
    skin: TintedSkin
    faces: Int64[Tensor, "faces 3"]
    corners: Int64[Tensor, "faces 3"]

    @classmethod
    def of(cls, model: HandModel) -> "NovelViewRenderer":
        """Set it up on the model's device.

        Raises:
            ValueError: The model has no texture.
        """
        skin = TintedSkin.of(model)
        ring = torch.tensor(wrist_ring(model.faces), device=model.faces.device)
        lid = torch.stack((ring[:1].expand(len(ring) - 2), ring[2:], ring[1:-1]), 1)
        corner = skin.base.uv_faces[(model.faces == ring[0]).nonzero(as_tuple=True)][0]
        corners = torch.cat((skin.base.uv_faces, corner.expand(len(lid), 3)))
        return cls(model, skin, torch.cat((model.faces, lid)), corners)

    @torch.no_grad()
    def lift_views(self, h: Float[Tensor, "b 63"], view: View, seed: int, distribution: str = "axes") -> NovelViews:
        """Children of seeds, with skin and light of the seeds' pictures.

        Where the mask is known nothing outside it is taken for skin. Where the mesh meets none of the hand, the skin is
        the one that comes with the model.

        Args:
            h: What the network finds in the pictures.
            view: The pictures, and where in them the hand is.
            seed: The same seed gives the same children.
            distribution: Of the rotations.

        Returns:
            Three for each picture, one after the other.

        Raises:
            ValueError: There are not as many seeds as pictures, or a seed is not finite.

        Source: Sec. 3.5; PAPER.md Sec. 9.7.
        """
        drawn = draw_novel_views(self.model, h, seed, distribution)
        targets = view.targets
        mask = torch.where(targets.has_mask[:, None, None], targets.mask, 1).to(h)
        photo, vertices = view.images.permute(0, 2, 3, 1), self.model.forward_h(h).vertices
        lifted = lift_colors(photo, vertices, self.model.faces, self.skin.vertices, mask=mask)
        assert lifted.light.harmonics is not None
        colors = (255 * lifted.colors).round().byte().repeat_interleave(VIEWS_PER_SEED, 0)
        return NovelViews(drawn, colors, lifted.light.harmonics[:, :LIGHT_TERMS].repeat_interleave(VIEWS_PER_SEED, 0))

    @torch.no_grad()
    def render_views(
        self,
        novel_views: NovelViews,
        pool: UInt8[Tensor, "n 3 288 288"],
        seed: int,
        jitter_range: JitterRange = NO_JITTER,
    ) -> View:
        """Draw children by f_TRen, with their labels.

        Args:
            novel_views: On the renderer's device.
            pool: Backgrounds to choose from.
            seed: Of the choice, the crop and the tint.
            jitter_range: How far crops miss their hand, and the tint; angles do not count, since all are as likely.

        Returns:
            Pictures, and the truth about them.

        Source: Sec. 3.5.
        """
        n, device = len(novel_views), novel_views.h.device
        jitter = draw_jitter(n, seed_of(seed, "jitter"), jitter_range).to(device)
        mesh = self.model.forward_h(recropped(novel_views.h, jitter.shift, jitter.scale))
        wall = draw_backgrounds(pool, Sampler.from_seed(seed, n, device), SIZE).permute(0, 2, 3, 1)
        harmonics = functional.pad(novel_views.light, (0, 0, 0, 9 - LIGHT_TERMS))
        light = Light(0.0, 0.0, harmonics=harmonics)
        picture = render(mesh.vertices, self.faces, self.textures_of(novel_views), wall, light=light)
        images = in_other_light(picture.image.permute(0, 3, 1, 2), jitter)
        yes = torch.ones(n, 21, dtype=torch.bool, device=device)
        mask = (picture.fragments.face >= 0).float()
        targets = Targets(mesh.joints, yes, mesh.joints[..., :2], yes, mask, yes[:, 0])
        side = images.new_full((n,), SIZE)
        return View(images, targets, CropFrame(images.new_full((n, 2), SIZE / 2), side, torch.zeros_like(side)))

    def textures_of(self, novel_views: NovelViews) -> Texture:
        """The children's textures."""
        return replace(self.skin.texture(novel_views.colors.to(novel_views.h) / 255), uv_faces=self.corners)
