"""The synthetic engine: a seed in, pictures of hands out, with everything known of them.

The order is that of the world: a hand, its arm and what it holds; skin, cloth and light; what is behind; the camera.
Everything is drawn on the CPU from one seed, so a seed means one scene; on the CPU it means the same bytes, for the
same number of threads and version of PyTorch. Nothing here has a gradient.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from dhpe_lib.common.records import join_rows, take_rows
from dhpe_lib.data.crop_frame import SIZE
from dhpe_lib.data.crops import Crops, pack_masks
from dhpe_lib.hand.model import HandModel
from dhpe_lib.hand.skeleton import MIDDLE_MCP
from dhpe_lib.synthetic import scenery
from dhpe_lib.synthetic.arm import Arms, draw_arms, grow_arms
from dhpe_lib.synthetic.camera_effects import Cameras, draw_cameras, photograph
from dhpe_lib.synthetic.cloth import Materials, draw_materials
from dhpe_lib.synthetic.hands import Hands, draw_poses, draw_shots, in_perspective, place_hands
from dhpe_lib.synthetic.lighting import Lights, draw_lights
from dhpe_lib.synthetic.objects import Things, draw_things, place_things
from dhpe_lib.synthetic.sampling import Dice
from dhpe_lib.synthetic.shading import HAND, Stage, draw_picture
from dhpe_lib.synthetic.skin import Skin, draw_skin

AT_A_TIME = 8
CLOSEST = 0.25
"""Nothing comes nearer to the camera than this share of the root's depth."""
FLESH = (0.032, 0.030, 0.022, 0.017, 0.010) + 4 * (0.024, 0.016, 0.014, 0.008)
"""Metres from a joint to the skin before it, at most, on any side that it can be seen from."""


@dataclass(frozen=True)
class Style:
    """What kind of pictures are drawn.

    Attributes:
        jitter: Whether crops miss their hand by a little, as a detector's do.
        fingertips: Whether crops are those of a dataset that knows fingertips only.
        things: Share of hands that hold something.
        new_people: Whether skins are those that training never shows.
        new_things: Whether things have shapes that training never shows.
        painters: Kinds of backgrounds.
    """

    jitter: bool = True
    fingertips: bool = False
    things: float = 0.25
    new_people: bool = False
    new_things: bool = False
    painters: tuple[scenery.Painter, ...] = scenery.SEEN


TRAINING = Style()


@dataclass(frozen=True)
class Look:
    """Everything about a picture but where the hand is and what is behind it."""

    arms: Arms
    things: Things
    skin: Skin
    materials: Materials
    lights: Lights
    cameras: Cameras


def draw_look(dice: Dice, style: Style, surroundings: Float[Tensor, "b 3"]) -> Look:
    """Draw arms, things, skin, cloth, light and camera.

    Args:
        dice: Source of randomness.
        style: What kind.
        surroundings: Mean colours of the backgrounds.
    """
    return Look(
        draw_arms(dice),
        draw_things(dice, style.things, style.new_things),
        draw_skin(dice, style.new_people),
        draw_materials(dice),
        draw_lights(dice, surroundings),
        draw_cameras(dice),
    )


@dataclass(frozen=True)
class SyntheticBatch:
    """Pictures and the truth.

    Attributes:
        images: RGB; s is 224, of which is g, plus twice the margin.
        masks: Where hand is seen, at a pixel's centre. The arm beyond the wrist's ring is not hand, as in MANO's mesh;
            what a thing hides is not either.
        depth: Of the nearest surface of anything, crop frame (units of g from the root); infinite on the background.
        joints_crop: Crop frame, Eq. 8: x, y in perspective.
        joints_mm: Camera frame of the picture.
        visible: Whether a joint lies in the picture with nothing before it but the flesh around it.
        h: The hand before perspective (Eq. 4): `HandModel.forward_h` and then
            :func:`dhpe_lib.synthetic.hands.in_perspective` with kappa and axis give the mesh in the picture.
        kappa: The side g over the focal length.
        axis: Where the optical axis meets the crop.
        k: The camera of the picture.
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
        """The same as every other dataset's crops."""
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
    """Draws batches of hands.

    Args:
        device: Where the pictures are made and stay.
        photos: NYU depth v2 or a folder of images, for the backgrounds; by default they are painted.
    """

    def __init__(self, device: torch.device | str = "cpu", photos: Path | None = None) -> None:
        self.device = torch.device(device)
        self.model = HandModel.open_hand().to(self.device)
        self.stage = Stage.build(self.model)
        self.photos = photos

    def backgrounds(self, n: int, seed: int, style: Style = TRAINING) -> UInt8[Tensor, "n 3 288 288"]:
        """A pool of backgrounds, painted or cut from photos; a batch chooses from it."""
        return scenery.make_backgrounds(n, seed, self.photos, style.painters).to(self.device)

    def batch(
        self, n: int, seed: int, pool: UInt8[Tensor, "n 3 288 288"], style: Style = TRAINING, margin: int = 0
    ) -> SyntheticBatch:
        """Draw some pictures.

        Args:
            n: How many.
            seed: The same seed gives the same scenes, and on the CPU the same bytes.
            pool: Backgrounds to choose from.
            style: What kind of pictures.
            margin: Pixels around the 224 x 224 view, a multiple of 8.

        Returns:
            The batch.
        """
        dice = Dice.from_seed(seed, n, self.device)
        behind = scenery.behind(pool, dice, SIZE + 2 * margin)
        pose, shape, shots = draw_poses(dice), dice.normal(1.0, 10), draw_shots(dice, style.jitter)
        hands = place_hands(self.model, pose, shape, shots, style.fingertips)
        look = draw_look(dice, style, behind.mean((2, 3)))
        return self.render(hands, look, behind, dice.pixel_generator())

    def render(
        self, hands: Hands, look: Look, behind: Float[Tensor, "b 3 s s"], noise: torch.Generator
    ) -> SyntheticBatch:
        """Picture hands: on a GPU all at once, on the CPU a few at a time, since more do not fit its caches.

        Args:
            hands: Where they are.
            look: What they look like.
            behind: Backgrounds, sRGB.
            noise: Source of the sensor's noise, on the engine's device.

        Returns:
            The pictures and the truth about them.
        """
        rows = torch.arange(len(hands.h), device=self.device)
        parts = rows.split(AT_A_TIME if self.device.type == "cpu" else len(rows))
        drawn = [self._render(take_rows(hands, part), take_rows(look, part), behind[part], noise) for part in parts]
        return join_rows(drawn)

    @torch.no_grad()
    def _render(
        self, hands: Hands, look: Look, behind: Float[Tensor, "b 3 s s"], noise: torch.Generator
    ) -> SyntheticBatch:
        seen, solid = self.vertices(hands, look)
        surfaces, wall = (look.skin, look.materials, look.lights), behind.permute(0, 2, 3, 1).contiguous()
        picture = draw_picture(self.stage, solid, seen, surfaces, 1000 / hands.unit, wall)
        photo = photograph(look.cameras, picture.image.permute(0, 3, 1, 2), noise)
        return SyntheticBatch(
            images=photo.permute(0, 2, 3, 1).contiguous(),
            masks=picture.part == HAND,
            depth=picture.depth,
            joints_crop=hands.joints_crop,
            joints_mm=hands.joints_mm,
            visible=visible_joints(picture.depth, hands.joints_crop, 1000 / hands.unit),
            h=hands.h,
            kappa=hands.kappa,
            axis=hands.axis,
            k=hands.camera(wall.shape[1]),
        )

    def vertices(self, hands: Hands, look: Look) -> tuple[Float[Tensor, "b v 3"], Float[Tensor, "b v 3"]]:
        """All vertices, hand, arm, sleeve and thing, in perspective and before it."""
        arm = grow_arms(look.arms, hands.body[:, self.stage.ring], hands.rotation, hands.unit)
        thing = place_things(look.things, hands)
        solid = torch.cat((hands.body, arm.arm, arm.sleeve, thing), 1)
        nearest = ((CLOSEST - 1) / hands.kappa)[:, None]
        solid = torch.cat((solid[..., :2], torch.maximum(solid[..., 2], nearest)[..., None]), -1)
        return in_perspective(solid, hands.kappa, hands.axis), solid


def visible_joints(
    depth: Float[Tensor, "b s s"], joints: Float[Tensor, "b 21 3"], scale: Float[Tensor, " b"]
) -> Bool[Tensor, "b 21"]:
    """Which joints are in the picture with the hand's own flesh before them, and no more than that.

    Args:
        depth: Of the nearest surface, crop frame.
        joints: Crop frame.
        scale: Units of g in a metre.

    Returns:
        One answer for each joint.
    """
    size = depth.shape[-1]
    pixel = (size / 2 + SIZE * joints[..., :2]).floor().long()
    inside = ((pixel >= 0) & (pixel < size)).all(-1)
    x, y = pixel.clamp(0, size - 1).unbind(-1)
    image = torch.arange(len(joints), device=joints.device)[:, None]
    covered = joints[..., 2] - depth[image, y, x]
    return inside & (covered < scale[:, None] * torch.tensor(FLESH).to(scale))
