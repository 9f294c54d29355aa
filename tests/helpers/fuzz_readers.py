"""Small valid files of each format with their readers, and random changes of them.

Used by tests/common/test_hostile_files.py and benchmarks/fuzz.py.
"""

import json
import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dot_dataset import Dots, write_dots
from fake_datasets import (
    DEXYCB_CAMERA,
    DEXYCB_META,
    DO_NAMES,
    noise,
    opengl,
    ordered,
    points,
    projected,
    rhd_mask,
    rhd_record,
    write_dexycb_frames,
    write_do,
    write_freihand,
    write_ho3d,
    write_nyu,
    write_rhd,
)
from fake_interhand import interhand_labels, write_interhand
from fake_mano import Ch, OldCsc, python2_pickle
from PIL import Image, features
from rich.console import Console
from scipy.io import savemat

from dhpe_lib.cli.hand import read_numbers
from dhpe_lib.common.unpickling import load_pickle
from dhpe_lib.data.backgrounds import open_backgrounds
from dhpe_lib.data.cache.layout import Contents, Plan, read_record
from dhpe_lib.data.cache.preparation import Job, prepare
from dhpe_lib.data.cache.reader import Prepared, damaged_index
from dhpe_lib.data.camera import Camera
from dhpe_lib.data.mat_files import MatFileError, read_array
from dhpe_lib.data.photos import read_mask, read_photo
from dhpe_lib.data.readers import dexycb
from dhpe_lib.data.readers.dexter_object import DexterObject
from dhpe_lib.data.readers.freihand import FreiHand
from dhpe_lib.data.readers.ho3d import Ho3d
from dhpe_lib.data.readers.interhand import InterHand
from dhpe_lib.data.readers.photos import Photos
from dhpe_lib.data.readers.rhd import Rhd
from dhpe_lib.evaluation import freihand as freihand_scores
from dhpe_lib.hand.io import read_hand, write_hand
from dhpe_lib.hand.model import OPEN_HAND, HandModel
from dhpe_lib.hand.pose_files import Source, read_pose
from dhpe_lib.network.checkpoints import read_checkpoint, write_checkpoint
from dhpe_lib.network.pretrained import read_state
from dhpe_lib.prediction.batch import read_index
from dhpe_lib.prediction.from_joints_3d import read_joints_3d
from dhpe_lib.prediction.keypoints import keypoints_of, read_keypoints
from dhpe_lib.prediction.video_io import Frame, clip_writer, read_frames
from dhpe_lib.training.config import TrainingConfig, read_config, write_config
from dhpe_lib.training.log import read_curves

PICTURES = ("jpg", "png", "tif", "webp", "bmp", "gif", "ppm", "tga", *(["jp2"] if features.check("jpg_2000") else []))
ODD = (
    [], {}, "", "text", None, True, -1, 0, 1.5, 10**18, 10**400, float("inf"), float("nan"), [[]], "\x1b[31m", "../a",
)  # fmt: skip


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes:
        write: Function that writes a valid file, with its neighbours if it needs them, to an empty folder, and returns
            its path.
        read: The library's reader.
        depth: Number of folders from the file's up to the one that its errors name.
    """

    write: Callable[[Path], Path]
    read: Callable[[Path], Any]
    depth: int = 0


def written(path: Path, content: bytes | str) -> Path:
    """Write a file and return its path."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def pickle_file(folder: Path) -> Path:
    content = {"a": rng().normal(size=(2, 3)), "b": Ch(x=np.arange(3.0)), "c": OldCsc(np.eye(3)), "d": ["text", 1]}
    return written(folder / "a.pickle", python2_pickle(content))


def hand_file(name: str, folder: Path) -> Path:
    write_hand(folder / name, read_hand(OPEN_HAND))
    return folder / name


def keypoints_file(folder: Path) -> Path:
    joints = [[*place, 1] for place in rng().uniform(10, 90, (21, 2)).tolist()]
    return written(folder / "a.json", json.dumps([{"file": "a.jpg", "joints_2d": joints, "hand": "right"}]))


def quotes_file(folder: Path) -> Path:
    """A keypoints file with 16,000 escaped quotation marks."""
    (entry,) = json.loads(keypoints_file(folder).read_text())
    return written(folder / "a.json", json.dumps([entry | {"note": '"' * 16_000}]))


def keypoints_3d_file(folder: Path) -> Path:
    joints = rng().uniform(0, 0.1, (21, 4)).tolist()
    return written(folder / "a.json", json.dumps([{"name": "a", "hand": "left", "unit": "any", "joints_3d": joints}]))


def pose_file(suffix: str, folder: Path) -> Path:
    """FrankMocap's fields, HaMeR's or smplx's, or rotations without a name."""
    path, numbers = folder / f"a.{suffix}", rng().normal(size=(2, 45))
    if suffix == "pkl":
        return written(path, python2_pickle({"pred_hand_pose": np.ones((1, 48)), "pred_hand_betas": np.zeros((1, 10))}))
    if suffix == "npy":
        np.save(path, numbers)
    elif suffix == "npz":
        np.savez(path, hand_pose=np.ones((2, 15, 3, 3)), global_orient=np.ones((2, 1, 3, 3)), betas=np.zeros((2, 10)))
    else:
        written(path, json.dumps({"hand_pose": numbers.tolist(), "transl": [0, 0, 1], "global_orient": [0, 0, 1]}))
    return path


@cache
def open_hand() -> HandModel:
    return HandModel.open_hand()


def read_pose_as(source: Source, path: Path) -> None:
    read_pose(path, source, open_hand())


def numbers_file(folder: Path) -> Path:
    return written(folder / "a.json", json.dumps({"hand": "right", "h": {"pose": [0.1] * 45}}))


def config_file(folder: Path) -> Path:
    write_config(folder / "config.json", TrainingConfig())
    return folder / "config.json"


def plan_file(folder: Path) -> Path:
    return written(folder / "plan.json", json.dumps(Contents("dots", "all", ["0"], {"seed": 0}).plan()))


def cache_file(name: str, folder: Path) -> Path:
    job = Job("dots", "all", Dots, write_dots(folder / "dots", 2), folder / "all")
    return prepare(job, 1, Console(quiet=True)).directory / name


def read_cache(path: Path) -> None:
    cache = Prepared(path.parent)
    damaged_index(cache)
    assert len(cache.ids) == len(cache[:].images)


def checkpoint_file(folder: Path) -> Path:
    write_checkpoint(folder / "a.safetensors", torch.nn.Linear(2, 2), {"step": 3, "best": "1.5", "config": {}})
    return folder / "a.safetensors"


def weights_file(zipped: bool, folder: Path) -> Path:
    state = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.zeros(2)}
    torch.save(state, folder / "a.pth", _use_new_zipfile_serialization=zipped)
    return folder / "a.pth"


def mat_file(folder: Path) -> Path:
    savemat(folder / "a.mat", {"handPara": rng().normal(size=(3, 21, 2))}, do_compression=True)
    return folder / "a.mat"


def scores_file(folder: Path) -> Path:
    freihand_scores.write_freihand(folder / "pred.json", np.zeros((1, 21, 3)), np.zeros((1, 778, 3)))
    return folder / "pred.json"


def index_file(folder: Path) -> Path:
    line = json.dumps({"photo": "a.jpg", "hands": [{"files": ["a_hand.json"]}], "problem": ""})
    return written(folder / "index.jsonl", f"{line}\n{line}\n")


def curves_file(folder: Path) -> Path:
    return written(
        folder / "curves.jsonl", "".join(f'{{"step": {k}, "kind": "train", "art": {k}.5}}\n' for k in range(3))
    )


def picture_file(suffix: str, folder: Path) -> Path:
    Image.fromarray(rng().integers(0, 256, (16, 12, 3), np.uint8)).save(folder / f"a.{suffix}")
    return folder / f"a.{suffix}"


def mask_file(folder: Path) -> Path:
    Image.fromarray(np.full((16, 12), 255, np.uint8)).save(folder / "a.png")
    return folder / "a.png"


def exif_file(folder: Path) -> Path:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769).update({0x920A: 4.2, 0xA405: 26, 0xA20E: 3000.0, 0xA210: 3})
    Image.new("RGB", (12, 16)).save(folder / "a.jpg", exif=exif)
    return folder / "a.jpg"


def read_exif(path: Path) -> None:
    image = read_photo(path)
    Camera.choose(image.shape[1], image.shape[0], path=path)


def rhd_file(folder: Path) -> Path:
    return write_rhd(folder, "training", [rhd_record(points(0), points(1))], [rhd_mask(50, 400)])


def freihand_file(folder: Path) -> Path:
    write_freihand(folder, "evaluation", [points(0)])
    return folder / "evaluation_xyz.json"


def ho3d_file(folder: Path) -> Path:
    return write_ho3d(folder, "train", "ABF10/0000", opengl(points(0)))


def dexter_file(folder: Path) -> Path:
    for sequence in ("Grasp1", "Grasp2", "Occlusion", "Pinch", "Rigid", "Rotate"):
        tips = ordered(points(0), DO_NAMES)
        path = write_do(
            folder, sequence, [tips], [projected(tips, np.array([[400, 0, 320], [0, 400, 240], [0, 0, 1]]))]
        )
    return path


def interhand_file(kind: str, folder: Path) -> Path:
    return interhand_labels(write_interhand(folder), kind)


def read_interhand(path: Path) -> None:
    reader = InterHand(path.parents[2], "val")
    for k in range(len(reader)):
        reader[k]


def dexycb_file(folder: Path) -> Path:
    write_dexycb_frames(folder, points(1, depth=800))
    return folder / "labels_000000.npz"


def sequence_file(folder: Path) -> Path:
    return written(folder / "meta.yml", DEXYCB_META.format("left"))


def camera_file(folder: Path) -> Path:
    path = folder / f"calibration/intrinsics/{dexycb.SERIALS[0]}_640x480.yml"
    path.parent.mkdir(parents=True)
    return written(path, DEXYCB_CAMERA)


def labels_file(folder: Path) -> Path:
    picture_file("png", folder)
    label = {"file": "a.png", "set": "mine", "hand": "left", "joints_2d": rng().uniform(0, 12, (21, 2)).tolist()}
    return written(folder / "labels.json", json.dumps([label | {"group": str(k)} for k in range(20)]))


def read_photo_labels(path: Path) -> None:
    for split in ("train", "test"):
        reader = Photos(path.parent, split)
        for k in range(len(reader)):
            reader[k]


def nyu_file(folder: Path) -> Path:
    return write_nyu(folder / "nyu_depth_v2_labeled.mat", noise((640, 480))[None])


def clip_file(folder: Path) -> Path:
    with clip_writer(folder / "a.mp4", 10.0) as write:
        for k in range(3):
            write(Frame(noise((32, 16), k), k / 10, str(k)))
    return folder / "a.mp4"


FORMATS = {
    "pickle": Format(pickle_file, load_pickle),
    "hand.pkl": Format(partial(hand_file, "a.pkl"), read_hand),
    "hand.npz": Format(partial(hand_file, "a.npz"), read_hand),
    "keypoints": Format(keypoints_file, lambda path: keypoints_of("a.jpg", (640, 480), read_keypoints(path), path)),
    "keypoints, quotation marks": Format(
        quotes_file, lambda path: keypoints_of("a.jpg", (640, 480), read_keypoints(path), path)
    ),
    "keypoints in space": Format(keypoints_3d_file, read_joints_3d),
    "poses, json": Format(partial(pose_file, "json"), partial(read_pose_as, "smplx")),
    "poses, npz": Format(partial(pose_file, "npz"), partial(read_pose_as, "hamer")),
    "poses, npy": Format(partial(pose_file, "npy"), partial(read_pose_as, "axis-angle")),
    "poses, pkl": Format(partial(pose_file, "pkl"), partial(read_pose_as, "frankmocap")),
    "pose": Format(numbers_file, lambda path: read_numbers(str(path), "pose", "right")),
    "config": Format(config_file, read_config),
    "cache plan": Format(plan_file, lambda path: read_record(path, Plan)),
    "cache meta": Format(partial(cache_file, "meta.json"), read_cache),
    "cache ids": Format(partial(cache_file, "ids.json"), read_cache),
    "cache rows": Format(partial(cache_file, "rows.npy"), read_cache),
    "cache array": Format(partial(cache_file, "joints_3d.npy"), read_cache),
    "checkpoint": Format(checkpoint_file, read_checkpoint),
    "weights, safetensors": Format(checkpoint_file, read_state),
    "weights, zip": Format(partial(weights_file, True), read_state),
    "weights, old": Format(partial(weights_file, False), read_state),
    "index": Format(index_file, read_index),
    "curves": Format(curves_file, lambda path: read_curves(path, "train")),
    "FreiHAND scores": Format(scores_file, freihand_scores.read_freihand),
    "RHD": Format(rhd_file, lambda path: Rhd(path.parents[2], "training")[0]),
    "FreiHAND": Format(freihand_file, lambda path: FreiHand(path.parent, "evaluation")[0]),
    "HO-3D": Format(ho3d_file, lambda path: Ho3d(path.parents[3], "train")[0]),
    "Dexter+Object": Format(dexter_file, lambda path: DexterObject(path.parents[3], "evaluation")[0]),
    **{
        f"InterHand2.6M, {kind}": Format(partial(interhand_file, kind), read_interhand, depth=2)
        for kind in ("data", "camera", "joint_3d")
    },
    "DexYCB labels": Format(dexycb_file, dexycb.read_labels),
    "DexYCB sequence": Format(sequence_file, dexycb.read_meta),
    "DexYCB camera": Format(camera_file, lambda path: dexycb.read_camera(path.parents[2], dexycb.SERIALS[0])),
    "photo labels": Format(labels_file, read_photo_labels),
    "STB": Format(mat_file, lambda path: read_array(path, "handPara")),
    "NYU": Format(nyu_file, lambda path: open_backgrounds(path)[0]),
    "mask": Format(mask_file, lambda path: read_mask(path, (12, 16))),
    "EXIF": Format(exif_file, read_exif),
    "clip": Format(clip_file, lambda path: list(read_frames(path))),
    **{f"photo, {suffix}": Format(partial(picture_file, suffix), read_photo) for suffix in PICTURES},
}


def changed_bytes(raw: bytes, rng: random.Random) -> bytes:
    """Cut, overwrite, repeat or remove pieces; more of them at the beginning, where headers are."""
    data = bytearray(raw)
    for _ in range(rng.randint(1, 4)):
        place, length = int((len(data) + 1) * rng.random() ** 3), rng.randint(1, 16)
        piece = rng.choice((rng.randbytes(length), b"\xff" * length, b"\0" * length, bytes(data[:length]), b""))
        data[place : place + rng.choice((0, length, 1))] = piece
    return bytes(data[: rng.randrange(len(data) + 1)] if rng.random() < 0.1 else data)


def changed_json(value: Any, rng: random.Random) -> Any:
    """Replace one value at any depth by an odd one, or remove it."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.1:
        return rng.choice(ODD)
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key, copy = rng.choice(keys), value.copy()
    if rng.random() < 0.1:
        del copy[key]
    else:
        copy[key] = changed_json(copy[key], rng)
    return copy


def changed(raw: bytes, rng: random.Random) -> bytes:
    """Change a file; JSON is most of the time changed as JSON, line by line if it has lines."""
    if raw[:1] in (b"{", b"[") and rng.random() < 0.7:
        lines = raw.splitlines() if b"}\n{" in raw else [raw]
        k = rng.randrange(len(lines))
        lines[k] = json.dumps(changed_json(json.loads(lines[k]), rng)).encode()
        return b"\n".join(lines)
    return changed_bytes(raw, rng)


def outcome(name: str, path: Path) -> tuple[str, str]:
    """Read a file.

    Args:
        name: Key of ``FORMATS``.
        path: The file.

    Returns:
        "result", "clean" or "unclean", and the error. A clean error is one of the library's own or a missing file, and
        names the file; only `MatFileError` is internal and names none.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            FORMATS[name].read(path)
    except Exception as error:
        own = type(error).__module__.startswith("dhpe_lib") or isinstance(error, FileNotFoundError)
        own = own or name == "pose"  # the command line turns a ValueError into a usage error
        named = str(path.parents[FORMATS[name].depth]) in str(error) or isinstance(error, MatFileError)
        return "clean" if own and named else "unclean", f"{type(error).__name__}: {error}"
    return "result", ""
