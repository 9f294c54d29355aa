"""The picture of `dhpe demo`: a textured hand in a sleeve before a blurred room, made here, so that its mesh is known.

A pinhole camera sees the hand from 70 cm; the fit's scaled orthographic one has to make do, as with a real
photo. Nothing here has a gradient.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

from dhpe_lib.common.records import to_numpy
from dhpe_lib.hand.model import HandModel, wrist_ring
from dhpe_lib.hand.poses import JOINTS_OF_FINGER, joint_limits, pose_from_angles
from dhpe_lib.hand.rotations import axis_angle_to_matrix
from dhpe_lib.rendering.lighting import Light
from dhpe_lib.rendering.renderer import Texture, render

WIDTH, HEIGHT, FOCAL, DISTANCE = 1200, 900, 2180.0, 0.7
# Flexion of the three joints and spread at the first, radians, thumb to little: an open hand about to take something.
POSE = {
    "thumb": (0.10, 0.15, 0.20, 0.10),
    "index": (0.12, 0.22, 0.14, 0.10),
    "middle": (0.28, 0.36, 0.22, 0.02),
    "ring": (0.42, 0.50, 0.30, -0.04),
    "little": (0.50, 0.52, 0.30, -0.16),
}
SHAPE = (0.4, 0.3, 0.5, -0.6, -0.3, 0.5, 0.4, -0.3, 0.6, 0.2)
UPRIGHT = ((0.0, 0, 1), (1, 0, 0), (0, 1, 0))  # fingers up, palm to the camera
YAW, TILT, ROLL = 0.35, -0.12, 0.28
WINDOW = Light(ambient=0.42, directional=0.72, direction=(0.75, 0.55, 0.75))
# Rings of the sleeve: metres along the forearm from the wrist's edge, and width relative to it.
SLEEVE = ((-0.010, 0.80), (-0.014, 1.16), (-0.010, 1.25), (0.0, 1.27), (0.03, 1.25), (0.4, 1.6))
CLOTH = (0.16, 0.27, 0.36)
COARSE = 3
ROOM = ((214, 188, 158), (44, 62, 80))
LAMPS = ((255, 214, 150), (244, 170, 120), (150, 196, 214), (255, 240, 214))


@dataclass(frozen=True)
class DemoScene:
    """A picture and the truth about it.

    Attributes:
        image: The picture.
        joints_2d: Where the hand's joints are in it, pixels.
        vertices: The hand in metres from its wrist, axes as in the picture, in the model's order.
        joints_3d: Its joints in the camera frame, millimetres.
        k: The camera, pixels.
    """

    image: UInt8[ndarray, "height width 3"]
    joints_2d: Float[ndarray, "21 2"]
    vertices: Float[ndarray, "778 3"]
    joints_3d: Float[ndarray, "21 3"]
    k: Float[ndarray, "3 3"]


def demo_scene(model: HandModel) -> DemoScene:
    """Render the open hand; the same picture each time.

    Args:
        model: The open hand, right, with its texture.

    Returns:
        The scene.
    """
    turn = torch.eye(3)
    for axis_angle in ((0.0, YAW, 0.0), (TILT, 0.0, 0.0), (0.0, 0.0, ROLL)):
        turn = axis_angle_to_matrix(torch.tensor(axis_angle)) @ turn
    rotation = (turn @ torch.tensor(UPRIGHT))[None]
    place = torch.tensor([[-0.008, 0.003, DISTANCE]])
    with torch.no_grad():
        hand = model(demo_pose(), torch.tensor([SHAPE]), rotation, translation=place)
    picture = render_scene(model, hand.vertices[0], room())
    joints_2d = to_numpy(projected(hand.joints[0])[:, :2]).astype(float)
    vertices = to_numpy(hand.vertices[0] - hand.joints[:, 0]).astype(float)
    k = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]])
    return DemoScene(picture, joints_2d, vertices, 1000 * to_numpy(hand.joints[0]).astype(float), k)


def write_demo(folder: Path) -> tuple[DemoScene, Path, Path]:
    """Write the picture, and its joints as a keypoints file for `dhpe predict`.

    Args:
        folder: Where to.

    Returns:
        The scene, and the paths of picture and joints.
    """
    scene = demo_scene(HandModel.open_hand())
    picture, joints = folder / "demo.png", folder / "demo.json"
    Image.fromarray(scene.image).save(picture)
    entry = {"file": picture.name, "joints_2d": scene.joints_2d.round(3).tolist(), "hand": "right"}
    joints.write_text(json.dumps([entry]) + "\n", encoding="utf-8")
    return scene, picture, joints


def demo_pose() -> Float[Tensor, "1 45"]:
    """The pose of the table above, kept inside the joint limits."""
    limits = joint_limits()
    angles = torch.zeros(1, 15, 3, dtype=torch.float64)
    for finger, (*flexions, spread) in POSE.items():
        joints = JOINTS_OF_FINGER[finger]
        angles[0, joints, 0] = torch.tensor(flexions, dtype=torch.float64)
        angles[0, joints.start, 1] = spread
    return pose_from_angles(angles.clamp(limits.bounds[..., 0], limits.bounds[..., 1]), limits).float()


def projected(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Pinhole projection: x, y in pixels, and the depth as it is."""
    pixels = FOCAL * points[:, :2] / points[:, 2:] + points.new_tensor((WIDTH, HEIGHT)) / 2
    return torch.cat((pixels, points[:, 2:]), 1)


def render_scene(
    model: HandModel, vertices: Float[Tensor, "778 3"], background: UInt8[ndarray, "height width 3"]
) -> UInt8[ndarray, "height width 3"]:
    """Hand and sleeve before a background; the renderer's square reaches beyond the picture above and below."""
    cuff, cuff_faces, cuff_uv = sleeve(vertices, model.faces)
    faces = torch.cat((model.faces, cuff_faces + len(vertices)))
    texture = torch.from_numpy(model.hand["texture"]).float() / 255
    skin_uv, share = torch.from_numpy(model.hand["vt"]).float(), len(texture) / (len(texture) + CLOTH_ROWS)
    uv = torch.cat(
        (skin_uv * torch.tensor([1.0, share]), cuff_uv * torch.tensor([1.0, 1 - share]) + torch.tensor([0, share]))
    )
    uv_faces = torch.cat((torch.from_numpy(model.hand["ft"].astype(np.int64)), cuff_faces + len(skin_uv)))
    pixels = projected(torch.cat((vertices, cuff)))
    view = (pixels - torch.tensor([WIDTH / 2, HEIGHT / 2, DISTANCE])) / torch.tensor([WIDTH, WIDTH, DISTANCE])
    edge = (WIDTH - HEIGHT) // 2
    square = torch.zeros(WIDTH, WIDTH, 3)
    square[edge : edge + HEIGHT] = torch.from_numpy(background) / 255
    colors = Texture(uv, uv_faces, torch.cat((texture, cloth(texture.shape[1]))))
    image = render(view[None], faces, colors, square, WIDTH, WINDOW).image[0, edge : edge + HEIGHT]
    return np.rint(255 * to_numpy(image).clip(0, 1)).astype(np.uint8)


CLOTH_ROWS = 256


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
