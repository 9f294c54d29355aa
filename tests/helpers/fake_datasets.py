"""Small files in the layouts of the hand datasets. Each joint of their labels is known by its name.

The joint orders are written out here from the datasets' readmes, independently of the library.
"""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from fake_mano import python2_pickle
from PIL import Image
from scipy.io import savemat

from dhpe_lib.hand.skeleton import JOINT_NAMES

Points = dict[str, np.ndarray]


def fingers(order: str, parts: str) -> list[str]:
    return [f"{finger}_{part}" for finger in order.split() for part in parts.split()]


RHD_NAMES = ["wrist", *fingers("thumb index middle ring little", "tip 3 2 1")]
STB_NAMES = ["wrist", *fingers("little ring middle index thumb", "1 2 3 tip")]  # there "wrist" is the palm
FREIHAND_NAMES = ["wrist", *fingers("thumb index middle ring little", "1 2 3 tip")]
HO3D_NAMES = [
    "wrist",
    *fingers("index middle little ring thumb", "1 2 3"),
    *fingers("thumb index middle ring little", "tip"),
]
DO_NAMES = fingers("thumb index middle ring little", "tip")


def points(seed: int = 0, depth: float = 500.0) -> Points:
    """Return 21 named random points in front of a camera, millimetres."""
    rng = np.random.default_rng(seed)
    cloud = rng.uniform((-60, -60, -40), (60, 60, 40), (21, 3)) + np.array([20, -10, depth])
    return dict(zip(JOINT_NAMES, cloud, strict=True))


def canonical(cloud: Points) -> np.ndarray:
    return np.array([cloud[name] for name in JOINT_NAMES])


def ordered(cloud: Points, names: list[str]) -> np.ndarray:
    return np.array([cloud[name] for name in names])


def projected(cloud: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Project points with a pinhole camera, written out by coordinate."""
    x, y, z = cloud.T
    u = (k[0][0] * x + k[0][1] * y) / z + k[0][2]
    return np.stack((u, k[1][1] * y / z + k[1][2]), 1)


def noise(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Return a random picture, which any flip or shift changes."""
    raw = np.random.default_rng(seed).bytes(size[0] * size[1] * 3)
    return np.frombuffer(raw, np.uint8).reshape(size[1], size[0], 3)


def write_image(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, **({"compress_level": 0} if path.suffix.lower() == ".png" else {}))
    return path


def write_json(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def write_pickle(path: Path, value: Any, protocol: int = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(python2_pickle(value, protocol))
    return path


RHD_K = np.array([[298.3, 0, 160], [0, 298.3, 160], [0, 0, 1]])


def rhd_mask(left: int, right: int) -> np.ndarray:
    """Return a mask with `left` and `right` pixels of the hands, over all finger classes, and some of the person."""
    mask = np.zeros(320 * 320, np.uint8)
    mask[:left] = 2 + np.arange(left) % 16
    mask[left : left + right] = 18 + np.arange(right) % 16
    mask[-1000:] = 1
    return mask.reshape(320, 320)


def rhd_record(left: Points, right: Points, k: np.ndarray = RHD_K) -> dict[str, np.ndarray]:
    xyz = np.concatenate((ordered(left, RHD_NAMES), ordered(right, RHD_NAMES)))
    uv = projected(xyz, k)
    visible = np.array([n % 3 > 0 for n in range(42)], float)
    return {
        "uv_vis": np.c_[uv, visible].astype(np.float32),
        "xyz": (xyz / 1000).astype(np.float32),
        "K": k.astype(np.float32),
    }


def write_rhd(root: Path, split: str, records: list[dict[str, Any]], masks: list[np.ndarray]) -> Path:
    folder = root / "RHD_published_v2" / split
    for number, mask in enumerate(masks):
        write_image(folder / "color" / f"{number:05d}.png", noise((320, 320), number))
        write_image(folder / "mask" / f"{number:05d}.png", mask)
    return write_pickle(folder / f"anno_{split}.pickle", dict(enumerate(records)))


def write_stb_labels(root: Path, sequence: str, camera: str, clouds: np.ndarray) -> Path:
    """Write the labels of a sequence: for each frame 21 points in the dataset's order."""
    path = root / "labels" / f"{sequence}_{camera}.mat"
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"handPara": clouds.transpose(2, 1, 0)})
    return path


def do_lines(frames: list[np.ndarray]) -> str:
    """Return lines of five points; each point ends with a semicolon, as in the dataset's files."""
    return "".join("".join(", ".join(f"{x:.6f}" for x in p) + "; " for p in frame) + "\r\n" for frame in frames)


def write_do(root: Path, sequence: str, labels: list[np.ndarray], pixels: list[np.ndarray]) -> Path:
    folder = root / "data" / sequence
    for number in range(len(labels)):
        write_image(folder / "color" / f"image_{number}_color.png", noise((640, 480), number))
    path = folder / "annotations" / f"{sequence}3D.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(do_lines(labels).encode())
    path.with_name(f"{sequence}2D.txt").write_bytes(do_lines(pixels).encode())
    return path


FREIHAND_K = [[388.9, 0, 112.0], [0, 388.7, 112.0], [0, 0, 1]]


def write_freihand(root: Path, split: str, clouds: list[Points], backgrounds: int = 1, labels: bool = True) -> None:
    for number in range(backgrounds * len(clouds)):
        write_image(root / split / "rgb" / f"{number:08d}.jpg", noise((224, 224), number))
    if split == "training":
        for number in range(len(clouds)):
            mask = np.zeros((224, 224), np.uint8)
            mask[: 20 * (number + 1), :100] = 255
            write_image(root / split / "mask" / f"{number:08d}.jpg", mask)
    write_json(root / f"{split}_K.json", [FREIHAND_K for _ in clouds])
    write_json(root / f"{split}_scale.json", [0.03 for _ in clouds])
    if labels:
        xyz = [(ordered(cloud, FREIHAND_NAMES) / 1000).tolist() for cloud in clouds]
        write_json(root / f"{split}_xyz.json", xyz)


HO3D_K = np.array([[617.3, 0, 312.4], [0, 617.3, 241.4], [0, 0, 1]])


def write_ho3d(root: Path, split: str, name: str, joints: np.ndarray, suffix: str = ".jpg") -> Path:
    """Write a frame. `joints` are in the file's format: metres, OpenGL's axes, MANO's order, or only the root."""
    sequence, frame = name.split("/")
    folder = root / split / sequence
    write_image(folder / "rgb" / f"{frame}{suffix}", noise((640, 480)))
    with (root / f"{split}.txt").open("a", encoding="utf-8") as names:
        names.write(f"{name}\n")
    meta = {"camMat": HO3D_K, "handJoints3D": joints.astype(np.float32), "objName": "003_cracker_box", "objLabel": 3}
    return write_pickle(folder / "meta" / f"{frame}.pkl", meta)


def opengl(cloud: Points) -> np.ndarray:
    """Convert named points to HO-3D's format."""
    return ordered(cloud, HO3D_NAMES) / 1000 * [1, -1, -1]


def write_nyu(path: Path, images: np.ndarray) -> Path:
    """Write [n, height, width, 3] images as MATLAB 7.3 does: 512 bytes of its own, then HDF5 with reversed axes."""
    with h5py.File(path, "w", userblock_size=512) as file:
        file["images"] = images.transpose(0, 3, 2, 1)
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64")
    return path


DEXYCB_CAMERA = "color:\n  fx: 610.5\n  fy: 611.0\n  ppx: 312.0\n  ppy: 244.0\ndepth:\n  fx: 1.0\n"
DEXYCB_META = "mano_sides:\n- {}\nnum_frames: 2\nserials:\n- '1'\n"


def write_dexycb_frames(folder: Path, cloud: Points) -> None:
    """Write a frame with a hand and one without."""
    seg = np.zeros((480, 640), np.uint8)
    seg[10:20, 30:60], seg[0, 0] = 255, 3
    for frame, joints in enumerate((canonical(cloud) / 1000, np.full((21, 3), -1.0))):
        write_image(folder / f"color_{frame:06d}.jpg", noise((640, 480)))
        np.savez(folder / f"labels_{frame:06d}.npz", seg=seg, joint_3d=joints[None].astype(np.float32), pose_m=[1.0])
