"""Novel views of a seed (Sec. 3.5): sample them, render them, and return their exact labels.

A *seed* is the network's estimate for a training image. Its novel views keep the articulation p; their shape s and
rotation are sampled; skin and light are lifted from the image; the background is new. Mask, skeleton and h are those of
the rendered mesh, so the labels are exact even if the seed is wrong. Nothing here has a gradient.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional

from dhpe_lib.common.devices import to_device
from dhpe_lib.data.crop_frame import SIZE, CropFrame
from dhpe_lib.data.cropping import BOX_MARGIN
from dhpe_lib.data.targets import Targets
from dhpe_lib.data.views import NO_JITTER, JitterRange, View, draw_jitter, in_other_light, upright_angle
from dhpe_lib.hand.model import HandModel, wrist_ring
from dhpe_lib.hand.parameters import split_h, turn_h
from dhpe_lib.hand.rotations import axis_angle_to_matrix, matrix_to_quaternion, random_rotations
from dhpe_lib.hand.skeleton import MIDDLE_MCP
from dhpe_lib.rendering.lighting import Light
from dhpe_lib.rendering.renderer import Texture, render
from dhpe_lib.rendering.texture_from_photo import lift_colors
from dhpe_lib.rendering.uv_layout import TintedSkin
from dhpe_lib.synthetic.sampling import Sampler, seed_of
from dhpe_lib.synthetic.scenery import draw_backgrounds

VIEWS_PER_SEED = 3
"""Number of novel views of each seed (3 in the paper)."""
SHAPE_RANGE = 3.0
"""Each number of s is drawn uniformly from plus or minus this many standard deviations (3 in the paper)."""
LIGHT_TERMS = 4
"""Number of spherical harmonics of an estimated light: 1 constant and 3 linear."""


@dataclass(frozen=True)
class NovelViews:
    """Inputs of the renderer for novel views, one row for each view.

    Attributes:
        h: Hand parameters (Eq. 4), in the crop of the hand (Eq. 8).
        colors: Vertex colours under white light, 0 to 255.
        light: Constant and linear spherical harmonics of each colour channel.
    """

    h: Float[Tensor, "n 63"]
    colors: UInt8[Tensor, "n vertices 3"]
    light: Float[Tensor, "n 4 3"]

    def __len__(self) -> int:
        return len(self.h)


def draw_rotations(sampler: Sampler, distribution: str = "axes") -> Float[Tensor, "b 3 3"]:
    """Draw a random rotation for each row.

    "axes" is the paper's distribution: R = R_z(c) R_y(b) R_x(a) with each angle uniform in [0, 2 pi). "uniform" is
    uniform over all rotations (Haar measure on SO(3)). With "axes" the rotated x axis points along the camera's axis
    too often.

    Args:
        sampler: Sampler with one row for each rotation.
        distribution: "axes" or "uniform".

    Returns:
        Rotation matrices, on the sampler's device.

    Raises:
        ValueError: The distribution is unknown.

    Source: Sec. 3.5.
    """
    if distribution == "uniform":
        return to_device(random_rotations(sampler.batch, sampler.generator), sampler.device)
    if distribution != "axes":
        raise ValueError(f"distribution = {distribution!r}; use axes (the paper's) or uniform")
    angles = sampler.uniform(0.0, 2 * math.pi, 3)
    axes = torch.eye(3, dtype=angles.dtype, device=angles.device)
    x, y, z = (axis_angle_to_matrix(angles[:, k, None] * axes[k]) for k in range(3))
    return z @ y @ x


def framed(model: HandModel, h: Float[Tensor, "b 63"]) -> Float[Tensor, "b 63"]:
    """Scale and translate hands to fit their crop: middle MCP at the origin, g = 1.5 times the side of the 2D box.

    Args:
        model: The hand model.
        h: Hand parameters; their scale and translation are ignored.

    Returns:
        Hand parameters whose skeleton is normalised as jhat in Eq. 8.

    Source: Eq. 8 and PAPER.md Sec. 9.2.
    """
    h = torch.cat((h[:, :59], torch.zeros_like(h[:, 59:])), 1)  # at scale 1 about the origin
    joints = model.forward_h(h).joints
    box = joints[..., :2].amax(1) - joints[..., :2].amin(1)  # CropFrame.from_joints would wait for a GPU to check it
    scale = 1 / (BOX_MARGIN * box.amax(1, keepdim=True))
    return torch.cat((h[:, :59], scale - 1, -scale * joints[:, MIDDLE_MCP]), 1)


def recropped(
    h: Float[Tensor, "b 63"], shift: Float[Tensor, "b 2"], scale: Float[Tensor, " b"]
) -> Float[Tensor, "b 63"]:
    """Convert hand parameters to a shifted and scaled crop.

    Args:
        h: Hand parameters in the first crop; see :func:`framed`.
        shift: Shift of the crop's centre, units of g.
        scale: Factor of the crop's side.

    Returns:
        Hand parameters in the new crop.
    """
    parts, factor = split_h(h), 1 / scale[:, None]
    moved = factor * (parts.translation - functional.pad(shift, (0, 1)))
    return torch.cat((h[:, :59], factor * (1 + parts.scale) - 1, moved), 1)


@torch.no_grad()
def draw_novel_views(
    model: HandModel,
    h: Float[Tensor, "b 63"],
    seed: int,
    distribution: str = "axes",
    shape_range: float = SHAPE_RANGE,
) -> Float[Tensor, "views 63"]:
    """Sample three novel views of each seed: p is kept, s is uniform within a range, the rotation is random.

    Args:
        model: The hand model.
        h: Hand parameters of the seeds.
        seed: Random seed; the result is a function of it.
        distribution: Distribution of the rotations; see :func:`draw_rotations`.
        shape_range: Largest absolute value of a number of s, standard deviations.

    Returns:
        Hand parameters in the crop of each hand (see :func:`framed`); the views of a seed are consecutive rows.

    Raises:
        ValueError: A seed is not finite, or the distribution is unknown. On CUDA finite seeds are not checked, since
            the host would wait; a training checks them with its loss.

    Source: Sec. 3.5.
    """
    if h.device.type == "cpu" and not h.isfinite().all():
        raise ValueError("h of a seed is not finite, so it has no novel views; leave this seed out")
    sampler = Sampler.from_seed(seed, VIEWS_PER_SEED * len(h), h.device)
    pose = split_h(h).pose.repeat_interleave(VIEWS_PER_SEED, 0)
    shape = sampler.uniform(-shape_range, shape_range, 10)
    quaternion = matrix_to_quaternion(draw_rotations(sampler, distribution)) - model.identity
    return framed(model, torch.cat((pose, shape, quaternion, h.new_zeros(len(pose), 4)), 1))


@dataclass(frozen=True)
class NovelViewRenderer:
    """Renderer of novel views: hand model, texture, and a mesh that is closed at the wrist.

    The mesh is open at the wrist, so its inside would be visible. A lid with the skin colour of the wrist closes it in
    the image. No forearm is added, so the image shows only the labelled hand. The paper mentions neither.

    Attributes:
        model: The hand model.
        skin: Texture that is computed from vertex colours.
        faces: Faces of the mesh and of the lid, as vertex numbers.
        corners: Faces of the mesh and of the lid, as texture coordinate numbers.
    """

    model: HandModel
    skin: TintedSkin
    faces: Int64[Tensor, "faces 3"]
    corners: Int64[Tensor, "faces 3"]

    @classmethod
    def of(cls, model: HandModel) -> "NovelViewRenderer":
        """Build the renderer on the model's device.

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
    def lift_views(
        self,
        h: Float[Tensor, "b 63"],
        view: View,
        seed: int,
        distribution: str = "axes",
        shape_range: float = SHAPE_RANGE,
    ) -> NovelViews:
        """Sample novel views of seeds, with skin and light lifted from the seeds' images.

        If the mask is labelled, no colour outside it is used. If the mesh does not overlap the hand, the skin is the
        model's own texture.

        Args:
            h: The network's estimate for each image.
            view: Images and masks of the seeds.
            seed: Random seed; the result is a function of it.
            distribution: Distribution of the rotations; see :func:`draw_rotations`.
            shape_range: Largest absolute value of a number of s, standard deviations.

        Returns:
            Three novel views for each image, in consecutive rows.

        Raises:
            ValueError: The numbers of seeds and images differ, or a seed is not finite; see :func:`draw_novel_views`.

        Source: Sec. 3.5; PAPER.md Sec. 9.7.
        """
        drawn = draw_novel_views(self.model, h, seed, distribution, shape_range)
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
        size: int = SIZE,
        upright: bool = False,
    ) -> View:
        """Render novel views with f_TRen, and return them with their labels.

        Args:
            novel_views: Novel views, on the renderer's device.
            pool: Backgrounds to choose from.
            seed: Random seed of background, crop and tint.
            jitter_range: Range of the crop jitter and the tint; its angle is used only for upright crops, since the
                rotation of the others is random.
            size: Side of the views, pixels.
            upright: Whether crops are turned upright before the jitter.

        Returns:
            Images and their ground truth.

        Source: Sec. 3.5.
        """
        n, device = len(novel_views), novel_views.h.device
        jitter = draw_jitter(n, seed_of(seed, "jitter"), jitter_range).to(device)
        h = recropped(novel_views.h, jitter.shift, jitter.scale)
        if upright:
            h = turn_h(h, -upright_angle(self.model.forward_h(h).joints[..., :2]) - jitter.angle)
        mesh = self.model.forward_h(h)
        background = draw_backgrounds(pool, Sampler.from_seed(seed, n, device), size).permute(0, 2, 3, 1)
        harmonics = functional.pad(novel_views.light, (0, 0, 0, 9 - LIGHT_TERMS))
        light = Light(0.0, 0.0, harmonics=harmonics)
        picture = render(mesh.vertices, self.faces, self.textures_of(novel_views), background, size, light)
        images = in_other_light(picture.image.permute(0, 3, 1, 2), jitter)
        yes = torch.ones(n, 21, dtype=torch.bool, device=device)
        mask = (picture.fragments.face >= 0).float()
        targets = Targets(
            mesh.joints, yes, mesh.joints[..., :2], yes, mask, yes[:, 0], novel_views.h[:, :55], yes[:, 0]
        )
        side = images.new_full((n,), size)
        return View(images, targets, CropFrame(images.new_full((n, 2), size / 2), side, torch.zeros_like(side)))

    def textures_of(self, novel_views: NovelViews) -> Texture:
        """Compute the textures of novel views."""
        return replace(self.skin.texture(novel_views.colors.to(novel_views.h) / 255), uv_faces=self.corners)
