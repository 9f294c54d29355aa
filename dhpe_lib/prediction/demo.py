"""The picture of `dhpe demo`: two textured hands in sleeves before a blurred room.

It is rendered here, so the ground truth is known. A pinhole camera sees the hands from 70 cm and from 95 cm. The left
hand is rendered as the mirror image of a right one. Nothing here has a gradient.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

from dhpe_lib.common.files import atomic_writes
from dhpe_lib.common.records import to_numpy
from dhpe_lib.evaluation.alignment import mesh_errors
from dhpe_lib.hand.io import Side
from dhpe_lib.hand.model import HandMesh, HandModel, wrist_ring
from dhpe_lib.hand.poses import JOINTS_OF_FINGER, joint_limits, pose_from_angles
from dhpe_lib.hand.rotations import axis_angle_to_matrix
from dhpe_lib.prediction.hand_estimate import HandEstimate, PredictionError
from dhpe_lib.rendering.lighting import Light
from dhpe_lib.rendering.projection import Pinhole
from dhpe_lib.rendering.renderer import Texture, render

WIDTH, HEIGHT, FOCAL = 1200, 900, 2180.0
SHAPE = (0.4, 0.3, 0.5, -0.6, -0.3, 0.5, 0.4, -0.3, 0.6, 0.2)
UPRIGHT = ((0.0, 0, 1), (1, 0, 0), (0, 1, 0))  # fingers up, palm to the camera
WINDOW = Light(ambient=0.46, directional=0.72, direction=(0.75, 0.55, 0.75))
# Rings of the sleeve: metres along the forearm from the wrist's edge, and width relative to it.
SLEEVE = ((-0.010, 0.80), (-0.014, 1.16), (-0.010, 1.25), (0.0, 1.27), (0.03, 1.25), (0.4, 1.6))
CLOTH, CLOTH_ROWS = (0.16, 0.27, 0.36), 256
COARSE = 3
FOUND = 0.3
"""Mean joint error over the hand's size above which a hand counts as missed."""
ROOM = ((214, 188, 158), (44, 62, 80))
LAMPS = ((255, 214, 150), (244, 170, 120), (150, 196, 214), (255, 240, 214))


@dataclass(frozen=True)
class HeldHand:
    """Pose and place of a hand in the demo picture. A left hand is described by its mirror image.

    Attributes:
        side: Handedness.
        fingers: Flexion of the three joints and spread at the first, radians, for each finger.
        turns: Turns of the upright hand about x, y and z, radians, in the order y, x, z.
        wrist: Place of the model's origin in the camera's frame, metres.
    """

    side: Side
    fingers: dict[str, tuple[float, float, float, float]]
    turns: tuple[float, float, float]
    wrist: tuple[float, float, float]


OPEN_HAND = HeldHand(
    "right",
    {
        "thumb": (0.10, 0.15, 0.20, 0.10),
        "index": (0.12, 0.22, 0.14, 0.10),
        "middle": (0.28, 0.36, 0.22, 0.02),
        "ring": (0.42, 0.50, 0.30, -0.04),
        "little": (0.50, 0.52, 0.30, -0.16),
    },
    (-0.12, 0.35, 0.28),
    (-0.085, 0.003, 0.70),
)
TWO_FINGERS = HeldHand(
    "left",
    {
        "thumb": (0.30, 0.55, 0.70, -0.10),
        "index": (0.05, 0.10, 0.08, 0.22),
        "middle": (0.05, 0.12, 0.08, -0.12),
        "ring": (1.20, 1.35, 0.60, 0.0),
        "little": (1.20, 1.30, 0.60, -0.05),
    },
    (0.10, 0.15, 0.05),
    (-0.135, 0.045, 0.95),
)
HANDS = (OPEN_HAND, TWO_FINGERS)


@dataclass(frozen=True)
class DemoHand:
    """The ground truth of one hand.

    Attributes:
        side: Handedness.
        joints_2d: Joints in the picture, pixels.
        vertices: Mesh in metres from its wrist, axes as in the picture, in the model's order.
        joints_3d: Joints in the camera's frame, millimetres.
    """

    side: Side
    joints_2d: Float[ndarray, "21 2"]
    vertices: Float[ndarray, "778 3"]
    joints_3d: Float[ndarray, "21 3"]


@dataclass(frozen=True)
class DemoScene:
    """A picture and its ground truth.

    Attributes:
        image: The picture.
        k: The camera, pixels.
        hands: A right hand and a left one.
    """

    image: UInt8[ndarray, "height width 3"]
    k: Float[ndarray, "3 3"]
    hands: tuple[DemoHand, ...]


@dataclass(frozen=True)
class Surface:
    """Part of a textured mesh.

    Attributes:
        vertices: Metres, in the camera's frame.
        faces: Vertex indices.
        uv: Places in the texture of skin and cloth.
        uv_faces: Rows of `uv` for each face.
    """

    vertices: Float[Tensor, "v 3"]
    faces: Int64[Tensor, "f 3"]
    uv: Float[Tensor, "t 2"]
    uv_faces: Int64[Tensor, "f 3"]

    def mirrored(self) -> "Surface":
        """The mirror image in x."""
        flip = self.vertices.new_tensor((-1.0, 1.0, 1.0))
        return Surface(flip * self.vertices, self.faces.flip(1), self.uv, self.uv_faces.flip(1))


def demo_scene(model: HandModel) -> DemoScene:
    """Render both hands; the same picture each time.

    Args:
        model: The open hand, right, with its texture.

    Returns:
        The scene.
    """
    k = torch.tensor([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]])
    surfaces, hands = [], []
    for held in HANDS:
        mesh = held_mesh(model, held)
        surface = dressed_hand(model, mesh.vertices[0])
        surfaces.append(surface if held.side == "right" else surface.mirrored())
        hands.append(ground_truth(mesh, held.side, k))
    picture = render_surfaces(surfaces, skin_and_cloth(model), k, room())
    return DemoScene(picture, to_numpy(k).astype(float), tuple(hands))


def write_demo(folder: Path) -> tuple[DemoScene, Path, Path]:
    """Write the picture, and the joints of its hands as a keypoints file for `dhpe predict --keypoints`.

    Args:
        folder: Output folder.

    Returns:
        The scene, and the paths of picture and joints.
    """
    scene = demo_scene(HandModel.open_hand())
    picture, joints = folder / "demo.png", folder / "demo.json"
    hands = [{"joints_2d": hand.joints_2d.round(3).tolist(), "hand": hand.side} for hand in scene.hands]
    with atomic_writes(folder, [picture.name, joints.name]) as (drawn, labels):
        Image.fromarray(scene.image).save(drawn)
        labels.write_text(json.dumps([{"file": picture.name, "hands": hands}]) + "\n", encoding="utf-8")
    return scene, picture, joints


@dataclass(frozen=True)
class DemoErrors:
    """Errors of one hand that was found in the picture.

    Attributes:
        side: Handedness.
        error_px: Mean distance of its joints to the ground truth, pixels.
        relative_error: The same over the larger side of the true joints' box.
        mesh_mm: Mean distance of corresponding vertices, both from the wrist, millimetres.
        aligned_mm: The same after alignment by a similarity.
    """

    side: Side
    error_px: float
    relative_error: float
    mesh_mm: float
    aligned_mm: float


def compare_hands(scene: DemoScene, estimates: Sequence[HandEstimate]) -> list[DemoErrors]:
    """Compare the hands that were found with the ground truth.

    Args:
        scene: The picture's ground truth.
        estimates: Hands that were found, in any order.

    Returns:
        The errors of each hand, in the order of the scene.

    Raises:
        PredictionError: A hand was missed or has the wrong side, or there are more hands than the picture shows.
    """
    errors = [_errors(hand, estimates) for hand in scene.hands]
    if len(estimates) != len(scene.hands):
        raise PredictionError(f"{len(estimates)} hands are found, but the picture shows {len(scene.hands)}")
    return errors


def _errors(hand: DemoHand, estimates: Sequence[HandEstimate]) -> DemoErrors:
    size = float(np.ptp(hand.joints_2d, axis=0).max())
    apart = [float(np.linalg.norm(one.joints_px - hand.joints_2d, axis=1).mean()) for one in estimates]
    if not apart or min(apart) > FOUND * size:
        raise PredictionError(f"the {hand.side} hand is not found")
    nearest = estimates[int(np.argmin(apart))]
    if nearest.model.side != hand.side:
        raise PredictionError(f"the {hand.side} hand is taken for a {nearest.model.side} one")
    plain, aligned = mesh_errors(nearest.metres(nearest.mesh.vertices), hand.vertices)
    return DemoErrors(hand.side, min(apart), min(apart) / size, 1000 * plain, 1000 * aligned)


def held_mesh(model: HandModel, held: HeldHand) -> HandMesh:
    """The mesh of a held hand in the camera's frame, metres; of a left hand the mirror image."""
    x, y, z = held.turns
    turn = torch.eye(3)
    for axis_angle in ((0.0, y, 0.0), (x, 0.0, 0.0), (0.0, 0.0, z)):
        turn = axis_angle_to_matrix(torch.tensor(axis_angle)) @ turn
    rotation = (turn @ torch.tensor(UPRIGHT))[None]
    with torch.no_grad():
        return model(held_pose(held), torch.tensor([SHAPE]), rotation, translation=torch.tensor([held.wrist]))


def held_pose(held: HeldHand) -> Float[Tensor, "1 45"]:
    """The pose of a held hand, kept inside the joint limits."""
    limits = joint_limits()
    angles = torch.zeros(1, 15, 3, dtype=torch.float64)
    for finger, (*flexions, spread) in held.fingers.items():
        joints = JOINTS_OF_FINGER[finger]
        angles[0, joints, 0] = torch.tensor(flexions, dtype=torch.float64)
        angles[0, joints.start, 1] = spread
    return pose_from_angles(angles.clamp(limits.bounds[..., 0], limits.bounds[..., 1]), limits).float()


def ground_truth(mesh: HandMesh, side: Side, k: Float[Tensor, "3 3"]) -> DemoHand:
    """Joints and vertices of a held hand; those of a left hand are mirrored."""
    flip = np.array([-1.0 if side == "left" else 1.0, 1, 1])
    joints, vertices = (flip * to_numpy(points[0]).astype(float) for points in (mesh.joints, mesh.vertices))
    pixels = joints @ to_numpy(k).astype(float).T
    return DemoHand(side, pixels[:, :2] / pixels[:, 2:], vertices - joints[:1], 1000 * joints)


def dressed_hand(model: HandModel, vertices: Float[Tensor, "778 3"]) -> Surface:
    """A right hand and its sleeve as one surface, with places in :func:`skin_and_cloth`."""
    cuff, cuff_faces, cuff_uv = sleeve(vertices, model.faces)
    rows = len(model.hand["texture"])
    share = rows / (rows + CLOTH_ROWS)
    skin_uv = torch.from_numpy(model.hand["vt"]).float() * torch.tensor([1.0, share])
    cuff_uv = cuff_uv * torch.tensor([1.0, 1 - share]) + torch.tensor([0, share])
    skin_faces = torch.from_numpy(model.hand["ft"].astype(np.int64))
    return Surface(
        torch.cat((vertices, cuff)),
        torch.cat((model.faces, cuff_faces + len(vertices))),
        torch.cat((skin_uv, cuff_uv)),
        torch.cat((skin_faces, cuff_faces + len(skin_uv))),
    )


def skin_and_cloth(model: HandModel) -> Float[Tensor, "rows columns 3"]:
    """The hand's texture above the sleeve's."""
    skin = torch.from_numpy(model.hand["texture"]).float() / 255
    return torch.cat((skin, cloth(skin.shape[1])))


def render_surfaces(
    surfaces: Sequence[Surface],
    texture: Float[Tensor, "rows columns 3"],
    k: Float[Tensor, "3 3"],
    background: UInt8[ndarray, "height width 3"],
) -> UInt8[ndarray, "height width 3"]:
    """Render surfaces with one texture before a background."""
    firsts = np.cumsum([0, *(len(surface.vertices) for surface in surfaces)]).tolist()
    uv_firsts = np.cumsum([0, *(len(surface.uv) for surface in surfaces)]).tolist()
    faces = torch.cat([one.faces + first for one, first in zip(surfaces, firsts[:-1], strict=True)])
    uv_faces = torch.cat([one.uv_faces + first for one, first in zip(surfaces, uv_firsts[:-1], strict=True)])
    vertices = torch.cat([surface.vertices for surface in surfaces])
    colors = Texture(torch.cat([surface.uv for surface in surfaces]), uv_faces, texture)
    behind, camera = torch.from_numpy(background) / 255, Pinhole(k[None])
    size = (background.shape[0], background.shape[1])
    image = render(vertices[None], faces, colors, behind, size, WINDOW, camera=camera).image[0]
    return np.rint(255 * to_numpy(image).clip(0, 1)).astype(np.uint8)


def cloth(columns: int) -> Float[Tensor, "rows columns 3"]:
    """A ribbed weave: fine lines along the sleeve, softened by noise."""
    generator = torch.Generator().manual_seed(7)
    ribs = 0.5 + 0.5 * torch.sin(torch.arange(columns) * (2 * math.pi * 64 / columns))
    noise = torch.rand(CLOTH_ROWS, columns, generator=generator)
    shade = 0.82 + 0.22 * ribs + 0.14 * (noise - 0.5)
    return (shade[..., None] * torch.tensor(CLOTH)).clamp(0, 1)


def sleeve(
    vertices: Float[Tensor, "778 3"], faces: Tensor
) -> tuple[Float[Tensor, "n 3"], Tensor, Float[Tensor, "n 2"]]:
    """A tube around the open end of the wrist: vertices, faces, and places in the cloth."""
    rim = vertices[wrist_ring(faces)]
    fine = torch.nn.functional.interpolate(rim.mT[None], scale_factor=4, mode="linear")[0].mT
    center = rim.mean(0)
    along = torch.linalg.svd(rim - center).Vh[2]
    along = along * torch.sign(along @ (center - vertices.mean(0)))
    rings = torch.stack([center + width * (fine - center) + reach * along for reach, width in SLEEVE])
    n, m = rings.shape[:2]
    k, i = torch.meshgrid(torch.arange(n - 1), torch.arange(m), indexing="ij")
    a, b = k * m + i, k * m + (i + 1) % m
    quads = torch.stack((a, b, b + m, a, b + m, a + m), -1).reshape(-1, 3)
    v, u = torch.meshgrid(torch.linspace(0, 1, n), torch.linspace(0, 1, m), indexing="ij")
    return rings.flatten(0, 1), quads, torch.stack((u, v), -1).flatten(0, 1)


def room(seed: int = 5) -> UInt8[ndarray, "height width 3"]:
    """A room out of focus: light from one side, lamps as discs, grain. Painted small, since all of it is blurred."""
    rng = np.random.default_rng(seed)
    width, height = WIDTH // COARSE, HEIGHT // COARSE
    across = 0.7 * np.linspace(0, 1, width)[:, None] + 0.3 * np.linspace(0, 1, height)[:, None, None]
    bright, dark = (np.array(color, float) for color in ROOM)
    picture = Image.fromarray(np.uint8(bright + (dark - bright) * across))
    for _ in range(26):
        place, size = (rng.uniform(0, width), rng.uniform(0, 0.8 * height)), rng.uniform(0.015, 0.07) * width
        disc = Image.new("L", picture.size)
        ImageDraw.Draw(disc).circle(place, size, round(rng.uniform(30, 110)))
        disc = disc.filter(ImageFilter.GaussianBlur(rng.uniform(0.003, 0.01) * width))
        picture.paste(Image.new("RGB", picture.size, LAMPS[rng.integers(len(LAMPS))]), mask=disc)
    large = np.asarray(picture.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), float)
    return np.rint(np.clip(large + rng.normal(0, 2.0, (HEIGHT, WIDTH, 1)), 0, 255)).astype(np.uint8)
