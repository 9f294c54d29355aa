"""Predictions of joints and meshes for the benchmarks of FreiHAND and HO-3D: the file pred.json and its scores.

Both benchmarks have one file, ``[joints, vertices]`` in metres. FreiHAND's has the project's frame and joint order;
HO-3D's has OpenGL's axes and MANO's joint order, and its evaluation has one more alignment of the joints. Nothing here
has a gradient.
"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from msgspec import Meta
from numpy import ndarray

from dhpe_lib.common.json_files import Point
from dhpe_lib.common.records import to_numpy
from dhpe_lib.data.cache.layout import PreparedError
from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.data.checks import read_json
from dhpe_lib.evaluation.alignment import align_scale_translation
from dhpe_lib.evaluation.evaluate import estimates, millimetres
from dhpe_lib.evaluation.freihand import GRID, score_freihand, write_freihand
from dhpe_lib.evaluation.metrics import auc, joint_errors, mean_epe
from dhpe_lib.hand.skeleton import JOINT_ORDERS
from dhpe_lib.network.estimator import Estimator

Benchmark = Literal["freihand", "ho3d"]
Mesh = Annotated[list[Point], Meta(min_length=778, max_length=778)]
DATASETS: dict[Benchmark, tuple[str, ...]] = {"freihand": ("freihand",), "ho3d": ("ho3d-v2", "ho3d-v3")}
TO_OPENGL = np.array([1.0, -1.0, -1.0])
TRUTH = "evaluation_verts.json"


def require_benchmark(cache: Prepared, benchmark: Benchmark) -> None:
    """Refuse a split that does not belong to a benchmark.

    Args:
        cache: A prepared split.
        benchmark: Name of the benchmark.

    Raises:
        PreparedError: The split is another one, or lacks pictures of the benchmark.
    """
    found = f"{cache.meta['dataset']} {cache.meta['split']}"
    if cache.meta["dataset"] not in DATASETS[benchmark] or cache.meta["split"] != "evaluation":
        names = " or ".join(DATASETS[benchmark])
        raise PreparedError(f"{cache.directory}: holds {found}; the benchmark needs the evaluation split of {names}")
    if cache.meta["left_out"]:
        count = len(cache.meta["left_out"])
        raise PreparedError(
            f"{cache.directory}: {count} pictures were left out, but the benchmark needs a prediction for each; get "
            "their files and labels again, and prepare the split without --skip-bad"
        )


def predict_surfaces(
    network: Estimator,
    cache: Prepared,
    device: torch.device,
    batch: int = 64,
    advance: Callable[[int], None] = lambda _: None,
) -> tuple[Float[ndarray, "n 21 3"], Float[ndarray, "n 778 3"]]:
    """Run a network on a split; box, root depth and camera are given, as in protocol A.

    Args:
        network: f_DHPE, on the device.
        cache: A prepared split of right hands.
        device: Device of the network.
        batch: Images in a batch.
        advance: Called with the number of images after each batch.

    Returns:
        Joints in canonical order and vertices, camera frame, mm.
    """
    joints: list[ndarray] = []
    vertices: list[ndarray] = []
    for crops, view, estimate in estimates(network, cache, device, batch):
        both = torch.cat((estimate.joints, estimate.mesh.vertices), 1)
        placed = millimetres(estimate.joints, crops, view.frame, both)
        joints.append(placed[:, :21])
        vertices.append(placed[:, 21:])
        advance(len(crops))
    return np.concatenate(joints), np.concatenate(vertices)


def write_benchmark(
    path: Path, benchmark: Benchmark, joints: Float[ndarray, "n 21 3"], vertices: Float[ndarray, "n 778 3"]
) -> None:
    """Write the prediction file of a benchmark.

    Args:
        path: Path of the file, usually pred.json.
        benchmark: Name of the benchmark.
        joints: Joints in canonical order, camera frame, mm.
        vertices: Vertices, camera frame, mm.

    Raises:
        OSError: The file cannot be written.

    Source: ``pred.py`` of FreiHAND and of HO-3D.
    """
    if benchmark == "ho3d":
        joints, vertices = joints[:, np.argsort(JOINT_ORDERS["ho3d"])] * TO_OPENGL, vertices * TO_OPENGL
    write_freihand(path, joints, vertices)


def benchmark_scores(
    cache: Prepared,
    dataset: Path,
    benchmark: Benchmark,
    joints: Float[ndarray, "n 21 3"],
    vertices: Float[ndarray, "n 778 3"],
) -> dict[str, Any]:
    """Score predictions with the ground truth's joints in the cache and its meshes in the dataset's folder.

    Args:
        cache: The prepared split.
        dataset: Folder of the dataset, with ``evaluation_verts.json``.
        benchmark: Name of the benchmark.
        joints: Predicted joints in canonical order, camera frame, mm.
        vertices: Predicted vertices, camera frame, mm.

    Returns:
        The scores without ("plain") and with alignment ("aligned"). HO-3D has a third row, the joints after alignment
        by scale and translation ("scale_translation").

    Raises:
        FileNotFoundError: The folder has no ground-truth meshes.
        ValueError: The ground-truth meshes are damaged or belong to other pictures, or a hand cannot be aligned.

    Source: ``eval.py`` of FreiHAND and of HO-3D.
    """
    path = dataset / TRUTH
    remedy = f"get the labels of the evaluation of {cache.meta['dataset']} again"
    truth = 1000 * np.array(read_json(path, list[Mesh], remedy)).reshape(-1, 778, 3)
    if len(truth) != len(vertices):
        raise PreparedError(f"{path}: meshes of {len(truth)} pictures, predictions of {len(vertices)}; {remedy}")
    truth = truth * TO_OPENGL if benchmark == "ho3d" else truth
    true_joints = to_numpy(cache[:].joints_3d).astype(float)
    scores = asdict(score_freihand(joints, vertices, true_joints, truth))
    if benchmark == "ho3d":
        errors = joint_errors(align_scale_translation(joints, true_joints), true_joints)
        scores["scale_translation"] = {"mpjpe": mean_epe(errors), "joint_auc": auc(errors, GRID)}
    return scores
