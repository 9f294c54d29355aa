"""The synthetic engine: it renders labelled pictures of hands from a random seed.

It samples a hand, its arm and a held object, then skin, cloth and light, the background and the camera, and at times a
second hand or the border of the photo. All random numbers are drawn on the CPU, so a seed gives the same scene on every
device. On the CPU a seed also gives the same bytes, as long as the number of threads and the version of PyTorch are the
same. Nothing here has a gradient.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from dhpe_lib.common.devices import constant, constant_like
from dhpe_lib.common.records import count_true, join_rows, map_rows, put_rows, take_rows, true_rows
from dhpe_lib.data.crop_frame import SIZE
from dhpe_lib.data.crops import Crops, pack_masks
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.skeleton import MIDDLE_MCP
from dhpe_lib.synthetic import scenery
from dhpe_lib.synthetic.arm import Arms, arm_meshes, draw_arms
from dhpe_lib.synthetic.borders import Borders, draw_borders, first_pixels, in_limits, inside_photo
from dhpe_lib.synthetic.camera_effects import Cameras, draw_cameras, photograph
from dhpe_lib.synthetic.cloth import Materials, draw_materials
from dhpe_lib.synthetic.companions import (
    Companions,
    draw_companions,
    mirror_lights,
    mirror_pictures,
    place_companions,
)
from dhpe_lib.synthetic.hands import Hands, draw_poses, draw_shots, in_perspective, place_hands
from dhpe_lib.synthetic.lighting import Lights, draw_lights
from dhpe_lib.synthetic.objects import Things, draw_things, place_things
from dhpe_lib.synthetic.sampling import Sampler
from dhpe_lib.synthetic.shading import HAND, NOTHING, OTHER, Picture, SceneAssets, draw_picture, empty_picture
from dhpe_lib.synthetic.skin import Skin, draw_skin

AT_A_TIME = 8
"""Number of pictures that the CPU renders at a time."""
LEAST_SHOWN = 0.35
"""A second hand that would leave less than this share of the labelled hand visible is not drawn."""
CLOSEST = 0.25
"""Vertices nearer to the camera than this fraction of the root's depth are moved back to it."""
FLESH = (0.032, 0.030, 0.022, 0.017, 0.010) + 4 * (0.024, 0.016, 0.014, 0.008)
"""Largest distance of each joint to the skin in front of it, from any visible side, metres."""


@dataclass(frozen=True)
class Style:
    """Kind of pictures that the engine renders.

    Attributes:
        jitter: Whether crops are slightly off the hand, as a detector's crops are.
        fingertips: Whether crops are those of a dataset with fingertip labels only.
        things: Fraction of hands that hold an object.
        new_people: Whether to use skin tones that never appear in training.
        new_things: Whether to use object shapes that never appear in training.
        painters: Kinds of painted backgrounds.
        crossing: Fraction of pictures in which a second hand crosses the labelled hand.
        borders: Fraction of pictures with the border of the photo near the hand; see :mod:`dhpe_lib.synthetic.borders`.
    """

    jitter: bool = True
    fingertips: bool = False
    things: float = 0.25
    new_people: bool = False
    new_things: bool = False
    painters: tuple[scenery.Painter, ...] = scenery.SEEN
    crossing: float = 0.0
    borders: float = 0.0


CROSSING, BORDERS = 0.08, 0.17
"""Fractions of training pictures with a second hand, and with the border of the photo near the hand."""
TRAINING = Style(crossing=CROSSING, borders=BORDERS)


@dataclass(frozen=True)
class Look:
    """Parameters of a picture other than the pose of the hand and the background."""

    arms: Arms
    things: Things
    skin: Skin
    materials: Materials
    lights: Lights
    cameras: Cameras
    companions: Companions
    borders: Borders


def draw_look(sampler: Sampler, style: Style, surroundings: Float[Tensor, "b 3"]) -> Look:
    """Sample arms, objects, skin, cloth, light, camera, second hands and borders.

    Args:
        sampler: Random number generator.
        style: Kind of pictures.
        surroundings: Mean colour of each background, sRGB in [0, 1].
    """
    return Look(
        draw_arms(sampler),
        draw_things(sampler, style.things, style.new_things),
        draw_skin(sampler, style.new_people),
        draw_materials(sampler),
        draw_lights(sampler, surroundings),
        draw_cameras(sampler),
        draw_companions(sampler, style.crossing),
        draw_borders(sampler, style.borders),
    )


@dataclass(frozen=True)
class SyntheticBatch:
    """Rendered pictures and their ground truth.

    Attributes:
        images: RGB; s is 224, which is g, plus twice the margin.
        masks: Whether the labelled hand is visible at a pixel's centre. As in MANO's mesh, the arm beyond the wrist's
            ring is not part of the hand.
        depth: Depth of the nearest surface, crop frame (units of g from the root); infinite on the background and
            beyond the photo.
        joints_crop: Joints in the crop frame of Eq. 8, units of g; x and y are in perspective.
        joints_mm: Joints in the camera frame of the picture, millimetres.
        visible: Whether a joint lies in the picture and is hidden by nothing but the flesh around it.
        h: Parameters of the hand before perspective (Eq. 4). `HandModel.forward_h`, followed by
            :func:`dhpe_lib.synthetic.hands.in_perspective` with kappa and axis, gives the mesh in the picture.
        kappa: The side g divided by the focal length.
        axis: Intersection of the optical axis with the crop, units of g from its centre.
        k: Camera matrix of the picture, pixels.
    """

    images: UInt8[Tensor, "b s s 3"]
    masks: Bool[Tensor, "b s s"]
    depth: Float[Tensor, "b s s"]
    joints_crop: Float[Tensor, "b 21 3"]
    joints_mm: Float[Tensor, "b 21 3"]
    visible: Bool[Tensor, "b 21"]
    h: Float[Tensor, "b 63"]
    kappa: Float[Tensor, " b"]
    axis: Float[Tensor, "b 2"]
    k: Float[Tensor, "b 3 3"]

    def crops(self) -> Crops:
        """Convert to the crops that all datasets use."""
        n, device = len(self.h), self.h.device
        middle = torch.full((n, 2), self.images.shape[1] / 2, device=device)
        side = torch.full((n,), float(SIZE), device=device)
        no, yes = torch.zeros(n, dtype=torch.bool, device=device), torch.ones(n, dtype=torch.bool, device=device)
        return Crops(
            images=self.images,
            mask_bits=pack_masks(self.masks),
            has_mask=yes,
            joints_2d=self.joints_crop[..., :2],
            joints_3d=self.joints_mm,
            visible=self.visible,
            k=self.k,
            center=middle,
            side=side,
            z_root=self.joints_mm[:, MIDDLE_MCP, 2],
            left=no,
            palm=no,
            h=self.h,
        )


class SyntheticHands:
    """The renderer of batches of labelled hands.

    Args:
        device: Device that renders the pictures and holds them.
        photos: NYU depth v2 or a folder of images, for the backgrounds; by default backgrounds are painted.
    """

    def __init__(self, device: torch.device | str = "cpu", photos: Path | None = None) -> None:
        self.device = torch.device(device)
        self.model = HandModel.open_hand().to(self.device)
        self.assets = SceneAssets.build(self.model)
        self.photos = photos

    def backgrounds(self, n: int, seed: int, style: Style = TRAINING) -> UInt8[Tensor, "n 3 288 288"]:
        """Make a pool of `n` backgrounds, painted or cut out of photos; batches choose from it."""
        return scenery.make_backgrounds(n, seed, self.photos, style.painters).to(self.device)

    def batch(
        self,
        n: int,
        seed: int,
        pool: UInt8[Tensor, "n 3 288 288"],
        style: Style = TRAINING,
        margin: int = 0,
        poses: Float[Tensor, "count 45"] | None = None,
    ) -> SyntheticBatch:
        """Sample and render pictures.

        Args:
            n: Number of pictures.
            seed: Random seed; equal seeds give equal scenes, and on the CPU equal bytes.
            pool: Backgrounds to choose from.
            style: Kind of pictures.
            margin: Margin around the 224 x 224 view, pixels; a multiple of 8.
            poses: Poses to choose from, on the engine's device; see :func:`dhpe_lib.synthetic.hands.draw_pose_pool`.
                None to draw new poses, which takes the CPU about 1 ms each.

        Returns:
            The pictures and their ground truth.
        """
        sampler = Sampler.from_seed(seed, n, self.device)
        behind = scenery.draw_backgrounds(pool, sampler, SIZE + 2 * margin)
        pose = draw_poses(sampler) if poses is None else poses[sampler.index(len(poses))]
        shape, shots = sampler.normal(1.0, 10), draw_shots(sampler, style.jitter)
        hands = place_hands(self.model, pose, shape, shots, style.fingertips)
        look = draw_look(sampler, style, behind.mean((2, 3)))
        return self.render(hands, look, behind, sampler.pixel_generator())

    def render(
        self, hands: Hands, look: Look, behind: Float[Tensor, "b 3 s s"], noise: torch.Generator
    ) -> SyntheticBatch:
        """Render hands: on a GPU all at once, on the CPU a few at a time, since more do not fit its caches.

        Args:
            hands: Hands in their crops.
            look: Appearance of each picture.
            behind: Backgrounds, sRGB in [0, 1].
            noise: Generator of the sensor's noise, on the engine's device.

        Returns:
            The pictures and their ground truth.
        """
        rows = torch.arange(len(hands.h), device=self.device)
        parts = rows.split(AT_A_TIME if self.device.type == "cpu" else len(rows))
        drawn = [self._render(take_rows(hands, part), take_rows(look, part), behind[part], noise) for part in parts]
        return join_rows(drawn)

    @torch.no_grad()
    def _render(
        self, hands: Hands, look: Look, behind: Float[Tensor, "b 3 s s"], noise: torch.Generator
    ) -> SyntheticBatch:
        wall = behind.permute(0, 2, 3, 1).contiguous()
        second, front = place_companions(self.model, look.companions, hands)
        in_front, behind_hand = look.companions.present & front, look.companions.present & ~front
        nearer, farther = count_true(in_front, behind_hand)
        far = self._add_companions(empty_picture(wall), second, look, true_rows(behind_hand, farther))
        seen, solid = self.vertices(hands, look)
        surfaces = (look.skin, look.materials, look.lights)
        alone = draw_picture(self.assets, solid, seen, surfaces, 1000 / hands.unit, far.image)
        alone = replace(alone, depth=torch.minimum(alone.depth, far.depth))
        picture = self._add_companions(alone, second, look, true_rows(in_front, nearer))
        photo = photograph(look.cameras, picture.image.permute(0, 3, 1, 2), noise).permute(0, 2, 3, 1)
        size, joints = wall.shape[1], hands.joints_crop
        limits = first_pixels(look.borders, joints, size)
        shown = inside_photo(limits, size)
        return SyntheticBatch(
            images=(photo * shown[..., None]).contiguous(),
            masks=(picture.part == HAND) & shown,
            depth=picture.depth.masked_fill(~shown, torch.inf),
            joints_crop=joints,
            joints_mm=hands.joints_mm,
            visible=visible_joints(picture.depth, joints, 1000 / hands.unit) & in_limits(limits, joints, size),
            h=hands.h,
            kappa=hands.kappa,
            axis=hands.axis,
            k=hands.camera(size),
        )

    def _add_companions(self, picture: Picture, second: Hands, look: Look, rows: Int64[Tensor, " n"]) -> Picture:
        """Paint the second hands of some rows over a picture, unless one would hide most of the labelled hand."""
        if not len(rows):
            return picture
        hands, look, below = take_rows(second, rows), take_rows(look, rows), take_rows(picture, rows)
        left, things = look.companions.left, replace(look.things, present=torch.zeros_like(look.things.present))
        seen, solid = self.vertices(hands, replace(look, arms=look.companions.arms, things=things))
        surfaces, wall = (
            (look.skin, look.materials, mirror_lights(look.lights, left)),
            mirror_pictures(below.image, left),
        )
        above = draw_picture(self.assets, solid, seen, surfaces, 1000 / hands.unit, wall)
        above = map_rows(above, lambda values: mirror_pictures(values, left))
        part = torch.where(above.part == NOTHING, below.part, OTHER)
        depth = torch.minimum(above.depth, below.depth)
        before, after = ((p == HAND).sum((1, 2)) for p in (below.part, part))
        kept = (after >= LEAST_SHOWN * before)[:, None, None]
        new = Picture(
            torch.where(kept[..., None], above.image, below.image),
            torch.where(kept, part, below.part),
            torch.where(kept, depth, below.depth),
        )
        return put_rows(picture, rows, new)

    def vertices(self, hands: Hands, look: Look) -> tuple[Float[Tensor, "b v 3"], Float[Tensor, "b v 3"]]:
        """Return all vertices (hand, arm, sleeve, object) with and without perspective, crop frame, units of g."""
        ring = constant(tuple(self.assets.ring), torch.int64, hands.body.device)
        arm = arm_meshes(look.arms, hands.body[:, ring], hands.rotation, hands.unit)
        thing = place_things(look.things, hands)
        solid = torch.cat((hands.body, arm.arm, arm.sleeve, thing), 1)
        nearest = ((CLOSEST - 1) / hands.kappa)[:, None]
        solid = torch.cat((solid[..., :2], torch.maximum(solid[..., 2], nearest)[..., None]), -1)
        return in_perspective(solid, hands.kappa, hands.axis), solid


def visible_joints(
    depth: Float[Tensor, "b s s"], joints: Float[Tensor, "b 21 3"], scale: Float[Tensor, " b"]
) -> Bool[Tensor, "b 21"]:
    """Decide which joints lie in the picture and are covered only by the flesh around them.

    Args:
        depth: Depth of the nearest surface, crop frame, units of g.
        joints: Joints in the crop frame, units of g.
        scale: Units of g in a metre.

    Returns:
        True for visible joints.
    """
    size = depth.shape[-1]
    pixel = (size / 2 + SIZE * joints[..., :2]).floor().long()
    inside = ((pixel >= 0) & (pixel < size)).all(-1)
    x, y = pixel.clamp(0, size - 1).unbind(-1)
    image = torch.arange(len(joints), device=joints.device)[:, None]
    covered = joints[..., 2] - depth[image, y, x]
    return inside & (covered < scale[:, None] * constant_like(FLESH, scale))
